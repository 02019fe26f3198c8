/* run.h - a run's state: what its journal folds to. fold() is pure; folding the whole journal from nothing gives
 * exactly the stored projection.
 * Thread: a Run is built and changed by one thread; once shared (run cache) it is never changed again: copy first. */
#ifndef FLOWOPS_DOMAIN_RUN_H
#define FLOWOPS_DOMAIN_RUN_H

#include "domain/event.h"

#define STEP_OUTPUTS_MAX_BYTES (64 * 1024)
#define RUN_OUTPUTS_MAX_BYTES (256 * 1024)
#define RUN_INPUTS_MAX_BYTES (64 * 1024)
#define START_MAX_BYTES (900 * 1024) /* of a START with progress, which brokers take by default */
#define STEP_PROGRESS_MAX_BYTES 128  /* of it: how far a step is, without its outputs */
#define START_FRAME_MAX_BYTES 2048   /* of it: ids, times, who started the run */
#define RUN_MAX_ANNOUNCEMENTS 1024   /* that a run remembers; then it forgets the oldest */
#define RUN_ERROR_MAX_BYTES 4096     /* of an error text that is kept, as JSON writes it, cut at a character */

/* Flow statuses with a position that are taken of one timestamp: bounds what a run remembers to know them again. */
#define RUN_MAX_TAKEN_AT_ONCE 32

typedef struct {
    Id step_id;
    StepStatus status;
    int64_t attempt;    /* 0 before the first */
    int64_t n_failures; /* attempts that failed; those that were lost with their engine are none */
    char *error;
    int64_t started_at, completed_at; /* of the current attempt; INSTANT_NONE before */
    char *outputs_json;
} StepState;

typedef struct {
    CommandKind command; /* COMMAND_NONE: nothing is pending */
    Id command_id;
    int64_t requested_at;
    int64_t seq; /* of the event that requested it */
} PendingCommand;

/* How much is still to come. */
typedef enum {
    PHASE_OPEN,    /* the run has not ended */
    PHASE_ENDING,  /* ended, some steps are not terminal yet */
    PHASE_SETTLED, /* ended, every step is terminal */
} RunPhase;

/* A flow status that was taken, and where it came from. */
typedef struct {
    Origin origin;
    RunStatus status;
} TakenStatus;

/* What never changes after RUN_CREATED: owned here once and shared by every copy. */
typedef struct RunBirth RunBirth;

typedef struct {
    Id id, flow_id, owner;
    RunBirth *birth; /* owns the next four members */
    const char *triggered_by;
    TextMap labels, inputs;
    const char *request_digest;
    int64_t flow_version;

    int64_t seq; /* of the last event folded; 0: nothing yet */
    RunStatus status;
    char *error;
    int64_t created_at, updated_at; /* timestamps of the first event; of the newest fact folded (never goes back) */
    int64_t started_at, completed_at;
    PendingCommand pending;

    int64_t generation; /* from 1 */
    int64_t
        handed_over_seq; /* seq of the creation or of the last hand-over: older unpublished commands are superseded */
    /* The last flow status taken: flow statuses are ordered by (generation, timestamp). INSTANT_NONE, 0: none was. */
    int64_t last_flow_status_at;
    int64_t last_flow_generation;
    /* Those of that timestamp that had a position, in the order taken: what a replay is known by. */
    TakenStatus *taken;
    size_t n_taken;
    /* Announcements that hand-overs of this run have answered, the oldest first: a replay of one hands nothing over. */
    Announcement *announcements;
    size_t n_announcements;
    int64_t ended_at; /* wall time of the terminal flow status event's timestamp; INSTANT_NONE */

    StepState *steps; /* flattened, definition order */
    size_t n_steps;
    size_t n_open_steps;       /* not terminal */
    size_t outputs_size_bytes; /* of all steps together */
} Run;

Run *run_new(void); /* seq 0: the state before RUN_CREATED */
Run *run_copy(const Run *run);
void run_free(Run *run);
StepState *run_find_step(const Run *run, const char *step_id); /* NULL when unknown */
RunPhase run_phase(const Run *run);

/* Does a flow status answer a command (rules "Commands")? The status must be one that is taken: then it is newer than
 * all before it, a RUNNING newer than the PAUSED. */
/* What the outputs of all steps may take together: RUN_OUTPUTS_MAX_BYTES, or what a START has left for them beside the largest
 * definition and inputs and the progress of so many steps. */
size_t run_outputs_max_bytes(size_t n_steps);

bool command_is_answered_by(CommandKind command, RunStatus status);

/* Folds the next event. False (the run untouched) when it is not the next: seq is not run->seq + 1, a second creation,
 * another run's id, an unknown step, a flow status or a command after the end. That is a broken journal, never an answer
 * to input. */
MUST_CHECK bool run_fold(Run *run, const Event *event, GError **error);

/* Appends the contract's run detail. What a summary has not (`inputs generation outputs steps`) comes last: the first *returned* bytes of what was appended,
 * plus "}", are the run summary (so a store keeps one text for both). */
size_t run_encode_detail(const Run *run, GString *out);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Run, run_free)

#endif
