/* routes.c - matching is a walk over a short constant table: cheaper than building anything per request. */
#include "http/routes.h"

#include <glib.h>
#include <string.h>

static const char ID_MARK[] = "{id}";

/* `size` is the path's without a slash at its end. */
static bool path_matches(const char *pattern, const char *path, size_t size, const char **ret_id, size_t *ret_id_size)
{
    const char *mark = strstr(pattern, ID_MARK);
    if (!mark) {
        *ret_id = NULL;
        *ret_id_size = 0;
        return strlen(pattern) == size && memcmp(pattern, path, size) == 0;
    }
    size_t head = (size_t)(mark - pattern);
    const char *tail = mark + sizeof(ID_MARK) - 1;
    size_t tail_size = strlen(tail);
    if (size <= head + tail_size || memcmp(pattern, path, head) != 0)
        return false;
    size_t id_size = size - head - tail_size;
    if (memchr(path + head, '/', id_size) || memcmp(path + size - tail_size, tail, tail_size) != 0)
        return false;
    *ret_id = path + head;
    *ret_id_size = id_size;
    return true;
}

static void allow_add(char *allow, size_t allow_size, const char *name)
{
    if (allow[0])
        g_strlcat(allow, ", ", allow_size);
    g_strlcat(allow, name, allow_size);
}

static void write_allow(const Route *routes, size_t n_routes, const char *path, size_t size, char *allow,
                        size_t allow_size)
{
    static const struct {
        HttpMethod method;
        const char *name;
    } methods[] = {{HTTP_GET, "GET, HEAD"}, {HTTP_POST, "POST"}, {HTTP_PUT, "PUT"}, {HTTP_DELETE, "DELETE"}};
    for (size_t m = 0; m < G_N_ELEMENTS(methods); m++) {
        for (size_t i = 0; i < n_routes; i++) {
            const char *id;
            size_t id_size;
            if (routes[i].method != methods[m].method || !path_matches(routes[i].pattern, path, size, &id, &id_size))
                continue;
            allow_add(allow, allow_size, methods[m].name);
            break;
        }
    }
    allow_add(allow, allow_size, "OPTIONS");
}

RouteMatch routes_match(const Route *routes, size_t n_routes, HttpMethod method, const char *path)
{
    RouteMatch match = {.outcome = ROUTE_NO_PATH};
    size_t size = strlen(path);
    if (size > 1 && path[size - 1] == '/')
        size--;
    if (method == HTTP_HEAD)
        method = HTTP_GET;
    for (size_t i = 0; i < n_routes; i++) {
        if (!path_matches(routes[i].pattern, path, size, &match.id, &match.id_size))
            continue;
        if (routes[i].method == method) {
            match.outcome = ROUTE_FOUND;
            match.route = &routes[i];
            return match;
        }
        match.outcome = method == HTTP_OPTIONS ? ROUTE_OPTIONS : ROUTE_NO_METHOD;
    }
    if (match.outcome != ROUTE_NO_PATH)
        write_allow(routes, n_routes, path, size, match.allow, sizeof(match.allow));
    return match;
}
