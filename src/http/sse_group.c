/* sse_group.c - the runs that this loop's streams show: doorbells, shared frames, reads, and when a run's streams end. */
#include "http/sse_internal.h"

#include <string.h>

#include "base/log.h"

/* ---- loops ---- */

SseLoop *sse_loop_of(const ApiRequest *request)
{
    static const char heartbeat[] = ":\n\n", retry_format[] = "retry: %d\n\n";
    SseLoop *sse = request->loop->sse;
    if (!sse) {
        g_autofree char *retry = g_strdup_printf(retry_format, SSE_RETRY_MS);
        sse = g_new0(SseLoop, 1);
        sse->loop = request->loop;
        sse->http_loop = http_request_loop(request->http);
        sse->groups = g_hash_table_new(g_str_hash, g_str_equal);
        sse->scratch = g_string_sized_new(4096);
        sse->retry = http_chunk_new(retry, strlen(retry));
        sse->heartbeat = http_chunk_new(heartbeat, sizeof(heartbeat) - 1);
        TAILQ_INIT(&sse->idle);
        TAILQ_INIT(&sse->waiting);
        TAILQ_INIT(&sse->polled);
        TAILQ_INIT(&sse->ending);
        request->loop->sse = sse;
    }
    sse->now_ms = clock_monotonic_ms(sse->loop->api->clock);
    return sse;
}

void sse_loop_free(SseLoop *sse)
{
    if (!sse)
        return;
    g_assert(g_hash_table_size(sse->groups) == 0);
    g_hash_table_destroy(sse->groups);
    g_string_free(sse->scratch, TRUE);
    http_chunk_unref(sse->retry);
    http_chunk_unref(sse->heartbeat);
    g_free(sse);
}

void sse_scratch_trim(SseLoop *sse)
{
    if (sse->scratch->allocated_len <= 4 * SSE_FRAMES_BYTES)
        return;
    g_string_free(sse->scratch, TRUE);
    sse->scratch = g_string_sized_new(4096);
}

/* ---- groups ---- */

/* Thread: any, with the hub's lock held. */
static void group_wake(void *arg)
{
    StreamGroup *group = arg;
    if (!__atomic_exchange_n(&group->is_woken, true, __ATOMIC_ACQ_REL))
        http_loop_post(group->sse->http_loop, &group->wake_task);
}

static void group_drop_shared(StreamGroup *group)
{
    for (size_t i = 0; i < SSE_SHARED_CHUNKS; i++)
        g_clear_pointer(&group->shared[i].chunk, http_chunk_unref);
}

/* Notes what this process knows of the run now; false when that is nothing. */
static bool group_look(StreamGroup *group)
{
    const ApiLoop *loop = group->sse->loop;
    RunView *view = loop->is_detached ? NULL : service_find_run(loop->api->service, group->run_id);
    if (!view)
        return false;
    group_note_view(group, view);
    run_view_unref(view);
    return true;
}

static void group_run_wake(HttpTask *task)
{
    StreamGroup *group = (StreamGroup *)(void *)((char *)task - offsetof(StreamGroup, wake_task));
    SseLoop *sse = group->sse;
    __atomic_store_n(&group->is_woken, false, __ATOMIC_RELEASE);
    if (group->is_dead) {
        g_free(group);
        return;
    }
    if (sse->loop->is_detached)
        return;
    sse->now_ms = clock_monotonic_ms(sse->loop->api->clock);
    group->n_holds++;
    group->newest_seq = MAX(group->newest_seq, hub_newest_seq(sse->loop->api->hub, group->listener));
    group_pump(group);
    if (group->is_ended && !group->is_settled) {
        (void)group_look(group);
        if (group->is_settled)
            group_pump(group);
    }
    group_release(group);
    sse_start_calls(sse);
}

static StreamGroup *group_new(SseLoop *sse, const char *run_id)
{
    StreamGroup *group = g_new0(StreamGroup, 1);
    group->sse = sse;
    g_strlcpy(group->run_id, run_id, sizeof(group->run_id));
    group->wake_task.run = group_run_wake;
    TAILQ_INIT(&group->streams);
    group->next_poll_ms = sse->now_ms + SSE_POLL_MS;
    TAILQ_INSERT_TAIL(&sse->polled, group, in_polled);
    if (g_hash_table_size(sse->groups) == 0) {
        sse->timer = http_timer_new(sse->http_loop, sse_tick, sse);
        http_timer_arm(sse->timer, SSE_TICK_MS);
    }
    g_hash_table_insert(sse->groups, group->run_id, group);
    group->listener = hub_listen(sse->loop->api->hub, run_id, group_wake, group);
    return group;
}

StreamGroup *group_hold(SseLoop *sse, const char *run_id)
{
    StreamGroup *group = g_hash_table_lookup(sse->groups, run_id);
    if (!group)
        group = group_new(sse, run_id);
    group->n_holds++;
    return group;
}

