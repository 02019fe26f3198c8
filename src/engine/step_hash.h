/* step_hash.h - step trees compared by everything in them, so that runs of the same flow can share one parsed form.
 * Thread: any. */
#ifndef FLOWOPS_ENGINE_STEP_HASH_H
#define FLOWOPS_ENGINE_STEP_HASH_H

#include "domain/flow.h"

unsigned steps_hash(Step *const *steps, size_t n_steps);
bool steps_equal(Step *const *a, size_t n_a, Step *const *b, size_t n_b);

#endif
