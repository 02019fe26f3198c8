/* test_condition.c - conditions: grammar, meaning, faults with their column, and patterns that would take for ever. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "domain/condition.h"

#define A "0191aaaa-0000-7000-8000-00000000000a"
#define UPPER_A "0191AAAA-0000-7000-8000-00000000000A"
#define DIGITS "11111111-1111-7111-8111-111111111111" /* an id that looks like a number at first */
#define UNKNOWN "0191bbbb-0000-7000-8000-00000000000b"
#define REF(key) "${" A "." key "}"

static bool is_step(const char *step_id, void *arg)
{
    (void)arg;
    return strcmp(step_id, A) == 0 || strcmp(step_id, DIGITS) == 0;
}

/* The outputs of every step; what is not here has no value. */
static char *resolve(const TemplatePart *part, void *arg)
{
    static const struct {
        const char *key, *value;
    } OUTPUTS[] = {
        {"yes", "true"},
        {"no", "false"},
        {"empty", ""},
        {"zero", "0"},
        {"n", "10"},
        {"half", "0.50"},
        {"name", "Ada"},
        {"body.kind", "order"},
        {"zip", "01234"},
        {"exp", "1e3"},
        {"minus", "-3"},
        {"big", "12345678901234567890"},
        {"neg0", "-0"},
        {"list", "[\"a\",1]"},
        {"pattern", "^A.a$"},
        {"bad", "("},
        {"blank", " "},
        {"quote", "it's \"x\""},
        {"lines", "a\nb"},
        {"k-1_x", "7"},
        {"upper", "TRUE"},
        {"huge", "1e999"},
        {"word", "\xc3\xa9t\xc3\xa9"},
    };
    (void)arg;
    for (size_t i = 0; i < G_N_ELEMENTS(OUTPUTS); i++) {
        if (strcmp(part->text, OUTPUTS[i].key) == 0)
            return g_strdup(OUTPUTS[i].value);
    }
    return NULL;
}

typedef struct {
    const char *text;
    bool holds;
} Meaning;

static void check_meanings(const Meaning *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Condition) condition = condition_parse(cases[i].text, is_step, NULL, &error);
        if (condition == NULL)
            fail_msg("%s: %s", cases[i].text, error->message);
        bool holds = !cases[i].holds;
        if (!condition_evaluate(condition, resolve, NULL, &holds, &error))
            fail_msg("%s: %s", cases[i].text, error->message);
        if (holds != cases[i].holds)
            fail_msg("%s is %d", cases[i].text, holds);
    }
}

static void truth(void **state)
{
    (void)state;
    static const Meaning CASES[] = {
        {"true", true},
        {"false", false},
        {"null", false},
        {"1", true},
        {"0", false},
        {"-0.0e5", false},
        {"'x'", true},
        {"''", false},
        {"\"false\"", false},
        {"'0'", false},
        {"' '", true},
        {"'FALSE'", true},
        {REF("yes"), true},
        {REF("no"), false},
        {REF("empty"), false},
        {REF("zero"), false},
        {REF("neg0"), false},
        {REF("n"), true},
        {REF("name"), true},
        {REF("none"), false},
        {REF("blank"), true},
        {REF("upper"), true},
        {A ".yes", true},
        {UPPER_A ".no", false},
        {DIGITS ".yes", true},
        {"${run.inputs.yes}", true},
        {" \t\n(((true)))\r\n", true},
    };
    check_meanings(CASES, G_N_ELEMENTS(CASES));
}

static void joins(void **state)
{
    (void)state;
    static const Meaning CASES[] = {
        {"true && true", true},
        {"true&&false", false},
        {"false || true", true},
        {"false||false", false},
        {"true || false && false", true},
        {"(true || false) && false", false},
        {"!true", false},
        {"!!true", true},
        {"! false && true", true},
        {"!(false && true)", true},
        {"! 1 == 2", true},
        {"!(1 == 1) || false", false},
        {"true && true && true && false", false},
        {"false || false || false || true", true},
        {"false && true || true && true", true},
        {"true && (false || true) && !false", true},
        /* short circuit: a pattern from data that can't be compiled is not looked at */
        {"false && 'a' matches " REF("bad"), false},
        {"true || 'a' matches " REF("bad"), true},
    };
    check_meanings(CASES, G_N_ELEMENTS(CASES));
}

