/* json_parse.c - strict reading of JSON text into json-c's values. json-c's own reader is lenient where we must not be
 * (it keeps the last of two equal names, replaces unpaired surrogates, stops at a NUL), so the grammar is ours: one
 * pass that checks every byte and builds the value as it goes, and no second opinion on what a number or a name is.
 *
 * Equal names are found by the object's own hash table, whose seed is random in each process, so no body can be made to
 * collide. Line and column are counted only once something is wrong. */
#include "base/json_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES 512      /* on the stack; names, numbers and escaped texts that are longer go to the heap */
#define MAX_CONTAINERS 131072  /* an object costs json-c 0.8 KB, so `[{},{},...` of 1 MiB would take 280 MB */
#define FIRST_ARRAY_CAPACITY 4 /* json-c's 32 would let `[[],[],...` of 1 MiB take 100 MB */
#define NAME_SHOWN_BYTES 64    /* of a name repeated in an error */

typedef struct {
    const char *start;
    const char *at;
    const char *end;
    int depth;
    int max_depth;
    int n_containers;
    const char *fault_at; /* set by fault(), once */
    char *fault;
    char *scratch; /* `scratch_first` or from the heap */
    size_t scratch_size;
    char scratch_first[SCRATCH_BYTES];
} Parser;

static bool parse_value(Parser *parser, JsonValue **ret_value);

/* Always false, so that callers can return it. */
PRINTF_LIKE(3, 4) static bool fault(Parser *parser, const char *at, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    parser->fault_at = at;
    parser->fault = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return false;
}

/* Something else was expected here: says what, or what is plainly wrong with what is here. */
static bool fault_expected(Parser *parser, const char *expected)
{
    if (parser->at >= parser->end)
        return fault(parser, parser->end, "unexpected end of text, expected %s", expected);
    if (*parser->at == '\0')
        return fault(parser, parser->at, "U+0000 is not allowed");
    return fault(parser, parser->at, "expected %s", expected);
}

static JsonValue *made(JsonValue *value)
{
    if (value == NULL)
        g_error("out of memory for JSON"); /* ends the process, as GLib's own allocations do */
    return value;
}

/* At least `size` bytes that stay until the next call. */
static char *scratch_reserve(Parser *parser, size_t size)
{
    if (size > parser->scratch_size) {
        if (parser->scratch != parser->scratch_first)
            g_free(parser->scratch);
        parser->scratch_size = MAX(size, parser->scratch_size * 2);
        parser->scratch = g_malloc(parser->scratch_size);
    }
    return parser->scratch;
}

static void skip_space(Parser *parser)
{
    while (parser->at < parser->end &&
           (*parser->at == ' ' || *parser->at == '\n' || *parser->at == '\r' || *parser->at == '\t'))
        parser->at++;
}

static bool next_is(const Parser *parser, char c)
{
    return parser->at < parser->end && *parser->at == c;
}

/* ---- strings ---- */

/* Length of the UTF-8 sequence at `at` (RFC 3629: shortest form, no surrogates, up to U+10FFFF); 0 when it is none. */
static size_t utf8_sequence(const char *at, const char *end)
{
    const unsigned char *bytes = (const unsigned char *)at;
    size_t size, n_left = (size_t)(end - at);
    unsigned char lowest = 0x80, highest = 0xbf; /* of the second byte */
    if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf) {
        size = 2;
    } else if ((bytes[0] & 0xf0) == 0xe0) {
        size = 3;
        lowest = bytes[0] == 0xe0 ? 0xa0 : 0x80;
        highest = bytes[0] == 0xed ? 0x9f : 0xbf;
    } else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4) {
        size = 4;
        lowest = bytes[0] == 0xf0 ? 0x90 : 0x80;
        highest = bytes[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (n_left < size || bytes[1] < lowest || bytes[1] > highest)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
    }
    return size;
}

static bool parse_hex4(const char *at, const char *end, unsigned *ret_code)
{
    unsigned code = 0;
    if (end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        int digit = g_ascii_xdigit_value(at[i]);
        if (digit < 0)
            return false;
        code = code << 4 | (unsigned)digit;
    }
    *ret_code = code;
    return true;
}

