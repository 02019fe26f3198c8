/* test_engine.c - the engine's threads behind an in-process bus: JSON in, JSON out, on the real clock. Waiting is for
 * statuses, with a deadline. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bus/bus.h"
#include "domain/message.h"
#include "engine/engine.h"
#include "run_harness.h"
#include "run_macros.h"

#define DEADLINE_MS 20000

typedef struct {
    Clock *clock;
    Bus *bus;
    Engine *engine;
    GQueue *polled;
} Bench;

static Bench *bench_new(size_t max_messages, size_t max_parallel_steps)
{
    Bench *bench = g_new0(Bench, 1);
    EngineOptions options = {.max_parallel_steps = max_parallel_steps};
    bench->clock = clock_new_system();
    bench->bus = bus_open_local(max_messages, 64 * 1024 * 1024);
    bench->polled = g_queue_new();
    bench->engine = engine_start(bench->bus, bench->clock, &options, NULL);
    assert_non_null(bench->engine);
    return bench;
}

static void bench_free(Bench *bench)
{
    bus_shutdown(bench->bus);
    engine_stop(bench->engine);
    bus_close(bench->bus);
    clock_free(bench->clock);
    g_queue_free_full(bench->polled, (GDestroyNotify)status_message_free);
    g_free(bench);
}

static int set_up(void **state)
{
    *state = bench_new(100000, 64);
    return 0;
}

static int tear_down(void **state)
{
    bench_free(*state);
    return 0;
}

static Id run_id(int number)
{
    Id id;
    (void)snprintf(id.text, sizeof id.text, "20000000-0000-4000-8000-%012d", number);
    return id;
}

static void send(Bench *bench, const char *text)
{
    g_autoptr(BusMessage) message = bus_message_new("key", text, strlen(text));
    BusResult result;
    assert_true(bus_publish_commands(bench->bus, &message, 1, DEADLINE_MS, &result, NULL));
}

static void send_start(Bench *bench, int run, int64_t generation, const char *steps, const char *more)
{
    g_autofree char *json = g_strdup_printf(
        "{\"eventType\":\"EXECUTION_START\",\"flowId\":\"@y\",\"runId\":\"%s\",\"timestamp\":\"2026-01-31T09:00:00Z\","
        "\"seq\":%d,\"generation\":%d,\"steps\":%s%s}",
        run_id(run).text, (int)generation, (int)generation, steps, more);
    g_autofree char *text = expand_ids(json);
    send(bench, text);
}

static void send_command(Bench *bench, int run, const char *command, int64_t seq)
{
    g_autofree char *json = g_strdup_printf(
        "{\"eventType\":\"EXECUTION_%s\",\"flowId\":\"@y\",\"runId\":\"%s\",\"timestamp\":1800000000.25,\"seq\":%d}",
        command, run_id(run).text, (int)seq);
    g_autofree char *text = expand_ids(json);
    send(bench, text);
}

/* The next status, waited for. */
static StatusMessage *next(Bench *bench)
{
    int64_t deadline = clock_monotonic_ms(bench->clock) + DEADLINE_MS;
    while (g_queue_is_empty(bench->polled)) {
        BusMessage *messages[64];
        size_t n = 0;
        assert_true(clock_monotonic_ms(bench->clock) < deadline);
        assert_true(bus_poll_statuses(bench->bus, messages, G_N_ELEMENTS(messages), 1000, &n, NULL));
        for (size_t i = 0; i < n; i++) {
            g_autoptr(GError) error = NULL;
            StatusMessage *status = status_message_decode(messages[i]->value, messages[i]->value_size, &error);
            if (status == NULL)
                fail_msg("%s: %s", error->message, messages[i]->value);
            if (status->kind != STATUS_ENGINE)
                assert_string_equal(messages[i]->key, status->run_id.text);
            g_queue_push_tail(bench->polled, status);
            bus_message_free(messages[i]);
        }
    }
    return g_queue_pop_head(bench->polled);
}

static void expect_engine(Bench *bench)
{
    g_autoptr(StatusMessage) status = next(bench);
    assert_int_equal(status->kind, STATUS_ENGINE);
    assert_true(id_is_valid(status->engine_id.text));
    assert_int_equal(status->n_command_partitions, 1);
    assert_int_equal(status->command_partitions[0], 0);
}

