/* store_internal.h - what an implementation of the store provides. Every method is required and may block on disk or
 * network; store.c has checked the preconditions before it calls one. */
#ifndef FLOWOPS_STORE_STORE_INTERNAL_H
#define FLOWOPS_STORE_STORE_INTERNAL_H

#include "store/store.h"

typedef struct {
    const char *name;
    bool is_shared; /* other processes may write */
    /* Durable when it returns true; idempotent only as far as seqs, versions and outbox ids make it so. */
    bool (*write)(Store *, StoreWrite *, size_t, GError **);

    /* Reads: idempotent, from several threads at once. */
    Flow *(*get_flow)(Store *, const char *, int64_t, GError **);
    RunDocument *(*get_run)(Store *, const char *, GError **);
    JournalPage *(*read_journal)(Store *, const char *, int64_t, size_t, size_t, GError **);
    ListPage *(*list_flows)(Store *, const ListQuery *, GError **);
    ListPage *(*list_runs)(Store *, const ListQuery *, GError **);
    bool (*count_open_runs)(Store *, const char *, int64_t *, GError **);
    bool (*list_runs_in_phase)(Store *, RunPhase, int64_t, const char *, size_t, Id *, size_t *, GError **);
    bool (*list_runs_to_stop)(Store *, const char *, size_t, Id *, size_t *, GError **);
    bool (*list_runs_ended_before)(Store *, int64_t, size_t, Id *, size_t *, GError **);
    bool (*list_run_ids)(Store *, const char *, size_t, Id *, size_t *, GError **);
    bool (*list_flow_ids)(Store *, const char *, size_t, Id *, size_t *, GError **);
    bool (*read_outbox)(Store *, const RunSeq *, size_t, RunSeq *, size_t *, GError **);
    bool (*read_outbox_of)(Store *, const char *, int64_t, size_t, RunSeq *, size_t *, GError **);
    bool (*settle)(Store *, int64_t);
    bool (*list_runs_behind)(Store *, const char *, size_t, Id *, size_t *, GError **);
    bool (*find_newer)(Store *, const RunSeq *, size_t, bool *, GError **);
    bool (*get_flow_versions)(Store *, const Id *, size_t, int64_t *, GError **);
    DecisionPage *(*read_decisions)(Store *, const char *, int64_t, size_t, GError **);
    DecisionPage *(*read_newest_decisions)(Store *, const char *, int64_t, size_t, GError **);
    DecisionPage *(*read_owed_decisions)(Store *, const char *, const DecisionKey *, size_t, GError **);
    ScheduledPage *(*read_scheduled_flows)(Store *, const char *, size_t, GError **);
    bool (*list_changed_flows)(Store *, int64_t, const FlowVersion *, size_t, FlowVersion *, size_t *, GError **);
    bool (*list_open_system_runs)(Store *, const char *, size_t, Id *, size_t *, GError **);
    BackfillRecord *(*get_backfill)(Store *, const char *, bool, GError **);
    ListPage *(*list_backfills)(Store *, const ListQuery *, GError **);
    bool (*list_open_backfills)(Store *, const char *, size_t, Id *, size_t *, GError **);
    bool (*count_open_backfills)(Store *, const char *, int64_t *, GError **);
    bool (*get_announced_at)(Store *, const char *, int64_t *, GError **);
    bool (*put_announcement)(Store *, const Announcement *, int64_t, GError **);
    bool (*check)(Store *, GError **);

    const unsigned char *(*secret)(Store *); /* any thread, never blocks */
    void (*interrupt)(Store *);              /* any thread, never blocks; NULL: no call waits for anybody */
    void (*close)(Store *);                  /* frees the Store */
} StoreOps;

struct Store {
    const StoreOps *ops; /* the implementation's struct begins with this one */
};

/* For implementations: an empty page, to be filled. */
JournalPage *journal_page_new(void);
ListPage *list_page_new(size_t limit);
DecisionPage *decision_page_new(size_t limit);
ScheduledPage *scheduled_page_new(size_t limit);

#endif
