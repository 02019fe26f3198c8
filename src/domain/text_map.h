/* text_map.h - an ordered map of text to text: inputs, outputs' types, labels.
 * Thread: any; immutable once built. Owner: embedded in its owner (init/done). Order is the order of the request. */
#ifndef FLOWOPS_DOMAIN_TEXT_MAP_H
#define FLOWOPS_DOMAIN_TEXT_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

typedef struct {
    char *name;
    char *value;
} TextPair;

typedef struct {
    TextPair *pairs;
    size_t n_pairs;
} TextMap;

void text_map_done(TextMap *map); /* a zeroed map is fine */
void text_map_add(TextMap *map, const char *name, const char *value);
const char *text_map_find(const TextMap *map, const char *name); /* NULL when absent */
void text_map_copy(const TextMap *map, TextMap *ret_map);
size_t text_map_size_bytes(const TextMap *map); /* of names and values */
/* An object of strings, `{}` when empty. */
void text_map_encode(const TextMap *map, JsonWriter *writer, const char *key);
/* From an object of strings that was validated before (stored or trusted); other members are skipped. */
void text_map_decode(const JsonValue *object, TextMap *ret_map);

#endif
