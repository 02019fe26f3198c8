/* The order of start and shutdown. What is started later leans on what is started earlier, so the end runs backwards,
 * with one exception: the loops outlive the service, because answers are posted to them. */
#include "app/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/backends.h"
#include "app/descriptors.h"
#include "app/notify.h"
#include "app/process.h"
#include "app/zone_names.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "http/api.h"
#include "service/service.h"

#define HUB_MAX_BYTES (64 * 1024 * 1024) /* of all rings of recent events */
/* From the signal on; what one step leaves is the next one's. An end that takes longer than 10 s is often forced. */
#define DRAIN_MS 5000      /* what is under way has until then to be answered */
#define LAST_WORDS_MS 6000 /* what the engine has said has until then to be taken in */
#define RELAY_MS 7000      /* what was ordered has until then to be on a bus that keeps it */
#define LOOK_MS 10
#define LOCAL_USER "00000000-0000-7000-8000-000000000001" /* AUTH_MODE none without X-User-Id */

typedef struct {
    Clock *clock;
    Store *store;
    Bus *bus;
    Hub *hub;
    Service *service;
    Engine *engine;
    Api *api;
    HttpServer *server;
    char **zone_names;
    size_t max_connections;
} App;

static bool start_core(App *app, const Config *config, GError **error)
{
    app->store = open_store(config, app->clock, error);
    if (app->store == NULL)
        return false;
    BusUse uses = BUS_FOR_SERVICE | (config->has_engine ? BUS_FOR_ENGINE : 0) |
                  (store_is_shared(app->store) ? BUS_FOR_REPLICAS : 0);
    app->bus = open_bus(config, uses, app->clock, error);
    if (app->bus == NULL)
        return false;
    app->hub = hub_new(HUB_MAX_BYTES);
    app->zone_names = zone_names_read();
    ServiceOptions options = {
        .max_open_runs = config->max_open_runs,
        .cache_bytes = (size_t)config->cache_bytes,
        .n_readers = (size_t)config->store_readers,
        .command_resend_ms = config->command_resend_seconds * 1000,
        .has_scheduler = true,
        .run_retention_ms = config->run_retention_days * 24 * 3600 * 1000,
        .zone_names = (const char *const *)app->zone_names,
    };
    app->service = service_start(app->store, app->bus, app->hub, app->clock, &options, error);
    return app->service != NULL;
}

/* Last, when the doors are open for sure: its announcement sets off the hand-over of what an earlier process left. */
static bool start_engine(App *app, const Config *config, GError **error)
{
    if (!config->has_engine)
        return true;
    EngineOptions options = {.max_parallel_steps = (size_t)config->max_parallel_steps};
    app->engine = engine_start(app->bus, app->clock, &options, error);
    return app->engine != NULL;
}

static const unsigned char *cursor_secret(void *store)
{
    return store_secret(store);
}

static bool start_http(App *app, const Config *config, const char *version, GError **error)
{
    ApiOptions api_options = {
        .auth_mode = config->is_gateway ? AUTH_GATEWAY : AUTH_NONE,
        .gateway_secret = config->gateway_secret,
        .cursor_secret = cursor_secret,
        .cursor_secret_arg = app->store,
        .n_loops = (size_t)config->http_loops,
        .version = version,
        .zone_names = (const char *const *)app->zone_names,
    };
    g_strlcpy(api_options.local_user.text, LOCAL_USER, sizeof api_options.local_user.text);
    app->api = api_new(&api_options, app->service, app->hub, app->clock);
    HttpOptions http_options = {
        .address = config->listen_addr,
        .port = (uint16_t)config->port,
        .n_loops = (size_t)config->http_loops,
        .max_connections = app->max_connections,
        .handler = api_handle,
        .error_body = api_error_body,
        .arg = app->api,
    };
    app->server = http_server_start(&http_options, app->clock, error);
    if (app->server == NULL)
        return false;
    api_set_server(app->api, app->server);
    return true;
}

static bool is_http_idle(const App *app)
{
    return http_server_is_idle(app->server);
}

/* What a bus keeps is taken in by the next process. */
static bool is_status_queue_empty(const App *app)
{
    return bus_is_durable(app->bus) || bus_health(app->bus).n_statuses_queued == 0;
}

/* What was ordered need not wait for the next process, unless the bus is away. */
static bool is_relay_idle(const App *app)
{
    return service_is_relay_idle(app->service) || !bus_health(app->bus).is_up;
}

static void wait_until(const App *app, bool (*condition)(const App *app), int64_t deadline_ms)
{
    Bell pause; /* nobody rings it */
    bell_init(&pause);
    while (!condition(app) && clock_monotonic_ms(app->clock) < deadline_ms)
        bell_wait(&pause, LOOK_MS);
    bell_done(&pause);
}

