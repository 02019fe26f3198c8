/* store_sqlite_internal.h - the SQLite store's own layout, shared by the store_sqlite*.c files. docs/sqlite.md explains
 * the file: tables, indexes, pragmas, migration. */
#ifndef FLOWOPS_STORE_STORE_SQLITE_INTERNAL_H
#define FLOWOPS_STORE_STORE_SQLITE_INTERNAL_H

#include <sqlite3.h>

#include "base/thread.h"
#include "store/store_internal.h"

#define SQLITE_STORE_APPLICATION_ID 0x464c4f57 /* "FLOW" */
#define SECRET_SIZE 32

/* Every statement of fixed text; a connection prepares each at its first use and keeps it. */
typedef enum {
    STATEMENT_BEGIN_WRITE,
    STATEMENT_BEGIN_READ,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_FIND_RUN_ROW,
    STATEMENT_INSERT_JOURNAL,
    STATEMENT_INSERT_RUN,
    STATEMENT_UPDATE_RUN,
    STATEMENT_UPDATE_RUN_INDEXED,
    STATEMENT_INSERT_LABEL,
    STATEMENT_SUPERSEDE_OUTBOX,
    STATEMENT_INSERT_OUTBOX,
    STATEMENT_DELETE_OUTBOX,
    STATEMENT_FIND_FLOW_ROW,
    STATEMENT_INSERT_FLOW_VERSION,
    STATEMENT_INSERT_FLOW,
    STATEMENT_UPDATE_FLOW,
    STATEMENT_INSERT_FLOW_STEP,
    STATEMENT_DELETE_JOURNAL,
    STATEMENT_DELETE_RUN,
    STATEMENT_DELETE_LABELS,
    STATEMENT_LAST_DECISION_N,
    STATEMENT_INSERT_DECISION,
    STATEMENT_DECISION_MADE,
    STATEMENT_FIND_BACKFILL_N,
    STATEMENT_INSERT_BACKFILL,
    STATEMENT_UPDATE_BACKFILL,
    STATEMENT_INSERT_BACKFILL_ENTRY,
    STATEMENT_PUT_ENGINE,
    STATEMENT_FORGET_ENGINES,
    STATEMENT_CHECK,
    STATEMENT_GET_FLOW,
    STATEMENT_GET_NEWEST_FLOW,
    STATEMENT_GET_RUN,
    STATEMENT_READ_JOURNAL,
    STATEMENT_COUNT_OPEN,
    STATEMENT_COUNT_OPEN_OF_FLOW,
    STATEMENT_RUNS_IN_PHASE,
    STATEMENT_RUNS_PENDING_IN_PHASE,
    STATEMENT_RUNS_TO_STOP,
    STATEMENT_READ_OUTBOX,
    STATEMENT_READ_OUTBOX_OF,
    STATEMENT_GET_RUN_SEQ,
    STATEMENT_GET_FLOW_VERSION,
    STATEMENT_FLOWS_OF_STEP,
    STATEMENT_RUNS_ENDED_BEFORE,
    STATEMENT_NEXT_JOURNAL_RUN,
    STATEMENT_NEXT_RUN,
    STATEMENT_NEXT_VERSIONED_FLOW,
    STATEMENT_NEXT_FLOW,
    STATEMENT_READ_DECISIONS,
    STATEMENT_READ_NEWEST_DECISIONS,
    STATEMENT_READ_OWED,
    STATEMENT_READ_OWED_OF_FLOW,
    STATEMENT_READ_SCHEDULED,
    STATEMENT_OPEN_SYSTEM_RUNS,
    STATEMENT_GET_BACKFILL,
    STATEMENT_LIST_BACKFILLS,
    STATEMENT_COUNT_BACKFILLS,
    STATEMENT_OPEN_BACKFILLS,
    STATEMENT_COUNT_OPEN_BACKFILLS,
    STATEMENT_COUNT_OPEN_BACKFILLS_OF,
    STATEMENT_GET_ENGINE,
    N_STATEMENTS,
} StatementId;

/* One SQLite connection; used by one thread at a time. */
typedef struct Connection Connection;
struct Connection {
    sqlite3 *db;
    sqlite3_stmt *statements[N_STATEMENTS];
    Connection *next_idle; /* guarded by SqliteStore.readers_mu */
};

typedef struct Checkpointer Checkpointer;

typedef struct {
    Store base;
    char *path; /* absolute, of flowops.db */
    int lock_fd;
    unsigned char secret[SECRET_SIZE];
    Checkpointer *checkpointer;

    Mutex writer_mu;
    Connection *writer; /* guarded by writer_mu */
    /* A mutex is not fair: a busy writer would take it again before the checkpointer is awake. So it waits while this
     * is set. */
    bool is_checkpoint_due; /* atomic; cleared with writer_mu held */
    pthread_cond_t checkpoint_is_over;

    Mutex readers_mu;
    pthread_cond_t reader_is_idle;
    Connection *idle_readers; /* guarded by readers_mu; most recently used first */
    size_t n_readers;         /* guarded by readers_mu; open ones, idle or not */
} SqliteStore;

