/* Start, stop, calls, and the loading of runs and flows that every thread of the service shares. */
#include "service/service_internal.h"

#include <string.h>

#include "base/log.h"

#define ZONES_MAX 1024                      /* of 4 KiB; more than the some 600 names there are: none is made twice */
#define DEFINITIONS_BYTES (8 * 1024 * 1024) /* older versions that running runs still need for a START */
#define JOURNAL_PAGE_ENTRIES 1000
#define JOURNAL_PAGE_BYTES (1024 * 1024)

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
    if (atomic_exchange(&service->is_store_up, is_up) == is_up)
        return;
    if (is_up)
        log_event(LOG_INFO, "the store answers again", NULL);
    else
        log_error(LOG_ERROR, "the store does not answer", error, NULL);
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

/* The state behind the whole journal; `from` (NULL: nothing) is what is folded already. NOT_FOUND when there is no
 * journal. */
static Run *fold_journal(Service *service, const Run *from, const char *run_id, GError **error)
{
    g_autoptr(Run) run = from != NULL ? run_copy(from) : run_new();
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

/* A view of what was folded, cached unless something happened to the run since `mark`. Takes the run. */
static RunView *view_of_folded(Service *service, Run *run, int64_t ended_monotonic_ms, uint64_t mark)
{
    GString *detail = g_string_sized_new(1024);
    run_encode_detail(run, detail);
    size_t detail_size = detail->len;
    RunView *view = run_view_new(&run->id, &run->flow_id, &run->owner, run->status, run_phase(run), run->seq, run,
                                 g_string_free(detail, FALSE), detail_size);
    if (view->phase != PHASE_OPEN)
        view->ended_monotonic_ms = ended_monotonic_ms;
    cache_put_read(service->runs, run->id.text, view, run_view_version(view), run_view_size_bytes(view), mark);
    return view;
}

/* When a run that is found to have ended did so, as far as this process can tell: what another one ended may still get
 * late events, so it counts from when that is seen. */
static int64_t ended_when_seen(const Service *service, const RunView *earlier)
{
    if (!service->is_shared)
        return 0;
    if (earlier != NULL && earlier->phase != PHASE_OPEN)
        return earlier->ended_monotonic_ms;
    return clock_monotonic_ms(service->clock);
}

RunView *service_load_run(Service *service, const char *run_id, bool *ret_is_current, GError **error)
{
    RunView *cached = cache_get(service->runs, run_id);
    if (ret_is_current != NULL)
        *ret_is_current = !service->is_shared;
    if (cached != NULL && cached->run != NULL)
        return cached;
    uint64_t mark = cache_mark(service->runs, run_id);
    Run *run = fold_journal(service, NULL, run_id, error);
    RunView *view = run != NULL ? view_of_folded(service, run, ended_when_seen(service, cached), mark) : NULL;
    run_view_unref(cached);
    if (ret_is_current != NULL)
        *ret_is_current = true;
    return view;
}

/* Whether the journal goes further than the cached state: one round trip, none when it is known. Reading on where nothing is
 * takes two. */
static bool goes_further(Service *service, const RunView *cached, bool *ret_is_newer, GError **error)
{
    RunSeq known = {.run_id = cached->run_id, .seq = cached->seq};
    *ret_is_newer = cache_get_version(service->known_seqs, cached->run_id.text) > cached->seq;
    return *ret_is_newer || store_find_newer(service->store, &known, 1, ret_is_newer, error);
}

/* A cached state with what its journal has beyond it. Takes the reference. */
static RunView *catch_up(Service *service, RunView *cached, GError **error)
{
    uint64_t mark = cache_mark(service->runs, cached->run_id.text);
    bool is_newer;
    if (!goes_further(service, cached, &is_newer, error)) {
        run_view_unref(cached);
        return NULL;
    }
    if (!is_newer)
        return cached;
    g_autoptr(Run) run = fold_journal(service, cached->run, cached->run_id.text, error);
    if (run != NULL && run->seq == cached->seq)
        return cached;
    RunView *view =
        run != NULL ? view_of_folded(service, g_steal_pointer(&run), ended_when_seen(service, cached), mark) : NULL;
    run_view_unref(cached);
    return view;
}

RunView *service_load_current(Service *service, const char *run_id, GError **error)
{
    bool is_current;
    RunView *view = service_load_run(service, run_id, &is_current, error);
    return view == NULL || is_current ? view : catch_up(service, view, error);
}

static RunView *read_document(Service *service, const char *run_id, const RunView *earlier, GError **error)
{
    uint64_t mark = cache_mark(service->runs, run_id);
    g_autoptr(RunDocument) document = store_get_run(service->store, run_id, error);
    if (document == NULL)
        return NULL;
    RunView *view =
        run_view_new(&document->run_id, &document->flow_id, &document->owner, document->status, document->phase,
                     document->seq, NULL, g_steal_pointer(&document->detail), document->detail_size);
    if (view->phase != PHASE_OPEN)
        view->ended_monotonic_ms = ended_when_seen(service, earlier);
    cache_put_read(service->runs, run_id, view, run_view_version(view), run_view_size_bytes(view), mark);
    return view;
}

static RunView *load_shared_document(Service *service, const char *run_id, RunView *cached, GError **error)
{
    /* A settled run may have been deleted by another replica, which its journal does not tell. */
    if (cached != NULL && cached->run != NULL && cached->phase != PHASE_SETTLED)
        return catch_up(service, run_view_ref(cached), error);
    g_autoptr(GError) own_error = NULL;
    RunView *view = read_document(service, run_id, cached, &own_error);
    int64_t known_seq = MAX(cache_get_version(service->known_seqs, run_id), cached != NULL ? cached->seq : 0);
    if (view != NULL && view->seq >= known_seq)
        return view;
    run_view_unref(view);
    if (own_error != NULL && own_error->code != FLOWOPS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return NULL;
    }
    if (own_error != NULL) { /* no document (yet, or any more): only the journal can tell */
        cache_remove(service->runs, run_id);
        cache_remove(service->known_seqs, run_id);
    }
    return service_load_current(service, run_id, error);
}

RunView *service_load_document(Service *service, const char *run_id, GError **error)
{
    RunView *cached = cache_get(service->runs, run_id);
    if (!service->is_shared)
        return cached != NULL ? cached : read_document(service, run_id, NULL, error);
    RunView *view = load_shared_document(service, run_id, cached, error);
    run_view_unref(cached);
    if (view != NULL)
        service_note_seq(service, run_id, view->seq);
    return view;
}

RunView *service_peek_run(Service *service, const char *run_id, GError **error)
{
    RunView *cached = cache_get(service->runs, run_id);
    return cached != NULL ? cached : service_load_document(service, run_id, error);
}

void service_note_seq(Service *service, const char *run_id, int64_t seq)
{
    if (service->is_shared)
        cache_put(service->known_seqs, run_id, service, seq, 0);
}

static size_t flow_weight(const Flow *flow)
{
    return flow->steps_json_size * 3 + 1024;
}

static Flow *load_newest_flow(Service *service, const char *flow_id, GError **error)
{
    uint64_t mark = cache_mark(service->flows, flow_id);
    Flow *flow = store_get_flow(service->store, flow_id, 0, error);
    if (flow != NULL)
        cache_put_read(service->flows, flow_id, flow, flow->version, flow_weight(flow), mark);
    return flow;
}

Flow *service_load_flow(Service *service, const char *flow_id, int64_t version, GError **error)
{
    if (version == 0 && service->is_shared)
        return load_newest_flow(service, flow_id, error);
    Flow *flow = cache_get(service->flows, flow_id);
    if (flow != NULL && (version == 0 || flow->version == version))
        return flow;
    flow_unref(flow);
    if (version == 0)
        return load_newest_flow(service, flow_id, error);
    g_autofree char *key = g_strdup_printf("%s:%" G_GINT64_FORMAT, flow_id, version);
    flow = cache_get(service->definitions, key);
    if (flow == NULL)
        flow = store_get_flow(service->store, flow_id, version, error);
    if (flow != NULL)
        cache_put(service->definitions, key, flow, version, flow_weight(flow));
    return flow;
}

Schedule *service_open_schedule(Service *service, const Flow *flow, GError **error)
{
    MUTEX_SCOPE(&service->zones_mu);
    return schedule_new(flow, service->zones, error);
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
    decision_page_free(call->decisions);
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
    return service->is_shared ? NULL : cache_get(service->runs, run_id);
}

bool service_is_relay_idle(Service *service)
{
    return !atomic_load(&service->is_relay_open) ||
           (atomic_load(&service->is_relay_idle) && queue_load(service->orders).n_items == 0);
}

/* ---- start and stop ---- */

static bool count_open_runs(Service *service, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    int64_t n_open;
    if (store_count_open_runs(service->store, NULL, &n_open, &own_error)) {
        atomic_store(&service->n_open_runs, n_open);
        return true;
    }
    if (!service->is_shared) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return false;
    }
    service_note_store(service, own_error); /* a server that is down now may come up: the sweeper counts again */
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
    struct {
        Thread **thread;
        const char *name;
        ThreadMain thread_main;
    } others[] = {{&service->sweeper, "sweeper", sweeper_main},
                  {&service->intake, "intake", intake_main},
                  {&service->relay, "relay", relay_main},
                  {service->is_shared ? &service->updates : NULL, "updates", updates_main},
                  {service->options.has_scheduler ? &service->scheduler : NULL, "scheduler", scheduler_main}};
    for (size_t i = 0; i < G_N_ELEMENTS(others); i++) {
        if (others[i].thread == NULL)
            continue;
        *others[i].thread = thread_start(others[i].name, ROLE_BUS, others[i].thread_main, service, error);
        if (*others[i].thread == NULL)
            return false;
    }
    return true;
}

