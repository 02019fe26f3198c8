/* json_write.c - JSON text straight into a GString. Every answer, journal event and message passes here, so text that
 * needs no escaping is found in runs and copied whole, and nothing goes through printf. */
#include "base/json.h"

#include <string.h>

#include "base/clock.h"

/* Room for `size` more bytes and a NUL; the caller writes there and then adds to out->len. */
static inline char *reserve(GString *out, size_t size)
{
    if (size >= out->allocated_len - out->len) {
        size_t len = out->len;
        g_string_set_size(out, len + size); /* grows to a power of two */
        g_string_truncate(out, len);
    }
    return out->str + out->len;
}

static void put_bytes(GString *out, const char *bytes, size_t size)
{
    char *at = reserve(out, size);
    memcpy(at, bytes, size);
    at[size] = '\0';
    out->len += size;
}

static void put_char(GString *out, char c)
{
    *reserve(out, 1) = c;
    out->str[++out->len] = '\0';
}

/* What RFC 8259 wants escaped: quote, backslash, controls. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

static void put_escaped_char(GString *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};
    size_t size = 2;
    switch (c) {
    case '"':
    case '\\':
        escape[1] = (char)c;
        break;
    case '\b':
        escape[1] = 'b';
        break;
    case '\f':
        escape[1] = 'f';
        break;
    case '\n':
        escape[1] = 'n';
        break;
    case '\r':
        escape[1] = 'r';
        break;
    case '\t':
        escape[1] = 't';
        break;
    default:
        size = 6;
    }
    put_bytes(out, escape, size);
}

/* True when none of the eight bytes needs escaping (bytes of 0x80 and above never do). */
static bool is_plain_word(uint64_t word)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    uint64_t hits = (word - ones * 0x20) | (quote - ones) | (backslash - ones);
    return (hits & ~word & highs) == 0;
}

/* How many bytes from the start need no escaping. */
static size_t plain_prefix(const char *text, size_t size)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof word <= size; i += sizeof word) {
        memcpy(&word, text + i, sizeof word);
        if (!is_plain_word(word))
            break;
    }
    while (i < size && is_plain((unsigned char)text[i]))
        i++;
    return i;
}

static void put_quoted(GString *out, const char *text, size_t size)
{
    put_char(out, '"');
    for (;;) {
        size_t n_plain = plain_prefix(text, size);
        put_bytes(out, text, n_plain);
        if (n_plain == size)
            break;
        put_escaped_char(out, (unsigned char)text[n_plain]);
        text += n_plain + 1;
        size -= n_plain + 1;
    }
    put_char(out, '"');
}

/* The comma before a value and, in an object, its name. */
static void begin_value(JsonWriter *writer, const char *key)
{
    if (writer->needs_comma)
        put_char(writer->out, ',');
    writer->needs_comma = true;
    if (key != NULL) {
        put_quoted(writer->out, key, strlen(key));
        put_char(writer->out, ':');
    }
}

void json_begin_object(JsonWriter *writer, const char *key)
{
    begin_value(writer, key);
    put_char(writer->out, '{');
    writer->needs_comma = false;
}

void json_end_object(JsonWriter *writer)
{
    put_char(writer->out, '}');
    writer->needs_comma = true;
}

void json_begin_array(JsonWriter *writer, const char *key)
{
    begin_value(writer, key);
    put_char(writer->out, '[');
    writer->needs_comma = false;
}

void json_end_array(JsonWriter *writer)
{
    put_char(writer->out, ']');
    writer->needs_comma = true;
}

void json_put_string(JsonWriter *writer, const char *key, const char *text)
{
    json_put_string_n(writer, key, text, text == NULL ? 0 : strlen(text));
}

void json_put_string_n(JsonWriter *writer, const char *key, const char *text, size_t size)
{
    if (text == NULL) {
        json_put_null(writer, key);
        return;
    }
    begin_value(writer, key);
    put_quoted(writer->out, text, size);
}

void json_put_int(JsonWriter *writer, const char *key, int64_t value)
{
    char text[20]; /* "-9223372036854775808" */
    char *at = text + sizeof text;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        *--at = '-';
    begin_value(writer, key);
    put_bytes(writer->out, at, (size_t)(text + sizeof text - at));
}

void json_put_bool(JsonWriter *writer, const char *key, bool value)
{
    begin_value(writer, key);
    if (value)
        put_bytes(writer->out, "true", 4);
    else
        put_bytes(writer->out, "false", 5);
}

void json_put_null(JsonWriter *writer, const char *key)
{
    begin_value(writer, key);
    put_bytes(writer->out, "null", 4);
}

void json_put_instant(JsonWriter *writer, const char *key, int64_t ms)
{
    if (ms == INSTANT_NONE) {
        json_put_null(writer, key);
        return;
    }
    char text[INSTANT_TEXT_SIZE + 2];
    size_t size = instant_format(ms, text + 1);
    text[0] = '"';
    text[size + 1] = '"';
    begin_value(writer, key);
    put_bytes(writer->out, text, size + 2);
}

void json_put_raw(JsonWriter *writer, const char *key, const char *json, size_t size)
{
    if (json == NULL) {
        json_put_null(writer, key);
        return;
    }
    begin_value(writer, key);
    put_bytes(writer->out, json, size);
}
