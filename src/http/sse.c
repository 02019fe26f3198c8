/* sse.c - GET /stream/{runId}: how a stream opens, moves, stays alive and ends. */
#include "http/sse_internal.h"

#include <string.h>

/* ---- one stream ---- */

void stream_touch(Stream *stream)
{
    SseLoop *sse = stream->group->sse;
    stream->last_written_ms = sse->now_ms;
    TAILQ_REMOVE(&sse->idle, stream, in_idle);
    TAILQ_INSERT_TAIL(&sse->idle, stream, in_idle);
}

static bool stream_write(Stream *stream, HttpChunk *chunk)
{
    stream_touch(stream);
    return http_stream_write(stream->http, chunk);
}

/* Takes it out of everything; the group may go with it. */
static void stream_detach(Stream *stream)
{
    StreamGroup *group = stream->group;
    SseLoop *sse = group->sse;
    TAILQ_REMOVE(&group->streams, stream, in_group);
    TAILQ_REMOVE(&sse->idle, stream, in_idle);
    if (stream->is_waiting)
        TAILQ_REMOVE(&sse->waiting, stream, in_waiting);
    if (stream->read)
        stream->read->stream = NULL;
    sse->n_streams--;
    stream->group = NULL;
    group->n_holds++;
    group_release(group);
}

void stream_end(Stream *stream)
{
    HttpStream *http = stream->http;
    stream_detach(stream);
    http_stream_close(http); /* on_closed frees the stream */
}

void stream_pump(Stream *stream)
{
    StreamGroup *group = stream->group;
    while (http_stream_is_writable(stream->http)) {
        if (stream->cursor >= group->newest_seq) {
            if (group_is_over(group))
                stream_end(stream);
            return;
        }
        const SharedFrames *frames = group_find_frames(group, stream->cursor);
        if (!frames) {
            if (!stream->is_waiting && !stream->read) {
                stream->is_waiting = true;
                TAILQ_INSERT_TAIL(&group->sse->waiting, stream, in_waiting);
            }
            return;
        }
        counter_add(&group->sse->loop->n_frames, frames->last - stream->cursor);
        stream->cursor = frames->last;
        if (!stream_write(stream, frames->chunk))
            return;
    }
}

static void on_writable(HttpStream *http, void *arg)
{
    (void)http;
    Stream *stream = arg;
    if (!stream->group)
        return;
    SseLoop *sse = stream->group->sse;
    sse->now_ms = clock_monotonic_ms(sse->loop->api->clock);
    stream_pump(stream);
    sse_start_calls(sse);
}

/* The server is about to stop: the client is told to come back soon, to whoever serves then. */
static void on_closing(HttpStream *http, void *arg)
{
    Stream *stream = arg;
    if (!stream->group)
        return;
    SseLoop *sse = stream->group->sse;
    sse->is_draining = true;
    if (http_stream_is_writable(http))
        (void)http_stream_write(http, sse->retry);
    stream_end(stream);
}

static void on_closed(HttpStream *http, void *arg)
{
    (void)http;
    Stream *stream = arg;
    if (stream->group)
        stream_detach(stream);
    g_free(stream);
}

/* ---- the tick: heartbeats, polls, ends ---- */

static void write_heartbeats(SseLoop *sse)
{
    size_t n_left = MAX(SSE_HEARTBEATS_MIN, sse->n_streams * SSE_TICK_MS / 1000 + 1);
    Stream *stream;
    while (n_left-- > 0 && (stream = TAILQ_FIRST(&sse->idle)) != NULL &&
           sse->now_ms - stream->last_written_ms >= SSE_HEARTBEAT_MS) {
        if (http_stream_is_writable(stream->http))
            (void)stream_write(stream, sse->heartbeat);
        else if (sse->now_ms - http_stream_stuck_since(stream->http) >= SSE_STUCK_MS)
            stream_end(stream);
        else
            stream_touch(stream); /* looked at again when its time has come once more */
    }
}

void sse_tick(void *arg)
{
    SseLoop *sse = arg;
    sse->now_ms = clock_monotonic_ms(sse->loop->api->clock);
    write_heartbeats(sse);
    sse_poll_groups(sse);
    int64_t wait_ms = sse_close_ended(sse);
    sse_start_calls(sse);
    if (sse->timer) /* else the last group went */
        http_timer_arm(sse->timer, wait_ms);
}

/* ---- opening ---- */

