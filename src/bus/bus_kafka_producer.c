/* bus_kafka_producer.c - the idempotent producer of a side (service: commands, dead letters, doorbells; engine: statuses), and
 * the thread that polls it. When the library declares it broken beyond repair (it lost count of what a broker has: a topic
 * was made anew, a disk was lost), it is replaced: commands in flight become NOT_NOW, what was accepted for good is sent
 * again in order. A message is never handed over again while an earlier copy may still be on its way. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

#include "base/json.h"

#define POLL_MS 1000
#define RENEW_PAUSE_MS 1000    /* a client that could not be made, or may not write, is not made again at once */
#define LET_IN_MS 3000         /* a client that is not refused within this may write */
#define POLL_TO_RESEND_MS 50   /* while something waits to be sent again */
#define END_LIMIT_MS 1000      /* of the 5 s that bus_close() has */
#define PURGE_LIMIT_MS 1000    /* for the reports of what was purged: they need no broker */
#define COMMAND_TIMEOUT "5000" /* takeover of commands by another replica (10 s) must come after it */
#define UPDATE_TIMEOUT "2000"  /* listeners poll slowly anyway */
#define MAX_UPDATES 10000      /* doorbells in flight: more are dropped, so that they take no room from commands */

/* Bounds of what is accepted and not yet with the broker: a dead broker must cost no more memory than this. */
#define MAX_STATUSES 16384
#define MAX_STATUS_BYTES (16 * 1024 * 1024)
#define MAX_LETTERS 16384
#define MAX_LETTER_BYTES (64 * 1024 * 1024)

/* The waits of at most a millisecond gather what is published at once into one request; batches stay well below what a topic
 * takes, since a broker that finds a batch too large refuses all of it. */
static const KafkaProperty COMMON[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"linger.ms", "0.5"},
    {"batch.size", "262144"},
    {"partitioner", "murmur2_random"},          /* as Java's clients */
    {"message.max.bytes", "5242880"},           /* a dead letter and its overhead */
    {"message.copy.max.bytes", "5242880"},      /* no request refers to texts of ours once a report came */
    {"queue.buffering.max.messages", "200000"}, /* above all bounds of ours together */
    {NULL, NULL},
};

typedef struct {
    Bell bell; /* rung when the last is settled */
    BusResult *results;
    size_t n_left;             /* guarded by the producer's mu */
    rd_kafka_resp_err_t error; /* guarded by the producer's mu; the first that was not delivered */
    size_t error_index;
    struct CommandDelivery *deliveries;
    size_t n_deliveries;
} CommandBatch;

typedef struct CommandDelivery {
    DeliveryKind kind;
    CommandBatch *batch;
    bool is_settled;
} CommandDelivery;

/* ---- delivery reports ---- */

/* Of the message itself: a permission that is missing now may be there tomorrow. */
static BusResult result_of(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return BUS_PUBLISHED;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return BUS_REFUSED;
    default:
        return BUS_NOT_NOW;
    }
}

/* With mu held. */
static void settle_command(KafkaProducer *producer, CommandDelivery *delivery, rd_kafka_resp_err_t error)
{
    CommandBatch *batch = delivery->batch;
    size_t index = (size_t)(delivery - batch->deliveries);
    delivery->is_settled = true;
    batch->results[index] = result_of(error);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && index < batch->error_index) {
        batch->error = error;
        batch->error_index = index;
    }
    producer->n_commands--;
    batch->n_left--;
    if (batch->n_left == 0) {
        g_ptr_array_remove_fast(producer->batches, batch);
        bell_ring(&batch->bell); /* the last touch: its owner may be gone once mu is free */
    }
}

