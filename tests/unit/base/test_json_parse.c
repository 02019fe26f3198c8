/* test_json_parse.c - strict reading: what is refused, where and in which words; bounds on hostile texts; and agreement
 * with json-c's own reader on whatever we accept. Texts lie in memory of exactly their size, without a NUL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "base/json_internal.h"

static bool parse(const char *text, size_t size, int max_depth, JsonValue **ret_value, GError **error)
{
    g_autofree char *exact = g_memdup2(text, size);
    return json_parse(exact, size, max_depth, ret_value, error);
}

static void assert_reads(const char *text, const char *printed)
{
    JsonValue *value = NULL;
    g_autoptr(GError) error = NULL;
    if (!parse(text, strlen(text), 32, &value, &error))
        fail_msg("%s: %s", text, error->message);
    g_autofree char *again = json_print(value);
    assert_string_equal(again, printed);
    json_free(value);
}

static void assert_fault(const char *text, size_t size, int max_depth, const char *message)
{
    JsonValue *const untouched = (JsonValue *)0x77;
    JsonValue *value = untouched;
    g_autoptr(GError) error = NULL;
    if (parse(text, size, max_depth, &value, &error))
        fail_msg("accepted: %s", text);
    assert_ptr_equal(value, untouched);
    assert_true(g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_INVALID));
    assert_string_equal(error->message, message);
}

static void every_kind_of_value_is_read(void **state)
{
    (void)state;
    assert_reads("null", "null");
    assert_reads("true", "true");
    assert_reads("false", "false");
    assert_reads("0", "0");
    assert_reads("-12", "-12");
    assert_reads("1.50", "1.50");
    assert_reads("\"\"", "\"\"");
    assert_reads("\"x\"", "\"x\"");
    assert_reads("[]", "[]");
    assert_reads("{}", "{}");
    assert_reads(" \t\r\n[ 1 ,\n[ ] , { } , \"x\" ]\n", "[1,[],{},\"x\"]");
    assert_reads("{ \"b\" : { \"c\" : null } , \"a\" : [ true , false ] }", "{\"b\":{\"c\":null},\"a\":[true,false]}");
}

static void escapes_are_read(void **state)
{
    (void)state;
    assert_reads("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"");
    assert_reads("\"a\\u0041\\u00e9\\u20AC\\uD83D\\uDE00z\"", "\"aA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z\"");
    assert_reads("\"\\ud800\\udc00\\udbff\\udfff\"", "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"");
    assert_reads("\"\\ud7ff\\ue000\\uffff\"", "\"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"");
    assert_reads("\"\\u0001\\u001f\\u007f\"", "\"\\u0001\\u001f\x7f\"");
    assert_reads("{\"\\u0061\\n\":1}", "{\"a\\n\":1}");
}

static void utf8_is_read_to_its_edges(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\"\x7f\"",         "\"\xc2\x80\"",     "\"\xdf\xbf\"",     "\"\xe0\xa0\x80\"",     "\"\xed\x9f\xbf\"",
        "\"\xee\x80\x80\"", "\"\xef\xbf\xbf\"", "\"\xef\xbb\xbf\"", "\"\xf0\x90\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"",
        "{\"\xc3\xa9\":1}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        assert_reads(texts[i], texts[i]);
}

static void integers_are_exact(void **state)
{
    (void)state;
    assert_reads("9223372036854775807", "9223372036854775807");
    assert_reads("-9223372036854775808", "-9223372036854775808");
    assert_reads("9007199254740993", "9007199254740993");
    assert_reads("-0", "0");
    /* beyond int64 they are numbers that print as they were written */
    assert_reads("9223372036854775808", "9223372036854775808");
    assert_reads("[-9223372036854775809]", "[-9223372036854775809]");
    assert_reads("100000000000000000000000", "100000000000000000000000");
    JsonValue *value = NULL;
    assert_true(parse("18446744073709551615", 20, 1, &value, NULL));
    assert_int_equal(json_type(value), JSON_DOUBLE);
    json_free(value);
    assert_true(parse("-0", 2, 1, &value, NULL));
    assert_int_equal(json_type(value), JSON_INT);
    assert_int_equal(json_int(value), 0);
    json_free(value);
}

