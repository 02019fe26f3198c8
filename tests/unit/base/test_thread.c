/* test_thread.c - names, roles, signal masks, the bell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/thread.h"

#define DEADLINE_MS 20000 /* what should happen at once; reached only when it never does */

typedef struct {
    ThreadRole role;
    char name[16];
    bool is_term_blocked, is_int_blocked, is_segv_blocked;
} Seen;

static void look_around(void *arg)
{
    Seen *seen = arg;
    seen->role = thread_role();
    pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen->is_term_blocked = sigismember(&mask, SIGTERM) == 1;
    seen->is_int_blocked = sigismember(&mask, SIGINT) == 1;
    seen->is_segv_blocked = sigismember(&mask, SIGSEGV) == 1;
}

static void a_thread_has_name_role_and_no_signals(void **state)
{
    (void)state;
    Seen seen = {0};
    g_autoptr(GError) error = NULL;
    Thread *thread = thread_start("fifteen-chars-x", ROLE_WRITER, look_around, &seen, &error);
    assert_non_null(thread);
    assert_null(error);
    thread_join(thread);
    assert_int_equal(seen.role, ROLE_WRITER);
    assert_string_equal(seen.name, "fifteen-chars-x");
    assert_true(seen.is_term_blocked && seen.is_int_blocked);
    assert_false(seen.is_segv_blocked); /* a fault of its own cannot wait */
}

static void the_starter_keeps_role_and_signals(void **state)
{
    (void)state;
    Seen seen = {0};
    Thread *thread = thread_start("x", ROLE_LOOP, look_around, &seen, NULL);
    assert_non_null(thread);
    thread_join(thread);
    assert_int_equal(thread_role(), ROLE_MAIN);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

static void joining_no_thread_is_fine(void **state)
{
    (void)state;
    thread_join(NULL);
}

static int64_t monotonic_ms(void)
{
    g_autoptr(Clock) clock = clock_new_system();
    return clock_monotonic_ms(clock);
}

static void a_ring_before_the_wait_is_remembered_once(void **state)
{
    (void)state;
    Bell bell;
    bell_init(&bell);
    bell_ring(&bell);
    bell_ring(&bell);
    int64_t start = monotonic_ms();
    assert_true(bell_wait(&bell, DEADLINE_MS));
    assert_true(monotonic_ms() - start < DEADLINE_MS / 2);
    start = monotonic_ms();
    assert_true(bell_wait(&bell, 30)); /* forgotten: this one waits its time out */
    assert_true(monotonic_ms() - start >= 29);
    bell_done(&bell);
}

static void waiting_no_time_takes_none(void **state)
{
    (void)state;
    Bell bell;
    bell_init(&bell);
    assert_true(bell_wait(&bell, 0));
    bell_ring(&bell);
    assert_true(bell_wait(&bell, 0));
    bell_close(&bell);
    assert_false(bell_wait(&bell, 0));
    bell_done(&bell);
}

static void a_closed_bell_stays_closed(void **state)
{
    (void)state;
    Bell bell;
    bell_init(&bell);
    bell_close(&bell);
    bell_close(&bell);
    assert_false(bell_wait(&bell, -1));
    bell_ring(&bell);
    assert_false(bell_wait(&bell, -1));
    bell_done(&bell);
}

typedef struct {
    Bell ball, racket;
    int n_volleys; /* written by the one whose bell just rang */
} Game;

static void return_volleys(void *arg)
{
    Game *game = arg;
    while (bell_wait(&game->ball, -1)) {
        game->n_volleys++;
        bell_ring(&game->racket);
    }
}

static void a_ring_wakes_the_waiter_and_a_close_ends_it(void **state)
{
    (void)state;
    Game game = {0};
    bell_init(&game.ball);
    bell_init(&game.racket);
    Thread *thread = thread_start("volleys", ROLE_BUS, return_volleys, &game, NULL);
    assert_non_null(thread);
    for (int i = 0; i < 2000; i++) {
        bell_ring(&game.ball);
        assert_true(bell_wait(&game.racket, -1));
        assert_int_equal(game.n_volleys, i + 1);
    }
    bell_close(&game.ball);
    thread_join(thread);
    bell_done(&game.ball);
    bell_done(&game.racket);
}

typedef struct {
    Mutex mu;
    int64_t sum; /* guarded by mu */
} Sum;

static void add_many(void *arg)
{
    Sum *sum = arg;
    for (int i = 0; i < 20000; i++) {
        MUTEX_SCOPE(&sum->mu);
        sum->sum++;
    }
}

static void a_scope_holds_its_mutex(void **state)
{
    (void)state;
    Sum sum = {.sum = 0};
    mutex_init(&sum.mu);
    Thread *threads[3];
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++) {
        threads[i] = thread_start("adder", ROLE_READER, add_many, &sum, NULL);
        assert_non_null(threads[i]);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        thread_join(threads[i]);
    assert_int_equal(sum.sum, 60000);
    mutex_done(&sum.mu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_name_role_and_no_signals),
        cmocka_unit_test(the_starter_keeps_role_and_signals),
        cmocka_unit_test(joining_no_thread_is_fine),
        cmocka_unit_test(a_ring_before_the_wait_is_remembered_once),
        cmocka_unit_test(waiting_no_time_takes_none),
        cmocka_unit_test(a_closed_bell_stays_closed),
        cmocka_unit_test(a_ring_wakes_the_waiter_and_a_close_ends_it),
        cmocka_unit_test(a_scope_holds_its_mutex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
