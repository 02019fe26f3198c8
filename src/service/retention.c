/* Age counts from the last change of a settled run, by the wall clock: nothing is appended to such a run any more. Each page
 * is a commit of its own between those of others; deleting again what another replica deleted does no harm. */
#include "service/retention.h"

#include "base/log.h"

#define PAGE 32             /* runs of one commit: with journals of usual size a few milliseconds, which others wait */
#define SLICE_MS 200        /* of a sweeper's round of 2 s: leaves the store to everybody else for nine tenths */
#define LOOK_AGAIN_MS 60000 /* when nothing was left */

/* True when there may be more. */
static bool delete_page(Service *service, Retention *retention, Bell *latch)
{
    Id ids[PAGE];
    size_t n = 0;
    g_autoptr(GError) error = NULL;
    int64_t before = clock_wall_ms(service->clock) - service->options.run_retention_ms;
    if (!store_list_runs_ended_before(service->store, before, PAGE, ids, &n, &error)) {
        log_error(LOG_WARNING, "runs past their retention could not be listed; it is tried again", error, NULL);
        return false;
    }
    if (n == 0)
        return false;
    WriterItem item = {.kind = ITEM_DELETE_RUNS, .run_ids = ids, .n_run_ids = n};
    bool is_done = writer_do(service, &item, sizeof item + sizeof ids, latch);
    if (is_done && item.result != RESULT_OK)
        log_event(LOG_WARNING, "runs past their retention could not be deleted; it is tried again", "firstRunId",
                  ids[0].text, "reason", item.message, NULL);
    is_done = is_done && item.result == RESULT_OK;
    g_free(item.message);
    if (is_done)
        retention->n_deleted += (int64_t)n;
    return is_done && n == PAGE;
}

void retention_step(Service *service, Retention *retention, Bell *latch)
{
    int64_t began_at = clock_monotonic_ms(service->clock);
    if (service->options.run_retention_ms == 0 || began_at < retention->next_look_at)
        return;
    while (delete_page(service, retention, latch)) {
        if (atomic_load(&service->is_stopping) || clock_monotonic_ms(service->clock) - began_at >= SLICE_MS)
            return;
    }
    retention->next_look_at = clock_monotonic_ms(service->clock) + LOOK_AGAIN_MS;
    if (retention->n_deleted > 0) {
        g_autofree char *count = g_strdup_printf("%" G_GINT64_FORMAT, retention->n_deleted);
        log_event(LOG_INFO, "runs past their retention were deleted", "runs", count, NULL);
        retention->n_deleted = 0;
    }
}
