/* test_sqlite_migrate.c - from one version to the next: all or nothing, after a copy that opens as the old version. The
 * versions beyond the real ones exist here alone. */
#include "store_support.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "faulty_disk.h"
#include "store/store_sqlite_internal.h"

static SchemaStep good_steps[] = {
    {1, NULL},
    {2, "ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 7"},
    {3, "CREATE INDEX runs_priority ON runs(priority); UPDATE runs SET priority = 8"},
};
static SchemaStep bad_steps[] = {
    {1, NULL},
    {2, "ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 7"},
    {3, "UPDATE runs SET priority = 8; CREATE INDEX x ON no_such_table(y)"},
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
    assert_int_equal(header_version(path), 1);
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
    assert_true(schema_create(path, good_steps, 3, &error));
    assert_int_equal(header_version(path), 3);
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
    assert_false(schema_create(path, bad_steps, 3, &error));
    assert_error(error, FLOWOPS_INTERNAL);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(fresh, F_OK), 0);
}

static void test_migrated_with_a_backup(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autofree char *backup = store_file(fixture, "flowops.db.v1.backup");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, 1, good_steps, 3, &error));
    assert_no_error(error);
    assert_int_equal(header_version(path), 3);
    assert_int_equal(query_int(path, "SELECT priority FROM runs"), 8);
    assert_int_equal(query_int(path, "SELECT last_seq FROM journal"), 5);

    g_autoptr(GError) newer = NULL;
    assert_null(store_open_sqlite(fixture->data_dir, fixture->clock, &newer));
    assert_error(newer, FLOWOPS_INVALID);
    assert_non_null(strstr(newer->message, "format 3"));

    assert_int_equal(rename(backup, path), 0); /* what an operator does to go back */
    assert_old_and_whole(fixture, path);
}

static void test_only_what_is_missing_is_applied(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, 1, good_steps, 2, &error));
    assert_int_equal(header_version(path), 2);
    assert_int_equal(query_int(path, "SELECT priority FROM runs"), 7);
    assert_true(schema_migrate(path, 2, good_steps, 3, &error));
    assert_int_equal(header_version(path), 3);
    g_autofree char *first = store_file(fixture, "flowops.db.v1.backup");
    g_autofree char *second = store_file(fixture, "flowops.db.v2.backup");
    assert_int_equal(header_version(first), 1);
    assert_int_equal(header_version(second), 2);
}

static void test_migration_that_fails_changes_nothing(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autoptr(GError) error = NULL;
    assert_false(schema_migrate(path, 1, bad_steps, 3, &error));
    assert_error(error, FLOWOPS_INTERNAL);
    assert_non_null(strstr(error->message, "version 3"));
    assert_old_and_whole(fixture, path);
    g_autoptr(GError) second = NULL;
    assert_true(schema_migrate(path, 1, good_steps, 3, &second)); /* the backup of the first try is no obstacle */
    assert_int_equal(header_version(path), 3);
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
    g_autofree char *backup = store_file(crashed, "flowops.db.v1.backup");
    g_autoptr(GError) error = NULL;
    assert_true(schema_migrate(path, 1, good_steps, 3, &error));
    assert_int_equal(header_version(path), 3);
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
        is_migrated = schema_migrate(path, 1, good_steps, 3, &error);
        faulty_disk_clear();
        if (!is_migrated) {
            assert_error(error, FLOWOPS_UNAVAILABLE);
            assert_old_and_whole(fixture, path);
        }
    }
    assert_true(n_failed > 3);
    assert_int_equal(header_version(path), 3);
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
    assert_false(schema_migrate(path, 1, good_steps, 3, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(sqlite3_close(reader), SQLITE_OK);
    assert_old_and_whole(fixture, path);
}

int main(void)
{
    faulty_disk_install();
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    good_steps[0].sql = bad_steps[0].sql = schema_steps[0].sql;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_created_at_the_last_version),
        cmocka_unit_test(test_creation_that_fails_leaves_nothing),
        cmocka_unit_test(test_migrated_with_a_backup),
        cmocka_unit_test(test_only_what_is_missing_is_applied),
        cmocka_unit_test(test_log_of_a_crash_is_migrated_too),
        cmocka_unit_test(test_migration_that_fails_changes_nothing),
        cmocka_unit_test(test_full_disk_at_every_write_of_a_migration),
        cmocka_unit_test(test_somebody_else_has_it_open),
    };
    return cmocka_run_group_tests_name("store: migration", tests, NULL, NULL);
}
