/* test_http_server_fixture.c - see its header. */
#include "test_http_server_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the server ---- */

#define MAX_STREAMS 12000

typedef struct {
    HttpStream *stream; /* loop only; NULL: closed */
    HttpLoop *loop;
} OpenStream;

static struct {
    Clock *clock;
    HttpServer *server;
    Mutex mu;
    GPtrArray *parked; /* guarded by mu */
    OpenStream *streams;
    int n_streams, n_closed, n_closing, n_writable, n_freed; /* atomic */
    bool closes_on_closing;
} fixture;

static void count(int *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static int read_count(const int *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

void fixture_pause(void)
{
    poll(NULL, 0, 1);
}

static void wait_count(const int *counter, int at_least)
{
    int64_t give_up_ms = clock_monotonic_ms(fixture.clock) + PATIENCE_MS;
    while (read_count(counter) < at_least) {
        if (clock_monotonic_ms(fixture.clock) >= give_up_ms)
            fail_msg("still %d of %d", read_count(counter), at_least);
        fixture_pause();
    }
}

static void on_data_freed(void *data)
{
    g_free(data);
    count(&fixture.n_freed);
}

static void on_writable(HttpStream *stream, void *arg)
{
    (void)arg;
    assert_true(http_stream_is_writable(stream));
    count(&fixture.n_writable);
}

static void on_closing(HttpStream *stream, void *arg)
{
    (void)arg;
    count(&fixture.n_closing);
    if (!fixture.closes_on_closing)
        return;
    HttpChunk *bye = http_chunk_new("bye", 3);
    if (http_stream_is_writable(stream))
        (void)http_stream_write(stream, bye);
    http_chunk_unref(bye);
    http_stream_close(stream);
}

static void on_closed(HttpStream *stream, void *arg)
{
    OpenStream *open = arg;
    assert_ptr_equal(open->stream, stream);
    open->stream = NULL;
    count(&fixture.n_closed);
}

static const HttpStreamCallbacks stream_callbacks = {on_writable, on_closing, on_closed};

static void open_stream(HttpRequest *request)
{
    static const HttpHeader headers[] = {{"Content-Type", "text/event-stream"}};
    int i = __atomic_fetch_add(&fixture.n_streams, 0, __ATOMIC_SEQ_CST);
    g_assert(i < MAX_STREAMS);
    OpenStream *open = &fixture.streams[i];
    open->loop = http_request_loop(request);
    open->stream = http_stream_open(request, headers, 1, &stream_callbacks, open);
    count(&fixture.n_streams); /* the tests open streams on one loop, or one after the other */
}

static void reply_text(HttpRequest *request, int status, const char *text)
{
    static const HttpHeader headers[] = {{"Content-Type", "text/plain"}};
    http_reply(request, status, headers, 1, text, strlen(text));
}

typedef struct {
    HttpTask task;
    HttpRequest *request;
} LaterReply;

static void reply_later(HttpTask *task)
{
    LaterReply *later = (LaterReply *)(void *)task;
    reply_text(later->request, 200, "later");
    g_free(later);
}

static void handle_echo(HttpRequest *request)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "OTHER"};
    size_t size;
    const char *body = http_request_body(request, &size);
    const char *query = http_request_query(request);
    g_autoptr(GString) text = g_string_new(names[http_request_method(request)]);
    g_string_append_printf(text, " %s %s ", http_request_path(request), query ? query : "-");
    g_string_append_len(text, body, (gssize)size);
    static const HttpHeader headers[] = {{"Content-Type", "text/plain"}, {"X-Evil", "a\r\nb"}};
    http_reply(request, 200, headers, 2, text->str, text->len);
}

static void handle_fields(HttpRequest *request)
{
    const char *name = http_request_query(request);
    const char *first = http_request_header(request, name);
    g_autofree char *joined = http_request_header_joined(request, name);
    g_autofree char *text = g_strdup_printf("[%s][%s]", first ? first : "none", joined ? joined : "none");
    reply_text(request, 200, text);
}

