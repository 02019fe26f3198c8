/* sse_frame.h - the bytes of a stream (WHATWG "server-sent events") and where a client wants it to begin. Pure.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_SSE_FRAME_H
#define FLOWOPS_HTTP_SSE_FRAME_H

#include "http/query.h"
#include "service/service.h"

#define SSE_RETRY_MS 2000 /* a client that lost its connection waits this long */

/* Appends the frame of one journal text: id, event name where it is no status, data. A replay gives the same bytes: the
 * envelope's timestamp is the event's, its requestId "<runId>:<seq>". */
void sse_frame_append(GString *out, const char *run_id, const JournalEntry *entry, int64_t timestamp);

/* The first frame of a stream that does not resume. */
void sse_snapshot_append(GString *out, const RunView *view, int64_t now_ms, const char *request_id);

typedef struct {
    bool is_resume; /* frames after `after` are wanted, and no snapshot */
    int64_t after;
} SsePlace;

/* last_event_id: the header, NULL when absent; it wins over `lastEventId`, which wins over `from`. An empty id is none
 * (what EventSource means by it). A place that is no whole number is a fault. */
SsePlace sse_place_parse(const char *last_event_id, const Query *query, Faults *faults);

/* True when a resuming client has all there will ever be (204 tells EventSource to stop): the run has ended, `after` is
 * at or beyond its last event, and it is settled or its time for late events is over. */
bool sse_is_complete(const RunView *view, int64_t after, int64_t now_monotonic_ms);

#define SSE_LATE_EVENTS_MS \
    2000 /* a stream stays open so long after the terminal status, unless all steps are terminal */

#endif
