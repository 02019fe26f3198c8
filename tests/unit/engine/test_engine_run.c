/* test_engine_run.c - order, references, conditions, decisions and failures of one run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "domain/run.h"
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

static void test_no_steps_completes_at_once(void **state)
{
    harness_start(*state, "[]", NULL);
    harness_expect(*state, "FLOW RUNNING\nFLOW COMPLETED\n");
    assert_true(((Harness *)*state)->was_ended);
}

static void test_one_step(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IN("1")) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    assert_string_equal(harness_inputs(*state, 'a'), "{\"x\":\"1\"}");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"v\"}\nFLOW COMPLETED\n");
}

static void test_independent_steps_run_in_parallel(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO("c") "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\nb RUNNING 1\nc RUNNING 1\n");
    harness_done(*state, 'b', NULL);
    harness_done(*state, 'c', NULL);
    harness_expect(*state, "b COMPLETED 1\nc COMPLETED 1\n");
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "a COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_parallel_up_to_the_limit_in_definition_order(void **state)
{
    Harness *harness = *state;
    harness->port.max_parallel_steps = 2;
    harness_start(harness, "[" ECHO("a") "," ECHO("b") "," ECHO("c") "," ECHO("d") "]", NULL);
    harness_expect(harness, "FLOW RUNNING\na RUNNING 1\nb RUNNING 1\n");
    harness_done(harness, 'b', NULL);
    harness_expect(harness, "b COMPLETED 1\nc RUNNING 1\n");
    harness_done(harness, 'a', NULL);
    harness_expect(harness, "a COMPLETED 1\nd RUNNING 1\n");
    harness_done(harness, 'c', NULL);
    harness_done(harness, 'd', NULL);
    harness_expect(harness, "c COMPLETED 1\nd COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_a_reference_is_an_edge_and_a_value(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IN("<${@a.k}>")) "," ECHO_WITH("c", IN("@b.x")) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    harness_done(*state, 'a', "{\"k\":\"v\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"v\"}\nb RUNNING 1\n");
    assert_string_equal(harness_inputs(*state, 'b'), "{\"x\":\"<v>\"}");
    harness_done(*state, 'b', "{\"x\":\"<v>\"}");
    assert_string_equal(harness_inputs(*state, 'c'), "{\"x\":\"<v>\"}");
    harness_done(*state, 'c', NULL);
    harness_expect(*state, "b COMPLETED 1 {\"x\":\"<v>\"}\nc RUNNING 1\nc COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_forward_references_are_fine(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IN("${@c.k}")) "," ECHO_WITH("b", IN("${@a.k}")) "," ECHO("c") "]", NULL);
    harness_expect(*state, "FLOW RUNNING\nc RUNNING 1\n");
    harness_done(*state, 'c', "{\"k\":\"1\"}");
    harness_done(*state, 'a', "{\"k\":\"2\"}");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "c COMPLETED 1 {\"k\":\"1\"}\na RUNNING 1\na COMPLETED 1 {\"k\":\"2\"}\nb RUNNING 1\n"
                           "b COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_values_of_every_type_become_text(void **state)
{
    harness_start(*state,
                  "[" ECHO("a") "," ECHO_WITH("b", "\"inputs\":{\"s\":\"${@a.s}\",\"n\":\"${@a.n}\",\"t\":\"${@a.t}\","
                                                   "\"o\":\"${@a.o}\",\"deep\":\"${@a.o.p.q}\",\"dot\":\"${@a.x.y}\","
                                                   "\"l\":\"${@a.l}\"}") "]",
                  NULL);
    harness_done(*state, 'a',
                 "{\"s\":\"text \\\"q\\\"\",\"n\":1.50,\"t\":true,\"o\":{\"p\":{\"q\":\"in\"}},"
                 "\"x.y\":\"flat\",\"x\":{\"y\":\"walked\"},\"l\":[1,\"2\"]}");
    assert_string_equal(
        harness_inputs(*state, 'b'),
        "{\"s\":\"text \\\"q\\\"\",\"n\":\"1.50\",\"t\":\"true\",\"o\":\"{\\\"p\\\":{\\\"q\\\":\\\"in\\\"}}\","
        "\"deep\":\"in\",\"dot\":\"flat\",\"l\":\"[1,\\\"2\\\"]\"}");
}

static void test_run_inputs_are_seen(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IN("hello ${run.inputs.name}")) "]", "\"inputs\":{\"name\":\"you\"}");
    assert_string_equal(harness_inputs(*state, 'a'), "{\"x\":\"hello you\"}");
}

static void test_a_reference_without_a_value_fails_the_step_without_retries(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.no}") ",\"config\":{\"retryCount\":5}") "]", NULL);
    harness_forget(*state);
    harness_done(*state, 'a', "{\"no\":null}");
    Harness *harness = *state;
    assert_non_null(strstr(harness->trace->str, "b RUNNING 1\nb FAILED 1 (input x: "));
    assert_non_null(strstr(harness->trace->str, "FLOW FAILED (step @b failed: input x: "));
}

static void test_an_input_too_large_fails_the_step(void **state)
{
    g_autofree char *large = g_strnfill(40 * 1024, 'x');
    g_autofree char *outputs = g_strdup_printf("{\"k\":\"%s\"}", large);
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.k}${@a.k}")) "]", NULL);
    harness_done(*state, 'a', outputs);
    assert_non_null(strstr(((Harness *)*state)->trace->str, "b FAILED 1 (input x: "));
}

static void test_inputs_too_large_together_fail_the_step(void **state)
{
    g_autofree char *large = g_strnfill(60 * 1024, 'x');
    g_autofree char *outputs = g_strdup_printf("{\"k\":\"%s\"}", large);
    harness_start(*state,
                  "[" ECHO("a") "," ECHO_WITH("b", "\"inputs\":{\"p\":\"${@a.k}\",\"q\":\"${@a.k}\",\"r\":\"${@a.k}\","
                                                   "\"s\":\"${@a.k}\",\"t\":\"${@a.k}\"}") "]",
                  NULL);
    harness_done(*state, 'a', outputs);
    assert_non_null(strstr(((Harness *)*state)->trace->str,
                           "b FAILED 1 (the step's inputs are larger than 262144 bytes together)"));
}

static void test_children_start_after_their_parent(void **state)
{
    harness_start(
        *state,
        "[" ECHO_WITH("a", "\"children\":[" ECHO_WITH("b", "\"children\":[" ECHO("c") "]") "," ECHO("d") "]") "]",
        NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "a COMPLETED 1\nb RUNNING 1\nd RUNNING 1\n");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "b COMPLETED 1\nc RUNNING 1\n");
}

/* ---- conditions ---- */

