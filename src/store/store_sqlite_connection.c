/* store_sqlite_connection.c - connections, their settings and prepared statements, and the pool of readers. */
#include "store/store_sqlite_internal.h"

#include <string.h>

/* Open at once at most, each with its cache. More callers than this wait: a read takes microseconds, and threads that
 * read are counted in single digits. */
#define MAX_READERS 8

/* Another process (the sqlite3 shell, a backup) may hold a lock for a moment. */
#define BUSY_WAIT_MS 5000

/* Why each: docs/sqlite.md. mmap stays off: an I/O error would be a SIGBUS instead of an error. */
static const char *const settings[] = {
    [CONNECTION_WRITER] = "PRAGMA journal_mode = WAL;"
                          "PRAGMA synchronous = FULL;"
                          "PRAGMA wal_autocheckpoint = 0;"
                          "PRAGMA journal_size_limit = 33554432;"
                          "PRAGMA cache_size = -8192;"
                          "PRAGMA temp_store = MEMORY;"
                          "PRAGMA mmap_size = 0;"
                          "PRAGMA foreign_keys = OFF;",
    [CONNECTION_READER] = "PRAGMA query_only = ON;"
                          "PRAGMA cache_size = -1024;"
                          "PRAGMA temp_store = MEMORY;"
                          "PRAGMA mmap_size = 0;",
    [CONNECTION_CHECKPOINTER] = "PRAGMA synchronous = FULL;"
                                "PRAGMA wal_autocheckpoint = 0;"
                                "PRAGMA cache_size = 16;"
                                "PRAGMA mmap_size = 0;",
};

