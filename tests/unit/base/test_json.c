/* test_json.c - reading values, printing them, canonical text, pointers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/json.h"

static JsonValue *parsed(const char *text)
{
    JsonValue *value = NULL;
    g_autoptr(GError) error = NULL;
    if (!json_parse(text, strlen(text), 32, &value, &error))
        fail_msg("%s: %s", text, error->message);
    return value;
}

static void every_type_has_its_name(void **state)
{
    (void)state;
    g_autoptr(JsonValue) list = parsed("[null,true,1,1.0,\"x\",[],{}]");
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    assert_int_equal(json_array_length(list), G_N_ELEMENTS(names));
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_int_equal(json_type(json_array_at(list, i)), i);
        assert_string_equal(json_type_name(json_type(json_array_at(list, i))), names[i]);
    }
    assert_int_equal(json_type(NULL), JSON_NULL);
    json_free(NULL);
}

static void values_are_got(void **state)
{
    (void)state;
    g_autoptr(JsonValue) object = parsed("{\"t\":\"\\u00e9\",\"i\":-7,\"d\":2.5,\"y\":true,\"n\":false}");
    assert_string_equal(json_text(json_get(object, "t")), "\xc3\xa9");
    assert_int_equal(json_int(json_get(object, "i")), -7);
    assert_true(json_double(json_get(object, "i")) == -7.0);
    assert_true(json_double(json_get(object, "d")) == 2.5);
    assert_true(json_bool(json_get(object, "y")));
    assert_false(json_bool(json_get(object, "n")));
    assert_int_equal(json_object_size(object), 5);
}

static void absent_and_null_are_the_same(void **state)
{
    (void)state;
    g_autoptr(JsonValue) object = parsed("{\"a\":null,\"b\":[null]}");
    assert_null(json_get(object, "a"));
    assert_null(json_get(object, "z"));
    assert_null(json_get(object, ""));
    assert_null(json_get(NULL, "a"));
    assert_null(json_get(json_get(object, "b"), "a")); /* no object has no members */
    assert_null(json_array_at(json_get(object, "b"), 0));
    assert_null(json_array_at(json_get(object, "b"), 1));
    assert_null(json_array_at(json_get(object, "b"), SIZE_MAX));
    assert_int_equal(json_object_size(object), 2);
}

static void append_member(const char *name, const JsonValue *value, void *arg)
{
    g_string_append_printf(arg, "%s:%s ", name, json_type_name(json_type(value)));
}

static void members_come_in_the_order_of_the_text(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new("{"), expected = g_string_new(""), seen = g_string_new("");
    for (int i = 0; i < 200; i++) {
        g_string_append_printf(text, "%s\"m%d\":%s", i > 0 ? "," : "", i * 7919 % 200, i % 2 ? "null" : "1");
        g_string_append_printf(expected, "m%d:%s ", i * 7919 % 200, i % 2 ? "null" : "integer");
    }
    g_string_append_c(text, '}');
    g_autoptr(JsonValue) object = parsed(text->str);
    json_object_foreach_member(object, append_member, seen);
    assert_string_equal(seen->str, expected->str);
    g_autofree char *printed = json_print(object);
    assert_string_equal(printed, text->str);
}

static void assert_canonical(const char *text, const char *expected)
{
    g_autoptr(JsonValue) value = parsed(text);
    g_autofree char *canonical = json_print_canonical(value);
    assert_string_equal(canonical, expected);
    g_autoptr(JsonValue) again = parsed(canonical);
    g_autofree char *twice = json_print_canonical(again);
    assert_string_equal(twice, canonical);
}

static void equal_values_have_equal_canonical_text(void **state)
{
    (void)state;
    assert_canonical("null", "null");
    assert_canonical("{}", "{}");
    assert_canonical("{\"b\":1,\"a\":{\"d\":1,\"c\":2}}", "{\"a\":{\"c\":2,\"d\":1},\"b\":1}");
    assert_canonical(" { \"b\" : null , \"a\" : [ null , { \"x\" : null } ] } ", "{\"a\":[null,{}]}");
    assert_canonical("{\"a\":1,\"A\":2,\"\":3,\"\xc3\xa9\":4,\"z\":5,\"aa\":6,\"\xf0\x9f\x98\x80\":7}",
                     "{\"\":3,\"A\":2,\"a\":1,\"aa\":6,\"z\":5,\"\xc3\xa9\":4,\"\xf0\x9f\x98\x80\":7}");
    assert_canonical("\"\\u0041\\/\\u00e9\"", "\"A/\xc3\xa9\"");
    assert_canonical("[3,1,2]", "[3,1,2]");
}

