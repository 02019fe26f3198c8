/* A hand-over is a walk over all open runs, a page at a time, each page one commit. Every run whose START has been published
 * is among them: the relay sees to that. */
#include "service/hand_over.h"

#include <string.h>

#include "base/log.h"

#define HAND_OVER_PAGE 256 /* runs of one commit: bounds what their states take together */

struct HandOver {
    Service *service;
    Bell latch;
    GHashTable *partitions; /* of int32_t as pointers: to be handed over */
    Id after;               /* how far this look is */
    size_t n_runs;
};

HandOver *hand_over_new(Service *service)
{
    HandOver *hand_over = g_new0(HandOver, 1);
    hand_over->service = service;
    hand_over->partitions = g_hash_table_new(g_direct_hash, g_direct_equal);
    bell_init(&hand_over->latch);
    return hand_over;
}

void hand_over_free(HandOver *hand_over)
{
    g_hash_table_unref(hand_over->partitions);
    bell_done(&hand_over->latch);
    g_free(hand_over);
}

void hand_over_note(HandOver *hand_over, const StatusMessage *announcement)
{
    for (size_t i = 0; i < announcement->n_command_partitions; i++)
        g_hash_table_add(hand_over->partitions, GINT_TO_POINTER(announcement->command_partitions[i]));
    if (announcement->n_command_partitions == 0)
        return;
    /* From the start, also what an earlier engine was given a moment ago. */
    hand_over->after = (Id){""};
    hand_over->n_runs = 0;
    log_event(LOG_INFO, "an engine announced itself", "engineId", announcement->engine_id.text, NULL);
}

/* Of a page, those that the engine is to have. False: the bus does not know its partitions now. */
static bool select_runs(HandOver *hand_over, Id *ids, size_t n, size_t *ret_n_selected, GError **error)
{
    *ret_n_selected = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t partition = bus_command_partition(hand_over->service->bus, ids[i].text);
        if (partition < 0) {
            g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the bus does not know its partitions");
            return false;
        }
        if (g_hash_table_contains(hand_over->partitions, GINT_TO_POINTER(partition)))
            ids[(*ret_n_selected)++] = ids[i];
    }
    return true;
}

static bool do_page(HandOver *hand_over, const Id *ids, size_t n, GError **error)
{
    Service *service = hand_over->service;
    WriterItem item = {.kind = ITEM_HAND_OVER, .run_ids = ids, .n_run_ids = n};
    bool is_done = writer_do(service, &item, sizeof item + n * sizeof *ids, &hand_over->latch);
    if (is_done && item.result != RESULT_OK) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                            item.message != NULL ? item.message : "the store does not answer");
        is_done = false;
    } else if (!is_done) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the service is stopping");
    }
    g_free(item.message);
    return is_done;
}

static bool look(HandOver *hand_over, GError **error)
{
    Service *service = hand_over->service;
    Id ids[HAND_OVER_PAGE];
    size_t n, n_selected;
    do {
        if (atomic_load(&service->is_stopping)) {
            g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the service is stopping");
            return false;
        }
        if (!store_list_runs_in_phase(service->store, PHASE_OPEN, INSTANT_NONE, hand_over->after.text, HAND_OVER_PAGE,
                                      ids, &n, error))
            return false;
        Id last = n > 0 ? ids[n - 1] : hand_over->after;
        if (!select_runs(hand_over, ids, n, &n_selected, error) ||
            (n_selected > 0 && !do_page(hand_over, ids, n_selected, error)))
            return false;
        hand_over->after = last;
        hand_over->n_runs += n_selected;
        bus_hold_statuses(service->bus); /* a long walk must not look like a dead consumer */
    } while (n == HAND_OVER_PAGE);
    return true;
}

static void finish(HandOver *hand_over)
{
    Service *service = hand_over->service;
    g_autofree char *count = g_strdup_printf("%zu", hand_over->n_runs);
    log_event(LOG_INFO, "unfinished runs were handed to the engine", "runs", count, NULL);
    g_hash_table_remove_all(hand_over->partitions);
    if (!atomic_load(&service->is_relay_open) && atomic_load(&service->is_accepting)) {
        atomic_store(&service->is_relay_open, true);
        bell_ring(&service->relay_bell);
    }
}

bool hand_over_do(HandOver *hand_over, GError **error)
{
    if (g_hash_table_size(hand_over->partitions) == 0)
        return true;
    if (!look(hand_over, error))
        return false;
    finish(hand_over);
    return true;
}
