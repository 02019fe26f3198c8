/* test_retention.c - which runs may be deleted, by whom, what is told when not, and that retention takes no others. */
#include "rig.h"

#include <string.h>

static CallResult delete_run(Rig *rig, const Id *run_id, const char *caller, int64_t if_match)
{
    ServiceCall *call = call_new(CALL_DELETE_RUN, caller);
    call->run_id = *run_id;
    if (if_match > 0) {
        call->precondition.is_set = true;
        call->precondition.tags = g_new(int64_t, 1);
        call->precondition.tags[0] = if_match;
        call->precondition.n_tags = 1;
    }
    CallResult result = do_call(rig, call);
    if (result == RESULT_CONFLICT)
        assert_non_null(strstr(call->message, "The run is "));
    service_call_free(call);
    return result;
}

/* A run whose flow has no steps: settled with its first terminal status. */
static Id run_to_end(Rig *rig, size_t n_steps, RunStatus status)
{
    Id flow_id = create_flow(rig, n_steps), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    CommandMessage *message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    report_flow(rig, message, status);
    command_message_free(message);
    g_autofree char *expected = g_strdup_printf("\"status\":\"%s\"", run_status_name(status));
    wait_for(rig, &run_id, expected);
    return run_id;
}

static bool is_there(Rig *rig, const Id *run_id)
{
    g_autofree char *detail = detail_of(rig, run_id);
    return detail != NULL;
}

static void test_unknown_run(void **state)
{
    Rig *rig = *state;
    Id id = make_id(NULL);
    assert_int_equal(delete_run(rig, &id, OWNER, 0), RESULT_NOT_FOUND);
}

static void test_ended_run(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 0, RUN_COMPLETED);
    assert_int_equal(delete_run(rig, &run_id, STRANGER, 0), RESULT_NOT_FOUND);
    assert_true(is_there(rig, &run_id));
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_OK);
    assert_false(is_there(rig, &run_id));
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_NOT_FOUND);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_NOT_FOUND);
}

static void test_going_run(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_CONFLICT);
    assert_true(is_there(rig, &run_id));
}

/* Its engine may still report: what it says would be an unknown run's. */
static void test_run_with_open_steps(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 2, RUN_STOPPED);
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_CONFLICT);
    assert_true(is_there(rig, &run_id));
}

static void test_precondition(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 0, RUN_FAILED);
    assert_int_equal(delete_run(rig, &run_id, OWNER, 2), RESULT_PRECONDITION_FAILED);
    assert_true(is_there(rig, &run_id));
    assert_int_equal(delete_run(rig, &run_id, OWNER, 3), RESULT_OK);
}

/* The key's answer holds for as long as its run is kept. */
static void test_key_begins_anew(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 0), first, second;
    assert_int_equal(start(rig, &flow_id, "k", "d", &first), RESULT_OK);
    CommandMessage *message = next_command(rig);
    report_flow(rig, message, RUN_COMPLETED);
    command_message_free(message);
    wait_for(rig, &first, "\"COMPLETED\"");
    assert_int_equal(delete_run(rig, &first, OWNER, 0), RESULT_OK);
    assert_int_equal(start(rig, &flow_id, "k", "other", &second), RESULT_OK);
    assert_string_equal(first.text, second.text);
    wait_for(rig, &second, "\"PENDING\"");
}

static void test_failing_store(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 0, RUN_COMPLETED);
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_UNAVAILABLE);
    assert_true(is_there(rig, &run_id));
    store_fault_set(rig->store, STORE_WRITE, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(delete_run(rig, &run_id, OWNER, 0), RESULT_UNKNOWN);
    assert_false(is_there(rig, &run_id)); /* nothing of it is left in the cache */
}

/* ---- by age ---- */

static size_t count_runs(Rig *rig)
{
    Id ids[256];
    size_t n = 0;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_run_ids(rig->store, "", G_N_ELEMENTS(ids), ids, &n, &error));
    return n;
}

static void restart_with_retention(Rig *rig, int64_t retention_ms)
{
    rig_stop(rig);
    rig->options.run_retention_ms = retention_ms;
    rig_start(rig);
}

