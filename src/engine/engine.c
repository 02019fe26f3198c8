/* engine.c - the thread around the runs. The pump (engine_pump.c) polls the bus and pushes into one bounded inbox; the engine
 * thread owns every run, attempt and timer, and publishes the statuses of a turn together. When the bus has no room for
 * statuses the engine thread waits, the inbox fills and the pump stops polling: nothing piles up here.
 * There is no caller to return the trouble of this thread to, so unlike other lower layers this file logs it. */
#include "engine/engine.h"

#include <string.h>

#include "base/log.h"
#include "base/queue.h"
#include "base/thread.h"
#include "domain/message.h"
#include "engine/attempt_internal.h"
#include "engine/ended_runs.h"
#include "engine/engine_pump.h"
#include "engine/engine_run.h"

#define PUBLISH_WAIT_MS 1000 /* how long an engine thread that finds no room takes to notice a stop */
#define LAST_WORDS_MS 3000   /* at a stop: what was said has this long to be on the bus for good */
#define BUS_RETRY_MS 200     /* between tries while the bus is not there */
#define BUS_DOWN_TRIES 25    /* tries before it is worth a line in the log: a shutdown looks the same for a moment */

#define INBOX_MAX_ITEMS 4096
#define INBOX_MAX_BYTES (64 * 1024 * 1024)
#define INBOX_BATCH 256

#define OUT_MAX_MESSAGES 1024 /* statuses gathered before they are published though the turn is not over */
#define OUT_MAX_BYTES (4 * 1024 * 1024)
#define TURN_MAX_ENDINGS 1024 /* endings handled before timers and the inbox get their turn */
#define ENDED_RUNS_REMEMBERED 10000
#define LISTED_PARTITIONS 100

struct Engine {
    Bus *bus;
    const Clock *clock;
    Id id;
    Pump *pump;
    Thread *thread;
    Queue *inbox;
    Bell bell;        /* closed to end a wait for the bus */
    bool is_stopping; /* atomic */

    /* engine thread */
    pthread_t self;
    RunPort port;
    AttemptHost host;
    GHashTable *runs;     /* run id -> EngineRun */
    int64_t announced_at; /* of the last announcement */
    EndedRuns *ended;
    GPtrArray *to_free;                  /* runs that ended in this input */
    Attempt *first_ending, *last_ending; /* attempts that ended on this thread */
    size_t n_attempts;
    GPtrArray *out; /* statuses of this turn */
    size_t out_bytes;
    GString *text; /* scratch */
    int64_t n_done;

    /* atomic copies, for engine_load() */
    size_t n_runs_seen, n_attempts_seen;
    int64_t n_done_seen;
};

static bool is_stopping(Engine *engine)
{
    return __atomic_load_n(&engine->is_stopping, __ATOMIC_ACQUIRE);
}

/* ---- statuses out ---- */

static void note_bus(const char *what, int *n_failures, const GError *error)
{
    if (error != NULL && ++*n_failures == BUS_DOWN_TRIES)
        log_error(LOG_WARNING, what, error, NULL);
    else if (error == NULL && *n_failures >= BUS_DOWN_TRIES)
        log_event(LOG_INFO, "the engine's bus is back", NULL);
    if (error == NULL)
        *n_failures = 0;
}

/* Publishes what was gathered, in order, however long it takes; only a stop gives up. */
static void flush(Engine *engine)
{
    GPtrArray *out = engine->out;
    int n_failures = 0;
    for (size_t done = 0; done < out->len;) {
        g_autoptr(GError) error = NULL;
        size_t n = 0;
        bool is_ok = bus_publish_statuses(engine->bus, (BusMessage *const *)out->pdata + done, out->len - done,
                                          PUBLISH_WAIT_MS, &n, &error);
        done += n;
        if (is_ok || is_stopping(engine))
            break;
        if (!flowops_error_is_retryable(error)) {
            log_error(LOG_ERROR, "a status could not be published", error, NULL);
            done++;
        } else if (!g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_BUSY)) {
            note_bus("statuses cannot be published", &n_failures, error);
            bell_wait(&engine->bell, BUS_RETRY_MS);
        }
    }
    note_bus(NULL, &n_failures, NULL);
    g_ptr_array_set_size(out, 0);
    engine->out_bytes = 0;
}

