/* test_sqlite_trouble.c - a disk that is full, that fails, that lies: what store_write() says is what happened, and the
 * store goes on by itself when the disk does. The disk is SQLite's own file layer, failing at the call a test names. */
#include "store_support.h"

#include <stdio.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/thread.h"
#include "faulty_disk.h"
#include "store/store_sqlite_internal.h"

enum { N_RUNS = 5, N_FRAMES_MAX = 400 };

static Id owner, flow_id;

static int setup(void **state)
{
    faulty_disk_clear();
    *state = store_fixture_new(store_open_sqlite);
    return 0;
}

static int teardown(void **state)
{
    faulty_disk_clear();
    store_fixture_free(*state);
    return 0;
}

/* Five runs at once, one of them new each time, with more text than the writer's cache would need to spill. */
typedef struct {
    SampleRun *runs[N_RUNS];
    StoreWrite writes[N_RUNS];
} Group;

static Group *group_new(void)
{
    Group *group = g_new0(Group, 1);
    for (unsigned n = 0; n < N_RUNS; n++)
        group->runs[n] = sample_run_new(n, &owner, &flow_id);
    return group;
}

static void group_free(Group *group)
{
    for (unsigned n = 0; n < N_RUNS; n++)
        sample_run_free(group->runs[n]);
    g_free(group);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Group, group_free)

static bool group_write(Store *store, Group *group, GError **error)
{
    for (unsigned n = 0; n < N_RUNS; n++) {
        sample_command(group->runs[n], group->runs[n]->row.seq + 1);
        group->writes[n] = sample_append(group->runs[n], 2, 3000);
    }
    return store_write(store, group->writes, N_RUNS, error);
}

static void group_undo(Group *group)
{
    for (unsigned n = 0; n < N_RUNS; n++)
        group->runs[n]->row.seq -= 2;
}

static void check_group(Store *store, const Group *group, int64_t seq)
{
    for (unsigned n = 0; n < N_RUNS; n++) {
        const Id *id = &group->runs[n]->row.run_id;
        assert_int_equal(check_journal(store, id, 0, 100, 1 << 20, 3000), seq);
        g_autoptr(GError) error = NULL;
        g_autoptr(RunDocument) document = store_get_run(store, id->text, &error);
        assert_true(seq == 0 ? document == NULL : document->seq == seq);
    }
    RunSeq entries[1000];
    size_t n_entries = 0;
    g_autoptr(GError) error = NULL;
    assert_true(store_read_outbox(store, NULL, 1000, entries, &n_entries, &error));
    assert_int_equal(n_entries, (size_t)seq / 2 * N_RUNS);
}

static void assert_outcomes(const Group *group, WriteOutcome outcome)
{
    for (unsigned n = 0; n < N_RUNS; n++)
        assert_int_equal(group->writes[n].ret_outcome, outcome);
}

static void test_no_fault_is_felt(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) error = NULL;
    assert_true(group_write(fixture->store, group, &error));
    assert_outcomes(group, WRITTEN);
    check_group(fixture->store, group, 2);
    assert_true(faulty_disk_count(DISK_LOG_WRITE) > 0);
    assert_true(faulty_disk_count(DISK_LOG_SYNC) > 0);
}

/* Full at the first, second, ... write of the log until the group fits: nothing happened, everything before is there,
 * and the same group is taken once there is room. */
static void test_disk_full_at_every_write(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    int64_t seq = 0;
    long n_failed = 0;
    for (long nth = 1; nth < N_FRAMES_MAX; nth++) {
        g_autoptr(GError) error = NULL;
        faulty_disk_set(DISK_LOG_WRITE, SQLITE_FULL, nth, N_FRAMES_MAX);
        bool is_written = group_write(fixture->store, group, &error);
        faulty_disk_clear();
        if (is_written) {
            seq += 2;
            break;
        }
        n_failed++;
        assert_error(error, FLOWOPS_UNAVAILABLE);
        assert_non_null(strstr(error->message, "full"));
        assert_outcomes(group, WRITE_NOTHING);
        group_undo(group);
        check_group(fixture->store, group, seq);
        g_autoptr(GError) second = NULL;
        assert_true(group_write(fixture->store, group, &second));
        assert_outcomes(group, WRITTEN);
        seq += 2;
    }
    assert_true(n_failed > 5);
    check_group(fixture->store, group, seq);
    store_fixture_reopen(fixture);
    check_group(fixture->store, group, seq);
}

