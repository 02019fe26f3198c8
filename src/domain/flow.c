/* flow.c - the life of a flow and its step tree: shared by reference count, flattened once, found by id. */
#include "domain/flow.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"

Flow *flow_new(void)
{
    Flow *flow = g_new0(Flow, 1);
    flow->version = 1;
    flow->created_at = flow->updated_at = flow->scheduled_since = INSTANT_NONE;
    flow->ref_count = 1;
    return flow;
}

Flow *flow_ref(const Flow *flow)
{
    Flow *shared = (Flow *)flow; /* the count is the one thing of it that changes */
    __atomic_fetch_add(&shared->ref_count, 1, __ATOMIC_RELAXED);
    return shared;
}

void flow_unref(Flow *flow)
{
    if (flow == NULL || __atomic_sub_fetch(&flow->ref_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    g_free(flow->name);
    g_free(flow->description);
    g_free(flow->cron);
    g_free(flow->timezone);
    schedule_options_free(flow->schedule);
    text_map_done(&flow->labels);
    steps_free(flow->steps, flow->n_steps);
    g_free(flow->flat);
    g_free(flow->by_id);
    g_free(flow->steps_json);
    g_free(flow);
}

/* As deep as the tree, which is FLOW_MAX_DEPTH at most; the same goes for the walks below. */
void step_free(Step *step)
{
    if (step == NULL)
        return;
    g_free(step->plugin_id);
    g_free(step->condition);
    text_map_done(&step->inputs);
    text_map_done(&step->outputs);
    for (size_t i = 0; i < step->n_branches; i++) {
        g_free(step->branches[i].condition);
        steps_free(step->branches[i].steps, step->branches[i].n_steps);
    }
    g_free(step->branches);
    steps_free(step->children, step->n_children);
    g_free(step);
}

void steps_free(Step **steps, size_t n_steps)
{
    for (size_t i = 0; i < n_steps; i++)
        step_free(steps[i]);
    g_free(steps);
}

size_t steps_count(Step *const *steps, size_t n_steps)
{
    size_t n = n_steps;
    for (size_t i = 0; i < n_steps; i++) {
        n += steps_count(steps[i]->children, steps[i]->n_children);
        for (size_t b = 0; b < steps[i]->n_branches; b++)
            n += steps_count(steps[i]->branches[b].steps, steps[i]->branches[b].n_steps);
    }
    return n;
}

static const Step **flatten(Step *const *steps, size_t n_steps, const Step **next)
{
    for (size_t i = 0; i < n_steps; i++) {
        *next++ = steps[i];
        next = flatten(steps[i]->children, steps[i]->n_children, next);
        for (size_t b = 0; b < steps[i]->n_branches; b++)
            next = flatten(steps[i]->branches[b].steps, steps[i]->branches[b].n_steps, next);
    }
    return next;
}

void steps_flatten(Step *const *steps, size_t n_steps, const Step **ret_flat)
{
    flatten(steps, n_steps, ret_flat);
}

static int compare_ids(const void *a, const void *b)
{
    const Step *const *left = a, *const *right = b;
    return strcmp((*left)->step_id.text, (*right)->step_id.text);
}

void flow_seal(Flow *flow)
{
    g_assert(flow->steps_json == NULL);
    flow->n_flat = steps_count(flow->steps, flow->n_steps);
    flow->flat = g_new(const Step *, flow->n_flat + 1);
    steps_flatten(flow->steps, flow->n_steps, flow->flat);
    flow->by_id = g_new(const Step *, flow->n_flat + 1);
    memcpy(flow->by_id, flow->flat, flow->n_flat * sizeof(const Step *));
    qsort(flow->by_id, flow->n_flat, sizeof(const Step *), compare_ids);

    GString *out = g_string_sized_new(256 * flow->n_flat + 16);
    JsonWriter writer = json_writer(out);
    steps_encode(flow->steps, flow->n_steps, &writer, NULL);
    flow->steps_json_size = out->len;
    flow->steps_json = g_string_free(out, FALSE);
}

static int compare_to_id(const void *id, const void *element)
{
    const Step *const *step = element;
    return strcmp(id, (*step)->step_id.text);
}

const Step *flow_find_step(const Flow *flow, const char *step_id)
{
    const Step **found = bsearch(step_id, flow->by_id, flow->n_flat, sizeof(const Step *), compare_to_id);
    return found == NULL ? NULL : *found;
}
