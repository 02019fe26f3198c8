/* Frames byte for byte, places, and who is told to stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/sse_frame.h"

#define RUN "0190a0a0-0000-7000-8000-000000000001"
#define FLOW "0190a0a0-0000-7000-8000-00000000000f"
#define AT 1769850000123

static JournalEntry encode(EventType type, int64_t seq, GString *text)
{
    Id run_id = {RUN}, flow_id = {FLOW};
    g_autoptr(Event) event = event_new(type, &run_id, &flow_id, AT);
    event->seq = seq;
    event->command = type == EVENT_FLOW_STATUS || type == EVENT_STEP_STATUS ? COMMAND_NONE : COMMAND_START;
    event->run_status = RUN_RUNNING;
    event->generation = 1;
    event->attempt = 1;
    event_encode(event, text);
    return (JournalEntry){.seq = seq, .text = text->str, .size = text->len};
}

static void test_status_frame_has_the_default_type(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new(NULL), out = g_string_new(NULL), again = g_string_new(NULL);
    JournalEntry entry = encode(EVENT_FLOW_STATUS, 3, text);
    sse_frame_append(out, RUN, &entry, AT);
    g_autofree char *expected = g_strdup_printf(
        "id: 3\ndata: {\"data\":%s,\"metadata\":{\"timestamp\":\"2026-01-31T09:00:00.123Z\",\"success\":true,"
        "\"requestId\":\"" RUN ":3\"}}\n\n",
        text->str);
    assert_string_equal(out->str, expected);
    sse_frame_append(again, RUN, &entry, AT);
    assert_string_equal(out->str, again->str);
}

static void test_other_events_have_names(void **state)
{
    (void)state;
    static const struct {
        EventType type;
        const char *start;
    } cases[] = {{EVENT_RUN_CREATED, "id: 1\nevent: created\ndata: {"},
                 {EVENT_COMMAND_REQUESTED, "id: 1\nevent: command\ndata: {"},
                 {EVENT_HANDED_OVER, "id: 1\nevent: command\ndata: {"},
                 {EVENT_STEP_STATUS, "id: 1\ndata: {"}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GString) text = g_string_new(NULL), out = g_string_new(NULL);
        JournalEntry entry = encode(cases[i].type, 1, text);
        sse_frame_append(out, RUN, &entry, AT);
        if (!g_str_has_prefix(out->str, cases[i].start))
            fail_msg("%s", out->str);
    }
}

static void test_snapshot(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    RunView view = {.seq = 12, .detail = "{\"id\":1}", .detail_size = 8};
    sse_snapshot_append(out, &view, AT, "r-1");
    assert_string_equal(out->str, "id: 12\nevent: snapshot\ndata: {\"data\":{\"id\":1},\"metadata\":{\"timestamp\":"
                                  "\"2026-01-31T09:00:00.123Z\",\"success\":true,\"requestId\":\"r-1\"}}\n\n");
}

/* "12", "-" for no resume, or the name of the field at fault. */
static const char *place(const char *header, const char *raw)
{
    static char out[64];
    g_auto(Query) query = {0};
    g_autoptr(Faults) faults = faults_new();
    assert_true(query_init(&query, raw, faults));
    SsePlace place = sse_place_parse(header, &query, faults);
    if (faults_count(faults) > 0)
        g_strlcpy(out, faults_at(faults, 0)->field, sizeof(out));
    else if (!place.is_resume)
        g_strlcpy(out, "-", sizeof(out));
    else
        g_snprintf(out, sizeof(out), "%" G_GINT64_FORMAT, place.after);
    return out;
}

static void test_places(void **state)
{
    (void)state;
    assert_string_equal(place(NULL, NULL), "-");
    assert_string_equal(place("", ""), "-");
    assert_string_equal(place("12", NULL), "12");
    assert_string_equal(place("0", NULL), "0");
    assert_string_equal(place(NULL, "lastEventId=7"), "7");
    assert_string_equal(place(NULL, "from=0"), "0");
    assert_string_equal(place(NULL, "from=5"), "5");
    assert_string_equal(place("9999999999999999999999999", NULL), "9223372036854775807"); /* beyond any end */
    assert_string_equal(place(NULL, "lastEventId=&from=0"), "0");
    /* the header wins, then lastEventId */
    assert_string_equal(place("12", "lastEventId=7&from=0"), "12");
    assert_string_equal(place(NULL, "lastEventId=7&from=0"), "7");
    assert_string_equal(place("12", "lastEventId=garbage"), "12");
}

static void test_garbage_places(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "-1", "+1", "1.5", " 1", "0x10", "1 ", "\"1\""};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_string_equal(place(bad[i], NULL), "Last-Event-ID");
    assert_string_equal(place(NULL, "lastEventId=x"), "lastEventId");
    assert_string_equal(place(NULL, "from=now"), "from");
    assert_string_equal(place(NULL, "from="), "from");
}

static void test_who_is_told_to_stop(void **state)
{
    (void)state;
    RunView view = {.status = RUN_RUNNING, .phase = PHASE_OPEN, .seq = 9};
    assert_false(sse_is_complete(&view, 99, 10000));
    view.status = RUN_STOPPED;
    view.phase = PHASE_SETTLED;
    view.ended_monotonic_ms = 10000;
    assert_true(sse_is_complete(&view, 9, 10000));
    assert_true(sse_is_complete(&view, 99, 10000));
    assert_false(sse_is_complete(&view, 8, 99999));
    view.phase = PHASE_ENDING;
    assert_false(sse_is_complete(&view, 9, 11999));
    assert_true(sse_is_complete(&view, 9, 12000));
    view.ended_monotonic_ms = 0; /* before this process */
    assert_true(sse_is_complete(&view, 9, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_frame_has_the_default_type),
        cmocka_unit_test(test_other_events_have_names),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_garbage_places),
        cmocka_unit_test(test_who_is_told_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
