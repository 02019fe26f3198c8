/* engine.c - the threads around the runs. The pump polls the bus, decodes and pushes into one bounded inbox; the engine
 * thread owns every run, attempt and timer, and publishes the statuses of a turn together. When the bus has no room for
 * statuses the engine thread waits, the inbox fills and the pump stops polling: nothing piles up here.
 * There is no caller to return the trouble of these threads to, so unlike other lower layers this file logs it. */
#include "engine/engine.h"

#include <string.h>

#include "base/log.h"
#include "base/queue.h"
#include "base/thread.h"
#include "domain/message.h"
#include "engine/attempt_internal.h"
#include "engine/ended_runs.h"
#include "engine/engine_run.h"

#define POLL_BATCH 256
#define POLL_WAIT_MS 1000    /* how long a pump without work takes to notice a stop, if the bus was not shut down */
#define PUBLISH_WAIT_MS 1000 /* the same for an engine thread that finds no room */
#define BUS_RETRY_MS 200     /* between tries while the bus is not there */
#define BUS_DOWN_TRIES 25    /* tries before it is worth a line in the log: a shutdown looks the same for a moment */

#define INBOX_MAX_ITEMS 4096
#define INBOX_MAX_BYTES (64 * 1024 * 1024)
#define DECODED_FACTOR 4 /* a decoded command against its text */

#define OUT_MAX_MESSAGES 1024 /* statuses gathered before they are published though the turn is not over */
#define OUT_MAX_BYTES (4 * 1024 * 1024)
#define TURN_MAX_ENDINGS 1024 /* endings handled before timers and the inbox get their turn */
#define ENDED_RUNS_REMEMBERED 10000

/* One of the two, or neither: then the engine is to stop. */
typedef struct {
    CommandMessage *command;
    Attempt *attempt;
} InboxItem;

struct Engine {
    Bus *bus;
    const Clock *clock;
    Id id;
    Thread *pump;
    Thread *thread;
    Queue *inbox;
    Bell pump_bell, engine_bell; /* closed to end a wait for the bus */
    bool is_stopping;            /* atomic */

    /* engine thread */
    pthread_t self;
    RunPort port;
    AttemptHost host;
    GHashTable *runs; /* run id -> EngineRun */
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
            bell_wait(&engine->engine_bell, BUS_RETRY_MS);
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

static void announce(Engine *engine)
{
    StatusMessage status = {
        .kind = STATUS_ENGINE,
        .engine_id = engine->id,
        .timestamp = clock_wall_ms(engine->clock),
    };
    send(engine, &status, engine->id.text);
    flush(engine);
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
        ended_runs_note(engine->ended, engine_run_id(run), engine_run_generation(run));
        g_hash_table_remove(engine->runs, engine_run_id(run)->text);
        engine_run_free(run);
    }
    g_ptr_array_set_size(engine->to_free, 0);
}

/* START is repeated when its answer was slow, and comes with a higher generation when the run is handed over. */
static void handle_start(Engine *engine, CommandMessage *command)
{
    EngineRun *known = g_hash_table_lookup(engine->runs, command->run_id.text);
    int64_t generation =
        known != NULL ? engine_run_generation(known) : ended_runs_generation(engine->ended, &command->run_id);
    if (command->generation <= generation)
        return;
    if (known != NULL) {
        g_hash_table_remove(engine->runs, command->run_id.text);
        engine_run_free(known);
    }
    EngineRun *run = engine_run_new(command, &engine->port);
    g_hash_table_insert(engine->runs, (void *)engine_run_id(run)->text, run);
}

static void handle_command(Engine *engine, CommandMessage *command)
{
    if (command->command == COMMAND_START) {
        handle_start(engine, command);
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
    InboxItem *items[POLL_BATCH];
    size_t n = 0;
    bool goes_on = true;
    if (queue_pop(engine->inbox, (void **)items, POLL_BATCH, timeout_ms, &n) != QUEUE_OK)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (items[i]->command != NULL)
            handle_command(engine, items[i]->command);
        else if (items[i]->attempt != NULL)
            handle_ending(engine, items[i]->attempt);
        else
            goes_on = false;
        g_free(items[i]);
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

static void engine_main(void *arg)
{
    Engine *engine = arg;
    engine->self = pthread_self();
    announce(engine);
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
    show_load(engine);
}

/* ---- the pump ---- */

/* Pushing waits for the engine thread, which empties the inbox until it is told to stop, after the pump has ended. */
static void push_command(Engine *engine, const BusMessage *message)
{
    g_autoptr(GError) error = NULL;
    CommandMessage *command = command_message_decode(message->value, message->value_size, &error);
    if (command == NULL) {
        log_error(LOG_WARNING, "a command could not be understood", error, "key", message->key, NULL);
        return;
    }
    InboxItem *item = g_new0(InboxItem, 1);
    item->command = command;
    QueueResult result = queue_push(engine->inbox, item, message->value_size * DECODED_FACTOR, -1);
    g_assert(result == QUEUE_OK);
}

static void pump_main(void *arg)
{
    Engine *engine = arg;
    BusMessage *messages[POLL_BATCH];
    int n_failures = 0;
    while (!is_stopping(engine)) {
        g_autoptr(GError) error = NULL;
        size_t n = 0;
        if (!bus_poll_commands(engine->bus, messages, POLL_BATCH, POLL_WAIT_MS, &n, &error)) {
            note_bus("commands cannot be polled", &n_failures, error);
            bell_wait(&engine->pump_bell, BUS_RETRY_MS);
            continue;
        }
        note_bus(NULL, &n_failures, NULL);
        for (size_t i = 0; i < n; i++) {
            push_command(engine, messages[i]);
            bus_message_free(messages[i]);
        }
    }
}

/* ---- life ---- */

static void free_inbox_item(void *arg)
{
    InboxItem *item = arg;
    command_message_free(item->command);
    g_free(item);
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
    bell_init(&engine->pump_bell);
    bell_init(&engine->engine_bell);
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
    bell_done(&engine->pump_bell);
    bell_done(&engine->engine_bell);
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
    engine->pump = thread_start("engine-pump", ROLE_ENGINE, pump_main, engine, error);
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
    bell_close(&engine->pump_bell);
    bell_close(&engine->engine_bell);
    thread_join(engine->pump);
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
