/* Streams from opening to end, on a clock and a loop of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fake.h"
#include "http/api.h"

#define ME "0190a0a0-0000-7000-8000-00000000000a"
#define STRANGER "0190a0a0-0000-7000-8000-00000000000b"
#define FLOW "0190a0a0-0000-7000-8000-00000000000f"
#define RUN "0190a0a0-0000-7000-8000-000000000001"
#define TARGET "/api/executions/stream/" RUN
#define HOST "Host: localhost"
#define RETRY "retry: 2000\n\n"

static const unsigned char SECRET[API_SECRET_SIZE] = "0123456789abcdef0123456789abcde";

static const unsigned char *cursor_secret(void *arg)
{
    (void)arg;
    return SECRET;
}
static Api *api;

static int setup(void **state)
{
    (void)state;
    fake_init();
    ApiOptions options = {.local_user = {ME}, .cursor_secret = cursor_secret, .n_loops = 1, .version = "1"};
    api = api_new(&options, NULL, fake.hub, fake.clock);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(hub_load(fake.hub).n_listeners, 0);
    api_free(api);
    fake_done();
    return 0;
}

/* ---- helpers ---- */

/* The journal text of an event: a step's status, or the run's when it is terminal. */
static void encode(int64_t seq, RunStatus run_status, GString *out)
{
    Id run_id = {RUN}, flow_id = {FLOW};
    bool is_flow = run_status_is_terminal(run_status);
    g_autoptr(Event) event = event_new(is_flow ? EVENT_FLOW_STATUS : EVENT_STEP_STATUS, &run_id, &flow_id, FAKE_NOW);
    event->seq = seq;
    event->run_status = run_status;
    event->step_id = flow_id;
    event->step_status = STEP_RUNNING;
    event->attempt = 1;
    event->generation = 1;
    event_encode(event, out);
}

static void ring(int64_t first_seq, int64_t last_seq, RunStatus last_status)
{
    for (int64_t seq = first_seq; seq <= last_seq; seq++) {
        g_autoptr(GString) text = g_string_new(NULL);
        encode(seq, seq == last_seq ? last_status : RUN_RUNNING, text);
        HubEvent event = {text->str, text->len};
        hub_ring(fake.hub, RUN, seq, &event, 1);
    }
}

static void view(RunStatus status, RunPhase phase, int64_t seq, int64_t ended_ago_ms)
{
    RunView *view = fake_view(RUN, ME, status, phase, seq, "{\"detail\":1}");
    if (run_status_is_terminal(status) && ended_ago_ms >= 0)
        view->ended_monotonic_ms = clock_monotonic_ms(fake.clock) - ended_ago_ms;
    fake_set_view(view);
}

/* The journal from call->after on, up to `end`. */
static void answer_page(int64_t end)
{
    ServiceCall *call = fake_call(CALL_READ_EVENTS);
    assert_non_null(call);
    assert_string_equal(call->run_id.text, RUN);
    assert_string_equal(call->caller.text, ME);
    JournalPage *page = g_new0(JournalPage, 1);
    page->texts = g_ptr_array_new_with_free_func(g_free);
    page->entries = g_new0(JournalEntry, call->limit);
    for (int64_t seq = call->after + 1; seq <= end && page->n_entries < call->limit; seq++) {
        GString *text = g_string_new(NULL);
        encode(seq, RUN_RUNNING, text);
        page->entries[page->n_entries++] = (JournalEntry){seq, text->str, text->len};
        g_ptr_array_add(page->texts, g_string_free(text, FALSE));
    }
    call->journal = page;
    fake_answer(call, RESULT_OK, NULL);
}

static HttpStream *open_stream(const char *target, const char *headers)
{
    Reply *reply = fake_request(api, HTTP_GET, target, headers, NULL);
    if (reply->status != 200 || !reply->stream)
        fail_msg("no stream but %d %s", reply->status, reply->body->str);
    assert_string_equal(reply_header(reply, "Content-Type"), "text/event-stream");
    HttpStream *stream = reply->stream;
    reply_free(reply);
    return stream;
}

static void expect_reply(const char *target, const char *headers, int status)
{
    Reply *reply = fake_request(api, HTTP_GET, target, headers, NULL);
    assert_null(reply->stream);
    assert_int_equal(reply->status, status);
    reply_free(reply);
}

