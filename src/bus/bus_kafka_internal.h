/* bus_kafka_internal.h - what the files of the Kafka bus share. Its clients (rd_kafka_t) are each in the hands of one module:
 * the watch (topics and health), a producer for each side, a consumer in each group, and the doorbells' listener.
 * Thread: as each says. Librdkafka calls error and log callbacks on whichever thread polls, or on its own.
 * Owner: the KafkaBus opens and frees all of them. */
#ifndef FLOWOPS_BUS_BUS_KAFKA_INTERNAL_H
#define FLOWOPS_BUS_BUS_KAFKA_INTERNAL_H

#include <librdkafka/rdkafka.h>

#include "base/thread.h"
#include "bus/bus_internal.h"

#define POSITION_NONE INT64_C(-1)
#define ERROR_TEXT_SIZE BUS_REASON_SIZE

/* The largest message on execution.status.dlq, as this program makes that topic: a letter is larger than its original. */
#define DEAD_LETTER_MAX_BYTES (4 * 1024 * 1024)

typedef enum { TOPIC_COMMANDS, TOPIC_STATUSES, TOPIC_DEAD_LETTERS, TOPIC_UPDATES, N_TOPICS } KafkaTopic;
typedef enum { GROUP_SERVICE, GROUP_ENGINE, N_GROUPS } KafkaGroup;

typedef struct KafkaBus KafkaBus;
typedef struct KafkaWatch KafkaWatch;
typedef struct KafkaProducer KafkaProducer;
typedef struct KafkaConsumer KafkaConsumer;
typedef struct KafkaListener KafkaListener;

/* ---- bus_kafka_options.c ---- */

typedef struct {
    const char *key, *value;
} KafkaProperty;

typedef struct {
    char *brokers;
    GPtrArray *keys, *values; /* of KAFKA_OPTIONS, in order */
    int32_t n_partitions, n_replicas;
    char *topics[N_TOPICS];
    char *groups[N_GROUPS];
} KafkaSettings;

/* INVALID as bus_open_kafka() says. */
MUST_CHECK bool kafka_settings_init(KafkaSettings *settings, const KafkaOptions *options, GError **error);
void kafka_settings_done(KafkaSettings *settings);

/* ---- bus_kafka_client.c ---- */

/* What every client has, then `properties` (ended by a NULL key), then the user's options. The caller adds callbacks.
 * `client` is what they and librdkafka's own messages are about; its first member is the KafkaBus. */
rd_kafka_conf_t *kafka_conf_new(KafkaBus *bus, const KafkaProperty *properties, void *client);
/* Takes conf. INVALID when the library refuses the user's options as a whole. */
MUST_CHECK rd_kafka_t *kafka_client_new(KafkaBus *bus, rd_kafka_type_t type, rd_kafka_conf_t *conf, GError **error);
/* Does what the library may never come back from, on a thread of its own. False: it did not within timeout_ms; what it touches
 * must stay until the process ends. */
MUST_CHECK bool kafka_end_in_time(void (*work)(void *arg), void *arg, int64_t timeout_ms);
/* Takes the client; every topic and queue of it was destroyed before. False: it was not gone within timeout_ms, since the
 * library can wait for itself for ever (2.0 does for a consumer of a topic that was deleted): its threads stay until the
 * process ends, and what its callbacks touch must stay as well. */
MUST_CHECK bool kafka_client_end(rd_kafka_t *client, int64_t timeout_ms);

/* Librdkafka 2.0 aborts the process when a consumer is destroyed that was let into its group and had no assignment yet (an
 * assertion on its assignor's state). */
bool kafka_client_was_let_in(KafkaBus *bus, rd_kafka_t *client);
/* Sets each partition's offset to where it ends or begins now (which: RD_KAFKA_OFFSET_END, _BEGINNING). False: no broker said
 * so in time. */
MUST_CHECK bool kafka_client_ask_offsets(KafkaBus *bus, rd_kafka_t *client, rd_kafka_topic_partition_list_t *partitions,
                                         int64_t which, int timeout_ms);

/* ---- bus_kafka_topics.c ---- */

/* A client and a thread that look after the topics: it knows their partitions, makes those that are missing, and so finds
 * out whether a broker answers. */