static void doubles_keep_their_text(void **state)
{
    (void)state;
    static const char *const texts[] = {"0.0",     "-0.0",
                                        "1e0",     "1E+2",
                                        "1.10e-2", "0.1000000000000000055511151231257827",
                                        "1e308",   "5e-324",
                                        "1e-999",  "9223372036854775808.0"};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        assert_reads(texts[i], texts[i]);
    JsonValue *value = NULL;
    assert_true(parse("1769850000.123", 14, 1, &value, NULL));
    assert_int_equal(json_type(value), JSON_DOUBLE);
    assert_true(json_double(value) == 1769850000.123);
    json_free(value);
}

typedef struct {
    const char *text;
    const char *message; /* after "line " */
} Refused;

static void assert_all_refused(const Refused *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g_autofree char *message = g_strconcat("line ", table[i].message, NULL);
        assert_fault(table[i].text, strlen(table[i].text), 32, message);
    }
}

static void broken_grammar_is_refused_where_it_breaks(void **state)
{
    (void)state;
    static const Refused table[] = {
        {"", "1, column 1: unexpected end of text, expected a value"},
        {" \n ", "2, column 2: unexpected end of text, expected a value"},
        {"nul", "1, column 1: expected a value"},
        {"nulL", "1, column 1: expected a value"},
        {"True", "1, column 1: expected a value"},
        {"NaN", "1, column 1: expected a value"},
        {"-Infinity", "1, column 2: expected a digit"},
        {"'a'", "1, column 1: expected a value"},
        {"// x\n1", "1, column 1: expected a value"},
        {"]", "1, column 1: expected a value"},
        {"[", "1, column 2: unexpected end of text, expected a value"},
        {"[1", "1, column 3: unexpected end of text, expected ',' or ']'"},
        {"[1,", "1, column 4: unexpected end of text, expected a value"},
        {"[1,]", "1, column 4: expected a value"},
        {"[,1]", "1, column 2: expected a value"},
        {"[1 2]", "1, column 4: expected ',' or ']'"},
        {"[1}", "1, column 3: expected ',' or ']'"},
        {"{", "1, column 2: unexpected end of text, expected a name in double quotes"},
        {"{a:1}", "1, column 2: expected a name in double quotes"},
        {"{1:1}", "1, column 2: expected a name in double quotes"},
        {"{\"a\"", "1, column 5: unexpected end of text, expected ':'"},
        {"{\"a\" 1}", "1, column 6: expected ':'"},
        {"{\"a\":", "1, column 6: unexpected end of text, expected a value"},
        {"{\"a\":}", "1, column 6: expected a value"},
        {"{\"a\":1", "1, column 7: unexpected end of text, expected ',' or '}'"},
        {"{\"a\":1]", "1, column 7: expected ',' or '}'"},
        {"{\"a\":1,}", "1, column 8: expected a name in double quotes"},
        {"{\"a\":1,\n \"b\":\r\n  tru}", "3, column 3: expected a value"},
        {"1 2", "1, column 3: unexpected text after the value"},
        {"nullx", "1, column 5: unexpected text after the value"},
        {"{}\n\n}", "3, column 1: unexpected text after the value"},
        {"\xc3\xa9", "1, column 1: expected a value"},
        {"[\"\xc3\xa9\xc3\xa9\" x]", "1, column 9: expected ',' or ']'"}, /* columns count bytes */
        {"\xef\xbb\xbf{}", "1, column 1: a byte order mark is not allowed"},
        {" \xef\xbb\xbf{}", "1, column 2: expected a value"},
        {"\v1", "1, column 1: expected a value"},
        {"\xc2\xa0"
         "1",
         "1, column 1: expected a value"},
    };
    assert_all_refused(table, G_N_ELEMENTS(table));
}

