/* step_hash.c - hash and equality of step trees. Both walk the decoded tree: the text they came from is gone by then, and
 * two texts may say the same. What does not change how a step runs (the declared outputs) is left out. Recursion is
 * bounded by the nesting that the decoder lets through. */
#include "engine/step_hash.h"

#include <string.h>

#define FNV_OFFSET 2166136261u
#define FNV_PRIME 16777619u

static unsigned mix_bytes(unsigned hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * FNV_PRIME;
    return hash;
}

/* The NUL goes in too, so that neighbours cannot trade characters; NULL differs from "". */
static unsigned mix_text(unsigned hash, const char *text)
{
    return text != NULL ? mix_bytes(hash, text, strlen(text) + 1) : mix_bytes(hash, "\1\1", 2);
}

static unsigned mix_int(unsigned hash, int64_t value)
{
    return mix_bytes(hash, &value, sizeof value);
}

static unsigned mix_steps(unsigned hash, Step *const *steps, size_t n_steps);

static unsigned mix_step(unsigned hash, const Step *step)
{
    hash = mix_text(hash, step->step_id.text);
    hash = mix_text(hash, step->plugin_id);
    hash = mix_int(hash, (int64_t)step->type);
    hash = mix_text(hash, step->condition);
    hash = mix_int(hash, (int64_t)step->inputs.n_pairs);
    for (size_t i = 0; i < step->inputs.n_pairs; i++) {
        hash = mix_text(hash, step->inputs.pairs[i].name);
        hash = mix_text(hash, step->inputs.pairs[i].value);
    }
    hash = mix_int(hash, step->config.timeout_ms);
    hash = mix_int(hash, step->config.retry_count);
    hash = mix_int(hash, step->config.retry_delay_ms);
    hash = mix_steps(hash, step->children, step->n_children);
    hash = mix_int(hash, (int64_t)step->n_branches);
    for (size_t i = 0; i < step->n_branches; i++) {
        const Branch *branch = &step->branches[i];
        hash = mix_text(hash, branch->branch_id.text);
        hash = mix_text(hash, branch->condition);
        hash = mix_steps(hash, branch->steps, branch->n_steps);
    }
    return hash;
}

static unsigned mix_steps(unsigned hash, Step *const *steps, size_t n_steps)
{
    hash = mix_int(hash, (int64_t)n_steps);
    for (size_t i = 0; i < n_steps; i++)
        hash = mix_step(hash, steps[i]);
    return hash;
}

unsigned steps_hash(Step *const *steps, size_t n_steps)
{
    return mix_steps(FNV_OFFSET, steps, n_steps);
}

static bool maps_equal(const TextMap *a, const TextMap *b)
{
    if (a->n_pairs != b->n_pairs)
        return false;
    for (size_t i = 0; i < a->n_pairs; i++)
        if (g_strcmp0(a->pairs[i].name, b->pairs[i].name) != 0 || g_strcmp0(a->pairs[i].value, b->pairs[i].value) != 0)
            return false;
    return true;
}

static bool branches_equal(const Step *a, const Step *b)
{
    if (a->n_branches != b->n_branches)
        return false;
    for (size_t i = 0; i < a->n_branches; i++) {
        const Branch *left = &a->branches[i], *right = &b->branches[i];
        if (strcmp(left->branch_id.text, right->branch_id.text) != 0 ||
            g_strcmp0(left->condition, right->condition) != 0 ||
            !steps_equal(left->steps, left->n_steps, right->steps, right->n_steps))
            return false;
    }
    return true;
}

static bool step_equal(const Step *a, const Step *b)
{
    return strcmp(a->step_id.text, b->step_id.text) == 0 && g_strcmp0(a->plugin_id, b->plugin_id) == 0 &&
           a->type == b->type && g_strcmp0(a->condition, b->condition) == 0 && maps_equal(&a->inputs, &b->inputs) &&
           a->config.timeout_ms == b->config.timeout_ms && a->config.retry_count == b->config.retry_count &&
           a->config.retry_delay_ms == b->config.retry_delay_ms &&
           steps_equal(a->children, a->n_children, b->children, b->n_children) && branches_equal(a, b);
}

bool steps_equal(Step *const *a, size_t n_a, Step *const *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (!step_equal(a[i], b[i]))
            return false;
    return true;
}
