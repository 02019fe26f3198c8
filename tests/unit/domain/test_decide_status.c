/* test_decide_status.c - engines' statuses: what is taken, what changes nothing, what cannot be of the run. */
#include "run_fixture.h"

static Run *running(void)
{
    Run *run = fixture_run();
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    return run;
}

static DecisionKind step(Run *run, StepStatus status, int64_t attempt, int64_t timestamp)
{
    StatusMessage message = fixture_step_status(STEP_A, status, timestamp);
    message.attempt = attempt;
    return fixture_take(run, &message);
}

/* ---- what cannot be of this run ---- */

static void test_what_is_of_another_run_is_rejected(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    StatusMessage message = fixture_flow_status(RUN_PAUSED, T0 + 20);
    message.flow_id = fixture_id(OWNER_ID);
    assert_int_equal(fixture_take(run, &message), DECISION_REJECT);
    assert_string_equal(fixture_reason(), "flowId " OWNER_ID " is not the run's");
    message = fixture_step_status(OWNER_ID, STEP_RUNNING, T0 + 20);
    assert_int_equal(fixture_take(run, &message), DECISION_REJECT);
    assert_string_equal(fixture_reason(), "step " OWNER_ID " is not in the run's flow");
    message = fixture_flow_status(RUN_SCHEDULED, T0 + 20);
    assert_int_equal(fixture_take(run, &message), DECISION_REJECT);
    assert_string_equal(fixture_reason(), "SCHEDULED is no status of an engine");
    message = fixture_flow_status(RUN_PAUSED, T0 + 20);
    message.generation = 2;
    assert_int_equal(fixture_take(run, &message), DECISION_REJECT);
    assert_string_equal(fixture_reason(), "generation 2 was never handed out, the run's is 1");
}

static void test_that_stays_a_rejection_after_the_end(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    fixture_flow(run, RUN_COMPLETED, T0 + 20);
    StatusMessage message = fixture_step_status(OWNER_ID, STEP_RUNNING, T0 + 30);
    assert_int_equal(fixture_take(run, &message), DECISION_REJECT);
}

/* ---- what is kept ---- */

static void test_events_remember_where_they_came_from(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    StatusMessage messages[] = {fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 10), 41),
                                fixture_at(fixture_step_status(STEP_A, STEP_RUNNING, T0 + 11), 42)};
    for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
        g_autoptr(Decision) decision = decide_status(run, &messages[i]);
        assert_int_equal(decision->n_events, 1);
        const Event *event = decision->events[0];
        assert_string_equal(event->origin.topic, "execution.status");
        assert_int_equal(event->origin.offset, 41 + i);
        assert_int_equal(event->seq, 2); /* the run was not touched */
        assert_int_equal(event->generation, 1);
        assert_int_equal(event->timestamp, messages[i].timestamp);
    }
}

/* ---- flow statuses ---- */

static void test_an_older_flow_status_changes_nothing(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    StatusMessage older = fixture_flow_status(RUN_PAUSED, T0 + 9);
    assert_int_equal(fixture_take(run, &older), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "FLOW_STATUS PAUSED: older than the last flow status taken");
    assert_int_equal(run->status, RUN_RUNNING);
}

static void test_a_newer_one_that_says_the_same_keeps_the_order(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    fixture_flow(run, RUN_RUNNING, T0 + 30);
    StatusMessage between = fixture_flow_status(RUN_PAUSED, T0 + 20);
    assert_int_equal(fixture_take(run, &between), DECISION_NOTHING);
}

static void test_equal_timestamps_without_positions(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    StatusMessage same = fixture_flow_status(RUN_RUNNING, T0 + 10);
    assert_int_equal(fixture_take(run, &same), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "FLOW_STATUS RUNNING: the same as the last flow status taken");
    fixture_flow(run, RUN_PAUSED, T0 + 10);
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    fixture_flow(run, RUN_COMPLETED, T0 + 10);
    assert_int_equal(run->status, RUN_COMPLETED);
}

static void test_equal_timestamps_with_positions(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    StatusMessage first = fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 10), 7);
    StatusMessage second = fixture_at(fixture_flow_status(RUN_PAUSED, T0 + 10), 8);
    assert_int_equal(fixture_take(run, &first), DECISION_APPEND);
    assert_int_equal(fixture_take(run, &second), DECISION_APPEND);
    assert_int_equal(fixture_take(run, &first), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "FLOW_STATUS RUNNING: taken before, from the same position");
    assert_int_equal(fixture_take(run, &second), DECISION_NOTHING);
    StatusMessage third = fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 10), 9);
    assert_int_equal(fixture_take(run, &third), DECISION_APPEND);
}

