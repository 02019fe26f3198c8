/* Entity tags: lists, `*`, weak tags, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/etag.h"

static bool if_match(const char *header, int64_t tag)
{
    Precondition precondition;
    g_autoptr(GError) error = NULL;
    assert_true(etag_parse_if_match(header, &precondition, &error));
    bool is_allowed = precondition_allows(&precondition, tag);
    assert_int_equal(precondition.is_set, header != NULL);
    g_free(precondition.tags);
    return is_allowed;
}

static bool if_none_match(const char *header, int64_t tag)
{
    bool matches;
    g_autoptr(GError) error = NULL;
    assert_true(etag_parse_if_none_match(header, tag, &matches, &error));
    return matches;
}

static void test_format(void **state)
{
    (void)state;
    char text[ETAG_TEXT_SIZE];
    etag_format(7, text);
    assert_string_equal(text, "\"7\"");
    etag_format(INT64_MAX, text);
    assert_string_equal(text, "\"9223372036854775807\"");
    assert_true(if_match(text, INT64_MAX));
}

static void test_if_match(void **state)
{
    (void)state;
    assert_true(if_match(NULL, 5));
    assert_true(if_match("\"5\"", 5));
    assert_false(if_match("\"6\"", 5));
    assert_true(if_match("*", 5));
    assert_true(if_match(" * ", 5));
    assert_true(if_match("\"1\" ,\t\"5\"", 5));
    assert_true(if_match(",, \"1\",, \"5\" ,", 5));
    assert_false(if_match("\"1\", \"2\"", 5));
}

static void test_if_match_is_strong(void **state)
{
    (void)state;
    assert_false(if_match("W/\"5\"", 5));
    assert_true(if_match("W/\"5\", \"5\"", 5));
}

static void test_tags_that_are_not_ours_match_nothing(void **state)
{
    (void)state;
    assert_false(if_match("\"\"", 5));
    assert_false(if_match("\"05\"", 5));
    assert_false(if_match("\"+5\"", 5));
    assert_false(if_match("\"-5\"", -5));
    assert_false(if_match("\"5a\"", 5));
    assert_false(if_match("\"a,b\"", 5)); /* one tag, with a comma in it */
    assert_false(if_match("\"9223372036854775808\"", INT64_MIN));
    assert_false(if_match("\"99999999999999999999999\"", 5));
    assert_false(if_match("\"0\"", 0)); /* no tag of ours is 0 */
    assert_true(if_match("\"x\", \"5\"", 5));
}

static void test_if_none_match_is_weak(void **state)
{
    (void)state;
    assert_false(if_none_match(NULL, 5));
    assert_true(if_none_match("\"5\"", 5));
    assert_true(if_none_match("W/\"5\"", 5));
    assert_true(if_none_match("*", 5));
    assert_true(if_none_match("\"4\", W/\"5\"", 5));
    assert_false(if_none_match("\"4\", W/\"6\", \"x\"", 5));
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         " ",       "5",       "\"5",     "5\"",      "\"5\" \"6\"",
                                      "\"5\"x",   "w/\"5\"", "W/5",     "W/",      ",",        "*, \"5\"",
                                      "\"5\", *", "'5'",     "\"a b\"", "\"5\",6", "\"\x01\"", "**"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        Precondition precondition;
        bool matches;
        g_autoptr(GError) error = NULL, other = NULL;
        if (etag_parse_if_match(bad[i], &precondition, &error))
            fail_msg("If-Match: %s was taken", bad[i]);
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_true(g_str_has_prefix(error->message, "If-Match "));
        assert_false(etag_parse_if_none_match(bad[i], 5, &matches, &other));
        assert_true(g_str_has_prefix(other->message, "If-None-Match "));
    }
}

static void test_too_many(void **state)
{
    (void)state;
    g_autoptr(GString) header = g_string_new("\"1\"");
    for (int i = 1; i < ETAG_LIST_MAX; i++)
        g_string_append(header, ",\"1\"");
    assert_true(if_match(header->str, 1));
    g_string_append(header, ",\"1\"");
    Precondition precondition;
    g_autoptr(GError) error = NULL;
    assert_false(etag_parse_if_match(header->str, &precondition, &error));
    assert_string_equal(error->message, "If-Match has more than 64 entity tags");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_if_match),
        cmocka_unit_test(test_if_match_is_strong),
        cmocka_unit_test(test_tags_that_are_not_ours_match_nothing),
        cmocka_unit_test(test_if_none_match_is_weak),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
