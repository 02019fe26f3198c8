/* http_server_internal.h - what the http_server*.c files share: the server, its loops, connections, requests, streams.
 *
 * A connection is always in exactly one state, and in that state's list on its loop. We read and write its socket; evhttp's
 * bufferevent has no descriptor and is no more than a buffer. Bytes wait there until a request is whole and has passed
 * http_server_frame.h; then evhttp parses it, and it must come to the same end. What evhttp would answer never leaves.
 * Nothing is freed under anybody's feet: a connection is doomed first and freed a turn or two of the loop later.
 */
#ifndef FLOWOPS_HTTP_HTTP_SERVER_INTERNAL_H
#define FLOWOPS_HTTP_HTTP_SERVER_INTERNAL_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/listener.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/id.h"
#include "base/thread.h"
#include "http/http_server.h"
#include "http/http_server_frame.h"

#define HTTP_CLOSING_MS 2000 /* a closing connection has this long to take its last bytes */
/* Once the server drains: what a client has sent meanwhile is answered, and one that keeps sending learns that the
 * connection ends, instead of finding it closed under its next request. */
#define HTTP_LAST_IDLE_MS 200
#define HTTP_MAX_HELD_BYTES (64 * 1024 * 1024) /* of requests not answered yet, on one loop; above: 503 */
#define LOOP_SCRATCH_BYTES (64 * 1024)
#define HTTP_REPLY_HEAD_SIZE 2048 /* a reply's status line and headers; a larger one is our bug */

typedef enum {
    CONN_FRESH,     /* accepted; evhttp is still setting it up */
    CONN_IDLE,      /* nothing of a request has come */
    CONN_RECEIVING, /* some of one has */
    CONN_HANDLING,  /* the handler has it; nothing is read meanwhile */
    CONN_SENDING,   /* the reply did not go at once */
    CONN_STREAM,
    CONN_ENDING,  /* a stream's last bytes wait for the socket */
    CONN_CLOSING, /* our side is shut; what still comes is discarded, so that no reset overtakes the answer */
    CONN_DOOMED,  /* to be freed */
    CONN_DYING,   /* the same, a turn later: epoll has forgotten its descriptor, which may now be closed */
    N_CONN_STATES,
} ConnState;

typedef struct HttpConnection HttpConnection;
typedef TAILQ_HEAD(ConnectionList, HttpConnection) ConnectionList;

struct HttpConnection {
    TAILQ_ENTRY(HttpConnection) entry; /* in loop->connections[state] */
    HttpLoop *loop;
    struct evhttp_connection *evcon;
    struct bufferevent *bev;
    struct event event;        /* of the socket */
    short watched;             /* EV_READ, EV_WRITE that it waits for */
    struct evhttp_request *ev; /* from HANDLING until the reply has gone */
    HttpRequest *request;      /* HANDLING */
    HttpStream *stream;        /* STREAM, ENDING; afterwards until on_closed */
    int64_t deadline_ms;       /* of a state that has a timeout */
    int fd;
    ConnState state;
    bool has_head;         /* frame is filled */
    bool has_skipped_line; /* one empty line before a request is forgiven */
    bool is_accepted;      /* evhttp came to the same end as we did */
    bool is_gone;          /* evhttp freed its part */
    bool will_close;       /* after the reply that is on its way */
    FrameHead frame;
    FrameChunks chunks;
    size_t scan_at;    /* bytes of the head, then of the request, looked at */
    size_t n_held;     /* of loop->n_held_bytes */
    size_t n_expected; /* bytes that evhttp must leave in the input */
    char *unsent;      /* of a reply, or a stream's head; NULL: none */
    size_t n_unsent, unsent_at;
    size_t n_unsent_then; /* SENDING: when the deadline was set */
};

struct HttpRequest {
    HttpConnection *conn;
    HttpMethod method;
    const char *query; /* in evhttp's copy of the target */
    const char *id;    /* in evhttp's headers, or made_id */
    Id made_id;
    void *data;
    GDestroyNotify free_data;
    char path[];
};

struct HttpChunk {
    unsigned n_refs; /* all streams of a chunk are on one loop */
    unsigned text_at, text_size;
    unsigned size; /* of bytes */
    char bytes[];
};

struct HttpStream {
    HttpConnection *conn;
    const HttpStreamCallbacks *callbacks;
    void *arg;
    HttpChunk *pending; /* unsent from `offset` on */
    unsigned offset;
    bool is_chunked;        /* HTTP/1.1 */
    bool is_told;           /* that the server drains */
    bool is_stuck;          /* the socket is full: something is pending, or unsent of the head */
    bool is_over;           /* closed by either side: nothing is written any more */
    int64_t stuck_since_ms; /* when is_stuck was set */
};

struct HttpTimer {
    struct event event;
    void (*fire)(void *arg);
    void *arg;
};

struct HttpLoop {
    HttpServer *server;
    size_t index;
    Thread *thread;
    struct event_base *base;
    struct evhttp *http;
    struct evhttp_bound_socket *bound;
    struct evconnlistener *listener; /* of bound; NULL once drained */
    bufferevent_data_cb evhttp_read; /* evhttp's own, learnt from its first connection */

