/* Query strings: decoding, and one fault for each wrong parameter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/query.h"

/* The value of `name` in `raw`; "(none)" when absent, "(fault)" when something was wrong. */
static char *value_of(const char *raw, const char *name)
{
    g_auto(Query) query = {0};
    g_autoptr(Faults) faults = faults_new();
    const char *value = query_init(&query, raw, faults) ? query_text(&query, name, faults) : NULL;
    if (faults_count(faults) > 0)
        return g_strdup("(fault)");
    return g_strdup(value ? value : "(none)");
}

static void expect(const char *raw, const char *name, const char *expected)
{
    g_autofree char *value = value_of(raw, name);
    assert_string_equal(value, expected);
}

static void test_decoding(void **state)
{
    (void)state;
    expect(NULL, "a", "(none)");
    expect("", "a", "(none)");
    expect("a=1", "a", "1");
    expect("b=2&a=1", "a", "1");
    expect("&&a=1&&", "a", "1");
    expect("a", "a", "");
    expect("a=", "a", "");
    expect("b&a=x", "a", "x");
    expect("a=&b=2", "b", "2");
    expect("a=b=c", "a", "b=c");
    expect("a=x+y%20z%2B", "a", "x y z+");
    expect("%61=%c3%a9", "a", "\xc3\xa9");
    expect("A=1", "a", "(none)");
}

static void test_broken(void **state)
{
    (void)state;
    expect("a=%", "a", "(fault)");
    expect("a=%4", "a", "(fault)");
    expect("a=%4&b=1", "b", "(fault)");
    expect("a=%zz", "a", "(fault)");
    expect("a=%00", "a", "(fault)");
    expect("a=%ff", "a", "(fault)");
    expect("%c3=1", "a", "(fault)");
    expect("a=1&a=1", "a", "(fault)");
    expect("b=1&b=2&a=1", "a", "1"); /* what nobody asks for is nobody's fault */
}

static void test_too_many(void **state)
{
    (void)state;
    g_autoptr(GString) raw = g_string_new("a=1");
    for (int i = 1; i < QUERY_MAX_PARAMETERS; i++)
        g_string_append_printf(raw, "&p%d", i);
    expect(raw->str, "a", "1");
    g_string_append(raw, "&one=more");
    expect(raw->str, "a", "(fault)");
}

static void test_integers(void **state)
{
    (void)state;
    static const char *const bad[] = {"n=",    "n=-1", "n=+1", "n=%2B1", "n=1.0",
                                      "n=0x1", "n=9",  "n=1a", "n=%201", "n=99999999999999999999"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(Query) query = {0};
        g_autoptr(Faults) faults = faults_new();
        int64_t n = 77;
        assert_true(query_init(&query, bad[i], faults));
        if (query_int(&query, "n", 0, 8, &n, faults))
            fail_msg("%s was taken", bad[i]);
        assert_int_equal(n, 77);
        assert_int_equal(faults_count(faults), 1);
        assert_string_equal(faults_at(faults, 0)->field, "n");
        assert_string_equal(faults_at(faults, 0)->message, "must be a whole number from 0 to 8");
    }
    g_auto(Query) query = {0};
    g_autoptr(Faults) faults = faults_new();
    int64_t n = 77;
    assert_true(query_init(&query, "n=008", faults));
    assert_true(query_int(&query, "n", 0, 8, &n, faults));
    assert_int_equal(n, 8);
    assert_false(query_int(&query, "absent", 0, 8, &n, faults));
    assert_int_equal(faults_count(faults), 0);
}

static void test_ids_instants_and_switches(void **state)
{
    (void)state;
    g_auto(Query) query = {0};
    g_autoptr(Faults) faults = faults_new();
    assert_true(query_init(&query,
                           "id=0190A0A0-0000-7000-8000-00000000000B&at=2026-01-31T09:00:00.123Z&yes=true&no=false"
                           "&bad=maybe&at2=2026-01-31",
                           faults));
    Id id;
    int64_t at;
    bool yes = false, no = true, bad = true;
    assert_true(query_id(&query, "id", &id, faults));
    assert_string_equal(id.text, "0190a0a0-0000-7000-8000-00000000000b");
    assert_true(query_instant(&query, "at", &at, faults));
    assert_true(at == 1769850000123);
    assert_true(query_bool(&query, "yes", &yes, faults) && yes);
    assert_true(query_bool(&query, "no", &no, faults) && !no);
    assert_int_equal(faults_count(faults), 0);
    assert_false(query_bool(&query, "bad", &bad, faults));
    assert_false(query_id(&query, "bad", &id, faults));
    assert_false(query_instant(&query, "at2", &at, faults));
    assert_int_equal(faults_count(faults), 3);
    assert_string_equal(faults_at(faults, 1)->rejected, "\"maybe\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_ids_instants_and_switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
