/* history_engine.c - a model of an engine: small enough to be right by looking at it, as free as an engine may be. */
#include "history.h"

typedef struct {
    Id id;
    StepStatus status;
    int64_t attempt;
    int64_t said_at;
} EngineStep;

struct HistoryEngine {
    Dialect dialect;
    Id run_id, flow_id;
    int64_t generation;
    bool is_paused, is_ended;
    RunStatus outcome;
    EngineStep *steps;
    size_t n_steps;
};

HistoryEngine *history_engine_new(Dialect dialect, const Run *run)
{
    HistoryEngine *engine = g_new0(HistoryEngine, 1);
    engine->dialect = dialect;
    engine->run_id = run->id;
    engine->flow_id = run->flow_id;
    engine->generation = run->generation;
    engine->is_paused = run->status == RUN_PAUSED;
    engine->outcome = RUN_RUNNING;
    engine->steps = g_new0(EngineStep, run->n_steps);
    engine->n_steps = run->n_steps;
    for (size_t i = 0; i < run->n_steps; i++) {
        const StepState *step = &run->steps[i];
        /* What ran starts again as the next attempt. */
        bool runs_again = step->status == STEP_RUNNING;
        engine->steps[i] = (EngineStep){.id = step->step_id,
                                        .status = runs_again ? STEP_PENDING : step->status,
                                        .attempt = runs_again ? step->attempt + 1 : MAX(step->attempt, 1)};
    }
    return engine;
}

void history_engine_free(HistoryEngine *engine)
{
    if (engine == NULL)
        return;
    g_free(engine->steps);
    g_free(engine);
}

RunStatus history_engine_outcome(const HistoryEngine *engine)
{
    return engine->outcome;
}

static StatusMessage *say(HistoryEngine *engine, StatusKind kind, int64_t now_ms, GPtrArray *statuses)
{
    StatusMessage *status = g_new0(StatusMessage, 1);
    status->kind = kind;
    status->run_id = engine->run_id;
    status->flow_id = engine->flow_id;
    status->timestamp = now_ms;
    status->generation = engine->dialect == DIALECT_OURS ? engine->generation : 0;
    g_ptr_array_add(statuses, status);
    return status;
}

static void say_flow(HistoryEngine *engine, RunStatus run_status, int64_t now_ms, GPtrArray *statuses)
{
    say(engine, STATUS_FLOW, now_ms, statuses)->run_status = run_status;
    if (run_status_is_terminal(run_status)) {
        engine->outcome = run_status;
        engine->is_ended = true;
    }
}

static void say_step(HistoryEngine *engine, EngineStep *step, StepStatus step_status, int64_t now_ms, const char *error,
                     GPtrArray *statuses)
{
    StatusMessage *status = say(engine, STATUS_STEP, now_ms, statuses);
    status->step_id = step->id;
    status->step_status = step_status;
    status->attempt = engine->dialect == DIALECT_OURS ? step->attempt : 0;
    status->error = g_strdup(error);
    if (step_status == STEP_COMPLETED)
        status->outputs_json = g_strdup_printf("{\"a/b\":\"\\u00e9\\\"%d\",\"n\":1.50,\"at\":%d}", (int)step->attempt,
                                               (int)(now_ms % 1000));
    step->status = step_status;
    step->said_at = now_ms;
}

static void stop(HistoryEngine *engine, int64_t now_ms, GPtrArray *statuses)
{
    /* Half of the steps are cancelled after the end: those events come late. */
    for (size_t i = 0; i < engine->n_steps; i += 2) {
        if (!step_status_is_terminal(engine->steps[i].status))
            say_step(engine, &engine->steps[i], STEP_CANCELLED, now_ms, NULL, statuses);
    }
    say_flow(engine, RUN_STOPPED, now_ms, statuses);
    for (size_t i = 1; i < engine->n_steps; i += 2) {
        if (!step_status_is_terminal(engine->steps[i].status))
            say_step(engine, &engine->steps[i], STEP_CANCELLED, now_ms, NULL, statuses);
    }
}

void history_engine_command(HistoryEngine *engine, CommandKind command, int64_t now_ms, GPtrArray *statuses)
{
    if (engine->is_ended)
        return;
    switch (command) {
    case COMMAND_START:
        say_flow(engine, engine->is_paused ? RUN_PAUSED : RUN_RUNNING, now_ms, statuses);
        break;
    case COMMAND_PAUSE:
        engine->is_paused = true;
        say_flow(engine, RUN_PAUSED, now_ms, statuses);
        break;
    case COMMAND_RESUME:
        engine->is_paused = false;
        say_flow(engine, RUN_RUNNING, now_ms, statuses);
        break;
    case COMMAND_STOP:
        stop(engine, now_ms, statuses);
        break;
    case COMMAND_NONE:
        break;
    }
}

static void fail_attempt(HistoryEngine *engine, EngineStep *step, bool goes_on, int64_t now_ms, GPtrArray *statuses)
{
    if (!goes_on) {
        say_step(engine, step, STEP_FAILED, now_ms, "it failed", statuses);
    } else if (engine->dialect == DIALECT_OURS) {
        step->attempt++;
        say_step(engine, step, STEP_RUNNING, now_ms, "it failed", statuses);
    } else {
        say_step(engine, step, STEP_FAILED, now_ms, "it failed", statuses);
        step->attempt++;
        say_step(engine, step, STEP_RUNNING, now_ms + 1, NULL, statuses);
    }
}

static void advance(HistoryEngine *engine, EngineStep *step, Chance *chance, int64_t now_ms, GPtrArray *statuses)
{
    if (step->status == STEP_PENDING) {
        bool is_skipped = chance_percent(chance, 10);
        say_step(engine, step, is_skipped ? STEP_SKIPPED : STEP_RUNNING, now_ms, NULL, statuses);
    } else if (now_ms > step->said_at && chance_percent(chance, 25)) {
        fail_attempt(engine, step, step->attempt < 3, now_ms, statuses);
    } else {
        /* An attempt of the bare dialect that goes on a millisecond later may not end before that. */
        say_step(engine, step, STEP_COMPLETED, MAX(now_ms, step->said_at), NULL, statuses);
    }
}

void history_engine_work(HistoryEngine *engine, Chance *chance, int64_t now_ms, GPtrArray *statuses)
{
    if (engine->is_ended || engine->is_paused)
        return;
    size_t n_open = 0;
    bool has_failed = false;
    for (size_t i = 0; i < engine->n_steps; i++) {
        n_open += !step_status_is_terminal(engine->steps[i].status);
        has_failed = has_failed || engine->steps[i].status == STEP_FAILED;
    }
    if (n_open == 0) {
        say_flow(engine, has_failed ? RUN_FAILED : RUN_COMPLETED, now_ms, statuses);
        return;
    }
    int64_t chosen = chance_below(chance, (int64_t)n_open);
    for (size_t i = 0; i < engine->n_steps; i++) {
        EngineStep *step = &engine->steps[i];
        if (!step_status_is_terminal(step->status) && chosen-- == 0) {
            advance(engine, step, chance, now_ms, statuses);
            return;
        }
    }
}
