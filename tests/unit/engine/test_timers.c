/* test_timers.c - the heap of timers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/timers.h"

#include <glib.h>

static Timers *timers;
static GArray *fired; /* at_ms of those fired */

static int set_up(void **state G_GNUC_UNUSED)
{
    timers = timers_new();
    fired = g_array_new(FALSE, FALSE, sizeof(int64_t));
    return 0;
}

static int tear_down(void **state G_GNUC_UNUSED)
{
    timers_free(timers);
    g_array_free(fired, TRUE);
    return 0;
}

static void note(Timer *timer)
{
    assert_int_equal(timer->place, 0);
    g_array_append_val(fired, timer->at_ms);
}

static void test_none(void **state G_GNUC_UNUSED)
{
    Timer timer = {0};
    assert_int_equal(timers_next_at(timers), INT64_MAX);
    timers_fire_due(timers, INT64_MAX);
    timers_clear(timers, &timer);
    timers_free(NULL);
}

static void test_one_fires_when_due_and_once(void **state G_GNUC_UNUSED)
{
    Timer timer = {0};
    timers_set(timers, &timer, 10, note);
    assert_int_equal(timers_next_at(timers), 10);
    timers_fire_due(timers, 9);
    assert_int_equal(fired->len, 0);
    timers_fire_due(timers, 10);
    timers_fire_due(timers, 100);
    assert_int_equal(fired->len, 1);
    assert_int_equal(timers_count(timers), 0);
}

static void test_setting_again_moves(void **state G_GNUC_UNUSED)
{
    Timer timer = {0}, other = {0};
    timers_set(timers, &timer, 10, note);
    timers_set(timers, &other, 15, note);
    timers_set(timers, &timer, 20, note);
    assert_int_equal(timers_count(timers), 2);
    assert_int_equal(timers_next_at(timers), 15);
    timers_set(timers, &timer, 5, note);
    assert_int_equal(timers_next_at(timers), 5);
    timers_clear(timers, &timer);
    timers_clear(timers, &timer);
    timers_clear(timers, &other);
    assert_int_equal(timers_count(timers), 0);
}

static Timer again;
static void set_again(Timer *timer)
{
    note(timer);
    timers_set(timers, &again, timer->at_ms, set_again);
}

static void test_one_that_sets_itself_does_not_hold_the_thread(void **state G_GNUC_UNUSED)
{
    Timer other = {0};
    timers_set(timers, &again, 10, set_again);
    timers_set(timers, &other, 10, note);
    timers_fire_due(timers, 10);
    assert_int_equal(fired->len, 2);
    timers_fire_due(timers, 10);
    assert_int_equal(fired->len, 3);
    timers_clear(timers, &again);
}

static Timer victim;
static void clear_victim(Timer *timer)
{
    note(timer);
    timers_clear(timers, &victim);
}

static void test_one_may_clear_another_that_is_due(void **state G_GNUC_UNUSED)
{
    Timer timer = {0};
    timers_set(timers, &timer, 1, clear_victim);
    timers_set(timers, &victim, 2, note);
    timers_fire_due(timers, 10);
    assert_int_equal(fired->len, 1);
}

/* Against the obvious: any sequence of setting, moving and clearing fires in order of time. */
static void test_random_sequences_fire_in_order(void **state G_GNUC_UNUSED)
{
    enum { N = 300 };
    GRand *random = g_rand_new_with_seed(7);
    for (int round = 0; round < 50; round++) {
        Timer many[N] = {{0}};
        size_t n_set = 0;
        for (int i = 0; i < 3 * N; i++) {
            Timer *timer = &many[g_rand_int_range(random, 0, N)];
            bool was_set = timer->place > 0;
            if (g_rand_int_range(random, 0, 3) == 0) {
                timers_clear(timers, timer);
                n_set -= was_set ? 1 : 0;
            } else {
                timers_set(timers, timer, g_rand_int_range(random, 0, 100), note);
                n_set += was_set ? 0 : 1;
            }
        }
        assert_int_equal(timers_count(timers), n_set);
        for (int64_t now = 0; now < 100; now += 7)
            timers_fire_due(timers, now);
        timers_fire_due(timers, 100);
        assert_int_equal(fired->len, n_set);
        for (size_t i = 1; i < fired->len; i++)
            assert_true(g_array_index(fired, int64_t, i - 1) <= g_array_index(fired, int64_t, i));
        g_array_set_size(fired, 0);
    }
    g_rand_free(random);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_none),
        TEST(test_one_fires_when_due_and_once),
        TEST(test_setting_again_moves),
        TEST(test_one_that_sets_itself_does_not_hold_the_thread),
        TEST(test_one_may_clear_another_that_is_due),
        TEST(test_random_sequences_fire_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
