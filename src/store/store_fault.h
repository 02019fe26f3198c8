/* store_fault.h - a store that fails when told to: for tests of what stands on the store.
 * Thread: as store.h; store_fault_*() from any. Owner: store_open_fault() takes `inner`; store_close() closes both. */
#ifndef FLOWOPS_STORE_STORE_FAULT_H
#define FLOWOPS_STORE_STORE_FAULT_H

#include "store/store.h"

typedef enum {
    STORE_WRITE,
    STORE_GET_FLOW,
    STORE_GET_RUN,
    STORE_READ_JOURNAL,
    STORE_LIST_FLOWS,
    STORE_LIST_RUNS,
    STORE_COUNT_OPEN_RUNS,
    STORE_LIST_RUNS_IN_PHASE,
    STORE_LIST_RUNS_TO_STOP,
    STORE_LIST_RUNS_ENDED_BEFORE,
    STORE_LIST_RUN_IDS,
    STORE_LIST_FLOW_IDS,
    STORE_READ_OUTBOX,
    STORE_LIST_RUNS_BEHIND,
    STORE_FIND_NEWER,
    STORE_GET_FLOW_VERSIONS,
    STORE_READ_DECISIONS, /* each way */
    STORE_READ_OWED_DECISIONS,
    STORE_READ_SCHEDULED_FLOWS,
    STORE_LIST_CHANGED_FLOWS,
    STORE_LIST_OPEN_SYSTEM_RUNS,
    STORE_GET_BACKFILL,
    STORE_LIST_BACKFILLS,
    STORE_LIST_OPEN_BACKFILLS,
    STORE_COUNT_OPEN_BACKFILLS,
    STORE_CHECK,
    N_STORE_METHODS,
} StoreMethod;

/* Writes: BEFORE is UNAVAILABLE with outcomes WRITE_NOTHING and no effect; AFTER is UNKNOWN with outcomes WRITE_UNKNOWN
 * and the effect of the inner call. Reads fail with UNAVAILABLE either way. */
typedef enum { FAULT_BEFORE_EFFECT, FAULT_AFTER_EFFECT } FaultPoint;

/* Behaves as inner until told otherwise. */
Store *store_open_fault(Store *inner);

/* Of the calls from now on, number `nth` (from 1) and the n_times - 1 after it fail. Replaces what was set for the
 * method before; n_times 0 sets nothing; INT64_MAX: until told otherwise. */
void store_fault_set(Store *store, StoreMethod method, FaultPoint point, int64_t nth, int64_t n_times);

/* Calls of the method wait at the door while it is held (a slow disk). Closing the store with calls waiting is a bug. */
void store_fault_hold(Store *store, StoreMethod method, bool is_held);

/* From now on this run's appends and documents are REFUSED, as by a store that they are too large for; what else is in the
 * write goes through. NULL: nothing is refused. */
void store_fault_refuse(Store *store, const Id *run_id);

/* Calls so far, failed, waiting and under way included. */
int64_t store_fault_count(Store *store, StoreMethod method);

#endif