/* With mu held. Said until something of the topic arrives; other failures tell nothing of it. */
static void note_permission(KafkaProducer *producer, KafkaTopic topic, rd_kafka_resp_err_t result, const char *why)
{
    char *forbidden = producer->forbidden[topic];
    bool is_forbidden = kafka_is_forbidden(result);
    if ((result != RD_KAFKA_RESP_ERR_NO_ERROR && !is_forbidden) || (!is_forbidden && forbidden[0] == '\0'))
        return;
    g_snprintf(forbidden, ERROR_TEXT_SIZE, "%s%s", is_forbidden ? "may not be written: " : "", is_forbidden ? why : "");
    kafka_watch_set_writers_problem(producer->bus->watch, topic, is_forbidden ? forbidden : NULL);
}

/* Dead letters are not among them: one that may not be written is given up, so nothing would ever take that back. */
static void note_permission_of(KafkaProducer *producer, const DeliveryKind *kind, rd_kafka_resp_err_t result)
{
    KafkaTopic topic = kind == NULL                ? TOPIC_UPDATES
                       : *kind == DELIVERY_COMMAND ? TOPIC_COMMANDS
                                                   : producer->outbox.topic;
    if (topic != TOPIC_DEAD_LETTERS)
        note_permission(producer, topic, result, rd_kafka_err2str(result));
}

/* With mu held. */
static void settle(KafkaProducer *producer, const rd_kafka_message_t *message)
{
    DeliveryKind *kind = message->_private;
    note_permission_of(producer, kind, message->err);
    if (kind == NULL)
        producer->n_updates--;
    else if (*kind == DELIVERY_COMMAND)
        settle_command(producer, (CommandDelivery *)(void *)kind, message->err);
    else
        kafka_outbox_settle(&producer->outbox, (KeptMessage *)(void *)kind, message->err);
}

/* On the thread; waits for reports up to timeout_ms, or until kafka_producer_wake(). */
static void serve(KafkaProducer *producer, rd_kafka_queue_t *queue, int timeout_ms)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms);
    if (event == NULL)
        return;
    if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR) {
        MUTEX_SCOPE(&producer->mu);
        const rd_kafka_message_t *message;
        while ((message = rd_kafka_event_message_next(event)) != NULL)
            settle(producer, message);
    }
    rd_kafka_event_destroy(event);
}

/* ---- the client ---- */

static rd_kafka_topic_t *open_topic(rd_kafka_t *client, const char *name, const char *timeout_ms)
{
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(client);
    rd_kafka_conf_res_t result = rd_kafka_topic_conf_set(conf, "message.timeout.ms", timeout_ms, NULL, 0);
    g_assert(result == RD_KAFKA_CONF_OK);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, conf);
    g_assert(topic != NULL);
    return topic;
}

/* The library's own queue is never what is full: what is accepted is bounded here. */
static rd_kafka_t *open_client(KafkaProducer *producer, GError **error)
{
    rd_kafka_conf_t *conf = kafka_conf_new(producer->bus, COMMON, producer);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR);
    return kafka_client_new(producer->bus, RD_KAFKA_PRODUCER, conf, error);
}

/* With mu held, or before the thread is started. */
static void use_client(KafkaProducer *producer, rd_kafka_t *client)
{
    char *const *names = producer->bus->settings.topics;
    producer->client = client;
    producer->reports = rd_kafka_queue_get_main(client);
    if (!producer->is_service_side) {
        producer->topics[TOPIC_STATUSES] = open_topic(client, names[TOPIC_STATUSES], "0");
        return;
    }
    producer->topics[TOPIC_COMMANDS] = open_topic(client, names[TOPIC_COMMANDS], COMMAND_TIMEOUT);
    producer->topics[TOPIC_DEAD_LETTERS] = open_topic(client, names[TOPIC_DEAD_LETTERS], "0");
    if (producer->bus->has_updates)
        producer->topics[TOPIC_UPDATES] = open_topic(client, names[TOPIC_UPDATES], UPDATE_TIMEOUT);
}

