/* message.c - the bus' two dialects. Commands are written by us and read by our engine; statuses come from anybody's
 * engine, so reading them is where every fault gets a name. */
#include "domain/message.h"

#include <string.h>

#include "domain/message_member.h"

/* A step on the last level sits about four levels of JSON deeper for each level of the tree. */
#define COMMAND_MAX_DEPTH 256
/* Of a status, which nests in its outputs only; the event that keeps them allows a little more. */
#define STATUS_MAX_DEPTH 128
/* Nothing tries this often; it keeps "the next attempt" far from overflow. */
#define ATTEMPT_MAX 1000000000

static const char COMMAND_PREFIX[] = "EXECUTION_";

/* ---- commands ---- */

static void put_json(JsonWriter *writer, const char *key, const char *json)
{
    json_put_raw(writer, key, json, json != NULL ? strlen(json) : 0);
}

static void encode_progress(const Run *run, JsonWriter *writer)
{
    bool has_some = false;
    for (size_t i = 0; i < run->n_steps; i++) {
        const StepState *step = &run->steps[i];
        if (step->status == STEP_PENDING)
            continue;
        if (!has_some)
            json_begin_array(writer, "progress");
        has_some = true;
        json_begin_object(writer, NULL);
        json_put_string_n(writer, "stepId", step->step_id.text, ID_TEXT_SIZE - 1);
        json_put_string(writer, "status", step_status_name(step->status));
        json_put_int(writer, "attempt", step->attempt);
        if (step->status == STEP_RUNNING || step->status == STEP_FAILED)
            json_put_int(writer, "failures", step->n_failures);
        if (step->outputs_json != NULL)
            put_json(writer, "outputs", step->outputs_json);
        json_end_object(writer);
    }
    if (has_some)
        json_end_array(writer);
}

/* No step is to begin behind a START when a pause or a stop is on its way after it. */
static bool is_to_be_held(const Run *run)
{
    return run->status == RUN_PAUSED || run->pending.command == COMMAND_PAUSE || run->pending.command == COMMAND_STOP;
}

void command_message_encode(const Run *run, const Flow *flow, CommandKind command, const Id *command_id,
                            int64_t timestamp, int64_t event_seq, GString *out)
{
    static const char *const EVENT_TYPES[] = {NULL, "EXECUTION_START", "EXECUTION_PAUSE", "EXECUTION_RESUME",
                                              "EXECUTION_STOP"};
    g_assert(command != COMMAND_NONE && (command == COMMAND_START) == (flow != NULL));
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "eventType", EVENT_TYPES[command]);
    json_put_string_n(&writer, "flowId", run->flow_id.text, ID_TEXT_SIZE - 1);
    json_put_string_n(&writer, "runId", run->id.text, ID_TEXT_SIZE - 1);
    json_put_string(&writer, "triggeredBy", run->triggered_by);
    json_put_instant(&writer, "timestamp", timestamp);
    json_put_string(&writer, "commandId", command_id->text);
    json_put_int(&writer, "seq", event_seq);
    if (command == COMMAND_START) {
        json_put_int(&writer, "generation", run->generation);
        json_put_string(&writer, "desired", is_to_be_held(run) ? "PAUSED" : "RUN");
        text_map_encode(&run->inputs, &writer, "inputs");
        json_put_raw(&writer, "steps", flow->steps_json, flow->steps_json_size);
        encode_progress(run, &writer);
    }
    json_end_object(&writer);
}

void command_message_free(CommandMessage *message)
{
    if (message == NULL)
        return;
    g_free(message->triggered_by);
    if (message->steps != NULL)
        steps_free(message->steps, message->n_steps);
    text_map_done(&message->inputs);
    for (size_t i = 0; i < message->n_progress; i++)
        g_free(message->progress[i].outputs_json);
    g_free(message->progress);
    g_free(message);
}

static bool decode_event_type(const JsonValue *object, const char **ret_type, GError **error)
{
    *ret_type = NULL;
    return member_get_text(object, "eventType", MEMBER_REQUIRED, ret_type, error);
}

static bool decode_command_kind(const JsonValue *object, CommandKind *ret_command, GError **error)
{
    const char *type;
    if (!decode_event_type(object, &type, error))
        return false;
    size_t prefix_size = sizeof COMMAND_PREFIX - 1;
    if (strncmp(type, COMMAND_PREFIX, prefix_size) == 0) {
        for (CommandKind command = COMMAND_START; command <= COMMAND_STOP; command++) {
            if (strcmp(type + prefix_size, command_name(command)) == 0) {
                *ret_command = command;
                return true;
            }
        }
    }
    member_set_unknown("eventType", type, error);
    return false;
}

static bool decode_step_status(const JsonValue *object, StepStatus *ret_status, GError **error)
{
    const char *text = NULL;
    if (!member_get_text(object, "status", MEMBER_REQUIRED, &text, error))
        return false;
    if (!step_status_parse(text, ret_status)) {
        member_set_unknown("status", text, error);
        return false;
    }
    return true;
}

