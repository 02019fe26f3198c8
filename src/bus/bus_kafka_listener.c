/* bus_kafka_listener.c - hears the doorbells. Every replica hears all of them, so there is no group and nothing is committed:
 * it listens from the end of each partition there is, and from the beginning of one that appears later. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

#include "base/json.h"

#define POLL_SLICE_MS 1000
#define END_LIMIT_MS 500      /* of the 5 s that bus_close() has */
#define UPDATE_MAX_BYTES 1024 /* a doorbell is about 70; anything much larger is none */

static const KafkaProperty PROPERTIES[] = {
    {"auto.offset.reset", "earliest"}, /* a topic that was made anew: an old doorbell does no harm */
    {"queued.min.messages", "1000"},   {"queued.max.messages.kbytes", "1024"}, {"fetch.max.bytes", "1048576"},
    {"message.max.bytes", "1048576"},  {"fetch.error.backoff.ms", "100"},      {NULL, NULL},
};

struct KafkaListener {
    KafkaBus *bus; /* first: see kafka_conf_new() */
    rd_kafka_t *client;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    int32_t n_started; /* partitions 0 ... n_started - 1 */
};

static void start_partitions(KafkaListener *listener)
{
    int32_t n = kafka_watch_n_partitions(listener->bus->watch, TOPIC_UPDATES);
    int64_t from = listener->n_started == 0 ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING;
    for (; listener->n_started < n; listener->n_started++)
        if (rd_kafka_consume_start_queue(listener->topic, listener->n_started, from, listener->queue) != 0)
            break; /* tried again at the next poll */
}

/* Lenient: whoever writes nonsense here rings no bell. */
static bool read_update(const rd_kafka_message_t *message, BusUpdate *ret_update)
{
    g_autoptr(JsonValue) root = NULL;
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR || message->payload == NULL || message->len > UPDATE_MAX_BYTES ||
        !json_parse(message->payload, message->len, 4, &root, NULL) || json_type(root) != JSON_OBJECT)
        return false;
    const JsonValue *run_id = json_get(root, "runId");
    const JsonValue *seq = json_get(root, "seq");
    if (json_type(run_id) != JSON_STRING || json_type(seq) != JSON_INT || json_int(seq) < 1)
        return false;
    ret_update->seq = json_int(seq);
    return id_parse(json_text(run_id), &ret_update->run_id);
}

static size_t take(KafkaListener *listener, BusUpdate *ret_updates, size_t max, int64_t timeout_ms)
{
    enum { BATCH = 256 };
    rd_kafka_message_t *messages[BATCH];
    ssize_t n = rd_kafka_consume_batch_queue(listener->queue, (int)timeout_ms, messages, 1);
    if (n <= 0)
        return 0;
    ssize_t n_more = 0;
    if (max > 1)
        n_more = rd_kafka_consume_batch_queue(listener->queue, 0, messages + 1, MIN(max, BATCH) - 1);
    n += MAX(n_more, 0);
    size_t n_updates = 0;
    for (ssize_t i = 0; i < n; i++) {
        n_updates += read_update(messages[i], &ret_updates[n_updates]);
        rd_kafka_message_destroy(messages[i]);
    }
    return n_updates;
}

bool kafka_listener_poll(KafkaListener *listener, BusUpdate *ret_updates, size_t max, int64_t timeout_ms, size_t *ret_n,
                         GError **error)
{
    const Clock *clock = listener->bus->clock;
    int64_t began = clock_monotonic_ms(clock);
    int64_t left = timeout_ms;
    *ret_n = 0;
    while (!kafka_bus_is_shut_down(listener->bus)) {
        start_partitions(listener);
        rd_kafka_poll(listener->client, 0);
        *ret_n = take(listener, ret_updates, max, left < 0 ? POLL_SLICE_MS : MIN(left, POLL_SLICE_MS));
        if (timeout_ms >= 0)
            left = timeout_ms - (clock_monotonic_ms(clock) - began);
        if (*ret_n > 0 || (timeout_ms >= 0 && left <= 0))
            break;
    }
    if (!kafka_bus_is_shut_down(listener->bus))
        return true;
    *ret_n = 0;
    return kafka_set_shut_down(error);
}

void kafka_listener_wake(KafkaListener *listener)
{
    rd_kafka_queue_yield(listener->queue);
}

KafkaListener *kafka_listener_open(KafkaBus *bus, GError **error)
{
    rd_kafka_conf_t *conf;
    KafkaListener *listener = g_new0(KafkaListener, 1);
    listener->bus = bus;
    conf = kafka_conf_new(bus, PROPERTIES, listener);
    listener->client = kafka_client_new(bus, RD_KAFKA_CONSUMER, conf, error);
    if (listener->client == NULL) {
        g_free(listener);
        return NULL;
    }
    listener->topic = rd_kafka_topic_new(listener->client, bus->settings.topics[TOPIC_UPDATES], NULL);
    listener->queue = rd_kafka_queue_new(listener->client);
    return listener;
}

bool kafka_listener_close(KafkaListener *listener)
{
    if (listener == NULL)
        return true;
    for (int32_t i = 0; i < listener->n_started; i++)
        rd_kafka_consume_stop(listener->topic, i);
    rd_kafka_queue_destroy(listener->queue);
    rd_kafka_topic_destroy(listener->topic);
    if (!kafka_client_end(listener->client, END_LIMIT_MS))
        return false;
    g_free(listener);
    return true;
}
