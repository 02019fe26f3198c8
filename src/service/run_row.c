/* run_row.c - the members of a document, one by one. */
#include "service/run_row.h"

static const char *actor_of(const Event *event)
{
    switch (event->type) {
    case EVENT_RUN_CREATED:
        return event->owner.text;
    case EVENT_COMMAND_REQUESTED:
        return event->requested_by.text[0] != '\0' ? event->requested_by.text : "service";
    case EVENT_HANDED_OVER:
        return "service";
    case EVENT_FLOW_STATUS:
    case EVENT_STEP_STATUS:
        break;
    }
    return "engine";
}

void run_actors_note(RunActors *actors, const Event *event)
{
    g_strlcpy(actors->updated_by.text, actor_of(event), sizeof actors->updated_by.text);
    if (event->type == EVENT_RUN_CREATED)
        actors->created_by = actors->updated_by;
}

RunRow run_row_of(const Run *run, const char *detail, size_t detail_size, size_t summary_size)
{
    return (RunRow){
        .run_id = run->id,
        .flow_id = run->flow_id,
        .owner = run->owner,
        .status = run->status,
        .phase = run_phase(run),
        .triggered_by = run->triggered_by,
        .created_at = run->created_at,
        .updated_at = run->updated_at,
        .seq = run->seq,
        .flow_version = run->flow_version,
        .pending = run->pending.command,
        .pending_at = run->pending.command != COMMAND_NONE ? run->pending.requested_at : INSTANT_NONE,
        .detail = detail,
        .detail_size = detail_size,
        .summary_size = summary_size,
        .labels = &run->labels,
        .run = run,
    };
}

void run_row_build(const Run *run, const RunActors *actors, GString *detail, RunRow *ret_row)
{
    g_string_truncate(detail, 0);
    size_t summary_size = run_encode_detail(run, detail);
    *ret_row = run_row_of(run, detail->str, detail->len, summary_size);
    ret_row->created_by = actors->created_by.text;
    ret_row->updated_by = actors->updated_by.text;
}