static bool decode_outputs(const JsonValue *object, char **ret_json, GError **error)
{
    const JsonValue *outputs = NULL;
    if (!member_get(object, "outputs", JSON_OBJECT, MEMBER_OPTIONAL, &outputs, error))
        return false;
    *ret_json = outputs != NULL ? json_print(outputs) : NULL;
    return true;
}

static bool decode_progress(const JsonValue *object, CommandMessage *message, GError **error)
{
    const JsonValue *array = NULL;
    if (!member_get(object, "progress", JSON_ARRAY, MEMBER_OPTIONAL, &array, error))
        return false;
    size_t n = array != NULL ? json_array_length(array) : 0;
    if (n == 0)
        return true;
    message->progress = g_new0(StepProgress, n);
    message->n_progress = n;
    for (size_t i = 0; i < n; i++) {
        const JsonValue *item = json_array_at(array, i);
        StepProgress *progress = &message->progress[i];
        progress->attempt = 1;
        progress->n_failures = -1;
        if (json_type(item) != JSON_OBJECT) {
            g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "progress must hold objects");
            return false;
        }
        if (!member_get_id(item, "stepId", MEMBER_REQUIRED, &progress->step_id, error) ||
            !decode_step_status(item, &progress->status, error) ||
            !member_get_int(item, "attempt", MEMBER_OPTIONAL, 0, G_MAXINT64, &progress->attempt, error) ||
            !member_get_int(item, "failures", MEMBER_OPTIONAL, 0, G_MAXINT64, &progress->n_failures, error) ||
            !decode_outputs(item, &progress->outputs_json, error)) {
            g_prefix_error(error, "progress[%zu]: ", i);
            return false;
        }
    }
    return true;
}

static bool decode_start(const JsonValue *object, CommandMessage *message, GError **error)
{
    const char *desired = "RUN";
    const JsonValue *steps = NULL, *inputs = NULL;
    if (!member_get_int(object, "generation", MEMBER_OPTIONAL, 1, G_MAXINT64, &message->generation, error) ||
        !member_get_text(object, "desired", MEMBER_OPTIONAL, &desired, error) ||
        !member_get(object, "inputs", JSON_OBJECT, MEMBER_OPTIONAL, &inputs, error) ||
        !member_get(object, "steps", JSON_ARRAY, MEMBER_REQUIRED, &steps, error))
        return false;
    message->is_paused = strcmp(desired, "PAUSED") == 0;
    if (!message->is_paused && strcmp(desired, "RUN") != 0) {
        member_set_unknown("desired", desired, error);
        return false;
    }
    if (inputs != NULL)
        text_map_decode(inputs, &message->inputs);
    return steps_decode(steps, &message->steps, &message->n_steps, error) && decode_progress(object, message, error);
}

CommandMessage *command_message_decode(const char *json, size_t size, GError **error)
{
    g_autoptr(JsonValue) object = member_parse_object(json, size, COMMAND_MAX_DEPTH, error);
    if (object == NULL)
        return NULL;
    g_autoptr(CommandMessage) message = g_new0(CommandMessage, 1);
    message->generation = 1;
    message->timestamp = INSTANT_NONE;
    const char *triggered_by = NULL;
    if (!decode_command_kind(object, &message->command, error) ||
        !member_get_id(object, "runId", MEMBER_REQUIRED, &message->run_id, error) ||
        !member_get_id(object, "flowId", MEMBER_REQUIRED, &message->flow_id, error) ||
        !member_get_text(object, "triggeredBy", MEMBER_OPTIONAL, &triggered_by, error) ||
        !member_get_instant(object, "timestamp", MEMBER_OPTIONAL, &message->timestamp, error) ||
        !member_get_id(object, "commandId", MEMBER_OPTIONAL, &message->command_id, error) ||
        !member_get_int(object, "seq", MEMBER_OPTIONAL, 0, G_MAXINT64, &message->seq, error))
        return NULL;
    message->triggered_by = g_strdup(triggered_by);
    if (message->command == COMMAND_START && !decode_start(object, message, error))
        return NULL;
    return g_steal_pointer(&message);
}

/* ---- statuses ---- */

