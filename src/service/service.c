/* Start, stop, calls, and the loading of runs and flows that every thread of the service shares. */
#include "service/service_internal.h"

#include <string.h>

#include "base/log.h"

#define DEFINITIONS_BYTES (8 * 1024 * 1024) /* older versions that running runs still need for a START */
#define JOURNAL_PAGE_ENTRIES 1000
#define JOURNAL_PAGE_BYTES (1024 * 1024)
#define LEFT_OVER_PAGE 1000

/* ---- views ---- */

RunView *run_view_new(const Id *run_id, const Id *flow_id, const Id *owner, RunStatus status, RunPhase phase,
                      int64_t seq, Run *run, char *detail, size_t detail_size)
{
    RunView *view = g_new0(RunView, 1);
    view->run_id = *run_id;
    view->flow_id = *flow_id;
    view->owner = *owner;
    view->status = status;
    view->phase = phase;
    view->seq = seq;
    view->run = run;
    view->detail = detail;
    view->detail_size = detail_size;
    view->ref_count = 1;
    return view;
}

RunView *run_view_ref(RunView *view)
{
    __atomic_add_fetch(&view->ref_count, 1, __ATOMIC_RELAXED);
    return view;
}

void run_view_unref(RunView *view)
{
    if (view == NULL || __atomic_sub_fetch(&view->ref_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    run_free((Run *)view->run);
    g_free((char *)view->detail);
    g_free(view);
}

size_t run_view_size_bytes(const RunView *view)
{
    size_t size = sizeof *view + view->detail_size + 64;
    if (view->run != NULL)
        size += sizeof(Run) + view->run->n_steps * (sizeof(StepState) + 32) + view->detail_size;
    return size;
}

int64_t run_view_version(const RunView *view)
{
    return 2 * view->seq + (view->run != NULL);
}

static void *view_ref(void *view)
{
    return run_view_ref(view);
}

static void view_unref(void *view)
{
    run_view_unref(view);
}

static void *flow_ref_value(void *flow)
{
    return flow_ref(flow);
}

static void flow_unref_value(void *flow)
{
    flow_unref(flow);
}

/* ---- loading ---- */

CallResult call_result_of(const GError *error)
{
    switch ((FlowopsError)error->code) {
    case FLOWOPS_NOT_FOUND:
        return RESULT_NOT_FOUND;
    case FLOWOPS_CONFLICT:
        return RESULT_CONFLICT;
    case FLOWOPS_BUSY:
        return RESULT_BUSY;
    case FLOWOPS_UNAVAILABLE:
    case FLOWOPS_TIMEOUT:
        return RESULT_UNAVAILABLE;
    case FLOWOPS_UNKNOWN:
        return RESULT_UNKNOWN;
    case FLOWOPS_INVALID:
    case FLOWOPS_INTERNAL:
        break;
    }
    return RESULT_INTERNAL;
}

void service_note_store(Service *service, const GError *error)
{
    bool is_up = error == NULL || !flowops_error_is_retryable(error);
    if (atomic_exchange(&service->is_store_up, is_up) != is_up)
        log_event(is_up ? LOG_INFO : LOG_ERROR, is_up ? "the store answers again" : "the store does not answer", NULL);
}

static bool fold_page(Run *run, const JournalPage *page, GError **error)
{
    for (size_t i = 0; i < page->n_entries; i++) {
        g_autoptr(Event) event = event_decode(page->entries[i].text, page->entries[i].size, error);
        if (event == NULL || !run_fold(run, event, error))
            return false;
    }
    return true;
}

/* NOT_FOUND when there is no journal. */
static Run *fold_journal(Service *service, const char *run_id, GError **error)
{
    g_autoptr(Run) run = run_new();
    for (bool has_more = true; has_more;) {
        g_autoptr(JournalPage) page =
            store_read_journal(service->store, run_id, run->seq, JOURNAL_PAGE_ENTRIES, JOURNAL_PAGE_BYTES, error);
        if (page == NULL)
            return NULL;
        if (!fold_page(run, page, error)) {
            g_prefix_error(error, "journal of run %s: ", run_id);
            (*error)->code = FLOWOPS_INTERNAL;
            return NULL;
        }
        has_more = page->has_more;
    }
    if (run->seq == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "no run %s", run_id);
        return NULL;
    }
    return g_steal_pointer(&run);
}

RunView *service_load_run(Service *service, const char *run_id, GError **error)
{
    RunView *cached = cache_get(service->runs, run_id);
    if (cached != NULL && cached->run != NULL)
        return cached;
    run_view_unref(cached);
    uint64_t mark = cache_mark(service->runs, run_id);
    Run *run = fold_journal(service, run_id, error);
    if (run == NULL)
        return NULL;
    GString *detail = g_string_sized_new(1024);
    run_encode_detail(run, detail);
    size_t detail_size = detail->len;
    RunView *view = run_view_new(&run->id, &run->flow_id, &run->owner, run->status, run_phase(run), run->seq, run,
                                 g_string_free(detail, FALSE), detail_size);
    cache_put_read(service->runs, run_id, view, run_view_version(view), run_view_size_bytes(view), mark);
    return view;
}

RunView *service_load_document(Service *service, const char *run_id, GError **error)
{
    RunView *cached = cache_get(service->runs, run_id);
    if (cached != NULL)
        return cached;
    uint64_t mark = cache_mark(service->runs, run_id);
    g_autoptr(RunDocument) document = store_get_run(service->store, run_id, error);
    if (document == NULL)
        return NULL;
    RunView *view =
        run_view_new(&document->run_id, &document->flow_id, &document->owner, document->status, document->phase,
                     document->seq, NULL, g_steal_pointer(&document->detail), document->detail_size);
    cache_put_read(service->runs, run_id, view, run_view_version(view), run_view_size_bytes(view), mark);
    return view;
}

Flow *service_load_flow(Service *service, const char *flow_id, int64_t version, GError **error)
{
    Flow *flow = cache_get(service->flows, flow_id);
    if (flow != NULL && (version == 0 || flow->version == version))
        return flow;
    flow_unref(flow);
    if (version == 0) {
        uint64_t mark = cache_mark(service->flows, flow_id);
        flow = store_get_flow(service->store, flow_id, 0, error);
        if (flow != NULL)
            cache_put_read(service->flows, flow_id, flow, flow->version, flow->steps_json_size * 3 + 1024, mark);
        return flow;
    }
    g_autofree char *key = g_strdup_printf("%s:%" G_GINT64_FORMAT, flow_id, version);
    flow = cache_get(service->definitions, key);
    if (flow == NULL)
        flow = store_get_flow(service->store, flow_id, version, error);
    if (flow != NULL)
        cache_put(service->definitions, key, flow, version, flow->steps_json_size * 3 + 1024);
    return flow;
}

/* ---- calls ---- */

ServiceCall *service_call_new(CallKind kind, void (*done)(ServiceCall *call), void *arg)
{
    ServiceCall *call = g_new0(ServiceCall, 1);
    call->kind = kind;
    call->done = done;
    call->arg = arg;
    call->query.from = call->query.to = INSTANT_NONE;
    return call;
}

void service_call_free(ServiceCall *call)
{
    if (call == NULL)
        return;
    flow_unref(call->flow);
    json_free(call->body);
    g_free(call->precondition.tags);
    g_free(call->start.triggered_by);
    text_map_done(&call->start.labels);
    text_map_done(&call->start.inputs);
    g_free(call->start.idempotency_key);
    g_free(call->start.request_digest);
    g_free(call->query_text.triggered_by);
    g_free(call->query_text.label_name);
    g_free(call->query_text.label_value);
    g_free(call->message);
    faults_free(call->faults);
    if (call->data != NULL)
        g_string_free(call->data, TRUE);
    run_view_unref(call->view);
    journal_page_free(call->journal);
    list_page_free(call->list);
    g_free(call);
}

static void call_item_done(WriterItem *item)
{
    ServiceCall *call = item->call;
    g_free(item->message);
    g_free(item);
    call->done(call);
}

/* Text that the call keeps while it waits, for the queue's bound. */
static size_t call_weight(const ServiceCall *call)
{
    size_t weight = sizeof *call + text_map_size_bytes(&call->start.labels) + text_map_size_bytes(&call->start.inputs);
    if (call->flow != NULL)
        weight += call->flow->steps_json_size * 3;
    if (call->body != NULL)
        weight += FLOW_MAX_DEFINITION_BYTES;
    return weight;
}

bool service_submit(Service *service, ServiceCall *call, GError **error)
{
    QueueResult result = QUEUE_CLOSED;
    if (atomic_load(&service->is_accepting)) {
        if (call->kind >= CALL_GET_FLOW) {
            result = queue_try_push(service->reads, call, sizeof *call);
        } else {
            WriterItem *item = g_new0(WriterItem, 1);
            item->kind = ITEM_CALL;
            item->call = call;
            item->done = call_item_done;
            result = queue_try_push(service->writes, item, call_weight(call));
            if (result != QUEUE_OK)
                g_free(item);
        }
    }
    if (result == QUEUE_OK)
        return true;
    g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_BUSY,
                        result == QUEUE_FULL ? "too many requests are waiting" : "the service is shutting down");
    return false;
}

