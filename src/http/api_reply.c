/* api_reply.c - every answer leaves through here: envelopes, the table of outcomes, conditions, bodies. */
#include "http/api_internal.h"

#include <string.h>

#include "base/log.h"
#include "http/body.h"
#include "http/etag.h"

#define SCRATCH_KEPT_BYTES (64 * 1024) /* a scratch that a large reply made larger than this is given back */

static const char JSON_TYPE[] = "application/json";
static const char CACHE_RULE[] = "private, no-cache"; /* a user's own data; ETags make asking again cheap */

static void log_reply(const ApiRequest *request, int status, int64_t duration_us)
{
    size_t n_routes;
    const Route *routes = api_routes(&n_routes);
    char status_text[16], duration_text[24];
    g_snprintf(status_text, sizeof status_text, "%d", status);
    g_snprintf(duration_text, sizeof duration_text, "%" G_GINT64_FORMAT, duration_us);
    log_event(LOG_DEBUG, "request", "requestId", http_request_id(request->http), "method",
              http_method_name(http_request_method(request->http)), "path", http_request_path(request->http), "route",
              request->route < n_routes ? routes[request->route].pattern : NULL, "status", status_text, "durationUs",
              duration_text, NULL);
}

/* Before the bytes go: who has the answer finds it counted. */
void api_note_reply(const ApiRequest *request, int status)
{
    int64_t duration_us = clock_monotonic_us(request->api->clock) - request->began_us;
    request_counts_add(request->loop->counts, request->route, status, duration_us);
    if (log_is_on(LOG_DEBUG))
        log_reply(request, status, duration_us);
}

static void send_reply(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers,
                       const char *body, size_t body_size)
{
    api_note_reply(request, status);
    http_reply(request->http, status, headers, n_headers, body, body_size);
}

static GString *scratch_begin(const ApiRequest *request)
{
    return g_string_truncate(request->loop->scratch, 0);
}

/* Sends the scratch as JSON. */
static void send_scratch(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers)
{
    HttpHeader all[API_MAX_HEADERS + 2] = {{"Content-Type", JSON_TYPE}, {"Cache-Control", CACHE_RULE}};
    g_assert(n_headers <= API_MAX_HEADERS);
    if (n_headers)
        memcpy(all + 2, headers, n_headers * sizeof(HttpHeader));
    ApiLoop *loop = request->loop;
    send_reply(request, status, all, n_headers + 2, loop->scratch->str, loop->scratch->len);
    if (loop->scratch->allocated_len > SCRATCH_KEPT_BYTES) {
        g_string_free(loop->scratch, TRUE);
        loop->scratch = g_string_sized_new(4096);
    }
}

void api_reply_data(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers,
                    const char *payload, size_t payload_size, const EnvelopePaging *paging)
{
    envelope_write(scratch_begin(request), payload, payload_size, clock_wall_ms(request->api->clock),
                   http_request_id(request->http), paging);
    send_scratch(request, status, headers, n_headers);
}

void api_reply_empty(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers)
{
    send_reply(request, status, headers, n_headers, NULL, 0);
}

void api_reply_text(const ApiRequest *request, int status, const char *content_type, const GString *text)
{
    HttpHeader header = {"Content-Type", content_type};
    send_reply(request, status, &header, 1, text->str, text->len);
}

static void reply_one_error(const ApiRequest *request, int status, const HttpHeader *headers, size_t n_headers,
                            const EnvelopeError *error)
{
    envelope_write_error(scratch_begin(request), error, clock_wall_ms(request->api->clock),
                         http_request_id(request->http));
    send_scratch(request, status, headers, n_headers);
}

void api_reply_error(const ApiRequest *request, int status, const char *field, const char *message)
{
    /* RFC 9110, 15.5.2: a 401 names its scheme */
    static const HttpHeader challenge = {"WWW-Authenticate", "FlowOps-Gateway"};
    EnvelopeError error = {.code = envelope_code_of_status(status), .message = message, .field = field};
    reply_one_error(request, status, &challenge, status == 401 ? 1 : 0, &error);
}

void api_reply_no_method(const ApiRequest *request, const char *allow)
{
    HttpHeader header = {"Allow", allow};
    EnvelopeError error = {.code = envelope_code_of_status(405), .message = "this path does not take this method"};
    reply_one_error(request, 405, &header, 1, &error);
}

void api_reply_faults(const ApiRequest *request, const Faults *faults)
{
    envelope_write_faults(scratch_begin(request), faults, clock_wall_ms(request->api->clock),
                          http_request_id(request->http));
    send_scratch(request, 400, NULL, 0);
}

/* ---- outcomes ---- */