/* A \u escape at `at`, two of them for what lies beyond U+FFFF. Writes it as UTF-8, never longer than the escape. */
static bool unescape_unicode(Parser *parser, const char **at, char **out)
{
    const char *start = *at;
    unsigned code, low;
    if (!parse_hex4(start + 2, parser->end, &code))
        return fault(parser, start, "\\u needs four hexadecimal digits");
    *at = start + 6;
    if (code == 0)
        return fault(parser, start, "U+0000 is not allowed");
    if (code >= 0xdc00 && code <= 0xdfff)
        return fault(parser, start, "unpaired surrogate");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (parser->end - *at < 2 || (*at)[0] != '\\' || (*at)[1] != 'u' || !parse_hex4(*at + 2, parser->end, &low) ||
            low < 0xdc00 || low > 0xdfff)
            return fault(parser, start, "unpaired surrogate");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    }
    *out += g_unichar_to_utf8(code, *out);
    return true;
}

static bool unescape(Parser *parser, const char **at, char **out)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    if (parser->end - *at < 2)
        return fault(parser, parser->end, "unexpected end of text in a string");
    char letter = (*at)[1];
    if (letter == 'u')
        return unescape_unicode(parser, at, out);
    const char *found = letter == '\0' ? NULL : strchr(letters, letter);
    if (found == NULL)
        return fault(parser, *at, "unknown escape in a string");
    *(*out)++ = meanings[found - letters];
    *at += 2;
    return true;
}

/* The run of bytes from `at` that mean themselves; checks their UTF-8. Ends at a quote, a backslash or where the text
 * does. */
static bool scan_run(Parser *parser, const char **at)
{
    const char *i = *at, *end = parser->end;
    while (i < end) {
        unsigned char c = (unsigned char)*i;
        if (c == '"' || c == '\\')
            break;
        if (c >= 0x80) {
            size_t size = utf8_sequence(i, end);
            if (size == 0)
                return fault(parser, i, "invalid UTF-8");
            i += size;
        } else if (c >= 0x20) {
            i++;
        } else if (c == '\0') {
            return fault(parser, i, "U+0000 is not allowed");
        } else {
            return fault(parser, i, "a control character in a string must be escaped");
        }
    }
    *at = i;
    return true;
}

/* The rest of a string from its first escape on, into the scratch buffer. */
static bool parse_escaped(Parser *parser, const char *start, const char *at, const char **ret_text, size_t *ret_size)
{
    const char *closing = at; /* what is unescaped is never longer than what is written */
    while (closing < parser->end && *closing != '"')
        closing += *closing == '\\' && parser->end - closing > 1 ? 2 : 1;
    char *text = scratch_reserve(parser, (size_t)(closing - start));
    char *out = text;
    for (;;) {
        memcpy(out, start, (size_t)(at - start));
        out += at - start;
        if (at >= parser->end)
            return fault(parser, parser->end, "unexpected end of text in a string");
        if (*at == '"')
            break;
        if (!unescape(parser, &at, &out))
            return false;
        start = at;
        if (!scan_run(parser, &at))
            return false;
    }
    *ret_text = text;
    *ret_size = (size_t)(out - text);
    parser->at = at + 1;
    return true;
}

/* The string at the opening quote. The text lies in the input or in the scratch buffer and is not NUL-terminated. */
static bool parse_string(Parser *parser, const char **ret_text, size_t *ret_size)
{
    const char *start = parser->at + 1, *at = start;
    if (!scan_run(parser, &at))
        return false;
    if (at >= parser->end || *at != '"')
        return parse_escaped(parser, start, at, ret_text, ret_size);
    *ret_text = start;
    *ret_size = (size_t)(at - start);
    parser->at = at + 1;
    return true;
}

/* ---- numbers ---- */

static bool skip_digits(Parser *parser)
{
    const char *start = parser->at;
    while (parser->at < parser->end && g_ascii_isdigit(*parser->at))
        parser->at++;
    return parser->at > start || fault_expected(parser, "a digit");
}

static bool make_double(Parser *parser, const char *start, JsonValue **ret_value);

/* One that int64 cannot hold becomes a number that keeps its text: whoever only passes it on loses nothing, and whoever
 * wants an integer sees that it is none. */
static bool make_integer(Parser *parser, const char *start, JsonValue **ret_value)
{
    bool is_negative = *start == '-';
    int64_t value = 0;
    for (const char *at = start + is_negative; at < parser->at; at++) {
        int digit = *at - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, is_negative ? -digit : digit, &value))
            return make_double(parser, start, ret_value);
    }
    *ret_value = made(json_object_new_int64(value));
    return true;
}