/* Full for a while: every attempt says so, reads go on, nothing piles up. */
static void test_disk_full_for_long(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) first = NULL;
    assert_true(group_write(fixture->store, group, &first));
    faulty_disk_set(DISK_LOG_WRITE, SQLITE_FULL, 1, 1000000);
    for (int i = 0; i < 50; i++) {
        g_autoptr(GError) error = NULL;
        assert_false(group_write(fixture->store, group, &error));
        assert_error(error, FLOWOPS_UNAVAILABLE);
        assert_outcomes(group, WRITE_NOTHING);
        group_undo(group);
        g_autoptr(GError) check_error = NULL;
        assert_false(store_check(fixture->store, &check_error));
        assert_error(check_error, FLOWOPS_UNAVAILABLE);
        check_group(fixture->store, group, 2);
    }
    faulty_disk_clear();
    g_autoptr(GError) error = NULL;
    assert_true(store_check(fixture->store, &error));
    assert_true(group_write(fixture->store, group, &error));
    check_group(fixture->store, group, 4);
}

static void copy_store(const StoreFixture *from, const StoreFixture *to)
{
    static const char *const names[] = {"flowops.db", "flowops.db-wal"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *source = store_file(from, names[i]);
        g_autofree char *target = store_file(to, names[i]);
        g_autofree char *bytes = NULL;
        size_t size = 0;
        assert_true(g_file_get_contents(source, &bytes, &size, NULL));
        assert_true(g_file_set_contents(target, bytes, (gssize)size, NULL));
    }
}

static int64_t seq_of(Store *store, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run_id->text, &error);
    return document != NULL ? document->seq : 0;
}

/* A flush that fails leaves the outcome open: this process does not see the group, one that starts from the same disk
 * may. Both see all of it or nothing, and the same group again is taken or a conflict. */
static void test_flush_that_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) none = NULL;
    assert_true(group_write(fixture->store, group, &none));
    faulty_disk_set(DISK_LOG_SYNC, SQLITE_IOERR_FSYNC, 1, 1);
    g_autoptr(GError) error = NULL;
    assert_false(group_write(fixture->store, group, &error));
    assert_error(error, FLOWOPS_UNKNOWN);
    assert_outcomes(group, WRITE_UNKNOWN);
    group_undo(group);
    check_group(fixture->store, group, 2);

    g_autoptr(StoreFixture) crashed = store_fixture_new(store_open_sqlite);
    store_close(g_steal_pointer(&crashed->store));
    copy_store(fixture, crashed);
    crashed->store = store_open_sqlite(crashed->data_dir, crashed->clock, &none);
    assert_no_error(none);
    check_group(crashed->store, group, seq_of(crashed->store, &group->runs[0]->row.run_id));

    assert_true(group_write(fixture->store, group, &none));
    assert_outcomes(group, WRITTEN);
    check_group(fixture->store, group, 4);
    store_fixture_reopen(fixture);
    check_group(fixture->store, group, 4);
}

static void test_write_that_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    int64_t seq = 0;
    for (long nth = 1; nth < N_FRAMES_MAX; nth += 3) {
        g_autoptr(GError) error = NULL;
        faulty_disk_set(DISK_LOG_WRITE, SQLITE_IOERR_WRITE, nth, 1);
        bool is_written = group_write(fixture->store, group, &error);
        bool was_reached = faulty_disk_count(DISK_LOG_WRITE) >= nth;
        faulty_disk_clear();
        assert_int_equal(is_written, !was_reached);
        if (is_written) {
            seq += 2;
            break;
        }
        assert_error(error, FLOWOPS_UNKNOWN);
        assert_outcomes(group, WRITE_UNKNOWN);
        group_undo(group);
        check_group(fixture->store, group, seq);
    }
    store_fixture_reopen(fixture);
    check_group(fixture->store, group, seq);
}

