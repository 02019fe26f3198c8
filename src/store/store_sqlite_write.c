/* store_sqlite_write.c - store_write(): one transaction, one flush, an outcome for each write. What decides a CONFLICT is
 * read before the first row of that write is touched, so a write that loses has nothing to undo. */
#include "store/store_sqlite_internal.h"

#include <string.h>

/* What the journal's unique index and the run's row know of it. */
typedef struct {
    bool is_there;
    int64_t rowid;
    int64_t seq;
    int status, phase;
    int64_t pending_at;
} KnownRun;

static sqlite3_stmt *prepared(const SqliteStore *store, StatementId id)
{
    sqlite3_stmt *statement = store->writer->statements[id];
    g_assert(statement != NULL); /* all of the writer's are prepared when the store opens */
    return statement;
}

static int run_statement(const SqliteStore *store, StatementId id)
{
    return statement_run(prepared(store, id));
}

static int find_run(const SqliteStore *store, const Id *run_id, KnownRun *ret_known)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_FIND_RUN_ROW);
    bind_id(statement, 1, run_id);
    *ret_known = (KnownRun){.is_there = false};
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *ret_known = (KnownRun){
            .is_there = true,
            .rowid = sqlite3_column_int64(statement, 0),
            .seq = sqlite3_column_int64(statement, 1),
            .status = sqlite3_column_int(statement, 2),
            .phase = sqlite3_column_int(statement, 3),
            .pending_at =
                sqlite3_column_type(statement, 4) == SQLITE_NULL ? INSTANT_NONE : sqlite3_column_int64(statement, 4),
        };
    }
    int reset = sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int insert_journal(const SqliteStore *store, const RunAppend *append)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_JOURNAL);
    bind_id(statement, 1, &append->row->run_id);
    sqlite3_bind_int64(statement, 2, append->first_seq);
    sqlite3_bind_int64(statement, 3, append->row->seq);
    bind_text_n(statement, 4, append->events, append->events_size);
    return statement_run(statement);
}

/* What changes with each append, at the same places in all three statements. */
static void bind_changing(sqlite3_stmt *statement, const RunRow *row)
{
    sqlite3_bind_int64(statement, 8, row->updated_at);
    bind_text(statement, 9, row->updated_by);
    sqlite3_bind_int64(statement, 10, row->seq);
    sqlite3_bind_int(statement, 11, (int)row->pending);
    bind_text_n(statement, 12, row->detail, row->summary_size);
    bind_text_n(statement, 13, row->detail + row->summary_size, row->detail_size - row->summary_size);
}

static void bind_indexed(sqlite3_stmt *statement, const RunRow *row)
{
    sqlite3_bind_int(statement, 14, (int)row->status);
    sqlite3_bind_int(statement, 15, (int)row->phase);
    bind_instant(statement, 16, row->pending == COMMAND_NONE ? INSTANT_NONE : row->pending_at);
}

static int insert_labels(const SqliteStore *store, const RunRow *row)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_LABEL);
    int rc = SQLITE_OK;
    for (size_t i = 0; row->labels != NULL && i < row->labels->n_pairs && rc == SQLITE_OK; i++) {
        bind_id(statement, 1, &row->owner);
        bind_text(statement, 2, row->labels->pairs[i].name);
        bind_text(statement, 3, row->labels->pairs[i].value);
        sqlite3_bind_int64(statement, 4, row->created_at);
        bind_id(statement, 5, &row->run_id);
        rc = statement_run(statement);
    }
    return rc;
}

static int insert_run(const SqliteStore *store, const RunRow *row)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_RUN);
    bind_id(statement, 1, &row->run_id);
    bind_id(statement, 2, &row->owner);
    bind_id(statement, 3, &row->flow_id);
    sqlite3_bind_int64(statement, 4, row->flow_version);
    bind_text(statement, 5, row->triggered_by);
    sqlite3_bind_int64(statement, 6, row->created_at);
    bind_text(statement, 7, row->created_by);
    bind_changing(statement, row);
    bind_indexed(statement, row);
    int rc = statement_run(statement);
    return rc == SQLITE_OK ? insert_labels(store, row) : rc;
}

static int update_run(const SqliteStore *store, const KnownRun *known, const RunRow *row)
{
    int64_t pending_at = row->pending == COMMAND_NONE ? INSTANT_NONE : row->pending_at;
    bool is_indexed_same =
        known->status == (int)row->status && known->phase == (int)row->phase && known->pending_at == pending_at;
    sqlite3_stmt *statement = prepared(store, is_indexed_same ? STATEMENT_UPDATE_RUN : STATEMENT_UPDATE_RUN_INDEXED);
    sqlite3_bind_int64(statement, 1, known->rowid);
    bind_changing(statement, row);
    if (!is_indexed_same) {
        bind_indexed(statement, row);
    }
    return statement_run(statement);
}

