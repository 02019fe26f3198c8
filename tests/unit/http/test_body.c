/* Content types and digests of bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/body.h"

static void test_content_types(void **state)
{
    (void)state;
    static const char *const good[] = {"application/json",
                                       "Application/JSON",
                                       " application/json ",
                                       "application/json;charset=utf-8",
                                       "application/json; charset=UTF-8",
                                       "application/json ; Charset=\"utf-8\" ; x=y",
                                       "application/json;",
                                       "application/json; profile=a"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        if (!content_type_is_json(good[i]))
            fail_msg("%s was refused", good[i]);
    static const char *const bad[] = {"",
                                      "text/plain",
                                      "application/jsonp",
                                      "application/json-patch+json",
                                      "application/json charset=utf-8",
                                      "application/json; charset=latin1",
                                      "application/json; charset=\"utf-16\"",
                                      "x, application/json",
                                      "application/x-www-form-urlencoded"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        if (content_type_is_json(bad[i]))
            fail_msg("%s was taken", bad[i]);
    assert_false(content_type_is_json(NULL));
}

static char *digest(const char *text)
{
    g_autoptr(JsonValue) value = NULL;
    assert_true(json_parse(text, strlen(text), BODY_MAX_DEPTH, &value, NULL));
    return body_digest(value);
}

static void test_equal_values_have_equal_digests(void **state)
{
    (void)state;
    g_autofree char *none = body_digest(NULL), *null = digest("null"), *empty = digest(" { } ");
    assert_int_equal(strlen(none), 64);
    assert_string_equal(none, null);
    assert_string_equal(none, empty);
    g_autofree char *a = digest("{\"a\":1,\"b\":{\"c\":\"x\",\"d\":null}}");
    g_autofree char *b = digest("{ \"b\" : {\"c\":\"\\u0078\"}, \"a\" : 1 }");
    g_autofree char *c = digest("{\"a\":2,\"b\":{\"c\":\"x\"}}");
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_equal_values_have_equal_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