/* A group larger than the writer's cache writes to the log before its commit; a disk that fills up meanwhile. */
static void test_disk_full_before_the_commit(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) large = sample_run_new(2, &owner, &flow_id);
    append_events(fixture->store, run, 1);
    StoreWrite writes[] = {sample_append(large, 40, 512 * 1024), sample_append(run, 1, 0)};
    faulty_disk_set(DISK_LOG_WRITE, SQLITE_FULL, 3000, 1000000);
    g_autoptr(GError) error = NULL;
    assert_false(store_write(fixture->store, writes, 2, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(writes[0].ret_outcome, WRITE_NOTHING);
    assert_int_equal(writes[1].ret_outcome, WRITE_NOTHING);
    faulty_disk_clear();
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 10, 1000, 0), 1);
    assert_int_equal(check_journal(fixture->store, &large->row.run_id, 0, 10, 1000, 0), 0);
    g_autoptr(GError) second = NULL;
    assert_true(store_write(fixture->store, writes, 2, &second));
    assert_int_equal(check_journal(fixture->store, &large->row.run_id, 0, 100, 1 << 30, 512 * 1024), 40);
}

/* The database file itself can't be written: the log keeps everything, and grows until it can. */
static void test_checkpoint_that_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    faulty_disk_set(DISK_MAIN_WRITE, SQLITE_FULL, 1, 1000000000);
    for (int i = 0; i < 40; i++)
        assert_int_equal(write_one(fixture->store, sample_append(run, 1, 512 * 1024)), WRITTEN);
    faulty_disk_clear();
    for (int i = 0; i < 40; i++)
        assert_int_equal(write_one(fixture->store, sample_append(run, 1, 512 * 1024)), WRITTEN);
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 100, 1 << 30, 512 * 1024), 80);
    store_fixture_reopen(fixture);
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 100, 1 << 30, 512 * 1024), 80);
}

static void test_closing_with_a_disk_that_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) error = NULL;
    assert_true(group_write(fixture->store, group, &error));
    faulty_disk_set(DISK_MAIN_WRITE, SQLITE_IOERR_WRITE, 1, 1000000);
    faulty_disk_set(DISK_MAIN_SYNC, SQLITE_IOERR_FSYNC, 1, 1000000);
    store_close(g_steal_pointer(&fixture->store));
    faulty_disk_clear();
    fixture->store = store_open_sqlite(fixture->data_dir, fixture->clock, &error);
    assert_no_error(error);
    check_group(fixture->store, group, 2);
}

static void test_reading_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) none = NULL;
    assert_true(group_write(fixture->store, group, &none));
    store_fixture_reopen(fixture); /* so that pages come from the file */
    const char *id = group->runs[0]->row.run_id.text;
    faulty_disk_set(DISK_MAIN_READ, SQLITE_IOERR_READ, 1, 1000000);
    g_autoptr(GError) first = NULL, second = NULL, third = NULL, fourth = NULL;
    assert_null(store_get_run(fixture->store, id, &first));
    assert_error(first, FLOWOPS_UNAVAILABLE);
    assert_null(store_read_journal(fixture->store, id, 0, 10, 1000, &second));
    assert_error(second, FLOWOPS_UNAVAILABLE);
    ListQuery query = query_of(&owner);
    assert_null(store_list_runs(fixture->store, &query, &third));
    assert_error(third, FLOWOPS_UNAVAILABLE);
    int64_t n;
    assert_false(store_count_open_runs(fixture->store, NULL, &n, &fourth));
    assert_error(fourth, FLOWOPS_UNAVAILABLE);
    faulty_disk_clear();
    check_group(fixture->store, group, 2);
}

