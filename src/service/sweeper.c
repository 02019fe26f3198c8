/* The sweeper finishes what would otherwise stay unfinished: it hands the runs that an earlier process left to this
 * process's engine, stops the runs of flows deleted by force, and closes the steps that an engine left open. */
#include "service/service_internal.h"

#include <string.h>

#include "base/log.h"

#define SWEEP_MS 2000
#define SWEEP_PAGE 64 /* runs of one commit: bounds what their states take together */

typedef struct {
    Service *service;
    Bell latch;
    size_t n_handed_over; /* of left_over */
} Sweeper;

/* One commit for these runs. False: it failed (and is logged), or the service stops. */
static bool do_runs(Sweeper *sweeper, WriterItemKind kind, const Id *run_ids, size_t n)
{
    WriterItem item = {.kind = kind, .run_ids = run_ids, .n_run_ids = n};
    bool is_done = writer_do(sweeper->service, &item, sizeof item + n * sizeof *run_ids, &sweeper->latch);
    if (is_done && item.result != RESULT_OK) {
        log_event(LOG_WARNING, "some runs could not be looked after; they are tried again", "firstRunId",
                  run_ids[0].text, "reason", item.message, NULL);
        is_done = false;
    }
    g_free(item.message);
    return is_done && !atomic_load(&sweeper->service->is_stopping);
}

/* Every run that was open when this process began, once an engine has announced itself. */
static void hand_over_left_over(Sweeper *sweeper)
{
    Service *service = sweeper->service;
    size_t n_all = service->left_over->len;
    while (sweeper->n_handed_over < n_all) {
        const Id *run_ids = &g_array_index(service->left_over, Id, sweeper->n_handed_over);
        size_t n = MIN(SWEEP_PAGE, n_all - sweeper->n_handed_over);
        if (!do_runs(sweeper, ITEM_HAND_OVER, run_ids, n))
            return;
        sweeper->n_handed_over += n;
        if (sweeper->n_handed_over == n_all) {
            g_autofree char *count = g_strdup_printf("%zu", n_all);
            log_event(LOG_INFO, "unfinished runs were handed to the engine", "runs", count, NULL);
        }
    }
}

/* Lists the next page of runs after an id. */
typedef bool (*ListRuns)(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error);

static bool list_runs_to_stop(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error)
{
    return store_list_runs_to_stop(service->store, after, SWEEP_PAGE, ret_ids, ret_n, error);
}

static bool list_runs_to_settle(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error)
{
    return store_list_runs_in_phase(service->store, PHASE_ENDING, INSTANT_NONE, after, SWEEP_PAGE, ret_ids, ret_n,
                                    error);
}

/* True when all that there was is done. */
static bool sweep(Sweeper *sweeper, ListRuns list, WriterItemKind kind)
{
    Id ids[SWEEP_PAGE];
    Id after = {""};
    size_t n;
    do {
        g_autoptr(GError) error = NULL;
        if (!list(sweeper->service, after.text, ids, &n, &error)) {
            log_error(LOG_WARNING, "the sweeper could not read its runs; it tries again", error, NULL);
            return false;
        }
        if (n == 0)
            return true;
        if (!do_runs(sweeper, kind, ids, n))
            return false;
        after = ids[n - 1];
    } while (n == SWEEP_PAGE);
    return true;
}

/* While the store is thought to be down: somebody has to find out that it is up again, even when nobody writes. */
static void probe_store(Service *service)
{
    g_autoptr(GError) error = NULL;
    if (!atomic_load(&service->is_store_up) && store_check(service->store, &error))
        service_note_store(service, NULL);
}

void sweeper_main(void *arg)
{
    Service *service = arg;
    Sweeper sweeper = {.service = service};
    bell_init(&sweeper.latch);
    while (bell_wait(&service->sweeper_bell, SWEEP_MS)) {
        probe_store(service);
        /* Looking for them walks all open runs, so only when there may be some. Before the hand-over, so
         * that no step of theirs begins. */
        if (atomic_exchange(&service->may_have_runs_to_stop, false) && !sweep(&sweeper, list_runs_to_stop, ITEM_STOP))
            atomic_store(&service->may_have_runs_to_stop, true);
        if (service->options.has_engine && atomic_load(&service->is_engine_announced)) {
            hand_over_left_over(&sweeper);
            if (sweeper.n_handed_over == service->left_over->len && !atomic_exchange(&service->is_relay_open, true))
                bell_ring(&service->relay_bell);
        }
        sweep(&sweeper, list_runs_to_settle, ITEM_SETTLE);
    }
    bell_done(&sweeper.latch);
}
