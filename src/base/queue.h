/* queue.h - the only thing that crosses threads: a bounded, owning, closable queue of pointers.
 * Thread: any for every call; no lock is held while an item is freed.
 * Owner: the queue owns what was pushed until it is popped. A failed push leaves the item with the caller.
 * Every item has a weight in bytes; the queue is full when either bound is reached (a single item heavier than the
 * byte bound is accepted by an empty queue, so that nothing waits for ever). */
#ifndef FLOWOPS_BASE_QUEUE_H
#define FLOWOPS_BASE_QUEUE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Queue Queue;

typedef enum { QUEUE_OK, QUEUE_FULL, QUEUE_CLOSED, QUEUE_TIMEOUT } QueueResult;

typedef struct {
    size_t n_items;
    size_t size_bytes;
} QueueLoad;

/* name: static text, for metrics and gdb. free_item: what queue_free() calls on items never popped; may be NULL. */
Queue *queue_new(const char *name, size_t max_items, size_t max_bytes, GDestroyNotify free_item);
void queue_free(Queue *queue); /* nobody may be inside a call any more */

MUST_CHECK QueueResult queue_try_push(Queue *queue, void *item, size_t weight_bytes);
/* timeout_ms < 0 waits for ever. */
MUST_CHECK QueueResult queue_push(Queue *queue, void *item, size_t weight_bytes, int64_t timeout_ms);

/* Takes up to max_items in order, waiting up to timeout_ms (< 0: for ever, 0: not at all) for the first one.
 * QUEUE_OK: *ret_n >= 1. QUEUE_CLOSED only when closed and empty: what was pushed before the close is still handed
 * out. */
MUST_CHECK QueueResult queue_pop(Queue *queue, void **ret_items, size_t max_items, int64_t timeout_ms, size_t *ret_n);

void queue_close(Queue *queue); /* no more pushes; wakes everyone; idempotent */
QueueLoad queue_load(Queue *queue);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Queue, queue_free)

#endif
