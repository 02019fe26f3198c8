/* store.h - flows, runs and their journals; the port the service layer writes to.
 * Thread: writer for store_write(); writer, reader and bus for reads (calls block on disk or network); never an HTTP
 * loop. Owner: app opens and closes the one Store; everyone else borrows it.
 * The journal is the truth: appending (run, seq) and (flow, version) are unique inserts; a projection is written in the
 * same step and never goes back. */
#ifndef FLOWOPS_STORE_STORE_H
#define FLOWOPS_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "domain/flow.h"
#include "domain/run.h"

typedef struct Store Store;

/* Opens (creates, migrates) the SQLite store in data_dir/flowops.db and holds data_dir/flowops.lock for as long as it is
 * open. CONFLICT: another process holds it (the message names it). INVALID: a corrupt, foreign or newer file; nothing was
 * touched. UNAVAILABLE: no permission, no disk. */
MUST_CHECK Store *store_open_sqlite(const char *data_dir, const Clock *clock, GError **error);
/* The same file for reading alone, beside whoever holds it: no lock is taken and nothing is changed; a write is
 * UNAVAILABLE. NOT_FOUND: no store there. INVALID: as above, or a version that has to be migrated first. */
MUST_CHECK Store *store_open_sqlite_readonly(const char *data_dir, GError **error);
/* The MongoDB store: database `database` of the servers in `uri`. Opens whether or not a server answers; then reads and
 * writes are UNAVAILABLE until one does, and what must be there (indexes, the secret) is made when it is first needed.
 * INVALID: a malformed uri (the message has no secret of it); another version, or another program's documents. */
MUST_CHECK Store *store_open_mongo(const char *uri, const char *database, const Clock *clock, GError **error);
/* The same, of a store that is there: nothing is made, indexes neither. NOT_FOUND: the database is no store. UNAVAILABLE: no
 * server answers. */
MUST_CHECK Store *store_open_mongo_existing(const char *uri, const char *database, const Clock *clock, GError **error);
/* True when other processes may write too: what a process knows may be behind, and is made sure of before a decision
 * that appends nothing. False: every change passes through this Store. */
bool store_is_shared(const Store *store);
/* Fails the Nth call of a method, before or after its effect, for tests; takes `inner`. See store_fault.h. */
/* The process is about to end: nothing is tried twice, what is in doubt stays UNKNOWN; a server that stands still is given up
 * after 1.5 s, and no call begins any more then. Any thread, other calls may be under way. */
void store_interrupt(Store *store);
void store_close(Store *store); /* NULL is fine; no call may be under way */

/* ---- writing ---- */

/* A run's document: what lists filter and order by, and the whole detail as text. */
typedef struct {
    Id run_id, flow_id, owner;
    RunStatus status;
    RunPhase phase;
    const char *triggered_by;
    const char *created_by, *updated_by;
    int64_t created_at, updated_at;
    int64_t seq;
    int64_t flow_version;
    CommandKind pending; /* COMMAND_NONE: nothing is pending */
    int64_t pending_at;  /* when it was requested; INSTANT_NONE */
    const char *detail;  /* run_encode_detail() */
    size_t detail_size;
    size_t summary_size;   /* what run_encode_detail() returned */
    const TextMap *labels; /* written with the first append only; they never change */
    const Run *run;        /* the state behind it all; seq is run->seq */
} RunRow;

/* The next events of one run: one record, all or nothing. */
typedef struct {
    int64_t first_seq;
    int64_t n_events;
    const char *events; /* event_encode() texts, each ended by '\n' */
    size_t events_size;
    const RunRow *row; /* the projection that includes them */
    /* Seqs among them that order a message (creation, command, hand-over), to be published by the relay. */
    const int64_t *command_seqs;
    size_t n_commands;
    bool supersedes_commands; /* a hand-over: what this run still had to publish is dropped */
} RunAppend;

/* A place in a run's journal; as the key of a GHashTable, also as the first member of one. */
typedef struct {
    Id run_id;
    int64_t seq;
} RunSeq;
guint run_seq_hash(gconstpointer run_seq);
gboolean run_seq_equal(gconstpointer left, gconstpointer right);

/* A place in a flow's journal of schedule decisions. */
typedef struct {
    Id flow_id;
    int64_t n;
} DecisionKey;

