/* The one place where the service's state changes. HTTP commands and engine statuses wait in one queue; the writer takes
 * what has queued, decides each on the state that the ones before it lead to, appends everything with one flush (group
 * commit) and only then makes it visible and answers. What decides nothing is answered after the same flush, so that an
 * answer never rests on a state that could still fail. */
#include "service/writer_internal.h"

#include "base/log.h"
#include "service/run_row.h"

static void touched_free(void *data)
{
    TouchedRun *touched = data;
    run_view_unref(touched->base);
    run_view_unref(touched->view);
    run_free(touched->work);
    if (touched->events != NULL) {
        g_string_free(touched->events, TRUE);
        g_array_unref(touched->event_sizes);
        g_array_unref(touched->command_seqs);
        g_ptr_array_unref(touched->orders);
    }
    g_free(touched);
}

Group *group_new(Service *service)
{
    Group *group = g_new0(Group, 1);
    group->service = service;
    group->now_ms = clock_wall_ms(service->clock);
    group->by_run = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, touched_free);
    group->touched = g_ptr_array_new();
    group->items = g_ptr_array_new();
    group->flows = g_ptr_array_new();
    group->published = g_array_new(FALSE, FALSE, sizeof(RunSeq));
    group->refreshed = g_ptr_array_new();
    group->flow_versions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return group;
}

void group_free(Group *group)
{
    g_hash_table_unref(group->by_run);
    g_ptr_array_unref(group->touched);
    g_ptr_array_unref(group->items);
    g_ptr_array_unref(group->flows);
    g_array_unref(group->published);
    g_ptr_array_unref(group->refreshed);
    g_hash_table_unref(group->flow_versions);
    g_clear_error(&group->store_error);
    g_free(group);
}

void call_fail(ServiceCall *call, CallResult result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_free(call->message);
    call->message = g_strdup_vprintf(format, args);
    va_end(args);
    call->result = result;
}

/* Between two of these lie no more than a few calls of the store, each of which ends by itself. */
static void writer_step(Service *service)
{
    atomic_fetch_add(&service->n_writer_steps, 1);
}

void item_answer(WriterItem *item)
{
    if (item->kind == ITEM_CALL && item->result != RESULT_OK) /* whatever was decided rested on what is not there */
        call_fail(item->call, item->result, "%s", item->message != NULL ? item->message : "the store failed");
    item->done(item);
}

bool precondition_holds(const Precondition *precondition, int64_t tag)
{
    if (!precondition->is_set || precondition->is_any)
        return true;
    for (size_t i = 0; i < precondition->n_tags; i++)
        if (precondition->tags[i] == tag)
            return true;
    return false;
}

/* ---- from a group to the store's writes ---- */

static RunRow row_of(const RunView *view, size_t summary_size, const char *updated_by)
{
    RunRow row = run_row_of(view->run, view->detail, view->detail_size, summary_size);
    row.created_by = row.updated_by = updated_by;
    return row;
}

/* The state after the group's events, as it will be shown and stored. */
static void touched_build_view(Group *group, TouchedRun *touched)
{
    const Run *run = touched->work;
    GString *detail = g_string_sized_new(1024);
    size_t summary_size = run_encode_detail(run, detail);
    size_t detail_size = detail->len;
    RunPhase phase = run_phase(run);
    RunView *view = run_view_new(&run->id, &run->flow_id, &run->owner, run->status, phase, run->seq, touched->work,
                                 g_string_free(detail, FALSE), detail_size);
    if (phase != PHASE_OPEN)
        view->ended_monotonic_ms = touched->base != NULL && touched->base->phase != PHASE_OPEN
                                       ? touched->base->ended_monotonic_ms
                                       : clock_monotonic_ms(group->service->clock);
    touched->view = view;
    touched->row = row_of(view, summary_size, touched->updated_by);
}

/* A document that is to be written again, from the state as it is. */
static void touched_build_row(TouchedRun *touched)
{
    g_autoptr(GString) detail = g_string_sized_new(touched->base->detail_size + 1);
    size_t summary_size = run_encode_detail(touched->base->run, detail);
    touched->row = row_of(touched->base, summary_size, "service");
}

