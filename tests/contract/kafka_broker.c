/* kafka_broker.c - a Kafka for tests. */
#include "kafka_broker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka_mock.h>

#include "base/id.h"

#define LIMIT_MS 20000

struct KafkaBroker {
    Clock *clock;
    char *addresses, *prefix;
    rd_kafka_t *client; /* the mock's bookkeeping, producing from outside, administration */
    rd_kafka_mock_cluster_t *mock;
};

static char *topic_name(const KafkaBroker *broker, const char *name)
{
    return g_strconcat(broker->prefix, name, NULL);
}

static void set(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    assert_int_equal(rd_kafka_conf_set(conf, key, value, NULL, 0), RD_KAFKA_CONF_OK);
}

static void ignore_log(const rd_kafka_t *client G_GNUC_UNUSED, int level G_GNUC_UNUSED,
                       const char *facility G_GNUC_UNUSED, const char *text G_GNUC_UNUSED)
{
}

static rd_kafka_t *client_new(rd_kafka_type_t type, const char *addresses)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (addresses != NULL)
        set(conf, "bootstrap.servers", addresses);
    if (type == RD_KAFKA_PRODUCER)
        set(conf, "message.max.bytes", "8000000");
    rd_kafka_conf_set_log_cb(conf, ignore_log);
    rd_kafka_t *client = rd_kafka_new(type, conf, NULL, 0);
    assert_non_null(client);
    return client;
}

static void make_mock(KafkaBroker *broker)
{
    static const char *const names[] = {"execution.commands", "execution.status", "execution.status.dlq",
                                        "execution.updates"};
    broker->client = client_new(RD_KAFKA_PRODUCER, NULL);
    broker->mock = rd_kafka_mock_cluster_new(broker->client, 1);
    assert_non_null(broker->mock);
    broker->addresses = g_strdup(rd_kafka_mock_cluster_bootstraps(broker->mock));
    /* It cannot be asked for topics over the wire. */
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *name = topic_name(broker, names[i]);
        assert_int_equal(rd_kafka_mock_topic_create(broker->mock, name, KAFKA_TEST_PARTITIONS, 1),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
    }
}

KafkaBroker *kafka_broker_new(bool is_mock)
{
    KafkaBroker *broker = g_new0(KafkaBroker, 1);
    broker->clock = clock_new_system();
    Id id = id_make(clock_wall_ms(broker->clock));
    broker->prefix = g_strconcat("test-", id.text, ".", NULL);
    if (is_mock) {
        make_mock(broker);
        return broker;
    }
    const char *addresses = getenv("FLOWOPS_TEST_KAFKA");
    if (addresses == NULL)
        fail_msg("FLOWOPS_TEST_KAFKA is to name a broker, host:port");
    broker->addresses = g_strdup(addresses);
    broker->client = client_new(RD_KAFKA_PRODUCER, addresses);
    return broker;
}

void kafka_broker_free(KafkaBroker *broker)
{
    if (broker == NULL)
        return;
    if (broker->mock != NULL)
        rd_kafka_mock_cluster_destroy(broker->mock);
    rd_kafka_destroy(broker->client);
    clock_free(broker->clock);
    g_free(broker->addresses);
    g_free(broker->prefix);
    g_free(broker);
}

KafkaOptions kafka_broker_options(const KafkaBroker *broker)
{
    return (KafkaOptions){.brokers = broker->addresses,
                          .prefix = broker->prefix,
                          .n_partitions = KAFKA_TEST_PARTITIONS,
                          .n_replicas = -1,
                          .has_service_side = true,
                          .has_engine_side = true,
                          .has_updates = true};
}

Bus *kafka_broker_open(const KafkaBroker *broker)
{
    KafkaOptions options = kafka_broker_options(broker);
    g_autoptr(GError) error = NULL;
    Bus *bus = bus_open_kafka(&options, broker->clock, &error);
    assert_non_null(bus);
    return bus;
}

void kafka_broker_set_up(KafkaBroker *broker, bool is_up)
{
    assert_non_null(broker->mock);
    rd_kafka_resp_err_t error =
        is_up ? rd_kafka_mock_broker_set_up(broker->mock, -1) : rd_kafka_mock_broker_set_down(broker->mock, -1);
    assert_int_equal(error, RD_KAFKA_RESP_ERR_NO_ERROR);
}

void kafka_broker_set_delay(KafkaBroker *broker, int delay_ms)
{
    assert_non_null(broker->mock);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(broker->mock, -1, delay_ms), RD_KAFKA_RESP_ERR_NO_ERROR);
}

void kafka_broker_delay_positions(KafkaBroker *broker, int delay_ms, size_t n_times)
{
    enum { API_OFFSET_FETCH = 9, BROKER = 1 };
    assert_non_null(broker->mock);
    for (size_t i = 0; i < n_times; i++)
        assert_int_equal(rd_kafka_mock_broker_push_request_error_rtts(broker->mock, BROKER, API_OFFSET_FETCH, 1,
                                                                      RD_KAFKA_RESP_ERR_NO_ERROR, delay_ms),
                         RD_KAFKA_RESP_ERR_NO_ERROR);
}

