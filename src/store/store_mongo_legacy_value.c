/* store_mongo_legacy_value.c - values as the older service's driver wrote them.
 *
 * A UUID is binary of sub-type 3 in the byte order of that driver: each of Java's two longs little-endian, so both halves are
 * reversed. 00112233-4455-6677-8899-aabbccddeeff is
 *     77 66 55 44 33 22 11 00  ff ee dd cc bb aa 99 88
 * Later settings of the driver write sub-type 4, which has the bytes in the order of the text; some members are the text. */
#include <string.h>

#include "domain/fault.h"
#include "store/store_mongo_legacy_internal.h"

enum { UUID_BYTES = 16, HALF_BYTES = 8 };
#define INSTANT_MIN INT64_C(-62167219200000) /* years 0000 to 9999, as in all our texts */
#define INSTANT_MAX INT64_C(253402300799999)
#define OBJECT_MAX_DEPTH 32
#define SHOWN_MAX_BYTES 200

static void reverse_halves(const uint8_t *from, uint8_t *to)
{
    for (size_t i = 0; i < HALF_BYTES; i++) {
        to[i] = from[HALF_BYTES - 1 - i];
        to[HALF_BYTES + i] = from[UUID_BYTES - 1 - i];
    }
}

static void id_of_bytes(const uint8_t *bytes, Id *ret_id)
{
    static const char digits[] = "0123456789abcdef";
    char *out = ret_id->text;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *out++ = '-';
        }
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

static void bytes_of_id(const Id *id, uint8_t *ret_bytes)
{
    const char *text = id->text;
    for (size_t i = 0; i < UUID_BYTES; i++, text += 2) {
        text += *text == '-';
        ret_bytes[i] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
    }
}

bool legacy_value_id(const bson_iter_t *value, Id *ret_id, LegacyForm *ret_form)
{
    LegacyForm form = LEGACY_TEXT;
    if (BSON_ITER_HOLDS_UTF8(value)) {
        const char *text = bson_iter_utf8(value, NULL);
        if (!id_parse(text, ret_id)) {
            return false;
        }
        form = strcmp(text, ret_id->text) == 0 ? LEGACY_TEXT : LEGACY_UPPER_TEXT;
    } else if (BSON_ITER_HOLDS_BINARY(value)) {
        bson_subtype_t subtype;
        uint32_t size = 0;
        const uint8_t *bytes = NULL;
        uint8_t ordered[UUID_BYTES];
        bson_iter_binary(value, &subtype, &size, &bytes);
        if (size != UUID_BYTES || (subtype != BSON_SUBTYPE_UUID_DEPRECATED && subtype != BSON_SUBTYPE_UUID)) {
            return false;
        }
        form = subtype == BSON_SUBTYPE_UUID ? LEGACY_BINARY : LEGACY_JAVA;
        reverse_halves(bytes, ordered);
        id_of_bytes(form == LEGACY_JAVA ? ordered : bytes, ret_id);
    } else {
        return false;
    }
    if (ret_form != NULL) {
        *ret_form = form;
    }
    return true;
}

void legacy_append_id(bson_t *array, uint32_t *index, const Id *id, LegacyForm form)
{
    char buffer[16];
    const char *key;
    uint8_t bytes[UUID_BYTES], reversed[UUID_BYTES];
    (void)bson_uint32_to_string((*index)++, &key, buffer, sizeof buffer);
    if (form == LEGACY_TEXT || form == LEGACY_UPPER_TEXT) {
        g_autofree char *text = form == LEGACY_TEXT ? g_strdup(id->text) : g_ascii_strup(id->text, -1);
        append_text(array, key, text);
        return;
    }
    bytes_of_id(id, bytes);
    reverse_halves(bytes, reversed);
    bool is_java = form == LEGACY_JAVA;
    bson_append_binary(array, key, -1, is_java ? BSON_SUBTYPE_UUID_DEPRECATED : BSON_SUBTYPE_UUID,
                       is_java ? reversed : bytes, UUID_BYTES);
}

bool legacy_find(const bson_t *document, const char *key, bson_iter_t *ret_value)
{
    return bson_iter_init_find(ret_value, document, key) && !BSON_ITER_HOLDS_NULL(ret_value) &&
           !BSON_ITER_HOLDS_UNDEFINED(ret_value);
}

bool legacy_find_id(const bson_t *document, const char *key, Id *ret_id)
{
    bson_iter_t value;
    return legacy_find(document, key, &value) && legacy_value_id(&value, ret_id, NULL);
}