static void expect_flow(Bench *bench, int run, RunStatus run_status)
{
    g_autoptr(StatusMessage) status = next(bench);
    assert_int_equal(status->kind, STATUS_FLOW);
    assert_string_equal(status->run_id.text, run_id(run).text);
    assert_string_equal(run_status_name(status->run_status), run_status_name(run_status));
}

static void expect_step(Bench *bench, char step, StepStatus step_status, int64_t attempt)
{
    g_autoptr(StatusMessage) status = next(bench);
    assert_int_equal(status->kind, STATUS_STEP);
    assert_string_equal(status->step_id.text, step_id(step).text);
    assert_string_equal(step_status_name(status->step_status), step_status_name(step_status));
    assert_int_equal(status->attempt, attempt);
}

static void wait_for_load(Bench *bench, size_t n_runs, size_t n_steps_running)
{
    int64_t deadline = clock_monotonic_ms(bench->clock) + DEADLINE_MS;
    EngineLoad load = engine_load(bench->engine);
    while (load.n_runs != n_runs || load.n_steps_running != n_steps_running) {
        assert_true(clock_monotonic_ms(bench->clock) < deadline);
        sched_yield();
        load = engine_load(bench->engine);
    }
}

#define DELAY(id, ms, more) \
    "{\"stepId\":\"@" id "\",\"type\":\"ACTION\",\"pluginId\":\"delay\",\"inputs\":{\"ms\":\"" ms "\"}" more "}"
#define FAIL(id, members, more) \
    "{\"stepId\":\"@" id "\",\"type\":\"ACTION\",\"pluginId\":\"fail\",\"inputs\":{" members "}" more "}"
#define CHAIN "[" ECHO_WITH("a", IN("1")) "," ECHO_WITH("b", IN("${@a.x}2")) "," ECHO_WITH("c", IN("${@b.x}3")) "]"
#define HOUR "3600000"

static void test_announces_itself_and_stops(void **state)
{
    expect_engine(*state);
}

static void test_runs_a_chain(void **state)
{
    expect_engine(*state);
    send_start(*state, 1, 1, CHAIN, "");
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    expect_step(*state, 'a', STEP_COMPLETED, 1);
    expect_step(*state, 'b', STEP_RUNNING, 1);
    expect_step(*state, 'b', STEP_COMPLETED, 1);
    expect_step(*state, 'c', STEP_RUNNING, 1);
    g_autoptr(StatusMessage) last = next(*state);
    assert_string_equal(last->outputs_json, "{\"x\":\"123\"}");
    assert_int_equal(last->generation, 1);
    expect_flow(*state, 1, RUN_COMPLETED);
    wait_for_load(*state, 0, 0);
    assert_int_equal(engine_load(((Bench *)*state)->engine).n_steps_done, 3);
}

static void test_delays_run_at_the_same_time(void **state)
{
    Bench *bench = *state;
    expect_engine(bench);
    int64_t began = clock_monotonic_ms(bench->clock);
    send_start(bench, 1, 1, "[" DELAY("a", "60", "") "," DELAY("b", "30", "") "]", "");
    expect_flow(bench, 1, RUN_RUNNING);
    expect_step(bench, 'a', STEP_RUNNING, 1);
    expect_step(bench, 'b', STEP_RUNNING, 1);
    expect_step(bench, 'b', STEP_COMPLETED, 1);
    expect_step(bench, 'a', STEP_COMPLETED, 1);
    expect_flow(bench, 1, RUN_COMPLETED);
    assert_true(clock_monotonic_ms(bench->clock) - began >= 60);
}

static void test_a_time_limit_and_retries(void **state)
{
    expect_engine(*state);
    send_start(*state, 1, 1,
               "[" DELAY("a", HOUR, ",\"config\":{\"timeoutMs\":20}") "," FAIL(
                   "b", "\"times\":\"2\"", ",\"config\":{\"retryCount\":2,\"retryDelayMs\":1}") "]",
               "");
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    expect_step(*state, 'b', STEP_RUNNING, 1);
    expect_step(*state, 'b', STEP_RUNNING, 2);
    expect_step(*state, 'b', STEP_RUNNING, 3);
    expect_step(*state, 'b', STEP_COMPLETED, 3);
    g_autoptr(StatusMessage) failed = next(*state);
    assert_int_equal(failed->step_status, STEP_FAILED);
    assert_string_equal(failed->error, "timed out after 20 ms");
    expect_flow(*state, 1, RUN_FAILED);
    wait_for_load(*state, 0, 0);
}

