/* store_sqlite_readonly.c - the store for reading alone, beside the process that holds it. Only the pool of readers is
 * opened: they take SQLite's shared lock, never that of the directory, and can't change the file. */
#include "store/store_sqlite_internal.h"

#include <unistd.h>

static bool refuse_write(Store *base, StoreWrite *writes, size_t n_writes, GError **error)
{
    (void)base;
    for (size_t i = 0; i < n_writes; i++) {
        writes[i].ret_outcome = WRITE_NOTHING;
    }
    g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the store was opened for reading alone");
    return false;
}

static bool refuse_check(Store *base, GError **error)
{
    return refuse_write(base, NULL, 0, error);
}

static bool refuse_announcement(Store *base, const Announcement *announcement, int64_t now_ms, GError **error)
{
    (void)announcement;
    (void)now_ms;
    return refuse_write(base, NULL, 0, error);
}

static const StoreOps readonly_ops = {
    .name = "sqlite, read-only",
    .write = refuse_write,
    SQLITE_READ_OPS,
    .put_announcement = refuse_announcement,
    .check = refuse_check,
    .secret = sqlite_secret,
    .close = sqlite_store_close,
};

/* Looking at a file with a rollback journal would take it back, which is a change. */
static bool inspect(const SqliteStore *store, GError **error)
{
    int newest = schema_steps[n_schema_steps - 1].version;
    int version = 0;
    FileState state = FILE_MISSING;
    g_autofree char *rollback = g_strconcat(store->path, "-journal", NULL);
    if (access(rollback, F_OK) == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                    "%s is being migrated, or was when a process died: start the service on it once", store->path);
        return false;
    }
    if (!file_inspect(store->path, newest, &state, &version, error)) {
        return false;
    }
    if (state == FILE_MISSING) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "there is no store at %s", store->path);
        return false;
    }
    if (version != newest) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "%s has format %d, this flowops reads %d: start the service on it once, which migrates it",
                    store->path, version, newest);
        return false;
    }
    return file_probe(store->path, newest, error);
}

static bool open_reader(SqliteStore *store, GError **error)
{
    Connection *reader = readers_take(store, error);
    if (reader == NULL) {
        return false;
    }
    bool is_read = sqlite_read_secret(store, reader, error);
    readers_give(store, reader);
    return is_read;
}

Store *store_open_sqlite_readonly(const char *data_dir, GError **error)
{
    THREAD_ASSERT_NOT(ROLE_LOOP);
    SqliteStore *store = sqlite_store_new(&readonly_ops, data_dir);
    if (!inspect(store, error) || !open_reader(store, error)) {
        sqlite_store_close(&store->base);
        return NULL;
    }
    return &store->base;
}