/* From now on nobody else uses it. */
static rd_kafka_t *take_client(KafkaProducer *producer, rd_kafka_queue_t **ret_reports)
{
    MUTEX_SCOPE(&producer->mu);
    *ret_reports = g_steal_pointer(&producer->reports);
    return g_steal_pointer(&producer->client);
}

/* Reports that never came: nothing of the old client is on its way any more. */
static void settle_leftovers(KafkaProducer *producer)
{
    MUTEX_SCOPE(&producer->mu);
    while (producer->batches->len > 0) {
        CommandBatch *batch = producer->batches->pdata[0];
        for (size_t i = 0, n = batch->n_deliveries; i < n; i++)
            if (!batch->deliveries[i].is_settled)
                settle_command(producer, &batch->deliveries[i], RD_KAFKA_RESP_ERR__DESTROY);
    }
    producer->n_updates = 0;
    kafka_outbox_forget_client(&producer->outbox);
}

/* On the thread. Everything in flight is reported as failed and the client is gone. */
static void close_client(KafkaProducer *producer)
{
    rd_kafka_queue_t *reports;
    rd_kafka_t *client = take_client(producer, &reports);
    if (client == NULL)
        return;
    rd_kafka_purge(client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    int64_t deadline = clock_monotonic_ms(producer->bus->clock) + PURGE_LIMIT_MS;
    while (rd_kafka_outq_len(client) > 0 && clock_monotonic_ms(producer->bus->clock) < deadline)
        serve(producer, reports, POLL_TO_RESEND_MS);
    rd_kafka_queue_destroy(reports);
    for (int i = 0; i < N_TOPICS; i++)
        if (producer->topics[i] != NULL)
            rd_kafka_topic_destroy(g_steal_pointer(&producer->topics[i]));
    producer->is_stuck |= !kafka_client_end(client, END_LIMIT_MS);
    settle_leftovers(producer);
}

static void pause_renewal(KafkaProducer *producer)
{
    producer->renew_at = clock_monotonic_ms(producer->bus->clock) + RENEW_PAUSE_MS;
}

/* On the thread, without a client: a new one, when it is due. */
static void renew_client(KafkaProducer *producer)
{
    int64_t left = producer->renew_at - clock_monotonic_ms(producer->bus->clock);
    if (left > 0) {
        bell_wait(&producer->renew_bell, left);
        return;
    }
    g_autoptr(GError) error = NULL;
    rd_kafka_t *client = open_client(producer, &error);
    if (client == NULL) { /* no descriptors, say: tried again */
        kafka_watch_note_error(producer->bus->watch, error->message);
        pause_renewal(producer);
        return;
    }
    producer->renewed_at = clock_monotonic_ms(producer->bus->clock);
    MUTEX_SCOPE(&producer->mu);
    use_client(producer, client);
}

/* On the thread. A client that may write nothing at all is refused when it begins, before there is anything to send. */
static void note_refused(KafkaProducer *producer, rd_kafka_resp_err_t result, const char *why)
{
    producer->is_refused = result != RD_KAFKA_RESP_ERR_NO_ERROR;
    MUTEX_SCOPE(&producer->mu);
    note_permission(producer, producer->is_service_side ? TOPIC_COMMANDS : TOPIC_STATUSES, result, why);
}

static void note_let_in(KafkaProducer *producer)
{
    if (producer->is_refused && clock_monotonic_ms(producer->bus->clock) - producer->renewed_at >= LET_IN_MS)
        note_refused(producer, RD_KAFKA_RESP_ERR_NO_ERROR, "");
}

/* On the thread. What the library cannot repair begins afresh. */
static void close_when_broken(KafkaProducer *producer, rd_kafka_t *client)
{
    char text[ERROR_TEXT_SIZE];
    rd_kafka_resp_err_t result = rd_kafka_fatal_error(client, text, sizeof text);
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR) {
        note_let_in(producer);
        return;
    }
    kafka_watch_note_error(producer->bus->watch, text);
    if (kafka_is_forbidden(result)) {
        note_refused(producer, result, text);
        pause_renewal(producer);
    }
    close_client(producer);
}

