/* routes.h - which handler a method and a path lead to; also what makes 404, 405 with Allow, OPTIONS and HEAD.
 * Thread: any; the table is constant. */
#ifndef FLOWOPS_HTTP_ROUTES_H
#define FLOWOPS_HTTP_ROUTES_H

#include "http/http_server.h"

typedef struct ApiRequest ApiRequest;
typedef void (*RouteHandler)(ApiRequest *request);

typedef struct {
    HttpMethod method;   /* GET answers HEAD too */
    const char *pattern; /* "/a/{id}/b/{id}": at most two {id}, each takes one non-empty segment */
    RouteHandler handler;
    bool is_public; /* answered without knowing who asks */
} Route;

const char *http_method_name(HttpMethod method); /* "GET" ...; "other" */

/* The table of this service. */
const Route *api_routes(size_t *ret_n_routes);

typedef enum { ROUTE_FOUND, ROUTE_OPTIONS, ROUTE_NO_PATH, ROUTE_NO_METHOD } RouteOutcome;

typedef struct {
    RouteOutcome outcome;
    const Route *route; /* ROUTE_FOUND */
    /* ROUTE_FOUND: the {id} segments within the path, not '\0' ended; NULL: the pattern has no such */
    const char *id, *second_id;
    size_t id_size, second_id_size;
    char allow[64]; /* ROUTE_OPTIONS, ROUTE_NO_METHOD: "GET, HEAD, OPTIONS" */
} RouteMatch;

/* One slash at the end of a path is ignored. */
RouteMatch routes_match(const Route *routes, size_t n_routes, HttpMethod method, const char *path);

#endif
