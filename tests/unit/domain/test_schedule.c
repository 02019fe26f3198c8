/* test_schedule.c - which slots of a flow start, which don't and why; when it acts next. Flows are
 * written as JSON with ' for ", instants as the time of day on 2026-02-02, a Monday. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "domain/flow_request.h"
#include "domain/schedule.h"

#define FLOW_ID "0191aaaa-0000-7000-8000-0000000000f0"
#define DAY "2026-02-02T"
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

static int64_t at(const char *time)
{
    int64_t ms;
    g_autofree char *text =
        g_strdup_printf("%s%s%sZ", strchr(time, 'T') == NULL ? DAY : "", time, strlen(time) == 5 ? ":00" : "");
    if (!instant_parse(text, &ms))
        fail_msg("no instant: %s", text);
    return ms;
}

static JsonValue *parse(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    JsonValue *value = NULL;
    if (!json_parse(json, strlen(json), 8, &value, NULL))
        fail_msg("no JSON: %s", json);
    return value;
}

static Flow *flow_at(const char *text, int64_t now_ms)
{
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) body = parse(text);
    FlowOrigin origin = {.now_ms = now_ms};
    g_strlcpy(origin.flow_id.text, FLOW_ID, ID_TEXT_SIZE);
    Flow *flow = flow_create(body, &origin, faults);
    if (flow == NULL)
        fail_msg("%s: %s", text, faults_at(faults, 0)->message);
    return flow;
}

/* A flow under test, from 00:00 on. */
typedef struct {
    Flow *flow;
    CronZones *zones;
    Schedule *schedule;
    ScheduleState state;
    GArray *decisions; /* of the last call */
    bool has_more;
} Bench;

static void bench_init(Bench *bench, const char *text)
{
    *bench = (Bench){.flow = flow_at(text, at("00:00")), .zones = cron_zones_new(4)};
    bench->schedule = schedule_new(bench->flow, bench->zones, NULL);
    assert_non_null(bench->schedule);
    bench->decisions = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
    schedule_state_init(&bench->state, bench->flow);
}

static void bench_done(Bench *bench)
{
    schedule_state_done(&bench->state);
    schedule_free(bench->schedule);
    cron_zones_free(bench->zones);
    flow_unref(bench->flow);
    g_array_unref(bench->decisions);
}

static void change(Bench *bench, const char *text, const char *time)
{
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) body = parse(text);
    FlowOrigin origin = {.now_ms = at(time)};
    Flow *next = flow_update(bench->flow, body, &origin, faults);
    assert_non_null(next);
    flow_unref(bench->flow);
    bench->flow = next;
    schedule_free(bench->schedule);
    bench->schedule = schedule_new(next, bench->zones, NULL);
    assert_non_null(bench->schedule);
}

/* `10:05`, or with its date when it is of another day. */
static void put_time(GString *out, int64_t ms)
{
    char text[INSTANT_TEXT_SIZE];
    size_t size = instant_format(ms, text);
    text[size - (ms % (60 * SECOND) == 0 ? 8 : 5)] = '\0';
    g_string_append(out, g_str_has_prefix(text, DAY) ? text + strlen(DAY) : text);
}

static void put_decision(GString *out, const ScheduleDecision *decision)
{
    g_autoptr(GString) json = g_string_new(NULL);
    Id flow_id = {FLOW_ID};
    schedule_decision_encode(decision, &flow_id, json);
    g_autoptr(JsonValue) object = parse(json->str);
    g_string_append_printf(out, "%s%s", out->len == 0 ? "" : ", ", json_text(json_get(object, "verdict")));
    if (json_get(object, "reason") != NULL)
        g_string_append_printf(out, " %s", json_text(json_get(object, "reason")));
    g_string_append_c(out, ' ');
    put_time(out, decision->slot);
    if (decision->last_slot != decision->slot) {
        g_string_append_c(out, '-');
        put_time(out, decision->last_slot);
    }
    if (decision->n_slots > 1)
        g_string_append_printf(out, " x%" G_GINT64_FORMAT, decision->n_slots);
    g_string_append(out, decision->was_queued ? " from queue" : "");
    g_string_append(out, decision->cancels_running ? " cancels" : "");
}

