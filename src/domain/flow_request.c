/* flow_request.c - the members of a flow itself, and the versions that follow one another. */
#include "domain/flow_request.h"

#include <string.h>

#include "base/clock.h"
#include "domain/cron.h"
#include "domain/flow_internal.h"

void flow_reader_init(FlowReader *reader, const FlowOrigin *origin, Faults *faults)
{
    *reader = (FlowReader){.origin = origin, .faults = faults};
    reader->path = g_string_new(NULL);
    reader->nodes = g_array_new(FALSE, FALSE, sizeof(StepNode));
    reader->step_ids = g_hash_table_new(g_str_hash, g_str_equal);
    reader->branch_ids = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
}

void flow_reader_done(FlowReader *reader)
{
    for (guint i = 0; i < reader->nodes->len; i++)
        g_free(g_array_index(reader->nodes, StepNode, i).path);
    g_array_unref(reader->nodes);
    g_hash_table_unref(reader->step_ids);
    g_hash_table_unref(reader->branch_ids);
    g_string_free(reader->path, TRUE);
}

size_t flow_path_push(FlowReader *reader, const char *name)
{
    size_t mark = reader->path->len;
    if (mark > 0)
        g_string_append_c(reader->path, '.');
    g_string_append(reader->path, name);
    return mark;
}

size_t flow_path_push_index(FlowReader *reader, size_t i)
{
    size_t mark = reader->path->len;
    g_string_append_printf(reader->path, "[%zu]", i);
    return mark;
}

void flow_path_pop(FlowReader *reader, size_t mark)
{
    g_string_truncate(reader->path, mark);
}

static const char *with_article(JsonType type)
{
    switch (type) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "a boolean";
    case JSON_INT:
        return "an integer";
    case JSON_DOUBLE:
        return "a number with a fraction, an exponent or too many digits";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        break;
    }
    return "an object";
}

void flow_add_type_fault(FlowReader *reader, const JsonValue *value, JsonType type)
{
    const char *field = reader->path->len == 0 ? NULL : reader->path->str;
    faults_add(reader->faults, field, value, "must be %s, not %s", with_article(type), with_article(json_type(value)));
}

const JsonValue *flow_read_member(FlowReader *reader, const JsonValue *object, const char *name, JsonType type)
{
    const JsonValue *value = json_get(object, name);
    if (value == NULL || json_type(value) == type)
        return value;
    size_t mark = flow_path_push(reader, name);
    flow_add_type_fault(reader, value, type);
    flow_path_pop(reader, mark);
    return NULL;
}

static bool is_longer(const char *text, size_t max_chars)
{
    return strlen(text) > max_chars && (size_t)g_utf8_strlen(text, -1) > max_chars;
}

char *flow_read_text(FlowReader *reader, const JsonValue *object, const char *name, size_t max_chars)
{
    const JsonValue *value = flow_read_member(reader, object, name, JSON_STRING);
    if (value == NULL)
        return NULL;
    if (is_longer(json_text(value), max_chars)) {
        size_t mark = flow_path_push(reader, name);
        faults_add(reader->faults, reader->path->str, value, "must have at most %zu characters", max_chars);
        flow_path_pop(reader, mark);
        return NULL;
    }
    return g_strdup(json_text(value));
}

bool flow_text_is_blank(const char *text)
{
    for (const char *c = text; *c != '\0'; c = g_utf8_next_char(c)) {
        if (!g_unichar_isspace(g_utf8_get_char(c)))
            return false;
    }
    return true;
}

typedef struct {
    FlowReader *reader;
    const MapLimits *limits;
    TextMap *map;
    size_t n_members;
} MapReading;

static void read_pair(const char *name, const JsonValue *value, void *arg)
{
    MapReading *reading = arg;
    FlowReader *reader = reading->reader;
    const MapLimits *limits = reading->limits;
    if (value == NULL || ++reading->n_members > limits->max_pairs)
        return;
    if (flow_text_is_blank(name) || is_longer(name, limits->max_name_chars)) {
        faults_add_text(reader->faults, reader->path->str, name,
                        "a name in %s must not be blank and have at most %zu characters", limits->what,
                        limits->max_name_chars);
        return;
    }
    size_t mark = flow_path_push(reader, name);
    if (json_type(value) != JSON_STRING)
        flow_add_type_fault(reader, value, JSON_STRING);
    else if (limits->max_value_chars > 0 && is_longer(json_text(value), limits->max_value_chars))
        faults_add(reader->faults, reader->path->str, value, "must have at most %zu characters",
                   limits->max_value_chars);
    else if (limits->max_value_bytes > 0 && strlen(json_text(value)) > limits->max_value_bytes)
        faults_add(reader->faults, reader->path->str, value, "must have at most %zu bytes", limits->max_value_bytes);
    else
        text_map_add(reading->map, name, json_text(value));
    flow_path_pop(reader, mark);
}