static void test_a_condition_that_holds(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IF("${@a.k} == 'yes'")) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    harness_done(*state, 'a', "{\"k\":\"yes\"}");
    harness_expect(*state, "a COMPLETED 1 {\"k\":\"yes\"}\nb RUNNING 1\n");
}

static void test_a_false_condition_skips_what_depends_on_it(void **state)
{
    harness_start(
        *state,
        "[" ECHO_WITH("a", IF("false") ",\"children\":[" ECHO("b") "]") "," ECHO_WITH("c", IN("${@a.k}")) "," ECHO_WITH(
            "d", IN("${@c.k}")) "," ECHO_WITH("e", IF("${@d.k} == null")) "," ECHO("f") "]",
        NULL);
    harness_expect(*state,
                   "FLOW RUNNING\na SKIPPED 1\nb SKIPPED 1\nc SKIPPED 1\nd SKIPPED 1\ne SKIPPED 1\nf RUNNING 1\n");
    harness_done(*state, 'f', NULL);
    harness_expect(*state, "f COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_all_skipped_completes(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IF("1 > 2")) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\na SKIPPED 1\nFLOW COMPLETED\n");
}

static void test_skipped_although_another_dependency_still_runs(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO_WITH("b", IF("false")) "," ECHO_WITH("c", IN("${@a.k}${@b.k}")) "]",
                  NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\nb SKIPPED 1\nc SKIPPED 1\n");
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "a COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_a_condition_that_cannot_be_read_or_evaluated_fails_its_step(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IF("1 ==")) "]", NULL);
    assert_non_null(strstr(((Harness *)*state)->trace->str, "a RUNNING 1\na FAILED 1 (condition: "));

    Harness *second = harness_new(64);
    harness_start(second, "[" ECHO("a") "," ECHO_WITH("b", IF("'x' matches ${@a.k}")) "]", NULL);
    harness_done(second, 'a', "{\"k\":\"(\"}");
    assert_non_null(strstr(second->trace->str, "b RUNNING 1\nb FAILED 1 (condition: "));
    harness_free(second);
}

/* ---- decisions ---- */

