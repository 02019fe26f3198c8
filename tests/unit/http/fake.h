/* fake.h - a server of one loop, its streams, and a service that answers when told to, so that the whole of the api can
 * be tested on one thread and on a clock of the test's own. */
#ifndef FLOWOPS_TESTS_HTTP_FAKE_H
#define FLOWOPS_TESTS_HTTP_FAKE_H

#include "base/clock.h"
#include "http/http_server.h"
#include "service/service.h"

#define FAKE_NOW 1769850000123 /* 2026-01-31T09:00:00.123Z */

typedef struct {
    int status;       /* 0: not answered yet */
    GString *headers; /* "Name: value\n" each */
    GString *body;
    HttpStream *stream; /* opened instead of answered */
} Reply;

typedef struct {
    Clock *clock;
    Hub *hub;
    GHashTable *views; /* run id -> RunView, what service_find_run() gives */
    GQueue *calls;     /* submitted, not answered */
    bool is_busy;      /* service_submit() fails */
    bool is_store_down, is_store_impaired, is_bus_down;
    size_t n_timers;
} Fake;

extern Fake fake;

void fake_init(void);
void fake_done(void); /* nothing may be left */

/* headers: "Name: value\nName: value" or NULL. Calls the handler; the reply comes now or later. */
Reply *fake_request(void *api, HttpMethod method, const char *target, const char *headers, const char *body);
void reply_free(Reply *reply);
const char *reply_header(const Reply *reply, const char *name); /* NULL: absent; valid until the next call */

/* The oldest call that waits for its answer (NULL: none); it must be of this kind. */
ServiceCall *fake_call(CallKind kind);
/* Answers it and runs the loop. */
void fake_answer(ServiceCall *call, CallResult result, const char *message);
void fake_run_loop(void); /* posted tasks and closings, until there are none */
void fake_fire_timer(void);
void fake_advance(int64_t ms); /* in ticks, firing the timer as it is due */

void fake_detach(void *api); /* api_detach(), with the loop that it waits for run by the way */

RunView *fake_view(const char *run_id, const char *owner, RunStatus status, RunPhase phase, int64_t seq,
                   const char *detail);
/* What service_find_run() gives from now on; takes the view. */
void fake_set_view(RunView *view);

/* Streams: what was written since the last look; the caller frees. */
char *stream_take(HttpStream *stream);
void stream_block(HttpStream *stream);   /* the next write does not go out whole */
void stream_unblock(HttpStream *stream); /* on_writable */
void stream_break(HttpStream *stream);   /* the client went away */
bool stream_is_closed(const HttpStream *stream);
void stream_drain(HttpStream *stream); /* on_closing */
void stream_free(HttpStream *stream);  /* the test's handle on it */
size_t stream_n_chunks_alive(void);

#endif
