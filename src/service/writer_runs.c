/* Deciding on runs within a group: starts, commands, statuses, hand-overs. */
#include "service/writer_internal.h"

#include <string.h>

#include "base/log.h"

#define SELF "service" /* updatedBy of what the service does by itself */
#define ENGINE "engine"

/* ---- the group's runs ---- */

TouchedRun *touched_new(Group *group, const Id *run_id, RunView *base)
{
    TouchedRun *touched = g_new0(TouchedRun, 1);
    touched->run_id = *run_id;
    touched->base = base;
    g_hash_table_insert(group->by_run, touched->run_id.text, touched);
    g_ptr_array_add(group->touched, touched);
    return touched;
}

void group_note_failure(Group *group, const GError *error)
{
    if (group->store_error == NULL && flowops_error_is_retryable(error))
        group->store_error = g_error_copy(error);
}

/* Each read of a store that does not answer would take the driver's whole time-out, and everybody waits for the writer: one
 * is enough for a group. False: it was, and the run is not at hand; a document is not enough for who needs a fold. */
static bool may_load(Group *group, const Id *run_id, bool needs_fold, GError **error)
{
    if (group->store_error == NULL)
        return true;
    RunView *cached = cache_get(group->service->runs, run_id->text);
    bool is_at_hand = cached != NULL && (cached->run != NULL || !needs_fold);
    run_view_unref(cached);
    if (!is_at_hand)
        g_propagate_error(error, g_error_copy(group->store_error));
    return is_at_hand;
}

static void note_load(Group *group, const GError *error)
{
    if (error == NULL || !flowops_error_is_retryable(error))
        return;
    service_note_store(group->service, error);
    group_note_failure(group, error);
}

TouchedRun *group_get_run(Group *group, const Id *run_id, GError **error)
{
    TouchedRun *touched = g_hash_table_lookup(group->by_run, run_id->text);
    if (touched != NULL)
        return touched;
    if (!may_load(group, run_id, true, error))
        return NULL;
    bool is_current;
    GError *own_error = NULL;
    RunView *base = service_load_run(group->service, run_id->text, &is_current, &own_error);
    if (base == NULL) {
        note_load(group, own_error);
        g_propagate_error(error, own_error);
        return NULL;
    }
    touched = touched_new(group, run_id, base);
    touched->is_current = is_current;
    return touched;
}

static void free_order(void *order)
{
    order_free(order); /* NULL: the relay has it */
}

void touched_append(TouchedRun *touched, const Decision *decision, const char *updated_by)
{
    if (touched->events == NULL) {
        touched->events = g_string_sized_new(512);
        touched->event_sizes = g_array_new(FALSE, FALSE, sizeof(size_t));
        touched->command_seqs = g_array_new(FALSE, FALSE, sizeof(int64_t));
        touched->orders = g_ptr_array_new_with_free_func(free_order);
    }
    if (touched->work == NULL)
        touched->work = touched->base != NULL ? run_copy(touched->base->run) : run_new();
    g_strlcpy(touched->updated_by_id.text, updated_by, sizeof touched->updated_by_id.text);
    touched->updated_by = touched->updated_by_id.text;
    for (size_t i = 0; i < decision->n_events; i++) {
        const Event *event = decision->events[i];
        bool is_folded = run_fold(touched->work, event, NULL);
        g_assert(is_folded); /* decide() gives only what folds */
        size_t start = touched->events->len;
        event_encode(event, touched->events);
        size_t size = touched->events->len - start;
        g_array_append_val(touched->event_sizes, size);
        g_string_append_c(touched->events, '\n');
        if (event->command != COMMAND_NONE) {
            g_array_append_val(touched->command_seqs, event->seq);
            g_ptr_array_add(touched->orders, order_new(event));
        }
        if (event->type == EVENT_RUN_CREATED)
            touched->n_runs[RUN_PENDING]++;
        else if (event->type == EVENT_FLOW_STATUS)
            touched->n_runs[event->run_status]++;
        else if (event->type == EVENT_STEP_STATUS)
            touched->n_steps[event->step_status]++;
        if (event->type == EVENT_HANDED_OVER)
            touched->supersedes_commands = true;
    }
}

/* ---- starts ---- */

static Id derived_run_id(const ServiceCall *call)
{
    const char *parts[] = {"key", call->caller.text, call->flow_id.text, call->start.idempotency_key};
    return id_derive(parts, G_N_ELEMENTS(parts));
}