static void order_free_item(void *order)
{
    order_free(order);
}

/* Of known seqs, which are versions of no value. */
static void *no_ref(void *value)
{
    return value;
}

static void no_unref(void *value G_GNUC_UNUSED)
{
}

Service *service_start(Store *store, Bus *bus, Hub *hub, const Clock *clock, const ServiceOptions *options,
                       GError **error)
{
    static const CacheValueOps view_ops = {view_ref, view_unref};
    static const CacheValueOps flow_ops = {flow_ref_value, flow_unref_value};
    static const CacheValueOps no_ops = {no_ref, no_unref};
    Service *service = g_new0(Service, 1);
    service->store = store;
    service->bus = bus;
    service->hub = hub;
    service->clock = clock;
    service->is_shared = store_is_shared(store);
    service->options = *options;
    service->runs = cache_new(options->cache_bytes, &view_ops);
    service->flows = cache_new(options->cache_bytes / 2, &flow_ops);
    service->definitions = cache_new(DEFINITIONS_BYTES, &flow_ops);
    service->writes = queue_new("writes", WRITE_QUEUE_ITEMS, WRITE_QUEUE_BYTES, NULL);
    service->reads = queue_new("reads", READ_QUEUE_ITEMS, READ_QUEUE_BYTES, NULL);
    service->readers = g_new0(Thread *, options->n_readers);
    mutex_init(&service->zones_mu);
    service->zones = cron_zones_new(ZONES_MAX);
    scheduler_notes_init(&service->notes);
    service->known_seqs = cache_new(KNOWN_SEQS_BYTES, &no_ops);
    service->orders = queue_new("orders", ORDERS_ITEMS, ORDERS_BYTES, order_free_item);
    bell_init(&service->relay_bell);
    bell_init(&service->sweeper_bell);
    bell_init(&service->stop_bell);
    atomic_store(&service->is_accepting, true);
    atomic_store(&service->may_have_runs_to_stop, true);
    atomic_store(&service->is_store_up, true);
    atomic_store(&service->is_bus_up, true);
    atomic_store(&service->is_relay_open, bus_is_durable(bus));
    atomic_store(&service->relay_waits_since, INSTANT_NONE);
    atomic_store(&service->is_outbox_behind, true); /* what an earlier process left */
    if (!count_open_runs(service, error) || !start_threads(service, error)) {
        service_close_doors(service);
        service_stop(service);
        return NULL;
    }
    return service;
}

