/* A hand-over is a walk over all open runs, a page at a time, each page one commit; one for each announcement, in the order
 * they came. Every run whose START has been published is among them: the relay sees to that. The store remembers each engine's
 * newest announcement whose walk is over, before the bus forgets it: when it is read again, runs that began since are not taken
 * for runs that it left behind. A walk that was cut off is done again, and the journals tell what of it was done. */
#include "service/hand_over.h"

#include <string.h>

#include "base/log.h"

#define HAND_OVER_PAGE 256 /* runs of one commit: bounds what their states take together */

/* What is left of one announcement. */
typedef struct {
    Announcement announcement;
    GHashTable *partitions; /* of int32_t as pointers */
    Id after;               /* how far the walk is */
    size_t n_runs;
    bool is_old; /* its engine's newest is this one or a later one, and was done */
} Walk;

struct HandOver {
    Service *service;
    Bell latch;
    GQueue walks; /* of Walk; owns. No longer than the statuses of a batch */
};

HandOver *hand_over_new(Service *service)
{
    HandOver *hand_over = g_new0(HandOver, 1);
    hand_over->service = service;
    g_queue_init(&hand_over->walks);
    bell_init(&hand_over->latch);
    return hand_over;
}

static void walk_free(Walk *walk)
{
    g_hash_table_unref(walk->partitions);
    g_free(walk);
}

void hand_over_free(HandOver *hand_over)
{
    for (Walk *walk; (walk = g_queue_pop_head(&hand_over->walks)) != NULL;)
        walk_free(walk);
    bell_done(&hand_over->latch);
    g_free(hand_over);
}

void hand_over_note(HandOver *hand_over, const StatusMessage *announcement)
{
    if (announcement->n_command_partitions == 0)
        return;
    Walk *walk = g_new0(Walk, 1);
    walk->announcement = (Announcement){.engine_id = announcement->engine_id, .announced_at = announcement->timestamp};
    walk->partitions = g_hash_table_new(g_direct_hash, g_direct_equal);
    for (size_t i = 0; i < announcement->n_command_partitions; i++)
        g_hash_table_add(walk->partitions, GINT_TO_POINTER(announcement->command_partitions[i]));
    g_queue_push_tail(&hand_over->walks, walk);
    log_event(LOG_INFO, "an engine announced itself", "engineId", announcement->engine_id.text, NULL);
}

/* Of a page, those that the engine is to have. False: the bus does not know its partitions now. */
static bool select_runs(HandOver *hand_over, const Walk *walk, Id *ids, size_t n, size_t *ret_n_selected,
                        GError **error)
{
    *ret_n_selected = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t partition = bus_command_partition(hand_over->service->bus, ids[i].text);
        if (partition < 0) {
            g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the bus does not know its partitions");
            return false;
        }
        if (g_hash_table_contains(walk->partitions, GINT_TO_POINTER(partition)))
            ids[(*ret_n_selected)++] = ids[i];
    }
    return true;
}

static bool do_page(HandOver *hand_over, const Walk *walk, const Id *ids, size_t n, GError **error)
{
    WriterItem item = {.kind = ITEM_HAND_OVER, .run_ids = ids, .n_run_ids = n, .announcement = &walk->announcement};
    bool is_done = writer_do(hand_over->service, &item, sizeof item + n * sizeof *ids, &hand_over->latch);
    if (!is_done) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the service is stopping");
    } else if (item.result != RESULT_OK) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                            item.message != NULL ? item.message : "the store does not answer");
        is_done = false;
    }
    g_free(item.message);
    return is_done;
}

static bool do_walk(HandOver *hand_over, Walk *walk, GError **error)
{
    Service *service = hand_over->service;
    Id ids[HAND_OVER_PAGE];
    size_t n, n_selected;
    do {
        if (!store_list_runs_in_phase(service->store, PHASE_OPEN, INSTANT_NONE, walk->after.text, HAND_OVER_PAGE, ids,
                                      &n, error))
            return false;
        Id last = n > 0 ? ids[n - 1] : walk->after;
        if (!select_runs(hand_over, walk, ids, n, &n_selected, error) ||
            (n_selected > 0 && !do_page(hand_over, walk, ids, n_selected, error)))
            return false;
        walk->after = last;
        walk->n_runs += n_selected;
        bus_hold_statuses(service->bus); /* a long walk must not look like a dead consumer */
    } while (n == HAND_OVER_PAGE && !atomic_load(&service->is_stopping));
    return true;
}

/* Walks unless that was done before, and remembers it. False: call again. */
static bool settle(HandOver *hand_over, Walk *walk, GError **error)
{
    Service *service = hand_over->service;
    int64_t newest;
    if (!store_get_announced_at(service->store, walk->announcement.engine_id.text, &newest, error))
        return false;
    walk->is_old = newest != INSTANT_NONE && walk->announcement.announced_at <= newest;
    if (walk->is_old)
        return true;
    if (!do_walk(hand_over, walk, error))
        return false;
    if (atomic_load(&service->is_stopping)) { /* it may have been cut off */
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the service is stopping");
        return false;
    }
    return store_put_announcement(service->store, &walk->announcement, clock_wall_ms(service->clock), error);
}

static void finish(HandOver *hand_over, const Walk *walk)
{
    Service *service = hand_over->service;
    g_autofree char *count = g_strdup_printf("%zu", walk->n_runs);
    log_event(LOG_INFO,
              walk->is_old ? "the engine was given its partitions' unfinished runs before"
                           : "the engine has been given its partitions' unfinished runs",
              "engineId", walk->announcement.engine_id.text, "runs", count, NULL);
    if (!atomic_load(&service->is_relay_open) && atomic_load(&service->is_accepting)) {
        atomic_store(&service->is_relay_open, true);
        bell_ring(&service->relay_bell);
    }
}

bool hand_over_do(HandOver *hand_over, GError **error)
{
    for (Walk *walk; (walk = g_queue_peek_head(&hand_over->walks)) != NULL;) {
        if (!settle(hand_over, walk, error))
            return false;
        finish(hand_over, walk);
        walk_free(g_queue_pop_head(&hand_over->walks));
    }
    return true;
}
