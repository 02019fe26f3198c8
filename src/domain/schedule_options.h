/* schedule_options.h - what stands in a flow's `schedule`, beside `cron` and `timezone`.
 * Thread: any; immutable once built. Owner: its Flow. docs/schedules.md says what each member does. */
#ifndef FLOWOPS_DOMAIN_SCHEDULE_OPTIONS_H
#define FLOWOPS_DOMAIN_SCHEDULE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "domain/text_map.h"

#define SCHEDULE_GRACE_DEFAULT_S 60              /* a busy service catches up within seconds; a stop takes longer */
#define SCHEDULE_GRACE_MAX_S (31 * 24 * 60 * 60) /* 31 days */
#define SCHEDULE_JITTER_MAX_S (24 * 60 * 60)     /* a day */
#define SCHEDULE_FIRST_MS INT64_C(0)             /* startAt and endAt: 1970 ... */
#define SCHEDULE_LAST_MS INT64_C(4102444799999)  /* ... to the end of 2099 */

typedef enum { MISFIRE_SKIP, MISFIRE_LATEST, MISFIRE_ALL } Misfire;
typedef enum { OVERLAP_ALLOW, OVERLAP_SKIP, OVERLAP_QUEUE, OVERLAP_CANCEL_RUNNING } Overlap;

typedef struct {
    Misfire misfire;
    Overlap overlap;
    int64_t misfire_grace_s;
    int64_t jitter_s;
    int64_t start_at, end_at; /* INSTANT_NONE: open; both belong to it */
    bool is_paused;
    TextMap inputs; /* of its runs; values may hold ${slot} and ${slot.date} */
} ScheduleOptions;

ScheduleOptions *schedule_options_new(void);                            /* the defaults */
ScheduleOptions *schedule_options_copy(const ScheduleOptions *options); /* NULL gives NULL */
void schedule_options_free(ScheduleOptions *options);                   /* NULL is fine */

const char *misfire_name(Misfire misfire);
bool misfire_parse(const char *text, Misfire *ret_misfire); /* any case */
const char *overlap_name(Overlap overlap);
bool overlap_parse(const char *text, Overlap *ret_overlap);

/* An input's value with ${slot} (the instant in UTC, 24 bytes) and ${slot.date} (the day on the schedule's wall clock,
 * 10 bytes) filled in; `$${` is a literal `${`. offset_s: of that wall clock at the slot. INVALID, with the column: any
 * other `${`. */
MUST_CHECK char *schedule_input_render(const char *value, int64_t slot_ms, int offset_s, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ScheduleOptions, schedule_options_free)

#endif
