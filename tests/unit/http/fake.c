/* fake.c - http_server.h and service.h in memory. */
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "http/api.h"

struct HttpLoop {
    HttpTask *first, *last;
    GQueue closing;
};

struct HttpRequest {
    HttpMethod method;
    char *path, *query, *body;
    char **headers;
    Reply *reply;
};

struct HttpChunk {
    int ref_count;
    size_t size;
    char *text;
};

struct HttpStream {
    const HttpStreamCallbacks *callbacks;
    void *arg;
    GString *written;
    bool is_blocked, is_writable, is_closing, is_closed;
    int64_t stuck_since;
};

struct HttpTimer {
    void (*fire)(void *arg);
    void *arg;
    int64_t due_ms; /* INT64_MAX: not armed */
};

Fake fake;
static HttpLoop the_loop;
static HttpTimer *the_timer;
static size_t n_chunks;
static bool is_detaching;

void fake_init(void)
{
    fake = (Fake){.clock = clock_new_fake(FAKE_NOW), .hub = hub_new(1024 * 1024), .calls = g_queue_new()};
    clock_fake_advance(fake.clock, 1000000);
    fake.views = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)(void (*)(void))run_view_unref);
    the_loop = (HttpLoop){0};
    g_queue_init(&the_loop.closing);
}

void fake_done(void)
{
    assert_true(g_queue_is_empty(fake.calls));
    assert_null(the_loop.first);
    assert_int_equal(fake.n_timers, 0);
    assert_int_equal(n_chunks, 0);
    g_queue_free(fake.calls);
    g_hash_table_destroy(fake.views);
    hub_free(fake.hub);
    clock_free(fake.clock);
}

/* ---- requests ---- */

Reply *fake_request(void *api, HttpMethod method, const char *target, const char *headers, const char *body)
{
    HttpRequest *request = g_new0(HttpRequest, 1);
    const char *question = strchr(target, '?');
    request->method = method;
    request->path = question ? g_strndup(target, (gsize)(question - target)) : g_strdup(target);
    request->query = question ? g_strdup(question + 1) : NULL;
    request->body = g_strdup(body);
    request->headers = g_strsplit(headers ? headers : "", "\n", -1);
    Reply *reply = g_new0(Reply, 1);
    reply->headers = g_string_new(NULL);
    reply->body = g_string_new(NULL);
    request->reply = reply;
    api_handle(request, api);
    return reply;
}

static void request_free(HttpRequest *request)
{
    g_free(request->path);
    g_free(request->query);
    g_free(request->body);
    g_strfreev(request->headers);
    g_free(request);
}

void reply_free(Reply *reply)
{
    g_string_free(reply->headers, TRUE);
    g_string_free(reply->body, TRUE);
    g_free(reply);
}

static const char *line_value(const char *line, const char *name)
{
    size_t size = strlen(name);
    return g_ascii_strncasecmp(line, name, size) == 0 && line[size] == ':' ? line + size + 2 : NULL;
}

const char *reply_header(const Reply *reply, const char *name)
{
    static char value[512];
    g_auto(GStrv) lines = g_strsplit(reply->headers->str, "\n", -1);
    for (char **line = lines; *line; line++) {
        const char *found = line_value(*line, name);
        if (!found)
            continue;
        g_strlcpy(value, found, sizeof(value));
        return value;
    }
    return NULL;
}

HttpMethod http_request_method(const HttpRequest *request)
{
    return request->method;
}

const char *http_request_path(const HttpRequest *request)
{
    return request->path;
}

const char *http_request_query(const HttpRequest *request)
{
    return request->query;
}

const char *http_request_header(const HttpRequest *request, const char *name)
{
    for (char **line = request->headers; *line; line++) {
        const char *value = line_value(*line, name);
        if (value)
            return value;
    }
    return NULL;
}

char *http_request_header_joined(const HttpRequest *request, const char *name)
{
    GString *joined = NULL;
    for (char **line = request->headers; *line; line++) {
        const char *value = line_value(*line, name);
        if (!value)
            continue;
        if (joined)
            g_string_append(joined, ", ");
        else
            joined = g_string_new(NULL);
        g_string_append(joined, value);
    }
    return joined ? g_string_free(joined, FALSE) : NULL;
}

const char *http_request_body(HttpRequest *request, size_t *ret_size)
{
    *ret_size = request->body ? strlen(request->body) : 0;
    return request->body ? request->body : "";
}

const char *http_request_id(const HttpRequest *request)
{
    (void)request;
    return "req-1";
}

HttpLoop *http_request_loop(const HttpRequest *request)
{
    (void)request;
    return &the_loop;
}

static void take_headers(Reply *reply, const HttpHeader *headers, size_t n_headers)
{
    for (size_t i = 0; i < n_headers; i++)
        g_string_append_printf(reply->headers, "%s: %s\n", headers[i].name, headers[i].value);
}