static size_t group_build_writes(Group *group, StoreWrite *writes)
{
    size_t n = 0;
    for (guint i = 0; i < group->flows->len; i++)
        writes[n++] = (StoreWrite){.kind = WRITE_FLOW, .flow = group->flows->pdata[i]};
    for (guint i = 0; i < group->touched->len; i++) {
        TouchedRun *touched = group->touched->pdata[i];
        if (touched->work == NULL)
            continue;
        touched_build_view(group, touched);
        int64_t n_events = touched->event_sizes->len;
        writes[n++] = (StoreWrite){.kind = WRITE_RUN,
                                   .run = {
                                       .first_seq = touched->work->seq - n_events + 1,
                                       .n_events = n_events,
                                       .events = touched->events->str,
                                       .events_size = touched->events->len,
                                       .row = &touched->row,
                                       .command_seqs = (const int64_t *)(void *)touched->command_seqs->data,
                                       .n_commands = touched->command_seqs->len,
                                       .supersedes_commands = touched->supersedes_commands,
                                   }};
    }
    for (guint i = 0; i < group->refreshed->len; i++) {
        TouchedRun *touched = group->refreshed->pdata[i];
        if (touched->work != NULL)
            continue; /* its append brings the document */
        touched_build_row(touched);
        writes[n++] = (StoreWrite){.kind = WRITE_PROJECTION, .projection = &touched->row};
    }
    for (guint i = 0; i < group->published->len; i++)
        writes[n++] = (StoreWrite){.kind = WRITE_PUBLISHED, .published = g_array_index(group->published, RunSeq, i)};
    return n;
}

/* ---- after the commit ---- */

static void touched_publish(Service *service, TouchedRun *touched)
{
    RunView *view = touched->view;
    touched->work = NULL; /* the view's now */
    bool was_open = touched->base != NULL && touched->base->phase == PHASE_OPEN;
    atomic_fetch_add(&service->n_open_runs, (view->phase == PHASE_OPEN) - was_open);
    atomic_fetch_add(&service->n_appends, 1);
    atomic_fetch_add(&service->n_events_appended, touched->event_sizes->len);
    commits_count_statuses(service, touched);
    cache_put(service->runs, view->run_id.text, view, run_view_version(view), run_view_size_bytes(view));
    if (was_open && view->phase != PHASE_OPEN && g_strcmp0(view->run->triggered_by, SYSTEM_TRIGGER) == 0)
        scheduler_note_end(service, &view->flow_id); /* who hears of it finds the state in the cache */

    g_autofree HubEvent *events = g_new(HubEvent, touched->event_sizes->len);
    const char *text = touched->events->str;
    for (guint i = 0; i < touched->event_sizes->len; i++) {
        size_t size = g_array_index(touched->event_sizes, size_t, i);
        events[i] = (HubEvent){.text = text, .size = size};
        text += size + 1;
    }
    hub_ring(service->hub, view->run_id.text, view->seq - (int64_t)touched->event_sizes->len + 1, events,
             touched->event_sizes->len);
    if (service->is_shared) {
        service_note_seq(service, view->run_id.text, view->seq);
        bus_publish_update(service->bus, view->run_id.text, view->seq);
    }
}

/* Hands the relay what it is to publish. What does not fit, or must wait for an engine, is in the outbox. */
static void touched_order(Service *service, TouchedRun *touched)
{
    for (guint i = 0; i < touched->orders->len; i++) {
        Order *order = touched->orders->pdata[i];
        order->view = run_view_ref(touched->view);
        if (atomic_load(&service->is_relay_open) &&
            queue_try_push(service->orders, order, order_size_bytes(order)) == QUEUE_OK)
            touched->orders->pdata[i] = NULL;
        else
            atomic_store(&service->is_outbox_behind, true);
    }
}

/* Takes the outcomes out of the writes, in the order group_build_writes() made them. */
static void group_take_outcomes(Group *group, const StoreWrite *writes, GHashTable *lost_flows)
{
    Service *service = group->service;
    size_t n = 0;
    bool has_commands = false;
    for (guint i = 0; i < group->flows->len; i++, n++) {
        Flow *flow = group->flows->pdata[i];
        if (writes[n].ret_outcome != WRITTEN)
            g_hash_table_insert(lost_flows, flow, GINT_TO_POINTER(writes[n].ret_outcome));
        if (writes[n].ret_outcome == WRITE_UNKNOWN)
            scheduler_note_flow(service, &flow->id);
    }
    for (guint i = 0; i < group->touched->len; i++) {
        TouchedRun *touched = group->touched->pdata[i];
        if (touched->work == NULL)
            continue; /* as group_make_sure() found it */
        touched->outcome = writes[n++].ret_outcome;
        if (touched->outcome == WRITTEN) {
            has_commands = has_commands || touched->command_seqs->len > 0;
            touched_publish(service, touched);
            touched_order(service, touched);
        } else {
            touched->work = NULL; /* freed with the view */
            cache_remove(service->runs, touched->run_id.text);
        }
    }
    if (has_commands)
        bell_ring(&service->relay_bell);
}