/* True when the call is settled: the key was used before, or the store failed. */
static bool start_is_repeated(Group *group, WriterItem *item, const Id *run_id)
{
    ServiceCall *call = item->call;
    g_autoptr(GError) error = NULL;
    TouchedRun *touched = group_get_run(group, run_id, &error);
    if (touched == NULL) {
        if (g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND))
            return false;
        call_fail(call, call_result_of(error), "%s", error->message);
        return true;
    }
    item->touched = touched;
    touched->rests_on_base = true;
    if (g_strcmp0(touched_state(touched)->request_digest, call->start.request_digest) == 0)
        call->run_id = *run_id;
    else
        call_fail(call, RESULT_CONFLICT, "this Idempotency-Key was used with another body");
    return true;
}

void merge_labels(const TextMap *flow_labels, const TextMap *own_labels, TextMap *ret_labels)
{
    text_map_copy(own_labels, ret_labels);
    for (size_t i = 0; i < flow_labels->n_pairs; i++)
        if (text_map_find(own_labels, flow_labels->pairs[i].name) == NULL)
            text_map_add(ret_labels, flow_labels->pairs[i].name, flow_labels->pairs[i].value);
}

static void take_start(Group *group, WriterItem *item)
{
    ServiceCall *call = item->call;
    Service *service = group->service;
    Id run_id;
    if (call->start.idempotency_key != NULL) {
        run_id = derived_run_id(call);
        if (start_is_repeated(group, item, &run_id))
            return;
    } else {
        run_id = id_make(group->now_ms);
    }

    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = group_load_flow(group, &call->flow_id, &error);
    if (flow == NULL && !g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND)) {
        call_fail(call, call_result_of(error), "%s", error->message);
        return;
    }
    if (flow == NULL || flow->is_deleted || strcmp(flow->owner.text, call->caller.text) != 0) {
        call_fail(call, RESULT_NOT_FOUND, "no flow %s", call->flow_id.text);
        return;
    }
    if (atomic_load(&service->n_open_runs) + group->n_new_runs >= service->options.max_open_runs) {
        call_fail(call, RESULT_BUSY, "%" G_GINT64_FORMAT " runs are going; no more are taken until some end",
                  service->options.max_open_runs);
        return;
    }
    TextMap labels;
    merge_labels(&flow->labels, &call->start.labels, &labels);
    RunRequest request = {
        .run_id = run_id,
        .command_id = id_make(group->now_ms),
        .flow = flow,
        .triggered_by = call->start.triggered_by != NULL ? call->start.triggered_by : call->caller.text,
        .labels = &labels,
        .inputs = &call->start.inputs,
        .request_digest = call->start.request_digest,
        .now_ms = group->now_ms,
    };
    g_autoptr(Decision) decision = decide_create(&request);
    text_map_done(&labels);
    TouchedRun *touched = touched_new(group, &run_id, NULL);
    touched_append(touched, decision, call->caller.text);
    item->touched = touched;
    call->run_id = run_id;
    group->n_new_runs++;
}

/* ---- commands ---- */

/* The caller's run, or NULL: the call is settled. Whose it is is read before the journal is: a stranger's requests must
 * not cost the writer a fold. */
static TouchedRun *group_get_own_run(Group *group, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    bool is_own = false;
    TouchedRun *touched = g_hash_table_lookup(group->by_run, call->run_id.text);
    if (touched != NULL) {
        is_own = strcmp(touched_state(touched)->owner.text, call->caller.text) == 0;
    } else {
        RunView *document = may_load(group, &call->run_id, false, &error)
                                ? service_peek_run(group->service, call->run_id.text, &error)
                                : NULL;
        note_load(group, error);
        is_own = document != NULL && strcmp(document->owner.text, call->caller.text) == 0;
        run_view_unref(document);
        if (is_own)
            touched = group_get_run(group, &call->run_id, &error);
    }
    if (is_own && touched != NULL)
        return touched;
    if (error != NULL && error->code != FLOWOPS_NOT_FOUND)
        call_fail(call, call_result_of(error), "%s", error->message);
    else
        call_fail(call, RESULT_NOT_FOUND, "no run %s", call->run_id.text);
    return NULL;
}

static void take_command(Group *group, WriterItem *item)
{
    ServiceCall *call = item->call;
    TouchedRun *touched = group_get_own_run(group, call);
    if (touched == NULL)
        return;
    const Run *run = touched_state(touched);
    item->touched = touched;
    touched->rests_on_base = true;
    if (!precondition_holds(&call->precondition, run->seq)) {
        call_fail(call, RESULT_PRECONDITION_FAILED, "the run is at \"%" G_GINT64_FORMAT "\"", run->seq);
        return;
    }
    CommandRequest request = {
        .command = call->command,
        .is_forced = call->is_forced,
        .command_id = id_make(group->now_ms),
        .requested_by = call->caller,
        .now_ms = group->now_ms,
    };
    g_autoptr(Decision) decision = decide_command(run, &request);
    if (decision->kind == DECISION_APPEND)
        touched_append(touched, decision, call->caller.text);
    else if (decision->kind == DECISION_NOTHING)
        call->result = RESULT_NOTHING_TO_DO;
    else
        call_fail(call, RESULT_CONFLICT, "%s", decision->reason);
}

