/* run_harness.h - one EngineRun on a fake clock, with everything it does written into a trace.
 * Steps are named by a letter: in JSON `@a` stands for the id of step a, in the trace its letter does. */
#ifndef FLOWOPS_TESTS_UNIT_ENGINE_RUN_HARNESS_H
#define FLOWOPS_TESTS_UNIT_ENGINE_RUN_HARNESS_H

#include "engine/engine_run.h"

#define START_WALL_MS 1800000000000

typedef struct {
    Clock *clock;
    RunPort port;
    EngineRun *run;
    GString *trace;
    GHashTable *attempts;  /* live handles -> themselves */
    char *inputs[26];      /* of the last attempt of each step, as JSON */
    bool was_ended;        /* port.ended was called */
    int64_t last_flow_at;  /* checked to increase strictly */
    int64_t last_at;       /* checked never to go back */
    int64_t generation;    /* checked on every status */
    bool has_status_ended; /* a terminal flow status came: nothing may follow */
} Harness;

Harness *harness_new(size_t max_parallel_steps);
void harness_free(Harness *harness); /* frees the run too, and checks that nothing is left behind */

/* Begins the run with these steps (a JSON array); `more` is further members of START, or NULL. */
void harness_start(Harness *harness, const char *steps, const char *more);
void harness_command(Harness *harness, CommandKind command, int64_t seq);
void harness_done(Harness *harness, char step, const char *outputs); /* outputs: JSON with @a, or NULL */
void harness_failed(Harness *harness, char step, const char *error);
/* Moves the clock and fires what is due, millisecond by millisecond where timers are set. */
void harness_advance(Harness *harness, int64_t by_ms);

/* The trace since the last time, one line for each thing done: "FLOW RUNNING", "a RUNNING 1",
 * "a FAILED 2 (boom)", "a COMPLETED 1 {\"k\":\"v\"}", "cancel a". */
void harness_expect(Harness *harness, const char *trace);
void harness_forget(Harness *harness); /* what was traced so far is of no interest */
const char *harness_inputs(const Harness *harness, char step);

char *expand_ids(const char *text); /* @a -> the id of step a */
Id step_id(char step);

#endif
