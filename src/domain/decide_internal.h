/* decide_internal.h - how decisions are put together. */
#ifndef FLOWOPS_DOMAIN_DECIDE_INTERNAL_H
#define FLOWOPS_DOMAIN_DECIDE_INTERNAL_H

#include "domain/decide.h"

Decision *decision_nothing(const char *format, ...) PRINTF_LIKE(1, 2);
Decision *decision_reject(const char *format, ...) PRINTF_LIKE(1, 2);
Decision *decision_append(size_t max_events);

/* The next event of an append: numbered, of the run's generation. Borrowed from the decision. */
Event *decision_add(Decision *decision, const Run *run, EventType type, int64_t timestamp);

#endif