/* ---- a shared store: is what decided nothing true of the newest state? ---- */

/* False: the store does not answer, now or earlier in this group. */
static bool ask_for_newer(Group *group, const RunSeq *known, size_t n, bool *ret_is_newer)
{
    if (n == 0 || group->store_error != NULL)
        return n == 0;
    g_autoptr(GError) error = NULL;
    bool is_asked = store_find_newer(group->service->store, known, n, ret_is_newer, &error);
    service_note_store(group->service, error);
    group_note_failure(group, error);
    return is_asked;
}

/* Asks for all that rests on a state which another process may have left behind. One that did is dropped from the cache,
 * and what rests on it is decided again like what lost an append. */
static void group_make_sure(Group *group)
{
    Service *service = group->service;
    for (guint i = 0; i < group->touched->len; i++)
        ((TouchedRun *)group->touched->pdata[i])->outcome = WRITTEN;
    if (!service->is_shared)
        return;
    RunSeq known[WRITE_LOOK_MAX];
    TouchedRun *asked[WRITE_LOOK_MAX];
    bool is_newer[WRITE_LOOK_MAX];
    for (guint at = 0; at < group->touched->len;) {
        size_t n = 0;
        for (; at < group->touched->len && n < WRITE_LOOK_MAX; at++) {
            TouchedRun *touched = group->touched->pdata[at];
            if (touched->work != NULL || touched->is_current || !touched->rests_on_base)
                continue; /* an append finds out by itself */
            known[n] = (RunSeq){.run_id = touched->run_id, .seq = touched->base->seq};
            asked[n++] = touched;
        }
        bool is_asked = ask_for_newer(group, known, n, is_newer);
        for (size_t i = 0; i < n; i++) {
            if (is_asked && !is_newer[i])
                continue;
            asked[i]->outcome = is_asked ? WRITE_CONFLICT : WRITE_NOTHING;
            cache_remove(service->runs, asked[i]->run_id.text);
        }
    }
}

static CallResult result_of_outcome(WriteOutcome outcome)
{
    switch (outcome) {
    case WRITTEN:
        return RESULT_OK;
    case WRITE_REFUSED:
        return RESULT_INVALID;
    case WRITE_CONFLICT:
        return RESULT_CONFLICT;
    case WRITE_NOTHING:
        return RESULT_UNAVAILABLE;
    case WRITE_UNKNOWN:
        return RESULT_UNKNOWN;
    }
    return RESULT_INTERNAL;
}

/* What an item rests on: a call on its run or flow, a batch on the whole group. */
static CallResult item_outcome(const WriterItem *item, GHashTable *lost_flows, CallResult worst)
{
    if (item->kind != ITEM_CALL)
        return worst;
    if (item->flow != NULL)
        return result_of_outcome(GPOINTER_TO_INT(g_hash_table_lookup(lost_flows, item->flow)));
    return item->touched != NULL ? result_of_outcome(item->touched->outcome) : RESULT_OK;
}

/* What concerns the runs that lost, or that were refused, is given up; the others of the batch go on. */
static void leave_runs_alone(Group *group, WriterItem *item)
{
    for (size_t i = item->n_settled; i < item->n_taken; i++) {
        StatusItem *status = &item->statuses[i];
        const TouchedRun *touched = g_hash_table_lookup(group->by_run, status->message->run_id.text);
        if (touched == NULL || touched->outcome == WRITTEN)
            continue;
        status->outcome = STATUS_REJECTED;
        g_free(status->reason);
        status->reason =
            g_strdup_printf("run %s: %s", touched->run_id.text,
                            touched->outcome == WRITE_REFUSED ? "with this it would be larger than the store takes"
                                                              : "every append was in conflict");
    }
    for (size_t i = 0; i < item->n_slots; i++) {
        const TouchedRun *touched = g_hash_table_lookup(group->by_run, item->slots[i].run_id.text);
        if (touched != NULL && touched->outcome == WRITE_REFUSED)
            item->slots[i].is_refused = true;
    }
}

/* It lost again and again. A call is told to try later, and so is a batch when others write, too. In a store of our own, only
 * what concerns the runs in conflict is given up, since a journal and a document that contradict each other will not get
 * better, and the others must go on. */