static void send(Engine *engine, const StatusMessage *status, const char *key)
{
    g_string_truncate(engine->text, 0);
    status_message_encode(status, engine->text);
    g_assert(engine->text->len <= BUS_MAX_MESSAGE_BYTES); /* outputs and error were cut to far less */
    g_ptr_array_add(engine->out, bus_message_new(key, engine->text->str, engine->text->len));
    engine->out_bytes += engine->text->len;
    if (engine->out->len >= OUT_MAX_MESSAGES || engine->out_bytes >= OUT_MAX_BYTES)
        flush(engine);
}

static void publish(const StatusMessage *status, void *arg)
{
    Engine *engine = arg;
    if (status->kind == STATUS_STEP && step_status_is_terminal(status->step_status))
        engine->n_done++;
    send(engine, status, status->run_id.text);
}

/* Says that these command partitions are the engine's now; the service hands their unfinished runs over. What is not later than
 * an engine's last announcement is taken for an old one: their times grow, whatever the clock does. */
static void announce(Engine *engine, const GArray *partitions)
{
    for (guint i = 0; i < partitions->len; i += COMMAND_PARTITIONS_MAX) {
        engine->announced_at = MAX(clock_wall_ms(engine->clock), engine->announced_at + 1);
        StatusMessage status = {
            .kind = STATUS_ENGINE,
            .engine_id = engine->id,
            .timestamp = engine->announced_at,
            .command_partitions = &g_array_index(partitions, int32_t, i),
            .n_command_partitions = MIN(partitions->len - i, COMMAND_PARTITIONS_MAX),
        };
        send(engine, &status, engine->id.text);
    }
}

/* ---- attempts ---- */

/* On the engine thread the ending waits for the current input to be finished with; from elsewhere it comes by the inbox,
 * which the engine thread never stops emptying while attempts are out. */
static void deliver(Attempt *attempt, void *arg)
{
    Engine *engine = arg;
    if (!pthread_equal(pthread_self(), engine->self)) {
        InboxItem *item = g_new0(InboxItem, 1);
        item->attempt = attempt;
        size_t weight = attempt->outputs_json != NULL ? strlen(attempt->outputs_json) : 0;
        QueueResult result = queue_push(engine->inbox, item, sizeof *item + weight, -1);
        g_assert(result == QUEUE_OK);
        return;
    }
    attempt->next = NULL;
    if (engine->last_ending != NULL)
        engine->last_ending->next = attempt;
    else
        engine->first_ending = attempt;
    engine->last_ending = attempt;
}

static Attempt *take_ending(Engine *engine)
{
    Attempt *attempt = engine->first_ending;
    if (attempt == NULL)
        return NULL;
    engine->first_ending = attempt->next;
    if (engine->first_ending == NULL)
        engine->last_ending = NULL;
    return attempt;
}

static void *start_attempt(EngineRun *run, size_t step, const Plugin *plugin, TextMap inputs, int64_t number, void *arg)
{
    Engine *engine = arg;
    Attempt *attempt = attempt_new(&engine->host, plugin, inputs, number, run, step);
    engine->n_attempts++;
    attempt_start(attempt);
    return attempt;
}

static void cancel_attempt(void *attempt, void *arg)
{
    Engine *engine = arg;
    if (attempt_cancel(attempt))
        engine->n_attempts--;
}

static void note_ended(EngineRun *run, void *arg)
{
    g_ptr_array_add(((Engine *)arg)->to_free, run);
}

/* ---- inputs ---- */

