/* http_probe.c - evhttp's client on an event base of its own. */
#include "http/http_probe.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#define MAX_BODY_BYTES (64 * 1024)
#define MAX_HEADER_BYTES (16 * 1024)

typedef struct {
    struct event_base *base;
    GString *body;
    int status; /* 0: no answer */
    bool is_over;
    bool was_connected; /* until it was closed */
} Probe;

static void on_close(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    ((Probe *)arg)->was_connected = true;
}

/* After on_close(), if that comes at all. */
static void on_answer(struct evhttp_request *request, void *arg)
{
    Probe *probe = arg;
    probe->is_over = true;
    probe->status = request != NULL ? evhttp_request_get_response_code(request) : 0;
    if (probe->status != 0) {
        struct evbuffer *body = evhttp_request_get_input_buffer(request);
        size_t size = evbuffer_get_length(body);
        g_string_set_size(probe->body, size);
        (void)evbuffer_copyout(body, probe->body->str, size);
    }
    event_base_loopbreak(probe->base);
}

/* False: it could not be sent. */
static bool ask(Probe *probe, struct evhttp_connection *connection, const char *address, uint16_t port,
                const char *path)
{
    struct evhttp_request *request = evhttp_request_new(on_answer, probe);
    bool is_v6 = strchr(address, ':') != NULL;
    g_autofree char *host = g_strdup_printf("%s%s%s:%u", is_v6 ? "[" : "", address, is_v6 ? "]" : "", port);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    evhttp_connection_set_closecb(connection, on_close, probe);
    evhttp_connection_set_max_body_size(connection, MAX_BODY_BYTES);
    evhttp_connection_set_max_headers_size(connection, MAX_HEADER_BYTES);
    return evhttp_add_header(headers, "Host", host) == 0 && evhttp_add_header(headers, "Connection", "close") == 0 &&
           evhttp_make_request(connection, request, EVHTTP_REQ_GET, path) == 0; /* the request is the connection's */
}

static bool conclude(const Probe *probe, int time_limit_ms, GError **error)
{
    if (probe->status != 0)
        return true;
    if (!probe->is_over)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_TIMEOUT, "no answer within %d ms", time_limit_ms);
    else
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                            probe->was_connected ? "what listens there does not answer in HTTP"
                                                 : "nobody listens there");
    return false;
}

bool http_probe(const char *address, uint16_t port, const char *path, int time_limit_ms, int *ret_status,
                GString **ret_body, GError **error)
{
    g_autoptr(GString) body = g_string_new(NULL);
    Probe probe = {.base = event_base_new(), .body = body};
    struct evhttp_connection *connection =
        probe.base != NULL ? evhttp_connection_base_new(probe.base, NULL, address, port) : NULL;
    const struct timeval limit = {.tv_sec = time_limit_ms / 1000, .tv_usec = time_limit_ms % 1000 * 1000};
    if (connection == NULL || !ask(&probe, connection, address, port, path))
        probe.is_over = true;
    else if (!probe.is_over && event_base_loopexit(probe.base, &limit) == 0)
        event_base_dispatch(probe.base);
    if (connection != NULL)
        evhttp_connection_free(connection);
    if (probe.base != NULL)
        event_base_free(probe.base);
    if (!conclude(&probe, time_limit_ms, error))
        return false;
    *ret_status = probe.status;
    *ret_body = g_steal_pointer(&body);
    return true;
}
