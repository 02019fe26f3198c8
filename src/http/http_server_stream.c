/* http_server_stream.c - replies without an end. A piece is encoded once and shared; a stream that cannot take it keeps a
 * reference and an offset, never a copy, so what ten thousand slow readers cost is known. */
#include <string.h>

#include "http/http_server_internal.h"

#define CHUNK_HEAD_SIZE 16

/* ---- pieces ---- */

HttpChunk *http_chunk_new(const char *text, size_t size)
{
    static const char end[] = "0\r\n\r\n";
    char head[CHUNK_HEAD_SIZE];
    g_assert(size < G_MAXUINT32 - 64);
    bool is_end = text == NULL;
    int n_head = is_end || size == 0 ? 0 : g_snprintf(head, sizeof head, "%zx\r\n", size);
    size_t n_tail = is_end ? sizeof end - 1 : size == 0 ? 0 : 2; /* an empty chunk would end the body */
    HttpChunk *chunk = g_malloc(sizeof(HttpChunk) + (size_t)n_head + size + n_tail);
    *chunk = (HttpChunk){.n_refs = 1,
                         .text_at = (unsigned)n_head,
                         .text_size = (unsigned)size,
                         .size = (unsigned)((size_t)n_head + size + n_tail)};
    memcpy(chunk->bytes, head, (size_t)n_head);
    if (size > 0)
        memcpy(chunk->bytes + n_head, text, size);
    memcpy(chunk->bytes + (size_t)n_head + size, is_end ? end : "\r\n", n_tail);
    return chunk;
}

HttpChunk *http_chunk_ref(HttpChunk *chunk)
{
    chunk->n_refs++;
    return chunk;
}

void http_chunk_unref(HttpChunk *chunk)
{
    if (chunk != NULL && --chunk->n_refs == 0)
        g_free(chunk);
}

/* ---- writing ---- */

/* HTTP/1.0 gets the text alone. */
static unsigned chunk_begin_for(const HttpStream *stream, const HttpChunk *chunk)
{
    return stream->is_chunked ? 0 : chunk->text_at;
}

static unsigned chunk_end_for(const HttpStream *stream, const HttpChunk *chunk)
{
    return stream->is_chunked ? chunk->size : chunk->text_at + chunk->text_size;
}

static void stream_get_stuck(HttpStream *stream)
{
    stream->is_stuck = true;
    stream->stuck_since_ms = loop_now_ms(stream->conn->loop);
    connection_watch(stream->conn, EV_READ | EV_WRITE);
}

static void stream_keep(HttpStream *stream, HttpChunk *chunk, unsigned offset)
{
    stream->pending = http_chunk_ref(chunk);
    stream->offset = offset;
}

/* True: all of it has gone. False: the rest is kept, or the stream is over. */
static bool stream_send(HttpStream *stream, HttpChunk *chunk, unsigned offset)
{
    unsigned end = chunk_end_for(stream, chunk);
    if (offset == end)
        return true;
    struct iovec part = {chunk->bytes + offset, end - offset};
    ssize_t n = send_some(stream->conn->fd, &part, 1);
    if (n < 0) {
        connection_doom(stream->conn);
        return false;
    }
    offset += (unsigned)n;
    if (offset == end)
        return true;
    stream_keep(stream, chunk, offset);
    return false;
}

bool http_stream_write(HttpStream *stream, HttpChunk *chunk)
{
    g_assert(loop_own() == stream->conn->loop);
    if (stream->is_over || stream->conn->state != CONN_STREAM)
        return false;
    g_assert(stream->pending == NULL);
    if (stream->is_stuck) { /* the head has not gone yet */
        stream_keep(stream, chunk, chunk_begin_for(stream, chunk));
        return false;
    }
    if (stream_send(stream, chunk, chunk_begin_for(stream, chunk)))
        return true;
    if (!stream->is_over)
        stream_get_stuck(stream);
    return false;
}

