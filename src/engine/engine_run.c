/* engine_run.c - a run as a whole: its commands, its own status, and what every status it gives out carries. */
#include "engine/engine_run.h"

#include <string.h>

#include "engine/engine_run_internal.h"

/* ---- statuses ---- */

/* Cut at a character, so that what follows is still UTF-8. */
static char *cut_error(const char *error)
{
    if (error == NULL || strlen(error) <= RUN_ERROR_MAX_BYTES)
        return g_strdup(error);
    size_t size = RUN_ERROR_MAX_BYTES;
    while (size > 0 && ((unsigned char)error[size] & 0xC0) == 0x80)
        size--;
    return g_strndup(error, size);
}

static StatusMessage new_status(const EngineRun *run, StatusKind kind, int64_t timestamp)
{
    return (StatusMessage){
        .kind = kind,
        .run_id = run->id,
        .flow_id = run->flow_id,
        .timestamp = timestamp,
        .generation = run->generation,
    };
}

void run_publish_step(EngineRun *run, size_t index, StepStatus step_status, const char *error, const char *outputs_json)
{
    run->last_at = MAX(run->last_at, clock_wall_ms(run->port->clock));
    g_autofree char *cut = cut_error(error);
    StatusMessage status = new_status(run, STATUS_STEP, run->last_at);
    status.step_id = run->definition->plans[index].step->step_id;
    status.step_status = step_status;
    status.attempt = MAX(run->nodes[index].attempt, 1); /* a step that never began is told of as in its first */
    status.error = cut;
    status.outputs_json = (char *)outputs_json;
    run->port->publish(&status, run->port->arg);
}

/* The service orders flow statuses by timestamp, to the millisecond: two of one run never share one. */
static void publish_flow(EngineRun *run, RunStatus run_status, const char *error)
{
    int64_t now = MAX(run->last_at, clock_wall_ms(run->port->clock));
    if (run->last_flow_at != INSTANT_NONE)
        now = MAX(now, run->last_flow_at + 1);
    run->last_at = run->last_flow_at = now;
    g_autofree char *cut = cut_error(error);
    StatusMessage status = new_status(run, STATUS_FLOW, now);
    status.run_status = run_status;
    status.error = cut;
    run->port->publish(&status, run->port->arg);
}

/* ---- the run's own status ---- */

void run_fail(EngineRun *run, size_t index, const char *error)
{
    if (run->failure != NULL)
        return;
    const char *step_id = run->definition->plans[index].step->step_id.text;
    run->failure = error != NULL ? g_strdup_printf("step %s failed: %s", step_id, error)
                                 : g_strdup_printf("step %s failed", step_id);
}

static void end(EngineRun *run, RunStatus status, const char *error)
{
    for (size_t i = 0; i < run->definition->n_steps && run->n_open > 0; i++) {
        Node *node = &run->nodes[i];
        if (node->state >= NODE_DONE)
            continue;
        run_stop_attempt(run, i);
        node->state = NODE_CANCELLED;
        run->n_open--;
        run_publish_step(run, i, STEP_CANCELLED, NULL, NULL);
    }
    run->mode = MODE_ENDED;
    publish_flow(run, status, error);
    run->port->ended(run, run->port->arg);
}

void run_advance(EngineRun *run)
{
    if (run->mode == MODE_ENDED)
        return;
    if (run->mode == MODE_RUNNING)
        run_start_ready(run);
    if (run->n_running > 0)
        return;
    if (run->failure != NULL) {
        end(run, RUN_FAILED, run->failure);
    } else if (run->n_open == 0) {
        end(run, RUN_COMPLETED, NULL);
    } else if (run->mode == MODE_PAUSING) {
        run->mode = MODE_PAUSED;
        publish_flow(run, RUN_PAUSED, NULL);
    } else if (run->mode == MODE_RUNNING && run->n_ready == 0 && run->n_retry_waiting == 0) {
        /* Validation keeps cycles out of flows; a definition that never saw it must not leave a run hanging. */
        end(run, RUN_FAILED, "the remaining steps wait for each other");
    }
}

/* ---- inputs ---- */