static void broken_numbers_are_refused(void **state)
{
    (void)state;
    static const Refused table[] = {
        {"-", "1, column 2: unexpected end of text, expected a digit"},
        {"+1", "1, column 1: expected a value"},
        {".5", "1, column 1: expected a value"},
        {"01", "1, column 1: a number must not begin with a zero"},
        {"-01", "1, column 2: a number must not begin with a zero"},
        {"00", "1, column 1: a number must not begin with a zero"},
        {"1.", "1, column 3: unexpected end of text, expected a digit"},
        {"[1.]", "1, column 4: expected a digit"},
        {"1e", "1, column 3: unexpected end of text, expected a digit"},
        {"1e+", "1, column 4: unexpected end of text, expected a digit"},
        {"1.e5", "1, column 3: expected a digit"},
        {"1e5.5", "1, column 4: unexpected text after the value"},
        {"0x10", "1, column 2: unexpected text after the value"},
        {"1_000", "1, column 2: unexpected text after the value"},
        {"1e400", "1, column 1: number out of range"},
        {"[0,-1e400]", "1, column 4: number out of range"},
        {"1.8e308", "1, column 1: number out of range"},
    };
    assert_all_refused(table, G_N_ELEMENTS(table));
}

static void broken_strings_are_refused(void **state)
{
    (void)state;
    static const Refused table[] = {
        {"\"", "1, column 2: unexpected end of text in a string"},
        {"\"abc", "1, column 5: unexpected end of text in a string"},
        {"\"abc\\", "1, column 6: unexpected end of text in a string"},
        {"\"abc\\\"", "1, column 7: unexpected end of text in a string"},
        {"\"\\n", "1, column 4: unexpected end of text in a string"},
        {"\"a\nb\"", "1, column 3: a control character in a string must be escaped"},
        {"\"a\tb\"", "1, column 3: a control character in a string must be escaped"},
        {"\"\\n\x1f\"", "1, column 4: a control character in a string must be escaped"},
        {"{\"\x01\":1}", "1, column 3: a control character in a string must be escaped"},
        {"\"\\x\"", "1, column 2: unknown escape in a string"},
        {"\"\\'\"", "1, column 2: unknown escape in a string"},
        {"\"\\U0041\"", "1, column 2: unknown escape in a string"},
        {"\"\\u\"", "1, column 2: \\u needs four hexadecimal digits"},
        {"\"\\u12\"", "1, column 2: \\u needs four hexadecimal digits"},
        {"\"\\u123", "1, column 2: \\u needs four hexadecimal digits"},
        {"\"\\u12g4\"", "1, column 2: \\u needs four hexadecimal digits"},
        {"\"\\u+123\"", "1, column 2: \\u needs four hexadecimal digits"},
        {"\"x\\u0000\"", "1, column 3: U+0000 is not allowed"},
        {"{\"x\\u0000\":1}", "1, column 4: U+0000 is not allowed"},
        {"\"\\ud800\"", "1, column 2: unpaired surrogate"},
        {"\"\\udbffx\"", "1, column 2: unpaired surrogate"},
        {"\"\\udc00\"", "1, column 2: unpaired surrogate"},
        {"\"ab\\udfff\"", "1, column 4: unpaired surrogate"},
        {"\"\\ud800\\ud800\"", "1, column 2: unpaired surrogate"},
        {"\"\\ud800\\n\"", "1, column 2: unpaired surrogate"},
        {"\"\\ud800\\u\"", "1, column 2: unpaired surrogate"},
        {"\"\\ud800\\u0041\"", "1, column 2: unpaired surrogate"},
        {"\"\\ud83d\\ude00\\ude00\"", "1, column 14: unpaired surrogate"},
        {"\"\\ud800", "1, column 2: unpaired surrogate"},
        {"\"\\ud800\\", "1, column 2: unpaired surrogate"},
        {"\"\\ud800\\udc0", "1, column 2: unpaired surrogate"},
    };
    assert_all_refused(table, G_N_ELEMENTS(table));
}