static StatusMessage at(RunStatus status, int32_t partition, int64_t offset)
{
    StatusMessage message = fixture_at(fixture_flow_status(status, T0 + 10), offset);
    message.origin.partition = partition;
    return message;
}

static void test_one_millisecond_on_two_partitions_is_taken_once(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    const StatusMessage log[] = {at(RUN_RUNNING, 0, 7), at(RUN_PAUSED, 1, 3), at(RUN_RUNNING, 1, 4),
                                 at(RUN_PAUSED, 0, 8)};
    for (size_t i = 0; i < G_N_ELEMENTS(log); i++)
        assert_int_equal(fixture_take(run, &log[i]), DECISION_APPEND);
    g_autoptr(Run) copy = run_copy(run);
    for (size_t i = 0; i < G_N_ELEMENTS(log); i++)
        assert_int_equal(fixture_take(copy, &log[i]), DECISION_NOTHING);
    for (size_t i = G_N_ELEMENTS(log); i-- > 0;) /* partitions come in any order */
        assert_int_equal(fixture_take(run, &log[i]), DECISION_NOTHING);
}

/* What was passed over as a repeat is in no journal, and stays a repeat when the log is read again. */
static void test_a_repeat_within_a_millisecond_stays_one(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    const StatusMessage log[] = {at(RUN_RUNNING, 0, 7), at(RUN_RUNNING, 0, 8), at(RUN_RUNNING, 1, 2),
                                 at(RUN_PAUSED, 0, 9), at(RUN_PAUSED, 0, 10)};
    const DecisionKind first[] = {DECISION_APPEND, DECISION_NOTHING, DECISION_NOTHING, DECISION_APPEND,
                                  DECISION_NOTHING};
    for (size_t i = 0; i < G_N_ELEMENTS(log); i++)
        assert_int_equal(fixture_take(run, &log[i]), first[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(log); i++)
        assert_int_equal(fixture_take(run, &log[i]), DECISION_NOTHING);
}

static void test_only_so_many_are_taken_of_one_millisecond(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    for (int64_t i = 0; i < RUN_MAX_TAKEN_AT_ONCE; i++) {
        StatusMessage message = at(i % 2 == 0 ? RUN_RUNNING : RUN_PAUSED, 0, i);
        assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    }
    StatusMessage more = at(RUN_RUNNING, 0, RUN_MAX_TAKEN_AT_ONCE);
    assert_int_equal(fixture_take(run, &more), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "FLOW_STATUS RUNNING: one too many within a millisecond");
    more.timestamp++;
    assert_int_equal(fixture_take(run, &more), DECISION_APPEND);
    StatusMessage other = at(RUN_PAUSED, 0, RUN_MAX_TAKEN_AT_ONCE + 1);
    other.timestamp++;
    assert_int_equal(fixture_take(run, &other), DECISION_APPEND); /* a newer millisecond begins with nothing taken */
    StatusMessage end = at(RUN_COMPLETED, 0, 0);
    assert_int_equal(fixture_take(run, &end), DECISION_APPEND);
}

static void test_a_topic_made_anew_loses_nothing(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    StatusMessage before = fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 10), 70000);
    StatusMessage at_once = fixture_at(fixture_flow_status(RUN_PAUSED, T0 + 10), 0);
    StatusMessage after = fixture_at(fixture_flow_status(RUN_RUNNING, T0 + 11), 1);
    assert_int_equal(fixture_take(run, &before), DECISION_APPEND);
    assert_int_equal(fixture_take(run, &at_once), DECISION_APPEND); /* a lower position is not a taken one */
    assert_int_equal(fixture_take(run, &after), DECISION_APPEND);
}

static void test_the_first_terminal_status_is_taken_however_old(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    StatusMessage old = fixture_at(fixture_flow_status(RUN_FAILED, T0 - 5000), 0);
    char error[] = "disk on fire";
    old.error = error;
    assert_int_equal(fixture_take(run, &old), DECISION_APPEND);
    assert_int_equal(run->status, RUN_FAILED);
    assert_string_equal(run->error, "disk on fire");
    assert_int_equal(run->completed_at, T0 - 5000);
    assert_int_equal(run->updated_at, T0 + 10); /* never goes back */
}