static int write_outbox(const SqliteStore *store, const RunAppend *append)
{
    int rc = SQLITE_OK;
    if (append->supersedes_commands) {
        bind_id(prepared(store, STATEMENT_SUPERSEDE_OUTBOX), 1, &append->row->run_id);
        rc = run_statement(store, STATEMENT_SUPERSEDE_OUTBOX);
    }
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_OUTBOX);
    for (size_t i = 0; i < append->n_commands && rc == SQLITE_OK; i++) {
        bind_id(statement, 1, &append->row->run_id);
        sqlite3_bind_int64(statement, 2, append->command_seqs[i]);
        rc = statement_run(statement);
    }
    return rc;
}

static int write_run(const SqliteStore *store, const RunAppend *append, WriteOutcome *ret_outcome)
{
    KnownRun known;
    int rc = find_run(store, &append->row->run_id, &known);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (append->first_seq != (known.is_there ? known.seq : 0) + 1) {
        *ret_outcome = WRITE_CONFLICT;
        return SQLITE_OK;
    }
    rc = insert_journal(store, append);
    if (rc == SQLITE_CONSTRAINT_UNIQUE) { /* the journal is ahead of the row: damage */
        *ret_outcome = WRITE_CONFLICT;
        return SQLITE_OK;
    }
    if (rc == SQLITE_OK) {
        rc = known.is_there ? update_run(store, &known, append->row) : insert_run(store, append->row);
    }
    if (rc == SQLITE_OK) {
        rc = write_outbox(store, append);
    }
    *ret_outcome = WRITTEN;
    return rc;
}

static int run_on(const SqliteStore *store, StatementId id, const Id *run_id)
{
    bind_id(prepared(store, id), 1, run_id);
    return run_statement(store, id);
}

/* The row and its labels, whatever is there of either. */
static int replace_run(const SqliteStore *store, const RunRow *row)
{
    int rc = run_on(store, STATEMENT_DELETE_RUN, &row->run_id);
    rc = rc == SQLITE_OK ? run_on(store, STATEMENT_DELETE_LABELS, &row->run_id) : rc;
    return rc == SQLITE_OK ? insert_run(store, row) : rc;
}

/* A document that is not there, or behind; where the one writer is this process, only a damaged file has such. */
static int write_projection(const SqliteStore *store, const RunRow *row, bool is_forced, WriteOutcome *ret_outcome)
{
    KnownRun known;
    *ret_outcome = WRITTEN;
    int rc = find_run(store, &row->run_id, &known);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (is_forced || !known.is_there) {
        return replace_run(store, row);
    }
    return known.seq < row->seq ? update_run(store, &known, row) : SQLITE_OK;
}

static int delete_run(const SqliteStore *store, const Id *run_id)
{
    static const StatementId statements[] = {STATEMENT_SUPERSEDE_OUTBOX, STATEMENT_DELETE_LABELS, STATEMENT_DELETE_RUN,
                                             STATEMENT_DELETE_JOURNAL};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < G_N_ELEMENTS(statements) && rc == SQLITE_OK; i++) {
        rc = run_on(store, statements[i], run_id);
    }
    return rc;
}

static int find_flow(const SqliteStore *store, const Id *flow_id, int64_t *ret_rowid, int64_t *ret_version,
                     bool *ret_is_deleted)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_FIND_FLOW_ROW);
    bind_id(statement, 1, flow_id);
    *ret_version = 0;
    *ret_is_deleted = false;
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        *ret_rowid = sqlite3_column_int64(statement, 0);
        *ret_version = sqlite3_column_int64(statement, 1);
        *ret_is_deleted = sqlite3_column_int(statement, 2) != 0;
    }
    int reset = sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int insert_flow_version(const SqliteStore *store, const Flow *flow, GString *scratch)
{
    g_string_truncate(scratch, 0);
    flow_encode(flow, scratch);
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_FLOW_VERSION);
    bind_id(statement, 1, &flow->id);
    sqlite3_bind_int64(statement, 2, flow->version);
    bind_text_n(statement, 3, scratch->str, scratch->len);
    return statement_run(statement);
}