/* Sets bus->watch. */
MUST_CHECK bool kafka_watch_open(KafkaBus *bus, const KafkaOptions *options, GError **error);
MUST_CHECK bool kafka_watch_start(KafkaWatch *watch, GError **error); /* once everything else is open */
void kafka_watch_stop(KafkaWatch *watch);                             /* begins the end */
void kafka_watch_join(KafkaWatch *watch); /* waits for it; the watch can still be told things */
bool kafka_watch_end(KafkaWatch *watch);  /* false: see kafka_client_end(); it stays */
void kafka_watch_free(KafkaWatch *watch); /* once all have ended */
/* Any thread, never blocks: something seems to be missing or down, look soon. */
void kafka_watch_ring(KafkaWatch *watch);
int32_t kafka_watch_n_partitions(const KafkaWatch *watch, KafkaTopic topic); /* any thread; -1: not known now */
/* Any thread. What the library last complained of, shown while no broker answers. */
void kafka_watch_note_error(KafkaWatch *watch, const char *text);
/* Any thread. Why a topic cannot be used though a broker answers. The watch forgets it when it sees the topic well. */
void kafka_watch_set_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem);
/* The consumer's thread. Why it cannot be read; until it can: NULL. */
void kafka_watch_set_readers_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem);
/* A producer's thread. Why it cannot be written; until it can: NULL. */
void kafka_watch_set_writers_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem);
bool kafka_watch_was_up(KafkaWatch *watch); /* any thread: a broker has ever answered */
/* Any thread. A broker answers, and nothing is known to be wrong with any topic. */
bool kafka_watch_is_up(KafkaWatch *watch, char ret_reason[ERROR_TEXT_SIZE]);
/* Any thread. A broker answered last time, whatever it said: what asks one may be tried. */
bool kafka_watch_does_broker_answer(KafkaWatch *watch);

/* ---- bus_kafka_producer.c ---- */

/* Says what a delivery report is about; the message's opaque pointer. NULL: a doorbell. */
typedef enum { DELIVERY_COMMAND, DELIVERY_KEPT } DeliveryKind;

/* Messages accepted for good: kept here, in order, until the broker has them, whatever happens to the client. */
typedef struct KeptMessage {
    DeliveryKind kind;
    BusMessage *message;
    GList link;
    bool is_in_flight;
    int n_cuts; /* dead letters: how often it was made shorter */
} KeptMessage;

typedef struct {
    KafkaProducer *producer;
    KafkaTopic topic;
    size_t max_messages, max_bytes;
    Bell bell; /* rung when a message leaves */
    /* guarded by the producer's mu */
    GQueue messages; /* of KeptMessage */
    size_t size_bytes;
    size_t n_in_flight;
    bool needs_resend;  /* some are not in flight: nothing new is sent before them */
    int64_t resend_at;  /* monotonic ms */
    int64_t n_given_up; /* refused by the broker for good */
} KafkaOutbox;

struct KafkaProducer {
    KafkaBus *bus; /* first: see kafka_conf_new() */
    bool is_service_side;
    Thread *thread;                     /* polls: delivery reports come on it alone */
    KafkaOutbox outbox;                 /* statuses, or dead letters */
    Mutex mu;                           /* held while something is handed to the client, never while it is polled */
    rd_kafka_t *client;                 /* guarded by mu; NULL while it is being replaced */
    rd_kafka_queue_t *reports;          /* guarded by mu; of client: where delivery reports come */
    rd_kafka_topic_t *topics[N_TOPICS]; /* guarded by mu; of client; those this side sends to */
    GPtrArray *batches;                 /* guarded by mu; of commands in flight */
    size_t n_commands;                  /* guarded by mu; in flight */
    size_t n_updates;                   /* guarded by mu; in flight */
    bool is_shut_down;                  /* guarded by mu: nothing new is taken */
    bool is_closing;                    /* guarded by mu: the thread is to end */
    char forbidden[N_TOPICS][ERROR_TEXT_SIZE]; /* guarded by mu; why a topic may not be written; "": it may */
    bool is_stuck;                             /* of the thread: a client could not be ended */
    bool is_refused;                           /* of the thread: the broker lets its clients write nothing */
    int64_t renewed_at;                        /* of the thread, monotonic ms */
    int64_t renew_at;                          /* of the thread, monotonic ms: not before, while there is no client */
    Bell renew_bell;                           /* waited on while there is no client */
};

MUST_CHECK KafkaProducer *kafka_producer_open(KafkaBus *bus, bool is_service_side, GError **error);
void kafka_producer_shutdown(KafkaProducer *producer); /* any thread */
void kafka_producer_stop(KafkaProducer *producer);     /* begins the end; kafka_producer_close() waits for it */
bool kafka_producer_close(KafkaProducer *producer);    /* false: see kafka_client_end(); it stays */
void kafka_producer_wake(KafkaProducer *producer);     /* with its mu held: its thread looks around at once */

MUST_CHECK bool kafka_producer_publish_commands(KafkaProducer *producer, BusMessage *const *messages, size_t n_messages,
                                                BusResult *ret_results, GError **error);
void kafka_producer_publish_update(KafkaProducer *producer, const char *run_id, int64_t seq);

/* ---- bus_kafka_outbox.c ---- */

