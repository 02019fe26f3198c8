/* message_member.c - reads members strictly. Numeric instants are read from the number's own digits: through a double,
 * one millisecond in a few thousand would come out as its neighbour. */
#include "domain/message_member.h"

#include <string.h>

#include "domain/fault.h"

#define SHOWN_MAX_BYTES 80               /* of an unknown text that a reason repeats */
#define INSTANT_MIN_MS (-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define INSTANT_MAX_MS 253402300799999   /* 9999-12-31T23:59:59.999Z */

JsonValue *member_parse_object(const char *json, size_t size, int max_depth, GError **error)
{
    g_autoptr(JsonValue) value = NULL;
    if (size == 0) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "empty value");
        return NULL;
    }
    if (!json_parse(json, size, max_depth, &value, error))
        return NULL;
    if (json_type(value) != JSON_OBJECT) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "the value must be an object, not %s",
                    json_type_name(json_type(value)));
        return NULL;
    }
    return g_steal_pointer(&value);
}

/* False with the error set when it is required; *ret_value is NULL when it is absent. */
static bool find(const JsonValue *object, const char *name, MemberNeed need, const JsonValue **ret_value,
                 GError **error)
{
    *ret_value = json_get(object, name);
    if (*ret_value == NULL && need == MEMBER_REQUIRED) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s is missing", name);
        return false;
    }
    return true;
}

static bool refuse_type(const char *name, const char *expected, const JsonValue *value, GError **error)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s must be %s, not %s", name, expected,
                json_type_name(json_type(value)));
    return false;
}

bool member_get(const JsonValue *object, const char *name, JsonType type, MemberNeed need, const JsonValue **ret_value,
                GError **error)
{
    const JsonValue *value;
    if (!find(object, name, need, &value, error))
        return false;
    if (value != NULL && json_type(value) != type)
        return refuse_type(name, json_type_name(type), value, error);
    if (value != NULL)
        *ret_value = value;
    return true;
}

bool member_get_text(const JsonValue *object, const char *name, MemberNeed need, const char **ret_text, GError **error)
{
    const JsonValue *value = NULL;
    if (!member_get(object, name, JSON_STRING, need, &value, error))
        return false;
    if (value != NULL)
        *ret_text = json_text(value);
    return true;
}

bool member_get_int(const JsonValue *object, const char *name, MemberNeed need, int64_t min, int64_t max,
                    int64_t *ret_int, GError **error)
{
    const JsonValue *value = NULL;
    if (!member_get(object, name, JSON_INT, need, &value, error))
        return false;
    if (value == NULL)
        return true;
    int64_t number = json_int(value);
    if (number < min || number > max) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s must be from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                    name, min, max);
        return false;
    }
    *ret_int = number;
    return true;
}

bool member_get_id(const JsonValue *object, const char *name, MemberNeed need, Id *ret_id, GError **error)
{
    const char *text = NULL;
    if (!member_get_text(object, name, need, &text, error))
        return false;
    if (text != NULL && !id_parse(text, ret_id)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s must be a UUID", name);
        return false;
    }
    return true;
}

/* Decimal seconds to milliseconds, digit by digit. False when outside the years 0000-9999. */
static bool seconds_to_ms(const char *text, int64_t *ret_ms)
{
    bool is_negative = *text == '-';
    const char *digits = is_negative ? text + 1 : text;
    size_t n_whole = strspn(digits, "0123456789");
    const char *exponent_text = strpbrk(digits, "eE");
    int64_t exponent = exponent_text != NULL ? g_ascii_strtoll(exponent_text + 1, NULL, 10) : 0;
    exponent = CLAMP(exponent, -100000, 100000);

    int64_t ms = 0;
    bool has_rest = false;
    int64_t weight = (int64_t)n_whole + exponent + 3; /* one more than the power of ten of the next digit, in ms */
    for (const char *p = digits; *p != '\0' && p != exponent_text; p++) {
        if (*p == '.')
            continue;
        weight--;
        if (weight >= 0)
            ms = ms * 10 + (*p - '0');
        else if (*p != '0')
            has_rest = true;
        if (ms > INSTANT_MAX_MS)
            return false;
    }
    for (; weight > 0 && ms > 0; weight--) {
        ms *= 10;
        if (ms > INSTANT_MAX_MS)
            return false;
    }
    ms = is_negative ? -ms - (has_rest ? 1 : 0) : ms;
    if (ms < INSTANT_MIN_MS)
        return false;
    *ret_ms = ms;
    return true;
}

static bool instant_from_value(const JsonValue *value, int64_t *ret_ms)
{
    if (json_type(value) == JSON_STRING) {
        int64_t ms;
        if (!instant_parse(json_text(value), &ms) || ms < INSTANT_MIN_MS || ms > INSTANT_MAX_MS)
            return false;
        *ret_ms = ms;
        return true;
    }
    g_autofree char *text = json_print(value);
    return seconds_to_ms(text, ret_ms);
}

bool member_get_instant(const JsonValue *object, const char *name, MemberNeed need, int64_t *ret_ms, GError **error)
{
    const JsonValue *value;
    if (!find(object, name, need, &value, error))
        return false;
    if (value == NULL)
        return true;
    JsonType type = json_type(value);
    if (type != JSON_STRING && type != JSON_INT && type != JSON_DOUBLE)
        return refuse_type(name, "ISO-8601 text or epoch seconds", value, error);
    if (!instant_from_value(value, ret_ms)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s is no instant of the years 0000 to 9999", name);
        return false;
    }
    return true;
}

bool member_find_name(const JsonValue *object, const char *name, const char *const *names, size_t n_names,
                      size_t *ret_index)
{
    const JsonValue *value = json_get(object, name);
    const char *text = json_type(value) == JSON_STRING ? json_text(value) : NULL;
    for (size_t i = 0; i < n_names; i++) {
        if (g_strcmp0(names[i], text) == 0) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

void member_set_unknown(const char *name, const char *text, GError **error)
{
    g_autofree char *shown = text_head(text, SHOWN_MAX_BYTES);
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "unknown %s \"%s\"", name, shown);
}

char *text_head(const char *text, size_t max_bytes)
{
    return text != NULL ? g_strndup(text, text_cut(text, max_bytes)) : NULL;
}
