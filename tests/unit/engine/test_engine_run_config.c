/* test_engine_run_config.c - time limits and retries of one run, on a fake clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "run_harness.h"
#include "run_macros.h"

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

/* Lets time pass until something is done, which must be within the bounds; what was done stays in the trace. */
static void assert_next_within(Harness *harness, int64_t least_ms, int64_t most_ms)
{
    if (least_ms > 0)
        harness_advance(harness, least_ms - 1);
    harness_expect(harness, "");
    harness_advance(harness, most_ms - MAX(0, least_ms - 1));
    assert_true(harness->trace->len > 0);
}

static void test_without_a_limit_an_attempt_may_take_for_ever(void **state)
{
    harness_start(*state, "[" ECHO("a") "]", NULL);
    harness_forget(*state);
    harness_advance(*state, INT64_C(1000) * 60 * 60 * 24 * 365);
    harness_expect(*state, "");
    assert_int_equal(timers_count(((Harness *)*state)->port.timers), 0);
}

static void test_a_time_limit_cancels_the_attempt(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":250")) "]", NULL);
    harness_forget(*state);
    harness_advance(*state, 249);
    harness_expect(*state, "");
    harness_advance(*state, 1);
    harness_expect(*state, "cancel a\na FAILED 1 (timed out after 250 ms)\n"
                           "FLOW FAILED (step @a failed: timed out after 250 ms)\n");
}

static void test_an_attempt_within_its_limit_leaves_no_timer(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":250")) "," ECHO("b") "]", NULL);
    assert_int_equal(timers_count(((Harness *)*state)->port.timers), 1);
    harness_advance(*state, 249);
    harness_done(*state, 'a', NULL);
    assert_int_equal(timers_count(((Harness *)*state)->port.timers), 0);
    harness_forget(*state);
    harness_advance(*state, 1000);
    harness_expect(*state, "");
}

static void test_the_largest_limit_does_not_wrap(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":9223372036854775807")) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    Harness *harness = *state;
    timers_fire_due(harness->port.timers, clock_monotonic_ms(harness->clock));
    harness_expect(*state, "");
}

static void test_a_retry_tells_what_failed_when_it_begins(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":2,\"retryDelayMs\":1000")) "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "first");
    assert_next_within(*state, 800, 1200);
    harness_expect(*state, "a RUNNING 2 (first)\n");
    harness_failed(*state, 'a', "second");
    assert_next_within(*state, 1600, 2400);
    harness_expect(*state, "a RUNNING 3 (second)\n");
    harness_failed(*state, 'a', "third");
    harness_expect(*state, "a FAILED 3 (third)\nFLOW FAILED (step @a failed: third)\n");
}

static void test_a_retry_that_succeeds(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":1")) "," ECHO_WITH("b", IN("${@a.k}")) "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_advance(*state, 0);
    harness_expect(*state, "a RUNNING 2 (boom)\n");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 2 {\"k\":\"v\"}\nb RUNNING 1\n");
}

static void test_each_attempt_has_its_own_limit(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":100,\"retryCount\":1,\"retryDelayMs\":1000")) "]",
                  NULL);
    harness_forget(*state);
    harness_advance(*state, 100);
    harness_expect(*state, "cancel a\n");
    assert_next_within(*state, 800, 1200);
    g_autofree char *begun = g_strdup(((Harness *)*state)->trace->str);
    assert_true(g_str_has_prefix(begun, "a RUNNING 2 (timed out after 100 ms)\n"));
    harness_advance(*state, 500);
    assert_true(g_str_has_suffix(((Harness *)*state)->trace->str,
                                 "cancel a\na FAILED 2 (timed out after 100 ms)\n"
                                 "FLOW FAILED (step @a failed: timed out after 100 ms)\n"));
}

static void test_the_delay_doubles_up_to_an_hour(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":100,\"retryDelayMs\":60000")) "]", NULL);
    harness_forget(*state);
    int64_t expected = 60000;
    for (int i = 0; i < 100; i++) {
        harness_failed(*state, 'a', "boom");
        assert_next_within(*state, expected * 8 / 10, expected * 12 / 10);
        harness_forget(*state);
        expected = MIN(expected * 2, RETRY_DELAY_MAX_MS);
    }
}

