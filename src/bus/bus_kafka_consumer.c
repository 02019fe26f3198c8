/* bus_kafka_consumer.c - a member of a consumer group: statuses for the service, commands for engines. What partitions
 * deliver goes to a queue of ours, apart from the group's own events: so a consumer that holds serves the group and takes
 * nothing, and what was fetched stays where it is, within the bounds below.
 * Positions: polled is what the caller has, approved what it said is dealt with, committed what the group was told.
 * Thread: whoever polls; rebalances are served inside the poll. */
#include "bus/bus_kafka_consumer_internal.h"

#include <string.h>

#define POLL_SLICE_MS 1000   /* longest wait without a look at what is due */
#define COMMIT_LIMIT_MS 1000 /* for the last commit of a partition that is given back */
#define CHECK_LIMIT_MS 1000  /* for the broker's word on what is committed */
#define CHECK_MS 5000        /* between two such questions while nothing is to be committed */
/* Fetching goes on, told by us, when fewer than this many messages wait: a few batches of whoever polls. */
#define FETCH_LOW_MESSAGES 8192
#define FETCH_TOLD_MS 20                          /* between two such words: an answer that is under way needs none */
#define FETCH_LIMIT_MS 1000                       /* for the answer to one */
#define BATCH_MAX_BYTES ((size_t)8 * 1024 * 1024) /* one poll brings no more, but for its last message */
#define END_LIMIT_MS 800                          /* of the 5 s that bus_close() has */

/* A commit is preceded by a question to the broker, so not every batch makes one; what was not committed comes again. */
#define STATUS_COMMIT_MS 500
#define COMMAND_COMMIT_MS 100 /* a command that comes again is work for an engine, a status is not */

/* A dead engine is noticed after session.timeout.ms: its runs are to go on elsewhere within 10 s. Memory: the library fetches
 * while fewer messages and bytes wait than it is told to; what a fetch brings goes on top. A value of several megabytes
 * comes through whatever max.partition.fetch.bytes says. */
static const KafkaProperty PROPERTIES[] = {
    {"partition.assignment.strategy", "cooperative-sticky"},
    {"session.timeout.ms", "6000"},
    {"heartbeat.interval.ms", "2000"},
    {"max.poll.interval.ms", "300000"},
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "earliest"},
    {"queued.min.messages", "20000"},
    {"queued.max.messages.kbytes", "8192"},
    {"fetch.max.bytes", "4194304"},
    {"max.partition.fetch.bytes", "1048576"},
    {"message.max.bytes", "4194304"}, /* fetch.max.bytes is never below it */
    {"fetch.error.backoff.ms", "100"},
};

/* ---- partitions ---- */

static Partition *find_partition(KafkaConsumer *consumer, int32_t id)
{
    GArray *partitions = consumer->partitions;
    if (consumer->found_last < partitions->len && g_array_index(partitions, Partition, consumer->found_last).id == id)
        return &g_array_index(partitions, Partition, consumer->found_last);
    guint i = 0;
    while (i < partitions->len && g_array_index(partitions, Partition, i).id != id)
        i++;
    Partition fresh = {.id = id};
    if (i == partitions->len)
        g_array_append_val(partitions, fresh);
    consumer->found_last = i;
    return &g_array_index(partitions, Partition, i);
}

static void forget_positions(KafkaConsumer *consumer, Partition *partition)
{
    partition->polled = partition->start = partition->end = POSITION_NONE;
    partition->approved = partition->asked = partition->committed = POSITION_NONE;
    for (guint i = 0; i < consumer->unapproved->len; i++) {
        Place *place = &g_array_index(consumer->unapproved, Place, i);
        if (place->partition == partition->id)
            place->partition = PARTITION_NONE;
    }
}

static void count_owned(KafkaConsumer *consumer)
{
    int32_t n_owned = 0;
    for (guint i = 0; i < consumer->partitions->len; i++)
        n_owned += g_array_index(consumer->partitions, Partition, i).is_owned;
    __atomic_store_n(&consumer->n_owned, n_owned, __ATOMIC_RELAXED);
}

typedef bool (*PartitionFilter)(const Partition *partition);

/* The partitions the filter wants, at their approved positions. */
static rd_kafka_topic_partition_list_t *list_partitions(KafkaConsumer *consumer, PartitionFilter is_wanted)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->partitions->len);
    for (guint i = 0; i < consumer->partitions->len; i++) {
        const Partition *partition = &g_array_index(consumer->partitions, Partition, i);
        if (is_wanted(partition))
            rd_kafka_topic_partition_list_add(list, consumer->topic_name, partition->id)->offset = partition->approved;
    }
    return list;
}

