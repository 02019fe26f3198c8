/* schedule_preview.h - the coming slots of a flow for people to look at, before it is saved or after.
 * Thread: any. Pure: the time comes from the caller. docs/schedules.md has the form. */
#ifndef FLOWOPS_DOMAIN_SCHEDULE_PREVIEW_H
#define FLOWOPS_DOMAIN_SCHEDULE_PREVIEW_H

#include "domain/flow_request.h"
#include "domain/schedule.h"

#define SCHEDULE_PREVIEW_DEFAULT 20
#define SCHEDULE_PREVIEW_MAX 1000 /* slots of one answer: some 150 KB */

/* `cron` (required), `timezone`, `schedule`, `count`, `from`: what a flow that is not saved yet would do. The flow has
 * nothing else, no id either. NULL when faults were added. *ret_from: INSTANT_NONE when absent. */
MUST_CHECK Flow *schedule_preview_read(const JsonValue *body, const FlowOrigin *origin, int64_t *ret_from,
                                       size_t *ret_count, Faults *faults);

/* Appends {flowId cron timezone description schedule slots[{slot local runAt}]} with at most `count` slots from `from_ms`
 * on. schedule: the flow's; NULL: it has no cron, and no slots. Where a jitter hangs on a flow's id that is not there yet,
 * runAt is null. */
void schedule_preview_encode(const Flow *flow, const Schedule *schedule, int64_t from_ms, size_t count, GString *out);

#endif
