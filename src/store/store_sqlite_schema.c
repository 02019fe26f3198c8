/* store_sqlite_schema.c - the tables, and how a file gets from one version to the next. A new file is built beside its
 * place and moved there complete, and a migration runs in rollback mode, so the main file's first page (application id,
 * version) tells the truth at any instant, with or without a log beside it: file_inspect() counts on that. */
#include "store/store_sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

/* Why each table and index is as it is: docs/sqlite.md. */
static const char schema_v1[] =
    "CREATE TABLE meta ("
    "  name TEXT PRIMARY KEY,"
    "  value BLOB NOT NULL"
    ") STRICT, WITHOUT ROWID;"

    "CREATE TABLE journal ("
    "  run_id TEXT NOT NULL,"
    "  seq INTEGER NOT NULL," /* of the first event of the record */
    "  last_seq INTEGER NOT NULL,"
    "  events TEXT NOT NULL" /* JSON texts, each ended by a newline */
    ") STRICT;"
    "CREATE UNIQUE INDEX journal_run ON journal(run_id, seq);"

    "CREATE TABLE runs ("
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  flow_id TEXT NOT NULL,"
    "  status INTEGER NOT NULL,"
    "  phase INTEGER NOT NULL,"
    "  seq INTEGER NOT NULL,"
    "  pending INTEGER NOT NULL," /* a command, 0 for none */
    "  pending_at INTEGER,"
    "  created_at INTEGER NOT NULL,"
    "  updated_at INTEGER NOT NULL,"
    "  flow_version INTEGER NOT NULL,"
    "  triggered_by TEXT,"
    "  created_by TEXT,"
    "  updated_by TEXT,"
    "  summary TEXT NOT NULL," /* the detail up to its outputs, without the closing brace */
    "  rest TEXT NOT NULL"     /* the rest of the detail */
    ") STRICT;"
    "CREATE UNIQUE INDEX runs_id ON runs(id);"
    "CREATE INDEX runs_owner ON runs(owner, created_at DESC, id);"
    "CREATE INDEX runs_flow ON runs(owner, flow_id, created_at DESC, id);"
    "CREATE INDEX runs_status ON runs(owner, status, created_at DESC, id);"
    "CREATE INDEX runs_unsettled ON runs(phase, id, flow_id, pending_at) WHERE phase < 2;"

    "CREATE TABLE run_labels ("
    "  owner TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  value TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  run_id TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX run_labels_value ON run_labels(owner, name, value, created_at DESC, run_id);"
    "CREATE INDEX run_labels_name ON run_labels(owner, name, created_at DESC, run_id);"

    "CREATE TABLE outbox ("
    "  id INTEGER PRIMARY KEY,"
    "  run_id TEXT NOT NULL,"
    "  seq INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX outbox_run ON outbox(run_id);"

    "CREATE TABLE flow_versions ("
    "  flow_id TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  definition TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX flow_versions_flow ON flow_versions(flow_id, version);"

    "CREATE TABLE flows ("
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  is_deleted INTEGER NOT NULL,"
    "  stops_runs INTEGER NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  updated_at INTEGER NOT NULL,"
    "  created_by TEXT,"
    "  updated_by TEXT,"
    "  summary TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX flows_id ON flows(id);"
    "CREATE INDEX flows_owner ON flows(owner, created_at DESC, id) WHERE is_deleted = 0;"
    "CREATE INDEX flows_stopping ON flows(stops_runs, id) WHERE stops_runs = 1;"

    "CREATE TABLE flow_steps ("
    "  step_id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  flow_id TEXT NOT NULL,"
    "  PRIMARY KEY (step_id, owner, flow_id)"
    ") STRICT, WITHOUT ROWID;";

/* What retention needs: the settled runs by age, and a run's labels. */
static const char schema_v2[] = "CREATE INDEX runs_settled ON runs(phase, updated_at, id) WHERE phase = 2;"
                                "CREATE INDEX run_labels_run ON run_labels(run_id);";