static void test_the_first_branch_that_holds_is_taken(void **state)
{
    harness_start(*state,
                  "[" DECISION("d", "",
                               BRANCH("p", IF("false") ",", ECHO("a")) "," BRANCH(
                                   "q", IF("true") ",", ECHO("b")) "," BRANCH("r", "", ECHO("c"))) "]",
                  NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\nd COMPLETED 1 {\"branch\":\"@q\"}\na SKIPPED 1\nc SKIPPED 1\n"
                           "b RUNNING 1\n");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "b COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_no_branch_holds(void **state)
{
    harness_start(*state,
                  "[" DECISION("d", "\"children\":[" ECHO("c") "],",
                               BRANCH("p", IF("false") ",",
                                      ECHO_WITH("a", "\"children\":[" ECHO(
                                                         "b") "]"))) "," ECHO_WITH("e", IF("${@d.branch} == null")) "]",
                  NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\nd COMPLETED 1 {\"branch\":null}\na SKIPPED 1\nb SKIPPED 1\n"
                           "c RUNNING 1\ne RUNNING 1\n");
}

static void test_children_of_a_decision_start_beside_the_branch(void **state)
{
    harness_start(*state, "[" DECISION("d", "\"children\":[" ECHO("a") "],", BRANCH("p", "", ECHO("b"))) "]", NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\nd COMPLETED 1 {\"branch\":\"@p\"}\na RUNNING 1\nb RUNNING 1\n");
}

static void test_a_decision_waits_for_what_its_branches_ask(void **state)
{
    harness_start(
        *state,
        "[" DECISION("d", "",
                     BRANCH("p", IF("${@a.n} > 5") ",", ECHO("b")) "," BRANCH("q", "", ECHO("c"))) "," ECHO("a") "]",
        NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\n");
    harness_done(*state, 'a', "{\"n\":7}");
    harness_expect(*state, "a COMPLETED 1 {\"n\":7}\nd RUNNING 1\nd COMPLETED 1 {\"branch\":\"@p\"}\nc SKIPPED 1\n"
                           "b RUNNING 1\n");
}

static void test_a_decision_with_a_plugin_runs_it_first(void **state)
{
    harness_start(*state,
                  "[" DECISION("d", "\"pluginId\":\"echo\",",
                               BRANCH("p", IF("${@d.k} == 'no'") ",",
                                      ECHO("a")) "," BRANCH("q", IF("${@d.k} == 'yes'") ",", ECHO("b"))) "]",
                  NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\n");
    harness_done(*state, 'd', "{\"branch\":\"mine\",\"k\":\"yes\"}");
    harness_expect(*state, "d COMPLETED 1 {\"k\":\"yes\",\"branch\":\"@q\"}\na SKIPPED 1\nb RUNNING 1\n");
}

static void test_nested_decisions_skip_to_the_leaves(void **state)
{
    harness_start(*state,
                  "[" DECISION("d", "",
                               BRANCH("p", IF("false") ",", DECISION("e", "", BRANCH("q", "", ECHO("a")))) "," BRANCH(
                                   "r", "", DECISION("f", "", BRANCH("s", "", ECHO("b"))))) "]",
                  NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\nd COMPLETED 1 {\"branch\":\"@r\"}\ne SKIPPED 1\na SKIPPED 1\n"
                           "f RUNNING 1\nf COMPLETED 1 {\"branch\":\"@s\"}\nb RUNNING 1\n");
}

static void test_a_reference_into_a_branch_not_taken_skips(void **state)
{
    harness_start(*state,
                  "[" DECISION("d", "", BRANCH("p", "", ECHO("a")) "," BRANCH("q", "", ECHO("b"))) "," ECHO_WITH(
                      "c", IN("${@b.k}")) "]",
                  NULL);
    harness_done(*state, 'a', NULL);
    harness_expect(*state, "FLOW RUNNING\nd RUNNING 1\nd COMPLETED 1 {\"branch\":\"@p\"}\nb SKIPPED 1\nc SKIPPED 1\n"
                           "a RUNNING 1\na COMPLETED 1\nFLOW COMPLETED\n");
}

/* ---- failures ---- */

static void test_a_failed_step_fails_the_run_once_the_others_ended(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO_WITH("c", IN("${@a.k}")) "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', "boom");
    harness_expect(*state, "a FAILED 1 (boom)\n");
    harness_done(*state, 'b', NULL);
    harness_expect(*state, "b COMPLETED 1\nc CANCELLED 1\nFLOW FAILED (step @a failed: boom)\n");
}

static void test_nothing_new_starts_once_a_step_failed(void **state)
{
    Harness *harness = *state;
    harness->port.max_parallel_steps = 2;
    harness_start(harness, "[" ECHO("a") "," ECHO("b") "," ECHO("c") "," ECHO_WITH("d", IN("${@b.k}")) "]", NULL);
    harness_forget(harness);
    harness_failed(harness, 'a', "boom");
    harness_done(harness, 'b', "{\"k\":\"v\"}");
    harness_expect(harness, "a FAILED 1 (boom)\nb COMPLETED 1 {\"k\":\"v\"}\nc CANCELLED 1\nd CANCELLED 1\n"
                            "FLOW FAILED (step @a failed: boom)\n");
}

/* As when the engine ends: what runs may finish, nothing else is said. */
static void test_a_run_that_may_start_nothing_waits(void **state)
{
    Harness *harness = *state;
    harness_start(harness, "[" ECHO("a") "," ECHO_WITH("b", IN("${@a.k}")) "]", NULL);
    harness_forget(harness);
    harness->port.max_parallel_steps = 0;
    harness_done(harness, 'a', "{\"k\":\"v\"}");
    harness_expect(harness, "a COMPLETED 1 {\"k\":\"v\"}\n");
}

static void test_the_first_failure_names_the_runs_error(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'b', "first");
    harness_failed(*state, 'a', "second");
    harness_expect(*state, "b FAILED 1 (first)\na FAILED 1 (second)\nFLOW FAILED (step @b failed: first)\n");
}

static void test_an_unknown_plugin_fails_its_step(void **state)
{
    harness_start(*state, "[{\"stepId\":\"@a\",\"type\":\"ACTION\",\"pluginId\":\"@x\"}]", NULL);
    harness_expect(*state, "FLOW RUNNING\na RUNNING 1\na FAILED 1 (no plugin @x on this engine)\n"
                           "FLOW FAILED (step @a failed: no plugin @x on this engine)\n");
}

static void test_a_long_error_is_cut_at_a_character(void **state)
{
    g_autoptr(GString) error = g_string_new("ab");
    while (error->len < RUN_ERROR_MAX_BYTES * 2)
        g_string_append(error, "\xe2\x82\xac");
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "]", NULL);
    harness_forget(*state);
    harness_failed(*state, 'a', error->str);
    const char *trace = ((Harness *)*state)->trace->str;
    assert_true(strlen(trace) <= RUN_ERROR_MAX_BYTES + strlen("a FAILED 1 ()\n"));
    assert_true(strlen(trace) > RUN_ERROR_MAX_BYTES);
    assert_true(g_utf8_validate(trace, -1, NULL));
}

static void test_a_cycle_ends_instead_of_hanging(void **state)
{
    harness_start(*state, "[" ECHO_WITH("a", IN("${@b.k}")) "," ECHO_WITH("b", IN("${@a.k}")) "," ECHO("c") "]", NULL);
    harness_done(*state, 'c', NULL);
    harness_expect(*state, "FLOW RUNNING\nc RUNNING 1\nc COMPLETED 1\na CANCELLED 1\nb CANCELLED 1\n"
                           "FLOW FAILED (the remaining steps wait for each other)\n");
}

/* ---- outputs ---- */

static void test_outputs_too_large_are_not_kept(void **state)
{
    g_autofree char *large = g_strnfill(STEP_OUTPUTS_MAX_BYTES - 7, 'x');
    g_autofree char *most = g_strdup_printf("{\"k\":\"%.*s\"}", STEP_OUTPUTS_MAX_BYTES - 8, large);
    g_autofree char *too_much = g_strdup_printf("{\"k\":\"%s\"}", large);
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO_WITH("c", IF("${@b.k} == null")) "]", NULL);
    harness_forget(*state);
    harness_done(*state, 'a', most);
    assert_non_null(strstr(((Harness *)*state)->trace->str, "a COMPLETED 1 {\"k\":\"xxx"));
    harness_forget(*state);
    harness_done(*state, 'b', too_much);
    harness_expect(*state, "b COMPLETED 1 (outputs of 65537 bytes were not kept: a step's limit is 65536)\n"
                           "c RUNNING 1\n");
}

static void test_a_runs_outputs_are_bounded_together(void **state)
{
    g_autofree char *large = g_strnfill(STEP_OUTPUTS_MAX_BYTES - 8, 'x');
    g_autofree char *outputs = g_strdup_printf("{\"k\":\"%s\"}", large);
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "," ECHO("c") "," ECHO("d") "," ECHO("e") "," ECHO("f") "]",
                  NULL);
    for (char step = 'a'; step <= 'd'; step++)
        harness_done(*state, step, outputs);
    harness_forget(*state);
    harness_done(*state, 'e', outputs);
    harness_expect(*state, "e COMPLETED 1 (outputs of 65536 bytes were not kept: a run's limit is 262144)\n");
    harness_done(*state, 'f', NULL);
    harness_expect(*state, "f COMPLETED 1\nFLOW COMPLETED\n");
}

static void test_outputs_that_are_no_object_are_not_kept(void **state)
{
    harness_start(*state, "[" ECHO("a") "," ECHO("b") "]", NULL);
    harness_forget(*state);
    harness_done(*state, 'a', "[1]");
    harness_expect(*state, "a COMPLETED 1 (outputs were not kept: array instead of an object)\n");
    harness_done(*state, 'b', "{\"k\":");
    assert_non_null(strstr(((Harness *)*state)->trace->str, "b COMPLETED 1 (outputs were not kept: line 1"));
}

static void test_a_decision_keeps_its_branch_though_its_outputs_are_too_large(void **state)
{
    g_autofree char *large = g_strnfill(STEP_OUTPUTS_MAX_BYTES - 8, 'x');
    g_autofree char *outputs = g_strdup_printf("{\"k\":\"%s\"}", large);
    harness_start(*state, "[" DECISION("d", "\"pluginId\":\"echo\",", BRANCH("p", "", ECHO("a"))) "]", NULL);
    harness_forget(*state);
    harness_done(*state, 'd', outputs);
    assert_non_null(strstr(((Harness *)*state)->trace->str,
                           "bytes were not kept: a step's limit is 65536) {\"branch\":\"@p\"}\n"
                           "a RUNNING 1\n"));
}

/* ---- size ---- */

/* A chain as long as a flow may be, and a fan as wide: neither recurses nor takes long. */
static void test_a_thousand_steps(void **state)
{
    Harness *harness = *state;
    g_autoptr(GString) steps = g_string_new("[");
    for (int i = 0; i < 1000; i++) {
        g_string_append_printf(
            steps, "%s{\"stepId\":\"10000000-0000-4000-8000-%012d\",\"type\":\"ACTION\",\"pluginId\":\"echo\"",
            i > 0 ? "," : "", i);
        if (i == 0)
            g_string_append(steps, ",\"condition\":\"false\"}");
        else
            g_string_append_printf(steps, ",\"inputs\":{\"x\":\"${10000000-0000-4000-8000-%012d.k}\"}}", i - 1);
    }
    g_string_append_c(steps, ']');
    harness_start(harness, steps->str, NULL);
    assert_true(harness->was_ended);
    assert_true(g_str_has_suffix(harness->trace->str, "FLOW COMPLETED\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_steps_completes_at_once),
        TEST(test_one_step),
        TEST(test_independent_steps_run_in_parallel),
        TEST(test_parallel_up_to_the_limit_in_definition_order),
        TEST(test_a_reference_is_an_edge_and_a_value),
        TEST(test_forward_references_are_fine),
        TEST(test_values_of_every_type_become_text),
        TEST(test_run_inputs_are_seen),
        TEST(test_a_reference_without_a_value_fails_the_step_without_retries),
        TEST(test_an_input_too_large_fails_the_step),
        TEST(test_inputs_too_large_together_fail_the_step),
        TEST(test_children_start_after_their_parent),
        TEST(test_a_condition_that_holds),
        TEST(test_a_false_condition_skips_what_depends_on_it),
        TEST(test_all_skipped_completes),
        TEST(test_skipped_although_another_dependency_still_runs),
        TEST(test_a_condition_that_cannot_be_read_or_evaluated_fails_its_step),
        TEST(test_the_first_branch_that_holds_is_taken),
        TEST(test_no_branch_holds),
        TEST(test_children_of_a_decision_start_beside_the_branch),
        TEST(test_a_decision_waits_for_what_its_branches_ask),
        TEST(test_a_decision_with_a_plugin_runs_it_first),
        TEST(test_nested_decisions_skip_to_the_leaves),
        TEST(test_a_reference_into_a_branch_not_taken_skips),
        TEST(test_a_failed_step_fails_the_run_once_the_others_ended),
        TEST(test_nothing_new_starts_once_a_step_failed),
        TEST(test_a_run_that_may_start_nothing_waits),
        TEST(test_the_first_failure_names_the_runs_error),
        TEST(test_an_unknown_plugin_fails_its_step),
        TEST(test_a_long_error_is_cut_at_a_character),
        TEST(test_a_cycle_ends_instead_of_hanging),
        TEST(test_outputs_too_large_are_not_kept),
        TEST(test_a_runs_outputs_are_bounded_together),
        TEST(test_outputs_that_are_no_object_are_not_kept),
        TEST(test_a_decision_keeps_its_branch_though_its_outputs_are_too_large),
        TEST(test_a_thousand_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
