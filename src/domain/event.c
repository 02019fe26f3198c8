/* event.c - the journal's facts and their JSON. What is written here is what stays for ever and what clients see, so
 * reading is as strict as writing: a text that misses a member is a broken journal. The type comes first in every text, so
 * that streaming can tell statuses from the rest without parsing. */
#include "domain/event.h"

#include <string.h>

#include "domain/message_member.h"

/* A status message may nest this deep (message.h), and its outputs stay at the same level in the event. */
#define EVENT_MAX_DEPTH 130

static const char *const EVENT_NAMES[] = {"RUN_CREATED", "COMMAND_REQUESTED", "RUN_HANDED_OVER", "FLOW_STATUS",
                                          "STEP_STATUS"};
static const char *const RUN_STATUS_NAMES[] = {"SCHEDULED", "PENDING", "RUNNING", "PAUSED",
                                               "COMPLETED", "FAILED",  "STOPPED"};
static const char *const STEP_STATUS_NAMES[] = {"PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED"};
static const char *const COMMAND_NAMES[] = {"NONE", "START", "PAUSE", "RESUME", "STOP"};

static bool name_parse(const char *const *names, size_t n_names, const char *text, size_t *ret_i)
{
    for (size_t i = 0; i < n_names; i++) {
        if (strcmp(names[i], text) == 0) {
            *ret_i = i;
            return true;
        }
    }
    return false;
}

const char *run_status_name(RunStatus status)
{
    return RUN_STATUS_NAMES[status];
}

const char *step_status_name(StepStatus status)
{
    return STEP_STATUS_NAMES[status];
}

const char *command_name(CommandKind command)
{
    return COMMAND_NAMES[command];
}

bool run_status_parse(const char *text, RunStatus *ret_status)
{
    size_t i;
    if (!name_parse(RUN_STATUS_NAMES, G_N_ELEMENTS(RUN_STATUS_NAMES), text, &i))
        return false;
    *ret_status = (RunStatus)i;
    return true;
}

bool step_status_parse(const char *text, StepStatus *ret_status)
{
    size_t i;
    if (!name_parse(STEP_STATUS_NAMES, G_N_ELEMENTS(STEP_STATUS_NAMES), text, &i))
        return false;
    *ret_status = (StepStatus)i;
    return true;
}

bool run_status_is_terminal(RunStatus status)
{
    return status == RUN_COMPLETED || status == RUN_FAILED || status == RUN_STOPPED;
}

bool step_status_is_terminal(StepStatus status)
{
    return status != STEP_PENDING && status != STEP_RUNNING;
}

Event *event_new(EventType type, const Id *run_id, const Id *flow_id, int64_t timestamp)
{
    Event *event = g_new0(Event, 1);
    event->type = type;
    event->run_id = *run_id;
    event->flow_id = *flow_id;
    event->timestamp = timestamp;
    return event;
}

void event_free(Event *event)
{
    if (event == NULL)
        return;
    g_free(event->triggered_by);
    text_map_done(&event->labels);
    text_map_done(&event->inputs);
    g_free(event->step_ids);
    g_free(event->request_digest);
    g_free(event->error);
    g_free(event->outputs_json);
    g_free(event->origin.topic);
    g_free(event);
}

/* ---- writing ---- */

static void encode_created(const Event *event, JsonWriter *writer)
{
    json_put_string(writer, "owner", event->owner.text);
    json_put_string(writer, "triggeredBy", event->triggered_by);
    json_put_int(writer, "flowVersion", event->flow_version);
    json_put_string(writer, "command", command_name(COMMAND_START));
    json_put_string(writer, "commandId", event->command_id.text);
    text_map_encode(&event->labels, writer, "labels");
    text_map_encode(&event->inputs, writer, "inputs");
    json_begin_array(writer, "steps");
    for (size_t i = 0; i < event->n_steps; i++)
        json_put_string_n(writer, NULL, event->step_ids[i].text, ID_TEXT_SIZE - 1);
    json_end_array(writer);
    if (event->request_digest != NULL)
        json_put_string(writer, "requestDigest", event->request_digest);
}

static void encode_origin(const Origin *origin, JsonWriter *writer)
{
    if (origin->topic == NULL)
        return;
    json_begin_object(writer, "origin");
    json_put_string(writer, "topic", origin->topic);
    json_put_int(writer, "partition", origin->partition);
    json_put_int(writer, "offset", origin->offset);
    json_end_object(writer);
}

static void encode_status(const Event *event, JsonWriter *writer)
{
    bool is_step = event->type == EVENT_STEP_STATUS;
    if (is_step)
        json_put_string(writer, "stepId", event->step_id.text);
    json_put_string(writer, "status",
                    is_step ? step_status_name(event->step_status) : run_status_name(event->run_status));
    json_put_string(writer, "error", event->error);
    json_put_instant(writer, "timestamp", event->timestamp);
    if (is_step) {
        json_put_int(writer, "attempt", event->attempt);
        json_put_raw(writer, "outputs", event->outputs_json,
                     event->outputs_json != NULL ? strlen(event->outputs_json) : 0);
    }
    json_put_int(writer, "seq", event->seq);
    json_put_int(writer, "generation", event->generation);
    encode_origin(&event->origin, writer);
}

