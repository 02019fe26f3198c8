/* flow_json.c - flows as JSON text: the stored form, the payloads of the contract, and the step tree that all of them
 * and EXECUTION_START share. What we write holds every member, null where there is no value.
 * The stored form is one object:
 *   id owner name description cron timezone schedule scheduledSince labels version isDeleted stopsRuns createdAt
 *   createdBy updatedAt updatedBy steps */
#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"

const char *step_type_name(StepType type)
{
    return type == STEP_DECISION ? "DECISION" : "ACTION";
}

bool step_type_parse(const char *text, StepType *ret_type)
{
    for (StepType type = STEP_ACTION; type <= STEP_DECISION; type++) {
        if (g_ascii_strcasecmp(text, step_type_name(type)) == 0) {
            *ret_type = type;
            return true;
        }
    }
    return false;
}

/* ---- out ---- */

static void put_id(JsonWriter *writer, const char *key, const Id *id)
{
    json_put_string(writer, key, id->text[0] == '\0' ? NULL : id->text);
}

static void put_optional_int(JsonWriter *writer, const char *key, bool has_value, int64_t value)
{
    if (has_value)
        json_put_int(writer, key, value);
    else
        json_put_null(writer, key);
}

static void encode_branches(const Step *step, JsonWriter *writer)
{
    json_begin_array(writer, "branches");
    for (size_t i = 0; i < step->n_branches; i++) {
        const Branch *branch = &step->branches[i];
        json_begin_object(writer, NULL);
        put_id(writer, "branchId", &branch->branch_id);
        json_put_string(writer, "condition", branch->condition);
        steps_encode(branch->steps, branch->n_steps, writer, "steps");
        json_end_object(writer);
    }
    json_end_array(writer);
}

static void encode_step(const Step *step, JsonWriter *writer)
{
    json_begin_object(writer, NULL);
    put_id(writer, "stepId", &step->step_id);
    json_put_string(writer, "pluginId", step->plugin_id);
    json_put_string(writer, "type", step_type_name(step->type));
    text_map_encode(&step->inputs, writer, "inputs");
    text_map_encode(&step->outputs, writer, "outputs");
    json_put_string(writer, "condition", step->condition);
    encode_branches(step, writer);
    steps_encode(step->children, step->n_children, writer, "children");
    json_begin_object(writer, "config");
    put_optional_int(writer, "timeoutMs", step->config.has_timeout, step->config.timeout_ms);
    put_optional_int(writer, "retryCount", step->config.has_retry_count, step->config.retry_count);
    put_optional_int(writer, "retryDelayMs", step->config.has_retry_delay, step->config.retry_delay_ms);
    json_end_object(writer);
    json_end_object(writer);
}

void steps_encode(Step *const *steps, size_t n_steps, JsonWriter *writer, const char *key)
{
    json_begin_array(writer, key);
    for (size_t i = 0; i < n_steps; i++)
        encode_step(steps[i], writer);
    json_end_array(writer);
}

void flow_put_schedule(const ScheduleOptions *options, bool has_inputs, JsonWriter *writer)
{
    if (options == NULL) {
        json_put_null(writer, "schedule");
        return;
    }
    json_begin_object(writer, "schedule");
    json_put_string(writer, "misfire", misfire_name(options->misfire));
    json_put_int(writer, "misfireGraceSeconds", options->misfire_grace_s);
    json_put_string(writer, "overlap", overlap_name(options->overlap));
    json_put_instant(writer, "startAt", options->start_at);
    json_put_instant(writer, "endAt", options->end_at);
    json_put_int(writer, "jitterSeconds", options->jitter_s);
    json_put_bool(writer, "paused", options->is_paused);
    if (has_inputs)
        text_map_encode(&options->inputs, writer, "inputs");
    json_end_object(writer);
}