static void invalid_utf8_is_refused(void **state)
{
    (void)state;
    static const Refused table[] = {
        {"\"\x80\"", "1, column 2: invalid UTF-8"},
        {"\"\xbf\"", "1, column 2: invalid UTF-8"},
        {"\"\xff\"", "1, column 2: invalid UTF-8"},
        {"\"\xfe\"", "1, column 2: invalid UTF-8"},
        {"\"ab\xc0\xaf\"", "1, column 4: invalid UTF-8"},       /* overlong slash */
        {"\"\xc1\xbf\"", "1, column 2: invalid UTF-8"},         /* overlong */
        {"\"\xc0\x80\"", "1, column 2: invalid UTF-8"},         /* overlong NUL */
        {"\"\xe0\x80\xaf\"", "1, column 2: invalid UTF-8"},     /* overlong */
        {"\"\xe0\x9f\xbf\"", "1, column 2: invalid UTF-8"},     /* overlong */
        {"\"\xf0\x80\x80\xaf\"", "1, column 2: invalid UTF-8"}, /* overlong */
        {"\"\xf0\x8f\xbf\xbf\"", "1, column 2: invalid UTF-8"}, /* overlong */
        {"\"\xed\xa0\x80\"", "1, column 2: invalid UTF-8"},     /* a surrogate */
        {"\"\xed\xbf\xbf\"", "1, column 2: invalid UTF-8"},     /* a surrogate */
        {"\"\xf4\x90\x80\x80\"", "1, column 2: invalid UTF-8"}, /* beyond U+10FFFF */
        {"\"\xf5\x80\x80\x80\"", "1, column 2: invalid UTF-8"},
        {"\"\xf8\x88\x80\x80\x80\"", "1, column 2: invalid UTF-8"},
        {"\"\xc3\"", "1, column 2: invalid UTF-8"},
        {"\"\xc3", "1, column 2: invalid UTF-8"},
        {"\"\xe2\x82\"", "1, column 2: invalid UTF-8"},
        {"\"\xe2\x82", "1, column 2: invalid UTF-8"},
        {"\"\xe2\x28\xa1\"", "1, column 2: invalid UTF-8"},
        {"\"\xf0\x9f\x98", "1, column 2: invalid UTF-8"},
        {"\"\xf0\x9f\x98\x28\"", "1, column 2: invalid UTF-8"},
        {"\"\\n\xc3\xa9\xc3\"", "1, column 6: invalid UTF-8"}, /* after an escape too */
        {"{\"\xff\":1}", "1, column 3: invalid UTF-8"},
    };
    assert_all_refused(table, G_N_ELEMENTS(table));
}

static void a_nul_is_refused_wherever_it_is(void **state)
{
    (void)state;
    assert_fault("\0", 1, 32, "line 1, column 1: U+0000 is not allowed");
    assert_fault("1\0", 2, 32, "line 1, column 2: U+0000 is not allowed");
    assert_fault("{}\0{}", 5, 32, "line 1, column 3: U+0000 is not allowed");
    assert_fault("[1\0]", 4, 32, "line 1, column 3: U+0000 is not allowed");
    assert_fault("\"a\0b\"", 5, 32, "line 1, column 3: U+0000 is not allowed");
    assert_fault("\"\\n\0b\"", 6, 32, "line 1, column 4: U+0000 is not allowed");
    assert_fault("\"\\\0\"", 4, 32, "line 1, column 2: unknown escape in a string");
    assert_fault("{\"a\0\":1}", 8, 32, "line 1, column 4: U+0000 is not allowed");
}

static void duplicate_names_are_refused(void **state)
{
    (void)state;
    static const Refused table[] = {
        {"{\"a\":1,\"a\":1}", "1, column 8: duplicate name \"a\""},
        {"{\"a\":1,\"\\u0061\":2}", "1, column 8: duplicate name \"a\""},
        {"{\"\\u0061\":1,\"b\":2,\n\"a\":2}", "2, column 1: duplicate name \"a\""},
        {"{\"\":1,\"\":2}", "1, column 7: duplicate name \"\""},
        {"{\"a\":null,\"a\":null}", "1, column 11: duplicate name \"a\""},
        {"[{\"x\":{\"a\":1,\"b\":2,\"a\":3}}]", "1, column 20: duplicate name \"a\""},
        {"{\"\xc3\xa9\":1,\"\\u00e9\":2}", "1, column 9: duplicate name \"\xc3\xa9\""},
        {"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":2}", "1, column 19: duplicate name \"\xf0\x9f\x98\x80\""},
    };
    assert_all_refused(table, G_N_ELEMENTS(table));
    assert_reads("{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"A\":1}", "{\"a\":{\"a\":[{\"a\":1},{\"a\":2}]},\"A\":1}");
}

