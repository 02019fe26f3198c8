/* backfill.h - starting the slots of a range that no run covers: which they are, what a backfill does next, and its journal.
 * Pure: the time, what was decided and how its runs went come from the caller. docs/schedules.md tells the rules.
 * A backfill has a plan, its slots, which never changes, and a journal of states: each entry is the whole state after it, so
 * the newest alone is enough. `<backfillId>:<n>` is a unique insert; who comes second reloads and decides again. What an
 * entry says was started is carried out after it: the run's id follows from flow and slot, so that twice is once.
 * Thread: any; a Backfill is plain data. Owner: backfill_plan_done(). */
#ifndef FLOWOPS_DOMAIN_BACKFILL_H
#define FLOWOPS_DOMAIN_BACKFILL_H

#include "domain/fault.h"
#include "domain/run.h"
#include "domain/schedule.h"

#define BACKFILL_SLOTS_MAX 10000   /* in the range: a plan takes 110 KB, and its slots are looked up one by one */
#define BACKFILL_COUNT_MAX 1000000 /* slots are counted no further; some 0.1 s */
#define BACKFILL_PARALLEL_MAX 100
#define BACKFILL_FIRST_SLOTS 20 /* that a dry run shows */

typedef struct {
    int64_t from, to; /* from <= slot < to */
    int64_t max_parallel;
    bool is_dry_run;
} BackfillRequest;

/* `from` (required), `to` (default now), `maxParallel` (default 1), `dryRun`. False when faults were added. */
MUST_CHECK bool backfill_request_read(const JsonValue *body, int64_t now_ms, BackfillRequest *ret_request,
                                      Faults *faults);

/* ---- its slots ---- */

/* Appends the slots with from <= slot < to to `slots` (of int64_t), at most BACKFILL_SLOTS_MAX, and counts them all, up to
 * BACKFILL_COUNT_MAX. */
int64_t backfill_find_slots(const Schedule *schedule, int64_t from, int64_t to, GArray *slots);
/* Is a slot covered by this decision? STARTED covers its own; QUEUED does while it waits, which later decisions tell. */
bool backfill_is_covered_by(const ScheduleDecision *decision);

typedef struct {
    int64_t *slots; /* oldest first */
    size_t n_slots;
    char *request_digest; /* of the request with an Idempotency-Key; NULL: it had none */
} BackfillPlan;
void backfill_plan_done(BackfillPlan *plan);
void backfill_plan_encode(const BackfillPlan *plan, GString *out);
MUST_CHECK bool backfill_plan_decode(const char *json, size_t size, BackfillPlan *ret_plan, GError **error);

/* ---- its state ---- */

typedef enum {
    BACKFILL_RUNNING,
    BACKFILL_PAUSED,
    BACKFILL_COMPLETED, /* every slot was started and every run has ended */
    BACKFILL_CANCELLED, /* starts nothing more; its runs go on */
} BackfillStatus;

typedef enum {
    BACKFILL_NO_REASON,
    BACKFILL_BY_USER,      /* cancelled by its owner */
    BACKFILL_FLOW_DELETED, /* cancelled: there is nothing to start any more */
    BACKFILL_SLOTS_TAKEN,  /* cancelled: another one took slots of its plan while it was made */
    BACKFILL_NO_CRON,      /* cancelled: the flow has no slots any more */
} BackfillReason;

typedef struct {
    Id id, flow_id, owner;
    int64_t created_at;
    int64_t from, to;
    int64_t max_parallel;
    int64_t n_in_range, n_slots; /* slots of the range, and those that were missed: the plan's */

    int64_t n; /* of the entry, from 1 */
    BackfillStatus status;
    BackfillReason reason;
    int64_t updated_at;
    Id updated_by;     /* empty: the service */
    int64_t n_started; /* of the plan, from its first */
    int64_t n_made;    /* of those, whose runs were there before this entry: what is missing of them was deleted */
    int64_t
        open[BACKFILL_PARALLEL_MAX]; /* slots that were started and whose run has not been seen to end; oldest first */
    size_t n_open;
    int64_t n_completed, n_failed, n_stopped;
    int64_t n_deleted; /* the run was gone before its end was seen */
} Backfill;

/* Something may be left to do: it is to be looked at. */
bool backfill_is_open(const Backfill *backfill);
const char *backfill_status_name(BackfillStatus status);

/* The first entry; COMPLETED when there are no slots. */
void backfill_init(Backfill *backfill, const Id *id, const Flow *flow, const BackfillRequest *request,
                   int64_t n_in_range, size_t n_slots, int64_t now_ms);

typedef enum { SLOT_RUN_OPEN, SLOT_RUN_COMPLETED, SLOT_RUN_FAILED, SLOT_RUN_STOPPED, SLOT_RUN_DELETED } SlotRun;
SlotRun slot_run_of(RunStatus status);

/* The next entry: what ended is counted and, while it is RUNNING, the next slots are started, at most max_parallel open at
 * once. runs: of each open slot, in their order; all of them were made. False: there is nothing to record. The slots that it starts are
 * plan->slots[backfill->n_started] up to [ret_next->n_started - 1]. */
bool backfill_advance(const Backfill *backfill, const BackfillPlan *plan, const SlotRun *runs, int64_t now_ms,
                      Backfill *ret_next);

typedef enum { BACKFILL_PAUSE, BACKFILL_RESUME, BACKFILL_CANCEL } BackfillCommand;
typedef enum { BACKFILL_APPEND, BACKFILL_NOTHING, BACKFILL_REJECT } BackfillOutcome;

/* NOTHING: it is so already. REJECT: it has ended. by NULL: the service, for `reason`. */
BackfillOutcome backfill_command(const Backfill *backfill, BackfillCommand command, BackfillReason reason, const Id *by,
                                 int64_t now_ms, Backfill *ret_next);

/* The form in the journal, which is also what people are shown. */
void backfill_encode(const Backfill *backfill, GString *out);
MUST_CHECK bool backfill_decode(const char *json, size_t size, Backfill *ret_backfill, GError **error);

/* The answer to a dry run: counts, the first slots and their runs' ids. */
void backfill_encode_dry_run(const Id *flow_id, const BackfillRequest *request, int64_t n_in_range,
                             const BackfillPlan *plan, GString *out);

/* UUIDv8 of `backfill`, owner, flow and Idempotency-Key. */
Id backfill_derive_id(const Id *owner, const Id *flow_id, const char *key);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(BackfillPlan, backfill_plan_done)

#endif
