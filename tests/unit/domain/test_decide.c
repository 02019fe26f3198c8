/* test_decide.c - commands, hand-over and settling; test_decide_status.c has the engines' statuses. */
#include "run_fixture.h"

/* A run brought to a status, with a command pending on it. */
static Run *run_in(RunStatus status, CommandKind pending)
{
    Run *run = fixture_run();
    int64_t now = T0;
    if (status != RUN_PENDING)
        fixture_flow(run, RUN_RUNNING, now += 10);
    if (status != RUN_PENDING && status != RUN_RUNNING)
        fixture_flow(run, status, now += 10);
    if (pending == COMMAND_NONE || pending == COMMAND_START)
        return run;
    /* A resume of what is not paused takes a pause's place. */
    if (pending == COMMAND_RESUME && status != RUN_PAUSED)
        assert_int_equal(fixture_command(run, COMMAND_PAUSE, now += 10), DECISION_APPEND);
    if (pending == COMMAND_PAUSE && status == RUN_PAUSED)
        assert_int_equal(fixture_command(run, COMMAND_RESUME, now += 10), DECISION_APPEND);
    assert_int_equal(fixture_command(run, pending, now + 10), DECISION_APPEND);
    assert_int_equal(run->pending.command, pending);
    return run;
}

static void test_a_new_run_is_pending_with_its_start(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    assert_int_equal(run->status, RUN_PENDING);
    assert_int_equal(run->pending.command, COMMAND_START);
    assert_string_equal(run->pending.command_id.text, COMMAND_ID);
    assert_int_equal(run->pending.requested_at, T0);
    assert_int_equal(run->pending.seq, 1);
    assert_int_equal(run->generation, 1);
    assert_int_equal(run->handed_over_seq, 1);
    assert_int_equal(run->seq, 1);
    assert_string_equal(run->id.text, RUN_ID);
    assert_string_equal(run->flow_id.text, FLOW_ID);
    assert_string_equal(run->owner.text, OWNER_ID);
    assert_string_equal(run->triggered_by, "system");
    assert_string_equal(run->request_digest, "digest");
    assert_int_equal(run->flow_version, 4);
    assert_int_equal(run->n_steps, 3);
    assert_int_equal(run->n_open_steps, 3);
    assert_string_equal(run->steps[2].step_id.text, STEP_C);
}

static const struct {
    RunStatus status;
    CommandKind pending, command;
    DecisionKind expected;
} COMMANDS[] = {
    {RUN_PENDING, COMMAND_START, COMMAND_PAUSE, DECISION_APPEND},
    {RUN_PENDING, COMMAND_START, COMMAND_RESUME, DECISION_REJECT},
    {RUN_PENDING, COMMAND_START, COMMAND_STOP, DECISION_APPEND},
    {RUN_PENDING, COMMAND_PAUSE, COMMAND_PAUSE, DECISION_NOTHING},
    {RUN_PENDING, COMMAND_PAUSE, COMMAND_RESUME, DECISION_APPEND},
    {RUN_PENDING, COMMAND_PAUSE, COMMAND_STOP, DECISION_APPEND},
    {RUN_PENDING, COMMAND_RESUME, COMMAND_PAUSE, DECISION_APPEND},
    {RUN_PENDING, COMMAND_RESUME, COMMAND_RESUME, DECISION_NOTHING},
    {RUN_PENDING, COMMAND_STOP, COMMAND_PAUSE, DECISION_REJECT},
    {RUN_PENDING, COMMAND_STOP, COMMAND_STOP, DECISION_NOTHING},
    {RUN_RUNNING, COMMAND_NONE, COMMAND_PAUSE, DECISION_APPEND},
    {RUN_RUNNING, COMMAND_NONE, COMMAND_RESUME, DECISION_NOTHING},
    {RUN_RUNNING, COMMAND_NONE, COMMAND_STOP, DECISION_APPEND},
    {RUN_RUNNING, COMMAND_PAUSE, COMMAND_PAUSE, DECISION_NOTHING},
    {RUN_RUNNING, COMMAND_PAUSE, COMMAND_RESUME, DECISION_APPEND},
    {RUN_RUNNING, COMMAND_PAUSE, COMMAND_STOP, DECISION_APPEND},
    {RUN_RUNNING, COMMAND_RESUME, COMMAND_PAUSE, DECISION_APPEND},
    {RUN_RUNNING, COMMAND_RESUME, COMMAND_RESUME, DECISION_NOTHING},
    {RUN_RUNNING, COMMAND_STOP, COMMAND_PAUSE, DECISION_REJECT},
    {RUN_RUNNING, COMMAND_STOP, COMMAND_RESUME, DECISION_REJECT},
    {RUN_RUNNING, COMMAND_STOP, COMMAND_STOP, DECISION_NOTHING},
    {RUN_PAUSED, COMMAND_NONE, COMMAND_PAUSE, DECISION_NOTHING},
    {RUN_PAUSED, COMMAND_NONE, COMMAND_RESUME, DECISION_APPEND},
    {RUN_PAUSED, COMMAND_NONE, COMMAND_STOP, DECISION_APPEND},
    {RUN_PAUSED, COMMAND_PAUSE, COMMAND_RESUME, DECISION_APPEND},
    {RUN_PAUSED, COMMAND_RESUME, COMMAND_PAUSE, DECISION_APPEND},
    {RUN_PAUSED, COMMAND_STOP, COMMAND_RESUME, DECISION_REJECT},
    {RUN_COMPLETED, COMMAND_NONE, COMMAND_PAUSE, DECISION_REJECT},
    {RUN_COMPLETED, COMMAND_NONE, COMMAND_STOP, DECISION_REJECT},
    {RUN_FAILED, COMMAND_NONE, COMMAND_RESUME, DECISION_REJECT},
    {RUN_FAILED, COMMAND_NONE, COMMAND_STOP, DECISION_REJECT},
    {RUN_STOPPED, COMMAND_NONE, COMMAND_PAUSE, DECISION_REJECT},
    {RUN_STOPPED, COMMAND_NONE, COMMAND_RESUME, DECISION_REJECT},
    {RUN_STOPPED, COMMAND_NONE, COMMAND_STOP, DECISION_NOTHING},
};

