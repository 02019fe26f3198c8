/* http_server_connection.c - a connection's life: bytes are held back until a request is whole and has passed, then evhttp
 * parses it and must come to the same end. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "http/http_server_internal.h"

/* What a chunked body may weigh with its framing: tiny chunks must not turn 1 MiB into many. */
#define MAX_CHUNKED_BYTES (2 * HTTP_MAX_BODY_BYTES)

static void on_socket(evutil_socket_t fd, short what, void *arg);
static void on_more(struct bufferevent *bev, void *arg);

/* ---- states ---- */

static bool is_busy(ConnState state)
{
    return state == CONN_RECEIVING || state == CONN_HANDLING || state == CONN_SENDING;
}

static bool is_stream(ConnState state)
{
    return state == CONN_STREAM || state == CONN_ENDING;
}

void connection_enter(HttpConnection *conn, ConnState state)
{
    HttpLoop *loop = conn->loop;
    int n_busy = is_busy(state) - is_busy(conn->state);
    int n_streams = is_stream(state) - is_stream(conn->state);
    if (n_busy != 0)
        __atomic_store_n(&loop->n_busy, loop->n_busy + n_busy, __ATOMIC_RELAXED);
    if (n_streams != 0)
        __atomic_store_n(&loop->n_streams, loop->n_streams + n_streams, __ATOMIC_RELAXED);
    TAILQ_REMOVE(&loop->connections[conn->state], conn, entry);
    TAILQ_INSERT_TAIL(&loop->connections[state], conn, entry);
    conn->state = state;
    if (loop->timeout_ms[state] != 0) {
        conn->deadline_ms = loop_now_ms(loop) + loop->timeout_ms[state];
        loop_arm_deadline(loop, conn->deadline_ms);
    }
}

void connection_watch(HttpConnection *conn, short what)
{
    if (what == conn->watched)
        return;
    if (conn->watched != 0)
        event_del(&conn->event);
    conn->watched = what;
    if (what == 0)
        return;
    event_assign(&conn->event, conn->loop->base, conn->fd, (short)(what | EV_PERSIST), on_socket, conn);
    event_add(&conn->event, NULL);
}

/* evhttp sets its own whenever it begins to wait for a request. */
static void set_callbacks(HttpConnection *conn)
{
    bufferevent_setcb(conn->bev, on_more, NULL, NULL, conn);
}

static HttpConnection *connection_of(struct bufferevent *bev)
{
    void *conn = NULL;
    bufferevent_getcb(bev, NULL, NULL, NULL, &conn);
    return conn;
}

static void connection_hold(HttpConnection *conn, size_t n_bytes)
{
    conn->loop->n_held_bytes += n_bytes - conn->n_held;
    conn->n_held = n_bytes;
}

/* ---- beginning and end ---- */

/* evhttp frees its part: by our connection_free(), or by itself when it disagrees with us about keep-alive. */
static void on_gone(struct evhttp_connection *evcon, void *arg)
{
    (void)evcon;
    HttpConnection *conn = arg;
    conn->is_gone = true;
    connection_doom(conn);
}

void connection_adopt(HttpConnection *conn)
{
    void *evcon = NULL;
    bufferevent_getcb(conn->bev, &conn->loop->evhttp_read, NULL, NULL, &evcon);
    conn->evcon = evcon;
    conn->fd = (int)bufferevent_getfd(conn->bev);
    evhttp_connection_set_closecb(conn->evcon, on_gone, conn);
    bufferevent_setfd(conn->bev, -1);
    evbuffer_unfreeze(bufferevent_get_input(conn->bev), 0);
    set_callbacks(conn);
    connection_watch(conn, EV_READ);
    connection_enter(conn, CONN_IDLE);
}

