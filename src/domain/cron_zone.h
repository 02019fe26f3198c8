/* cron_zone.h - time zones for schedules: IANA names, and the changes of their wall clocks up to 2099.
 * Thread: a CronZone never changes and is shared by atomic reference count; a CronZones is for one thread at a time.
 * Owner: cron_zone_unref() by whoever opened it. GLib reads the machine's zone files (and keeps its own cache of them);
 * what is taken from it is a plain list of spans, since GTimeZone looks through all of its changes at each question. */
#ifndef FLOWOPS_DOMAIN_CRON_ZONE_H
#define FLOWOPS_DOMAIN_CRON_ZONE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

typedef struct CronZone CronZone;
typedef struct CronZones CronZones;

/* An IANA name known to this machine, or "UTC". */
MUST_CHECK bool timezone_check(const char *name, GError **error);

/* The names nearest to a mistyped one, at most three, joined by ", "; NULL when none is near. `known` is NULL-terminated:
 * the caller's list of the machine's zones, since nothing in this layer reads files and GLib has no call that lists them.
 * Case does not count, and `Berlin` is near to what ends in `/Berlin`. */
char *timezone_suggest(const char *name, const char *const *known);

/* Takes about 2 ms: the changes are searched for. name NULL is UTC. INVALID as timezone_check(). */
MUST_CHECK CronZone *cron_zone_new(const char *name, GError **error);
CronZone *cron_zone_ref(const CronZone *zone);
void cron_zone_unref(CronZone *zone); /* NULL is fine */
const char *cron_zone_name(const CronZone *zone);
/* What wall clocks show beyond UTC at an instant, in seconds (NULL zone: 0). */
int cron_zone_offset_s(const CronZone *zone, int64_t at_ms);

/* Zones by name, made once; at most max_zones are kept (those nobody uses go first, and when all are in use a further one
 * is its user's alone). A zone takes about 4 KiB. */
CronZones *cron_zones_new(size_t max_zones);
void cron_zones_free(CronZones *zones);
MUST_CHECK CronZone *cron_zones_open(CronZones *zones, const char *name, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CronZone, cron_zone_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CronZones, cron_zones_free)

#endif
