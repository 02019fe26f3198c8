/* test_sqlite_file.c - files that must not be opened: each is refused with one clear line and stays as it was, byte for
 * byte and second for second, with all that lies beside it. */
#include "store_support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/store_sqlite_internal.h"

typedef struct {
    char *bytes;
    size_t size;
    struct stat info;
} Snapshot;

static Snapshot take_snapshot(const char *path)
{
    Snapshot snapshot = {0};
    if (stat(path, &snapshot.info) == 0 && S_ISREG(snapshot.info.st_mode))
        assert_true(g_file_get_contents(path, &snapshot.bytes, &snapshot.size, NULL));
    return snapshot;
}

static void assert_unchanged(const char *path, Snapshot *before)
{
    Snapshot after = take_snapshot(path);
    assert_int_equal(after.size, before->size);
    if (before->size > 0)
        assert_memory_equal(after.bytes, before->bytes, before->size);
    assert_int_equal(after.info.st_ino, before->info.st_ino);
    assert_int_equal(after.info.st_mtim.tv_sec, before->info.st_mtim.tv_sec);
    assert_int_equal(after.info.st_mtim.tv_nsec, before->info.st_mtim.tv_nsec);
    g_free(after.bytes);
    g_free(before->bytes);
}

static void assert_refused(StoreFixture *fixture, const char *expected)
{
    g_autofree char *path = store_file(fixture, "flowops.db");
    g_autofree char *log = store_file(fixture, "flowops.db-wal");
    Snapshot main_before = take_snapshot(path), log_before = take_snapshot(log);
    g_autoptr(GError) error = NULL;
    fixture->store = store_open_sqlite(fixture->data_dir, fixture->clock, &error);
    assert_null(fixture->store);
    assert_error(error, FLOWOPS_INVALID);
    if (strstr(error->message, expected) == NULL || strstr(error->message, path) == NULL)
        fail_msg("\"%s\" says neither what nor where", error->message);
    assert_null(strchr(error->message, '\n'));
    assert_unchanged(path, &main_before);
    assert_unchanged(log, &log_before);
}

/* A store with something in it, closed: everything is in the one file. */
static StoreFixture *closed_store(void)
{
    StoreFixture *fixture = store_fixture_new(store_open_sqlite);
    Id owner = test_id('o', 1), flow_id = test_id('f', 1);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (int i = 0; i < 20; i++)
        assert_int_equal(write_one(fixture->store, sample_append(run, 3, 500)), WRITTEN);
    store_close(g_steal_pointer(&fixture->store));
    return fixture;
}

