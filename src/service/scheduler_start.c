/* From recorded decisions to runs. A run's id follows from its slot, so that to make it twice makes it once: what may be
 * there already, here or made by another replica, is simply made. Only when a run is there for everybody to see does its
 * decision lose its mark. */
#include "service/scheduler_internal.h"

#include <string.h>

#include "base/log.h"

#define BATCH_BYTES (16 * 1024 * 1024) /* and of their flows, about */
#define BATCH_MAX 256                  /* runs of one commit */
#define STOPS_MAX 1000                 /* open runs of a flow that one start stops */
#define STOPS_AT_ONCE 64               /* their states are in memory together */
#define MARKS_AT_ONCE 1000             /* of one commit */
#define MADE_MAX 2000  /* marks kept while there is no time to wait for their documents; beyond, time is taken */
#define SETTLE_MS 2000 /* so long */
#define SWEEP_PAGE 256
#define OTHERS_AGE_MS 10000 /* a run that its replica did not make in this time, it will not make any more */

static bool is_key(const DecisionKey *key, const Id *flow_id, int64_t n)
{
    return key->n == n && strcmp(key->flow_id.text, flow_id->text) == 0;
}

void scheduler_owe(Scheduler *scheduler, const Id *flow_id, const ScheduleDecision *decision)
{
    for (guint i = scheduler->made->len; i-- > 0;)
        if (is_key(&g_array_index(scheduler->made, DecisionKey, i), flow_id, decision->n))
            return;
    for (guint i = scheduler->owed->len; i-- > 0;)
        if (is_key(&g_array_index(scheduler->owed, Owed, i).key, flow_id, decision->n))
            return;
    Owed owed = {.key = {*flow_id, decision->n},
                 .slot = decision->slot,
                 .flow_version = decision->flow_version,
                 .decided_at = decision->decided_at,
                 .cancels_running = decision->cancels_running};
    g_array_append_val(scheduler->owed, owed);
}

/* ---- stopping what a start cancels ---- */

static bool stop(Scheduler *scheduler, const Id *run_ids, size_t n)
{
    WriterItem item = {.kind = ITEM_STOP, .run_ids = run_ids, .n_run_ids = n};
    bool is_taken = writer_do(scheduler->service, &item, sizeof item + n * sizeof *run_ids, &scheduler->latch);
    bool is_done = is_taken && item.result == RESULT_OK;
    if (!is_done)
        scheduler_fail(scheduler, "stopping runs", is_taken ? item.message : "the service ends");
    g_free(item.message);
    return is_done;
}

static bool stop_running(Scheduler *scheduler, const Owed *owed)
{
    g_autofree Id *ids = g_new(Id, STOPS_MAX);
    g_autoptr(GError) error = NULL;
    size_t n, n_stopped = 0;
    if (!store_list_open_system_runs(scheduler->service->store, owed->key.flow_id.text, STOPS_MAX, ids, &n, &error)) {
        service_note_store(scheduler->service, error);
        scheduler_fail(scheduler, "looking for runs to stop", error->message);
        return false;
    }
    Id own = schedule_run_id(&owed->key.flow_id, owed->slot);
    for (size_t i = 0; i < n; i++)
        if (strcmp(ids[i].text, own.text) != 0)
            ids[n_stopped++] = ids[i];
    for (size_t i = 0; i < n_stopped; i += STOPS_AT_ONCE)
        if (!stop(scheduler, ids + i, MIN(n_stopped - i, STOPS_AT_ONCE)))
            return false;
    return true;
}

/* ---- starting ---- */

static void slot_start_done(SlotStart *start)
{
    flow_unref(start->flow);
    text_map_done(&start->inputs);
}