static void test_terminal_is_final(void **state)
{
    (void)state;
    for (RunStatus ended = RUN_COMPLETED; ended <= RUN_STOPPED; ended++) {
        g_autoptr(Run) run = running();
        fixture_flow(run, ended, T0 + 20);
        for (RunStatus later = RUN_PENDING; later <= RUN_STOPPED; later++) {
            StatusMessage message = fixture_at(fixture_flow_status(later, T0 + 30), 500);
            assert_int_equal(fixture_take(run, &message), DECISION_NOTHING);
            assert_non_null(strstr(fixture_reason(), "the run has ended"));
        }
        assert_int_equal(run->status, ended);
        assert_int_equal(run->completed_at, T0 + 20);
    }
}

static void test_generations_order_before_timestamps(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    fixture_hand_over(run, T0 + 100);
    StatusMessage old = fixture_flow_status(RUN_COMPLETED, T0 + 200);
    old.generation = 1;
    assert_int_equal(fixture_take(run, &old), DECISION_NOTHING);
    StatusMessage first = fixture_flow_status(RUN_PAUSED, T0 + 5); /* the new engine's clock is behind */
    first.generation = 2;
    assert_int_equal(fixture_take(run, &first), DECISION_APPEND);
    assert_int_equal(fixture_take(run, &first), DECISION_NOTHING);
}

static void test_a_replay_without_generations_is_no_news_after_a_hand_over(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    fixture_flow(run, RUN_PAUSED, T0 + 20);
    fixture_hand_over(run, T0 + 100);
    StatusMessage replayed = fixture_flow_status(RUN_RUNNING, T0 + 10);
    assert_int_equal(fixture_take(run, &replayed), DECISION_NOTHING);
    StatusMessage news = fixture_flow_status(RUN_RUNNING, T0 + 110);
    assert_int_equal(fixture_take(run, &news), DECISION_APPEND);
}

/* ---- steps: state alone ---- */

static void test_within_an_attempt_a_step_moves_only_forward(void **state)
{
    (void)state;
    for (StepStatus from = STEP_PENDING; from <= STEP_CANCELLED; from++) {
        for (StepStatus to = STEP_PENDING; to <= STEP_CANCELLED; to++) {
            g_autoptr(Run) run = running();
            if (from != STEP_PENDING)
                fixture_step(run, STEP_A, from, T0 + 20);
            bool is_forward =
                to != STEP_PENDING && (from == STEP_PENDING || (from == STEP_RUNNING && to != STEP_RUNNING));
            /* Whatever its timestamp is. */
            DecisionKind kind = step(run, to, 1, is_forward ? T0 - 20 : T0 + 40);
            assert_int_equal(kind, is_forward ? DECISION_APPEND : DECISION_NOTHING);
            assert_int_equal(run_find_step(run, STEP_A)->status, is_forward ? to : from);
        }
    }
}

static void test_an_end_without_a_beginning_is_taken_as_it_is(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    fixture_step(run, STEP_A, STEP_COMPLETED, T0 + 20);
    const StepState *a = run_find_step(run, STEP_A);
    assert_int_equal(a->attempt, 1);
    assert_true(a->started_at == INSTANT_NONE);
    assert_int_equal(a->completed_at, T0 + 20);
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 15), DECISION_NOTHING);
}

static void test_a_later_attempt_begins_from_any_end(void **state)
{
    (void)state;
    for (StepStatus from = STEP_RUNNING; from <= STEP_CANCELLED; from++) {
        g_autoptr(Run) run = running();
        assert_int_equal(step(run, from, 1, T0 + 20), DECISION_APPEND);
        assert_int_equal(step(run, STEP_RUNNING, 3, T0 + 15), DECISION_APPEND);
        const StepState *a = run_find_step(run, STEP_A);
        assert_int_equal(a->status, STEP_RUNNING);
        assert_int_equal(a->attempt, 3);
        assert_int_equal(a->started_at, T0 + 15);
        assert_true(a->completed_at == INSTANT_NONE);
        assert_int_equal(step(run, STEP_COMPLETED, 2, T0 + 99), DECISION_NOTHING);
        assert_string_equal(fixture_reason(), "STEP_STATUS COMPLETED: of an earlier attempt");
        assert_int_equal(step(run, STEP_PENDING, 4, T0 + 99), DECISION_NOTHING);
        assert_int_equal(run->n_open_steps, 3);
    }
}

