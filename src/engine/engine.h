/* engine.h - runs flows: commands in, status events out, nothing kept. Knows no store and no service: all it knows of a
 * run came in EXECUTION_START.
 * Thread: engine_start/stop from main; inside, one engine thread owns every run and timer, one pump thread reads the bus.
 * Owner: app. */
#ifndef FLOWOPS_ENGINE_ENGINE_H
#define FLOWOPS_ENGINE_ENGINE_H

#include "base/clock.h"
#include "bus/bus.h"

#define ENGINE_MAX_PARALLEL_STEPS 64 /* steps of one run that run at once: default of ENGINE_MAX_PARALLEL_STEPS */

typedef struct Engine Engine;

typedef struct {
    size_t max_parallel_steps; /* of one run */
} EngineOptions;

/* Starts the threads. The engine announces itself on execution.status (ENGINE_STATUS) with the command partitions that
 * become its own, when they do; the bus within one process gives it its one partition at once. Runs of a partition that it
 * loses are abandoned without a word. */
MUST_CHECK Engine *engine_start(Bus *bus, const Clock *clock, const EngineOptions *options, GError **error);

/* Says what has ended, abandons the rest without a word (the service hands it over) and joins the threads. Its statuses
 * need somebody who takes them in; when nobody does it gives up after 4 s at most, at once after bus_shutdown().
 * NULL is fine. */
void engine_stop(Engine *engine);

typedef struct {
    size_t n_runs, n_steps_running;
    int64_t n_steps_done;
} EngineLoad;
EngineLoad engine_load(Engine *engine);

#endif
