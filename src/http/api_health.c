/* api_health.c - for those who watch: alive, ready, figures. Needs no caller and shows no user's data. */
#include "http/api_internal.h"

#include <inttypes.h>

/* ---- GET /healthz: the process answers ---- */

void health_live(ApiRequest *request)
{
    g_autoptr(GString) payload = g_string_sized_new(128);
    JsonWriter writer = json_writer(payload);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "status", "up");
    json_put_string(&writer, "version", request->api->version);
    json_put_instant(&writer, "startedAt", request->api->started_at);
    json_end_object(&writer);
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, NULL);
}

/* ---- GET /readyz: requests would be served ---- */

/* NULL: nothing is amiss. A driver's words about the store are for the log alone. */
static char *degradation(const ServiceHealth *health)
{
    if (!health->is_bus_up)
        return g_strconcat("the bus is down; commands are accepted and wait for it",
                           *health->bus_reason != '\0' ? ": " : "", health->bus_reason, NULL);
    if (health->is_store_impaired)
        return g_strdup("the store lacks indexes, lists may be slow; the log says why");
    return NULL;
}

void health_ready(ApiRequest *request)
{
    ServiceHealth health = {0};
    if (!request->loop->is_detached)
        health = service_health(request->api->service);
    if (!health.is_accepting) {
        api_reply_failure(request, RESULT_BUSY, NULL, "the service is shutting down");
        return;
    }
    if (!health.is_store_up) {
        api_reply_failure(request, RESULT_BUSY, NULL, "the store does not answer");
        return;
    }
    g_autoptr(GString) payload = g_string_sized_new(128);
    JsonWriter writer = json_writer(payload);
    json_begin_object(&writer, NULL);
    g_autofree char *reason = degradation(&health);
    json_put_string(&writer, "status", reason == NULL ? "ready" : "degraded");
    json_put_string(&writer, "reason", reason);
    json_end_object(&writer);
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, NULL);
}

/* ---- GET /metrics: Prometheus text format 0.0.4 ---- */

static void put_help(GString *out, const char *name, const char *type, const char *help)
{
    g_string_append_printf(out, "# HELP flowops_%s %s\n# TYPE flowops_%s %s\n", name, help, name, type);
}

static void put_metric(GString *out, const char *name, const char *type, const char *help, int64_t value)
{
    put_help(out, name, type, help);
    g_string_append_printf(out, "flowops_%s %" PRId64 "\n", name, value);
}

static void put_service(GString *out, const ServiceHealth *health)
{
    static const char gauge[] = "gauge", counter[] = "counter";
    put_metric(out, "store_up", gauge, "1 while the store answers.", health->is_store_up);
    put_metric(out, "bus_up", gauge, "1 while the bus answers.", health->is_bus_up);
    put_metric(out, "relay_idle", gauge, "1 while every command that may be published is on the bus.",
               health->is_relay_idle);
    put_metric(out, "status_lag", gauge, "Messages on execution.status not yet taken in; -1: not known.",
               health->status_lag);
    put_metric(out, "status_partitions", gauge, "Partitions of execution.status that this replica reads.",
               health->n_partitions);
    put_metric(out, "writes_queued", gauge, "Requests and batches waiting for the writer.",
               (int64_t)health->n_writes_queued);
    put_metric(out, "reads_queued", gauge, "Requests waiting for a store reader.", (int64_t)health->n_reads_queued);
    put_metric(out, "runs_open", gauge, "Runs that have not ended.", health->n_open_runs);
    put_metric(out, "runs_cached", gauge, "Runs in the cache.", (int64_t)health->n_runs_cached);
    put_metric(out, "run_cache_bytes", gauge, "Size of the run cache.", (int64_t)health->cache_size_bytes);
    put_metric(out, "commits_total", counter, "Commits of the store since the start.", health->n_commits);
    put_metric(out, "appends_total", counter, "Appends to journals since the start.", health->n_appends);
    put_metric(out, "events_appended_total", counter, "Journal events since the start.", health->n_events_appended);
    put_metric(out, "statuses_ignored_total", counter, "Statuses that were understood and changed nothing.",
               health->n_statuses_ignored);
    put_metric(out, "dead_letters_total", counter, "Statuses put aside since the start.", health->n_dead_letters);
    put_metric(out, "commands_published_total", counter, "Commands published since the start.",
               health->n_commands_published);
}

