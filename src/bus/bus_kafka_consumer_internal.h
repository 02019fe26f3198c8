/* bus_kafka_consumer_internal.h - what the files of a group's member share.
 * Thread: whoever polls, but for what says atomic. */
#ifndef FLOWOPS_BUS_BUS_KAFKA_CONSUMER_INTERNAL_H
#define FLOWOPS_BUS_BUS_KAFKA_CONSUMER_INTERNAL_H

#include "bus/bus_kafka_internal.h"

#define PARTITION_NONE (-1)
#define ASK_AGAIN_MS \
    3000 /* after a question that the broker did not answer: each may take a second of the poll's time */

#define START_OLDEST INT64_C(-2)

typedef struct {
    int32_t id;
    bool is_owned;
    bool was_owned; /* at the last kafka_consumer_take_partitions() */
    bool is_lost;   /* since then */
    int64_t polled; /* offset of the next message */
    int64_t start;  /* where reading begins: POSITION_NONE: not known; START_OLDEST: at the oldest message there is */
    int64_t approved;
    int64_t asked;     /* commit of it is under way or done */
    int64_t committed; /* the broker said so */
    int64_t end;       /* of the partition, when the broker was asked last */
} Partition;

/* Of a message that was polled and is not approved. */
typedef struct {
    int32_t partition; /* PARTITION_NONE: what it was read of is not this partition any more */
    int64_t offset;
} Place;

struct KafkaConsumer {
    KafkaBus *bus; /* first: see kafka_conf_new() */
    KafkaTopic topic;
    const char *topic_name, *group_name;
    rd_kafka_t *client;
    rd_kafka_queue_t *events;   /* the group's */
    rd_kafka_queue_t *messages; /* what partitions deliver */
    GArray *partitions;         /* of Partition; grows to the topic's number of partitions */
    GArray *unapproved;         /* of Place, as they were polled; as many as the caller keeps */
    bool is_topic_gone;         /* said the broker, and nothing came since */
    bool was_assigned;          /* something, ever */
    bool has_problem;           /* the watch was told that the topic cannot be read */
    bool had_lag;               /* before that: it could be read once */
    guint found_last;           /* index of the partition asked for last: messages come in runs */
    int64_t commit_pause_ms;
    int64_t commit_at, check_at, lag_at, fetch_at; /* monotonic ms */
    int32_t n_owned;                               /* atomic */
    int64_t lag;                                   /* atomic */
};

/* ---- bus_kafka_consumer_health.c ---- */

/* The broker will not let the topic be read: health says so. */
void kafka_consumer_note_forbidden(KafkaConsumer *consumer, rd_kafka_resp_err_t error);
/* Something came, or was given to this member, or the broker has answered what it refused before. */
void kafka_consumer_forget_forbidden(KafkaConsumer *consumer);
/* Messages that the broker has and were not polled, by what it said last; -1: not known. */
int64_t kafka_consumer_known_lag(const KafkaConsumer *consumer);
/* Once a second at most. is_holding: nothing is polled now. */
void kafka_consumer_update_lag(KafkaConsumer *consumer, bool is_holding);

#endif