static void decide(Bench *bench, const char *now, size_t n_open)
{
    g_array_set_size(bench->decisions, 0);
    bench->has_more = schedule_decide(bench->schedule, &bench->state, at(now), n_open, bench->decisions);
}

static void record(Bench *bench)
{
    for (guint i = 0; i < bench->decisions->len; i++) {
        g_autoptr(GError) error = NULL;
        if (!schedule_state_fold(&bench->state, &g_array_index(bench->decisions, ScheduleDecision, i), &error))
            fail_msg("%s", error->message);
    }
    ScheduleDecision *last = bench->decisions->len == 0
                                 ? NULL
                                 : &g_array_index(bench->decisions, ScheduleDecision, bench->decisions->len - 1);
    if (last != NULL && (last->n != bench->state.n || last->watermark != bench->state.watermark ||
                         last->n_queued != (int64_t)bench->state.n_queued))
        fail_msg("the last decision does not say what the state is");
}

/* Decides, records, and compares. */
static void expect(Bench *bench, const char *now, size_t n_open, const char *expected)
{
    g_autoptr(GString) found = g_string_new(NULL);
    decide(bench, now, n_open);
    for (guint i = 0; i < bench->decisions->len; i++)
        put_decision(found, &g_array_index(bench->decisions, ScheduleDecision, i));
    if (strcmp(found->str, expected) != 0)
        fail_msg("at %s: %s; expected %s", now, found->str, expected);
    record(bench);
}

#define HOURLY(members) "{'name':'n','cron':'0 * * * *','schedule':{" members "}}"

static void a_slot_starts_when_its_time_comes_and_once(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, "{'name':'n','cron':'0 * * * *'}");
    expect(&bench, "00:59:59.999", 0, "");
    expect(&bench, "01:00", 0, "STARTED 01:00");
    expect(&bench, "01:00", 0, "");
    expect(&bench, "01:00:30", 1, "");
    expect(&bench, "02:00:00.300", 1, "STARTED 02:00");
    const ScheduleDecision *decision = &g_array_index(bench.decisions, ScheduleDecision, 0);
    assert_int_equal(decision->late_ms, 300);
    assert_int_equal(decision->n, 2);
    assert_int_equal(decision->flow_version, 1);
    assert_true(decision->since == at("00:00") && decision->watermark == at("02:00"));
    bench_done(&bench);
}

static void a_clock_set_back_starts_nothing_again(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, "{'name':'n','cron':'0 * * * *'}");
    expect(&bench, "03:00", 0, "SKIPPED MISFIRE 01:00-02:00 x2, STARTED 03:00");
    expect(&bench, "01:30", 0, "");
    expect(&bench, "02:00", 0, "");
    expect(&bench, "03:00", 0, "");
    expect(&bench, "04:00", 0, "STARTED 04:00");
    bench_done(&bench);
}

static void misfire_decides_what_a_stop_left(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, HOURLY("'misfire':'SKIP'"));
    expect(&bench, "05:30", 0, "SKIPPED MISFIRE 01:00-05:00 x5");
    expect(&bench, "07:01", 0, "SKIPPED MISFIRE 06:00, STARTED 07:00"); /* a minute's grace */
    expect(&bench, "08:01:00.001", 0, "SKIPPED MISFIRE 08:00");
    bench_done(&bench);
    bench_init(&bench, HOURLY("'misfire':'LATEST'"));
    expect(&bench, "05:30", 0, "SKIPPED MISFIRE 01:00-04:00 x4, STARTED 05:00");
    assert_int_equal(g_array_index(bench.decisions, ScheduleDecision, 0).late_ms, 90 * 60 * SECOND);
    bench_done(&bench);
    bench_init(&bench, HOURLY("'misfire':'ALL'"));
    expect(&bench, "03:30", 0, "STARTED 01:00, STARTED 02:00, STARTED 03:00");
    bench_done(&bench);
    bench_init(&bench, HOURLY("'misfire':'LATEST','misfireGraceSeconds':7200"));
    expect(&bench, "05:30", 0, "SKIPPED MISFIRE 01:00-03:00 x3, STARTED 04:00, STARTED 05:00");
    bench_done(&bench);
    bench_init(&bench, HOURLY("'misfire':'SKIP','misfireGraceSeconds':0"));
    expect(&bench, "02:00", 0, "SKIPPED MISFIRE 01:00, STARTED 02:00");
    bench_done(&bench);
}