void http_reply(HttpRequest *request, int status, const HttpHeader *headers, size_t n_headers, const char *body,
                size_t body_size)
{
    Reply *reply = request->reply;
    assert_int_equal(reply->status, 0); /* answered exactly once */
    reply->status = status;
    take_headers(reply, headers, n_headers);
    if (request->method != HTTP_HEAD)
        g_string_append_len(reply->body, body, (gssize)body_size);
    request_free(request);
}

/* ---- streams ---- */

HttpStream *http_stream_open(HttpRequest *request, const HttpHeader *headers, size_t n_headers,
                             const HttpStreamCallbacks *callbacks, void *arg)
{
    HttpStream *stream = g_new0(HttpStream, 1);
    stream->callbacks = callbacks;
    stream->arg = arg;
    stream->written = g_string_new(NULL);
    stream->is_writable = true;
    stream->stuck_since = clock_monotonic_ms(fake.clock);
    take_headers(request->reply, headers, n_headers);
    assert_int_equal(request->reply->status, 0);
    request->reply->status = 200;
    request->reply->stream = stream;
    request_free(request);
    return stream;
}

HttpChunk *http_chunk_new(const char *text, size_t size)
{
    HttpChunk *chunk = g_new(HttpChunk, 1);
    *chunk = (HttpChunk){.ref_count = 1, .size = size, .text = g_memdup2(text, size)};
    n_chunks++;
    return chunk;
}

HttpChunk *http_chunk_ref(HttpChunk *chunk)
{
    chunk->ref_count++;
    return chunk;
}

void http_chunk_unref(HttpChunk *chunk)
{
    if (!chunk || --chunk->ref_count > 0)
        return;
    n_chunks--;
    g_free(chunk->text);
    g_free(chunk);
}

size_t stream_n_chunks_alive(void)
{
    return n_chunks;
}

bool http_stream_write(HttpStream *stream, HttpChunk *chunk)
{
    assert_true(stream->is_writable);
    assert_false(stream->is_closing);
    g_string_append_len(stream->written, chunk->text, (gssize)chunk->size);
    stream->is_writable = !stream->is_blocked;
    stream->stuck_since = clock_monotonic_ms(fake.clock);
    return stream->is_writable;
}

bool http_stream_is_writable(const HttpStream *stream)
{
    return stream->is_writable;
}

int64_t http_stream_stuck_since(const HttpStream *stream)
{
    return stream->stuck_since;
}

void http_stream_close(HttpStream *stream)
{
    assert_false(stream->is_closing);
    stream->is_closing = true;
    g_queue_push_tail(&the_loop.closing, stream);
}

char *stream_take(HttpStream *stream)
{
    char *text = g_strdup(stream->written->str);
    g_string_truncate(stream->written, 0);
    return text;
}

void stream_block(HttpStream *stream)
{
    stream->is_blocked = true;
}

void stream_unblock(HttpStream *stream)
{
    stream->is_blocked = false;
    stream->is_writable = true;
    stream->callbacks->on_writable(stream, stream->arg);
    fake_run_loop();
}

void stream_break(HttpStream *stream)
{
    stream->is_closing = true;
    g_queue_push_tail(&the_loop.closing, stream);
    fake_run_loop();
}

bool stream_is_closed(const HttpStream *stream)
{
    return stream->is_closed;
}

void stream_drain(HttpStream *stream)
{
    stream->callbacks->on_closing(stream, stream->arg);
    fake_run_loop();
}

void stream_free(HttpStream *stream)
{
    assert_true(stream->is_closed);
    g_string_free(stream->written, TRUE);
    g_free(stream);
}

/* ---- the loop ---- */

void http_loop_post(HttpLoop *loop, HttpTask *task)
{
    if (is_detaching) { /* its caller waits: there is no other thread to run it */
        task->run(task);
        return;
    }
    task->next = NULL;
    if (loop->last)
        loop->last->next = task;
    else
        loop->first = task;
    loop->last = task;
}

size_t http_loop_index(const HttpLoop *loop)
{
    (void)loop;
    return 0;
}

HttpLoop *http_server_loop(HttpServer *server, size_t i)
{
    (void)server;
    (void)i;
    return &the_loop;
}

HttpLoad http_server_load(HttpServer *server)
{
    (void)server;
    return (HttpLoad){.n_connections = 3, .n_requests = 12};
}

void fake_run_loop(void)
{
    while (the_loop.first || !g_queue_is_empty(&the_loop.closing)) {
        HttpTask *task = the_loop.first;
        if (task) {
            the_loop.first = task->next;
            if (!the_loop.first)
                the_loop.last = NULL;
            task->run(task);
            continue;
        }
        HttpStream *stream = g_queue_pop_head(&the_loop.closing);
        assert_false(stream->is_closed);
        stream->is_closed = true;
        stream->callbacks->on_closed(stream, stream->arg);
    }
}

void fake_detach(void *api)
{
    is_detaching = true;
    api_detach(api);
    is_detaching = false;
}