/* What the handler keeps while the run is read. */
typedef struct {
    StreamGroup *group; /* held */
    SsePlace place;
} Opening;

static void opening_free(Opening *opening)
{
    group_release(opening->group);
    g_free(opening);
}

static const HttpHeader stream_headers[] = {
    {"Content-Type", "text/event-stream"},
    {"Cache-Control", "no-cache"},
    {"X-Accel-Buffering", "no"}, /* asks a proxy in front not to hold frames back */
};

/* What every stream begins with; the snapshot unless the client resumes. */
static HttpChunk *first_chunk(SseLoop *sse, const ApiRequest *request, const RunView *view, bool is_resume)
{
    if (is_resume)
        return http_chunk_ref(sse->retry);
    g_string_printf(sse->scratch, "retry: %d\n\n", SSE_RETRY_MS);
    sse_snapshot_append(sse->scratch, view, clock_wall_ms(request->api->clock), http_request_id(request->http));
    HttpChunk *chunk = http_chunk_new(sse->scratch->str, sse->scratch->len);
    sse_scratch_trim(sse);
    return chunk;
}

static void start_stream(const ApiRequest *request, StreamGroup *group, const RunView *view, SsePlace place)
{
    static const HttpStreamCallbacks callbacks = {on_writable, on_closing, on_closed};
    SseLoop *sse = group->sse;
    HttpChunk *chunk = first_chunk(sse, request, view, place.is_resume);
    Stream *stream = g_new0(Stream, 1);
    stream->group = group;
    stream->cursor = place.is_resume ? MIN(place.after, group->newest_seq) : view->seq;
    TAILQ_INSERT_TAIL(&group->streams, stream, in_group);
    TAILQ_INSERT_TAIL(&sse->idle, stream, in_idle);
    sse->n_streams++;
    api_note_reply(request, 200);
    stream->http = http_stream_open(request->http, stream_headers, G_N_ELEMENTS(stream_headers), &callbacks, stream);
    counter_add(&sse->loop->n_frames, !place.is_resume);
    if (stream_write(stream, chunk))
        stream_pump(stream);
    http_chunk_unref(chunk);
    sse_start_calls(sse);
}

static void open_on(const ApiRequest *request, const Opening *opening, const RunView *view)
{
    StreamGroup *group = opening->group;
    SseLoop *sse = group->sse;
    sse->now_ms = clock_monotonic_ms(request->api->clock);
    if (strcmp(view->owner.text, request->caller.text) != 0) {
        g_autofree char *message = g_strdup_printf("no run %s", request->id.text);
        api_reply_failure(request, RESULT_NOT_FOUND, NULL, message);
        return;
    }
    group_note_view(group, view);
    if (opening->place.is_resume && sse_is_complete(view, opening->place.after, sse->now_ms))
        api_reply_empty(request, 204, NULL, 0);
    else if (http_request_method(request->http) == HTTP_HEAD)
        api_reply_empty(request, 200, stream_headers, G_N_ELEMENTS(stream_headers));
    else if (sse->is_draining || request->loop->is_detached)
        api_reply_failure(request, RESULT_BUSY, NULL, "the service is shutting down");
    else
        start_stream(request, group, view, opening->place);
}

static void run_was_read(ApiRequest *request, ServiceCall *call)
{
    Opening *opening = request->arg;
    if (call->result == RESULT_OK)
        open_on(request, opening, call->view);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
    opening_free(opening);
}

void sse_open(ApiRequest *request)
{
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    SsePlace place = {0};
    if (query_init(&query, http_request_query(request->http), faults))
        place = sse_place_parse(http_request_header(request->http, "Last-Event-ID"), &query, faults);
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    /* Listening comes first, so that nothing falls between the view and the first doorbell. */
    Opening *opening = g_new(Opening, 1);
    *opening = (Opening){.group = group_hold(sse_loop_of(request), request->id.text), .place = place};
    RunView *view = service_find_run(request->api->service, request->id.text);
    if (view) {
        open_on(request, opening, view);
        run_view_unref(view);
        opening_free(opening);
        return;
    }
    request->arg = opening;
    ServiceCall *call = api_call_new(request, CALL_GET_RUN);
    call->run_id = request->id;
    call->is_exact = true; /* what is left out of the snapshot would wait for the next doorbell */
    if (!api_submit(request, call, run_was_read))
        opening_free(opening);
}
