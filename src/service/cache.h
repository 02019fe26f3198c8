/* cache.h - a bounded cache of shared values by id, oldest use goes first. Holds committed state only.
 * Thread: any; one lock, held for look-ups only. Owner: the service. Values are kept by reference. */
#ifndef FLOWOPS_SERVICE_CACHE_H
#define FLOWOPS_SERVICE_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <glib.h>

typedef struct Cache Cache;

typedef struct {
    void *(*ref)(void *value);
    void (*unref)(void *value);
} CacheValueOps;

Cache *cache_new(size_t max_bytes, const CacheValueOps *ops);
void cache_free(Cache *cache);

/* A new reference, or NULL. */
void *cache_get(Cache *cache, const char *key);

/* Keeps a reference to `value` unless a value of the same or a higher version is there. size_bytes counts against
 * the bound; what alone exceeds it is not kept. For the writer, right after its commit. */
void cache_put(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes);

/* For readers: what was read from the store may be overtaken by a commit whose entry has come and gone meanwhile. Take
 * the mark before reading; the put does nothing when a put or removal of a key that shares the mark came in between. */
uint64_t cache_mark(Cache *cache, const char *key);
void cache_put_read(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes, uint64_t mark);

void cache_remove(Cache *cache, const char *key);

/* The version of what is there; 0: nothing is. */
int64_t cache_get_version(Cache *cache, const char *key);

typedef struct {
    size_t n_entries, size_bytes;
} CacheLoad;
CacheLoad cache_load(Cache *cache);

#endif
