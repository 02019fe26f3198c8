/* engine_run_steps.c - a run's steps: which are ready, how an attempt begins and ends, what follows from it.
 * A node counts what it still waits for, so finishing a step costs as much as it has dependants; ready ones are started
 * in definition order. Nothing here recurses: a chain of skipped steps may be as long as the flow. */
#include <inttypes.h>
#include <string.h>

#include "engine/engine_run_internal.h"

/* Of what a hand-over says: attempts that follow stay below what a status may carry. */
#define ATTEMPT_MAX 900000000

static void fire_timer(Timer *timer);

static const StepPlan *plan_of(const EngineRun *run, size_t index)
{
    return &run->definition->plans[index];
}

static void close_node(EngineRun *run, Node *node, NodeState state)
{
    node->state = state;
    run->n_open--;
    g_clear_pointer(&node->error, g_free);
}

/* ---- what follows from a step's end ---- */

static void become_ready(EngineRun *run, size_t index)
{
    run->nodes[index].state = NODE_READY;
    run->n_ready++;
}

static void meet(EngineRun *run, size_t index)
{
    Node *node = &run->nodes[index];
    node->n_unmet--;
    if (node->n_unmet == 0 && node->state == NODE_WAITING)
        become_ready(run, index);
}

static void push_dependants(const EngineRun *run, size_t index, GArray *stack)
{
    const StepPlan *plan = plan_of(run, index);
    g_array_append_vals(stack, plan->waiters->data, plan->waiters->len);
    g_array_append_vals(stack, plan->owned->data, plan->owned->len);
}

/* Skips what is on the stack and everything that depends on it. What was begun before a hand-over goes on: it was not
 * ruled out then. */
static void skip_all(EngineRun *run, GArray *stack)
{
    while (stack->len > 0) {
        size_t index = g_array_index(stack, size_t, stack->len - 1);
        g_array_set_size(stack, stack->len - 1);
        Node *node = &run->nodes[index];
        bool was_ready = node->state == NODE_READY;
        if (node->attempt > 0 || (node->state != NODE_WAITING && !was_ready))
            continue;
        if (was_ready)
            run->n_ready--;
        close_node(run, node, NODE_SKIPPED);
        run_publish_step(run, index, STEP_SKIPPED, NULL, NULL);
        push_dependants(run, index, stack);
    }
}

static void skip(EngineRun *run, size_t index)
{
    g_autoptr(GArray) stack = g_array_new(FALSE, FALSE, sizeof(size_t));
    g_array_append_val(stack, index);
    skip_all(run, stack);
}

/* Its children and the steps that refer to it may begin; of a DECISION's branches only the one taken (NO_INDEX: none). */
static void follow_done(EngineRun *run, size_t index, size_t branch)
{
    const StepPlan *plan = plan_of(run, index);
    for (size_t i = 0; i < plan->waiters->len; i++)
        meet(run, g_array_index(plan->waiters, size_t, i));
    for (size_t i = 0; i < plan->owned->len; i++) {
        size_t owned = g_array_index(plan->owned, size_t, i);
        size_t of_branch = plan_of(run, owned)->branch;
        if (of_branch == NO_INDEX || of_branch == branch)
            meet(run, owned);
        else
            skip(run, owned);
    }
}

/* ---- how an attempt ends ---- */

static void fail_for_good(EngineRun *run, size_t index, const char *error)
{
    Node *node = &run->nodes[index];
    close_node(run, node, NODE_FAILED);
    run_publish_step(run, index, STEP_FAILED, error, NULL);
    run_fail(run, index, error);
}

static int64_t saturating_add(int64_t a, int64_t b)
{
    return b > INT64_MAX - a ? INT64_MAX : a + b;
}

/* Doubles with each failure, then +-20 % so that steps that failed together do not come back together. */
static int64_t retry_delay(const EngineRun *run, const Node *node, const StepConfig *config)
{
    int64_t delay = config->retry_delay_ms;
    for (int64_t i = 1; i < node->n_failures && delay > 0 && delay < RETRY_DELAY_MAX_MS; i++)
        delay = MIN(delay * 2, RETRY_DELAY_MAX_MS);
    return (int64_t)((double)delay * g_rand_double_range(run->port->random, 0.8, 1.2));
}

