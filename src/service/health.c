/* What the service tells of itself: for /readyz and /metrics. */
#include "service/service_internal.h"

static CommitFigures read_commits(const Service *service)
{
    const CommitFigures *commits = &service->commits;
    CommitFigures figures = {.n_failures = counter_read(&commits->n_failures)};
    histogram_collect(&commits->size_items, &figures.size_items);
    histogram_collect(&commits->duration_us, &figures.duration_us);
    for (size_t i = 0; i < G_N_ELEMENTS(figures.n_runs); i++)
        figures.n_runs[i] = counter_read(&commits->n_runs[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(figures.n_steps); i++)
        figures.n_steps[i] = counter_read(&commits->n_steps[i]);
    return figures;
}

ServiceHealth service_health(Service *service)
{
    CacheLoad runs = cache_load(service->runs);
    BusHealth bus = bus_health(service->bus);
    ServiceHealth health = {
        .is_store_up = atomic_load(&service->is_store_up),
        .is_store_impaired = atomic_load(&service->is_store_impaired),
        .is_bus_up = atomic_load(&service->is_bus_up) && bus.is_up,
        .is_relay_idle = service_is_relay_idle(service),
        .status_lag = bus.status_lag,
        .n_partitions = bus.n_partitions_held,
        .is_accepting = atomic_load(&service->is_accepting),
        .n_writes_queued = queue_load(service->writes).n_items,
        .n_reads_queued = queue_load(service->reads).n_items,
        .n_commands_waiting = atomic_load(&service->n_relay_waiting) + queue_load(service->orders).n_items,
        .relay_lag_ms = service_relay_lag_ms(service),
        .n_bus_commands = bus.n_commands_queued,
        .n_bus_statuses = bus.n_statuses_queued,
        .n_open_runs = atomic_load(&service->n_open_runs),
        .n_commits = atomic_load(&service->n_commits),
        .n_appends = atomic_load(&service->n_appends),
        .n_events_appended = atomic_load(&service->n_events_appended),
        .n_statuses_ignored = atomic_load(&service->n_statuses_ignored),
        .n_dead_letters = atomic_load(&service->n_dead_letters),
        .n_commands_published = atomic_load(&service->n_commands_published),
        .n_runs_cached = runs.n_entries,
        .cache_size_bytes = runs.size_bytes,
        .commits = read_commits(service),
    };
    ScheduleFigures *schedules = &health.schedules;
    schedules->n_flows = atomic_load(&service->schedules.n_flows);
    schedules->n_given_up = atomic_load(&service->schedules.n_given_up);
    schedules->n_owed = atomic_load(&service->schedules.n_owed);
    schedules->late_sum_ms = atomic_load(&service->schedules.late_sum_ms);
    for (size_t i = 0; i < G_N_ELEMENTS(schedules->n_decisions); i++)
        schedules->n_decisions[i] = atomic_load(&service->schedules.n_decisions[i]);
    for (size_t i = 0; i < LATENESS_BUCKETS; i++)
        schedules->n_late[i] = atomic_load(&service->schedules.n_late[i]);
    g_strlcpy(health.bus_reason, bus.reason, sizeof health.bus_reason);
    return health;
}
