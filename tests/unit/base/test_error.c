/* test_error.c - which errors are worth a retry. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/error.h"

static bool is_retryable(GQuark domain, int code)
{
    g_autoptr(GError) error = g_error_new_literal(domain, code, "x");
    return flowops_error_is_retryable(error);
}

static void the_domain_is_one(void **state)
{
    (void)state;
    assert_int_not_equal(FLOWOPS_ERROR, 0);
    assert_int_equal(FLOWOPS_ERROR, flowops_error_quark());
}

static void retryable_is_a_property_of_the_code(void **state)
{
    (void)state;
    assert_true(is_retryable(FLOWOPS_ERROR, FLOWOPS_BUSY));
    assert_true(is_retryable(FLOWOPS_ERROR, FLOWOPS_TIMEOUT));
    assert_true(is_retryable(FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE));
    assert_true(is_retryable(FLOWOPS_ERROR, FLOWOPS_UNKNOWN));
    assert_false(is_retryable(FLOWOPS_ERROR, FLOWOPS_INVALID));
    assert_false(is_retryable(FLOWOPS_ERROR, FLOWOPS_NOT_FOUND));
    assert_false(is_retryable(FLOWOPS_ERROR, FLOWOPS_CONFLICT));
    assert_false(is_retryable(FLOWOPS_ERROR, FLOWOPS_INTERNAL));
}

static void no_error_and_foreign_errors_are_not_retryable(void **state)
{
    (void)state;
    assert_false(flowops_error_is_retryable(NULL));
    assert_false(is_retryable(g_quark_from_static_string("someone-else"), FLOWOPS_BUSY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_domain_is_one),
        cmocka_unit_test(retryable_is_a_property_of_the_code),
        cmocka_unit_test(no_error_and_foreign_errors_are_not_retryable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