/* Schedules, and what engines have said. A flow that has a cron already is told as flow_encode_schedule() tells it, with inputs to spare. */
static const char schema_v3[] =
    "CREATE TABLE decisions ("
    "  flow_id TEXT NOT NULL,"
    "  n INTEGER NOT NULL,"
    "  is_owed INTEGER NOT NULL," /* its run is not there yet */
    "  decision TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX decisions_flow ON decisions(flow_id, n);"
    "CREATE INDEX decisions_owed ON decisions(flow_id, n) WHERE is_owed = 1;"
    "CREATE INDEX runs_scheduled ON runs(flow_id, id) WHERE phase = 0 AND triggered_by = 'system';"
    "ALTER TABLE flows ADD COLUMN schedule TEXT;"
    "UPDATE flows SET schedule = (SELECT json_remove(v.definition, '$.steps', '$.labels', '$.description')"
    "  FROM flow_versions v WHERE v.flow_id = flows.id AND v.version = flows.version"
    "  AND json_extract(v.definition, '$.cron') IS NOT NULL) WHERE is_deleted = 0;"
    "CREATE INDEX flows_scheduled ON flows(id) WHERE schedule IS NOT NULL;"

    "CREATE TABLE backfills ("
    "  id TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  flow_id TEXT NOT NULL,"
    "  created_at INTEGER NOT NULL,"
    "  is_open INTEGER NOT NULL,"
    "  n INTEGER NOT NULL" /* of the newest entry */
    ") STRICT;"
    "CREATE UNIQUE INDEX backfills_id ON backfills(id);"
    "CREATE INDEX backfills_flow ON backfills(owner, flow_id, created_at DESC, id);"
    "CREATE INDEX backfills_open ON backfills(is_open, id, owner) WHERE is_open = 1;"
    "CREATE TABLE backfill_entries ("
    "  backfill_id TEXT NOT NULL,"
    "  n INTEGER NOT NULL,"
    "  state TEXT NOT NULL,"
    "  plan TEXT" /* with the first */
    ") STRICT;"
    "CREATE UNIQUE INDEX backfill_entries_n ON backfill_entries(backfill_id, n);"

    "CREATE TABLE engines ("
    "  engine_id TEXT PRIMARY KEY,"
    "  announced_at INTEGER NOT NULL," /* by its own clock: the newest announcement that is done with */
    "  updated_at INTEGER NOT NULL"    /* by ours */
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX engines_updated ON engines(updated_at);";

const SchemaStep schema_steps[] = {{1, schema_v1}, {2, schema_v2}, {3, schema_v3}};
const size_t n_schema_steps = G_N_ELEMENTS(schema_steps);

static bool run_sql(sqlite3 *db, const char *sql, const char *doing, GError **error)
{
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, doing);
        return false;
    }
    return true;
}

static void set_errno_error(GError **error, const char *doing, const char *path)
{
    int saved = errno;
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot %s %s: %s", doing, path, g_strerror(saved));
}

/* Makes a file's content, or a directory's entries, survive a power cut. */
static bool flush_path(const char *path, int flags, GError **error)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        set_errno_error(error, "flush", path);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    close(fd);
    return true;
}

static bool move_into_place(const char *from, const char *to, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(to);
    if (!flush_path(from, O_RDWR, error)) {
        return false;
    }
    if (rename(from, to) != 0) {
        set_errno_error(error, "rename to", to);
        return false;
    }
    return flush_path(folder, O_RDONLY | O_DIRECTORY, error);
}

static bool remove_leftover(const char *path, GError **error)
{
    if (unlink(path) != 0 && errno != ENOENT) {
        set_errno_error(error, "remove the leftover", path);
        return false;
    }
    return true;
}

/* The steps after `version`, within the caller's transaction. */
static bool apply_steps(sqlite3 *db, int version, const SchemaStep *steps, size_t n_steps, GError **error)
{
    for (size_t i = 0; i < n_steps; i++) {
        if (steps[i].version <= version) {
            continue;
        }
        g_autofree char *doing = g_strdup_printf("migrate to version %d", steps[i].version);
        g_autofree char *stamp = g_strdup_printf("PRAGMA user_version = %d", steps[i].version);
        if (!run_sql(db, steps[i].sql, doing, error) || !run_sql(db, stamp, doing, error)) {
            return false;
        }
    }
    return true;
}

