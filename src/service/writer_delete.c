/* Deleting runs: a commit of its own, so that nothing of the same group stands on what goes. Only a settled run is deleted:
 * nothing is appended to it any more, by nobody, so no append can follow its journal into the void. */
#include "service/writer_internal.h"

#include <string.h>

bool is_run_deletion(const WriterItem *item)
{
    return item->kind == ITEM_DELETE_RUNS || (item->kind == ITEM_CALL && item->call->kind == CALL_DELETE_RUN);
}

static void fail_to_load(ServiceCall *call, const GError *error)
{
    if (error != NULL && error->code != FLOWOPS_NOT_FOUND)
        call_fail(call, call_result_of(error), "%s", error->message);
    else
        call_fail(call, RESULT_NOT_FOUND, "no run %s", call->run_id.text);
}

/* False: the call is settled. */
static bool may_delete(Service *service, ServiceCall *call)
{
    g_autoptr(GError) error = NULL;
    RunView *view = service_peek_run(service, call->run_id.text, &error);
    bool is_own = view != NULL && strcmp(view->owner.text, call->caller.text) == 0;
    run_view_unref(view);
    view = is_own ? service_load_current(service, call->run_id.text, &error) : NULL;
    if (view == NULL) {
        fail_to_load(call, error);
        return false;
    }
    bool is_allowed = false;
    if (!precondition_holds(&call->precondition, view->seq))
        call_fail(call, RESULT_PRECONDITION_FAILED, "the run is at \"%" G_GINT64_FORMAT "\"", view->seq);
    else if (view->phase == PHASE_OPEN)
        call_fail(call, RESULT_CONFLICT, "The run is %s and can be deleted once it has ended.",
                  run_status_name(view->status));
    else if (view->phase == PHASE_ENDING)
        call_fail(call, RESULT_CONFLICT, "The run is %s and can be deleted once its last steps have ended, too.",
                  run_status_name(view->status));
    else
        is_allowed = true;
    run_view_unref(view);
    return is_allowed;
}

static bool delete_runs(Service *service, const Id *run_ids, size_t n, GError **error)
{
    g_autofree StoreWrite *writes = g_new0(StoreWrite, n);
    for (size_t i = 0; i < n; i++)
        writes[i] = (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = run_ids[i]};
    g_autoptr(GError) own_error = NULL;
    bool is_written = writer_commit(service, writes, n, 1, &own_error);
    if (own_error == NULL || own_error->code != FLOWOPS_BUSY) /* a bound was reached: the store is well */
        service_note_store(service, own_error);
    if (!is_written)
        g_propagate_error(error, g_steal_pointer(&own_error));
    /* After the commit, and also when its outcome is open: what was read before it is not cached behind it. */
    for (size_t i = 0; i < n; i++) {
        cache_remove(service->runs, run_ids[i].text);
        if (service->is_shared)
            cache_remove(service->known_seqs, run_ids[i].text);
    }
    return is_written;
}

void run_delete(Service *service, WriterItem *item)
{
    g_autoptr(GError) error = NULL;
    bool is_call = item->kind == ITEM_CALL;
    item->result = RESULT_OK;
    if (is_call) {
        item->call->result = RESULT_OK;
        if (may_delete(service, item->call) && !delete_runs(service, &item->call->run_id, 1, &error))
            call_fail(item->call, call_result_of(error), "%s", error->message);
    } else if (!delete_runs(service, item->run_ids, item->n_run_ids, &error)) {
        item->result = call_result_of(error);
        item->message = g_strdup(error->message);
    }
    item_answer(item);
}
