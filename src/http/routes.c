/* routes.c - matching is a walk over a short constant table: cheaper than building anything per request. */
#include "http/routes.h"

#include <glib.h>
#include <string.h>

static const char ID_MARK[] = "{id}";

const char *http_method_name(HttpMethod method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    return (size_t)method < G_N_ELEMENTS(names) ? names[method] : "other";
}

/* The segments that stand for {id}. */
typedef struct {
    const char *ids[2];
    size_t sizes[2];
    size_t n;
} PathIds;

/* `size` is the path's without a slash at its end. */
static bool path_matches(const char *pattern, const char *path, size_t size, PathIds *ret_ids)
{
    const char *end = path + size;
    *ret_ids = (PathIds){.n = 0};
    for (;;) {
        const char *mark = strstr(pattern, ID_MARK);
        size_t literal_size = mark ? (size_t)(mark - pattern) : strlen(pattern);
        if ((size_t)(end - path) < literal_size || memcmp(pattern, path, literal_size) != 0)
            return false;
        path += literal_size;
        if (!mark)
            return path == end;
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t id_size = (size_t)((slash ? slash : end) - path);
        g_assert(ret_ids->n < G_N_ELEMENTS(ret_ids->ids));
        if (id_size == 0)
            return false;
        ret_ids->ids[ret_ids->n] = path;
        ret_ids->sizes[ret_ids->n++] = id_size;
        path += id_size;
        pattern = mark + sizeof(ID_MARK) - 1;
    }
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
            PathIds ids;
            if (routes[i].method != methods[m].method || !path_matches(routes[i].pattern, path, size, &ids))
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
        PathIds ids;
        if (!path_matches(routes[i].pattern, path, size, &ids))
            continue;
        if (routes[i].method == method) {
            match.id = ids.ids[0];
            match.id_size = ids.sizes[0];
            match.second_id = ids.ids[1];
            match.second_id_size = ids.sizes[1];
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
