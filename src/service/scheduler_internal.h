/* scheduler_internal.h - what the scheduler_*.c files share. Thread: the scheduler's. */
#ifndef FLOWOPS_SERVICE_SCHEDULER_INTERNAL_H
#define FLOWOPS_SERVICE_SCHEDULER_INTERNAL_H

#include "service/scheduler.h"
#include "service/service_internal.h"
#include "service/sightings.h"

#define WAKE_NEVER INT64_MAX

/* A flow that has a cron. As small as it can be: there may be 100,000. */
typedef struct {
    Id flow_id;       /* first: it is the key of by_flow */
    bool must_reload; /* what was recorded last is not known */
    uint32_t round;   /* of the last full reading that met it */
    uint32_t order;   /* among those that are due together; with several replicas each has its own */
    Schedule *schedule;
    ScheduleState state;
    int64_t created_at; /* of the flow */
    int64_t wake_at;    /* WAKE_NEVER: not in by_wake */
} Planned;

/* A decision whose run is to be made. */
typedef struct {
    DecisionKey key;
    int64_t slot;
    int64_t flow_version;
    int64_t decided_at;
    bool cancels_running;
} Owed;

typedef struct OpenBackfills OpenBackfills;

struct Scheduler {
    Service *service;
    OpenBackfills *backfills;
    Bell latch;
    GHashTable *by_flow; /* flow id -> Planned, owns */
    GTree *by_wake;      /* Planned by (wake_at, flow_id) */
    bool is_loaded;
    bool is_well; /* the last step met no failure */
    uint32_t round;
    uint32_t salt;        /* of Planned.order */
    int64_t reload_at;    /* monotonic; shared store */
    int64_t poll_at;      /* monotonic; shared store */
    int64_t changed_from; /* wall; where the next poll begins */
    size_t decide_from;   /* where in the next group: behind those that took the last one's time */
    GHashTable *given_up; /* ids of flows whose schedule or journal is damaged, each told once */
    GHashTable *polled;   /* flow id -> version: what the last poll has found */
    int64_t sweep_at;     /* monotonic */
    Id looked_until;      /* of scheduler_look_for_ended(): all flows up to it */
    bool has_looked;      /* at all */
    GArray *owed;         /* of Owed, oldest first; empty before anything is decided */
    GArray *made;         /* of DecisionKey: made, and their marks are to be removed */
    Sightings *sightings; /* of decisions of a shared store without their run */
};

/* ---- scheduler.c ---- */

/* The service ends, or takes nothing more: what is left is the next process's. */
bool scheduler_is_over(const Scheduler *scheduler);
/* Says why a step had to be given up; once, until one goes well again. */
void scheduler_fail(Scheduler *scheduler, const char *doing, const char *reason);
/* Puts it where its next wake is. has_said: false when it was just asked and had nothing to say. */
void scheduler_plan(Scheduler *scheduler, Planned *planned, bool has_said);
void scheduler_forget(Scheduler *scheduler, Planned *planned);

/* ---- scheduler_load.c: all false after a failure, which is told; to be tried again ---- */

MUST_CHECK bool scheduler_load(Scheduler *scheduler); /* everything that is not known, or changed */
MUST_CHECK bool scheduler_poll(Scheduler *scheduler); /* what other replicas changed lately */
/* A flow's newest version (NULL: there is none); the schedule before it decides first, as of the change. */
MUST_CHECK bool scheduler_take_flow(Scheduler *scheduler, const Id *flow_id, const Flow *newest);
/* Reads the newest version, then the same. */
MUST_CHECK bool scheduler_look_at_flow(Scheduler *scheduler, const Id *flow_id);
/* Looks, a page at a time, for flows without a schedule whose slots wait: they lost it when nobody was there to notice. */
MUST_CHECK bool scheduler_look_for_ended(Scheduler *scheduler);
/* The state as the journal has it. NULL in *planned: it was given up. */
MUST_CHECK bool scheduler_reload_state(Scheduler *scheduler, Planned **planned);
/* After a failure that has to do with one flow. True when that flow alone is given up (damage; *planned, if it is in by_flow,
 * is gone), until its next version or start; false when everything has to wait for the store. */
MUST_CHECK bool scheduler_give_up(Scheduler *scheduler, const Id *flow_id, const GError *error);

/* ---- scheduler_decide.c: the same ---- */

/* Decides each of these once, records it. They are planned anew; one that was changed by another replica is taken up. */
MUST_CHECK bool scheduler_decide_group(Scheduler *scheduler, Planned *const *group, size_t n);
/* Tells what becomes of slots that wait, for a flow whose newest version has no schedule. `planned` need not be in by_flow; it
 * may be given up. */
MUST_CHECK bool scheduler_end_queue(Scheduler *scheduler, Planned *planned, const Flow *newest);
/* Decides one for as long as it has something to say about the time up to an instant. It may be given up. */
MUST_CHECK bool scheduler_decide_until(Scheduler *scheduler, Planned *planned, int64_t as_of);

/* ---- scheduler_start.c: the same ---- */

/* Makes the runs that are owed, then removes marks. */
MUST_CHECK bool scheduler_carry_out(Scheduler *scheduler);
/* Removes the marks of what was made, when its documents are there within timeout_ms; else they stay for the next time. */
MUST_CHECK bool scheduler_remove_marks(Scheduler *scheduler, int64_t timeout_ms);
/* Finds decisions without their run, this process's and others', and carries them out. */
MUST_CHECK bool scheduler_sweep(Scheduler *scheduler);
/* Adds a decision, unless it is among them or was made. */
void scheduler_owe(Scheduler *scheduler, const Id *flow_id, const ScheduleDecision *decision);

/* ---- scheduler_backfill.c ---- */

OpenBackfills *open_backfills_new(void);
void open_backfills_free(OpenBackfills *backfills); /* NULL is fine */
/* Does what open backfills have to do next, for a while. False after a failure, which is told; to be tried again. */
MUST_CHECK bool scheduler_backfills_step(Scheduler *scheduler);
/* After how many ms one of them has to be looked at, max_ms at most. */
int64_t scheduler_backfills_wait(const Scheduler *scheduler, int64_t max_ms);
/* A run of a flow's slots has ended. */
void scheduler_backfills_note_end(Scheduler *scheduler, const Id *flow_id);

#endif
