/* test_run.c - the state: what folding refuses, copies, the search for a step, the run detail. */
#include "run_fixture.h"

static GString *detail_of(const Run *run, size_t *ret_summary_size)
{
    GString *out = g_string_new(NULL);
    size_t summary_size = run_encode_detail(run, out);
    if (ret_summary_size != NULL)
        *ret_summary_size = summary_size;
    return out;
}

static void test_the_detail_of_a_new_run(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run_of(0);
    size_t summary_size;
    GString *out = detail_of(run, &summary_size);
    static const char summary[] =
        "{\"id\":\"" RUN_ID "\",\"flowId\":\"" FLOW_ID "\",\"triggeredBy\":\"system\",\"status\":\"PENDING\","
        "\"error\":null,\"startedAt\":null,\"completedAt\":null,\"createdAt\":\"2026-01-31T09:00:00.000Z\","
        "\"updatedAt\":\"2026-01-31T09:00:00.000Z\",\"seq\":1,\"pendingCommand\":{\"command\":\"START\",\"commandId\":\"" COMMAND_ID
        "\",\"requestedAt\":\"2026-01-31T09:00:00.000Z\"},\"flowVersion\":4,\"labels\":{\"team\":\"blue\"}";
    assert_string_equal(out->str + summary_size,
                        ",\"inputs\":{\"who\":\"world\"},\"generation\":1,\"outputs\":null,\"steps\":[]}");
    g_string_truncate(out, summary_size);
    assert_string_equal(out->str, summary);
    g_string_free(out, TRUE);
}

static void test_the_detail_of_a_finished_run(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    fixture_step(run, STEP_A, STEP_RUNNING, T0 + 20);
    StatusMessage message = fixture_step_status(STEP_A, STEP_COMPLETED, T0 + 30);
    char outputs[] = "{\"x\":\"1\"}", failed_outputs[] = "{\"code\":7}", error[] = "no";
    message.outputs_json = outputs;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    message = fixture_step_status(STEP_B, STEP_FAILED, T0 + 40);
    message.outputs_json = failed_outputs;
    message.error = error;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    fixture_step(run, STEP_C, STEP_SKIPPED, T0 + 41);
    fixture_flow(run, RUN_FAILED, T0 + 42);
    GString *out = g_string_new("before");
    size_t summary_size = run_encode_detail(run, out);
    assert_string_equal(
        out->str + strlen("before") + summary_size,
        ",\"inputs\":{\"who\":\"world\"},\"generation\":1,\"outputs\":{\"" STEP_A "\":{\"x\":\"1\"}},\"steps\":["
        "{\"stepId\":\"" STEP_A "\",\"status\":\"COMPLETED\",\"error\":null,\"startedAt\":\"2026-01-31T09:00:00.020Z\","
        "\"completedAt\":\"2026-01-31T09:00:00.030Z\",\"attempt\":1,\"outputs\":{\"x\":\"1\"}},"
        "{\"stepId\":\"" STEP_B "\",\"status\":\"FAILED\",\"error\":\"no\",\"startedAt\":null,"
        "\"completedAt\":\"2026-01-31T09:00:00.040Z\",\"attempt\":1,\"outputs\":{\"code\":7}},"
        "{\"stepId\":\"" STEP_C "\",\"status\":\"SKIPPED\",\"error\":null,\"startedAt\":null,"
        "\"completedAt\":\"2026-01-31T09:00:00.041Z\",\"attempt\":1,\"outputs\":null}]}");
    assert_non_null(strstr(out->str, "\"status\":\"FAILED\",\"error\":null,\"startedAt\":\"2026-01-31T09:00:00.010Z\","
                                     "\"completedAt\":\"2026-01-31T09:00:00.042Z\""));
    assert_non_null(strstr(out->str, "\"pendingCommand\":null"));
    g_string_free(out, TRUE);
}

