/* api.c - from a request to its handler: host, route, identity, id; and the calls that handlers wait for without
 * blocking their loop. */
#include "http/api_internal.h"

#include <string.h>

#include "base/log.h"
#include "http/auth.h"

/* ---- the table ---- */

const Route *api_routes(size_t *ret_n_routes)
{
    static const Route routes[] = {
        /* the most asked for comes first */
        {HTTP_GET, API_BASE_PATH "/runs/{id}/status", runs_get_status, false},
        {HTTP_POST, API_BASE_PATH "/flows/{id}/start", runs_start, false},
        {HTTP_GET, API_BASE_PATH "/stream/{id}", sse_open, false},
        {HTTP_POST, API_BASE_PATH "/flows", flows_create, false},
        {HTTP_GET, API_BASE_PATH "/flows", flows_list, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}", flows_get, false},
        {HTTP_PUT, API_BASE_PATH "/flows/{id}", flows_update, false},
        {HTTP_DELETE, API_BASE_PATH "/flows/{id}", flows_delete, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}/runs", runs_list_of_flow, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}/schedule", flows_get_schedule, false},
        {HTTP_POST, API_BASE_PATH "/schedules/preview", schedules_preview, false},
        {HTTP_POST, API_BASE_PATH "/flows/{id}/backfill", backfills_create, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}/backfills", backfills_list, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}/backfills/{id}", backfills_get, false},
        {HTTP_POST, API_BASE_PATH "/flows/{id}/backfills/{id}/pause", backfills_pause, false},
        {HTTP_POST, API_BASE_PATH "/flows/{id}/backfills/{id}/resume", backfills_resume, false},
        {HTTP_POST, API_BASE_PATH "/flows/{id}/backfills/{id}/cancel", backfills_cancel, false},
        {HTTP_GET, API_BASE_PATH "/flows/{id}/schedule/decisions", decisions_list, false},
        {HTTP_GET, API_BASE_PATH "/runs", runs_list, false},
        {HTTP_POST, API_BASE_PATH "/runs/{id}/pause", runs_pause, false},
        {HTTP_POST, API_BASE_PATH "/runs/{id}/resume", runs_resume, false},
        {HTTP_POST, API_BASE_PATH "/runs/{id}/stop", runs_stop, false},
        {HTTP_GET, API_BASE_PATH "/runs/{id}/events", runs_read_events, false},
        {HTTP_DELETE, API_BASE_PATH "/runs/{id}", runs_delete, false},
        {HTTP_GET, "/healthz", health_live, true},
        {HTTP_GET, "/readyz", health_ready, true},
        {HTTP_GET, "/metrics", health_metrics, true},
    };
    *ret_n_routes = G_N_ELEMENTS(routes);
    return routes;
}

/* ---- life ---- */

Api *api_new(const ApiOptions *options, Service *service, Hub *hub, const Clock *clock)
{
    g_assert(options->n_loops > 0);
    Api *api = g_new0(Api, 1);
    api->auth_mode = options->auth_mode;
    api->gateway_secret = g_strdup(options->gateway_secret);
    api->local_user = options->local_user;
    api->cursor_secret = options->cursor_secret;
    api->cursor_secret_arg = options->cursor_secret_arg;
    api->version = g_strdup(options->version);
    api->zone_names = options->zone_names;
    api->started_at = clock_wall_ms(clock);
    api->service = service;
    api->hub = hub;
    api->clock = clock;
    api->n_loops = options->n_loops;
    api->loops = g_new0(ApiLoop, api->n_loops);
    size_t n_routes;
    api_routes(&n_routes);
    for (size_t i = 0; i < api->n_loops; i++) {
        api->loops[i].api = api;
        api->loops[i].scratch = g_string_sized_new(4096);
        api->loops[i].counts = request_counts_new(n_routes + 1);
    }
    bell_init(&api->detach_bell);
    return api;
}

void api_set_server(Api *api, HttpServer *server)
{
    __atomic_store_n(&api->server, server, __ATOMIC_RELEASE);
}

static void detach_loop(HttpTask *task)
{
    ApiLoop *loop = (ApiLoop *)(void *)((char *)task - offsetof(ApiLoop, detach_task));
    loop->is_detached = true;
    __atomic_add_fetch(&loop->api->n_detached, 1, __ATOMIC_RELEASE);
    bell_ring(&loop->api->detach_bell);
}

void api_detach(Api *api)
{
    HttpServer *server = __atomic_load_n(&api->server, __ATOMIC_ACQUIRE);
    if (!server || __atomic_load_n(&api->n_detached, __ATOMIC_ACQUIRE) == api->n_loops)
        return;
    for (size_t i = 0; i < api->n_loops; i++) {
        api->loops[i].detach_task.run = detach_loop;
        http_loop_post(http_server_loop(server, i), &api->loops[i].detach_task);
    }
    while (__atomic_load_n(&api->n_detached, __ATOMIC_ACQUIRE) < api->n_loops)
        bell_wait(&api->detach_bell, -1);
}

void api_free(Api *api)
{
    if (!api)
        return;
    for (size_t i = 0; i < api->n_loops; i++) {
        sse_loop_free(api->loops[i].sse);
        g_string_free(api->loops[i].scratch, TRUE);
        request_counts_free(api->loops[i].counts);
    }
    bell_done(&api->detach_bell);
    g_free(api->loops);
    g_free(api->gateway_secret);
    g_free(api->version);
    g_free(api);
}