static void overlap_decides_beside_open_runs(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, HOURLY("'overlap':'ALLOW'"));
    expect(&bench, "01:00", 3, "STARTED 01:00");
    bench_done(&bench);
    bench_init(&bench, HOURLY("'overlap':'SKIP','misfire':'ALL'"));
    expect(&bench, "01:00", 1, "SKIPPED OVERLAP 01:00");
    expect(&bench, "04:30", 0, "STARTED 02:00, SKIPPED OVERLAP 03:00-04:00 x2");
    bench_done(&bench);
    bench_init(&bench, HOURLY("'overlap':'CANCEL_RUNNING','misfire':'ALL'"));
    expect(&bench, "01:00", 0, "STARTED 01:00");
    expect(&bench, "02:00", 1, "STARTED 02:00 cancels");
    expect(&bench, "05:30", 1, "SKIPPED OVERLAP 03:00-04:00 x2, STARTED 05:00 cancels");
    bench_done(&bench);
}

static void queued_slots_start_one_after_the_other(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, HOURLY("'overlap':'QUEUE','misfire':'ALL'"));
    expect(&bench, "03:10", 0, "STARTED 01:00, QUEUED 02:00, QUEUED 03:00");
    expect(&bench, "04:00", 1, "QUEUED 04:00");
    expect(&bench, "04:30", 0, "STARTED 02:00 from queue");
    expect(&bench, "05:00", 0, "STARTED 03:00 from queue, QUEUED 05:00");
    change(&bench, HOURLY("'overlap':'ALLOW','misfire':'ALL'"), "05:50"); /* the same slots: what waits goes on */
    expect(&bench, "05:50", 1, "STARTED 04:00 from queue, STARTED 05:00 from queue");
    assert_int_equal(bench.state.n_queued, 0);
    bench_done(&bench);
}

static void a_change_ends_the_queue(void **state)
{
    (void)state;
    Bench bench;
    ScheduleDecision end;
    bench_init(&bench, HOURLY("'overlap':'QUEUE','misfire':'ALL'"));
    expect(&bench, "03:10", 1, "QUEUED 01:00, QUEUED 02:00, QUEUED 03:00");
    expect(&bench, "03:20", 0, "STARTED 01:00 from queue");
    change(&bench, "{'name':'n','cron':'*/10 * * * *','schedule':{'overlap':'QUEUE'}}", "03:25");
    decide(&bench, "03:30", 0);
    assert_int_equal(bench.decisions->len, 3);
    /* A crash after any of them: the queue is gone before the change is taken, never the other way round. */
    for (guint n = 3; n-- > 1;) {
        g_auto(ScheduleState) known = {.n = bench.state.n,
                                       .watermark = bench.state.watermark,
                                       .since = bench.state.since,
                                       .flow_version = 1,
                                       .queue = g_memdup2(bench.state.queue, 2 * sizeof(int64_t)),
                                       .n_queued = 2};
        g_autoptr(GArray) again = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
        for (guint i = 0; i < n; i++)
            assert_true(schedule_state_fold(&known, &g_array_index(bench.decisions, ScheduleDecision, i), NULL));
        (void)schedule_decide(bench.schedule, &known, at("03:30"), 0, again);
        assert_int_equal(again->len, 3 - n);
        assert_memory_equal(again->data, &g_array_index(bench.decisions, ScheduleDecision, n),
                            again->len * sizeof(ScheduleDecision));
    }
    expect(&bench, "03:30", 0, "SKIPPED CHANGED 02:00-03:00 x2 from queue, RESET 03:00-03:25, STARTED 03:30");
    expect(&bench, "03:40", 1, "QUEUED 03:40");
    assert_true(schedule_end_queue(&bench.state, bench.flow, at("03:45"), &end));
    assert_true(end.reason == SLOT_ENDED && end.slot == at("03:40") && end.n_slots == 1 && end.n_queued == 0);
    assert_true(schedule_state_fold(&bench.state, &end, NULL));
    assert_false(schedule_end_queue(&bench.state, bench.flow, at("03:45"), &end));
    bench_done(&bench);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, "{'name':'n','cron':'* * * * * *','schedule':{'overlap':'QUEUE','misfire':'ALL'}}");
    decide(&bench, "00:10:00", 1);
    record(&bench);
    assert_int_equal(bench.state.n_queued, 600);
    decide(&bench, "00:20:00", 1);
    record(&bench);
    assert_int_equal(bench.state.n_queued, SCHEDULE_QUEUE_MAX);
    const ScheduleDecision *last = &g_array_index(bench.decisions, ScheduleDecision, bench.decisions->len - 1);
    assert_int_equal(last->reason, SLOT_QUEUE_FULL);
    assert_int_equal(last->n_slots, 200);
    assert_true(last->watermark == at("00:20:00"));
    bench_done(&bench);
}

