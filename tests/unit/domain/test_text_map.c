/* test_text_map.c - order, growth, copies, JSON both ways. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "domain/text_map.h"

static char *encode(const TextMap *map)
{
    GString *out = g_string_new(NULL);
    JsonWriter writer = json_writer(out);
    text_map_encode(map, &writer, NULL);
    return g_string_free(out, FALSE);
}

static void zeroed_map_is_empty(void **state)
{
    (void)state;
    TextMap map = {0};
    g_autofree char *text = encode(&map);
    assert_string_equal(text, "{}");
    assert_null(text_map_find(&map, "a"));
    assert_int_equal(text_map_size_bytes(&map), 0);
    text_map_done(&map);
    text_map_done(&map);
}

static void keeps_the_order_of_adding(void **state)
{
    (void)state;
    TextMap map = {0};
    text_map_add(&map, "z", "1");
    text_map_add(&map, "a", "2\"");
    text_map_add(&map, "", "");
    g_autofree char *text = encode(&map);
    assert_string_equal(text, "{\"z\":\"1\",\"a\":\"2\\\"\",\"\":\"\"}");
    assert_string_equal(text_map_find(&map, "a"), "2\"");
    assert_string_equal(text_map_find(&map, ""), "");
    assert_null(text_map_find(&map, "A"));
    assert_int_equal(text_map_size_bytes(&map), 5);
    text_map_done(&map);
}

static void holds_many_pairs_and_copies_them(void **state)
{
    (void)state;
    enum { N = 1000 };
    TextMap map = {0}, copy;
    for (int i = 0; i < N; i++) {
        g_autofree char *name = g_strdup_printf("n%d", i);
        text_map_add(&map, name, name + 1);
    }
    text_map_copy(&map, &copy);
    text_map_done(&map);
    assert_int_equal(copy.n_pairs, N);
    assert_string_equal(text_map_find(&copy, "n777"), "777");
    text_map_add(&copy, "one more", "after a copy");
    assert_string_equal(text_map_find(&copy, "one more"), "after a copy");
    text_map_done(&copy);
}

static void decode_takes_strings_and_skips_the_rest(void **state)
{
    (void)state;
    static const char JSON[] = "{\"a\":\"1\",\"b\":2,\"c\":null,\"d\":{\"e\":\"f\"},\"g\":\"\"}";
    g_autoptr(JsonValue) object = NULL;
    TextMap map;
    assert_true(json_parse(JSON, sizeof(JSON) - 1, 8, &object, NULL));
    text_map_decode(object, &map);
    g_autofree char *text = encode(&map);
    assert_string_equal(text, "{\"a\":\"1\",\"g\":\"\"}");
    text_map_done(&map);
    text_map_decode(NULL, &map);
    assert_int_equal(map.n_pairs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_map_is_empty),
        cmocka_unit_test(keeps_the_order_of_adding),
        cmocka_unit_test(holds_many_pairs_and_copies_them),
        cmocka_unit_test(decode_takes_strings_and_skips_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
