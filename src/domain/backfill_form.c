/* backfill_form.c - a backfill's JSON forms. An entry is one object:
 *   {id flowId owner status reason from to maxParallel slotsInRange slots started made open[] completed failed stopped deleted
 *    createdAt updatedAt updatedBy n}
 * and its plan another: {slots[] requestDigest}, slots in whole seconds. */
#include <string.h>

#include "base/clock.h"
#include "domain/backfill.h"
#include "domain/message_member.h"

#define FORM_DEPTH 3
#define MS_PER_SECOND INT64_C(1000)

static const char *const STATUSES[] = {"RUNNING", "PAUSED", "COMPLETED", "CANCELLED"};
static const char *const REASONS[] = {NULL, "BY_USER", "FLOW_DELETED", "SLOTS_TAKEN",
                                      "NO_CRON"}; /* the first stands for none */

const char *backfill_status_name(BackfillStatus status)
{
    return STATUSES[status];
}

/* ---- out ---- */

static void put_range(JsonWriter *writer, int64_t from, int64_t to, int64_t max_parallel, int64_t n_in_range,
                      int64_t n_slots)
{
    json_put_instant(writer, "from", from);
    json_put_instant(writer, "to", to);
    json_put_int(writer, "maxParallel", max_parallel);
    json_put_int(writer, "slotsInRange", n_in_range);
    json_put_int(writer, "slots", n_slots);
}

void backfill_encode(const Backfill *backfill, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "id", backfill->id.text);
    json_put_string(&writer, "flowId", backfill->flow_id.text);
    json_put_string(&writer, "owner", backfill->owner.text);
    json_put_string(&writer, "status", STATUSES[backfill->status]);
    json_put_string(&writer, "reason", REASONS[backfill->reason]);
    put_range(&writer, backfill->from, backfill->to, backfill->max_parallel, backfill->n_in_range, backfill->n_slots);
    json_put_int(&writer, "started", backfill->n_started);
    json_put_int(&writer, "made", backfill->n_made);
    json_begin_array(&writer, "open");
    for (size_t i = 0; i < backfill->n_open; i++)
        json_put_instant(&writer, NULL, backfill->open[i]);
    json_end_array(&writer);
    json_put_int(&writer, "completed", backfill->n_completed);
    json_put_int(&writer, "failed", backfill->n_failed);
    json_put_int(&writer, "stopped", backfill->n_stopped);
    json_put_int(&writer, "deleted", backfill->n_deleted);
    json_put_instant(&writer, "createdAt", backfill->created_at);
    json_put_instant(&writer, "updatedAt", backfill->updated_at);
    json_put_string(&writer, "updatedBy", backfill->updated_by.text[0] == '\0' ? "service" : backfill->updated_by.text);
    json_put_int(&writer, "n", backfill->n);
    json_end_object(&writer);
}

void backfill_encode_dry_run(const Id *flow_id, const BackfillRequest *request, int64_t n_in_range,
                             const BackfillPlan *plan, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_bool(&writer, "dryRun", true);
    json_put_string(&writer, "flowId", flow_id->text);
    put_range(&writer, request->from, request->to, request->max_parallel, n_in_range, (int64_t)plan->n_slots);
    json_begin_array(&writer, "firstSlots");
    for (size_t i = 0; i < MIN(plan->n_slots, BACKFILL_FIRST_SLOTS); i++) {
        Id run_id = schedule_run_id(flow_id, plan->slots[i]);
        json_begin_object(&writer, NULL);
        json_put_instant(&writer, "slot", plan->slots[i]);
        json_put_string(&writer, "runId", run_id.text);
        json_end_object(&writer);
    }
    json_end_array(&writer);
    json_end_object(&writer);
}

void backfill_plan_encode(const BackfillPlan *plan, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "slots");
    for (size_t i = 0; i < plan->n_slots; i++)
        json_put_int(&writer, NULL, plan->slots[i] / MS_PER_SECOND);
    json_end_array(&writer);
    json_put_string(&writer, "requestDigest", plan->request_digest);
    json_end_object(&writer);
}

/* ---- in ---- */

static bool refuse(GError **error, const char *name, const char *what)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "broken backfill: %s %s", name, what);
    return false;
}

static bool get_open(const JsonValue *object, Backfill *backfill, GError **error)
{
    const JsonValue *open = json_get(object, "open");
    if (json_type(open) != JSON_ARRAY || json_array_length(open) > BACKFILL_PARALLEL_MAX)
        return refuse(error, "open", "is missing or too long");
    backfill->n_open = json_array_length(open);
    for (size_t i = 0; i < backfill->n_open; i++) {
        const JsonValue *slot = json_array_at(open, i);
        if (json_type(slot) != JSON_STRING || !instant_parse(json_text(slot), &backfill->open[i]))
            return refuse(error, "open", "holds what is no slot");
    }
    return true;
}

