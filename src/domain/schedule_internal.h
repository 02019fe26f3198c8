/* schedule_internal.h - what the schedule_*.c files share.
 * Thread: any; a Schedule never changes. */
#ifndef FLOWOPS_DOMAIN_SCHEDULE_INTERNAL_H
#define FLOWOPS_DOMAIN_SCHEDULE_INTERNAL_H

#include "domain/schedule.h"

/* As small as it can be: there may be 100,000 of them in memory. Inputs stay with the flow. */
struct Schedule {
    Id flow_id;
    bool is_paused;
    Misfire misfire;
    Overlap overlap;
    Cron *cron;
    CronZone *zone;
    int64_t flow_version;
    int64_t since;
    int64_t grace_ms;
    int64_t jitter_ms;        /* at most; 0: none */
    int64_t start_at, end_at; /* INT64_MIN and INT64_MAX where they are open */
};

#endif
