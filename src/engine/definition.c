/* definition.c - parses a step tree once for all runs of it. Nothing here fails: definitions come validated from our
 * service, but not from everyone, so a fault is kept and becomes the failure of the step (or of the run) it is in, where
 * the user sees it. */
#include "engine/definition.h"

#include <string.h>

#include "engine/step_hash.h"

struct Definitions {
    GHashTable *set; /* of Definition, by their steps */
};

static unsigned definition_hash(const void *definition)
{
    return ((const Definition *)definition)->hash;
}

static int definition_equal(const void *a, const void *b)
{
    const Definition *left = a, *right = b;
    return left->hash == right->hash && steps_equal(left->steps, left->n_roots, right->steps, right->n_roots);
}

size_t definition_find(const Definition *definition, const char *step_id)
{
    size_t found = GPOINTER_TO_SIZE(g_hash_table_lookup(definition->index, step_id));
    return found > 0 ? found - 1 : NO_INDEX;
}

static bool is_step(const char *step_id, void *arg)
{
    return definition_find(arg, step_id) != NO_INDEX;
}

static void add_once(GArray *indexes, size_t index)
{
    for (size_t i = 0; i < indexes->len; i++)
        if (g_array_index(indexes, size_t, i) == index)
            return;
    g_array_append_val(indexes, index);
}

/* ---- building ---- */

/* Preorder of the contract: a step, its children, the steps of each of its branches. */
static void lay_out(Definition *definition, Step *const *steps, size_t n_steps, size_t parent, size_t branch)
{
    for (size_t i = 0; i < n_steps; i++) {
        const Step *step = steps[i];
        size_t index = definition->n_steps++;
        StepPlan *plan = &definition->plans[index];
        plan->step = step;
        plan->parent = parent;
        plan->branch = branch;
        plan->waits_for = g_array_new(FALSE, FALSE, sizeof(size_t));
        plan->waiters = g_array_new(FALSE, FALSE, sizeof(size_t));
        plan->owned = g_array_new(FALSE, FALSE, sizeof(size_t));
        if (parent != NO_INDEX)
            g_array_append_val(definition->plans[parent].owned, index);
        if (!g_hash_table_insert(definition->index, (void *)step->step_id.text, GSIZE_TO_POINTER(index + 1)) &&
            definition->fault == NULL)
            definition->fault = g_strdup_printf("step %s is there twice", step->step_id.text);
        lay_out(definition, step->children, step->n_children, index, NO_INDEX);
        for (size_t b = 0; b < step->n_branches; b++)
            lay_out(definition, step->branches[b].steps, step->branches[b].n_steps, index, b);
    }
}

typedef struct {
    Definition *definition;
    size_t index;
    bool is_branch; /* in a branch's condition, a step may refer to itself: its plugin is done by then */
} Referrer;

static void add_edge(const TemplatePart *reference, void *arg)
{
    const Referrer *referrer = arg;
    if (reference->kind != PART_STEP_OUTPUT)
        return;
    size_t target = definition_find(referrer->definition, reference->step_id.text);
    if (target == NO_INDEX || (referrer->is_branch && target == referrer->index))
        return;
    add_once(referrer->definition->plans[referrer->index].waits_for, target);
}

static void keep_fault(StepPlan *plan, const char *where, const char *name, const GError *error)
{
    if (plan->fault == NULL)
        plan->fault = g_strdup_printf("%s%s: %s", where, name, error->message);
}

static void compile_inputs(Definition *definition, size_t index)
{
    StepPlan *plan = &definition->plans[index];
    const TextMap *inputs = &plan->step->inputs;
    plan->inputs = g_new0(Template, inputs->n_pairs);
    Referrer referrer = {.definition = definition, .index = index};
    for (size_t i = 0; i < inputs->n_pairs; i++) {
        g_autoptr(GError) error = NULL;
        if (!template_parse(inputs->pairs[i].value, is_step, definition, &plan->inputs[i], &error)) {
            keep_fault(plan, "input ", inputs->pairs[i].name, error);
            continue;
        }
        for (size_t p = 0; p < plan->inputs[i].n_parts; p++)
            add_edge(&plan->inputs[i].parts[p], &referrer);
    }
}

