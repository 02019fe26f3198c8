/* queue.c - a ring of (item, weight) under one mutex with two condition variables. The ring starts small and doubles up
 * to its bound, since most queues of a process never hold more than a few items. */
#include "base/queue.h"

#include "base/thread.h"
#include "base/thread_internal.h"

#define FIRST_CAPACITY 16

typedef struct {
    void *item;
    size_t weight_bytes;
} Slot;

struct Queue {
    const char *name;
    size_t max_items;
    size_t max_bytes;
    GDestroyNotify free_item;

    Mutex mu;
    pthread_cond_t can_pop;  /* signalled once for every push */
    pthread_cond_t can_push; /* broadcast after a pop: which of the waiting items fits depends on its weight */
    Slot *slots;             /* all below guarded by mu */
    size_t capacity;
    size_t first; /* place of the oldest item */
    size_t n_items;
    size_t size_bytes;
    size_t n_pushers_waiting;
    bool is_closed;
};

Queue *queue_new(const char *name, size_t max_items, size_t max_bytes, GDestroyNotify free_item)
{
    g_assert(max_items > 0);
    Queue *queue = g_new0(Queue, 1);
    queue->name = name;
    queue->max_items = max_items;
    queue->max_bytes = max_bytes;
    queue->free_item = free_item;
    queue->capacity = MIN(max_items, FIRST_CAPACITY);
    queue->slots = g_new(Slot, queue->capacity);
    mutex_init(&queue->mu);
    cond_init_monotonic(&queue->can_pop);
    cond_init_monotonic(&queue->can_push);
    return queue;
}

void queue_free(Queue *queue)
{
    if (queue == NULL)
        return;
    for (size_t i = 0; queue->free_item != NULL && i < queue->n_items; i++)
        queue->free_item(queue->slots[(queue->first + i) % queue->capacity].item);
    pthread_cond_destroy(&queue->can_pop);
    pthread_cond_destroy(&queue->can_push);
    mutex_done(&queue->mu);
    g_free(queue->slots);
    g_free(queue);
}

static bool fits(const Queue *queue, size_t weight_bytes)
{
    if (queue->n_items == 0)
        return true;
    return queue->n_items < queue->max_items && queue->size_bytes <= queue->max_bytes &&
           weight_bytes <= queue->max_bytes - queue->size_bytes;
}

static void grow(Queue *queue)
{
    size_t capacity = queue->capacity > queue->max_items / 2 ? queue->max_items : queue->capacity * 2;
    Slot *slots = g_new(Slot, capacity);
    for (size_t i = 0; i < queue->n_items; i++)
        slots[i] = queue->slots[(queue->first + i) % queue->capacity];
    g_free(queue->slots);
    queue->slots = slots;
    queue->capacity = capacity;
    queue->first = 0;
}

static void put_locked(Queue *queue, void *item, size_t weight_bytes)
{
    if (queue->n_items == queue->capacity)
        grow(queue);
    size_t place = (queue->first + queue->n_items) % queue->capacity;
    queue->slots[place] = (Slot){.item = item, .weight_bytes = weight_bytes};
    queue->n_items++;
    queue->size_bytes += weight_bytes;
    pthread_cond_signal(&queue->can_pop);
}

QueueResult queue_try_push(Queue *queue, void *item, size_t weight_bytes)
{
    MUTEX_SCOPE(&queue->mu);
    if (queue->is_closed)
        return QUEUE_CLOSED;
    if (!fits(queue, weight_bytes))
        return QUEUE_FULL;
    put_locked(queue, item, weight_bytes);
    return QUEUE_OK;
}

QueueResult queue_push(Queue *queue, void *item, size_t weight_bytes, int64_t timeout_ms)
{
    Deadline deadline = deadline_after_ms(timeout_ms);
    MUTEX_SCOPE(&queue->mu);
    bool is_in_time = timeout_ms != 0;
    while (!queue->is_closed && !fits(queue, weight_bytes)) {
        if (!is_in_time)
            return QUEUE_TIMEOUT;
        queue->n_pushers_waiting++;
        is_in_time = cond_wait_until(&queue->can_push, &queue->mu, &deadline);
        queue->n_pushers_waiting--;
    }
    if (queue->is_closed)
        return QUEUE_CLOSED;
    put_locked(queue, item, weight_bytes);
    return QUEUE_OK;
}

static size_t take_locked(Queue *queue, void **ret_items, size_t max_items)
{
    size_t n = MIN(max_items, queue->n_items);
    for (size_t i = 0; i < n; i++) {
        const Slot *slot = &queue->slots[queue->first];
        ret_items[i] = slot->item;
        queue->size_bytes -= slot->weight_bytes;
        queue->first = queue->first + 1 == queue->capacity ? 0 : queue->first + 1;
    }
    queue->n_items -= n;
    if (queue->n_pushers_waiting > 0)
        pthread_cond_broadcast(&queue->can_push);
    return n;
}

QueueResult queue_pop(Queue *queue, void **ret_items, size_t max_items, int64_t timeout_ms, size_t *ret_n)
{
    g_assert(max_items > 0);
    Deadline deadline = deadline_after_ms(timeout_ms);
    MUTEX_SCOPE(&queue->mu);
    bool is_in_time = timeout_ms != 0;
    while (queue->n_items == 0) {
        if (queue->is_closed)
            return QUEUE_CLOSED;
        if (!is_in_time)
            return QUEUE_TIMEOUT;
        is_in_time = cond_wait_until(&queue->can_pop, &queue->mu, &deadline);
    }
    *ret_n = take_locked(queue, ret_items, max_items);
    return QUEUE_OK;
}

void queue_close(Queue *queue)
{
    MUTEX_SCOPE(&queue->mu);
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->can_pop);
    pthread_cond_broadcast(&queue->can_push);
}

QueueLoad queue_load(Queue *queue)
{
    MUTEX_SCOPE(&queue->mu);
    return (QueueLoad){.n_items = queue->n_items, .size_bytes = queue->size_bytes};
}