/* The version that decided, whatever came after it. */
static bool prepare(Scheduler *scheduler, const Owed *owed, SlotStart *ret_start, GError **error)
{
    Service *service = scheduler->service;
    SlotStart start = {.key = owed->key,
                       .slot = owed->slot,
                       .run_id = schedule_run_id(&owed->key.flow_id, owed->slot),
                       .flow = service_load_flow(service, owed->key.flow_id.text, owed->flow_version, error)};
    bool is_ready = start.flow != NULL;
    if (is_ready && start.flow->schedule != NULL && start.flow->schedule->inputs.n_pairs > 0) {
        g_autoptr(Schedule) schedule = service_open_schedule(service, start.flow, error);
        is_ready = schedule != NULL && schedule_run_inputs(schedule, start.flow, owed->slot, &start.inputs, error);
    }
    if (is_ready)
        *ret_start = start;
    else
        slot_start_done(&start);
    return is_ready;
}

/* How many of those owed go together: a start that cancels must find made what its flow has started before. */
static guint batch_size(const Scheduler *scheduler)
{
    g_autoptr(GHashTable) flows = g_hash_table_new(g_str_hash, g_str_equal);
    guint n = 0;
    for (; n < MIN(scheduler->owed->len, BATCH_MAX); n++) {
        Owed *owed = &g_array_index(scheduler->owed, Owed, n);
        bool is_first = g_hash_table_add(flows, owed->key.flow_id.text);
        if (owed->cancels_running && !is_first)
            break;
    }
    return n;
}

/* Those that cannot be made now stay, in their order. */
static bool take_made(Scheduler *scheduler, guint n_batch, const SlotStart *slots, size_t n_slots)
{
    bool is_refused = false;
    g_autoptr(GArray) left = g_array_new(FALSE, FALSE, sizeof(Owed));
    for (size_t i = 0, k = 0; i < n_batch; i++) {
        const Owed *owed = &g_array_index(scheduler->owed, Owed, i);
        if (k == n_slots || !is_key(&slots[k].key, &owed->key.flow_id, owed->key.n))
            continue; /* could not be prepared; its mark stays, so the next sweep finds it again */
        if (slots[k].is_refused)
            g_array_append_val(left, *owed);
        else
            g_array_append_val(scheduler->made, owed->key);
        is_refused = is_refused || slots[k].is_refused;
        k++;
    }
    g_array_remove_range(scheduler->owed, 0, n_batch);
    if (left->len > 0)
        g_array_prepend_vals(scheduler->owed, left->data, left->len);
    if (is_refused)
        scheduler_fail(scheduler, "starting runs", "MAX_OPEN_RUNS are going");
    return !is_refused;
}

static bool make_runs(Scheduler *scheduler, guint n_batch, SlotStart *slots, size_t n_slots)
{
    WriterItem item = {.kind = ITEM_SLOTS, .slots = slots, .n_slots = n_slots};
    size_t weight = sizeof item + n_slots * sizeof *slots;
    for (size_t i = 0; i < n_slots; i++)
        weight += text_map_size_bytes(&slots[i].inputs);
    bool is_taken = writer_do(scheduler->service, &item, weight, &scheduler->latch);
    bool is_done = is_taken && item.result == RESULT_OK;
    if (!is_done)
        scheduler_fail(scheduler, "starting runs", is_taken ? item.message : "the service ends");
    g_free(item.message);
    return is_done && take_made(scheduler, n_batch, slots, n_slots);
}

static bool start_batch(Scheduler *scheduler, guint n_batch)
{
    g_autofree SlotStart *slots = g_new0(SlotStart, n_batch);
    size_t n_slots = 0, n_bytes = 0;
    bool is_ready = true;
    for (guint i = 0; i < n_batch && is_ready; i++) {
        const Owed *owed = &g_array_index(scheduler->owed, Owed, i);
        g_autoptr(GError) error = NULL;
        if (prepare(scheduler, owed, &slots[n_slots], &error)) {
            n_bytes += slots[n_slots++].flow->steps_json_size * 3;
            n_batch = n_bytes > BATCH_BYTES ? i + 1 : n_batch;
            is_ready = !owed->cancels_running || stop_running(scheduler, owed);
        } else if (flowops_error_is_retryable(error)) {
            service_note_store(scheduler->service, error);
            scheduler_fail(scheduler, "reading flows", error->message);
            is_ready = false;
        } else { /* its mark stays; the sweep tries again */
            log_error(LOG_ERROR, "the run of a slot cannot be made", error, "flowId", owed->key.flow_id.text, NULL);
        }
    }
    bool is_done = is_ready && make_runs(scheduler, n_batch, slots, n_slots);
    for (size_t i = 0; i < n_slots; i++)
        slot_start_done(&slots[i]);
    return is_done;
}

