/* bus.h - commands to engines, statuses from them, doorbells between replicas; the port both the service and the engine
 * stand on. Messages are the JSON of domain/message.h on every implementation. Delivery is at least once and in order per
 * run.
 * Thread: service side publish_commands: relay; poll_statuses, hold_statuses, commit_statuses and dead_letter: intake;
 * publish_update: writer; poll_updates: updates. Engine side poll_commands and take_partitions: pump; publish_statuses and
 * flush_statuses: engine. bus_health() and bus_shutdown(): any. Calls may block as each says.
 * Owner: app opens and closes; others borrow. */
#ifndef FLOWOPS_BUS_BUS_H
#define FLOWOPS_BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "domain/event.h"

#define BUS_MAX_MESSAGE_BYTES (1024 * 1024) /* of a value that is sent; what comes may be larger */
#define BUS_REASON_SIZE 400                 /* of a text for a person; what a TLS library has to say is long */

typedef struct Bus Bus;

typedef struct {
    char *name;
    char *value; /* any bytes; NULL: null */
    size_t value_size;
} BusHeader;

typedef struct {
    char *key; /* any bytes, '\0' ended; NULL: none */
    size_t key_size;
    char *value; /* any bytes, '\0' ended; never NULL */
    size_t value_size;
    bool is_null; /* the value was null (a tombstone); then value_size is 0 */

    /* Set on what was polled. */
    Origin origin;      /* topic NULL: the bus has no positions */
    int64_t timestamp;  /* the bus's own; INSTANT_NONE: none */
    BusHeader *headers; /* NULL: none */
    size_t n_headers;
} BusMessage;

/* Copies. */
BusMessage *bus_message_new(const char *key, const char *value, size_t value_size);
void bus_message_free(BusMessage *message);

/* In this process: bounded queues, nothing kept over a restart (the store's outbox and the hand-over make up for it). */
Bus *bus_open_local(size_t max_messages, size_t max_bytes);

/* Apache Kafka. Comes up whether or not a broker is there: health says so, and what needs one waits.
 * Topics: execution.commands, execution.status, execution.status.dlq, execution.updates (docs/kafka.md). */
typedef struct {
    const char *brokers;   /* host:port, comma separated */
    const char *options;   /* KAFKA_OPTIONS: "key=value,..." handed to the client library; NULL: none */
    const char *prefix;    /* before the names of topics and groups, so that tests share a broker; NULL: none */
    int32_t n_partitions;  /* of topics that this process has to make */
    int32_t n_replicas;    /* the same; -1: the broker's default */
    bool has_service_side; /* which halves are used; the other's clients are not made */
    bool has_engine_side;
    bool has_updates; /* doorbells are sent and heard: several replicas share a store */
} KafkaOptions;
/* INVALID: options that the library does not take; the message names the key, never a value. */
MUST_CHECK Bus *bus_open_kafka(const KafkaOptions *options, const Clock *clock, GError **error);
/* Closing a bus left threads of the client library behind (docs/kafka.md): they live on until the process ends, which then
 * must not run exit handlers, since what those free may be in use. */
bool bus_has_left_threads(void);

/* True when what is published stays though nobody takes it, over restarts too. False: a command published while no engine
 * is there is lost. */
bool bus_is_durable(const Bus *bus);

/* No more messages: every blocked call returns UNAVAILABLE or end of input soon. Any thread, idempotent. */
void bus_shutdown(Bus *bus);
void bus_close(Bus *bus); /* nobody may be inside a call; gives partitions back; ends within 5 s; NULL is fine */

/* ---- commands: service side ---- */

typedef enum {
    BUS_PUBLISHED, /* for good (Kafka: acks=all) */
    BUS_NOT_NOW,   /* may be on the bus or not: publish it again */
    BUS_REFUSED,   /* not as it is: too large for the topic, against its rules */
} BusResult;

/* Blocks until the fate of every message is known, at most about timeout_ms (Kafka: message.timeout.ms, 5 s, where that is
 * longer). The messages of a call are in flight together: two of one key may only be among them when their order does not
 * matter should the first fail. Borrowed, not taken. True: all PUBLISHED. False: BUSY (no room in time), UNAVAILABLE or
 * INVALID, of the first that is not. */
