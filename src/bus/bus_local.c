/* bus_local.c - the bus within one process: a bounded queue in each direction. One queue is one partition, so order holds
 * over all runs. Nothing survives the process: commands are published again from the store's outbox, runs are handed
 * over again, so positions need no committing. */
#include "bus/bus_local.h"

#include <string.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/thread.h"
#include "bus/bus_internal.h"

#define ONLY_PARTITION 0

/* What a queued message costs beside its texts: the struct, its slot and the allocator's headers. It keeps the byte bound
 * honest for a flood of tiny messages. */
#define MESSAGE_OVERHEAD_BYTES 128

typedef struct {
    Bus bus;
    Clock *clock;
    Queue *commands;
    Queue *statuses;
    Queue *dead_letters;
    int64_t n_dead_letters;  /* atomic */
    bool is_shut_down;       /* atomic */
    bool is_partition_taken; /* atomic: an engine was told that the one partition is its own */
    Bell shutdown_bell;
} LocalBus;

static size_t message_weight(const BusMessage *message)
{
    return MESSAGE_OVERHEAD_BYTES + message->value_size + (message->key != NULL ? strlen(message->key) + 1 : 0);
}

static BusMessage *message_copy(const BusMessage *message)
{
    return bus_message_new(message->key, message->value, message->value_size);
}

static bool set_shut_down(GError **error)
{
    g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the bus was shut down");
    return false;
}

/* The timeout covers the whole batch. */
static bool publish(const LocalBus *local, Queue *queue, BusMessage *const *messages, size_t n_messages,
                    int64_t timeout_ms, size_t *ret_n_published, GError **error)
{
    int64_t started_at = timeout_ms > 0 ? clock_monotonic_ms(local->clock) : 0;
    for (size_t i = 0; i < n_messages; i++) {
        g_autoptr(BusMessage) copy = message_copy(messages[i]);
        size_t weight = message_weight(copy);
        QueueResult result = queue_try_push(queue, copy, weight);
        if (result == QUEUE_FULL && timeout_ms != 0) {
            int64_t left = timeout_ms;
            if (timeout_ms > 0)
                left = MAX(0, timeout_ms - (clock_monotonic_ms(local->clock) - started_at));
            result = queue_push(queue, copy, weight, left);
        }
        if (result == QUEUE_CLOSED)
            return set_shut_down(error);
        if (result != QUEUE_OK) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "the queue has no room (%zu of %zu messages published)", i,
                        n_messages);
            return false;
        }
        (void)g_steal_pointer(&copy);
        *ret_n_published = i + 1;
    }
    return true;
}

/* A closed queue still hands out what it holds; the port promises that a shut down bus does not. What is left is freed
 * with the queue. */
static bool poll_queue(const LocalBus *local, Queue *queue, BusMessage **ret_messages, size_t max, int64_t timeout_ms,
                       size_t *ret_n, GError **error)
{
    if (__atomic_load_n(&local->is_shut_down, __ATOMIC_ACQUIRE))
        return set_shut_down(error);
    switch (queue_pop(queue, (void **)ret_messages, max, timeout_ms, ret_n)) {
    case QUEUE_OK:
        return true;
    case QUEUE_CLOSED:
        *ret_n = 0;
        return set_shut_down(error);
    case QUEUE_FULL:
    case QUEUE_TIMEOUT:
        break;
    }
    *ret_n = 0;
    return true;
}

static bool local_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                   BusResult *ret_results, GError **error)
{
    LocalBus *local = (LocalBus *)bus;
    size_t n_published = 0;
    bool is_done = publish(local, local->commands, messages, n_messages, timeout_ms, &n_published, error);
    for (size_t i = 0; i < n_published; i++)
        ret_results[i] = BUS_PUBLISHED;
    return is_done;
}

static int32_t local_command_partition(Bus *bus G_GNUC_UNUSED, const char *run_id G_GNUC_UNUSED)
{
    return ONLY_PARTITION;
}

static void local_take_partitions(Bus *bus, BusPartitions *partitions)
{
    LocalBus *local = (LocalBus *)bus;
    int32_t partition = ONLY_PARTITION;
    if (!__atomic_exchange_n(&local->is_partition_taken, true, __ATOMIC_ACQ_REL))
        g_array_append_val(partitions->gained, partition);
}

static bool local_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                GError **error)
{
    LocalBus *local = (LocalBus *)bus;
    return poll_queue(local, local->commands, ret_messages, max, timeout_ms, ret_n, error);
}

static bool local_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                   size_t *ret_n_published, GError **error)
{
    LocalBus *local = (LocalBus *)bus;
    return publish(local, local->statuses, messages, n_messages, timeout_ms, ret_n_published, error);
}

/* What is in the queue is as good as there: it lives as long as this process. */
static bool local_flush_statuses(Bus *bus G_GNUC_UNUSED, int64_t timeout_ms G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

static bool local_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                GError **error)
{
    LocalBus *local = (LocalBus *)bus;
    return poll_queue(local, local->statuses, ret_messages, max, timeout_ms, ret_n, error);
}

