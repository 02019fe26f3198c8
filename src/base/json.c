/* json.c - reading values: what json_parse() built, seen through json-c. Printing is our own: json-c's printer keeps
 * its result inside the value, which would make a read a write. */
#include "base/json_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};

void json_free(JsonValue *value)
{
    json_object_put(value);
}

JsonType json_type(const JsonValue *value)
{
    switch (json_object_get_type(value)) {
    case json_type_null:
        return JSON_NULL;
    case json_type_boolean:
        return JSON_BOOL;
    case json_type_int:
        return JSON_INT;
    case json_type_double:
        return JSON_DOUBLE;
    case json_type_string:
        return JSON_STRING;
    case json_type_array:
        return JSON_ARRAY;
    case json_type_object:
        return JSON_OBJECT;
    }
    g_assert_not_reached();
}

const char *json_type_name(JsonType type)
{
    g_assert((size_t)type < G_N_ELEMENTS(type_names));
    return type_names[type];
}

const JsonValue *json_get(const JsonValue *object, const char *name)
{
    struct json_object *value = NULL;
    json_object_object_get_ex(object, name, &value); /* leaves NULL when there is no such member, or no object */
    return value;
}

size_t json_array_length(const JsonValue *array)
{
    g_assert(json_type(array) == JSON_ARRAY);
    return json_object_array_length(array);
}

const JsonValue *json_array_at(const JsonValue *array, size_t i)
{
    g_assert(json_type(array) == JSON_ARRAY);
    return json_object_array_get_idx(array, i);
}

const char *json_text(const JsonValue *string)
{
    g_assert(json_type(string) == JSON_STRING);
    return json_object_get_string((JsonValue *)string); /* of a string it only returns a pointer into it */
}

int64_t json_int(const JsonValue *integer)
{
    g_assert(json_type(integer) == JSON_INT);
    return json_object_get_int64(integer);
}

double json_double(const JsonValue *number)
{
    JsonType type = json_type(number);
    g_assert(type == JSON_INT || type == JSON_DOUBLE);
    return json_object_get_double(number);
}

bool json_bool(const JsonValue *boolean)
{
    g_assert(json_type(boolean) == JSON_BOOL);
    return json_object_get_boolean(boolean);
}

void json_object_foreach_member(const JsonValue *object, JsonMemberFunc func, void *arg)
{
    g_assert(json_type(object) == JSON_OBJECT);
    const struct lh_entry *entry;
    lh_foreach(json_object_get_object(object), entry) func(lh_entry_k(entry), lh_entry_v(entry), arg);
}

size_t json_object_size(const JsonValue *object)
{
    g_assert(json_type(object) == JSON_OBJECT);
    return (size_t)json_object_object_length(object);
}

/* ---- printing ---- */

typedef struct {
    JsonWriter writer;
    bool is_canonical;
} Printer;

static void print_value(Printer *printer, const char *key, const JsonValue *value);

/* Equal numbers, equal text: whole ones as integers however they were written, others by all of a double's digits. */
static void print_canonical_double(JsonWriter *writer, const char *key, double number)
{
    if (number == floor(number) && number >= -0x1p63 && number < 0x1p63) {
        json_put_int(writer, key, (int64_t)number);
        return;
    }
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    g_ascii_dtostr(text, sizeof text, number);
    json_put_raw(writer, key, text, strlen(text));
}

static void print_double(Printer *printer, const char *key, const JsonValue *value)
{
    if (printer->is_canonical) {
        print_canonical_double(&printer->writer, key, json_object_get_double(value));
        return;
    }
    const char *text = json_object_get_userdata((JsonValue *)value); /* where json_object_new_double_s() keeps it */
    json_put_raw(&printer->writer, key, text, strlen(text));
}

static void print_array(Printer *printer, const char *key, const JsonValue *array)
{
    json_begin_array(&printer->writer, key);
    size_t n = json_object_array_length(array);
    for (size_t i = 0; i < n; i++)
        print_value(printer, NULL, json_object_array_get_idx(array, i));
    json_end_array(&printer->writer);
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(lh_entry_k(*(struct lh_entry *const *)a), lh_entry_k(*(struct lh_entry *const *)b));
}

