/* flow_steps.c - reads a client's step tree: shape, types, limits, ids. It builds what it can and notes every fault, so
 * that what depends on the tree (references, cycles) can be judged in the same answer. */
#include <string.h>

#include "domain/flow_internal.h"
#include "domain/plugin_name.h"

static void read_step_array(FlowReader *reader, const JsonValue *object, const char *name, size_t parent, int depth,
                            Step ***ret_steps, size_t *ret_n_steps);

static void add_fault_at(FlowReader *reader, const char *name, const JsonValue *rejected, const char *message)
{
    size_t mark = flow_path_push(reader, name);
    faults_add(reader->faults, reader->path->str, rejected, "%s", message);
    flow_path_pop(reader, mark);
}

/* The id under `name`, made when absent. False when it is at fault: then nobody can refer to it. */
static bool read_id(FlowReader *reader, const JsonValue *object, const char *name, Id *ret_id)
{
    const JsonValue *value = flow_read_member(reader, object, name, JSON_STRING);
    *ret_id = (Id){""};
    if (value != NULL && id_parse(json_text(value), ret_id))
        return true;
    if (value != NULL)
        add_fault_at(reader, name, value, "must be a UUID");
    if (json_get(object, name) != NULL)
        return false;
    *ret_id = reader->origin->make_id(reader->origin->make_id_arg);
    return true;
}

static void add_duplicate_fault(FlowReader *reader, const char *name, const Id *id, const char *first_path)
{
    size_t mark = reader->path->len;
    g_autofree char *here = g_strdup(reader->path->str);
    flow_path_push(reader, name);
    faults_add_text(reader->faults, reader->path->str, id->text, "%s has the same %s as %s", here, name, first_path);
    flow_path_pop(reader, mark);
}

static void read_step_id(FlowReader *reader, const JsonValue *object, Step *step, size_t index)
{
    if (!read_id(reader, object, "stepId", &step->step_id))
        return;
    size_t first = GPOINTER_TO_SIZE(g_hash_table_lookup(reader->step_ids, step->step_id.text));
    if (first > 0)
        add_duplicate_fault(reader, "stepId", &step->step_id, g_array_index(reader->nodes, StepNode, first - 1).path);
    else
        g_hash_table_insert(reader->step_ids, step->step_id.text, GSIZE_TO_POINTER(index + 1));
}

/* An ACTION when it can't be told. */
static bool read_type(FlowReader *reader, const JsonValue *object, StepType *ret_type)
{
    const JsonValue *value = flow_read_member(reader, object, "type", JSON_STRING);
    if (json_get(object, "type") == NULL)
        add_fault_at(reader, "type", NULL, "is required: ACTION or DECISION");
    else if (value != NULL && step_type_parse(json_text(value), ret_type))
        return true;
    else if (value != NULL)
        add_fault_at(reader, "type", value, "must be ACTION or DECISION");
    return false;
}

static void add_plugin_fault(FlowReader *reader, const JsonValue *value)
{
    const char *suggestion = plugin_name_suggest(json_text(value));
    g_autofree char *names = g_strjoinv(", ", (char **)PLUGIN_NAMES);
    g_autofree char *message =
        suggestion == NULL
            ? g_strdup_printf("must be a UUID or a built-in plugin (%s)", names)
            : g_strdup_printf("must be a UUID or a built-in plugin (%s); did you mean %s?", names, suggestion);
    add_fault_at(reader, "pluginId", value, message);
}

static void read_plugin(FlowReader *reader, const JsonValue *object, bool is_action, Step *step)
{
    Id id;
    const JsonValue *value = flow_read_member(reader, object, "pluginId", JSON_STRING);
    if (json_get(object, "pluginId") == NULL && is_action)
        add_fault_at(reader, "pluginId", NULL, "is required for an ACTION");
    if (value == NULL)
        return;
    if (!plugin_name_is_known(json_text(value)))
        add_plugin_fault(reader, value);
    step->plugin_id = g_strdup(id_parse(json_text(value), &id) ? id.text : json_text(value));
}

static void read_config_number(FlowReader *reader, const JsonValue *config, const char *name, int64_t max,
                               bool *ret_has_value, int64_t *ret_number)
{
    const JsonValue *value = flow_read_member(reader, config, name, JSON_INT);
    if (value == NULL)
        return;
    int64_t number = json_int(value);
    if (number < 0 || number > max) {
        size_t mark = flow_path_push(reader, name);
        faults_add(reader->faults, reader->path->str, value, "must be from 0 to %" G_GINT64_FORMAT, max);
        flow_path_pop(reader, mark);
        return;
    }
    *ret_has_value = true;
    *ret_number = number;
}

static void read_config(FlowReader *reader, const JsonValue *object, StepConfig *config)
{
    const JsonValue *value = flow_read_member(reader, object, "config", JSON_OBJECT);
    if (value == NULL)
        return;
    size_t mark = flow_path_push(reader, "config");
    read_config_number(reader, value, "timeoutMs", STEP_TIMEOUT_MAX_MS, &config->has_timeout, &config->timeout_ms);
    read_config_number(reader, value, "retryCount", STEP_RETRIES_MAX, &config->has_retry_count, &config->retry_count);
    read_config_number(reader, value, "retryDelayMs", STEP_RETRY_DELAY_MAX_MS, &config->has_retry_delay,
                       &config->retry_delay_ms);
    flow_path_pop(reader, mark);
}

static void read_condition(FlowReader *reader, const JsonValue *object, char **ret_condition)
{
    const JsonValue *value = flow_read_member(reader, object, "condition", JSON_STRING);
    *ret_condition = value == NULL ? NULL : g_strdup(json_text(value)); /* its length is the parser's to judge */
}

