/* copy_backfills.h - the part of a copy that takes a flow's backfills along. Thread: main. Owner: the caller of all. */
#ifndef FLOWOPS_SERVICE_COPY_BACKFILLS_H
#define FLOWOPS_SERVICE_COPY_BACKFILLS_H

#include "service/copy.h"

/* Each with its plan and its newest state, as the first entry of its journal in the target, or, when a copy is begun again and
 * the source has gone on since, as the next one. Open ones go on at the target. Errors as copy_store(). */
MUST_CHECK bool copy_backfills(StoreSource *source, Store *target, const Flow *flow, GError **error);

#endif
