/* backfill.c - a backfill's request, slots and decisions. */
#include "domain/backfill.h"

#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"
#include "domain/schedule_internal.h"

/* ---- the request ---- */

static int64_t read_parallel(FlowReader *reader, const JsonValue *body)
{
    const JsonValue *value = flow_read_member(reader, body, "maxParallel", JSON_INT);
    if (value == NULL || (json_int(value) >= 1 && json_int(value) <= BACKFILL_PARALLEL_MAX))
        return value == NULL ? 1 : json_int(value);
    faults_add(reader->faults, "maxParallel", value, "must be from 1 to %d", BACKFILL_PARALLEL_MAX);
    return 1;
}

static void read_range(FlowReader *reader, const JsonValue *body, int64_t now_ms, BackfillRequest *request)
{
    char now[INSTANT_TEXT_SIZE];
    instant_format(now_ms, now);
    if (json_get(body, "from") == NULL)
        faults_add(reader->faults, "from", NULL, "is required");
    request->from = flow_read_instant(reader, body, "from");
    request->to = flow_read_instant(reader, body, "to");
    if (json_get(body, "to") == NULL)
        request->to = now_ms;
    if (request->to != INSTANT_NONE && request->to > now_ms)
        faults_add(reader->faults, "to", json_get(body, "to"), "must not be after now, %s: what is to come is no gap",
                   now);
    else if (request->from != INSTANT_NONE && request->to != INSTANT_NONE && request->from >= request->to)
        faults_add(reader->faults, "from", json_get(body, "from"), "must be before %s",
                   json_get(body, "to") == NULL ? now : "to");
}

bool backfill_request_read(const JsonValue *body, int64_t now_ms, BackfillRequest *ret_request, Faults *faults)
{
    size_t n_before = faults_count(faults);
    FlowOrigin origin = {.now_ms = now_ms};
    FlowReader reader;
    BackfillRequest request = {0};
    flow_reader_init(&reader, &origin, faults);
    if (body == NULL || json_type(body) != JSON_OBJECT) {
        flow_add_type_fault(&reader, body, JSON_OBJECT);
    } else {
        read_range(&reader, body, now_ms, &request);
        request.max_parallel = read_parallel(&reader, body);
        const JsonValue *dry_run = flow_read_member(&reader, body, "dryRun", JSON_BOOL);
        request.is_dry_run = dry_run != NULL && json_bool(dry_run);
    }
    flow_reader_done(&reader);
    *ret_request = request;
    return faults_count(faults) == n_before;
}

/* ---- its slots ---- */

int64_t backfill_find_slots(const Schedule *schedule, int64_t from, int64_t to, GArray *slots)
{
    int64_t n = 0, slot;
    g_auto(CronWalk) walk;
    cron_walk_init(&walk, schedule->cron, schedule->zone, MAX(from, schedule->start_at) - 1);
    while (n < BACKFILL_COUNT_MAX && cron_walk_next(&walk, &slot) && slot < to && slot <= schedule->end_at) {
        if (n++ < BACKFILL_SLOTS_MAX)
            g_array_append_val(slots, slot);
    }
    return n;
}

bool backfill_is_covered_by(const ScheduleDecision *decision)
{
    return decision->verdict == SLOT_STARTED;
}

void backfill_plan_done(BackfillPlan *plan)
{
    g_free(plan->slots);
    g_free(plan->request_digest);
    *plan = (BackfillPlan){0};
}

Id backfill_derive_id(const Id *owner, const Id *flow_id, const char *key)
{
    const char *const parts[] = {"backfill", owner->text, flow_id->text, key};
    return id_derive(parts, G_N_ELEMENTS(parts));
}

/* ---- its state ---- */

bool backfill_is_open(const Backfill *backfill)
{
    return backfill->status == BACKFILL_RUNNING || backfill->status == BACKFILL_PAUSED || backfill->n_open > 0;
}

void backfill_init(Backfill *backfill, const Id *id, const Flow *flow, const BackfillRequest *request,
                   int64_t n_in_range, size_t n_slots, int64_t now_ms)
{
    *backfill = (Backfill){
        .id = *id,
        .flow_id = flow->id,
        .owner = flow->owner,
        .created_at = now_ms,
        .from = request->from,
        .to = request->to,
        .max_parallel = request->max_parallel,
        .n_in_range = n_in_range,
        .n_slots = (int64_t)n_slots,
        .n = 1,
        .status = n_slots == 0 ? BACKFILL_COMPLETED : BACKFILL_RUNNING,
        .updated_at = now_ms,
        .updated_by = flow->owner,
    };
}

SlotRun slot_run_of(RunStatus status)
{
    switch (status) {
    case RUN_COMPLETED:
        return SLOT_RUN_COMPLETED;
    case RUN_FAILED:
        return SLOT_RUN_FAILED;
    case RUN_STOPPED:
        return SLOT_RUN_STOPPED;
    default:
        return SLOT_RUN_OPEN;
    }
}

static void next_entry(const Backfill *backfill, const Id *by, int64_t now_ms, Backfill *next)
{
    *next = *backfill;
    next->n++;
    next->updated_at = MAX(now_ms, backfill->updated_at);
    next->updated_by = (Id){""};
    if (by != NULL)
        next->updated_by = *by;
}

static void count_ended(const Backfill *backfill, const SlotRun *runs, Backfill *next)
{
    next->n_open = 0;
    for (size_t i = 0; i < backfill->n_open; i++) {
        if (runs[i] == SLOT_RUN_OPEN)
            next->open[next->n_open++] = backfill->open[i];
        next->n_completed += runs[i] == SLOT_RUN_COMPLETED;
        next->n_failed += runs[i] == SLOT_RUN_FAILED;
        next->n_stopped += runs[i] == SLOT_RUN_STOPPED;
        next->n_deleted += runs[i] == SLOT_RUN_DELETED;
    }
}

bool backfill_advance(const Backfill *backfill, const BackfillPlan *plan, const SlotRun *runs, int64_t now_ms,
                      Backfill *ret_next)
{
    Backfill next;
    next_entry(backfill, NULL, now_ms, &next);
    next.n_made = backfill->n_started;
    count_ended(backfill, runs, &next);
    if (backfill->status == BACKFILL_RUNNING) {
        while ((int64_t)next.n_open < next.max_parallel && (size_t)next.n_started < plan->n_slots)
            next.open[next.n_open++] = plan->slots[next.n_started++];
        if (next.n_open == 0)
            next.status = BACKFILL_COMPLETED;
    }
    if (next.n_open == backfill->n_open && next.n_started == backfill->n_started && next.status == backfill->status)
        return false;
    *ret_next = next;
    return true;
}

static BackfillStatus status_after(BackfillCommand command)
{
    return command == BACKFILL_PAUSE    ? BACKFILL_PAUSED
           : command == BACKFILL_RESUME ? BACKFILL_RUNNING
                                        : BACKFILL_CANCELLED;
}

BackfillOutcome backfill_command(const Backfill *backfill, BackfillCommand command, BackfillReason reason, const Id *by,
                                 int64_t now_ms, Backfill *ret_next)
{
    BackfillStatus status = status_after(command);
    if (backfill->status == status)
        return BACKFILL_NOTHING;
    if (backfill->status == BACKFILL_COMPLETED || backfill->status == BACKFILL_CANCELLED)
        return BACKFILL_REJECT;
    next_entry(backfill, by, now_ms, ret_next);
    ret_next->status = status;
    ret_next->reason = command == BACKFILL_CANCEL ? reason : BACKFILL_NO_REASON;
    return BACKFILL_APPEND;
}
