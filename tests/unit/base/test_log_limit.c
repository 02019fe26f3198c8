/* test_log_limit.c - windows of repeated log lines, on a clock that the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <glib.h>

#include "base/log_limit.h"

enum { WARNING = 2, ERROR = 3 };

static LogLimit limit;
static int64_t now_ms, n_repeated;

static int setup(void **state)
{
    (void)state;
    limit = (LogLimit){0};
    now_ms = 1000000;
    n_repeated = -1;
    return 0;
}

static bool take(const char *message, uint64_t line)
{
    return log_limit_take(&limit, WARNING, message, line, now_ms, &n_repeated);
}

static void a_first_line_is_written(void **state)
{
    (void)state;
    assert_true(take("a", 1));
    assert_int_equal(n_repeated, 0);
}

static void the_same_line_is_written_once_in_a_window(void **state)
{
    (void)state;
    assert_true(take("a", 1));
    assert_false(take("a", 1));
    now_ms += LOG_WINDOW_MS - 1;
    assert_false(take("a", 1));
    now_ms += 1;
    assert_true(take("a", 1));
    assert_int_equal(n_repeated, 2);
    assert_false(take("a", 1));
}

static void another_message_level_or_value_is_another_line(void **state)
{
    (void)state;
    assert_true(take("a", 1));
    assert_true(take("b", 1));
    assert_true(take("a", 2));
    assert_true(log_limit_take(&limit, ERROR, "a", 1, now_ms, &n_repeated));
}

static void different_lines_of_a_message_have_a_limit(void **state)
{
    (void)state;
    for (uint64_t line = 0; line < LOG_WINDOW_LINES; line++)
        assert_true(take("a", line));
    for (uint64_t line = 0; line < 1000; line++)
        assert_false(take("a", 1000 + line));
    assert_true(take("b", 1));
    now_ms += LOG_WINDOW_MS;
    assert_true(take("a", 5000));
    assert_int_equal(n_repeated, 1000);
    assert_true(take("a", 5001));
    assert_int_equal(n_repeated, 0);
}

static void what_is_not_said_again_is_told_of_after_its_window(void **state)
{
    (void)state;
    int level;
    const char *message;
    assert_true(take("a", 1));
    assert_false(take("a", 1));
    assert_true(take("b", 1));
    assert_false(log_limit_take_silent(&limit, now_ms, &level, &message, &n_repeated));
    now_ms += LOG_WINDOW_MS;
    assert_true(log_limit_take_silent(&limit, now_ms, &level, &message, &n_repeated));
    assert_int_equal(level, WARNING);
    assert_string_equal(message, "a");
    assert_int_equal(n_repeated, 1);
    assert_false(log_limit_take_silent(&limit, now_ms, &level, &message, &n_repeated));
    assert_true(take("a", 1));
    assert_int_equal(n_repeated, 0);
}

/* The newest messages stay known; those that were given up begin anew. */
static void more_messages_than_are_remembered(void **state)
{
    (void)state;
    static char names[LOG_LIMIT_MESSAGES + 1][8];
    int level;
    const char *message;
    for (size_t i = 0; i <= LOG_LIMIT_MESSAGES; i++, now_ms++) {
        g_snprintf(names[i], sizeof names[i], "m%zu", i);
        assert_true(take(names[i], 1));
        assert_false(take(names[i], 1));
    }
    assert_false(take(names[LOG_LIMIT_MESSAGES], 1));
    assert_true(take(names[0], 1));
    now_ms += LOG_WINDOW_MS;
    size_t n_told = 0;
    while (log_limit_take_silent(&limit, now_ms, &level, &message, &n_repeated))
        n_told++;
    assert_int_equal(n_told, LOG_LIMIT_MESSAGES - 1);
    assert_int_equal(limit.n_silent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_first_line_is_written, setup),
        cmocka_unit_test_setup(the_same_line_is_written_once_in_a_window, setup),
        cmocka_unit_test_setup(another_message_level_or_value_is_another_line, setup),
        cmocka_unit_test_setup(different_lines_of_a_message_have_a_limit, setup),
        cmocka_unit_test_setup(what_is_not_said_again_is_told_of_after_its_window, setup),
        cmocka_unit_test_setup(more_messages_than_are_remembered, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