static void test_a_summary_is_its_prefix_and_a_brace(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    size_t summary_size;
    GString *out = detail_of(run, &summary_size);
    g_string_truncate(out, summary_size);
    g_string_append_c(out, '}');
    g_autoptr(JsonValue) summary = NULL;
    assert_true(json_parse(out->str, out->len, 8, &summary, NULL));
    assert_null(json_get(summary, "steps"));
    assert_null(json_get(summary, "inputs"));
    assert_int_equal(json_object_size(summary), 13);
    g_string_free(out, TRUE);
}

/* FAILED is one; so is a RUNNING of the next attempt that says what failed. One without was lost with its engine. */
static void test_failures_are_counted_not_attempts(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    char error[] = "boom";
    static const struct {
        StepStatus status;
        int64_t attempt;
        bool has_error;
        int64_t n_failures;
    } told[] = {
        {STEP_RUNNING, 1, false, 0}, {STEP_RUNNING, 2, true, 1}, {STEP_RUNNING, 3, false, 1},
        {STEP_FAILED, 3, true, 2},   {STEP_RUNNING, 4, true, 2}, {STEP_RUNNING, 5, true, 3},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(told); i++) {
        StatusMessage message = fixture_step_status(STEP_A, told[i].status, T0 + 20 + (int64_t)i);
        message.attempt = told[i].attempt;
        message.error = told[i].has_error ? error : NULL;
        assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
        assert_int_equal(run_find_step(run, STEP_A)->n_failures, told[i].n_failures);
    }
}

static void test_every_step_is_found(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 16, 17, 100, 1000};
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(Run) run = fixture_run_of(sizes[i]);
        g_autoptr(Run) copy = run_copy(run);
        for (size_t k = 0; k < sizes[i]; k++) {
            assert_ptr_equal(run_find_step(run, run->steps[k].step_id.text), &run->steps[k]);
            assert_ptr_equal(run_find_step(copy, run->steps[k].step_id.text), &copy->steps[k]);
        }
        assert_null(run_find_step(run, STEP_C));
        assert_null(run_find_step(run, ""));
        assert_null(run_find_step(run, "zzzz"));
    }
}

static void test_an_empty_state_is_copied_and_freed(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_new();
    g_autoptr(Run) copy = run_copy(run);
    assert_int_equal(copy->seq, 0);
    run_free(NULL);
}

static void test_a_copy_lives_on_its_own(void **state)
{
    (void)state;
    Run *run = fixture_run();
    StatusMessage message = fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 10), 3);
    char error[] = "a warning", outputs[] = "{\"x\":1}";
    message.error = error;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    message = fixture_step_status(STEP_B, STEP_COMPLETED, T0 + 20);
    message.error = error;
    message.outputs_json = outputs;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);

    g_autoptr(Run) copy = run_copy(run);
    GString *before = detail_of(run, NULL);
    fixture_step(copy, STEP_A, STEP_RUNNING, T0 + 30);
    fixture_flow(copy, RUN_STOPPED, T0 + 40);
    GString *after = detail_of(run, NULL);
    assert_string_equal(before->str, after->str);
    run_free(run);
    assert_string_equal(copy->triggered_by, "system");
    assert_string_equal(copy->request_digest, "digest");
    assert_string_equal(text_map_find(&copy->inputs, "who"), "world");
    assert_string_equal(run_find_step(copy, STEP_B)->outputs_json, "{\"x\":1}");
    g_string_free(before, TRUE);
    g_string_free(after, TRUE);
}

static Event *next_event(const Run *run, EventType type)
{
    Id run_id = fixture_id(RUN_ID), flow_id = fixture_id(FLOW_ID);
    Event *event = event_new(type, &run_id, &flow_id, T0 + 50);
    event->seq = run->seq + 1;
    event->generation = 1;
    event->attempt = 1;
    event->command = COMMAND_PAUSE;
    event->run_status = RUN_RUNNING;
    event->step_status = STEP_RUNNING;
    event->step_id = fixture_id(STEP_A);
    return event;
}