static void test_a_later_attempt_whose_beginning_was_lost(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    assert_int_equal(step(run, STEP_RUNNING, 1, T0 + 20), DECISION_APPEND);
    assert_int_equal(step(run, STEP_COMPLETED, 2, T0 + 30), DECISION_APPEND);
    const StepState *a = run_find_step(run, STEP_A);
    assert_int_equal(a->attempt, 2);
    assert_true(a->started_at == INSTANT_NONE); /* nobody said when the second began */
    assert_int_equal(step(run, STEP_RUNNING, 2, T0 + 25), DECISION_NOTHING);
}

static void test_our_engine_tells_a_failure_as_the_next_attempts_running(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    step(run, STEP_RUNNING, 1, T0 + 20);
    StatusMessage again = fixture_step_status(STEP_A, STEP_RUNNING, T0 + 30);
    char error[] = "connection refused";
    again.attempt = 2;
    again.error = error;
    assert_int_equal(fixture_take(run, &again), DECISION_APPEND);
    const StepState *a = run_find_step(run, STEP_A);
    assert_int_equal(a->status, STEP_RUNNING);
    assert_int_equal(a->attempt, 2);
    assert_string_equal(a->error, "connection refused");
    assert_int_equal(step(run, STEP_COMPLETED, 2, T0 + 40), DECISION_APPEND);
    assert_null(a->error);
}

static void test_running_after_a_failure_begins_the_next_attempt(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    step(run, STEP_RUNNING, 0, T0 + 20);
    step(run, STEP_FAILED, 0, T0 + 30);
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 30), DECISION_NOTHING); /* newer, not equal */
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 31), DECISION_APPEND);
    assert_int_equal(run_find_step(run, STEP_A)->attempt, 2);
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 31), DECISION_NOTHING);
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 50), DECISION_NOTHING);
}

static void test_a_failure_without_an_attempt_is_the_current_ones(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    step(run, STEP_RUNNING, 0, T0 + 20);
    assert_int_equal(step(run, STEP_FAILED, 0, T0 + 15), DECISION_APPEND); /* the first has none before it */
    step(run, STEP_RUNNING, 0, T0 + 30);
    assert_int_equal(step(run, STEP_FAILED, 0, T0 + 29), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "STEP_STATUS FAILED: of an earlier attempt");
    assert_int_equal(step(run, STEP_FAILED, 0, T0 + 30), DECISION_APPEND); /* as fast as it began */
    assert_int_equal(run_find_step(run, STEP_A)->attempt, 2);
}

static void test_only_a_failure_is_followed_so(void **state)
{
    (void)state;
    static const StepStatus ends[] = {STEP_COMPLETED, STEP_SKIPPED, STEP_CANCELLED};
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        g_autoptr(Run) run = running();
        step(run, ends[i], 0, T0 + 30);
        assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 31), DECISION_NOTHING);
    }
}

static void test_a_whole_replay_without_attempts_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        StepStatus status;
        int64_t at;
    } told[] = {{STEP_RUNNING, 20}, {STEP_FAILED, 30},  {STEP_RUNNING, 40},
                {STEP_FAILED, 50},  {STEP_RUNNING, 60}, {STEP_COMPLETED, 70}};
    /* Read again from the first after every one of them. */
    for (size_t n = 1; n <= G_N_ELEMENTS(told); n++) {
        g_autoptr(Run) run = running();
        for (size_t i = 0; i < n; i++)
            assert_int_equal(step(run, told[i].status, 0, T0 + told[i].at), DECISION_APPEND);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(step(run, told[i].status, 0, T0 + told[i].at), DECISION_NOTHING);
        assert_int_equal(run_find_step(run, STEP_A)->attempt, (n + 1) / 2);
    }
}

static void test_after_the_end_late_steps_are_kept(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    step(run, STEP_RUNNING, 1, T0 + 20);
    fixture_flow(run, RUN_STOPPED, T0 + 30);
    assert_int_equal(run_phase(run), PHASE_ENDING);
    assert_int_equal(step(run, STEP_CANCELLED, 1, T0 + 40), DECISION_APPEND);
    fixture_step(run, STEP_B, STEP_RUNNING, T0 + 25);
    StatusMessage lost = fixture_step_status(STEP_B, STEP_COMPLETED, T0 + 26);
    lost.attempt = 2; /* its RUNNING was lost, but it ended */
    assert_int_equal(fixture_take(run, &lost), DECISION_APPEND);
    fixture_step(run, STEP_C, STEP_CANCELLED, T0 + 41);
    assert_int_equal(run_phase(run), PHASE_SETTLED);
    assert_int_equal(run->status, RUN_STOPPED);
    assert_int_equal(run->completed_at, T0 + 30);
}

