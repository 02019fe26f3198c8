/* backfills.c - a backfill from its request to its first entry, and the commands that steer it. */
#include "service/backfills.h"

#include <string.h>

#include "domain/schedule.h"

#define DECISIONS_PAGE 1000
#define BACKFILLS_PAGE 100
#define COVER_MS 3000 /* to find out what covers the slots, of a reader's time: some 300,000 decisions */

/* ---- the store's form ---- */

bool service_load_backfill(Service *service, const Id *backfill_id, Backfill *ret_backfill, BackfillPlan *ret_plan,
                           GError **error)
{
    g_autoptr(BackfillRecord) record = store_get_backfill(service->store, backfill_id->text, ret_plan != NULL, error);
    if (record == NULL)
        return false;
    if (backfill_decode(record->state, record->state_size, ret_backfill, error) &&
        (ret_plan == NULL || backfill_plan_decode(record->plan, record->plan_size, ret_plan, error)))
        return true;
    g_prefix_error(error, "backfill %s: ", backfill_id->text);
    (*error)->code = FLOWOPS_INTERNAL;
    return false;
}

StoreWrite backfill_write(const Backfill *backfill, GString *state)
{
    backfill_encode(backfill, state);
    return (StoreWrite){.kind = WRITE_BACKFILL,
                        .backfill = {.backfill_id = backfill->id,
                                     .flow_id = backfill->flow_id,
                                     .owner = backfill->owner,
                                     .created_at = backfill->created_at,
                                     .n = backfill->n,
                                     .is_open = backfill_is_open(backfill),
                                     .state = state->str,
                                     .state_size = state->len}};
}

bool service_append_backfill(Service *service, const Backfill *backfill, const BackfillPlan *plan, Bell *latch,
                             GError **error)
{
    g_autoptr(GString) state = g_string_new(NULL);
    g_autoptr(GString) plan_text = g_string_new(NULL);
    StoreWrite write = backfill_write(backfill, state);
    if (plan != NULL) {
        backfill_plan_encode(plan, plan_text);
        write.backfill.plan = plan_text->str;
        write.backfill.plan_size = plan_text->len;
    }
    WriterItem item = {.kind = ITEM_DECISIONS, .writes = &write, .n_writes = 1};
    if (!writer_do(service, &item, sizeof item + state->len + plan_text->len, latch)) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "the service is shutting down");
        return false;
    }
    g_autofree char *message = item.message;
    if (write.ret_outcome == WRITE_CONFLICT) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "another writer was first");
        return false;
    }
    if (item.result == RESULT_OK)
        return true;
    g_set_error(error, FLOWOPS_ERROR, item.result == RESULT_UNKNOWN ? FLOWOPS_UNKNOWN : FLOWOPS_UNAVAILABLE, "%s",
                message != NULL ? message : "the store failed");
    return false;
}

/* ---- which slots were missed ---- */

/* The slots of a range, and which of them are covered. */
typedef struct {
    GArray *slots; /* of int64_t, ascending */
    bool *is_covered;
    int64_t end_ms; /* monotonic */
    bool is_given_up;
} Candidates;

/* False: the time is up, or the service ends. */
static bool may_read_on(Service *service, Candidates *candidates, GError **error)
{
    candidates->is_given_up = true;
    if (atomic_load(&service->is_stopping) || !atomic_load(&service->is_accepting))
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "the service is shutting down");
    else if (clock_monotonic_ms(service->clock) >= candidates->end_ms)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_BUSY,
                    "what covers the slots of the range was not read within %d ms; ask for a shorter range", COVER_MS);
    else
        candidates->is_given_up = false;
    return !candidates->is_given_up;
}

static void cover(Candidates *candidates, int64_t slot)
{
    const int64_t *slots = (const int64_t *)(void *)candidates->slots->data;
    size_t low = 0, high = candidates->slots->len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slots[middle] < slot)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < candidates->slots->len && slots[low] == slot)
        candidates->is_covered[low] = true;
}