static void test_each_command_in_each_state(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(COMMANDS); i++) {
        g_autoptr(Run) run = run_in(COMMANDS[i].status, COMMANDS[i].pending);
        DecisionKind kind = fixture_command(run, COMMANDS[i].command, T0 + 1000);
        if (kind != COMMANDS[i].expected)
            print_error("%s on %s with %s pending\n", command_name(COMMANDS[i].command),
                        run_status_name(COMMANDS[i].status), command_name(COMMANDS[i].pending));
        assert_int_equal(kind, COMMANDS[i].expected);
        /* Never the status; and the command takes the place of what was pending. */
        assert_int_equal(run->status, COMMANDS[i].status);
        assert_int_equal(run->pending.command, kind == DECISION_APPEND ? COMMANDS[i].command : COMMANDS[i].pending);
        if (kind == DECISION_REJECT)
            assert_non_null(strstr(fixture_reason(), run_status_name(COMMANDS[i].status)));
    }
}

static void test_a_request_says_who_asked_for_what(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    CommandRequest request = {.command = COMMAND_PAUSE,
                              .command_id = fixture_id(STEP_A),
                              .requested_by = fixture_id(OWNER_ID),
                              .now_ms = T0 + 7};
    g_autoptr(Decision) decision = decide_command(run, &request);
    assert_int_equal(decision->n_events, 1);
    const Event *event = decision->events[0];
    assert_int_equal(event->type, EVENT_COMMAND_REQUESTED);
    assert_int_equal(event->command, COMMAND_PAUSE);
    assert_int_equal(event->seq, 2);
    assert_int_equal(event->timestamp, T0 + 7);
    assert_string_equal(event->command_id.text, STEP_A);
    assert_string_equal(event->requested_by.text, OWNER_ID);
}

static void test_rejections_are_sentences(void **state)
{
    (void)state;
    g_autoptr(Run) done = run_in(RUN_COMPLETED, COMMAND_NONE);
    fixture_command(done, COMMAND_STOP, T0 + 1000);
    assert_string_equal(fixture_reason(), "The run is COMPLETED: it has ended.");
    g_autoptr(Run) stopping = run_in(RUN_RUNNING, COMMAND_STOP);
    fixture_command(stopping, COMMAND_PAUSE, T0 + 1000);
    assert_string_equal(fixture_reason(), "The run is RUNNING and a STOP is pending.");
    g_autoptr(Run) waiting = run_in(RUN_PENDING, COMMAND_START);
    fixture_command(waiting, COMMAND_RESUME, T0 + 1000);
    assert_string_equal(fixture_reason(), "The run is PENDING: there is nothing to resume.");
}

