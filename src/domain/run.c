/* run.c - a run's state as data: made, copied, searched, written. A copy is taken for every run that a commit touches, so
 * what never changes is shared and the rest is one block of steps plus the few texts that are there. */
#include "domain/run.h"

#include <string.h>

#include "domain/run_internal.h"

/* Up to here looking at every step beats a search through an index. */
#define LINEAR_SEARCH_MAX_STEPS 16

Run *run_new(void)
{
    Run *run = g_new0(Run, 1);
    run->created_at = run->updated_at = run->started_at = run->completed_at = INSTANT_NONE;
    run->last_flow_status_at = run->ended_at = INSTANT_NONE;
    run->pending.requested_at = INSTANT_NONE;
    return run;
}

static RunBirth *birth_ref(RunBirth *birth)
{
    if (birth != NULL)
        __atomic_fetch_add(&birth->ref_count, 1, __ATOMIC_RELAXED);
    return birth;
}

static void birth_unref(RunBirth *birth)
{
    if (birth == NULL || __atomic_sub_fetch(&birth->ref_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    g_free(birth->triggered_by);
    text_map_done(&birth->labels);
    text_map_done(&birth->inputs);
    g_free(birth->request_digest);
    g_free(birth->step_order);
    g_free(birth);
}

Run *run_copy(const Run *run)
{
    Run *copy = g_new(Run, 1);
    *copy = *run;
    copy->birth = birth_ref(run->birth);
    copy->error = g_strdup(run->error);
    copy->taken = g_memdup2(run->taken, run->n_taken * sizeof *run->taken);
    for (size_t i = 0; i < run->n_taken; i++)
        copy->taken[i].origin.topic = g_strdup(run->taken[i].origin.topic);
    copy->announcements = g_memdup2(run->announcements, run->n_announcements * sizeof *run->announcements);
    copy->steps = g_memdup2(run->steps, run->n_steps * sizeof *run->steps);
    for (size_t i = 0; i < run->n_steps; i++) {
        copy->steps[i].error = g_strdup(run->steps[i].error);
        copy->steps[i].outputs_json = g_strdup(run->steps[i].outputs_json);
    }
    return copy;
}

void run_clear_taken(Run *run)
{
    for (size_t i = 0; i < run->n_taken; i++)
        g_free(run->taken[i].origin.topic);
    g_free(g_steal_pointer(&run->taken));
    run->n_taken = 0;
}

void run_free(Run *run)
{
    if (run == NULL)
        return;
    for (size_t i = 0; i < run->n_steps; i++) {
        g_free(run->steps[i].error);
        g_free(run->steps[i].outputs_json);
    }
    g_free(run->steps);
    g_free(run->error);
    g_free(run->announcements);
    run_clear_taken(run);
    birth_unref(run->birth);
    g_free(run);
}

static int compare_step_places(const void *left, const void *right, void *steps)
{
    const StepState *states = steps;
    return strcmp(states[*(const uint32_t *)left].step_id.text, states[*(const uint32_t *)right].step_id.text);
}

static uint32_t *order_steps(StepState *steps, size_t n_steps)
{
    if (n_steps <= LINEAR_SEARCH_MAX_STEPS)
        return NULL;
    uint32_t *order = g_new(uint32_t, n_steps);
    for (size_t i = 0; i < n_steps; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, n_steps, sizeof *order, compare_step_places, steps);
    return order;
}

void run_set_birth(Run *run, const Event *created)
{
    run->steps = g_new0(StepState, created->n_steps);
    run->n_steps = run->n_open_steps = created->n_steps;
    for (size_t i = 0; i < run->n_steps; i++)
        run->steps[i] = (StepState){.step_id = created->step_ids[i],
                                    .status = STEP_PENDING,
                                    .started_at = INSTANT_NONE,
                                    .completed_at = INSTANT_NONE};

    RunBirth *birth = g_new0(RunBirth, 1);
    birth->ref_count = 1;
    birth->triggered_by = g_strdup(created->triggered_by);
    text_map_copy(&created->labels, &birth->labels);
    text_map_copy(&created->inputs, &birth->inputs);
    birth->request_digest = g_strdup(created->request_digest);
    birth->step_order = order_steps(run->steps, run->n_steps);
    run->birth = birth;
    run->triggered_by = birth->triggered_by;
    run->labels = birth->labels;
    run->inputs = birth->inputs;
    run->request_digest = birth->request_digest;
}

StepState *run_find_step(const Run *run, const char *step_id)
{
    const uint32_t *order = run->birth != NULL ? run->birth->step_order : NULL;
    if (order == NULL) {
        for (size_t i = 0; i < run->n_steps; i++) {
            if (strcmp(run->steps[i].step_id.text, step_id) == 0)
                return &run->steps[i];
        }
        return NULL;
    }
    size_t from = 0, to = run->n_steps;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        StepState *step = &run->steps[order[middle]];
        int order_of_id = strcmp(step_id, step->step_id.text);
        if (order_of_id == 0)
            return step;
        if (order_of_id < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return NULL;
}

RunPhase run_phase(const Run *run)
{
    if (!run_status_is_terminal(run->status))
        return PHASE_OPEN;
    return run->n_open_steps > 0 ? PHASE_ENDING : PHASE_SETTLED;
}

/* ---- the contract's run detail ---- */

static void put_json(JsonWriter *writer, const char *key, const char *json)
{
    json_put_raw(writer, key, json, json != NULL ? strlen(json) : 0);
}

static void encode_pending(const PendingCommand *pending, JsonWriter *writer)
{
    if (pending->command == COMMAND_NONE) {
        json_put_null(writer, "pendingCommand");
        return;
    }
    json_begin_object(writer, "pendingCommand");
    json_put_string(writer, "command", command_name(pending->command));
    json_put_string(writer, "commandId", pending->command_id.text);
    json_put_instant(writer, "requestedAt", pending->requested_at);
    json_end_object(writer);
}

static void encode_outputs(const Run *run, JsonWriter *writer)
{
    bool has_some = false;
    for (size_t i = 0; i < run->n_steps; i++) {
        const StepState *step = &run->steps[i];
        if (step->status != STEP_COMPLETED || step->outputs_json == NULL)
            continue;
        if (!has_some)
            json_begin_object(writer, "outputs");
        has_some = true;
        put_json(writer, step->step_id.text, step->outputs_json);
    }
    if (has_some)
        json_end_object(writer);
    else
        json_put_null(writer, "outputs");
}

static void encode_step(const StepState *step, JsonWriter *writer)
{
    json_begin_object(writer, NULL);
    json_put_string_n(writer, "stepId", step->step_id.text, ID_TEXT_SIZE - 1);
    json_put_string(writer, "status", step_status_name(step->status));
    json_put_string(writer, "error", step->error);
    json_put_instant(writer, "startedAt", step->started_at);
    json_put_instant(writer, "completedAt", step->completed_at);
    json_put_int(writer, "attempt", step->attempt);
    put_json(writer, "outputs", step->outputs_json);
    json_end_object(writer);
}

size_t run_encode_detail(const Run *run, GString *out)
{
    size_t begin = out->len;
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string_n(&writer, "id", run->id.text, ID_TEXT_SIZE - 1);
    json_put_string_n(&writer, "flowId", run->flow_id.text, ID_TEXT_SIZE - 1);
    json_put_string(&writer, "triggeredBy", run->triggered_by);
    json_put_string(&writer, "status", run_status_name(run->status));
    json_put_string(&writer, "error", run->error);
    json_put_instant(&writer, "startedAt", run->started_at);
    json_put_instant(&writer, "completedAt", run->completed_at);
    json_put_instant(&writer, "createdAt", run->created_at);
    json_put_instant(&writer, "updatedAt", run->updated_at);
    json_put_int(&writer, "seq", run->seq);
    encode_pending(&run->pending, &writer);
    json_put_int(&writer, "flowVersion", run->flow_version);
    text_map_encode(&run->labels, &writer, "labels");
    size_t summary_size = out->len - begin;
    text_map_encode(&run->inputs, &writer, "inputs");
    json_put_int(&writer, "generation", run->generation);
    encode_outputs(run, &writer);
    json_begin_array(&writer, "steps");
    for (size_t i = 0; i < run->n_steps; i++)
        encode_step(&run->steps[i], &writer);
    json_end_array(&writer);
    json_end_object(&writer);
    return summary_size;
}