/* The watermark after decision n; INT64_MAX when there is no such decision. */
static bool read_watermark(Service *service, const Id *flow_id, int64_t n, int64_t *ret_watermark, GError **error)
{
    ScheduleDecision decision;
    Id of;
    g_autoptr(DecisionPage) page = store_read_decisions(service->store, flow_id->text, n - 1, 1, error);
    if (page == NULL)
        return false;
    *ret_watermark = INT64_MAX;
    if (page->n_entries == 0)
        return true;
    if (!schedule_decision_decode(page->entries[0].text, page->entries[0].size, &decision, &of, error))
        return false;
    *ret_watermark = decision.watermark;
    return true;
}

/* The first decision whose watermark reaches an instant: watermarks never go back, so it can be halved for. */
static bool find_decision(Service *service, const Id *flow_id, int64_t at, int64_t *ret_n, GError **error)
{
    int64_t low = 1, high = 1, watermark; /* it is in [low, high] */
    for (;; high *= 2) {
        if (!read_watermark(service, flow_id, high, &watermark, error))
            return false;
        if (watermark >= at)
            break;
        low = high + 1;
    }
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (!read_watermark(service, flow_id, middle, &watermark, error))
            return false;
        if (watermark >= at)
            high = middle;
        else
            low = middle + 1;
    }
    *ret_n = low;
    return true;
}

/* What a decision says of the slots up to the last one; `waiting`: those that were queued and may wait still, started ones
 * among them. True: what comes after it says nothing more. */
static bool cover_by(Candidates *candidates, const ScheduleDecision *decision, int64_t last, GArray *waiting)
{
    if (decision->verdict == SLOT_QUEUED && decision->slot <= last)
        g_array_append_val(waiting, decision->slot);
    if (decision->verdict == SLOT_SKIPPED && decision->was_queued)
        g_array_set_size(waiting, 0); /* none that waited will start */
    if (backfill_is_covered_by(decision))
        cover(candidates, decision->slot);
    bool is_past = decision->was_queued && decision->slot > last; /* those before it have left the queue */
    return decision->watermark >= last && (waiting->len == 0 || decision->n_queued == 0 || is_past);
}

/* A slot is decided once, when the watermark comes to it; what becomes of a queued one is told later. */
static bool cover_decided(Service *service, const Id *flow_id, Candidates *candidates, GError **error)
{
    int64_t first = g_array_index(candidates->slots, int64_t, 0), n;
    int64_t last = g_array_index(candidates->slots, int64_t, candidates->slots->len - 1);
    g_autoptr(GArray) waiting = g_array_new(FALSE, FALSE, sizeof(int64_t));
    if (!find_decision(service, flow_id, first, &n, error))
        return false;
    for (bool has_more = true; has_more;) {
        if (!may_read_on(service, candidates, error))
            return false;
        g_autoptr(DecisionPage) page =
            store_read_decisions(service->store, flow_id->text, n - 1, DECISIONS_PAGE, error);
        if (page == NULL)
            return false;
        has_more = page->has_more;
        for (size_t i = 0; i < page->n_entries; i++) {
            ScheduleDecision decision;
            Id of;
            if (!schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &of, error))
                return false;
            n = decision.n + 1;
            if (cover_by(candidates, &decision, last, waiting)) {
                has_more = false;
                break;
            }
        }
    }
    for (guint i = 0; i < waiting->len; i++)
        cover(candidates, g_array_index(waiting, int64_t, i));
    return true;
}

/* All that it planned while it may still start it; of a cancelled one, what it started. */
static bool cover_backfilled(Service *service, const Backfill *listed, Candidates *candidates, GError **error)
{
    Backfill backfill;
    g_auto(BackfillPlan) plan = {0};
    if (listed->to <= g_array_index(candidates->slots, int64_t, 0) ||
        listed->from > g_array_index(candidates->slots, int64_t, candidates->slots->len - 1))
        return true;
    if (!may_read_on(service, candidates, error) ||
        !service_load_backfill(service, &listed->id, &backfill, &plan, error)) /* lists may be behind */
        return false;
    size_t n_taken = backfill.status == BACKFILL_CANCELLED ? (size_t)backfill.n_started : plan.n_slots;
    for (size_t i = 0; i < MIN(n_taken, plan.n_slots); i++)
        cover(candidates, plan.slots[i]);
    return true;
}