static bool make_double(Parser *parser, const char *start, JsonValue **ret_value)
{
    size_t size = (size_t)(parser->at - start);
    char *text = scratch_reserve(parser, size + 1);
    memcpy(text, start, size);
    text[size] = '\0';
    double value = g_ascii_strtod(text, NULL); /* whatever the locale; what is too small becomes 0 or a subnormal */
    if (!isfinite(value))
        return fault(parser, start, "number out of range");
    *ret_value = made(json_object_new_double_s(value, text));
    return true;
}

static bool parse_number(Parser *parser, JsonValue **ret_value)
{
    const char *start = parser->at;
    bool is_integer = true;
    if (next_is(parser, '-'))
        parser->at++;
    const char *first_digit = parser->at;
    if (!skip_digits(parser))
        return false;
    if (*first_digit == '0' && parser->at - first_digit > 1)
        return fault(parser, first_digit, "a number must not begin with a zero");
    if (next_is(parser, '.')) {
        is_integer = false;
        parser->at++;
        if (!skip_digits(parser))
            return false;
    }
    if (next_is(parser, 'e') || next_is(parser, 'E')) {
        is_integer = false;
        parser->at++;
        if (next_is(parser, '+') || next_is(parser, '-'))
            parser->at++;
        if (!skip_digits(parser))
            return false;
    }
    return is_integer ? make_integer(parser, start, ret_value) : make_double(parser, start, ret_value);
}

/* ---- arrays and objects ---- */

static bool enter_container(Parser *parser)
{
    if (parser->depth >= parser->max_depth)
        return fault(parser, parser->at, "nested deeper than %d levels", parser->max_depth);
    if (parser->n_containers >= MAX_CONTAINERS)
        return fault(parser, parser->at, "more than %d arrays and objects", MAX_CONTAINERS);
    parser->depth++;
    parser->n_containers++;
    parser->at++;
    skip_space(parser);
    return true;
}

static void leave_container(Parser *parser)
{
    parser->at++;
    parser->depth--;
}

static bool parse_elements(Parser *parser, JsonValue *array)
{
    if (next_is(parser, ']'))
        return true;
    for (;;) {
        JsonValue *element;
        if (!parse_value(parser, &element))
            return false;
        if (json_object_array_add(array, element) != 0)
            made(NULL);
        skip_space(parser);
        if (next_is(parser, ']'))
            return true;
        if (!next_is(parser, ','))
            return fault_expected(parser, "',' or ']'");
        parser->at++;
        skip_space(parser);
    }
}

static bool parse_array(Parser *parser, JsonValue **ret_value)
{
    if (!enter_container(parser))
        return false;
    JsonValue *array = made(json_object_new_array_ext(FIRST_ARRAY_CAPACITY));
    if (!parse_elements(parser, array)) {
        json_object_put(array);
        return false;
    }
    leave_container(parser);
    *ret_value = array;
    return true;
}

static bool fault_duplicate(Parser *parser, const char *at, const char *name)
{
    size_t size = strlen(name);
    if (size <= NAME_SHOWN_BYTES)
        return fault(parser, at, "duplicate name \"%s\"", name);
    const char *cut = g_utf8_find_prev_char(name, name + NAME_SHOWN_BYTES + 1); /* not within a character */
    return fault(parser, at, "duplicate name \"%.*s...\"", (int)(cut - name), name);
}

/* A name as NUL-terminated text of its own, refused when the object has it already. */
static bool parse_name(Parser *parser, JsonValue *object, char **ret_name)
{
    const char *start = parser->at, *text;
    size_t size;
    if (!next_is(parser, '"'))
        return fault_expected(parser, "a name in double quotes");
    if (!parse_string(parser, &text, &size))
        return false;
    g_autofree char *name = g_strndup(text, size);
    if (json_object_object_get_ex(object, name, NULL))
        return fault_duplicate(parser, start, name);
    *ret_name = g_steal_pointer(&name);
    return true;
}