/* Pages that turn bad under a running store: errors, no crash, and no outcome that is not so. */
static void test_corruption_at_runtime(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (int i = 0; i < 100; i++)
        assert_int_equal(write_one(fixture->store, sample_append(run, 5, 1500)), WRITTEN);
    store_fixture_reopen(fixture); /* with the log folded in and cold caches */
    g_autofree char *path = store_file(fixture, "flowops.db");
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    char garbage[4096];
    memset(garbage, 0xff, sizeof garbage);
    for (long at = 4096; at < size; at += 4096) { /* not the first: another process would not open it at all */
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        assert_int_equal(fwrite(garbage, 1, sizeof garbage, file), sizeof garbage);
    }
    assert_int_equal(fclose(file), 0);

    g_autoptr(GError) first = NULL, second = NULL, third = NULL, fourth = NULL;
    assert_null(store_get_run(fixture->store, run->row.run_id.text, &first));
    assert_error(first, FLOWOPS_INTERNAL);
    assert_null(store_read_journal(fixture->store, run->row.run_id.text, 0, 10, 1000, &second));
    assert_error(second, FLOWOPS_INTERNAL);
    ListQuery query = query_of(&owner);
    assert_null(store_list_runs(fixture->store, &query, &third));
    assert_error(third, FLOWOPS_INTERNAL);
    StoreWrite write = sample_append(run, 1, 0);
    assert_false(store_write(fixture->store, &write, 1, &fourth));
    assert_error(fourth, FLOWOPS_UNAVAILABLE);
    assert_int_equal(write.ret_outcome, WRITE_NOTHING);
    g_autoptr(GError) fifth = NULL;
    assert_false(store_write(fixture->store, &write, 1, &fifth));
}

static int run_sql(const StoreFixture *fixture, const char *sql)
{
    g_autofree char *path = store_file(fixture, "flowops.db");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return rc;
}

/* A statement that fails in the middle of a group without ending the transaction, as it does for a full disk: no half of
 * the group stays, and nobody else finds the database locked. */
static void test_statement_that_fails(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(Group) group = group_new();
    g_autoptr(GError) none = NULL;
    assert_true(group_write(fixture->store, group, &none));
    assert_int_equal(run_sql(fixture, "CREATE TRIGGER no_third BEFORE UPDATE ON runs WHEN new.id LIKE '00000003%'"
                                      " BEGIN SELECT RAISE(ABORT, 'no'); END"),
                     SQLITE_OK);
    for (int i = 0; i < 3; i++) {
        g_autoptr(GError) error = NULL;
        assert_false(group_write(fixture->store, group, &error));
        assert_error(error, FLOWOPS_UNAVAILABLE);
        assert_outcomes(group, WRITE_NOTHING);
        group_undo(group);
        check_group(fixture->store, group, 2);
    }
    assert_int_equal(run_sql(fixture, "DROP TRIGGER no_third"), SQLITE_OK);
    assert_true(group_write(fixture->store, group, &none));
    check_group(fixture->store, group, 4);
}

/* A record whose text does not hold the events its row promises. */
static void test_damaged_record(void **state)
{
    StoreFixture *fixture = *state;
    static const char *const damages[] = {
        "UPDATE journal SET events = substr(events, 1, length(events) - 5) WHERE seq = 4",
        "UPDATE journal SET last_seq = last_seq + 1 WHERE seq = 4", "UPDATE journal SET events = '' WHERE seq = 4",
        "DELETE FROM journal WHERE seq = 4"};
    for (unsigned i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autoptr(SampleRun) run = sample_run_new(i, &owner, &flow_id);
        for (int j = 0; j < 3; j++)
            append_events(fixture->store, run, 3);
        g_autofree char *sql = g_strdup_printf("%s AND run_id = '%s'", damages[i], run->row.run_id.text);
        assert_int_equal(run_sql(fixture, sql), SQLITE_OK);
        g_autoptr(GError) error = NULL;
        assert_null(store_read_journal(fixture->store, run->row.run_id.text, 0, 100, 10000, &error));
        assert_error(error, FLOWOPS_INTERNAL);
        assert_non_null(strstr(error->message, run->row.run_id.text));
    }
}