/* The ids of the frames written since the last look, "s12 13 14": s marks a snapshot, "retry" and ":" stand alone. */
static void expect_ids(HttpStream *stream, const char *expected)
{
    g_autofree char *text = stream_take(stream);
    g_autoptr(GString) ids = g_string_new(NULL);
    g_auto(GStrv) frames = g_strsplit(text, "\n\n", -1);
    for (char **frame = frames; *frame && **frame; frame++) {
        if (ids->len)
            g_string_append_c(ids, ' ');
        if (strstr(*frame, "event: snapshot"))
            g_string_append_c(ids, 's');
        if (g_str_has_prefix(*frame, "id: "))
            g_string_append_len(ids, *frame + 4, (gssize)strcspn(*frame + 4, "\n"));
        else if (g_str_has_prefix(*frame, "retry:"))
            g_string_append(ids, "retry");
        else
            g_string_append(ids, *frame);
    }
    assert_string_equal(ids->str, expected);
}

static void leave(HttpStream *stream)
{
    if (!stream_is_closed(stream))
        stream_break(stream);
    stream_free(stream);
}

/* ---- opening ---- */

static void test_snapshot_then_frames(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    g_autofree char *first = stream_take(stream);
    assert_string_equal(first,
                        RETRY "id: 3\nevent: snapshot\ndata: {\"data\":{\"detail\":1},\"metadata\":{\"timestamp\":"
                              "\"2026-01-31T09:16:40.123Z\",\"success\":true,\"requestId\":\"req-1\"}}\n\n");
    ring(4, 6, RUN_RUNNING);
    expect_ids(stream, ""); /* the doorbell only woke the loop */
    fake_run_loop();
    expect_ids(stream, "4 5 6");
    leave(stream);
}

static void test_a_run_that_is_not_in_memory(void **state)
{
    (void)state;
    Reply *reply = fake_request(api, HTTP_GET, TARGET, HOST, NULL);
    ServiceCall *call = fake_call(CALL_GET_RUN);
    assert_int_equal(reply->status, 0);
    ring(4, 5, RUN_RUNNING); /* while it is read: nothing falls in between */
    fake_run_loop();
    call->view = fake_view(RUN, ME, RUN_RUNNING, PHASE_OPEN, 3, "{}");
    fake_answer(call, RESULT_OK, NULL);
    assert_non_null(reply->stream);
    expect_ids(reply->stream, "retry s3 4 5");
    leave(reply->stream);
    reply_free(reply);
}

static void test_no_run_no_stream(void **state)
{
    (void)state;
    Reply *reply = fake_request(api, HTTP_GET, TARGET, HOST, NULL);
    fake_answer(fake_call(CALL_GET_RUN), RESULT_NOT_FOUND, "no run " RUN);
    assert_int_equal(reply->status, 404);
    assert_null(reply->stream);
    fake_set_view(fake_view(RUN, STRANGER, RUN_RUNNING, PHASE_OPEN, 3, "{}"));
    Reply *theirs = fake_request(api, HTTP_GET, TARGET, HOST, NULL);
    assert_int_equal(theirs->status, 404);
    assert_string_equal(theirs->body->str, reply->body->str);
    reply_free(reply);
    reply_free(theirs);
    g_hash_table_remove_all(fake.views);
    fake.is_busy = true;
    expect_reply(TARGET, HOST, 503);
    expect_reply(TARGET, HOST "\nLast-Event-ID: x", 400);
    expect_reply(TARGET "?from=x", HOST, 400);
}

static void test_head(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    Reply *reply = fake_request(api, HTTP_HEAD, TARGET, HOST, NULL);
    assert_int_equal(reply->status, 200);
    assert_null(reply->stream);
    assert_string_equal(reply_header(reply, "Content-Type"), "text/event-stream");
    reply_free(reply);
}

/* ---- resuming ---- */

static void test_resume_from_the_store(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 100, -1);
    HttpStream *stream = open_stream(TARGET "?from=50", HOST "\nLast-Event-ID: 97");
    expect_ids(stream, "retry");
    answer_page(100);
    expect_ids(stream, "98 99 100");
    ring(101, 101, RUN_RUNNING);
    fake_run_loop();
    expect_ids(stream, "101");
    leave(stream);
}