void event_encode(const Event *event, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "eventType", EVENT_NAMES[event->type]);
    json_put_string_n(&writer, "flowId", event->flow_id.text, ID_TEXT_SIZE - 1);
    json_put_string_n(&writer, "runId", event->run_id.text, ID_TEXT_SIZE - 1);
    if (event->type == EVENT_FLOW_STATUS || event->type == EVENT_STEP_STATUS) {
        encode_status(event, &writer);
    } else {
        json_put_instant(&writer, "timestamp", event->timestamp);
        json_put_int(&writer, "seq", event->seq);
    }
    if (event->type == EVENT_RUN_CREATED)
        encode_created(event, &writer);
    if (event->type == EVENT_COMMAND_REQUESTED) {
        json_put_string(&writer, "command", command_name(event->command));
        json_put_string(&writer, "commandId", event->command_id.text);
        json_put_string(&writer, "requestedBy", event->requested_by.text[0] != '\0' ? event->requested_by.text : NULL);
    }
    if (event->type == EVENT_HANDED_OVER) {
        json_put_string(&writer, "command", command_name(COMMAND_START));
        json_put_string(&writer, "commandId", event->command_id.text);
        json_put_int(&writer, "generation", event->generation);
        if (event->announcement.engine_id.text[0] != '\0') {
            json_put_string(&writer, "engineId", event->announcement.engine_id.text);
            json_put_instant(&writer, "announcedAt", event->announcement.announced_at);
        }
    }
    json_end_object(&writer);
}

const char *event_text_frame_name(const char *json, size_t size)
{
    static const char PREFIX[] = "{\"eventType\":\"";
    size_t at = sizeof PREFIX - 1;
    g_assert(size > at && memcmp(json, PREFIX, at) == 0);
    bool is_status = json[at] == 'F' || json[at] == 'S';                       /* FLOW_STATUS, STEP_STATUS */
    bool is_created = json[at] == 'R' && size > at + 4 && json[at + 4] == 'C'; /* RUN_CREATED, not RUN_HANDED_OVER */
    return is_status ? NULL : is_created ? "created" : "command";
}

/* ---- reading ---- */

static bool decode_map(const JsonValue *object, const char *name, TextMap *ret_map, GError **error)
{
    const JsonValue *value = NULL;
    if (!member_get(object, name, JSON_OBJECT, MEMBER_REQUIRED, &value, error))
        return false;
    text_map_decode(value, ret_map);
    return true;
}

static bool decode_step_ids(const JsonValue *object, Event *event, GError **error)
{
    const JsonValue *array = NULL;
    if (!member_get(object, "steps", JSON_ARRAY, MEMBER_REQUIRED, &array, error))
        return false;
    size_t n = json_array_length(array);
    event->step_ids = g_new0(Id, n);
    event->n_steps = n;
    for (size_t i = 0; i < n; i++) {
        const JsonValue *id = json_array_at(array, i);
        if (json_type(id) != JSON_STRING || !id_parse(json_text(id), &event->step_ids[i])) {
            g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "steps must be UUIDs");
            return false;
        }
    }
    return true;
}

static bool decode_created(const JsonValue *object, Event *event, GError **error)
{
    const char *triggered_by = NULL, *digest = NULL;
    event->command = COMMAND_START;
    if (!member_get_id(object, "owner", MEMBER_REQUIRED, &event->owner, error) ||
        !member_get_text(object, "triggeredBy", MEMBER_OPTIONAL, &triggered_by, error) ||
        !member_get_int(object, "flowVersion", MEMBER_REQUIRED, 1, G_MAXINT64, &event->flow_version, error) ||
        !member_get_id(object, "commandId", MEMBER_REQUIRED, &event->command_id, error) ||
        !decode_map(object, "labels", &event->labels, error) || !decode_map(object, "inputs", &event->inputs, error) ||
        !decode_step_ids(object, event, error) ||
        !member_get_text(object, "requestDigest", MEMBER_OPTIONAL, &digest, error))
        return false;
    event->triggered_by = g_strdup(triggered_by);
    event->request_digest = g_strdup(digest);
    return true;
}

static bool decode_command(const JsonValue *object, Event *event, GError **error)
{
    const char *name = NULL;
    size_t command;
    if (!member_get_text(object, "command", MEMBER_REQUIRED, &name, error))
        return false;
    if (!name_parse(COMMAND_NAMES, G_N_ELEMENTS(COMMAND_NAMES), name, &command) || command <= COMMAND_START) {
        member_set_unknown("command", name, error);
        return false;
    }
    event->command = (CommandKind)command;
    return member_get_id(object, "commandId", MEMBER_REQUIRED, &event->command_id, error) &&
           member_get_id(object, "requestedBy", MEMBER_OPTIONAL, &event->requested_by, error);
}

