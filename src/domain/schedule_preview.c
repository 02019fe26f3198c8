/* schedule_preview.c - reads what is to be looked at, and writes its slots. */
#include "domain/schedule_preview.h"

#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"

#define LOCAL_TEXT_SIZE (INSTANT_TEXT_SIZE + 12) /* "+05:45"; before 1972 some zones had seconds: "-00:44:30" */

static size_t read_count(FlowReader *reader, const JsonValue *body)
{
    const JsonValue *value = flow_read_member(reader, body, "count", JSON_INT);
    if (value == NULL)
        return SCHEDULE_PREVIEW_DEFAULT;
    if (json_int(value) >= 1 && json_int(value) <= SCHEDULE_PREVIEW_MAX)
        return (size_t)json_int(value);
    faults_add(reader->faults, "count", value, "must be from 1 to %d", SCHEDULE_PREVIEW_MAX);
    return SCHEDULE_PREVIEW_DEFAULT;
}

Flow *schedule_preview_read(const JsonValue *body, const FlowOrigin *origin, int64_t *ret_from, size_t *ret_count,
                            Faults *faults)
{
    g_autoptr(Flow) flow = flow_new();
    size_t n_before = faults_count(faults);
    FlowReader reader;
    flow_reader_init(&reader, origin, faults);
    if (body == NULL || json_type(body) != JSON_OBJECT) {
        flow_add_type_fault(&reader, body, JSON_OBJECT);
    } else {
        if (json_get(body, "cron") == NULL)
            faults_add(faults, "cron", NULL, "is required");
        flow->cron = flow_read_cron(&reader, body);
        flow->timezone = flow_read_timezone(&reader, body);
        flow->schedule = flow_read_schedule(&reader, body);
        *ret_count = read_count(&reader, body);
        *ret_from = flow_read_instant(&reader, body, "from");
    }
    flow_reader_done(&reader);
    return faults_count(faults) == n_before ? g_steal_pointer(&flow) : NULL;
}

/* What the wall clock shows, with its distance from UTC (ISO 8601). */
static void format_local(int64_t at_ms, int offset_s, char ret_text[LOCAL_TEXT_SIZE])
{
    size_t size = instant_format(at_ms + offset_s * INT64_C(1000), ret_text) - 1; /* the Z */
    int distance = ABS(offset_s);
    g_snprintf(ret_text + size, LOCAL_TEXT_SIZE - size, "%c%02d:%02d", offset_s < 0 ? '-' : '+', distance / 3600,
               distance / 60 % 60);
    if (distance % 60 != 0) {
        size = strlen(ret_text);
        g_snprintf(ret_text + size, LOCAL_TEXT_SIZE - size, ":%02d", distance % 60);
    }
}

static void put_slot(JsonWriter *writer, const Schedule *schedule, int64_t slot_ms, int64_t run_at)
{
    char local[LOCAL_TEXT_SIZE];
    format_local(slot_ms, cron_zone_offset_s(schedule_zone(schedule), slot_ms), local);
    json_begin_object(writer, NULL);
    json_put_instant(writer, "slot", slot_ms);
    json_put_string(writer, "local", local);
    json_put_instant(writer, "runAt", run_at);
    json_end_object(writer);
}

void schedule_preview_encode(const Flow *flow, const Schedule *schedule, int64_t from_ms, size_t count, GString *out)
{
    bool is_saved = flow->id.text[0] != '\0';
    bool is_run_at_known = is_saved || flow->schedule == NULL || flow->schedule->jitter_s == 0;
    g_autofree char *description = schedule == NULL ? NULL : cron_describe(schedule_cron(schedule));
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "flowId", is_saved ? flow->id.text : NULL);
    json_put_string(&writer, "cron", flow->cron);
    json_put_string(&writer, "timezone", flow->timezone == NULL ? "UTC" : flow->timezone);
    json_put_string(&writer, "description", description);
    flow_put_schedule(flow->schedule, true, &writer);
    json_begin_array(&writer, "slots");
    int64_t slot = from_ms - 1, run_at = INSTANT_NONE;
    if (schedule != NULL && is_run_at_known)
        run_at = schedule_held_until(schedule, slot);
    for (size_t i = 0; schedule != NULL && i < count && schedule_next_slot(schedule, slot, &slot); i++) {
        if (is_run_at_known)
            run_at = MAX(run_at, schedule_due_at(schedule, slot));
        put_slot(&writer, schedule, slot, run_at);
    }
    json_end_array(&writer);
    json_end_object(&writer);
}
