/* What other threads tell the scheduler: ids alone, each once, however often it was told. */
#include "service/service_internal.h"

#define NOTES_MAX 100000 /* ids of each kind: some 8 MB at worst, when nobody reads them */

void scheduler_notes_init(SchedulerNotes *notes)
{
    bell_init(&notes->bell);
    mutex_init(&notes->mu);
    notes->changed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    notes->ended = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    notes->backfills = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

void scheduler_notes_done(SchedulerNotes *notes)
{
    g_hash_table_unref(notes->changed);
    g_hash_table_unref(notes->ended);
    g_hash_table_unref(notes->backfills);
    mutex_done(&notes->mu);
    bell_done(&notes->bell);
}

/* False: no room. */
static bool note(GHashTable *ids, const Id *flow_id)
{
    if (g_hash_table_contains(ids, flow_id->text))
        return true;
    bool has_room = g_hash_table_size(ids) < NOTES_MAX;
    if (has_room)
        g_hash_table_add(ids, g_memdup2(flow_id, sizeof *flow_id));
    return has_room;
}

void scheduler_note_flow(Service *service, const Id *flow_id)
{
    SchedulerNotes *notes = &service->notes;
    {
        MUTEX_SCOPE(&notes->mu);
        if (!note(notes->changed, flow_id))
            notes->has_overflown = true;
    }
    bell_ring(&notes->bell);
}

/* One that finds no room is made up for by the looks that flows with waiting slots get anyway. */
void scheduler_note_end(Service *service, const Id *flow_id)
{
    SchedulerNotes *notes = &service->notes;
    {
        MUTEX_SCOPE(&notes->mu);
        (void)note(notes->ended, flow_id);
    }
    bell_ring(&notes->bell);
}

/* The same: open ones are looked for anyway. */
void scheduler_note_backfill(Service *service, const Id *backfill_id)
{
    SchedulerNotes *notes = &service->notes;
    {
        MUTEX_SCOPE(&notes->mu);
        (void)note(notes->backfills, backfill_id);
    }
    bell_ring(&notes->bell);
}
