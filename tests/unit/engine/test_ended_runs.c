/* test_ended_runs.c - which ended runs are remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/ended_runs.h"
#include "run_harness.h"

static void note(EndedRuns *ended, char run, int64_t generation)
{
    Id id = step_id(run);
    ended_runs_note(ended, &id, generation, 1000 * generation);
}

/* The highest generation whose START is a repeat. */
static int64_t generation_of(const EndedRuns *ended, char run)
{
    Id id = step_id(run);
    int64_t generation = 0;
    while (ended_runs_has(ended, &id, generation + 1, 1000))
        generation++;
    return generation;
}

static void test_none(void **state G_GNUC_UNUSED)
{
    EndedRuns *ended = ended_runs_new(2);
    assert_int_equal(generation_of(ended, 'a'), 0);
    ended_runs_free(ended);
    ended_runs_free(NULL);
}

static void test_the_highest_generation_counts(void **state G_GNUC_UNUSED)
{
    EndedRuns *ended = ended_runs_new(2);
    note(ended, 'a', 2);
    note(ended, 'a', 3);
    note(ended, 'a', 1);
    assert_int_equal(generation_of(ended, 'a'), 3);
    assert_int_equal(ended_runs_count(ended), 1);
    ended_runs_free(ended);
}

static void test_the_oldest_is_forgotten(void **state G_GNUC_UNUSED)
{
    EndedRuns *ended = ended_runs_new(3);
    for (char run = 'a'; run <= 'z'; run++)
        note(ended, run, 1);
    assert_int_equal(ended_runs_count(ended), 3);
    assert_int_equal(generation_of(ended, 'w'), 0);
    assert_int_equal(generation_of(ended, 'x'), 1);
    assert_int_equal(generation_of(ended, 'z'), 1);
    ended_runs_free(ended);
}

/* Its run was deleted, and begins anew. */
static void test_a_newer_start_is_no_repeat(void **state G_GNUC_UNUSED)
{
    EndedRuns *ended = ended_runs_new(3);
    Id id = step_id('a');
    note(ended, 'a', 3);
    note(ended, 'a', 1); /* a late end of an earlier generation */
    assert_true(ended_runs_has(ended, &id, 1, 3000));
    assert_false(ended_runs_has(ended, &id, 1, 3001));
    assert_false(ended_runs_has(ended, &id, 4, 1000));
    ended_runs_note(ended, &id, 1, 9000);
    assert_true(ended_runs_has(ended, &id, 1, 9000));
    assert_false(ended_runs_has(ended, &id, 1, 9001));
    ended_runs_free(ended);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_the_highest_generation_counts),
        cmocka_unit_test(test_the_oldest_is_forgotten),
        cmocka_unit_test(test_a_newer_start_is_no_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