/* ---- no descriptors left ---- */

typedef struct {
    Store *store;
    const char *run_id;
    int n_right; /* atomic */
} LateReads;

enum { N_LATE_READS = 500 };

static void read_late(void *arg)
{
    LateReads *late = arg;
    for (int i = 0; i < N_LATE_READS; i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(RunDocument) document = store_get_run(late->store, late->run_id, &error);
        __atomic_add_fetch(&late->n_right, document != NULL, __ATOMIC_SEQ_CST);
    }
}

/* No second reader can be opened: calls wait for the one there is. */
static void test_out_of_descriptors(void **state)
{
    StoreFixture *fixture = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 1);
    LateReads late = {.store = fixture->store, .run_id = run->row.run_id.text};
    g_autoptr(GError) error = NULL;
    struct rlimit before, none = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    Connection *held = readers_take((SqliteStore *)fixture->store, &error);
    Thread *thread = thread_start("test-late", ROLE_READER, read_late, &late, &error);
    assert_no_error(error);
    for (int i = 0; i < N_LATE_READS && held != NULL; i++) {
        (void)sched_yield();
        readers_give((SqliteStore *)fixture->store, held);
        held = readers_take((SqliteStore *)fixture->store, &error);
    }
    assert_non_null(held);
    readers_give((SqliteStore *)fixture->store, held);
    thread_join(thread);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(late.n_right, N_LATE_READS);
}

/* ---- the log's size ---- */

typedef struct {
    Store *store;
    bool is_over; /* atomic */
} Reading;

static void read_without_pause(void *arg)
{
    Reading *reading = arg;
    ListQuery query = query_of(&owner);
    query.wants_total = true;
    while (!__atomic_load_n(&reading->is_over, __ATOMIC_RELAXED)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ListPage) page = store_list_runs(reading->store, &query, &error);
        g_assert_nonnull(page);
    }
}

/* Readers that overlap all the time must not keep the log from starting over. */
static void test_log_is_bounded_beside_readers(void **state)
{
    StoreFixture *fixture = *state;
    enum { N_READERS = 3, N_SMALL = 300, N_LARGE = 160 };
    for (unsigned n = 10; n < 10 + N_SMALL; n++) { /* something to read, so that reads take a while */
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        append_events(fixture->store, run, 1);
    }
    Reading reading = {.store = fixture->store};
    Thread *threads[N_READERS];
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < N_READERS; i++)
        threads[i] = thread_start("test-reader", ROLE_READER, read_without_pause, &reading, &error);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (int i = 0; i < N_LARGE; i++) /* 80 MiB */
        assert_int_equal(write_one(fixture->store, sample_append(run, 1, 512 * 1024)), WRITTEN);
    __atomic_store_n(&reading.is_over, true, __ATOMIC_RELAXED);
    for (int i = 0; i < N_READERS; i++)
        thread_join(threads[i]);
    g_autofree char *path = store_file(fixture, "flowops.db-wal");
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    assert_int_equal(fseek(log, 0, SEEK_END), 0);
    assert_true(ftell(log) < 48 * 1024 * 1024);
    assert_int_equal(fclose(log), 0);
}

int main(void)
{
    faulty_disk_install();
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
#define TROUBLE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TROUBLE(test_no_fault_is_felt),
        TROUBLE(test_disk_full_for_long),
        TROUBLE(test_disk_full_at_every_write),
        TROUBLE(test_disk_full_before_the_commit),
        TROUBLE(test_write_that_fails),
        TROUBLE(test_flush_that_fails),
        TROUBLE(test_checkpoint_that_fails),
        TROUBLE(test_closing_with_a_disk_that_fails),
        TROUBLE(test_reading_fails),
        TROUBLE(test_statement_that_fails),
        TROUBLE(test_damaged_record),
        TROUBLE(test_corruption_at_runtime),
        TROUBLE(test_out_of_descriptors),
        TROUBLE(test_log_is_bounded_beside_readers),
    };
    return cmocka_run_group_tests_name("store: trouble with the disk", tests, NULL, NULL);
}
