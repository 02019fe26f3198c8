/* api_metrics.c - GET /metrics: Prometheus text format 0.0.4. Names, types and units: docs/metrics.md. Nothing is kept here:
 * threads count for themselves (base/histogram.h), a scrape adds up. */
#include "http/api_internal.h"

#include <inttypes.h>
#include <string.h>

#include "base/process_figures.h"

/* ---- the format ---- */

static void put_help(GString *out, const char *name, const char *type, const char *help)
{
    g_string_append_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_metric(GString *out, const char *name, const char *type, const char *help, int64_t value)
{
    put_help(out, name, type, help);
    g_string_append_printf(out, "%s %" PRId64 "\n", name, value);
}

static void put_gauge(GString *out, const char *name, const char *help, int64_t value)
{
    put_metric(out, name, "gauge", help, value);
}

static void put_counter(GString *out, const char *name, const char *help, int64_t value)
{
    put_metric(out, name, "counter", help, value);
}

/* value / units, exactly: units is 1, 1000 or 1000000. */
static void put_decimal(GString *out, int64_t value, int64_t units)
{
    int n_digits = units == 1 ? 0 : units == 1000 ? 3 : 6;
    g_string_append_printf(out, "%" PRId64, value / units);
    if (n_digits > 0)
        g_string_append_printf(out, ".%0*" PRId64, n_digits, value % units);
}

static void put_milliseconds(GString *out, const char *name, const char *type, const char *help, int64_t value_ms)
{
    put_help(out, name, type, help);
    g_string_append_printf(out, "%s ", name);
    put_decimal(out, value_ms, 1000);
    g_string_append_c(out, '\n');
}

/* labels: "" or `name="value",`; units of the histogram's values make one of the metric's. */
static void put_histogram(GString *out, const char *name, const char *labels, const HistogramShape *shape,
                          const Histogram *histogram, int64_t units)
{
    int64_t n = 0;
    for (size_t i = 0; i < shape->n_bounds; i++) {
        n += histogram->n[i];
        g_string_append_printf(out, "%s_bucket{%sle=\"%g\"} %" PRId64 "\n", name, labels,
                               (double)shape->bounds[i] / (double)units, n);
    }
    n += histogram->n[shape->n_bounds];
    g_string_append_printf(out, "%s_bucket{%sle=\"+Inf\"} %" PRId64 "\n", name, labels, n);
    g_autofree char *own = *labels == '\0' ? g_strdup("") : g_strdup_printf("{%.*s}", (int)strlen(labels) - 1, labels);
    g_string_append_printf(out, "%s_sum%s ", name, own);
    put_decimal(out, histogram->sum, units);
    g_string_append_printf(out, "\n%s_count%s %" PRId64 "\n", name, own, n);
}

/* ---- the service ---- */

static void put_journal(GString *out, const ServiceHealth *health)
{
    static const HistogramShape size_items = COMMIT_SIZE_SHAPE, duration_us = COMMIT_DURATION_SHAPE_US;
    const CommitFigures *commits = &health->commits;
    put_counter(out, "flowops_commits_total", "Commits of the store since the start.", health->n_commits);
    put_counter(out, "flowops_commit_failures_total", "Writes that the store did not take, or may have taken.",
                commits->n_failures);
    put_help(out, "flowops_commit_size_items", "histogram", "Requests and batches that one commit answered.");
    put_histogram(out, "flowops_commit_size_items", "", &size_items, &commits->size_items, 1);
    put_help(out, "flowops_commit_duration_seconds", "histogram", "How long commits took.");
    put_histogram(out, "flowops_commit_duration_seconds", "", &duration_us, &commits->duration_us, 1000000);
    put_counter(out, "flowops_appends_total", "Appends to journals since the start.", health->n_appends);
    put_counter(out, "flowops_events_appended_total", "Journal events since the start.", health->n_events_appended);
    put_help(out, "flowops_run_statuses_total", "counter",
             "Run statuses in journals, by status; PENDING: runs created.");
    for (size_t i = RUN_PENDING; i < G_N_ELEMENTS(commits->n_runs); i++)
        g_string_append_printf(out, "flowops_run_statuses_total{status=\"%s\"} %" PRId64 "\n",
                               run_status_name((RunStatus)i), commits->n_runs[i]);
    put_help(out, "flowops_step_statuses_total", "counter",
             "Step statuses in journals, by status, from all engines; RUNNING: attempts started.");
    for (size_t i = STEP_RUNNING; i < G_N_ELEMENTS(commits->n_steps); i++)
        g_string_append_printf(out, "flowops_step_statuses_total{status=\"%s\"} %" PRId64 "\n",
                               step_status_name((StepStatus)i), commits->n_steps[i]);
}

static void put_bus(GString *out, const ServiceHealth *health)
{
    put_gauge(out, "flowops_bus_up", "1 while the bus answers.", health->is_bus_up);
    put_gauge(out, "flowops_relay_idle", "1 while every command that may be published is on the bus.",
              health->is_relay_idle);
    put_milliseconds(out, "flowops_relay_lag_seconds", "gauge",
                     "Age of the first command in line that is not on the bus; 0: there is none.",
                     health->relay_lag_ms);
    put_gauge(out, "flowops_commands_waiting", "Commands in memory that are not on the bus.",
              (int64_t)health->n_commands_waiting);
    put_counter(out, "flowops_commands_published_total", "Commands published since the start.",
                health->n_commands_published);
    put_gauge(out, "flowops_bus_commands_queued",
              "Commands on the bus and not taken yet (Kafka: not acknowledged yet).", (int64_t)health->n_bus_commands);
    put_gauge(out, "flowops_bus_statuses_queued", "Statuses on their way to this service and not polled yet.",
              (int64_t)health->n_bus_statuses);
    put_gauge(out, "flowops_status_lag", "Messages on execution.status not yet taken in; -1: not known.",
              health->status_lag);
    put_gauge(out, "flowops_status_partitions", "Partitions of execution.status that this replica reads.",
              health->n_partitions);
    put_counter(out, "flowops_statuses_ignored_total", "Statuses that were understood and changed nothing.",
                health->n_statuses_ignored);
    put_counter(out, "flowops_dead_letters_total", "Statuses put aside since the start.", health->n_dead_letters);
}

static void put_service(GString *out, const ServiceHealth *health)
{
    put_gauge(out, "flowops_store_up", "1 while the store answers.", health->is_store_up);
    put_gauge(out, "flowops_writes_queued", "Requests and batches waiting for the writer.",
              (int64_t)health->n_writes_queued);
    put_gauge(out, "flowops_reads_queued", "Requests waiting for a store reader.", (int64_t)health->n_reads_queued);
    put_gauge(out, "flowops_runs_open", "Runs that have not ended.", health->n_open_runs);
    put_gauge(out, "flowops_runs_cached", "Runs in the cache.", (int64_t)health->n_runs_cached);
    put_gauge(out, "flowops_run_cache_bytes", "Size of the run cache.", (int64_t)health->cache_size_bytes);
}

static void put_schedules(GString *out, const ScheduleFigures *figures)
{
    static const HistogramShape shape = {LATENESS_BUCKETS - 1, LATENESS_BOUNDS_MS};
    static const char *const verdicts[] = {"started", "queued", "skipped", "reset"};
    put_gauge(out, "flowops_schedules", "Flows that have a schedule.", figures->n_flows);
    put_gauge(out, "flowops_schedules_given_up",
              "Flows that are not scheduled: their schedule or its journal is damaged.", figures->n_given_up);
    put_gauge(out, "flowops_schedule_owed", "Slots that were decided to start and have no run yet.", figures->n_owed);
    put_help(out, "flowops_schedule_decisions_total", "counter", "Decisions recorded since the start, by verdict.");
    for (size_t i = 0; i < G_N_ELEMENTS(verdicts); i++)
        g_string_append_printf(out, "flowops_schedule_decisions_total{verdict=\"%s\"} %" PRId64 "\n", verdicts[i],
                               figures->n_decisions[i]);
    Histogram lateness = {.sum = figures->late_sum_ms};
    for (size_t i = 0; i < LATENESS_BUCKETS; i++)
        lateness.n[i] = figures->n_late[i];
    put_help(out, "flowops_schedule_lateness_seconds", "histogram", "How long after their time slots were started.");
    put_histogram(out, "flowops_schedule_lateness_seconds", "", &shape, &lateness, 1000);
}

/* ---- HTTP and streams ---- */

static void collect_route(const Api *api, size_t route, RouteCounts *ret)
{
    *ret = (RouteCounts){0};
    for (size_t i = 0; i < api->n_loops; i++)
        request_counts_collect(api->loops[i].counts, route, ret);
}

/* What has no route is "other" in both. */
static char *route_labels(size_t route)
{
    size_t n_routes;
    const Route *routes = api_routes(&n_routes);
    bool is_route = route < n_routes;
    return g_strdup_printf("method=\"%s\",route=\"%s\",", is_route ? http_method_name(routes[route].method) : "other",
                           is_route ? routes[route].pattern : "other");
}

/* Routes and statuses that were met. */
static void put_requests(GString *out, const Api *api)
{
    size_t n_routes;
    api_routes(&n_routes);
    g_autofree RouteCounts *counts = g_new(RouteCounts, n_routes + 1);
    put_help(out, "flowops_http_requests_total", "counter", "Requests answered, by method, route and status.");
    for (size_t r = 0; r <= n_routes; r++) {
        g_autofree char *labels = route_labels(r);
        collect_route(api, r, &counts[r]);
        for (size_t i = 0; i < REQUEST_STATUSES; i++)
            if (counts[r].n_by_status[i] > 0)
                g_string_append_printf(out, "flowops_http_requests_total{%sstatus=\"%d\"} %" PRId64 "\n", labels,
                                       request_statuses[i], counts[r].n_by_status[i]);
    }
    put_help(out, "flowops_http_request_duration_seconds", "histogram",
             "From a request's last byte to its answer; streams: to their opening.");
    for (size_t r = 0; r <= n_routes; r++) {
        int64_t n = 0;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS_MAX; i++)
            n += counts[r].duration_us.n[i];
        if (n == 0)
            continue;
        g_autofree char *labels = route_labels(r);
        put_histogram(out, "flowops_http_request_duration_seconds", labels, &request_duration_us,
                      &counts[r].duration_us, 1000000);
    }
}