void kafka_broker_fail_produce(KafkaBroker *broker, rd_kafka_resp_err_t error, size_t n_times)
{
    enum { API_PRODUCE = 0 };
    assert_non_null(broker->mock);
    g_autofree rd_kafka_resp_err_t *errors = g_new(rd_kafka_resp_err_t, n_times);
    for (size_t i = 0; i < n_times; i++)
        errors[i] = error;
    rd_kafka_mock_push_request_errors_array(broker->mock, API_PRODUCE, n_times, errors);
}

/* ---- from outside ---- */

void kafka_broker_produce(KafkaBroker *broker, const char *name, int32_t partition, const BusMessage *message)
{
    g_autofree char *topic = topic_name(broker, name);
    rd_kafka_t *client = client_new(RD_KAFKA_PRODUCER, broker->addresses);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    for (size_t i = 0; i < message->n_headers; i++)
        rd_kafka_header_add(headers, message->headers[i].name, -1, message->headers[i].value,
                            (ssize_t)message->headers[i].value_size);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        client, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_VALUE(message->is_null ? NULL : message->value, message->value_size),
        RD_KAFKA_V_KEY(message->key, message->key_size), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    assert_int_equal(error, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(client, LIMIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_destroy(client);
}

/* With a NUL behind, which may not be the first. */
static char *copy_bytes(const void *bytes, size_t size)
{
    char *copy = g_malloc0(size + 1);
    if (size > 0)
        memcpy(copy, bytes, size);
    return copy;
}

static BusMessage *read_message(const rd_kafka_message_t *from)
{
    BusMessage *message = bus_message_new(NULL, from->payload, from->len);
    message->is_null = from->payload == NULL;
    message->origin.partition = from->partition;
    message->origin.offset = from->offset;
    if (from->key != NULL) {
        message->key = copy_bytes(from->key, from->key_len);
        message->key_size = from->key_len;
    }
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(from, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        message->headers = g_new0(BusHeader, rd_kafka_header_cnt(headers));
        const char *name;
        const void *value;
        size_t size;
        while (rd_kafka_header_get_all(headers, message->n_headers, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
            message->headers[message->n_headers++] = (BusHeader){
                .name = g_strdup(name), .value = value != NULL ? copy_bytes(value, size) : NULL, .value_size = size};
    }
    return message;
}

static void free_message(void *message)
{
    bus_message_free(message);
}

GPtrArray *kafka_broker_read(KafkaBroker *broker, const char *name, size_t n)
{
    g_autofree char *topic_text = topic_name(broker, name);
    GPtrArray *messages = g_ptr_array_new_with_free_func(free_message);
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, broker->addresses);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, topic_text, NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    for (int32_t i = 0; i < KAFKA_TEST_PARTITIONS; i++)
        assert_int_equal(rd_kafka_consume_start_queue(topic, i, RD_KAFKA_OFFSET_BEGINNING, queue), 0);
    int64_t deadline = clock_monotonic_ms(broker->clock) + LIMIT_MS;
    while (messages->len < n) {
        assert_true(clock_monotonic_ms(broker->clock) < deadline);
        rd_kafka_message_t *message = rd_kafka_consume_queue(queue, 100);
        if (message == NULL)
            continue;
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            g_ptr_array_add(messages, read_message(message));
        rd_kafka_message_destroy(message);
    }
    for (int32_t i = 0; i < KAFKA_TEST_PARTITIONS; i++)
        rd_kafka_consume_stop(topic, i);
    rd_kafka_queue_destroy(queue);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(client);
    return messages;
}

/* ---- the real one ---- */

static void wait_for_admin(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, LIMIT_MS);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
}

void kafka_broker_delete_topic(KafkaBroker *broker, const char *name)
{
    g_autofree char *topic = topic_name(broker, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(broker->client);
    rd_kafka_DeleteTopic_t *gone = rd_kafka_DeleteTopic_new(topic);
    rd_kafka_DeleteTopics(broker->client, &gone, 1, NULL, queue);
    rd_kafka_DeleteTopic_destroy(gone);
    wait_for_admin(queue);
}

void kafka_broker_make_topic(KafkaBroker *broker, const char *name, int n_partitions, const char *max_message_bytes)
{
    g_autofree char *topic = topic_name(broker, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(broker->client);
    rd_kafka_NewTopic_t *made = rd_kafka_NewTopic_new(topic, n_partitions, 1, NULL, 0);
    if (max_message_bytes != NULL)
        rd_kafka_NewTopic_set_config(made, "max.message.bytes", max_message_bytes);
    rd_kafka_CreateTopics(broker->client, &made, 1, NULL, queue);
    rd_kafka_NewTopic_destroy(made);
    wait_for_admin(queue);
}

bool kafka_broker_has_topic(KafkaBroker *broker, const char *name)
{
    g_autofree char *topic = topic_name(broker, name);
    const struct rd_kafka_metadata *metadata;
    assert_int_equal(rd_kafka_metadata(broker->client, 1, NULL, &metadata, LIMIT_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
    bool is_there = false;
    for (int i = 0; i < metadata->topic_cnt; i++)
        is_there |= strcmp(metadata->topics[i].topic, topic) == 0 && metadata->topics[i].partition_cnt > 0;
    rd_kafka_metadata_destroy(metadata);
    return is_there;
}
