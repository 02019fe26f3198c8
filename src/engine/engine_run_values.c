/* engine_run_values.c - what steps see of each other: references resolved, inputs rendered, outputs admitted.
 * Outputs are kept as text and parsed for the length of one evaluation: most are small and read once, and a parsed tree
 * costs ten times the text. */
#include <string.h>

#include "domain/run.h"
#include "engine/engine_run_internal.h"

/* Outputs come out of a status that nests them one level deeper, so what is let in here can be read there. */
#define OUTPUTS_MAX_DEPTH 64

static char *value_text(const JsonValue *value)
{
    if (value == NULL)
        return NULL;
    return json_type(value) == JSON_STRING ? g_strdup(json_text(value)) : json_print(value);
}

/* `key`, or else `first.rest` where `first` is an object (or whatever holds `rest`). A name with dots wins over a path. */
static const JsonValue *walk(const JsonValue *value, const char *key)
{
    while (value != NULL && json_type(value) == JSON_OBJECT) {
        const JsonValue *found = json_get(value, key);
        const char *dot = strchr(key, '.');
        if (found != NULL || dot == NULL)
            return found;
        g_autofree char *first = g_strndup(key, (size_t)(dot - key));
        value = json_get(value, first);
        key = dot + 1;
    }
    return NULL;
}

static char *resolve(const TemplatePart *part, void *arg)
{
    EngineRun *run = arg;
    if (part->kind == PART_RUN_INPUT)
        return g_strdup(text_map_find(&run->inputs, part->text));
    if (part->kind != PART_STEP_OUTPUT)
        return g_strdup(part->text);
    size_t index = definition_find(run->definition, part->step_id.text);
    if (index == NO_INDEX)
        return NULL;
    Node *node = &run->nodes[index];
    if (node->outputs_json == NULL)
        return NULL;
    /* Admitted outputs were parsed once already, so a failure here cannot be; it would read as "no value". */
    if (node->parsed == NULL &&
        !json_parse(node->outputs_json, strlen(node->outputs_json), OUTPUTS_MAX_DEPTH, &node->parsed, NULL))
        return NULL;
    return value_text(walk(node->parsed, part->text));
}

static void forget_parsed(EngineRun *run, size_t index)
{
    const GArray *waits_for = run->definition->plans[index].waits_for;
    for (size_t i = 0; i < waits_for->len; i++)
        g_clear_pointer(&run->nodes[g_array_index(waits_for, size_t, i)].parsed, json_free);
    g_clear_pointer(&run->nodes[index].parsed, json_free);
}

static bool render_inputs(EngineRun *run, size_t index, TextMap *inputs, GError **error)
{
    const StepPlan *plan = &run->definition->plans[index];
    const TextMap *texts = &plan->step->inputs;
    size_t size = 0;
    for (size_t i = 0; i < texts->n_pairs; i++) {
        const char *name = texts->pairs[i].name;
        g_autofree char *value = template_render(&plan->inputs[i], resolve, run, STEP_INPUT_MAX_BYTES, error);
        if (value == NULL) {
            g_prefix_error(error, "input %s: ", name);
            return false;
        }
        size += strlen(name) + strlen(value);
        if (size > STEP_INPUTS_MAX_BYTES) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "the step's inputs are larger than %d bytes together",
                        STEP_INPUTS_MAX_BYTES);
            return false;
        }
        text_map_add(inputs, name, value);
    }
    return true;
}

bool run_render_inputs(EngineRun *run, size_t index, TextMap *ret_inputs, GError **error)
{
    TextMap inputs = {0};
    bool is_rendered = render_inputs(run, index, &inputs, error);
    forget_parsed(run, index);
    if (is_rendered)
        *ret_inputs = inputs;
    else
        text_map_done(&inputs);
    return is_rendered;
}

bool run_condition_holds(EngineRun *run, size_t index, const Condition *condition, bool *ret_holds, GError **error)
{
    if (condition == NULL) {
        *ret_holds = true;
        return true;
    }
    bool is_evaluated = condition_evaluate(condition, resolve, run, ret_holds, error);
    forget_parsed(run, index);
    return is_evaluated;
}

/* The same limits as the service's, so that a run sees the same outputs before and after a hand-over. */
char *run_admit_outputs(EngineRun *run, char *outputs_json, char **ret_note)
{
    *ret_note = NULL;
    if (outputs_json == NULL)
        return NULL;
    size_t size = strlen(outputs_json);
    size_t max = run_outputs_max_bytes(run->definition->n_steps);
    g_autoptr(JsonValue) value = NULL;
    g_autoptr(GError) error = NULL;
    if (size > STEP_OUTPUTS_MAX_BYTES)
        *ret_note =
            g_strdup_printf("outputs of %zu bytes were not kept: a step's limit is %d", size, STEP_OUTPUTS_MAX_BYTES);
    else if (run->outputs_size_bytes + size > max)
        *ret_note = g_strdup_printf("outputs of %zu bytes were not kept: a run's limit is %zu", size, max);
    else if (!json_parse(outputs_json, size, OUTPUTS_MAX_DEPTH, &value, &error))
        *ret_note = g_strdup_printf("outputs were not kept: %s", error->message);
    else if (json_type(value) != JSON_OBJECT)
        *ret_note = g_strdup_printf("outputs were not kept: %s instead of an object", json_type_name(json_type(value)));
    if (*ret_note != NULL) {
        g_free(outputs_json);
        return NULL;
    }
    run->outputs_size_bytes += size;
    return outputs_json;
}

static void put_other_member(const char *name, const JsonValue *value, void *arg)
{
    if (strcmp(name, "branch") == 0)
        return;
    g_autofree char *text = json_print(value);
    json_put_raw(arg, name, text, strlen(text));
}

char *outputs_with_branch(const char *outputs_json, const char *branch_id)
{
    GString *out = g_string_new(NULL);
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    g_autoptr(JsonValue) outputs = NULL;
    if (outputs_json != NULL && json_parse(outputs_json, strlen(outputs_json), OUTPUTS_MAX_DEPTH, &outputs, NULL) &&
        json_type(outputs) == JSON_OBJECT)
        json_object_foreach_member(outputs, put_other_member, &writer);
    json_put_string(&writer, "branch", branch_id);
    json_end_object(&writer);
    return g_string_free(out, FALSE);
}
