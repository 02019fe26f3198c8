/* scheduler.h - drives the schedules of all flows: keeps what each needs to be decided, wakes when one has something to
 * say, records the decisions through the writer, and makes the runs that are owed. One place decides (scheduler_decide.c),
 * one records, one carries out (scheduler_start.c); what is not recorded is not carried out, and whoever finds a decision
 * without its run makes the run, so that a crash at any point costs nothing but time.
 * Thread: one, which may block on the writer and on reads of the store: the service's `scheduler`, or a test. Owner: who
 * made it. Memory: some 500 bytes for each flow that has a cron. */
#ifndef FLOWOPS_SERVICE_SCHEDULER_H
#define FLOWOPS_SERVICE_SCHEDULER_H

#include "service/service.h"

typedef struct Scheduler Scheduler;

Scheduler *scheduler_new(Service *service);
void scheduler_free(Scheduler *scheduler);

/* Does all that is due by the service's clock. Returns after how many ms it has to be called again at the latest, and
 * earlier when the service's notes ring. */
int64_t scheduler_step(Scheduler *scheduler);

#endif
