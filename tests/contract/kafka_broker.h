/* kafka_broker.h - a Kafka for tests: librdkafka's mock cluster in this process, or the real broker that
 * FLOWOPS_TEST_KAFKA names (host:port). Each KafkaBroker has topics and groups of its own.
 * Thread: any, one at a time. */
#ifndef FLOWOPS_TESTS_CONTRACT_KAFKA_BROKER_H
#define FLOWOPS_TESTS_CONTRACT_KAFKA_BROKER_H

#include <librdkafka/rdkafka.h>

#include "bus/bus.h"

#define KAFKA_TEST_PARTITIONS 3

typedef struct KafkaBroker KafkaBroker;

KafkaBroker *kafka_broker_new(bool is_mock);
void kafka_broker_free(KafkaBroker *broker); /* NULL is fine */

/* What a Bus on this broker is opened with; both halves and doorbells. Change what the test is about. */
KafkaOptions kafka_broker_options(const KafkaBroker *broker);
Bus *kafka_broker_open(const KafkaBroker *broker); /* with these options */

/* Only of the mock. */
void kafka_broker_set_up(KafkaBroker *broker, bool is_up);
void kafka_broker_set_delay(KafkaBroker *broker, int delay_ms); /* of every answer */
/* Its next n answers on committed positions come so late. */
void kafka_broker_delay_positions(KafkaBroker *broker, int delay_ms, size_t n_times);
void kafka_broker_fail_produce(KafkaBroker *broker, rd_kafka_resp_err_t error, size_t n_times);

/* From outside, as another program would. name is without the prefix. The message's key, value (is_null) and headers
 * count. Partition -1: any. */
void kafka_broker_produce(KafkaBroker *broker, const char *name, int32_t partition, const BusMessage *message);
/* All of a topic until n have come. */
GPtrArray *kafka_broker_read(KafkaBroker *broker, const char *name, size_t n);

/* Only of the real one. */
void kafka_broker_delete_topic(KafkaBroker *broker, const char *name);
bool kafka_broker_has_topic(KafkaBroker *broker, const char *name);
void kafka_broker_make_topic(KafkaBroker *broker, const char *name, int n_partitions, const char *max_message_bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KafkaBroker, kafka_broker_free)

#endif
