/* bus.h - commands to engines, statuses from them; the port both the service and the engine stand on.
 * Messages are the JSON of domain/message.h on every implementation. Delivery is at least once and in order per run.
 * Thread: service side publish_commands/poll_statuses/commit/dead_letter: bus; engine side poll_commands/
 * publish_statuses: engine. Calls may block as each says. Owner: app opens and closes; others borrow. */
#ifndef FLOWOPS_BUS_BUS_H
#define FLOWOPS_BUS_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "domain/event.h"

#define BUS_MAX_MESSAGE_BYTES (1024 * 1024)

typedef struct Bus Bus;

typedef struct {
    char *key; /* NULL: none */
    char *value;
    size_t value_size;
    Origin origin; /* set on what was polled */
} BusMessage;

BusMessage *bus_message_new(const char *key, const char *value, size_t value_size);
void bus_message_free(BusMessage *message);

/* In this process: bounded queues, nothing kept over a restart (the store's outbox and the hand-over make up for it). */
Bus *bus_open_local(size_t max_messages, size_t max_bytes);

/* No more messages: every blocked call returns UNAVAILABLE or end of input soon. Any thread, idempotent. */
void bus_shutdown(Bus *bus);
void bus_close(Bus *bus); /* nobody may be inside a call; NULL is fine */

/* Blocks up to timeout_ms until all are accepted for good (Kafka: acks=all). Sets *ret_n_published to how many of the
 * first ones are; borrowed, not taken. False: BUSY (no room in time) or UNAVAILABLE. */
MUST_CHECK bool bus_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                     size_t *ret_n_published, GError **error);

/* Takes up to max messages, waiting up to timeout_ms for the first. *ret_n = 0: none came. False: UNAVAILABLE, and
 * after bus_shutdown() always. Messages belong to the caller. */
MUST_CHECK bool bus_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                  GError **error);
MUST_CHECK bool bus_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                                     size_t *ret_n_published, GError **error);
MUST_CHECK bool bus_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                                  GError **error);

/* What was polled so far is dealt with durably; a restart need not bring it again. */
MUST_CHECK bool bus_commit_statuses(Bus *bus, GError **error);

/* Puts a status that can't be understood aside, with the reason. */
MUST_CHECK bool bus_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error);

typedef struct {
    size_t n_commands_queued, n_statuses_queued;
    int64_t n_dead_letters;
} BusLoad;
BusLoad bus_load(Bus *bus);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bus, bus_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BusMessage, bus_message_free)

#endif
