/* Reader threads: what has to be read from the store is read here, so that no HTTP loop ever waits for a disk. */
#include "service/service_internal.h"

#include <string.h>

#include "domain/schedule_preview.h"
#include "service/backfills.h"

void call_fail_with(Service *service, ServiceCall *call, const GError *error)
{
    if (error->code != FLOWOPS_NOT_FOUND)
        service_note_store(service, error);
    call_fail(call, call_result_of(error), "%s", error->message);
}

Flow *call_load_own_flow(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = service_load_flow(service, call->flow_id.text, 0, &error);
    if (flow == NULL && error->code != FLOWOPS_NOT_FOUND) {
        call_fail_with(service, call, error);
        return NULL;
    }
    if (flow == NULL || flow->is_deleted || strcmp(flow->owner.text, call->caller.text) != 0) {
        call_fail(call, RESULT_NOT_FOUND, "no flow %s", call->flow_id.text);
        return NULL;
    }
    return g_steal_pointer(&flow);
}

/* From the journal, so that every replica says the same whoever decides. A cron or zone that is not known here (any more)
 * has no next run. */
static bool find_next_run(Service *service, const Flow *flow, int64_t *ret_run_at, GError **error)
{
    g_autoptr(Schedule) schedule = flow->cron != NULL ? service_open_schedule(service, flow, NULL) : NULL;
    *ret_run_at = INSTANT_NONE;
    if (schedule == NULL)
        return true;
    g_autoptr(DecisionPage) page = store_read_newest_decisions(service->store, flow->id.text, INT64_MAX, 1, error);
    if (page == NULL)
        return false;
    ScheduleDecision last;
    ScheduleState state;
    Id flow_id;
    schedule_state_init(&state, flow);
    if (page->n_entries > 0) {
        if (!schedule_decision_decode(page->entries[0].text, page->entries[0].size, &last, &flow_id, error))
            return false;
        last.n_queued = 0; /* slots that wait are decided */
        schedule_state_from(&state, &last);
    }
    if (!schedule_next_run(schedule, &state, clock_wall_ms(service->clock), ret_run_at))
        *ret_run_at = INSTANT_NONE;
    return true;
}

static void get_flow(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = call_load_own_flow(service, call);
    int64_t next_run_at;
    if (flow == NULL)
        return;
    if (!find_next_run(service, flow, &next_run_at, &error)) {
        call_fail_with(service, call, error);
        return;
    }
    call->data = g_string_sized_new(flow->steps_json_size + 512);
    flow_encode_detail(flow, next_run_at, call->data);
    call->tag = flow->version;
}

static void show_schedule(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow =
        call->kind == CALL_PREVIEW_SCHEDULE ? flow_ref(call->flow) : call_load_own_flow(service, call);
    if (flow == NULL)
        return;
    g_autoptr(Schedule) schedule = flow->cron != NULL ? service_open_schedule(service, flow, &error) : NULL;
    if (error != NULL) {
        call_fail(call, RESULT_CONFLICT, "%s", error->message); /* saved where the zone was known */
        return;
    }
    int64_t from_ms = call->query.from == INSTANT_NONE ? clock_wall_ms(service->clock) : call->query.from;
    call->data = g_string_new(NULL);
    schedule_preview_encode(flow, schedule, from_ms, call->limit, call->data);
}

static void read_decisions(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = call_load_own_flow(service, call);
    if (flow == NULL)
        return;
    call->decisions =
        store_read_newest_decisions(service->store, call->flow_id.text, call->before, call->limit, &error);
    if (call->decisions == NULL) {
        call_fail_with(service, call, error);
        return;
    }
    const DecisionPage *page = call->decisions;
    ScheduleDecision last;
    Id flow_id;
    if (page->n_entries == 0)
        return;
    const DecisionEntry *entry = &page->entries[page->n_entries - 1];
    if (schedule_decision_decode(entry->text, entry->size, &last, &flow_id, &error))
        call->next_before = last.n;
    else
        call_fail_with(service, call, error);
}

static RunView *load_run(Service *service, const ServiceCall *call, GError **error)
{
    if (call->kind == CALL_READ_EVENTS)
        return service_peek_run(service, call->run_id.text, error);
    RunView *view = service->is_shared && call->is_exact ? service_load_current(service, call->run_id.text, error)
                                                         : service_load_document(service, call->run_id.text, error);
    if (view != NULL)
        service_note_seq(service, call->run_id.text, view->seq);
    return view;
}

/* The caller's run; somebody else's does not exist. */
static RunView *load_own_run(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    RunView *view = load_run(service, call, &error);
    if (view == NULL && error->code != FLOWOPS_NOT_FOUND) {
        call_fail_with(service, call, error);
        return NULL;
    }
    if (view == NULL || strcmp(view->owner.text, call->caller.text) != 0) {
        run_view_unref(view);
        call_fail(call, RESULT_NOT_FOUND, "no run %s", call->run_id.text);
        return NULL;
    }
    return view;
}

static void get_run(Service *service, ServiceCall *call)
{
    call->view = load_own_run(service, call);
    if (call->view != NULL)
        call->tag = call->view->seq;
}

static void list(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    if (call->kind == CALL_LIST_FLOWS)
        call->list = store_list_flows(service->store, &call->query, &error);
    else if (call->kind == CALL_LIST_RUNS)
        call->list = store_list_runs(service->store, &call->query, &error);
    else
        call->list = store_list_backfills(service->store, &call->query, &error);
    if (call->list == NULL)
        call_fail_with(service, call, error);
}

static void read_events(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    call->view = load_own_run(service, call);
    if (call->view == NULL)
        return;
    call->journal =
        store_read_journal(service->store, call->run_id.text, call->after, call->limit, BUS_MAX_MESSAGE_BYTES, &error);
    if (call->journal == NULL)
        call_fail_with(service, call, error);
    else if (call->journal->n_entries == 0 && call->after == 0) /* deleted by another replica */
        call_fail(call, RESULT_NOT_FOUND, "no such run");
    else if (call->journal->n_entries > 0)
        service_note_seq(service, call->run_id.text, call->journal->entries[call->journal->n_entries - 1].seq);
}

static void serve(Service *service, ServiceCall *call)
{
    call->result = RESULT_OK;
    if (atomic_load(&service->is_past_deadline)) {
        call_fail(call, RESULT_BUSY, "the service is shutting down");
        call->done(call);
        return;
    }
    switch (call->kind) {
    case CALL_GET_FLOW:
        get_flow(service, call);
        break;
    case CALL_GET_RUN:
        get_run(service, call);
        break;
    case CALL_LIST_FLOWS:
    case CALL_LIST_RUNS:
    case CALL_LIST_BACKFILLS:
        list(service, call);
        break;
    case CALL_READ_EVENTS:
        read_events(service, call);
        break;
    case CALL_CREATE_BACKFILL:
        service_create_backfill(service, call);
        break;
    case CALL_COMMAND_BACKFILL:
        service_steer_backfill(service, call);
        break;
    case CALL_GET_BACKFILL:
        service_get_backfill(service, call);
        break;
    case CALL_GET_SCHEDULE:
    case CALL_PREVIEW_SCHEDULE:
        show_schedule(service, call);
        break;
    case CALL_READ_DECISIONS:
        read_decisions(service, call);
        break;
    default:
        g_assert_not_reached(); /* the writer's */
    }
    call->done(call);
}

void reader_main(void *arg)
{
    Service *service = arg;
    void *call;
    size_t n;
    while (queue_pop(service->reads, &call, 1, -1, &n) == QUEUE_OK)
        serve(service, call);
}