static void test_pause_resume_and_stop(void **state)
{
    expect_engine(*state);
    send_start(*state, 1, 1, "[" DELAY("a", "50", "") "," DELAY("b", HOUR, ",\"condition\":\"@a.ms == '50'\"") "]", "");
    send_command(*state, 1, "PAUSE", 2);
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    expect_step(*state, 'a', STEP_COMPLETED, 1);
    expect_flow(*state, 1, RUN_PAUSED);
    send_command(*state, 1, "RESUME", 3);
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'b', STEP_RUNNING, 1);
    wait_for_load(*state, 1, 1);
    send_command(*state, 1, "STOP", 4);
    expect_step(*state, 'b', STEP_CANCELLED, 1);
    expect_flow(*state, 1, RUN_STOPPED);
    wait_for_load(*state, 0, 0);
}

/* What must change nothing is followed by a run that shows the engine is past it. */
static void test_repeats_and_strangers_change_nothing(void **state)
{
    expect_engine(*state);
    send_command(*state, 9, "STOP", 5);
    send_start(*state, 1, 1, "[" ECHO("a") "]", "");
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    expect_step(*state, 'a', STEP_COMPLETED, 1);
    expect_flow(*state, 1, RUN_COMPLETED);
    send_start(*state, 1, 1, "[" ECHO("a") "]", "");
    send_command(*state, 1, "STOP", 7);
    send(*state, "{broken");
    send(*state, "");
    send(*state, "[]");
    send(*state, "{\"eventType\":\"EXECUTION_DANCE\"}");
    send_start(*state, 2, 1, "[]", "");
    expect_flow(*state, 2, RUN_RUNNING);
    expect_flow(*state, 2, RUN_COMPLETED);
}

/* Neither seq nor commandId nor generation, numeric instants, members that nobody knows here, no key. */
static void send_bare(Bench *bench, const char *command, const char *more)
{
    g_autofree char *json = g_strdup_printf(
        "{\"eventType\":\"EXECUTION_%s\",\"flowId\":\"@y\",\"runId\":\"%s\",\"triggeredBy\":\"system\","
        "\"timestamp\":1769850000.123456789,\"@type\":\"Command\",\"seq\":null,\"trace\":{\"id\":[1,null]}%s}",
        command, run_id(1).text, more);
    g_autofree char *text = expand_ids(json);
    g_autoptr(BusMessage) message = bus_message_new(NULL, text, strlen(text));
    BusResult result;
    assert_true(bus_publish_commands(bench->bus, &message, 1, DEADLINE_MS, &result, NULL));
}

static void test_commands_of_another_service(void **state)
{
    expect_engine(*state);
    send_bare(
        *state, "START",
        ",\"steps\":[" DELAY("a", HOUR, ",\"children\":null,\"notes\":\"\"") "," ECHO_WITH("b", IN("${@a.ms}")) "]");
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    send_bare(*state, "START", ",\"steps\":[]"); /* a repeat: changes nothing */
    send_bare(*state, "RESUME", "");
    expect_flow(*state, 1, RUN_RUNNING);
    send_bare(*state, "PAUSE", "");
    send_bare(*state, "PAUSE", "");
    send_bare(*state, "STOP", "");
    send_bare(*state, "STOP", "");
    expect_step(*state, 'a', STEP_CANCELLED, 1);
    expect_step(*state, 'b', STEP_CANCELLED, 1);
    expect_flow(*state, 1, RUN_STOPPED);
    send_start(*state, 2, 1, "[]", "");
    expect_flow(*state, 2, RUN_RUNNING);
}