static void handle(HttpRequest *request, void *arg)
{
    assert_ptr_equal(arg, &fixture);
    const char *path = http_request_path(request);
    if (strcmp(path, "/wait") == 0) {
        http_request_set_data(request, g_strdup("data"), on_data_freed);
        MUTEX_SCOPE(&fixture.mu);
        g_ptr_array_add(fixture.parked, request);
    } else if (strcmp(path, "/stream") == 0) {
        open_stream(request);
    } else if (strcmp(path, "/big") == 0) {
        g_autofree char *body = g_strnfill(BIG_SIZE, 'b');
        http_reply(request, 200, NULL, 0, body, BIG_SIZE);
    } else if (strcmp(path, "/none") == 0) {
        http_reply(request, 204, NULL, 0, NULL, 0);
    } else if (strcmp(path, "/fields") == 0) {
        handle_fields(request);
    } else if (strcmp(path, "/task") == 0) {
        LaterReply *later = g_new0(LaterReply, 1);
        later->task.run = reply_later;
        later->request = request;
        http_loop_post(http_request_loop(request), &later->task);
    } else {
        handle_echo(request);
    }
}

static void error_body(int status, const char *message, const char *request_id, GString *out, void *arg)
{
    assert_ptr_equal(arg, &fixture);
    g_string_append_printf(out, "{\"status\":%d,\"message\":\"%s\",\"id\":\"%s\"}", status, message, request_id);
}

void fixture_start(FixtureOptions options)
{
    memset(&fixture, 0, sizeof fixture);
    fixture.clock = clock_new_system();
    mutex_init(&fixture.mu);
    fixture.parked = g_ptr_array_new();
    fixture.streams = g_new0(OpenStream, MAX_STREAMS);
    HttpOptions http = {
        .address = FIXTURE_ADDRESS,
        .n_loops = options.n_loops ? options.n_loops : 1,
        .max_connections = options.max_connections,
        .receive_deadline_ms = options.receive_deadline_ms,
        .idle_timeout_ms = options.idle_timeout_ms,
        .handler = handle,
        .error_body = error_body,
        .arg = &fixture,
    };
    GError *error = NULL;
    fixture.server = http_server_start(&http, fixture.clock, &error);
    assert_null(error);
    assert_non_null(fixture.server);
}

void fixture_stop(void)
{
    http_server_stop(fixture.server);
    assert_int_equal(read_count(&fixture.n_closed), read_count(&fixture.n_streams));
    g_ptr_array_free(fixture.parked, TRUE);
    g_free(fixture.streams);
    mutex_done(&fixture.mu);
    clock_free(fixture.clock);
}

HttpServer *fixture_server(void)
{
    return fixture.server;
}

Clock *fixture_clock(void)
{
    return fixture.clock;
}

/* ---- parked requests ---- */

static int n_parked(void)
{
    MUTEX_SCOPE(&fixture.mu);
    return (int)fixture.parked->len;
}

void fixture_wait_parked(int n)
{
    int64_t give_up_ms = clock_monotonic_ms(fixture.clock) + PATIENCE_MS;
    while (n_parked() < n) {
        assert_true(clock_monotonic_ms(fixture.clock) < give_up_ms);
        fixture_pause();
    }
}

int fixture_n_freed(void)
{
    return read_count(&fixture.n_freed);
}

/* Runs func on the loop and waits for it. */
typedef struct {
    HttpTask task;
    void (*func)(void *arg);
    void *arg;
    Bell done;
} LoopCall;

static void run_call(HttpTask *task)
{
    LoopCall *call = (LoopCall *)(void *)task;
    call->func(call->arg);
    bell_ring(&call->done);
}

static void call_on(HttpLoop *loop, void (*func)(void *arg), void *arg)
{
    LoopCall call = {.task = {.run = run_call}, .func = func, .arg = arg};
    bell_init(&call.done);
    http_loop_post(loop, &call.task);
    assert_true(bell_wait(&call.done, PATIENCE_MS));
    bell_done(&call.done);
}

typedef struct {
    HttpRequest *request;
    int status;
    const char *body;
} ParkedReply;

static void answer(void *arg)
{
    ParkedReply *parked = arg;
    reply_text(parked->request, parked->status, parked->body);
}

void fixture_answer_parked(int status, const char *body)
{
    g_autoptr(GPtrArray) requests = NULL;
    {
        MUTEX_SCOPE(&fixture.mu);
        requests = fixture.parked;
        fixture.parked = g_ptr_array_new();
    }
    for (guint i = 0; i < requests->len; i++) {
        ParkedReply parked = {.request = requests->pdata[i], .status = status, .body = body};
        call_on(http_request_loop(parked.request), answer, &parked);
    }
}

