/* test_sqlite_readonly.c - the store opened for reading beside the process that writes it, and what it refuses. */
#include "store_support.h"

#include <string.h>
#include <unistd.h>

static Id owner, flow_id;

static Store *open_beside(const StoreFixture *fixture)
{
    g_autoptr(GError) error = NULL;
    Store *beside = store_open_sqlite_readonly(fixture->data_dir, &error);
    assert_no_error(error);
    return beside;
}

static void test_nothing_there(void **state)
{
    (void)state;
    g_autofree char *folder = g_dir_make_tmp("flowops-store-XXXXXX", NULL);
    g_autofree char *below = g_build_filename(folder, "below", NULL);
    const char *const places[] = {folder, below};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(store_open_sqlite_readonly(places[i], &error));
        assert_error(error, FLOWOPS_NOT_FOUND);
        assert_non_null(strstr(error->message, folder));
    }
    assert_int_not_equal(access(below, F_OK), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing was made */
}

static void test_sees_what_is_written_beside_it(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 2);
    g_autoptr(Store) beside = open_beside(fixture);
    assert_memory_equal(store_secret(beside), store_secret(fixture->store), 32);
    assert_int_equal(check_journal(beside, &run->row.run_id, 0, 10, 1000, 0), 2);
    append_events(fixture->store, run, 3);
    assert_int_equal(check_journal(beside, &run->row.run_id, 0, 10, 1000, 0), 5);
}

static void test_outlives_the_writer(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 2);
    g_autoptr(Store) beside = open_beside(fixture);
    store_fixture_reopen(fixture);
    append_events(fixture->store, run, 2);
    assert_int_equal(check_journal(beside, &run->row.run_id, 0, 10, 1000, 0), 4);
}

static void test_opens_without_a_writer(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 2);
    store_close(g_steal_pointer(&fixture->store));
    g_autoptr(Store) alone = open_beside(fixture);
    assert_int_equal(check_journal(alone, &run->row.run_id, 0, 10, 1000, 0), 2);
    store_fixture_reopen(fixture); /* and keeps nobody out */
    append_events(fixture->store, run, 1);
    assert_int_equal(check_journal(alone, &run->row.run_id, 0, 10, 1000, 0), 3);
}

static void test_refuses_to_write(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(Store) beside = open_beside(fixture);
    StoreWrite write = sample_append(run, 1, 0);
    g_autoptr(GError) error = NULL;
    assert_false(store_write(beside, &write, 1, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(write.ret_outcome, WRITE_NOTHING);
    g_autoptr(GError) second = NULL;
    assert_false(store_check(beside, &second));
    assert_error(second, FLOWOPS_UNAVAILABLE);
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 10, 1000, 0), 0);
}

/* Taking a migration back that died in its middle is the holder's business. */
static void test_leaves_an_unfinished_migration_alone(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    store_close(g_steal_pointer(&fixture->store));
    g_autofree char *rollback = store_file(fixture, "flowops.db-journal");
    assert_true(g_file_set_contents(rollback, "half", 4, NULL));
    g_autoptr(GError) error = NULL;
    assert_null(store_open_sqlite_readonly(fixture->data_dir, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(access(rollback, F_OK), 0);
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_there),          cmocka_unit_test(test_sees_what_is_written_beside_it),
        cmocka_unit_test(test_opens_without_a_writer), cmocka_unit_test(test_outlives_the_writer),
        cmocka_unit_test(test_refuses_to_write),       cmocka_unit_test(test_leaves_an_unfinished_migration_alone),
    };
    return cmocka_run_group_tests_name("store: read-only", tests, NULL, NULL);
}
