/* bus_kafka_consumer_health.c - what health wants to know of a group's member: how far it is behind, and whether it may read. */
#include "bus/bus_kafka_consumer_internal.h"

#define LAG_MS 1000
#define ASK_LIMIT_MS 1000 /* for the broker's word on where partitions begin or end */

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

typedef bool (*PartitionFilter)(const Partition *partition);

static bool is_owned(const Partition *partition)
{
    return partition->is_owned;
}

static bool begins_at_oldest(const Partition *partition)
{
    return partition->is_owned && partition->polled == POSITION_NONE && partition->start == START_OLDEST;
}

/* Of the partitions that the filter wants, where they end or begin. False: the broker did not say. */
static bool ask_offsets(KafkaConsumer *consumer, PartitionFilter is_wanted, int64_t which)
{
    GArray *partitions = consumer->partitions;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)partitions->len);
    for (guint i = 0; i < partitions->len; i++)
        if (is_wanted(&g_array_index(partitions, Partition, i)))
            rd_kafka_topic_partition_list_add(list, consumer->topic_name, g_array_index(partitions, Partition, i).id);
    bool is_told =
        list->cnt == 0 || kafka_client_ask_offsets(consumer->bus, consumer->client, list, which, ASK_LIMIT_MS);
    for (guint i = 0; i < partitions->len && is_told; i++) {
        Partition *partition = &g_array_index(partitions, Partition, i);
        const rd_kafka_topic_partition_t *told =
            rd_kafka_topic_partition_list_find(list, consumer->topic_name, partition->id);
        if (told != NULL)
            *(which == RD_KAFKA_OFFSET_END ? &partition->end : &partition->start) = told->offset;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return is_told;
}

int64_t kafka_consumer_known_lag(const KafkaConsumer *consumer)
{
    int64_t lag = 0;
    for (guint i = 0; i < consumer->partitions->len; i++) {
        const Partition *partition = &g_array_index(consumer->partitions, Partition, i);
        int64_t low, high;
        if (!partition->is_owned)
            continue;
        int64_t position = partition->polled != POSITION_NONE ? partition->polled : partition->start;
        if (rd_kafka_get_watermark_offsets(consumer->client, consumer->topic_name, partition->id, &low, &high) !=
                RD_KAFKA_RESP_ERR_NO_ERROR ||
            high < 0 || position < 0)
            return -1;
        lag += MAX(0, MAX(high, partition->end) - position);
    }
    return lag;
}

/* The library knows how far a partition goes from what it fetches, which is nothing while enough waits; and not at all, where
 * it begins. */
void kafka_consumer_update_lag(KafkaConsumer *consumer, bool is_holding)
{
    const Clock *clock = consumer->bus->clock;
    if (clock_monotonic_ms(clock) < consumer->lag_at)
        return;
    bool is_told = ask_offsets(consumer, begins_at_oldest, RD_KAFKA_OFFSET_BEGINNING) &&
                   (!is_holding || ask_offsets(consumer, is_owned, RD_KAFKA_OFFSET_END));
    consumer->lag_at = clock_monotonic_ms(clock) + (is_told ? LAG_MS : ASK_AGAIN_MS);
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