static void many_slots_at_once_are_bounded(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, "{'name':'n','cron':'* * * * * *','schedule':{'misfire':'ALL'}}");
    decide(&bench, "01:00:00", 0);
    record(&bench);
    assert_false(bench.has_more);
    assert_int_equal(bench.decisions->len, 1 + SCHEDULE_STARTS_MAX);
    const ScheduleDecision *first = &g_array_index(bench.decisions, ScheduleDecision, 0);
    assert_int_equal(first->reason, SLOT_LIMIT);
    assert_int_equal(first->n_slots, 3600 - SCHEDULE_STARTS_MAX);
    assert_true(bench.state.watermark == at("01:00:00"));
    bench_done(&bench);
    /* A year of seconds: each call looks at a bounded number, and together they account for every one. */
    bench_init(&bench, "{'name':'n','cron':'* * * * * *'}");
    int64_t n_slots = 0, n_calls = 0;
    const char *now = "2026-03-02T00:00:00";
    do {
        decide(&bench, now, 0);
        record(&bench);
        for (guint i = 0; i < bench.decisions->len; i++)
            n_slots += g_array_index(bench.decisions, ScheduleDecision, i).n_slots;
        assert_true(bench.decisions->len <= 62);
        n_calls++;
    } while (bench.has_more);
    assert_int_equal(n_slots, 28 * 86400);
    assert_int_equal(n_calls, 1 + (28 * 86400 - 1) / (SCHEDULE_SCAN_MAX - SCHEDULE_STARTS_MAX));
    expect(&bench, now, 0, "");
    bench_done(&bench);
}

static void a_pause_is_summed_up(void **state)
{
    (void)state;
    Bench bench;
    int64_t wake, run;
    bench_init(&bench, HOURLY("'paused':true"));
    assert_false(schedule_next_run(bench.schedule, &bench.state, at("00:30"), &run));
    assert_true(schedule_next_wake(bench.schedule, &bench.state, &wake));
    assert_true(wake == at("01:00") + 24 * HOUR);
    expect(&bench, "05:30", 0, "SKIPPED PAUSED 01:00-05:00 x5");
    change(&bench, HOURLY(""), "06:30");
    assert_true(schedule_next_wake(bench.schedule, &bench.state, &wake));
    assert_true(wake == at("06:30"));
    expect(&bench, "07:00", 0, "RESET 05:00-06:30, STARTED 07:00");
    bench_done(&bench);
}

