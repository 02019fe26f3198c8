/* retention.h - deletes runs that ended long ago, a few at a time.
 * Thread: the sweeper's. Owner: the sweeper. */
#ifndef FLOWOPS_SERVICE_RETENTION_H
#define FLOWOPS_SERVICE_RETENTION_H

#include "service/service_internal.h"

typedef struct {
    int64_t next_look_at; /* monotonic ms; 0: at once */
    int64_t n_deleted;    /* since the last time that nothing was left */
} Retention;

/* For each round of the sweeper: deletes for a tenth of a round at most, so that writes go on between its pages. Does
 * nothing when options.run_retention_ms is 0. `latch` as for writer_do(). */
void retention_step(Service *service, Retention *retention, Bell *latch);

#endif