void engine_run_command(EngineRun *run, const CommandMessage *command)
{
    g_assert(command->command != COMMAND_START);
    if (run->mode == MODE_ENDED || (command->seq != 0 && command->seq <= run->last_seq))
        return;
    run->last_seq = MAX(run->last_seq, command->seq);
    switch (command->command) {
    case COMMAND_PAUSE:
        /* One that is paused already says so again: whoever asks waits for the answer. */
        run->mode = MODE_PAUSING;
        break;
    case COMMAND_RESUME:
        run->mode = MODE_RUNNING;
        if (run->failure == NULL)
            publish_flow(run, RUN_RUNNING, NULL);
        break;
    case COMMAND_STOP:
        end(run, RUN_STOPPED, NULL);
        break;
    case COMMAND_NONE:
    case COMMAND_START:
        break;
    }
    run_advance(run);
}

void engine_run_attempt_done(EngineRun *run, size_t step, char *outputs_json, char *error)
{
    run_end_attempt(run, step, outputs_json, error);
    run_advance(run);
}

/* ---- life ---- */

static void init_nodes(EngineRun *run)
{
    size_t n_steps = run->definition->n_steps;
    run->nodes = g_new0(Node, n_steps);
    run->n_open = n_steps;
    for (size_t i = 0; i < n_steps; i++) {
        const StepPlan *plan = &run->definition->plans[i];
        run->nodes[i].run = run;
        run->nodes[i].n_unmet = plan->waits_for->len + (plan->parent != NO_INDEX ? 1 : 0);
    }
}

/* After the progress, so that a step the progress tells of is not ready twice. */
static void ready_roots(EngineRun *run)
{
    for (size_t i = 0; i < run->definition->n_steps; i++) {
        Node *node = &run->nodes[i];
        if (node->n_unmet == 0 && node->state == NODE_WAITING) {
            node->state = NODE_READY;
            run->n_ready++;
        }
    }
}

/* Steps are cancelled when a run fails, which its failed step tells of, or when it is stopped: then the engine before us
 * was lost in the middle of it, and the stop is finished. */
static bool has_cancelled_step(const EngineRun *run)
{
    for (size_t i = 0; i < run->definition->n_steps; i++)
        if (run->nodes[i].state == NODE_CANCELLED)
            return true;
    return false;
}

EngineRun *engine_run_new(CommandMessage *start, int32_t partition, const RunPort *port)
{
    g_assert(start->command == COMMAND_START);
    EngineRun *run = g_new0(EngineRun, 1);
    run->id = start->run_id;
    run->flow_id = start->flow_id;
    run->generation = start->generation;
    run->started_at = start->timestamp;
    run->partition = partition;
    run->last_seq = start->seq;
    run->port = port;
    run->last_at = run->last_flow_at = INSTANT_NONE;
    run->mode = start->is_paused ? MODE_PAUSED : MODE_RUNNING;
    run->inputs = start->inputs;
    start->inputs = (TextMap){0};
    run->definition = definitions_take(port->definitions, g_steal_pointer(&start->steps), start->n_steps);
    start->n_steps = 0;
    init_nodes(run);

    publish_flow(run, start->is_paused ? RUN_PAUSED : RUN_RUNNING, NULL);
    if (run->definition->fault != NULL) {
        end(run, RUN_FAILED, run->definition->fault);
        return run;
    }
    run_apply_progress(run, start->progress, start->n_progress);
    if (run->failure == NULL && has_cancelled_step(run)) {
        end(run, RUN_STOPPED, NULL);
        return run;
    }
    ready_roots(run);
    run_follow_progress(run);
    run_advance(run);
    return run;
}

void engine_run_free(EngineRun *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->definition->n_steps; i++) {
        Node *node = &run->nodes[i];
        run_stop_attempt(run, i);
        g_free(node->error);
        g_free(node->outputs_json);
    }
    g_free(run->nodes);
    g_free(run->failure);
    text_map_done(&run->inputs);
    definitions_release(run->port->definitions, run->definition);
    g_free(run);
}

const Id *engine_run_id(const EngineRun *run)
{
    return &run->id;
}

int64_t engine_run_generation(const EngineRun *run)
{
    return run->generation;
}

int64_t engine_run_started_at(const EngineRun *run)
{
    return run->started_at;
}

int32_t engine_run_partition(const EngineRun *run)
{
    return run->partition;
}

bool engine_run_has_ended(const EngineRun *run)
{
    return run->mode == MODE_ENDED;
}