static bool decode_handed_over(const JsonValue *object, Event *event, GError **error)
{
    event->command = COMMAND_START;
    event->announcement.announced_at = INSTANT_NONE;
    return member_get_id(object, "commandId", MEMBER_REQUIRED, &event->command_id, error) &&
           member_get_int(object, "generation", MEMBER_REQUIRED, 1, G_MAXINT64, &event->generation, error) &&
           member_get_id(object, "engineId", MEMBER_OPTIONAL, &event->announcement.engine_id, error) &&
           member_get_instant(object, "announcedAt", MEMBER_OPTIONAL, &event->announcement.announced_at, error);
}

static bool decode_origin(const JsonValue *object, Origin *ret_origin, GError **error)
{
    const JsonValue *origin = NULL;
    const char *topic = NULL;
    int64_t partition = 0, offset = 0;
    if (!member_get(object, "origin", JSON_OBJECT, MEMBER_OPTIONAL, &origin, error))
        return false;
    if (origin == NULL)
        return true;
    if (!member_get_text(origin, "topic", MEMBER_REQUIRED, &topic, error) ||
        !member_get_int(origin, "partition", MEMBER_REQUIRED, 0, G_MAXINT32, &partition, error) ||
        !member_get_int(origin, "offset", MEMBER_REQUIRED, 0, G_MAXINT64, &offset, error))
        return false;
    *ret_origin = (Origin){.topic = g_strdup(topic), .partition = (int32_t)partition, .offset = offset};
    return true;
}

static bool decode_step(const JsonValue *object, Event *event, const char *status, GError **error)
{
    const JsonValue *outputs = NULL;
    if (!step_status_parse(status, &event->step_status)) {
        member_set_unknown("status", status, error);
        return false;
    }
    if (!member_get_id(object, "stepId", MEMBER_REQUIRED, &event->step_id, error) ||
        !member_get_int(object, "attempt", MEMBER_REQUIRED, 1, G_MAXINT64, &event->attempt, error) ||
        !member_get(object, "outputs", JSON_OBJECT, MEMBER_OPTIONAL, &outputs, error))
        return false;
    event->outputs_json = outputs != NULL ? json_print(outputs) : NULL;
    return true;
}

static bool decode_status(const JsonValue *object, Event *event, GError **error)
{
    const char *status = NULL, *text = NULL;
    if (!member_get_text(object, "status", MEMBER_REQUIRED, &status, error) ||
        !member_get_text(object, "error", MEMBER_OPTIONAL, &text, error) ||
        !member_get_int(object, "generation", MEMBER_REQUIRED, 1, G_MAXINT64, &event->generation, error) ||
        !decode_origin(object, &event->origin, error))
        return false;
    event->error = g_strdup(text);
    if (event->type == EVENT_STEP_STATUS)
        return decode_step(object, event, status, error);
    if (!run_status_parse(status, &event->run_status)) {
        member_set_unknown("status", status, error);
        return false;
    }
    return true;
}

static bool decode_members(const JsonValue *object, Event *event, GError **error)
{
    const char *name = NULL;
    size_t type;
    if (!member_get_text(object, "eventType", MEMBER_REQUIRED, &name, error))
        return false;
    if (!name_parse(EVENT_NAMES, G_N_ELEMENTS(EVENT_NAMES), name, &type)) {
        member_set_unknown("eventType", name, error);
        return false;
    }
    event->type = (EventType)type;
    if (!member_get_id(object, "flowId", MEMBER_REQUIRED, &event->flow_id, error) ||
        !member_get_id(object, "runId", MEMBER_REQUIRED, &event->run_id, error) ||
        !member_get_instant(object, "timestamp", MEMBER_REQUIRED, &event->timestamp, error) ||
        !member_get_int(object, "seq", MEMBER_REQUIRED, 1, G_MAXINT64, &event->seq, error))
        return false;
    switch (event->type) {
    case EVENT_RUN_CREATED:
        return decode_created(object, event, error);
    case EVENT_COMMAND_REQUESTED:
        return decode_command(object, event, error);
    case EVENT_HANDED_OVER:
        return decode_handed_over(object, event, error);
    case EVENT_FLOW_STATUS:
    case EVENT_STEP_STATUS:
        break;
    }
    return decode_status(object, event, error);
}

Event *event_decode(const char *json, size_t size, GError **error)
{
    g_autoptr(JsonValue) object = member_parse_object(json, size, EVENT_MAX_DEPTH, error);
    if (object == NULL)
        return NULL;
    g_autoptr(Event) event = g_new0(Event, 1);
    if (!decode_members(object, event, error))
        return NULL;
    return g_steal_pointer(&event);
}