/* What the flow's other backfills took: the runs may be deleted by now, or still to come. own_id: that one is left out.
 * is_newest: only the newest of them are looked at. */
static bool cover_planned(Service *service, const Flow *flow, const Id *own_id, bool is_newest, Candidates *candidates,
                          GError **error)
{
    ListPosition after;
    ListQuery query = {.owner = flow->owner.text,
                       .flow_id = flow->id.text,
                       .from = INSTANT_NONE,
                       .to = INSTANT_NONE,
                       .limit = BACKFILLS_PAGE};
    for (bool has_more = true; has_more;) {
        if (!may_read_on(service, candidates, error))
            return false;
        g_autoptr(ListPage) page = store_list_backfills(service->store, &query, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_items; i++) {
            Backfill other;
            if (!backfill_decode(page->items[i].json, page->items[i].size, &other, error))
                return false;
            if (strcmp(other.id.text, own_id->text) != 0 && !cover_backfilled(service, &other, candidates, error))
                return false;
        }
        has_more = page->has_more && !is_newest;
        if (has_more)
            after = page->items[page->n_items - 1].position;
        query.after = &after;
    }
    return true;
}

/* Whatever made it: a slot whose run is there has had its turn. */
static bool cover_made(Service *service, const Id *flow_id, Candidates *candidates, GError **error)
{
    g_autofree RunSeq *known = g_new(RunSeq, WRITE_LOOK_MAX);
    bool is_there[WRITE_LOOK_MAX];
    for (guint at = 0; at < candidates->slots->len;) {
        guint first = at;
        size_t n = 0;
        for (; at < candidates->slots->len && n < WRITE_LOOK_MAX; at++)
            known[n++] = (RunSeq){.run_id = schedule_run_id(flow_id, g_array_index(candidates->slots, int64_t, at))};
        if (!may_read_on(service, candidates, error) || !store_find_newer(service->store, known, n, is_there, error))
            return false;
        for (size_t i = 0; i < n; i++)
            candidates->is_covered[first + i] = candidates->is_covered[first + i] || is_there[i];
    }
    return true;
}

/* The last slot that the scheduler has decided. */
static bool read_decided(Service *service, const Flow *flow, int64_t *ret_watermark, GError **error)
{
    ScheduleState state;
    ScheduleDecision decision;
    Id of;
    g_autoptr(DecisionPage) page = store_read_newest_decisions(service->store, flow->id.text, INT64_MAX, 1, error);
    if (page == NULL)
        return false;
    schedule_state_init(&state, flow);
    *ret_watermark = state.watermark;
    schedule_state_done(&state);
    if (page->n_entries == 0)
        return true;
    if (!schedule_decision_decode(page->entries[0].text, page->entries[0].size, &decision, &of, error))
        return false;
    *ret_watermark = decision.watermark;
    return true;
}

/* Leaves to the scheduler what it has yet to decide, and says so by the range's end: a slot that both could start may run
 * twice once its run was deleted. False: the call has failed. */
static bool leave_undecided(Service *service, ServiceCall *call, const Flow *flow, GArray *slots)
{
    BackfillRequest *request = &call->backfill.request;
    int64_t watermark;
    char text[INSTANT_TEXT_SIZE];
    g_autoptr(GError) error = NULL;
    if (slots->len == 0)
        return true;
    if (!read_decided(service, flow, &watermark, &error)) {
        call_fail_with(service, call, error);
        return false;
    }
    guint n_decided = slots->len;
    while (n_decided > 0 && g_array_index(slots, int64_t, n_decided - 1) > watermark)
        n_decided--;
    if (n_decided == 0) {
        instant_format(watermark, text);
        call_fail(call, RESULT_CONFLICT,
                  "slots after %s are yet to be decided by the schedule, and are its own to start", text);
        return false;
    }
    if (n_decided < slots->len) {
        request->to = watermark + 1;
        g_array_set_size(slots, n_decided);
    }
    return true;
}