static Condition *compile_condition(Definition *definition, size_t index, const char *text, bool is_branch)
{
    if (text == NULL)
        return NULL;
    g_autoptr(GError) error = NULL;
    Condition *condition = condition_parse(text, is_step, definition, &error);
    if (condition == NULL) {
        keep_fault(&definition->plans[index], is_branch ? "condition of a branch" : "condition", "", error);
        return NULL;
    }
    Referrer referrer = {.definition = definition, .index = index, .is_branch = is_branch};
    condition_foreach_reference(condition, add_edge, &referrer);
    return condition;
}

static void compile(Definition *definition, size_t index)
{
    StepPlan *plan = &definition->plans[index];
    const Step *step = plan->step;
    if (step->plugin_id != NULL)
        plan->plugin = plugin_find(step->plugin_id);
    if (plan->plugin == NULL && step->plugin_id != NULL)
        plan->fault = g_strdup_printf("no plugin %s on this engine", step->plugin_id);
    else if (plan->plugin == NULL && step->type == STEP_ACTION)
        plan->fault = g_strdup("the step names no plugin");
    compile_inputs(definition, index);
    plan->condition = compile_condition(definition, index, step->condition, false);
    plan->branch_conditions = g_new0(Condition *, step->n_branches);
    for (size_t b = 0; b < step->n_branches; b++)
        plan->branch_conditions[b] = compile_condition(definition, index, step->branches[b].condition, true);
}

static Definition *definition_new(Step **steps, size_t n_steps)
{
    Definition *definition = g_new0(Definition, 1);
    definition->steps = steps;
    definition->n_roots = n_steps;
    definition->hash = steps_hash(steps, n_steps);
    return definition;
}

static void definition_compile(Definition *definition)
{
    definition->plans = g_new0(StepPlan, steps_count(definition->steps, definition->n_roots));
    definition->index = g_hash_table_new(g_str_hash, g_str_equal);
    lay_out(definition, definition->steps, definition->n_roots, NO_INDEX, NO_INDEX);
    for (size_t i = 0; i < definition->n_steps; i++)
        compile(definition, i);
    for (size_t i = 0; i < definition->n_steps; i++) {
        GArray *waits_for = definition->plans[i].waits_for;
        for (size_t w = 0; w < waits_for->len; w++)
            g_array_append_val(definition->plans[g_array_index(waits_for, size_t, w)].waiters, i);
    }
}

/* ---- freeing ---- */

static void plan_done(StepPlan *plan)
{
    for (size_t i = 0; plan->inputs != NULL && i < plan->step->inputs.n_pairs; i++)
        template_done(&plan->inputs[i]);
    for (size_t b = 0; plan->branch_conditions != NULL && b < plan->step->n_branches; b++)
        if (plan->branch_conditions[b] != NULL)
            condition_free(plan->branch_conditions[b]);
    if (plan->condition != NULL)
        condition_free(plan->condition);
    g_free(plan->inputs);
    g_free(plan->branch_conditions);
    g_free(plan->fault);
    g_array_free(plan->waits_for, TRUE);
    g_array_free(plan->waiters, TRUE);
    g_array_free(plan->owned, TRUE);
}

static void definition_free(Definition *definition)
{
    for (size_t i = 0; i < definition->n_steps; i++)
        plan_done(&definition->plans[i]);
    g_free(definition->plans);
    g_free(definition->fault);
    if (definition->index != NULL)
        g_hash_table_destroy(definition->index);
    steps_free(definition->steps, definition->n_roots);
    g_free(definition);
}

/* ---- the set ---- */

Definitions *definitions_new(void)
{
    Definitions *definitions = g_new0(Definitions, 1);
    definitions->set = g_hash_table_new(definition_hash, definition_equal);
    return definitions;
}

void definitions_free(Definitions *definitions)
{
    if (definitions == NULL)
        return;
    g_assert(g_hash_table_size(definitions->set) == 0);
    g_hash_table_destroy(definitions->set);
    g_free(definitions);
}

Definition *definitions_take(Definitions *definitions, Step **steps, size_t n_steps)
{
    Definition *definition = definition_new(steps, n_steps);
    Definition *known = g_hash_table_lookup(definitions->set, definition);
    if (known != NULL) {
        definition_free(definition);
        definition = known;
    } else {
        definition_compile(definition);
        g_hash_table_add(definitions->set, definition);
    }
    definition->ref_count++;
    return definition;
}

void definitions_release(Definitions *definitions, Definition *definition)
{
    if (definition == NULL || --definition->ref_count > 0)
        return;
    g_hash_table_remove(definitions->set, definition);
    definition_free(definition);
}

size_t definitions_count(const Definitions *definitions)
{
    return g_hash_table_size(definitions->set);
}