/* Takes the error. A run that is going to fail starts nothing new, so there it was the last attempt. */
static void attempt_failed(EngineRun *run, size_t index, char *error)
{
    Node *node = &run->nodes[index];
    const StepConfig *config = &plan_of(run, index)->step->config;
    node->n_failures++;
    if (node->n_failures > config->retry_count || run->failure != NULL) {
        fail_for_good(run, index, error);
        g_free(error);
        return;
    }
    node->state = NODE_RETRY_WAIT;
    run->n_retry_waiting++;
    g_free(node->error);
    node->error = error;
    int64_t now = clock_monotonic_ms(run->port->clock);
    timers_set(run->port->timers, &node->timer, saturating_add(now, retry_delay(run, node, config)), fire_timer);
}

static bool choose_branch(EngineRun *run, size_t index, size_t *ret_branch, GError **error)
{
    const StepPlan *plan = plan_of(run, index);
    for (size_t b = 0; b < plan->step->n_branches; b++) {
        bool holds = false;
        if (!run_condition_holds(run, index, plan->branch_conditions[b], &holds, error)) {
            g_prefix_error(error, "condition of branch %s: ", plan->step->branches[b].branch_id.text);
            return false;
        }
        if (holds) {
            *ret_branch = b;
            return true;
        }
    }
    *ret_branch = NO_INDEX;
    return true;
}

static void complete(EngineRun *run, size_t index, const char *outputs_json, const char *note, size_t branch)
{
    close_node(run, &run->nodes[index], NODE_DONE);
    run_publish_step(run, index, STEP_COMPLETED, note, outputs_json);
    if (plan_of(run, index)->waiters->len == 0)
        g_clear_pointer(&run->nodes[index].outputs_json, g_free);
    follow_done(run, index, branch);
}

/* A DECISION's branches see what its plugin gave; which one was taken is kept even when those outputs are too large. */
static void decide(EngineRun *run, size_t index, const char *note)
{
    Node *node = &run->nodes[index];
    g_autoptr(GError) error = NULL;
    size_t branch = NO_INDEX;
    if (!choose_branch(run, index, &branch, &error)) {
        g_clear_pointer(&node->outputs_json, g_free);
        fail_for_good(run, index, error->message);
        return;
    }
    const char *branch_id = branch != NO_INDEX ? plan_of(run, index)->step->branches[branch].branch_id.text : NULL;
    if (node->outputs_json != NULL)
        run->outputs_size_bytes -= strlen(node->outputs_json);
    g_autofree char *first_note = NULL;
    char *outputs = run_admit_outputs(run, outputs_with_branch(node->outputs_json, branch_id), &first_note);
    g_autofree char *second_note = NULL;
    if (outputs == NULL)
        outputs = run_admit_outputs(run, outputs_with_branch(NULL, branch_id), &second_note);
    g_free(node->outputs_json);
    node->outputs_json = outputs;
    complete(run, index, outputs, note != NULL ? note : first_note, branch);
}

/* Takes the outputs. */
static void attempt_succeeded(EngineRun *run, size_t index, char *outputs_json)
{
    Node *node = &run->nodes[index];
    g_autofree char *note = NULL;
    node->outputs_json = run_admit_outputs(run, outputs_json, &note);
    if (plan_of(run, index)->step->type == STEP_DECISION)
        decide(run, index, note);
    else
        complete(run, index, node->outputs_json, note, NO_INDEX);
}

void run_end_attempt(EngineRun *run, size_t index, char *outputs_json, char *error)
{
    Node *node = &run->nodes[index];
    g_assert(node->state == NODE_RUNNING);
    timers_clear(run->port->timers, &node->timer);
    node->handle = NULL;
    run->n_running--;
    if (error == NULL) {
        attempt_succeeded(run, index, outputs_json);
        return;
    }
    g_free(outputs_json);
    attempt_failed(run, index, error);
}

