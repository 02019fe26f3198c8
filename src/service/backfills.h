/* backfills.h - backfills as people ask for them: made, read, steered. What an open one does next is the scheduler's
 * (scheduler_backfill.c); both write through the writer, and whoever comes second with an entry reloads.
 * Thread: readers, and what is said so the scheduler; may block on the store and the writer. */
#ifndef FLOWOPS_SERVICE_BACKFILLS_H
#define FLOWOPS_SERVICE_BACKFILLS_H

#include "service/service_internal.h"

#define BACKFILLS_OPEN_MAX 1000    /* of everybody: each keeps its plan in memory, 80 KB at most; beyond: 503 */
#define BACKFILLS_OPEN_OF_OWNER 20 /* beyond: 409 */

void service_create_backfill(Service *service, ServiceCall *call);
void service_steer_backfill(Service *service, ServiceCall *call);
void service_get_backfill(Service *service, ServiceCall *call);

/* Any thread that may block. plan NULL: not asked for; else to be backfill_plan_done(). NOT_FOUND, or a store's error. */
MUST_CHECK bool service_load_backfill(Service *service, const Id *backfill_id, Backfill *ret_backfill,
                                      BackfillPlan *ret_plan, GError **error);
/* The write of its next entry, without a plan. `state` holds its text. */
StoreWrite backfill_write(const Backfill *backfill, GString *state);
/* Records an entry. CONFLICT: another one was first. BUSY: the service ends. plan: with the first entry, else NULL. latch is
 * the calling thread's. */
MUST_CHECK bool service_append_backfill(Service *service, const Backfill *backfill, const BackfillPlan *plan,
                                        Bell *latch, GError **error);

#endif