static const char *const statement_texts[N_STATEMENTS] = {
    [STATEMENT_BEGIN_WRITE] = "BEGIN IMMEDIATE",
    [STATEMENT_BEGIN_READ] = "BEGIN",
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_FIND_RUN_ROW] = "SELECT rowid, seq, status, phase, pending_at FROM runs WHERE id = ?1",
    [STATEMENT_INSERT_JOURNAL] = "INSERT INTO journal(run_id, seq, last_seq, events) VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_INSERT_RUN] = "INSERT INTO runs(id, owner, flow_id, flow_version, triggered_by, created_at, created_by,"
                             " updated_at, updated_by, seq, pending, summary, rest, status, phase, pending_at)"
                             " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    /* Two ways to update: most events leave what indexes hold as it is, and naming such a column in an UPDATE rewrites
     * its index entries even when the value stays. */
    [STATEMENT_UPDATE_RUN] =
        "UPDATE runs SET updated_at = ?8, updated_by = ?9, seq = ?10, pending = ?11, summary = ?12, rest = ?13"
        " WHERE rowid = ?1",
    [STATEMENT_UPDATE_RUN_INDEXED] =
        "UPDATE runs SET updated_at = ?8, updated_by = ?9, seq = ?10, pending = ?11, summary = ?12, rest = ?13,"
        " status = ?14, phase = ?15, pending_at = ?16 WHERE rowid = ?1",
    [STATEMENT_INSERT_LABEL] =
        "INSERT INTO run_labels(owner, name, value, created_at, run_id) VALUES (?1, ?2, ?3, ?4, ?5)",
    [STATEMENT_SUPERSEDE_OUTBOX] = "DELETE FROM outbox WHERE run_id = ?1",
    [STATEMENT_INSERT_OUTBOX] = "INSERT INTO outbox(run_id, seq) VALUES (?1, ?2)",
    [STATEMENT_DELETE_OUTBOX] = "DELETE FROM outbox WHERE run_id = ?1 AND seq = ?2",
    [STATEMENT_FIND_FLOW_ROW] = "SELECT rowid, version, is_deleted FROM flows WHERE id = ?1",
    [STATEMENT_INSERT_FLOW_VERSION] = "INSERT INTO flow_versions(flow_id, version, definition) VALUES (?1, ?2, ?3)",
    [STATEMENT_INSERT_FLOW] =
        "INSERT INTO flows(id, owner, version, is_deleted, stops_runs, created_at, updated_at, created_by, updated_by,"
        " summary, schedule) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [STATEMENT_UPDATE_FLOW] =
        "UPDATE flows SET version = ?3, is_deleted = ?4, stops_runs = ?5, updated_at = ?7, updated_by = ?9,"
        " summary = ?10, schedule = ?11 WHERE rowid = ?1",
    [STATEMENT_INSERT_FLOW_STEP] =
        "INSERT INTO flow_steps(step_id, owner, flow_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    [STATEMENT_GET_FLOW] = "SELECT definition FROM flow_versions WHERE flow_id = ?1 AND version = ?2",
    [STATEMENT_GET_NEWEST_FLOW] =
        "SELECT definition FROM flow_versions WHERE flow_id = ?1 ORDER BY version DESC LIMIT 1",
    [STATEMENT_GET_RUN] = "SELECT flow_id, owner, status, phase, seq, summary, rest FROM runs WHERE id = ?1",
    /* From the record that holds the event ?2 (or the last before it). */
    [STATEMENT_READ_JOURNAL] = "SELECT seq, last_seq, events FROM journal WHERE run_id = ?1 AND seq >= ifnull("
                               "(SELECT max(seq) FROM journal WHERE run_id = ?1 AND seq <= ?2), 0) ORDER BY seq",
    [STATEMENT_COUNT_OPEN] = "SELECT count(*) FROM runs INDEXED BY runs_unsettled WHERE phase < 2 AND phase = 0",
    [STATEMENT_COUNT_OPEN_OF_FLOW] =
        "SELECT count(*) FROM runs INDEXED BY runs_unsettled WHERE phase < 2 AND phase = 0 AND flow_id = ?1",
    [STATEMENT_RUNS_IN_PHASE] =
        "SELECT id FROM runs INDEXED BY runs_unsettled WHERE phase < 2 AND phase = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
    [STATEMENT_RUNS_PENDING_IN_PHASE] =
        "SELECT id FROM runs INDEXED BY runs_unsettled WHERE phase < 2 AND phase = ?1 AND id > ?2 AND pending_at < ?4"
        " ORDER BY id LIMIT ?3",
    /* The EXISTS is asked once: nearly always there is no such flow, and no open run needs to be looked at. */
    [STATEMENT_RUNS_TO_STOP] =
        "SELECT r.id FROM runs r INDEXED BY runs_unsettled WHERE r.phase < 2 AND r.phase = 0 AND r.id > ?1"
        " AND EXISTS (SELECT 1 FROM flows f INDEXED BY flows_stopping WHERE f.stops_runs = 1)"
        " AND r.flow_id IN (SELECT f.id FROM flows f INDEXED BY flows_stopping WHERE f.stops_runs = 1)"
        " AND r.pending <> ?3 ORDER BY r.id LIMIT ?2",
    /* Within a run ids grow with seqs: a new one is above all that are there. */
    [STATEMENT_READ_OUTBOX] = "SELECT run_id, seq FROM outbox INDEXED BY outbox_run WHERE run_id >= ?1"
                              " AND (run_id > ?1 OR seq > ?2) ORDER BY run_id, id LIMIT ?3",
    [STATEMENT_READ_OUTBOX_OF] =
        "SELECT run_id, seq FROM outbox INDEXED BY outbox_run WHERE run_id = ?1 AND seq < ?2 ORDER BY id LIMIT ?3",
    [STATEMENT_GET_RUN_SEQ] = "SELECT max(last_seq) FROM journal WHERE run_id = ?1 AND seq >="
                              " (SELECT max(seq) FROM journal WHERE run_id = ?1)",
    [STATEMENT_GET_FLOW_VERSION] = "SELECT version FROM flows WHERE id = ?1",
    [STATEMENT_FLOWS_OF_STEP] =
        "SELECT flow_id FROM flow_steps WHERE step_id = ?1 AND owner = ?2 ORDER BY flow_id LIMIT 2",
    [STATEMENT_DELETE_JOURNAL] = "DELETE FROM journal WHERE run_id = ?1",
    [STATEMENT_DELETE_RUN] = "DELETE FROM runs WHERE id = ?1",
    [STATEMENT_DELETE_LABELS] = "DELETE FROM run_labels WHERE run_id = ?1",
    [STATEMENT_RUNS_ENDED_BEFORE] = "SELECT id FROM runs INDEXED BY runs_settled WHERE phase = 2 AND updated_at < ?1"
                                    " ORDER BY updated_at, id LIMIT ?2",
    /* One seek each: the next key of an index, however many rows this one has. */
    [STATEMENT_NEXT_JOURNAL_RUN] = "SELECT min(run_id) FROM journal WHERE run_id > ?1",
    [STATEMENT_NEXT_RUN] = "SELECT min(id) FROM runs WHERE id > ?1",
    [STATEMENT_NEXT_VERSIONED_FLOW] = "SELECT min(flow_id) FROM flow_versions WHERE flow_id > ?1",
    [STATEMENT_NEXT_FLOW] = "SELECT min(id) FROM flows WHERE id > ?1",
    [STATEMENT_LAST_DECISION_N] = "SELECT max(n) FROM decisions WHERE flow_id = ?1",
    [STATEMENT_INSERT_DECISION] = "INSERT INTO decisions(flow_id, n, is_owed, decision) VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_DECISION_MADE] =
        "UPDATE decisions INDEXED BY decisions_flow SET is_owed = 0 WHERE flow_id = ?1 AND n = ?2 AND is_owed = 1",
    [STATEMENT_READ_DECISIONS] =
        "SELECT decision, is_owed FROM decisions WHERE flow_id = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
    [STATEMENT_READ_NEWEST_DECISIONS] =
        "SELECT decision, is_owed FROM decisions WHERE flow_id = ?1 AND n < ?2 ORDER BY n DESC LIMIT ?3",
    [STATEMENT_READ_OWED] = "SELECT decision, is_owed FROM decisions INDEXED BY decisions_owed WHERE is_owed = 1"
                            " AND (flow_id, n) > (?1, ?2) ORDER BY flow_id, n LIMIT ?3",
    [STATEMENT_READ_OWED_OF_FLOW] = "SELECT decision, is_owed FROM decisions INDEXED BY decisions_owed"
                                    " WHERE is_owed = 1 AND flow_id = ?1 AND n > ?2 ORDER BY n LIMIT ?3",
    [STATEMENT_READ_SCHEDULED] =
        "SELECT f.id, f.schedule, (SELECT d.decision FROM decisions d WHERE d.flow_id = f.id ORDER BY d.n DESC LIMIT 1)"
        " FROM flows f INDEXED BY flows_scheduled WHERE f.schedule IS NOT NULL AND f.id > ?1 ORDER BY f.id LIMIT ?2",
    [STATEMENT_OPEN_SYSTEM_RUNS] = "SELECT id FROM runs INDEXED BY runs_scheduled WHERE phase = 0"
                                   " AND triggered_by = 'system' AND flow_id = ?1 ORDER BY id LIMIT ?2",
    [STATEMENT_FIND_BACKFILL_N] = "SELECT n FROM backfills WHERE id = ?1",
    [STATEMENT_INSERT_BACKFILL] =
        "INSERT INTO backfills(id, owner, flow_id, created_at, is_open, n) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [STATEMENT_UPDATE_BACKFILL] = "UPDATE backfills SET is_open = ?2, n = ?3 WHERE id = ?1",
    [STATEMENT_INSERT_BACKFILL_ENTRY] =
        "INSERT INTO backfill_entries(backfill_id, n, state, plan) VALUES (?1, ?2, ?3, ?4)",
    [STATEMENT_GET_BACKFILL] =
        "SELECT e.state, p.plan FROM backfills b JOIN backfill_entries e ON e.backfill_id = b.id AND e.n = b.n"
        " LEFT JOIN backfill_entries p ON p.backfill_id = b.id AND p.n = 1 AND ?2 WHERE b.id = ?1",
    [STATEMENT_LIST_BACKFILLS] =
        "SELECT b.created_at, b.id, e.state FROM backfills b INDEXED BY backfills_flow"
        " CROSS JOIN backfill_entries e ON e.backfill_id = b.id AND e.n = b.n WHERE b.owner = ?1 AND b.flow_id = ?2"
        " AND b.created_at <= ?3 AND (b.created_at < ?3 OR b.id > ?4) ORDER BY b.created_at DESC, b.id LIMIT ?5"
        " OFFSET ?6",
    [STATEMENT_COUNT_BACKFILLS] =
        "SELECT count(*) FROM backfills INDEXED BY backfills_flow WHERE owner = ?1 AND flow_id = ?2",
    [STATEMENT_OPEN_BACKFILLS] = "SELECT id FROM backfills INDEXED BY backfills_open WHERE is_open = 1 AND id > ?1"
                                 " ORDER BY id LIMIT ?2",
    [STATEMENT_COUNT_OPEN_BACKFILLS] = "SELECT count(*) FROM backfills INDEXED BY backfills_open WHERE is_open = 1",
    [STATEMENT_COUNT_OPEN_BACKFILLS_OF] =
        "SELECT count(*) FROM backfills INDEXED BY backfills_open WHERE is_open = 1 AND owner = ?1",
    [STATEMENT_GET_ENGINE] = "SELECT announced_at FROM engines WHERE engine_id = ?1",
    [STATEMENT_PUT_ENGINE] =
        "INSERT INTO engines(engine_id, announced_at, updated_at) VALUES (?1, ?2, ?3) ON CONFLICT(engine_id)"
        " DO UPDATE SET announced_at = excluded.announced_at, updated_at = excluded.updated_at"
        " WHERE excluded.announced_at > announced_at",
    [STATEMENT_FORGET_ENGINES] = "DELETE FROM engines INDEXED BY engines_updated WHERE updated_at < ?1",
    [STATEMENT_CHECK] = "INSERT INTO meta(name, value) VALUES ('check', randomblob(8))"
                        " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
};