static void slots_outside_the_window_do_not_start(void **state)
{
    (void)state;
    Bench bench;
    int64_t wake, run;
    bench_init(&bench, HOURLY("'startAt':'2026-02-02T03:00:00Z','endAt':'2026-02-02T05:00:00Z','misfire':'ALL'"));
    assert_true(schedule_next_wake(bench.schedule, &bench.state, &wake) && wake == at("03:00"));
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("00:00"), &run) && run == at("03:00"));
    expect(&bench, "02:30", 0, "");
    expect(&bench, "03:00", 0, "SKIPPED BEFORE_START 01:00-02:00 x2, STARTED 03:00");
    expect(&bench, "05:10", 0, "STARTED 04:00, STARTED 05:00");
    assert_false(schedule_next_run(bench.schedule, &bench.state, at("05:10"), &run));
    assert_true(schedule_next_wake(bench.schedule, &bench.state, &wake) && wake == at("06:00"));
    expect(&bench, "09:00", 0, "SKIPPED AFTER_END 06:00");
    expect(&bench, "12:00", 0, "");
    assert_false(schedule_next_wake(bench.schedule, &bench.state, &wake));
    bench_done(&bench);
    bench_init(&bench, HOURLY("'startAt':'2026-02-02T03:00:00Z','endAt':'2026-02-02T05:00:00Z','paused':true"));
    expect(&bench, "02:00", 0, "");
    expect(&bench, "07:10", 0,
           "SKIPPED BEFORE_START 01:00-02:00 x2, SKIPPED PAUSED 03:00-05:00 x3, SKIPPED AFTER_END 06:00");
    bench_done(&bench);
}

static void other_slots_are_not_started_for_the_past(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, HOURLY("'misfire':'ALL'"));
    expect(&bench, "01:00", 0, "STARTED 01:00");
    change(&bench, "{'name':'n','cron':'*/10 * * * *','schedule':{'misfire':'ALL'}}", "03:05");
    expect(&bench, "03:21", 0, "RESET 01:00-03:05, STARTED 03:10, STARTED 03:20");
    change(&bench, "{'name':'m','cron':'*/10 * * * *','schedule':{'misfire':'LATEST'}}", "03:31");
    expect(&bench, "03:45", 0, "SKIPPED MISFIRE 03:30, STARTED 03:40"); /* the same slots, handled otherwise */
    change(&bench, "{'name':'m','cron':'*/10 * * * *','timezone':'Asia/Kolkata'}", "02:00");
    /* The clock was set back: the new schedule does not start before the watermark either. */
    expect(&bench, "02:00", 0, "RESET 02:00-03:40");
    expect(&bench, "03:40", 0, "");
    expect(&bench, "03:50", 0, "STARTED 03:50");
    bench_done(&bench);
}

static void an_old_version_decides_nothing_after_a_newer_one(void **state)
{
    (void)state;
    Bench bench;
    int64_t wake;
    bench_init(&bench, HOURLY(""));
    Schedule *old = schedule_new(bench.flow, bench.zones, NULL);
    change(&bench, "{'name':'n','cron':'*/10 * * * *'}", "01:30");
    expect(&bench, "01:40", 0, "RESET 00:00-01:30, STARTED 01:40");
    Schedule *newer = bench.schedule;
    bench.schedule = old;
    assert_true(schedule_is_stale(old, &bench.state) && !schedule_is_stale(newer, &bench.state));
    expect(&bench, "03:00", 0, "");
    assert_false(schedule_next_wake(old, &bench.state, &wake));
    bench.schedule = newer;
    expect(&bench, "01:50", 0, "STARTED 01:50");
    schedule_free(old);
    bench_done(&bench);
}

static void the_first_schedule_of_a_flow_begins_with_it(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, HOURLY(""));
    change(&bench, "{'name':'n','cron':'30 * * * *'}", "02:10");
    expect(&bench, "02:20", 0, "RESET 00:00-02:10"); /* 01:00 and 02:00 of the former one were never decided */
    expect(&bench, "02:30", 0, "STARTED 02:30");
    bench_done(&bench);
}