/* A decision as it is stored. */
typedef struct {
    DecisionKey key;
    const char *text; /* schedule_decision_encode() */
    size_t size;
    int64_t decided_at;
    bool is_owed; /* it starts a run: marked until WRITE_MADE says that the run is there */
} DecisionRow;

/* The next entry of a backfill's journal: the whole state after it. */
typedef struct {
    Id backfill_id, flow_id, owner;
    int64_t created_at; /* of the backfill */
    int64_t n;          /* from 1 */
    bool is_open;       /* after it: there may be something left to do */
    const char *state;  /* backfill_encode() */
    size_t state_size;
    const char *plan; /* backfill_plan_encode(), with the first entry; NULL with others */
    size_t plan_size;
} BackfillEntry;

typedef enum {
    WRITE_RUN,
    WRITE_FLOW,
    WRITE_PUBLISHED,  /* this command is on the bus; forgetting it twice is fine */
    WRITE_PROJECTION, /* this run's document is behind its journal: replaced unless it has the same or a higher seq */
    WRITE_DELETE_RUN, /* journal, document, labels and outbox entries are gone in one write; deleting twice is fine. In a
                         shared store the document goes last: what a crash leaves is found and deleted again */
    WRITE_DECISION, /* the flow's next decision; CONFLICT when it is not the next. Several of one flow in one call come in
                         their order, and none is WRITTEN unless those before it are */
    WRITE_MADE,     /* the run of this decision is there: its mark is removed; twice is fine */
    WRITE_BACKFILL, /* CONFLICT when it is not the next; what lists show of the backfill is then brought up to its newest
                         entry, which a writer that died may have owed */
} WriteKind;

typedef enum {
    WRITTEN,        /* durable */
    WRITE_REFUSED,  /* did not happen and never will: it is larger than the store takes */
    WRITE_CONFLICT, /* another writer was first: reload and decide again */
    WRITE_NOTHING,  /* did not happen; may be tried again */
    WRITE_UNKNOWN,  /* may have happened; settle it by reading before trying again */
} WriteOutcome;

typedef struct {
    WriteKind kind;
    union {
        RunAppend run;
        const Flow *flow;         /* WRITE_FLOW: this version; CONFLICT when it exists */
        RunSeq published;         /* WRITE_PUBLISHED: the event that ordered it */
        const RunRow *projection; /* WRITE_PROJECTION */
        Id deleted;               /* WRITE_DELETE_RUN: the run */
        DecisionRow decision;     /* WRITE_DECISION */
        DecisionKey made;         /* WRITE_MADE */
        BackfillEntry backfill;   /* WRITE_BACKFILL */
    };
    bool is_forced; /* WRITE_PROJECTION: whatever document is there, it is made anew (fsck's repair, no other writer) */
    WriteOutcome ret_outcome;
} StoreWrite;

/* Writes a group and makes it durable with one flush: journal records and flow versions. Run documents and what was
 * published may follow later in a shared store (within 1 s when it is well; a command's mark never before its run's document), and
 * after a crash never: see WRITE_PROJECTION and store_read_outbox(). Nothing of `writes` is borrowed beyond the call. At most one WRITE_RUN per run. True: every outcome is WRITTEN or
 * CONFLICT. False: UNAVAILABLE or UNKNOWN, INVALID when all that is wrong is what was REFUSED, or BUSY when runs are not deleted
 * since they are still being written; each write's own outcome says what is known of it.
 * The store accepts the next call whatever happened in this one. */
MUST_CHECK bool store_write(Store *store, StoreWrite *writes, size_t n_writes, GError **error);

/* ---- reading: what was durable when the call began is included ---- */

/* version 0: the newest (which may be a deletion). NOT_FOUND. */
MUST_CHECK Flow *store_get_flow(Store *store, const char *flow_id, int64_t version, GError **error);

typedef struct {
    Id run_id, flow_id, owner;
    RunStatus status;
    RunPhase phase;
    int64_t seq;
    char *detail;
    size_t detail_size;
} RunDocument;
void run_document_free(RunDocument *document);

/* NOT_FOUND. */
MUST_CHECK RunDocument *store_get_run(Store *store, const char *run_id, GError **error);

typedef struct {
    int64_t seq;
    const char *text; /* within the page, '\0' ended */
    size_t size;
} JournalEntry;