static void read_branch(FlowReader *reader, const JsonValue *object, size_t step, int depth, Branch *branch)
{
    if (json_type(object) != JSON_OBJECT) {
        flow_add_type_fault(reader, object, JSON_OBJECT);
        return;
    }
    if (read_id(reader, object, "branchId", &branch->branch_id)) {
        const char *first = g_hash_table_lookup(reader->branch_ids, branch->branch_id.text);
        if (first != NULL)
            add_duplicate_fault(reader, "branchId", &branch->branch_id, first);
        else
            g_hash_table_insert(reader->branch_ids, branch->branch_id.text, g_strdup(reader->path->str));
    }
    read_condition(reader, object, &branch->condition);
    read_step_array(reader, object, "steps", step, depth, &branch->steps, &branch->n_steps);
}

static void read_branches(FlowReader *reader, const JsonValue *object, bool is_action, size_t index, int depth)
{
    Step *step = g_array_index(reader->nodes, StepNode, index).step;
    const JsonValue *array = flow_read_member(reader, object, "branches", JSON_ARRAY);
    size_t n = array == NULL ? 0 : json_array_length(array);
    if (n == 0)
        return;
    size_t mark = flow_path_push(reader, "branches");
    reader->n_branches += n;
    if (is_action)
        faults_add(reader->faults, reader->path->str, NULL, "only a DECISION has branches");
    if (reader->n_branches > FLOW_MAX_BRANCHES) {
        if (reader->n_branches - n <= FLOW_MAX_BRANCHES) /* said once */
            faults_add(reader->faults, reader->path->str, NULL, "a flow may have at most %d branches in all",
                       FLOW_MAX_BRANCHES);
        reader->is_cut = true;
    } else {
        step->branches = g_new0(Branch, n);
        for (size_t i = 0; i < n; i++) {
            size_t inner = flow_path_push_index(reader, i);
            step->n_branches = i + 1;
            read_branch(reader, json_array_at(array, i), index, depth, &step->branches[i]);
            flow_path_pop(reader, inner);
        }
    }
    flow_path_pop(reader, mark);
}

/* Fills `step`, which is in nodes already, so that what it holds comes after it. */
static void read_step(FlowReader *reader, const JsonValue *object, size_t index, int depth)
{
    static const MapLimits INPUTS = {.what = "inputs",
                                     .max_pairs = STEP_INPUTS_MAX,
                                     .max_name_chars = INPUT_NAME_MAX_CHARS,
                                     .max_value_bytes = INPUT_VALUE_MAX_BYTES};
    static const MapLimits OUTPUTS = {.what = "outputs",
                                      .max_pairs = STEP_INPUTS_MAX,
                                      .max_name_chars = INPUT_NAME_MAX_CHARS,
                                      .max_value_chars = TYPE_NAME_MAX_CHARS};
    Step *step = g_array_index(reader->nodes, StepNode, index).step;
    read_step_id(reader, object, step, index);
    bool is_action = read_type(reader, object, &step->type) && step->type == STEP_ACTION;
    read_plugin(reader, object, is_action, step);
    flow_read_map(reader, object, "inputs", &INPUTS, &step->inputs);
    flow_read_map(reader, object, "outputs", &OUTPUTS, &step->outputs);
    read_condition(reader, object, &step->condition);
    read_config(reader, object, &step->config);
    read_step_array(reader, object, "children", index, depth + 1, &step->children, &step->n_children);
    read_branches(reader, object, is_action, index, depth + 1);
}

/* depth: the level of these steps, 1 at the root. Recursion ends at FLOW_MAX_DEPTH. */
static void read_step_array(FlowReader *reader, const JsonValue *object, const char *name, size_t parent, int depth,
                            Step ***ret_steps, size_t *ret_n_steps)
{
    const JsonValue *array = flow_read_member(reader, object, name, JSON_ARRAY);
    size_t n = array == NULL ? 0 : json_array_length(array);
    if (n == 0)
        return;
    reader->n_steps += n;
    if (depth > FLOW_MAX_DEPTH) {
        reader->is_cut = true;
        g_autofree char *message = g_strdup_printf("steps may be nested %d levels deep at most", FLOW_MAX_DEPTH);
        add_fault_at(reader, name, NULL, message);
        return;
    }
    size_t mark = flow_path_push(reader, name);
    Step **steps = g_new(Step *, MIN(n, FLOW_MAX_STEPS));
    size_t n_read = 0;
    for (size_t i = 0; i < n; i++) {
        if (++reader->n_read > FLOW_MAX_STEPS) {
            reader->is_cut = true;
            break;
        }
        size_t inner = flow_path_push_index(reader, i);
        const JsonValue *value = json_array_at(array, i);
        if (json_type(value) == JSON_OBJECT) {
            size_t index = reader->nodes->len;
            StepNode node = {.step = g_new0(Step, 1), .path = g_strdup(reader->path->str), .parent = parent};
            steps[n_read++] = node.step;
            g_array_append_val(reader->nodes, node);
            read_step(reader, value, index, depth);
        } else {
            flow_add_type_fault(reader, value, JSON_OBJECT);
        }
        flow_path_pop(reader, inner);
    }
    flow_path_pop(reader, mark);
    *ret_steps = steps;
    *ret_n_steps = n_read;
}

void flow_read_steps(FlowReader *reader, const JsonValue *body, Step ***ret_steps, size_t *ret_n_steps)
{
    read_step_array(reader, body, "steps", NO_STEP, 1, ret_steps, ret_n_steps);
    if (reader->n_steps > FLOW_MAX_STEPS)
        faults_add(reader->faults, "steps", NULL, "%zu steps or more, at most %d are allowed", reader->n_steps,
                   FLOW_MAX_STEPS);
}