const char *statement_text(StatementId id)
{
    return statement_texts[id];
}

void set_sqlite_error(GError **error, sqlite3 *db, int rc, const char *doing)
{
    FlowopsError code = FLOWOPS_INTERNAL;
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
    case SQLITE_PROTOCOL:
        code = FLOWOPS_UNAVAILABLE;
        break;
    default:
        break;
    }
    g_set_error(error, FLOWOPS_ERROR, code, "cannot %s: %s (%s)", doing, sqlite3_errstr(rc),
                db != NULL ? sqlite3_errmsg(db) : "no connection");
}

Connection *connection_open(const char *path, ConnectionKind kind, GError **error)
{
    int flags = (kind == CONNECTION_READER ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX;
    Connection *connection = g_new0(Connection, 1);
    int rc = sqlite3_open_v2(path, &connection->db, flags, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_extended_result_codes(connection->db, 1);
        (void)sqlite3_busy_timeout(connection->db, BUSY_WAIT_MS);
        rc = sqlite3_exec(connection->db, settings[kind], NULL, NULL, NULL);
    }
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, connection->db, rc, "open the database");
        connection_close(connection);
        return NULL;
    }
    return connection;
}

void connection_close(Connection *connection)
{
    if (connection == NULL) {
        return;
    }
    for (size_t i = 0; i < N_STATEMENTS; i++) {
        sqlite3_finalize(connection->statements[i]);
    }
    int rc = sqlite3_close(connection->db);
    g_assert(rc == SQLITE_OK); /* a statement of ours was not finalised */
    g_free(connection);
}

