/* decide.h - what a command or an incoming status means for a run: events, nothing, or a rejection. Pure.
 * Rules: shared contract and rules "Deciding", "Folding statuses", "Commands", "Hand-over"; here as in docs/events.md.
 * Thread: any. Owner: decision_free() what is returned. */
#ifndef FLOWOPS_DOMAIN_DECIDE_H
#define FLOWOPS_DOMAIN_DECIDE_H

#include "domain/flow.h"
#include "domain/message.h"
#include "domain/run.h"

#define FORCE_STOP_AFTER_MS (30 * 1000) /* stop?force=true needs a STOP unanswered for this long */

typedef enum {
    DECISION_APPEND,  /* events, in order; their seq is set (run->seq + 1 ...) */
    DECISION_NOTHING, /* already so, or already pending: 200 for a command; counted for a status */
    DECISION_REJECT,  /* the state rules it out (409), or a status that cannot be of this run (dead letter) */
} DecisionKind;

typedef struct {
    DecisionKind kind;
    Event **events;
    size_t n_events;
    char *reason; /* REJECT: a sentence naming the state; NOTHING: why it changes nothing */
} Decision;

void decision_free(Decision *decision);

typedef struct {
    Id run_id;
    Id command_id;
    const Flow *flow;
    const char *triggered_by;
    const TextMap *labels; /* the flow's with the request's on top, merged here */
    const TextMap *inputs;
    const char *request_digest; /* NULL without an Idempotency-Key */
    int64_t now_ms;
} RunRequest;

/* The creation event of a new run (always APPEND of one event). */
Decision *decide_create(const RunRequest *request);

typedef struct {
    CommandKind command; /* PAUSE, RESUME or STOP */
    bool is_forced;      /* STOP only */
    Id command_id;
    Id requested_by;
    int64_t now_ms;
} CommandRequest;

Decision *decide_command(const Run *run, const CommandRequest *request);

/* An engine's status. REJECT: unknown step, a flowId that is not the run's, SCHEDULED from an engine. NOTHING:
 * duplicate, stale, older generation, after the end. Outputs beyond the limits are dropped with an error that says so.
 * COMPLETED (or any terminal status) for a step never RUNNING is taken as it is: engines are not perfect. */
Decision *decide_status(const Run *run, const StatusMessage *status);

/* Gives the run to an engine that announced itself: HANDED_OVER with generation + 1 (and, when it was RUNNING or PAUSED, no
 * change of status). NOTHING when the run has ended, when it was handed over for this announcement before, and when its first
 * START is unanswered and younger than the announcement: that engine has it, or is about to (a START that is lost all the
 * same is sent again). announcement NULL: whoever it is. */
Decision *decide_hand_over(const Run *run, const Announcement *announcement, const Id *command_id, int64_t now_ms);

/* An ended run whose engine never closed its steps: CANCELLED for each open step, error "not reported by the engine".
 * NOTHING unless the phase is PHASE_ENDING. */
Decision *decide_settle(const Run *run, int64_t now_ms);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Decision, decision_free)

#endif