void connection_doom(HttpConnection *conn)
{
    if (conn->state == CONN_DOOMED || conn->state == CONN_DYING)
        return;
    connection_watch(conn, 0);
    if (!conn->is_gone)
        bufferevent_setcb(conn->bev, NULL, NULL, NULL, conn);
    if (conn->stream != NULL)
        conn->stream->is_over = true;
    connection_hold(conn, 0);
    connection_enter(conn, CONN_DOOMED);
    loop_reap_soon(conn->loop);
}

void connection_free(HttpConnection *conn)
{
    HttpLoop *loop = conn->loop;
    if (conn->stream != NULL) {
        HttpStream *stream = conn->stream;
        stream->callbacks->on_closed(stream, stream->arg);
        stream_free(stream);
    }
    request_free(conn->request);
    g_free(conn->unsent);
    if (!conn->is_gone)
        evhttp_connection_free(conn->evcon); /* on_gone */
    TAILQ_REMOVE(&loop->connections[CONN_DYING], conn, entry);
    __atomic_sub_fetch(&loop->server->n_connections, 1, __ATOMIC_RELAXED);
    g_free(conn);
}

/* Shuts our side and waits for the peer's end, so that the kernel does not answer what is still on its way with a reset
 * that would take our last bytes with it. */
static void connection_close_gently(HttpConnection *conn)
{
    connection_hold(conn, 0);
    connection_enter(conn, CONN_CLOSING);
    shutdown(conn->fd, SHUT_WR);
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    evbuffer_drain(input, evbuffer_get_length(input));
    connection_watch(conn, EV_READ);
}

void connection_refuse(HttpConnection *conn, int status, const char *message)
{
    HttpLoop *loop = conn->loop;
    const HttpOptions *options = &loop->server->options;
    char text[HTTP_REPLY_HEAD_SIZE];
    HeadText head = {.text = text, .capacity = sizeof text};
    Id id = id_make(clock_wall_ms(loop->server->clock));
    g_string_truncate(loop->body, 0);
    options->error_body(status, message, id.text, loop->body, options->arg);
    head_begin(&head, loop, status, id.text);
    head_put(&head, "Content-Type", "application/json");
    head_put(&head, "Connection", "close");
    head_put_length(&head, loop->body->len);
    head_end(&head);
    struct iovec parts[] = {{text, head.size}, {loop->body->str, loop->body->len}};
    bool has_body = !conn->has_head || conn->frame.method != HTTP_HEAD;
    /* One try: nothing else is on its way, so it fits unless the peer shrank its window to annoy. */
    if (send_some(conn->fd, parts, has_body ? 2 : 1) < 0)
        connection_doom(conn);
    else
        connection_close_gently(conn);
}

void connection_expired(HttpConnection *conn)
{
    if (conn->state == CONN_RECEIVING) {
        connection_refuse(conn, 408, "the request did not arrive in time");
        return;
    }
    if (conn->state == CONN_SENDING) {
        if (conn->n_unsent < conn->n_unsent_then) { /* slow, but alive */
            conn->n_unsent_then = conn->n_unsent;
            connection_enter(conn, CONN_SENDING);
            return;
        }
    }
    connection_doom(conn);
}

/* ---- receiving ---- */

static void forget_request(HttpConnection *conn)
{
    conn->has_head = false;
    conn->has_skipped_line = false;
    conn->is_accepted = false;
    conn->scan_at = 0;
    conn->frame = (FrameHead){0};
    conn->chunks = (FrameChunks){0};
}

static FrameResult scan_head(HttpConnection *conn, struct evbuffer *input, FrameFault *fault)
{
    size_t size = MIN(evbuffer_get_length(input), HTTP_MAX_HEADER_BYTES + 1);
    const char *text = (const char *)evbuffer_pullup(input, (ev_ssize_t)size);
    if (conn->scan_at == 0 && !conn->has_skipped_line && text[0] == '\r') {
        if (size == 1)
            return FRAME_PARTIAL;
        if (text[1] == '\n') { /* RFC 9112, 2.2 */
            conn->has_skipped_line = true;
            evbuffer_drain(input, 2);
            return size == 2 ? FRAME_PARTIAL : scan_head(conn, input, fault);
        }
    }
    FrameResult result = frame_scan_head(text, size, &conn->scan_at, &conn->frame, fault);
    conn->has_head = result == FRAME_COMPLETE;
    return result;
}