static void test_a_longer_delay_that_was_asked_for_is_kept(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":9,\"retryDelayMs\":7200000")) "]", NULL);
    harness_forget(*state);
    for (int i = 0; i < 3; i++) {
        harness_failed(*state, 'a', "boom");
        assert_next_within(*state, 7200000 * 8 / 10, 7200000 * 12 / 10);
        harness_forget(*state);
    }
}

static void test_jitter_spreads_the_retries(void **state)
{
    Harness *harness = *state;
    g_autoptr(GString) steps = g_string_new("[");
    for (char step = 'a'; step <= 'o'; step++)
        g_string_append_printf(steps,
                               "%s{\"stepId\":\"@%c\",\"type\":\"ACTION\",\"pluginId\":\"echo\","
                               "\"config\":{\"retryCount\":1,\"retryDelayMs\":100000}}",
                               step > 'a' ? "," : "", step);
    g_string_append_c(steps, ']');
    harness_start(harness, steps->str, NULL);
    for (char step = 'a'; step <= 'o'; step++)
        harness_failed(harness, step, "boom");
    int n_instants = 0;
    int64_t last = -1;
    for (int i = 0; i < 15; i++) {
        int64_t next = timers_next_at(harness->port.timers);
        assert_in_range(next, 80000, 120000);
        n_instants += next != last;
        last = next;
        harness_advance(harness, next - clock_monotonic_ms(harness->clock));
    }
    assert_true(n_instants > 10);
}

static void test_a_waiting_retry_takes_no_room(void **state)
{
    Harness *harness = *state;
    harness->port.max_parallel_steps = 1;
    harness_start(harness, "[" ECHO_WITH("a", CONFIG("\"retryCount\":1,\"retryDelayMs\":1000")) "," ECHO("b") "]",
                  NULL);
    harness_expect(harness, "FLOW RUNNING\na RUNNING 1\n");
    harness_failed(harness, 'a', "boom");
    harness_expect(harness, "b RUNNING 1\n");
    harness_advance(harness, 2000);
    harness_expect(harness, ""); /* due, but there is no room */
    harness_done(harness, 'b', NULL);
    harness_expect(harness, "b COMPLETED 1\na RUNNING 2 (boom)\n");
}

static void test_a_failing_run_does_not_retry(void **state)
{
    harness_start(*state,
                  "[" ECHO("a") "," ECHO_WITH("b", CONFIG("\"retryCount\":5,\"retryDelayMs\":1000")) "," ECHO_WITH(
                      "c", CONFIG("\"retryCount\":5,\"retryDelayMs\":1000")) "]",
                  NULL);
    harness_forget(*state);
    harness_failed(*state, 'b', "waits");
    harness_failed(*state, 'a', "boom");
    harness_failed(*state, 'c', "too");
    harness_expect(*state, "a FAILED 1 (boom)\nc FAILED 1 (too)\nb CANCELLED 1\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_a_retry_asks_its_condition_no_more(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IF("${@a.k} == 1") "," CONFIG("\"retryCount\":1")) "]",
                  NULL);
    harness_forget(*state);
    harness_done(*state, 'a', "{\"k\":1}");
    harness_failed(*state, 'b', "boom");
    harness_advance(*state, 0);
    harness_expect(*state, "a COMPLETED 1 {\"k\":1}\nb RUNNING 1\nb RUNNING 2 (boom)\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_limit_an_attempt_may_take_for_ever),
        TEST(test_a_time_limit_cancels_the_attempt),
        TEST(test_an_attempt_within_its_limit_leaves_no_timer),
        TEST(test_the_largest_limit_does_not_wrap),
        TEST(test_a_retry_tells_what_failed_when_it_begins),
        TEST(test_a_retry_that_succeeds),
        TEST(test_each_attempt_has_its_own_limit),
        TEST(test_the_delay_doubles_up_to_an_hour),
        TEST(test_a_longer_delay_that_was_asked_for_is_kept),
        TEST(test_jitter_spreads_the_retries),
        TEST(test_a_waiting_retry_takes_no_room),
        TEST(test_a_failing_run_does_not_retry),
        TEST(test_a_retry_asks_its_condition_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
