/* query.c - decodes in place in one copy. */
#include "http/query.h"

#include <string.h>

#include "base/clock.h"

/* Decodes `size` bytes at `text` in place and ends them with NUL. */
static bool decode(char *text, size_t size)
{
    char *out = text;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            if (i + 2 >= size || !g_ascii_isxdigit(text[i + 1]) || !g_ascii_isxdigit(text[i + 2]))
                return false;
            c = (char)(g_ascii_xdigit_value(text[i + 1]) << 4 | g_ascii_xdigit_value(text[i + 2]));
            i += 2;
        }
        if (c == '\0')
            return false;
        *out++ = c;
    }
    *out = '\0';
    return g_utf8_validate(text, out - text, NULL);
}

/* Splits "name=value" (a name alone has the empty value) and decodes both. */
static bool add_parameter(Query *query, char *text, size_t size)
{
    char *equals = memchr(text, '=', size);
    size_t name_size = equals ? (size_t)(equals - text) : size;
    char *value = equals ? equals + 1 : text + size;
    size_t value_size = size - (size_t)(value - text);
    if (!decode(value, value_size) || !decode(text, name_size))
        return false;
    query->parameters[query->n_parameters].name = text;
    query->parameters[query->n_parameters++].value = value_size ? value : "";
    return true;
}

bool query_init(Query *query, const char *raw, Faults *faults)
{
    *query = (Query){.text = g_strdup(raw)};
    char *next = query->text;
    while (next && *next) {
        char *text = next;
        size_t size = strcspn(text, "&");
        next = text[size] ? text + size + 1 : NULL;
        if (size == 0)
            continue;
        if (query->n_parameters == QUERY_MAX_PARAMETERS) {
            faults_add(faults, NULL, NULL, "the query has more than %d parameters", QUERY_MAX_PARAMETERS);
            return false;
        }
        if (!add_parameter(query, text, size)) {
            faults_add(faults, NULL, NULL, "parameter %zu of the query is not percent-encoded UTF-8 text",
                       query->n_parameters + 1);
            return false;
        }
    }
    return true;
}

void query_done(Query *query)
{
    g_clear_pointer(&query->text, g_free);
    query->n_parameters = 0;
}

const char *query_text(const Query *query, const char *name, Faults *faults)
{
    const char *value = NULL;
    for (size_t i = 0; i < query->n_parameters; i++) {
        if (strcmp(query->parameters[i].name, name) != 0)
            continue;
        if (value) {
            faults_add(faults, name, NULL, "is given more than once");
            return NULL;
        }
        value = query->parameters[i].value;
    }
    return value;
}

/* At most 18 digits, so nothing overflows. */
static bool parse_int(const char *text, int64_t *ret)
{
    size_t size = strlen(text);
    if (size == 0 || size > 18 || strspn(text, "0123456789") != size)
        return false;
    *ret = g_ascii_strtoll(text, NULL, 10);
    return true;
}

bool query_int(const Query *query, const char *name, int64_t min, int64_t max, int64_t *ret, Faults *faults)
{
    const char *text = query_text(query, name, faults);
    int64_t value;
    if (!text)
        return false;
    if (!parse_int(text, &value) || value < min || value > max) {
        faults_add_text(faults, name, text, "must be a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                        min, max);
        return false;
    }
    *ret = value;
    return true;
}

bool query_id(const Query *query, const char *name, Id *ret, Faults *faults)
{
    const char *text = query_text(query, name, faults);
    if (!text)
        return false;
    if (id_parse(text, ret))
        return true;
    faults_add_text(faults, name, text, "must be a UUID");
    return false;
}

bool query_instant(const Query *query, const char *name, int64_t *ret, Faults *faults)
{
    const char *text = query_text(query, name, faults);
    if (!text)
        return false;
    if (instant_parse(text, ret))
        return true;
    faults_add_text(faults, name, text, "must be an ISO-8601 instant like 2026-01-31T09:00:00Z");
    return false;
}

bool query_bool(const Query *query, const char *name, bool *ret, Faults *faults)
{
    const char *text = query_text(query, name, faults);
    if (!text)
        return false;
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
        *ret = text[0] == 't';
        return true;
    }
    faults_add_text(faults, name, text, "must be true or false");
    return false;
}