static void put_schedules(GString *out, const ScheduleFigures *figures)
{
    static const int64_t bounds_ms[LATENESS_BUCKETS - 1] = LATENESS_BOUNDS_MS;
    static const char *const verdicts[] = {"started", "queued", "skipped", "reset"};
    put_metric(out, "schedules", "gauge", "Flows that have a schedule.", figures->n_flows);
    put_metric(out, "schedules_given_up", "gauge",
               "Flows that are not scheduled: their schedule or its journal is damaged.", figures->n_given_up);
    put_metric(out, "schedule_owed", "gauge", "Slots that were decided to start and have no run yet.", figures->n_owed);
    put_help(out, "schedule_decisions_total", "counter", "Decisions recorded since the start, by verdict.");
    for (size_t i = 0; i < G_N_ELEMENTS(verdicts); i++)
        g_string_append_printf(out, "flowops_schedule_decisions_total{verdict=\"%s\"} %" PRId64 "\n", verdicts[i],
                               figures->n_decisions[i]);
    put_help(out, "schedule_lateness_seconds", "histogram", "How long after their time slots were started.");
    int64_t n = 0;
    for (size_t i = 0; i < LATENESS_BUCKETS - 1; i++) {
        n += figures->n_late[i];
        g_string_append_printf(out, "flowops_schedule_lateness_seconds_bucket{le=\"%g\"} %" PRId64 "\n",
                               (double)bounds_ms[i] / 1000, n);
    }
    n += figures->n_late[LATENESS_BUCKETS - 1];
    g_string_append_printf(out,
                           "flowops_schedule_lateness_seconds_bucket{le=\"+Inf\"} %" PRId64 "\n"
                           "flowops_schedule_lateness_seconds_sum %g\n"
                           "flowops_schedule_lateness_seconds_count %" PRId64 "\n",
                           n, (double)figures->late_sum_ms / 1000, n);
}

static void put_hub(GString *out, Hub *hub)
{
    HubLoad load = hub_load(hub);
    put_metric(out, "hub_runs", "gauge", "Runs that streams listen to.", (int64_t)load.n_runs);
    put_metric(out, "hub_listeners", "gauge", "Listeners of those runs: one per loop and run.",
               (int64_t)load.n_listeners);
    put_metric(out, "hub_bytes", "gauge", "Journal texts kept for streams.", (int64_t)load.size_bytes);
}

static void put_http(GString *out, const Api *api)
{
    HttpServer *server = __atomic_load_n(&api->server, __ATOMIC_ACQUIRE);
    if (server) {
        HttpLoad load = http_server_load(server);
        put_metric(out, "http_connections", "gauge", "Open connections.", (int64_t)load.n_connections);
        put_metric(out, "http_streams", "gauge", "Open streams.", (int64_t)load.n_streams);
        put_metric(out, "http_requests_total", "counter", "Requests since the start.", load.n_requests);
        put_metric(out, "http_accept_paused", "gauge", "1 while no connection is accepted, for want of room.",
                   load.is_accept_paused);
    }
    put_help(out, "http_replies_total", "counter", "Replies by class of status; streams are not counted.");
    for (size_t class = 2; class <= 5; class ++) {
        int64_t n = 0;
        for (size_t i = 0; i < api->n_loops; i++)
            n += __atomic_load_n(&api->loops[i].n_replies[class], __ATOMIC_RELAXED);
        g_string_append_printf(out, "flowops_http_replies_total{status=\"%zuxx\"} %" PRId64 "\n", class, n);
    }
}

void health_metrics(ApiRequest *request)
{
    const Api *api = request->api;
    g_autoptr(GString) out = g_string_sized_new(4096);
    put_help(out, "build_info", "gauge", "Always 1; the label says which build this is.");
    g_string_append_printf(out, "flowops_build_info{version=\"%s\"} 1\n", api->version);
    if (!request->loop->is_detached) {
        ServiceHealth health = service_health(api->service);
        put_service(out, &health);
        put_schedules(out, &health.schedules);
    }
    put_hub(out, api->hub);
    put_http(out, api);
    api_reply_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", out);
}