/* rowid < 0: its first version. */
static int write_flow_row(const SqliteStore *store, const Flow *flow, int64_t rowid, GString *scratch)
{
    g_string_truncate(scratch, 0);
    flow_encode_summary(flow, scratch);
    size_t summary_size = scratch->len;
    bool has_schedule = flow->cron != NULL && !flow->is_deleted;
    if (has_schedule) {
        flow_encode_schedule(flow, scratch);
    }
    bool is_new = rowid < 0;
    sqlite3_stmt *statement = prepared(store, is_new ? STATEMENT_INSERT_FLOW : STATEMENT_UPDATE_FLOW);
    if (is_new) {
        bind_id(statement, 1, &flow->id);
        bind_id(statement, 2, &flow->owner);
        sqlite3_bind_int64(statement, 6, flow->created_at);
        bind_id(statement, 8, &flow->created_by);
    } else {
        sqlite3_bind_int64(statement, 1, rowid);
    }
    sqlite3_bind_int64(statement, 3, flow->version);
    sqlite3_bind_int(statement, 4, flow->is_deleted);
    sqlite3_bind_int(statement, 5, flow->stops_runs);
    sqlite3_bind_int64(statement, 7, flow->updated_at);
    bind_id(statement, 9, &flow->updated_by);
    bind_text_n(statement, 10, scratch->str, summary_size);
    if (has_schedule) {
        bind_text_n(statement, 11, scratch->str + summary_size, scratch->len - summary_size);
    } else {
        bind_text(statement, 11, NULL);
    }
    return statement_run(statement);
}

static int insert_flow_steps(const SqliteStore *store, const Flow *flow)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_FLOW_STEP);
    int rc = SQLITE_OK;
    for (size_t i = 0; i < flow->n_flat && rc == SQLITE_OK; i++) {
        bind_id(statement, 1, &flow->flat[i]->step_id);
        bind_id(statement, 2, &flow->owner);
        bind_id(statement, 3, &flow->id);
        rc = statement_run(statement);
    }
    return rc;
}

static int write_flow(const SqliteStore *store, const Flow *flow, WriteOutcome *ret_outcome)
{
    int64_t rowid = -1, version;
    bool is_deleted;
    int rc = find_flow(store, &flow->id, &rowid, &version, &is_deleted);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (flow->version != version + 1 || is_deleted) {
        *ret_outcome = WRITE_CONFLICT;
        return SQLITE_OK;
    }
    GString *scratch = g_string_new(NULL);
    rc = insert_flow_version(store, flow, scratch);
    if (rc == SQLITE_CONSTRAINT_UNIQUE) {
        *ret_outcome = WRITE_CONFLICT;
        rc = SQLITE_OK;
    } else {
        *ret_outcome = WRITTEN;
        rc = rc == SQLITE_OK ? write_flow_row(store, flow, rowid, scratch) : rc;
        rc = rc == SQLITE_OK ? insert_flow_steps(store, flow) : rc;
    }
    g_string_free(scratch, TRUE);
    return rc;
}

/* A decision behind one of its flow that lost: it rests on what is not there. */
static bool follows_a_loser(const StoreWrite *writes, size_t i)
{
    for (size_t k = 0; k < i && writes[i].kind == WRITE_DECISION; k++) {
        if (writes[k].kind == WRITE_DECISION && writes[k].ret_outcome == WRITE_CONFLICT &&
            strcmp(writes[k].decision.key.flow_id.text, writes[i].decision.key.flow_id.text) == 0) {
            return true;
        }
    }
    return false;
}

static int write_one(SqliteStore *store, StoreWrite *write)
{
    switch (write->kind) {
    case WRITE_RUN:
        return write_run(store, &write->run, &write->ret_outcome);
    case WRITE_FLOW:
        return write_flow(store, write->flow, &write->ret_outcome);
    case WRITE_PUBLISHED:
        write->ret_outcome = WRITTEN;
        bind_id(prepared(store, STATEMENT_DELETE_OUTBOX), 1, &write->published.run_id);
        sqlite3_bind_int64(prepared(store, STATEMENT_DELETE_OUTBOX), 2, write->published.seq);
        return run_statement(store, STATEMENT_DELETE_OUTBOX);
    case WRITE_PROJECTION:
        return write_projection(store, write->projection, write->is_forced, &write->ret_outcome);
    case WRITE_DELETE_RUN:
        write->ret_outcome = WRITTEN;
        return delete_run(store, &write->deleted);
    case WRITE_DECISION:
        return sqlite_write_decision(store, &write->decision, &write->ret_outcome);
    case WRITE_MADE:
        write->ret_outcome = WRITTEN;
        return sqlite_write_made(store, &write->made);
    case WRITE_BACKFILL:
        return sqlite_write_backfill(store, &write->backfill, &write->ret_outcome);
    }
    g_assert_not_reached();
}