static void item_give_up(Group *group, WriterItem *item)
{
    if (item->kind == ITEM_CALL || group->service->is_shared) {
        item->result = RESULT_UNAVAILABLE;
        return;
    }
    item->result = RESULT_OK;
    leave_runs_alone(group, item);
    for (guint i = 0; i < group->touched->len; i++) {
        const TouchedRun *touched = group->touched->pdata[i];
        if (touched->outcome == WRITE_CONFLICT)
            log_event(LOG_ERROR, "every append to a run was in conflict; it was left alone", "runId",
                      touched->run_id.text, NULL);
    }
}

/* The store will never take something that this rests on, and the rest of the group is durable. */
static void item_take_refusal(Group *group, WriterItem *item)
{
    item->result = RESULT_OK;
    if (item->kind != ITEM_CALL) {
        leave_runs_alone(group, item);
        return;
    }
    item->touched = NULL;
    item->flow = NULL;
    call_fail(item->call, RESULT_CONFLICT, "this would be larger than the store takes; nothing was changed");
}

static void item_finish(Service *service, WriterItem *item)
{
    if (item->kind == ITEM_CALL && item->result == RESULT_OK) {
        ServiceCall *call = item->call;
        if (item->flow != NULL) {
            flow_answer(service, call, item->flow);
        } else if (call->kind == CALL_COMMAND_RUN && item->touched != NULL) {
            TouchedRun *touched = item->touched;
            call->view = run_view_ref(touched->view != NULL ? touched->view : touched->base);
        }
    }
    item->touched = NULL;
    item->flow = NULL;
    item_answer(item);
}

static CallResult group_worst(const Group *group, const StoreWrite *writes, size_t n_writes)
{
    WriteOutcome worst = WRITTEN;
    for (size_t i = 0; i < n_writes; i++)
        worst = MAX(worst, writes[i].ret_outcome);
    for (guint i = 0; i < group->touched->len; i++)
        worst = MAX(worst, ((const TouchedRun *)group->touched->pdata[i])->outcome);
    return result_of_outcome(worst);
}

/* After a write whose outcome stayed open, runs are counted anew once the store answers. */
static void settle_open_count(Service *service, bool is_written, const GError *error)
{
    int64_t n_open;
    if (!is_written) {
        service->is_open_count_unsure = service->is_open_count_unsure || error->code == FLOWOPS_UNKNOWN;
    } else if (service->is_open_count_unsure && store_count_open_runs(service->store, NULL, &n_open, NULL)) {
        atomic_store(&service->n_open_runs, n_open);
        service->is_open_count_unsure = false;
    }
}

/* True: what this group took of a batch is settled, and the next group takes what it left. */
static bool has_more_to_take(WriterItem *item)
{
    if (item->kind != ITEM_STATUSES || item->result != RESULT_OK)
        return false;
    item->n_settled = item->n_taken;
    item->n_attempts = 0;
    return item->n_settled < item->n_statuses;
}

/* Commits the group and answers its items; those that lost to another writer come back in the result, to be decided
 * again, and so do batches that one group does not hold (an item is freed by its maker right after it was answered, so
 * nothing here looks at it later). */
static GPtrArray *group_commit(Group *group)
{
    Service *service = group->service;
    writer_step(service);
    g_autoptr(GError) error = NULL;
    group_make_sure(group);
    g_autofree StoreWrite *writes =
        g_new(StoreWrite, group->flows->len + 2 * group->touched->len + group->published->len + 1);
    size_t n_writes = group_build_writes(group, writes);
    if (n_writes > 0) {
        bool was_up = atomic_load(&service->is_store_up);
        bool is_written = writer_commit(service, writes, n_writes, group->items->len, &error);
        if (!is_written && error->code == FLOWOPS_INVALID)
            log_error(LOG_ERROR, "the store will never take this write; its run was left alone", error, NULL);
        else if (!is_written && was_up)
            log_error(LOG_ERROR, "the store refused a write; its callers get 503", error, NULL);
        service_note_store(service, error);
    }
    g_autoptr(GHashTable) lost_flows = g_hash_table_new(g_direct_hash, g_direct_equal);
    group_take_outcomes(group, writes, lost_flows);
    if (n_writes > 0)
        settle_open_count(service, error == NULL, error);
    CallResult worst = group_worst(group, writes, n_writes);

    GPtrArray *again = g_ptr_array_new();
    for (guint i = 0; i < group->items->len; i++) {
        WriterItem *item = group->items->pdata[i];
        if (item->result == RESULT_OK)
            item->result = item_outcome(item, lost_flows, worst);
        if (item->result == RESULT_CONFLICT && ++item->n_attempts < WRITE_ATTEMPTS) {
            g_ptr_array_add(again, item);
            continue;
        }
        if (item->result == RESULT_CONFLICT)
            item_give_up(group, item);
        else if (item->result == RESULT_INVALID)
            item_take_refusal(group, item);
        if (has_more_to_take(item)) {
            g_ptr_array_add(again, item);
            continue;
        }
        if (item->result != RESULT_OK && item->message == NULL)
            item->message = g_strdup(error != NULL ? error->message : "other writers were first again and again");
        item_finish(service, item);
    }
    return again;
}

