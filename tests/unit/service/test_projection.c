/* Random histories through the whole service: whatever starts, commands, statuses (stale, repeated, late, out of order),
 * failing writes and restarts do, each run's stored document is exactly what its journal folds to. The store is SQLite in
 * one program, the server that FLOWOPS_TEST_MONGO names in another. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "test_projection.h"

#define N_RUNS 12
#define N_ROUNDS 400
#define N_STEPS 4

typedef struct {
    Rig *rig;
    unsigned random;
    Id flow_id;
    Id run_ids[N_RUNS];
    Id step_ids[N_STEPS];
    StatusMessage last; /* said again now and then */
} History;

static unsigned choose(History *history, unsigned n)
{
    return (unsigned)rand_r(&history->random) % n;
}

static void read_step_ids(History *history)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = store_get_flow(history->rig->store, history->flow_id.text, 0, &error);
    assert_non_null(flow);
    assert_int_equal(flow->n_flat, N_STEPS);
    for (size_t i = 0; i < N_STEPS; i++)
        history->step_ids[i] = flow->flat[i]->step_id;
}

static void say_something(History *history)
{
    static const RunStatus run_statuses[] = {RUN_RUNNING, RUN_RUNNING,   RUN_PAUSED,
                                             RUN_RUNNING, RUN_COMPLETED, RUN_FAILED};
    StatusMessage status = {.run_id = history->run_ids[choose(history, N_RUNS)],
                            .flow_id = history->flow_id,
                            .timestamp = clock_wall_ms(history->rig->clock) - choose(history, 50),
                            .generation = choose(history, 4)};
    if (choose(history, 8) == 0 && history->last.run_id.text[0] != '\0') {
        status = history->last;
    } else if (choose(history, 5) == 0) {
        status.kind = STATUS_FLOW;
        /* an end is rare, so that runs live through many rounds */
        status.run_status = run_statuses[choose(history, choose(history, 10) == 0 ? 6 : 4)];
    } else {
        status.kind = STATUS_STEP;
        status.step_id = history->step_ids[choose(history, N_STEPS)];
        status.step_status = (StepStatus)choose(history, 6);
        status.attempt = choose(history, 4);
        status.outputs_json = (char *)(choose(history, 2) == 0 ? "{\"k\":\"v\"}" : NULL);
        status.error = (char *)(choose(history, 3) == 0 ? "something" : NULL);
    }
    history->last = status;
    report(history->rig, &status);
}

static void ask_something(History *history)
{
    static const CommandKind commands[] = {COMMAND_PAUSE, COMMAND_RESUME, COMMAND_PAUSE, COMMAND_RESUME, COMMAND_STOP};
    CommandKind kind = commands[choose(history, choose(history, 6) == 0 ? 5 : 4)];
    (void)command(history->rig, &history->run_ids[choose(history, N_RUNS)], kind, OWNER, NULL);
}

static void fail_something(History *history)
{
    FaultPoint point = choose(history, 2) == 0 ? FAULT_BEFORE_EFFECT : FAULT_AFTER_EFFECT;
    store_fault_set(history->rig->store, STORE_WRITE, point, 1 + choose(history, 3), 1);
}

/* Nobody takes commands from the bus here, so it is emptied now and then. */
static void take_commands(History *history)
{
    g_autoptr(GError) error = NULL;
    BusMessage *messages[64];
    size_t n = 0;
    assert_true(bus_poll_commands(history->rig->bus, messages, G_N_ELEMENTS(messages), 0, &n, &error));
    for (size_t i = 0; i < n; i++)
        bus_message_free(messages[i]);
}

static Run *fold_stored(Store *store, const char *run_id)
{
    g_autoptr(GError) error = NULL;
    Run *run = run_new();
    g_autoptr(JournalPage) page = store_read_journal(store, run_id, 0, 1000, 1 << 24, &error);
    assert_non_null(page);
    assert_false(page->has_more);
    for (size_t i = 0; i < page->n_entries; i++) {
        g_autoptr(Event) event = event_decode(page->entries[i].text, page->entries[i].size, &error);
        if (event == NULL || !run_fold(run, event, &error))
            fail_msg("run %s, event %zu: %s", run_id, i + 1, error->message);
    }
    return run;
}

/* With the service stopped: nothing is under way. */
static void compare_all(History *history)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Store) store = rig_open_store(history->rig->data_dir, history->rig->clock, &error);
    assert_non_null(store);
    for (size_t i = 0; i < N_RUNS; i++) {
        const char *run_id = history->run_ids[i].text;
        g_autoptr(RunDocument) document = store_get_run(store, run_id, &error);
        assert_non_null(document);
        g_autoptr(Run) run = fold_stored(store, run_id);
        g_autoptr(GString) detail = g_string_new(NULL);
        run_encode_detail(run, detail);
        assert_int_equal(document->seq, run->seq);
        assert_int_equal(document->status, run->status);
        assert_int_equal(document->phase, run_phase(run));
        assert_string_equal(document->detail, detail->str);
    }
}

static void test_every_document_is_what_its_journal_folds_to(void **state)
{
    const char *seed = getenv("FLOWOPS_SEED");
    History history = {.rig = *state, .random = seed != NULL ? (unsigned)atoi(seed) : 20260131};
    print_message("FLOWOPS_SEED=%u\n", history.random);
    announce(history.rig);
    history.flow_id = create_flow(history.rig, N_STEPS);
    read_step_ids(&history);
    for (size_t i = 0; i < N_RUNS; i++)
        assert_int_equal(start(history.rig, &history.flow_id, NULL, NULL, &history.run_ids[i]), RESULT_OK);
    for (int round = 0; round < N_ROUNDS; round++) {
        unsigned what = choose(&history, 20);
        if (what == 0)
            fail_something(&history);
        else if (what < 4)
            ask_something(&history);
        else
            say_something(&history);
        if (round % 16 == 0)
            take_commands(&history);
        if (round % 150 == 149) { /* and the next process goes on */
            WAIT_UNTIL(bus_health(history.rig->bus).n_statuses_queued == 0);
            rig_stop(history.rig);
            compare_all(&history);
            rig_start(history.rig);
            announce(history.rig);
        }
    }
    WAIT_UNTIL(bus_health(history.rig->bus).n_statuses_queued == 0);
    rig_stop(history.rig);
    compare_all(&history);
    rig_start(history.rig);
}

int run_histories(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_document_is_what_its_journal_folds_to, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
