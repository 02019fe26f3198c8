/* schedule_decision.c - a decision's JSON form, and the state that decisions fold to.
 *   {flowId n verdict reason slot lastSlot slots decidedAt lateMs runId wasQueued cancelsRunning scheduledSince flowVersion
 *    watermark queued} */
#include <string.h>

#include "base/clock.h"
#include "domain/message_member.h"
#include "domain/schedule.h"

#define DECISION_JSON_DEPTH 2

static const char *const VERDICTS[] = {"STARTED", "QUEUED", "SKIPPED", "RESET"};
/* The first stands for none. */
static const char *const REASONS[] = {NULL,         "PAUSED",       "MISFIRE",   "LIMIT",   "OVERLAP",
                                      "QUEUE_FULL", "BEFORE_START", "AFTER_END", "CHANGED", "ENDED"};

void schedule_state_init(ScheduleState *state, const Flow *flow)
{
    *state = (ScheduleState){.watermark = flow->created_at, .since = flow->created_at};
}

void schedule_state_from(ScheduleState *state, const ScheduleDecision *decision)
{
    g_assert(decision->n_queued == 0);
    schedule_state_from_tail(state, decision, NULL);
}

void schedule_state_from_tail(ScheduleState *state, const ScheduleDecision *last, int64_t *take_queue)
{
    *state = (ScheduleState){.n = last->n,
                             .watermark = last->watermark,
                             .since = last->since,
                             .flow_version = last->flow_version,
                             .queue = take_queue,
                             .n_queued = (size_t)last->n_queued};
}

void schedule_state_done(ScheduleState *state)
{
    g_free(state->queue);
    *state = (ScheduleState){0};
}

static bool refuse(GError **error, const char *name, const char *what)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "broken decision: %s %s", name, what);
    return false;
}

static bool check_leaving(const ScheduleState *state, const ScheduleDecision *decision, GError **error)
{
    size_t n_leaving = (size_t)decision->n_slots;
    if (decision->n_slots < 1 || n_leaving > state->n_queued || state->queue[0] != decision->slot)
        return refuse(error, "slot", "is not the first of the queue");
    if (decision->verdict == SLOT_SKIPPED ? n_leaving != state->n_queued : n_leaving != 1)
        return refuse(error, "slots", "are not those that leave the queue");
    return true;
}

bool schedule_state_fold(ScheduleState *state, const ScheduleDecision *decision, GError **error)
{
    bool leaves_queue = decision->was_queued;
    bool enters_queue = decision->verdict == SLOT_QUEUED;
    if (decision->n != state->n + 1)
        return refuse(error, "n", "is not the next");
    if (leaves_queue && !check_leaving(state, decision, error))
        return false;
    if (enters_queue && state->n_queued >= SCHEDULE_QUEUE_MAX)
        return refuse(error, "slot", "is one too many in the queue");
    if (leaves_queue) {
        state->n_queued -= (size_t)decision->n_slots;
        memmove(state->queue, state->queue + decision->n_slots, state->n_queued * sizeof(*state->queue));
    }
    if (enters_queue) {
        state->queue = g_renew(int64_t, state->queue, state->n_queued + 1);
        state->queue[state->n_queued++] = decision->slot;
    }
    state->n = decision->n;
    state->since = decision->since;
    state->flow_version = MAX(state->flow_version, decision->flow_version);
    state->watermark = MAX(state->watermark, decision->watermark);
    return true;
}