void run_stop_attempt(EngineRun *run, size_t index)
{
    Node *node = &run->nodes[index];
    timers_clear(run->port->timers, &node->timer);
    if (node->state == NODE_RUNNING) {
        run->port->cancel_attempt(g_steal_pointer(&node->handle), run->port->arg);
        run->n_running--;
    } else if (node->state == NODE_RETRY_WAIT) {
        run->n_retry_waiting--;
    } else if (node->state == NODE_READY) {
        run->n_ready--;
    }
}

/* A time limit has passed, or the delay before the next attempt. */
static void fire_timer(Timer *timer)
{
    Node *node = (Node *)((char *)timer - offsetof(Node, timer));
    EngineRun *run = node->run;
    size_t index = (size_t)(node - run->nodes);
    if (node->state == NODE_RETRY_WAIT) {
        run->n_retry_waiting--;
        become_ready(run, index);
    } else {
        g_assert(node->state == NODE_RUNNING);
        run->port->cancel_attempt(g_steal_pointer(&node->handle), run->port->arg);
        int64_t limit_ms = plan_of(run, index)->step->config.timeout_ms;
        run_end_attempt(run, index, NULL, g_strdup_printf("timed out after %" PRId64 " ms", limit_ms));
    }
    run_advance(run);
}

/* ---- how an attempt begins ---- */

static void start_plugin(EngineRun *run, size_t index)
{
    const StepPlan *plan = plan_of(run, index);
    Node *node = &run->nodes[index];
    TextMap inputs = {0};
    g_autoptr(GError) error = NULL;
    /* The same inputs would fail the same way: no retry. */
    if (!run_render_inputs(run, index, &inputs, &error)) {
        fail_for_good(run, index, error->message);
        return;
    }
    node->state = NODE_RUNNING;
    run->n_running++;
    node->handle = run->port->start_attempt(run, index, plan->plugin, inputs, node->attempt, run->port->arg);
    int64_t limit_ms = plan->step->config.timeout_ms;
    if (limit_ms > 0) {
        int64_t now = clock_monotonic_ms(run->port->clock);
        timers_set(run->port->timers, &node->timer, saturating_add(now, limit_ms), fire_timer);
    }
}

/* The condition is asked once, before the first attempt. */
static bool may_begin(EngineRun *run, size_t index, GError **error)
{
    if (run->nodes[index].attempt > 0)
        return true;
    bool holds = true;
    if (!run_condition_holds(run, index, plan_of(run, index)->condition, &holds, error)) {
        g_prefix_error(error, "condition: ");
        return true; /* it begins and fails */
    }
    return holds;
}

static void begin(EngineRun *run, size_t index)
{
    const StepPlan *plan = plan_of(run, index);
    Node *node = &run->nodes[index];
    g_autoptr(GError) error = NULL;
    if (!may_begin(run, index, &error)) {
        skip(run, index);
        return;
    }
    run->n_ready--;
    node->attempt++;
    run_publish_step(run, index, STEP_RUNNING, node->error, NULL);
    g_clear_pointer(&node->error, g_free);
    if (error != NULL)
        fail_for_good(run, index, error->message);
    else if (plan->fault != NULL)
        fail_for_good(run, index, plan->fault);
    else if (plan->plugin != NULL)
        start_plugin(run, index);
    else
        decide(run, index, NULL);
}

static bool may_start_more(const EngineRun *run)
{
    return run->n_ready > 0 && run->n_running < run->port->max_parallel_steps && run->failure == NULL;
}

/* Nothing new once the run is going to fail. */
void run_start_ready(EngineRun *run)
{
    /* A step that ends at once may free one that stands before it, so look again while there are ready ones. */
    while (may_start_more(run)) {
        bool is_closed_so_far = true;
        for (size_t i = run->first_open; i < run->definition->n_steps && may_start_more(run); i++) {
            if (run->nodes[i].state == NODE_READY)
                begin(run, i);
            is_closed_so_far = is_closed_so_far && run->nodes[i].state >= NODE_DONE;
            if (is_closed_so_far)
                run->first_open = i + 1;
        }
    }
}

/* ---- hand-over ---- */

/* The engine before us told of this step. Attempts that were lost with their engine are attempts, not failures; where the
 * sender does not say how many failed, all but the lost one count: retries end in any case. */
