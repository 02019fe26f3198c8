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
    ended_runs_note(ended, &id, generation);
}

static int64_t generation_of(const EndedRuns *ended, char run)
{
    Id id = step_id(run);
    return ended_runs_generation(ended, &id);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_the_highest_generation_counts),
        cmocka_unit_test(test_the_oldest_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
