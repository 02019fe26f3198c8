/* The envelopes, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/envelope.h"

#define AT 1769850000123 /* 2026-01-31T09:00:00.123Z */
#define META "\"metadata\":{\"timestamp\":\"2026-01-31T09:00:00.123Z\",\"success\":"

static void test_success(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    envelope_write(out, "{\"a\":1}", 7, AT, "r-1", NULL);
    assert_string_equal(out->str, "{\"data\":{\"a\":1}," META "true,\"requestId\":\"r-1\"}}");
}

static void test_success_without_payload(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new("before ");
    envelope_write(out, NULL, 0, AT, "r", NULL);
    assert_string_equal(out->str, "before {\"data\":null," META "true,\"requestId\":\"r\"}}");
}

static void test_request_id_is_escaped(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    envelope_write(out, "1", 1, AT, "a\"b\\", NULL);
    assert_string_equal(out->str, "{\"data\":1," META "true,\"requestId\":\"a\\\"b\\\\\"}}");
}

static void test_list_by_page(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    EnvelopePaging paging = {.has_page = true, .page = 2, .total = 120, .page_size = 50, .next_cursor = "abc"};
    envelope_write(out, "[]", 2, AT, "r", &paging);
    assert_string_equal(out->str, "{\"data\":[]," META "true,\"requestId\":\"r\",\"totalCount\":120,\"pageSize\":50,"
                                  "\"currentPage\":2,\"additional\":{\"nextCursor\":\"abc\"}}}");
}

static void test_list_by_cursor_at_its_end(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    EnvelopePaging paging = {.page_size = 10};
    envelope_write(out, "[]", 2, AT, "r", &paging);
    assert_string_equal(out->str, "{\"data\":[]," META "true,\"requestId\":\"r\",\"pageSize\":10}}");
}

static void test_error(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    EnvelopeError error = {.code = "NOT_FOUND", .message = "no run \"x\""};
    envelope_write_error(out, &error, AT, "r");
    assert_string_equal(out->str, "{\"errors\":[{\"code\":\"NOT_FOUND\",\"message\":\"no run \\\"x\\\"\"}]," META
                                  "false,\"requestId\":\"r\"}}");
}

static void test_error_with_everything(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    EnvelopeError error = {"UNAVAILABLE", "later", "a.b", "[1]", "unknown"};
    envelope_write_error(out, &error, AT, "r");
    assert_string_equal(out->str, "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"later\",\"field\":\"a.b\","
                                  "\"rejectedValue\":[1]}]," META
                                  "false,\"requestId\":\"r\",\"additional\":{\"outcome\":\"unknown\"}}}");
}

static void test_faults_all_at_once(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(Faults) faults = faults_new();
    faults_add_text(faults, "name", "", "must not be blank");
    faults_add(faults, NULL, NULL, "and this");
    envelope_write_faults(out, faults, AT, "r");
    assert_string_equal(out->str, "{\"errors\":[{\"code\":\"VALIDATION_ERROR\",\"message\":\"must not be blank\","
                                  "\"field\":\"name\",\"rejectedValue\":\"\"},{\"code\":\"VALIDATION_ERROR\","
                                  "\"message\":\"and this\"}]," META "false,\"requestId\":\"r\"}}");
}

static void test_codes(void **state)
{
    (void)state;
    assert_string_equal(envelope_code_of_status(405), "METHOD_NOT_ALLOWED");
    assert_string_equal(envelope_code_of_status(413), "TOO_LARGE");
    assert_string_equal(envelope_code_of_status(431), "HEADERS_TOO_LARGE");
    assert_string_equal(envelope_code_of_status(418), "INVALID_REQUEST");
    assert_string_equal(envelope_code_of_status(599), "INTERNAL_ERROR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_success_without_payload),
        cmocka_unit_test(test_request_id_is_escaped),
        cmocka_unit_test(test_list_by_page),
        cmocka_unit_test(test_list_by_cursor_at_its_end),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_error_with_everything),
        cmocka_unit_test(test_faults_all_at_once),
        cmocka_unit_test(test_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
