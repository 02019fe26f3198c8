/* test_schedule_history.c - three years of a flow's schedule under a simulated clock: stops, crashes before, amid and after
 * the recording of decisions and before their runs are made, clocks set forth and back, other crons, zones, windows and
 * pauses, a second scheduler that knows less. Whatever happened: no slot started twice, each start has its run and each run
 * its start, and every slot that came has a decision that says what became of it. SCHEDULE_SEED=n runs one history again. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/flow_request.h"
#include "domain/schedule.h"

#define FLOW_ID "0191aaaa-0000-7000-8000-0000000000f0"
#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define START INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define YEARS_3 (1096 * DAY)
enum { N_HISTORIES = 8, N_QUIET = 60 };

/* The slots that a flow had between two changes of them. */
typedef struct {
    Flow *flow;
    int64_t since;
    int64_t watermark; /* in the journal when it began */
    int64_t until;     /* as far as a clock came that somebody looked at */
    int64_t jitter_ms; /* the largest it had: a slot within it of `until` may not have been due */
} Era;

typedef struct {
    unsigned seed;
    int64_t true_ms, skew_ms; /* the wall clock shows their sum */
    CronZones *zones;
    Flow *flow;
    Schedule *schedule;  /* as the scheduler holds it; NULL while it is down */
    Schedule *former;    /* as a second one may still hold it */
    ScheduleState state; /* the same */
    GArray *journal;     /* ScheduleDecision */
    GHashTable *runs;    /* slot -> how often a run of it was made */
    GArray *open;        /* int64_t: when a run ends, true time */
    GArray *eras;        /* Era */
    int n_crashes, n_jumps, n_changes;
    bool is_quiet; /* nothing goes wrong */
} History;

static int64_t pick(History *history, int64_t n)
{
    uint64_t random = (uint64_t)rand_r(&history->seed) << 31 ^ (uint64_t)rand_r(&history->seed);
    return (int64_t)(random % (uint64_t)n);
}

static int64_t wall(const History *history)
{
    return history->true_ms + history->skew_ms;
}

static Era *current_era(History *history)
{
    return &g_array_index(history->eras, Era, history->eras->len - 1);
}

/* ---- the flow ---- */

