/* bus_kafka.c - the bus over Apache Kafka: which parts a process needs, and who of them does what the port asks. Opening
 * needs no broker: what there is to say of it health says. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

/* Everybody looks at the number of partitions every 5 s, and has seen a new one after this. */
#define SEEN_BY_ALL_MS 10000
#define LETTERS_LIMIT_MS 3000 /* a commit waits this long for dead letters */
#define LEAVE_LIMIT_MS 2000   /* of the 5 s that bus_close() has */

static bool has_left_threads; /* atomic; of any bus */

bool kafka_bus_is_shut_down(const KafkaBus *bus)
{
    return __atomic_load_n(&bus->is_shut_down, __ATOMIC_ACQUIRE);
}

bool kafka_set_shut_down(GError **error)
{
    g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the bus was shut down");
    return false;
}

/* ---- commands ---- */

static bool kafka_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages,
                                   int64_t timeout_ms G_GNUC_UNUSED, BusResult *ret_results, GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->service_producer != NULL);
    return kafka_producer_publish_commands(kafka->service_producer, messages, n_messages, ret_results, error);
}

static int32_t kafka_command_partition(Bus *bus, const char *run_id)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    int32_t n = kafka_watch_n_partitions(kafka->watch, TOPIC_COMMANDS);
    return n > 0 ? rd_kafka_msg_partitioner_murmur2(NULL, run_id, strlen(run_id), n, NULL, NULL) : -1;
}

/* What the poll before brought is as good as done: a command that is lost with its engine is handed over again. */
static bool kafka_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->command_consumer != NULL);
    kafka_consumer_approve(kafka->command_consumer, 0);
    return kafka_consumer_poll(kafka->command_consumer, ret_messages, max, timeout_ms, ret_n, error);
}

/* With another number of partitions most runs' commands go to other ones than before, whose engines do not know the runs. True
 * once, when this is known to all who publish: then whoever announces a partition is handed what belongs to it now. */
static bool have_runs_moved(KafkaBus *kafka)
{
    int64_t now = clock_monotonic_ms(kafka->clock);
    int32_t n = kafka_watch_n_partitions(kafka->watch, TOPIC_COMMANDS);
    if (n > 0 && n != kafka->n_command_partitions) {
        kafka->runs_move_at = kafka->n_command_partitions > 0 ? now + SEEN_BY_ALL_MS : INT64_MAX;
        kafka->n_command_partitions = n;
    }
    if (kafka->n_command_partitions == 0 || now < kafka->runs_move_at)
        return false;
    kafka->runs_move_at = INT64_MAX;
    return true;
}

static void kafka_take_partitions(Bus *bus, BusPartitions *partitions)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->command_consumer != NULL);
    kafka_consumer_take_partitions(kafka->command_consumer, have_runs_moved(kafka), partitions);
}

/* ---- statuses ---- */

static BusMessage *copy_message(const BusMessage *message)
{
    BusMessage *copy = bus_message_new(NULL, message->value, message->value_size);
    copy->is_null = message->is_null;
    copy->key = g_memdup2(message->key, message->key != NULL ? message->key_size + 1 : 0);
    copy->key_size = message->key_size;
    return copy;
}

static bool kafka_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                   size_t *ret_n_published, GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->engine_producer != NULL);
    int64_t began = clock_monotonic_ms(kafka->clock);
    for (size_t i = 0; i < n_messages; i++) {
        int64_t left = timeout_ms;
        if (timeout_ms > 0 && i > 0)
            left = MAX(0, timeout_ms - (clock_monotonic_ms(kafka->clock) - began));
        g_autoptr(BusMessage) copy = copy_message(messages[i]);
        if (!kafka_outbox_add(&kafka->engine_producer->outbox, copy, left, error))
            return false;
        (void)g_steal_pointer(&copy);
        *ret_n_published = i + 1;
    }
    return true;
}

static bool kafka_flush_statuses(Bus *bus, int64_t timeout_ms, GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->engine_producer != NULL);
    return kafka_outbox_wait_empty(&kafka->engine_producer->outbox, timeout_ms, error);
}

static bool kafka_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->status_consumer != NULL);
    return kafka_consumer_poll(kafka->status_consumer, ret_messages, max, timeout_ms, ret_n, error);
}

