/* start_request.c - `flowId triggeredBy labels inputs`; members that nobody knows are ignored. */
#include "http/start_request.h"

#include <string.h>

#include "http/body.h"

static void parse_flow_id(const JsonValue *body, const Id *path_flow_id, Faults *faults)
{
    const JsonValue *value = json_get(body, "flowId");
    Id flow_id;
    if (!value)
        return;
    if (json_type(value) != JSON_STRING)
        faults_add(faults, "flowId", value, "must be a string, not %s", json_type_name(json_type(value)));
    else if (!id_parse(json_text(value), &flow_id))
        faults_add(faults, "flowId", value, "must be a UUID");
    else if (strcmp(flow_id.text, path_flow_id->text) != 0)
        faults_add(faults, "flowId", value, "must be the flow of the path, %s", path_flow_id->text);
}

static void parse_triggered_by(const JsonValue *body, ServiceCall *call, Faults *faults)
{
    const JsonValue *value = json_get(body, "triggeredBy");
    if (!value)
        return;
    if (json_type(value) != JSON_STRING) {
        faults_add(faults, "triggeredBy", value, "must be a string, not %s", json_type_name(json_type(value)));
        return;
    }
    const char *text = json_text(value);
    if (strlen(text) > TRIGGERED_BY_MAX_BYTES)
        faults_add(faults, "triggeredBy", value, "must have at most %d bytes", TRIGGERED_BY_MAX_BYTES);
    else if (strspn(text, " \t\r\n") == strlen(text))
        faults_add(faults, "triggeredBy", value, "must not be blank");
    else
        call->start.triggered_by = g_strdup(text);
}

typedef struct {
    const char *field;
    TextMap *map;
    glong max_name_chars, max_value_chars;
    Faults *faults;
} MapReader;

static void read_member(const char *name, const JsonValue *value, void *arg)
{
    MapReader *reader = arg;
    g_autofree char *field = g_strdup_printf("%s.%s", reader->field, name);
    if (!*name)
        faults_add(reader->faults, reader->field, NULL, "has a member with an empty name");
    else if (g_utf8_strlen(name, -1) > reader->max_name_chars)
        faults_add(reader->faults, reader->field, NULL, "has a name of more than %ld characters",
                   reader->max_name_chars);
    else if (!value)
        return; /* null is absent */
    else if (json_type(value) != JSON_STRING)
        faults_add(reader->faults, field, value, "must be a string, not %s", json_type_name(json_type(value)));
    else if (g_utf8_strlen(json_text(value), -1) > reader->max_value_chars)
        faults_add(reader->faults, field, NULL, "must have at most %ld characters", reader->max_value_chars);
    else
        text_map_add(reader->map, name, json_text(value));
}

/* False: absent or no object. */
static bool read_map(const JsonValue *body, MapReader *reader)
{
    const JsonValue *value = json_get(body, reader->field);
    if (!value)
        return false;
    if (json_type(value) != JSON_OBJECT) {
        faults_add(reader->faults, reader->field, value, "must be an object of strings, not %s",
                   json_type_name(json_type(value)));
        return false;
    }
    json_object_foreach_member(value, read_member, reader);
    return true;
}

static void parse_labels(const JsonValue *body, ServiceCall *call, Faults *faults)
{
    MapReader reader = {"labels", &call->start.labels, START_LABEL_NAME_MAX_CHARS, START_LABEL_VALUE_MAX_CHARS, faults};
    const JsonValue *labels = json_get(body, "labels");
    if (labels && json_type(labels) == JSON_OBJECT && json_object_size(labels) > START_LABELS_MAX)
        faults_add(faults, "labels", NULL, "must have at most %d members", START_LABELS_MAX);
    else
        read_map(body, &reader);
}

static void parse_inputs(const JsonValue *body, ServiceCall *call, Faults *faults)
{
    MapReader reader = {"inputs", &call->start.inputs, RUN_INPUTS_MAX_BYTES, RUN_INPUTS_MAX_BYTES, faults};
    if (!read_map(body, &reader))
        return;
    /* As they will travel: a control character takes six bytes in JSON. */
    g_autoptr(GString) text = g_string_new(NULL);
    JsonWriter writer = json_writer(text);
    text_map_encode(&call->start.inputs, &writer, NULL);
    if (text->len > RUN_INPUTS_MAX_BYTES)
        faults_add(faults, "inputs", NULL, "must have at most %d bytes as JSON, these have %zu", RUN_INPUTS_MAX_BYTES,
                   text->len);
}

void idempotency_key_parse(const char *key, const JsonValue *body, ServiceCall *call, Faults *faults)
{
    static const char field[] = "Idempotency-Key";
    if (!key)
        return;
    size_t size = strlen(key);
    bool is_visible = true;
    for (size_t i = 0; i < size; i++)
        is_visible = is_visible && key[i] > 0x20 && key[i] < 0x7f;
    if (size < 1 || size > IDEMPOTENCY_KEY_MAX_BYTES || !is_visible) {
        faults_add(faults, field, NULL, "must have 1 to %d visible ASCII characters", IDEMPOTENCY_KEY_MAX_BYTES);
        return;
    }
    call->start.idempotency_key = g_strdup(key);
    call->start.request_digest = body_digest(body);
}

bool start_request_parse(const JsonValue *body, const char *idempotency_key, ServiceCall *call, Faults *faults)
{
    idempotency_key_parse(idempotency_key, body, call, faults);
    if (body && json_type(body) != JSON_OBJECT) {
        faults_add(faults, NULL, body, "the body must be an object, not %s", json_type_name(json_type(body)));
    } else if (body) {
        parse_flow_id(body, &call->flow_id, faults);
        parse_triggered_by(body, call, faults);
        parse_labels(body, call, faults);
        parse_inputs(body, call, faults);
    }
    return faults_count(faults) == 0;
}
