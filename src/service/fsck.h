/* fsck.h - proves a store: every journal is folded and compared with its document, every flow's versions are counted and
 * what its schedule decided is folded, its backfills are counted up, every outbox entry is looked up. Works beside a service that goes on writing: a document is compared at its own seq, and what
 * looks wrong is looked at again before it is called a fault.
 * Thread: main, of a process of its own (`flowops fsck`). Owner: the caller; the store is borrowed. Memory: one run, one
 * page of ids and up to 1000 suspects. */
#ifndef FLOWOPS_SERVICE_FSCK_H
#define FLOWOPS_SERVICE_FSCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "store/store_source.h"

#define FSCK_DIGEST_SIZE 32

typedef struct {
    int64_t n_flows, n_flow_versions, n_decisions, n_backfills, n_runs, n_events;
    int64_t n_outbox;   /* entries that name a command */
    int64_t n_behind;   /* documents of a shared store that their journal has left behind: no lie, and no fault */
    int64_t n_faults;   /* found */
    int64_t n_repaired; /* of those; and documents that were behind are not counted here */
    int64_t elapsed_ms;
    /* Of every flow version, schedule decision (with its mark), backfill (newest state and plan), event and outbox entry,
     * whatever the order and the records they are stored in: equal for equal stores. Means something only while nobody writes. */
    unsigned char digest[FSCK_DIGEST_SIZE];
} FsckReport;

typedef struct {
    bool repairs; /* rebuild documents; nobody else may write */
    /* One line each: "run <id>: what is wrong", or what was mended. */
    void (*tell)(void *arg, const char *line);
    void (*progress)(void *arg, const FsckReport *so_far); /* after each page; may be NULL */
    void *arg;
} FsckOptions;

/* True when the whole store was looked at, with or without faults. False: the store failed (UNAVAILABLE ...). */
MUST_CHECK bool fsck_check_store(Store *store, const Clock *clock, const FsckOptions *options, FsckReport *ret_report,
                                 GError **error);

/* The figures and the digest that a sound store with the content of this source has, for a source that is no store itself.
 * Walks it to its end. */
MUST_CHECK bool fsck_sum_source(StoreSource *source, const Clock *clock, FsckReport *ret_report, GError **error);

#endif