static void put_refused(GString *out, const Api *api)
{
    put_help(out, "flowops_http_refused_total", "counter",
             "Requests that did not arrive whole and well-formed, or found no room; by status.");
    for (size_t i = 0; i < REQUEST_STATUSES; i++) {
        int64_t n = counter_read(&api->n_refused[i]);
        if (n > 0 || request_statuses[i] == 400)
            g_string_append_printf(out, "flowops_http_refused_total{status=\"%d\"} %" PRId64 "\n", request_statuses[i],
                                   n);
    }
}

static void put_http(GString *out, const Api *api)
{
    HttpServer *server = __atomic_load_n(&api->server, __ATOMIC_ACQUIRE);
    if (server) {
        HttpLoad load = http_server_load(server);
        put_gauge(out, "flowops_http_connections", "Open connections.", (int64_t)load.n_connections);
        put_gauge(out, "flowops_http_accept_paused", "1 while no connection is accepted, for want of room.",
                  load.is_accept_paused);
        put_gauge(out, "flowops_http_requests_in_flight", "Requests on their way in, in work or on their way out.",
                  (int64_t)load.n_busy);
        put_counter(out, "flowops_http_requests_received_total", "Requests that arrived whole.", load.n_requests);
        put_gauge(out, "flowops_http_streams", "Open streams.", (int64_t)load.n_streams);
    }
    int64_t n_frames = 0;
    for (size_t i = 0; i < api->n_loops; i++)
        n_frames += counter_read(&api->loops[i].n_frames);
    put_counter(out, "flowops_stream_frames_total", "Frames written to streams; comments are not counted.", n_frames);
    put_requests(out, api);
    put_refused(out, api);
}