static void test_whole_history_a_page_at_a_time(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 150, -1);
    HttpStream *stream = open_stream(TARGET "?from=0", HOST);
    size_t n_pages = 0;
    g_autoptr(GString) all = g_string_new(NULL);
    while (fake_call(CALL_READ_EVENTS)) {
        answer_page(150);
        assert_true(g_queue_get_length(fake.calls) <= 1); /* one page at a time */
        n_pages++;
        g_autofree char *text = stream_take(stream);
        g_string_append(all, text);
    }
    assert_true(n_pages >= 3);
    int64_t seq = 0;
    g_auto(GStrv) lines = g_strsplit(all->str, "\n", -1);
    for (char **line = lines; *line; line++)
        if (g_str_has_prefix(*line, "id: "))
            assert_int_equal(g_ascii_strtoll(*line + 4, NULL, 10), ++seq);
    assert_int_equal(seq, 150);
    assert_null(strstr(all->str, "snapshot"));
    leave(stream);
}

static void test_beyond_the_end_is_the_end(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 5, -1);
    HttpStream *stream = open_stream(TARGET, HOST "\nLast-Event-ID: 999");
    ring(6, 6, RUN_RUNNING);
    fake_run_loop();
    expect_ids(stream, "retry 6");
    leave(stream);
}

static void test_a_replay_gives_the_same_bytes(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *live = open_stream(TARGET, HOST "\nLast-Event-ID: 3");
    ring(4, 6, RUN_RUNNING);
    fake_run_loop();
    view(RUN_RUNNING, PHASE_OPEN, 6, -1);
    g_autofree char *seen = stream_take(live);
    leave(live); /* and the ring with it */
    fake_advance(12345);
    HttpStream *replay = open_stream(TARGET, HOST "\nLast-Event-ID: 3");
    answer_page(6);
    g_autofree char *again = stream_take(replay);
    assert_string_equal(seen, again);
    leave(replay);
}

/* ---- many ---- */

static void test_one_encoding_for_all(void **state)
{
    (void)state;
    enum { N = 1000 };
    HttpStream *streams[N];
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    for (size_t i = 0; i < N; i++) {
        streams[i] = open_stream(TARGET, HOST);
        expect_ids(streams[i], "retry s3");
    }
    assert_int_equal(hub_load(fake.hub).n_listeners, 1);
    size_t n_before = stream_n_chunks_alive();
    ring(4, 4, RUN_RUNNING);
    fake_run_loop();
    assert_int_equal(stream_n_chunks_alive(), n_before + 1);
    for (size_t i = 0; i < N; i++)
        expect_ids(streams[i], "4");
    for (size_t i = 0; i < N; i++)
        leave(streams[i]);
}

static void test_few_reads_are_under_way(void **state)
{
    (void)state;
    enum { N = 30 };
    HttpStream *streams[N];
    view(RUN_RUNNING, PHASE_OPEN, 60, -1);
    for (int i = 0; i < N; i++) {
        g_autofree char *headers = g_strdup_printf(HOST "\nLast-Event-ID: %d", i);
        streams[i] = open_stream(TARGET, headers);
    }
    assert_true(g_queue_get_length(fake.calls) <= 8);
    leave(streams[0]);  /* with its read under way */
    leave(streams[29]); /* while it waits */
    while (fake_call(CALL_READ_EVENTS)) {
        answer_page(60);
        assert_true(g_queue_get_length(fake.calls) <= 8);
    }
    for (int i = 1; i < N - 1; i++) {
        g_autofree char *text = stream_take(streams[i]);
        assert_non_null(strstr(text, "\nid: 60\n"));
        leave(streams[i]);
    }
}

/* ---- slow clients ---- */

static void test_a_slow_client_falls_behind_and_catches_up(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *slow = open_stream(TARGET, HOST), *quick = open_stream(TARGET, HOST);
    expect_ids(slow, "retry s3");
    expect_ids(quick, "retry s3");
    stream_block(slow);
    ring(4, 4, RUN_RUNNING);
    fake_run_loop();
    expect_ids(slow, "4"); /* the one chunk that waits */
    for (int seq = 5; seq <= 300; seq++) {
        ring(seq, seq, RUN_RUNNING);
        fake_run_loop();
    }
    expect_ids(slow, "");
    g_free(stream_take(quick));
    assert_true(stream_n_chunks_alive() <= 8);
    stream_unblock(slow); /* what it missed has left the ring */
    while (fake_call(CALL_READ_EVENTS))
        answer_page(300);
    g_autofree char *text = stream_take(slow);
    assert_true(g_str_has_prefix(text, "id: 5\n"));
    assert_non_null(strstr(text, "\nid: 300\n"));
    leave(slow);
    leave(quick);
}