typedef struct {
    int status;
    const char *code;    /* NULL: the status's */
    const char *outcome; /* of a 503: did it take effect? */
    const char *message; /* said instead of the result's own, which may hold a driver's text; NULL: the result's */
} Outcome;

static const Outcome *outcome_of(CallResult result)
{
    static const Outcome outcomes[] = {
        [RESULT_INVALID] = {400, "VALIDATION_ERROR", NULL, NULL},
        [RESULT_NOT_FOUND] = {404, NULL, NULL, NULL},
        [RESULT_CONFLICT] = {409, NULL, NULL, NULL},
        [RESULT_PRECONDITION_FAILED] = {412, NULL, NULL, NULL},
        [RESULT_BUSY] = {503, NULL, "none", NULL},
        [RESULT_UNAVAILABLE] = {503, NULL, "none", "the store does not answer; nothing was changed"},
        [RESULT_UNKNOWN] = {503, NULL, "unknown", "the store failed on the way; the request may have taken effect"},
        [RESULT_INTERNAL] = {500, NULL, NULL, "something went wrong here; the log has it under this requestId"},
    };
    g_assert((size_t)result < G_N_ELEMENTS(outcomes) && outcomes[result].status != 0);
    return &outcomes[result];
}

void api_reply_failure(const ApiRequest *request, CallResult result, const Faults *faults, const char *message)
{
    static const HttpHeader retry_after = {"Retry-After", "1"}; /* seconds */
    const Outcome *outcome = outcome_of(result);
    if (result == RESULT_INTERNAL)
        log_event(LOG_ERROR, "a request failed", "requestId", http_request_id(request->http), "path",
                  http_request_path(request->http), "cause", message ? message : "unknown", NULL);
    if (faults && faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    EnvelopeError error = {.code = outcome->code ? outcome->code : envelope_code_of_status(outcome->status),
                           .message = outcome->message ? outcome->message : message,
                           .outcome = outcome->outcome};
    if (!error.message)
        error.message = "the request cannot be served";
    reply_one_error(request, outcome->status, &retry_after, outcome->status == 503 ? 1 : 0, &error);
}

/* ---- conditions ---- */

bool api_read_if_match(const ApiRequest *request, Precondition *ret)
{
    g_autofree char *header =
        http_request_header(request->http, "If-Match") ? http_request_header_joined(request->http, "If-Match") : NULL;
    g_autoptr(GError) error = NULL;
    if (etag_parse_if_match(header, ret, &error))
        return true;
    api_reply_error(request, 400, "If-Match", error->message);
    return false;
}

/* False: answered. */
static bool entity_is_wanted(const ApiRequest *request, int64_t tag, const HttpHeader *etag)
{
    Precondition precondition;
    if (!api_read_if_match(request, &precondition))
        return false;
    bool is_allowed = precondition_allows(&precondition, tag);
    g_free(precondition.tags);
    if (!is_allowed) {
        g_autofree char *message = g_strdup_printf("it is at %s", etag->value);
        api_reply_failure(request, RESULT_PRECONDITION_FAILED, NULL, message);
        return false;
    }
    if (!http_request_header(request->http, "If-None-Match"))
        return true;
    g_autofree char *header = http_request_header_joined(request->http, "If-None-Match");
    g_autoptr(GError) error = NULL;
    bool matches;
    if (!etag_parse_if_none_match(header, tag, &matches, &error)) {
        api_reply_error(request, 400, "If-None-Match", error->message);
        return false;
    }
    if (matches)
        api_reply_empty(request, 304, (HttpHeader[]){*etag, {"Cache-Control", CACHE_RULE}}, 2);
    return !matches;
}

void api_reply_entity(const ApiRequest *request, int64_t tag, const char *payload, size_t payload_size)
{
    char etag_text[ETAG_TEXT_SIZE];
    etag_format(tag, etag_text);
    HttpHeader etag = {"ETag", etag_text};
    if (entity_is_wanted(request, tag, &etag))
        api_reply_data(request, 200, &etag, 1, payload, payload_size, NULL);
}

/* ---- bodies ---- */

bool api_read_body(const ApiRequest *request, bool is_required, JsonValue **ret_body)
{
    size_t size;
    const char *text = http_request_body(request->http, &size);
    if (size == 0) {
        *ret_body = NULL;
        if (is_required)
            api_reply_error(request, 400, NULL, "line 1, column 1: a JSON body is needed");
        return !is_required;
    }
    if (!content_type_is_json(http_request_header(request->http, "Content-Type"))) {
        api_reply_error(request, 415, NULL, "a body must come with Content-Type: application/json");
        return false;
    }
    g_autoptr(GError) error = NULL;
    if (json_parse(text, size, BODY_MAX_DEPTH, ret_body, &error))
        return true;
    api_reply_error(request, 400, NULL, error->message);
    return false;
}
