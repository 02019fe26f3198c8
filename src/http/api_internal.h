/* api_internal.h - what the handlers share: the Api, a request under way, replies, calls to the service.
 * Thread: loop; an ApiLoop belongs to its loop. */
#ifndef FLOWOPS_HTTP_API_INTERNAL_H
#define FLOWOPS_HTTP_API_INTERNAL_H

#include "base/thread.h"
#include "http/api.h"
#include "http/envelope.h"
#include "http/query.h"
#include "http/request_counts.h"
#include "http/routes.h"

#define API_BASE_PATH "/api/executions"

typedef struct SseLoop SseLoop;

typedef struct {
    Api *api;
    GString *scratch; /* replies are written here, so the usual one allocates nothing */
    SseLoop *sse;     /* NULL before the first stream */
    HttpTask detach_task;
    bool is_detached; /* the service must not be called any more */

    /* Written by the loop, read by any: base/histogram.h. */
    RequestCounts *counts;
    int64_t n_frames; /* of events, sent to streams */
} ApiLoop;

struct Api {
    AuthMode auth_mode;
    char *gateway_secret;
    Id local_user;
    const unsigned char *(*cursor_secret)(void *arg);
    void *cursor_secret_arg;
    char *version;
    const char *const *zone_names;
    int64_t started_at;
    Service *service;
    Hub *hub;
    const Clock *clock;
    HttpServer *server; /* __atomic: set once after the loops began */
    ApiLoop *loops;
    size_t n_loops;
    size_t n_detached;                   /* __atomic */
    int64_t n_refused[REQUEST_STATUSES]; /* __atomic: what the server itself answered; rare */
    Bell detach_bell;
};

/* A request while it is handled: on the stack, copied into an exchange while a call is under way. */
struct ApiRequest {
    Api *api;
    ApiLoop *loop;
    HttpRequest *http;
    int64_t began_us; /* monotonic: it had arrived whole */
    size_t route;     /* its place in api_routes(), or their number when it has none */
    Id caller;        /* unless the route is public */
    Id id;            /* of the path, where the route has one */
    Id second_id;     /* the same: of a backfill behind its flow's */
    void *arg;        /* the handler's, kept until the call's answer */
};

/* ---- replies: each consumes the request ---- */

#define API_MAX_HEADERS 4 /* beside Content-Type */

/* The success envelope around JSON text (NULL: null). */
void api_reply_data(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers,
                    const char *payload, size_t payload_size, const EnvelopePaging *paging);
/* 200 with ETag, or 304 or 412 as the request's conditions say (contract: GET takes both). */
void api_reply_entity(const ApiRequest *request, int64_t tag, const char *payload, size_t payload_size);
void api_reply_empty(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers);
void api_reply_error(const ApiRequest *request, int status, const char *field, const char *message);
void api_reply_no_method(const ApiRequest *request, const char *allow);
void api_reply_faults(const ApiRequest *request, const Faults *faults);
/* What a result other than OK and NOTHING_TO_DO means; the one place that chooses. */
void api_reply_failure(const ApiRequest *request, CallResult result, const Faults *faults, const char *message);
/* Counts a reply that is about to go, and logs it where debug lines are asked for. The functions above do; a stream's opening
 * has to say it. */
void api_note_reply(const ApiRequest *request, int status);
void api_reply_text(const ApiRequest *request, int status, const char *content_type, const GString *text);

/* ---- what comes in: false after an error was replied ---- */

/* An empty body gives NULL where it may be absent. */
MUST_CHECK bool api_read_body(const ApiRequest *request, bool is_required, JsonValue **ret_body);
MUST_CHECK bool api_read_if_match(const ApiRequest *request, Precondition *ret);

/* ---- calls ---- */

typedef void (*ApiFinish)(ApiRequest *request, ServiceCall *call);

/* A call on behalf of the request's caller. */
ServiceCall *api_call_new(const ApiRequest *request, CallKind kind);
/* Takes the call. `finish` runs on the request's loop with the answer, whatever it is, and replies; the call is freed
 * after it. False: it was not taken, 503 was replied and `finish` is not called. */
bool api_submit(const ApiRequest *request, ServiceCall *call, ApiFinish finish);

/* ---- handlers ---- */

void flows_create(ApiRequest *request);
void flows_list(ApiRequest *request);
void flows_get(ApiRequest *request);
void flows_update(ApiRequest *request);
void flows_delete(ApiRequest *request);
void flows_get_schedule(ApiRequest *request);
void schedules_preview(ApiRequest *request);
void backfills_create(ApiRequest *request);
void backfills_list(ApiRequest *request);
void backfills_get(ApiRequest *request);
void backfills_pause(ApiRequest *request);
void backfills_resume(ApiRequest *request);
void backfills_cancel(ApiRequest *request);
void decisions_list(ApiRequest *request);
void runs_start(ApiRequest *request);
void runs_list(ApiRequest *request);
void runs_list_of_flow(ApiRequest *request);
void runs_pause(ApiRequest *request);
void runs_resume(ApiRequest *request);
void runs_stop(ApiRequest *request);
void runs_get_status(ApiRequest *request);
void runs_delete(ApiRequest *request);
void runs_read_events(ApiRequest *request);
void health_live(ApiRequest *request);
void health_ready(ApiRequest *request);
void health_metrics(ApiRequest *request);
void sse_open(ApiRequest *request);

const unsigned char *api_cursor_secret(const ApiRequest *request); /* NULL: the store has not answered yet */

/* The list shared by flows, runs and backfills. flow_id: the path's, or NULL. */
void api_list(ApiRequest *request, CallKind kind, const Id *flow_id);

void sse_loop_free(SseLoop *sse); /* after the loops ended; NULL is fine */

#endif