static void apply_step(EngineRun *run, size_t index, StepProgress *progress)
{
    Node *node = &run->nodes[index];
    const StepPlan *plan = plan_of(run, index);
    node->attempt = CLAMP(progress->attempt, 1, ATTEMPT_MAX);
    switch (progress->status) {
    case STEP_PENDING:
        node->attempt = 0;
        break;
    case STEP_RUNNING:
        node->n_failures = progress->n_failures >= 0 ? progress->n_failures : node->attempt - 1;
        become_ready(run, index);
        break;
    case STEP_FAILED:
        node->n_failures = progress->n_failures >= 0 ? progress->n_failures : node->attempt;
        if (node->n_failures <= plan->step->config.retry_count) {
            become_ready(run, index);
            break;
        }
        close_node(run, node, NODE_FAILED);
        run_fail(run, index, NULL);
        break;
    case STEP_COMPLETED: {
        g_autofree char *note = NULL;
        node->outputs_json = run_admit_outputs(run, g_steal_pointer(&progress->outputs_json), &note);
        close_node(run, node, NODE_DONE);
        break;
    }
    case STEP_SKIPPED:
        close_node(run, node, NODE_SKIPPED);
        break;
    case STEP_CANCELLED:
        close_node(run, node, NODE_CANCELLED);
        break;
    }
}

void run_apply_progress(EngineRun *run, StepProgress *progress, size_t n_progress)
{
    for (size_t i = 0; i < n_progress; i++) {
        size_t index = definition_find(run->definition, progress[i].step_id.text);
        if (index != NO_INDEX && run->nodes[index].state == NODE_WAITING)
            apply_step(run, index, &progress[i]);
    }
}

static bool was_begun(const Node *node)
{
    return node->attempt > 0 && node->state != NODE_SKIPPED && node->state != NODE_CANCELLED;
}

/* Which branch a finished DECISION had taken: its output says so; without it (dropped for its size, or another engine's
 * decision) a branch step that was begun does; else the conditions are asked again, over the same outputs. */
static size_t branch_taken(EngineRun *run, size_t index)
{
    const StepPlan *plan = plan_of(run, index);
    const char *outputs = run->nodes[index].outputs_json;
    g_autoptr(JsonValue) value = NULL;
    if (outputs != NULL && json_parse(outputs, strlen(outputs), FLOW_MAX_DEPTH * 2, &value, NULL)) {
        const JsonValue *branch = json_get(value, "branch");
        for (size_t b = 0; branch != NULL && json_type(branch) == JSON_STRING && b < plan->step->n_branches; b++)
            if (strcmp(plan->step->branches[b].branch_id.text, json_text(branch)) == 0)
                return b;
    }
    for (size_t i = 0; i < plan->owned->len; i++) {
        size_t owned = g_array_index(plan->owned, size_t, i);
        if (plan_of(run, owned)->branch != NO_INDEX && was_begun(&run->nodes[owned]))
            return plan_of(run, owned)->branch;
    }
    size_t chosen = NO_INDEX;
    g_autoptr(GError) error = NULL;
    if (plan->fault != NULL || !choose_branch(run, index, &chosen, &error))
        run_fail(run, index, error != NULL ? error->message : plan->fault);
    return chosen;
}

void run_follow_progress(EngineRun *run)
{
    g_autoptr(GArray) skipped = g_array_new(FALSE, FALSE, sizeof(size_t));
    for (size_t i = 0; i < run->definition->n_steps; i++) {
        NodeState state = run->nodes[i].state;
        /* What is skipped meanwhile was given its dependants by skip_all(); once more does no harm. */
        if (state == NODE_DONE)
            follow_done(run, i, plan_of(run, i)->step->type == STEP_DECISION ? branch_taken(run, i) : NO_INDEX);
        else if (state == NODE_SKIPPED || state == NODE_CANCELLED)
            push_dependants(run, i, skipped);
        if (plan_of(run, i)->waiters->len == 0)
            g_clear_pointer(&run->nodes[i].outputs_json, g_free);
    }
    skip_all(run, skipped);
}