void flow_encode(const Flow *flow, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    put_id(&writer, "id", &flow->id);
    put_id(&writer, "owner", &flow->owner);
    json_put_string(&writer, "name", flow->name);
    json_put_string(&writer, "description", flow->description);
    json_put_string(&writer, "cron", flow->cron);
    json_put_string(&writer, "timezone", flow->timezone);
    flow_put_schedule(flow->schedule, true, &writer);
    json_put_instant(&writer, "scheduledSince", flow->scheduled_since);
    text_map_encode(&flow->labels, &writer, "labels");
    json_put_int(&writer, "version", flow->version);
    json_put_bool(&writer, "isDeleted", flow->is_deleted);
    json_put_bool(&writer, "stopsRuns", flow->stops_runs);
    json_put_instant(&writer, "createdAt", flow->created_at);
    put_id(&writer, "createdBy", &flow->created_by);
    json_put_instant(&writer, "updatedAt", flow->updated_at);
    put_id(&writer, "updatedBy", &flow->updated_by);
    json_put_raw(&writer, "steps", flow->steps_json, flow->steps_json_size);
    json_end_object(&writer);
}

void flow_encode_schedule(const Flow *flow, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    put_id(&writer, "id", &flow->id);
    put_id(&writer, "owner", &flow->owner);
    json_put_string(&writer, "name", flow->name);
    json_put_string(&writer, "cron", flow->cron);
    json_put_string(&writer, "timezone", flow->timezone);
    flow_put_schedule(flow->schedule, false, &writer);
    json_put_instant(&writer, "scheduledSince", flow->scheduled_since);
    json_put_int(&writer, "version", flow->version);
    json_put_instant(&writer, "createdAt", flow->created_at);
    json_put_instant(&writer, "updatedAt", flow->updated_at);
    json_end_object(&writer);
}

static void put_summary_members(const Flow *flow, JsonWriter *writer)
{
    put_id(writer, "id", &flow->id);
    json_put_string(writer, "name", flow->name);
    json_put_string(writer, "description", flow->description);
    json_put_instant(writer, "createdAt", flow->created_at);
    json_put_instant(writer, "updatedAt", flow->updated_at);
}

void flow_encode_summary(const Flow *flow, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    put_summary_members(flow, &writer);
    json_end_object(&writer);
}

void flow_encode_detail(const Flow *flow, int64_t next_run_at, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    put_summary_members(flow, &writer);
    json_put_string(&writer, "cron", flow->cron);
    json_put_string(&writer, "timezone", flow->timezone);
    flow_put_schedule(flow->schedule, true, &writer);
    json_put_instant(&writer, "nextRunAt", next_run_at);
    json_put_int(&writer, "version", flow->version);
    text_map_encode(&flow->labels, &writer, "labels");
    json_put_raw(&writer, "steps", flow->steps_json, flow->steps_json_size);
    json_end_object(&writer);
}

/* ---- in ---- */

static bool refuse(GError **error, const char *name, const char *what)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s %s", name, what);
    return false;
}

/* NULL in *ret_value when absent. */
static bool get_typed(const JsonValue *object, const char *name, JsonType type, const JsonValue **ret_value,
                      GError **error)
{
    const JsonValue *value = json_get(object, name);
    if (value != NULL && json_type(value) != type)
        return refuse(error, name, "is of the wrong type");
    *ret_value = value;
    return true;
}

static bool get_text(const JsonValue *object, const char *name, char **ret_text, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_STRING, &value, error))
        return false;
    *ret_text = value == NULL ? NULL : g_strdup(json_text(value));
    return true;
}

/* Absent is an empty id. */
static bool get_optional_id(const JsonValue *object, const char *name, Id *ret_id, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_STRING, &value, error))
        return false;
    *ret_id = (Id){""};
    return value == NULL || id_parse(json_text(value), ret_id) || refuse(error, name, "is no UUID");
}

static bool get_id(const JsonValue *object, const char *name, Id *ret_id, GError **error)
{
    if (!get_optional_id(object, name, ret_id, error))
        return false;
    return ret_id->text[0] != '\0' || refuse(error, name, "is missing");
}

static bool get_int(const JsonValue *object, const char *name, bool *ret_has_value, int64_t *ret_number, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_INT, &value, error))
        return false;
    *ret_has_value = value != NULL;
    if (value == NULL)
        return true;
    *ret_number = json_int(value);
    return *ret_number >= 0 || refuse(error, name, "is negative");
}

static bool get_map(const JsonValue *object, const char *name, TextMap *ret_map, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_OBJECT, &value, error))
        return false;
    text_map_decode(value, ret_map);
    return true;
}

static bool get_bool(const JsonValue *object, const char *name, bool *ret_truth, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_BOOL, &value, error))
        return false;
    *ret_truth = value != NULL && json_bool(value);
    return true;
}