/* After every input, so that nobody meets a run that has ended. */
static void forget_ended(Engine *engine)
{
    for (size_t i = 0; i < engine->to_free->len; i++) {
        EngineRun *run = engine->to_free->pdata[i];
        ended_runs_note(engine->ended, engine_run_id(run), engine_run_generation(run), engine_run_started_at(run));
        g_hash_table_remove(engine->runs, engine_run_id(run)->text);
        engine_run_free(run);
    }
    g_ptr_array_set_size(engine->to_free, 0);
}

/* START is repeated when its answer was slow, and comes with a higher generation when the run is handed over. */
static void handle_start(Engine *engine, CommandMessage *command, int32_t partition)
{
    EngineRun *known = g_hash_table_lookup(engine->runs, command->run_id.text);
    bool is_repeat = known != NULL
                         ? command->generation <= engine_run_generation(known)
                         : ended_runs_has(engine->ended, &command->run_id, command->generation, command->timestamp);
    if (is_repeat)
        return;
    if (known != NULL) {
        g_hash_table_remove(engine->runs, command->run_id.text);
        engine_run_free(known);
    }
    EngineRun *run = engine_run_new(command, partition, &engine->port);
    g_hash_table_insert(engine->runs, (void *)engine_run_id(run)->text, run);
}

static void handle_command(Engine *engine, CommandMessage *command, int32_t partition)
{
    if (command->command == COMMAND_START) {
        handle_start(engine, command, partition);
    } else {
        /* Order is kept per run, so a run that is not known here has ended, or is another engine's. */
        EngineRun *run = g_hash_table_lookup(engine->runs, command->run_id.text);
        if (run != NULL)
            engine_run_command(run, command);
    }
    command_message_free(command);
    forget_ended(engine);
}

static void handle_ending(Engine *engine, Attempt *attempt)
{
    engine->n_attempts--;
    if (attempt->run != NULL)
        engine_run_attempt_done(attempt->run, attempt->step, g_steal_pointer(&attempt->outputs_json),
                                g_steal_pointer(&attempt->error));
    attempt_free(attempt);
    forget_ended(engine);
}

/* ---- partitions ---- */

static bool is_of(const EngineRun *run, GHashTable *partitions)
{
    return g_hash_table_contains(partitions, GINT_TO_POINTER(engine_run_partition(run)));
}

/* Attempts of these partitions' runs that have ended are said, and nothing new begins in these runs; the others wait. */
static void report_endings_of(Engine *engine, GHashTable *partitions)
{
    size_t max_parallel_steps = engine->port.max_parallel_steps;
    engine->port.max_parallel_steps = 0;
    Attempt *next = g_steal_pointer(&engine->first_ending);
    engine->last_ending = NULL;
    while (next != NULL) {
        Attempt *attempt = next;
        next = attempt->next;
        if (attempt->run != NULL && is_of(attempt->run, partitions))
            handle_ending(engine, attempt);
        else
            deliver(attempt, engine);
    }
    engine->port.max_parallel_steps = max_parallel_steps;
}

/* Without a word: whoever has the partitions now is handed their runs. */
static size_t abandon(Engine *engine, const GArray *lost)
{
    g_autoptr(GHashTable) partitions = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < lost->len; i++)
        g_hash_table_add(partitions, GINT_TO_POINTER(g_array_index(lost, int32_t, i)));
    report_endings_of(engine, partitions);
    size_t n_abandoned = 0;
    GHashTableIter iter;
    void *run;
    g_hash_table_iter_init(&iter, engine->runs);
    while (g_hash_table_iter_next(&iter, NULL, &run)) {
        if (!is_of(run, partitions))
            continue;
        g_hash_table_iter_steal(&iter);
        engine_run_free(run);
        n_abandoned++;
    }
    return n_abandoned;
}

/* "0,2,5", cut to what a line of a log should carry. */
static char *list_partitions(const GArray *partitions)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < partitions->len && i < LISTED_PARTITIONS; i++)
        g_string_append_printf(text, "%s%d", i > 0 ? "," : "", g_array_index(partitions, int32_t, i));
    if (partitions->len > LISTED_PARTITIONS)
        g_string_append_printf(text, ",... (%u in all)", partitions->len);
    return g_string_free(text, FALSE);
}

