/* test_fault.c - faults are kept up to a bound and their rejected values are always JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "domain/fault.h"

static JsonValue *parse(const char *json)
{
    JsonValue *value = NULL;
    assert_true(json_parse(json, strlen(json), 16, &value, NULL));
    return value;
}

static void no_faults_at_first(void **state)
{
    (void)state;
    g_autoptr(Faults) faults = faults_new();
    assert_int_equal(faults_count(faults), 0);
    faults_free(NULL);
}

static void a_fault_has_all_it_was_given(void **state)
{
    (void)state;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) number = parse("-5");
    faults_add(faults, "steps[0].config.timeoutMs", number, "must be %s", "positive");
    faults_add(faults, NULL, NULL, "bad");
    faults_add_text(faults, "name", " \"\n", "must not be blank");
    assert_int_equal(faults_count(faults), 3);
    const Fault *fault = faults_at(faults, 0);
    assert_string_equal(fault->code, "VALIDATION_ERROR");
    assert_string_equal(fault->field, "steps[0].config.timeoutMs");
    assert_string_equal(fault->message, "must be positive");
    assert_string_equal(fault->rejected, "-5");
    assert_null(faults_at(faults, 1)->field);
    assert_null(faults_at(faults, 1)->rejected);
    assert_string_equal(faults_at(faults, 2)->rejected, "\" \\\"\\n\"");
}

static void a_long_value_is_cut_at_a_character_and_stays_json(void **state)
{
    (void)state;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(GString) text = g_string_new("x");
    while (text->len <= FAULT_REJECTED_MAX)
        g_string_append(text, "\xc3\xa9"); /* two bytes: the bound falls inside one */
    faults_add_text(faults, "f", text->str, "long");
    g_autofree char *quoted = g_strdup_printf("[\"%s\"]", text->str);
    g_autoptr(JsonValue) array = parse(quoted);
    faults_add(faults, "f", array, "long");
    faults_add(faults, "f", json_array_at(array, 0), "long");
    for (size_t i = 0; i < 3; i++) {
        g_autoptr(JsonValue) shown = parse(faults_at(faults, i)->rejected);
        assert_int_equal(json_type(shown), JSON_STRING);
        assert_true(g_str_has_suffix(json_text(shown), "\xc3\xa9\xe2\x80\xa6"));
        assert_in_range(strlen(json_text(shown)), FAULT_REJECTED_MAX - 1, FAULT_REJECTED_MAX + 3);
    }
}

static void cut_lengths(void **state)
{
    (void)state;
    assert_int_equal(text_cut("", 0), 0);
    assert_int_equal(text_cut("abc", 3), 3);
    assert_int_equal(text_cut("abc", 2), 2);
    assert_int_equal(text_cut("\xe2\x82\xac", 2), 0);
    assert_int_equal(text_cut("\xe2\x82\xac", 3), 3);
    assert_int_equal(text_cut("a\xe2\x82\xac", 3), 1);
}

static void beyond_the_bound_they_are_counted(void **state)
{
    (void)state;
    g_autoptr(Faults) faults = faults_new();
    for (size_t i = 0; i < FAULTS_MAX; i++)
        faults_add(faults, "f", NULL, "fault %zu", i);
    assert_int_equal(faults_count(faults), FAULTS_MAX);
    faults_add(faults, "f", NULL, "one too many");
    assert_int_equal(faults_count(faults), FAULTS_MAX + 1);
    assert_string_equal(faults_at(faults, FAULTS_MAX)->message, "and 1 more fault");
    faults_add_text(faults, "f", "x", "two too many");
    assert_int_equal(faults_count(faults), FAULTS_MAX + 1);
    assert_string_equal(faults_at(faults, FAULTS_MAX - 1)->message, "fault 99");
    const Fault *last = faults_at(faults, FAULTS_MAX);
    assert_string_equal(last->message, "and 2 more faults");
    assert_string_equal(last->code, "VALIDATION_ERROR");
    assert_null(last->field);
    assert_null(last->rejected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_faults_at_first),
        cmocka_unit_test(a_fault_has_all_it_was_given),
        cmocka_unit_test(cut_lengths),
        cmocka_unit_test(a_long_value_is_cut_at_a_character_and_stays_json),
        cmocka_unit_test(beyond_the_bound_they_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