/* ---- streams ---- */

void fixture_streams_close_on_closing(bool is_set)
{
    fixture.closes_on_closing = is_set;
}

void fixture_wait_streams(int n_opened)
{
    wait_count(&fixture.n_streams, n_opened);
}

void fixture_wait_closed(int n_closed)
{
    wait_count(&fixture.n_closed, n_closed);
}

int fixture_n_closing(void)
{
    return read_count(&fixture.n_closing);
}

int fixture_n_writable(void)
{
    return read_count(&fixture.n_writable);
}

typedef struct {
    OpenStream *open;
    const char *text;
    size_t size;
    bool result;
    int n;
    int64_t ms;
} StreamCall;

static void do_write(void *arg)
{
    StreamCall *call = arg;
    HttpChunk *chunk = http_chunk_new(call->text, call->size);
    call->result = call->open->stream != NULL && http_stream_write(call->open->stream, chunk);
    http_chunk_unref(chunk);
}

bool fixture_stream_write(int i, const char *text, size_t size)
{
    StreamCall call = {.open = &fixture.streams[i], .text = text, .size = size};
    call_on(call.open->loop, do_write, &call);
    return call.result;
}

static void do_write_all(void *arg)
{
    StreamCall *call = arg;
    HttpChunk *chunk = http_chunk_new(call->text, call->size);
    for (int i = 0; i < read_count(&fixture.n_streams); i++)
        if (fixture.streams[i].stream != NULL && http_stream_is_writable(fixture.streams[i].stream))
            call->n += http_stream_write(fixture.streams[i].stream, chunk);
    http_chunk_unref(chunk);
}

int fixture_stream_write_all(const char *text, size_t size)
{
    StreamCall call = {.text = text, .size = size};
    call_on(http_server_loop(fixture.server, 0), do_write_all, &call);
    return call.n;
}

static void do_look(void *arg)
{
    StreamCall *call = arg;
    call->result = call->open->stream != NULL && http_stream_is_writable(call->open->stream);
    if (call->open->stream != NULL)
        call->ms = clock_monotonic_ms(fixture.clock) - http_stream_stuck_since(call->open->stream);
}

bool fixture_stream_is_writable(int i)
{
    StreamCall call = {.open = &fixture.streams[i]};
    call_on(call.open->loop, do_look, &call);
    return call.result;
}

int64_t fixture_stream_stuck_for_ms(int i)
{
    StreamCall call = {.open = &fixture.streams[i]};
    call_on(call.open->loop, do_look, &call);
    return call.ms;
}

static void do_close(void *arg)
{
    StreamCall *call = arg;
    if (call->open->stream == NULL)
        return;
    http_stream_close(call->open->stream);
    assert_non_null(call->open->stream); /* on_closed comes later, never from inside */
    assert_false(http_stream_is_writable(call->open->stream));
    http_stream_close(call->open->stream); /* once more does nothing */
}

void fixture_stream_close(int i)
{
    StreamCall call = {.open = &fixture.streams[i]};
    call_on(call.open->loop, do_close, &call);
}

/* ---- clients ---- */