static void fail_to_cover(Service *service, ServiceCall *call, const Candidates *candidates, const GError *error)
{
    if (candidates->is_given_up) /* which says nothing about the store */
        call_fail(call, RESULT_BUSY, "%s", error->message);
    else
        call_fail_with(service, call, error);
}

/* False: the call has failed. */
static bool find_missed(Service *service, ServiceCall *call, const Flow *flow, GArray *slots, BackfillPlan *ret_plan)
{
    g_autoptr(GError) error = NULL;
    g_autofree bool *is_covered = g_new0(bool, slots->len);
    Candidates candidates = {slots, is_covered, clock_monotonic_ms(service->clock) + COVER_MS, false};
    if (slots->len > 0 && (!cover_decided(service, &flow->id, &candidates, &error) ||
                           !cover_planned(service, flow, &call->backfill.id, false, &candidates, &error) ||
                           !cover_made(service, &flow->id, &candidates, &error))) {
        fail_to_cover(service, call, &candidates, error);
        return false;
    }
    ret_plan->slots = g_new(int64_t, slots->len);
    for (guint i = 0; i < slots->len; i++) {
        if (!is_covered[i])
            ret_plan->slots[ret_plan->n_slots++] = g_array_index(slots, int64_t, i);
    }
    return true;
}

/* ---- making one ---- */

static void answer(ServiceCall *call, const Backfill *backfill)
{
    call->backfill.id = backfill->id;
    call->data = g_string_new(NULL);
    backfill_encode(backfill, call->data);
}

/* A writer that died between an entry and what lists and the scheduler look at has left a backfill that nobody finds. To
 * write its newest entry again is a conflict, which brings that forward. */
static bool bring_forward(Service *service, const Backfill *backfill, const BackfillPlan *plan, GError **error)
{
    Bell latch;
    g_autoptr(GError) failure = NULL;
    if (!service->is_shared)
        return true;
    bell_init(&latch);
    bool is_done = service_append_backfill(service, backfill, backfill->n == 1 ? plan : NULL, &latch, &failure) ||
                   failure->code == FLOWOPS_CONFLICT;
    bell_done(&latch);
    if (!is_done)
        g_propagate_error(error, g_steal_pointer(&failure));
    return is_done;
}

/* True when the call is settled: its Idempotency-Key was used before, or the store failed. */
static bool is_repeated(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_auto(BackfillPlan) plan = {0};
    Backfill backfill;
    if (!service_load_backfill(service, &call->backfill.id, &backfill, &plan, &error)) {
        if (error->code == FLOWOPS_NOT_FOUND)
            return false;
        call_fail_with(service, call, error);
    } else if (g_strcmp0(plan.request_digest, call->start.request_digest) != 0) {
        call_fail(call, RESULT_CONFLICT, "this Idempotency-Key was used with another body");
    } else if (!bring_forward(service, &backfill, &plan, &error)) {
        call_fail(call, call_result_of(error), "%s", error->message);
    } else {
        answer(call, &backfill);
        scheduler_note_backfill(service, &backfill.id);
    }
    return true;
}

/* The caller's flow with its schedule; NULL: the call has failed. */
static Flow *load_scheduled_flow(Service *service, ServiceCall *call, Schedule **ret_schedule)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = call_load_own_flow(service, call);
    if (flow == NULL)
        return NULL;
    if (flow->cron == NULL)
        call_fail(call, RESULT_CONFLICT, "the flow has no cron, so it has no slots");
    else if ((*ret_schedule = service_open_schedule(service, flow, &error)) == NULL)
        call_fail(call, RESULT_CONFLICT, "%s", error->message); /* saved where the zone was known */
    return *ret_schedule != NULL ? g_steal_pointer(&flow) : NULL;
}

static bool has_room(Service *service, ServiceCall *call)
{
    int64_t n_own, n_all;
    g_autoptr(GError) error = NULL;
    if (!store_count_open_backfills(service->store, call->caller.text, &n_own, &error) ||
        !store_count_open_backfills(service->store, NULL, &n_all, &error)) {
        call_fail_with(service, call, error);
        return false;
    }
    if (n_own >= BACKFILLS_OPEN_OF_OWNER)
        call_fail(call, RESULT_CONFLICT, "%d of your backfills are open; no more are taken until some end",
                  BACKFILLS_OPEN_OF_OWNER);
    else if (n_all >= BACKFILLS_OPEN_MAX)
        call_fail(call, RESULT_BUSY, "%d backfills are open; no more are taken until some end", BACKFILLS_OPEN_MAX);
    return call->result == RESULT_OK;
}