RunView *service_find_run(Service *service, const char *run_id)
{
    return cache_get(service->runs, run_id);
}

/* ---- start and stop ---- */

static bool read_left_over(Service *service, GError **error)
{
    int64_t n_open;
    if (!store_count_open_runs(service->store, NULL, &n_open, error))
        return false;
    atomic_store(&service->n_open_runs, n_open);
    if (!service->options.has_engine)
        return true;
    g_autofree Id *ids = g_new(Id, LEFT_OVER_PAGE);
    Id after = {""};
    size_t n;
    do {
        if (!store_list_runs_in_phase(service->store, PHASE_OPEN, INSTANT_NONE, after.text, LEFT_OVER_PAGE, ids, &n,
                                      error))
            return false;
        g_array_append_vals(service->left_over, ids, (guint)n);
        if (n > 0)
            after = ids[n - 1];
    } while (n == LEFT_OVER_PAGE);
    return true;
}

static bool start_threads(Service *service, GError **error)
{
    service->writer = thread_start("writer", ROLE_WRITER, writer_main, service, error);
    if (service->writer == NULL)
        return false;
    for (size_t i = 0; i < service->options.n_readers; i++) {
        g_autofree char *name = g_strdup_printf("reader-%zu", i);
        service->readers[i] = thread_start(name, ROLE_READER, reader_main, service, error);
        if (service->readers[i] == NULL)
            return false;
    }
    service->sweeper = thread_start("sweeper", ROLE_BUS, sweeper_main, service, error);
    if (service->sweeper == NULL)
        return false;
    if (!service->options.has_engine)
        return true; /* nobody would take a command from the in-process bus: the outbox keeps them */
    service->intake = thread_start("intake", ROLE_BUS, intake_main, service, error);
    if (service->intake == NULL)
        return false;
    service->relay = thread_start("relay", ROLE_BUS, relay_main, service, error);
    return service->relay != NULL;
}

