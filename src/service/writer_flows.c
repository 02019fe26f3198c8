/* Deciding on flows: creation joins a group; update and delete have a commit of their own, since they must see every
 * start and change that came before them committed. */
#include "service/writer_internal.h"

#include <string.h>

#include "domain/flow_request.h"

static Id make_id(void *now_ms)
{
    return id_make(*(int64_t *)now_ms);
}

void group_take_flow_creation(Group *group, WriterItem *item)
{
    item->flow = item->call->flow;
    g_ptr_array_add(group->flows, item->flow);
}

static bool is_start(const WriterItem *item)
{
    return item->kind == ITEM_CALL && item->call->kind == CALL_START_RUN;
}

/* Learns the newest versions of a few flows. */
static void look_up_flows(Group *group, const Id *flow_ids, size_t n)
{
    if (group->store_error != NULL)
        return;
    int64_t versions[WRITE_LOOK_MAX];
    g_autoptr(GError) error = NULL;
    bool is_read = store_get_flow_versions(group->service->store, flow_ids, n, versions, &error);
    service_note_store(group->service, error);
    group_note_failure(group, error);
    for (size_t i = 0; is_read && i < n; i++)
        g_hash_table_insert(group->flow_versions, g_strdup(flow_ids[i].text),
                            g_memdup2(&versions[i], sizeof versions[i]));
}

void group_look_up_flows(Group *group, void *const *items, size_t n_items)
{
    if (!group->service->is_shared)
        return;
    g_autoptr(GHashTable) asked = g_hash_table_new(g_str_hash, g_str_equal);
    Id flow_ids[WRITE_LOOK_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_items; i++) {
        const WriterItem *item = items[i];
        if (is_flow_change(item))
            break; /* what comes behind it is looked up after it */
        if (!is_start(item) || !g_hash_table_add(asked, item->call->flow_id.text))
            continue;
        flow_ids[n++] = item->call->flow_id;
        if (n == WRITE_LOOK_MAX) {
            look_up_flows(group, flow_ids, n);
            n = 0;
        }
    }
    if (n > 0)
        look_up_flows(group, flow_ids, n);
}

Flow *group_load_flow(Group *group, const Id *flow_id, GError **error)
{
    Service *service = group->service;
    if (group->store_error != NULL) {
        g_propagate_error(error, g_error_copy(group->store_error));
        return NULL;
    }
    if (!service->is_shared)
        return service_load_flow(service, flow_id->text, 0, error);
    const int64_t *version = g_hash_table_lookup(group->flow_versions, flow_id->text);
    if (version == NULL) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the store does not answer");
        return NULL;
    }
    if (*version == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "no flow %s", flow_id->text);
        return NULL;
    }
    return service_load_flow(service, flow_id->text, *version, error);
}

void flow_answer(Service *service, ServiceCall *call, Flow *flow)
{
    cache_put(service->flows, flow->id.text, flow, flow->version, flow->steps_json_size * 3 + 1024);
    if (flow->version > 1 || flow->cron != NULL)
        scheduler_note_flow(service, &flow->id);
    call->tag = flow->version;
    call->flow_id = flow->id;
    if (flow->is_deleted)
        return;
    call->data = g_string_new(NULL);
    flow_encode_summary(flow, call->data);
}

bool is_flow_change(const WriterItem *item)
{
    return item->kind == ITEM_CALL && (item->call->kind == CALL_UPDATE_FLOW || item->call->kind == CALL_DELETE_FLOW);
}

/* The version to write, or NULL: the call is settled. */
static Flow *decide_flow_change(Service *service, ServiceCall *call, const Flow *current)
{
    if (current->is_deleted || strcmp(current->owner.text, call->caller.text) != 0) {
        call_fail(call, RESULT_NOT_FOUND, "no flow %s", call->flow_id.text);
        return NULL;
    }
    if (!precondition_holds(&call->precondition, current->version)) {
        call_fail(call, RESULT_PRECONDITION_FAILED, "the flow is at \"%" G_GINT64_FORMAT "\"", current->version);
        return NULL;
    }
    int64_t now_ms = clock_wall_ms(service->clock);
    FlowOrigin origin = {
        .flow_id = current->id,
        .owner = current->owner,
        .actor = call->caller,
        .now_ms = now_ms,
        .make_id = make_id,
        .make_id_arg = &now_ms,
        .zone_names = service->options.zone_names,
    };
    if (call->kind == CALL_UPDATE_FLOW) {
        g_autoptr(Faults) faults = faults_new();
        Flow *next = flow_update(current, call->body, &origin, faults);
        if (next == NULL) {
            call_fail(call, RESULT_INVALID, "the flow is not valid");
            call->faults = g_steal_pointer(&faults);
        }
        return next;
    }
    int64_t n_open;
    g_autoptr(GError) error = NULL;
    if (!store_count_open_runs(service->store, call->flow_id.text, &n_open, &error)) {
        call_fail(call, call_result_of(error), "%s", error->message);
        return NULL;
    }
    if (n_open > 0 && !call->is_forced) {
        call_fail(call, RESULT_CONFLICT,
                  "%" G_GINT64_FORMAT " run%s of this flow %s going; stop them first, or delete with ?force=true",
                  n_open, n_open == 1 ? "" : "s", n_open == 1 ? "is" : "are");
        return NULL;
    }
    return flow_delete(current, call->is_forced, &origin);
}

/* One attempt. True when the call is settled either way. */
static bool try_flow_change(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) current = service_load_flow(service, call->flow_id.text, 0, &error);
    if (current == NULL) {
        if (g_error_matches(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND))
            call_fail(call, RESULT_NOT_FOUND, "no flow %s", call->flow_id.text);
        else
            call_fail(call, call_result_of(error), "%s", error->message);
        return true;
    }
    g_autoptr(Flow) next = decide_flow_change(service, call, current);
    if (next == NULL)
        return true;
    StoreWrite write = {.kind = WRITE_FLOW, .flow = next};
    bool is_settled = writer_commit(service, &write, 1, 1, &error);
    service_note_store(service, error);
    if (!is_settled) {
        cache_remove(service->flows, call->flow_id.text);
        scheduler_note_flow(service, &call->flow_id); /* it may have happened */
        call_fail(call, call_result_of(error), "%s", error->message);
        return true;
    }
    if (write.ret_outcome == WRITE_CONFLICT) {
        cache_remove(service->flows, call->flow_id.text);
        return false;
    }
    flow_answer(service, call, next);
    if (next->stops_runs) {
        atomic_store(&service->may_have_runs_to_stop, true);
        bell_ring(&service->sweeper_bell);
    }
    return true;
}

void flow_change(Service *service, WriterItem *item)
{
    ServiceCall *call = item->call;
    item->result = RESULT_OK;
    for (int i = 0; i < WRITE_ATTEMPTS; i++)
        if (try_flow_change(service, call)) {
            item_answer(item);
            return;
        }
    call_fail(call, RESULT_UNAVAILABLE, "other writers were first again and again");
    item_answer(item);
}
