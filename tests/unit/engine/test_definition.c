/* test_definition.c - step trees laid out, their edges, and which of them are shared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/definition.h"
#include "run_harness.h"
#include "run_macros.h"

static Definitions *definitions;

static int set_up(void **state G_GNUC_UNUSED)
{
    definitions = definitions_new();
    return 0;
}

static int tear_down(void **state G_GNUC_UNUSED)
{
    definitions_free(definitions);
    return 0;
}

static Definition *take(const char *json)
{
    g_autofree char *text = expand_ids(json);
    g_autoptr(JsonValue) array = NULL;
    Step **steps = NULL;
    size_t n_steps = 0;
    assert_true(json_parse(text, strlen(text), 200, &array, NULL));
    assert_true(steps_decode(array, &steps, &n_steps, NULL));
    return definitions_take(definitions, steps, n_steps);
}

static void assert_indexes(const GArray *indexes, const char *expected)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (size_t i = 0; i < indexes->len; i++)
        g_string_append_printf(text, "%s%zu", i > 0 ? " " : "", g_array_index(indexes, size_t, i));
    assert_string_equal(text->str, expected);
}

static void test_empty(void **state G_GNUC_UNUSED)
{
    Definition *definition = take("[]");
    assert_int_equal(definition->n_steps, 0);
    assert_null(definition->fault);
    definitions_release(definitions, definition);
    definitions_release(definitions, NULL);
}

static void test_the_order_is_the_contracts(void **state G_GNUC_UNUSED)
{
    Definition *definition =
        take("[" DECISION("a", "\"children\":[" ECHO("b") "],",
                          BRANCH("p", "", ECHO("c") "," ECHO("d")) "," BRANCH("q", "", ECHO("e"))) "," ECHO("f") "]");
    assert_int_equal(definition->n_steps, 6);
    for (char step = 'a'; step <= 'f'; step++)
        assert_int_equal(definition_find(definition, step_id(step).text), step - 'a');
    assert_int_equal(definition_find(definition, step_id('p').text), NO_INDEX);
    assert_indexes(definition->plans[0].owned, "1 2 3 4");
    assert_int_equal(definition->plans[0].parent, NO_INDEX);
    assert_int_equal(definition->plans[1].branch, NO_INDEX);
    assert_int_equal(definition->plans[3].branch, 0);
    assert_int_equal(definition->plans[4].branch, 1);
    assert_int_equal(definition->plans[5].parent, NO_INDEX);
    definitions_release(definitions, definition);
}

static void test_edges_are_found_everywhere_and_once(void **state G_GNUC_UNUSED)
{
    Definition *definition = take("[" ECHO("a") "," ECHO("b") "," ECHO("c") "," DECISION(
        "d", "\"pluginId\":\"echo\"," IN("${@a.x} ${@a.y} ${@x.no} ${run.inputs.z}") "," IF("${@b.k} == 1") ",",
        BRANCH("p", IF("${@c.k} == 1 && ${@d.own} == 2") ",", ECHO("e"))) "]");
    assert_indexes(definition->plans[3].waits_for, "0 1 2");
    assert_indexes(definition->plans[0].waiters, "3");
    assert_indexes(definition->plans[3].waiters, "");
    definitions_release(definitions, definition);
}

static void test_faults_are_kept_with_their_step(void **state G_GNUC_UNUSED)
{
    Definition *definition = take("[" ECHO_WITH("a", IN("${nope")) "," ECHO_WITH("b", IF("1 +")) "," DECISION(
        "c", "", BRANCH("p", IF("((") ",", "")) ","
                                                "{\"stepId\":\"@d\",\"type\":\"ACTION\"},"
                                                "{\"stepId\":\"@e\",\"type\":\"ACTION\",\"pluginId\":\"@x\"}]");
    assert_null(definition->fault);
    assert_true(g_str_has_prefix(definition->plans[0].fault, "input x: column 1"));
    assert_true(g_str_has_prefix(definition->plans[1].fault, "condition: column "));
    assert_true(g_str_has_prefix(definition->plans[2].fault, "condition of a branch: column "));
    assert_string_equal(definition->plans[3].fault, "the step names no plugin");
    g_autofree char *expected = expand_ids("no plugin @x on this engine");
    assert_string_equal(definition->plans[4].fault, expected);
    definitions_release(definitions, definition);
}

static void test_equal_trees_are_shared(void **state G_GNUC_UNUSED)
{
    const char *tree = "[" ECHO_WITH("a", IN("1") "," CONFIG("\"retryCount\":1")) "," DECISION(
        "d", "", BRANCH("p", IF("true") ",", ECHO("e"))) "]";
    Definition *first = take(tree);
    Definition *second = take(tree);
    assert_ptr_equal(first, second);
    assert_int_equal(definitions_count(definitions), 1);
    definitions_release(definitions, first);
    assert_int_equal(second->n_steps, 3);
    definitions_release(definitions, second);
    assert_int_equal(definitions_count(definitions), 0);
}

static void test_trees_that_differ_anywhere_are_not(void **state G_GNUC_UNUSED)
{
    const char *const trees[] = {
        "[]",
        "[" ECHO("a") "]",
        "[" ECHO("b") "]",
        "[" ECHO("a") "," ECHO("b") "]",
        "[" ECHO_WITH("a", "\"children\":[" ECHO("b") "]") "]",
        "[{\"stepId\":\"@a\",\"type\":\"ACTION\",\"pluginId\":\"fail\"}]",
        "[{\"stepId\":\"@a\",\"type\":\"DECISION\",\"pluginId\":\"echo\"}]",
        "[" ECHO_WITH("a", IN("1")) "]",
        "[" ECHO_WITH("a", IN("2")) "]",
        "[" ECHO_WITH("a", "\"inputs\":{\"y\":\"1\"}") "]",
        "[" ECHO_WITH("a", IF("true")) "]",
        "[" ECHO_WITH("a", IF("false")) "]",
        "[" ECHO_WITH("a", CONFIG("\"timeoutMs\":1")) "]",
        "[" ECHO_WITH("a", CONFIG("\"retryCount\":1")) "]",
        "[" ECHO_WITH("a", CONFIG("\"retryDelayMs\":1")) "]",
        "[" DECISION("a", "", BRANCH("p", "", ECHO("b"))) "]",
        "[" DECISION("a", "", BRANCH("q", "", ECHO("b"))) "]",
        "[" DECISION("a", "", BRANCH("p", IF("true") ",", ECHO("b"))) "]",
        "[" DECISION("a", "", BRANCH("p", "", ECHO("c"))) "]",
    };
    Definition *taken[G_N_ELEMENTS(trees)];
    for (size_t i = 0; i < G_N_ELEMENTS(trees); i++)
        taken[i] = take(trees[i]);
    assert_int_equal(definitions_count(definitions), G_N_ELEMENTS(trees));
    for (size_t i = 0; i < G_N_ELEMENTS(trees); i++)
        definitions_release(definitions, taken[i]);
}

/* The decoder may refuse it; if it lets it through, the run fails instead of mixing the two up. */
static void test_an_id_that_is_there_twice_is_a_fault_of_the_whole(void **state G_GNUC_UNUSED)
{
    Definition *definition = take("[" ECHO("a") "," ECHO_WITH("b", "\"children\":[" ECHO("a") "]") "]");
    g_autofree char *expected = expand_ids("step @a is there twice");
    assert_string_equal(definition->fault, expected);
    definitions_release(definitions, definition);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_the_order_is_the_contracts),
        TEST(test_edges_are_found_everywhere_and_once),
        TEST(test_faults_are_kept_with_their_step),
        TEST(test_equal_trees_are_shared),
        TEST(test_trees_that_differ_anywhere_are_not),
        TEST(test_an_id_that_is_there_twice_is_a_fault_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
