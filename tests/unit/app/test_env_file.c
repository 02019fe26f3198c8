/* Env files: what a line may be, and what is said of one that is nothing of the kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/env_file.h"

static void add(const char *name, const char *value, unsigned line, void *arg)
{
    g_string_append_printf(arg, "%u:%s=[%s]\n", line, name, value);
}

/* "LINE:NAME=[value]\n" for each line that sets something, then the faults. */
static char *parse_n(const char *text, size_t size)
{
    g_autoptr(GString) file = g_string_new_len(text, (gssize)size);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GPtrArray) faults = g_ptr_array_new_with_free_func(g_free);
    env_file_parse(file, "f", add, out, faults);
    for (guint i = 0; i < faults->len; i++)
        g_string_append_printf(out, "%s\n", (char *)faults->pdata[i]);
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static void expect(const char *text, const char *expected)
{
    g_autofree char *out = parse_n(text, strlen(text));
    assert_string_equal(out, expected);
}

static void expect_fault(const char *text, const char *words)
{
    g_autofree char *out = parse_n(text, strlen(text));
    assert_true(g_str_has_prefix(out, "f:1: "));
    assert_non_null(strstr(out, words));
    assert_null(strstr(out, "hunter2"));
    assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
}

static void test_plain_values(void **state)
{
    (void)state;
    expect("", "");
    expect("A=1", "1:A=[1]\n");
    expect("A=1\nB=2\n", "1:A=[1]\n2:B=[2]\n");
    expect("A=\n", "1:A=[]\n");
    expect("  A = x y \t\n", "1:A=[x y]\n");
    expect("export A=1\nexport=2\n", "1:A=[1]\n2:export=[2]\n");
    expect("_a9=b=c", "1:_a9=[b=c]\n");
    expect("A=b\"c'd\\n", "1:A=[b\"c'd\\n]\n");
    expect("A=1\r\nB='2'\r\n", "1:A=[1]\n2:B=[2]\n");
    expect("\xef\xbb\xbf"
           "A=\xc3\xbc",
           "1:A=[\xc3\xbc]\n");
}

static void test_comments(void **state)
{
    (void)state;
    expect("# A=1\n\n  # B=2\n \t\nC=3", "5:C=[3]\n");
    expect("A=1 # one\nB=1#two\nC=# none\nD=1\t#three", "1:A=[1]\n2:B=[1#two]\n3:C=[]\n4:D=[1]\n");
    expect("A='x # y' # z\nB=\"x # y\"\t# z", "1:A=[x # y]\n2:B=[x # y]\n");
}

static void test_quotes(void **state)
{
    (void)state;
    expect("A=''\nB=\"\"", "1:A=[]\n2:B=[]\n");
    expect("A=' a$b \\n \"'", "1:A=[ a$b \\n \"]\n");
    expect("A=\"a\\n\\r\\t\\\\\\\"\\$b'\"", "1:A=[a\n\r\t\\\"$b']\n");
}

static void test_faults(void **state)
{
    (void)state;
    expect_fault("hunter2", "NAME=value");
    expect_fault("9A=hunter2", "NAME=value");
    expect_fault("A-B=hunter2", "NAME=value");
    expect_fault("=hunter2", "NAME=value");
    expect_fault("export A", "NAME=value");
    expect_fault("A='hunter2", "closing quote is missing");
    expect_fault("A=\"hunter2", "closing quote is missing");
    expect_fault("A=\"hunter2\\", "backslash");
    expect_fault("A=\"hunter2\\x\"", "backslash");
    expect_fault("A='a'hunter2", "follows the closing quote");
    expect_fault("A=\"a\"#hunter2", "follows the closing quote");
    expect_fault("A=hunter2$", "single quotes");
    expect_fault("A=\"${B}hunter2\"", "single quotes");
    expect_fault("A=\xff", "UTF-8");
}

static void test_every_fault_is_told_with_its_line(void **state)
{
    (void)state;
    g_autofree char *out = parse_n("x\nA=1\ny\n", strlen("x\nA=1\ny\n"));
    assert_true(g_str_has_prefix(out, "2:A=[1]\nf:1: "));
    assert_non_null(strstr(out, "\nf:3: "));
    g_autofree char *zero = parse_n("A=a\0b\nB=1", 9);
    assert_true(g_str_has_prefix(zero, "2:B=[1]\nf:1: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_values),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_quotes),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_every_fault_is_told_with_its_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