static char *pick_body(History *history)
{
    static const char *const CRONS[] = {"*/10 * * * *",  "0 * * * *",   "30 2 * * *",  "*/30 1-3 * * *",
                                        "15,45 2 * * *", "@every 45m",  "0 9 * * 1-5", "0 */2 * * *|@daily",
                                        "0 0 L * *",     "30 */6 * * 6"};
    static const char *const ZONES[] = {"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                                        "Pacific/Apia"};
    static const char *const MISFIRES[] = {"SKIP", "LATEST", "ALL"};
    static const char *const OVERLAPS[] = {"ALLOW", "SKIP", "QUEUE", "CANCEL_RUNNING"};
    static const int JITTERS[] = {0, 0, 60, 7200};
    char start[INSTANT_TEXT_SIZE], end[INSTANT_TEXT_SIZE];
    int64_t start_at = wall(history) + (pick(history, 20) - 10) * DAY;
    instant_format(start_at, start);
    instant_format(start_at + (1 + pick(history, 200)) * DAY, end);
    GString *body = g_string_new(NULL);
    g_string_printf(
        body,
        "{\"name\":\"n\",\"cron\":\"%s\",\"timezone\":\"%s\",\"schedule\":{\"misfire\":\"%s\",\"overlap\":\"%s\","
        "\"misfireGraceSeconds\":%d,\"jitterSeconds\":%d,\"paused\":%s",
        CRONS[pick(history, G_N_ELEMENTS(CRONS))], ZONES[pick(history, G_N_ELEMENTS(ZONES))],
        MISFIRES[pick(history, 3)], OVERLAPS[pick(history, 4)], (int)pick(history, 7200), JITTERS[pick(history, 4)],
        pick(history, 5) == 0 ? "true" : "false");
    if (pick(history, 3) == 0)
        g_string_append_printf(body, ",\"startAt\":\"%s\"", start);
    if (pick(history, 3) == 0)
        g_string_append_printf(body, ",\"endAt\":\"%s\"", end);
    g_string_append(body, "}}");
    return g_string_free(body, FALSE);
}

static void begin_era(History *history)
{
    const ScheduleDecision *last = history->journal->len == 0
                                       ? NULL
                                       : &g_array_index(history->journal, ScheduleDecision, history->journal->len - 1);
    Era era = {.flow = flow_ref(history->flow),
               .since = history->flow->scheduled_since,
               .watermark = last == NULL ? history->flow->created_at : last->watermark,
               .until = wall(history),
               .jitter_ms = history->flow->schedule->jitter_s * SECOND};
    g_array_append_val(history->eras, era);
}

static void take_version(History *history)
{
    g_autoptr(Faults) faults = faults_new();
    g_autofree char *text = pick_body(history);
    g_autoptr(JsonValue) body = NULL;
    FlowOrigin origin = {.now_ms = wall(history)};
    g_strlcpy(origin.flow_id.text, FLOW_ID, ID_TEXT_SIZE);
    assert_true(json_parse(text, strlen(text), 4, &body, NULL));
    Flow *next =
        history->flow == NULL ? flow_create(body, &origin, faults) : flow_update(history->flow, body, &origin, faults);
    if (next == NULL)
        fail_msg("%s: %s", text, faults_at(faults, 0)->message);
    flow_unref(history->flow);
    history->flow = next;
}

static void hold_schedule(History *history)
{
    if (history->schedule != NULL) {
        schedule_free(history->former);
        history->former = g_steal_pointer(&history->schedule);
    }
    history->schedule = schedule_new(history->flow, history->zones, NULL);
    assert_non_null(history->schedule);
}

/* ---- the scheduler ---- */

static size_t count_open(History *history)
{
    for (guint i = history->open->len; i > 0; i--) {
        if (g_array_index(history->open, int64_t, i - 1) <= history->true_ms)
            g_array_remove_index_fast(history->open, i - 1);
    }
    return history->open->len;
}

/* What a started slot asks for; done again by whoever finds no run. */
static void carry_out(History *history, const ScheduleDecision *decision)
{
    if (decision->verdict != SLOT_STARTED || g_hash_table_contains(history->runs, &decision->slot))
        return;
    if (decision->cancels_running)
        g_array_set_size(history->open, 0);
    int64_t end = history->true_ms + pick(history, 100) * MINUTE, *slot = g_new(int64_t, 1);
    *slot = decision->slot;
    g_hash_table_insert(history->runs, slot, GINT_TO_POINTER(1));
    g_array_append_val(history->open, end);
}

static void crash(History *history)
{
    g_clear_pointer(&history->schedule, schedule_free);
    schedule_state_done(&history->state);
    history->n_crashes++;
}

/* The last decision and the last slots that were queued give what the whole journal gives. */
static void check_tail(const History *history)
{
    if (history->journal->len == 0)
        return;
    const ScheduleDecision *last = &g_array_index(history->journal, ScheduleDecision, history->journal->len - 1);
    int64_t *queue = g_new(int64_t, MAX(last->n_queued, 1)), left = last->n_queued;
    for (guint i = history->journal->len; i-- > 0 && left > 0;) {
        const ScheduleDecision *decision = &g_array_index(history->journal, ScheduleDecision, i);
        if (decision->verdict == SLOT_QUEUED)
            queue[--left] = decision->slot;
    }
    assert_int_equal(left, 0);
    g_auto(ScheduleState) loaded = {0};
    schedule_state_from_tail(&loaded, last, queue);
    const ScheduleState *state = &history->state;
    assert_true(loaded.n == state->n && loaded.watermark == state->watermark && loaded.since == state->since &&
                loaded.flow_version == state->flow_version && loaded.n_queued == state->n_queued);
    if (state->n_queued > 0)
        assert_memory_equal(loaded.queue, state->queue, state->n_queued * sizeof *queue);
}

static void restart(History *history)
{
    schedule_state_init(&history->state, history->flow);
    for (guint i = 0; i < history->journal->len; i++) {
        const ScheduleDecision *decision = &g_array_index(history->journal, ScheduleDecision, i);
        assert_true(schedule_state_fold(&history->state, decision, NULL));
        carry_out(history, decision);
    }
    check_tail(history);
    hold_schedule(history);
}

/* Unique inserts: the first n_recorded of them, unless another was there before. */
static void insert(History *history, const GArray *decisions, guint n_recorded)
{
    for (guint i = 0; i < n_recorded; i++) {
        const ScheduleDecision *decision = &g_array_index(decisions, ScheduleDecision, i);
        if (decision->n <= (int64_t)history->journal->len)
            return;
        assert_int_equal(decision->n, history->journal->len + 1);
        g_array_append_val(history->journal, *decision);
    }
}

/* A second scheduler: it decides from a state that is a moment old, or reads the journal and holds the version before. */
static void interfere(History *history, bool is_current)
{
    g_autoptr(GArray) decisions = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
    g_auto(ScheduleState) known = {0};
    schedule_state_init(&known, history->flow);
    for (guint i = 0; i < history->journal->len; i++)
        assert_true(schedule_state_fold(&known, &g_array_index(history->journal, ScheduleDecision, i), NULL));
    if (is_current)
        schedule_decide(history->schedule, &history->state, wall(history) + pick(history, HOUR), 0, decisions);
    else if (history->former != NULL)
        schedule_decide(history->former, &known, wall(history), count_open(history), decisions);
    insert(history, decisions, decisions->len);
}

/* Decides once; false when it crashed. */
static bool decide(History *history, bool *ret_has_more)
{
    g_autoptr(GArray) decisions = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
    *ret_has_more = schedule_decide(history->schedule, &history->state, wall(history), count_open(history), decisions);
    current_era(history)->until = MAX(current_era(history)->until, wall(history));
    guint n = decisions->len;
    int64_t trouble = history->is_quiet ? INT64_MAX : pick(history, 200);
    insert(history, decisions, trouble == 0 ? (guint)pick(history, n + 1) : n);
    if (trouble == 1 || trouble == 3) {
        interfere(history, trouble == 1);
        crash(history); /* it reloads, whoever won */
        restart(history);
        return true;
    }
    for (guint i = 0; i < n && trouble != 0; i++) {
        const ScheduleDecision *decision = &g_array_index(decisions, ScheduleDecision, i);
        if (trouble == 2 && pick(history, n) == 0)
            break;
        assert_true(schedule_state_fold(&history->state, decision, NULL));
        carry_out(history, decision);
    }
    if (trouble == 0 || trouble == 2) {
        crash(history);
        return false;
    }
    return true;
}

static void come_back(History *history)
{
    history->true_ms += pick(history, 10) == 0 ? pick(history, 3 * DAY) : pick(history, HOUR);
    restart(history);
}

static void decide_all(History *history)
{
    bool has_more = true;
    while (has_more) {
        if (!decide(history, &has_more)) {
            come_back(history);
            has_more = true;
        }
    }
}

/* When the scheduler wakes, in true time: a slot, or the end of a run while slots wait. */
static int64_t next_wake(History *history)
{
    int64_t wake,
        next = schedule_next_wake(history->schedule, &history->state, &wake) ? wake - history->skew_ms : INT64_MAX;
    for (guint i = 0; history->state.n_queued > 0 && i < history->open->len; i++)
        next = MIN(next, g_array_index(history->open, int64_t, i));
    return next;
}

static void run_until(History *history, int64_t until)
{
    while (history->true_ms < until) {
        int64_t wake = next_wake(history);
        int64_t before = (int64_t)history->journal->len;
        bool is_due = wake <= history->true_ms && count_open(history) == 0;
        if (wake > until)
            break;
        history->true_ms = MAX(history->true_ms, wake);
        decide_all(history);
        if (is_due && before == (int64_t)history->journal->len && next_wake(history) == wake)
            fail_msg("awake for nothing at %" G_GINT64_FORMAT, wall(history));
        if (next_wake(history) <= history->true_ms)
            history->true_ms++;
    }
    history->true_ms = MAX(history->true_ms, until);
}

/* ---- what happens ---- */

/* A running scheduler learns of it at once: it decides what the former version still owes, then goes on with the new one. */
static void change_flow(History *history)
{
    int64_t since = history->flow->scheduled_since;
    if (history->schedule != NULL && pick(history, 3) > 0)
        decide_all(history);
    current_era(history)->until = MAX(current_era(history)->until, wall(history));
    take_version(history);
    history->n_changes++;
    if (history->flow->scheduled_since != since)
        begin_era(history);
    current_era(history)->jitter_ms = MAX(current_era(history)->jitter_ms, history->flow->schedule->jitter_s * SECOND);
    if (history->schedule != NULL) {
        hold_schedule(history);
        decide_all(history);
    }
}

static void set_clock(History *history)
{
    int64_t by_ms = pick(history, 4) == 0 ? pick(history, 40 * DAY) : pick(history, 3 * HOUR);
    if (pick(history, 2) == 0)
        by_ms = -by_ms;
    history->skew_ms = CLAMP(history->skew_ms + by_ms, -60 * DAY, 60 * DAY);
    history->n_jumps++;
}

static void happen(History *history)
{
    int64_t what = pick(history, 10);
    if (what < 3) {
        set_clock(history);
    } else if (what < 6) {
        change_flow(history);
    } else {
        crash(history);
        history->true_ms += pick(history, 3) == 0 ? pick(history, 20 * DAY) : pick(history, 5 * HOUR);
        if (pick(history, 3) == 0)
            set_clock(history);
        if (pick(history, 3) == 0)
            change_flow(history);
        restart(history);
    }
}

/* ---- what must hold ---- */

static void check_starts(const History *history)
{
    g_autoptr(GHashTable) started = g_hash_table_new(g_int64_hash, g_int64_equal);
    for (guint i = 0; i < history->journal->len; i++) {
        ScheduleDecision *decision = &g_array_index(history->journal, ScheduleDecision, i);
        assert_int_equal(decision->n, i + 1);
        if (decision->verdict != SLOT_STARTED)
            continue;
        if (!g_hash_table_add(started, &decision->slot))
            fail_msg("slot %" G_GINT64_FORMAT " was started twice", decision->slot);
        if (!g_hash_table_contains(history->runs, &decision->slot))
            fail_msg("slot %" G_GINT64_FORMAT " has no run", decision->slot);
        assert_true(decision->slot > decision->since); /* also out of the queue */
    }
    assert_int_equal(g_hash_table_size(started), g_hash_table_size(history->runs));
}

/* The next slots of an era from a slot on, by the cron alone. */
static bool covers(const ScheduleDecision *decision, const Era *era, int64_t slot)
{
    if (decision->verdict == SLOT_RESET)
        return decision->slot < slot && slot <= decision->last_slot;
    return decision->since == era->since && decision->slot <= slot && slot <= decision->last_slot;
}

/* Walks an era's slots and the journal side by side where it can; a slot that the next decisions do not name is looked for
 * in all of them. */
static bool is_decided(const History *history, const Era *era, int64_t slot, guint *hint)
{
    for (guint i = 0; i < history->journal->len; i++) {
        guint at = (*hint + i) % history->journal->len;
        if (covers(&g_array_index(history->journal, ScheduleDecision, at), era, slot)) {
            *hint = at;
            return true;
        }
    }
    return false;
}

static void check_slots(const History *history)
{
    guint hint = 0;
    for (guint i = 0; i < history->eras->len; i++) {
        const Era *era = &g_array_index(history->eras, Era, i);
        g_autoptr(Schedule) schedule = schedule_new(era->flow, history->zones, NULL);
        int64_t slot = MAX(era->since, era->watermark); /* at or before the watermark nothing starts, for ever */
        while (schedule_next_slot(schedule, slot, &slot) && slot + era->jitter_ms <= era->until) {
            if (!is_decided(history, era, slot, &hint))
                fail_msg("slot %" G_GINT64_FORMAT " of version %" G_GINT64_FORMAT " has no decision", slot,
                         era->flow->version);
        }
    }
}

static void era_done(void *era)
{
    flow_unref(((Era *)era)->flow);
}

/* Of a system that is never stopped, whatever its jitter and grace, no slot is found late. */
static void check_in_time(const History *history)
{
    for (guint i = 0; i < history->journal->len; i++) {
        const ScheduleDecision *decision = &g_array_index(history->journal, ScheduleDecision, i);
        if (decision->reason == SLOT_MISFIRE)
            fail_msg("%" G_GINT64_FORMAT " slots from %" G_GINT64_FORMAT " were missed although nothing stood still",
                     decision->n_slots, decision->slot);
    }
}

static void history_init(History *history, unsigned seed)
{
    *history = (History){.seed = seed, .true_ms = START, .zones = cron_zones_new(8)};
    history->journal = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
    history->runs = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    history->open = g_array_new(FALSE, FALSE, sizeof(int64_t));
    history->eras = g_array_new(FALSE, FALSE, sizeof(Era));
    g_array_set_clear_func(history->eras, era_done);
    take_version(history);
    begin_era(history);
    restart(history);
}

static void history_done(History *history)
{
    schedule_free(history->schedule);
    schedule_free(history->former);
    schedule_state_done(&history->state);
    cron_zones_free(history->zones);
    flow_unref(history->flow);
    g_array_unref(history->journal);
    g_hash_table_unref(history->runs);
    g_array_unref(history->open);
    g_array_unref(history->eras);
}

static void live_through(unsigned seed)
{
    History history;
    history_init(&history, seed);
    while (history.true_ms < START + YEARS_3) {
        run_until(&history, history.true_ms + pick(&history, pick(&history, 4) == 0 ? 30 * DAY : 2 * DAY));
        happen(&history);
        decide_all(&history);
    }
    run_until(&history, history.true_ms + DAY);
    decide_all(&history);
    check_starts(&history);
    check_slots(&history);
    print_message("seed %u: %u decisions, %u runs, %d crashes, %d clock changes, %d versions\n", seed,
                  history.journal->len, g_hash_table_size(history.runs), history.n_crashes, history.n_jumps,
                  history.n_changes);
    history_done(&history);
}

static void no_slot_is_late_where_nothing_stops(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= N_QUIET; seed++) {
        History history;
        history_init(&history, seed);
        history.is_quiet = true;
        run_until(&history, START + 40 * DAY);
        check_starts(&history);
        check_slots(&history);
        check_in_time(&history);
        history_done(&history);
    }
}

static void no_slot_is_started_twice_or_lost(void **state)
{
    (void)state;
    const char *seed = g_getenv("SCHEDULE_SEED");
    unsigned first = seed == NULL ? 1 : (unsigned)g_ascii_strtoull(seed, NULL, 10);
    for (unsigned i = first; i < first + (seed == NULL ? N_HISTORIES : 1); i++) {
        print_message("seed %u\n", i);
        live_through(i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_slot_is_started_twice_or_lost),
                                       cmocka_unit_test(no_slot_is_late_where_nothing_stops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