/* Lost ones first: one that was lost and came back is in both. */
static void handle_partitions(Engine *engine, const BusPartitions *partitions)
{
    if (partitions->lost->len > 0) {
        g_autofree char *n_runs = g_strdup_printf("%zu", abandon(engine, partitions->lost));
        g_autofree char *list = list_partitions(partitions->lost);
        log_event(LOG_INFO, "command partitions lost", "partitions", list, "runsAbandoned", n_runs, NULL);
    }
    if (partitions->gained->len > 0) {
        announce(engine, partitions->gained);
        g_autofree char *list = list_partitions(partitions->gained);
        log_event(LOG_INFO, "command partitions gained", "partitions", list, NULL);
    }
}

/* ---- the engine thread ---- */

static int64_t wait_ms(Engine *engine)
{
    if (engine->first_ending != NULL)
        return 0;
    int64_t next_at = timers_next_at(engine->port.timers);
    if (next_at == INT64_MAX)
        return -1;
    return MAX(0, next_at - clock_monotonic_ms(engine->clock));
}

static void show_load(Engine *engine)
{
    __atomic_store_n(&engine->n_runs_seen, g_hash_table_size(engine->runs), __ATOMIC_RELAXED);
    __atomic_store_n(&engine->n_attempts_seen, engine->n_attempts, __ATOMIC_RELAXED);
    __atomic_store_n(&engine->n_done_seen, engine->n_done, __ATOMIC_RELAXED);
}

/* Takes what is in the inbox; false when the item that says stop was there. */
static bool take_inbox(Engine *engine, int64_t timeout_ms)
{
    InboxItem *items[INBOX_BATCH];
    size_t n = 0;
    bool goes_on = true;
    if (queue_pop(engine->inbox, (void **)items, INBOX_BATCH, timeout_ms, &n) != QUEUE_OK)
        return true;
    for (size_t i = 0; i < n; i++) {
        InboxItem *item = items[i];
        if (item->command != NULL)
            handle_command(engine, g_steal_pointer(&item->command), item->partition);
        else if (item->partitions != NULL)
            handle_partitions(engine, item->partitions);
        else if (item->attempt != NULL)
            handle_ending(engine, item->attempt);
        else
            goes_on = false;
        inbox_item_free(item);
    }
    return goes_on;
}

static void take_endings(Engine *engine, size_t max)
{
    for (size_t i = 0; i < max && engine->first_ending != NULL; i++)
        handle_ending(engine, take_ending(engine));
}

/* No word about what still runs: the service hands it over. Attempts that have ended on another thread are waited for. */
static void abandon_all(Engine *engine)
{
    GHashTableIter iter;
    void *run;
    g_hash_table_iter_init(&iter, engine->runs);
    while (g_hash_table_iter_next(&iter, NULL, &run)) {
        g_hash_table_iter_steal(&iter);
        engine_run_free(run);
    }
    while (engine->n_attempts > 0) {
        take_endings(engine, SIZE_MAX);
        if (engine->n_attempts > 0)
            (void)take_inbox(engine, -1);
    }
}

/* What has ended already is said, so that nobody does it again; nothing new begins. */
static void report_last_endings(Engine *engine)
{
    engine->port.max_parallel_steps = 0;
    take_endings(engine, SIZE_MAX);
    flush(engine);
}

/* Statuses are accepted while this process lives: before it ends they must have arrived. */
static void wait_for_arrival(Engine *engine)
{
    g_autoptr(GError) error = NULL;
    if (!bus_flush_statuses(engine->bus, LAST_WORDS_MS, &error))
        log_error(LOG_WARNING, "what the engine said last may not have arrived: steps may run again", error, NULL);
}