static void test_a_higher_generation_takes_the_run_over(void **state)
{
    expect_engine(*state);
    send_start(*state, 1, 1, "[" DELAY("a", HOUR, "") "," ECHO_WITH("b", IN("${@a.ms}")) "]", "");
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 1);
    send_start(*state, 1, 1, "[" ECHO("a") "]", ""); /* repeated: ignored */
    send_start(*state, 1, 3, "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.ms}")) "]",
               ",\"progress\":[{\"stepId\":\"@a\",\"status\":\"RUNNING\",\"attempt\":1}]");
    send_start(*state, 1, 2, "[" ECHO("a") "]", ""); /* late: ignored */
    expect_flow(*state, 1, RUN_RUNNING);
    expect_step(*state, 'a', STEP_RUNNING, 2);
    g_autoptr(StatusMessage) status = next(*state);
    assert_int_equal(status->generation, 3);
    assert_int_equal(status->step_status, STEP_COMPLETED);
    expect_step(*state, 'b', STEP_RUNNING, 1);
    expect_step(*state, 'b', STEP_FAILED, 1);
    expect_flow(*state, 1, RUN_FAILED);
    send_start(*state, 1, 4, "[]", ""); /* the service may know better than an engine that it has not ended */
    expect_flow(*state, 1, RUN_RUNNING);
    expect_flow(*state, 1, RUN_COMPLETED);
}

static void test_stops_with_steps_running(void **state)
{
    Bench *bench = *state;
    expect_engine(bench);
    for (int i = 0; i < 50; i++)
        send_start(bench, i, 1,
                   "[" DELAY("a", HOUR, ",\"config\":{\"timeoutMs\":3600000}") "," FAIL(
                       "b", "", ",\"config\":{\"retryCount\":9,\"retryDelayMs\":1000000}") "]",
                   "");
    wait_for_load(bench, 50, 50);
}

/* The bus holds eight statuses and nobody reads for a while: everything arrives all the same, in order for each run. */
static void test_a_full_bus_holds_the_engine_back(void **state G_GNUC_UNUSED)
{
    enum { N_RUNS = 200 };
    Bench *bench = bench_new(8, 2);
    int n_seen[N_RUNS] = {0};
    int n_ended = 0, n_sent = 0;
    expect_engine(bench);
    while (n_ended < N_RUNS) {
        if (n_sent < N_RUNS)
            send_start(bench, n_sent++, 1, CHAIN, "");
        g_autoptr(StatusMessage) status = next(bench);
        int run = (int)g_ascii_strtoll(status->run_id.text + strlen("20000000-0000-4000-8000-"), NULL, 10);
        int number = n_seen[run]++;
        assert_int_equal(status->kind, number == 0 || number == 7 ? STATUS_FLOW : STATUS_STEP);
        if (number == 7)
            n_ended++;
        if (status->kind == STATUS_STEP)
            assert_int_equal(status->step_status, number % 2 == 1 ? STEP_RUNNING : STEP_COMPLETED);
    }
    bench_free(bench);
}

static void test_stops_while_the_bus_is_full(void **state G_GNUC_UNUSED)
{
    Bench *bench = bench_new(4, 64);
    send_start(bench, 1, 1, CHAIN, "");
    int64_t deadline = clock_monotonic_ms(bench->clock) + DEADLINE_MS;
    while (bus_health(bench->bus).n_statuses_queued < 4)
        assert_true(clock_monotonic_ms(bench->clock) < deadline);
    bench_free(bench);
}

/* Without bus_shutdown() it takes a poll's wait longer, but it stops. */
static void test_stops_though_the_bus_goes_on(void **state G_GNUC_UNUSED)
{
    g_autoptr(Clock) clock = clock_new_system();
    g_autoptr(Bus) bus = bus_open_local(100, 1000000);
    EngineOptions options = {.max_parallel_steps = 1};
    Engine *engine = engine_start(bus, clock, &options, NULL);
    assert_non_null(engine);
    int64_t deadline = clock_monotonic_ms(clock) + DEADLINE_MS;
    while (bus_health(bus).n_statuses_queued == 0)
        assert_true(clock_monotonic_ms(clock) < deadline);
    engine_stop(engine);
    engine_stop(NULL);
    assert_int_equal(bus_health(bus).n_statuses_queued, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_announces_itself_and_stops),
        TEST(test_runs_a_chain),
        TEST(test_delays_run_at_the_same_time),
        TEST(test_a_time_limit_and_retries),
        TEST(test_pause_resume_and_stop),
        TEST(test_repeats_and_strangers_change_nothing),
        TEST(test_commands_of_another_service),
        TEST(test_a_higher_generation_takes_the_run_over),
        TEST(test_stops_with_steps_running),
        cmocka_unit_test(test_a_full_bus_holds_the_engine_back),
        cmocka_unit_test(test_stops_while_the_bus_is_full),
        cmocka_unit_test(test_stops_though_the_bus_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
