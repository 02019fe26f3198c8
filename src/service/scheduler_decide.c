/* From flows that are due to decisions in their journals. What is recorded is folded into the state at hand, and what
 * starts is owed; who lost to another replica reads the journal and decides again. */
#include "service/scheduler_internal.h"

#include <string.h>

#include "base/log.h"

/* Of one flow in one commit: a shared store takes them one after the other. The rest is decided anew after it. */
#define DECISIONS_MAX 64
#define RULINGS_MAX \
    2000 /* of one commit; flows beyond that are decided in the next, so that others can write between */
#define DECIDE_MS \
    200 /* what was decided in this time is recorded, before more is: flows with a long past take 10 ms each */
#define LOOK_MAX 512 /* flows that a shared store is asked about at once */
#define OWED_PAGE 256

typedef struct {
    Planned *planned;
    ScheduleDecision decision;
} Ruling;

/* ---- how many runs are open ---- */

/* With several replicas, others may have decided what is not made yet. */
static bool take_others_owed(Scheduler *scheduler, const Planned *planned, GError **error)
{
    DecisionKey after = {planned->flow_id, 0};
    bool has_more = scheduler->service->is_shared;
    while (has_more) {
        g_autoptr(DecisionPage) page =
            store_read_owed_decisions(scheduler->service->store, planned->flow_id.text, &after, OWED_PAGE, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_entries; i++) {
            ScheduleDecision decision;
            Id flow_id;
            if (!schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, error))
                return false;
            scheduler_owe(scheduler, &planned->flow_id, &decision);
            after.n = decision.n;
        }
        has_more = page->has_more;
    }
    return true;
}

static bool is_of(const DecisionKey *key, const Planned *planned)
{
    return strcmp(key->flow_id.text, planned->flow_id.text) == 0;
}

/* Whether there are any is all that is asked. Without a rule for overlaps it does not matter. */
static bool count_open(Scheduler *scheduler, const Planned *planned, size_t *ret_n_open, GError **error)
{
    *ret_n_open = 0;
    if (schedule_overlap(planned->schedule) == OVERLAP_ALLOW)
        return true;
    Id run_id;
    if (!take_others_owed(scheduler, planned, error) ||
        !store_list_open_system_runs(scheduler->service->store, planned->flow_id.text, 1, &run_id, ret_n_open, error))
        return false;
    for (guint i = 0; i < scheduler->owed->len; i++)
        *ret_n_open += is_of(&g_array_index(scheduler->owed, Owed, i).key, planned);
    for (guint i = 0; i < scheduler->made->len; i++) /* its document is on its way */
        *ret_n_open += is_of(&g_array_index(scheduler->made, DecisionKey, i), planned);
    return true;
}

/* ---- deciding ---- */

/* NULL in *ret_planned: it was given up. */
static bool decide(Scheduler *scheduler, Planned **ret_planned, int64_t as_of, GArray *rulings)
{
    Planned *planned = *ret_planned;
    Id flow_id = planned->flow_id;
    g_autoptr(GError) error = NULL;
    size_t n_open;
    if (!count_open(scheduler, planned, &n_open, &error)) {
        if (!scheduler_give_up(scheduler, &flow_id, error))
            return false;
        *ret_planned = NULL;
        return true;
    }
    g_autoptr(GArray) decisions = g_array_new(FALSE, FALSE, sizeof(ScheduleDecision));
    (void)schedule_decide(planned->schedule, &planned->state, as_of, n_open, decisions);
    for (guint i = 0; i < MIN(decisions->len, DECISIONS_MAX); i++) {
        Ruling ruling = {planned, g_array_index(decisions, ScheduleDecision, i)};
        g_array_append_val(rulings, ruling);
    }
    return true;
}

/* ---- recording ---- */

static void count(Service *service, const ScheduleDecision *decision)
{
    static const int64_t bounds_ms[LATENESS_BUCKETS - 1] = LATENESS_BOUNDS_MS;
    atomic_fetch_add(&service->schedules.n_decisions[decision->verdict], 1);
    if (decision->verdict != SLOT_STARTED || decision->was_queued)
        return;
    size_t bucket = 0;
    while (bucket < LATENESS_BUCKETS - 1 && decision->late_ms > bounds_ms[bucket])
        bucket++;
    atomic_fetch_add(&service->schedules.n_late[bucket], 1);
    atomic_fetch_add(&service->schedules.late_sum_ms, decision->late_ms);
}

