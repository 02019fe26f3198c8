/* test_engine_run_handover.c - a run that goes on from what another engine had done of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "run_harness.h"
#include "run_macros.h"

#define PROGRESS(items) "\"generation\":2,\"progress\":[" items "]"
#define STEP(id, status, attempt, more) \
    "{\"stepId\":\"@" id "\",\"status\":\"" status "\",\"attempt\":" #attempt more "}"
#define OUT(json) ",\"outputs\":" json
#define CHAIN "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.k}")) "," ECHO_WITH("c", IN("${@b.k}")) "]"

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

static void test_nothing_was_done_yet(void **state)
{
    harness_start(*state, CHAIN, "\"generation\":7");
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n"); /* every status is checked to carry the generation */
}

static void test_finished_steps_are_not_run_again(void **state)
{
    harness_start(*state, CHAIN, PROGRESS(STEP("a", "COMPLETED", 1, OUT("{\"k\":\"kept\"}"))));
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
    assert_string_equal(harness_inputs(*state, 'b'), "{\"x\":\"kept\"}");
}

static void test_a_running_step_starts_again_as_the_next_attempt(void **state)
{
    harness_start(*state, "[" ECHO("a") "]", PROGRESS(STEP("a", "RUNNING", 1, "")));
    harness_expect(*state, "FLOW RUNNING\na RUNNING 2\n");
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "a COMPLETED 2\nFLOW COMPLETED\n");
}

static void test_an_attempt_cut_short_uses_up_no_retry(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":1")) "]", PROGRESS(STEP("a", "RUNNING", 1, "")));
    harness_failed(*state, 'a', "boom");
    harness_advance(*state, 0);
    harness_failed(*state, 'a', "again");
    harness_expect(*state, "FLOW RUNNING\na RUNNING 2\na RUNNING 3 (boom)\na FAILED 3 (again)\n"
                           "FLOW FAILED (step @a failed: again)\n");
}