/* The transaction is over when this returns; the next call finds the connection as if nothing had been. */
static void abandon(const SqliteStore *store, StoreWrite *writes, size_t n_writes, WriteOutcome outcome)
{
    if (!sqlite3_get_autocommit(store->writer->db)) {   /* on some errors SQLite has rolled back by itself */
        (void)run_statement(store, STATEMENT_ROLLBACK); /* forgets even when it fails: nothing was committed */
    }
    for (size_t i = 0; i < n_writes; i++) {
        writes[i].ret_outcome = outcome;
    }
}

/* Damage is told apart for people; what a caller does is the same, since other groups may still be written. */
static void set_write_error(GError **error, sqlite3 *db, int rc, bool is_unknown)
{
    g_autoptr(GError) inner = NULL;
    set_sqlite_error(&inner, db, rc, is_unknown ? "make the writes durable" : "write");
    g_set_error_literal(error, FLOWOPS_ERROR, is_unknown ? FLOWOPS_UNKNOWN : FLOWOPS_UNAVAILABLE, inner->message);
}

bool sqlite_write(Store *base, StoreWrite *writes, size_t n_writes, GError **error)
{
    SqliteStore *store = (SqliteStore *)base;
    MUTEX_SCOPE(&store->writer_mu);
    while (__atomic_load_n(&store->is_checkpoint_due, __ATOMIC_ACQUIRE)) {
        pthread_cond_wait(&store->checkpoint_is_over, &store->writer_mu);
    }
    sqlite3 *db = store->writer->db;
    int rc = run_statement(store, STATEMENT_BEGIN_WRITE);
    bool has_losers = false;
    for (size_t i = 0; i < n_writes && rc == SQLITE_OK; i++) {
        if (has_losers && follows_a_loser(writes, i)) {
            writes[i].ret_outcome = WRITE_CONFLICT;
            continue;
        }
        rc = write_one(store, &writes[i]);
        has_losers = has_losers || (writes[i].kind == WRITE_DECISION && writes[i].ret_outcome == WRITE_CONFLICT);
    }
    if (rc != SQLITE_OK) {
        set_write_error(error, db, rc, false);
        abandon(store, writes, n_writes, WRITE_NOTHING);
        return false;
    }
    rc = run_statement(store, STATEMENT_COMMIT);
    if (rc != SQLITE_OK) {
        /* Full: the frame that makes it a commit did not fit. Busy: it was not tried. An I/O error may have come after
         * that frame was written: a process that starts before the log is written over would read it. */
        bool is_unknown = (rc & 0xff) != SQLITE_FULL && (rc & 0xff) != SQLITE_BUSY;
        set_write_error(error, db, rc, is_unknown);
        abandon(store, writes, n_writes, is_unknown ? WRITE_UNKNOWN : WRITE_NOTHING);
        return false;
    }
    return true;
}

/* These statements, bound already, as a transaction of their own; writer_mu is held. */
static bool run_alone(SqliteStore *store, const StatementId *statements, size_t n, GError **error)
{
    int rc = run_statement(store, STATEMENT_BEGIN_WRITE);
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++) {
        rc = run_statement(store, statements[i]);
    }
    if (rc == SQLITE_OK) {
        rc = run_statement(store, STATEMENT_COMMIT);
    }
    if (rc != SQLITE_OK) {
        set_write_error(error, store->writer->db, rc, false);
        abandon(store, NULL, 0, WRITE_NOTHING);
    }
    return rc == SQLITE_OK;
}

bool sqlite_put_announcement(Store *base, const Announcement *announcement, int64_t now_ms, GError **error)
{
    static const StatementId statements[] = {STATEMENT_FORGET_ENGINES, STATEMENT_PUT_ENGINE};
    SqliteStore *store = (SqliteStore *)base;
    MUTEX_SCOPE(&store->writer_mu);
    sqlite3_bind_int64(prepared(store, STATEMENT_FORGET_ENGINES), 1, now_ms - ENGINE_KEPT_MS);
    sqlite3_stmt *put = prepared(store, STATEMENT_PUT_ENGINE);
    bind_id(put, 1, &announcement->engine_id);
    sqlite3_bind_int64(put, 2, announcement->announced_at);
    sqlite3_bind_int64(put, 3, now_ms);
    return run_alone(store, statements, G_N_ELEMENTS(statements), error);
}

bool sqlite_check(Store *base, GError **error)
{
    static const StatementId statements[] = {STATEMENT_CHECK};
    SqliteStore *store = (SqliteStore *)base;
    MUTEX_SCOPE(&store->writer_mu);
    return run_alone(store, statements, G_N_ELEMENTS(statements), error);
}
