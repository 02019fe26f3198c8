/* test_engine_partitions.c - the engine on a bus whose command partitions come and go, and that may be away: who it says it
 * is, what it abandons, what it has said by the time it ends. Turns of the bus are scripted; waiting is for statuses. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "domain/message.h"
#include "engine/engine.h"
#include "fake_bus.h"
#include "run_harness.h"
#include "run_macros.h"

#define DEADLINE_MS 20000
#define LONG_STEP \
    "{\"stepId\":\"@a\",\"type\":\"ACTION\",\"pluginId\":\"delay\",\"inputs\":{\"ms\":\"3600000\"}}," ECHO_WITH( \
        "b", IN("${@a.ms}"))
#define CHAIN ECHO_WITH("a", IN("1")) "," ECHO_WITH("b", IN("${@a.x}2"))

typedef struct {
    Clock *clock;
    Bus *bus;
    Engine *engine;
    GQueue *lines;
    int64_t announced_at; /* of the last announcement */
} Bench;

static int set_up(void **state)
{
    Bench *bench = g_new0(Bench, 1);
    EngineOptions options = {.max_parallel_steps = 64};
    bench->clock = clock_new_system();
    bench->bus = fake_bus_open();
    bench->lines = g_queue_new();
    bench->engine = engine_start(bench->bus, bench->clock, &options, NULL);
    *state = bench;
    return bench->engine != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    Bench *bench = *state;
    engine_stop(bench->engine);
    bus_close(bench->bus);
    clock_free(bench->clock);
    g_queue_free_full(bench->lines, g_free);
    g_free(bench);
    return 0;
}

#define WAIT_UNTIL(bench, condition) \
    do { \
        int64_t deadline = clock_monotonic_ms((bench)->clock) + DEADLINE_MS; \
        while (!(condition)) { \
            assert_true(clock_monotonic_ms((bench)->clock) < deadline); \
            sched_yield(); \
        } \
    } while (0)

/* ---- commands in ---- */

static void run_id_text(int run, char ret_text[ID_TEXT_SIZE])
{
    (void)snprintf(ret_text, ID_TEXT_SIZE, "20000000-0000-4000-8000-%012d", run);
}

static void start(Bench *bench, int32_t partition, int run, int generation, const char *steps)
{
    char id[ID_TEXT_SIZE];
    run_id_text(run, id);
    g_autofree char *json = g_strdup_printf("{\"eventType\":\"EXECUTION_START\",\"flowId\":\"@y\",\"runId\":\"%s\","
                                            "\"seq\":%d,\"generation\":%d,\"steps\":[%s]}",
                                            id, generation, generation, steps);
    g_autofree char *text = expand_ids(json);
    fake_bus_command(bench->bus, partition, text);
}

static void stop(Bench *bench, int32_t partition, int run)
{
    char id[ID_TEXT_SIZE];
    run_id_text(run, id);
    g_autofree char *json =
        g_strdup_printf("{\"eventType\":\"EXECUTION_STOP\",\"flowId\":\"@y\",\"runId\":\"%s\",\"seq\":9}", id);
    g_autofree char *text = expand_ids(json);
    fake_bus_command(bench->bus, partition, text);
}

static void turn(Bench *bench)
{
    fake_bus_turn(bench->bus);
}

static void gain(Bench *bench, int32_t partition)
{
    fake_bus_gain(bench->bus, partition);
    turn(bench);
}

/* ---- statuses out ---- */

/* "ENGINE 0 2", "1 FLOW RUNNING", "1 a COMPLETED"; run 1 of generation 2 is "1.2". */
static char *line_of(const StatusMessage *status)
{
    GString *line = g_string_new(NULL);
    if (status->kind == STATUS_ENGINE) {
        g_string_append(line, "ENGINE");
        for (size_t i = 0; i < status->n_command_partitions; i++)
            g_string_append_printf(line, " %d", status->command_partitions[i]);
        return g_string_free(line, FALSE);
    }
    int run = (int)g_ascii_strtoll(status->run_id.text + strlen("20000000-0000-4000-8000-"), NULL, 10);
    g_string_append_printf(line, "%d", run);
    if (status->generation > 1)
        g_string_append_printf(line, ".%d", (int)status->generation);
    if (status->kind == STATUS_FLOW)
        g_string_append_printf(line, " FLOW %s", run_status_name(status->run_status));
    for (char step = 'a'; status->kind == STATUS_STEP && step <= 'z'; step++)
        if (strcmp(step_id(step).text, status->step_id.text) == 0)
            g_string_append_printf(line, " %c %s", step, step_status_name(status->step_status));
    return g_string_free(line, FALSE);
}

