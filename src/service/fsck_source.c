/* fsck_source.c - a source summed up as a check sums up a store, so that a copy of it can be proved. */
#include "service/fsck_internal.h"

static bool sum_decisions(Fsck *fsck, StoreSource *source, const char *flow_id, GError **error)
{
    int64_t after = 0;
    bool has_more = true;
    while (has_more) {
        g_autoptr(DecisionPage) page = store_source_read_decisions(source, flow_id, after, FSCK_PAGE, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_entries; i++, after++)
            fsck_sum_decision(fsck, &page->entries[i]);
        has_more = page->has_more;
    }
    return true;
}

static bool sum_backfill(Fsck *fsck, StoreSource *source, const char *backfill_id, GError **error)
{
    Backfill backfill;
    g_autoptr(BackfillRecord) record = source->ops->get_backfill(source, backfill_id, error);
    if (record == NULL || !backfill_decode(record->state, record->state_size, &backfill, error))
        return false;
    fsck_sum_backfill(fsck, &backfill, record);
    return true;
}

static bool sum_backfills(Fsck *fsck, StoreSource *source, const Flow *flow, GError **error)
{
    ListPosition after;
    ListQuery query = {.owner = flow->owner.text,
                       .flow_id = flow->id.text,
                       .from = INSTANT_NONE,
                       .to = INSTANT_NONE,
                       .limit = FSCK_BACKFILLS_PAGE};
    for (bool has_more = true; has_more; query.after = &after) {
        g_autoptr(ListPage) page = store_source_list_backfills(source, &query, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_items; i++) {
            after = page->items[i].position;
            if (!sum_backfill(fsck, source, after.id.text, error))
                return false;
        }
        has_more = page->has_more;
    }
    return true;
}

static bool sum_flows(Fsck *fsck, StoreSource *source, GError **error)
{
    bool is_end = false;
    while (!is_end) {
        g_autoptr(Flow) flow = source->ops->next_flow(source, &is_end, error);
        if (flow == NULL && !is_end)
            return false;
        if (flow == NULL)
            continue;
        fsck->report.n_flows += flow->version == 1;
        fsck_sum_version(fsck, flow);
        if (flow->version == 1 &&
            (!sum_decisions(fsck, source, flow->id.text, error) || !sum_backfills(fsck, source, flow, error)))
            return false;
    }
    return true;
}

static bool sum_run(Fsck *fsck, StoreSource *source, const Id *run_id, GError **error)
{
    g_autoptr(GArray) outbox = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int64_t after = 0;
    bool has_more = true;
    g_checksum_update(fsck->sum, (const guchar *)run_id->text, -1);
    while (has_more) {
        g_autoptr(JournalPage) page = source->ops->read_events(source, after, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_entries; i++) {
            fsck_sum_event(fsck, &page->entries[i]);
            after = page->entries[i].seq;
        }
        has_more = page->has_more;
    }
    fsck_end_sum(fsck);
    fsck->report.n_runs++;
    fsck->report.n_events += after;
    if (!source->ops->read_outbox(source, outbox, error))
        return false;
    for (guint i = 0; i < outbox->len; i++)
        fsck_sum_entry(fsck, &(RunSeq){.run_id = *run_id, .seq = g_array_index(outbox, int64_t, i)});
    return true;
}

bool fsck_sum_source(StoreSource *source, const Clock *clock, FsckReport *ret_report, GError **error)
{
    Fsck fsck = {.clock = clock};
    int64_t began_at = clock_monotonic_ms(clock);
    bool is_end = false, is_done;
    Id run_id;
    fsck.sum = g_checksum_new(G_CHECKSUM_SHA256);
    is_done = sum_flows(&fsck, source, error);
    while (is_done && source->ops->next_run(source, &run_id, &is_end, error))
        is_done = sum_run(&fsck, source, &run_id, error);
    g_checksum_free(fsck.sum);
    fsck.report.elapsed_ms = clock_monotonic_ms(clock) - began_at;
    is_done = is_done && is_end;
    if (is_done)
        *ret_report = fsck.report;
    return is_done;
}
