/* The scheduler's loop: what was changed, what is owed, what is due. Flows wait in a tree by the time at which each has
 * something to say. The clock on the wall may be set, so no sleep is longer than LOOK_MS. */
#include "service/scheduler_internal.h"

#include <string.h>

#include "base/log.h"

#define LOOK_MS 500         /* how late a clock that was set is noticed */
#define RETRY_MS 500        /* after a failure, or while MAX_OPEN_RUNS holds */
#define GROUP_MAX 500       /* flows decided with one commit */
#define ROUNDS_MAX 16       /* groups of one step: however many are due, others are looked at in between */
#define IDLE_MS 1000        /* one that had nothing to say although it woke is not asked again before */
#define QUEUE_LOOK_MS 5000  /* while slots wait, should the end of a run go unheard */
#define SHARED_LOOK_MS 1000 /* the same where runs end at other replicas */
#define RELOAD_MS 600000    /* shared store: everything is read again, should a poll have missed something */
#define POLL_MS 2000
#define SWEEP_MS 10000
#define SIGHTINGS_MAX 100000

static int compare_wakes(gconstpointer a, gconstpointer b, gpointer unused G_GNUC_UNUSED)
{
    const Planned *one = a, *other = b;
    if (one->wake_at != other->wake_at)
        return one->wake_at < other->wake_at ? -1 : 1;
    if (one->order != other->order)
        return one->order < other->order ? -1 : 1;
    return strcmp(one->flow_id.text, other->flow_id.text);
}

static void planned_free(void *value)
{
    Planned *planned = value;
    schedule_free(planned->schedule);
    schedule_state_done(&planned->state);
    g_free(planned);
}

Scheduler *scheduler_new(Service *service)
{
    Scheduler *scheduler = g_new0(Scheduler, 1);
    scheduler->service = service;
    scheduler->backfills = open_backfills_new();
    bell_init(&scheduler->latch);
    scheduler->by_flow = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, planned_free);
    scheduler->by_wake = g_tree_new_full(compare_wakes, NULL, NULL, NULL);
    scheduler->is_well = true;
    Id own = id_make(clock_wall_ms(service->clock));
    scheduler->salt = service->is_shared ? g_str_hash(own.text) : 0;
    scheduler->polled = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    scheduler->given_up = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    scheduler->owed = g_array_new(FALSE, FALSE, sizeof(Owed));
    scheduler->made = g_array_new(FALSE, FALSE, sizeof(DecisionKey));
    scheduler->sightings = sightings_new(SIGHTINGS_MAX);
    return scheduler;
}

void scheduler_free(Scheduler *scheduler)
{
    if (scheduler == NULL)
        return;
    open_backfills_free(scheduler->backfills);
    g_tree_unref(scheduler->by_wake);
    g_hash_table_unref(scheduler->by_flow);
    g_hash_table_unref(scheduler->polled);
    g_hash_table_unref(scheduler->given_up);
    g_array_unref(scheduler->owed);
    g_array_unref(scheduler->made);
    sightings_free(scheduler->sightings);
    bell_done(&scheduler->latch);
    g_free(scheduler);
}

bool scheduler_is_over(const Scheduler *scheduler)
{
    return atomic_load(&scheduler->service->is_stopping) || !atomic_load(&scheduler->service->is_accepting);
}

void scheduler_fail(Scheduler *scheduler, const char *doing, const char *reason)
{
    if (scheduler->is_well && !scheduler_is_over(scheduler))
        log_event(LOG_WARNING, "schedules wait; it is tried again", "what", doing, "reason", reason, NULL);
    scheduler->is_well = false;
}

static void set_wake(Scheduler *scheduler, Planned *planned, int64_t wake_at)
{
    if (planned->wake_at == wake_at)
        return;
    if (planned->wake_at != WAKE_NEVER)
        g_tree_remove(scheduler->by_wake, planned);
    planned->wake_at = wake_at;
    if (wake_at != WAKE_NEVER)
        g_tree_insert(scheduler->by_wake, planned, planned);
}

/* Slots that would start if no run were open. */
static bool has_waiting(const Planned *planned)
{
    return planned->state.n_queued > 0 && !schedule_is_paused(planned->schedule) &&
           !schedule_is_stale(planned->schedule, &planned->state);
}

void scheduler_plan(Scheduler *scheduler, Planned *planned, bool has_said)
{
    int64_t now_ms = clock_wall_ms(scheduler->service->clock), wake_at;
    if (!schedule_next_wake(planned->schedule, &planned->state, &wake_at))
        wake_at = WAKE_NEVER;
    if (!has_said && wake_at != WAKE_NEVER)
        wake_at = MAX(wake_at, now_ms + IDLE_MS);
    if (has_waiting(planned))
        wake_at = MIN(wake_at, now_ms + (scheduler->service->is_shared ? SHARED_LOOK_MS : QUEUE_LOOK_MS));
    set_wake(scheduler, planned, wake_at);
}

void scheduler_forget(Scheduler *scheduler, Planned *planned)
{
    set_wake(scheduler, planned, WAKE_NEVER);
    g_hash_table_remove(scheduler->by_flow, planned->flow_id.text);
}

/* ---- a step ---- */

static GHashTable *take_ids(GHashTable **ids)
{
    if (g_hash_table_size(*ids) == 0)
        return NULL;
    GHashTable *taken = *ids;
    *ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return taken;
}