/* The slots of the range; NULL: too many, and the call has failed with their count. */
static GArray *find_slots(ServiceCall *call, const Schedule *schedule)
{
    const BackfillRequest *request = &call->backfill.request;
    g_autoptr(GArray) slots = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int64_t n = backfill_find_slots(schedule, request->from, request->to, slots);
    if (n <= BACKFILL_SLOTS_MAX)
        return g_steal_pointer(&slots);
    call_fail(call, RESULT_INVALID, "there are too many slots");
    call->faults = faults_new();
    faults_add(call->faults, "from", NULL, "%s%" G_GINT64_FORMAT " slots lie in the range, at most %d are allowed",
               n == BACKFILL_COUNT_MAX ? "at least " : "", n, BACKFILL_SLOTS_MAX);
    return NULL;
}

/* Cancels one that has given way. */
static bool withdraw(Service *service, const Id *backfill_id, Bell *latch, GError **error)
{
    for (int i = 0; i < WRITE_ATTEMPTS; i++) {
        Backfill backfill, next;
        g_clear_error(error);
        if (!service_load_backfill(service, backfill_id, &backfill, NULL, error))
            return false;
        if (backfill_command(&backfill, BACKFILL_CANCEL, BACKFILL_SLOTS_TAKEN, NULL, clock_wall_ms(service->clock),
                             &next) != BACKFILL_APPEND ||
            service_append_backfill(service, &next, NULL, latch, error))
            return true;
        if ((*error)->code != FLOWOPS_CONFLICT)
            return false;
    }
    return false;
}

/* Two that are made at once may not have seen each other. So each looks again once it is recorded, and gives way when it sees
 * another: one of them at least does. False: the call has failed. */
static bool stands_alone(Service *service, ServiceCall *call, const Flow *flow, const BackfillPlan *plan, Bell *latch)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) slots = g_array_new(FALSE, FALSE, sizeof(int64_t));
    g_autofree bool *is_covered = g_new0(bool, plan->n_slots);
    Candidates candidates = {slots, is_covered, clock_monotonic_ms(service->clock) + COVER_MS, false};
    bool is_taken = false;
    if (plan->n_slots == 0)
        return true;
    g_array_append_vals(slots, plan->slots, (guint)plan->n_slots);
    bool is_read = cover_planned(service, flow, &call->backfill.id, true, &candidates, &error);
    for (size_t i = 0; i < plan->n_slots && is_read; i++)
        is_taken = is_taken || is_covered[i];
    if (is_read && !is_taken)
        return true;
    /* What was read is not known: it gives way, too. */
    g_autoptr(GError) failure = NULL;
    if (!withdraw(service, &call->backfill.id, latch, &failure))
        call_fail(call, RESULT_UNKNOWN, "the backfill was recorded, and may have to give way to another: %s",
                  failure->message);
    else if (!is_read)
        fail_to_cover(service, call, &candidates, error);
    else
        call_fail(call, RESULT_CONFLICT, "another backfill took slots of the range at the same time");
    scheduler_note_backfill(service, &call->backfill.id);
    return false;
}

/* One attempt to record it. True when the call is settled either way. */
static bool try_create(Service *service, ServiceCall *call, const Flow *flow, int64_t n_in_range, BackfillPlan *plan)
{
    Backfill backfill;
    Bell latch;
    g_autoptr(GError) error = NULL;
    backfill_init(&backfill, &call->backfill.id, flow, &call->backfill.request, n_in_range, plan->n_slots,
                  clock_wall_ms(service->clock));
    bell_init(&latch);
    bool is_done = service_append_backfill(service, &backfill, plan, &latch, &error);
    bool is_alone = is_done && stands_alone(service, call, flow, plan, &latch);
    bell_done(&latch);
    if (is_alone) {
        answer(call, &backfill);
        scheduler_note_backfill(service, &backfill.id);
    }
    if (is_done)
        return true;
    if (error->code == FLOWOPS_CONFLICT) /* only the same Idempotency-Key comes to the same id */
        return is_repeated(service, call);
    call_fail(call, call_result_of(error), "%s", error->message);
    return true;
}