static void compares(void **state)
{
    (void)state;
    static const Meaning CASES[] = {
        {"1 == 1.0", true},
        {"1 == 1e0", true},
        {"10 > 9", true},
        {"'10' > '9'", true},
        {"'10a' > '9a'", false},
        {REF("n") " == 10", true},
        {REF("n") " == '10'", true},
        {REF("n") " == 10.0", true},
        {REF("n") " != 10", false},
        {REF("n") " >= 10", true},
        {REF("n") " <= 9", false},
        {REF("n") " < 9", false},
        {REF("n") " > -3", true},
        {REF("half") " == 0.5", true},
        {REF("minus") " < " REF("n"), true},
        {REF("minus") " < -2", true},
        {REF("minus") " < -10", false},
        {REF("neg0") " == 0", true},
        {REF("neg0") " < 0", false},
        {REF("name") " == 'Ada'", true},
        {REF("name") " == \"ada\"", false},
        {REF("name") " < 'B'", true},
        {REF("name") " > 5", true},
        {REF("body.kind") " == 'order'", true},
        {A ".k-1_x == 7", true},
        {"(" A ".k-1_x==7)", true},
        {A ".n>=10", true},
        /* an identifier is no number */
        {REF("zip") " == 1234", false},
        {REF("zip") " == '01234'", true},
        {"'' == 0", false},
        {"' 1' == 1", false},
        {"'0x10' == 16", false},
        {"'+1' == 1", false},
        {"'.5' == 0.5", false},
        {"'1.' == 1", false},
        /* an exponent in text counts beside a number only */
        {REF("exp") " == 1000", true},
        {REF("exp") " == '1000'", false},
        {"'0e1' == '0e2'", false},
        /* twenty digits */
        {REF("big") " == 12345678901234567890", true},
        {REF("big") " == 12345678901234567891", false},
        {REF("big") " < 12345678901234567891", true},
        {"-12345678901234567891 < -12345678901234567890", true},
        {"100 < 1000", true},
        {"-100 > -1000", true},
        {REF("huge") " > 5", true},
        /* booleans */
        {REF("yes") " == true", true},
        {REF("yes") " == 'true'", true},
        {REF("yes") " == false", false},
        {REF("no") " == false", true},
        {REF("upper") " == true", false},
        {"true == 1", false},
        {"false == 0", false},
        {"false == ''", false},
        {"(1 == 1) == true", true},
        {"(1 == 2) == (3 == 4)", true},
        {"!false == true", true},
        /* null */
        {"null == null", true},
        {"null != null", false},
        {REF("none") " == null", true},
        {REF("none") " != null", false},
        {REF("empty") " == null", false},
        {REF("zero") " == null", false},
        {REF("no") " != null", true},
        {REF("none") " == ''", false},
        {REF("none") " == false", false},
        {REF("none") " < 1", false},
        {REF("none") " >= 1", false},
        {"null <= null", false},
        {"null >= null", false},
        {"!(" REF("none") " < 1)", true},
        {"'null' == null", false},
    };
    check_meanings(CASES, G_N_ELEMENTS(CASES) - 1);
    g_autoptr(Condition) last = condition_parse(CASES[G_N_ELEMENTS(CASES) - 1].text, is_step, NULL, NULL);
    bool holds;
    assert_true(condition_evaluate(last, resolve, NULL, &holds, NULL));
    assert_false(holds);
}