    Mutex mu;
    HttpTask *tasks; /* guarded by mu; first in, first out */
    HttpTask **tasks_end;
    int wake_fd; /* eventfd */
    struct event wake_event;

    ConnectionList connections[N_CONN_STATES];
    int64_t timeout_ms[N_CONN_STATES]; /* 0: none */
    struct event adopt_event;          /* takes over the fresh, in the turn that accepted them */
    struct event reap_event;           /* frees the dying, a turn after the doomed became that */
    struct event deadline_event;       /* the one timer of all connections of the loop */
    int64_t deadline_at_ms;            /* when it fires; INT64_MAX: not armed */
    size_t n_held_bytes;
    HttpChunk *end_chunk; /* the last of every chunked body */

    bool is_draining, is_stopping;
    int64_t accept_retry_at_ms;  /* paused: when to try again */
    int64_t accept_logged_at_ms; /* at most one line a minute */
    HttpTask drain_task, shut_task, stop_task;
    HttpTask turn_task;
    bool is_turn_owed; /* atomic: turn_task is posted and has not run */

    int64_t date_s; /* second of `date` */
    char date[64];  /* "Date: ...\r\n" */
    size_t date_size;
    GString *body; /* scratch for error bodies */
    char *scratch; /* LOOP_SCRATCH_BYTES: what was just read */

    /* Written by the loop, read by anybody: relaxed. */
    int64_t n_requests;
    size_t n_busy, n_streams;
    bool is_accept_paused;
};

struct HttpServer {
    HttpOptions options;
    char *address;
    const Clock *clock;
    uint16_t port;
    size_t n_loops;
    HttpLoop *loops;
    bool is_drained;      /* main thread only */
    size_t n_listening;   /* loops that still accept; relaxed */
    size_t n_connections; /* relaxed */
};

/* ---- http_server_listen.c ---- */

/* One listening socket for each loop, all on one port that nobody else listens on. */
MUST_CHECK bool listen_open(const char *address, uint16_t port, int *ret_fds, size_t n, uint16_t *ret_port,
                            GError **error);
/* Raises the soft limit of descriptors to the hard one and returns how many connections that allows. */
size_t listen_max_connections(void);

/* ---- http_server_loop.c ---- */

MUST_CHECK bool loop_init(HttpLoop *loop, HttpServer *server, size_t index, int listen_fd, GError **error);
MUST_CHECK bool loop_start(HttpLoop *loop, GError **error);
void loop_done(HttpLoop *loop); /* after its thread has ended, or before it was started */
int64_t loop_now_ms(const HttpLoop *loop);
void loop_adopt_soon(HttpLoop *loop);
void loop_reap_soon(HttpLoop *loop);
void loop_arm_deadline(HttpLoop *loop, int64_t at_ms);
HttpLoop *loop_own(void); /* of the calling thread; NULL elsewhere */

/* ---- http_server_accept.c ---- */

struct bufferevent *accept_connection(struct event_base *base, void *loop); /* evhttp's bevcb */
void accept_failed(struct evconnlistener *listener, void *http);            /* its errorcb */
void accept_resume(HttpLoop *loop);
void accept_stop(HttpLoop *loop);

/* ---- http_server_connection.c ---- */

void connection_enter(HttpConnection *conn, ConnState state);
void connection_adopt(HttpConnection *conn);
void connection_free(HttpConnection *conn); /* DYING */
void connection_doom(HttpConnection *conn);
void connection_expired(HttpConnection *conn);
void connection_watch(HttpConnection *conn, short what); /* EV_READ, EV_WRITE, both, 0 */
/* What a socket did not take of these parts is copied and goes when it can. */
void connection_keep_unsent(HttpConnection *conn, const struct iovec *parts, size_t n_parts, size_t n_sent);
/* An answer that the server finds itself; the connection ends. */
void connection_refuse(HttpConnection *conn, int status, const char *message);
/* The reply has gone: the next request, or the end. */
void connection_replied(HttpConnection *conn);
void connection_end_request(HttpConnection *conn);
/* evhttp's gencb. */
void connection_deliver(struct evhttp_request *ev, void *loop);

/* ---- http_server_request.c ---- */

/* Of conn->ev. NULL: the path is malformed. */
HttpRequest *request_new(HttpConnection *conn);
void request_free(HttpRequest *request);

/* ---- http_server_reply.c ---- */

typedef struct {
    char *text;
    size_t size, capacity;
} HeadText;

/* Status line, Date, X-Request-Id, the given headers; without the empty line. */
void head_begin(HeadText *head, HttpLoop *loop, int status, const char *request_id);
void head_put(HeadText *head, const char *name, const char *value);
void head_put_headers(HeadText *head, const HttpHeader *headers, size_t n_headers);
void head_put_length(HeadText *head, size_t length);
void head_end(HeadText *head);
/* As much as the socket takes; -1: it is broken. */
ssize_t send_some(int fd, struct iovec *parts, size_t n_parts);

/* ---- http_server_stream.c ---- */

void stream_free(HttpStream *stream); /* after on_closed */
void stream_writable(HttpStream *stream);

#endif
