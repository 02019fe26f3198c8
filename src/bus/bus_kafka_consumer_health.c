/* bus_kafka_consumer_health.c - what health wants to know of a group's member: how far it is behind, and whether it may read. */
#include "bus/bus_kafka_consumer_internal.h"

#define LAG_MS 1000
#define ASK_LIMIT_MS 1000 /* for the broker's word on where partitions end */

/* ---- permissions ---- */

static bool has_lag(const KafkaConsumer *consumer)
{
    return __atomic_load_n(&consumer->n_owned, __ATOMIC_RELAXED) > 0 && consumer->lag >= 0;
}

void kafka_consumer_note_forbidden(KafkaConsumer *consumer, rd_kafka_resp_err_t error)
{
    g_autofree char *problem =
        g_strdup_printf("may not be read by group %s: %s", consumer->group_name, rd_kafka_err2str(error));
    consumer->has_problem = true;
    consumer->had_lag = has_lag(consumer);
    kafka_watch_set_readers_problem(consumer->bus->watch, consumer->topic, problem);
}

void kafka_consumer_forget_forbidden(KafkaConsumer *consumer)
{
    if (consumer->has_problem)
        kafka_watch_set_readers_problem(consumer->bus->watch, consumer->topic, NULL);
    consumer->has_problem = false;
}

/* ---- lag ---- */

/* The library knows how far a partition goes from what it fetches, which is nothing while enough waits. */
static void ask_ends(KafkaConsumer *consumer)
{
    GArray *partitions = consumer->partitions;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)partitions->len);
    for (guint i = 0; i < partitions->len; i++)
        if (g_array_index(partitions, Partition, i).is_owned)
            rd_kafka_topic_partition_list_add(list, consumer->topic_name, g_array_index(partitions, Partition, i).id);
    bool is_told = list->cnt > 0 && kafka_client_ask_ends(consumer->bus, consumer->client, list, ASK_LIMIT_MS);
    for (guint i = 0; i < partitions->len && is_told; i++) {
        Partition *partition = &g_array_index(partitions, Partition, i);
        const rd_kafka_topic_partition_t *told =
            rd_kafka_topic_partition_list_find(list, consumer->topic_name, partition->id);
        if (told != NULL)
            partition->end = told->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

int64_t kafka_consumer_known_lag(const KafkaConsumer *consumer)
{
    int64_t lag = 0;
    for (guint i = 0; i < consumer->partitions->len; i++) {
        const Partition *partition = &g_array_index(consumer->partitions, Partition, i);
        int64_t low, high;
        if (!partition->is_owned)
            continue;
        if (rd_kafka_get_watermark_offsets(consumer->client, consumer->topic_name, partition->id, &low, &high) !=
                RD_KAFKA_RESP_ERR_NO_ERROR ||
            high < 0)
            return -1;
        int64_t position = partition->polled != POSITION_NONE ? partition->polled : MAX(low, 0);
        lag += MAX(0, MAX(high, partition->end) - position);
    }
    return lag;
}

void kafka_consumer_update_lag(KafkaConsumer *consumer, bool is_holding)
{
    int64_t now = clock_monotonic_ms(consumer->bus->clock);
    if (now < consumer->lag_at)
        return;
    consumer->lag_at = now + LAG_MS;
    if (is_holding)
        ask_ends(consumer);
    __atomic_store_n(&consumer->lag, kafka_consumer_known_lag(consumer), __ATOMIC_RELAXED);
    if (!consumer->had_lag && has_lag(consumer)) /* an empty topic says in no other way that it may be read now */
        kafka_consumer_forget_forbidden(consumer);
}

int32_t kafka_consumer_n_partitions(const KafkaConsumer *consumer)
{
    return __atomic_load_n(&consumer->n_owned, __ATOMIC_RELAXED);
}

int64_t kafka_consumer_lag(const KafkaConsumer *consumer)
{
    return __atomic_load_n(&consumer->lag, __ATOMIC_RELAXED);
}