typedef struct {
    JournalEntry *entries; /* oldest first, without a gap */
    size_t n_entries;
    bool has_more;
    GPtrArray *texts; /* owns */
} JournalPage;
void journal_page_free(JournalPage *page);

/* Events with seq > after, at most max_entries (1-1000) and about max_bytes of text (but at least one event). An empty
 * page when there is none; NOT_FOUND is not checked here. */
MUST_CHECK JournalPage *store_read_journal(Store *store, const char *run_id, int64_t after, size_t max_entries,
                                           size_t max_bytes, GError **error);

/* The place in a list: everything after (created_at, id) in the order newest created_at first, then by id. */
typedef struct {
    int64_t created_at;
    Id id;
} ListPosition;

typedef struct {
    const char *owner;   /* always set */
    const char *flow_id; /* the rest are filters; NULL or INSTANT_NONE: any (flows use owner only) */
    const char *step_id; /* runs of flows that have, or had, this step */
    const RunStatus *status;
    const char *triggered_by;
    const char *label_name, *label_value; /* value NULL: any value */
    int64_t from, to;                     /* created_at >= from, < to */
    const ListPosition *after;            /* cursor, or NULL */
    int64_t skip;                         /* page * size; 0 with a cursor */
    size_t limit;                         /* 1-200 */
    bool wants_total;
} ListQuery;

typedef struct {
    char *json; /* flow summary or run summary */
    size_t size;
    ListPosition position;
} ListItem;

typedef struct {
    ListItem *items;
    size_t n_items;
    bool has_more;
    int64_t total; /* -1 unless asked for */
} ListPage;
void list_page_free(ListPage *page);

MUST_CHECK ListPage *store_list_flows(Store *store, const ListQuery *query, GError **error);
MUST_CHECK ListPage *store_list_runs(Store *store, const ListQuery *query, GError **error);

/* Runs of a flow whose phase is PHASE_OPEN. flow_id NULL: of all flows. */
MUST_CHECK bool store_count_open_runs(Store *store, const char *flow_id, int64_t *ret_n, GError **error);

/* Ids of runs in this phase (PHASE_OPEN or PHASE_ENDING), ordered by id, after `after` ("" from the start).
 * requested_before != INSTANT_NONE: only those with a command pending since before then. */
MUST_CHECK bool store_list_runs_in_phase(Store *store, RunPhase phase, int64_t requested_before, const char *after,
                                         size_t limit, Id *ret_ids, size_t *ret_n, GError **error);

/* Ids of open runs whose flow was deleted by force and that no stop is pending for, the same way. */
MUST_CHECK bool store_list_runs_to_stop(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                        GError **error);

/* Ids of settled runs (PHASE_SETTLED) whose document was last updated before then, oldest first. */
MUST_CHECK bool store_list_runs_ended_before(Store *store, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                             GError **error);

/* Ids of all runs, ordered, behind `after` ("" from the start): by their journal and by their document, so that one
 * without the other is found. For fsck and copy; may cost a look-up for each id. */
MUST_CHECK bool store_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                   GError **error);
/* The same of flows, deleted ones too: by their versions and by their newest state. */
MUST_CHECK bool store_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                    GError **error);

/* Commands that no WRITE_PUBLISHED has named and no hand-over has superseded, ordered by run id and seq, behind `after`
 * (NULL: from the start). */
MUST_CHECK bool store_read_outbox(Store *store, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                                  GError **error);
/* The same of one run, those ordered before seq. */
MUST_CHECK bool store_read_outbox_of(Store *store, const char *run_id, int64_t before_seq, size_t limit,
                                     RunSeq *ret_entries, size_t *ret_n, GError **error);

/* Shared store: ids of runs that have not settled (PHASE_OPEN, PHASE_ENDING) and whose document is behind its journal,
 * ordered by id, after `after`. None where documents are written with their journals. */
MUST_CHECK bool store_list_runs_behind(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                       GError **error);

/* True once the documents of all that this process has written are there for everybody to list; false when they are not
 * within timeout_ms. At once where documents are written with their journals. */
MUST_CHECK bool store_settle(Store *store, int64_t timeout_ms);

/* ---- how far another writer may have come: one round trip each ---- */

/* Which of these journals (at most 1000) go beyond the seq that is known: that of a state, which ends where an append
 * did. */
MUST_CHECK bool store_find_newer(Store *store, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error);

