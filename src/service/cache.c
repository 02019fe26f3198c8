/* A hash table of entries that are also links of a use-ordered list. A table of counters, one for each key's hash slot,
 * tells a reader whether anything was put or removed near its key since it began to read. */
#include "service/cache.h"

#include <string.h>

#include "base/thread.h"

#define N_MARKS 1024 /* slots: a false "changed" only costs one insertion */

typedef struct {
    char *key;
    void *value;
    int64_t version;
    size_t size_bytes;
    GList link; /* link.data is the entry */
} CacheEntry;

struct Cache {
    CacheValueOps ops;
    size_t max_bytes;
    Mutex mu;
    GHashTable *entries;     /* guarded by mu: key -> CacheEntry */
    GQueue by_use;           /* guarded by mu: head is the newest use */
    size_t size_bytes;       /* guarded by mu */
    uint64_t marks[N_MARKS]; /* guarded by mu */
};

Cache *cache_new(size_t max_bytes, const CacheValueOps *ops)
{
    Cache *cache = g_new0(Cache, 1);
    cache->ops = *ops;
    cache->max_bytes = max_bytes;
    mutex_init(&cache->mu);
    cache->entries = g_hash_table_new(g_str_hash, g_str_equal);
    g_queue_init(&cache->by_use);
    return cache;
}

/* Unlinks the entry and hands out its value, to be released without the lock. */
static void *entry_detach(Cache *cache, CacheEntry *entry)
{
    void *value = entry->value;
    g_hash_table_remove(cache->entries, entry->key);
    g_queue_unlink(&cache->by_use, &entry->link);
    cache->size_bytes -= entry->size_bytes;
    g_free(entry->key);
    g_free(entry);
    return value;
}

void cache_free(Cache *cache)
{
    if (cache == NULL)
        return;
    while (cache->by_use.head != NULL)
        cache->ops.unref(entry_detach(cache, cache->by_use.head->data));
    g_hash_table_unref(cache->entries);
    mutex_done(&cache->mu);
    g_free(cache);
}

void *cache_get(Cache *cache, const char *key)
{
    MUTEX_SCOPE(&cache->mu);
    CacheEntry *entry = g_hash_table_lookup(cache->entries, key);
    if (entry == NULL)
        return NULL;
    if (cache->by_use.head != &entry->link) {
        g_queue_unlink(&cache->by_use, &entry->link);
        g_queue_push_head_link(&cache->by_use, &entry->link);
    }
    return cache->ops.ref(entry->value);
}

static uint64_t *mark_of(Cache *cache, const char *key)
{
    return &cache->marks[g_str_hash(key) % N_MARKS];
}

/* Puts under the lock; what has to be released is added to `released`. */
static void put_locked(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes,
                       GPtrArray *released)
{
    CacheEntry *entry = g_hash_table_lookup(cache->entries, key);
    if (entry != NULL && entry->version >= version)
        return;
    if (entry != NULL)
        g_ptr_array_add(released, entry_detach(cache, entry));
    if (size_bytes > cache->max_bytes)
        return;
    entry = g_new0(CacheEntry, 1);
    entry->key = g_strdup(key);
    entry->value = cache->ops.ref(value);
    entry->version = version;
    entry->size_bytes = size_bytes + sizeof *entry + strlen(key) + 1;
    entry->link.data = entry;
    g_hash_table_insert(cache->entries, entry->key, entry);
    g_queue_push_head_link(&cache->by_use, &entry->link);
    cache->size_bytes += entry->size_bytes;
    while (cache->size_bytes > cache->max_bytes)
        g_ptr_array_add(released, entry_detach(cache, cache->by_use.tail->data));
}

static void put(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes, const uint64_t *mark)
{
    g_autoptr(GPtrArray) released = g_ptr_array_new_with_free_func(cache->ops.unref);
    {
        MUTEX_SCOPE(&cache->mu);
        uint64_t *current = mark_of(cache, key);
        if (mark == NULL)
            (*current)++;
        else if (*mark != *current)
            return;
        put_locked(cache, key, value, version, size_bytes, released);
    }
}

void cache_put(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes)
{
    put(cache, key, value, version, size_bytes, NULL);
}

uint64_t cache_mark(Cache *cache, const char *key)
{
    MUTEX_SCOPE(&cache->mu);
    return *mark_of(cache, key);
}

void cache_put_read(Cache *cache, const char *key, void *value, int64_t version, size_t size_bytes, uint64_t mark)
{
    put(cache, key, value, version, size_bytes, &mark);
}

void cache_remove(Cache *cache, const char *key)
{
    void *value = NULL;
    {
        MUTEX_SCOPE(&cache->mu);
        (*mark_of(cache, key))++;
        CacheEntry *entry = g_hash_table_lookup(cache->entries, key);
        if (entry != NULL)
            value = entry_detach(cache, entry);
    }
    if (value != NULL)
        cache->ops.unref(value);
}

int64_t cache_get_version(Cache *cache, const char *key)
{
    MUTEX_SCOPE(&cache->mu);
    const CacheEntry *entry = g_hash_table_lookup(cache->entries, key);
    return entry != NULL ? entry->version : 0;
}

CacheLoad cache_load(Cache *cache)
{
    MUTEX_SCOPE(&cache->mu);
    return (CacheLoad){.n_entries = g_hash_table_size(cache->entries), .size_bytes = cache->size_bytes};
}