static void test_a_pending_command_is_cleared_only_by_its_outcome(void **state)
{
    (void)state;
    static const struct {
        RunStatus status;
        CommandKind pending;
        RunStatus heard;
        bool is_cleared;
    } cases[] = {
        {RUN_PENDING, COMMAND_START, RUN_PENDING, false}, {RUN_PENDING, COMMAND_START, RUN_RUNNING, true},
        {RUN_PENDING, COMMAND_START, RUN_PAUSED, false},  {RUN_PENDING, COMMAND_START, RUN_FAILED, true},
        {RUN_PENDING, COMMAND_PAUSE, RUN_RUNNING, false}, {RUN_PENDING, COMMAND_PAUSE, RUN_PAUSED, true},
        {RUN_PENDING, COMMAND_STOP, RUN_RUNNING, false},  {RUN_RUNNING, COMMAND_PAUSE, RUN_RUNNING, false},
        {RUN_RUNNING, COMMAND_PAUSE, RUN_PAUSED, true},   {RUN_RUNNING, COMMAND_PAUSE, RUN_COMPLETED, true},
        {RUN_RUNNING, COMMAND_RESUME, RUN_PAUSED, false}, {RUN_RUNNING, COMMAND_RESUME, RUN_RUNNING, true},
        {RUN_PAUSED, COMMAND_RESUME, RUN_PAUSED, false},  {RUN_PAUSED, COMMAND_RESUME, RUN_RUNNING, true},
        {RUN_PAUSED, COMMAND_RESUME, RUN_STOPPED, true},  {RUN_RUNNING, COMMAND_STOP, RUN_RUNNING, false},
        {RUN_RUNNING, COMMAND_STOP, RUN_PAUSED, false},   {RUN_RUNNING, COMMAND_STOP, RUN_STOPPED, true},
        {RUN_RUNNING, COMMAND_STOP, RUN_COMPLETED, true}, {RUN_RUNNING, COMMAND_STOP, RUN_FAILED, true},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Run) run = run_in(cases[i].status, cases[i].pending);
        fixture_flow(run, cases[i].heard, T0 + 1000);
        CommandKind expected = cases[i].is_cleared ? COMMAND_NONE : cases[i].pending;
        if (run->pending.command != expected)
            print_error("%s heard on %s with %s pending\n", run_status_name(cases[i].heard),
                        run_status_name(cases[i].status), command_name(cases[i].pending));
        assert_int_equal(run->pending.command, expected);
        assert_int_equal(run->status, cases[i].heard);
    }
}

static void test_a_pause_before_the_start_was_answered(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_PENDING, COMMAND_PAUSE);
    fixture_flow(run, RUN_RUNNING, T0 + 100);
    assert_int_equal(run->pending.command, COMMAND_PAUSE);
    assert_int_equal(run->started_at, T0 + 100);
    fixture_flow(run, RUN_PAUSED, T0 + 100); /* an engine may do both in one millisecond */
    assert_int_equal(run->status, RUN_PAUSED);
    assert_int_equal(run->pending.command, COMMAND_NONE);
}

static void test_a_resume_that_takes_a_pauses_place_ends_running(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_RESUME);
    fixture_flow(run, RUN_PAUSED, T0 + 100);
    assert_int_equal(run->pending.command, COMMAND_RESUME);
    StatusMessage stale = fixture_flow_status(RUN_RUNNING, T0 + 99);
    assert_int_equal(fixture_take(run, &stale), DECISION_NOTHING);
    assert_int_equal(run->pending.command, COMMAND_RESUME);
    fixture_flow(run, RUN_RUNNING, T0 + 101);
    assert_int_equal(run->pending.command, COMMAND_NONE);
    assert_int_equal(run->started_at, T0 + 10); /* the first RUNNING's */
}

static void test_a_stop_is_forced_only_after_30_s(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_NONE);
    assert_int_equal(fixture_force_stop(run, T0 + 100), DECISION_REJECT);
    assert_string_equal(fixture_reason(), "The run is RUNNING and no stop is pending; a stop can be forced once one "
                                          "stayed unanswered for 30 s.");
    assert_int_equal(fixture_command(run, COMMAND_STOP, T0 + 100), DECISION_APPEND);
    assert_int_equal(fixture_force_stop(run, T0 + 100 + 29999), DECISION_REJECT);
    assert_string_equal(fixture_reason(),
                        "The run is RUNNING and its stop is pending for less than 30 s; it can be forced after that.");
    assert_int_equal(fixture_force_stop(run, T0 + 100 + 30000), DECISION_APPEND);
    assert_int_equal(fixture_force_stop(run, T0 + 100 + 30001), DECISION_NOTHING);
}

