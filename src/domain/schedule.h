/* schedule.h - what becomes of the slots of a flow: which start, which don't and why. Pure: the time, what was decided and
 * how many runs are open come from the caller, the decisions go to a journal of the flow, and only what stands there is
 * carried out. docs/schedules.md tells the rules and the journal's form.
 * Thread: a Schedule never changes, any; a ScheduleState belongs to one thread at a time. Owner: schedule_free(),
 * schedule_state_done(). */
#ifndef FLOWOPS_DOMAIN_SCHEDULE_H
#define FLOWOPS_DOMAIN_SCHEDULE_H

#include "domain/cron.h"
#include "domain/flow.h"

#define SCHEDULE_STARTS_MAX \
    1000 /* slots that one call starts or queues; older ones are skipped. 10 s of work at worst */
#define SCHEDULE_QUEUE_MAX 1000 /* slots of a flow that wait for their turn; further ones are skipped */
#define SCHEDULE_SCAN_MAX 50000 /* slots that one call looks at: some 10 ms */
#define SCHEDULE_PAUSED_SUMMARY_MS (INT64_C(24) * 60 * 60 * 1000) /* how often a pause is summed up in the journal */

typedef enum {
    SLOT_STARTED, /* its run is to be there: whoever finds it missing makes it */
    SLOT_QUEUED,  /* starts later, when no run is open */
    SLOT_SKIPPED, /* never starts, but by a backfill; n_slots of them, from slot to last_slot */
    SLOT_RESET,   /* the flow got other slots: what lies in (slot, last_slot] and was not decided before never starts */
} SlotVerdict;

typedef enum {
    SLOT_NO_REASON,
    SLOT_PAUSED,
    SLOT_MISFIRE,    /* found too late, and misfire says so */
    SLOT_LIMIT,      /* more than SCHEDULE_STARTS_MAX at once: the older ones */
    SLOT_OVERLAP,    /* a run is open (SKIP), or a later slot would cancel it at once (CANCEL_RUNNING) */
    SLOT_QUEUE_FULL, /* SCHEDULE_QUEUE_MAX are waiting */
    SLOT_BEFORE_START,
    SLOT_AFTER_END, /* the first one past endAt; those after it are no slots any more */
    SLOT_CHANGED,   /* it was waiting when the flow got other slots, or a pause */
    SLOT_ENDED,     /* it was waiting when the flow lost its cron, or was deleted */
} SlotReason;

typedef struct {
    int64_t n; /* from 1, without a gap: `<flowId>:<n>` is a unique insert, the loser reloads and decides again */
    SlotVerdict verdict;
    SlotReason reason;
    int64_t slot, last_slot; /* the same, but in a summary and a reset */
    int64_t n_slots;         /* 0 in a reset: they were another schedule's */
    int64_t decided_at;
    int64_t late_ms; /* after the last slot could be taken, jitters included; 0 in a reset and where a queue ends */
    /* Out of the queue; the watermark stays. SKIPPED: all that waited, n_slots of them; there may be others between. */
    bool was_queued;
    bool cancels_running; /* STARTED: the runs that are open are stopped first */
    int64_t since;        /* Flow.scheduled_since it was decided by */
    int64_t flow_version;
    int64_t watermark; /* after it: a slot at or before it starts only by a backfill */
    int64_t n_queued;  /* after it */
} ScheduleDecision;

/* What a flow's decisions fold to. */
typedef struct {
    int64_t n; /* of the last decision; 0: none yet */
    int64_t watermark;
    int64_t since;
    int64_t flow_version; /* the newest that decided; 0: none did */
    int64_t *queue;       /* slots, oldest first */
    size_t n_queued;
} ScheduleState;

typedef struct Schedule Schedule;

