/* test_history.c - thousands of random histories of a run, and what must hold in every one of them.
 * A history has an engine that behaves, users who press every button, hand-overs with the abandoned engine talking on, and
 * a log of statuses like Kafka's: duplicated, reordered, polluted, read again from an old offset. FLOWOPS_SEED=<number>
 * replays the history that a failure names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "history.h"

#define N_HISTORIES 3000
#define DEFAULT_SEED 20260131u
#define MAX_STEPS 40

typedef enum {
    MOOD_CALM,  /* in order, each once */
    MOOD_ROUGH, /* duplicates, reorderings, pollution; reading again from an old offset changes nothing */
    MOOD_WILD,  /* members left out at random as well, so that a late status may mean something new */
} Mood;

typedef struct {
    StatusMessage *status;
    bool is_foreign;  /* no engine of the run said it */
    bool is_rejected; /* went to the dead letters */
} LogEntry;

typedef struct {
    CommandKind command;
    int64_t seq;
} Ordered;

typedef struct {
    uint64_t seed;
    Chance chance;
    Mood mood;
    Dialect dialect;
    bool has_positions;
    int32_t partition; /* where what is said goes now */
    int64_t n_in_partition[2];
    int pace; /* percent of the acts that find the clock moved on: the fewer, the more of them share a millisecond */
    int64_t now_ms;
    Run *run;    /* folded from the events as decided */
    Run *mirror; /* folded from their texts: what a restart would read */
    GPtrArray *journal;
    GArray *ordered; /* commands on their way to the engines */
    HistoryEngine *engine, *abandoned;
    int64_t engine_generation;
    GPtrArray *said; /* by engines, not in the log yet */
    GPtrArray *log;  /* LogEntry */
    size_t position, high_water;
    size_t n_forgiven; /* events of statuses that were rejected when they first came */
    bool was_forced;
} World;

