/* test_fault.c - the fault wrapper fails exactly the calls it was told to, and says truly whether they took effect. */
#include "store_support.h"

#include "base/thread.h"
#include "store/store_fault.h"

static Id owner, flow_id;

static Store *open_faulty(const char *data_dir, const Clock *clock, GError **error)
{
    Store *inner = store_open_sqlite(data_dir, clock, error);
    return inner != NULL ? store_open_fault(inner) : NULL;
}

static int setup(void **state)
{
    *state = store_fixture_new(open_faulty);
    return 0;
}

static int teardown(void **state)
{
    store_fixture_free(*state);
    return 0;
}

static int64_t durable_seq(Store *store, const SampleRun *run)
{
    return check_journal(store, &run->row.run_id, 0, 100, 10000, 0);
}

static void test_write_fails_before_its_effect(void **state)
{
    Store *store = ((StoreFixture *)*state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    store_fault_set(store, STORE_WRITE, FAULT_BEFORE_EFFECT, 2, 1);
    append_events(store, run, 1);
    StoreWrite write = sample_append(run, 1, 0);
    g_autoptr(GError) error = NULL;
    assert_false(store_write(store, &write, 1, &error));
    assert_error(error, FLOWOPS_UNAVAILABLE);
    assert_int_equal(write.ret_outcome, WRITE_NOTHING);
    assert_int_equal(durable_seq(store, run), 1);
    assert_int_equal(write_one(store, write), WRITTEN);
    assert_int_equal(store_fault_count(store, STORE_WRITE), 3);
}

static void test_write_fails_after_its_effect(void **state)
{
    Store *store = ((StoreFixture *)*state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    store_fault_set(store, STORE_WRITE, FAULT_AFTER_EFFECT, 1, 1);
    StoreWrite write = sample_append(run, 3, 0);
    g_autoptr(GError) error = NULL;
    assert_false(store_write(store, &write, 1, &error));
    assert_error(error, FLOWOPS_UNKNOWN);
    assert_int_equal(write.ret_outcome, WRITE_UNKNOWN);
    assert_int_equal(durable_seq(store, run), 3);
    assert_int_equal(write_one(store, write), WRITE_CONFLICT);
}

static void test_several_in_a_row(void **state)
{
    Store *store = ((StoreFixture *)*state)->store;
    store_fault_set(store, STORE_CHECK, FAULT_BEFORE_EFFECT, 3, 4);
    for (int i = 1; i <= 10; i++) {
        g_autoptr(GError) error = NULL;
        assert_int_equal(store_check(store, &error), i < 3 || i > 6);
    }
    store_fault_set(store, STORE_CHECK, FAULT_BEFORE_EFFECT, 1, INT64_MAX);
    for (int i = 1; i <= 10; i++) {
        g_autoptr(GError) error = NULL;
        assert_false(store_check(store, &error));
        assert_error(error, FLOWOPS_UNAVAILABLE);
    }
    store_fault_set(store, STORE_CHECK, FAULT_BEFORE_EFFECT, 1, 0);
    g_autoptr(GError) error = NULL;
    assert_true(store_check(store, &error));
}

static void test_every_read_can_fail(void **state)
{
    Store *store = ((StoreFixture *)*state)->store;
    for (StoreMethod method = STORE_GET_FLOW; method < N_STORE_METHODS; method++)
        store_fault_set(store, method, FAULT_AFTER_EFFECT, 1, 1);
    GError *errors[N_STORE_METHODS] = {NULL};
    ListQuery query = query_of(&owner);
    int64_t n;
    size_t n_ids;
    Id id;
    RunSeq entry;
    const char *any = owner.text;
    assert_null(store_get_flow(store, any, 0, &errors[STORE_GET_FLOW]));
    assert_null(store_get_run(store, any, &errors[STORE_GET_RUN]));
    assert_null(store_read_journal(store, any, 0, 1, 1, &errors[STORE_READ_JOURNAL]));
    assert_null(store_list_flows(store, &query, &errors[STORE_LIST_FLOWS]));
    assert_null(store_list_runs(store, &query, &errors[STORE_LIST_RUNS]));
    assert_false(store_count_open_runs(store, NULL, &n, &errors[STORE_COUNT_OPEN_RUNS]));
    assert_false(store_list_runs_in_phase(store, PHASE_OPEN, INSTANT_NONE, "", 1, &id, &n_ids,
                                          &errors[STORE_LIST_RUNS_IN_PHASE]));
    assert_false(store_list_runs_to_stop(store, "", 1, &id, &n_ids, &errors[STORE_LIST_RUNS_TO_STOP]));
    assert_false(store_list_runs_ended_before(store, 1, 1, &id, &n_ids, &errors[STORE_LIST_RUNS_ENDED_BEFORE]));
    assert_false(store_list_run_ids(store, "", 1, &id, &n_ids, &errors[STORE_LIST_RUN_IDS]));
    assert_false(store_list_flow_ids(store, "", 1, &id, &n_ids, &errors[STORE_LIST_FLOW_IDS]));
    assert_false(store_read_outbox(store, NULL, 1, &entry, &n_ids, &errors[STORE_READ_OUTBOX]));
    bool is_newer;
    assert_false(store_list_runs_behind(store, "", 1, &id, &n_ids, &errors[STORE_LIST_RUNS_BEHIND]));
    assert_false(store_find_newer(store, &(RunSeq){.run_id = owner}, 1, &is_newer, &errors[STORE_FIND_NEWER]));
    assert_false(store_get_flow_versions(store, &owner, 1, &n, &errors[STORE_GET_FLOW_VERSIONS]));
    FlowVersion version;
    assert_null(store_read_decisions(store, any, 0, 1, &errors[STORE_READ_DECISIONS]));
    assert_null(store_read_owed_decisions(store, NULL, NULL, 1, &errors[STORE_READ_OWED_DECISIONS]));
    assert_null(store_read_scheduled_flows(store, "", 1, &errors[STORE_READ_SCHEDULED_FLOWS]));
    assert_false(store_list_changed_flows(store, 0, NULL, 1, &version, &n_ids, &errors[STORE_LIST_CHANGED_FLOWS]));
    assert_false(store_list_open_system_runs(store, any, 1, &id, &n_ids, &errors[STORE_LIST_OPEN_SYSTEM_RUNS]));
    query.flow_id = any;
    assert_null(store_get_backfill(store, any, true, &errors[STORE_GET_BACKFILL]));
    assert_null(store_list_backfills(store, &query, &errors[STORE_LIST_BACKFILLS]));
    assert_false(store_list_open_backfills(store, "", 1, &id, &n_ids, &errors[STORE_LIST_OPEN_BACKFILLS]));
    assert_false(store_count_open_backfills(store, NULL, &n, &errors[STORE_COUNT_OPEN_BACKFILLS]));
    assert_false(store_check(store, &errors[STORE_CHECK]));
    for (StoreMethod method = STORE_GET_FLOW; method < N_STORE_METHODS; method++) {
        assert_error(errors[method], FLOWOPS_UNAVAILABLE);
        g_error_free(errors[method]);
        assert_int_equal(store_fault_count(store, method), 1);
    }
}

typedef struct {
    Store *store;
    bool was_right; /* atomic */
} Caller;

static void call_check(void *arg)
{
    Caller *caller = arg;
    g_autoptr(GError) error = NULL;
    __atomic_store_n(&caller->was_right, store_check(caller->store, &error), __ATOMIC_SEQ_CST);
}

static void test_held_calls_wait(void **state)
{
    Caller caller = {.store = ((StoreFixture *)*state)->store};
    store_fault_hold(caller.store, STORE_CHECK, true);
    g_autoptr(GError) error = NULL;
    Thread *thread = thread_start("test-held", ROLE_READER, call_check, &caller, &error);
    assert_no_error(error);
    while (store_fault_count(caller.store, STORE_CHECK) == 0)
        g_thread_yield();
    assert_false(__atomic_load_n(&caller.was_right, __ATOMIC_SEQ_CST));
    store_fault_hold(caller.store, STORE_CHECK, false);
    thread_join(thread);
    assert_true(__atomic_load_n(&caller.was_right, __ATOMIC_SEQ_CST));
}

static void test_one_run_is_refused_alone(void **state)
{
    Store *store = ((StoreFixture *)*state)->store;
    g_autoptr(SampleRun) large = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) small = sample_run_new(2, &owner, &flow_id);
    store_fault_refuse(store, &large->row.run_id);
    StoreWrite writes[] = {sample_append(large, 1, 0), sample_append(small, 1, 0)};
    g_autoptr(GError) error = NULL;
    assert_false(store_write(store, writes, 2, &error));
    assert_error(error, FLOWOPS_INVALID);
    assert_int_equal(writes[0].ret_outcome, WRITE_REFUSED);
    assert_int_equal(writes[1].ret_outcome, WRITTEN);
    assert_int_equal(durable_seq(store, large), 0);
    assert_int_equal(durable_seq(store, small), 1);
    store_fault_refuse(store, NULL);
    assert_int_equal(write_one(store, writes[0]), WRITTEN);
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
#define FAULT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        FAULT(test_write_fails_before_its_effect),
        FAULT(test_write_fails_after_its_effect),
        FAULT(test_several_in_a_row),
        FAULT(test_every_read_can_fail),
        FAULT(test_held_calls_wait),
        FAULT(test_one_run_is_refused_alone),
    };
    return cmocka_run_group_tests_name("store: fault wrapper", tests, NULL, NULL);
}
