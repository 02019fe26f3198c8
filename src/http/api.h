/* api.h - FlowOps over HTTP: routes, envelopes, identity, streams. Sits between http_server.h (which knows nothing of
 * flows) and service.h (which knows nothing of HTTP). Shapes and codes: docs/http.md.
 * Thread: api_handle() and api_error_body() on the loops; the rest main. Owner: app.
 *
 * Starting: api_new(), http_server_start() with api_handle, api_error_body and the Api as arg, api_set_server().
 * Stopping: service_close_doors() (new calls are answered 503), http_server_drain(), wait for http_server_is_idle() up
 * to a limit, bus_shutdown(), api_detach(), service_stop(), http_server_stop(), api_free(), hub_free(). The loops must
 * outlive the service, since answers are posted to them, and after api_detach() they call it no more. */
#ifndef FLOWOPS_HTTP_API_H
#define FLOWOPS_HTTP_API_H

#include "base/clock.h"
#include "base/id.h"
#include "http/http_server.h"
#include "hub/hub.h"
#include "service/service.h"

#define API_SECRET_SIZE 32

typedef struct Api Api;

typedef enum {
    AUTH_NONE,    /* one person on one machine: any caller whose Host is a loopback name */
    AUTH_GATEWAY, /* a gateway in front says who calls: X-User-Id, guarded by X-Gateway-Secret when there is a secret */
} AuthMode;

typedef struct {
    AuthMode auth_mode;
    const char *gateway_secret; /* copied; NULL: none is asked for */
    Id local_user;              /* AUTH_NONE: who calls when there is no X-User-Id */
    /* API_SECRET_SIZE bytes, the same for all replicas; NULL while the store has not told yet. Any thread, never blocks. */
    const unsigned char *(*cursor_secret)(void *arg);
    void *cursor_secret_arg;
    size_t n_loops;                /* as in HttpOptions */
    const char *version;           /* copied; shown by /healthz and /metrics */
    const char *const *zone_names; /* as FlowOrigin.zone_names; the caller keeps them while loops run */
} ApiOptions;

Api *api_new(const ApiOptions *options, Service *service, Hub *hub, const Clock *clock);
/* Lets /metrics show the server's load and api_detach() reach its loops. Call once, right after http_server_start(). */
void api_set_server(Api *api, HttpServer *server);
/* Returns when no loop is inside the service nor will call it again; what comes then is answered 503. Idempotent. */
void api_detach(Api *api);
void api_free(Api *api); /* after http_server_stop(); NULL is fine */

void api_handle(HttpRequest *request, void *api);
void api_error_body(int status, const char *message, const char *request_id, GString *out, void *api);

#endif