#define CHECK(world, condition) \
    do { \
        if (!(condition)) { \
            print_error("%s:%d: %s\n  FLOWOPS_SEED=%" G_GUINT64_FORMAT " replays it\n", __FILE__, __LINE__, \
                        #condition, (world)->seed); \
            print_journal(world); \
            fail(); \
        } \
    } while (0)

static void print_journal(const World *world)
{
    for (size_t i = 0; i < world->journal->len; i++)
        print_error("  %.300s\n", ((GString *)world->journal->pdata[i])->str);
}

/* ---- what holds after every event ---- */

static int progress_of(StepStatus status)
{
    return status == STEP_PENDING ? 0 : status == STEP_RUNNING ? 1 : 2;
}

static bool is_cleared_by_rule(const Run *before, const Event *event)
{
    if (event->type != EVENT_FLOW_STATUS)
        return false;
    if (run_status_is_terminal(event->run_status))
        return true;
    switch (before->pending.command) {
    case COMMAND_START:
    case COMMAND_RESUME:
        return event->run_status == RUN_RUNNING;
    case COMMAND_PAUSE:
        return event->run_status == RUN_PAUSED;
    default:
        return false;
    }
}

static void check_pending(const World *world, const Run *before, const Event *event)
{
    const PendingCommand *now = &world->run->pending;
    bool is_same = now->command == before->pending.command && now->seq == before->pending.seq;
    if (event->type == EVENT_COMMAND_REQUESTED) {
        CHECK(world, now->command == event->command && now->seq == event->seq);
        CHECK(world, strcmp(now->command_id.text, event->command_id.text) == 0);
    } else if (now->command == COMMAND_NONE) {
        CHECK(world, before->pending.command == COMMAND_NONE || is_cleared_by_rule(before, event));
    } else if (!is_same) {
        CHECK(world, event->type == EVENT_HANDED_OVER && now->command == COMMAND_START);
        CHECK(world, before->pending.command == COMMAND_START);
    }
}

static void check_step(const World *world, const StepState *before, const StepState *now, bool had_ended)
{
    const World *w = world;
    CHECK(w, strcmp(before->step_id.text, now->step_id.text) == 0);
    CHECK(w, now->attempt >= before->attempt);
    if (MAX(before->attempt, 1) == now->attempt) {
        CHECK(w, progress_of(now->status) >= progress_of(before->status));
        if (progress_of(before->status) == 2)
            CHECK(w, now->status == before->status && now->completed_at == before->completed_at);
    } else if (had_ended && now->attempt != before->attempt) {
        CHECK(w, !step_status_is_terminal(before->status) && step_status_is_terminal(now->status));
    }
    CHECK(w, (now->status == STEP_PENDING) == (now->attempt == 0));
    CHECK(w, step_status_is_terminal(now->status) == (now->completed_at != INSTANT_NONE));
    CHECK(w, now->error == NULL || strlen(now->error) <= RUN_ERROR_MAX_BYTES);
    CHECK(w, now->outputs_json == NULL || strlen(now->outputs_json) <= STEP_OUTPUTS_MAX_BYTES);
}

static void check_event(const World *world, const Run *before, const Event *event)
{
    const Run *run = world->run;
    CHECK(world, event->seq == before->seq + 1 && run->seq == event->seq);
    if (before->seq == 0)
        return;
    bool had_ended = run_status_is_terminal(before->status);
    if (had_ended) {
        CHECK(world, event->type == EVENT_STEP_STATUS);
        CHECK(world, run->status == before->status && run->completed_at == before->completed_at);
        CHECK(world, run->pending.command == COMMAND_NONE);
    }
    CHECK(world, run->status == before->status || event->type == EVENT_FLOW_STATUS);
    CHECK(world, run->generation >= before->generation && run->updated_at >= before->updated_at);
    check_pending(world, before, event);
    size_t n_open = 0, outputs_size = 0;
    for (size_t i = 0; i < run->n_steps; i++) {
        check_step(world, &before->steps[i], &run->steps[i], had_ended);
        n_open += !step_status_is_terminal(run->steps[i].status);
        outputs_size += run->steps[i].outputs_json != NULL ? strlen(run->steps[i].outputs_json) : 0;
    }
    CHECK(world, n_open == run->n_open_steps && outputs_size == run->outputs_size_bytes);
    CHECK(world, outputs_size <= RUN_OUTPUTS_MAX_BYTES);
    RunPhase phase = !run_status_is_terminal(run->status) ? PHASE_OPEN : n_open > 0 ? PHASE_ENDING : PHASE_SETTLED;
    CHECK(world, run_phase(run) == phase);
}

static GString *detail_of(const Run *run)
{
    GString *text = g_string_new(NULL);
    size_t summary_size = run_encode_detail(run, text);
    g_assert(summary_size < text->len && memcmp(text->str + summary_size, ",\"inputs\"", 9) == 0);
    return text;
}

static void check_same_detail(const World *world, const Run *one, const Run *other)
{
    GString *left = detail_of(one);
    GString *right = detail_of(other);
    CHECK(world, g_string_equal(left, right));
    g_string_free(left, TRUE);
    g_string_free(right, TRUE);
}

/* ---- appending ---- */

static Event *through_text(const World *world, const Event *event)
{
    GString *text = g_string_new(NULL);
    GString *again = g_string_new(NULL);
    event_encode(event, text);
    Event *decoded = event_decode(text->str, text->len, NULL);
    g_ptr_array_add(world->journal, text);
    CHECK(world, decoded != NULL);
    event_encode(decoded, again);
    CHECK(world, g_string_equal(text, again));
    bool is_status = event->type == EVENT_FLOW_STATUS || event->type == EVENT_STEP_STATUS;
    CHECK(world, (event_text_frame_name(text->str, text->len) == NULL) == is_status);
    g_string_free(again, TRUE);
    return decoded;
}

static void append(World *world, const Decision *decision)
{
    for (size_t i = 0; i < decision->n_events; i++) {
        const Event *event = decision->events[i];
        Run *before = run_copy(world->run);
        g_autoptr(Event) decoded = through_text(world, event);
        CHECK(world, run_fold(world->run, event, NULL));
        CHECK(world, run_fold(world->mirror, decoded, NULL));
        check_event(world, before, event);
        check_same_detail(world, world->run, world->mirror);
        if (event->type != EVENT_FLOW_STATUS && event->type != EVENT_STEP_STATUS) {
            Ordered ordered = {.command = event->command, .seq = event->seq};
            g_array_append_val(world->ordered, ordered);
        }
        if (chance_percent(&world->chance, 20)) { /* the copy is as good as the run */
            Run *copy = run_copy(world->run);
            run_free(world->run);
            world->run = copy;
        }
        run_free(before);
    }
}

/* A restart: the journal's texts from the first, each prefix on the way. */
static void check_journal(const World *world)
{
    g_autoptr(Run) run = run_new();
    for (size_t i = 0; i < world->journal->len; i++) {
        GString *text = world->journal->pdata[i];
        g_autoptr(Event) event = event_decode(text->str, text->len, NULL);
        CHECK(world, event != NULL && run_fold(run, event, NULL));
        CHECK(world, run->seq == (int64_t)i + 1);
    }
    check_same_detail(world, run, world->run);
}

/* ---- statuses ---- */

static StatusMessage *status_copy(const World *world, const StatusMessage *status)
{
    GString *text = g_string_new(NULL);
    GString *again = g_string_new(NULL);
    status_message_encode(status, text);
    StatusMessage *copy = status_message_decode(text->str, text->len, NULL);
    CHECK(world, copy != NULL);
    status_message_encode(copy, again);
    if (status->outputs_json == NULL) /* outputs are normalised once */
        CHECK(world, g_string_equal(text, again));
    g_string_free(text, TRUE);
    g_string_free(again, TRUE);
    return copy;
}

static void write_to_log(World *world, const StatusMessage *status, bool is_foreign)
{
    LogEntry *entry = g_new0(LogEntry, 1);
    entry->status = status_copy(world, status);
    entry->is_foreign = is_foreign;
    if (world->has_positions) {
        if (world->mood != MOOD_CALM && chance_percent(&world->chance, 20)) /* order is of one partition only */
            world->partition = 1 - world->partition;
        entry->status->origin = (Origin){.topic = g_strdup("execution.status"),
                                         .partition = world->partition,
                                         .offset = world->n_in_partition[world->partition]++};
    }
    g_ptr_array_add(world->log, entry);
}

/* Moves what engines said into the log; producers may swap and repeat. */
static void produce(World *world)
{
    if (world->said->len == 0)
        return;
    bool swaps = world->mood == MOOD_WILD || (world->mood == MOOD_ROUGH && world->dialect == DIALECT_OURS);
    size_t at = swaps && chance_percent(&world->chance, 20)
                    ? (size_t)chance_below(&world->chance, MIN(world->said->len, 4))
                    : 0;
    StatusMessage *status = g_ptr_array_steal_index(world->said, (guint)at);
    write_to_log(world, status, false);
    if (world->mood != MOOD_CALM && chance_percent(&world->chance, 10))
        write_to_log(world, status, false);
    status_message_free(status);
}

static void pollute(World *world)
{
    Chance *chance = &world->chance;
    bool leaves_out = world->mood == MOOD_WILD;
    StatusMessage status = {.kind = chance_percent(chance, 50) ? STATUS_FLOW : STATUS_STEP};
    status.run_id = world->run->id;
    status.flow_id = world->run->flow_id;
    status.timestamp = world->now_ms + chance_below(chance, 4000) - 2000;
    status.generation = chance_below(chance, world->run->generation + 2);
    status.attempt = chance_below(chance, 5);
    if (!leaves_out) {
        status.generation = MAX(status.generation, 1);
        status.attempt = MAX(status.attempt, 1);
    }
    status.run_status = (RunStatus)chance_below(chance, RUN_STOPPED + 1);
    if (run_status_is_terminal(status.run_status) && chance_percent(chance, 80))
        status.run_status = RUN_RUNNING; /* else most histories end at once */
    status.step_status = (StepStatus)chance_below(chance, STEP_CANCELLED + 1);
    if (world->run->n_steps > 0 && chance_percent(chance, 90))
        status.step_id = world->run->steps[chance_below(chance, (int64_t)world->run->n_steps)].step_id;
    else
        status.step_id = id_make(world->now_ms);
    if (chance_percent(chance, 10))
        status.flow_id = id_make(world->now_ms);
    g_autofree char *error = chance_percent(chance, 5) ? g_strnfill(RUN_ERROR_MAX_BYTES + 10, 'e') : NULL;
    g_autofree char *outputs = NULL;
    if (chance_percent(chance, 5)) {
        g_autofree char *filler = g_strnfill((gsize)chance_below(chance, 80000), 'o');
        outputs = g_strconcat("{\"o\":\"", filler, "\"}", NULL);
    }
    status.error = error;
    status.outputs_json = outputs;
    write_to_log(world, &status, true);
}

static void consume(World *world)
{
    if (world->position == world->log->len)
        return;
    LogEntry *entry = world->log->pdata[world->position];
    bool is_repeat = world->position < world->high_water;
    g_autoptr(Decision) decision = decide_status(world->run, entry->status);
    g_autoptr(Decision) restarted = decide_status(world->mirror, entry->status);
    CHECK(world, restarted->kind == decision->kind && g_strcmp0(restarted->reason, decision->reason) == 0);
    switch (decision->kind) {
    case DECISION_REJECT:
        CHECK(world, entry->is_foreign && decision->reason != NULL);
        entry->is_rejected = true;
        break;
    case DECISION_NOTHING:
        CHECK(world, decision->reason != NULL);
        break;
    case DECISION_APPEND:
        /* A rejected one may become acceptable when its generation is handed out. */
        CHECK(world, !is_repeat || entry->is_rejected || world->mood == MOOD_WILD);
        CHECK(world, decision->n_events == 1);
        world->n_forgiven += entry->is_rejected;
        append(world, decision);
        g_autoptr(Decision) again = decide_status(world->run, entry->status);
        CHECK(world, again->kind == DECISION_NOTHING);
        break;
    }
    world->position++;
    world->high_water = MAX(world->high_water, world->position);
}

/* ---- users and the service ---- */

static void press(World *world, CommandKind command, bool is_forced)
{
    CommandRequest request = {.command = command, .is_forced = is_forced, .now_ms = world->now_ms};
    request.command_id = id_make(world->now_ms);
    request.requested_by = world->run->owner;
    g_autoptr(Decision) decision = decide_command(world->run, &request);
    if (decision->kind == DECISION_REJECT)
        CHECK(world, strstr(decision->reason, run_status_name(world->run->status)) != NULL);
    if (decision->kind != DECISION_APPEND)
        return;
    CHECK(world, decision->n_events == 1 || is_forced);
    append(world, decision);
    world->was_forced = world->was_forced || decision->events[0]->type == EVENT_FLOW_STATUS;
    if (world->was_forced)
        CHECK(world, run_phase(world->run) == PHASE_SETTLED && strcmp(world->run->error, "forced") == 0);
    g_autoptr(Decision) again = decide_command(world->run, &request);
    CHECK(world, again->kind == DECISION_NOTHING);
}

static void hand_over(World *world)
{
    Id command_id = id_make(world->now_ms);
    g_autoptr(Decision) decision = decide_hand_over(world->run, NULL, &command_id, world->now_ms);
    CHECK(world, (decision->kind == DECISION_NOTHING) == run_status_is_terminal(world->run->status));
    if (decision->kind == DECISION_APPEND)
        append(world, decision);
}

/* START of a generation the engine has makes it ignore the message; a higher one begins anew and leaves the old engine
 * talking to nobody. A command that was pending at a hand-over is said again after it. */
static void deliver_start(World *world)
{
    const Run *run = world->run;
    if (world->engine != NULL && world->engine_generation >= run->generation)
        return;
    history_engine_free(world->abandoned);
    world->abandoned = world->engine;
    world->engine = history_engine_new(world->dialect, run);
    world->engine_generation = run->generation;
    history_engine_command(world->engine, COMMAND_START, world->now_ms, world->said);
    CommandKind pending = run->pending.command;
    if (pending != COMMAND_NONE && pending != COMMAND_START && run->pending.seq < run->handed_over_seq)
        history_engine_command(world->engine, pending, world->now_ms, world->said);
}

static void deliver_command(World *world)
{
    if (world->ordered->len == 0)
        return;
    Ordered ordered = g_array_index(world->ordered, Ordered, 0);
    g_array_remove_index(world->ordered, 0);
    if (ordered.seq < world->run->handed_over_seq || run_status_is_terminal(world->run->status))
        return;
    if (ordered.command == COMMAND_START) {
        deliver_start(world);
        return;
    }
    history_engine_command(world->engine, ordered.command, world->now_ms, world->said);
    if (world->abandoned != NULL && chance_percent(&world->chance, 50))
        history_engine_command(world->abandoned, ordered.command, world->now_ms, world->said);
}

/* ---- a history ---- */

static Decision *create(World *world)
{
    static const Step no_step;
    Step steps[MAX_STEPS];
    const Step *flat[MAX_STEPS];
    size_t n_steps = (size_t)(chance_percent(&world->chance, 5) ? MAX_STEPS : chance_below(&world->chance, 8));
    for (size_t i = 0; i < n_steps; i++) {
        steps[i] = no_step;
        steps[i].step_id = id_make(world->now_ms);
        flat[i] = &steps[i];
    }
    Flow flow = {.version = 3, .flat = flat, .n_flat = n_steps};
    flow.id = id_make(world->now_ms);
    flow.owner = id_make(world->now_ms);
    TextMap labels = {0}, inputs = {0};
    text_map_add(&labels, "team", "blau\u00fc\"\\");
    text_map_add(&inputs, "", "\t\x01");
    RunRequest request = {
        .flow = &flow, .triggered_by = "system", .labels = &labels, .inputs = &inputs, .now_ms = world->now_ms};
    request.run_id = id_make(world->now_ms);
    request.command_id = id_make(world->now_ms);
    request.request_digest = chance_percent(&world->chance, 50) ? "c0ffee" : NULL;
    Decision *decision = decide_create(&request);
    text_map_done(&labels);
    text_map_done(&inputs);
    return decision;
}

static void free_entry(void *item)
{
    LogEntry *entry = item;
    status_message_free(entry->status);
    g_free(entry);
}

static void free_status(void *item)
{
    status_message_free(item);
}

static void free_text(void *item)
{
    g_string_free(item, TRUE);
}

static World *world_new(uint64_t seed)
{
    World *world = g_new0(World, 1);
    world->seed = world->chance.state = seed;
    world->mood = (Mood)chance_below(&world->chance, 3);
    world->dialect = chance_percent(&world->chance, 60) ? DIALECT_OURS : DIALECT_BARE;
    world->has_positions = world->mood != MOOD_CALM || chance_percent(&world->chance, 50);
    world->pace = chance_percent(&world->chance, 50) ? 60 : 5;
    world->now_ms = 1769850000000 + chance_below(&world->chance, 1000);
    world->run = run_new();
    world->mirror = run_new();
    world->journal = g_ptr_array_new_with_free_func(free_text);
    world->ordered = g_array_new(FALSE, FALSE, sizeof(Ordered));
    world->said = g_ptr_array_new_with_free_func(free_status);
    world->log = g_ptr_array_new_with_free_func(free_entry);
    g_autoptr(Decision) decision = create(world);
    append(world, decision);
    return world;
}

static void world_free(World *world)
{
    run_free(world->run);
    run_free(world->mirror);
    g_ptr_array_free(world->journal, TRUE);
    g_array_free(world->ordered, TRUE);
    g_ptr_array_free(world->said, TRUE);
    g_ptr_array_free(world->log, TRUE);
    history_engine_free(world->engine);
    history_engine_free(world->abandoned);
    g_free(world);
}

static void act(World *world)
{
    Chance *chance = &world->chance;
    bool is_calm = world->mood == MOOD_CALM;
    int64_t roll = chance_below(chance, 100);
    if (chance_percent(chance, world->pace))
        world->now_ms += chance_below(chance, 20); /* else the same millisecond */
    if (roll < 25)
        deliver_command(world);
    else if (roll < 45 && world->engine != NULL)
        history_engine_work(world->engine, chance, world->now_ms, world->said);
    else if (roll < 48 && world->abandoned != NULL && world->dialect == DIALECT_OURS)
        history_engine_work(world->abandoned, chance, world->now_ms, world->said);
    else if (roll < 62)
        produce(world);
    else if (roll < 80)
        consume(world);
    else if (roll < 84)
        press(world, chance_percent(chance, 60) ? COMMAND_PAUSE : COMMAND_RESUME, false);
    else if (roll < 88)
        press(world, COMMAND_RESUME, false);
    else if (roll < 89)
        press(world, COMMAND_STOP, chance_percent(chance, 50));
    else if (roll < 91 && world->dialect == DIALECT_OURS)
        hand_over(world);
    else if (roll < 92)
        world->now_ms += FORCE_STOP_AFTER_MS;
    else if (roll < 95 && !is_calm && world->dialect == DIALECT_OURS)
        pollute(world);
    else if (roll < 97 && !is_calm)
        world->position = (size_t)chance_below(chance, (int64_t)world->position + 1);
}

/* Everybody goes on in good order until nothing is left to do. */
static void drain(World *world)
{
    for (int i = 0; i < 2000; i++) {
        world->now_ms += 2;
        deliver_command(world);
        if (world->engine != NULL)
            history_engine_work(world->engine, &world->chance, world->now_ms, world->said);
        produce(world);
        while (world->position < world->log->len)
            consume(world);
        if (run_status_is_terminal(world->run->status) && world->said->len == 0)
            return;
        if (world->run->status == RUN_PAUSED)
            press(world, COMMAND_RESUME, false);
    }
}

static void settle(World *world)
{
    g_autoptr(Decision) decision = decide_settle(world->run, world->now_ms);
    CHECK(world, (decision->kind == DECISION_APPEND) == (run_phase(world->run) == PHASE_ENDING));
    append(world, decision);
    if (run_status_is_terminal(world->run->status))
        CHECK(world, run_phase(world->run) == PHASE_SETTLED);
}

/* Reading the whole log again leaves the journal as it is. */
static void check_replay(World *world)
{
    size_t n_events = world->journal->len - world->n_forgiven;
    world->position = 0;
    while (world->position < world->log->len)
        consume(world);
    CHECK(world, world->mood == MOOD_WILD || world->journal->len == n_events + world->n_forgiven);
}

static void run_history(uint64_t seed)
{
    World *world = world_new(seed);
    int64_t n_acts = chance_below(&world->chance, 160);
    for (int64_t i = 0; i < n_acts; i++)
        act(world);
    drain(world);
    if (world->mood == MOOD_CALM) { /* nothing in the way: the run tells what the engine did */
        CHECK(world, run_phase(world->run) == PHASE_SETTLED);
        if (!world->was_forced)
            CHECK(world, world->run->status == history_engine_outcome(world->engine));
    }
    if (world->has_positions && run_status_is_terminal(world->run->status))
        check_replay(world);
    settle(world);
    check_journal(world);
    world_free(world);
}

static void test_random_histories(void **state)
{
    (void)state;
    const char *chosen = getenv("FLOWOPS_SEED");
    if (chosen != NULL) {
        run_history(g_ascii_strtoull(chosen, NULL, 10));
        return;
    }
    Chance seeds = {.state = DEFAULT_SEED};
    for (int i = 0; i < N_HISTORIES; i++)
        run_history(chance_next(&seeds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_histories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