static void test_a_stuck_client_is_closed(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    stream_block(stream);
    ring(4, 4, RUN_RUNNING);
    fake_run_loop();
    fake_advance(29000);
    assert_false(stream_is_closed(stream));
    fake_advance(17000);
    assert_true(stream_is_closed(stream));
    leave(stream);
}

/* ---- staying alive ---- */

static void test_heartbeats_only_when_idle(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    expect_ids(stream, "retry s3");
    fake_advance(14000);
    expect_ids(stream, "");
    fake_advance(1500);
    expect_ids(stream, ":");
    fake_advance(10000);
    ring(4, 4, RUN_RUNNING);
    fake_run_loop();
    expect_ids(stream, "4");
    view(RUN_RUNNING, PHASE_OPEN, 4, -1);
    fake_advance(14000);
    expect_ids(stream, "");
    fake_advance(31500);
    expect_ids(stream, ": : :");
    leave(stream);
}

static void test_a_missed_doorbell_is_healed(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    expect_ids(stream, "retry s3");
    view(RUN_RUNNING, PHASE_OPEN, 5, -1); /* another replica's appends */
    fake_advance(5500);
    answer_page(5);
    expect_ids(stream, "4 5");
    g_hash_table_remove_all(fake.views); /* nor is it in memory */
    fake_advance(5500);
    ServiceCall *call = fake_call(CALL_GET_RUN);
    assert_non_null(call);
    call->view = fake_view(RUN, ME, RUN_RUNNING, PHASE_OPEN, 6, "{}");
    fake_answer(call, RESULT_OK, NULL);
    answer_page(6);
    expect_ids(stream, "6");
    leave(stream);
}

static void test_a_read_that_fails_is_tried_again(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 5, -1);
    HttpStream *stream = open_stream(TARGET, HOST "\nLast-Event-ID: 3");
    fake_answer(fake_call(CALL_READ_EVENTS), RESULT_UNAVAILABLE, "disk I/O error");
    assert_null(fake_call(CALL_READ_EVENTS)); /* not at once */
    fake.is_busy = true;
    fake_advance(5500);
    assert_null(fake_call(CALL_READ_EVENTS));
    fake.is_busy = false;
    fake_advance(500); /* it stood in line */
    answer_page(5);
    expect_ids(stream, "retry 4 5");
    leave(stream);
}

/* ---- the end ---- */

static void test_ends_when_all_steps_are_terminal(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    view(RUN_COMPLETED, PHASE_SETTLED, 5, 0); /* the view comes before the doorbell */
    ring(4, 5, RUN_COMPLETED);
    assert_false(stream_is_closed(stream));
    fake_run_loop();
    expect_ids(stream, "retry s3 4 5");
    assert_true(stream_is_closed(stream));
    leave(stream);
}

static void test_late_step_events_and_the_end_after_2_s(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    view(RUN_STOPPED, PHASE_ENDING, 4, 0);
    ring(4, 4, RUN_STOPPED);
    fake_run_loop();
    fake_advance(1000);
    ring(5, 5, RUN_RUNNING); /* a late step's */
    fake_run_loop();
    expect_ids(stream, "retry s3 4 5");
    fake_advance(990);
    assert_false(stream_is_closed(stream));
    fake_advance(20);
    assert_true(stream_is_closed(stream));
    leave(stream);
}

static void test_late_steps_that_come_in_time_end_it_at_once(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    view(RUN_STOPPED, PHASE_ENDING, 4, 0);
    ring(4, 4, RUN_STOPPED);
    fake_run_loop();
    fake_advance(500);
    view(RUN_STOPPED, PHASE_SETTLED, 5, 500);
    ring(5, 5, RUN_RUNNING);
    fake_run_loop();
    expect_ids(stream, "retry s3 4 5");
    assert_true(stream_is_closed(stream));
    leave(stream);
}

