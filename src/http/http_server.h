/* http_server.h - HTTP/1.1 (RFC 9110, 9112) on libevent's evhttp, with the guards it lacks: loops, requests, replies,
 * streams. Knows nothing of flows and runs.
 * Thread: loop for everything about a request, a stream or a timer (the loop that owns it); http_loop_post() from any.
 * Owner: a HttpRequest belongs to the server and dies with its reply; a HttpStream dies with its on_closed callback. */
#ifndef FLOWOPS_HTTP_HTTP_SERVER_H
#define FLOWOPS_HTTP_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"

#define HTTP_MAX_HEADER_BYTES (16 * 1024) /* above: 431 */
#define HTTP_MAX_BODY_BYTES (1024 * 1024) /* above: 413 */
#define HTTP_RECEIVE_DEADLINE_MS 10000    /* from the first byte of a request to its last */
#define HTTP_IDLE_TIMEOUT_MS 60000        /* keep-alive without a request */

typedef struct HttpServer HttpServer;
typedef struct HttpLoop HttpLoop;
typedef struct HttpRequest HttpRequest;
typedef struct HttpStream HttpStream;

typedef enum { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OPTIONS, HTTP_PATCH, HTTP_OTHER } HttpMethod;

typedef struct {
    const char *name;
    const char *value;
} HttpHeader;

/* Called on the request's loop when a request has arrived whole and passed the guards. It must be answered exactly once
 * (http_reply or http_stream_open), now or later, from its own loop. */
typedef void (*HttpHandler)(HttpRequest *request, void *arg);
/* Writes the body for an error that the server finds itself (400, 408, 413, 417, 431, 501, 503, 505): the JSON envelope. */
typedef void (*HttpErrorBody)(int status, const char *message, const char *request_id, GString *out, void *arg);

typedef struct {
    const char *address; /* numeric IPv4 or IPv6 */
    uint16_t port;       /* 0: any free one */
    size_t n_loops;
    size_t max_connections;      /* above: accepting pauses until some close; 0: derived from RLIMIT_NOFILE */
    int64_t receive_deadline_ms; /* 0: HTTP_RECEIVE_DEADLINE_MS */
    int64_t idle_timeout_ms;     /* 0: HTTP_IDLE_TIMEOUT_MS */
    HttpHandler handler;
    HttpErrorBody error_body;
    void *arg;
} HttpOptions;

/* Binds and starts the loops. CONFLICT: the port is taken; UNAVAILABLE: another reason, in one line. */
MUST_CHECK HttpServer *http_server_start(const HttpOptions *options, const Clock *clock, GError **error);
uint16_t http_server_port(const HttpServer *server);
/* Stops accepting. Requests under way, and those that come on an open connection within the next moment, may still be
 * answered, each as its connection's last; on_closing of every stream is called so that it can say good-bye. Returns at
 * once. */
void http_server_drain(HttpServer *server);
/* No request under way, no stream open; once it drains: nobody accepts, no connection is left. */
bool http_server_is_idle(HttpServer *server);
/* Whether every loop has had a turn since the last call, and asks them for the next one. Thread: main. */
bool http_server_turns(HttpServer *server);
void http_server_stop(HttpServer *server); /* closes what is left, joins the loops, frees; NULL is fine */

typedef struct {
    size_t n_connections, n_streams;
    size_t n_busy; /* requests: being received, handled or answered */
    int64_t n_requests;
    bool is_accept_paused;
} HttpLoad;
HttpLoad http_server_load(HttpServer *server);

/* ---- requests ---- */
HttpMethod http_request_method(const HttpRequest *request);
const char *http_request_path(const HttpRequest *request);  /* percent-decoded, no query; never NULL */
const char *http_request_query(const HttpRequest *request); /* raw, without '?'; NULL: none */
const char *http_request_header(const HttpRequest *request, const char *name); /* first of that name; NULL: none */
/* Every value of a name joined by ", " (RFC 9110, 5.3); NULL: none. Free with g_free(). */
char *http_request_header_joined(const HttpRequest *request, const char *name);
const char *http_request_body(HttpRequest *request, size_t *ret_size); /* contiguous; "" when empty */
/* X-Request-Id as given (1-128 visible ASCII characters) or a new UUID; sent back on every reply. */
const char *http_request_id(const HttpRequest *request);
HttpLoop *http_request_loop(const HttpRequest *request);
/* The maker's data, freed with the request. When the client goes away before the answer, the request stays valid and the
 * reply goes nowhere. */
void http_request_set_data(HttpRequest *request, void *data, GDestroyNotify free_data);
void *http_request_data(const HttpRequest *request);

/* Sends status, headers (Date, Content-Length, X-Request-Id are added; HEAD gets no body) and consumes the request.
 * body may be NULL; its bytes are copied or taken at once, it stays the caller's. */
void http_reply(HttpRequest *request, int status, const HttpHeader *headers, size_t n_headers, const char *body,
                size_t body_size);

/* ---- streams ---- */
typedef struct {
    void (*on_writable)(HttpStream *stream, void *arg); /* everything written before has gone to the kernel */
    void (*on_closing)(HttpStream *stream,
                       void *arg); /* the server drains: write a last word, then http_stream_close() */
    void (*on_closed)(HttpStream *stream, void *arg); /* last call; the stream is gone after it */
} HttpStreamCallbacks;                                /* static lifetime */

/* Answers 200 and turns the connection into a stream; consumes the request. What the client still sends is discarded. */
HttpStream *http_stream_open(HttpRequest *request, const HttpHeader *headers, size_t n_headers,
                             const HttpStreamCallbacks *callbacks, void *arg);

/* A piece of a stream, encoded once (with its transfer coding) and shared by many streams of one loop. */
typedef struct HttpChunk HttpChunk;
HttpChunk *http_chunk_new(const char *text, size_t size);
HttpChunk *http_chunk_ref(HttpChunk *chunk);
void http_chunk_unref(HttpChunk *chunk);

/* Writes to the socket at once as far as it takes it; the rest waits by reference. False: it did not all go, wait for
 * on_writable before writing more (writing more anyway is our bug: unsent memory is one chunk per stream). */
bool http_stream_write(HttpStream *stream, HttpChunk *chunk);
bool http_stream_is_writable(const HttpStream *stream);
/* When it last was writable (monotonic ms): how long a reader has been stuck. */
int64_t http_stream_stuck_since(const HttpStream *stream);
/* Ends the body properly once what is unsent has gone (at most 2 s), then closes; on_closed follows, never from inside. */
void http_stream_close(HttpStream *stream);

/* ---- loops ---- */
typedef struct HttpTask HttpTask;
struct HttpTask { /* embed it; posted at most once at a time; no memory is needed to post */
    HttpTask *next;
    void (*run)(HttpTask *task);
};
void http_loop_post(HttpLoop *loop, HttpTask *task); /* any thread; runs on the loop, in order */
size_t http_loop_index(const HttpLoop *loop);        /* 0 .. n_loops - 1 */
HttpLoop *http_server_loop(HttpServer *server, size_t i);

typedef struct HttpTimer HttpTimer;
HttpTimer *http_timer_new(HttpLoop *loop, void (*fire)(void *arg), void *arg); /* not armed */
void http_timer_arm(HttpTimer *timer, int64_t after_ms);                       /* again: moves it */
void http_timer_free(HttpTimer *timer);

#endif
