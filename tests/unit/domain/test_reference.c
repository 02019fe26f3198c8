/* test_reference.c - templates: literals, both forms of references, what is none, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "domain/reference.h"

#define A "0191aaaa-0000-7000-8000-00000000000a"
#define UPPER_A "0191AAAA-0000-7000-8000-00000000000A"
#define B "0191bbbb-0000-7000-8000-00000000000b"

static bool only_a(const char *step_id, void *arg)
{
    (void)arg;
    return strcmp(step_id, A) == 0;
}

/* `[literal]`, `<step>.key`, `{input}` one after the other. */
static char *describe(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_auto(Template) template = {0};
    if (!template_parse(text, only_a, NULL, &template, &error)) {
        assert_int_equal(error->code, FLOWOPS_INVALID);
        return g_strdup(error->message);
    }
    GString *out = g_string_new(NULL);
    for (size_t i = 0; i < template.n_parts; i++) {
        const TemplatePart *part = &template.parts[i];
        if (part->kind == PART_LITERAL)
            g_string_append_printf(out, "[%s]", part->text);
        else if (part->kind == PART_RUN_INPUT)
            g_string_append_printf(out, "{%s}", part->text);
        else
            g_string_append_printf(out, "<%s>%s@%zu", strcmp(part->step_id.text, A) == 0 ? "A" : "?", part->text,
                                   part->id_offset);
    }
    return g_string_free(out, FALSE);
}

static void parses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"", ""},
        {"plain", "[plain]"},
        {"http://example.com", "[http://example.com]"},
        {"$", "[$]"},
        {"$5 and 5$", "[$5 and 5$]"},
        {"$${x}", "[${x}]"},
        {"$$${x}", "[$${x}]"},
        {"{}", "[{}]"},
        {"$ {x}", "[$ {x}]"},
        {"${" A ".out}", "<A>out@2"},
        {"${" UPPER_A ".out}", "<A>out@2"},
        {"${" B ".out}", "<?>out@2"},
        {"a${" A ".x.y.z}b${run.inputs.n.m}c", "[a]<A>x.y.z@3[b]{n.m}[c]"},
        {"${" A ".a}${" A ".b}", "<A>a@2<A>b@43"},
        {"$${${" A ".a}", "[${]<A>a@5"},
        {"${" A ".key with blanks}", "<A>key with blanks@2"},
        {A ".out", "<A>out@0"},
        {UPPER_A ".body.items", "<A>body.items@0"},
        {B ".out", "[" B ".out]"},
        {A, "[" A "]"},
        {A ".", "[" A ".]"},
        {A ".out is done", "[" A ".out is done]"},
        {" " A ".out", "[ " A ".out]"},
        {A ".out ", "[" A ".out ]"},
        {A ".${" A ".x}", "[" A ".]<A>x@39"},
        {"run.inputs.name", "[run.inputs.name]"},
        {"\xc3\xa9${run.inputs.\xc3\xa9}", "[\xc3\xa9]{\xc3\xa9}"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *found = describe(CASES[i].text);
        assert_string_equal(found, CASES[i].expected);
    }
}

static void refuses(void **state)
{
    (void)state;
#define NEITHER " is neither `${stepId.outputKey}` nor `${run.inputs.name}`"
#define UNCLOSED "`${` is not closed by `}` (a literal `${` is written `$${`)"
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"${", "column 1: " UNCLOSED},
        {"ab${" A ".x", "column 3: " UNCLOSED},
        {"${" A ".x ${" A ".y}", "column 1: " UNCLOSED},
        {"${}", "column 1: `${}`" NEITHER},
        {"x${y}", "column 2: `${y}`" NEITHER},
        {"${" A "}", "column 1: `${" A "}`" NEITHER},
        {"${" A ".}", "column 1: `${" A ".}`" NEITHER},
        {"${ " A ".x}", "column 1: `${ " A ".x}`" NEITHER},
        {"${run.inputs.}", "column 1: `${run.inputs.}`" NEITHER},
        {"${run.outputs.x}", "column 1: `${run.outputs.x}`" NEITHER},
        {"${step1.out}", "column 1: `${step1.out}`" NEITHER},
        {"${" A ".x}${a b}", "column 42: `${a b}`" NEITHER},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *found = describe(CASES[i].text);
        assert_string_equal(found, CASES[i].expected);
    }
    g_autoptr(GString) huge = g_string_new("${");
    while (huge->len < 100000)
        g_string_append(huge, "\xc3\xa9");
    g_string_append_c(huge, '}');
    g_autofree char *found = describe(huge->str);
    assert_true(strlen(found) < 200);
    assert_true(g_utf8_validate(found, -1, NULL));
}

static void no_bare_form_without_knowing_the_steps(void **state)
{
    (void)state;
    g_auto(Template) template = {0};
    assert_true(template_parse(A ".out", NULL, NULL, &template, NULL));
    assert_int_equal(template.n_parts, 1);
    assert_int_equal(template.parts[0].kind, PART_LITERAL);
}

static char *resolve(const TemplatePart *part, void *arg)
{
    (void)arg;
    if (strcmp(part->text, "none") == 0)
        return NULL;
    return g_strdup_printf("<%s>", part->text);
}

static char *render(const char *text, size_t max_bytes, GError **error)
{
    g_auto(Template) template = {0};
    assert_true(template_parse(text, only_a, NULL, &template, NULL));
    return template_render(&template, resolve, NULL, max_bytes, error);
}

static void renders(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"", ""},
        {"a$${b}", "a${b}"},
        {"1${" A ".x}2${run.inputs.y}3", "1<x>2<y>3"},
        {A ".x", "<x>"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *found = render(CASES[i].text, 100, NULL);
        assert_string_equal(found, CASES[i].expected);
    }
}

static void rendering_is_bounded_and_names_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t max_bytes;
        const char *expected;
    } CASES[] = {
        {"abc${" A ".x}", 5, "the text is longer than 5 bytes once its references are resolved"},
        {"abcdef", 5, "the text is longer than 5 bytes once its references are resolved"},
        {"${" A ".none}", 100, "`${" A ".none}` has no value"},
        {"${run.inputs.none}", 100, "`${run.inputs.none}` has no value"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(render(CASES[i].text, CASES[i].max_bytes, &error));
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_string_equal(error->message, CASES[i].expected);
    }
    g_autofree char *exact = render("abc${" A ".x}", 6, NULL);
    assert_string_equal(exact, "abc<x>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(no_bare_form_without_knowing_the_steps),
        cmocka_unit_test(renders),
        cmocka_unit_test(rendering_is_bounded_and_names_what_is_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