static void test_after_the_end_no_attempt_begins(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    step(run, STEP_FAILED, 1, T0 + 20);
    fixture_step(run, STEP_B, STEP_RUNNING, T0 + 20);
    fixture_flow(run, RUN_FAILED, T0 + 30);
    assert_int_equal(step(run, STEP_RUNNING, 0, T0 + 40), DECISION_NOTHING);
    assert_int_equal(step(run, STEP_RUNNING, 2, T0 + 40), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "STEP_STATUS RUNNING: no attempt begins after the run's end");
    assert_int_equal(step(run, STEP_COMPLETED, 2, T0 + 40), DECISION_NOTHING);
    StatusMessage again = fixture_step_status(STEP_B, STEP_RUNNING, T0 + 40);
    again.attempt = 2;
    assert_int_equal(fixture_take(run, &again), DECISION_NOTHING);
}

/* ---- sizes ---- */

static char *outputs_of(size_t size)
{
    g_autofree char *filler = g_strnfill(size - strlen("{\"o\":\"\"}"), 'x');
    return g_strconcat("{\"o\":\"", filler, "\"}", NULL);
}

static DecisionKind complete(Run *run, const char *step_id, size_t outputs_size, char *error)
{
    g_autofree char *outputs = outputs_of(outputs_size);
    StatusMessage message = fixture_step_status(step_id, STEP_COMPLETED, T0 + 20);
    message.outputs_json = outputs;
    message.error = error;
    return fixture_take(run, &message);
}

static void test_a_steps_outputs_have_a_limit(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    assert_int_equal(complete(run, STEP_A, 65536, NULL), DECISION_APPEND);
    assert_int_equal(strlen(run_find_step(run, STEP_A)->outputs_json), 65536);
    assert_null(run_find_step(run, STEP_A)->error);
    assert_int_equal(complete(run, STEP_B, 65537, NULL), DECISION_APPEND);
    const StepState *b = run_find_step(run, STEP_B);
    assert_int_equal(b->status, STEP_COMPLETED);
    assert_null(b->outputs_json);
    assert_string_equal(b->error, "outputs dropped: 65537 bytes, a step keeps at most 65536");
    char error[] = "odd";
    assert_int_equal(complete(run, STEP_C, 70000, error), DECISION_APPEND);
    assert_string_equal(run_find_step(run, STEP_C)->error,
                        "odd; outputs dropped: 70000 bytes, a step keeps at most 65536");
    assert_int_equal(run->outputs_size_bytes, 65536);
}

static void test_a_runs_outputs_have_a_limit_together(void **state)
{
    (void)state;
    assert_int_equal(run_outputs_max_bytes(1), RUN_OUTPUTS_MAX_BYTES);
    assert_int_equal(run_outputs_max_bytes(500), RUN_OUTPUTS_MAX_BYTES);
    assert_int_equal(run_outputs_max_bytes(1000), 201728);
    g_autoptr(Run) run = fixture_run_of(6);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(complete(run, run->steps[i].step_id.text, 65536, NULL), DECISION_APPEND);
    assert_int_equal(run->outputs_size_bytes, RUN_OUTPUTS_MAX_BYTES);
    assert_int_equal(complete(run, run->steps[4].step_id.text, 10, NULL), DECISION_APPEND);
    assert_string_equal(run->steps[4].error,
                        "outputs dropped: 10 bytes beside the other steps' 262144, a run keeps at most 262144");
    /* A new attempt gives back what its step had. */
    StatusMessage again = fixture_step_status(run->steps[0].step_id.text, STEP_COMPLETED, T0 + 40);
    char outputs[] = "{\"o\":1}";
    again.attempt = 2;
    again.outputs_json = outputs;
    assert_int_equal(fixture_take(run, &again), DECISION_APPEND);
    assert_string_equal(run->steps[0].outputs_json, "{\"o\":1}");
    assert_int_equal(run->outputs_size_bytes, 3 * 65536 + 7);
    assert_int_equal(complete(run, run->steps[5].step_id.text, 10, NULL), DECISION_APPEND);
    assert_non_null(run->steps[5].outputs_json);
}