/* ---- store_sqlite_connection.c ---- */

typedef enum { CONNECTION_WRITER, CONNECTION_READER, CONNECTION_CHECKPOINTER } ConnectionKind;
Connection *connection_open(const char *path, ConnectionKind kind, GError **error);
void connection_close(Connection *connection); /* NULL is fine */
/* Reset and ready to be bound. NULL: error is set. */
sqlite3_stmt *connection_statement(Connection *connection, StatementId id, GError **error);
const char *statement_text(StatementId id);
/* Runs a statement that returns no rows and resets it; an SQLite result code, SQLITE_OK when done. */
int statement_run(sqlite3_stmt *statement);
/* Steps to the next row: 1, 0 at the end (reset), -1 with error set (reset). */
int statement_next(sqlite3_stmt *statement, GError **error);
void bind_id(sqlite3_stmt *statement, int index, const Id *id);
/* NULL and INSTANT_NONE become SQL NULL. Text is borrowed until the statement is bound anew. */
void bind_text(sqlite3_stmt *statement, int index, const char *text);
void bind_text_n(sqlite3_stmt *statement, int index, const char *text, size_t size);
void bind_instant(sqlite3_stmt *statement, int index, int64_t ms);
void column_id(sqlite3_stmt *statement, int column, Id *ret_id);
/* Turns an SQLite result into ours: disk and locks UNAVAILABLE, everything else INTERNAL. */
void set_sqlite_error(GError **error, sqlite3 *db, int rc, const char *doing);

Connection *readers_take(SqliteStore *store, GError **error);
void readers_give(SqliteStore *store, Connection *connection);

/* Borrows a reader for the rest of the block; give it back through readers_give(). */
typedef struct {
    SqliteStore *store;
    Connection *connection;
} ReaderLease;
static inline void reader_lease_end(ReaderLease *lease)
{
    if (lease->connection != NULL) {
        readers_give(lease->store, lease->connection);
    }
}
#define READER_LEASE(lease, of_store, error) \
    __attribute__((cleanup(reader_lease_end))) \
    ReaderLease lease = {.store = (of_store), .connection = readers_take((of_store), (error))}

/* ---- store_sqlite.c ---- */

/* A store with its locks and its path, nothing opened yet. */
SqliteStore *sqlite_store_new(const StoreOps *ops, const char *data_dir);
/* Closes whatever was opened; the ops' close. */
void sqlite_store_close(Store *store);
const unsigned char *sqlite_secret(Store *store);
MUST_CHECK bool sqlite_read_secret(SqliteStore *store, Connection *connection, GError **error);

/* ---- store_sqlite_checkpoint.c ---- */

Checkpointer *checkpointer_start(SqliteStore *store, GError **error);
void checkpointer_stop(Checkpointer *checkpointer); /* NULL is fine */
/* The writer's last commit left this many frames in the log. Never blocks. */
void checkpointer_note(Checkpointer *checkpointer, int n_frames);

/* ---- store_sqlite_lock.c ---- */

/* Takes data_dir/flowops.lock for this process. -1: CONFLICT naming the holder, or UNAVAILABLE. */
int lock_take(const char *data_dir, const Clock *clock, GError **error);
void lock_release(int lock_fd);

/* ---- store_sqlite_file.c: what may be found before SQLite touches anything ---- */

typedef enum { FILE_MISSING, FILE_OURS } FileState;
/* INVALID: foreign, corrupt, truncated or newer than max_version; nothing was changed. */
MUST_CHECK bool file_inspect(const char *path, int max_version, FileState *ret_state, int *ret_version, GError **error);
/* Opens the file without changing it and looks whether it holds together. */
MUST_CHECK bool file_probe(const char *path, int max_version, GError **error);

/* ---- store_sqlite_schema.c ---- */

/* Brings a store from the version before to `version`. */
typedef struct {
    int version;
    const char *sql;
} SchemaStep;
extern const SchemaStep schema_steps[];
extern const size_t n_schema_steps;

/* Makes a new file at path, complete or not at all. */
MUST_CHECK bool schema_create(const char *path, const SchemaStep *steps, size_t n_steps, GError **error);
/* Copies the file to path.v<version>.backup, then takes it to the last step in one transaction. */
MUST_CHECK bool schema_migrate(const char *path, int version, const SchemaStep *steps, size_t n_steps, GError **error);

/* ---- store_sqlite_write.c, store_sqlite_read.c, store_sqlite_list.c, store_sqlite_ids.c: the methods ---- */

bool sqlite_write(Store *store, StoreWrite *writes, size_t n_writes, GError **error);
Flow *sqlite_get_flow(Store *store, const char *flow_id, int64_t version, GError **error);
RunDocument *sqlite_get_run(Store *store, const char *run_id, GError **error);
JournalPage *sqlite_read_journal(Store *store, const char *run_id, int64_t after, size_t max_entries, size_t max_bytes,
                                 GError **error);