static void group_take(Group *group, WriterItem *item)
{
    writer_step(group->service);
    item->result = RESULT_OK;
    item->touched = NULL;
    item->flow = NULL;
    if (item->kind == ITEM_CALL) {
        item->call->result = RESULT_OK;
        g_clear_pointer(&item->call->message, g_free);
    }
    if (item->kind == ITEM_CALL && item->call->kind == CALL_CREATE_FLOW)
        group_take_flow_creation(group, item);
    else if (item->kind == ITEM_PUBLISHED)
        g_array_append_vals(group->published, item->published, (guint)item->n_published);
    else
        group_take_run_item(group, item);
    g_ptr_array_add(group->items, item);
}

static void group_finish(Group *group)
{
    Service *service = group->service;
    for (;;) {
        g_autoptr(GPtrArray) again = group_commit(group);
        group_free(group);
        if (again->len == 0)
            return;
        group = group_new(service);
        group_look_up_flows(group, again->pdata, again->len);
        for (guint i = 0; i < again->len; i++)
            group_take(group, again->pdata[i]);
    }
}

/* True when the service ends and this call had to wait too long: it is answered, nothing happened. */
static bool refuse_late(Service *service, WriterItem *item)
{
    if (item->kind != ITEM_CALL || !atomic_load(&service->is_past_deadline))
        return false;
    call_fail(item->call, RESULT_BUSY, "the service is shutting down");
    item->result = RESULT_OK;
    item_answer(item);
    return true;
}

/* Who writes what has a commit of its own; NULL: it joins a group. */
static void (*own_commit_of(const WriterItem *item))(Service *, WriterItem *)
{
    if (is_flow_change(item))
        return flow_change;
    if (is_run_deletion(item))
        return run_delete;
    return is_decision_write(item) ? decisions_write : NULL;
}

bool service_writer_moves(Service *service)
{
    int64_t n_seen = service->n_writer_steps_seen;
    service->n_writer_steps_seen = atomic_load(&service->n_writer_steps);
    return atomic_load(&service->is_writer_waiting) || service->n_writer_steps_seen != n_seen;
}

static bool writer_wait(Service *service, void **items, size_t *ret_n_items)
{
    atomic_store(&service->is_writer_waiting, true);
    QueueResult result = queue_pop(service->writes, items, WRITE_GROUP_ITEMS, -1, ret_n_items);
    atomic_store(&service->is_writer_waiting, false);
    return result == QUEUE_OK;
}

void writer_main(void *arg)
{
    Service *service = arg;
    g_autofree void **items = g_new(void *, WRITE_GROUP_ITEMS);
    size_t n_items;
    while (writer_wait(service, items, &n_items)) {
        Group *group = group_new(service);
        group_look_up_flows(group, items, n_items);
        for (size_t i = 0; i < n_items; i++) {
            if (refuse_late(service, items[i]))
                continue;
            void (*write)(Service *, WriterItem *) = own_commit_of(items[i]);
            if (write == NULL) {
                group_take(group, items[i]);
                continue;
            }
            group_finish(group); /* it sees all that came before it, committed */
            write(service, items[i]);
            group = group_new(service);
            group_look_up_flows(group, items + i + 1, n_items - i - 1);
        }
        group_finish(group);
    }
}

static void latch_ring(WriterItem *item)
{
    bell_ring(item->arg);
}

bool writer_submit(Service *service, WriterItem *item, size_t weight_bytes, Bell *latch)
{
    THREAD_ASSERT_NOT(ROLE_LOOP);
    THREAD_ASSERT_NOT(ROLE_WRITER);
    item->done = latch_ring;
    item->arg = latch;
    item->n_attempts = 0;
    g_clear_pointer(&item->message, g_free);
    return queue_push(service->writes, item, weight_bytes, -1) == QUEUE_OK;
}

bool writer_do(Service *service, WriterItem *item, size_t weight_bytes, Bell *latch)
{
    if (!writer_submit(service, item, weight_bytes, latch))
        return false;
    bell_wait(latch, -1);
    return true;
}