static bool get_instant(const JsonValue *object, const char *name, int64_t *ret_ms, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, name, JSON_STRING, &value, error))
        return false;
    *ret_ms = INSTANT_NONE;
    return value == NULL || instant_parse(json_text(value), ret_ms) || refuse(error, name, "is no instant");
}

/* How deep the tree is and how many steps were decoded: foreign trees keep to the limits too. */
typedef struct {
    int depth;
    size_t n_steps;
} Decoding;

static bool decode_steps(Decoding *decoding, const JsonValue *array, Step ***ret_steps, size_t *ret_n_steps,
                         GError **error);

static bool decode_branch(Decoding *decoding, const JsonValue *object, Branch *branch, GError **error)
{
    const JsonValue *steps;
    if (json_type(object) != JSON_OBJECT)
        return refuse(error, "a branch", "is no object");
    return get_optional_id(object, "branchId", &branch->branch_id, error) &&
           get_text(object, "condition", &branch->condition, error) &&
           get_typed(object, "steps", JSON_ARRAY, &steps, error) &&
           decode_steps(decoding, steps, &branch->steps, &branch->n_steps, error);
}

static bool decode_branches(Decoding *decoding, const JsonValue *object, Step *step, GError **error)
{
    const JsonValue *array;
    if (!get_typed(object, "branches", JSON_ARRAY, &array, error))
        return false;
    size_t n = array == NULL ? 0 : json_array_length(array);
    if (n > FLOW_MAX_BRANCHES)
        return refuse(error, "branches", "are too many");
    step->branches = g_new0(Branch, n);
    for (; step->n_branches < n; step->n_branches++) {
        Branch *branch = &step->branches[step->n_branches];
        if (!decode_branch(decoding, json_array_at(array, step->n_branches), branch, error)) {
            step->n_branches++; /* what it holds so far is freed with the step */
            return false;
        }
    }
    return true;
}

static bool decode_config(const JsonValue *object, StepConfig *config, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, "config", JSON_OBJECT, &value, error))
        return false;
    return value == NULL || (get_int(value, "timeoutMs", &config->has_timeout, &config->timeout_ms, error) &&
                             get_int(value, "retryCount", &config->has_retry_count, &config->retry_count, error) &&
                             get_int(value, "retryDelayMs", &config->has_retry_delay, &config->retry_delay_ms, error));
}

static bool decode_type(const JsonValue *object, StepType *ret_type, GError **error)
{
    g_autofree char *text = NULL;
    if (!get_text(object, "type", &text, error))
        return false;
    return (text != NULL && step_type_parse(text, ret_type)) || refuse(error, "type", "is neither ACTION nor DECISION");
}

static bool decode_step_into(Decoding *decoding, const JsonValue *object, Step *step, GError **error)
{
    const JsonValue *children;
    if (json_type(object) != JSON_OBJECT)
        return refuse(error, "a step", "is no object");
    return get_id(object, "stepId", &step->step_id, error) && get_text(object, "pluginId", &step->plugin_id, error) &&
           decode_type(object, &step->type, error) && get_map(object, "inputs", &step->inputs, error) &&
           get_map(object, "outputs", &step->outputs, error) &&
           get_text(object, "condition", &step->condition, error) && decode_config(object, &step->config, error) &&
           get_typed(object, "children", JSON_ARRAY, &children, error) &&
           decode_steps(decoding, children, &step->children, &step->n_children, error) &&
           decode_branches(decoding, object, step, error);
}

static bool decode_steps(Decoding *decoding, const JsonValue *array, Step ***ret_steps, size_t *ret_n_steps,
                         GError **error)
{
    size_t n = array == NULL ? 0 : json_array_length(array);
    *ret_steps = NULL;
    *ret_n_steps = 0;
    if (n == 0)
        return true;
    decoding->n_steps += MIN(n, FLOW_MAX_STEPS + 1);
    if (decoding->n_steps > FLOW_MAX_STEPS)
        return refuse(error, "steps", "are too many");
    if (++decoding->depth > FLOW_MAX_DEPTH)
        return refuse(error, "steps", "are nested too deep");
    Step **steps = g_new(Step *, n);
    for (size_t i = 0; i < n; i++) {
        g_autoptr(GError) why = NULL;
        steps[i] = g_new0(Step, 1);
        if (!decode_step_into(decoding, json_array_at(array, i), steps[i], &why)) {
            g_propagate_prefixed_error(error, g_steal_pointer(&why), "step %zu: ", i);
            steps_free(steps, i + 1);
            return false;
        }
    }
    decoding->depth--;
    *ret_steps = steps;
    *ret_n_steps = n;
    return true;
}