static FrameResult scan_chunks(HttpConnection *conn, struct evbuffer *input, FrameFault *fault)
{
    FrameResult result = FRAME_PARTIAL;
    struct evbuffer_ptr at;
    while (result == FRAME_PARTIAL && conn->scan_at < evbuffer_get_length(input)) {
        struct evbuffer_iovec piece;
        size_t n_used = 0;
        evbuffer_ptr_set(input, &at, conn->scan_at, EVBUFFER_PTR_SET);
        if (evbuffer_peek(input, -1, &at, &piece, 1) < 1)
            break;
        result = frame_scan_chunks(&conn->chunks, piece.iov_base, piece.iov_len, &n_used, fault);
        conn->scan_at += n_used;
    }
    if (result == FRAME_PARTIAL && conn->scan_at > conn->frame.head_size + MAX_CHUNKED_BYTES) {
        *fault = (FrameFault){413, "the body is larger than 1 MiB"};
        return FRAME_REFUSED;
    }
    return result;
}

/* Complete: conn->n_expected is what follows the request. */
static FrameResult scan_request(HttpConnection *conn, struct evbuffer *input, FrameFault *fault)
{
    if (!conn->has_head) {
        FrameResult result = scan_head(conn, input, fault);
        if (result != FRAME_COMPLETE)
            return result;
    }
    size_t n_whole = conn->frame.head_size + conn->frame.content_length;
    if (conn->frame.is_chunked) {
        FrameResult result = scan_chunks(conn, input, fault);
        if (result != FRAME_COMPLETE)
            return result;
        n_whole = conn->scan_at;
    }
    size_t n_come = evbuffer_get_length(input);
    if (n_come < n_whole)
        return FRAME_PARTIAL;
    conn->n_expected = n_come - n_whole;
    return FRAME_COMPLETE;
}

/* The client waits for leave to send its body. */
static void tell_continue(HttpConnection *conn, const struct evbuffer *input)
{
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!conn->has_head || !conn->frame.expects_continue || evbuffer_get_length(input) > conn->frame.head_size)
        return;
    struct iovec part = {text, sizeof text - 1};
    if (send_some(conn->fd, &part, 1) < 0)
        connection_doom(conn);
}

/* Hands the request to evhttp, which calls connection_deliver() before this returns, or has refused it. */
static void parse(HttpConnection *conn)
{
    connection_enter(conn, CONN_HANDLING);
    conn->is_accepted = false;
    conn->loop->evhttp_read(conn->bev, conn->evcon);
    if (!conn->is_accepted && conn->state == CONN_HANDLING)
        connection_refuse(conn, 400, "the request is malformed");
}

static void receive(HttpConnection *conn)
{
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    FrameFault fault = {0};
    if (evbuffer_get_length(input) == 0)
        return;
    FrameResult result = scan_request(conn, input, &fault);
    connection_hold(conn, evbuffer_get_length(input));
    if (result == FRAME_REFUSED) {
        connection_refuse(conn, fault.status, fault.message);
    } else if (conn->loop->n_held_bytes > HTTP_MAX_HELD_BYTES) {
        connection_refuse(conn, 503, "too many requests are under way");
    } else if (result == FRAME_COMPLETE) {
        parse(conn);
    } else {
        if (conn->state == CONN_IDLE && conn->n_held > 0)
            connection_enter(conn, CONN_RECEIVING); /* the deadline counts from here */
        tell_continue(conn, input);
    }
}