void status_message_encode(const StatusMessage *message, GString *out)
{
    static const char *const EVENT_TYPES[] = {"FLOW_STATUS", "STEP_STATUS", "ENGINE_STATUS"};
    bool is_step = message->kind == STATUS_STEP;
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "eventType", EVENT_TYPES[message->kind]);
    if (message->kind == STATUS_ENGINE) {
        json_put_string(&writer, "engineId", message->engine_id.text);
        json_begin_array(&writer, "commandPartitions");
        for (size_t i = 0; i < message->n_command_partitions; i++)
            json_put_int(&writer, NULL, message->command_partitions[i]);
        json_end_array(&writer);
        json_put_instant(&writer, "timestamp", message->timestamp);
        json_end_object(&writer);
        return;
    }
    json_put_string_n(&writer, "flowId", message->flow_id.text, ID_TEXT_SIZE - 1);
    json_put_string_n(&writer, "runId", message->run_id.text, ID_TEXT_SIZE - 1);
    if (is_step)
        json_put_string_n(&writer, "stepId", message->step_id.text, ID_TEXT_SIZE - 1);
    json_put_string(&writer, "status",
                    is_step ? step_status_name(message->step_status) : run_status_name(message->run_status));
    json_put_string(&writer, "error", message->error);
    json_put_instant(&writer, "timestamp", message->timestamp);
    if (message->generation > 0)
        json_put_int(&writer, "generation", message->generation);
    if (is_step && message->attempt > 0)
        json_put_int(&writer, "attempt", message->attempt);
    if (is_step && message->outputs_json != NULL)
        put_json(&writer, "outputs", message->outputs_json);
    json_end_object(&writer);
}

void status_message_free(StatusMessage *message)
{
    if (message == NULL)
        return;
    g_free(message->error);
    g_free(message->outputs_json);
    g_free(message->command_partitions);
    g_free(message->origin.topic);
    g_free(message);
}

static bool decode_partitions(const JsonValue *array, StatusMessage *message, GError **error)
{
    size_t n = json_array_length(array);
    if (n > COMMAND_PARTITIONS_MAX) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "commandPartitions must hold at most %d, not %zu",
                    COMMAND_PARTITIONS_MAX, n);
        return false;
    }
    message->command_partitions = g_new(int32_t, n);
    message->n_command_partitions = n;
    for (size_t i = 0; i < n; i++) {
        const JsonValue *item = json_array_at(array, i);
        int64_t partition = json_type(item) == JSON_INT ? json_int(item) : -1;
        if (partition < 0 || partition > G_MAXINT32) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "commandPartitions must hold whole numbers from 0 to %d",
                        G_MAXINT32);
            return false;
        }
        message->command_partitions[i] = (int32_t)partition;
    }
    return true;
}

static bool decode_engine_status(const JsonValue *object, StatusMessage *message, GError **error)
{
    const JsonValue *partitions = NULL;
    if (!member_get_id(object, "engineId", MEMBER_REQUIRED, &message->engine_id, error) ||
        !member_get(object, "commandPartitions", JSON_ARRAY, MEMBER_OPTIONAL, &partitions, error))
        return false;
    return partitions == NULL || decode_partitions(partitions, message, error);
}

static bool decode_flow_status(const JsonValue *object, StatusMessage *message, GError **error)
{
    const char *text = NULL;
    if (!member_get_text(object, "status", MEMBER_REQUIRED, &text, error))
        return false;
    if (!run_status_parse(text, &message->run_status)) {
        member_set_unknown("status", text, error);
        return false;
    }
    return true;
}

static bool decode_run_status(const JsonValue *object, StatusMessage *message, GError **error)
{
    const char *text = NULL;
    if (!member_get_id(object, "flowId", MEMBER_REQUIRED, &message->flow_id, error) ||
        !member_get_id(object, "runId", MEMBER_REQUIRED, &message->run_id, error) ||
        !member_get_text(object, "error", MEMBER_OPTIONAL, &text, error) ||
        !member_get_int(object, "generation", MEMBER_OPTIONAL, 1, G_MAXINT64, &message->generation, error))
        return false;
    message->error = g_strdup(text);
    if (message->kind == STATUS_FLOW)
        return decode_flow_status(object, message, error);
    return member_get_id(object, "stepId", MEMBER_REQUIRED, &message->step_id, error) &&
           decode_step_status(object, &message->step_status, error) &&
           member_get_int(object, "attempt", MEMBER_OPTIONAL, 1, ATTEMPT_MAX, &message->attempt, error) &&
           decode_outputs(object, &message->outputs_json, error);
}

StatusMessage *status_message_decode(const char *json, size_t size, GError **error)
{
    g_autoptr(JsonValue) object = member_parse_object(json, size, STATUS_MAX_DEPTH, error);
    if (object == NULL)
        return NULL;
    const char *type;
    if (!decode_event_type(object, &type, error))
        return NULL;
    g_autoptr(StatusMessage) message = g_new0(StatusMessage, 1);
    if (strcmp(type, "FLOW_STATUS") == 0) {
        message->kind = STATUS_FLOW;
    } else if (strcmp(type, "STEP_STATUS") == 0) {
        message->kind = STATUS_STEP;
    } else if (strcmp(type, "ENGINE_STATUS") == 0) {
        message->kind = STATUS_ENGINE;
    } else {
        member_set_unknown("eventType", type, error);
        return NULL;
    }
    if (!member_get_instant(object, "timestamp", MEMBER_REQUIRED, &message->timestamp, error))
        return NULL;
    bool is_decoded = message->kind == STATUS_ENGINE ? decode_engine_status(object, message, error)
                                                     : decode_run_status(object, message, error);
    return is_decoded ? g_steal_pointer(&message) : NULL;
}