/* ---- what the service does by itself ---- */

static Decision *decide_own(Group *group, const WriterItem *item, const Run *run)
{
    Id command_id = id_make(group->now_ms);
    switch (item->kind) {
    case ITEM_HAND_OVER:
        return decide_hand_over(run, item->announcement, &command_id, group->now_ms);
    case ITEM_SETTLE:
        return decide_settle(run, group->now_ms);
    default: {
        CommandRequest request = {.command = COMMAND_STOP, .command_id = command_id, .now_ms = group->now_ms};
        return decide_command(run, &request);
    }
    }
}

/* The batch waits until the store answers again. */
static void item_fail(WriterItem *item, const GError *error)
{
    item->result = call_result_of(error);
    g_free(item->message);
    item->message = g_strdup(error->message);
}

/* False: the store does not answer, nothing more of the item is looked at. */
static bool take_own(Group *group, WriterItem *item, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    TouchedRun *touched = group_get_run(group, run_id, &error);
    if (touched == NULL && flowops_error_is_retryable(error)) {
        item_fail(item, error);
        return false;
    }
    if (touched == NULL) { /* this run alone is lost to us; the others of the batch are not */
        log_error(LOG_ERROR, "a run cannot be looked after", error, "runId", run_id->text, NULL);
        return true;
    }
    touched->rests_on_base = true;
    if (item->kind == ITEM_REFRESH) {
        g_ptr_array_add(group->refreshed, touched);
        return true;
    }
    const Run *run = touched_state(touched);
    g_autoptr(Decision) decision = decide_own(group, item, run);
    if (decision->kind == DECISION_APPEND)
        touched_append(touched, decision, SELF);
    return true;
}

/* ---- statuses ---- */

/* False: the store does not answer, nothing more of the batch is looked at, so that no later status of a run is appended
 * before an earlier one. Those before it may be: taken again with the batch, they change nothing. */
static bool take_status(Group *group, WriterItem *batch, StatusItem *item)
{
    g_autoptr(GError) error = NULL;
    g_clear_pointer(&item->reason, g_free);
    TouchedRun *touched = group_get_run(group, &item->message->run_id, &error);
    if (touched == NULL) {
        if (flowops_error_is_retryable(error)) {
            item_fail(batch, error);
            return false;
        }
        item->outcome = STATUS_REJECTED;
        item->reason = g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND)
                           ? g_strdup_printf("unknown run %s", item->message->run_id.text)
                           : g_strdup(error->message);
        return true;
    }
    touched->rests_on_base = true;
    g_autoptr(Decision) decision = decide_status(touched_state(touched), item->message);
    item->outcome = decision->kind == DECISION_APPEND    ? STATUS_APPENDED
                    : decision->kind == DECISION_NOTHING ? STATUS_IGNORED
                                                         : STATUS_REJECTED;
    item->reason = g_steal_pointer(&decision->reason);
    if (decision->kind == DECISION_APPEND)
        touched_append(touched, decision, ENGINE);
    return true;
}

static bool is_full(const Group *group, const Id *run_id)
{
    const TouchedRun *touched = g_hash_table_lookup(group->by_run, run_id->text);
    return touched != NULL && touched->events != NULL && touched->events->len >= TOUCHED_EVENTS_MAX_BYTES;
}

/* From where the groups before this one came to, until the store fails or a run has enough; the next group goes on. */
static void take_statuses(Group *group, WriterItem *item)
{
    for (item->n_taken = item->n_settled; item->n_taken < item->n_statuses; item->n_taken++) {
        StatusItem *status = &item->statuses[item->n_taken];
        if (is_full(group, &status->message->run_id) || !take_status(group, item, status))
            return;
    }
}

void group_take_run_item(Group *group, WriterItem *item)
{
    switch (item->kind) {
    case ITEM_CALL:
        if (item->call->kind == CALL_START_RUN)
            take_start(group, item);
        else
            take_command(group, item);
        break;
    case ITEM_STATUSES:
        take_statuses(group, item);
        break;
    case ITEM_SLOTS:
        group_take_slots(group, item);
        break;
    default:
        for (size_t i = 0; i < item->n_run_ids && take_own(group, item, &item->run_ids[i]); i++)
            ;
        break;
    }
}