/* The newest versions of these flows (at most 1000), 0 for one that is not there. */
MUST_CHECK bool store_get_flow_versions(Store *store, const Id *flow_ids, size_t n, int64_t *ret_versions,
                                        GError **error);

/* ---- schedules ---- */

typedef struct {
    char *text; /* '\0' ended */
    size_t size;
    bool is_owed;
} DecisionEntry;

typedef struct {
    DecisionEntry *entries;
    size_t n_entries;
    bool has_more;
} DecisionPage;
void decision_page_free(DecisionPage *page);

/* A flow's decisions, at most limit (1-1000): with n > after, oldest first. Those of a deleted flow stay. */
MUST_CHECK DecisionPage *store_read_decisions(Store *store, const char *flow_id, int64_t after, size_t limit,
                                              GError **error);
/* With n < before, newest first; INT64_MAX: from the newest. */
MUST_CHECK DecisionPage *store_read_newest_decisions(Store *store, const char *flow_id, int64_t before, size_t limit,
                                                     GError **error);
/* Marked ones, ordered by flow and n, behind `after` (NULL: from the start); flow_id NULL: of all flows. */
MUST_CHECK DecisionPage *store_read_owed_decisions(Store *store, const char *flow_id, const DecisionKey *after,
                                                   size_t limit, GError **error);

/* What is known of a flow that has a cron and was not deleted. */
typedef struct {
    char *flow; /* flow_encode_schedule() of its newest version */
    size_t flow_size;
    char *decision; /* its last; NULL: none yet */
    size_t decision_size;
} ScheduledFlow;

typedef struct {
    ScheduledFlow *items;
    size_t n_items;
    bool has_more;
    Id last_id; /* where the next page begins */
} ScheduledPage;
void scheduled_page_free(ScheduledPage *page);

/* All such flows by id, at most limit (1-1000), behind `after` ("" from the start). */
MUST_CHECK ScheduledPage *store_read_scheduled_flows(Store *store, const char *after, size_t limit, GError **error);

typedef struct {
    Id flow_id;
    int64_t version;
    int64_t updated_at;
} FlowVersion;

/* Shared store: flows whose newest version is of then or later, deleted ones too, ordered by (updated_at, id), behind
 * `after` (NULL: from `from` on). None where every change passes through this Store. */
MUST_CHECK bool store_list_changed_flows(Store *store, int64_t from, const FlowVersion *after, size_t limit,
                                         FlowVersion *ret_flows, size_t *ret_n, GError **error);

#define SYSTEM_TRIGGER "system" /* triggeredBy of runs that schedules start */

/* Ids of a flow's open runs that `system` triggered, at most limit. */
MUST_CHECK bool store_list_open_system_runs(Store *store, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                            GError **error);

/* 32 bytes made when the store was created, the same for everyone who opens it: signs list cursors. A shared store that has
 * not been reached yet has none: NULL. Whoever has read a list finds it known, and it never changes. */
const unsigned char *store_secret(Store *store);

/* True when the store would take a write now: it makes a small one of its own durable. INTERNAL: it would, but it lacks
 * something that only speed needs (indexes). */
MUST_CHECK bool store_check(Store *store, GError **error);

/* ---- backfills ---- */

typedef struct {
    char *state; /* of the newest entry, '\0' ended */
    size_t state_size;
    char *plan; /* NULL unless asked for */
    size_t plan_size;
} BackfillRecord;
void backfill_record_free(BackfillRecord *record);

/* NOT_FOUND. */
MUST_CHECK BackfillRecord *store_get_backfill(Store *store, const char *backfill_id, bool has_plan, GError **error);

/* Of an owner's flow (query: owner, flow_id, and the place in the list). What a crash cut off may be behind there. */
MUST_CHECK ListPage *store_list_backfills(Store *store, const ListQuery *query, GError **error);

/* Ids of open ones, ordered by id, after `after` ("" from the start). */
MUST_CHECK bool store_list_open_backfills(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                          GError **error);
/* owner NULL: of everybody. */
MUST_CHECK bool store_count_open_backfills(Store *store, const char *owner, int64_t *ret_n, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Store, store_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(RunDocument, run_document_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JournalPage, journal_page_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ListPage, list_page_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DecisionPage, decision_page_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ScheduledPage, scheduled_page_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BackfillRecord, backfill_record_free)

#endif
