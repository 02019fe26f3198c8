/* scheduler_backfill.c - what open backfills do next. Each is looked at when it was made or steered, when a run of its flow
 * has ended, and now and then. An entry of its journal is recorded first and carried out after: the runs of the slots that
 * it starts are made by whoever recorded it, or, should that replica have died, by another one. With several replicas all of
 * them look, one records, the others reload. */
#include "service/scheduler_internal.h"

#include <string.h>

#include "base/log.h"
#include "service/backfills.h"

#define LOOK_MS 5000        /* should the end of a run go unheard */
#define SHARED_LOOK_MS 1000 /* the same where runs end at other replicas */
#define POLL_MS 2000        /* shared store: what other replicas have taken in */
#define POLL_PAGE 200
#define STEP_MS 200            /* of one step: slots that are due come before backfills */
#define DAMAGED_LOOK_MS 600000 /* for one that cannot go on; it is told each time */
#define OTHERS_AGE_MS 10000    /* runs that its replica did not make in this time, it will not make any more */

typedef struct {
    Id id; /* first: it is the key of by_id */
    Backfill state;
    BackfillPlan plan; /* n_slots as in the state, once it was read */
    bool is_read, must_reload;
    int64_t n_made;     /* slots of the plan whose runs are known to have been there */
    int64_t own_n;      /* the last entry that this process recorded; 0: none */
    int64_t owed_n;     /* the entry of another process whose runs are not there yet, */
    int64_t owed_since; /* and since when this one sees that; monotonic */
    int64_t look_at;    /* monotonic */
    int64_t turn;       /* of its last look; 0: it had none */
} OpenBackfill;

struct OpenBackfills {
    GHashTable *by_id; /* id -> OpenBackfill, owns */
    bool is_loaded;
    int64_t poll_at; /* monotonic; shared store */
    int64_t n_turns;
};

typedef enum {
    LOOK_DONE,
    LOOK_OVER,   /* nothing is left to do: it is forgotten */
    LOOK_STUCK,  /* damage, told: it waits, and others go on */
    LOOK_FAILED, /* told; to be tried again */
} Look;

static void open_backfill_free(void *value)
{
    OpenBackfill *open = value;
    backfill_plan_done(&open->plan);
    g_free(open);
}

OpenBackfills *open_backfills_new(void)
{
    OpenBackfills *backfills = g_new0(OpenBackfills, 1);
    backfills->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, open_backfill_free);
    return backfills;
}

void open_backfills_free(OpenBackfills *backfills)
{
    if (backfills == NULL)
        return;
    g_hash_table_unref(backfills->by_id);
    g_free(backfills);
}

static OpenBackfill *add(OpenBackfills *backfills, const Id *id)
{
    OpenBackfill *open = g_hash_table_lookup(backfills->by_id, id->text);
    if (open == NULL && g_hash_table_size(backfills->by_id) < BACKFILLS_OPEN_MAX) {
        open = g_new0(OpenBackfill, 1);
        open->id = *id;
        open->must_reload = true;
        g_hash_table_insert(backfills->by_id, open->id.text, open);
    }
    return open;
}

void scheduler_backfills_note_end(Scheduler *scheduler, const Id *flow_id)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, scheduler->backfills->by_id);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        OpenBackfill *open = value;
        if (strcmp(open->state.flow_id.text, flow_id->text) == 0)
            open->look_at = 0;
    }
}

/* ---- which there are ---- */

