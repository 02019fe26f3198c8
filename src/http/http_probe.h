/* http_probe.h - one GET, waited for: how one process asks another on the same machine how it is.
 * Thread: main; blocks for the time limit at most. */
#ifndef FLOWOPS_HTTP_HTTP_PROBE_H
#define FLOWOPS_HTTP_HTTP_PROBE_H

#include <stdint.h>

#include "base/error.h"

/* The answer's status and body, of which more than 64 KiB are not taken. address: numeric. TIMEOUT, or UNAVAILABLE when
 * nobody is there or what answers does not speak HTTP. */
MUST_CHECK bool http_probe(const char *address, uint16_t port, const char *path, int time_limit_ms, int *ret_status,
                           GString **ret_body, GError **error);

#endif
