/* store_source.h - where a copy comes from: a whole store's content, one flow version and one run at a time. A store is
 * one; what an older program wrote is another, told as if it had been a journal.
 * Thread: main. Owner: the caller opens and closes; a source borrows the store behind it. All calls may block and are
 * made in this order: flows to their end, then runs to theirs. */
#ifndef FLOWOPS_STORE_STORE_SOURCE_H
#define FLOWOPS_STORE_STORE_SOURCE_H

#include "store/store.h"

typedef struct StoreSource StoreSource;

typedef struct {
    /* The next version: flow by flow, each from version 1. NULL with ret_is_end at the end. */
    Flow *(*next_flow)(StoreSource *, bool *ret_is_end, GError **);
    /* The next run; false with ret_is_end at the end. */
    bool (*next_run)(StoreSource *, Id *ret_run_id, bool *ret_is_end, GError **);
    /* Of the run that next_run() gave: as store_read_journal(). */
    JournalPage *(*read_events)(StoreSource *, int64_t after, GError **);
    /* Seqs of its commands that are not published, appended to `seqs` (of int64_t), ascending. */
    bool (*read_outbox)(StoreSource *, GArray *seqs, GError **);
    /* As store_read_decisions(), of a flow that it has; NULL: it has no schedules. */
    DecisionPage *(*read_decisions)(StoreSource *, const char *flow_id, int64_t after, size_t limit, GError **);
    /* As store_list_backfills(), of a flow that it has, and store_get_backfill() with the plan; NULL: it has none. */
    ListPage *(*list_backfills)(StoreSource *, const ListQuery *, GError **);
    BackfillRecord *(*get_backfill)(StoreSource *, const char *backfill_id, GError **);
    /* Which of these (at most 1000) it has, to find out that a target is somebody else's. */
    bool (*find_runs)(StoreSource *, const Id *run_ids, size_t n, bool *ret_is_there, GError **);
    bool (*find_flows)(StoreSource *, const Id *flow_ids, size_t n, bool *ret_is_there, GError **);
    void (*close)(StoreSource *); /* frees the source */
} StoreSourceOps;

struct StoreSource {
    const StoreSourceOps *ops; /* the implementation's struct begins with this one */
};

/* Borrows the store, which nobody may write to meanwhile. */
StoreSource *store_source_new(Store *store);
void store_source_close(StoreSource *source); /* NULL is fine */

/* An empty page of a source without schedules. */
MUST_CHECK DecisionPage *store_source_read_decisions(StoreSource *source, const char *flow_id, int64_t after,
                                                     size_t limit, GError **error);

/* The same of a source without backfills. */
MUST_CHECK ListPage *store_source_list_backfills(StoreSource *source, const ListQuery *query, GError **error);

/* All of one run's outbox, appended to `seqs` (of int64_t), ascending. */
MUST_CHECK bool store_read_outbox_seqs(Store *store, const char *run_id, GArray *seqs, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoreSource, store_source_close)

#endif
