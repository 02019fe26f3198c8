/* schedule_decide.c - from what is known to what becomes of each slot. The slots that are due are walked twice: once to
 * count them, since whether one starts depends on how many come after it, and once to decide. Neighbours that are skipped
 * for one reason become one decision, so a long stop costs the journal little. */
#include "domain/schedule_internal.h"

typedef struct {
    const Schedule *schedule;
    int64_t now_ms;
    size_t n_open; /* with those this call starts */
    GArray *decisions;
    guint first;     /* of this call in decisions: earlier ones are the caller's */
    int64_t in_time; /* slots from it on are not missed */
    /* As the decisions so far leave them. */
    int64_t n, watermark, n_queued;
} Deciding;

/* What the first walk finds. */
typedef struct {
    int64_t n;              /* slots due */
    int64_t last_startable; /* index of the last one that misfire lets start; -1: none */
    bool has_more;          /* there are more than one call looks at */
} Walk;

static ScheduleDecision *add_decision(Deciding *deciding, SlotVerdict verdict, SlotReason reason, int64_t slot)
{
    const Schedule *schedule = deciding->schedule;
    deciding->n++;
    deciding->watermark = MAX(deciding->watermark, slot);
    deciding->n_queued += verdict == SLOT_QUEUED;
    ScheduleDecision decision = {
        .n = deciding->n,
        .verdict = verdict,
        .reason = reason,
        .slot = slot,
        .last_slot = slot,
        .n_slots = 1,
        .decided_at = deciding->now_ms,
        .since = schedule->since,
        .flow_version = schedule->flow_version,
        .watermark = deciding->watermark,
        .n_queued = deciding->n_queued,
    };
    g_array_append_val(deciding->decisions, decision);
    return &g_array_index(deciding->decisions, ScheduleDecision, deciding->decisions->len - 1);
}

static void skip(Deciding *deciding, SlotReason reason, int64_t slot)
{
    ScheduleDecision *last = deciding->decisions->len == deciding->first
                                 ? NULL
                                 : &g_array_index(deciding->decisions, ScheduleDecision, deciding->decisions->len - 1);
    if (last == NULL || last->verdict != SLOT_SKIPPED || last->reason != reason) {
        add_decision(deciding, SLOT_SKIPPED, reason, slot);
        return;
    }
    last->last_slot = last->watermark = deciding->watermark = slot;
    last->n_slots++;
}

/* How late each is; worked out once, not for each slot that a summary takes in. Lateness counts from when the last slot could
 * be taken: the ones before it may have held it. */
static void put_lateness(Deciding *deciding)
{
    const Schedule *schedule = deciding->schedule;
    int64_t held = INT64_MIN;
    bool is_held_known = false;
    for (guint i = deciding->first; i < deciding->decisions->len; i++) {
        ScheduleDecision *decision = &g_array_index(deciding->decisions, ScheduleDecision, i);
        if (decision->verdict == SLOT_RESET || (decision->verdict == SLOT_SKIPPED && decision->was_queued))
            continue;
        int64_t taken = schedule_due_at(schedule, decision->last_slot);
        if (!decision->was_queued &&
            schedule->jitter_ms > 0) { /* neighbours: each begins where the one before it ends */
            if (!is_held_known || decision->n_slots > 1)
                held = schedule_held_until(schedule, decision->last_slot);
            is_held_known = true;
            taken = held = MAX(held, taken);
        }
        decision->late_ms = MAX(deciding->now_ms - taken, 0);
    }
}

static void start(Deciding *deciding, int64_t slot)
{
    ScheduleDecision *decision = add_decision(deciding, SLOT_STARTED, SLOT_NO_REASON, slot);
    decision->cancels_running = deciding->schedule->overlap == OVERLAP_CANCEL_RUNNING && deciding->n_open > 0;
    deciding->n_open++;
}

/* Those that wait start one after the other; all at once when nothing is to wait any more. */
static void start_queued(Deciding *deciding, const ScheduleState *state)
{
    const Schedule *schedule = deciding->schedule;
    for (size_t i = 0; i < state->n_queued && !schedule->is_paused; i++) {
        if (schedule->overlap != OVERLAP_ALLOW && deciding->n_open > 0)
            return;
        ScheduleDecision *decision = add_decision(deciding, SLOT_STARTED, SLOT_NO_REASON, state->queue[i]);
        decision->was_queued = true;
        decision->n_queued = --deciding->n_queued;
        deciding->n_open++;
    }
}

