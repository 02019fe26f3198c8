/* faulty_disk.c - real files with the methods under test replaced. A file keeps the system's own object; only its table
 * of methods is a copy, so everything that is not replaced works as ever. */
#include "faulty_disk.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include <sqlite3.h>

typedef struct {
    long n_calls, first, n_times;
    int code;
} Fault;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static Fault faults[N_DISK_CALLS]; /* guarded by mu */
static sqlite3_vfs *real_vfs, faulty_vfs;

/* Copies of the tables that the system's files came with, for the log and for the main file. */
typedef struct {
    const sqlite3_io_methods *real;
    sqlite3_io_methods faulty;
} Methods;
static Methods methods[2][8]; /* guarded by mu */

static int verdict(DiskCall call)
{
    pthread_mutex_lock(&mu);
    Fault *fault = &faults[call];
    long n = ++fault->n_calls;
    bool fails = fault->n_times > 0 && n >= fault->first && n - fault->first < fault->n_times;
    int code = fails ? fault->code : SQLITE_OK;
    pthread_mutex_unlock(&mu);
    return code;
}

static const sqlite3_io_methods *real_of(const sqlite3_file *file)
{
    /* The faulty table lies behind the pointer to the real one. */
    const Methods *pair = (const void *)((const char *)file->pMethods - offsetof(Methods, faulty));
    return pair->real;
}

static int log_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    int code = verdict(DISK_LOG_WRITE);
    return code != SQLITE_OK ? code : real_of(file)->xWrite(file, bytes, n, at);
}

static int log_sync(sqlite3_file *file, int flags)
{
    int code = verdict(DISK_LOG_SYNC);
    return code != SQLITE_OK ? code : real_of(file)->xSync(file, flags);
}

static int main_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 at)
{
    int code = verdict(DISK_MAIN_WRITE);
    return code != SQLITE_OK ? code : real_of(file)->xWrite(file, bytes, n, at);
}

static int main_sync(sqlite3_file *file, int flags)
{
    int code = verdict(DISK_MAIN_SYNC);
    return code != SQLITE_OK ? code : real_of(file)->xSync(file, flags);
}

static int main_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 at)
{
    int code = verdict(DISK_MAIN_READ);
    return code != SQLITE_OK ? code : real_of(file)->xRead(file, bytes, n, at);
}

static const sqlite3_io_methods *faulty_methods(const sqlite3_io_methods *real, bool is_log)
{
    pthread_mutex_lock(&mu);
    Methods *pair = methods[is_log];
    while (pair->real != NULL && pair->real != real)
        pair++;
    if (pair->real == NULL) {
        pair->real = real;
        pair->faulty = *real;
        pair->faulty.xWrite = is_log ? log_write : main_write;
        pair->faulty.xSync = is_log ? log_sync : main_sync;
        if (!is_log)
            pair->faulty.xRead = main_read;
    }
    pthread_mutex_unlock(&mu);
    return &pair->faulty;
}

static int faulty_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *ret_flags)
{
    (void)vfs;
    int rc = real_vfs->xOpen(real_vfs, name, file, flags, ret_flags);
    if (rc == SQLITE_OK && (flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_DB)) != 0)
        file->pMethods = faulty_methods(file->pMethods, (flags & SQLITE_OPEN_WAL) != 0);
    return rc;
}

void faulty_disk_install(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty-disk";
    faulty_vfs.xOpen = faulty_open;
    (void)sqlite3_vfs_register(&faulty_vfs, 1);
}

void faulty_disk_set(DiskCall call, int code, long nth, long n_times)
{
    pthread_mutex_lock(&mu);
    Fault *fault = &faults[call];
    *fault = (Fault){.n_calls = fault->n_calls, .first = fault->n_calls + nth, .n_times = n_times, .code = code};
    pthread_mutex_unlock(&mu);
}

void faulty_disk_clear(void)
{
    pthread_mutex_lock(&mu);
    memset(faults, 0, sizeof faults);
    pthread_mutex_unlock(&mu);
}

long faulty_disk_count(DiskCall call)
{
    pthread_mutex_lock(&mu);
    long n = faults[call].n_calls;
    pthread_mutex_unlock(&mu);
    return n;
}
