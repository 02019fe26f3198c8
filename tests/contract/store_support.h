/* store_support.h - what every test of a store needs: a directory of its own, runs and flows to write, lists to walk.
 * Everything here fails the test by itself; nothing returns an error. */
#ifndef FLOWOPS_TESTS_STORE_SUPPORT_H
#define FLOWOPS_TESTS_STORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/store.h"

#define START_MS INT64_C(1769850000000) /* 2026-01-31T09:00:00Z */

/* An implementation under test, opened on a directory. */
typedef Store *(*StoreOpen)(const char *data_dir, const Clock *clock, GError **error);

typedef struct {
    StoreOpen open;
    char *data_dir;
    Clock *clock; /* fake, at START_MS */
    Store *store;
} StoreFixture;

StoreFixture *store_fixture_new(StoreOpen open);
void store_fixture_free(StoreFixture *fixture); /* closes, removes the directory */
void store_fixture_reopen(StoreFixture *fixture);
char *store_file(const StoreFixture *fixture, const char *name);
void remove_tree(const char *path);

#define assert_no_error(error) \
    do { \
        if ((error) != NULL) \
            fail_msg("unexpected: %s", (error)->message); \
    } while (0)
#define assert_error(error, expected_code) \
    do { \
        assert_non_null(error); \
        assert_true((error)->domain == FLOWOPS_ERROR); \
        if ((error)->code != (int)(expected_code)) \
            fail_msg("code %d: %s", (error)->code, (error)->message); \
    } while (0)

/* The n-th id of a kind: distinct for distinct pairs, ordered by n within a kind. */
Id test_id(char kind, unsigned n);

/* A run as a test keeps it: change the row, then append. */
typedef struct {
    RunRow row;
    GString *events;
    GString *detail;
    int64_t command_seqs[16];
    size_t n_commands;
    bool supersedes;
    TextMap labels;
} SampleRun;

SampleRun *sample_run_new(unsigned n, const Id *owner, const Id *flow_id);
void sample_run_free(SampleRun *run);
/* The write of its next n events, whose texts name run and seq, padded to about `size` bytes each. */
StoreWrite sample_append(SampleRun *run, int64_t n_events, size_t size);
void sample_command(SampleRun *run, int64_t seq); /* before sample_append(): seq among them orders a message */
char *sample_event(const Id *run_id, int64_t seq, size_t size);
char *sample_detail(const SampleRun *run, size_t *ret_summary_size);

Flow *sample_flow(unsigned n, const Id *owner, int64_t version, unsigned n_steps);
Flow *sample_flow_deletion(const Flow *flow, bool stops_runs);

/* A decision of a flow: STARTED when a run is owed, else SKIPPED. */
typedef struct {
    DecisionRow row;
    GString *text;
} SampleDecision;
SampleDecision *sample_decision_new(const Id *flow_id, int64_t n, bool is_owed);
void sample_decision_free(SampleDecision *sample);

/* The next two also wait for what may follow a write later in a shared store: documents, the outbox. */
WriteOutcome write_one(Store *store, StoreWrite write);
void write_all(Store *store, StoreWrite *writes, size_t n_writes);
void await_followers(Store *store, const StoreWrite *writes, size_t n_writes); /* of those that are WRITTEN */
void append_events(Store *store, SampleRun *run, int64_t n_events);            /* must be WRITTEN */
void write_flow_version(Store *store, const Flow *flow);

/* The whole journal in pages of this many, checked for seqs without a gap and texts of sample_event(). */
int64_t check_journal(Store *store, const Id *run_id, int64_t after, size_t max_entries, size_t max_bytes, size_t size);

/* Ids of the list's items, page by page through cursors; free with g_array_unref(). */
GArray *walk_list(Store *store, const ListQuery *query, bool is_flows);
ListPage *list_runs(Store *store, const ListQuery *query);
ListPage *list_flows(Store *store, const ListQuery *query);
ListQuery query_of(const Id *owner);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SampleRun, sample_run_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SampleDecision, sample_decision_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StoreFixture, store_fixture_free)

#endif
