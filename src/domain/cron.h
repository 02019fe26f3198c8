/* cron.h - cron expressions: checked, parsed once, and asked for the next slot. docs/schedules.md has the grammar and the
 * rules for wall clocks that are changed.
 * Thread: any; a Cron never changes. Owner: cron_free() by whoever parsed it. Slots are instants in ms, on whole seconds,
 * from 1970 to the end of 2099. */
#ifndef FLOWOPS_DOMAIN_CRON_H
#define FLOWOPS_DOMAIN_CRON_H

#include "base/error.h"
#include "domain/cron_zone.h"

#define CRON_MAX_BYTES 256

typedef struct Cron Cron;

/* INVALID: which field, column (from 1) and what was expected; also when no such date ever comes. */
MUST_CHECK Cron *cron_parse(const char *expression, GError **error);
/* Every fault of it, as cron_parse() words them, in their order; none: it is right. Texts that the array owns. */
GPtrArray *cron_faults(const char *expression);
void cron_free(Cron *cron);
/* The same without keeping the result. */
MUST_CHECK bool cron_check(const char *expression, GError **error);

/* The first slot strictly after an instant, on the wall clocks of `zone` (NULL: UTC); false when there is none up to the
 * end of 2099. */
bool cron_next(const Cron *cron, const CronZone *zone, int64_t after_ms, int64_t *ret_slot_ms);

/* One slot after the other, for when there are many: cron_next() searches all of an expression that `|` joins at each call,
 * this only the one that gave the slot. Borrows cron and zone. Thread: one at a time. */
typedef struct {
    const Cron *cron;
    const CronZone *zone;
    int64_t *next_ms; /* of each that `|` joins; INT64_MAX: none left */
} CronWalk;
void cron_walk_init(CronWalk *walk, const Cron *cron, const CronZone *zone, int64_t after_ms);
bool cron_walk_next(CronWalk *walk, int64_t *ret_slot_ms); /* false: no more up to the end of 2099 */
void cron_walk_done(CronWalk *walk);

/* In English words, for people: "at 02:30 on Monday to Friday". */
char *cron_describe(const Cron *cron);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Cron, cron_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CronWalk, cron_walk_done)

#endif