void kafka_outbox_init(KafkaOutbox *outbox, KafkaProducer *producer, KafkaTopic topic, size_t max_messages,
                       size_t max_bytes);
void kafka_outbox_done(KafkaOutbox *outbox);
/* Takes the message when it returns true. BUSY (no room in time), UNAVAILABLE (shut down). */
MUST_CHECK bool kafka_outbox_add(KafkaOutbox *outbox, BusMessage *message, int64_t timeout_ms, GError **error);
/* True when all is with the broker within timeout_ms; TIMEOUT, UNAVAILABLE. */
MUST_CHECK bool kafka_outbox_wait_empty(KafkaOutbox *outbox, int64_t timeout_ms, GError **error);
bool kafka_is_forbidden(rd_kafka_resp_err_t result); /* a permission is missing, perhaps not for ever */
/* On the producer's thread, with its mu held. */
void kafka_outbox_settle(KafkaOutbox *outbox, KeptMessage *kept, rd_kafka_resp_err_t result);
void kafka_outbox_resend_when_due(KafkaOutbox *outbox);
void kafka_outbox_forget_client(KafkaOutbox *outbox); /* nothing is in flight any more; all is to be sent again */

/* ---- bus_kafka_letter.c ---- */

/* The letter about a message: the same key, value and headers, and those that say why and whence. */
BusMessage *kafka_letter_new(const BusMessage *message, const char *reason);
/* Cuts value and headers so that the whole takes at most max_bytes, and says so in a header. */
void kafka_letter_cut(BusMessage *letter, size_t max_bytes);
size_t kafka_message_weight(const BusMessage *message);

/* ---- bus_kafka_consumer*.c ---- */

MUST_CHECK KafkaConsumer *kafka_consumer_open(KafkaBus *bus, KafkaTopic topic, KafkaGroup group, GError **error);
void kafka_consumer_wake(KafkaConsumer *consumer); /* any thread */
/* One thread at a time, until the next comment. As bus_poll_statuses(). */
MUST_CHECK bool kafka_consumer_poll(KafkaConsumer *consumer, BusMessage **ret_messages, size_t max, int64_t timeout_ms,
                                    size_t *ret_n, GError **error);
void kafka_consumer_hold(KafkaConsumer *consumer);
/* What was polled so far, but the n_later messages polled last, is dealt with: its position is committed soon. */
void kafka_consumer_approve(KafkaConsumer *consumer, size_t n_later);
/* all_anew: each that stayed counts as lost and gained. */
void kafka_consumer_take_partitions(KafkaConsumer *consumer, bool all_anew, BusPartitions *partitions);
/* Nobody may be inside a call any more. NULL is fine. */
void kafka_consumer_leave(KafkaConsumer *consumer);                        /* begins to leave the group */
bool kafka_consumer_has_left(KafkaConsumer *consumer, int64_t timeout_ms); /* waits for progress */
bool kafka_consumer_close(KafkaConsumer *consumer);                        /* false: see kafka_client_end(); it stays */
/* Any thread. */
int32_t kafka_consumer_n_partitions(const KafkaConsumer *consumer);
int64_t kafka_consumer_lag(const KafkaConsumer *consumer);

/* ---- bus_kafka_message.c ---- */

BusMessage *kafka_message_take(rd_kafka_message_t *message); /* a copy; destroys the original */

/* ---- bus_kafka_listener.c ---- */

MUST_CHECK KafkaListener *kafka_listener_open(KafkaBus *bus, GError **error);
void kafka_listener_wake(KafkaListener *listener); /* any thread */
MUST_CHECK bool kafka_listener_poll(KafkaListener *listener, BusUpdate *ret_updates, size_t max, int64_t timeout_ms,
                                    size_t *ret_n, GError **error);
bool kafka_listener_close(KafkaListener *listener); /* false: see kafka_client_end(); it stays */

/* ---- bus_kafka.c ---- */

struct KafkaBus {
    Bus bus;
    const Clock *clock;
    KafkaSettings settings;
    KafkaWatch *watch;
    KafkaProducer *service_producer; /* commands, dead letters, doorbells */
    KafkaProducer *engine_producer;  /* statuses */
    KafkaConsumer *status_consumer;
    KafkaConsumer *command_consumer;
    KafkaListener *listener;
    int32_t n_command_partitions; /* of the engine's pump; 0: not known yet */
    int64_t runs_move_at;         /* of the engine's pump, monotonic ms */
    bool has_updates;
    bool is_shut_down;      /* atomic */
    bool is_left_alone;     /* atomic: nobody waits any more for the members to leave */
    int64_t n_dead_letters; /* atomic */
};

bool kafka_bus_is_shut_down(const KafkaBus *bus);
bool kafka_set_shut_down(GError **error); /* always false */

#endif