void connection_deliver(struct evhttp_request *ev, void *arg)
{
    HttpLoop *loop = arg;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(ev));
    HttpConnection *conn = connection_of(bev);
    if (evbuffer_get_length(bufferevent_get_input(bev)) != conn->n_expected)
        return; /* parse() refuses */
    conn->ev = ev;
    conn->request = request_new(conn);
    if (conn->request == NULL)
        return;
    conn->is_accepted = true;
    conn->will_close = !conn->frame.is_keep_alive;
    __atomic_store_n(&loop->n_requests, loop->n_requests + 1, __ATOMIC_RELAXED);
    loop->server->options.handler(conn->request, loop->server->options.arg);
}

/* ---- after the reply ---- */

void connection_end_request(HttpConnection *conn)
{
    request_free(conn->request);
    conn->request = NULL;
    connection_hold(conn, 0);
}

void connection_replied(HttpConnection *conn)
{
    if (conn->will_close || conn->loop->is_draining) {
        if (conn->n_expected > 0) /* more has come than we take */
            connection_close_gently(conn);
        else
            connection_doom(conn);
        return;
    }
    forget_request(conn);
    connection_enter(conn, CONN_IDLE);
    connection_watch(conn, EV_READ);
    /* evhttp frees its request and makes the next one; when more is in its buffer already, it calls on_more soon. */
    conn->ev->chunked = 0; /* it was the request's; here it would be taken for the reply's */
    evhttp_send_reply_end(conn->ev);
    if (!conn->is_gone)
        set_callbacks(conn);
}

/* ---- the socket ---- */

static void on_more(struct bufferevent *bev, void *arg)
{
    (void)arg; /* evhttp passes its own */
    HttpConnection *conn = connection_of(bev);
    if (conn->state == CONN_IDLE)
        receive(conn);
}

static void on_readable(HttpConnection *conn)
{
    HttpLoop *loop = conn->loop;
    if (conn->state == CONN_HANDLING) { /* it waits in the kernel; looked at when the reply has gone */
        connection_watch(conn, 0);
        return;
    }
    ssize_t n = recv(conn->fd, loop->scratch, LOOP_SCRATCH_BYTES, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) { /* the peer has ended or broken it */
        connection_doom(conn);
    } else if (conn->state == CONN_IDLE || conn->state == CONN_RECEIVING) {
        evbuffer_add(bufferevent_get_input(conn->bev), loop->scratch, (size_t)n);
        receive(conn);
    } /* else it is dropped */
}

void connection_keep_unsent(HttpConnection *conn, const struct iovec *parts, size_t n_parts, size_t n_sent)
{
    size_t size = 0;
    for (size_t i = 0; i < n_parts; i++)
        size += parts[i].iov_len;
    conn->unsent_at = 0;
    conn->n_unsent = 0;
    conn->unsent = g_malloc(size - n_sent);
    for (size_t i = 0; i < n_parts; i++) {
        size_t n_skip = MIN(n_sent, parts[i].iov_len);
        memcpy(conn->unsent + conn->n_unsent, (const char *)parts[i].iov_base + n_skip, parts[i].iov_len - n_skip);
        conn->n_unsent += parts[i].iov_len - n_skip;
        n_sent -= n_skip;
    }
}

/* False: the socket is full, or the connection doomed. */
static bool send_unsent(HttpConnection *conn)
{
    struct iovec part = {conn->unsent + conn->unsent_at, conn->n_unsent};
    ssize_t n = send_some(conn->fd, &part, 1);
    if (n < 0) {
        connection_doom(conn);
        return false;
    }
    conn->unsent_at += (size_t)n;
    conn->n_unsent -= (size_t)n;
    if (conn->n_unsent > 0)
        return false;
    g_clear_pointer(&conn->unsent, g_free);
    return true;
}

static void on_writable(HttpConnection *conn)
{
    if (conn->unsent != NULL && !send_unsent(conn))
        return;
    if (conn->state == CONN_SENDING)
        connection_replied(conn);
    else if (conn->stream != NULL)
        stream_writable(conn->stream);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    HttpConnection *conn = arg;
    if (what & EV_WRITE)
        on_writable(conn);
    if ((what & EV_READ) && (conn->watched & EV_READ))
        on_readable(conn);
}
