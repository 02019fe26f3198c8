/* test_json_write.c - the writer: commas, escapes, numbers at their limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/clock.h"
#include "base/json.h"

static void an_object_of_everything(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new("");
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "text", "x");
    json_put_string(&writer, "no text", NULL);
    json_put_string_n(&writer, "part", "abcdef", 3);
    json_put_string_n(&writer, "no part", NULL, 3);
    json_put_int(&writer, "int", 42);
    json_put_bool(&writer, "yes", true);
    json_put_bool(&writer, "no", false);
    json_put_null(&writer, "null");
    json_put_instant(&writer, "at", 1769850000123);
    json_put_instant(&writer, "never", INSTANT_NONE);
    json_put_raw(&writer, "raw", "[1,2]xx", 5);
    json_put_raw(&writer, "no raw", NULL, 0);
    json_begin_object(&writer, "empty");
    json_end_object(&writer);
    json_begin_array(&writer, "list");
    json_put_int(&writer, NULL, 1);
    json_begin_array(&writer, NULL);
    json_end_array(&writer);
    json_begin_object(&writer, NULL);
    json_put_null(&writer, "");
    json_end_object(&writer);
    json_end_array(&writer);
    json_put_int(&writer, "last", 0);
    json_end_object(&writer);
    assert_string_equal(out->str,
                        "{\"text\":\"x\",\"no text\":null,\"part\":\"abc\",\"no part\":null,\"int\":42,\"yes\":true,"
                        "\"no\":false,\"null\":null,\"at\":\"2026-01-31T09:00:00.123Z\",\"never\":null,"
                        "\"raw\":[1,2],\"no raw\":null,\"empty\":{},\"list\":[1,[],{\"\":null}],\"last\":0}");
    assert_int_equal(out->len, strlen(out->str));
}

static void a_root_may_be_any_value_and_follows_what_is_there(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new("data: ");
    JsonWriter writer = json_writer(out);
    json_put_string(&writer, NULL, "x");
    assert_string_equal(out->str, "data: \"x\"");
}

static void integers_reach_their_limits(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new("");
    JsonWriter writer = json_writer(out);
    json_begin_array(&writer, NULL);
    static const int64_t values[] = {0, 1, -1, 9, 10, -10, 1000000, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < G_N_ELEMENTS(values); i++)
        json_put_int(&writer, NULL, values[i]);
    json_end_array(&writer);
    assert_string_equal(out->str, "[0,1,-1,9,10,-10,1000000,9223372036854775807,-9223372036854775808]");
}

static char *quoted(const char *text, size_t size)
{
    GString *out = g_string_new("");
    JsonWriter writer = json_writer(out);
    json_put_string_n(&writer, NULL, text, size);
    return g_string_free(out, FALSE);
}

static void what_must_be_escaped_is(void **state)
{
    (void)state;
    g_autofree char *out = quoted("\"\\\b\f\n\r\t\x01\x1f/\x7f é", 14);
    assert_string_equal(out, "\"\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f/\x7f é\"");
    g_autofree char *nul = quoted("a\0b", 3);
    assert_string_equal(nul, "\"a\\u0000b\"");
}

static void names_are_escaped_too(void **state)
{
    (void)state;
    g_autoptr(GString) out = g_string_new("");
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_int(&writer, "a\"b\n", 1);
    json_end_object(&writer);
    assert_string_equal(out->str, "{\"a\\\"b\\n\":1}");
}

/* Runs are found eight bytes at a time: every byte value at every place around the edges of such words. */
static void every_byte_at_every_place(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 20; size++) {
        for (size_t place = 0; place < size; place++) {
            for (int byte = 0; byte < 256; byte++) {
                char *text = g_malloc(size); /* exactly as long as it is said to be */
                memset(text, 'x', size);
                text[place] = (char)byte;
                g_autofree char *out = quoted(text, size);
                size_t n_extra = 0;
                if (byte == '"' || byte == '\\' || (byte != 0 && byte < 0x20 && strchr("\b\f\n\r\t", byte) != NULL))
                    n_extra = 1;
                else if (byte < 0x20)
                    n_extra = 5;
                assert_int_equal(strlen(out), size + 2 + n_extra);
                assert_int_equal(out[1 + place], n_extra > 0 ? '\\' : (char)byte);
                g_free(text);
            }
        }
    }
}

static void long_text_survives(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new("");
    for (int i = 0; i < 30000; i++)
        g_string_append_printf(text, "%d%s", i, i % 100 == 0 ? "\"\n\\" : "é");
    g_autofree char *out = quoted(text->str, text->len);
    JsonValue *value = NULL;
    assert_true(json_parse(out, strlen(out), 1, &value, NULL));
    assert_string_equal(json_text(value), text->str);
    json_free(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_root_may_be_any_value_and_follows_what_is_there),
        cmocka_unit_test(an_object_of_everything),
        cmocka_unit_test(integers_reach_their_limits),
        cmocka_unit_test(what_must_be_escaped_is),
        cmocka_unit_test(names_are_escaped_too),
        cmocka_unit_test(every_byte_at_every_place),
        cmocka_unit_test(long_text_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
