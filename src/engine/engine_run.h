/* engine_run.h - one run on an engine, as a state machine: commands, ended attempts and timers go in; statuses, attempts to
 * start or cancel and timers come out through a RunPort. No threads, no I/O; time comes from the port's clock.
 * Thread: engine. Owner: whoever called engine_run_new(). */
#ifndef FLOWOPS_ENGINE_ENGINE_RUN_H
#define FLOWOPS_ENGINE_ENGINE_RUN_H

#include "base/clock.h"
#include "domain/message.h"
#include "engine/definition.h"
#include "engine/plugin.h"
#include "engine/timers.h"

#define STEP_INPUT_MAX_BYTES (64 * 1024)   /* of one rendered input */
#define STEP_INPUTS_MAX_BYTES (256 * 1024) /* of all rendered inputs of a step: what one attempt may hold */

/* A delay between attempts doubles up to this, unless the step asks for a longer one to begin with. */
#define RETRY_DELAY_MAX_MS (60 * 60 * 1000)

typedef struct EngineRun EngineRun;

/* What a run needs of its surroundings. The functions must not call back into the run. */
typedef struct {
    const Clock *clock;
    Timers *timers;
    GRand *random; /* jitter */
    Definitions *definitions;
    size_t max_parallel_steps;
    /* The status is borrowed for the call. */
    void (*publish)(const StatusMessage *status, void *arg);
    /* Begins an attempt (inputs are taken) and gives a handle for cancel_attempt(). Its end is reported later through
     * engine_run_attempt_done(), never from inside this call. */
    void *(*start_attempt)(EngineRun *run, size_t step, const Plugin *plugin, TextMap inputs, int64_t number,
                           void *arg);
    /* After this, engine_run_attempt_done() is not called for it. */
    void (*cancel_attempt)(void *attempt, void *arg);
    /* The terminal flow status was published. The run is to be freed, but not inside this call. */
    void (*ended)(EngineRun *run, void *arg);
    void *arg;
} RunPort;

/* Begins the run, or goes on from its progress. Takes the steps, the inputs and the progress' outputs out of
 * `start`; the port is borrowed for the run's life. The partition is the one that the START came on. */
EngineRun *engine_run_new(CommandMessage *start, int32_t partition, const RunPort *port);
/* Whatever still runs is cancelled without a word. NULL is fine. */
void engine_run_free(EngineRun *run);

/* PAUSE, RESUME or STOP of this run; one that came before, or comes too late, is ignored. */
void engine_run_command(EngineRun *run, const CommandMessage *command);

/* The step's attempt ended: outputs_json (an object's text, taken; NULL: none), or an error (taken) when it failed. */
void engine_run_attempt_done(EngineRun *run, size_t step, char *outputs_json, char *error);

const Id *engine_run_id(const EngineRun *run);
int64_t engine_run_generation(const EngineRun *run);
int64_t engine_run_started_at(const EngineRun *run); /* timestamp of its START */
int32_t engine_run_partition(const EngineRun *run);
bool engine_run_has_ended(const EngineRun *run);

#endif