/* Flows that were changed here, and flows of which a run has ended. What cannot be done now is noted again. */
static bool take_notes(Scheduler *scheduler)
{
    SchedulerNotes *notes = &scheduler->service->notes;
    GHashTable *changed, *ended;
    {
        MUTEX_SCOPE(&notes->mu);
        changed = take_ids(&notes->changed);
        ended = take_ids(&notes->ended);
        if (notes->has_overflown) {
            scheduler->is_loaded = scheduler->has_looked = false;
            scheduler->looked_until = (Id){""};
        }
        notes->has_overflown = false;
    }
    bool is_done = true;
    GHashTableIter iter;
    gpointer id;
    if (ended != NULL)
        g_hash_table_iter_init(&iter, ended);
    while (ended != NULL && g_hash_table_iter_next(&iter, &id, NULL)) {
        Planned *planned = g_hash_table_lookup(scheduler->by_flow, ((const Id *)id)->text);
        scheduler_backfills_note_end(scheduler, id);
        if (planned != NULL && has_waiting(planned))
            set_wake(scheduler, planned, MIN(planned->wake_at, clock_wall_ms(scheduler->service->clock)));
    }
    if (changed != NULL)
        g_hash_table_iter_init(&iter, changed);
    while (changed != NULL && g_hash_table_iter_next(&iter, &id, NULL)) {
        is_done = is_done && scheduler_look_at_flow(scheduler, id);
        if (!is_done)
            scheduler_note_flow(scheduler->service, id);
    }
    g_clear_pointer(&changed, g_hash_table_unref);
    g_clear_pointer(&ended, g_hash_table_unref);
    return is_done;
}

/* What is looked at now and then. */
static bool look_around(Scheduler *scheduler)
{
    int64_t now_ms = clock_monotonic_ms(scheduler->service->clock);
    bool is_shared = scheduler->service->is_shared;
    if (!scheduler->is_loaded || (is_shared && now_ms >= scheduler->reload_at)) {
        if (!scheduler_load(scheduler))
            return false;
        scheduler->is_loaded = true;
        scheduler->reload_at = now_ms + RELOAD_MS;
    }
    if (is_shared && now_ms >= scheduler->poll_at) {
        if (!scheduler_poll(scheduler))
            return false;
        scheduler->poll_at = now_ms + POLL_MS;
    }
    if (now_ms >= scheduler->sweep_at) {
        if (!scheduler_sweep(scheduler))
            return false;
        scheduler->sweep_at = now_ms + SWEEP_MS;
    }
    return true;
}

static size_t take_due(Scheduler *scheduler, Planned **ret_group)
{
    int64_t now_ms = clock_wall_ms(scheduler->service->clock);
    size_t n = 0;
    for (GTreeNode *node = g_tree_node_first(scheduler->by_wake); node != NULL && n < GROUP_MAX;
         node = g_tree_node_next(node)) {
        Planned *planned = g_tree_node_key(node);
        if (planned->wake_at > now_ms)
            break;
        ret_group[n++] = planned;
    }
    return n;
}

/* Nothing is decided while what was decided cannot be started: what is owed stays bounded, and a slot that waits for room is
 * found late, like one of a service that stood still. */
static bool do_all(Scheduler *scheduler)
{
    Planned *group[GROUP_MAX];
    if (!scheduler_carry_out(scheduler) || !look_around(scheduler) || !take_notes(scheduler) ||
        !scheduler_carry_out(scheduler))
        return false;
    for (int i = 0; i < ROUNDS_MAX && !scheduler_is_over(scheduler); i++) {
        size_t n = take_due(scheduler, group);
        if (n == 0)
            break;
        if (!scheduler_decide_group(scheduler, group, n) || !scheduler_carry_out(scheduler) || !take_notes(scheduler))
            return false;
    }
    return scheduler_look_for_ended(scheduler) && scheduler_backfills_step(scheduler);
}

/* Until the next flow wakes, or a backfill is to be looked at. */
static int64_t time_left(const Scheduler *scheduler)
{
    GTreeNode *first = g_tree_node_first(scheduler->by_wake);
    int64_t left_ms = scheduler_backfills_wait(scheduler, LOOK_MS);
    if (first == NULL)
        return left_ms;
    const Planned *planned = g_tree_node_key(first);
    return CLAMP(planned->wake_at - clock_wall_ms(scheduler->service->clock), 0, left_ms);
}

int64_t scheduler_step(Scheduler *scheduler)
{
    Service *service = scheduler->service;
    if (scheduler_is_over(scheduler))
        return LOOK_MS;
    bool is_done = do_all(scheduler);
    atomic_store(&service->schedules.n_flows, g_hash_table_size(scheduler->by_flow));
    atomic_store(&service->schedules.n_given_up, g_hash_table_size(scheduler->given_up));
    atomic_store(&service->schedules.n_owed, scheduler->owed->len);
    if (!is_done)
        return RETRY_MS;
    if (!scheduler->is_well)
        log_event(LOG_INFO, "schedules go on", NULL);
    scheduler->is_well = true;
    /* There is time to wait for documents. */
    return scheduler_remove_marks(scheduler, time_left(scheduler)) ? time_left(scheduler) : RETRY_MS;
}

void scheduler_main(void *arg)
{
    Service *service = arg;
    Scheduler *scheduler = scheduler_new(service);
    int64_t wait_ms = 0;
    while (bell_wait(&service->notes.bell, wait_ms))
        wait_ms = scheduler_step(scheduler);
    scheduler_free(scheduler);
}
