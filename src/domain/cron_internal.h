/* cron_internal.h - what the cron_*.c files share: a parsed expression, and a time zone as a list of spans.
 * Thread: any; neither changes once made. */
#ifndef FLOWOPS_DOMAIN_CRON_INTERNAL_H
#define FLOWOPS_DOMAIN_CRON_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "domain/cron.h"
#include "domain/cron_zone.h"

#define CRON_LAST_YEAR 2099

/* One of the expressions that `|` joins. Bit i of a set stands for the value i. Weekdays: 0 is Sunday. */
typedef struct {
    int64_t every_ms; /* `@every`; then the rest is empty. 0: fields */
    uint64_t seconds, minutes;
    uint64_t nth_weekdays; /* bit 7 * (n - 1) + weekday: `weekday#n` */
    uint32_t hours, days;
    uint32_t nearest_days; /* `15W` */
    uint32_t last_days;    /* bit k: `L-k`; bit 0: `L` */
    uint16_t months;
    uint8_t weekdays;
    uint8_t last_weekdays;           /* `5L` */
    bool has_last_workday;           /* `LW` */
    bool is_any_day, is_any_weekday; /* the field begins with `*`: if one does, both must hold, else either will do */
    bool is_interval;                /* follows real time where a clock is changed; else each wall time runs once */
} CronPart;

struct Cron {
    size_t n_parts;
    CronPart parts[];
};

/* The days of this month that it names: bit d is the day d. */
uint32_t cron_month_days(const CronPart *part, int year, int month);

/* From start_s (UTC, seconds since the epoch) until the next span begins, wall clocks show UTC + offset_s. The first
 * span has always been. */
typedef struct {
    int64_t start_s;
    int32_t offset_s;
} CronSpan;

struct CronZone {
    int ref_count; /* atomic */
    size_t n_spans;
    char *name;
    CronSpan spans[];
};

#endif