bool http_stream_is_writable(const HttpStream *stream)
{
    return !stream->is_over && !stream->is_stuck && stream->conn->state == CONN_STREAM;
}

int64_t http_stream_stuck_since(const HttpStream *stream)
{
    return stream->is_stuck ? stream->stuck_since_ms : loop_now_ms(stream->conn->loop);
}

/* What is pending goes first, then the end. */
static void stream_finish(HttpStream *stream)
{
    HttpChunk *end = stream->conn->loop->end_chunk;
    if (!stream->is_chunked || stream_send(stream, end, 0))
        connection_doom(stream->conn);
    else if (!stream->is_over)
        stream_get_stuck(stream);
}

void stream_writable(HttpStream *stream)
{
    HttpConnection *conn = stream->conn;
    HttpChunk *chunk = stream->pending;
    bool was_end = chunk == conn->loop->end_chunk;
    stream->pending = NULL;
    bool has_gone = chunk == NULL || stream_send(stream, chunk, stream->offset);
    http_chunk_unref(chunk);
    if (stream->is_over)
        return;
    if (!has_gone)
        return; /* stuck as before */
    stream->is_stuck = false;
    connection_watch(conn, EV_READ);
    if (conn->state == CONN_STREAM)
        stream->callbacks->on_writable(stream, stream->arg);
    else if (was_end)
        connection_doom(conn);
    else
        stream_finish(stream);
}

/* ---- opening and closing ---- */

/* A stream keeps nothing of its request. */
static void shed_request(struct evhttp_request *ev)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(ev);
    evhttp_clear_headers(evhttp_request_get_input_headers(ev));
    evbuffer_drain(body, evbuffer_get_length(body));
}

static void send_head(HttpStream *stream, HeadText *head)
{
    HttpConnection *conn = stream->conn;
    struct iovec part = {head->text, head->size};
    ssize_t n = send_some(conn->fd, &part, 1);
    if (n < 0) {
        connection_doom(conn);
    } else if ((size_t)n < head->size) {
        connection_keep_unsent(conn, &part, 1, (size_t)n);
        stream_get_stuck(stream);
    }
}

HttpStream *http_stream_open(HttpRequest *request, const HttpHeader *headers, size_t n_headers,
                             const HttpStreamCallbacks *callbacks, void *arg)
{
    HttpConnection *conn = request->conn;
    char text[HTTP_REPLY_HEAD_SIZE];
    HeadText head = {.text = text, .capacity = sizeof text};
    g_assert(loop_own() == conn->loop && request->method != HTTP_HEAD);
    HttpStream *stream = g_new(HttpStream, 1);
    *stream = (HttpStream){.conn = conn, .callbacks = callbacks, .arg = arg, .is_chunked = !conn->frame.is_http_1_0};
    head_begin(&head, conn->loop, 200, request->id);
    head_put_headers(&head, headers, n_headers);
    if (stream->is_chunked)
        head_put(&head, "Transfer-Encoding", "chunked");
    head_put(&head, "Connection", "close");
    head_end(&head);

    connection_end_request(conn);
    shed_request(conn->ev);
    conn->stream = stream;
    connection_enter(conn, CONN_STREAM);
    struct evbuffer *input = bufferevent_get_input(conn->bev);
    evbuffer_drain(input, evbuffer_get_length(input));
    connection_watch(conn, EV_READ);
    send_head(stream, &head);
    return stream;
}

void http_stream_close(HttpStream *stream)
{
    HttpConnection *conn = stream->conn;
    g_assert(loop_own() == conn->loop);
    if (stream->is_over || conn->state != CONN_STREAM)
        return;
    connection_enter(conn, CONN_ENDING);
    if (!stream->is_stuck)
        stream_finish(stream);
}

void stream_free(HttpStream *stream)
{
    http_chunk_unref(stream->pending);
    g_free(stream);
}
