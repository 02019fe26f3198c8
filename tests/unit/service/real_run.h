/* real_run.h - runs with journals that fold, written to a store without a service: for tests of fsck and copy. Everything
 * here fails the test by itself. */
#ifndef FLOWOPS_TESTS_REAL_RUN_H
#define FLOWOPS_TESTS_REAL_RUN_H

#include "service/run_row.h"
#include "store_support.h"

/* How far a history goes; each includes the ones before it. */
typedef enum {
    HISTORY_CREATED,  /* event 1, which orders a START */
    HISTORY_RUNNING,  /* 2: the run; 3: its first step */
    HISTORY_STOPPING, /* 4: a STOP that is ordered */
    HISTORY_ENDED,    /* 5, 6: both steps; 7: the run */
} History;
#define N_EVENTS_ENDED 7

typedef struct {
    Run *run;
    RunActors actors;
    const Flow *flow;
    Store *store;
    size_t n_per_record; /* events of one append */
    GPtrArray *waiting;  /* of Event */
} RealRun;

/* A flow of two steps; version 1 is written. */
Flow *real_flow(Store *store, unsigned n);
/* Event by event, in records of this many. Commands that are answered are published. */
void real_run_write(Store *store, unsigned n, const Flow *flow, History history, size_t n_per_record);
/* A run of so many events: one created, the rest RUNNING again and again. */
void real_run_write_long(Store *store, unsigned n, const Flow *flow, int64_t n_events);

/* The parts: an event's members beyond the common ones are the test's. */
RealRun *real_run_begin(Store *store, unsigned n, const Flow *flow, size_t n_per_record);
void real_run_flow_status(RealRun *run, RunStatus status);
void real_run_step_status(RealRun *run, size_t step, StepStatus status);
void real_run_command(RealRun *run, CommandKind command);
/* The row of the state so far; the detail is the caller's scratch. */
RunRow real_run_row(RealRun *run, GString *detail);
void real_run_end(RealRun *run); /* appends what waits, frees */
void real_run_flush(RealRun *run);

/* A backfill of three slots, as far as `n` entries take it: made, two started, one of them ended. Those that are there are left. */
void real_backfill_write(Store *store, const Flow *flow, unsigned number, int64_t n_entries);

#endif