static void jitter_is_the_same_for_the_same_slot(void **state)
{
    (void)state;
    Bench bench;
    int64_t wake, run, earliest = INT64_MAX, latest = 0;
    bench_init(&bench, HOURLY("'jitterSeconds':600"));
    for (int64_t i = 0; i < 1000; i++) {
        int64_t slot = at("01:00") + i * HOUR, due = schedule_due_at(bench.schedule, slot);
        assert_true(due == schedule_due_at(bench.schedule, slot));
        earliest = MIN(earliest, due - slot);
        latest = MAX(latest, due - slot);
    }
    assert_true(earliest >= 0 && earliest < 10 * SECOND && latest > 590 * SECOND && latest <= 600 * SECOND);
    int64_t due = schedule_due_at(bench.schedule, at("01:00"));
    assert_true(schedule_next_wake(bench.schedule, &bench.state, &wake) && wake == due);
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("01:00"), &run) && run == due);
    assert_false(schedule_decide(bench.schedule, &bench.state, due - 1, 0, bench.decisions));
    assert_int_equal(bench.decisions->len, 0);
    assert_false(schedule_decide(bench.schedule, &bench.state, due, 0, bench.decisions));
    assert_int_equal(bench.decisions->len, 1);
    assert_int_equal(g_array_index(bench.decisions, ScheduleDecision, 0).late_ms, 0);
    record(&bench);
    assert_true(schedule_next_run(bench.schedule, &bench.state, due, &run) &&
                run == schedule_due_at(bench.schedule, at("02:00")));
    bench_done(&bench);
}

/* A jitter that is longer than the interval: what waits behind a slot was not late while it did. */
static void held_slots_are_not_late(void **state)
{
    (void)state;
    static const char *const MISFIRES[] = {"SKIP", "LATEST", "ALL"};
    for (size_t i = 0; i < G_N_ELEMENTS(MISFIRES); i++) {
        Bench bench;
        int64_t wake, now = 0, n_slots = 0;
        g_autofree char *text = g_strdup_printf(
            "{'name':'n','cron':'* * * * *','schedule':{'misfire':'%s','jitterSeconds':300}}", MISFIRES[i]);
        bench_init(&bench, text);
        while (schedule_next_wake(bench.schedule, &bench.state, &wake) && wake < at("05:00")) {
            g_array_set_size(bench.decisions, 0);
            now = MAX(now, wake + 20);
            (void)schedule_decide(bench.schedule, &bench.state, now, 0, bench.decisions);
            g_array_set_size(bench.decisions, MIN(bench.decisions->len, 2)); /* as much as one commit takes */
            for (guint k = 0; k < bench.decisions->len; k++) {
                const ScheduleDecision *decision = &g_array_index(bench.decisions, ScheduleDecision, k);
                assert_int_equal(decision->verdict, SLOT_STARTED);
                assert_int_equal(decision->late_ms, 20);
                n_slots++;
            }
            assert_true(bench.decisions->len > 0);
            record(&bench);
        }
        assert_true(n_slots >= 294);
        /* A stop: those that could be taken more than a minute ago are missed. */
        g_array_set_size(bench.decisions, 0);
        (void)schedule_decide(bench.schedule, &bench.state, at("06:00"), 0, bench.decisions);
        record(&bench);
        bool is_missed = g_array_index(bench.decisions, ScheduleDecision, 0).reason == SLOT_MISFIRE;
        assert_true(is_missed == (i < 2));
        bench_done(&bench);
    }
}

/* Against the definition: the latest start of all slots up to an instant. */
static void slots_hold_those_behind_them(void **state)
{
    (void)state;
    static const char *const FLOWS[] = {
        "{'name':'n','cron':'* * * * * *','schedule':{'jitterSeconds':86400}}",
        "{'name':'n','cron':'* * * * *','schedule':{'jitterSeconds':300,'startAt':'2026-02-02T00:02:00Z'}}",
        "{'name':'n','cron':'0 * * * *','schedule':{'jitterSeconds':7200}}",
        "{'name':'n','cron':'0 0 1 1 *','schedule':{'jitterSeconds':60}}",
        "{'name':'n','cron':'* * * * *'}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(FLOWS); i++) {
        Bench bench;
        int64_t slot = at("00:00"), held = INT64_MIN;
        bench_init(&bench, FLOWS[i]);
        for (int n = 0; n < 300 && schedule_next_slot(bench.schedule, slot, &slot); n++) {
            held = MAX(held, schedule_due_at(bench.schedule, slot));
            assert_true(schedule_held_until(bench.schedule, slot) == held);
        }
        bench_done(&bench);
    }
}