static void contains_and_matches(void **state)
{
    (void)state;
    static const Meaning CASES[] = {
        {"'abc' contains 'b'", true},
        {"'abc' contains ''", true},
        {"'abc' contains 'B'", false},
        {REF("list") " contains '\"a\"'", true},
        {REF("n") " contains 1", true},
        {"123 contains 2", true},
        {REF("yes") " contains 'ru'", true},
        {"null contains ''", false},
        {"'null' contains null", false},
        {"'abc' matches 'b'", true},
        {"'abc' matches '^b'", false},
        {"'abc' matches '^a.c$'", true},
        {"'abc' matches ''", true},
        {"'a1' matches '\\d'", true},
        {"'a1' matches \"\\\\d$\"", true},
        {"'x.y' matches '^x\\.y$'", true},
        {"'xzy' matches '^x\\.y$'", false},
        {"'ABC' matches '(?i)b'", true},
        {"'ab' matches 'x|b'", true},
        {"'ab' matches '^(x|ab)$'", true},
        {"'aa' matches '^(a)\\1$'", true},
        {"'a]' matches '\\Q]'", true},
        {REF("lines") " matches '^a\\nb$'", true},
        {REF("lines") " matches 'a.b'", false},
        {REF("word") " matches '^.t.$'", true},
        {"'-' matches '(?i)[a-z-]'", true},
        {"'B' matches '(?i)[a-c]'", true},
        {"'\xc3\xa9' matches '[a-\xc3\xbf]'", true},
        {"'\xc3\x89' matches '(?i)\xc3\xa9'", true},
        {REF("name") " matches " REF("pattern"), true},
        {REF("none") " matches '.*'", false},
        {"'a' matches null", false},
        {"'a' matches " REF("none"), false},
        {"10 matches '^1'", true},
        {"'15' matches 5", true},
        {"true matches 'tru'", true},
        {REF("quote") " == 'it\\'s \"x\"'", true},
        {REF("quote") " == \"it's \\\"x\\\"\"", true},
        {"'a\\tb' == \"a\tb\"", true},
        {"'\\z' == '\\\\z'", true},
        {"'containsx' contains 'contains'", true},
    };
    check_meanings(CASES, G_N_ELEMENTS(CASES));
}

static void refuses_with_a_column(void **state)
{
    (void)state;
#define COSTLY "a pattern that ignores case can't have a range that ends beyond ASCII"
#define OPERAND "expected a reference, quoted text, a number, true, false, null or `(`, found "
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"", "column 1: the condition is empty; leave it out when it shall always hold"},
        {"  ", "column 1: the condition is empty; leave it out when it shall always hold"},
        {"foo", "column 1: " OPERAND "`foo`"},
        {"True", "column 1: " OPERAND "`True`"},
        {"1 ==", "column 5: " OPERAND "the end"},
        {"&& 1", "column 1: " OPERAND "`&`"},
        {"1 = 1", "column 3: expected an operator, found `=` (equality is written `==`)"},
        {"1 & 1", "column 3: expected an operator or the end, found `&`"},
        {"1 and 1", "column 3: expected an operator or the end, found `and`"},
        {"1 1", "column 3: expected an operator or the end, found `1`"},
        {"1 == 1 == 1", "column 8: comparisons can't be chained; join them by `&&`"},
        {"(1", "column 3: expected `)` or an operator, found the end"},
        {"1)", "column 2: expected an operator or the end, found `)`"},
        {"()", "column 2: " OPERAND "`)`"},
        {"'abc", "column 1: the text that begins here is not closed by '"},
        {"1 == \"a\\\"", "column 6: the text that begins here is not closed by \""},
        {"'abc\\", "column 1: the text that begins here is not closed by '"},
        {"01 == 1", "column 1: expected a number as in JSON, found `01`"},
        {"1. == 1", "column 1: expected a number as in JSON, found `1`"},
        {"- 1", "column 1: expected a number as in JSON, found `-`"},
        {"12ab", "column 1: expected a number as in JSON, found `12ab`"},
        {"1e999", "column 1: the number is too large"},
        {"1 containsx 2", "column 3: expected an operator or the end, found `containsx`"},
        {"${" A ".x", "column 1: `${` is not closed by `}` (a literal `${` is written `$${`)"},
        {"1 == ${x}", "column 6: `${x}` is neither `${stepId.outputKey}` nor `${run.inputs.name}`"},
        {"1 == ${" UNKNOWN ".x}", "column 6: step " UNKNOWN " does not exist in this flow"},
        {UNKNOWN ".x", "column 1: step " UNKNOWN " does not exist in this flow"},
        {A ". == 1", "column 38: expected the name of an output, found ` `"},
        {A " == 1", "column 1: " OPERAND "`0191aaaa`"},
        {"'a' matches '('", "column 13: the pattern is wrong: missing terminating )"},
        {"'a' matches 'a)(b'", "column 13: the pattern is wrong: missing terminating )"},
        {"'a' matches '*'", "column 13: the pattern is wrong: nothing to repeat"},
        {"'a' matches '(?x)a#'", "column 13: the pattern must not begin with `(*` options or end inside a comment"},
        {"'a' matches '(*NO_JIT)a'", "column 13: the pattern must not begin with `(*` options or end inside a comment"},
        {"'a' matches '(?i)[\\x{80}-\\x{10ffff}]'", "column 13: " COSTLY},
        {"'a' matches '(?s-m:(?xi: [a-\\Q\\E\xc3\xa9]))'", "column 13: " COSTLY},
        {"'\xff' == 1", "column 1: not UTF-8"},
        {"1 == \xc3\xa9", "column 6: " OPERAND "`\xc3\xa9`"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Condition) condition = condition_parse(CASES[i].text, is_step, NULL, &error);
        if (condition != NULL)
            fail_msg("%s was taken", CASES[i].text);
        assert_int_equal(error->code, FLOWOPS_INVALID);
        if (strcmp(CASES[i].text, A " == 1") != 0) /* a number or a word: only the column matters */
            assert_string_equal(error->message, CASES[i].expected);
    }
}

