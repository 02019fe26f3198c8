/* ended_runs.h - the runs that ended here lately, so that a START that is repeated late does not run them again. One that is
 * newer than all that a run had is no repeat: that run was deleted, and its Idempotency-Key used once more.
 * Bounded: the oldest is forgotten first.
 * Thread: engine. */
#ifndef FLOWOPS_ENGINE_ENDED_RUNS_H
#define FLOWOPS_ENGINE_ENDED_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

typedef struct EndedRuns EndedRuns;

EndedRuns *ended_runs_new(size_t max_runs);
void ended_runs_free(EndedRuns *ended); /* NULL is fine */

/* started_at: the timestamp of the START of this generation. */
void ended_runs_note(EndedRuns *ended, const Id *run_id, int64_t generation, int64_t started_at);
/* Is such a START a repeat? */
bool ended_runs_has(const EndedRuns *ended, const Id *run_id, int64_t generation, int64_t started_at);
size_t ended_runs_count(const EndedRuns *ended);

#endif