static void the_next_run_is_ahead_and_not_decided(void **state)
{
    (void)state;
    Bench bench;
    int64_t run;
    bench_init(&bench, "{'name':'n','cron':'30 2 * * *','timezone':'Europe/Berlin'}");
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("00:30"), &run) && run == at("01:30"));
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("01:30"), &run) && run == at("01:30") + 24 * HOUR);
    expect(&bench, "01:30", 0, "STARTED 01:30");
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("01:00"), &run) && run == at("01:30") + 24 * HOUR);
    bench_done(&bench);
    bench_init(&bench, "{'name':'n','cron':'* * * * * *','schedule':{'jitterSeconds':86400}}");
    assert_true(schedule_next_run(bench.schedule, &bench.state, at("2026-03-01T00:00:00"), &run));
    assert_true(run > at("2026-03-01T00:00:00"));
    bench_done(&bench);
}

static void inputs_know_their_slot(void **state)
{
    (void)state;
    Bench bench;
    TextMap inputs;
    bench_init(&bench, "{'name':'n','cron':'30 0 * * *','timezone':'Asia/Kolkata',"
                       "'schedule':{'inputs':{'at':'${slot}','day':'<${slot.date}>'}}}");
    int64_t slot;
    assert_true(schedule_next_slot(bench.schedule, at("00:00"), &slot));
    assert_true(schedule_run_inputs(bench.schedule, bench.flow, slot, &inputs, NULL));
    assert_string_equal(text_map_find(&inputs, "at"), "2026-02-02T19:00:00.000Z");
    assert_string_equal(text_map_find(&inputs, "day"), "<2026-02-03>");
    text_map_done(&inputs);
    bench_done(&bench);
}

static void run_ids_follow_from_flow_and_slot(void **state)
{
    (void)state;
    Id flow_id = {FLOW_ID}, other = {"0191aaaa-0000-7000-8000-0000000000f1"};
    const char *const parts[] = {"slot", FLOW_ID, "2026-02-02T01:00:00.000Z"};
    Id expected = id_derive(parts, 3), id = schedule_run_id(&flow_id, at("01:00"));
    assert_string_equal(id.text, expected.text);
    assert_int_equal(id.text[14], '8');
    Id later = schedule_run_id(&flow_id, at("01:01")), others = schedule_run_id(&other, at("01:00"));
    assert_true(strcmp(id.text, later.text) != 0 && strcmp(id.text, others.text) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_starts_when_its_time_comes_and_once),
        cmocka_unit_test(a_clock_set_back_starts_nothing_again),
        cmocka_unit_test(misfire_decides_what_a_stop_left),
        cmocka_unit_test(overlap_decides_beside_open_runs),
        cmocka_unit_test(queued_slots_start_one_after_the_other),
        cmocka_unit_test(a_change_ends_the_queue),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(many_slots_at_once_are_bounded),
        cmocka_unit_test(a_pause_is_summed_up),
        cmocka_unit_test(slots_outside_the_window_do_not_start),
        cmocka_unit_test(other_slots_are_not_started_for_the_past),
        cmocka_unit_test(an_old_version_decides_nothing_after_a_newer_one),
        cmocka_unit_test(the_first_schedule_of_a_flow_begins_with_it),
        cmocka_unit_test(jitter_is_the_same_for_the_same_slot),
        cmocka_unit_test(held_slots_are_not_late),
        cmocka_unit_test(slots_hold_those_behind_them),
        cmocka_unit_test(the_next_run_is_ahead_and_not_decided),
        cmocka_unit_test(inputs_know_their_slot),
        cmocka_unit_test(run_ids_follow_from_flow_and_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