static void print_sorted_members(Printer *printer, const JsonValue *object)
{
    struct lh_table *table = json_object_get_object(object);
    size_t n = 0;
    g_autofree struct lh_entry **entries = g_new(struct lh_entry *, (size_t)json_object_object_length(object));
    struct lh_entry *entry;
    lh_foreach(table, entry)
    {
        if (lh_entry_v(entry) != NULL)
            entries[n++] = entry;
    }
    if (n > 1)
        qsort(entries, n, sizeof *entries, compare_entries);
    for (size_t i = 0; i < n; i++)
        print_value(printer, lh_entry_k(entries[i]), lh_entry_v(entries[i]));
}

static void print_object(Printer *printer, const char *key, const JsonValue *object)
{
    json_begin_object(&printer->writer, key);
    if (printer->is_canonical) {
        print_sorted_members(printer, object);
    } else {
        const struct lh_entry *entry;
        lh_foreach(json_object_get_object(object), entry) print_value(printer, lh_entry_k(entry), lh_entry_v(entry));
    }
    json_end_object(&printer->writer);
}

static void print_value(Printer *printer, const char *key, const JsonValue *value)
{
    JsonWriter *writer = &printer->writer;
    switch (json_type(value)) {
    case JSON_NULL:
        json_put_null(writer, key);
        break;
    case JSON_BOOL:
        json_put_bool(writer, key, json_object_get_boolean(value));
        break;
    case JSON_INT:
        json_put_int(writer, key, json_object_get_int64(value));
        break;
    case JSON_DOUBLE:
        print_double(printer, key, value);
        break;
    case JSON_STRING:
        json_put_string_n(writer, key, json_text(value), (size_t)json_object_get_string_len(value));
        break;
    case JSON_ARRAY:
        print_array(printer, key, value);
        break;
    case JSON_OBJECT:
        print_object(printer, key, value);
        break;
    }
}

static char *print_as(const JsonValue *value, bool is_canonical)
{
    GString *out = g_string_sized_new(256);
    Printer printer = {.writer = json_writer(out), .is_canonical = is_canonical};
    print_value(&printer, NULL, value);
    return g_string_free(out, FALSE);
}

char *json_print(const JsonValue *value)
{
    return print_as(value, false);
}

char *json_print_canonical(const JsonValue *value)
{
    return print_as(value, true);
}

/* ---- pointers ---- */

/* The reference token at `at` up to the next slash, unescaped; NULL when a "~" is followed by neither 0 nor 1. */
static char *pointer_token(const char *at, size_t size)
{
    g_autofree char *token = g_malloc(size + 1);
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (at[i] != '~') {
            token[n++] = at[i];
        } else if (i + 1 < size && (at[i + 1] == '0' || at[i + 1] == '1')) {
            token[n++] = at[++i] == '0' ? '~' : '/';
        } else {
            return NULL;
        }
    }
    token[n] = '\0';
    return g_steal_pointer(&token);
}

/* Digits without leading zeros; "-" (the place after the last) names nothing that is there. */
static const JsonValue *array_at_token(const JsonValue *array, const char *token)
{
    size_t index = 0;
    if (token[0] == '\0' || (token[0] == '0' && token[1] != '\0'))
        return NULL;
    for (const char *at = token; *at != '\0'; at++) {
        if (!g_ascii_isdigit(*at))
            return NULL;
        index = index * 10 + (size_t)(*at - '0');
        if (index >= json_object_array_length(array))
            return NULL;
    }
    return json_object_array_get_idx(array, index);
}

const JsonValue *json_pointer(const JsonValue *value, const char *pointer)
{
    while (*pointer != '\0' && value != NULL) {
        if (*pointer != '/')
            return NULL;
        size_t size = strcspn(++pointer, "/");
        g_autofree char *token = pointer_token(pointer, size);
        if (token == NULL)
            return NULL;
        pointer += size;
        JsonType type = json_type(value);
        if (type == JSON_OBJECT)
            value = json_get(value, token);
        else if (type == JSON_ARRAY)
            value = array_at_token(value, token);
        else
            return NULL;
    }
    return value;
}