void flow_read_map(FlowReader *reader, const JsonValue *object, const char *name, const MapLimits *limits,
                   TextMap *ret_map)
{
    MapReading reading = {.reader = reader, .limits = limits, .map = ret_map};
    *ret_map = (TextMap){0};
    const JsonValue *value = flow_read_member(reader, object, name, JSON_OBJECT);
    if (value == NULL)
        return;
    size_t mark = flow_path_push(reader, name);
    json_object_foreach_member(value, read_pair, &reading);
    if (reading.n_members > limits->max_pairs)
        faults_add(reader->faults, reader->path->str, NULL, "%zu %s, at most %zu are allowed", reading.n_members,
                   limits->what, limits->max_pairs);
    flow_path_pop(reader, mark);
}

static void read_name(FlowReader *reader, const JsonValue *body, Flow *flow)
{
    if (json_get(body, "name") == NULL) {
        faults_add(reader->faults, "name", NULL, "is required");
        return;
    }
    flow->name = flow_read_text(reader, body, "name", FLOW_NAME_MAX_CHARS);
    if (flow->name != NULL && flow_text_is_blank(flow->name))
        faults_add_text(reader->faults, "name", flow->name, "must not be blank");
}

char *flow_read_cron(FlowReader *reader, const JsonValue *body)
{
    const JsonValue *value = flow_read_member(reader, body, "cron", JSON_STRING);
    if (value == NULL)
        return NULL;
    g_autoptr(GPtrArray) faults = cron_faults(json_text(value));
    for (guint i = 0; i < faults->len; i++)
        faults_add(reader->faults, "cron", value, "%s", (const char *)faults->pdata[i]);
    return faults->len == 0 ? g_strdup(json_text(value)) : NULL;
}

char *flow_read_timezone(FlowReader *reader, const JsonValue *body)
{
    g_autoptr(GError) why = NULL;
    const JsonValue *value = flow_read_member(reader, body, "timezone", JSON_STRING);
    if (value == NULL)
        return NULL;
    if (!timezone_check(json_text(value), &why)) {
        const char *const *names = reader->origin->zone_names;
        g_autofree char *near = names == NULL ? NULL : timezone_suggest(json_text(value), names);
        faults_add(reader->faults, "timezone", value, "%s%s%s%s", why->message, near == NULL ? "" : "; did you mean ",
                   near == NULL ? "" : near, near == NULL ? "" : "?");
        return NULL;
    }
    return g_strdup(json_text(value));
}

/* Everything of a request but its steps. */
static void read_members(FlowReader *reader, const JsonValue *body, Flow *flow)
{
    static const MapLimits LABELS = {.what = "labels",
                                     .max_pairs = LABELS_MAX,
                                     .max_name_chars = LABEL_NAME_MAX_CHARS,
                                     .max_value_chars = LABEL_VALUE_MAX_CHARS};
    read_name(reader, body, flow);
    flow->description = flow_read_text(reader, body, "description", FLOW_DESCRIPTION_MAX_CHARS);
    flow->cron = flow_read_cron(reader, body);
    flow->timezone = flow_read_timezone(reader, body);
    flow->schedule = flow_read_schedule(reader, body);
    flow_read_map(reader, body, "labels", &LABELS, &flow->labels);
}

/* Whether both have the same slots; how they are started may differ. */
static bool has_same_slots(const Flow *a, const Flow *b)
{
    g_autoptr(ScheduleOptions) defaults = schedule_options_new();
    const ScheduleOptions *of_a = a->schedule == NULL ? defaults : a->schedule;
    const ScheduleOptions *of_b = b->schedule == NULL ? defaults : b->schedule;
    return g_strcmp0(a->cron, b->cron) == 0 && g_strcmp0(a->timezone, b->timezone) == 0 &&
           of_a->start_at == of_b->start_at && of_a->end_at == of_b->end_at && of_a->is_paused == of_b->is_paused;
}

