/* ended_runs.h - the runs that ended here lately and their generation, so that a START that is repeated late does not run
 * them again. Bounded: the oldest is forgotten first.
 * Thread: engine. */
#ifndef FLOWOPS_ENGINE_ENDED_RUNS_H
#define FLOWOPS_ENGINE_ENDED_RUNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

typedef struct EndedRuns EndedRuns;

EndedRuns *ended_runs_new(size_t max_runs);
void ended_runs_free(EndedRuns *ended); /* NULL is fine */

void ended_runs_note(EndedRuns *ended, const Id *run_id, int64_t generation);
int64_t ended_runs_generation(const EndedRuns *ended, const Id *run_id); /* 0: not known */
size_t ended_runs_count(const EndedRuns *ended);

#endif
