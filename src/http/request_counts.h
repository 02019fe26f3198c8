/* request_counts.h - requests by route and status, and how long they took, counted on every loop for itself.
 * Labels are bounded: routes are rows of the table of routes and one for everything else, statuses those that this server sends;
 * no path, id or user is among them.
 * Thread: request_counts_add() the owner's, request_counts_collect() any. Owner: whoever made it. */
#ifndef FLOWOPS_HTTP_REQUEST_COUNTS_H
#define FLOWOPS_HTTP_REQUEST_COUNTS_H

#include "base/histogram.h"

#define REQUEST_STATUSES 21

typedef struct RequestCounts RequestCounts;

extern const HistogramShape request_duration_us; /* the buckets of durations: microseconds */
extern const int request_statuses[REQUEST_STATUSES];

typedef struct {
    int64_t n_by_status[REQUEST_STATUSES]; /* in the order of request_statuses */
    Histogram duration_us;
} RouteCounts;

RequestCounts *request_counts_new(size_t n_routes);
void request_counts_free(RequestCounts *counts); /* NULL is fine */

/* route < n_routes. Allocates nothing. */
void request_counts_add(RequestCounts *counts, size_t route, int status, int64_t duration_us);
/* Adds what a loop has counted of a route. */
void request_counts_collect(const RequestCounts *counts, size_t route, RouteCounts *total);

/* The place of a status in request_statuses. */
size_t request_status_index(int status);

#endif