sqlite3_stmt *connection_statement(Connection *connection, StatementId id, GError **error)
{
    sqlite3_stmt **place = &connection->statements[id];
    if (*place == NULL) {
        int rc = sqlite3_prepare_v3(connection->db, statement_texts[id], -1, SQLITE_PREPARE_PERSISTENT, place, NULL);
        if (rc != SQLITE_OK) {
            set_sqlite_error(error, connection->db, rc, "prepare a statement");
            return NULL;
        }
    }
    return *place;
}

int statement_run(sqlite3_stmt *statement)
{
    int rc = sqlite3_step(statement);
    int reset = sqlite3_reset(statement);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : reset;
}

int statement_next(sqlite3_stmt *statement, GError **error)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        return 1;
    }
    if (rc != SQLITE_DONE) {
        set_sqlite_error(error, sqlite3_db_handle(statement), rc, "read");
    }
    (void)sqlite3_reset(statement); /* repeats the error of the step */
    return rc == SQLITE_DONE ? 0 : -1;
}

/* Binding fails only out of range (our bug) or out of memory (SQLite's allocator is the process's, where the next
 * allocation of ours ends it). */
static void assert_bound(int rc)
{
    g_assert(rc == SQLITE_OK);
}

void bind_text_n(sqlite3_stmt *statement, int index, const char *text, size_t size)
{
    assert_bound(sqlite3_bind_text64(statement, index, text, size, SQLITE_STATIC, SQLITE_UTF8));
}

