/* store_mongo_legacy.h - what the service that was here before wrote into MongoDB, told as a store's content: each document of
 * `flows` is version 1 of a flow, each document of `runs` a journal that folds to what the document says. docs/upkeep.md
 * describes both forms. It is only read, and nobody may write to it meanwhile.
 * Thread: main. Owner: the caller closes the source; a target is borrowed. Memory: one run and up to 256 flows. */
#ifndef FLOWOPS_STORE_STORE_MONGO_LEGACY_H
#define FLOWOPS_STORE_STORE_MONGO_LEGACY_H

#include "store/store_source.h"

typedef struct {
    Id owner;       /* of flows whose documents name none; "": there may be no such flow */
    int64_t now_ms; /* the time of the copy, for documents without any instant */
    /* A line for each document that is not taken, or not all of it; may be NULL. */
    void (*tell)(void *arg, const char *line);
    void *arg;
} LegacyOptions;

/* Documents that could not be taken, so far. */
typedef struct {
    int64_t n_flows, n_runs;
    int64_t n_schedules; /* of flows that were taken */
} LegacyRefusals;

/* INVALID: a malformed uri, a database that is a store of ours, or a flow without an owner while options has none. NOT_FOUND:
 * neither flows nor runs are there. UNAVAILABLE: no server answers. */
MUST_CHECK StoreSource *legacy_source_open(const char *uri, const char *database, const LegacyOptions *options,
                                           GError **error);
/* Where the copy goes: a document without any instant keeps the time that an earlier try gave it there. */
void legacy_source_set_target(StoreSource *source, Store *target);
LegacyRefusals legacy_source_refusals(const StoreSource *source);

#endif
