/* text_map.c - an array of pairs: the maps of a step are small and their order is shown, so no hash table. */
#include "domain/text_map.h"

#include <string.h>

void text_map_done(TextMap *map)
{
    for (size_t i = 0; i < map->n_pairs; i++) {
        g_free(map->pairs[i].name);
        g_free(map->pairs[i].value);
    }
    g_free(map->pairs);
    *map = (TextMap){0};
}

void text_map_add(TextMap *map, const char *name, const char *value)
{
    size_t n = map->n_pairs;
    if ((n & (n - 1)) == 0) /* the room is the next power of two, so it needs no member of its own */
        map->pairs = g_renew(TextPair, map->pairs, n == 0 ? 1 : n * 2);
    map->pairs[n] = (TextPair){.name = g_strdup(name), .value = g_strdup(value)};
    map->n_pairs = n + 1;
}

const char *text_map_find(const TextMap *map, const char *name)
{
    for (size_t i = 0; i < map->n_pairs; i++) {
        if (strcmp(map->pairs[i].name, name) == 0)
            return map->pairs[i].value;
    }
    return NULL;
}

void text_map_copy(const TextMap *map, TextMap *ret_map)
{
    *ret_map = (TextMap){0};
    for (size_t i = 0; i < map->n_pairs; i++)
        text_map_add(ret_map, map->pairs[i].name, map->pairs[i].value);
}

size_t text_map_size_bytes(const TextMap *map)
{
    size_t size = 0;
    for (size_t i = 0; i < map->n_pairs; i++)
        size += strlen(map->pairs[i].name) + strlen(map->pairs[i].value);
    return size;
}

void text_map_encode(const TextMap *map, JsonWriter *writer, const char *key)
{
    json_begin_object(writer, key);
    for (size_t i = 0; i < map->n_pairs; i++)
        json_put_string(writer, map->pairs[i].name, map->pairs[i].value);
    json_end_object(writer);
}

static void add_member(const char *name, const JsonValue *value, void *arg)
{
    if (json_type(value) == JSON_STRING)
        text_map_add(arg, name, json_text(value));
}

void text_map_decode(const JsonValue *object, TextMap *ret_map)
{
    *ret_map = (TextMap){0};
    if (json_type(object) == JSON_OBJECT)
        json_object_foreach_member(object, add_member, ret_map);
}