bool sqlite_count_open_runs(Store *store, const char *flow_id, int64_t *ret_n, GError **error);
bool sqlite_list_runs_in_phase(Store *store, RunPhase phase, int64_t requested_before, const char *after, size_t limit,
                               Id *ret_ids, size_t *ret_n, GError **error);
bool sqlite_list_runs_to_stop(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                              GError **error);
bool sqlite_list_runs_ended_before(Store *store, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                   GError **error);
bool sqlite_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool sqlite_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool sqlite_read_outbox(Store *store, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                        GError **error);
bool sqlite_read_outbox_of(Store *store, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                           size_t *ret_n, GError **error);
bool sqlite_settle(Store *store, int64_t timeout_ms);
bool sqlite_list_runs_behind(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool sqlite_find_newer(Store *store, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error);
bool sqlite_get_flow_versions(Store *store, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error);
bool sqlite_get_announced_at(Store *store, const char *engine_id, int64_t *ret_announced_at, GError **error);
bool sqlite_put_announcement(Store *store, const Announcement *announcement, int64_t now_ms, GError **error);
bool sqlite_check(Store *store, GError **error);

/* ---- store_sqlite_schedule.c ---- */

/* Within the writer's transaction; an SQLite result code. */
int sqlite_write_decision(const SqliteStore *store, const DecisionRow *decision, WriteOutcome *ret_outcome);
int sqlite_write_made(const SqliteStore *store, const DecisionKey *key);
DecisionPage *sqlite_read_decisions(Store *store, const char *flow_id, int64_t after, size_t limit, GError **error);
DecisionPage *sqlite_read_newest_decisions(Store *store, const char *flow_id, int64_t before, size_t limit,
                                           GError **error);
DecisionPage *sqlite_read_owed_decisions(Store *store, const char *flow_id, const DecisionKey *after, size_t limit,
                                         GError **error);
ScheduledPage *sqlite_read_scheduled_flows(Store *store, const char *after, size_t limit, GError **error);
bool sqlite_list_changed_flows(Store *store, int64_t from, const FlowVersion *after, size_t limit,
                               FlowVersion *ret_flows, size_t *ret_n, GError **error);
bool sqlite_list_open_system_runs(Store *store, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                  GError **error);

/* ---- store_sqlite_backfill.c ---- */

/* Within the writer's transaction; an SQLite result code. */
int sqlite_write_backfill(const SqliteStore *store, const BackfillEntry *entry, WriteOutcome *ret_outcome);
BackfillRecord *sqlite_get_backfill(Store *store, const char *backfill_id, bool has_plan, GError **error);
ListPage *sqlite_list_backfills(Store *store, const ListQuery *query, GError **error);
bool sqlite_list_open_backfills(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                GError **error);
bool sqlite_count_open_backfills(Store *store, const char *owner, int64_t *ret_n, GError **error);

ListPage *sqlite_list_flows(Store *store, const ListQuery *query, GError **error);
ListPage *sqlite_list_runs(Store *store, const ListQuery *query, GError **error);

/* The first column of all rows. */
bool sqlite_take_ids(sqlite3_stmt *statement, Id *ret_ids, size_t *ret_n, GError **error);

/* Texts of the list statements, for the test that reads their query plans. */
char *list_runs_sql(const ListQuery *query, bool is_count);
char *list_flows_sql(const ListQuery *query, bool is_count);

/* What the store does alike whether or not it may write, in one place, so that neither table lacks a method. */
#define SQLITE_READ_OPS \
    .get_flow = sqlite_get_flow, .get_run = sqlite_get_run, .read_journal = sqlite_read_journal, \
    .list_flows = sqlite_list_flows, .list_runs = sqlite_list_runs, .count_open_runs = sqlite_count_open_runs, \
    .list_runs_in_phase = sqlite_list_runs_in_phase, .list_runs_to_stop = sqlite_list_runs_to_stop, \
    .list_runs_ended_before = sqlite_list_runs_ended_before, .list_run_ids = sqlite_list_run_ids, \
    .list_flow_ids = sqlite_list_flow_ids, .read_outbox = sqlite_read_outbox, .read_outbox_of = sqlite_read_outbox_of, \
    .settle = sqlite_settle, .list_runs_behind = sqlite_list_runs_behind, .find_newer = sqlite_find_newer, \
    .get_flow_versions = sqlite_get_flow_versions, .read_decisions = sqlite_read_decisions, \
    .read_newest_decisions = sqlite_read_newest_decisions, .read_owed_decisions = sqlite_read_owed_decisions, \
    .read_scheduled_flows = sqlite_read_scheduled_flows, .list_changed_flows = sqlite_list_changed_flows, \
    .list_open_system_runs = sqlite_list_open_system_runs, .get_backfill = sqlite_get_backfill, \
    .list_backfills = sqlite_list_backfills, .list_open_backfills = sqlite_list_open_backfills, \
    .count_open_backfills = sqlite_count_open_backfills, .get_announced_at = sqlite_get_announced_at

#endif