void bind_text(sqlite3_stmt *statement, int index, const char *text)
{
    assert_bound(sqlite3_bind_text(statement, index, text, -1, SQLITE_STATIC));
}

void bind_id(sqlite3_stmt *statement, int index, const Id *id)
{
    bind_text_n(statement, index, id->text, strlen(id->text));
}

void bind_instant(sqlite3_stmt *statement, int index, int64_t ms)
{
    assert_bound(ms == INSTANT_NONE ? sqlite3_bind_null(statement, index) : sqlite3_bind_int64(statement, index, ms));
}

void column_id(sqlite3_stmt *statement, int column, Id *ret_id)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    g_strlcpy(ret_id->text, text != NULL ? text : "", sizeof ret_id->text);
}

/* ---- readers ---- */

static Connection *open_reader(SqliteStore *store, GError **error)
{
    Connection *connection = connection_open(store->path, CONNECTION_READER, error);
    if (connection == NULL) {
        MUTEX_SCOPE(&store->readers_mu);
        store->n_readers--;
        pthread_cond_broadcast(&store->reader_is_idle); /* whoever waited for it may open one, or be the last to fail */
    }
    return connection;
}

typedef enum { READER_IS_IDLE, READER_MAY_BE_OPENED, NO_READER } ReaderChance;

/* An idle connection, or leave to open one more, or neither when none is open and none may be. Waits for whatever comes
 * first. */
static ReaderChance wait_for_reader(SqliteStore *store, bool may_open, Connection **ret_connection)
{
    MUTEX_SCOPE(&store->readers_mu);
    for (;;) {
        Connection *connection = store->idle_readers;
        if (connection != NULL) {
            store->idle_readers = connection->next_idle;
            *ret_connection = connection;
            return READER_IS_IDLE;
        }
        if (may_open && store->n_readers < MAX_READERS) {
            store->n_readers++;
            return READER_MAY_BE_OPENED;
        }
        if (store->n_readers == 0) {
            return NO_READER;
        }
        pthread_cond_wait(&store->reader_is_idle, &store->readers_mu);
    }
}

Connection *readers_take(SqliteStore *store, GError **error)
{
    Connection *connection = NULL;
    g_autoptr(GError) inner = NULL;
    ReaderChance chance = wait_for_reader(store, true, &connection);
    if (chance == READER_MAY_BE_OPENED) {
        connection = open_reader(store, &inner);
        if (connection == NULL) { /* out of descriptors, say: those that are open will do */
            chance = wait_for_reader(store, false, &connection);
        }
    }
    if (chance == NO_READER) {
        g_propagate_error(error, g_steal_pointer(&inner));
    }
    return connection;
}

void readers_give(SqliteStore *store, Connection *connection)
{
    MUTEX_SCOPE(&store->readers_mu);
    connection->next_idle = store->idle_readers;
    store->idle_readers = connection;
    pthread_cond_signal(&store->reader_is_idle);
}