void group_release(StreamGroup *group)
{
    SseLoop *sse = group->sse;
    g_assert(group->n_holds > 0);
    if (--group->n_holds > 0 || !TAILQ_EMPTY(&group->streams))
        return;
    hub_unlisten(sse->loop->api->hub, group->listener);
    TAILQ_REMOVE(&sse->polled, group, in_polled);
    if (group->is_in_ending)
        TAILQ_REMOVE(&sse->ending, group, in_ending);
    g_hash_table_remove(sse->groups, group->run_id);
    if (g_hash_table_size(sse->groups) == 0)
        g_clear_pointer(&sse->timer, http_timer_free);
    group_drop_shared(group);
    if (__atomic_load_n(&group->is_woken, __ATOMIC_ACQUIRE))
        group->is_dead = true;
    else
        g_free(group);
}

void group_pump(StreamGroup *group)
{
    group->n_holds++;
    for (Stream *stream = TAILQ_FIRST(&group->streams), *next; stream; stream = next) {
        next = TAILQ_NEXT(stream, in_group); /* a stream that ends leaves the list */
        stream_pump(stream);
    }
    group_release(group);
}

/* ---- the end of a run ---- */

static void group_note_end(StreamGroup *group, int64_t ended_at_ms)
{
    if (group->is_ended)
        return;
    group->is_ended = true;
    group->ended_at_ms = ended_at_ms;
    if (!group_is_over(group)) {
        group->is_in_ending = true;
        TAILQ_INSERT_TAIL(&group->sse->ending, group, in_ending);
    }
}

void group_note_view(StreamGroup *group, const RunView *view)
{
    group->owner = view->owner;
    group->newest_seq = MAX(group->newest_seq, view->seq);
    if (!run_status_is_terminal(view->status))
        return;
    group->is_settled = group->is_settled || view->phase == PHASE_SETTLED;
    group_note_end(group, view->ended_monotonic_ms ? view->ended_monotonic_ms : SSE_LONG_AGO);
}

bool group_is_over(const StreamGroup *group)
{
    if (!group->is_ended)
        return false;
    return group->is_settled || group->ended_at_ms == SSE_LONG_AGO ||
           group->sse->now_ms - group->ended_at_ms >= SSE_LATE_EVENTS_MS;
}

/* ---- frames ---- */

static void append_frame(StreamGroup *group, const JournalEntry *entry)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Event) event = event_decode(entry->text, entry->size, &error);
    if (!event)
        log_error(LOG_ERROR, "a journal text cannot be read", error, "runId", group->run_id, NULL);
    sse_frame_append(group->sse->scratch, group->run_id, entry, event ? event->timestamp : INSTANT_NONE);
    if (event && event->type == EVENT_FLOW_STATUS && run_status_is_terminal(event->run_status)) {
        (void)group_look(group); /* which knows when that was */
        group_note_end(group, group->sse->now_ms);
    }
}

/* Encodes the entries, as many as a chunk takes, for all streams of the group. The first one's seq is after + 1. */
static const SharedFrames *group_share(StreamGroup *group, int64_t after, const JournalEntry *entries, size_t n_entries)
{
    SseLoop *sse = group->sse;
    SharedFrames *frames = &group->shared[group->next_shared];
    group->next_shared = (group->next_shared + 1) % SSE_SHARED_CHUNKS;
    g_clear_pointer(&frames->chunk, http_chunk_unref);
    g_string_truncate(sse->scratch, 0);
    *frames = (SharedFrames){.after = after, .last = after};
    for (size_t i = 0; i < n_entries && sse->scratch->len < SSE_FRAMES_BYTES; i++) {
        append_frame(group, &entries[i]);
        frames->last = entries[i].seq;
    }
    frames->chunk = http_chunk_new(sse->scratch->str, sse->scratch->len);
    sse_scratch_trim(sse);
    return frames;
}

const SharedFrames *group_find_frames(StreamGroup *group, int64_t after)
{
    for (size_t i = 0; i < SSE_SHARED_CHUNKS; i++)
        if (group->shared[i].chunk && group->shared[i].after == after)
            return &group->shared[i];

    HubText *texts[SSE_PAGE_EVENTS];
    JournalEntry entries[SSE_PAGE_EVENTS];
    size_t n_texts;
    if (!hub_read(group->sse->loop->api->hub, group->listener, after, texts, SSE_PAGE_EVENTS, &n_texts) || n_texts == 0)
        return NULL;
    for (size_t i = 0; i < n_texts; i++)
        entries[i] = (JournalEntry){.seq = texts[i]->seq, .text = texts[i]->text, .size = texts[i]->size};
    const SharedFrames *frames = group_share(group, after, entries, n_texts);
    for (size_t i = 0; i < n_texts; i++)
        hub_text_unref(texts[i]);
    return frames;
}

/* ---- calls of the streams' own ---- */

