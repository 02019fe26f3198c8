/* relay_internal.h - what the files of the relay share: relay.c publishes, relay_outbox.c knows the outbox.
 * Thread: relay. Owner: relay_main(). */
#ifndef FLOWOPS_SERVICE_RELAY_INTERNAL_H
#define FLOWOPS_SERVICE_RELAY_INTERNAL_H

#include "service/service_internal.h"
#include "service/sightings.h"

typedef struct Marking Marking;

typedef struct {
    Service *service;
    GQueue todo;         /* of Order: to be published, in the order of their runs' journals; owns */
    GPtrArray *batch;    /* of Order: under way; owns */
    GPtrArray *messages; /* of BusMessage: of the batch */
    GArray *n_messages;  /* of size_t: how many are each order's */
    GHashTable *slow;    /* command partitions, as pointers, that took nothing in the last batch */
    GHashTable *refused; /* run ids: the bus refused a command of theirs; owns */
    int64_t resent_at;   /* monotonic ms of the last look for unanswered commands */

    /* relay_outbox.c */
    GQueue held;          /* of Order: shared store, others' earlier ones of their runs are not published; owns */
    GHashTable *recent;   /* RunSeq -> monotonic ms: published by this process, and perhaps still in the outbox */
    GQueue recent_order;  /* of RunSeq in `recent`, the oldest first */
    GArray *to_mark;      /* of RunSeq: published, the store was not told */
    GArray *to_refresh;   /* of Id: runs of orders that were taken over, whose documents may be missing */
    Marking *marking;     /* the store is being told */
    Sightings *others;    /* entries of the outbox that are not this process's */
    RunSeq swept;         /* how far the current round through the outbox is */
    int64_t held_at;      /* monotonic ms of the last look at `held`, */
    int64_t swept_at;     /* and at what others have left */
    int64_t behind_since; /* wall ms, see relay_note_outbox() */
} Relay;

/* Takes the order. */
void relay_add(Relay *relay, Order *order);
/* Publishes all of `todo`. False: the gate is closed, or the service stops. */
bool relay_publish_all(Relay *relay);

/* ---- relay_outbox.c ---- */
void relay_init_outbox(Relay *relay);
void relay_done_outbox(Relay *relay);

/* This order is on the bus: its entry is to be forgotten. */
void relay_note_published(Relay *relay, const Order *order);
/* Writes the documents of runs that were taken over. False: not now. */
MUST_CHECK bool relay_refresh_documents(Relay *relay);
/* Tells the store of it, without waiting; at most one such write is under way. */
void relay_mark(Relay *relay);
/* Published by this process, a moment ago. */
bool relay_is_recent(const Relay *relay, const RunSeq *entry);
bool relay_is_held(const Relay *relay, const Id *run_id);

/* While nothing may be published: since when, as far as this process has seen, there is something in the outbox; INSTANT_NONE:
 * there is nothing. Reads one entry and no journal. */
int64_t relay_note_outbox(Relay *relay);
/* This process's own store: publishes what is in the outbox, which what is in memory is a part of. False: try later. */
MUST_CHECK bool relay_take_outbox(Relay *relay, GError **error);
/* Shared store: takes out of `todo` what has to wait for other replicas. */
MUST_CHECK bool relay_hold_back(Relay *relay, GError **error);
/* Shared store: what is held and may go now, and what others left for too long. */
MUST_CHECK bool relay_look_after_others(Relay *relay, GError **error);
/* How long the relay may sleep. */
int64_t relay_wait_ms(const Relay *relay, int64_t limit_ms);

#endif