/* Its condition held when it began; it is not asked again over outputs that may not have come along. */
static void test_a_step_that_was_begun_is_not_skipped(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IF("${@a.k} == 1")) "]",
                  PROGRESS(STEP("a", "COMPLETED", 1, "") "," STEP("b", "RUNNING", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 2\n");
}

static void test_failures_before_it_do_use_up_retries(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":2")) "]", PROGRESS(STEP("a", "RUNNING", 3, "")));
    harness_failed(*state, 'a', "boom");
    harness_expect(*state, "FLOW RUNNING\na RUNNING 4\na FAILED 4 (boom)\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_a_failed_step_with_attempts_left_goes_on(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", CONFIG("\"retryCount\":2")) "]", PROGRESS(STEP("a", "FAILED", 2, "")));
    harness_expect(*state, "FLOW RUNNING\na RUNNING 3\n");
    harness_failed(*state, 'a', "boom");
    harness_expect(*state, "a FAILED 3 (boom)\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_a_failed_step_without_attempts_left_fails_the_run(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO_WITH("c", IN("${@b.k}")) "]",
                  PROGRESS(STEP("a", "FAILED", 1, "") "," STEP("b", "RUNNING", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb CANCELLED 1\nc CANCELLED 1\nFLOW FAILED (step @a failed)\n");
}

static void test_skipped_steps_skip_what_was_not_told(void **state)
{
    harness_start(*state, CHAIN, PROGRESS(STEP("a", "SKIPPED", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb SKIPPED 1\nc SKIPPED 1\nFLOW COMPLETED\n");
}

static void test_attempts_that_were_lost_use_up_no_retry(void **state)
{
    Harness *harness = *state;
    harness_start(harness, "[" ECHO_WITH("a", CONFIG("\"retryCount\":1,\"retryDelayMs\":0")) "]",
                  PROGRESS(STEP("a", "RUNNING", 2, ",\"failures\":0")));
    harness_forget(harness);
    harness_failed(harness, 'a', "boom");
    harness_advance(harness, 10);
    harness_expect(harness, "a RUNNING 4 (boom)\n");
    harness_failed(harness, 'a', "again");
    harness_expect(harness, "a FAILED 4 (again)\nFLOW FAILED (step @a failed: again)\n");
}

static void test_a_stop_that_was_cut_short_is_finished(void **state)
{
    harness_start(*state, CHAIN, PROGRESS(STEP("a", "CANCELLED", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb CANCELLED 1\nc CANCELLED 1\nFLOW STOPPED\n");
}

static void test_all_was_done_but_the_last_word(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "]",
                  PROGRESS(STEP("a", "COMPLETED", 1, "") "," STEP("b", "SKIPPED", 0, "")));
    harness_expect(*state, "FLOW RUNNING\nFLOW COMPLETED\n");
}

static void test_a_paused_run_stays_paused(void **state)
{
    harness_start(*state, CHAIN,
                  "\"desired\":\"PAUSED\"," PROGRESS(STEP("a", "COMPLETED", 1, OUT("{\"k\":\"kept\"}"))));
    harness_expect(*state, "FLOW PAUSED\n");
    harness_advance(*state, 100000);
    harness_expect(*state, "");
    harness_command(*state, COMMAND_RESUME, 2);
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
}

static void test_a_paused_run_with_a_step_cut_short(void **state)
{
    harness_start(*state, CHAIN, "\"desired\":\"PAUSED\"," PROGRESS(STEP("a", "RUNNING", 1, "")));
    harness_expect(*state, "FLOW PAUSED\n");
    harness_command(*state, COMMAND_STOP, 2);
    harness_expect(*state, "a CANCELLED 1\nb CANCELLED 1\nc CANCELLED 1\nFLOW STOPPED\n");
}

/* ---- decisions ---- */

#define FORK \
    "[" DECISION("d", "", BRANCH("p", IF("${run.inputs.way} == 'p'") ",", ECHO("a")) "," BRANCH("q", "", ECHO("b"))) "]"

static void test_the_branch_taken_is_read_from_the_outputs(void **state)
{
    harness_start(*state, FORK, PROGRESS(STEP("d", "COMPLETED", 1, OUT("{\"branch\":\"@p\"}"))));
    harness_expect(*state, "FLOW RUNNING\nb SKIPPED 1\na RUNNING 1\n");
}

static void test_without_outputs_a_begun_step_tells_the_branch(void **state)
{
    harness_start(*state, FORK, PROGRESS(STEP("d", "COMPLETED", 1, "") "," STEP("a", "RUNNING", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb SKIPPED 1\na RUNNING 2\n");
}

static void test_without_either_the_conditions_are_asked_again(void **state)
{
    harness_start(*state, FORK, PROGRESS(STEP("d", "COMPLETED", 1, "")) ",\"inputs\":{\"way\":\"p\"}");
    harness_expect(*state, "FLOW RUNNING\nb SKIPPED 1\na RUNNING 1\n");
}

static void test_skips_that_were_told_are_not_told_again(void **state)
{
    harness_start(*state, FORK,
                  PROGRESS(STEP("d", "COMPLETED", 1, OUT("{\"branch\":\"@q\"}")) "," STEP("a", "SKIPPED", 1, "")));
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
}

static void test_children_of_a_finished_parent(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", "\"children\":[" ECHO("b") "]") "]",
                  PROGRESS(STEP("a", "COMPLETED", 3, "")));
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
}

/* ---- progress that is not as it should be ---- */

static void test_odd_progress_is_survived(void **state)
{
    harness_start(*state, CHAIN,
                  PROGRESS(STEP("x", "COMPLETED", 1, "") "," STEP("a", "COMPLETED", 1, OUT("{\"k\":\"1\"}")) "," STEP(
                      "a", "RUNNING", 9, "") "," STEP("b", "PENDING", 4, "") "," STEP("c", "COMPLETED",
                                                                                      9223372036854775807, "")));
    harness_expect(*state, "FLOW RUNNING\nb RUNNING 1\n");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "b COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_the_highest_attempt_does_not_overflow(void **state)
{
    harness_start(*state, "[" ECHO("a") "]", PROGRESS(STEP("a", "RUNNING", 9223372036854775807, "")));
    harness_expect(*state, "FLOW RUNNING\na RUNNING 900000001\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_was_done_yet),
        TEST(test_finished_steps_are_not_run_again),
        TEST(test_a_running_step_starts_again_as_the_next_attempt),
        TEST(test_an_attempt_cut_short_uses_up_no_retry),
        TEST(test_a_step_that_was_begun_is_not_skipped),
        TEST(test_failures_before_it_do_use_up_retries),
        TEST(test_a_failed_step_with_attempts_left_goes_on),
        TEST(test_a_failed_step_without_attempts_left_fails_the_run),
        TEST(test_skipped_steps_skip_what_was_not_told),
        TEST(test_attempts_that_were_lost_use_up_no_retry),
        TEST(test_a_stop_that_was_cut_short_is_finished),
        TEST(test_all_was_done_but_the_last_word),
        TEST(test_a_paused_run_stays_paused),
        TEST(test_a_paused_run_with_a_step_cut_short),
        TEST(test_the_branch_taken_is_read_from_the_outputs),
        TEST(test_without_outputs_a_begun_step_tells_the_branch),
        TEST(test_without_either_the_conditions_are_asked_again),
        TEST(test_skips_that_were_told_are_not_told_again),
        TEST(test_children_of_a_finished_parent),
        TEST(test_odd_progress_is_survived),
        TEST(test_the_highest_attempt_does_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