static void call_take_page(SseCall *sse_call)
{
    StreamGroup *group = sse_call->group;
    Stream *stream = sse_call->stream;
    const JournalPage *page = sse_call->call->journal;
    if (!stream)
        return;
    stream->read = NULL;
    if (sse_call->call->result == RESULT_NOT_FOUND) {
        stream_end(stream); /* the run was removed */
    } else if (page && page->n_entries > 0) {
        group->newest_seq = MAX(group->newest_seq, page->entries[page->n_entries - 1].seq);
        group_share(group, sse_call->call->after, page->entries, page->n_entries);
        stream_pump(stream);
    }
    /* Else the store had nothing or did not answer: the next poll tries again. */
}

/* The answer to a look at the run. */
static void call_take_view(const SseCall *sse_call)
{
    StreamGroup *group = sse_call->group;
    Stream *stream;
    if (sse_call->call->result != RESULT_NOT_FOUND) {
        group_pump(group);
        return;
    }
    while ((stream = TAILQ_FIRST(&group->streams)) != NULL)
        stream_end(stream); /* the run was removed */
}

static void call_finish(HttpTask *task)
{
    SseCall *sse_call = (SseCall *)(void *)task; /* its first member */
    StreamGroup *group = sse_call->group;
    SseLoop *sse = group->sse;
    sse->now_ms = clock_monotonic_ms(sse->loop->api->clock);
    sse->n_calls--;
    if (sse_call->call->view)
        group_note_view(group, sse_call->call->view);
    if (sse_call->call->kind == CALL_READ_EVENTS)
        call_take_page(sse_call);
    else
        call_take_view(sse_call);
    group_release(group);
    service_call_free(sse_call->call);
    g_free(sse_call);
    sse_start_calls(sse);
}

/* Thread: the service's. */
static void call_done(ServiceCall *call)
{
    SseCall *sse_call = call->arg;
    http_loop_post(sse_call->group->sse->http_loop, &sse_call->task);
}

/* False: not now. */
static bool start_call(StreamGroup *group, Stream *stream)
{
    SseLoop *sse = group->sse;
    if (sse->loop->is_detached || sse->n_calls >= SSE_CALLS_MAX)
        return false;
    SseCall *sse_call = g_new(SseCall, 1);
    ServiceCall *call = service_call_new(stream ? CALL_READ_EVENTS : CALL_GET_RUN, call_done, sse_call);
    call->is_exact = true; /* a look is for what no doorbell told */
    *sse_call = (SseCall){.task = {.run = call_finish}, .group = group, .stream = stream, .call = call};
    call->caller = group->owner;
    g_strlcpy(call->run_id.text, group->run_id, sizeof(call->run_id.text));
    if (stream) {
        call->after = stream->cursor;
        call->limit = SSE_PAGE_EVENTS;
        stream->read = sse_call;
    }
    group->n_holds++;
    sse->n_calls++;
    g_autoptr(GError) error = NULL;
    if (service_submit(sse->loop->api->service, call, &error))
        return true;
    if (stream)
        stream->read = NULL;
    sse->n_calls--;
    group->n_holds--; /* the stream, or the poll, still has it */
    service_call_free(call);
    g_free(sse_call);
    return false;
}

void sse_start_calls(SseLoop *sse)
{
    Stream *stream;
    while ((stream = TAILQ_FIRST(&sse->waiting)) != NULL) {
        bool has_frames = group_find_frames(stream->group, stream->cursor) != NULL;
        if (!has_frames && !start_call(stream->group, stream))
            return; /* the next answer, or tick, goes on */
        TAILQ_REMOVE(&sse->waiting, stream, in_waiting);
        stream->is_waiting = false;
        if (has_frames)
            stream_pump(stream); /* somebody else's read brought them */
    }
}

/* ---- polling ---- */

static void group_poll(StreamGroup *group)
{
    group_drop_shared(group);
    if (!*group->owner.text)
        return; /* nobody has seen the run yet */
    if (!group_look(group))
        (void)start_call(group, NULL); /* when too many are under way, the next poll looks */
    group_pump(group);
}

void sse_poll_groups(SseLoop *sse)
{
    StreamGroup *group;
    while ((group = TAILQ_FIRST(&sse->polled)) != NULL && group->next_poll_ms <= sse->now_ms) {
        TAILQ_REMOVE(&sse->polled, group, in_polled);
        group->next_poll_ms = sse->now_ms + SSE_POLL_MS;
        TAILQ_INSERT_TAIL(&sse->polled, group, in_polled);
        if (!sse->loop->is_detached)
            group_poll(group);
    }
}

int64_t sse_close_ended(SseLoop *sse)
{
    int64_t wait_ms = SSE_TICK_MS;
    for (StreamGroup *group = TAILQ_FIRST(&sse->ending), *next; group; group = next) {
        next = TAILQ_NEXT(group, in_ending);
        if (!group_is_over(group)) {
            wait_ms = MIN(wait_ms, group->ended_at_ms + SSE_LATE_EVENTS_MS - sse->now_ms);
            continue;
        }
        TAILQ_REMOVE(&sse->ending, group, in_ending);
        group->is_in_ending = false;
        group_pump(group);
    }
    return MAX(wait_ms, 1);
}