static void test_a_forced_stop_closes_everything_and_shuts_the_engine_out(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_NONE);
    fixture_step(run, STEP_A, STEP_COMPLETED, T0 + 50);
    StatusMessage halfway = fixture_step_status(STEP_B, STEP_RUNNING, T0 + 60);
    char outputs[] = "{\"lines\":12}";
    halfway.outputs_json = outputs;
    assert_int_equal(fixture_take(run, &halfway), DECISION_APPEND);
    fixture_command(run, COMMAND_STOP, T0 + 100);
    assert_int_equal(fixture_force_stop(run, T0 + 40000), DECISION_APPEND);
    assert_int_equal(fixture_n_events(), 3);
    assert_int_equal(run->status, RUN_STOPPED);
    assert_string_equal(run->error, "forced");
    assert_int_equal(run->completed_at, T0 + 40000);
    assert_int_equal(run->generation, 2);
    assert_int_equal(run->pending.command, COMMAND_NONE);
    assert_int_equal(run_phase(run), PHASE_SETTLED);
    assert_int_equal(run_find_step(run, STEP_A)->status, STEP_COMPLETED);
    assert_int_equal(run_find_step(run, STEP_B)->status, STEP_CANCELLED);
    assert_string_equal(run_find_step(run, STEP_B)->outputs_json, outputs);
    assert_int_equal(run_find_step(run, STEP_C)->status, STEP_CANCELLED);
    StatusMessage late = fixture_step_status(STEP_B, STEP_COMPLETED, T0 + 41000);
    late.generation = 1;
    assert_int_equal(fixture_take(run, &late), DECISION_NOTHING);
    assert_string_equal(fixture_reason(), "of generation 1, the run's is 2");
}

/* An append may be cut anywhere: after STOPPED alone the steps are open, and settling closes them. */
static void test_a_cut_forced_stop_is_settled(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_STOP);
    CommandRequest request = {.command = COMMAND_STOP, .is_forced = true, .now_ms = T0 + 60000};
    g_autoptr(Decision) decision = decide_command(run, &request);
    assert_int_equal(decision->n_events, 4);
    for (size_t i = 0; i < decision->n_events; i++) {
        assert_int_equal(decision->events[i]->generation, 2);
        assert_int_equal(decision->events[i]->seq, run->seq + 1 + (int64_t)i);
    }
    assert_true(run_fold(run, decision->events[0], NULL));
    assert_int_equal(run_phase(run), PHASE_ENDING);
    assert_int_equal(fixture_settle(run, T0 + 70000), DECISION_APPEND);
    assert_int_equal(run_phase(run), PHASE_SETTLED);
    assert_int_equal(run->generation, 2);
}

static void test_settling(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_NONE);
    assert_int_equal(fixture_settle(run, T0 + 10), DECISION_NOTHING);
    fixture_step(run, STEP_A, STEP_COMPLETED, T0 + 20);
    fixture_flow(run, RUN_FAILED, T0 + 30);
    assert_int_equal(fixture_settle(run, T0 + 40), DECISION_APPEND);
    assert_int_equal(fixture_n_events(), 2);
    const StepState *step = run_find_step(run, STEP_B);
    assert_int_equal(step->status, STEP_CANCELLED);
    assert_string_equal(step->error, "not reported by the engine");
    assert_int_equal(step->completed_at, T0 + 40);
    assert_int_equal(fixture_settle(run, T0 + 50), DECISION_NOTHING);
}

static void test_a_hand_over_raises_the_generation_and_nothing_else(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_RUNNING, COMMAND_PAUSE);
    PendingCommand pending = run->pending;
    assert_int_equal(fixture_hand_over(run, T0 + 500), DECISION_APPEND);
    assert_int_equal(run->status, RUN_RUNNING);
    assert_int_equal(run->generation, 2);
    assert_int_equal(run->handed_over_seq, run->seq);
    assert_int_equal(run->pending.command, COMMAND_PAUSE);
    assert_int_equal(run->pending.seq, pending.seq);
    assert_string_equal(run->pending.command_id.text, pending.command_id.text);
}

