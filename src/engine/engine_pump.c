/* engine_pump.c - polls, decodes, pushes. What is lost and gained goes before the commands of the same poll: those of a lost
 * partition are dropped, since another engine is handed its runs, and a gained one is announced before its first command.
 * There is no caller to return trouble to, so it is logged here. */
#include "engine/engine_pump.h"

#include "base/log.h"
#include "base/thread.h"

#define POLL_BATCH 256
/* How late a change of partitions may be noticed on a bus that does not cut a wait short for it, and how long a pump
 * without work takes to notice a stop. A hand-over has 10 s in all. */
#define POLL_WAIT_MS 250
#define BUS_RETRY_MS 200 /* between tries while the bus is not there */
/* Trouble this old is worth a line in the log: a start, a shutdown or a change of leaders looks the same for a moment. */
#define BUS_DOWN_AFTER_MS 5000

#define DECODED_FACTOR 4 /* a decoded command against its text */

struct Pump {
    Bus *bus;
    const Clock *clock;
    Queue *inbox;
    Thread *thread;
    Bell bell;        /* closed to end a wait for the bus */
    bool is_stopping; /* atomic */

    /* pump thread */
    BusPartitions *changes; /* to be filled by the next look */
    int64_t down_since;     /* monotonic; 0: the bus is up */
    bool is_down_told;
};

/* ---- into the inbox ---- */

static BusPartitions *partitions_new(void)
{
    BusPartitions *partitions = g_new0(BusPartitions, 1);
    partitions->lost = g_array_new(FALSE, FALSE, sizeof(int32_t));
    partitions->gained = g_array_new(FALSE, FALSE, sizeof(int32_t));
    return partitions;
}

static void partitions_free(BusPartitions *partitions)
{
    if (partitions == NULL)
        return;
    g_array_free(partitions->lost, TRUE);
    g_array_free(partitions->gained, TRUE);
    g_free(partitions);
}

void inbox_item_free(InboxItem *item)
{
    if (item == NULL)
        return;
    command_message_free(item->command);
    partitions_free(item->partitions);
    g_free(item);
}

static void push(Pump *pump, InboxItem *item, size_t weight)
{
    QueueResult result = queue_push(pump->inbox, item, sizeof *item + weight, -1);
    g_assert(result == QUEUE_OK);
}

static bool contains(const GArray *partitions, int32_t partition)
{
    for (guint i = 0; i < partitions->len; i++)
        if (g_array_index(partitions, int32_t, i) == partition)
            return true;
    return false;
}

static void push_command(Pump *pump, const BusMessage *message, int32_t partition)
{
    g_autoptr(GError) error = NULL;
    CommandMessage *command = command_message_decode(message->value, message->value_size, &error);
    if (command == NULL) {
        log_error(LOG_WARNING, "a command could not be understood", error, "key", message->key, NULL);
        return;
    }
    InboxItem *item = g_new0(InboxItem, 1);
    item->command = command;
    item->partition = partition;
    push(pump, item, message->value_size * DECODED_FACTOR);
}

/* A bus without positions has the one partition 0. */
static int32_t partition_of(const BusMessage *message)
{
    return message->origin.topic != NULL ? message->origin.partition : 0;
}

/* The messages are freed. */
static void push_polled(Pump *pump, BusMessage **messages, size_t n)
{
    BusPartitions *changes = pump->changes;
    bus_take_partitions(pump->bus, changes);
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t partition = partition_of(messages[i]);
        if (contains(changes->lost, partition) && !contains(changes->gained, partition))
            bus_message_free(messages[i]);
        else
            messages[n_kept++] = messages[i];
    }
    if (changes->lost->len > 0 || changes->gained->len > 0) {
        InboxItem *item = g_new0(InboxItem, 1);
        item->partitions = changes;
        pump->changes = partitions_new();
        push(pump, item, (changes->lost->len + changes->gained->len) * sizeof(int32_t));
    }
    for (size_t i = 0; i < n_kept; i++) {
        push_command(pump, messages[i], partition_of(messages[i]));
        bus_message_free(messages[i]);
    }
}

/* ---- the thread ---- */

static bool is_stopping(Pump *pump)
{
    return __atomic_load_n(&pump->is_stopping, __ATOMIC_ACQUIRE);
}

static void note_up(Pump *pump)
{
    if (pump->is_down_told)
        log_event(LOG_INFO, "the engine's bus is back", NULL);
    pump->is_down_told = false;
    pump->down_since = 0;
}

static void note_down(Pump *pump, const char *reason)
{
    int64_t now = clock_monotonic_ms(pump->clock);
    if (pump->down_since == 0)
        pump->down_since = now;
    if (pump->is_down_told || now - pump->down_since < BUS_DOWN_AFTER_MS)
        return;
    pump->is_down_told = true;
    log_event(LOG_WARNING, "the engine's bus is down", "reason", reason, NULL);
}

/* A bus whose broker is away may just have nothing to give. */
static void note_health(Pump *pump)
{
    BusHealth health = bus_health(pump->bus);
    if (health.is_up)
        note_up(pump);
    else
        note_down(pump, health.reason);
}

/* The first look does not wait: what is the engine's from the start is announced at once. */
static void pump_main(void *arg)
{
    Pump *pump = arg;
    BusMessage *messages[POLL_BATCH];
    int64_t timeout_ms = 0;
    while (!is_stopping(pump)) {
        g_autoptr(GError) error = NULL;
        size_t n = 0;
        bool is_ok = bus_poll_commands(pump->bus, messages, POLL_BATCH, timeout_ms, &n, &error);
        timeout_ms = POLL_WAIT_MS;
        push_polled(pump, messages, n);
        if (!is_ok) {
            note_down(pump, error->message);
            bell_wait(&pump->bell, BUS_RETRY_MS);
        } else if (n > 0) {
            note_up(pump);
        } else {
            note_health(pump);
        }
    }
}

/* ---- life ---- */

static void pump_free(Pump *pump)
{
    bell_done(&pump->bell);
    partitions_free(pump->changes);
    g_free(pump);
}

Pump *pump_start(Bus *bus, const Clock *clock, Queue *inbox, GError **error)
{
    Pump *pump = g_new0(Pump, 1);
    pump->bus = bus;
    pump->clock = clock;
    pump->inbox = inbox;
    pump->changes = partitions_new();
    bell_init(&pump->bell);
    pump->thread = thread_start("engine-pump", ROLE_ENGINE, pump_main, pump, error);
    if (pump->thread != NULL)
        return pump;
    pump_free(pump);
    return NULL;
}

void pump_stop(Pump *pump)
{
    if (pump == NULL)
        return;
    __atomic_store_n(&pump->is_stopping, true, __ATOMIC_RELEASE);
    bell_close(&pump->bell);
    thread_join(pump->thread);
    pump_free(pump);
}