const char *legacy_find_text(const bson_t *document, const char *key)
{
    bson_iter_t value;
    return legacy_find(document, key, &value) && BSON_ITER_HOLDS_UTF8(&value) ? bson_iter_utf8(&value, NULL) : NULL;
}

static int64_t value_instant(const bson_iter_t *value)
{
    int64_t ms = INSTANT_NONE;
    if (BSON_ITER_HOLDS_DATE_TIME(value)) {
        ms = bson_iter_date_time(value);
    } else if (BSON_ITER_HOLDS_UTF8(value) && !instant_parse(bson_iter_utf8(value, NULL), &ms)) {
        return INSTANT_NONE;
    }
    return ms >= INSTANT_MIN && ms <= INSTANT_MAX ? ms : INSTANT_NONE;
}

int64_t legacy_find_instant(const bson_t *document, const char *key)
{
    bson_iter_t value;
    return legacy_find(document, key, &value) ? value_instant(&value) : INSTANT_NONE;
}

bool legacy_find_count(const bson_t *document, const char *key, int64_t *ret_number)
{
    bson_iter_t value;
    if (!legacy_find(document, key, &value) || !BSON_ITER_HOLDS_INT(&value) || bson_iter_as_int64(&value) < 0) {
        return false;
    }
    *ret_number = bson_iter_as_int64(&value);
    return true;
}

bool legacy_value_inner(const bson_iter_t *value, bson_t *ret_inner)
{
    uint32_t size = 0;
    const uint8_t *bytes = NULL;
    if (BSON_ITER_HOLDS_DOCUMENT(value)) {
        bson_iter_document(value, &size, &bytes);
    } else if (BSON_ITER_HOLDS_ARRAY(value)) {
        bson_iter_array(value, &size, &bytes);
    }
    return bytes != NULL && bson_init_static(ret_inner, bytes, size);
}

bool legacy_find_inner(const bson_t *document, const char *key, bson_t *ret_inner)
{
    bson_iter_t value;
    return legacy_find(document, key, &value) && legacy_value_inner(&value, ret_inner);
}

/* The library's own text of a value: {"v": value} without what is around it. */
static char *value_json(const bson_iter_t *value)
{
    g_auto(bson_t) around = BSON_INITIALIZER;
    bson_append_iter(&around, "v", -1, value);
    char *text = bson_as_relaxed_extended_json(&around, NULL);
    const char *from = text != NULL ? strchr(text, ':') : NULL;
    const char *to = text != NULL ? strrchr(text, '}') : NULL;
    char *inner = from != NULL && to > from ? g_strstrip(g_strndup(from + 1, (size_t)(to - from - 1))) : NULL;
    bson_free(text);
    return inner;
}

char *legacy_value_text(const bson_iter_t *value)
{
    Id id;
    char instant[INSTANT_TEXT_SIZE];
    if (BSON_ITER_HOLDS_UTF8(value)) {
        return g_strdup(bson_iter_utf8(value, NULL));
    }
    if (BSON_ITER_HOLDS_NULL(value) || BSON_ITER_HOLDS_UNDEFINED(value)) {
        return NULL;
    }
    if (legacy_value_id(value, &id, NULL)) {
        return g_strdup(id.text);
    }
    if (BSON_ITER_HOLDS_DATE_TIME(value) && value_instant(value) != INSTANT_NONE) {
        instant_format(value_instant(value), instant);
        return g_strdup(instant);
    }
    return value_json(value);
}

char *legacy_object_json(const bson_t *object)
{
    g_autoptr(JsonValue) parsed = NULL;
    char *text = bson_as_relaxed_extended_json(object, NULL);
    bool is_object = text != NULL && json_parse(text, strlen(text), OBJECT_MAX_DEPTH, &parsed, NULL) &&
                     parsed != NULL && json_type(parsed) == JSON_OBJECT;
    bson_free(text);
    return is_object ? json_print(parsed) : NULL;
}

char *legacy_show_id(const bson_t *document)
{
    bson_iter_t value;
    g_autofree char *text = legacy_find(document, "_id", &value) ? legacy_value_text(&value) : NULL;
    if (text == NULL || !g_utf8_validate(text, -1, NULL)) {
        return g_strdup("without an _id that can be shown");
    }
    return g_strndup(text, text_cut(text, SHOWN_MAX_BYTES));
}
