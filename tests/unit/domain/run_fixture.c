/* run_fixture.c - see run_fixture.h. */
#include "run_fixture.h"

static char *last_reason;
static size_t last_n_events;

Id fixture_id(const char *text)
{
    Id id;
    assert_true(id_parse(text, &id));
    return id;
}

static DecisionKind settle_decision(Run *run, Decision *decision)
{
    for (size_t i = 0; i < decision->n_events; i++) {
        GString *text = g_string_new(NULL);
        g_autoptr(GError) error = NULL;
        event_encode(decision->events[i], text);
        g_autoptr(Event) event = event_decode(text->str, text->len, &error);
        assert_null(error);
        assert_true(run_fold(run, event, NULL));
        g_string_free(text, TRUE);
    }
    g_free(last_reason);
    last_reason = g_strdup(decision->reason);
    last_n_events = decision->n_events;
    assert_true((decision->kind == DECISION_APPEND) == (decision->n_events > 0));
    assert_true((decision->kind == DECISION_APPEND) == (decision->reason == NULL));
    DecisionKind kind = decision->kind;
    decision_free(decision);
    return kind;
}

static Run *create(const Step *const *steps, size_t n_steps)
{
    Flow flow = {.id = fixture_id(FLOW_ID), .owner = fixture_id(OWNER_ID), .version = 4, .n_flat = n_steps};
    flow.flat = g_memdup2(steps, n_steps * sizeof *steps);
    TextMap labels = {0}, inputs = {0};
    text_map_add(&labels, "team", "blue");
    text_map_add(&inputs, "who", "world");
    RunRequest request = {.run_id = fixture_id(RUN_ID),
                          .command_id = fixture_id(COMMAND_ID),
                          .flow = &flow,
                          .triggered_by = "system",
                          .labels = &labels,
                          .inputs = &inputs,
                          .request_digest = "digest",
                          .now_ms = T0};
    Run *run = run_new();
    assert_int_equal(settle_decision(run, decide_create(&request)), DECISION_APPEND);
    text_map_done(&labels);
    text_map_done(&inputs);
    g_free(flow.flat);
    return run;
}

Run *fixture_run(void)
{
    Step a = {.step_id = fixture_id(STEP_A)}, b = {.step_id = fixture_id(STEP_B)}, c = {.step_id = fixture_id(STEP_C)};
    return create((const Step *[]){&a, &b, &c}, 3);
}

Run *fixture_run_of(size_t n_steps)
{
    Step *steps = g_new0(Step, n_steps);
    const Step **flat = g_new0(const Step *, n_steps);
    for (size_t i = 0; i < n_steps; i++) {
        g_snprintf(steps[i].step_id.text, ID_TEXT_SIZE, "%08zx-0000-7000-8000-%012zx", i * 2654435761u & 0xffffffff, i);
        flat[i] = &steps[i];
    }
    Run *run = create(flat, n_steps);
    g_free(flat);
    g_free(steps);
    return run;
}

StatusMessage fixture_flow_status(RunStatus status, int64_t timestamp)
{
    return (StatusMessage){.kind = STATUS_FLOW,
                           .run_id = fixture_id(RUN_ID),
                           .flow_id = fixture_id(FLOW_ID),
                           .run_status = status,
                           .timestamp = timestamp};
}

StatusMessage fixture_step_status(const char *step_id, StepStatus status, int64_t timestamp)
{
    return (StatusMessage){.kind = STATUS_STEP,
                           .run_id = fixture_id(RUN_ID),
                           .flow_id = fixture_id(FLOW_ID),
                           .step_id = fixture_id(step_id),
                           .step_status = status,
                           .timestamp = timestamp};
}

StatusMessage fixture_at(StatusMessage status, int64_t offset)
{
    static char topic[] = "execution.status";
    if (offset != NO_POSITION)
        status.origin = (Origin){.topic = topic, .partition = 0, .offset = offset};
    return status;
}

DecisionKind fixture_take(Run *run, const StatusMessage *status)
{
    return settle_decision(run, decide_status(run, status));
}

static DecisionKind command(Run *run, CommandKind kind, bool is_forced, int64_t now_ms)
{
    CommandRequest request = {.command = kind,
                              .is_forced = is_forced,
                              .command_id = id_make(now_ms),
                              .requested_by = fixture_id(OWNER_ID),
                              .now_ms = now_ms};
    return settle_decision(run, decide_command(run, &request));
}

DecisionKind fixture_command(Run *run, CommandKind kind, int64_t now_ms)
{
    return command(run, kind, false, now_ms);
}

DecisionKind fixture_force_stop(Run *run, int64_t now_ms)
{
    return command(run, COMMAND_STOP, true, now_ms);
}

DecisionKind fixture_hand_over(Run *run, int64_t now_ms)
{
    Id command_id = id_make(now_ms);
    return settle_decision(run, decide_hand_over(run, NULL, &command_id, now_ms));
}

DecisionKind fixture_settle(Run *run, int64_t now_ms)
{
    return settle_decision(run, decide_settle(run, now_ms));
}

const char *fixture_reason(void)
{
    return last_reason;
}

size_t fixture_n_events(void)
{
    return last_n_events;
}

void fixture_flow(Run *run, RunStatus status, int64_t timestamp)
{
    StatusMessage message = fixture_flow_status(status, timestamp);
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
}

void fixture_step(Run *run, const char *step_id, StepStatus status, int64_t timestamp)
{
    StatusMessage message = fixture_step_status(step_id, status, timestamp);
    assert_int_equal(fixture_take(run, &message), DECISION_APPEND);
}