static void test_only_settled_runs_go(void **state)
{
    Rig *rig = *state;
    enum { N_SETTLED = 100 }; /* more than a page */
    for (int i = 0; i < N_SETTLED; i++)
        (void)run_to_end(rig, 0, i % 2 == 0 ? RUN_COMPLETED : RUN_FAILED);
    Id ending = run_to_end(rig, 1, RUN_STOPPED);
    Id flow_id = create_flow(rig, 1), going;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &going), RESULT_OK);
    assert_int_equal(count_runs(rig), N_SETTLED + 2);
    restart_with_retention(rig, 1);
    WAIT_UNTIL(count_runs(rig) == 2);
    assert_true(is_there(rig, &ending));
    assert_true(is_there(rig, &going));
}

static bool has_ended_runs(Rig *rig)
{
    Id id;
    size_t n = 0;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_runs_ended_before(rig->store, clock_wall_ms(rig->clock), 1, &id, &n, &error));
    return n > 0;
}

/* Whoever writes meanwhile comes in between two of many small deletions. */
static void test_writes_are_not_held_up(void **state)
{
    Rig *rig = *state;
    enum { N_SETTLED = 640, N_BETWEEN_AT_LEAST = 6 }; /* 20 pages */
    for (int i = 0; i < N_SETTLED; i++)
        (void)run_to_end(rig, 0, RUN_COMPLETED);
    Id run_id = started_run(rig);
    restart_with_retention(rig, 1);
    announce(rig);
    int64_t n_deletions = 0, n_between = 0;
    for (unsigned n = 0; has_ended_runs(rig); n++) {
        int64_t before = store_fault_count(rig->store, STORE_LIST_RUNS_ENDED_BEFORE);
        CommandKind kind = n % 2 == 0 ? COMMAND_PAUSE : COMMAND_RESUME;
        assert_int_equal(command(rig, &run_id, kind, OWNER, NULL), RESULT_OK);
        n_deletions = store_fault_count(rig->store, STORE_LIST_RUNS_ENDED_BEFORE) - before;
        assert_true(n_deletions <= 8); /* the test's own look, and the pages that one command may wait for */
        n_between += n_deletions > 0;
    }
    assert_true(n_between >= N_BETWEEN_AT_LEAST);
    assert_true(is_there(rig, &run_id));
}

static void test_young_runs_stay(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 0, RUN_COMPLETED);
    restart_with_retention(rig, 3600000);
    int64_t n_looks = store_fault_count(rig->store, STORE_LIST_RUNS_ENDED_BEFORE);
    WAIT_UNTIL(store_fault_count(rig->store, STORE_LIST_RUNS_ENDED_BEFORE) > n_looks);
    assert_true(is_there(rig, &run_id));
}

static void test_for_ever_by_default(void **state)
{
    Rig *rig = *state;
    Id run_id = run_to_end(rig, 0, RUN_COMPLETED);
    int64_t n_rounds = store_fault_count(rig->store, STORE_LIST_RUNS_IN_PHASE);
    WAIT_UNTIL(store_fault_count(rig->store, STORE_LIST_RUNS_IN_PHASE) >= n_rounds + 2);
    assert_int_equal(store_fault_count(rig->store, STORE_LIST_RUNS_ENDED_BEFORE), 0);
    assert_true(is_there(rig, &run_id));
}

static int set_up_announced(void **state)
{
    (void)set_up(state);
    announce(*state);
    return 0;
}

int main(void)
{
#define RIG(test) cmocka_unit_test_setup_teardown(test, set_up_announced, tear_down)
    const struct CMUnitTest tests[] = {
        RIG(test_unknown_run),
        RIG(test_ended_run),
        RIG(test_going_run),
        RIG(test_run_with_open_steps),
        RIG(test_precondition),
        RIG(test_key_begins_anew),
        RIG(test_failing_store),
        RIG(test_only_settled_runs_go),
        RIG(test_writes_are_not_held_up),
        RIG(test_young_runs_stay),
        RIG(test_for_ever_by_default),
    };
    return cmocka_run_group_tests_name("retention", tests, NULL, NULL);
}
