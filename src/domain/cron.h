/* cron.h - checks cron expressions and time zones when a flow is written; schedules themselves come with their issue.
 * Thread: any. Five fields by Vixie cron's rules (lists, ranges, steps, names, 7 as Sunday), six with seconds first,
 * `@hourly` and its friends, `@every <n>(s|m|h|d)` of at least 1 s. */
#ifndef FLOWOPS_DOMAIN_CRON_H
#define FLOWOPS_DOMAIN_CRON_H

#include "base/error.h"

#define CRON_MAX_BYTES 256

/* INVALID: which field, column (from 1) and what was expected. */
MUST_CHECK bool cron_check(const char *expression, GError **error);
/* An IANA name known to this machine, or "UTC". */
MUST_CHECK bool timezone_check(const char *name, GError **error);

#endif
