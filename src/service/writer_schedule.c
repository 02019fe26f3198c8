/* What the scheduler has written: decisions and marks in a commit of their own, since one that loses to another replica is
 * the scheduler's to look into and must not make a group go round again; runs of slots within a group, like any start. */
#include "service/writer_internal.h"

#include <string.h>

bool is_decision_write(const WriterItem *item)
{
    return item->kind == ITEM_DECISIONS;
}

void decisions_write(Service *service, WriterItem *item)
{
    g_autoptr(GError) error = NULL;
    item->result = RESULT_OK;
    bool is_written = writer_commit(service, item->writes, item->n_writes, 1, &error);
    service_note_store(service, error);
    if (!is_written) {
        item->result = call_result_of(error);
        item->message = g_strdup(error->message);
    }
    item_answer(item);
}

/* ---- runs of slots ---- */

/* The first time the append tells: nearly always the run is new. */
static bool is_there(Group *group, const WriterItem *item, const SlotStart *start, GError **error)
{
    if (g_hash_table_contains(group->by_run, start->run_id.text))
        return true;
    if (item->n_attempts > 0)
        return group_get_run(group, &start->run_id, error) != NULL;
    RunView *view = cache_get(group->service->runs, start->run_id.text);
    run_view_unref(view);
    return view != NULL;
}

static void append_start(Group *group, const SlotStart *start)
{
    TextMap labels, own = {0};
    char slot[INSTANT_TEXT_SIZE];
    instant_format(start->slot, slot);
    text_map_add(&own, SLOT_LABEL, slot);
    if (start->backfill_id != NULL)
        text_map_add(&own, BACKFILL_LABEL, start->backfill_id->text);
    merge_labels(&start->flow->labels, &own, &labels);
    RunRequest request = {
        .run_id = start->run_id,
        .command_id = id_make(group->now_ms),
        .flow = start->flow,
        .triggered_by = SYSTEM_TRIGGER,
        .labels = &labels,
        .inputs = &start->inputs,
        .now_ms = group->now_ms,
    };
    g_autoptr(Decision) decision = decide_create(&request);
    text_map_done(&labels);
    text_map_done(&own);
    touched_append(touched_new(group, &start->run_id, NULL), decision, SYSTEM_TRIGGER);
    group->n_new_runs++;
}

void group_take_slots(Group *group, WriterItem *item)
{
    Service *service = group->service;
    for (size_t i = 0; i < item->n_slots; i++) {
        SlotStart *start = &item->slots[i];
        g_autoptr(GError) error = NULL;
        start->is_refused = false;
        if (is_there(group, item, start, &error))
            continue;
        if (error != NULL && error->code != FLOWOPS_NOT_FOUND) {
            item->result = call_result_of(error);
            g_free(item->message);
            item->message = g_strdup(error->message);
            return;
        }
        start->is_refused = atomic_load(&service->n_open_runs) + group->n_new_runs >= service->options.max_open_runs;
        if (!start->is_refused)
            append_start(group, start);
    }
}
