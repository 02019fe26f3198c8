/* The sweeper finishes what would otherwise stay unfinished: it stops the runs of flows deleted by force, closes the steps
 * that an engine left open, and, in a shared store, writes the documents that a replica which died left behind. It deletes
 * what is past its retention, and says in the log when the bus is down: a process without commands has no other occasion.
 */
#include "service/service_internal.h"

#include <string.h>

#include "base/log.h"
#include "service/retention.h"
#include "service/sightings.h"

#define SWEEP_MS 2000
#define SWEEP_PAGE 64     /* runs of one commit: bounds what their states take together */
#define ENDING_MAX 100000 /* runs whose age is kept; what is beyond is settled when others are */
/* Trouble this old is worth a line in the log: a start or a change of leaders looks the same for a moment. */
#define BUS_DOWN_AFTER_MS 5000
#define OTHERS_LOOK_MS 10000 /* a document that its replica did not write in this time, it will not write any more */

typedef struct {
    Service *service;
    Bell latch;
    Sightings *ending; /* runs that ended with open steps */
    int64_t looked_at; /* monotonic ms of the last look at what others did */
    Retention retention;
    int64_t bus_down_since; /* monotonic ms; 0: it is up */
    bool is_bus_down_told;
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

/* A store that does not answer is told of once, by whoever finds it first. */
static void note_failure(Service *service, const GError *error)
{
    service_note_store(service, error);
    if (!flowops_error_is_retryable(error))
        log_error(LOG_WARNING, "the sweeper could not read its runs; it tries again", error, NULL);
}

/* Lists the next page of runs after an id. */
typedef bool (*ListRuns)(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error);

static bool list_runs_to_stop(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error)
{
    return store_list_runs_to_stop(service->store, after, SWEEP_PAGE, ret_ids, ret_n, error);
}

static bool list_runs_behind(Service *service, const char *after, Id *ret_ids, size_t *ret_n, GError **error)
{
    return store_list_runs_behind(service->store, after, SWEEP_PAGE, ret_ids, ret_n, error);
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
            note_failure(sweeper->service, error);
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

/* By our own clock, from when this process saw the end: engines' clocks may be off. */
static void settle(Sweeper *sweeper)
{
    Service *service = sweeper->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    Id ids[SWEEP_PAGE];
    Id after = {""};
    size_t n;
    do {
        g_autoptr(GError) error = NULL;
        if (!store_list_runs_in_phase(service->store, PHASE_ENDING, INSTANT_NONE, after.text, SWEEP_PAGE, ids, &n,
                                      &error)) {
            note_failure(sweeper->service, error);
            return;
        }
        if (n == 0)
            break;
        after = ids[n - 1];
        size_t n_old = 0;
        for (size_t i = 0; i < n; i++)
            if (sightings_note(sweeper->ending, &ids[i], 0, now_ms) >= SETTLE_AFTER_MS)
                ids[n_old++] = ids[i];
        if (n_old > 0 && !do_runs(sweeper, ITEM_SETTLE, ids, n_old))
            return;
    } while (n == SWEEP_PAGE);
    sightings_end_round(sweeper->ending);
}

/* A store that answers may still lack something, which nobody's call would tell. */
static void check_store(Service *service)
{
    g_autoptr(GError) error = NULL;
    bool is_sound = store_check(service->store, &error);
    if (!is_sound && flowops_error_is_retryable(error)) {
        service_note_store(service, error);
        return;
    }
    if (atomic_exchange(&service->is_store_impaired, !is_sound) == !is_sound)
        return;
    if (is_sound)
        log_event(LOG_INFO, "the store lacks nothing any more", NULL);
    else
        log_error(LOG_WARNING, "the store works, but lacks indexes; lists may be slow", error, NULL);
}

/* What only several writers make necessary. */
static void look_at_others(Sweeper *sweeper)
{
    Service *service = sweeper->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    if (!service->is_shared || now_ms - sweeper->looked_at < OTHERS_LOOK_MS)
        return;
    sweeper->looked_at = now_ms;
    check_store(service);
    int64_t n_open;
    if (store_count_open_runs(service->store, NULL, &n_open, NULL))
        atomic_store(&service->n_open_runs, n_open);
    (void)sweep(sweeper, list_runs_behind, ITEM_REFRESH);
    atomic_store(&service->may_have_runs_to_stop, true); /* another replica may have deleted a flow and died */
}

/* While the store is thought to be down: somebody has to find out that it is up again, even when nobody writes. */
static void probe_store(Service *service)
{
    g_autoptr(GError) error = NULL;
    if (!atomic_load(&service->is_store_up) &&
        (store_check(service->store, &error) || !flowops_error_is_retryable(error)))
        service_note_store(service, NULL);
}

static void look_at_bus(Sweeper *sweeper)
{
    Service *service = sweeper->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    BusHealth health = bus_health(service->bus);
    if (health.is_up) {
        if (sweeper->is_bus_down_told)
            log_event(LOG_INFO, "the bus is back", NULL);
        sweeper->is_bus_down_told = false;
        sweeper->bus_down_since = 0;
        return;
    }
    if (sweeper->bus_down_since == 0)
        sweeper->bus_down_since = now_ms;
    if (sweeper->is_bus_down_told || now_ms - sweeper->bus_down_since < BUS_DOWN_AFTER_MS ||
        !atomic_load(&service->is_accepting)) /* it ends with us */
        return;
    sweeper->is_bus_down_told = true;
    log_event(LOG_WARNING, "the bus is down", "reason", health.reason, NULL);
}

void sweeper_main(void *arg)
{
    Service *service = arg;
    Sweeper sweeper = {.service = service, .ending = sightings_new(ENDING_MAX)};
    bell_init(&sweeper.latch);
    while (bell_wait(&service->sweeper_bell, SWEEP_MS)) {
        probe_store(service);
        look_at_bus(&sweeper);
        /* Looking for them walks all open runs, so only when there may be some. */
        if (atomic_exchange(&service->may_have_runs_to_stop, false) && !sweep(&sweeper, list_runs_to_stop, ITEM_STOP))
            atomic_store(&service->may_have_runs_to_stop, true);
        settle(&sweeper);
        look_at_others(&sweeper);
        retention_step(service, &sweeper.retention, &sweeper.latch);
        log_tell_repeated();
    }
    bell_done(&sweeper.latch);
    sightings_free(sweeper.ending);
}