static void test_a_hand_overs_start_takes_the_place_of_an_unanswered_one(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    assert_int_equal(fixture_hand_over(run, T0 + 500), DECISION_APPEND);
    assert_int_equal(run->pending.command, COMMAND_START);
    assert_int_equal(run->pending.seq, 2);
    assert_int_equal(run->pending.requested_at, T0);
    assert_string_not_equal(run->pending.command_id.text, COMMAND_ID);
    fixture_flow(run, RUN_RUNNING, T0 + 501);
    assert_int_equal(run->pending.command, COMMAND_NONE);
}

static void test_an_ended_run_is_not_handed_over(void **state)
{
    (void)state;
    g_autoptr(Run) run = run_in(RUN_FAILED, COMMAND_NONE);
    assert_int_equal(fixture_hand_over(run, T0 + 500), DECISION_NOTHING);
}

static DecisionKind hand_over_to(Run *run, const char *engine_id, int64_t announced_at)
{
    Announcement announcement = {.announced_at = announced_at};
    g_strlcpy(announcement.engine_id.text, engine_id, sizeof announcement.engine_id.text);
    Id command_id = id_make(announced_at);
    g_autoptr(Decision) decision = decide_hand_over(run, &announcement, &command_id, announced_at + 10);
    DecisionKind kind = decision->kind;
    for (size_t i = 0; i < decision->n_events; i++) { /* as the journal gives it back */
        g_autoptr(GString) text = g_string_new(NULL);
        event_encode(decision->events[i], text);
        g_autoptr(Event) event = event_decode(text->str, text->len, NULL);
        assert_non_null(event);
        assert_true(run_fold(run, event, NULL));
    }
    return kind;
}

static void test_an_announcement_is_answered_once(void **state)
{
    static const char ONE[] = "e0000000-0000-4000-8000-000000000001", OTHER[] = "e0000000-0000-4000-8000-000000000002";
    (void)state;
    g_autoptr(Run) run = fixture_run();
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    assert_int_equal(hand_over_to(run, ONE, T0 + 100), DECISION_APPEND);
    assert_int_equal(hand_over_to(run, OTHER, T0 + 100), DECISION_APPEND);
    assert_int_equal(hand_over_to(run, ONE, T0 + 200), DECISION_APPEND);
    assert_int_equal(run->generation, 4);
    g_autoptr(Run) copy = run_copy(run);
    assert_int_equal(hand_over_to(copy, ONE, T0 + 100), DECISION_NOTHING);
    assert_int_equal(hand_over_to(copy, OTHER, T0 + 100), DECISION_NOTHING);
    assert_int_equal(hand_over_to(copy, ONE, T0 + 200), DECISION_NOTHING);
    assert_int_equal(copy->generation, 4);
}

static void test_a_start_younger_than_the_announcement_is_the_engines_already(void **state)
{
    static const char ENGINE_ID[] = "e0000000-0000-4000-8000-000000000001";
    (void)state;
    g_autoptr(Run) run = fixture_run();
    assert_int_equal(hand_over_to(run, ENGINE_ID, T0 - 1), DECISION_NOTHING);
    assert_int_equal(hand_over_to(run, ENGINE_ID, T0), DECISION_APPEND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_run_is_pending_with_its_start),
        cmocka_unit_test(test_each_command_in_each_state),
        cmocka_unit_test(test_a_request_says_who_asked_for_what),
        cmocka_unit_test(test_rejections_are_sentences),
        cmocka_unit_test(test_a_pending_command_is_cleared_only_by_its_outcome),
        cmocka_unit_test(test_a_pause_before_the_start_was_answered),
        cmocka_unit_test(test_a_resume_that_takes_a_pauses_place_ends_running),
        cmocka_unit_test(test_a_stop_is_forced_only_after_30_s),
        cmocka_unit_test(test_a_forced_stop_closes_everything_and_shuts_the_engine_out),
        cmocka_unit_test(test_a_cut_forced_stop_is_settled),
        cmocka_unit_test(test_settling),
        cmocka_unit_test(test_a_hand_over_raises_the_generation_and_nothing_else),
        cmocka_unit_test(test_a_hand_overs_start_takes_the_place_of_an_unanswered_one),
        cmocka_unit_test(test_an_announcement_is_answered_once),
        cmocka_unit_test(test_a_start_younger_than_the_announcement_is_the_engines_already),
        cmocka_unit_test(test_an_ended_run_is_not_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