static void put_file(const StoreFixture *fixture, const char *name, const void *bytes, size_t size)
{
    g_autofree char *path = store_file(fixture, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void patch_file(const StoreFixture *fixture, const char *name, long at, const void *bytes, size_t size)
{
    g_autofree char *path = store_file(fixture, name);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void run_sql(const StoreFixture *fixture, const char *sql)
{
    g_autofree char *path = store_file(fixture, "flowops.db");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void remove_database(const StoreFixture *fixture)
{
    g_autofree char *path = store_file(fixture, "flowops.db");
    assert_int_equal(unlink(path), 0);
}

static void test_sound_file_opens(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    store_fixture_reopen(fixture);
}

static void test_no_sqlite_file(void **state)
{
    (void)state;
    static const char *const contents[] = {"", "x", "SQLite format 2", "Dear diary,\n", "SQLite format 4\0and more"};
    for (size_t i = 0; i < G_N_ELEMENTS(contents); i++) {
        g_autoptr(StoreFixture) fixture = closed_store();
        put_file(fixture, "flowops.db", contents[i], strlen(contents[i]));
        assert_refused(fixture, "is not a FlowOps database");
    }
}

static void test_header_cut_short(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    for (long size = 99; size >= 16; size -= 83) {
        assert_int_equal(truncate(path, size), 0);
        assert_refused(fixture, "ends within its header");
    }
}

static void test_directory_in_its_place(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    remove_database(fixture);
    g_autofree char *path = store_file(fixture, "flowops.db");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused(fixture, "Is a directory");
}

static void test_foreign_database(void **state)
{
    (void)state;
    static const char *const modes[] = {"PRAGMA journal_mode = DELETE", "PRAGMA journal_mode = WAL"};
    for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
        g_autoptr(StoreFixture) fixture = closed_store();
        remove_database(fixture);
        run_sql(fixture, modes[i]);
        run_sql(fixture, "CREATE TABLE bookmarks(url TEXT); PRAGMA application_id = 4711; PRAGMA user_version = 1");
        assert_refused(fixture, "another program's SQLite file");
    }
}

static void test_newer_version(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    run_sql(fixture, "PRAGMA user_version = 7");
    assert_refused(fixture, "was written by a newer version of flowops (format 7, this one knows up to 3)");
    run_sql(fixture, "PRAGMA user_version = -1");
    assert_refused(fixture, "was written by a newer version of flowops");
    run_sql(fixture, "PRAGMA user_version = 0");
    assert_refused(fixture, "it has no format version");
    run_sql(fixture, "PRAGMA user_version = 3");
    store_fixture_reopen(fixture);
}

/* The version may stand in the log alone, when the newer process died right after it wrote it. */
static void test_newer_version_in_the_log(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autoptr(StoreFixture) crashed = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
    static const char *const names[] = {"flowops.db", "flowops.db-wal"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *from = store_file(fixture, names[i]);
        char *bytes;
        size_t size;
        assert_true(g_file_get_contents(from, &bytes, &size, NULL));
        assert_true(size > 0);
        put_file(crashed, names[i], bytes, size);
        g_free(bytes);
    }
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_refused(crashed, "was written by a newer version of flowops (format 9, this one knows up to 3)");
}

static void test_end_is_missing(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 4097), 0);
    g_autofree char *expected = g_strdup_printf("is corrupt: 4097 of its %ld bytes are missing", (long)info.st_size);
    assert_refused(fixture, expected);
}

static void test_bad_page_size(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    patch_file(fixture, "flowops.db", 16, "\x12\x34", 2);
    assert_refused(fixture, "is corrupt: its header names a page size of 4660");
}

static void test_missing_database_beside_its_log(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    remove_database(fixture);
    put_file(fixture, "flowops.db-wal", "frames of the lost one", 22);
    assert_refused(fixture, "is missing but its log");
}

/* Any page of a small file may be destroyed, and is found before the store opens; the header's own page is refused
 * for what it says or what it lacks. */
static void test_every_page_destroyed_in_turn(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *path = store_file(fixture, "flowops.db");
    char *sound;
    size_t size;
    assert_true(g_file_get_contents(path, &sound, &size, NULL));
    assert_true(size % 4096 == 0);
    char garbage[4096];
    memset(garbage, 0xa5, sizeof garbage);
    for (size_t at = 0; at < size; at += 4096) {
        put_file(fixture, "flowops.db", sound, size);
        patch_file(fixture, "flowops.db", (long)at + 100 * (at == 0), garbage, sizeof garbage - 100 * (at == 0));
        assert_refused(fixture, "corrupt");
    }
    put_file(fixture, "flowops.db", sound, size);
    g_free(sound);
    store_fixture_reopen(fixture);
}

/* Leftovers of another log beside a sound file: SQLite finds that the frames are not of this file. */
static void test_garbage_log_is_ignored(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    Id id = test_id('r', 1);
    char garbage[10000];
    memset(garbage, 0x5a, sizeof garbage);
    put_file(fixture, "flowops.db-wal", garbage, sizeof garbage);
    put_file(fixture, "flowops.db-shm", garbage, sizeof garbage);
    store_fixture_reopen(fixture);
    assert_int_equal(check_journal(fixture->store, &id, 0, 1000, 1 << 20, 500), 60);
}

static void test_lost_secret(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    run_sql(fixture, "DELETE FROM meta");
    assert_refused(fixture, "is corrupt: it has no secret");
}

static void test_lost_table(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    run_sql(fixture, "DROP TABLE journal");
    assert_refused(fixture, "is corrupt: no such table: journal");
}

/* Half a new file, left by a process that died while making it, is not mistaken for a store. */
static void test_leftover_of_an_unfinished_creation(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    remove_database(fixture);
    put_file(fixture, "flowops.db.new", "half", 4);
    store_fixture_reopen(fixture);
    g_autofree char *leftover = store_file(fixture, "flowops.db.new");
    assert_int_not_equal(access(leftover, F_OK), 0);
}

static void test_path_with_signs_of_an_uri(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = closed_store();
    g_autofree char *odd = store_file(fixture, "a?b#c%20d e'\xc3\xa4");
    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        Store *store = store_open_sqlite(odd, fixture->clock, &error);
        assert_no_error(error);
        assert_true(store_check(store, &error));
        store_close(store);
    }
    g_autofree char *path = g_build_filename(odd, "flowops.db", NULL);
    assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_file_opens),
        cmocka_unit_test(test_path_with_signs_of_an_uri),
        cmocka_unit_test(test_no_sqlite_file),
        cmocka_unit_test(test_header_cut_short),
        cmocka_unit_test(test_directory_in_its_place),
        cmocka_unit_test(test_foreign_database),
        cmocka_unit_test(test_newer_version),
        cmocka_unit_test(test_newer_version_in_the_log),
        cmocka_unit_test(test_bad_page_size),
        cmocka_unit_test(test_end_is_missing),
        cmocka_unit_test(test_lost_secret),
        cmocka_unit_test(test_lost_table),
        cmocka_unit_test(test_missing_database_beside_its_log),
        cmocka_unit_test(test_garbage_log_is_ignored),
        cmocka_unit_test(test_leftover_of_an_unfinished_creation),
        cmocka_unit_test(test_every_page_destroyed_in_turn),
    };
    return cmocka_run_group_tests_name("store: files to refuse", tests, NULL, NULL);
}