void service_create_backfill(Service *service, ServiceCall *call)
{
    bool has_key = call->start.idempotency_key != NULL && !call->backfill.request.is_dry_run;
    call->backfill.id = has_key ? backfill_derive_id(&call->caller, &call->flow_id, call->start.idempotency_key)
                                : id_make(clock_wall_ms(service->clock));
    if (has_key && is_repeated(service, call))
        return;
    g_autoptr(Schedule) schedule = NULL;
    g_autoptr(Flow) flow = load_scheduled_flow(service, call, &schedule);
    g_autoptr(GArray) slots = flow != NULL ? find_slots(call, schedule) : NULL;
    g_auto(BackfillPlan) plan = {0};
    if (slots == NULL || !leave_undecided(service, call, flow, slots) ||
        !find_missed(service, call, flow, slots, &plan))
        return;
    if (call->backfill.request.is_dry_run) {
        call->data = g_string_new(NULL);
        backfill_encode_dry_run(&flow->id, &call->backfill.request, slots->len, &plan, call->data);
        return;
    }
    if (!has_room(service, call))
        return;
    plan.request_digest = has_key ? g_strdup(call->start.request_digest) : NULL;
    if (!try_create(service, call, flow, slots->len, &plan))
        call_fail(call, RESULT_UNAVAILABLE, "another writer was first, and is not there");
}

/* ---- reading and steering ---- */

static bool load_own(Service *service, ServiceCall *call, Backfill *ret_backfill)
{
    g_autoptr(GError) error = NULL;
    bool is_read = service_load_backfill(service, &call->backfill.id, ret_backfill, NULL, &error);
    if (!is_read && error->code != FLOWOPS_NOT_FOUND) {
        call_fail_with(service, call, error);
        return false;
    }
    if (!is_read || strcmp(ret_backfill->owner.text, call->caller.text) != 0 ||
        strcmp(ret_backfill->flow_id.text, call->flow_id.text) != 0) {
        call_fail(call, RESULT_NOT_FOUND, "no backfill %s of flow %s", call->backfill.id.text, call->flow_id.text);
        return false;
    }
    return true;
}

void service_get_backfill(Service *service, ServiceCall *call)
{
    Backfill backfill;
    if (load_own(service, call, &backfill))
        answer(call, &backfill);
}

/* One attempt. True when the call is settled. */
static bool try_steer(Service *service, ServiceCall *call, Bell *latch)
{
    Backfill backfill, next;
    g_autoptr(GError) error = NULL;
    if (!load_own(service, call, &backfill))
        return true;
    switch (backfill_command(&backfill, call->backfill.command, BACKFILL_BY_USER, &call->caller,
                             clock_wall_ms(service->clock), &next)) {
    case BACKFILL_NOTHING:
        call->result = RESULT_NOTHING_TO_DO;
        answer(call, &backfill);
        return true;
    case BACKFILL_REJECT:
        call_fail(call, RESULT_CONFLICT, "the backfill is %s", backfill_status_name(backfill.status));
        return true;
    case BACKFILL_APPEND:
        break;
    }
    if (service_append_backfill(service, &next, NULL, latch, &error)) {
        answer(call, &next);
        scheduler_note_backfill(service, &next.id);
        return true;
    }
    if (error->code == FLOWOPS_CONFLICT)
        return false;
    call_fail(call, call_result_of(error), "%s", error->message);
    return true;
}

void service_steer_backfill(Service *service, ServiceCall *call)
{
    Bell latch;
    bool is_settled = false;
    bell_init(&latch);
    for (int i = 0; i < WRITE_ATTEMPTS && !is_settled; i++)
        is_settled = try_steer(service, call, &latch);
    bell_done(&latch);
    if (!is_settled)
        call_fail(call, RESULT_UNAVAILABLE, "other writers were first again and again");
}
