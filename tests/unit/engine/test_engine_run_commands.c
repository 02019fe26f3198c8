/* test_engine_run_commands.c - pause, resume and stop of one run, and which of them count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "run_harness.h"
#include "run_macros.h"

#define CHAIN "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.k}")) "]"
#define RETRIED "[" ECHO_WITH("a", CONFIG("\"retryCount\":1,\"retryDelayMs\":1000")) "]"

static int set_up(void **state)
{
    *state = harness_new(64);
    return 0;
}

static int tear_down(void **state)
{
    harness_free(*state);
    return 0;
}

/* ---- pause and resume ---- */

static void test_paused_when_what_runs_has_finished(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_expect(*state, "");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"v\"}\nFLOW PAUSED\n");
    harness_advance(*state, 100000);
    harness_expect(*state, "");
    harness_command(*state, COMMAND_RESUME, 3);
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "b COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_a_run_that_finishes_meanwhile_completes(void **state)
{
    harness_start(*state, "[" ECHO("a") "]", NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "a COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_a_run_that_fails_meanwhile_fails(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_failed(*state, 'a', "boom");
    harness_expect(*state, "a FAILED 1 (boom)\nb CANCELLED 1\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_a_resume_before_the_pause_took_effect(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_command(*state, COMMAND_RESUME, 3);
    harness_expect(*state, "FLOW RUNNING\n");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"v\"}\nb RUNNING 1\n");
}

static void test_a_pause_while_paused_is_answered(void **state)
{
    harness_start(*state, CHAIN, "\"desired\":\"PAUSED\"");
    harness_expect(*state, "FLOW PAUSED\n");
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_expect(*state, "FLOW PAUSED\n");
}

static void test_a_resume_while_running_is_answered(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_RESUME, 2);
    harness_expect(*state, "FLOW RUNNING\n");
}

static void test_a_waiting_retry_waits_on_while_paused(void **state)
{
    harness_start(*state, RETRIED, NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_expect(*state, "FLOW PAUSED\n");
    harness_advance(*state, 5000);
    harness_expect(*state, "");
    harness_command(*state, COMMAND_RESUME, 3);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 2 (boom)\n");
}

static void test_a_retry_not_yet_due_waits_on_after_the_resume(void **state)
{
    harness_start(*state, RETRIED, NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_command(*state, COMMAND_RESUME, 3);
    harness_expect(*state, "FLOW PAUSED\nFLOW RUNNING\n");
    harness_advance(*state, 1200);
    harness_expect(*state, "a RUNNING 2 (boom)\n");
}

static void test_a_failure_during_a_pause_waits_for_its_retry(void **state)
{
    harness_start(*state, RETRIED, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_failed(*state, 'a', "boom");
    harness_expect(*state, "FLOW PAUSED\n");
}

static void test_a_time_limit_holds_while_pausing(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":100,\"retryCount\":1")) "]", NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_advance(*state, 100);
    harness_expect(*state, "cancel a\nFLOW PAUSED\n");
}

/* The harness checks on every status that flow timestamps strictly increase; here within one millisecond. */
static void test_flow_statuses_of_one_millisecond_differ(void **state)
{
    Harness *harness = *state;
    harness_start(harness, RETRIED, NULL);
    harness_failed(harness, 'a', "boom");
    for (int64_t seq = 2; seq < 22; seq += 2) {
        harness_command(harness, COMMAND_PAUSE, seq);
        harness_command(harness, COMMAND_RESUME, seq + 1);
    }
    assert_int_equal(harness->last_flow_at, START_WALL_MS + 20);
}

static void test_a_wall_clock_that_goes_back_does_not_reorder(void **state)
{
    Harness *harness = *state;
    harness_start(harness, CHAIN, NULL);
    harness_advance(harness, 5000);
    harness_command(harness, COMMAND_RESUME, 2);
    g_autoptr(Clock) earlier = clock_new_fake(START_WALL_MS - 1000000);
    Clock *clock = harness->clock;
    harness->port.clock = earlier;
    harness_done(harness, 'a', "{\"k\":\"v\"}");
    harness_command(harness, COMMAND_STOP, 3);
    assert_int_equal(harness->last_flow_at, START_WALL_MS + 5001);
    harness->port.clock = clock;
}

/* ---- stop ---- */

static void test_stop_cancels_everything(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO_WITH("c", IN("${@a.k}")) "]", NULL);
    harness_forget(*state);
    harness_done(*state, 'b', NULL);
    harness_command(*state, COMMAND_STOP, 2);
    harness_expect(*state, "b COMPLETED 1\ncancel a\na CANCELLED 1\nc CANCELLED 1\nFLOW STOPPED\n");
    assert_true(((Harness *)*state)->was_ended);
}