static void a_long_duplicate_name_is_cut_between_characters(void **state)
{
    (void)state;
    g_autoptr(GString) name = g_string_new("x");
    for (int i = 0; i < 500; i++)
        g_string_append(name, "\xc3\xa9");
    g_autofree char *text = g_strdup_printf("{\"%s\":1,\"%s\":2}", name->str, name->str);
    g_autofree char *message =
        g_strdup_printf("line 1, column 1008: duplicate name \"%.*s...\"", 63, name->str); /* 64 is within an é */
    assert_fault(text, strlen(text), 32, message);
}

static char *repeat(const char *unit, size_t n)
{
    GString *out = g_string_new("");
    for (size_t i = 0; i < n; i++)
        g_string_append(out, unit);
    return g_string_free(out, FALSE);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    g_autofree char *open = repeat("[", 32), *close = repeat("]", 32);
    g_autofree char *deepest = g_strconcat(open, close, NULL), *deeper = g_strconcat("[", open, close, "]", NULL);
    assert_reads(deepest, deepest);
    assert_fault(deeper, strlen(deeper), 32, "line 1, column 33: nested deeper than 32 levels");
    assert_fault("{\"a\":[{}]}", 10, 2, "line 1, column 7: nested deeper than 2 levels");
    assert_fault("[]", 2, 0, "line 1, column 1: nested deeper than 0 levels");
    JsonValue *value = NULL;
    assert_true(parse("[[],[[]],{}]", 12, 3, &value, NULL)); /* depth is not a count */
    json_free(value);
    assert_true(parse("7", 1, 0, &value, NULL));
    json_free(value);
    g_autofree char *bomb = repeat("[", 1000000);
    assert_fault(bomb, strlen(bomb), 100, "line 1, column 101: nested deeper than 100 levels");
    g_autofree char *object_bomb = repeat("{\"a\":", 200000);
    assert_fault(object_bomb, strlen(object_bomb), 100, "line 1, column 501: nested deeper than 100 levels");
}

static int64_t cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One object of 1 MiB of names: quadratic work would take minutes. The bound is wide, for sanitizers. */
static void a_mebibyte_of_names_is_read_in_linear_time(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new("{");
    for (int i = 0; text->len < 1024 * 1024; i++)
        g_string_append_printf(text, "\"%x\":1,", i);
    g_string_append(text, "\"1\":2}"); /* a repeat at the very end */
    int64_t start = cpu_ms();
    g_autofree char *message = g_strdup_printf("line 1, column %zu: duplicate name \"1\"", text->len - 5);
    assert_fault(text->str, text->len, 32, message);
    assert_true(cpu_ms() - start < 5000);
}

static void the_number_of_containers_is_bounded(void **state)
{
    (void)state;
    g_autofree char *units = repeat("{},", 131071);
    g_autofree char *too_many = g_strconcat("[", units, "{}]", NULL);
    g_autofree char *just = g_strdup_printf("[%.*s]", (int)strlen(units) - 1, units);
    assert_fault(too_many, strlen(too_many), 32, "line 1, column 393215: more than 131072 arrays and objects");
    JsonValue *value = NULL;
    assert_true(parse(just, strlen(just), 32, &value, NULL));
    assert_int_equal(json_array_length(value), 131071);
    json_free(value);
}

static void long_strings_and_numbers_are_read(void **state)
{
    (void)state;
    g_autofree char *plain = repeat("xyz", 300000), *escaped = repeat("\\u0041\\\\", 100000),
                    *digits = repeat("3", 900000);
    g_autofree char *text = g_strdup_printf("{\"%.*s\":\"%s\",\"b\":\"%s\",\"%.*s\":0.%s}", 2000, plain, plain, escaped,
                                            8000, escaped, digits);
    JsonValue *value = NULL;
    g_autoptr(GError) error = NULL;
    assert_true(parse(text, strlen(text), 32, &value, &error));
    assert_int_equal(json_object_size(value), 3);
    assert_int_equal(strlen(json_text(json_get(value, "b"))), 200000);
    json_free(value);
}