static void local_hold_statuses(Bus *bus G_GNUC_UNUSED)
{
}

static bool local_commit_statuses(Bus *bus G_GNUC_UNUSED, size_t n_later G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

void dead_letter_free(DeadLetter *letter)
{
    if (letter == NULL)
        return;
    bus_message_free(letter->message);
    g_free(letter->reason);
    g_free(letter);
}

static void dead_letter_free_item(void *item)
{
    dead_letter_free(item);
}

DeadLetter *bus_local_take_dead_letter(Bus *bus)
{
    void *letter = NULL;
    size_t n = 0;
    if (queue_pop(((LocalBus *)bus)->dead_letters, &letter, 1, 0, &n) != QUEUE_OK)
        return NULL;
    return letter;
}

static bool local_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error G_GNUC_UNUSED)
{
    LocalBus *local = (LocalBus *)bus;
    __atomic_add_fetch(&local->n_dead_letters, 1, __ATOMIC_RELAXED);

    g_autoptr(DeadLetter) letter = g_new0(DeadLetter, 1);
    letter->message = message_copy(message);
    letter->reason = g_strdup(reason);
    size_t weight = message_weight(message) + strlen(reason);
    QueueResult result;
    /* Each turn removes the oldest, so this ends: an empty queue takes anything. */
    while ((result = queue_try_push(local->dead_letters, letter, weight)) == QUEUE_FULL)
        dead_letter_free(bus_local_take_dead_letter(bus));
    if (result == QUEUE_OK)
        (void)g_steal_pointer(&letter);
    return true;
}

/* There is one process, which has told itself already. */
static void local_publish_update(Bus *bus G_GNUC_UNUSED, const char *run_id G_GNUC_UNUSED, int64_t seq G_GNUC_UNUSED)
{
}

static bool local_poll_updates(Bus *bus, BusUpdate *ret_updates G_GNUC_UNUSED, size_t max G_GNUC_UNUSED,
                               int64_t timeout_ms, size_t *ret_n, GError **error)
{
    LocalBus *local = (LocalBus *)bus;
    *ret_n = 0;
    if (bell_wait(&local->shutdown_bell, timeout_ms))
        return true;
    return set_shut_down(error);
}

static BusHealth local_health(Bus *bus)
{
    LocalBus *local = (LocalBus *)bus;
    return (BusHealth){
        .is_up = true,
        .status_lag = (int64_t)queue_load(local->statuses).n_items,
        .n_partitions_held = 1,
        .n_commands_queued = queue_load(local->commands).n_items,
        .n_statuses_queued = queue_load(local->statuses).n_items,
        .n_dead_letters = __atomic_load_n(&local->n_dead_letters, __ATOMIC_RELAXED),
    };
}

/* Dead letters stay open: what is still being dealt with may yet be put aside. */
static void local_shutdown(Bus *bus)
{
    LocalBus *local = (LocalBus *)bus;
    __atomic_store_n(&local->is_shut_down, true, __ATOMIC_RELEASE);
    bell_close(&local->shutdown_bell);
    queue_close(local->commands);
    queue_close(local->statuses);
}

static void local_close(Bus *bus)
{
    LocalBus *local = (LocalBus *)bus;
    queue_free(local->commands);
    queue_free(local->statuses);
    queue_free(local->dead_letters);
    bell_done(&local->shutdown_bell);
    clock_free(local->clock);
    g_free(local);
}

static const BusOps LOCAL_OPS = {
    .name = "local",
    .is_durable = false,
    .publish_commands = local_publish_commands,
    .command_partition = local_command_partition,
    .poll_commands = local_poll_commands,
    .take_partitions = local_take_partitions,
    .publish_statuses = local_publish_statuses,
    .flush_statuses = local_flush_statuses,
    .poll_statuses = local_poll_statuses,
    .hold_statuses = local_hold_statuses,
    .commit_statuses = local_commit_statuses,
    .dead_letter = local_dead_letter,
    .publish_update = local_publish_update,
    .poll_updates = local_poll_updates,
    .health = local_health,
    .shutdown = local_shutdown,
    .close = local_close,
};

static void message_free_item(void *item)
{
    bus_message_free(item);
}

Bus *bus_open_local(size_t max_messages, size_t max_bytes)
{
    g_assert(max_messages > 0 && max_bytes > 0);
    LocalBus *local = g_new0(LocalBus, 1);
    local->bus.ops = &LOCAL_OPS;
    local->clock = clock_new_system();
    bell_init(&local->shutdown_bell);
    local->commands = queue_new("bus.commands", max_messages, max_bytes, message_free_item);
    local->statuses = queue_new("bus.statuses", max_messages, max_bytes, message_free_item);
    local->dead_letters =
        queue_new("bus.dead", BUS_LOCAL_MAX_DEAD_LETTERS, BUS_LOCAL_MAX_DEAD_LETTER_BYTES, dead_letter_free_item);
    return &local->bus;
}