static void assert_refused(Run *run, const Event *event, const char *why)
{
    GString *before = run->seq > 0 ? detail_of(run, NULL) : NULL;
    g_autoptr(GError) error = NULL;
    assert_false(run_fold(run, event, &error));
    assert_int_equal(error->code, FLOWOPS_INVALID);
    g_autofree char *expected = g_strdup_printf("event %d of run %s: %s", (int)event->seq, event->run_id.text, why);
    assert_string_equal(error->message, expected);
    if (before == NULL)
        return;
    GString *after = detail_of(run, NULL);
    assert_string_equal(before->str, after->str); /* untouched */
    g_string_free(before, TRUE);
    g_string_free(after, TRUE);
}

static void test_fold_refuses_a_broken_journal(void **state)
{
    (void)state;
    g_autoptr(Run) nothing = run_new();
    g_autoptr(Event) first = next_event(nothing, EVENT_FLOW_STATUS);
    assert_refused(nothing, first, "the first is not RUN_CREATED");

    g_autoptr(Run) run = fixture_run();
    g_autoptr(Event) created = next_event(run, EVENT_RUN_CREATED);
    assert_refused(run, created, "a second RUN_CREATED");
    g_autoptr(Event) gap = next_event(run, EVENT_FLOW_STATUS);
    gap->seq++;
    assert_refused(run, gap, "not the next in the journal");
    g_autoptr(Event) repeat = next_event(run, EVENT_FLOW_STATUS);
    repeat->seq--;
    assert_refused(run, repeat, "not the next in the journal");
    g_autoptr(Event) other_run = next_event(run, EVENT_FLOW_STATUS);
    other_run->run_id = fixture_id(OWNER_ID);
    assert_refused(run, other_run, "of another run");
    g_autoptr(Event) other_flow = next_event(run, EVENT_COMMAND_REQUESTED);
    other_flow->flow_id = fixture_id(OWNER_ID);
    assert_refused(run, other_flow, "of another run");
    g_autoptr(Event) other_step = next_event(run, EVENT_STEP_STATUS);
    other_step->step_id = fixture_id(OWNER_ID);
    assert_refused(run, other_step, "of an unknown step");
}

static void test_fold_refuses_what_comes_after_the_end(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    fixture_flow(run, RUN_FAILED, T0 + 10);
    static const EventType types[] = {EVENT_FLOW_STATUS, EVENT_COMMAND_REQUESTED, EVENT_HANDED_OVER};
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autoptr(Event) event = next_event(run, types[i]);
        assert_refused(run, event, "after the end");
    }
    g_autoptr(Event) late = next_event(run, EVENT_STEP_STATUS);
    assert_true(run_fold(run, late, NULL));
}

static void test_phases(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    assert_int_equal(run_phase(run), PHASE_OPEN);
    fixture_flow(run, RUN_STOPPED, T0 + 10);
    assert_int_equal(run_phase(run), PHASE_ENDING);
    fixture_step(run, STEP_A, STEP_CANCELLED, T0 + 11);
    fixture_step(run, STEP_B, STEP_CANCELLED, T0 + 11);
    assert_int_equal(run_phase(run), PHASE_ENDING);
    fixture_step(run, STEP_C, STEP_CANCELLED, T0 + 11);
    assert_int_equal(run_phase(run), PHASE_SETTLED);
    g_autoptr(Run) empty = fixture_run_of(0);
    fixture_flow(empty, RUN_COMPLETED, T0 + 10);
    assert_int_equal(run_phase(empty), PHASE_SETTLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_detail_of_a_new_run),
        cmocka_unit_test(test_the_detail_of_a_finished_run),
        cmocka_unit_test(test_a_summary_is_its_prefix_and_a_brace),
        cmocka_unit_test(test_failures_are_counted_not_attempts),
        cmocka_unit_test(test_every_step_is_found),
        cmocka_unit_test(test_an_empty_state_is_copied_and_freed),
        cmocka_unit_test(test_a_copy_lives_on_its_own),
        cmocka_unit_test(test_fold_refuses_a_broken_journal),
        cmocka_unit_test(test_fold_refuses_what_comes_after_the_end),
        cmocka_unit_test(test_phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
