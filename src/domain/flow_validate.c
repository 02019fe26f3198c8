/* flow_validate.c - what one step asks of others: references in inputs and conditions. Each becomes an edge of the
 * dependency graph, which flow_cycles.c judges. */
#include <string.h>

#include "domain/condition_internal.h"
#include "domain/flow_internal.h"

typedef struct {
    FlowReader *reader;
    GArray *edges; /* StepEdge */
    size_t index;  /* of the step at hand */
    /* The text at hand: where it is, for messages, and itself, for writing ids in lower case. */
    const char *field;
    char *text;
    bool is_branch_condition;
    size_t patterns_left; /* bytes */
} Check;

static size_t find_step(const FlowReader *reader, const char *step_id)
{
    size_t found = GPOINTER_TO_SIZE(g_hash_table_lookup(reader->step_ids, step_id));
    return found == 0 ? NO_STEP : found - 1;
}

static bool is_step(const char *step_id, void *arg)
{
    return find_step(arg, step_id) != NO_STEP;
}

static void add_edge(Check *check, size_t from, size_t to)
{
    StepEdge edge = {.from = (uint32_t)from, .to = (uint32_t)to};
    g_array_append_val(check->edges, edge);
}

/* A DECISION's branches may look at what its own plugin gave: they are chosen after it ran. */
static bool may_refer_to_itself(const Check *check, const Step *step)
{
    return check->is_branch_condition && step->plugin_id != NULL;
}

static void check_reference(const TemplatePart *part, void *arg)
{
    Check *check = arg;
    FlowReader *reader = check->reader;
    if (part->kind != PART_STEP_OUTPUT)
        return;
    memcpy(check->text + part->id_offset, part->step_id.text, strlen(part->step_id.text));
    size_t target = find_step(reader, part->step_id.text);
    const Step *step = g_array_index(reader->nodes, StepNode, check->index).step;
    if (target == NO_STEP)
        faults_add_text(reader->faults, check->field, check->text, "step %s does not exist in this flow",
                        part->step_id.text);
    else if (target != check->index)
        add_edge(check, check->index, target);
    else if (check->is_branch_condition && !may_refer_to_itself(check, step))
        faults_add_text(reader->faults, check->field, check->text,
                        "step %s has no plugin, so it has no outputs to refer to", part->step_id.text);
    else if (!check->is_branch_condition)
        faults_add_text(reader->faults, check->field, check->text, "step %s refers to itself", part->step_id.text);
}

static void check_input(Check *check)
{
    g_autoptr(GError) why = NULL;
    g_auto(Template) template = {0};
    if (!template_parse(check->text, is_step, check->reader, &template, &why)) {
        faults_add_text(check->reader->faults, check->field, check->text, "%s", why->message);
        return;
    }
    for (size_t i = 0; i < template.n_parts; i++)
        check_reference(&template.parts[i], check);
}

static void check_condition(Check *check)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(Condition) condition =
        condition_parse_counted(check->text, is_step, check->reader, &check->patterns_left, &why);
    if (condition == NULL)
        faults_add_text(check->reader->faults, check->field, check->text, "%s", why->message);
    else
        condition_foreach_reference(condition, check_reference, check);
}

/* `check` is called with the path of `path.name` set. */
static void at_field(Check *check, const char *name, char *text, void (*judge)(Check *check))
{
    FlowReader *reader = check->reader;
    size_t mark = flow_path_push(reader, name);
    check->field = reader->path->str;
    check->text = text;
    judge(check);
    flow_path_pop(reader, mark);
}

static void check_step(Check *check)
{
    FlowReader *reader = check->reader;
    const StepNode *node = &g_array_index(reader->nodes, StepNode, check->index);
    const Step *step = node->step;
    g_string_assign(reader->path, node->path);
    if (node->parent != NO_STEP)
        add_edge(check, check->index, node->parent);

    size_t mark = flow_path_push(reader, "inputs");
    for (size_t i = 0; i < step->inputs.n_pairs; i++)
        at_field(check, step->inputs.pairs[i].name, step->inputs.pairs[i].value, check_input);
    flow_path_pop(reader, mark);
    if (step->condition != NULL)
        at_field(check, "condition", step->condition, check_condition);

    check->is_branch_condition = true;
    for (size_t i = 0; i < step->n_branches; i++) {
        mark = flow_path_push(reader, "branches");
        flow_path_push_index(reader, i);
        if (step->branches[i].condition != NULL)
            at_field(check, "condition", step->branches[i].condition, check_condition);
        flow_path_pop(reader, mark);
    }
    check->is_branch_condition = false;
}

void flow_check_references(FlowReader *reader)
{
    g_autoptr(GArray) edges = g_array_new(FALSE, FALSE, sizeof(StepEdge));
    Check check = {.reader = reader, .edges = edges, .patterns_left = FLOW_PATTERNS_MAX_BYTES};
    for (check.index = 0; check.index < reader->nodes->len; check.index++)
        check_step(&check);
    g_string_truncate(reader->path, 0);
    flow_check_cycles(reader, edges);
}