/* Works on whatever was started. The engine's last words are taken in before the bus is shut: a step that was done must
 * not be done again by the next process. */
static void stop_all(App *app)
{
    int64_t began_at = clock_monotonic_ms(app->clock);
    if (app->service != NULL)
        service_close_doors(app->service);
    store_interrupt(app->store);
    if (app->server != NULL) {
        http_server_drain(app->server);
        wait_until(app, is_http_idle, began_at + DRAIN_MS);
    }
    if (app->engine != NULL) {
        engine_stop(app->engine);
        wait_until(app, is_status_queue_empty, began_at + LAST_WORDS_MS);
    }
    if (app->service != NULL)
        wait_until(app, is_relay_idle, began_at + RELAY_MS);
    if (app->bus != NULL)
        bus_shutdown(app->bus);
    if (app->api != NULL)
        api_detach(app->api);
    service_stop(app->service);
    http_server_stop(app->server);
    api_free(app->api);
    if (app->hub != NULL)
        hub_free(app->hub);
    bus_close(app->bus);
    store_close(app->store);
    clock_free(app->clock);
    g_strfreev(app->zone_names);
}

static void print_welcome(const Config *config, const char *base, const char *place)
{
    const char *identity = !config->is_gateway              ? ""
                           : config->gateway_secret == NULL ? " -H \"X-User-Id: " LOCAL_USER "\""
                                                            : " -H \"X-User-Id: " LOCAL_USER
                                                              "\" -H \"X-Gateway-Secret: $GATEWAY_SECRET\"";
    printf(
        "FlowOps Execution Service on %s (process %d)\n"
        "data in %s\n"
        "try: curl -s %s/api/executions/flows%s -H 'Content-Type: application/json' "
        "-d '{\"name\":\"hello\",\"steps\":[{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"hi\"}}]}'\n"
        "then POST .../flows/{id}/start, and watch GET .../stream/{runId}\n",
        base, (int)getpid(), place, base, identity);
    fflush(stdout);
}

static void tell_start(const App *app, const Config *config)
{
    g_autofree char *base = config_url(config, http_server_port(app->server));
    g_autofree char *place = config->mongo_uri != NULL ? g_strdup_printf("MongoDB, database %s", config->mongo_db)
                                                       : g_strdup(config->data_dir);
    if (log_is_text())
        print_welcome(config, base, place);
    process_warn_of_root();
    if (config->is_gateway && config->gateway_secret == NULL)
        log_event(LOG_WARNING, "GATEWAY_SECRET is not set: whoever reaches the port may be any user", NULL);
    if (!config->is_gateway && config->gateway_secret != NULL)
        log_event(LOG_WARNING, "GATEWAY_SECRET is set but not used: only AUTH_MODE=gateway asks for it", NULL);
    if (config->mongo_uri != NULL && config->kafka_broker == NULL)
        log_event(LOG_WARNING,
                  "MongoDB without Kafka: no other service may use this database, its engine would be given every run",
                  NULL);
    log_event(LOG_INFO, "ready", "address", base, "data", place, "broker", config->kafka_broker, NULL);
}

/* The loops and the writer are what everything else waits for; neither stands still because a store or a bus is away. */
static void feed_watchdog(void *arg)
{
    App *app = arg;
    bool do_loops_turn = http_server_turns(app->server); /* both are asked each time */
    if (service_writer_moves(app->service) && do_loops_turn)
        notify_manager("WATCHDOG=1");
    else
        log_event(LOG_ERROR, "hung: the service manager is not told that this process is alive", "thread",
                  do_loops_turn ? "writer" : "http", NULL);
}

/* False with the error, or with none when the end was asked for meanwhile. */
static bool start_all(App *app, const Config *config, const char *version, GError **error)
{
    return descriptors_reserve(config, &app->max_connections, error) && start_core(app, config, error) &&
           !process_end_is_asked() && start_http(app, config, version, error) && start_engine(app, config, error);
}

int serve(const Config *config, const char *version)
{
    process_set_up();
    App app = {.clock = clock_new_system()};
    g_autoptr(GError) error = NULL;
    bool is_up = start_all(&app, config, version, &error);
    if (error != NULL) {
        fprintf(stderr, "flowops: %s\n", error->message);
        stop_all(&app);
        return EXIT_FAILURE;
    }
    if (is_up) {
        tell_start(&app, config);
        notify_manager("READY=1");
    }
    const char *signal_name = process_wait_for_end(notify_watchdog_interval_ms(), feed_watchdog, &app);
    notify_manager("STOPPING=1");
    log_event(LOG_INFO, "shutting down", "signal", signal_name, NULL);
    stop_all(&app);
    log_event(LOG_INFO, "stopped", NULL);
    return EXIT_SUCCESS;
}