MUST_CHECK bool bus_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                     BusResult *ret_results, GError **error);

/* The partition of the commands of a run, which engines name in ENGINE_STATUS; -1: not known now. Never blocks. */
int32_t bus_command_partition(Bus *bus, const char *run_id);

/* ---- commands: engine side ---- */

/* Takes up to max messages, waiting up to timeout_ms for the first. *ret_n = 0: none came. False: UNAVAILABLE, and
 * after bus_shutdown() always. Messages belong to the caller. */
MUST_CHECK bool bus_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                  GError **error);

/* The command partitions that became this engine's, or ceased to be, since the last call; after each poll. What the poll
 * returned of a lost partition may be dropped. One that was lost and came back is in both: lost first. So is each when the number of
 * partitions has changed, since the commands of many runs go to other ones then. */
typedef struct {
    GArray *lost, *gained; /* of int32_t */
} BusPartitions;
void bus_take_partitions(Bus *bus, BusPartitions *partitions); /* appends to both arrays */

/* ---- statuses: engine side ---- */

/* Blocks up to timeout_ms until all are accepted: they arrive, in order per key, as long as this process lives. Sets
 * *ret_n_published to how many of the first ones are; borrowed, not taken. False: BUSY (no room in time), UNAVAILABLE or
 * INVALID (the one after those accepted never will be). */
MUST_CHECK bool bus_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                     size_t *ret_n_published, GError **error);
/* True when all that was accepted is on the bus for good within timeout_ms; TIMEOUT or UNAVAILABLE. */
MUST_CHECK bool bus_flush_statuses(Bus *bus, int64_t timeout_ms, GError **error);

/* ---- statuses: service side ---- */

/* As bus_poll_commands(). */
MUST_CHECK bool bus_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                  GError **error);
/* Instead of a poll, at least every few seconds, by a consumer that cannot take more now: stays a member of its group and
 * takes nothing. The next poll goes on. Does not block. */
void bus_hold_statuses(Bus *bus);
/* What was polled and put aside so far, but for the n_later messages polled last, is dealt with durably; a restart need
 * not bring it again. May return before the bus has noted that: what it did not note comes again. False: a dead letter is
 * not kept yet, nothing is committed; call again. */
MUST_CHECK bool bus_commit_statuses(Bus *bus, size_t n_later, GError **error);
/* Puts a status that can't be understood aside, with the reason; kept for good once bus_commit_statuses() has returned
 * true. False: BUSY or UNAVAILABLE, call again; INVALID: never will be. */
MUST_CHECK bool bus_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error);

/* ---- doorbells between replicas: key runId, value {"runId", "seq"} ---- */

/* Tells the other replicas that a run's journal has come to seq. Never blocks; lost when there is no room: listeners poll
 * slowly, too. */
void bus_publish_update(Bus *bus, const char *run_id, int64_t seq);

typedef struct {
    Id run_id;
    int64_t seq;
} BusUpdate;
/* What others (and this replica) told since this bus was opened. As bus_poll_commands(). */
MUST_CHECK bool bus_poll_updates(Bus *bus, BusUpdate *ret_updates, size_t max, int64_t timeout_ms, size_t *ret_n,
                                 GError **error);

/* ---- health ---- */

typedef struct {
    bool is_up;                   /* as far as is known now */
    char reason[BUS_REASON_SIZE]; /* why not, for a person; no secret */
    size_t n_commands_queued;     /* published, not yet taken (local) or not yet acknowledged (Kafka) */
    size_t n_statuses_queued;     /* the same; Kafka: fetched and not yet polled are not counted */
    int64_t n_dead_letters;
    int64_t status_lag; /* messages on execution.status beyond this replica's position; -1: not known */
    int32_t
        n_partitions_held; /* of execution.status by this replica, or of execution.commands without a service side */
} BusHealth;
BusHealth bus_health(Bus *bus);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bus, bus_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusMessage, bus_message_free)

#endif
