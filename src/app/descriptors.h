/* descriptors.h - the limit of open files (RLIMIT_NOFILE): raised as far as it goes, shared out between the service itself
 * and its clients' connections.
 * Thread: main, before anything is opened. */
#ifndef FLOWOPS_APP_DESCRIPTORS_H
#define FLOWOPS_APP_DESCRIPTORS_H

#include "app/config.h"
#include "base/error.h"

/* Connections that may be open at once. Warns where they are few; INVALID where the service could not serve at all: both say
 * the limit that is needed. */
MUST_CHECK bool descriptors_reserve(const Config *config, size_t *ret_max_connections, GError **error);

/* An engine on its own needs few, and cannot do without: INVALID says how many. */
MUST_CHECK bool descriptors_reserve_for_engine(GError **error);

#endif
