/* engine_run_internal.h - a run's state, shared by the files that move it: engine_run.c (commands, the run's own status),
 * engine_run_steps.c (steps), engine_run_values.c (references and outputs). */
#ifndef FLOWOPS_ENGINE_ENGINE_RUN_INTERNAL_H
#define FLOWOPS_ENGINE_ENGINE_RUN_INTERNAL_H

#include "engine/engine_run.h"

typedef enum {
    NODE_WAITING,    /* for steps it refers to, its parent or its branch */
    NODE_READY,      /* to be started as soon as there is room; also between attempts once the delay is over */
    NODE_RUNNING,    /* an attempt is under way */
    NODE_RETRY_WAIT, /* the last attempt failed, the delay before the next one runs */
    NODE_DONE,       /* the rest are terminal */
    NODE_FAILED,
    NODE_SKIPPED,
    NODE_CANCELLED,
} NodeState;

typedef struct {
    EngineRun *run;
    Timer timer; /* RUNNING: the attempt's time limit; RETRY_WAIT: the delay */
    NodeState state;
    size_t n_unmet;     /* of what it waits for: referenced steps, and its parent or branch */
    int64_t attempt;    /* 0 before the first */
    int64_t n_failures; /* attempts that failed, as opposed to those an engine's end cut short */
    void *handle;       /* RUNNING: of the attempt */
    char *error;        /* what the last attempt failed with, told when the next one begins */
    char *outputs_json; /* DONE: kept while another step may refer to it */
    JsonValue *parsed;  /* of outputs_json, during one evaluation */
} Node;

typedef enum {
    MODE_RUNNING,
    MODE_PAUSING, /* nothing new starts; PAUSED as soon as nothing runs */
    MODE_PAUSED,
    MODE_ENDED,
} RunMode;

struct EngineRun {
    Id id, flow_id;
    int64_t generation;
    int64_t started_at; /* timestamp of the START */
    int32_t partition;  /* of the bus, that its commands come on */
    int64_t last_seq;   /* of the last command taken; a repeat does not go beyond it */
    TextMap inputs;
    const RunPort *port;
    Definition *definition;
    Node *nodes; /* as definition->plans */
    RunMode mode;
    char *failure; /* why the run is going to fail; NULL: it is not */
    size_t n_open; /* not terminal */
    size_t n_ready, n_running, n_retry_waiting;
    size_t first_open;         /* every node before it is terminal: where to look for ready ones */
    size_t outputs_size_bytes; /* of all steps together, as far as they are kept */
    int64_t last_at;           /* newest timestamp given out: a run's events never go back in time */
    int64_t last_flow_at;      /* of the last flow status: they strictly increase */
};

/* engine_run.c */
void run_publish_step(EngineRun *run, size_t index, StepStatus status, const char *error, const char *outputs_json);
void run_fail(EngineRun *run, size_t index,
              const char *error); /* a step failed for good; the first one names the run's error */
/* Goes on as far as possible and settles what the run's status is now. After every input. */
void run_advance(EngineRun *run);

/* engine_run_steps.c */
void run_start_ready(EngineRun *run);
void run_end_attempt(EngineRun *run, size_t index, char *outputs_json, char *error);
void run_stop_attempt(EngineRun *run, size_t index); /* cancels what runs or waits to be tried again; no status */
void run_apply_progress(EngineRun *run, StepProgress *progress, size_t n_progress);
void run_follow_progress(EngineRun *run); /* lets what the applied progress frees or rules out take effect */

/* engine_run_values.c */
bool run_render_inputs(EngineRun *run, size_t index, TextMap *ret_inputs, GError **error);
bool run_condition_holds(EngineRun *run, size_t index, const Condition *condition, bool *ret_holds, GError **error);
/* What is kept of a step's outputs: as they are, or NULL with *ret_note (allocated) saying why not. Takes the text. */
char *run_admit_outputs(EngineRun *run, char *outputs_json, char **ret_note);
/* A DECISION's outputs with the branch taken (NULL: none) as its member `branch`. outputs_json may be NULL. */
char *outputs_with_branch(const char *outputs_json, const char *branch_id);

#endif