static void test_a_stream_of_an_ended_run(void **state)
{
    (void)state;
    view(RUN_COMPLETED, PHASE_SETTLED, 5, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    fake_run_loop();
    expect_ids(stream, "retry s5");
    assert_true(stream_is_closed(stream));
    leave(stream);

    HttpStream *behind = open_stream(TARGET, HOST "\nLast-Event-ID: 3");
    assert_false(stream_is_closed(behind));
    answer_page(5);
    expect_ids(behind, "retry 4 5");
    assert_true(stream_is_closed(behind));
    leave(behind);

    expect_reply(TARGET, HOST "\nLast-Event-ID: 5", 204);
    expect_reply(TARGET "?lastEventId=77", HOST, 204);
}

static void test_a_reconnect_within_the_2_s_waits_for_late_events(void **state)
{
    (void)state;
    view(RUN_STOPPED, PHASE_ENDING, 5, 1500);
    HttpStream *stream = open_stream(TARGET, HOST "\nLast-Event-ID: 5");
    assert_false(stream_is_closed(stream));
    fake_advance(600);
    assert_true(stream_is_closed(stream));
    leave(stream);
    expect_reply(TARGET, HOST "\nLast-Event-ID: 5", 204);
}

static void test_a_slow_client_still_gets_the_end(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    stream_block(stream);
    ring(4, 4, RUN_RUNNING);
    fake_run_loop();
    view(RUN_COMPLETED, PHASE_SETTLED, 5, 0);
    ring(5, 5, RUN_COMPLETED);
    fake_run_loop();
    fake_advance(3000);
    assert_false(stream_is_closed(stream));
    stream_unblock(stream);
    expect_ids(stream, "retry s3 4 5");
    assert_true(stream_is_closed(stream));
    leave(stream);
}

static void test_a_run_that_was_removed(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 5, -1);
    HttpStream *stream = open_stream(TARGET, HOST "\nLast-Event-ID: 3");
    fake_answer(fake_call(CALL_READ_EVENTS), RESULT_NOT_FOUND, "no run");
    assert_true(stream_is_closed(stream));
    leave(stream);

    HttpStream *idle = open_stream(TARGET, HOST), *other = open_stream(TARGET, HOST);
    g_hash_table_remove_all(fake.views);
    fake_advance(5500);
    fake_answer(fake_call(CALL_GET_RUN), RESULT_NOT_FOUND, "no run");
    assert_true(stream_is_closed(idle) && stream_is_closed(other));
    leave(idle);
    leave(other);
}

static void test_drain(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST), *other = open_stream(TARGET, HOST);
    g_free(stream_take(stream));
    stream_drain(stream);
    expect_ids(stream, "retry");
    assert_true(stream_is_closed(stream));
    expect_reply(TARGET, HOST, 503); /* no new ones */
    stream_drain(other);
    stream_free(stream);
    stream_free(other);
}

static void test_detached_from_the_service(void **state)
{
    (void)state;
    view(RUN_RUNNING, PHASE_OPEN, 3, -1);
    HttpStream *stream = open_stream(TARGET, HOST);
    api_set_server(api, (HttpServer *)(void *)api); /* any: the fake does not look */
    fake_detach(api);
    g_hash_table_remove_all(fake.views);
    ring(90, 90, RUN_RUNNING);
    fake_run_loop();
    fake_advance(60000);
    assert_null(g_queue_peek_head(fake.calls));
    expect_reply(TARGET, HOST, 503);
    expect_reply("/readyz", HOST, 503);
    expect_reply("/healthz", HOST, 200);
    leave(stream);
}

int main(void)
{
#define WITH_API(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_API(test_snapshot_then_frames),
        WITH_API(test_a_run_that_is_not_in_memory),
        WITH_API(test_no_run_no_stream),
        WITH_API(test_head),
        WITH_API(test_resume_from_the_store),
        WITH_API(test_whole_history_a_page_at_a_time),
        WITH_API(test_beyond_the_end_is_the_end),
        WITH_API(test_a_replay_gives_the_same_bytes),
        WITH_API(test_one_encoding_for_all),
        WITH_API(test_few_reads_are_under_way),
        WITH_API(test_a_slow_client_falls_behind_and_catches_up),
        WITH_API(test_a_stuck_client_is_closed),
        WITH_API(test_heartbeats_only_when_idle),
        WITH_API(test_a_missed_doorbell_is_healed),
        WITH_API(test_a_read_that_fails_is_tried_again),
        WITH_API(test_ends_when_all_steps_are_terminal),
        WITH_API(test_late_step_events_and_the_end_after_2_s),
        WITH_API(test_late_steps_that_come_in_time_end_it_at_once),
        WITH_API(test_a_stream_of_an_ended_run),
        WITH_API(test_a_reconnect_within_the_2_s_waits_for_late_events),
        WITH_API(test_a_slow_client_still_gets_the_end),
        WITH_API(test_a_run_that_was_removed),
        WITH_API(test_drain),
        WITH_API(test_detached_from_the_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
