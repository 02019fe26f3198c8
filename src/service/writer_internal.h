/* writer_internal.h - a group: what the writer decides together and commits with one flush.
 * Thread: writer only. Owner: writer.c; a group lives for one commit. */
#ifndef FLOWOPS_SERVICE_WRITER_INTERNAL_H
#define FLOWOPS_SERVICE_WRITER_INTERNAL_H

#include "domain/decide.h"
#include "service/service_internal.h"

/* What a group appends to a run, before the event that goes beyond it: far from what a store refuses in one record. */
#define TOUCHED_EVENTS_MAX_BYTES (4 * 1024 * 1024)

/* A run that the group decides on: its committed state and, once something was appended, the state to come. */
typedef struct TouchedRun {
    Id run_id;
    RunView *base;      /* committed; NULL for a new run */
    bool is_current;    /* the base is the newest there is, not only the newest that this process knows */
    bool rests_on_base; /* something was decided that appends nothing: good on a current base only */
    Run *work;          /* base with the group's events folded; NULL until the first of them */
    GString *events;
    GArray *event_sizes;  /* of size_t, without the '\n' */
    GArray *command_seqs; /* of int64_t */
    GPtrArray *orders;    /* of Order, the same commands */
    bool supersedes_commands;
    uint32_t n_runs[RUN_STOPPED + 1], n_steps[STEP_CANCELLED + 1]; /* of the events, as CommitFigures */
    const char *updated_by; /* points into the last event's request, or a static text */
    Id updated_by_id;
    RunView *view; /* what becomes visible when the commit succeeds */
    RunRow row;
    WriteOutcome outcome;
} TouchedRun;

typedef struct {
    Service *service;
    int64_t now_ms;
    GHashTable *by_run;   /* run id -> TouchedRun, owns */
    GPtrArray *touched;   /* in order of first touch, borrowed */
    GPtrArray *items;     /* of WriterItem, to be answered after the commit */
    GPtrArray *flows;     /* of Flow: new ones to write, borrowed from their items */
    GArray *published;    /* of RunSeq */
    GPtrArray *refreshed; /* of TouchedRun: their documents are to be written again, borrowed */
    GHashTable *
        flow_versions; /* shared store: flow id -> newest version of flows that the group starts, see group_look_up_flows() */
    int64_t n_new_runs;
    GError *store_error; /* of the first read that the store did not answer: nobody in the group waits for another */
} Group;

Group *group_new(Service *service);
void group_free(Group *group);

/* Shared store: learns the newest versions of the flows that these items start, in one round trip. Items whose flow could not
 * be asked about fail when they are taken. */
void group_look_up_flows(Group *group, void *const *items, size_t n_items);
/* The newest version of a flow as it was when the group began, or NULL. */
Flow *group_load_flow(Group *group, const Id *flow_id, GError **error);

/* Decides on an item and adds it to the group. Flow updates and deletes go through flow_change() instead. */
void group_take_run_item(Group *group, WriterItem *item);

/* Notes that the store does not answer, if that is what the error says. */
void group_note_failure(Group *group, const GError *error);
/* The run as this group has it so far; NULL with NOT_FOUND or a store's error. */
TouchedRun *group_get_run(Group *group, const Id *run_id, GError **error);
/* A run that the group has not touched yet; takes `base`, NULL for a new one. */
TouchedRun *touched_new(Group *group, const Id *run_id, RunView *base);
void touched_append(TouchedRun *touched, const Decision *decision, const char *updated_by);
/* A run's labels: its flow's, with the start's own on top. */
void merge_labels(const TextMap *flow_labels, const TextMap *own_labels, TextMap *ret_labels);

/* The state that the group has reached for a touched run. */
static inline const Run *touched_state(const TouchedRun *touched)
{
    return touched->work != NULL ? touched->work : touched->base->run;
}

/* PUT and DELETE of a flow: decided on what is committed, a commit of their own; answered inside. */
bool is_flow_change(const WriterItem *item);
void flow_change(Service *service, WriterItem *item);

/* What schedules decided: the same way. */
bool is_decision_write(const WriterItem *item);
void decisions_write(Service *service, WriterItem *item);
/* ITEM_SLOTS. */
void group_take_slots(Group *group, WriterItem *item);

/* Deleting runs: the same way. */
bool is_run_deletion(const WriterItem *item);
void run_delete(Service *service, WriterItem *item);

/* A new flow joins the group. */
void group_take_flow_creation(Group *group, WriterItem *item);
/* The answer of a created or updated flow, after its commit. */
void flow_answer(Service *service, ServiceCall *call, Flow *flow);

/* ---- commits.c ---- */

/* store_write() with its figures; n_items: what is answered when it has succeeded. */
MUST_CHECK bool writer_commit(Service *service, StoreWrite *writes, size_t n_writes, size_t n_items, GError **error);
void commits_count_statuses(Service *service, const TouchedRun *touched); /* what was just committed */

void item_answer(WriterItem *item);
bool precondition_holds(const Precondition *precondition, int64_t tag);

#endif
