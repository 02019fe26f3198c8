/* Which flows have a schedule and how far each has come: everything at the start, then what is changed. */
#include "service/scheduler_internal.h"

#include <string.h>

#include "base/log.h"

#define PAGE 1000
#define QUEUE_PAGE 200
#define POLL_PAGE 500
#define LOOK_PAGE 50 /* flows of one step that are looked at for slots that wait: some 50 ms with a store far away */
/* A poll looks back so far: replicas' clocks may differ so much, and a version may show so long after its instant. What is
 * missed all the same is found when everything is read again, or when the flow is due. */
#define POLL_OVERLAP_MS 30000

/* ---- a flow's state ---- */

static void init_state(Planned *planned)
{
    Flow unborn = {.created_at = planned->created_at};
    schedule_state_init(&planned->state, &unborn);
}

/* The slots that wait: the last n_queued that were QUEUED. NULL with error set. */
static int64_t *read_queue(Service *service, const Id *flow_id, const ScheduleDecision *last, GError **error)
{
    g_autofree int64_t *queue = g_new(int64_t, last->n_queued);
    int64_t left = last->n_queued, before = last->n + 1;
    while (left > 0) {
        g_autoptr(DecisionPage) page =
            store_read_newest_decisions(service->store, flow_id->text, before, QUEUE_PAGE, error);
        if (page == NULL)
            return NULL;
        for (size_t i = 0; i < page->n_entries && left > 0; i++) {
            ScheduleDecision decision;
            Id of;
            if (!schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &of, error))
                return NULL;
            if (decision.verdict == SLOT_QUEUED)
                queue[--left] = decision.slot;
            before = decision.n;
        }
        if (left > 0 && !page->has_more) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL,
                        "flow %s: fewer decisions were queued than its last one says", flow_id->text);
            return NULL;
        }
    }
    return g_steal_pointer(&queue);
}

/* From the last decision; NULL: there is none. */
static bool set_state(Scheduler *scheduler, Planned *planned, const char *text, size_t size, GError **error)
{
    ScheduleDecision last;
    Id flow_id;
    int64_t *queue = NULL;
    if (text != NULL) {
        if (!schedule_decision_decode(text, size, &last, &flow_id, error))
            return false;
        if (last.n_queued > SCHEDULE_QUEUE_MAX) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "flow %s: its last decision has too many waiting",
                        planned->flow_id.text);
            return false;
        }
        if (last.n_queued > 0 && (queue = read_queue(scheduler->service, &planned->flow_id, &last, error)) == NULL)
            return false;
    }
    schedule_state_done(&planned->state);
    if (text != NULL)
        schedule_state_from_tail(&planned->state, &last, queue);
    else
        init_state(planned);
    planned->must_reload = false;
    return true;
}

bool scheduler_give_up(Scheduler *scheduler, const Id *flow_id, const GError *error)
{
    service_note_store(scheduler->service, flowops_error_is_retryable(error) ? error : NULL);
    if (flowops_error_is_retryable(error)) {
        scheduler_fail(scheduler, "reading", error->message);
        return false;
    }
    if (g_hash_table_add(scheduler->given_up, g_strdup(flow_id->text)))
        log_error(LOG_ERROR, "a flow cannot be scheduled", error, "flowId", flow_id->text, NULL);
    Planned *planned = g_hash_table_lookup(scheduler->by_flow, flow_id->text);
    if (planned != NULL)
        scheduler_forget(scheduler, planned);
    return true;
}

bool scheduler_reload_state(Scheduler *scheduler, Planned **ret_planned)
{
    Planned *planned = *ret_planned;
    Id flow_id = planned->flow_id;
    g_autoptr(GError) error = NULL;
    g_autoptr(DecisionPage) page =
        store_read_newest_decisions(scheduler->service->store, planned->flow_id.text, INT64_MAX, 1, &error);
    bool is_read = page != NULL;
    if (is_read && page->n_entries > 0)
        is_read = set_state(scheduler, planned, page->entries[0].text, page->entries[0].size, &error);
    else if (is_read)
        is_read = set_state(scheduler, planned, NULL, 0, &error);
    if (is_read)
        return true;
    if (!scheduler_give_up(scheduler, &flow_id, error))
        return false;
    *ret_planned = NULL;
    return true;
}

/* ---- a flow's versions ---- */

/* The schedule of this version, and nothing known of what was decided. */
static Planned *add(Scheduler *scheduler, const Flow *flow, GError **error)
{
    Schedule *schedule = service_open_schedule(scheduler->service, flow, error);
    if (schedule == NULL)
        return NULL;
    Planned *planned = g_new(Planned, 1);
    *planned = (Planned){.flow_id = flow->id,
                         .must_reload = true,
                         .round = scheduler->round,
                         .order = g_str_hash(flow->id.text) ^ scheduler->salt,
                         .schedule = schedule,
                         .created_at = flow->created_at,
                         .wake_at = WAKE_NEVER};
    init_state(planned);
    g_hash_table_insert(scheduler->by_flow, planned->flow_id.text, planned);
    return planned;
}