static bool is_owned(const Partition *partition)
{
    return partition->is_owned;
}

static bool is_to_commit(const Partition *partition)
{
    return partition->is_owned && partition->approved != POSITION_NONE && partition->approved != partition->asked;
}

/* ---- a topic that was made anew ---- */

/* Whatever was read of these was of another topic by this name. */
static void read_from_beginning(KafkaConsumer *consumer, rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
        forget_positions(consumer, find_partition(consumer, list->elems[i].partition));
    }
    rd_kafka_error_t *error = list->cnt > 0 ? rd_kafka_seek_partitions(consumer->client, list, 0) : NULL;
    if (error != NULL) {
        kafka_watch_note_error(consumer->bus->watch, rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
    }
}

/* The library's own idea of it lasts until the topic is back, so the seek is asked for once. */
static void note_topic_gone(KafkaConsumer *consumer)
{
    kafka_watch_ring(consumer->bus->watch); /* it makes the topic */
    if (consumer->is_topic_gone)
        return;
    consumer->is_topic_gone = true;
    rd_kafka_topic_partition_list_t *owned = list_partitions(consumer, is_owned);
    read_from_beginning(consumer, owned);
    rd_kafka_topic_partition_list_destroy(owned);
}

/* What the broker says is committed of a partition, compared with what was. True: it has forgotten. */
static bool is_forgotten(Partition *partition, int64_t committed)
{
    if (committed >= 0 && partition->committed == POSITION_NONE)
        partition->committed = committed; /* by an earlier owner */
    if (partition->start == POSITION_NONE)
        partition->start = committed >= 0 ? committed : START_OLDEST;
    return committed < 0 && partition->committed != POSITION_NONE;
}

/* A topic may be deleted and made again so fast that the library never hears of it. But a broker that deletes a topic also
 * forgets what groups committed of it: where that is gone, so is the topic it was about. False: the broker did not say. */
static bool check_committed(KafkaConsumer *consumer)
{
    rd_kafka_topic_partition_list_t *list = list_partitions(consumer, is_owned);
    rd_kafka_topic_partition_list_t *forgotten = rd_kafka_topic_partition_list_new(list->cnt);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        error = rd_kafka_committed(consumer->client, list, CHECK_LIMIT_MS);
    for (int i = 0; i < list->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        const rd_kafka_topic_partition_t *told = &list->elems[i];
        error = told->err;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR &&
            is_forgotten(find_partition(consumer, told->partition), told->offset))
            rd_kafka_topic_partition_list_add(forgotten, told->topic, told->partition);
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        read_from_beginning(consumer, forgotten);
    rd_kafka_topic_partition_list_destroy(forgotten);
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* ---- commits ---- */

static void note_asked(KafkaConsumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++)
        find_partition(consumer, list->elems[i].partition)->asked = list->elems[i].offset;
}

/* Inside a poll. */
static void on_committed(rd_kafka_t *client G_GNUC_UNUSED, rd_kafka_resp_err_t error,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    KafkaConsumer *consumer = opaque;
    for (int i = 0; list != NULL && i < list->cnt; i++) {
        Partition *partition = find_partition(consumer, list->elems[i].partition);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (partition->asked == list->elems[i].offset)
                partition->committed = list->elems[i].offset;
        } else if (partition->asked == list->elems[i].offset) {
            partition->asked = partition->committed; /* tried again when it is due */
        }
    }
}

static bool has_to_commit(KafkaConsumer *consumer)
{
    for (guint i = 0; i < consumer->partitions->len; i++)
        if (is_to_commit(&g_array_index(consumer->partitions, Partition, i)))
            return true;
    return false;
}