static void test_stop_of_a_paused_run(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_done(*state, 'a', NULL);
    harness_command(*state, COMMAND_STOP, 3);
    harness_expect(*state, "a COMPLETED 1\nFLOW PAUSED\nb CANCELLED 1\nFLOW STOPPED\n");
}

static void test_stop_while_a_retry_waits(void **state)
{
    harness_start(*state, RETRIED, NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_command(*state, COMMAND_STOP, 2);
    harness_expect(*state, "a CANCELLED 1\nFLOW STOPPED\n");
}

static void test_stop_of_a_failing_run(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_command(*state, COMMAND_STOP, 2);
    harness_expect(*state, "a FAILED 1 (boom)\ncancel b\nb CANCELLED 1\nFLOW STOPPED\n");
}

static void test_pause_and_resume_do_not_save_a_failing_run(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO_WITH("c", IN("${@b.k}")) "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_command(*state, COMMAND_PAUSE, 2);
    harness_command(*state, COMMAND_RESUME, 3);
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "a FAILED 1 (boom)\nb COMPLETED 1\nc CANCELLED 1\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_nothing_follows_the_end(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_command(*state, COMMAND_STOP, 2);
    harness_forget(*state);
    harness_command(*state, COMMAND_RESUME, 3);
    harness_command(*state, COMMAND_STOP, 4);
    harness_command(*state, COMMAND_PAUSE, 5);
    harness_advance(*state, 100000);
    harness_expect(*state, "");
}

/* ---- which count ---- */

static void test_an_old_command_is_ignored(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_command(*state, COMMAND_PAUSE, 5);
    harness_command(*state, COMMAND_RESUME, 7);
    harness_forget(*state);
    harness_command(*state, COMMAND_PAUSE, 5);
    harness_command(*state, COMMAND_STOP, 7);
    harness_command(*state, COMMAND_RESUME, 7);
    harness_expect(*state, "");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"v\"}\nb RUNNING 1\n");
}

static void test_a_command_older_than_the_start_is_ignored(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_STOP, -1);
    harness_expect(*state, "");
}

static void test_a_command_as_old_as_the_start_is_ignored(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_STOP, 1);
    harness_expect(*state, "");
}

static void test_commands_without_a_seq_count(void **state)
{
    harness_start(*state, CHAIN, NULL);
    harness_forget(*state);
    harness_command(*state, COMMAND_RESUME, 0);
    harness_command(*state, COMMAND_STOP, 0);
    harness_expect(*state, "FLOW RUNNING\ncancel a\na CANCELLED 1\nb CANCELLED 1\nFLOW STOPPED\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_paused_when_what_runs_has_finished),
        TEST(test_a_run_that_finishes_meanwhile_completes),
        TEST(test_a_run_that_fails_meanwhile_fails),
        TEST(test_a_resume_before_the_pause_took_effect),
        TEST(test_a_pause_while_paused_is_answered),
        TEST(test_a_resume_while_running_is_answered),
        TEST(test_a_waiting_retry_waits_on_while_paused),
        TEST(test_a_retry_not_yet_due_waits_on_after_the_resume),
        TEST(test_a_failure_during_a_pause_waits_for_its_retry),
        TEST(test_a_time_limit_holds_while_pausing),
        TEST(test_flow_statuses_of_one_millisecond_differ),
        TEST(test_a_wall_clock_that_goes_back_does_not_reorder),
        TEST(test_stop_cancels_everything),
        TEST(test_stop_of_a_paused_run),
        TEST(test_stop_while_a_retry_waits),
        TEST(test_stop_of_a_failing_run),
        TEST(test_pause_and_resume_do_not_save_a_failing_run),
        TEST(test_nothing_follows_the_end),
        TEST(test_an_old_command_is_ignored),
        TEST(test_a_command_older_than_the_start_is_ignored),
        TEST(test_a_command_as_old_as_the_start_is_ignored),
        TEST(test_commands_without_a_seq_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