static bool parse_member(Parser *parser, JsonValue *object)
{
    g_autofree char *name = NULL;
    if (!parse_name(parser, object, &name))
        return false;
    skip_space(parser);
    if (!next_is(parser, ':'))
        return fault_expected(parser, "':'");
    parser->at++;
    skip_space(parser);
    JsonValue *value;
    if (!parse_value(parser, &value))
        return false;
    if (json_object_object_add_ex(object, name, value, JSON_C_OBJECT_ADD_KEY_IS_NEW) != 0)
        made(NULL);
    return true;
}

static bool parse_members(Parser *parser, JsonValue *object)
{
    if (next_is(parser, '}'))
        return true;
    for (;;) {
        if (!parse_member(parser, object))
            return false;
        skip_space(parser);
        if (next_is(parser, '}'))
            return true;
        if (!next_is(parser, ','))
            return fault_expected(parser, "',' or '}'");
        parser->at++;
        skip_space(parser);
    }
}

static bool parse_object(Parser *parser, JsonValue **ret_value)
{
    if (!enter_container(parser))
        return false;
    JsonValue *object = made(json_object_new_object());
    if (!parse_members(parser, object)) {
        json_object_put(object);
        return false;
    }
    leave_container(parser);
    *ret_value = object;
    return true;
}

/* ---- values ---- */

static bool take_word(Parser *parser, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(parser->end - parser->at) < size || memcmp(parser->at, word, size) != 0)
        return false;
    parser->at += size;
    return true;
}

static bool parse_word(Parser *parser, JsonValue **ret_value)
{
    if (take_word(parser, "null"))
        *ret_value = NULL;
    else if (take_word(parser, "true"))
        *ret_value = made(json_object_new_boolean(TRUE));
    else if (take_word(parser, "false"))
        *ret_value = made(json_object_new_boolean(FALSE));
    else
        return fault_expected(parser, "a value");
    return true;
}

/* Recursion is bounded by max_depth. */
static bool parse_value(Parser *parser, JsonValue **ret_value)
{
    const char *text;
    size_t size;
    if (parser->at >= parser->end)
        return fault_expected(parser, "a value");
    switch (*parser->at) {
    case '{':
        return parse_object(parser, ret_value);
    case '[':
        return parse_array(parser, ret_value);
    case '"':
        if (!parse_string(parser, &text, &size))
            return false;
        *ret_value = made(json_object_new_string_len(text, (int)size));
        return true;
    case '-':
    case '0' ... '9':
        return parse_number(parser, ret_value);
    default:
        return parse_word(parser, ret_value);
    }
}

static bool parse_text(Parser *parser, JsonValue **ret_value)
{
    if (parser->end - parser->at >= 3 && memcmp(parser->at, "\xef\xbb\xbf", 3) == 0)
        return fault(parser, parser->at, "a byte order mark is not allowed");
    skip_space(parser);
    JsonValue *value;
    if (!parse_value(parser, &value))
        return false;
    skip_space(parser);
    if (parser->at < parser->end) {
        json_object_put(value);
        return *parser->at == '\0' ? fault_expected(parser, "nothing")
                                   : fault(parser, parser->at, "unexpected text after the value");
    }
    *ret_value = value;
    return true;
}

static void set_fault_error(const Parser *parser, GError **error)
{
    size_t line = 1;
    const char *line_start = parser->start;
    for (const char *at = parser->start; at < parser->fault_at; at++) {
        if (*at == '\n') {
            line++;
            line_start = at + 1;
        }
    }
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "line %zu, column %zu: %s", line,
                (size_t)(parser->fault_at - line_start) + 1, parser->fault);
}

bool json_parse(const char *text, size_t size, int max_depth, JsonValue **ret_value, GError **error)
{
    if (size > INT_MAX / 2) { /* json-c counts a string's bytes in an int */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "line 1, column 1: the text is too long");
        return false;
    }
    Parser parser;
    parser.start = parser.at = text;
    parser.end = text + size;
    parser.depth = parser.n_containers = 0;
    parser.max_depth = max_depth;
    parser.fault_at = NULL;
    parser.fault = NULL;
    parser.scratch = parser.scratch_first;
    parser.scratch_size = sizeof parser.scratch_first;

    bool is_read = parse_text(&parser, ret_value);
    if (!is_read)
        set_fault_error(&parser, error);
    if (parser.scratch != parser.scratch_first)
        g_free(parser.scratch);
    g_free(parser.fault);
    return is_read;
}