void schedule_decision_encode(const ScheduleDecision *decision, const Id *flow_id, GString *out)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "flowId", flow_id->text);
    json_put_int(&writer, "n", decision->n);
    json_put_string(&writer, "verdict", VERDICTS[decision->verdict]);
    json_put_string(&writer, "reason", REASONS[decision->reason]);
    json_put_instant(&writer, "slot", decision->slot);
    json_put_instant(&writer, "lastSlot", decision->last_slot);
    json_put_int(&writer, "slots", decision->n_slots);
    json_put_instant(&writer, "decidedAt", decision->decided_at);
    json_put_int(&writer, "lateMs", decision->late_ms);
    bool has_run = decision->verdict == SLOT_STARTED || decision->verdict == SLOT_QUEUED;
    Id run_id = schedule_run_id(flow_id, decision->slot);
    json_put_string(&writer, "runId", has_run ? run_id.text : NULL);
    json_put_bool(&writer, "wasQueued", decision->was_queued);
    json_put_bool(&writer, "cancelsRunning", decision->cancels_running);
    json_put_instant(&writer, "scheduledSince", decision->since);
    json_put_int(&writer, "flowVersion", decision->flow_version);
    json_put_instant(&writer, "watermark", decision->watermark);
    json_put_int(&writer, "queued", decision->n_queued);
    json_end_object(&writer);
}

static bool get_int(const JsonValue *object, const char *name, int64_t min, int64_t *ret_number, GError **error)
{
    const JsonValue *value = json_get(object, name);
    if (json_type(value) != JSON_INT || json_int(value) < min)
        return refuse(error, name, "is missing or no such number");
    *ret_number = json_int(value);
    return true;
}

static bool get_instant(const JsonValue *object, const char *name, int64_t *ret_ms, GError **error)
{
    const JsonValue *value = json_get(object, name);
    if (json_type(value) != JSON_STRING || !instant_parse(json_text(value), ret_ms))
        return refuse(error, name, "is missing or no instant");
    return true;
}

static bool get_bool(const JsonValue *object, const char *name, bool *ret_truth, GError **error)
{
    const JsonValue *value = json_get(object, name);
    if (json_type(value) != JSON_BOOL)
        return refuse(error, name, "is missing or no boolean");
    *ret_truth = json_bool(value);
    return true;
}

static bool decode_into(const JsonValue *object, ScheduleDecision *decision, Id *flow_id, GError **error)
{
    size_t verdict, reason;
    const JsonValue *id = json_get(object, "flowId");
    if (json_type(id) != JSON_STRING || !id_parse(json_text(id), flow_id))
        return refuse(error, "flowId", "is missing or no UUID");
    if (!member_find_name(object, "verdict", VERDICTS, G_N_ELEMENTS(VERDICTS), &verdict))
        return refuse(error, "verdict", "is unknown");
    if (!member_find_name(object, "reason", REASONS, G_N_ELEMENTS(REASONS), &reason))
        return refuse(error, "reason", "is unknown");
    decision->verdict = (SlotVerdict)verdict;
    decision->reason = (SlotReason)reason;
    return get_int(object, "n", 1, &decision->n, error) && get_instant(object, "slot", &decision->slot, error) &&
           get_instant(object, "lastSlot", &decision->last_slot, error) &&
           get_int(object, "slots", 0, &decision->n_slots, error) &&
           get_instant(object, "decidedAt", &decision->decided_at, error) &&
           get_int(object, "lateMs", 0, &decision->late_ms, error) &&
           get_bool(object, "wasQueued", &decision->was_queued, error) &&
           get_bool(object, "cancelsRunning", &decision->cancels_running, error) &&
           get_instant(object, "scheduledSince", &decision->since, error) &&
           get_int(object, "flowVersion", 1, &decision->flow_version, error) &&
           get_instant(object, "watermark", &decision->watermark, error) &&
           get_int(object, "queued", 0, &decision->n_queued, error);
}

bool schedule_decision_decode(const char *json, size_t size, ScheduleDecision *ret_decision, Id *ret_flow_id,
                              GError **error)
{
    g_autoptr(JsonValue) object = NULL;
    ScheduleDecision decision = {0};
    Id flow_id;
    if (!json_parse(json, size, DECISION_JSON_DEPTH, &object, error))
        return false;
    if (json_type(object) != JSON_OBJECT)
        return refuse(error, "it", "is no object");
    if (!decode_into(object, &decision, &flow_id, error))
        return false;
    *ret_decision = decision;
    *ret_flow_id = flow_id;
    return true;
}