/* ---- the thread ---- */

typedef struct {
    rd_kafka_t *client;
    rd_kafka_queue_t *reports;
    bool is_closing, is_shut_down, needs_resend;
} ProducerState;

static ProducerState look(KafkaProducer *producer)
{
    MUTEX_SCOPE(&producer->mu);
    if (producer->client != NULL && !producer->is_shut_down)
        kafka_outbox_resend_when_due(&producer->outbox);
    return (ProducerState){producer->client, producer->reports, producer->is_closing, producer->is_shut_down,
                           producer->outbox.needs_resend};
}

static void producer_main(void *arg)
{
    KafkaProducer *producer = arg;
    bool is_purged = false;
    for (ProducerState state = look(producer); !state.is_closing; state = look(producer)) {
        if (state.client == NULL) {
            renew_client(producer);
            continue;
        }
        if (state.is_shut_down && producer->is_service_side && !is_purged) {
            rd_kafka_purge(state.client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
            is_purged = true;
        }
        serve(producer, state.reports, state.needs_resend ? POLL_TO_RESEND_MS : POLL_MS);
        if (!state.is_shut_down)
            close_when_broken(producer, state.client);
    }
    close_client(producer);
}

void kafka_producer_wake(KafkaProducer *producer)
{
    bell_ring(&producer->renew_bell);
    if (producer->reports != NULL)
        rd_kafka_queue_yield(producer->reports);
}

/* ---- life ---- */

KafkaProducer *kafka_producer_open(KafkaBus *bus, bool is_service_side, GError **error)
{
    KafkaProducer *producer = g_new0(KafkaProducer, 1);
    producer->bus = bus;
    producer->is_service_side = is_service_side;
    producer->batches = g_ptr_array_new();
    mutex_init(&producer->mu);
    bell_init(&producer->renew_bell);
    if (is_service_side)
        kafka_outbox_init(&producer->outbox, producer, TOPIC_DEAD_LETTERS, MAX_LETTERS, MAX_LETTER_BYTES);
    else
        kafka_outbox_init(&producer->outbox, producer, TOPIC_STATUSES, MAX_STATUSES, MAX_STATUS_BYTES);
    rd_kafka_t *client = open_client(producer, error);
    if (client != NULL) {
        use_client(producer, client);
        producer->thread =
            thread_start(is_service_side ? "kafka-service" : "kafka-engine", ROLE_BUS, producer_main, producer, error);
    }
    if (producer->thread == NULL) {
        close_client(producer);
        (void)kafka_producer_close(producer);
        return NULL;
    }
    return producer;
}

void kafka_producer_shutdown(KafkaProducer *producer)
{
    if (producer == NULL)
        return;
    MUTEX_SCOPE(&producer->mu);
    producer->is_shut_down = true;
    bell_ring(&producer->outbox.bell);
    kafka_producer_wake(producer);
}

void kafka_producer_stop(KafkaProducer *producer)
{
    if (producer == NULL)
        return;
    MUTEX_SCOPE(&producer->mu);
    producer->is_closing = true;
    kafka_producer_wake(producer);
}

bool kafka_producer_close(KafkaProducer *producer)
{
    if (producer == NULL)
        return true;
    kafka_producer_stop(producer);
    thread_join(producer->thread);
    if (producer->is_stuck)
        return false;
    kafka_outbox_done(&producer->outbox);
    g_ptr_array_unref(producer->batches);
    bell_done(&producer->renew_bell);
    mutex_done(&producer->mu);
    g_free(producer);
    return true;
}

/* ---- commands ---- */

static rd_kafka_resp_err_t send_command(KafkaProducer *producer, const BusMessage *message, CommandDelivery *delivery)
{
    if (producer->client == NULL)
        return RD_KAFKA_RESP_ERR__FATAL;
    int failed = rd_kafka_produce(producer->topics[TOPIC_COMMANDS], RD_KAFKA_PARTITION_UA, 0,
                                  message->is_null ? NULL : message->value, message->value_size, message->key,
                                  message->key_size, delivery);
    return failed == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_last_error();
}

/* The whole batch under one lock, so that nothing of another call comes between; the texts are the caller's until the last
 * report. What could not be handed over is settled here. */
static void send_batch(KafkaProducer *producer, BusMessage *const *messages, CommandBatch *batch)
{
    MUTEX_SCOPE(&producer->mu);
    g_ptr_array_add(producer->batches, batch);
    producer->n_commands += batch->n_left;
    for (size_t i = 0; i < batch->n_deliveries; i++) {
        rd_kafka_resp_err_t error = producer->is_shut_down ? RD_KAFKA_RESP_ERR__DESTROY
                                                           : send_command(producer, messages[i], &batch->deliveries[i]);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
            settle_command(producer, &batch->deliveries[i], error);
    }
}

static bool is_settled(KafkaProducer *producer, const CommandBatch *batch)
{
    MUTEX_SCOPE(&producer->mu);
    return batch->n_left == 0;
}

static bool set_publish_error(KafkaProducer *producer, rd_kafka_resp_err_t code, GError **error)
{
    KafkaBus *bus = producer->bus;
    if (kafka_bus_is_shut_down(bus))
        return kafka_set_shut_down(error);
    const char *topic = bus->settings.topics[TOPIC_COMMANDS];
    kafka_watch_ring(bus->watch); /* the topic may be missing */
    MUTEX_SCOPE(&producer->mu);
    const char *forbidden = producer->forbidden[TOPIC_COMMANDS];
    if (result_of(code) == BUS_REFUSED)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "Kafka refuses it for topic %s: %s", topic,
                    rd_kafka_err2str(code));
    else if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "too much waits for Kafka already (topic %s)", topic);
    else
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "Kafka did not take it for topic %s: %s", topic,
                    forbidden[0] != '\0' ? forbidden : rd_kafka_err2str(code));
    return false;
}

