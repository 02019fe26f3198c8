/* test_sqlite_lock.c - one process per data directory, and the second is told who the first is. */
#include "store_support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_directory_is_made_private(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autofree char *deep = g_build_filename(fixture->data_dir, "a", "b", NULL);
    g_autoptr(GError) error = NULL;
    Store *store = store_open_sqlite(deep, fixture->clock, &error);
    assert_no_error(error);
    store_close(store);
    static const char *const names[] = {"", "flowops.db", "flowops.lock"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = g_build_filename(deep, names[i], NULL);
        struct stat info;
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0077, 0);
    }
}

static void test_second_store_is_told_who_holds_it(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite(fixture->data_dir, fixture->clock, &error));
    assert_error(error, FLOWOPS_CONFLICT);
    g_autofree char *expected =
        g_strdup_printf("data directory %s is in use by process %d (started 2026-01-31T09:00:00.000Z)",
                        fixture->data_dir, (int)getpid());
    assert_string_equal(error->message, expected);
}

static void test_lock_goes_with_the_store(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    for (int i = 0; i < 3; i++)
        store_fixture_reopen(fixture);
}

static void test_holder_without_a_name(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autofree char *path = store_file(fixture, "flowops.lock");
    static const char *const texts[] = {"", "pid", "pid x\nstarted y\n", "pid 12\n", "\xff\xfe"};
    g_autofree char *expected = g_strdup_printf("data directory %s is in use by another process", fixture->data_dir);
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        FILE *file = fopen(path, "w"); /* the same file, which stays locked */
        assert_non_null(file);
        assert_true(fputs(texts[i], file) >= 0);
        assert_int_equal(fclose(file), 0);
        g_autoptr(GError) error = NULL;
        assert_null(store_open_sqlite(fixture->data_dir, fixture->clock, &error));
        assert_error(error, FLOWOPS_CONFLICT);
        assert_string_equal(error->message, expected);
    }
}

/* A holder that is killed leaves its name in the file, and no lock. */
static void test_killed_holder_holds_nothing(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    store_close(g_steal_pointer(&fixture->store));
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        g_autoptr(GError) error = NULL;
        Store *store = store_open_sqlite(fixture->data_dir, fixture->clock, &error);
        ssize_t n = write(ready[1], store != NULL ? "y" : "n", 1);
        (void)n;
        for (;;)
            (void)pause();
    }
    char answer = 0;
    assert_int_equal(read(ready[0], &answer, 1), 1);
    assert_int_equal(answer, 'y');
    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite(fixture->data_dir, fixture->clock, &error));
    assert_error(error, FLOWOPS_CONFLICT);
    g_autofree char *named = g_strdup_printf("process %d ", (int)child);
    assert_non_null(strstr(error->message, named));

    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(ready[0]);
    close(ready[1]);
    g_autoptr(GError) second = NULL;
    fixture->store = store_open_sqlite(fixture->data_dir, fixture->clock, &second);
    assert_no_error(second);
}

static void test_directory_that_cannot_be(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autofree char *below_a_file = store_file(fixture, "flowops.db/data");
    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite(below_a_file, fixture->clock, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_non_null(strstr(error->message, below_a_file));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directory_is_made_private), cmocka_unit_test(test_lock_goes_with_the_store),
        cmocka_unit_test(test_directory_that_cannot_be),  cmocka_unit_test(test_second_store_is_told_who_holds_it),
        cmocka_unit_test(test_holder_without_a_name),     cmocka_unit_test(test_killed_holder_holds_nothing),
    };
    return cmocka_run_group_tests_name("store: lock", tests, NULL, NULL);
}