static void engine_main(void *arg)
{
    Engine *engine = arg;
    engine->self = pthread_self();
    bool goes_on = true;
    while (goes_on) {
        goes_on = take_inbox(engine, wait_ms(engine));
        take_endings(engine, TURN_MAX_ENDINGS);
        timers_fire_due(engine->port.timers, clock_monotonic_ms(engine->clock));
        forget_ended(engine);
        show_load(engine); /* first: who has seen a run's last status sees a load without it */
        flush(engine);
    }
    report_last_endings(engine);
    abandon_all(engine);
    wait_for_arrival(engine);
    show_load(engine);
}

/* ---- life ---- */

static void free_inbox_item(void *item)
{
    inbox_item_free(item);
}

static void free_message(void *message)
{
    bus_message_free(message);
}

static Engine *engine_new(Bus *bus, const Clock *clock, const EngineOptions *options)
{
    Engine *engine = g_new0(Engine, 1);
    engine->bus = bus;
    engine->clock = clock;
    engine->id = id_make(clock_wall_ms(clock));
    engine->inbox = queue_new("engine.inbox", INBOX_MAX_ITEMS, INBOX_MAX_BYTES, free_inbox_item);
    bell_init(&engine->bell);
    engine->port = (RunPort){
        .clock = clock,
        .timers = timers_new(),
        .random = g_rand_new(),
        .definitions = definitions_new(),
        .max_parallel_steps = options->max_parallel_steps,
        .publish = publish,
        .start_attempt = start_attempt,
        .cancel_attempt = cancel_attempt,
        .ended = note_ended,
        .arg = engine,
    };
    engine->host = (AttemptHost){.clock = clock, .timers = engine->port.timers, .deliver = deliver, .arg = engine};
    engine->runs = g_hash_table_new(g_str_hash, g_str_equal);
    engine->ended = ended_runs_new(ENDED_RUNS_REMEMBERED);
    engine->to_free = g_ptr_array_new();
    engine->out = g_ptr_array_new_with_free_func(free_message);
    engine->text = g_string_new(NULL);
    return engine;
}

static void engine_free(Engine *engine)
{
    queue_free(engine->inbox);
    bell_done(&engine->bell);
    g_hash_table_destroy(engine->runs);
    g_ptr_array_free(engine->to_free, TRUE);
    g_ptr_array_free(engine->out, TRUE);
    g_string_free(engine->text, TRUE);
    ended_runs_free(engine->ended);
    definitions_free(engine->port.definitions);
    timers_free(engine->port.timers);
    g_rand_free(engine->port.random);
    g_free(engine);
}

Engine *engine_start(Bus *bus, const Clock *clock, const EngineOptions *options, GError **error)
{
    g_assert(bus != NULL && clock != NULL && options->max_parallel_steps > 0);
    Engine *engine = engine_new(bus, clock, options);
    engine->thread = thread_start("engine", ROLE_ENGINE, engine_main, engine, error);
    if (engine->thread == NULL) {
        engine_free(engine);
        return NULL;
    }
    engine->pump = pump_start(bus, clock, engine->inbox, error);
    if (engine->pump == NULL) {
        engine_stop(engine);
        return NULL;
    }
    return engine;
}

/* First the pump, so that nothing comes after the item that says stop. */
void engine_stop(Engine *engine)
{
    if (engine == NULL)
        return;
    __atomic_store_n(&engine->is_stopping, true, __ATOMIC_RELEASE);
    bell_close(&engine->bell);
    pump_stop(engine->pump);
    QueueResult result = queue_push(engine->inbox, g_new0(InboxItem, 1), sizeof(InboxItem), -1);
    g_assert(result == QUEUE_OK);
    thread_join(engine->thread);
    engine_free(engine);
}

EngineLoad engine_load(Engine *engine)
{
    return (EngineLoad){
        .n_runs = __atomic_load_n(&engine->n_runs_seen, __ATOMIC_RELAXED),
        .n_steps_running = __atomic_load_n(&engine->n_attempts_seen, __ATOMIC_RELAXED),
        .n_steps_done = __atomic_load_n(&engine->n_done_seen, __ATOMIC_RELAXED),
    };
}