static void commit_when_due(KafkaConsumer *consumer)
{
    int64_t now = clock_monotonic_ms(consumer->bus->clock);
    bool is_due = (now >= consumer->commit_at && has_to_commit(consumer)) || now >= consumer->check_at;
    if (!is_due || !kafka_watch_does_broker_answer(consumer->bus->watch))
        return;
    consumer->commit_at = now + consumer->commit_pause_ms;
    consumer->check_at = now + CHECK_MS;
    if (!check_committed(consumer)) { /* which may have taken its time: messages come first for a while */
        consumer->commit_at = consumer->check_at = clock_monotonic_ms(consumer->bus->clock) + ASK_AGAIN_MS;
        return;
    }
    rd_kafka_topic_partition_list_t *list =
        list_partitions(consumer, is_to_commit); /* without those that begin afresh */
    if (list->cnt > 0 && rd_kafka_commit(consumer->client, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR)
        note_asked(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Of partitions that are given back; waits for it, within a bound. Not without a broker: the library holds such a commit
 * back for longer than closing may take. */
static void commit_now(KafkaConsumer *consumer, const rd_kafka_topic_partition_list_t *leaving)
{
    if (!kafka_watch_does_broker_answer(consumer->bus->watch))
        return;
    rd_kafka_topic_partition_list_t *list = list_partitions(consumer, is_to_commit);
    for (int i = list->cnt - 1; i >= 0; i--)
        if (rd_kafka_topic_partition_list_find((rd_kafka_topic_partition_list_t *)leaving, consumer->topic_name,
                                               list->elems[i].partition) == NULL)
            rd_kafka_topic_partition_list_del_by_idx(list, i);
    if (list->cnt > 0) {
        rd_kafka_queue_t *replies = rd_kafka_queue_new(consumer->client);
        if (rd_kafka_commit_queue(consumer->client, list, replies, NULL, NULL) == RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_event_t *event = rd_kafka_queue_poll(replies, COMMIT_LIMIT_MS);
            if (event != NULL)
                rd_kafka_event_destroy(event);
        }
        rd_kafka_queue_destroy(replies);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- rebalances ---- */

static void gain(KafkaConsumer *consumer, rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        Partition *partition = find_partition(consumer, list->elems[i].partition);
        partition->is_owned = true;
        forget_positions(consumer, partition);
        if (consumer->is_topic_gone && consumer->was_assigned)
            list->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_queue_t *queue =
            rd_kafka_queue_get_partition(consumer->client, consumer->topic_name, list->elems[i].partition);
        if (queue == NULL)
            continue;
        rd_kafka_queue_forward(queue, consumer->messages);
        rd_kafka_queue_destroy(queue);
    }
    consumer->was_assigned = true;
    consumer->is_topic_gone = false;
    if (list->cnt > 0)
        kafka_consumer_forget_forbidden(consumer);
    consumer->check_at = 0;
}

static void lose(KafkaConsumer *consumer, const rd_kafka_topic_partition_list_t *list)
{
    if (!rd_kafka_assignment_lost(consumer->client))
        commit_now(consumer, list);
    for (int i = 0; i < list->cnt; i++) {
        Partition *partition = find_partition(consumer, list->elems[i].partition);
        partition->is_owned = false;
        partition->is_lost = true;
    }
}

/* Inside a poll, or while the consumer leaves. */
static void on_rebalance(rd_kafka_t *client, rd_kafka_resp_err_t what, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    KafkaConsumer *consumer = opaque;
    rd_kafka_error_t *error;
    if (what == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        gain(consumer, list);
        error = rd_kafka_incremental_assign(client, list);
    } else {
        lose(consumer, list);
        error = rd_kafka_incremental_unassign(client, list);
    }
    count_owned(consumer);
    if (error == NULL)
        return;
    kafka_watch_note_error(consumer->bus->watch, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

/* ---- polling ---- */

static void on_consumer_error(KafkaConsumer *consumer, const rd_kafka_message_t *message)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        note_topic_gone(consumer);
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        kafka_consumer_note_forbidden(consumer, message->err);
        break;
    default: /* the library goes on by itself */
        kafka_watch_note_error(consumer->bus->watch, rd_kafka_message_errstr(message));
        break;
    }
}

/* Rebalances, commits' results, errors. Never blocks for long: a revoked partition's last commit is bounded. */
static void serve_group(KafkaConsumer *consumer)
{
    rd_kafka_message_t *message;
    while ((message = rd_kafka_consumer_poll(consumer->client, 0)) != NULL) {
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            on_consumer_error(consumer, message);
        rd_kafka_message_destroy(message);
    }
}

/* Takes ownership. The messages of a partition that left while the library gathered them are dropped: another consumer
 * gets them. */
static BusMessage *accept_message(KafkaConsumer *consumer, rd_kafka_message_t *message)
{
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        on_consumer_error(consumer, message);
        rd_kafka_message_destroy(message);
        return NULL;
    }
    Partition *partition = find_partition(consumer, message->partition);
    if (!partition->is_owned) {
        rd_kafka_message_destroy(message);
        return NULL;
    }
    consumer->is_topic_gone = false;
    kafka_consumer_forget_forbidden(consumer);
    partition->polled = message->offset + 1;
    Place place = {.partition = message->partition, .offset = message->offset};
    g_array_append_val(consumer->unapproved, place);
    return kafka_message_take(message);
}

/* What comes is taken one by one, since what was compressed on its way is as large here as its writer likes. */
static size_t take(KafkaConsumer *consumer, BusMessage **ret_messages, size_t max, int64_t timeout_ms)
{
    size_t n_accepted = 0, size_bytes = 0;
    rd_kafka_message_t *next;
    while (n_accepted < max && size_bytes < BATCH_MAX_BYTES &&
           rd_kafka_consume_batch_queue(consumer->messages, (int)timeout_ms, &next, 1) == 1) {
        timeout_ms = 0; /* the wait is for one, the rest is what has come */
        BusMessage *message = accept_message(consumer, next);
        if (message == NULL)
            continue;
        ret_messages[n_accepted++] = message;
        size_bytes += kafka_message_weight(message);
    }
    return n_accepted;
}

/* Librdkafka before 2.2 looks only once a second whether there is room again in a queue that was full, unless its
 * connection has something to do. So while the broker has more and little is left here, it is asked for the ends of the
 * partitions: the answer does not matter, the thread of each leader's connection wakes up for it. */
static void keep_fetching(KafkaConsumer *consumer)
{
    int64_t now = clock_monotonic_ms(consumer->bus->clock);
    size_t n_waiting = rd_kafka_queue_length(consumer->messages);
    if (now < consumer->fetch_at || n_waiting >= FETCH_LOW_MESSAGES ||
        kafka_consumer_known_lag(consumer) <= (int64_t)n_waiting)
        return;
    rd_kafka_topic_partition_list_t *owned = list_partitions(consumer, is_owned);
    bool is_told =
        kafka_client_ask_offsets(consumer->bus, consumer->client, owned, RD_KAFKA_OFFSET_END, FETCH_LIMIT_MS);
    consumer->fetch_at = clock_monotonic_ms(consumer->bus->clock) + (is_told ? FETCH_TOLD_MS : ASK_AGAIN_MS);
    rd_kafka_topic_partition_list_destroy(owned);
}

static void see_to_what_is_due(KafkaConsumer *consumer)
{
    serve_group(consumer);
    commit_when_due(consumer);
    kafka_consumer_update_lag(consumer, false);
    keep_fetching(consumer);
}

bool kafka_consumer_poll(KafkaConsumer *consumer, BusMessage **ret_messages, size_t max, int64_t timeout_ms,
                         size_t *ret_n, GError **error)
{
    const Clock *clock = consumer->bus->clock;
    int64_t began = clock_monotonic_ms(clock);
    int64_t left = timeout_ms;
    *ret_n = 0;
    while (true) {
        if (kafka_bus_is_shut_down(consumer->bus))
            return kafka_set_shut_down(error);
        see_to_what_is_due(consumer);
        int64_t slice = left < 0 ? POLL_SLICE_MS : MIN(left, POLL_SLICE_MS);
        *ret_n = take(consumer, ret_messages, max, slice);
        if (*ret_n > 0)
            return true;
        if (timeout_ms >= 0)
            left = timeout_ms - (clock_monotonic_ms(clock) - began);
        if (timeout_ms >= 0 && left <= 0)
            return !kafka_bus_is_shut_down(consumer->bus) || kafka_set_shut_down(error);
    }
}

void kafka_consumer_hold(KafkaConsumer *consumer)
{
    serve_group(consumer);
    kafka_consumer_update_lag(consumer, true);
}

void kafka_consumer_approve(KafkaConsumer *consumer, size_t n_later)
{
    g_assert(n_later <= consumer->unapproved->len);
    guint n_approved = consumer->unapproved->len - (guint)n_later;
    for (guint i = 0; i < n_approved; i++) {
        const Place *place = &g_array_index(consumer->unapproved, Place, i);
        if (place->partition != PARTITION_NONE)
            find_partition(consumer, place->partition)->approved = place->offset + 1;
    }
    g_array_remove_range(consumer->unapproved, 0, n_approved);
    commit_when_due(consumer);
}

void kafka_consumer_take_partitions(KafkaConsumer *consumer, bool all_anew, BusPartitions *partitions)
{
    for (guint i = 0; i < consumer->partitions->len; i++) {
        Partition *partition = &g_array_index(consumer->partitions, Partition, i);
        partition->is_lost |= all_anew;
        if (partition->was_owned && partition->is_lost)
            g_array_append_val(partitions->lost, partition->id);
        if (partition->is_owned && (!partition->was_owned || partition->is_lost))
            g_array_append_val(partitions->gained, partition->id);
        partition->was_owned = partition->is_owned;
        partition->is_lost = false;
    }
}

void kafka_consumer_wake(KafkaConsumer *consumer)
{
    rd_kafka_queue_yield(consumer->messages);
}

/* ---- life ---- */

/* On a thread of the library: something of the group's waits. */
static void on_event_waits(rd_kafka_t *client G_GNUC_UNUSED, void *opaque)
{
    kafka_consumer_wake(opaque);
}

static bool open_client(KafkaConsumer *consumer, GError **error)
{
    KafkaProperty properties[G_N_ELEMENTS(PROPERTIES) + 2];
    memcpy(properties, PROPERTIES, sizeof PROPERTIES);
    properties[G_N_ELEMENTS(PROPERTIES)] = (KafkaProperty){"group.id", consumer->group_name};
    properties[G_N_ELEMENTS(PROPERTIES) + 1] = (KafkaProperty){NULL, NULL};
    rd_kafka_conf_t *conf = kafka_conf_new(consumer->bus, properties, consumer);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_committed);
    consumer->client = kafka_client_new(consumer->bus, RD_KAFKA_CONSUMER, conf, error);
    return consumer->client != NULL;
}

KafkaConsumer *kafka_consumer_open(KafkaBus *bus, KafkaTopic topic, KafkaGroup group, GError **error)
{
    KafkaConsumer *consumer = g_new0(KafkaConsumer, 1);
    consumer->bus = bus;
    consumer->topic = topic;
    consumer->topic_name = bus->settings.topics[topic];
    consumer->group_name = bus->settings.groups[group];
    consumer->commit_pause_ms = topic == TOPIC_COMMANDS ? COMMAND_COMMIT_MS : STATUS_COMMIT_MS;
    consumer->lag = -1;
    consumer->partitions = g_array_new(FALSE, FALSE, sizeof(Partition));
    consumer->unapproved = g_array_new(FALSE, FALSE, sizeof(Place));
    if (!open_client(consumer, error)) {
        g_array_unref(consumer->partitions);
        g_array_unref(consumer->unapproved);
        g_free(consumer);
        return NULL;
    }
    rd_kafka_poll_set_consumer(consumer->client);
    consumer->events = rd_kafka_queue_get_consumer(consumer->client);
    consumer->messages = rd_kafka_queue_new(consumer->client);
    rd_kafka_queue_cb_event_enable(consumer->events, on_event_waits, consumer);
    rd_kafka_topic_partition_list_t *wanted = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(wanted, consumer->topic_name, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t failed = rd_kafka_subscribe(consumer->client, wanted);
    g_assert(failed == RD_KAFKA_RESP_ERR_NO_ERROR); /* one valid name */
    rd_kafka_topic_partition_list_destroy(wanted);
    return consumer;
}

/* What is given back is committed in the rebalance callback, which is served by the waiting for it. */
void kafka_consumer_leave(KafkaConsumer *consumer)
{
    if (consumer == NULL)
        return;
    rd_kafka_queue_cb_event_enable(consumer->events, NULL, NULL);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer->client, consumer->events);
    if (error != NULL)
        rd_kafka_error_destroy(error); /* the broker will notice by the session's time-out */
}

bool kafka_consumer_has_left(KafkaConsumer *consumer, int64_t timeout_ms)
{
    if (consumer == NULL)
        return true;
    if (!rd_kafka_consumer_closed(consumer->client))
        rd_kafka_queue_poll_callback(consumer->events, (int)timeout_ms);
    return rd_kafka_consumer_closed(consumer->client);
}

bool kafka_consumer_close(KafkaConsumer *consumer)
{
    if (consumer == NULL)
        return true;
    if (!kafka_consumer_has_left(consumer, 0) ||
        (!consumer->was_assigned && kafka_client_was_let_in(consumer->bus, consumer->client)))
        return false;
    rd_kafka_queue_destroy(consumer->messages);
    rd_kafka_queue_destroy(consumer->events);
    if (!kafka_client_end(consumer->client, END_LIMIT_MS))
        return false;
    g_array_unref(consumer->partitions);
    g_array_unref(consumer->unapproved);
    g_free(consumer);
    return true;
}
