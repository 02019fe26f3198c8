/* copy.h - moves a whole store into another: flows with all versions and what their schedules decided, runs with journals, documents, labels and what they
 * still have to publish. May be cut short at any instant and begun again: what the target has with the same content is
 * passed over, a journal that it has a part of is gone on with. Unfinished runs go on at the target.
 * Thread: main, of a process of its own (`flowops copy`). Owner: the caller; source and target are borrowed and nobody
 * else may write to either. Memory: one group of writes (about 4 MiB) and one run. */
#ifndef FLOWOPS_SERVICE_COPY_H
#define FLOWOPS_SERVICE_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store_source.h"

typedef struct {
    int64_t n_flow_versions, n_decisions, n_runs, n_events; /* gone through: written or there already */
    int64_t n_flow_versions_written, n_decisions_written, n_runs_written, n_events_written;
} CopyReport;

typedef struct {
    void (*progress)(void *arg, const CopyReport *so_far); /* after each group; may be NULL */
    void *arg;
} CopyOptions;

/* CONFLICT: the target has a flow or run that the source has not, or has otherwise; the message names it. INTERNAL: the
 * source is damaged there. What was written before an error stays, and is passed over the next time. The caller proves
 * the outcome with fsck on both sides. */
MUST_CHECK bool copy_store(StoreSource *source, Store *target, const CopyOptions *options, CopyReport *ret_report,
                           GError **error);

#endif
