/* fsck_internal.h - what the files of fsck share. Thread: main. */
#ifndef FLOWOPS_SERVICE_FSCK_INTERNAL_H
#define FLOWOPS_SERVICE_FSCK_INTERNAL_H

#include "domain/backfill.h"
#include "service/fsck.h"

#define FSCK_PAGE 256 /* ids at once; what is asked for a whole page is one round trip of a shared store */
#define FSCK_BACKFILLS_PAGE 100

typedef struct {
    Store *store;
    const Clock *clock;
    const FsckOptions *options;
    FsckReport report;
    GChecksum *sum;       /* of the flow or run at hand */
    GArray *suspects;     /* of Id: runs of a shared store to be looked at again */
    int n_head_waits;     /* for heads that follow what was written before them */
    int64_t suspected_at; /* monotonic ms, of the last of them */
} Fsck;

/* A fault that nothing here mends. */
void fsck_fault(Fsck *fsck, const char *format, ...) PRINTF_LIKE(2, 3);
void fsck_tell(Fsck *fsck, const char *format, ...) PRINTF_LIKE(2, 3);
void fsck_progress(Fsck *fsck);
/* Adds what was summed up, and begins anew. */
void fsck_end_sum(Fsck *fsck);
/* What a sum is made of: a whole flow version; one event of a run, whose id came first; a whole outbox entry. */
void fsck_sum_version(Fsck *fsck, const Flow *flow);
void fsck_sum_event(Fsck *fsck, const JournalEntry *entry);
void fsck_sum_decision(Fsck *fsck, const DecisionEntry *entry);
/* But for the numbers of its entries: a copy has the newest alone. */
void fsck_sum_backfill(Fsck *fsck, const Backfill *backfill, const BackfillRecord *record);
void fsck_sum_entry(Fsck *fsck, const RunSeq *entry);
/* What was read is broken, which is a fault; anything else ends the check. */
bool fsck_is_damage(const GError *error);

MUST_CHECK bool fsck_check_decisions(Fsck *fsck, const Flow *flow, GError **error);
MUST_CHECK bool fsck_check_backfills(Fsck *fsck, const Flow *flow, GError **error);
/* A moment for a head that follows its entry. False: enough was waited for heads. */
bool fsck_wait_for_head(Fsck *fsck);
MUST_CHECK bool fsck_check_flows(Fsck *fsck, GError **error);
MUST_CHECK bool fsck_check_runs(Fsck *fsck, GError **error);

#endif