static bool is_scheduled(const Flow *flow)
{
    return flow != NULL && !flow->is_deleted && flow->cron != NULL;
}

static bool has_other_slots(const Planned *planned, const Flow *newest)
{
    return !is_scheduled(newest) || newest->scheduled_since != schedule_since(planned->schedule);
}

/* What waits never starts. */
static bool end_queue(Scheduler *scheduler, const Id *flow_id, Planned *planned, const Flow *newest)
{
    if (newest == NULL) /* gone with its journal */
        return true;
    if (planned != NULL)
        return scheduler_end_queue(scheduler, planned, newest);
    if (newest->version == 1) /* it never had a schedule */
        return true;
    Planned past = {.flow_id = *flow_id, .must_reload = true, .created_at = newest->created_at};
    bool is_done = scheduler_end_queue(scheduler, &past, newest);
    schedule_state_done(&past.state);
    return is_done;
}

/* A flow deleted by force stops what its slots have started, also what was started just now. */
static bool end_schedule(Scheduler *scheduler, const Id *flow_id, Planned *planned, const Flow *newest)
{
    if (!end_queue(scheduler, flow_id, planned, newest))
        return false;
    planned = g_hash_table_lookup(scheduler->by_flow, flow_id->text);
    if (planned != NULL)
        scheduler_forget(scheduler, planned);
    g_hash_table_remove(scheduler->given_up, flow_id->text);
    if (newest == NULL || !newest->stops_runs)
        return true;
    bool is_done = scheduler_carry_out(scheduler);
    atomic_store(&scheduler->service->may_have_runs_to_stop, true);
    bell_ring(&scheduler->service->sweeper_bell);
    return is_done;
}

bool scheduler_take_flow(Scheduler *scheduler, const Id *flow_id, const Flow *newest)
{
    g_autoptr(GError) error = NULL;
    Planned *planned = g_hash_table_lookup(scheduler->by_flow, flow_id->text);
    if (planned != NULL && newest != NULL && newest->version <= schedule_flow_version(planned->schedule))
        return true;
    if (planned != NULL && newest != NULL && has_other_slots(planned, newest)) {
        int64_t changed_at = is_scheduled(newest) ? newest->scheduled_since : newest->updated_at;
        if (!scheduler_decide_until(scheduler, planned, MIN(changed_at, clock_wall_ms(scheduler->service->clock))))
            return false;
        planned = g_hash_table_lookup(scheduler->by_flow, flow_id->text);
    }
    if (!is_scheduled(newest))
        return end_schedule(scheduler, flow_id, planned, newest);
    if (planned == NULL) {
        planned = add(scheduler, newest, &error);
        if (planned == NULL)
            return scheduler_give_up(scheduler, flow_id, error);
        if (!scheduler_reload_state(scheduler, &planned)) {
            scheduler_forget(scheduler, planned);
            return false;
        }
        if (planned == NULL)
            return true;
    } else {
        Schedule *schedule = service_open_schedule(scheduler->service, newest, &error);
        if (schedule == NULL)
            return scheduler_give_up(scheduler, flow_id, error);
        schedule_free(planned->schedule);
        planned->schedule = schedule;
    }
    g_hash_table_remove(scheduler->given_up, flow_id->text);
    scheduler_plan(scheduler, planned, true);
    return true;
}

bool scheduler_look_at_flow(Scheduler *scheduler, const Id *flow_id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) newest = service_load_flow(scheduler->service, flow_id->text, 0, &error);
    if (newest == NULL && error->code != FLOWOPS_NOT_FOUND)
        return scheduler_give_up(scheduler, flow_id, error);
    return scheduler_take_flow(scheduler, flow_id, newest);
}

/* ---- everything ---- */

static bool take_item(Scheduler *scheduler, const ScheduledFlow *item, const Id *page_end)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = flow_decode(item->flow, item->flow_size, &error);
    if (flow == NULL)
        return scheduler_give_up(scheduler, page_end, error);
    Planned *planned = g_hash_table_lookup(scheduler->by_flow, flow->id.text);
    if (planned != NULL) {
        planned->round = scheduler->round;
        return scheduler_take_flow(scheduler, &flow->id, flow);
    }
    planned = add(scheduler, flow, &error);
    if (planned == NULL || !set_state(scheduler, planned, item->decision, item->decision_size, &error)) {
        if (planned != NULL)
            scheduler_forget(scheduler, planned); /* so that the next reading begins anew */
        return scheduler_give_up(scheduler, &flow->id, error);
    }
    g_hash_table_remove(scheduler->given_up, flow->id.text);
    scheduler_plan(scheduler, planned, true);
    return true;
}

/* Those that the reading did not meet have no schedule any more. */
static bool look_at_missing(Scheduler *scheduler)
{
    g_autoptr(GArray) missing = g_array_new(FALSE, FALSE, sizeof(Id));
    GHashTableIter iter;
    gpointer planned;
    g_hash_table_iter_init(&iter, scheduler->by_flow);
    while (g_hash_table_iter_next(&iter, NULL, &planned))
        if (((const Planned *)planned)->round != scheduler->round)
            g_array_append_val(missing, ((const Planned *)planned)->flow_id);
    for (guint i = 0; i < missing->len; i++)
        if (!scheduler_look_at_flow(scheduler, &g_array_index(missing, Id, i)))
            return false;
    return true;
}