static void put_hub(GString *out, Hub *hub)
{
    HubLoad load = hub_load(hub);
    put_gauge(out, "flowops_hub_runs", "Runs that streams listen to.", (int64_t)load.n_runs);
    put_gauge(out, "flowops_hub_listeners", "Listeners of those runs: one per loop and run.",
              (int64_t)load.n_listeners);
    put_gauge(out, "flowops_hub_bytes", "Journal texts kept for streams.", (int64_t)load.size_bytes);
}

/* ---- the process: names that all exporters share ---- */

static void put_process(GString *out)
{
    ProcessFigures figures;
    if (!process_figures_read(&figures))
        return;
    put_milliseconds(out, "process_cpu_seconds_total", "counter", "User and system CPU time spent in seconds.",
                     figures.cpu_ms);
    put_milliseconds(out, "process_start_time_seconds", "gauge",
                     "Start time of the process since the epoch in seconds.", figures.start_ms);
    put_gauge(out, "process_virtual_memory_bytes", "Virtual memory size in bytes.", figures.virtual_bytes);
    put_gauge(out, "process_resident_memory_bytes", "Resident memory size in bytes.", figures.resident_bytes);
    put_gauge(out, "process_open_fds", "Number of open file descriptors.", figures.n_open_fds);
    put_gauge(out, "process_max_fds", "Maximum number of open file descriptors; -1: no limit.", figures.max_fds);
    put_gauge(out, "process_threads", "Number of threads.", figures.n_threads);
}

void health_metrics(ApiRequest *request)
{
    const Api *api = request->api;
    g_autoptr(GString) out = g_string_sized_new(32 * 1024);
    put_help(out, "flowops_build_info", "gauge", "Always 1; the label says which build this is.");
    g_string_append_printf(out, "flowops_build_info{version=\"%s\"} 1\n", api->version);
    if (!request->loop->is_detached) {
        ServiceHealth health = service_health(api->service);
        put_service(out, &health);
        put_journal(out, &health);
        put_bus(out, &health);
        put_schedules(out, &health.schedules);
    }
    put_hub(out, api->hub);
    put_http(out, api);
    put_process(out);
    api_reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", out);
}