static void test_error_texts_are_cut_at_a_character(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    g_autofree char *filler = g_strnfill(RUN_ERROR_MAX_BYTES - 1, 'e');
    g_autofree char *error = g_strconcat(filler, "\u00fc", "x", NULL);
    StatusMessage message = fixture_step_status(STEP_A, STEP_FAILED, T0 + 20);
    message.error = error;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    assert_string_equal(run_find_step(run, STEP_A)->error, filler);
    assert_int_equal(complete(run, STEP_B, 70000, error), DECISION_APPEND);
    const char *joined = run_find_step(run, STEP_B)->error;
    assert_int_equal(strlen(joined), RUN_ERROR_MAX_BYTES);
    assert_true(g_str_has_suffix(joined, "e; outputs dropped: 70000 bytes, a step keeps at most 65536"));
    message = fixture_flow_status(RUN_FAILED, T0 + 30);
    message.error = error;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    assert_string_equal(run->error, filler);
}

/* A thousand steps' errors are in one document: what counts is what they take there. */
static void test_error_texts_are_measured_as_json_writes_them(void **state)
{
    (void)state;
    g_autoptr(Run) run = running();
    g_autofree char *controls = g_strnfill(RUN_ERROR_MAX_BYTES, '\x01');
    StatusMessage message = fixture_step_status(STEP_A, STEP_FAILED, T0 + 20);
    message.error = controls;
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
    assert_int_equal(strlen(run_find_step(run, STEP_A)->error), RUN_ERROR_MAX_BYTES / 6);
    g_autofree char *quotes = g_strnfill(RUN_ERROR_MAX_BYTES, '"');
    assert_int_equal(complete(run, STEP_B, 70000, quotes), DECISION_APPEND);
    const char *joined = run_find_step(run, STEP_B)->error;
    size_t note_size = strlen("; outputs dropped: 70000 bytes, a step keeps at most 65536");
    assert_int_equal(strlen(joined), note_size + (RUN_ERROR_MAX_BYTES - note_size) / 2);
    assert_true(g_str_has_suffix(joined, "\"; outputs dropped: 70000 bytes, a step keeps at most 65536"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_of_another_run_is_rejected),
        cmocka_unit_test(test_that_stays_a_rejection_after_the_end),
        cmocka_unit_test(test_events_remember_where_they_came_from),
        cmocka_unit_test(test_an_older_flow_status_changes_nothing),
        cmocka_unit_test(test_a_newer_one_that_says_the_same_keeps_the_order),
        cmocka_unit_test(test_equal_timestamps_without_positions),
        cmocka_unit_test(test_equal_timestamps_with_positions),
        cmocka_unit_test(test_one_millisecond_on_two_partitions_is_taken_once),
        cmocka_unit_test(test_a_repeat_within_a_millisecond_stays_one),
        cmocka_unit_test(test_only_so_many_are_taken_of_one_millisecond),
        cmocka_unit_test(test_a_topic_made_anew_loses_nothing),
        cmocka_unit_test(test_the_first_terminal_status_is_taken_however_old),
        cmocka_unit_test(test_terminal_is_final),
        cmocka_unit_test(test_generations_order_before_timestamps),
        cmocka_unit_test(test_a_replay_without_generations_is_no_news_after_a_hand_over),
        cmocka_unit_test(test_within_an_attempt_a_step_moves_only_forward),
        cmocka_unit_test(test_an_end_without_a_beginning_is_taken_as_it_is),
        cmocka_unit_test(test_a_later_attempt_begins_from_any_end),
        cmocka_unit_test(test_a_later_attempt_whose_beginning_was_lost),
        cmocka_unit_test(test_our_engine_tells_a_failure_as_the_next_attempts_running),
        cmocka_unit_test(test_running_after_a_failure_begins_the_next_attempt),
        cmocka_unit_test(test_a_failure_without_an_attempt_is_the_current_ones),
        cmocka_unit_test(test_only_a_failure_is_followed_so),
        cmocka_unit_test(test_a_whole_replay_without_attempts_changes_nothing),
        cmocka_unit_test(test_after_the_end_late_steps_are_kept),
        cmocka_unit_test(test_after_the_end_no_attempt_begins),
        cmocka_unit_test(test_a_steps_outputs_have_a_limit),
        cmocka_unit_test(test_a_runs_outputs_have_a_limit_together),
        cmocka_unit_test(test_error_texts_are_cut_at_a_character),
        cmocka_unit_test(test_error_texts_are_measured_as_json_writes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
