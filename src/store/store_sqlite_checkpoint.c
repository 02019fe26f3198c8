/* store_sqlite_checkpoint.c - folds the write-ahead log back into the database, on a thread of its own.
 * Left to the writer, every few hundred milliseconds one commit would carry the whole copying and its flush; left to
 * SQLite's automatic way, the log would grow for as long as readers overlap, since it starts over only at an instant
 * without any. So: PASSIVE first, which copies nearly everything while the writer goes on, then RESTART with the writer
 * held for the few frames that came meanwhile; readers that begin after it read the database alone. */
#include "store/store_sqlite_internal.h"

/* 16 MiB: rarely enough that a hot page is copied once for hundreds of changes, little enough that a start after a crash
 * reads the log in some 20 ms. */
#define CHECKPOINT_FRAMES 4096
/* How long RESTART waits for readers of old snapshots, with the writer held. Beyond the second bound the log's size
 * weighs more than a pause: the slowest reads are lists with totals of millions of runs. */
#define READERS_WAIT_MS 50
#define OVERDUE_FRAMES (16 * CHECKPOINT_FRAMES)
#define OVERDUE_WAIT_MS 2000

struct Checkpointer {
    SqliteStore *store;
    Connection *connection;
    Thread *thread;
    Bell bell;
    int n_frames;    /* atomic; in the log after the last commit */
    int next_frames; /* atomic; when it is due */
};

static void checkpoint(Checkpointer *self)
{
    sqlite3 *db = self->connection->db;
    (void)sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    int n_frames = __atomic_load_n(&self->n_frames, __ATOMIC_RELAXED);
    (void)sqlite3_busy_timeout(db, n_frames >= OVERDUE_FRAMES ? OVERDUE_WAIT_MS : READERS_WAIT_MS);
    __atomic_store_n(&self->store->is_checkpoint_due, true, __ATOMIC_RELEASE);
    MUTEX_SCOPE(&self->store->writer_mu);
    int rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    /* One that fails (no room, a slow reader) loses nothing; it is tried again, but not after every commit. */
    n_frames = __atomic_load_n(&self->n_frames, __ATOMIC_RELAXED);
    int next = (rc == SQLITE_OK ? 0 : n_frames) + CHECKPOINT_FRAMES;
    __atomic_store_n(&self->next_frames, next, __ATOMIC_RELAXED);
    __atomic_store_n(&self->store->is_checkpoint_due, false, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&self->store->checkpoint_is_over);
}

static void checkpointer_main(void *arg)
{
    Checkpointer *self = arg;
    while (bell_wait(&self->bell, -1)) {
        checkpoint(self);
    }
}

Checkpointer *checkpointer_start(SqliteStore *store, GError **error)
{
    Connection *connection = connection_open(store->path, CONNECTION_CHECKPOINTER, error);
    if (connection == NULL) {
        return NULL;
    }
    Checkpointer *self = g_new0(Checkpointer, 1);
    self->store = store;
    self->connection = connection;
    self->next_frames = CHECKPOINT_FRAMES;
    bell_init(&self->bell);
    self->thread = thread_start("store-wal", ROLE_WRITER, checkpointer_main, self, error);
    if (self->thread == NULL) {
        checkpointer_stop(self);
        return NULL;
    }
    return self;
}

void checkpointer_stop(Checkpointer *self)
{
    if (self == NULL) {
        return;
    }
    bell_close(&self->bell);
    thread_join(self->thread);
    connection_close(self->connection);
    bell_done(&self->bell);
    g_free(self);
}

void checkpointer_note(Checkpointer *self, int n_frames)
{
    __atomic_store_n(&self->n_frames, n_frames, __ATOMIC_RELAXED);
    if (n_frames >= __atomic_load_n(&self->next_frames, __ATOMIC_RELAXED)) {
        bell_ring(&self->bell);
    }
}
