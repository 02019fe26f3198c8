/* test_histogram.c - which bucket a value falls into, and adding up what several threads counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/histogram.h"

static const HistogramShape shape = {3, {1, 10, 100}};

static void a_bound_is_included(void **state)
{
    (void)state;
    static const int64_t values[] = {0, 1, 2, 10, 11, 100, 101, INT64_C(1) << 40};
    Histogram histogram = {0};
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        histogram_add(&histogram, &shape, values[i]);
        sum += values[i];
    }
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(histogram.n[i], 2);
    assert_int_equal(histogram.sum, sum);
}

static void what_several_counted_is_added_up(void **state)
{
    (void)state;
    Histogram parts[2] = {0}, total = {0};
    histogram_add(&parts[0], &shape, 5);
    histogram_add(&parts[1], &shape, 5);
    histogram_add(&parts[1], &shape, 500);
    for (size_t i = 0; i < 2; i++)
        histogram_collect(&parts[i], &total);
    assert_int_equal(total.n[0], 0);
    assert_int_equal(total.n[1], 2);
    assert_int_equal(total.n[3], 1);
    assert_int_equal(total.sum, 510);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bound_is_included),
        cmocka_unit_test(what_several_counted_is_added_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
