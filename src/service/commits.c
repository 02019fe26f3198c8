/* Every write of the writer goes to the store through here, and is counted. */
#include "service/writer_internal.h"

static const HistogramShape size_items = COMMIT_SIZE_SHAPE, duration_us = COMMIT_DURATION_SHAPE_US;

bool writer_commit(Service *service, StoreWrite *writes, size_t n_writes, size_t n_items, GError **error)
{
    CommitFigures *figures = &service->commits;
    int64_t began_us = clock_monotonic_us(service->clock);
    if (!store_write(service->store, writes, n_writes, error)) {
        counter_add(&figures->n_failures, 1);
        return false;
    }
    atomic_fetch_add(&service->n_commits, 1);
    histogram_add(&figures->size_items, &size_items, (int64_t)n_items);
    histogram_add(&figures->duration_us, &duration_us, clock_monotonic_us(service->clock) - began_us);
    return true;
}

void commits_count_statuses(Service *service, const TouchedRun *touched)
{
    for (size_t i = 0; i < G_N_ELEMENTS(touched->n_runs); i++)
        counter_add(&service->commits.n_runs[i], touched->n_runs[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(touched->n_steps); i++)
        counter_add(&service->commits.n_steps[i], touched->n_steps[i]);
}