static Client client_connect(int receive_bytes)
{
    Client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .got = g_string_new(NULL)};
    assert_true(client.fd >= 0);
    if (receive_bytes > 0)
        setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(client.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(http_server_port(fixture.server))};
    address.sin_addr.s_addr = htonl(FIXTURE_ADDRESS_NUMBER);
    if (connect(client.fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_msg("connect: %s", strerror(errno));
    return client;
}

Client client_open(void)
{
    return client_connect(0);
}

Client client_open_slow(void)
{
    return client_connect(1);
}

void client_close(Client *client)
{
    close(client->fd);
    g_string_free(client->got, TRUE);
    client->got = NULL;
}

bool client_try_send_n(Client *client, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t n = send(client->fd, text, size, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        text += n;
        size -= (size_t)n;
    }
    return true;
}

void client_send_n(Client *client, const char *text, size_t size)
{
    assert_true(client_try_send_n(client, text, size));
}

void client_send(Client *client, const char *text)
{
    client_send_n(client, text, strlen(text));
}

/* 0: the end; fails after PATIENCE_MS. A reset counts as the end: -1. */
static int receive_more(Client *client)
{
    char buffer[65536];
    ssize_t n = recv(client->fd, buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        fail_msg("nothing came; so far: %s", client->got->str);
    if (n > 0)
        g_string_append_len(client->got, buffer, n);
    return n > 0 ? 1 : n == 0 ? 0 : -1;
}

char *client_read_until(Client *client, const char *end)
{
    char *found;
    while ((found = g_strstr_len(client->got->str, (gssize)client->got->len, end)) == NULL)
        if (receive_more(client) <= 0)
            fail_msg("the connection ended; so far: %s", client->got->str);
    size_t size = (size_t)(found - client->got->str) + strlen(end);
    char *text = g_strndup(client->got->str, size);
    g_string_erase(client->got, 0, (gssize)size);
    return text;
}

void client_read_n(Client *client, size_t size, char *ret_bytes)
{
    while (client->got->len < size)
        if (receive_more(client) <= 0)
            fail_msg("the connection ended after %zu of %zu bytes", client->got->len, size);
    memcpy(ret_bytes, client->got->str, size);
    g_string_erase(client->got, 0, (gssize)size);
}

Reply client_read_reply(Client *client, bool is_head)
{
    Reply reply = {.head = client_read_until(client, "\r\n\r\n")};
    assert_true(g_str_has_prefix(reply.head, "HTTP/1.1 "));
    reply.status = atoi(reply.head + strlen("HTTP/1.1 "));
    g_autofree char *length = reply_header(&reply, "Content-Length");
    if (length != NULL && !is_head)
        reply.body_size = (size_t)g_ascii_strtoull(length, NULL, 10);
    reply.body = g_malloc0(reply.body_size + 1);
    client_read_n(client, reply.body_size, reply.body);
    return reply;
}

void reply_done(Reply *reply)
{
    g_free(reply->head);
    g_free(reply->body);
}

char *reply_header(const Reply *reply, const char *name)
{
    g_autofree char *key = g_strdup_printf("\r\n%s: ", name);
    const char *at = strstr(reply->head, key);
    if (at == NULL)
        return NULL;
    at += strlen(key);
    return g_strndup(at, strcspn(at, "\r"));
}

char *client_read_to_end(Client *client, size_t *ret_size)
{
    int result;
    while ((result = receive_more(client)) > 0)
        ;
    if (result < 0)
        fail_msg("reset by the server; so far: %s", client->got->str);
    if (ret_size != NULL)
        *ret_size = client->got->len;
    return g_strndup(client->got->str, client->got->len);
}

void client_assert_closed(Client *client)
{
    g_autofree char *rest = client_read_to_end(client, NULL);
    assert_string_equal(rest, "");
}

bool client_is_reset_or_closed(Client *client)
{
    return receive_more(client) <= 0;
}

char *talk(const char *request)
{
    Client client = client_open();
    client_send(&client, request);
    char *text = client_read_to_end(&client, NULL);
    client_close(&client);
    return text;
}

void assert_status_and_close(const char *request, size_t size, int status, const char *message_part)
{
    Client client = client_open();
    (void)client_try_send_n(&client, request, size); /* the end may come before everything is sent */
    Reply reply = client_read_reply(&client, false);
    if (reply.status != status || strstr(reply.body, message_part) == NULL)
        fail_msg("expected %d \"%s\", got %d: %s\nfor %s", status, message_part, reply.status, reply.body, request);
    g_autofree char *connection = reply_header(&reply, "Connection");
    g_autofree char *type = reply_header(&reply, "Content-Type");
    g_autofree char *id = reply_header(&reply, "X-Request-Id");
    assert_string_equal(connection, "close");
    assert_string_equal(type, "application/json");
    assert_non_null(strstr(reply.body, id));
    client_assert_closed(&client);
    reply_done(&reply);
    client_close(&client);
}

void assert_serves(void)
{
    g_autofree char *text = talk("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(g_str_has_prefix(text, "HTTP/1.1 200 OK\r\n"));
    assert_true(g_str_has_suffix(text, "GET /echo - "));
}