static Condition *parse_repeated(const char *before, int n_before, const char *middle, const char *after, int n_after)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (int i = 0; i < n_before; i++)
        g_string_append(text, before);
    g_string_append(text, middle);
    for (int i = 0; i < n_after; i++)
        g_string_append(text, after);
    return condition_parse(text->str, is_step, NULL, NULL);
}

static void is_bounded(void **state)
{
    (void)state;
    bool holds;
    g_autoptr(Condition) deepest = parse_repeated("(", CONDITION_MAX_DEPTH, "1", ")", CONDITION_MAX_DEPTH);
    assert_non_null(deepest);
    assert_null(parse_repeated("(", CONDITION_MAX_DEPTH + 1, "1", ")", CONDITION_MAX_DEPTH + 1));
    assert_null(parse_repeated("!", CONDITION_MAX_DEPTH + 1, "1", "", 0));
    assert_null(parse_repeated("(!", CONDITION_MAX_DEPTH / 2 + 1, "1", ")", CONDITION_MAX_DEPTH / 2 + 1));
    assert_null(parse_repeated("(", CONDITION_MAX_BYTES, "", "", 0));

    g_autoptr(Condition) longest = parse_repeated("1||", 0, "0", "||0", (CONDITION_MAX_BYTES - 1) / 3);
    assert_non_null(longest);
    assert_true(condition_evaluate(longest, resolve, NULL, &holds, NULL));
    assert_false(holds);
    assert_null(parse_repeated("1||", 0, "0", "||0", (CONDITION_MAX_BYTES - 1) / 3 + 1));
    g_autofree char *most = g_strnfill(512, 'a');
    g_autofree char *text = g_strdup_printf("'a' matches '%s'", most);
    g_autofree char *more = g_strdup_printf("'a' matches '%sa'", most);
    g_autoptr(GError) error = NULL;
    g_autoptr(Condition) longest_pattern = condition_parse(text, is_step, NULL, NULL);
    assert_non_null(longest_pattern);
    assert_null(condition_parse(more, is_step, NULL, &error));
    assert_string_equal(error->message, "column 13: a pattern must be UTF-8 of at most 512 bytes");
    /* brackets that were closed don't count */
    g_autoptr(Condition) flat = parse_repeated("(1)&&", CONDITION_MAX_DEPTH * 4, "1", "", 0);
    assert_true(condition_evaluate(flat, resolve, NULL, &holds, NULL));
    assert_true(holds);
}