/* Nothing that waits starts any more. Told before what it follows from, so that a journal that ends here says only that. */
static ScheduleDecision skip_queue(const ScheduleState *state, SlotReason reason, int64_t flow_version, int64_t now_ms)
{
    return (ScheduleDecision){
        .n = state->n + 1,
        .verdict = SLOT_SKIPPED,
        .reason = reason,
        .slot = state->queue[0],
        .last_slot = state->queue[state->n_queued - 1],
        .n_slots = (int64_t)state->n_queued,
        .decided_at = now_ms,
        .was_queued = true,
        .since = state->since,
        .flow_version = flow_version,
        .watermark = state->watermark,
    };
}

bool schedule_end_queue(const ScheduleState *state, const Flow *flow, int64_t now_ms, ScheduleDecision *ret_decision)
{
    if (state->n_queued == 0 || flow->version < state->flow_version)
        return false;
    *ret_decision = skip_queue(state, SLOT_ENDED, flow->version, now_ms);
    return true;
}

/* Other slots than those decided so far. Between the watermark and the change lies what the former schedule may still have
 * owed; with a clock that was set back it is what the new one has before the watermark. Neither starts. */
static void reset(Deciding *deciding, const ScheduleState *state)
{
    if (state->n_queued > 0) {
        ScheduleDecision end = skip_queue(state, SLOT_CHANGED, deciding->schedule->flow_version, deciding->now_ms);
        g_array_append_val(deciding->decisions, end);
        deciding->n++;
        deciding->n_queued = 0;
    }
    int64_t since = deciding->schedule->since, watermark = deciding->watermark;
    ScheduleDecision *decision = add_decision(deciding, SLOT_RESET, SLOT_NO_REASON, since);
    decision->slot = MIN(watermark, since);
    decision->last_slot = MAX(watermark, since);
    decision->n_slots = 0;
}

/* Skips what comes up to `until`; true when that is more than one call looks at. */
static bool skip_until(Deciding *deciding, SlotReason reason, int64_t until)
{
    const Schedule *schedule = deciding->schedule;
    int64_t slot;
    g_auto(CronWalk) walk;
    cron_walk_init(&walk, schedule->cron, schedule->zone, deciding->watermark);
    for (int i = 0; cron_walk_next(&walk, &slot) && slot <= until; i++) {
        if (i == SCHEDULE_SCAN_MAX)
            return true;
        skip(deciding, reason, slot);
    }
    return false;
}

/* Works the jitter out only where it matters: a hash for each slot of a long stop would cost more than all the rest. */
static bool is_due(const Deciding *deciding, int64_t slot)
{
    const Schedule *schedule = deciding->schedule;
    return slot + schedule->jitter_ms <= deciding->now_ms || schedule_due_at(schedule, slot) <= deciding->now_ms;
}

/* A slot cannot be taken before those ahead of it are due, and late is only what could have been taken before: from the first
 * slot on that is due within the grace none is missed. */
static int64_t find_in_time(const Schedule *schedule, int64_t now_ms)
{
    int64_t latest_ms = now_ms - schedule->grace_ms, slot = MAX(schedule->since, latest_ms - schedule->jitter_ms - 1);
    if (schedule->jitter_ms == 0)
        return latest_ms;
    do {
        if (!schedule_next_slot(schedule, slot, &slot))
            return INT64_MAX;
    } while (schedule_due_at(schedule, slot) < latest_ms);
    return slot;
}

static bool is_missed(const Deciding *deciding, int64_t slot)
{
    return slot < deciding->in_time;
}

/* Through the undecided slots within startAt; next_due() ends it. */
static void begin_due(const Deciding *deciding, CronWalk *slots)
{
    const Schedule *schedule = deciding->schedule;
    int64_t after = deciding->watermark;
    if (schedule->start_at != INT64_MIN)
        after = MAX(after, schedule->start_at - 1);
    cron_walk_init(slots, schedule->cron, schedule->zone, after);
}

/* Slots are taken in their order: one whose jitter lies ahead holds those behind it. */
static bool next_due(const Deciding *deciding, CronWalk *slots, int64_t *ret_slot)
{
    int64_t slot;
    if (!cron_walk_next(slots, &slot) || slot > MIN(deciding->now_ms, deciding->schedule->end_at) ||
        !is_due(deciding, slot))
        return false;
    *ret_slot = slot;
    return true;
}