static void kafka_hold_statuses(Bus *bus)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->status_consumer != NULL);
    kafka_consumer_hold(kafka->status_consumer);
}

static bool kafka_commit_statuses(Bus *bus, size_t n_later, GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->status_consumer != NULL);
    if (!kafka_outbox_wait_empty(&kafka->service_producer->outbox, LETTERS_LIMIT_MS, error))
        return false;
    kafka_consumer_approve(kafka->status_consumer, n_later);
    return true;
}

static bool kafka_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->service_producer != NULL);
    g_autoptr(BusMessage) letter = kafka_letter_new(message, reason);
    if (!kafka_outbox_add(&kafka->service_producer->outbox, letter, 0, error))
        return false;
    (void)g_steal_pointer(&letter);
    __atomic_add_fetch(&kafka->n_dead_letters, 1, __ATOMIC_RELAXED);
    return true;
}

/* ---- doorbells ---- */

static void kafka_publish_update(Bus *bus, const char *run_id, int64_t seq)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    if (kafka->service_producer != NULL)
        kafka_producer_publish_update(kafka->service_producer, run_id, seq);
}

static bool kafka_poll_updates(Bus *bus, BusUpdate *ret_updates, size_t max, int64_t timeout_ms, size_t *ret_n,
                               GError **error)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    g_assert(kafka->listener != NULL);
    return kafka_listener_poll(kafka->listener, ret_updates, max, timeout_ms, ret_n, error);
}

/* ---- health ---- */

static BusHealth kafka_health(Bus *bus)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    BusHealth health = {.status_lag = -1, .n_dead_letters = __atomic_load_n(&kafka->n_dead_letters, __ATOMIC_RELAXED)};
    char reason[ERROR_TEXT_SIZE];
    health.is_up = kafka_watch_is_up(kafka->watch, reason);
    g_strlcpy(health.reason, reason, sizeof health.reason);
    if (kafka->service_producer != NULL) {
        MUTEX_SCOPE(&kafka->service_producer->mu);
        health.n_commands_queued = kafka->service_producer->n_commands;
    }
    if (kafka->engine_producer != NULL) {
        MUTEX_SCOPE(&kafka->engine_producer->mu);
        health.n_statuses_queued = kafka->engine_producer->outbox.messages.length;
    }
    if (kafka->status_consumer != NULL)
        health.status_lag = kafka_consumer_lag(kafka->status_consumer);
    const KafkaConsumer *consumer = kafka->status_consumer != NULL ? kafka->status_consumer : kafka->command_consumer;
    if (consumer != NULL)
        health.n_partitions_held = kafka_consumer_n_partitions(consumer);
    return health;
}

/* ---- life ---- */

static void kafka_shutdown(Bus *bus)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    __atomic_store_n(&kafka->is_shut_down, true, __ATOMIC_RELEASE);
    kafka_producer_shutdown(kafka->service_producer);
    kafka_producer_shutdown(kafka->engine_producer);
    if (kafka->status_consumer != NULL)
        kafka_consumer_wake(kafka->status_consumer);
    if (kafka->command_consumer != NULL)
        kafka_consumer_wake(kafka->command_consumer);
    if (kafka->listener != NULL)
        kafka_listener_wake(kafka->listener);
}

/* Both at once, as long as that may take: one may be stuck with a commit or a farewell that no broker answers. The library may
 * keep the thread for ever: 2.0 does not answer an assignment that was under way when the group was left. */
static void leave_groups(void *arg)
{
    enum { SLICE_MS = 20 };
    KafkaBus *kafka = arg;
    kafka_consumer_leave(kafka->status_consumer);
    kafka_consumer_leave(kafka->command_consumer);
    while (!__atomic_load_n(&kafka->is_left_alone, __ATOMIC_ACQUIRE)) {
        bool have_left = kafka_consumer_has_left(kafka->status_consumer, SLICE_MS);
        if (kafka_consumer_has_left(kafka->command_consumer, SLICE_MS) && have_left)
            return;
    }
}

bool bus_has_left_threads(void)
{
    return __atomic_load_n(&has_left_threads, __ATOMIC_RELAXED);
}