static void count_reference(const TemplatePart *part, void *arg)
{
    GString *found = arg;
    g_string_append_printf(found, "%s@%zu ", part->text, part->id_offset);
}

static void tells_every_reference(void **state)
{
    (void)state;
    g_autoptr(GString) found = g_string_new(NULL);
    g_autoptr(Condition) condition =
        condition_parse("${" A ".x} == 1 || !(" UPPER_A ".y contains ${run.inputs.z})", is_step, NULL, NULL);
    assert_non_null(condition);
    condition_foreach_reference(condition, count_reference, found);
    assert_string_equal(found->str, "x@2 y@52 z@0 ");
    g_autoptr(Condition) unseen = condition_parse(UNKNOWN ".x", NULL, NULL, NULL);
    assert_non_null(unseen);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

typedef struct {
    const char *fill;
    size_t n;
    const char *end;
} Subject;

static char *resolve_subject(const TemplatePart *part, void *arg)
{
    const Subject *subject = arg;
    if (strcmp(part->text, "pattern") == 0)
        return g_strdup("(a+)+$");
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < subject->n; i++)
        g_string_append(text, subject->fill);
    g_string_append(text, subject->end);
    return g_string_free(text, FALSE);
}

static void hostile_patterns_give_up(void **state)
{
    (void)state;
#define GIVES_UP "the pattern takes more than 50000 steps on this text; make it less ambiguous"
    static const struct {
        const char *text;
        Subject subject;
        const char *error; /* NULL: evaluates to false, whatever it takes within the time */
    } CASES[] = {
        {REF("x") " matches '(a+)+$'", {"a", 40, "!"}, GIVES_UP},
        {REF("x") " matches " REF("pattern"), {"a", 40, "!"}, GIVES_UP},
        {REF("x") " matches '^(a|aa)+$'", {"a", 60, "!"}, GIVES_UP},
        {REF("x") " matches '(.*a){20}[bc]'", {"a", 4000, ""}, GIVES_UP},
        {REF("x") " matches 'a.*[bc]'", {"a", 8000, ""}, GIVES_UP},
        {REF("x") " matches '[a]*+[b]'", {"a", 8000, ""}, NULL},
        {REF("x") " matches '(?=a*+)(?=a*+)(?=a*+)[bc]'", {"a", 8000, ""}, NULL},
        {REF("x") " matches '^(a|b)*c$'", {"ab", 4000, ""}, NULL},
        {REF("x") " matches 'a'", {"a", 9000, ""}, "`matches` looks at UTF-8 text of at most 8192 bytes"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        Subject subject = CASES[i].subject;
        bool holds = false;
        g_autoptr(Condition) condition = condition_parse(CASES[i].text, is_step, NULL, &error);
        assert_non_null(condition);
        int64_t began = now_ms();
        bool is_ok = condition_evaluate(condition, resolve_subject, &subject, &holds, &error);
        int64_t took = now_ms() - began;
        if (took > 1000)
            fail_msg("%s took %d ms", CASES[i].text, (int)took);
        if (CASES[i].error != NULL) {
            if (is_ok)
                fail_msg("%s was evaluated", CASES[i].text);
            assert_int_equal(error->code, FLOWOPS_INVALID);
            assert_string_equal(error->message, CASES[i].error);
        }
    }
}

static void a_bad_pattern_from_data_is_an_error(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    bool holds;
    g_autoptr(Condition) condition = condition_parse("'a' matches " REF("bad"), is_step, NULL, NULL);
    assert_false(condition_evaluate(condition, resolve, NULL, &holds, &error));
    assert_int_equal(error->code, FLOWOPS_INVALID);
    assert_string_equal(error->message, "the pattern is wrong: missing terminating )");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truth),
        cmocka_unit_test(joins),
        cmocka_unit_test(compares),
        cmocka_unit_test(contains_and_matches),
        cmocka_unit_test(refuses_with_a_column),
        cmocka_unit_test(tells_every_reference),
        cmocka_unit_test(is_bounded),
        cmocka_unit_test(a_bad_pattern_from_data_is_an_error),
        cmocka_unit_test(hostile_patterns_give_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