/* Those that were made or steered here. */
static void take_noted(Scheduler *scheduler)
{
    SchedulerNotes *notes = &scheduler->service->notes;
    g_autoptr(GHashTable) noted = NULL;
    GHashTableIter iter;
    gpointer id;
    {
        MUTEX_SCOPE(&notes->mu);
        noted = notes->backfills;
        notes->backfills = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
    g_hash_table_iter_init(&iter, noted);
    while (g_hash_table_iter_next(&iter, &id, NULL)) {
        OpenBackfill *open = add(scheduler->backfills, id);
        if (open == NULL)
            continue; /* beyond the bound: it is found when others have ended */
        open->must_reload = true;
        open->look_at = 0;
    }
}

/* All that are open, whoever took them in. */
static bool poll(Scheduler *scheduler)
{
    OpenBackfills *backfills = scheduler->backfills;
    Service *service = scheduler->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    Id ids[POLL_PAGE], after = {""};
    size_t n = POLL_PAGE;
    if (backfills->is_loaded && now_ms < backfills->poll_at)
        return true;
    while (n == POLL_PAGE) {
        g_autoptr(GError) error = NULL;
        bool is_read = store_list_open_backfills(service->store, after.text, POLL_PAGE, ids, &n, &error);
        service_note_store(service, error);
        if (!is_read) {
            scheduler_fail(scheduler, "looking for backfills", error->message);
            return false;
        }
        for (size_t i = 0; i < n; i++)
            (void)add(backfills, &ids[i]); /* beyond the bound: at a later look */
        if (n > 0)
            after = ids[n - 1];
    }
    backfills->is_loaded = true;
    backfills->poll_at = now_ms + (service->is_shared ? POLL_MS : LOOK_MS);
    return true;
}

/* ---- its state ---- */

static Look fail_with(Scheduler *scheduler, const OpenBackfill *open, const char *doing, const GError *error)
{
    if (flowops_error_is_retryable(error) || error->code == FLOWOPS_UNKNOWN) {
        service_note_store(scheduler->service, error);
        scheduler_fail(scheduler, doing, error->message);
        return LOOK_FAILED;
    }
    log_error(LOG_ERROR, "a backfill cannot go on here", error, "backfillId", open->id.text, NULL);
    return LOOK_STUCK;
}

static Look reload(Scheduler *scheduler, OpenBackfill *open)
{
    g_autoptr(GError) error = NULL;
    if (open->is_read && !open->must_reload && !scheduler->service->is_shared)
        return LOOK_DONE;
    if (!service_load_backfill(scheduler->service, &open->id, &open->state, open->is_read ? NULL : &open->plan, &error))
        return error->code == FLOWOPS_NOT_FOUND ? LOOK_OVER : fail_with(scheduler, open, "reading backfills", error);
    if ((int64_t)open->plan.n_slots != open->state.n_slots) {
        log_event(LOG_ERROR, "a backfill cannot go on: its plan is another's", "backfillId", open->id.text, NULL);
        return LOOK_STUCK;
    }
    open->is_read = true;
    open->must_reload = false;
    open->n_made = MAX(open->n_made, open->state.n_made);
    return LOOK_DONE;
}

/* Records an entry; when another one was first, it is read at once. */
static Look append(Scheduler *scheduler, OpenBackfill *open, const Backfill *next)
{
    g_autoptr(GError) error = NULL;
    if (service_append_backfill(scheduler->service, next, NULL, &scheduler->latch, &error)) {
        open->state = *next;
        open->own_n = next->n;
        open->n_made = MAX(open->n_made, next->n_made);
        return LOOK_DONE;
    }
    open->must_reload = true;
    open->look_at = 0;
    if (error->code == FLOWOPS_CONFLICT)
        return LOOK_DONE;
    if (error->code != FLOWOPS_BUSY)
        return fail_with(scheduler, open, "recording what backfills do", error);
    return LOOK_FAILED; /* the service ends */
}

/* What lists show was left behind by a writer that died: a second writer of the newest entry is told of a conflict, and brings it
 * forward. */
static Look heal(Scheduler *scheduler, const OpenBackfill *open)
{
    g_autoptr(GError) error = NULL;
    if (!scheduler->service->is_shared || open->state.n == 1 || open->own_n == open->state.n ||
        service_append_backfill(scheduler->service, &open->state, NULL, &scheduler->latch, &error) ||
        error->code == FLOWOPS_CONFLICT)
        return LOOK_OVER;
    return fail_with(scheduler, open, "recording what backfills do", error);
}

/* ---- its flow ---- */

/* The newest version: runs take what the flow has when they start. *ret_reason: why nothing can be started any more; then the
 * flow is NULL. What is not known here alone, like a time zone, is no such reason: other replicas may know it. */
static Look load_flow(Scheduler *scheduler, const OpenBackfill *open, Flow **ret_flow, Schedule **ret_schedule,
                      BackfillReason *ret_reason)
{
    Service *service = scheduler->service;
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = service_load_flow(service, open->state.flow_id.text, 0, &error);
    if (flow == NULL && error->code != FLOWOPS_NOT_FOUND)
        return fail_with(scheduler, open, "reading flows", error);
    *ret_reason = BACKFILL_NO_REASON;
    if (flow == NULL || flow->is_deleted)
        *ret_reason = BACKFILL_FLOW_DELETED;
    else if (flow->cron == NULL)
        *ret_reason = BACKFILL_NO_CRON;
    else if ((*ret_schedule = service_open_schedule(service, flow, &error)) == NULL)
        return fail_with(scheduler, open, "reading schedules", error);
    else
        *ret_flow = g_steal_pointer(&flow);
    return LOOK_DONE;
}

/* ---- its runs ---- */

static void slot_starts_free(SlotStart *starts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        text_map_done(&starts[i].inputs);
    g_free(starts);
}

static bool make_runs(Scheduler *scheduler, SlotStart *starts, size_t n, Look *ret_look)
{
    WriterItem item = {.kind = ITEM_SLOTS, .slots = starts, .n_slots = n};
    size_t weight = sizeof item + n * sizeof *starts;
    bool is_refused = false;
    for (size_t i = 0; i < n; i++)
        weight += text_map_size_bytes(&starts[i].inputs);
    bool is_taken = writer_do(scheduler->service, &item, weight, &scheduler->latch);
    bool is_done = is_taken && item.result == RESULT_OK;
    for (size_t i = 0; i < n && is_done; i++)
        is_refused = is_refused || starts[i].is_refused;
    if (!is_done)
        scheduler_fail(scheduler, "starting runs", is_taken ? item.message : "the service ends");
    else if (is_refused)
        scheduler_fail(scheduler, "starting runs", "MAX_OPEN_RUNS are going");
    g_free(item.message);
    *ret_look = is_done && !is_refused ? LOOK_DONE : LOOK_FAILED;
    return *ret_look == LOOK_DONE;
}

/* Another replica's entry is left to it for a while. */
static bool is_ours_to_make(const Scheduler *scheduler, OpenBackfill *open)
{
    int64_t now_ms = clock_monotonic_ms(scheduler->service->clock);
    if (!scheduler->service->is_shared || open->own_n == open->state.n)
        return true;
    if (open->owed_n != open->state.n) {
        open->owed_n = open->state.n;
        open->owed_since = now_ms;
    }
    return now_ms - open->owed_since >= OTHERS_AGE_MS;
}

/* Makes the runs of the slots that were started and not made. Those that are there already stay as they are. */
static Look carry_out(Scheduler *scheduler, OpenBackfill *open, Flow *flow, const Schedule *schedule)
{
    size_t first = (size_t)open->n_made, n = (size_t)open->state.n_started - first;
    if (n == 0 || flow == NULL || !is_ours_to_make(scheduler, open))
        return LOOK_DONE;
    SlotStart *starts = g_new0(SlotStart, n);
    Look look = LOOK_DONE;
    for (size_t i = 0; i < n && look == LOOK_DONE; i++) {
        g_autoptr(GError) error = NULL;
        int64_t slot = open->plan.slots[first + i];
        starts[i] = (SlotStart){
            .flow = flow, .run_id = schedule_run_id(&flow->id, slot), .slot = slot, .backfill_id = &open->id};
        if (!schedule_run_inputs(schedule, flow, slot, &starts[i].inputs, &error))
            look = fail_with(scheduler, open, "starting runs", error);
    }
    if (look == LOOK_DONE && make_runs(scheduler, starts, n, &look))
        open->n_made = open->state.n_started;
    slot_starts_free(starts, n);
    return look;
}

/* The run of an open slot. One that is not there and was not made either is still to come, unless its flow is gone. */
static Look find_run(Scheduler *scheduler, const OpenBackfill *open, int64_t slot, bool is_flow_gone, SlotRun *ret_run)
{
    g_autoptr(GError) error = NULL;
    Id run_id = schedule_run_id(&open->state.flow_id, slot);
    RunView *view = service_load_document(scheduler->service, run_id.text, &error);
    if (view == NULL && error->code != FLOWOPS_NOT_FOUND)
        return fail_with(scheduler, open, "reading runs", error);
    bool is_unmade = open->n_made < open->state.n_started && slot >= open->plan.slots[open->n_made];
    if (view != NULL)
        *ret_run = view->phase == PHASE_OPEN ? SLOT_RUN_OPEN : slot_run_of(view->status);
    else
        *ret_run = is_unmade && !is_flow_gone ? SLOT_RUN_OPEN : SLOT_RUN_DELETED;
    run_view_unref(view);
    return LOOK_DONE;
}

/* ---- a look ---- */

/* What comes next, recorded and carried out. */
static Look advance(Scheduler *scheduler, OpenBackfill *open, Flow *flow, const Schedule *schedule, bool is_flow_gone)
{
    SlotRun runs[BACKFILL_PARALLEL_MAX];
    Backfill next;
    Look look = carry_out(scheduler, open, flow, schedule);
    for (size_t i = 0; i < open->state.n_open && look == LOOK_DONE; i++)
        look = find_run(scheduler, open, open->state.open[i], is_flow_gone, &runs[i]);
    bool is_owed = open->n_made < open->state.n_started && !is_flow_gone;
    if (look != LOOK_DONE || is_owed ||
        !backfill_advance(&open->state, &open->plan, runs, clock_wall_ms(scheduler->service->clock), &next))
        return look;
    look = append(scheduler, open, &next);
    return look == LOOK_DONE && !open->must_reload ? carry_out(scheduler, open, flow, schedule) : look;
}

static Look cancel(Scheduler *scheduler, OpenBackfill *open, BackfillReason reason)
{
    Backfill next;
    if (backfill_command(&open->state, BACKFILL_CANCEL, reason, NULL, clock_wall_ms(scheduler->service->clock),
                         &next) != BACKFILL_APPEND)
        return LOOK_DONE;
    return append(scheduler, open, &next);
}

static Look look_at(Scheduler *scheduler, OpenBackfill *open)
{
    g_autoptr(Flow) flow = NULL;
    g_autoptr(Schedule) schedule = NULL;
    BackfillReason reason = BACKFILL_NO_REASON;
    open->look_at =
        clock_monotonic_ms(scheduler->service->clock) + (scheduler->service->is_shared ? SHARED_LOOK_MS : LOOK_MS);
    Look look = reload(scheduler, open);
    if (look != LOOK_DONE)
        return look;
    if (!backfill_is_open(&open->state))
        return heal(scheduler, open);
    bool is_cancelled = open->state.status == BACKFILL_CANCELLED;
    bool has_more = open->n_made < (is_cancelled ? open->state.n_started : open->state.n_slots);
    look = has_more ? load_flow(scheduler, open, &flow, &schedule, &reason) : LOOK_DONE;
    if (look == LOOK_DONE && reason != BACKFILL_NO_REASON)
        look = cancel(scheduler, open, reason);
    if (look == LOOK_DONE && !open->must_reload)
        look = advance(scheduler, open, flow, schedule, reason != BACKFILL_NO_REASON);
    return look == LOOK_DONE && !open->must_reload && !backfill_is_open(&open->state) ? LOOK_OVER : look;
}

static gint compare_turns(gconstpointer a, gconstpointer b)
{
    const OpenBackfill *one = *(OpenBackfill *const *)a, *other = *(OpenBackfill *const *)b;
    return one->turn < other->turn ? -1 : one->turn > other->turn;
}

/* Those that are to be looked at, first who has waited longest: there may be more than a step has time for. */
static GPtrArray *list_due(const OpenBackfills *backfills, int64_t now_ms)
{
    GPtrArray *due = g_ptr_array_new();
    GHashTableIter iter;
    gpointer open;
    g_hash_table_iter_init(&iter, backfills->by_id);
    while (g_hash_table_iter_next(&iter, NULL, &open)) {
        if (((const OpenBackfill *)open)->look_at <= now_ms)
            g_ptr_array_add(due, open);
    }
    g_ptr_array_sort(due, compare_turns);
    return due;
}

bool scheduler_backfills_step(Scheduler *scheduler)
{
    OpenBackfills *backfills = scheduler->backfills;
    const Clock *clock = scheduler->service->clock;
    int64_t now_ms = clock_monotonic_ms(clock), end_ms = now_ms + STEP_MS;
    take_noted(scheduler);
    if (!poll(scheduler))
        return false;
    g_autoptr(GPtrArray) due = list_due(backfills, now_ms);
    for (guint i = 0; i < due->len && now_ms < end_ms && !scheduler_is_over(scheduler); i++) {
        OpenBackfill *open = g_ptr_array_index(due, i);
        open->turn = ++backfills->n_turns;
        Look look = look_at(scheduler, open);
        if (look == LOOK_STUCK)
            open->look_at = now_ms + DAMAGED_LOOK_MS;
        else if (look == LOOK_FAILED)
            open->look_at = 0;
        else if (look == LOOK_OVER)
            g_hash_table_remove(backfills->by_id, open->id.text);
        if (look == LOOK_FAILED)
            return false;
        now_ms = clock_monotonic_ms(clock);
    }
    return true;
}

int64_t scheduler_backfills_wait(const Scheduler *scheduler, int64_t max_ms)
{
    int64_t now_ms = clock_monotonic_ms(scheduler->service->clock), wait_ms = max_ms;
    GHashTableIter iter;
    gpointer open;
    g_hash_table_iter_init(&iter, scheduler->backfills->by_id);
    while (g_hash_table_iter_next(&iter, NULL, &open))
        wait_ms = MIN(wait_ms, ((const OpenBackfill *)open)->look_at - now_ms);
    return MAX(wait_ms, 0);
}