static sqlite3 *open_plain(const char *path, int flags, GError **error)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, "open the database");
        sqlite3_close(db);
        return NULL;
    }
    sqlite3_extended_result_codes(db, 1);
    return db;
}

static bool insert_secret(sqlite3 *db, GError **error)
{
    unsigned char secret[SECRET_SIZE];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot get random bytes: %s", g_strerror(errno));
        return false;
    }
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, "INSERT INTO meta(name, value) VALUES ('secret', ?1)", -1, &statement, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_bind_blob(statement, 1, secret, sizeof secret, SQLITE_STATIC);
        rc = statement_run(statement);
    }
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, "store the secret");
    }
    sqlite3_finalize(statement);
    return rc == SQLITE_OK;
}

static bool fill_new_file(const char *path, const SchemaStep *steps, size_t n_steps, GError **error)
{
    sqlite3 *db = open_plain(path, SQLITE_OPEN_READWRITE, error);
    if (db == NULL) {
        return false;
    }
    g_autofree char *application = g_strdup_printf("PRAGMA application_id = %d", SQLITE_STORE_APPLICATION_ID);
    /* Nobody sees this file before it is complete and flushed: no journal, no flush per step. */
    bool is_done =
        run_sql(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN", "create the tables", error) &&
        run_sql(db, application, "create the tables", error) && apply_steps(db, 0, steps, n_steps, error) &&
        insert_secret(db, error) && run_sql(db, "COMMIT", "create the tables", error);
    sqlite3_close(db);
    return is_done;
}

bool schema_create(const char *path, const SchemaStep *steps, size_t n_steps, GError **error)
{
    g_autofree char *fresh = g_strconcat(path, ".new", NULL);
    if (!remove_leftover(fresh, error)) {
        return false;
    }
    int fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        set_errno_error(error, "create", fresh);
        return false;
    }
    close(fd);
    if (!fill_new_file(fresh, steps, n_steps, error)) {
        (void)unlink(fresh);
        return false;
    }
    return move_into_place(fresh, path, error);
}

static bool write_backup(sqlite3 *db, const char *path, int version, GError **error)
{
    g_autofree char *backup = g_strdup_printf("%s.v%d.backup", path, version);
    g_autofree char *partial = g_strconcat(backup, ".part", NULL);
    if (!remove_leftover(partial, error)) {
        return false;
    }
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", partial);
    bool is_done = sql != NULL && run_sql(db, sql, "copy the database before its migration", error);
    sqlite3_free(sql);
    if (!is_done) {
        (void)unlink(partial);
        return false;
    }
    (void)chmod(partial, 0600); /* as private as the original; a refusal leaves it as the umask made it */
    return move_into_place(partial, backup, error);
}

static int take_mode(void *arg, int n_columns, char **values, char **names)
{
    (void)n_columns;
    (void)names;
    *(bool *)arg = g_strcmp0(values[0], "delete") == 0;
    return 0;
}

/* Folds the log into the file and does without one. */
static bool leave_wal(sqlite3 *db, GError **error)
{
    bool has_left = false;
    int rc = sqlite3_exec(db, "PRAGMA journal_mode = DELETE", take_mode, &has_left, NULL);
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, "migrate");
    } else if (!has_left) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                            "cannot migrate the database while another program has it open");
    }
    return rc == SQLITE_OK && has_left;
}

bool schema_migrate(const char *path, int version, const SchemaStep *steps, size_t n_steps, GError **error)
{
    sqlite3 *db = open_plain(path, SQLITE_OPEN_READWRITE, error);
    if (db == NULL) {
        return false;
    }
    (void)sqlite3_busy_timeout(db, 5000);
    bool is_done = write_backup(db, path, version, error) && leave_wal(db, error) &&
                   run_sql(db, "PRAGMA synchronous = FULL; BEGIN EXCLUSIVE", "migrate", error);
    if (is_done) {
        is_done = apply_steps(db, version, steps, n_steps, error) && run_sql(db, "COMMIT", "migrate", error);
        if (!is_done && !sqlite3_get_autocommit(db)) {
            (void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL); /* closing rolls back too; the first error is told */
        }
    }
    sqlite3_close(db);
    return is_done;
}
