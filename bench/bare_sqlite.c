/* bench_bare_sqlite FILE PER_COMMIT EVENTS_PER_RUN SECONDS: the limit that starts and events are held against. A loop
 * around SQLite and nothing else, on a store made by the service: for each append one journal row and one write of its
 * run's row, with every index, the bytes of the newest run in the file, fresh version 7 ids, WAL and synchronous=FULL.
 * EVENTS_PER_RUN 1 only creates runs; n appends n - 1 more times to each, rewriting its row. PER_COMMIT 1 prints the
 * median of single commits. Prints one JSON object. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/id.h"

static sqlite3 *db;

static void check(int rc, const char *doing)
{
    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW)
        return;
    fprintf(stderr, "bench_bare_sqlite: %s: %s\n", doing, sqlite3_errmsg(db));
    exit(1);
}

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *statement;
    check(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), sql);
    return statement;
}

static void run(sqlite3_stmt *statement)
{
    check(sqlite3_step(statement), sqlite3_sql(statement));
    sqlite3_reset(statement);
}

static char *column_copy(sqlite3_stmt *statement, int column)
{
    return g_strdup((const char *)sqlite3_column_text(statement, column));
}

typedef struct {
    char *owner, *flow_id, *created_by, *summary, *rest, *events;
} Sample;

/* The newest run of the file gives the bytes; events: of its first record (a creation) or of its last. */
static Sample read_sample(bool is_creation)
{
    sqlite3_stmt *select =
        prepare("SELECT owner, flow_id, created_by, summary, rest, id FROM runs ORDER BY rowid DESC LIMIT 1");
    check(sqlite3_step(select), "read a sample run");
    Sample sample = {column_copy(select, 0), column_copy(select, 1), column_copy(select, 2),
                     column_copy(select, 3), column_copy(select, 4), NULL};
    sqlite3_stmt *journal =
        prepare(is_creation ? "SELECT events FROM journal WHERE run_id = ?1 ORDER BY seq LIMIT 1"
                            : "SELECT events FROM journal WHERE run_id = ?1 ORDER BY seq DESC LIMIT 1");
    sqlite3_bind_value(journal, 1, sqlite3_column_value(select, 5));
    check(sqlite3_step(journal), "read a sample record");
    sample.events = column_copy(journal, 0);
    if (!is_creation)
        *(strchr(sample.events, '\n') + 1) = '\0'; /* one event */
    sqlite3_finalize(journal);
    sqlite3_finalize(select);
    return sample;
}

static int compare_int64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_bare_sqlite FILE PER_COMMIT EVENTS_PER_RUN SECONDS\n");
        return 2;
    }
    int64_t per_commit = atoll(argv[2]), per_run = atoll(argv[3]);
    int64_t run_us = (int64_t)(atof(argv[4]) * 1e6);
    check(sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL), "open");
    check(sqlite3_exec(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-8192;", NULL, NULL,
                       NULL),
          "set up");
    Sample sample = read_sample(per_run == 1);
    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    sqlite3_stmt *journal = prepare("INSERT INTO journal(run_id, seq, last_seq, events) VALUES (?1, ?2, ?2, ?3)");
    sqlite3_stmt *insert = prepare(
        "INSERT INTO runs(id, owner, flow_id, flow_version, triggered_by, created_at, created_by, updated_at, updated_by, seq,"
        " pending, summary, rest, status, phase, pending_at) VALUES (?1, ?2, ?3, 1, ?2, ?4, ?5, ?4, ?5, ?6, 1, ?7, ?8, 1, 0, ?4)");
    sqlite3_stmt *update =
        prepare("UPDATE runs SET updated_at = ?2, seq = ?3, summary = ?4, rest = ?5, status = 2 WHERE id = ?1");

    g_autoptr(Clock) clock = clock_new_system();
    g_autoptr(GArray) commits = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int64_t start_us = clock_monotonic_us(clock), now_us = start_us, n_appends = 0, seq = 0;
    double start_cpu = processor_seconds();
    Id id = {""};
    while (now_us - start_us < run_us) {
        int64_t commit_us = now_us;
        int64_t now_ms = clock_wall_ms(clock);
        run(begin);
        for (int64_t i = 0; i < per_commit; i++, n_appends++) {
            bool is_new = n_appends % per_run == 0;
            seq = is_new ? 1 : seq + 1;
            if (is_new)
                id = id_make(now_ms);
            sqlite3_bind_text(journal, 1, id.text, -1, SQLITE_STATIC);
            sqlite3_bind_int64(journal, 2, seq);
            sqlite3_bind_text(journal, 3, sample.events, -1, SQLITE_STATIC);
            run(journal);
            sqlite3_stmt *row = is_new ? insert : update;
            sqlite3_bind_text(row, 1, id.text, -1, SQLITE_STATIC);
            if (is_new) {
                sqlite3_bind_text(row, 2, sample.owner, -1, SQLITE_STATIC);
                sqlite3_bind_text(row, 3, sample.flow_id, -1, SQLITE_STATIC);
                sqlite3_bind_int64(row, 4, now_ms);
                sqlite3_bind_text(row, 5, sample.created_by, -1, SQLITE_STATIC);
                sqlite3_bind_int64(row, 6, seq);
                sqlite3_bind_text(row, 7, sample.summary, -1, SQLITE_STATIC);
                sqlite3_bind_text(row, 8, sample.rest, -1, SQLITE_STATIC);
            } else {
                sqlite3_bind_int64(row, 2, now_ms);
                sqlite3_bind_int64(row, 3, seq);
                sqlite3_bind_text(row, 4, sample.summary, -1, SQLITE_STATIC);
                sqlite3_bind_text(row, 5, sample.rest, -1, SQLITE_STATIC);
            }
            run(row);
        }
        run(commit);
        now_us = clock_monotonic_us(clock);
        int64_t took_us = now_us - commit_us;
        g_array_append_val(commits, took_us);
    }
    double seconds = (double)(now_us - start_us) / 1e6, cpu = processor_seconds() - start_cpu;
    qsort(commits->data, commits->len, sizeof(int64_t), compare_int64);
    printf("{\"rate\": %.1f, \"cpu_us\": %.3f, \"commit_p50_us\": %" G_GINT64_FORMAT "}\n", (double)n_appends / seconds,
           cpu * 1e6 / (double)n_appends, g_array_index(commits, int64_t, commits->len / 2));
    sqlite3_close_v2(db);
    return 0;
}