bool scheduler_load(Scheduler *scheduler)
{
    Service *service = scheduler->service;
    int64_t began_at = clock_monotonic_ms(service->clock), began_wall = clock_wall_ms(service->clock);
    Id after = {""};
    bool has_more = true;
    scheduler->round++;
    while (has_more && !scheduler_is_over(scheduler)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ScheduledPage) page = store_read_scheduled_flows(service->store, after.text, PAGE, &error);
        service_note_store(service, error);
        if (page == NULL) {
            scheduler_fail(scheduler, "reading schedules", error->message);
            return false;
        }
        for (size_t i = 0; i < page->n_items; i++)
            if (!take_item(scheduler, &page->items[i], &page->last_id))
                return false;
        has_more = page->has_more;
        after = page->last_id;
    }
    if (has_more || !look_at_missing(scheduler))
        return false;
    scheduler->changed_from = began_wall - POLL_OVERLAP_MS;
    if (!scheduler->is_loaded && g_hash_table_size(scheduler->by_flow) > 0) {
        g_autofree char *n = g_strdup_printf("%u", g_hash_table_size(scheduler->by_flow));
        g_autofree char *ms = g_strdup_printf("%" G_GINT64_FORMAT, clock_monotonic_ms(service->clock) - began_at);
        log_event(LOG_INFO, "schedules are loaded", "flows", n, "ms", ms, NULL);
    }
    return true;
}

static bool has_waiting(const DecisionPage *page)
{
    ScheduleDecision last;
    Id of;
    return page->n_entries > 0 &&
           schedule_decision_decode(page->entries[0].text, page->entries[0].size, &last, &of, NULL) &&
           last.n_queued > 0;
}

bool scheduler_look_for_ended(Scheduler *scheduler)
{
    Store *store = scheduler->service->store;
    Id ids[LOOK_PAGE];
    size_t n = 0;
    g_autoptr(GError) error = NULL;
    if (scheduler->has_looked)
        return true;
    bool is_read = store_list_flow_ids(store, scheduler->looked_until.text, LOOK_PAGE, ids, &n, &error);
    for (size_t i = 0; i < n && is_read; i++) {
        if (g_hash_table_contains(scheduler->by_flow, ids[i].text))
            continue;
        g_autoptr(DecisionPage) page = store_read_newest_decisions(store, ids[i].text, INT64_MAX, 1, &error);
        is_read = page != NULL;
        if (is_read && has_waiting(page) && !scheduler_look_at_flow(scheduler, &ids[i]))
            return false;
    }
    service_note_store(scheduler->service, error);
    if (!is_read) {
        scheduler_fail(scheduler, "looking for slots that wait in vain", error->message);
        return false;
    }
    scheduler->has_looked = n < LOOK_PAGE;
    if (n > 0)
        scheduler->looked_until = ids[n - 1];
    return true;
}

/* ---- what other replicas change ---- */

/* Looked at once for each version; what has no schedule is not kept otherwise. */
static bool take_changed(Scheduler *scheduler, const FlowVersion *flow, GHashTable *polled)
{
    const Planned *planned = g_hash_table_lookup(scheduler->by_flow, flow->flow_id.text);
    const int64_t *seen = g_hash_table_lookup(scheduler->polled, flow->flow_id.text);
    bool is_known = planned != NULL ? schedule_flow_version(planned->schedule) >= flow->version
                                    : seen != NULL && *seen >= flow->version;
    if (!is_known && !scheduler_look_at_flow(scheduler, &flow->flow_id))
        return false;
    g_hash_table_replace(polled, g_strdup(flow->flow_id.text), g_memdup2(&flow->version, sizeof flow->version));
    return true;
}

bool scheduler_poll(Scheduler *scheduler)
{
    Service *service = scheduler->service;
    int64_t began_wall = clock_wall_ms(service->clock);
    g_autoptr(GHashTable) polled = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autofree FlowVersion *flows = g_new(FlowVersion, POLL_PAGE);
    FlowVersion last;
    size_t n = POLL_PAGE;
    for (const FlowVersion *after = NULL; n == POLL_PAGE; after = &last) {
        g_autoptr(GError) error = NULL;
        bool is_read =
            store_list_changed_flows(service->store, scheduler->changed_from, after, POLL_PAGE, flows, &n, &error);
        service_note_store(service, error);
        if (!is_read) {
            scheduler_fail(scheduler, "looking for changed flows", error->message);
            return false;
        }
        for (size_t i = 0; i < n; i++)
            if (!take_changed(scheduler, &flows[i], polled))
                return false;
        if (n > 0)
            last = flows[n - 1];
    }
    g_hash_table_unref(scheduler->polled);
    scheduler->polled = g_steal_pointer(&polled);
    scheduler->changed_from = began_wall - POLL_OVERLAP_MS;
    return true;
}