static int64_t scheduled_since(const Flow *current, const Flow *flow, int64_t now_ms)
{
    if (flow->cron == NULL)
        return INSTANT_NONE;
    return current != NULL && has_same_slots(current, flow) ? current->scheduled_since : now_ms;
}

/* Sealed by the caller; the text was written by flow_seal(), so it reads. */
static void copy_steps(const Flow *from, Flow *flow)
{
    g_autoptr(JsonValue) steps = NULL;
    g_autoptr(GError) error = NULL;
    bool is_ok = json_parse(from->steps_json, from->steps_json_size, FLOW_JSON_DEPTH, &steps, &error) &&
                 steps_decode(steps, &flow->steps, &flow->n_steps, &error);
    g_assert(is_ok);
}

static void check_size(FlowReader *reader, const Flow *flow)
{
    g_autoptr(GString) text = g_string_sized_new(flow->steps_json_size + 1024);
    flow_encode(flow, text);
    if (text->len > FLOW_MAX_DEFINITION_BYTES)
        faults_add(reader->faults, "steps", NULL, "the definition takes %zu bytes, at most %d are allowed", text->len,
                   FLOW_MAX_DEFINITION_BYTES);
}

/* Takes `flow`, whose identity is set; current: the version before, whose steps stay when the request has none. */
static Flow *build(Flow *flow, const JsonValue *body, const Flow *current, const FlowOrigin *origin, Faults *faults)
{
    g_autoptr(Flow) built = flow;
    size_t n_before = faults_count(faults);
    FlowReader reader;
    flow_reader_init(&reader, origin, faults);
    if (body == NULL || json_type(body) != JSON_OBJECT) {
        faults_add(faults, NULL, body, "the body must be an object, not %s", with_article(json_type(body)));
    } else {
        read_members(&reader, body, built);
        built->scheduled_since = scheduled_since(current, built, origin->now_ms);
        if (json_get(body, "steps") == NULL && current != NULL) {
            copy_steps(current, built);
        } else {
            flow_read_steps(&reader, body, &built->steps, &built->n_steps);
            if (!reader.is_cut)
                flow_check_references(&reader);
        }
        flow_seal(built);
        if (!reader.is_cut)
            check_size(&reader, built);
    }
    flow_reader_done(&reader);
    return faults_count(faults) == n_before ? g_steal_pointer(&built) : NULL;
}

Flow *flow_create(const JsonValue *body, const FlowOrigin *origin, Faults *faults)
{
    Flow *flow = flow_new();
    flow->id = origin->flow_id;
    flow->owner = origin->owner;
    flow->created_at = flow->updated_at = origin->now_ms;
    flow->created_by = flow->updated_by = origin->actor;
    return build(flow, body, NULL, origin, faults);
}

/* The version after `current`, with nothing but its identity. */
static Flow *next_version(const Flow *current, const FlowOrigin *origin)
{
    Flow *flow = flow_new();
    flow->id = current->id;
    flow->owner = current->owner;
    flow->version = current->version + 1;
    flow->created_at = current->created_at;
    flow->created_by = current->created_by;
    flow->updated_at = origin->now_ms;
    flow->updated_by = origin->actor;
    return flow;
}

Flow *flow_update(const Flow *current, const JsonValue *body, const FlowOrigin *origin, Faults *faults)
{
    return build(next_version(current, origin), body, current, origin, faults);
}

Flow *flow_delete(const Flow *current, bool stops_runs, const FlowOrigin *origin)
{
    Flow *flow = next_version(current, origin);
    flow->name = g_strdup(current->name);
    flow->description = g_strdup(current->description);
    flow->cron = g_strdup(current->cron);
    flow->timezone = g_strdup(current->timezone);
    flow->schedule = schedule_options_copy(current->schedule);
    flow->scheduled_since = current->scheduled_since;
    text_map_copy(&current->labels, &flow->labels);
    copy_steps(current, flow);
    flow->is_deleted = true;
    flow->stops_runs = stops_runs;
    flow_seal(flow);
    return flow;
}
