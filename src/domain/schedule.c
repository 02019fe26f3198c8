/* schedule.c - a flow's schedule made ready, and when it acts next. */
#include "domain/schedule.h"

#include <string.h>

#include "base/clock.h"
#include "domain/schedule_internal.h"

/* Slots that are looked at for one whose jitter lies ahead: only a slot every few seconds and a jitter of hours need more,
 * and then the first slot ahead is near enough. */
#define LOOK_AHEAD_MAX 1000
/* What is looked back over first for slots that hold; then twice as much, and so on. With a slot each second and a jitter of a
 * day some 2,000 slots are looked at. */
#define LOOK_BACK_MS 60000

Schedule *schedule_new(const Flow *flow, CronZones *zones, GError **error)
{
    g_autoptr(Cron) cron = cron_parse(flow->cron, error);
    if (cron == NULL)
        return NULL;
    CronZone *zone = cron_zones_open(zones, flow->timezone, error);
    if (zone == NULL)
        return NULL;
    g_autoptr(ScheduleOptions) defaults = schedule_options_new();
    const ScheduleOptions *options = flow->schedule == NULL ? defaults : flow->schedule;
    Schedule *schedule = g_new(Schedule, 1);
    *schedule = (Schedule){
        .flow_id = flow->id,
        .is_paused = options->is_paused,
        .misfire = options->misfire,
        .overlap = options->overlap,
        .cron = g_steal_pointer(&cron),
        .zone = zone,
        .flow_version = flow->version,
        .since = flow->scheduled_since,
        .grace_ms = options->misfire_grace_s * 1000,
        .jitter_ms = options->jitter_s * 1000,
        .start_at = options->start_at == INSTANT_NONE ? INT64_MIN : options->start_at,
        .end_at = options->end_at == INSTANT_NONE ? INT64_MAX : options->end_at,
    };
    return schedule;
}

void schedule_free(Schedule *schedule)
{
    if (schedule == NULL)
        return;
    cron_free(schedule->cron);
    cron_zone_unref(schedule->zone);
    g_free(schedule);
}

const Cron *schedule_cron(const Schedule *schedule)
{
    return schedule->cron;
}

const CronZone *schedule_zone(const Schedule *schedule)
{
    return schedule->zone;
}

Overlap schedule_overlap(const Schedule *schedule)
{
    return schedule->overlap;
}

bool schedule_is_paused(const Schedule *schedule)
{
    return schedule->is_paused;
}

int64_t schedule_since(const Schedule *schedule)
{
    return schedule->since;
}

int64_t schedule_flow_version(const Schedule *schedule)
{
    return schedule->flow_version;
}

/* The last instant before the window, so that what comes strictly after it is inside. */
static int64_t before_start(const Schedule *schedule)
{
    return schedule->start_at == INT64_MIN ? INT64_MIN : schedule->start_at - 1;
}

bool schedule_next_slot(const Schedule *schedule, int64_t after_ms, int64_t *ret_slot_ms)
{
    int64_t slot;
    if (!cron_next(schedule->cron, schedule->zone, MAX(after_ms, before_start(schedule)), &slot) ||
        slot > schedule->end_at)
        return false;
    *ret_slot_ms = slot;
    return true;
}

static Id derive(const char *kind, const Id *flow_id, int64_t slot_ms)
{
    char text[INSTANT_TEXT_SIZE];
    instant_format(slot_ms, text);
    const char *const parts[] = {kind, flow_id->text, text};
    return id_derive(parts, G_N_ELEMENTS(parts));
}

Id schedule_run_id(const Id *flow_id, int64_t slot_ms)
{
    return derive("slot", flow_id, slot_ms);
}

int64_t schedule_due_at(const Schedule *schedule, int64_t slot_ms)
{
    if (schedule->jitter_ms == 0)
        return slot_ms;
    /* The first eight digits of a derived id are 32 bits of the hash. */
    Id id = derive("jitter", &schedule->flow_id, slot_ms);
    uint64_t random = g_ascii_strtoull(id.text, NULL, 16) & UINT32_MAX;
    return slot_ms + (int64_t)(random * ((uint64_t)schedule->jitter_ms + 1) >> 32);
}

int64_t schedule_held_until(const Schedule *schedule, int64_t at_ms)
{
    int64_t held = INT64_MIN, begin = MAX(schedule->since, before_start(schedule)), end = at_ms, width = LOOK_BACK_MS;
    int64_t slot;
    begin = MAX(begin, at_ms - schedule->jitter_ms - 1); /* one before that starts before the instant */
    /* None up to `end` starts after end + jitter. */
    for (; end > begin && end + schedule->jitter_ms > held; width *= 2) {
        int64_t after = MAX(begin, end - width);
        g_auto(CronWalk) walk;
        cron_walk_init(&walk, schedule->cron, schedule->zone, after);
        while (cron_walk_next(&walk, &slot) && slot <= MIN(end, schedule->end_at))
            held = MAX(held, schedule_due_at(schedule, slot));
        end = after;
    }
    return held;
}

bool schedule_next_run(const Schedule *schedule, const ScheduleState *state, int64_t now_ms, int64_t *ret_run_at)
{
    int64_t after = MAX(MAX(state->watermark, schedule->since), now_ms - schedule->jitter_ms - 1), slot, due;
    if (schedule->is_paused)
        return false;
    for (int i = 0; i <= LOOK_AHEAD_MAX; i++) {
        if (!schedule_next_slot(schedule, after, &slot))
            return false;
        due = schedule_due_at(schedule, slot);
        if (due > now_ms)
            break;
        after = i + 1 == LOOK_AHEAD_MAX ? MAX(slot, now_ms) : slot;
    }
    *ret_run_at = due;
    return true;
}

bool schedule_is_stale(const Schedule *schedule, const ScheduleState *state)
{
    return schedule->flow_version < state->flow_version;
}

bool schedule_next_wake(const Schedule *schedule, const ScheduleState *state, int64_t *ret_wake_at)
{
    int64_t slot;
    if (schedule_is_stale(schedule, state))
        return false;
    if (state->since != schedule->since) {
        *ret_wake_at = schedule->since; /* the reset */
        return true;
    }
    if (state->watermark > schedule->end_at ||
        !cron_next(schedule->cron, schedule->zone, MAX(state->watermark, before_start(schedule)), &slot))
        return false;
    if (slot > schedule->end_at)
        *ret_wake_at = slot;
    else if (schedule->is_paused)
        *ret_wake_at = slot + SCHEDULE_PAUSED_SUMMARY_MS;
    else
        *ret_wake_at = schedule_due_at(schedule, slot);
    return true;
}

bool schedule_run_inputs(const Schedule *schedule, const Flow *flow, int64_t slot_ms, TextMap *ret_inputs,
                         GError **error)
{
    TextMap inputs = {0};
    int offset_s = cron_zone_offset_s(schedule->zone, slot_ms);
    for (size_t i = 0; flow->schedule != NULL && i < flow->schedule->inputs.n_pairs; i++) {
        const TextPair *pair = &flow->schedule->inputs.pairs[i];
        g_autofree char *value = schedule_input_render(pair->value, slot_ms, offset_s, error);
        if (value == NULL) {
            text_map_done(&inputs);
            return false;
        }
        text_map_add(&inputs, pair->name, value);
    }
    *ret_inputs = inputs;
    return true;
}