/* What owners have not chosen, one line for a commit: after a long stop there may be very many. */
static void log_skips(const GArray *rulings)
{
    int64_t n_decisions = 0, n_slots = 0;
    const Ruling *first = NULL;
    for (guint i = 0; i < rulings->len; i++) {
        const Ruling *ruling = &g_array_index(rulings, Ruling, i);
        SlotReason reason = ruling->decision.reason;
        if (reason != SLOT_MISFIRE && reason != SLOT_LIMIT && reason != SLOT_QUEUE_FULL)
            continue;
        first = first == NULL ? ruling : first;
        n_decisions++;
        n_slots += ruling->decision.n_slots;
    }
    if (first == NULL)
        return;
    g_autofree char *decisions = g_strdup_printf("%" G_GINT64_FORMAT, n_decisions);
    g_autofree char *slots = g_strdup_printf("%" G_GINT64_FORMAT, n_slots);
    log_event(LOG_WARNING, "slots came too late, or were too many, and do not start", "slots", slots, "decisions",
              decisions, "firstFlowId", first->planned->flow_id.text, NULL);
}

static void take_outcome(Scheduler *scheduler, const Ruling *ruling, WriteOutcome outcome)
{
    Planned *planned = ruling->planned;
    g_autoptr(GError) error = NULL;
    if (outcome != WRITTEN || planned->must_reload) {
        planned->must_reload = true;
        return;
    }
    if (ruling->decision.verdict == SLOT_STARTED)
        scheduler_owe(scheduler, &planned->flow_id, &ruling->decision);
    count(scheduler->service, &ruling->decision);
    if (!schedule_state_fold(&planned->state, &ruling->decision, &error)) {
        log_error(LOG_ERROR, "a decision does not follow the one before it", error, "flowId", planned->flow_id.text,
                  NULL);
        planned->must_reload = true;
    }
}

/* What was decided, written. False: the store failed; what is known of each is taken all the same. */
static bool record(Scheduler *scheduler, const GArray *rulings)
{
    if (rulings->len == 0)
        return true;
    g_autoptr(GString) texts = g_string_sized_new(rulings->len * 512);
    g_autofree size_t *begins = g_new(size_t, rulings->len + 1);
    g_autofree StoreWrite *writes = g_new0(StoreWrite, rulings->len);
    for (guint i = 0; i < rulings->len; i++) {
        const Ruling *ruling = &g_array_index(rulings, Ruling, i);
        begins[i] = texts->len;
        schedule_decision_encode(&ruling->decision, &ruling->planned->flow_id, texts);
    }
    begins[rulings->len] = texts->len;
    for (guint i = 0; i < rulings->len; i++) {
        const Ruling *ruling = &g_array_index(rulings, Ruling, i);
        writes[i] = (StoreWrite){.kind = WRITE_DECISION,
                                 .decision = {.key = {ruling->planned->flow_id, ruling->decision.n},
                                              .text = texts->str + begins[i],
                                              .size = begins[i + 1] - begins[i],
                                              .decided_at = ruling->decision.decided_at,
                                              .is_owed = ruling->decision.verdict == SLOT_STARTED},
                                 .ret_outcome = WRITE_NOTHING};
    }
    WriterItem item = {.kind = ITEM_DECISIONS, .writes = writes, .n_writes = rulings->len};
    bool is_taken = writer_do(scheduler->service, &item, sizeof item + texts->len, &scheduler->latch);
    bool is_written = is_taken && item.result == RESULT_OK;
    for (guint i = 0; i < rulings->len; i++)
        take_outcome(scheduler, &g_array_index(rulings, Ruling, i), writes[i].ret_outcome);
    log_skips(rulings);
    if (!is_written) {
        scheduler->sweep_at = INT64_MIN; /* what may have been recorded is found there */
        scheduler_fail(scheduler, "recording decisions", is_taken ? item.message : "the service ends");
    }
    g_free(item.message);
    return is_written;
}

/* ---- groups ---- */