/* Of a flow that has a cron and was not deleted. INVALID: its cron or time zone is not known here (any more). */
MUST_CHECK Schedule *schedule_new(const Flow *flow, CronZones *zones, GError **error);
void schedule_free(Schedule *schedule); /* NULL is fine */
const Cron *schedule_cron(const Schedule *schedule);
const CronZone *schedule_zone(const Schedule *schedule);
Overlap schedule_overlap(const Schedule *schedule);
bool schedule_is_paused(const Schedule *schedule);
int64_t schedule_since(const Schedule *schedule); /* Flow.scheduled_since */
int64_t schedule_flow_version(const Schedule *schedule);

/* The first slot after an instant within startAt and endAt, whatever was decided, paused or not. */
bool schedule_next_slot(const Schedule *schedule, int64_t after_ms, int64_t *ret_slot_ms);
/* When a slot is to start: its time and the jitter that flow and slot give. */
int64_t schedule_due_at(const Schedule *schedule, int64_t slot_ms);
/* Until when the slots up to an instant, it included, hold those behind them: the latest at which one of them is to start;
 * INT64_MIN when none is near enough to matter. A slot can be taken when it is due itself and is not held any more. */
int64_t schedule_held_until(const Schedule *schedule, int64_t at_ms);
/* nextRunAt: when the next slot that is not decided starts, after `now_ms`; false when paused or none comes. */
bool schedule_next_run(const Schedule *schedule, const ScheduleState *state, int64_t now_ms, int64_t *ret_run_at);
/* When schedule_decide() will have something to say, unless a run ends before (while slots are queued); false: never. */
bool schedule_next_wake(const Schedule *schedule, const ScheduleState *state, int64_t *ret_wake_at);

/* A newer version of the flow has decided already: this one is to be replaced, and decides nothing more. */
bool schedule_is_stale(const Schedule *schedule, const ScheduleState *state);

/* Appends ScheduleDecisions to `decisions`, oldest slot first; each makes sense alone, so any beginning of them may be all
 * that is recorded. n_open: runs of its slots that have not ended; those decided but not made yet count. True: there is
 * more to decide at once, call again when these are recorded. The same arguments give the same decisions. */
bool schedule_decide(const Schedule *schedule, const ScheduleState *state, int64_t now_ms, size_t n_open,
                     GArray *decisions);

/* What becomes of slots that wait when a flow has no schedule any more; false: none does, or a newer version has decided.
 * `flow`: the version that has none. */
bool schedule_end_queue(const ScheduleState *state, const Flow *flow, int64_t now_ms, ScheduleDecision *ret_decision);

/* UUIDv8 of `slot`, the flow and the slot: two schedulers, a crash and a clock set back give one run. */
Id schedule_run_id(const Id *flow_id, int64_t slot_ms);
/* The inputs of a slot's run. INVALID only for a flow that was not validated here. */
MUST_CHECK bool schedule_run_inputs(const Schedule *schedule, const Flow *flow, int64_t slot_ms, TextMap *ret_inputs,
                                    GError **error);

/* ---- the journal ---- */

/* Before the first decision: nothing is owed from before the flow. */
void schedule_state_init(ScheduleState *state, const Flow *flow);
/* The state after a decision with n_queued 0: the last one gives it without the ones before. When slots wait, begin with
 * the last decision that has none waiting (or with init) and fold what follows. */
void schedule_state_from(ScheduleState *state, const ScheduleDecision *decision);
/* The same after any decision, with the slots that wait, oldest first: they are the last n_queued that were QUEUED. Takes
 * `queue` (NULL when none waits). */
void schedule_state_from_tail(ScheduleState *state, const ScheduleDecision *last, int64_t *take_queue);
void schedule_state_done(ScheduleState *state);
/* False (the state untouched) when it is not the next one, or takes slots from the queue that are not its first. */
MUST_CHECK bool schedule_state_fold(ScheduleState *state, const ScheduleDecision *decision, GError **error);

void schedule_decision_encode(const ScheduleDecision *decision, const Id *flow_id, GString *out);
MUST_CHECK bool schedule_decision_decode(const char *json, size_t size, ScheduleDecision *ret_decision, Id *ret_flow_id,
                                         GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Schedule, schedule_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ScheduleState, schedule_state_done)

#endif
