/* http_server_request.c - a request as its handler sees it. Headers and body stay where evhttp put them. */
#include <string.h>

#include "http/http_server_internal.h"

#define REQUEST_ID_MAX 128

static bool request_id_is_valid(const char *id)
{
    size_t size = 0;
    for (; id[size] != '\0'; size++)
        if (id[size] <= ' ' || id[size] >= 0x7f || size == REQUEST_ID_MAX)
            return false;
    return size > 0;
}

/* The path and query of a target in origin or absolute form (RFC 9112, 3.2). */
static const char *target_path(const char *target)
{
    if (target[0] == '/' || target[0] == '*')
        return target;
    const char *authority = strstr(target, "://") + 3; /* the frame has seen to it */
    return authority + strcspn(authority, "/?");
}

HttpRequest *request_new(HttpConnection *conn)
{
    const char *path = target_path(evhttp_request_get_uri(conn->ev));
    size_t path_size = strcspn(path, "?");
    const char *query = path[path_size] == '?' ? path + path_size + 1 : NULL;
    if (path_size == 0) {
        path = "/";
        path_size = 1;
    }
    HttpRequest *request = g_malloc(sizeof(HttpRequest) + path_size + 1);
    *request = (HttpRequest){.conn = conn, .method = conn->frame.method, .query = query};
    memcpy(request->path, path, path_size);
    request->path[path_size] = '\0';
    if (!frame_decode_path(request->path)) {
        g_free(request);
        return NULL;
    }
    request->id = http_request_header(request, "X-Request-Id");
    if (request->id == NULL || !request_id_is_valid(request->id)) {
        request->made_id = id_make(clock_wall_ms(conn->loop->server->clock));
        request->id = request->made_id.text;
    }
    return request;
}

void request_free(HttpRequest *request)
{
    if (request == NULL)
        return;
    if (request->free_data != NULL)
        request->free_data(request->data);
    g_free(request);
}

HttpMethod http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *http_request_path(const HttpRequest *request)
{
    return request->path;
}

const char *http_request_query(const HttpRequest *request)
{
    return request->query;
}

/* evhttp leaves a tab in front. */
static const char *value_of(const struct evkeyval *field)
{
    return field->value + strspn(field->value, " \t");
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    const struct evkeyval *field;
    TAILQ_FOREACH(field, evhttp_request_get_input_headers(request->conn->ev), next)
    if (g_ascii_strcasecmp(field->key, name) == 0)
        return value_of(field);
    return NULL;
}

char *http_request_header_joined(const HttpRequest *request, const char *name)
{
    GString *joined = NULL;
    const struct evkeyval *field;
    TAILQ_FOREACH(field, evhttp_request_get_input_headers(request->conn->ev), next)
    {
        if (g_ascii_strcasecmp(field->key, name) != 0)
            continue;
        if (joined == NULL)
            joined = g_string_new(value_of(field));
        else
            g_string_append_printf(joined, ", %s", value_of(field));
    }
    return joined == NULL ? NULL : g_string_free(joined, FALSE);
}

const char *http_request_body(HttpRequest *request, size_t *ret_size)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(request->conn->ev);
    *ret_size = evbuffer_get_length(body);
    return *ret_size == 0 ? "" : (const char *)evbuffer_pullup(body, -1);
}

const char *http_request_id(const HttpRequest *request)
{
    return request->id;
}

HttpLoop *http_request_loop(const HttpRequest *request)
{
    return request->conn->loop;
}

void http_request_set_data(HttpRequest *request, void *data, GDestroyNotify free_data)
{
    request->data = data;
    request->free_data = free_data;
}

void *http_request_data(const HttpRequest *request)
{
    return request->data;
}
