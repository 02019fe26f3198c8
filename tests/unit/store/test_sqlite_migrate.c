/* test_sqlite_migrate.c - from one version to the next: all or nothing, after a copy that opens as the old version. The
 * versions beyond the real ones exist here alone. */
#include "store_support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "faulty_disk.h"
#include "store/store_sqlite_internal.h"

/* main() fills in the real ones. */
enum { N_REAL = 3, NEXT = N_REAL + 1, LAST = N_REAL + 2 };
static SchemaStep good_steps[] = {
    {1, NULL},
    {2, NULL},
    {3, NULL},
    {NEXT, "ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 7"},
    {LAST, "CREATE INDEX runs_priority ON runs(priority); UPDATE runs SET priority = 8"},
};
static SchemaStep bad_steps[] = {
    {1, NULL},
    {2, NULL},
    {3, NULL},
    {NEXT, "ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 7"},
    {LAST, "UPDATE runs SET priority = 8; CREATE INDEX x ON no_such_table(y)"},
};

static Id owner, flow_id;

static StoreFixture *closed_store(void)
{
    StoreFixture *fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 5);
    store_close(g_steal_pointer(&fixture->store));
    return fixture;
}

/* The version as it stands in the file's own header, without a log. */
static int header_version(const char *path)
{
    FileState state;
    int version = 0;
    g_autoptr(GError) error = NULL;
    assert_true(file_inspect(path, 100, &state, &version, &error));
    assert_int_equal(state, FILE_OURS);
    return version;
}

static int64_t query_int(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    int64_t value = -1; /* when it can't be asked */
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    return value;
}

static void assert_old_and_whole(StoreFixture *fixture, const char *path)
{
    assert_int_equal(header_version(path), N_REAL);
    assert_int_equal(query_int(path, "SELECT priority FROM runs"), -1);
    store_fixture_reopen(fixture);
    Id id = test_id('r', 1);
    assert_int_equal(check_journal(fixture->store, &id, 0, 10, 1000, 0), 5);
    store_close(g_steal_pointer(&fixture->store));
}

static void test_created_at_the_last_version(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "other.db");
    g_autoptr(GError) error = NULL;
    assert_true(schema_create(path, good_steps, LAST, &error));
    assert_int_equal(header_version(path), LAST);
    assert_int_equal(query_int(path, "SELECT count(*) FROM sqlite_schema WHERE name = 'runs_priority'"), 1);
    assert_int_equal(query_int(path, "SELECT length(value) FROM meta WHERE name = 'secret'"), 32);
}

static void test_creation_that_fails_leaves_nothing(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "other.db");
    g_autofree char *fresh = store_file(fixture, "other.db.new");
    g_autoptr(GError) error = NULL;
    assert_false(schema_create(path, bad_steps, LAST, &error));
    assert_error(error, FLOWOPS_INTERNAL);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(fresh, F_OK), 0);
}

static void test_migrated_with_a_backup(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autofree char *backup = store_file(fixture, "flowops.db.v3.backup");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, N_REAL, good_steps, LAST, &error));
    assert_no_error(error);
    assert_int_equal(header_version(path), LAST);
    assert_int_equal(query_int(path, "SELECT priority FROM runs"), 8);
    assert_int_equal(query_int(path, "SELECT last_seq FROM journal"), 5);

    g_autoptr(GError) newer = NULL;
    assert_null(store_open_sqlite(fixture->data_dir, fixture->clock, &newer));
    assert_error(newer, FLOWOPS_INVALID);
    assert_non_null(strstr(newer->message, "format 5"));

    assert_int_equal(rename(backup, path), 0); /* what an operator does to go back */
    assert_old_and_whole(fixture, path);
}

static void test_only_what_is_missing_is_applied(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, N_REAL, good_steps, NEXT, &error));
    assert_int_equal(header_version(path), NEXT);
    assert_int_equal(query_int(path, "SELECT priority FROM runs"), 7);
    assert_true(schema_migrate(path, NEXT, good_steps, LAST, &error));
    assert_int_equal(header_version(path), LAST);
    g_autofree char *first = store_file(fixture, "flowops.db.v3.backup");
    g_autofree char *second = store_file(fixture, "flowops.db.v4.backup");
    assert_int_equal(header_version(first), N_REAL);
    assert_int_equal(header_version(second), NEXT);
}

static void test_migration_that_fails_changes_nothing(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autoptr(GError) error = NULL;
    assert_false(schema_migrate(path, N_REAL, bad_steps, LAST, &error));
    assert_error(error, FLOWOPS_INTERNAL);
    assert_non_null(strstr(error->message, "version 5"));
    assert_old_and_whole(fixture, path);
    g_autoptr(GError) second = NULL;
    assert_true(
        schema_migrate(path, N_REAL, good_steps, LAST, &second)); /* the backup of the first try is no obstacle */
    assert_int_equal(header_version(path), LAST);
}

