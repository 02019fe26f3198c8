/* copy_decisions.h - the part of a copy that takes along what schedules decided. Thread: main. Owner: the caller of all. */
#ifndef FLOWOPS_SERVICE_COPY_DECISIONS_H
#define FLOWOPS_SERVICE_COPY_DECISIONS_H

#include "service/copy.h"

/* A flow's decisions with the marks of those whose runs are not made: the target makes them. Errors as copy_store(). */
MUST_CHECK bool copy_decisions(StoreSource *source, Store *target, const char *flow_id, CopyReport *report,
                               GError **error);

#endif