HttpTimer *http_timer_new(HttpLoop *loop, void (*fire)(void *arg), void *arg)
{
    (void)loop;
    HttpTimer *timer = g_new(HttpTimer, 1);
    *timer = (HttpTimer){fire, arg, INT64_MAX};
    assert_null(the_timer); /* one per loop */
    the_timer = timer;
    fake.n_timers++;
    return timer;
}

void http_timer_arm(HttpTimer *timer, int64_t after_ms)
{
    assert_true(after_ms > 0);
    timer->due_ms = clock_monotonic_ms(fake.clock) + after_ms;
}

void http_timer_free(HttpTimer *timer)
{
    the_timer = NULL;
    fake.n_timers--;
    g_free(timer);
}

void fake_fire_timer(void)
{
    assert_non_null(the_timer);
    the_timer->due_ms = INT64_MAX;
    the_timer->fire(the_timer->arg);
    fake_run_loop();
}

void fake_advance(int64_t ms)
{
    int64_t end_ms = clock_monotonic_ms(fake.clock) + ms;
    while (the_timer && the_timer->due_ms <= end_ms) {
        clock_fake_advance(fake.clock, the_timer->due_ms - clock_monotonic_ms(fake.clock));
        fake_fire_timer();
    }
    clock_fake_advance(fake.clock, end_ms - clock_monotonic_ms(fake.clock));
}

/* ---- the service ---- */

ServiceCall *service_call_new(CallKind kind, void (*done)(ServiceCall *call), void *arg)
{
    ServiceCall *call = g_new0(ServiceCall, 1);
    call->kind = kind;
    call->done = done;
    call->arg = arg;
    call->query.from = call->query.to = INSTANT_NONE;
    return call;
}

static void journal_free(JournalPage *page)
{
    if (!page)
        return;
    g_ptr_array_free(page->texts, TRUE);
    g_free(page->entries);
    g_free(page);
}

static void list_free(ListPage *page)
{
    if (!page)
        return;
    for (size_t i = 0; i < page->n_items; i++)
        g_free(page->items[i].json);
    g_free(page->items);
    g_free(page);
}

void service_call_free(ServiceCall *call)
{
    if (!call)
        return;
    flow_unref(call->flow);
    json_free(call->body);
    g_free(call->precondition.tags);
    g_free(call->start.triggered_by);
    text_map_done(&call->start.labels);
    text_map_done(&call->start.inputs);
    g_free(call->start.idempotency_key);
    g_free(call->start.request_digest);
    g_free(call->query_text.triggered_by);
    g_free(call->query_text.label_name);
    g_free(call->query_text.label_value);
    g_free(call->message);
    faults_free(call->faults);
    if (call->data)
        g_string_free(call->data, TRUE);
    run_view_unref(call->view);
    journal_free(call->journal);
    list_free(call->list);
    g_free(call);
}

bool service_submit(Service *service, ServiceCall *call, GError **error)
{
    (void)service;
    if (fake.is_busy) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "too many requests are waiting");
        return false;
    }
    g_queue_push_tail(fake.calls, call);
    return true;
}

ServiceCall *fake_call(CallKind kind)
{
    ServiceCall *call = g_queue_peek_head(fake.calls);
    if (call)
        assert_int_equal(call->kind, kind);
    return call;
}

void fake_answer(ServiceCall *call, CallResult result, const char *message)
{
    assert_true(g_queue_remove(fake.calls, call));
    call->result = result;
    call->message = g_strdup(message);
    call->done(call);
    fake_run_loop();
}

RunView *run_view_ref(RunView *view)
{
    view->ref_count++;
    return view;
}

void run_view_unref(RunView *view)
{
    if (!view || --view->ref_count > 0)
        return;
    g_free((char *)view->detail);
    g_free(view);
}

RunView *fake_view(const char *run_id, const char *owner, RunStatus status, RunPhase phase, int64_t seq,
                   const char *detail)
{
    RunView *view = g_new0(RunView, 1);
    g_strlcpy(view->run_id.text, run_id, ID_TEXT_SIZE);
    g_strlcpy(view->owner.text, owner, ID_TEXT_SIZE);
    view->status = status;
    view->phase = phase;
    view->seq = seq;
    view->detail = g_strdup(detail);
    view->detail_size = strlen(detail);
    view->ref_count = 1;
    return view;
}

void fake_set_view(RunView *view)
{
    g_hash_table_replace(fake.views, g_strdup(view->run_id.text), view);
}

RunView *service_find_run(Service *service, const char *run_id)
{
    (void)service;
    RunView *view = g_hash_table_lookup(fake.views, run_id);
    return view ? run_view_ref(view) : NULL;
}

ServiceHealth service_health(Service *service)
{
    (void)service;
    return (ServiceHealth){.is_store_up = !fake.is_store_down,
                           .is_store_impaired = fake.is_store_impaired,
                           .is_bus_up = !fake.is_bus_down,
                           .is_accepting = true,
                           .n_open_runs = 7,
                           .n_appends = 9};
}
