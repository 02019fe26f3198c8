/* schedule_request.c - a flow's `schedule` as a client writes it, every fault with its path. */
#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"
#include "domain/run.h"

static int64_t read_seconds(FlowReader *reader, const JsonValue *object, const char *name, int64_t max, int64_t absent)
{
    const JsonValue *value = flow_read_member(reader, object, name, JSON_INT);
    if (value == NULL)
        return absent;
    if (json_int(value) >= 0 && json_int(value) <= max)
        return json_int(value);
    size_t mark = flow_path_push(reader, name);
    faults_add(reader->faults, reader->path->str, value, "must be from 0 to %" G_GINT64_FORMAT, max);
    flow_path_pop(reader, mark);
    return absent;
}

int64_t flow_read_instant(FlowReader *reader, const JsonValue *object, const char *name)
{
    const JsonValue *value = flow_read_member(reader, object, name, JSON_STRING);
    int64_t instant;
    if (value == NULL)
        return INSTANT_NONE;
    if (instant_parse(json_text(value), &instant) && instant >= SCHEDULE_FIRST_MS && instant <= SCHEDULE_LAST_MS)
        return instant;
    size_t mark = flow_path_push(reader, name);
    faults_add(reader->faults, reader->path->str, value,
               "must be an instant such as 2026-01-31T09:00:00Z, in the years 1970 to 2099");
    flow_path_pop(reader, mark);
    return INSTANT_NONE;
}

static void add_fault(FlowReader *reader, const char *name, const JsonValue *value, const char *message)
{
    size_t mark = flow_path_push(reader, name);
    faults_add(reader->faults, reader->path->str, value, "%s", message);
    flow_path_pop(reader, mark);
}

static void read_window(FlowReader *reader, const JsonValue *object, ScheduleOptions *options)
{
    options->start_at = flow_read_instant(reader, object, "startAt");
    options->end_at = flow_read_instant(reader, object, "endAt");
    if (options->start_at != INSTANT_NONE && options->end_at != INSTANT_NONE && options->end_at <= options->start_at)
        add_fault(reader, "endAt", json_get(object, "endAt"), "must be after startAt");
}

static void read_names(FlowReader *reader, const JsonValue *object, ScheduleOptions *options)
{
    const JsonValue *misfire = flow_read_member(reader, object, "misfire", JSON_STRING);
    const JsonValue *overlap = flow_read_member(reader, object, "overlap", JSON_STRING);
    if (misfire != NULL && !misfire_parse(json_text(misfire), &options->misfire))
        add_fault(reader, "misfire", misfire, "must be SKIP, LATEST or ALL");
    if (overlap != NULL && !overlap_parse(json_text(overlap), &options->overlap))
        add_fault(reader, "overlap", overlap, "must be ALLOW, SKIP, QUEUE or CANCEL_RUNNING");
}

/* What is filled in has the same size for every slot, so the sizes at any one are those of all. */
static void check_inputs(FlowReader *reader, const TextMap *inputs)
{
    size_t size = 0, mark = flow_path_push(reader, "inputs");
    for (size_t i = 0; i < inputs->n_pairs; i++) {
        g_autoptr(GError) why = NULL;
        const TextPair *pair = &inputs->pairs[i];
        g_autofree char *value = schedule_input_render(pair->value, 0, 0, &why);
        if (value != NULL) {
            size += strlen(pair->name) + strlen(value);
            continue;
        }
        size_t name_mark = flow_path_push(reader, pair->name);
        faults_add_text(reader->faults, reader->path->str, pair->value, "%s", why->message);
        flow_path_pop(reader, name_mark);
    }
    if (size > RUN_INPUTS_MAX_BYTES)
        faults_add(reader->faults, reader->path->str, NULL, "take %zu bytes together, at most %d are allowed", size,
                   RUN_INPUTS_MAX_BYTES);
    flow_path_pop(reader, mark);
}

ScheduleOptions *flow_read_schedule(FlowReader *reader, const JsonValue *body)
{
    static const MapLimits INPUTS = {.what = "inputs",
                                     .max_pairs = STEP_INPUTS_MAX,
                                     .max_name_chars = INPUT_NAME_MAX_CHARS,
                                     .max_value_bytes = INPUT_VALUE_MAX_BYTES};
    const JsonValue *object = flow_read_member(reader, body, "schedule", JSON_OBJECT);
    if (object == NULL)
        return NULL;
    ScheduleOptions *options = schedule_options_new();
    size_t mark = flow_path_push(reader, "schedule");
    read_names(reader, object, options);
    options->misfire_grace_s =
        read_seconds(reader, object, "misfireGraceSeconds", SCHEDULE_GRACE_MAX_S, SCHEDULE_GRACE_DEFAULT_S);
    options->jitter_s = read_seconds(reader, object, "jitterSeconds", SCHEDULE_JITTER_MAX_S, 0);
    read_window(reader, object, options);
    const JsonValue *paused = flow_read_member(reader, object, "paused", JSON_BOOL);
    options->is_paused = paused != NULL && json_bool(paused);
    flow_read_map(reader, object, "inputs", &INPUTS, &options->inputs);
    check_inputs(reader, &options->inputs);
    flow_path_pop(reader, mark);
    return options;
}