/* ---- requests ---- */

/* Headers are joined: of two X-User-Id one may be a client's own, and none of them counts. */
static bool authenticate(ApiRequest *request)
{
    const Api *api = request->api;
    const char *why = NULL;
    g_autofree char *user_id = http_request_header_joined(request->http, "X-User-Id");
    g_autofree char *secret = NULL;
    bool is_known;
    if (api->auth_mode == AUTH_NONE) {
        is_known = auth_check_none(user_id, &api->local_user, &request->caller, &why);
    } else {
        secret = http_request_header_joined(request->http, "X-Gateway-Secret");
        is_known = auth_check_gateway(user_id, secret, api->gateway_secret, &request->caller, &why);
    }
    if (!is_known)
        api_reply_error(request, 401, NULL, why);
    return is_known;
}

static bool parse_id(const char *segment, size_t size, Id *ret_id)
{
    char text[ID_TEXT_SIZE];
    if (size != sizeof(text) - 1)
        return false;
    memcpy(text, segment, size);
    text[size] = '\0';
    return id_parse(text, ret_id);
}

static bool take_ids(ApiRequest *request, const RouteMatch *match)
{
    if ((!match->id || parse_id(match->id, match->id_size, &request->id)) &&
        (!match->second_id || parse_id(match->second_id, match->second_id_size, &request->second_id)))
        return true;
    api_reply_error(request, 400, NULL, "the id in the path is not a UUID");
    return false;
}

static void dispatch(ApiRequest *request)
{
    size_t n_routes;
    const Route *routes = api_routes(&n_routes);
    RouteMatch match =
        routes_match(routes, n_routes, http_request_method(request->http), http_request_path(request->http));
    HttpHeader allow = {"Allow", match.allow};
    switch (match.outcome) {
    case ROUTE_NO_PATH:
        api_reply_error(request, 404, NULL, "there is nothing at this path");
        return;
    case ROUTE_NO_METHOD:
        api_reply_no_method(request, match.allow);
        return;
    case ROUTE_OPTIONS:
        api_reply_empty(request, 204, &allow, 1);
        return;
    case ROUTE_FOUND:
        request->route = (size_t)(match.route - routes);
        break;
    }
    if (match.route->is_public) {
        match.route->handler(request);
        return;
    }
    if (!authenticate(request) || !take_ids(request, &match))
        return;
    if (request->loop->is_detached)
        api_reply_failure(request, RESULT_BUSY, NULL, "the service is shutting down");
    else
        match.route->handler(request);
}

void api_handle(HttpRequest *http, void *arg)
{
    Api *api = arg;
    size_t index = http_loop_index(http_request_loop(http));
    g_assert(index < api->n_loops);
    ApiRequest request = {.api = api, .loop = &api->loops[index], .http = http};
    request.began_us = clock_monotonic_us(api->clock);
    api_routes(&request.route); /* none, until it is found */
    if (api->auth_mode == AUTH_NONE && !host_is_loopback(http_request_header(http, "Host")))
        api_reply_error(&request, 400, "Host", "without authentication only a loopback name is served");
    else
        dispatch(&request);
}

void api_error_body(int status, const char *message, const char *request_id, GString *out, void *arg)
{
    Api *api = arg;
    __atomic_add_fetch(&api->n_refused[request_status_index(status)], 1, __ATOMIC_RELAXED);
    log_event(LOG_DEBUG, "request refused", "requestId", request_id, "reason", message, NULL);
    EnvelopeError error = {.code = envelope_code_of_status(status), .message = message};
    if (status == 503)
        error.outcome = "none";
    envelope_write_error(out, &error, clock_wall_ms(api->clock), request_id);
}

/* ---- calls ---- */

typedef struct {
    HttpTask task;
    ApiRequest request;
    HttpLoop *http_loop;
    ServiceCall *call;
    ApiFinish finish;
} Exchange;

static void exchange_finish(HttpTask *task)
{
    Exchange *exchange = (Exchange *)(void *)task; /* its first member */
    exchange->finish(&exchange->request, exchange->call);
    service_call_free(exchange->call);
    g_free(exchange);
}

/* Thread: the service's. */
static void exchange_done(ServiceCall *call)
{
    Exchange *exchange = call->arg;
    http_loop_post(exchange->http_loop, &exchange->task);
}

ServiceCall *api_call_new(const ApiRequest *request, CallKind kind)
{
    ServiceCall *call = service_call_new(kind, exchange_done, NULL);
    call->caller = request->caller;
    return call;
}

bool api_submit(const ApiRequest *request, ServiceCall *call, ApiFinish finish)
{
    Exchange *exchange = g_new(Exchange, 1);
    *exchange = (Exchange){.task = {.run = exchange_finish},
                           .request = *request,
                           .http_loop = http_request_loop(request->http),
                           .call = call,
                           .finish = finish};
    call->arg = exchange;
    g_autoptr(GError) error = NULL;
    if (service_submit(request->api->service, call, &error))
        return true;
    api_reply_failure(request, RESULT_BUSY, NULL, error->message);
    service_call_free(call);
    g_free(exchange);
    return false;
}