/* Everything that has to wait begins first; then each is waited for. The watch goes last, since all the others tell it what
 * they met. A client that the library cannot end stays, with all that its threads may still touch, until the process ends:
 * nobody closes a bus and lives on. */
static void kafka_close(Bus *bus)
{
    KafkaBus *kafka = (KafkaBus *)bus;
    kafka_shutdown(bus);
    kafka_producer_stop(kafka->service_producer);
    kafka_producer_stop(kafka->engine_producer);
    kafka_watch_stop(kafka->watch);
    bool have_left = kafka_end_in_time(leave_groups, kafka, LEAVE_LIMIT_MS);
    __atomic_store_n(&kafka->is_left_alone, true, __ATOMIC_RELEASE);
    bool is_all_gone = kafka_producer_close(kafka->service_producer) && have_left;
    is_all_gone = kafka_producer_close(kafka->engine_producer) && is_all_gone;
    kafka_watch_join(kafka->watch); /* it wakes the listener */
    is_all_gone = kafka_listener_close(kafka->listener) && is_all_gone;
    is_all_gone = have_left && kafka_consumer_close(kafka->status_consumer) && is_all_gone;
    is_all_gone = have_left && kafka_consumer_close(kafka->command_consumer) && is_all_gone;
    is_all_gone = kafka_watch_end(kafka->watch) && is_all_gone;
    if (!is_all_gone) {
        __atomic_store_n(&has_left_threads, true, __ATOMIC_RELAXED);
        return;
    }
    kafka_watch_free(kafka->watch);
    kafka_settings_done(&kafka->settings);
    g_free(kafka);
}

static const BusOps KAFKA_OPS = {
    .name = "kafka",
    .is_durable = true,
    .publish_commands = kafka_publish_commands,
    .command_partition = kafka_command_partition,
    .poll_commands = kafka_poll_commands,
    .take_partitions = kafka_take_partitions,
    .publish_statuses = kafka_publish_statuses,
    .flush_statuses = kafka_flush_statuses,
    .poll_statuses = kafka_poll_statuses,
    .hold_statuses = kafka_hold_statuses,
    .commit_statuses = kafka_commit_statuses,
    .dead_letter = kafka_dead_letter,
    .publish_update = kafka_publish_update,
    .poll_updates = kafka_poll_updates,
    .health = kafka_health,
    .shutdown = kafka_shutdown,
    .close = kafka_close,
};

static bool open_service_side(KafkaBus *kafka, GError **error)
{
    kafka->service_producer = kafka_producer_open(kafka, true, error);
    if (kafka->service_producer != NULL)
        kafka->status_consumer = kafka_consumer_open(kafka, TOPIC_STATUSES, GROUP_SERVICE, error);
    return kafka->status_consumer != NULL;
}

static bool open_engine_side(KafkaBus *kafka, GError **error)
{
    kafka->engine_producer = kafka_producer_open(kafka, false, error);
    if (kafka->engine_producer != NULL)
        kafka->command_consumer = kafka_consumer_open(kafka, TOPIC_COMMANDS, GROUP_ENGINE, error);
    return kafka->command_consumer != NULL;
}

static bool open_parts(KafkaBus *kafka, const KafkaOptions *options, GError **error)
{
    if (!kafka_watch_open(kafka, options, error))
        return false;
    if (options->has_updates && (kafka->listener = kafka_listener_open(kafka, error)) == NULL)
        return false;
    return (!options->has_service_side || open_service_side(kafka, error)) &&
           (!options->has_engine_side || open_engine_side(kafka, error)) && kafka_watch_start(kafka->watch, error);
}

Bus *bus_open_kafka(const KafkaOptions *options, const Clock *clock, GError **error)
{
    g_assert(options->brokers != NULL && (options->has_service_side || options->has_engine_side));
    KafkaBus *kafka = g_new0(KafkaBus, 1);
    kafka->bus.ops = &KAFKA_OPS;
    kafka->clock = clock;
    kafka->has_updates = options->has_updates;
    if (!kafka_settings_init(&kafka->settings, options, error)) {
        g_free(kafka);
        return NULL;
    }
    if (!open_parts(kafka, options, error)) {
        kafka_close(&kafka->bus);
        return NULL;
    }
    return &kafka->bus;
}