/* ---- against json-c's own reader, on mutations of good texts ---- */

static struct json_object *read_by_json_c(const char *text, size_t size)
{
    struct json_tokener *tokener = json_tokener_new_ex(64);
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    g_autofree char *terminated = g_strndup(text, size);
    struct json_object *value = json_tokener_parse_ex(tokener, terminated, (int)size + 1);
    if (json_tokener_get_error(tokener) != json_tokener_success)
        fail_msg("we accept what json-c refuses: %s", terminated);
    json_tokener_free(tokener);
    return value;
}

static void assert_agrees(const char *text, size_t size)
{
    JsonValue *value = NULL;
    g_autoptr(GError) error = NULL;
    if (!parse(text, size, 32, &value, &error)) {
        assert_true(g_str_has_prefix(error->message, "line "));
        assert_true(g_utf8_validate(error->message, -1, NULL));
        return;
    }
    struct json_object *theirs = read_by_json_c(text, size);
    g_autofree char *ours_printed = json_print(value);
    g_autofree char *ours_canonical = json_print_canonical(value);
    JsonValue *again = NULL;
    assert_true(parse(ours_printed, strlen(ours_printed), 32, &again, NULL));
    assert_true(json_object_equal(value, again));
    if (strstr(text, "-0") == NULL) /* json-c reads it as a double */
        assert_true(json_object_equal(value, theirs));
    g_autofree char *again_canonical = json_print_canonical(again);
    assert_string_equal(ours_canonical, again_canonical);
    json_object_put(theirs);
    json_free(again);
    json_free(value);
}

static void mutations_never_fool_us(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"eventType\":\"STEP_STATUS\",\"attempt\":1,\"outputs\":{\"a\":\"\\u00e9\\n\",\"b\":[1,2.5e3,-7]}}",
        "[\"\\ud83d\\ude00\xf0\x9f\x98\x80\xc3\xa9\",true,false,null,[[],{}],1e308,12345678901234567,{\"\":\"\"}]",
        "{\"a\":[{\"b\":1,\"c\":2},{\"b\":1}],\"d\":{\"a\":{\"a\":{}}},\"e\":\"\\\\\\\"\\/\\t\",\"f\":0.001}",
    };
    static const char alphabet[] = "{}[]\",:\\/ueE+-.0123456789abnrtfls \n\t\x01\x7f\x80\xc3\xa9\xed\xf0\xff";
    g_autoptr(GRand) random = g_rand_new_with_seed(20260131);
    for (int round = 0; round < 30000; round++) {
        g_autoptr(GString) text = g_string_new(seeds[round % (int)G_N_ELEMENTS(seeds)]);
        for (int n = g_rand_int_range(random, 0, 4); n > 0 && text->len > 0; n--) {
            gssize place = g_rand_int_range(random, 0, (int)text->len);
            char byte = alphabet[g_rand_int_range(random, 0, (int)sizeof alphabet)]; /* the NUL too */
            switch (g_rand_int_range(random, 0, 4)) {
            case 0:
                text->str[place] = byte;
                break;
            case 1:
                g_string_insert_c(text, place, byte);
                break;
            case 2:
                g_string_erase(text, place, 1);
                break;
            default:
                g_string_truncate(text, (gsize)place);
            }
        }
        assert_agrees(text->str, text->len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_read),
        cmocka_unit_test(escapes_are_read),
        cmocka_unit_test(utf8_is_read_to_its_edges),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(doubles_keep_their_text),
        cmocka_unit_test(broken_grammar_is_refused_where_it_breaks),
        cmocka_unit_test(broken_numbers_are_refused),
        cmocka_unit_test(broken_strings_are_refused),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(a_nul_is_refused_wherever_it_is),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(a_long_duplicate_name_is_cut_between_characters),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(long_strings_and_numbers_are_read),
        cmocka_unit_test(a_mebibyte_of_names_is_read_in_linear_time),
        cmocka_unit_test(the_number_of_containers_is_bounded),
        cmocka_unit_test(mutations_never_fool_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