void service_close_doors(Service *service)
{
    atomic_store(&service->is_accepting, false);
    if (!bus_is_durable(service->bus))
        atomic_store(&service->is_relay_open, false);
}

void service_stop(Service *service)
{
    if (service == NULL)
        return;
    atomic_store(&service->is_past_deadline, true);
    atomic_store(&service->is_stopping, true);
    bell_close(&service->relay_bell);
    bell_close(&service->sweeper_bell);
    bell_close(&service->stop_bell);
    bell_close(&service->notes.bell);
    /* Those who feed the writer first, then the writer, which answers what it was given. */
    thread_join(service->intake);
    thread_join(service->relay);
    thread_join(service->sweeper);
    thread_join(service->updates);
    thread_join(service->scheduler);
    queue_close(service->writes);
    thread_join(service->writer);
    queue_close(service->reads);
    for (size_t i = 0; i < service->options.n_readers; i++)
        thread_join(service->readers[i]);
    g_free(service->readers);
    queue_free(service->writes);
    queue_free(service->reads);
    queue_free(service->orders);
    cache_free(service->runs);
    cache_free(service->flows);
    cache_free(service->definitions);
    cache_free(service->known_seqs);
    bell_done(&service->relay_bell);
    bell_done(&service->sweeper_bell);
    bell_done(&service->stop_bell);
    scheduler_notes_done(&service->notes);
    cron_zones_free(service->zones);
    mutex_done(&service->zones_mu);
    g_free(service);
}