/* ---- marks ---- */

static bool remove_these(Scheduler *scheduler, const DecisionKey *keys, size_t n)
{
    g_autofree StoreWrite *writes = g_new0(StoreWrite, n);
    for (size_t i = 0; i < n; i++)
        writes[i] = (StoreWrite){.kind = WRITE_MADE, .made = keys[i]};
    WriterItem item = {.kind = ITEM_DECISIONS, .writes = writes, .n_writes = n};
    bool is_taken = writer_do(scheduler->service, &item, sizeof item + n * sizeof *writes, &scheduler->latch);
    bool is_done = is_taken && item.result == RESULT_OK;
    if (!is_done)
        scheduler_fail(scheduler, "removing marks", is_taken ? item.message : "the service ends");
    g_free(item.message);
    return is_done;
}

/* What replicas count as open they know by the document or by the mark. */
bool scheduler_remove_marks(Scheduler *scheduler, int64_t timeout_ms)
{
    GArray *made = scheduler->made;
    if (made->len == 0 || !store_settle(scheduler->service->store, timeout_ms))
        return true;
    bool is_done = true;
    for (guint i = 0; i < made->len && is_done; i += MARKS_AT_ONCE)
        is_done = remove_these(scheduler, &g_array_index(made, DecisionKey, i), MIN(made->len - i, MARKS_AT_ONCE));
    if (!is_done)
        scheduler->sweep_at = INT64_MIN; /* finds them, finds their runs, and removes the marks */
    g_array_set_size(made, 0);
    return is_done;
}

bool scheduler_carry_out(Scheduler *scheduler)
{
    bool is_done = true;
    while (scheduler->owed->len > 0 && is_done)
        is_done = !scheduler_is_over(scheduler) && start_batch(scheduler, batch_size(scheduler));
    bool is_flushed = scheduler_remove_marks(scheduler, scheduler->made->len > MADE_MAX ? SETTLE_MS : 0);
    return is_done && is_flushed;
}

/* ---- the sweep ---- */

/* Owes what is old enough. Nobody else writes to a store of our own, and nothing of ours is under way. */
static bool owe_page(Scheduler *scheduler, const DecisionPage *page, DecisionKey *ret_last)
{
    int64_t now_ms = clock_monotonic_ms(scheduler->service->clock);
    for (size_t i = 0; i < page->n_entries; i++) {
        ScheduleDecision decision;
        Id flow_id;
        g_autoptr(GError) error = NULL;
        if (!schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, &error)) {
            log_error(LOG_ERROR, "a schedule decision cannot be read; runs behind it are not made", error, NULL);
            return false;
        }
        *ret_last = (DecisionKey){flow_id, decision.n};
        if (!scheduler->service->is_shared ||
            sightings_note(scheduler->sightings, &flow_id, decision.n, now_ms) >= OTHERS_AGE_MS)
            scheduler_owe(scheduler, &flow_id, &decision);
    }
    return true;
}

bool scheduler_sweep(Scheduler *scheduler)
{
    Service *service = scheduler->service;
    DecisionKey last;
    bool has_more = true;
    for (const DecisionKey *after = NULL; has_more; after = &last) {
        g_autoptr(GError) error = NULL;
        g_autoptr(DecisionPage) page = store_read_owed_decisions(service->store, NULL, after, SWEEP_PAGE, &error);
        service_note_store(service, error);
        if (page == NULL) {
            scheduler_fail(scheduler, "looking for runs that are owed", error->message);
            return false;
        }
        if (!owe_page(scheduler, page, &last))
            return true; /* damage: told, and others go on */
        if (!scheduler_carry_out(scheduler))
            return false;
        has_more = page->has_more;
    }
    sightings_end_round(scheduler->sightings);
    return true;
}
