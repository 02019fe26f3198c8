/* sse_internal.h - what the files of the streams share.
 *
 * Per loop a table of groups, one for each run that streams of this loop show, each with one listener at the hub. A
 * stream is a cursor: it takes the frames after it from the group, where frames are encoded once and shared; the group
 * takes them from the hub's ring or, for a stream that is further behind, from the store, a page at a time.
 * A stream that takes nothing costs nothing: its cursor stays where it is.
 *
 * Thread: loop, all of it, but for group_wake(). Owner: a group lives while it has streams or holds. */
#ifndef FLOWOPS_HTTP_SSE_INTERNAL_H
#define FLOWOPS_HTTP_SSE_INTERNAL_H

#include <sys/queue.h>

#include "http/api_internal.h"
#include "http/sse_frame.h"

#define SSE_TICK_MS 250
#define SSE_HEARTBEAT_MS 15000 /* contract */
#define SSE_HEARTBEATS_MIN 256 /* written in one tick at least; more when there are more streams, so none waits 1 s */
#define SSE_POLL_MS 5000       /* a missed doorbell is healed within this */
#define SSE_STUCK_MS 30000     /* a client that takes nothing for so long is closed; it resumes by its last id */
#define SSE_CALLS_MAX 8        /* under way of one loop: what history the others want waits in line */
#define SSE_PAGE_EVENTS 64     /* of one read of the journal */
#define SSE_FRAMES_BYTES 32768 /* a chunk ends with the frame that reaches this: all a slow client keeps in memory */
#define SSE_SHARED_CHUNKS 4    /* last encoded chunks of a group, for its other streams */
#define SSE_LONG_AGO INT64_MIN

typedef struct Stream Stream;
typedef struct StreamGroup StreamGroup;

TAILQ_HEAD(StreamList, Stream);
TAILQ_HEAD(GroupList, StreamGroup);

/* The frames of the events after + 1 ... last. */
typedef struct {
    int64_t after, last;
    HttpChunk *chunk; /* NULL: the slot is free */
} SharedFrames;

struct StreamGroup {
    SseLoop *sse;
    char run_id[ID_TEXT_SIZE];
    Id owner; /* "" before the run was seen */
    HubListener *listener;
    HttpTask wake_task;
    bool is_woken; /* __atomic: wake_task is posted */
    bool is_dead;  /* freed by the wake task that is still posted */
    unsigned n_holds;
    struct StreamList streams;

    int64_t newest_seq; /* of what is known to be in the journal */
    SharedFrames shared[SSE_SHARED_CHUNKS];
    size_t next_shared;

    bool is_ended;   /* the terminal status is in the journal, at or before newest_seq */
    bool is_settled; /* and so is every step's */
    bool is_in_ending;
    int64_t ended_at_ms; /* monotonic; SSE_LONG_AGO: before this process, or this stream, knew */
    int64_t next_poll_ms;
    TAILQ_ENTRY(StreamGroup) in_polled, in_ending;
};

struct Stream {
    HttpStream *http;
    StreamGroup *group; /* NULL once it closes */
    int64_t cursor;     /* seq of the last event it was given */
    int64_t last_written_ms;
    struct SseCall *read; /* under way for it */
    bool is_waiting;      /* for its turn to read */
    TAILQ_ENTRY(Stream) in_group, in_idle, in_waiting;
};

struct SseLoop {
    ApiLoop *loop;
    HttpLoop *http_loop;
    GHashTable *groups; /* run id -> StreamGroup */
    HttpTimer *timer;   /* there while there are groups */
    GString *scratch;
    HttpChunk *retry, *heartbeat;
    int64_t now_ms; /* monotonic, as of the callback at hand */
    size_t n_streams, n_calls;
    bool is_draining;
    struct StreamList idle;    /* all streams, the one written longest ago first */
    struct StreamList waiting; /* for their turn to read, in order */
    struct GroupList polled;   /* all groups, the one due first first */
    struct GroupList ending;   /* those whose time for late events runs */
};

/* A call of the streams' own: a page of the journal for a stream, or a look at a group's run. */
typedef struct SseCall {
    HttpTask task;
    StreamGroup *group; /* held */
    Stream *stream;     /* the reader; NULL: gone, or a look at the run */
    ServiceCall *call;
} SseCall;

/* ---- sse_group.c ---- */
SseLoop *sse_loop_of(const ApiRequest *request); /* makes it when needed */
void sse_scratch_trim(SseLoop *sse);             /* after something large */
StreamGroup *group_hold(SseLoop *sse, const char *run_id);
void group_release(StreamGroup *group); /* frees it when that was all */
void group_note_view(StreamGroup *group, const RunView *view);
bool group_is_over(const StreamGroup *group);
/* The frames after `after`, NULL when they have to be read from the store. */
const SharedFrames *group_find_frames(StreamGroup *group, int64_t after);
void group_pump(StreamGroup *group); /* gives every stream what it can take */
void sse_start_calls(SseLoop *sse);  /* as many reads as are allowed */
void sse_poll_groups(SseLoop *sse);  /* those whose time has come */
/* Ends the streams of groups that are over; returns in how many ms to look again, at most SSE_TICK_MS. */
int64_t sse_close_ended(SseLoop *sse);

/* ---- sse.c ---- */
void stream_pump(Stream *stream);
void stream_end(Stream *stream);
void stream_touch(Stream *stream);
void sse_tick(void *sse);

#endif