bool steps_decode(const JsonValue *array, Step ***ret_steps, size_t *ret_n_steps, GError **error)
{
    Decoding decoding = {0};
    Step **steps;
    size_t n_steps;
    if (array != NULL && json_type(array) != JSON_ARRAY)
        return refuse(error, "steps", "is no array");
    if (!decode_steps(&decoding, array, &steps, &n_steps, error))
        return false;
    *ret_steps = steps;
    *ret_n_steps = n_steps;
    return true;
}

static bool decode_schedule_into(const JsonValue *object, ScheduleOptions *options, GError **error)
{
    g_autofree char *misfire = NULL, *overlap = NULL;
    bool has_value;
    if (!get_text(object, "misfire", &misfire, error) || !get_text(object, "overlap", &overlap, error) ||
        !get_int(object, "misfireGraceSeconds", &has_value, &options->misfire_grace_s, error) ||
        !get_int(object, "jitterSeconds", &has_value, &options->jitter_s, error) ||
        !get_instant(object, "startAt", &options->start_at, error) ||
        !get_instant(object, "endAt", &options->end_at, error) ||
        !get_bool(object, "paused", &options->is_paused, error) || !get_map(object, "inputs", &options->inputs, error))
        return false;
    if (misfire != NULL && !misfire_parse(misfire, &options->misfire))
        return refuse(error, "misfire", "is unknown");
    return overlap == NULL || overlap_parse(overlap, &options->overlap) || refuse(error, "overlap", "is unknown");
}

/* A flow that was stored before there were schedules has had its cron since its last version at the latest. */
static bool decode_schedule(const JsonValue *object, Flow *flow, GError **error)
{
    const JsonValue *value;
    if (!get_typed(object, "schedule", JSON_OBJECT, &value, error) ||
        !get_instant(object, "scheduledSince", &flow->scheduled_since, error))
        return false;
    if (flow->cron != NULL && flow->scheduled_since == INSTANT_NONE)
        flow->scheduled_since = flow->updated_at;
    if (value == NULL)
        return true;
    flow->schedule = schedule_options_new();
    return decode_schedule_into(value, flow->schedule, error);
}

static bool decode_flow_into(const JsonValue *object, Flow *flow, GError **error)
{
    bool has_version;
    if (json_type(object) != JSON_OBJECT)
        return refuse(error, "a flow", "is no object");
    if (!get_id(object, "id", &flow->id, error) || !get_optional_id(object, "owner", &flow->owner, error) ||
        !get_text(object, "name", &flow->name, error) || !get_text(object, "description", &flow->description, error) ||
        !get_text(object, "cron", &flow->cron, error) || !get_text(object, "timezone", &flow->timezone, error) ||
        !get_map(object, "labels", &flow->labels, error) ||
        !get_int(object, "version", &has_version, &flow->version, error) ||
        !get_bool(object, "isDeleted", &flow->is_deleted, error) ||
        !get_bool(object, "stopsRuns", &flow->stops_runs, error) ||
        !get_instant(object, "createdAt", &flow->created_at, error) ||
        !get_optional_id(object, "createdBy", &flow->created_by, error) ||
        !get_instant(object, "updatedAt", &flow->updated_at, error) ||
        !get_optional_id(object, "updatedBy", &flow->updated_by, error) || !decode_schedule(object, flow, error))
        return false;
    if (flow->name == NULL)
        return refuse(error, "name", "is missing");
    if (!has_version || flow->version < 1)
        return refuse(error, "version", "is missing");
    return steps_decode(json_get(object, "steps"), &flow->steps, &flow->n_steps, error);
}

Flow *flow_decode(const char *json, size_t size, GError **error)
{
    g_autoptr(JsonValue) object = NULL;
    if (!json_parse(json, size, FLOW_JSON_DEPTH, &object, error))
        return NULL;
    g_autoptr(Flow) flow = flow_new();
    if (!decode_flow_into(object, flow, error)) {
        g_prefix_error(error, "broken flow: ");
        return NULL;
    }
    flow_seal(flow);
    return g_steal_pointer(&flow);
}