/* No limit of ours: every message is reported within message.timeout.ms and the library's look at it, once a second, and
 * until then it must not be said to be free. */
bool kafka_producer_publish_commands(KafkaProducer *producer, BusMessage *const *messages, size_t n_messages,
                                     BusResult *ret_results, GError **error)
{
    if (n_messages == 0)
        return true;
    g_autofree CommandDelivery *deliveries = g_new0(CommandDelivery, n_messages);
    CommandBatch batch = {.results = ret_results,
                          .n_left = n_messages,
                          .error_index = n_messages,
                          .deliveries = deliveries,
                          .n_deliveries = n_messages};
    for (size_t i = 0; i < n_messages; i++)
        deliveries[i] = (CommandDelivery){.kind = DELIVERY_COMMAND, .batch = &batch};
    bell_init(&batch.bell);
    send_batch(producer, messages, &batch);
    while (!is_settled(producer, &batch))
        bell_wait(&batch.bell, -1);
    bell_done(&batch.bell);
    return batch.error_index == n_messages || set_publish_error(producer, batch.error, error);
}

/* ---- doorbells ---- */

void kafka_producer_publish_update(KafkaProducer *producer, const char *run_id, int64_t seq)
{
    g_autoptr(GString) text = g_string_sized_new(96);
    JsonWriter writer = json_writer(text);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "runId", run_id);
    json_put_int(&writer, "seq", seq);
    json_end_object(&writer);
    MUTEX_SCOPE(&producer->mu);
    if (producer->client == NULL || producer->is_shut_down || producer->topics[TOPIC_UPDATES] == NULL ||
        producer->n_updates >= MAX_UPDATES)
        return;
    if (rd_kafka_produce(producer->topics[TOPIC_UPDATES], RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, text->str,
                         text->len, run_id, strlen(run_id), NULL) == 0)
        producer->n_updates++;
}
