#include "http/request_counts.h"

#include <glib.h>

struct RequestCounts {
    size_t n_routes;
    RouteCounts routes[];
};

/* From a status read in the cache, 100 us at most, to a write that waits for a slow disk or server. */
const HistogramShape request_duration_us = {
    13, {100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 5000000}};

/* The most frequent come first; what is not among them does not exist here (http_server_reply.c knows no phrase for it). */
const int request_statuses[REQUEST_STATUSES] = {200, 202, 304, 201, 204, 404, 400, 409, 412, 401, 503,
                                                405, 413, 415, 429, 431, 408, 417, 500, 501, 505};

size_t request_status_index(int status)
{
    for (size_t i = 0; i < REQUEST_STATUSES; i++)
        if (request_statuses[i] == status)
            return i;
    g_assert_not_reached();
}

RequestCounts *request_counts_new(size_t n_routes)
{
    RequestCounts *counts = g_malloc0(sizeof(RequestCounts) + n_routes * sizeof(RouteCounts));
    counts->n_routes = n_routes;
    return counts;
}

void request_counts_free(RequestCounts *counts)
{
    g_free(counts);
}

void request_counts_add(RequestCounts *counts, size_t route, int status, int64_t duration_us)
{
    g_assert(route < counts->n_routes);
    RouteCounts *row = &counts->routes[route];
    counter_add(&row->n_by_status[request_status_index(status)], 1);
    histogram_add(&row->duration_us, &request_duration_us, duration_us);
}

void request_counts_collect(const RequestCounts *counts, size_t route, RouteCounts *total)
{
    g_assert(route < counts->n_routes);
    const RouteCounts *row = &counts->routes[route];
    for (size_t i = 0; i < REQUEST_STATUSES; i++)
        total->n_by_status[i] += counter_read(&row->n_by_status[i]);
    histogram_collect(&row->duration_us, &total->duration_us);
}