static void numbers_of_equal_value_have_equal_canonical_text(void **state)
{
    (void)state;
    assert_canonical("[1,1.0,1e0,10e-1,-0,-0.0,0.0,0e5]", "[1,1,1,1,0,0,0,0]");
    assert_canonical("[1e3,1000.00,123456789012345680.0]", "[1000,1000,123456789012345680]");
    assert_canonical("[0.1,0.10,1e-1,100e-3]",
                     "[0.10000000000000001,0.10000000000000001,0.10000000000000001,0.10000000000000001]");
    assert_canonical("[1e19,10000000000000000000.0]", "[1e+19,1e+19]");
    assert_canonical("[-9223372036854775808,-9223372036854775808.0]", "[-9223372036854775808,-9223372036854775808]");
    assert_canonical("[9223372036854775807,9.3e18]", "[9223372036854775807,9.3e+18]");
}

static void assert_points(const JsonValue *value, const char *pointer, const char *expected)
{
    const JsonValue *found = json_pointer(value, pointer);
    g_autofree char *printed = json_print(found);
    if (strcmp(printed, expected) != 0)
        fail_msg("\"%s\" points at %s, not at %s", pointer, printed, expected);
}

/* The example of RFC 6901, 5. */
static void pointers_find_what_the_rfc_says(void **state)
{
    (void)state;
    g_autoptr(JsonValue) value = parsed("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,"
                                        "\"i\\\\j\":5,\"k\\\"l\":6,\" \":7,\"m~n\":8}");
    assert_ptr_equal(json_pointer(value, ""), value);
    assert_points(value, "/foo", "[\"bar\",\"baz\"]");
    assert_points(value, "/foo/0", "\"bar\"");
    assert_points(value, "/", "0");
    assert_points(value, "/a~1b", "1");
    assert_points(value, "/c%d", "2");
    assert_points(value, "/e^f", "3");
    assert_points(value, "/g|h", "4");
    assert_points(value, "/i\\j", "5");
    assert_points(value, "/k\"l", "6");
    assert_points(value, "/ ", "7");
    assert_points(value, "/m~0n", "8");
}

static void pointers_to_nothing_are_null(void **state)
{
    (void)state;
    g_autoptr(JsonValue) value = parsed("{\"a\":[[1,{\"b\":null}],\"x\"],\"~1\":2,\"01\":3,\"a~\":4}");
    assert_points(value, "/a/0/0", "1");
    assert_points(value, "/~01", "2"); /* ~0 first, then a plain 1: not a slash */
    assert_points(value, "/01", "3");  /* a name, not an index */
    static const char *const nothing[] = {
        "a",
        "/b",
        "/a/",
        "/a/-",
        "/a/2",
        "/a/00",
        "/a/01",
        "/a/+0",
        "/a/ 0",
        "/a/0 ",
        "/a/0x0",
        "/a/0/1/b",
        "/a/0/1/c",
        "/a/0/0/0",
        "/a/1/0",
        "/a~",
        "/a~2",
        "/~",
        "//",
        "/a//0",
        "/a/-1",
        "/a/18446744073709551616",
        "/a/99999999999999999999999999",
        "/a/0/1/b/c",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(nothing); i++) {
        if (json_pointer(value, nothing[i]) != NULL)
            fail_msg("\"%s\" points at something", nothing[i]);
    }
    assert_null(json_pointer(NULL, ""));
    assert_null(json_pointer(NULL, "/a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_has_its_name),
        cmocka_unit_test(values_are_got),
        cmocka_unit_test(absent_and_null_are_the_same),
        cmocka_unit_test(members_come_in_the_order_of_the_text),
        cmocka_unit_test(equal_values_have_equal_canonical_text),
        cmocka_unit_test(numbers_of_equal_value_have_equal_canonical_text),
        cmocka_unit_test(pointers_find_what_the_rfc_says),
        cmocka_unit_test(pointers_to_nothing_are_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
