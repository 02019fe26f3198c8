/* thread_internal.h - timed waiting as Bell and Queue share it: condition variables on CLOCK_MONOTONIC, so that a wall
 * clock that jumps neither cuts a wait short nor makes it last.
 * Thread: any. */
#ifndef FLOWOPS_BASE_THREAD_INTERNAL_H
#define FLOWOPS_BASE_THREAD_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/thread.h"

/* When a wait gives up; is_never for a negative timeout. */
typedef struct {
    bool is_never;
    struct timespec at;
} Deadline;

void cond_init_monotonic(pthread_cond_t *cond);
Deadline deadline_after_ms(int64_t timeout_ms);

/* Waits with `mu` held; may return early like any condition wait. False once the deadline has passed. */
bool cond_wait_until(pthread_cond_t *cond, Mutex *mu, const Deadline *deadline);

#endif