/* A flow that another replica has changed is not decided by what it was. NULL in the group: it was taken care of. */
static bool make_sure(Scheduler *scheduler, Planned **group, size_t n)
{
    Service *service = scheduler->service;
    Id ids[LOOK_MAX];
    int64_t versions[LOOK_MAX];
    g_assert(n >= 1 && n <= LOOK_MAX);
    for (size_t i = 0; i < n; i++)
        ids[i] = group[i]->flow_id;
    g_autoptr(GError) error = NULL;
    bool is_read = store_get_flow_versions(service->store, ids, n, versions, &error);
    service_note_store(service, error);
    if (!is_read) {
        scheduler_fail(scheduler, "looking for newer versions", error->message);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (versions[i] == schedule_flow_version(group[i]->schedule))
            continue;
        group[i] = NULL;
        if (!scheduler_look_at_flow(scheduler, &ids[i]))
            return false;
    }
    return true;
}

/* The journal as it is, and the version that decided in it last. NULL in *planned: it was taken care of. */
static bool catch_up(Scheduler *scheduler, Planned **planned)
{
    Id flow_id = (*planned)->flow_id;
    if (!(*planned)->must_reload)
        return true;
    if (!scheduler_reload_state(scheduler, planned))
        return false;
    if (*planned == NULL)
        return true;
    if (!schedule_is_stale((*planned)->schedule, &(*planned)->state))
        return true;
    *planned = NULL;
    return scheduler_look_at_flow(scheduler, &flow_id);
}

/* Into *n_said how many decisions each has. NULL in the group: it was taken care of, or is still due: a commit takes only so
 * many decisions and so long. Those are the first of the next group, however far behind others are. */
static bool decide_some(Scheduler *scheduler, Planned **group, size_t n, guint *n_said, GArray *rulings)
{
    const Clock *clock = scheduler->service->clock;
    int64_t began_at = clock_monotonic_ms(clock);
    size_t first = scheduler->decide_from % n;
    bool is_full = false;
    scheduler->decide_from = 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = (first + k) % n;
        if (!is_full && (rulings->len >= RULINGS_MAX || (k > 0 && clock_monotonic_ms(clock) - began_at >= DECIDE_MS))) {
            is_full = true;
            scheduler->decide_from = i;
        }
        if (is_full)
            group[i] = NULL;
        if (group[i] == NULL)
            continue;
        if (!catch_up(scheduler, &group[i]))
            return false;
        guint before = rulings->len;
        if (group[i] != NULL && !decide(scheduler, &group[i], clock_wall_ms(clock), rulings))
            return false;
        n_said[i] = rulings->len - before;
    }
    return true;
}

bool scheduler_decide_group(Scheduler *scheduler, Planned *const *due, size_t n)
{
    Service *service = scheduler->service;
    g_autofree Planned **group = g_memdup2(due, n * sizeof(Planned *));
    g_autofree guint *n_said = g_new0(guint, n);
    g_autoptr(GArray) rulings = g_array_new(FALSE, FALSE, sizeof(Ruling));
    if (service->is_shared && !make_sure(scheduler, group, n))
        return false;
    if (!decide_some(scheduler, group, n, n_said, rulings))
        return false;
    bool is_recorded = record(scheduler, rulings);
    for (size_t i = 0; i < n; i++)
        if (group[i] != NULL)
            scheduler_plan(scheduler, group[i], n_said[i] > 0);
    return is_recorded;
}

bool scheduler_end_queue(Scheduler *scheduler, Planned *planned, const Flow *newest)
{
    for (;;) {
        g_autoptr(GArray) rulings = g_array_new(FALSE, FALSE, sizeof(Ruling));
        Ruling ruling;
        if (planned->must_reload) {
            if (!scheduler_reload_state(scheduler, &planned))
                return false;
            if (planned == NULL)
                return true;
        }
        ruling.planned = planned;
        if (!schedule_end_queue(&planned->state, newest, clock_wall_ms(scheduler->service->clock), &ruling.decision))
            return true;
        g_array_append_val(rulings, ruling);
        if (!record(scheduler, rulings))
            return false;
    }
}

bool scheduler_decide_until(Scheduler *scheduler, Planned *planned, int64_t as_of)
{
    for (;;) {
        g_autoptr(GArray) rulings = g_array_new(FALSE, FALSE, sizeof(Ruling));
        if (planned->must_reload) {
            if (!scheduler_reload_state(scheduler, &planned))
                return false;
            if (planned == NULL)
                return true;
        }
        if (!decide(scheduler, &planned, as_of, rulings))
            return false;
        if (planned == NULL || rulings->len == 0)
            return true;
        if (!record(scheduler, rulings))
            return false;
    }
}