/* What a process that died left in the log is part of the store, and of its backup. */
static void test_log_of_a_crash_is_migrated_too(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autoptr(StoreFixture) crashed = closed_store();
    store_fixture_reopen(fixture);
    g_autoptr(SampleRun) run = sample_run_new(2, &owner, &flow_id);
    append_events(fixture->store, run, 9);
    static const char *const names[] = {"flowops.db", "flowops.db-wal"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *from = store_file(fixture, names[i]);
        g_autofree char *to = store_file(crashed, names[i]);
        g_autofree char *bytes = NULL;
        size_t size = 0;
        assert_true(g_file_get_contents(from, &bytes, &size, NULL));
        assert_true(g_file_set_contents(to, bytes, (gssize)size, NULL));
    }
    g_autofree char *path = store_file(crashed, "flowops.db");
    g_autofree char *backup = store_file(crashed, "flowops.db.v3.backup");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, N_REAL, good_steps, LAST, &error));
    assert_int_equal(header_version(path), LAST);
    assert_int_equal(query_int(path, "SELECT sum(priority) FROM runs"), 16);
    assert_int_equal(query_int(backup, "SELECT max(last_seq) FROM journal"), 9);
}

static void test_full_disk_at_every_write_of_a_migration(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    bool is_migrated = false;
    long n_failed = 0;
    for (long nth = 1; !is_migrated; nth++, n_failed++) {
        faulty_disk_clear();
        faulty_disk_set(DISK_MAIN_WRITE, SQLITE_FULL, nth, 1000000);
        g_autoptr(GError) error = NULL;
        is_migrated = schema_migrate(path, N_REAL, good_steps, LAST, &error);
        faulty_disk_clear();
        if (!is_migrated) {
            assert_error(error, FLOWOPS_UNAVAILABLE);
            assert_old_and_whole(fixture, path);
        }
    }
    assert_true(n_failed > 3);
    assert_int_equal(header_version(path), LAST);
}

static void test_somebody_else_has_it_open(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    sqlite3 *reader = NULL;
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM runs", NULL, NULL, NULL), SQLITE_OK);
    g_autoptr(GError) error = NULL;
    assert_false(schema_migrate(path, N_REAL, good_steps, LAST, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_old_and_whole(fixture, path);
}

/* ---- the real steps ---- */

/* Opening a store of version 1 takes it to the newest, with what was in it found by the new indexes. */
static void test_version_1_is_taken_along(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    text_map_add(&run->labels, "team", "red");
    append_events(fixture->store, run, 1);
    run->row.status = RUN_COMPLETED;
    run->row.phase = PHASE_SETTLED;
    append_events(fixture->store, run, 2);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 3);
    flow->cron = g_strdup("@hourly");
    flow->scheduled_since = START_MS;
    write_flow_version(fixture->store, flow);
    store_close(g_steal_pointer(&fixture->store));
    g_autofree char *path = store_file(fixture, "flowops.db");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "DROP INDEX runs_settled; DROP INDEX run_labels_run; DROP INDEX runs_scheduled;"
                     "DROP INDEX flows_scheduled; ALTER TABLE flows DROP COLUMN schedule;"
                     "DROP TABLE decisions; DROP TABLE backfills; DROP TABLE backfill_entries; DROP TABLE engines;"
                     "PRAGMA user_version = 1; PRAGMA journal_mode = DELETE; PRAGMA journal_mode = WAL;",
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(header_version(path), 1);

    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite_readonly(fixture->data_dir, &error));
    assert_error(error, FLOWOPS_INVALID);
    assert_int_equal(header_version(path), 1);

    store_fixture_reopen(fixture);
    assert_int_equal(header_version(path), N_REAL);
    g_autofree char *backup = store_file(fixture, "flowops.db.v1.backup");
    assert_int_equal(header_version(backup), 1);
    Id id;
    size_t n = 0;
    g_autoptr(GError) second = NULL;
    assert_true(store_list_runs_ended_before(fixture->store, INT64_MAX, 1, &id, &n, &second));
    assert_int_equal(n, 1);
    assert_string_equal(id.text, run->row.run_id.text);
    assert_int_equal(write_one(fixture->store, (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = id}), WRITTEN);
    assert_int_equal(query_int(path, "SELECT count(*) FROM run_labels"), 0);
    g_autoptr(ScheduledPage) page = store_read_scheduled_flows(fixture->store, "", 10, &second);
    assert_no_error(second);
    assert_int_equal(page->n_items, 1);
    g_autoptr(Flow) scheduled = flow_decode(page->items[0].flow, page->items[0].flow_size, &second);
    assert_no_error(second);
    assert_string_equal(scheduled->cron, "@hourly");
    assert_int_equal(scheduled->scheduled_since, START_MS);
    assert_int_equal(scheduled->n_steps, 0);
}

int main(void)
{
    faulty_disk_install();
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    assert_int_equal(n_schema_steps, N_REAL);
    for (size_t i = 0; i < N_REAL; i++)
        good_steps[i].sql = bad_steps[i].sql = schema_steps[i].sql;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_created_at_the_last_version),
        cmocka_unit_test(test_creation_that_fails_leaves_nothing),
        cmocka_unit_test(test_migrated_with_a_backup),
        cmocka_unit_test(test_only_what_is_missing_is_applied),
        cmocka_unit_test(test_log_of_a_crash_is_migrated_too),
        cmocka_unit_test(test_migration_that_fails_changes_nothing),
        cmocka_unit_test(test_full_disk_at_every_write_of_a_migration),
        cmocka_unit_test(test_somebody_else_has_it_open),
        cmocka_unit_test(test_version_1_is_taken_along),
    };
    return cmocka_run_group_tests_name("store: migration", tests, NULL, NULL);
}