static bool get_int(const JsonValue *object, const char *name, int64_t min, int64_t max, int64_t *ret_number,
                    GError **error)
{
    return member_get_int(object, name, MEMBER_REQUIRED, min, max, ret_number, error);
}

static bool get_instant(const JsonValue *object, const char *name, int64_t *ret_ms, GError **error)
{
    return member_get_instant(object, name, MEMBER_REQUIRED, ret_ms, error);
}

static bool get_id(const JsonValue *object, const char *name, Id *ret_id, GError **error)
{
    return member_get_id(object, name, MEMBER_REQUIRED, ret_id, error);
}

static bool get_fixed(const JsonValue *object, Backfill *backfill, GError **error)
{
    return get_id(object, "id", &backfill->id, error) && get_id(object, "flowId", &backfill->flow_id, error) &&
           get_id(object, "owner", &backfill->owner, error) && get_instant(object, "from", &backfill->from, error) &&
           get_instant(object, "to", &backfill->to, error) &&
           get_int(object, "maxParallel", 1, BACKFILL_PARALLEL_MAX, &backfill->max_parallel, error) &&
           get_int(object, "slotsInRange", 0, BACKFILL_SLOTS_MAX, &backfill->n_in_range, error) &&
           get_int(object, "slots", 0, BACKFILL_SLOTS_MAX, &backfill->n_slots, error) &&
           get_instant(object, "createdAt", &backfill->created_at, error);
}

static bool get_changing(const JsonValue *object, Backfill *backfill, GError **error)
{
    size_t status, reason;
    if (!member_find_name(object, "status", STATUSES, G_N_ELEMENTS(STATUSES), &status))
        return refuse(error, "status", "is unknown");
    if (!member_find_name(object, "reason", REASONS, G_N_ELEMENTS(REASONS), &reason))
        return refuse(error, "reason", "is unknown");
    backfill->status = (BackfillStatus)status;
    backfill->reason = (BackfillReason)reason;
    const JsonValue *by = json_get(object, "updatedBy");
    if (json_type(by) == JSON_STRING)
        (void)id_parse(json_text(by), &backfill->updated_by); /* else the service */
    return get_int(object, "started", 0, backfill->n_slots, &backfill->n_started, error) &&
           get_int(object, "made", 0, backfill->n_started, &backfill->n_made, error) &&
           get_open(object, backfill, error) &&
           get_int(object, "completed", 0, backfill->n_started, &backfill->n_completed, error) &&
           get_int(object, "failed", 0, backfill->n_started, &backfill->n_failed, error) &&
           get_int(object, "stopped", 0, backfill->n_started, &backfill->n_stopped, error) &&
           get_int(object, "deleted", 0, backfill->n_started, &backfill->n_deleted, error) &&
           get_instant(object, "updatedAt", &backfill->updated_at, error) &&
           get_int(object, "n", 1, INT64_MAX, &backfill->n, error);
}

bool backfill_decode(const char *json, size_t size, Backfill *ret_backfill, GError **error)
{
    g_autoptr(JsonValue) object = member_parse_object(json, size, FORM_DEPTH, error);
    Backfill backfill = {0};
    if (object == NULL || !get_fixed(object, &backfill, error) || !get_changing(object, &backfill, error))
        return false;
    *ret_backfill = backfill;
    return true;
}

bool backfill_plan_decode(const char *json, size_t size, BackfillPlan *ret_plan, GError **error)
{
    g_autoptr(JsonValue) object = member_parse_object(json, size, FORM_DEPTH, error);
    if (object == NULL)
        return false;
    const JsonValue *slots = json_get(object, "slots"), *digest = json_get(object, "requestDigest");
    size_t n = json_type(slots) == JSON_ARRAY ? json_array_length(slots) : SIZE_MAX;
    if (n > BACKFILL_SLOTS_MAX)
        return refuse(error, "slots", "are missing or too many");
    g_auto(BackfillPlan) plan = {.slots = g_new(int64_t, n), .n_slots = n};
    for (size_t i = 0; i < n; i++) {
        const JsonValue *slot = json_array_at(slots, i);
        if (json_type(slot) != JSON_INT || json_int(slot) < 0 || json_int(slot) > SCHEDULE_LAST_MS / MS_PER_SECOND)
            return refuse(error, "slots", "hold what is no slot");
        plan.slots[i] = json_int(slot) * MS_PER_SECOND;
        if (i > 0 && plan.slots[i] <= plan.slots[i - 1])
            return refuse(error, "slots", "are not in order");
    }
    *ret_plan = (BackfillPlan){.slots = g_steal_pointer(&plan.slots),
                               .n_slots = n,
                               .request_digest = json_type(digest) == JSON_STRING ? g_strdup(json_text(digest)) : NULL};
    return true;
}