Service *service_start(Store *store, Bus *bus, Hub *hub, const Clock *clock, const ServiceOptions *options,
                       GError **error)
{
    static const CacheValueOps view_ops = {view_ref, view_unref};
    static const CacheValueOps flow_ops = {flow_ref_value, flow_unref_value};
    Service *service = g_new0(Service, 1);
    service->store = store;
    service->bus = bus;
    service->hub = hub;
    service->clock = clock;
    service->started_monotonic_ms = clock_monotonic_ms(clock);
    service->options = *options;
    service->runs = cache_new(options->cache_bytes, &view_ops);
    service->flows = cache_new(options->cache_bytes / 2, &flow_ops);
    service->definitions = cache_new(DEFINITIONS_BYTES, &flow_ops);
    service->writes = queue_new("writes", WRITE_QUEUE_ITEMS, WRITE_QUEUE_BYTES, NULL);
    service->reads = queue_new("reads", READ_QUEUE_ITEMS, READ_QUEUE_BYTES, NULL);
    service->readers = g_new0(Thread *, options->n_readers);
    service->left_over = g_array_new(FALSE, FALSE, sizeof(Id));
    bell_init(&service->relay_bell);
    bell_init(&service->sweeper_bell);
    bell_init(&service->stop_bell);
    atomic_store(&service->is_accepting, true);
    atomic_store(&service->may_have_runs_to_stop, true);
    atomic_store(&service->is_store_up, true);
    atomic_store(&service->is_bus_up, true);
    if (!read_left_over(service, error) || !start_threads(service, error)) {
        service_close_doors(service);
        service_stop(service);
        return NULL;
    }
    return service;
}

void service_close_doors(Service *service)
{
    atomic_store(&service->is_accepting, false);
    atomic_store(&service->is_stopping, true);
    bell_close(&service->relay_bell);
    bell_close(&service->sweeper_bell);
    bell_close(&service->stop_bell);
}

void service_stop(Service *service)
{
    if (service == NULL)
        return;
    /* Those who feed the writer first, then the writer, which answers what it was given. */
    atomic_store(&service->is_past_deadline, true);
    thread_join(service->intake);
    thread_join(service->relay);
    thread_join(service->sweeper);
    queue_close(service->writes);
    thread_join(service->writer);
    queue_close(service->reads);
    for (size_t i = 0; i < service->options.n_readers; i++)
        thread_join(service->readers[i]);
    g_free(service->readers);
    queue_free(service->writes);
    queue_free(service->reads);
    cache_free(service->runs);
    cache_free(service->flows);
    cache_free(service->definitions);
    g_array_unref(service->left_over);
    bell_done(&service->relay_bell);
    bell_done(&service->sweeper_bell);
    bell_done(&service->stop_bell);
    g_free(service);
}

ServiceHealth service_health(Service *service)
{
    CacheLoad runs = cache_load(service->runs);
    return (ServiceHealth){
        .is_store_up = atomic_load(&service->is_store_up),
        .is_bus_up = atomic_load(&service->is_bus_up),
        .is_accepting = atomic_load(&service->is_accepting),
        .n_writes_queued = queue_load(service->writes).n_items,
        .n_reads_queued = queue_load(service->reads).n_items,
        .n_open_runs = atomic_load(&service->n_open_runs),
        .n_commits = atomic_load(&service->n_commits),
        .n_appends = atomic_load(&service->n_appends),
        .n_events_appended = atomic_load(&service->n_events_appended),
        .n_statuses_ignored = atomic_load(&service->n_statuses_ignored),
        .n_dead_letters = atomic_load(&service->n_dead_letters),
        .n_commands_published = atomic_load(&service->n_commands_published),
        .n_runs_cached = runs.n_entries,
        .cache_size_bytes = runs.size_bytes,
    };
}