static void poll_lines(Bench *bench, int64_t timeout_ms)
{
    BusMessage *messages[64];
    size_t n = 0;
    assert_true(bus_poll_statuses(bench->bus, messages, G_N_ELEMENTS(messages), timeout_ms, &n, NULL));
    for (size_t i = 0; i < n; i++) {
        g_autoptr(StatusMessage) status = status_message_decode(messages[i]->value, messages[i]->value_size, NULL);
        assert_non_null(status);
        if (status->kind == STATUS_ENGINE) { /* else it would be taken for an old one */
            assert_true(status->timestamp > bench->announced_at);
            bench->announced_at = status->timestamp;
        }
        g_queue_push_tail(bench->lines, line_of(status));
        bus_message_free(messages[i]);
    }
}

static void expect(Bench *bench, const char *expected)
{
    int64_t deadline = clock_monotonic_ms(bench->clock) + DEADLINE_MS;
    while (g_queue_is_empty(bench->lines)) {
        assert_true(clock_monotonic_ms(bench->clock) < deadline);
        poll_lines(bench, 1000);
    }
    g_autofree char *line = g_queue_pop_head(bench->lines);
    assert_string_equal(line, expected);
}

static void expect_nothing(Bench *bench)
{
    poll_lines(bench, 0);
    if (!g_queue_is_empty(bench->lines))
        fail_msg("more was said: %s", (char *)g_queue_peek_head(bench->lines));
}

static void expect_start(Bench *bench, const char *running, const char *step)
{
    expect(bench, running);
    expect(bench, step);
}

/* ---- what is announced ---- */

static void test_what_was_gained_is_announced(void **state)
{
    Bench *bench = *state;
    fake_bus_gain(bench->bus, 3);
    gain(bench, 7);
    expect(bench, "ENGINE 3 7");
    gain(bench, 0);
    expect(bench, "ENGINE 0");
}

static void test_nothing_is_announced_before(void **state)
{
    Bench *bench = *state;
    start(bench, 2, 1, 1, "");
    turn(bench);
    expect_start(bench, "1 FLOW RUNNING", "1 FLOW COMPLETED");
    fake_bus_lose(bench->bus, 2); /* nor what was lost */
    turn(bench);
    start(bench, 1, 2, 1, "");
    turn(bench);
    expect_start(bench, "2 FLOW RUNNING", "2 FLOW COMPLETED");
}

static void test_a_gain_is_announced_before_its_commands_are_answered(void **state)
{
    Bench *bench = *state;
    start(bench, 5, 1, 1, "");
    gain(bench, 5);
    expect(bench, "ENGINE 5");
    expect_start(bench, "1 FLOW RUNNING", "1 FLOW COMPLETED");
}

static void test_very_many_are_announced_in_parts(void **state)
{
    Bench *bench = *state;
    for (int32_t i = 0; i <= COMMAND_PARTITIONS_MAX; i++)
        fake_bus_gain(bench->bus, i);
    turn(bench);
    GString *first = g_string_new("ENGINE");
    for (int32_t i = 0; i < COMMAND_PARTITIONS_MAX; i++)
        g_string_append_printf(first, " %d", i);
    expect(bench, first->str);
    expect(bench, "ENGINE 10000");
    g_string_free(first, TRUE);
}

/* ---- what is lost ---- */

static void test_the_runs_of_a_lost_partition_are_abandoned(void **state)
{
    Bench *bench = *state;
    start(bench, 0, 1, 1, LONG_STEP);
    start(bench, 1, 2, 1, LONG_STEP);
    turn(bench);
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    expect_start(bench, "2 FLOW RUNNING", "2 a RUNNING");
    fake_bus_lose(bench->bus, 0);
    turn(bench);
    WAIT_UNTIL(bench, engine_load(bench->engine).n_runs == 1 && engine_load(bench->engine).n_steps_running == 1);
    stop(bench, 0, 1); /* of nobody here */
    stop(bench, 1, 2);
    turn(bench);
    expect(bench, "2 a CANCELLED");
    expect(bench, "2 b CANCELLED");
    expect(bench, "2 FLOW STOPPED");
    expect_nothing(bench);
}

static void test_commands_polled_with_the_loss_are_dropped(void **state)
{
    Bench *bench = *state;
    start(bench, 0, 1, 1, LONG_STEP);
    start(bench, 1, 2, 1, "");
    fake_bus_lose(bench->bus, 0);
    turn(bench);
    expect_start(bench, "2 FLOW RUNNING", "2 FLOW COMPLETED");
    WAIT_UNTIL(bench, engine_load(bench->engine).n_runs == 0);
    expect_nothing(bench);
}

static void test_lost_and_back_again(void **state)
{
    Bench *bench = *state;
    start(bench, 0, 1, 1, LONG_STEP);
    turn(bench);
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    fake_bus_lose(bench->bus, 0);
    start(bench, 0, 2, 1, "");
    gain(bench, 0);
    expect(bench, "ENGINE 0");
    expect_start(bench, "2 FLOW RUNNING", "2 FLOW COMPLETED");
    WAIT_UNTIL(bench, engine_load(bench->engine).n_runs == 0);
    start(bench, 0, 1, 2, LONG_STEP); /* the hand-over that the announcement set off */
    turn(bench);
    expect_start(bench, "1.2 FLOW RUNNING", "1.2 a RUNNING");
}

