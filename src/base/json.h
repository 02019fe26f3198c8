/* json.h - JSON text (RFC 8259) in and out. Reading is strict and bounded, writing is straight into a GString.
 * Thread: any; a JsonValue belongs to one thread at a time. Owner: json_parse() gives the root, free it with
 * json_free(); everything reached from it is borrowed. json-c stays behind this file. */
#ifndef FLOWOPS_BASE_JSON_H
#define FLOWOPS_BASE_JSON_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct json_object JsonValue; /* NULL is the JSON null */

typedef enum { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

/* Refuses, with "line L, column C: what" (columns count bytes from 1): anything RFC 8259 does, text after the value,
 * duplicate names in an object, U+0000 written or escaped, invalid UTF-8, unpaired surrogate escapes, nesting
 * deeper than max_depth (arrays and objects), more than 131072 of them, a byte order mark, numbers outside double.
 * A whole number outside int64 is a JSON_DOUBLE that prints as it was written. An empty text is INVALID. *ret_value may be
 * NULL on success: the text was "null". */
MUST_CHECK bool json_parse(const char *text, size_t size, int max_depth, JsonValue **ret_value, GError **error);
void json_free(JsonValue *value);

JsonType json_type(const JsonValue *value);
const char *json_type_name(JsonType type); /* "null", "boolean", "integer", "number", "string", "array", "object" */

/* Absent and null are the same: NULL. */
const JsonValue *json_get(const JsonValue *object, const char *name);
size_t json_array_length(const JsonValue *array);
const JsonValue *json_array_at(const JsonValue *array, size_t i);
/* Preconditions: the right type. */
const char *json_text(const JsonValue *string); /* no NUL inside, see json_parse() */
int64_t json_int(const JsonValue *integer);
double json_double(const JsonValue *number); /* JSON_INT or JSON_DOUBLE */
bool json_bool(const JsonValue *boolean);

/* Members in the order of the text. */
typedef void (*JsonMemberFunc)(const char *name, const JsonValue *value, void *arg);
void json_object_foreach_member(const JsonValue *object, JsonMemberFunc func, void *arg);
size_t json_object_size(const JsonValue *object);

/* Compact text of the value as read (doubles keep their text). */
char *json_print(const JsonValue *value);
/* The same with object names sorted bytewise at every level and null members left out: equal values, equal text. */
char *json_print_canonical(const JsonValue *value);

/* RFC 6901 pointer ("" is the value itself). NULL when nothing is there (or null is). */
const JsonValue *json_pointer(const JsonValue *value, const char *pointer);

/* ---- writing ----
 * JsonWriter w = json_writer(out); json_begin_object(&w); json_put_string(&w, "name", "x"); json_end_object(&w);
 * A key of NULL writes an array element or the root. Text must be UTF-8; NULL text and INSTANT_NONE write null. */
typedef struct {
    GString *out;
    bool needs_comma;
} JsonWriter;

static inline JsonWriter json_writer(GString *out)
{
    return (JsonWriter){.out = out, .needs_comma = false};
}
void json_begin_object(JsonWriter *writer, const char *key);
void json_end_object(JsonWriter *writer);
void json_begin_array(JsonWriter *writer, const char *key);
void json_end_array(JsonWriter *writer);
void json_put_string(JsonWriter *writer, const char *key, const char *text);
void json_put_string_n(JsonWriter *writer, const char *key, const char *text, size_t size);
void json_put_int(JsonWriter *writer, const char *key, int64_t value);
void json_put_bool(JsonWriter *writer, const char *key, bool value);
void json_put_null(JsonWriter *writer, const char *key);
void json_put_instant(JsonWriter *writer, const char *key, int64_t ms);
/* Splices JSON text that is already serialised; NULL writes null. */
void json_put_raw(JsonWriter *writer, const char *key, const char *json, size_t size);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(JsonValue, json_free)

#endif