static Walk count_due(const Deciding *deciding)
{
    Walk walk = {.last_startable = -1};
    int64_t at;
    Misfire misfire = deciding->schedule->misfire;
    g_auto(CronWalk) slots;
    begin_due(deciding, &slots);
    while (next_due(deciding, &slots, &at)) {
        if (walk.n == SCHEDULE_SCAN_MAX) {
            walk.has_more = true;
            break;
        }
        if (misfire != MISFIRE_SKIP || !is_missed(deciding, at))
            walk.last_startable = walk.n;
        walk.n++;
    }
    return walk;
}

/* What overlap makes of a slot that may start. */
static void start_or_wait(Deciding *deciding, int64_t slot, bool is_last)
{
    bool is_busy = deciding->n_open > 0; /* as long as slots wait: the first of them has just been started */
    switch (deciding->schedule->overlap) {
    case OVERLAP_SKIP:
        if (is_busy) {
            skip(deciding, SLOT_OVERLAP, slot);
            return;
        }
        break;
    case OVERLAP_QUEUE:
        if (is_busy && deciding->n_queued >= SCHEDULE_QUEUE_MAX) {
            skip(deciding, SLOT_QUEUE_FULL, slot);
            return;
        }
        if (is_busy) {
            add_decision(deciding, SLOT_QUEUED, SLOT_NO_REASON, slot);
            return;
        }
        break;
    case OVERLAP_CANCEL_RUNNING:
        if (!is_last) {
            skip(deciding, SLOT_OVERLAP, slot);
            return;
        }
        break;
    case OVERLAP_ALLOW:
        break;
    }
    start(deciding, slot);
}

static void decide_slot(Deciding *deciding, const Walk *walk, int64_t i, int64_t slot)
{
    Misfire misfire = deciding->schedule->misfire;
    bool is_latest = i + 1 == walk->n && !walk->has_more;
    bool may_start = misfire == MISFIRE_ALL || (misfire == MISFIRE_LATEST && is_latest) || !is_missed(deciding, slot);
    if (!may_start)
        skip(deciding, SLOT_MISFIRE, slot);
    else if (walk->n - i > SCHEDULE_STARTS_MAX)
        skip(deciding, SLOT_LIMIT, slot);
    else
        start_or_wait(deciding, slot, i == walk->last_startable);
}

/* With more than one call looks at, the last of them are left to the next call: they may be among those that start. */
static bool decide_due(Deciding *deciding)
{
    Walk walk = count_due(deciding);
    int64_t n = walk.has_more ? walk.n - SCHEDULE_STARTS_MAX : walk.n, slot;
    g_auto(CronWalk) slots;
    begin_due(deciding, &slots);
    for (int64_t i = 0; i < n; i++) {
        bool is_there = next_due(deciding, &slots, &slot);
        g_assert(is_there); /* it was counted */
        decide_slot(deciding, &walk, i, slot);
    }
    return walk.has_more;
}

/* The slots of the schedule as it stands; true when there are more. */
static bool decide_slots(Deciding *deciding)
{
    const Schedule *schedule = deciding->schedule;
    int64_t now_ms = deciding->now_ms, slot;
    if (deciding->watermark > schedule->end_at)
        return false;
    if (now_ms >= schedule->start_at && schedule->start_at != INT64_MIN &&
        skip_until(deciding, SLOT_BEFORE_START, schedule->start_at - 1))
        return true;
    bool has_more = schedule->is_paused ? now_ms >= schedule->start_at &&
                                              skip_until(deciding, SLOT_PAUSED, MIN(now_ms, schedule->end_at))
                                        : decide_due(deciding);
    /* Past its end a schedule has nothing more to say than that, once, when all before is decided. */
    if (!has_more && now_ms > schedule->end_at && !schedule_next_slot(schedule, deciding->watermark, &slot) &&
        cron_next(schedule->cron, schedule->zone, MAX(deciding->watermark, schedule->end_at), &slot) && slot <= now_ms)
        skip(deciding, SLOT_AFTER_END, slot);
    return has_more;
}

bool schedule_decide(const Schedule *schedule, const ScheduleState *state, int64_t now_ms, size_t n_open,
                     GArray *decisions)
{
    Deciding deciding = {
        .schedule = schedule,
        .now_ms = now_ms,
        .n_open = n_open,
        .decisions = decisions,
        .first = decisions->len,
        .in_time = find_in_time(schedule, now_ms),
        .n = state->n,
        .watermark = state->watermark,
        .n_queued = (int64_t)state->n_queued,
    };
    if (schedule_is_stale(schedule, state))
        return false;
    if (state->since != schedule->since) /* first: what follows is recorded with the new instant */
        reset(&deciding, state);
    else
        start_queued(&deciding, state);
    bool has_more = decide_slots(&deciding);
    put_lateness(&deciding);
    return has_more;
}