/* A run is its last START's partition's. */
static void test_a_run_that_was_handed_over_on_another_partition(void **state)
{
    Bench *bench = *state;
    start(bench, 0, 1, 1, LONG_STEP);
    start(bench, 4, 1, 2, LONG_STEP);
    turn(bench);
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    expect_start(bench, "1.2 FLOW RUNNING", "1.2 a RUNNING");
    fake_bus_lose(bench->bus, 0);
    start(bench, 4, 2, 1, "");
    turn(bench);
    expect_start(bench, "2 FLOW RUNNING", "2 FLOW COMPLETED");
    WAIT_UNTIL(bench, engine_load(bench->engine).n_runs == 1);
}

/* The bus is away, so that the start, the loss and the gain wait in the inbox together: the step has ended, though nobody
 * has looked yet, when the partition is lost. */
static void test_what_has_ended_is_said_before_the_rest_is_abandoned(void **state)
{
    Bench *bench = *state;
    fake_bus_set_down(bench->bus, true);
    start(bench, 2, 9, 1, "");
    turn(bench);
    WAIT_UNTIL(bench, fake_bus_n_failed(bench->bus) > 0);
    start(bench, 0, 1, 1, CHAIN);
    start(bench, 1, 2, 1, CHAIN);
    turn(bench);
    fake_bus_lose(bench->bus, 0);
    gain(bench, 5);
    WAIT_UNTIL(bench, fake_bus_is_through(bench->bus));
    fake_bus_set_down(bench->bus, false);
    expect_start(bench, "9 FLOW RUNNING", "9 FLOW COMPLETED");
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    expect_start(bench, "2 FLOW RUNNING", "2 a RUNNING");
    expect(bench, "1 a COMPLETED"); /* and b does not begin */
    expect(bench, "ENGINE 5");
    expect(bench, "2 a COMPLETED");
    expect(bench, "2 b RUNNING");
    expect(bench, "2 b COMPLETED");
    expect(bench, "2 FLOW COMPLETED");
    WAIT_UNTIL(bench, engine_load(bench->engine).n_runs == 0);
    expect_nothing(bench);
}

/* ---- the end, and a bus that is away ---- */

static void test_what_was_said_has_arrived_at_the_end(void **state)
{
    Bench *bench = *state;
    gain(bench, 0);
    start(bench, 0, 1, 1, LONG_STEP);
    turn(bench);
    expect(bench, "ENGINE 0");
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    assert_int_equal(fake_bus_n_flushed(bench->bus), 0);
    engine_stop(g_steal_pointer(&bench->engine));
    assert_int_equal(fake_bus_n_flushed(bench->bus), 1);
    assert_int_equal(fake_bus_n_before_flush(bench->bus), 3); /* all of it */
    expect_nothing(bench);
}

static void test_an_absence_of_the_bus_loses_nothing(void **state)
{
    Bench *bench = *state;
    fake_bus_set_down(bench->bus, true);
    gain(bench, 0);
    start(bench, 0, 1, 1, CHAIN);
    turn(bench);
    size_t n_failed = fake_bus_n_failed(bench->bus);
    WAIT_UNTIL(bench, fake_bus_n_failed(bench->bus) >= n_failed + 3);
    expect_nothing(bench);
    fake_bus_set_down(bench->bus, false);
    expect(bench, "ENGINE 0");
    expect_start(bench, "1 FLOW RUNNING", "1 a RUNNING");
    expect_start(bench, "1 a COMPLETED", "1 b RUNNING");
    expect_start(bench, "1 b COMPLETED", "1 FLOW COMPLETED");
}

static void test_it_stops_while_the_bus_is_away(void **state)
{
    Bench *bench = *state;
    fake_bus_set_down(bench->bus, true);
    start(bench, 0, 1, 1, CHAIN);
    turn(bench);
    WAIT_UNTIL(bench, fake_bus_n_failed(bench->bus) > 0);
    int64_t began = clock_monotonic_ms(bench->clock);
    engine_stop(g_steal_pointer(&bench->engine));
    assert_true(clock_monotonic_ms(bench->clock) - began < 10000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_was_gained_is_announced),
        TEST(test_nothing_is_announced_before),
        TEST(test_a_gain_is_announced_before_its_commands_are_answered),
        TEST(test_very_many_are_announced_in_parts),
        TEST(test_the_runs_of_a_lost_partition_are_abandoned),
        TEST(test_commands_polled_with_the_loss_are_dropped),
        TEST(test_lost_and_back_again),
        TEST(test_a_run_that_was_handed_over_on_another_partition),
        TEST(test_what_has_ended_is_said_before_the_rest_is_abandoned),
        TEST(test_what_was_said_has_arrived_at_the_end),
        TEST(test_an_absence_of_the_bus_loses_nothing),
        TEST(test_it_stops_while_the_bus_is_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
