/* store_sqlite.c - the store as one SQLite file: opening and closing. One connection writes, up to a handful read, a
 * third kind folds the log back. docs/sqlite.md explains the file. */
#include "store/store_sqlite_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define DATABASE_NAME "flowops.db"

void sqlite_store_close(Store *base)
{
    SqliteStore *store = (SqliteStore *)base;
    checkpointer_stop(store->checkpointer);
    for (Connection *connection = store->idle_readers, *next; connection != NULL; connection = next) {
        next = connection->next_idle;
        connection_close(connection);
    }
    connection_close(store->writer); /* the last one out folds the log into the database */
    lock_release(store->lock_fd);
    pthread_cond_destroy(&store->checkpoint_is_over);
    pthread_cond_destroy(&store->reader_is_idle);
    mutex_done(&store->readers_mu);
    mutex_done(&store->writer_mu);
    g_free(store->path);
    g_free(store);
}

const unsigned char *sqlite_secret(Store *base)
{
    return ((SqliteStore *)base)->secret;
}

static const StoreOps sqlite_ops = {
    .name = "sqlite",
    .write = sqlite_write,
    SQLITE_READ_OPS,
    .put_announcement = sqlite_put_announcement,
    .check = sqlite_check,
    .secret = sqlite_secret,
    .close = sqlite_store_close,
};

static bool make_data_dir(const char *data_dir, GError **error)
{
    if (g_mkdir_with_parents(data_dir, 0700) != 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot make the data directory %s: %s", data_dir,
                    g_strerror(errno));
        return false;
    }
    return true;
}

/* Leaves a sound file of the last version at store->path, or an error and everything as it was. */
static bool prepare_file(const SqliteStore *store, GError **error)
{
    int newest = schema_steps[n_schema_steps - 1].version;
    int version = 0;
    FileState state;
    if (!file_inspect(store->path, newest, &state, &version, error)) {
        return false;
    }
    if (state == FILE_MISSING) {
        return schema_create(store->path, schema_steps, n_schema_steps, error);
    }
    if (!file_probe(store->path, newest, error)) {
        return false;
    }
    return version == newest || schema_migrate(store->path, version, schema_steps, n_schema_steps, error);
}

static int note_log_size(void *arg, sqlite3 *db, const char *name, int n_frames)
{
    (void)db;
    (void)name;
    checkpointer_note(arg, n_frames);
    return SQLITE_OK;
}

static bool take_secret(SqliteStore *store, sqlite3_stmt *statement, GError **error)
{
    int found = statement_next(statement, error);
    if (found == 1 && sqlite3_column_bytes(statement, 0) == SECRET_SIZE) {
        memcpy(store->secret, sqlite3_column_blob(statement, 0), SECRET_SIZE);
        return true;
    }
    if (found >= 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s is corrupt: it has no secret", store->path);
    }
    return false;
}

bool sqlite_read_secret(SqliteStore *store, Connection *connection, GError **error)
{
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(connection->db, "SELECT value FROM meta WHERE name = 'secret'", -1, &statement, NULL);
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, connection->db, rc, "read the database's settings");
    }
    bool is_read = rc == SQLITE_OK && take_secret(store, statement, error);
    sqlite3_finalize(statement);
    return is_read;
}

static bool open_connections(SqliteStore *store, GError **error)
{
    store->writer = connection_open(store->path, CONNECTION_WRITER, error);
    if (store->writer == NULL) {
        return false;
    }
    /* What is prepared now can't fail for want of memory or a damaged schema later, with a batch half written. */
    for (StatementId id = 0; id < STATEMENT_GET_FLOW; id++) {
        if (connection_statement(store->writer, id, error) == NULL) {
            return false;
        }
    }
    if (!sqlite_read_secret(store, store->writer, error)) {
        return false;
    }
    /* One reader from the start: with it, reads go on when descriptors run out. */
    Connection *reader = readers_take(store, error);
    if (reader == NULL) {
        return false;
    }
    readers_give(store, reader);
    store->checkpointer = checkpointer_start(store, error);
    if (store->checkpointer == NULL) {
        return false;
    }
    (void)sqlite3_wal_hook(store->writer->db, note_log_size, store->checkpointer);
    return true;
}

/* SQLite counts its memory under one mutex of the whole process unless told not to, which is a seventh of an append's
 * processor time; nobody reads the count. Too late, and without harm, when somebody has used SQLite before. */
static void configure_library(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

SqliteStore *sqlite_store_new(const StoreOps *ops, const char *data_dir)
{
    static pthread_once_t is_configured = PTHREAD_ONCE_INIT;
    (void)pthread_once(&is_configured, configure_library);
    SqliteStore *store = g_new0(SqliteStore, 1);
    store->base.ops = ops;
    store->lock_fd = -1;
    mutex_init(&store->writer_mu);
    mutex_init(&store->readers_mu);
    pthread_cond_init(&store->reader_is_idle, NULL);
    pthread_cond_init(&store->checkpoint_is_over, NULL);
    g_autofree char *folder = g_canonicalize_filename(data_dir, NULL); /* readers open later, wherever the process is */
    store->path = g_build_filename(folder, DATABASE_NAME, NULL);
    return store;
}

Store *store_open_sqlite(const char *data_dir, const Clock *clock, GError **error)
{
    THREAD_ASSERT_NOT(ROLE_LOOP);
    if (!make_data_dir(data_dir, error)) {
        return NULL;
    }
    int lock_fd = lock_take(data_dir, clock, error);
    if (lock_fd < 0) {
        return NULL;
    }
    SqliteStore *store = sqlite_store_new(&sqlite_ops, data_dir);
    store->lock_fd = lock_fd;
    if (!prepare_file(store, error) || !open_connections(store, error)) {
        sqlite_store_close(&store->base);
        return NULL;
    }
    return &store->base;
}
