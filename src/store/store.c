/* store.c - the port's thin wrappers: they hold callers to the preconditions and to the threads that may block, so that
 * no implementation has to; and the memory of what reads return. */
#include "store/store_internal.h"

#include <string.h>

#include "base/thread.h"

#define PAGE_MAX_ENTRIES 1000
#define LIST_MAX_ITEMS 200
#define KNOWN_MAX_ITEMS 1000

static void assert_may_read(const Store *store)
{
    g_assert(store != NULL);
    THREAD_ASSERT_NOT(ROLE_LOOP);
    THREAD_ASSERT_NOT(ROLE_ENGINE);
}

static void assert_append(const RunAppend *run)
{
    g_assert(run->first_seq >= 1 && run->n_events >= 1);
    g_assert(run->events != NULL && run->events_size > 0 && run->events[run->events_size - 1] == '\n');
    g_assert(run->row != NULL && run->row->seq == run->first_seq + run->n_events - 1);
    g_assert(run->row->detail != NULL && run->row->summary_size <= run->row->detail_size);
    for (size_t i = 0; i < run->n_commands; i++) {
        g_assert(run->command_seqs[i] >= run->first_seq && run->command_seqs[i] <= run->row->seq);
    }
}

bool store_write(Store *store, StoreWrite *writes, size_t n_writes, GError **error)
{
    g_assert(store != NULL);
    g_assert(thread_role() == ROLE_WRITER || thread_role() == ROLE_MAIN);
    if (n_writes == 0) {
        return true;
    }
    for (size_t i = 0; i < n_writes; i++) {
        switch (writes[i].kind) {
        case WRITE_RUN:
            assert_append(&writes[i].run);
            break;
        case WRITE_FLOW:
            g_assert(writes[i].flow != NULL && writes[i].flow->version >= 1);
            break;
        case WRITE_PUBLISHED:
            g_assert(writes[i].published.seq >= 1);
            break;
        case WRITE_DELETE_RUN:
            g_assert(writes[i].deleted.text[0] != '\0');
            break;
        case WRITE_DECISION:
            g_assert(writes[i].decision.key.n >= 1 && writes[i].decision.text != NULL);
            break;
        case WRITE_MADE:
            g_assert(writes[i].made.n >= 1);
            break;
        case WRITE_PROJECTION:
            g_assert(writes[i].projection->seq >= 1 && writes[i].projection->detail != NULL);
            break;
        case WRITE_BACKFILL:
            g_assert(writes[i].backfill.n >= 1 && writes[i].backfill.state != NULL);
            g_assert((writes[i].backfill.n == 1) == (writes[i].backfill.plan != NULL));
            break;
        }
    }
    return store->ops->write(store, writes, n_writes, error);
}

Flow *store_get_flow(Store *store, const char *flow_id, int64_t version, GError **error)
{
    assert_may_read(store);
    g_assert(flow_id != NULL && version >= 0);
    return store->ops->get_flow(store, flow_id, version, error);
}

RunDocument *store_get_run(Store *store, const char *run_id, GError **error)
{
    assert_may_read(store);
    g_assert(run_id != NULL);
    return store->ops->get_run(store, run_id, error);
}

JournalPage *store_read_journal(Store *store, const char *run_id, int64_t after, size_t max_entries, size_t max_bytes,
                                GError **error)
{
    assert_may_read(store);
    g_assert(run_id != NULL && after >= 0);
    g_assert(max_entries >= 1 && max_entries <= PAGE_MAX_ENTRIES);
    return store->ops->read_journal(store, run_id, after, max_entries, max_bytes, error);
}

static void assert_query(const ListQuery *query)
{
    g_assert(query->owner != NULL);
    g_assert(query->limit >= 1 && query->limit <= LIST_MAX_ITEMS);
    g_assert(query->skip >= 0 && (query->skip == 0 || query->after == NULL));
    g_assert(query->label_value == NULL || query->label_name != NULL);
}

ListPage *store_list_flows(Store *store, const ListQuery *query, GError **error)
{
    assert_may_read(store);
    assert_query(query);
    return store->ops->list_flows(store, query, error);
}

ListPage *store_list_runs(Store *store, const ListQuery *query, GError **error)
{
    assert_may_read(store);
    assert_query(query);
    return store->ops->list_runs(store, query, error);
}

bool store_count_open_runs(Store *store, const char *flow_id, int64_t *ret_n, GError **error)
{
    assert_may_read(store);
    return store->ops->count_open_runs(store, flow_id, ret_n, error);
}

bool store_list_runs_in_phase(Store *store, RunPhase phase, int64_t requested_before, const char *after, size_t limit,
                              Id *ret_ids, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(phase == PHASE_OPEN || phase == PHASE_ENDING);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_runs_in_phase(store, phase, requested_before, after, limit, ret_ids, ret_n, error);
}

bool store_list_runs_to_stop(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_runs_to_stop(store, after, limit, ret_ids, ret_n, error);
}

bool store_list_runs_ended_before(Store *store, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                  GError **error)
{
    assert_may_read(store);
    g_assert(before != INSTANT_NONE && limit >= 1);
    return store->ops->list_runs_ended_before(store, before, limit, ret_ids, ret_n, error);
}

bool store_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_run_ids(store, after, limit, ret_ids, ret_n, error);
}

bool store_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_flow_ids(store, after, limit, ret_ids, ret_n, error);
}

bool store_read_outbox(Store *store, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                       GError **error)
{
    assert_may_read(store);
    g_assert(limit >= 1 && (after == NULL || after->run_id.text[0] != '\0'));
    return store->ops->read_outbox(store, after, limit, ret_entries, ret_n, error);
}

bool store_read_outbox_of(Store *store, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                          size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(run_id != NULL && limit >= 1);
    return store->ops->read_outbox_of(store, run_id, before_seq, limit, ret_entries, ret_n, error);
}

bool store_settle(Store *store, int64_t timeout_ms)
{
    assert_may_read(store);
    g_assert(timeout_ms >= 0);
    return store->ops->settle(store, timeout_ms);
}

bool store_list_runs_behind(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_runs_behind(store, after, limit, ret_ids, ret_n, error);
}

bool store_find_newer(Store *store, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error)
{
    assert_may_read(store);
    g_assert(n >= 1 && n <= KNOWN_MAX_ITEMS);
    return store->ops->find_newer(store, known, n, ret_is_newer, error);
}

bool store_get_flow_versions(Store *store, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error)
{
    assert_may_read(store);
    g_assert(n >= 1 && n <= KNOWN_MAX_ITEMS);
    return store->ops->get_flow_versions(store, flow_ids, n, ret_versions, error);
}

DecisionPage *store_read_decisions(Store *store, const char *flow_id, int64_t after, size_t limit, GError **error)
{
    assert_may_read(store);
    g_assert(flow_id != NULL && after >= 0 && limit >= 1 && limit <= PAGE_MAX_ENTRIES);
    return store->ops->read_decisions(store, flow_id, after, limit, error);
}

DecisionPage *store_read_newest_decisions(Store *store, const char *flow_id, int64_t before, size_t limit,
                                          GError **error)
{
    assert_may_read(store);
    g_assert(flow_id != NULL && limit >= 1 && limit <= PAGE_MAX_ENTRIES);
    return store->ops->read_newest_decisions(store, flow_id, before, limit, error);
}

DecisionPage *store_read_owed_decisions(Store *store, const char *flow_id, const DecisionKey *after, size_t limit,
                                        GError **error)
{
    assert_may_read(store);
    g_assert(limit >= 1 && limit <= PAGE_MAX_ENTRIES);
    return store->ops->read_owed_decisions(store, flow_id, after, limit, error);
}

ScheduledPage *store_read_scheduled_flows(Store *store, const char *after, size_t limit, GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1 && limit <= PAGE_MAX_ENTRIES);
    return store->ops->read_scheduled_flows(store, after, limit, error);
}

bool store_list_changed_flows(Store *store, int64_t from, const FlowVersion *after, size_t limit,
                              FlowVersion *ret_flows, size_t *ret_n, GError **error)
{
    assert_may_read(store);
    g_assert(limit >= 1 && limit <= PAGE_MAX_ENTRIES);
    return store->ops->list_changed_flows(store, from, after, limit, ret_flows, ret_n, error);
}

bool store_list_open_system_runs(Store *store, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                 GError **error)
{
    assert_may_read(store);
    g_assert(flow_id != NULL && limit >= 1);
    return store->ops->list_open_system_runs(store, flow_id, limit, ret_ids, ret_n, error);
}

BackfillRecord *store_get_backfill(Store *store, const char *backfill_id, bool has_plan, GError **error)
{
    assert_may_read(store);
    g_assert(backfill_id != NULL);
    return store->ops->get_backfill(store, backfill_id, has_plan, error);
}

ListPage *store_list_backfills(Store *store, const ListQuery *query, GError **error)
{
    assert_may_read(store);
    assert_query(query);
    g_assert(query->flow_id != NULL);
    return store->ops->list_backfills(store, query, error);
}

bool store_list_open_backfills(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                               GError **error)
{
    assert_may_read(store);
    g_assert(after != NULL && limit >= 1);
    return store->ops->list_open_backfills(store, after, limit, ret_ids, ret_n, error);
}

bool store_count_open_backfills(Store *store, const char *owner, int64_t *ret_n, GError **error)
{
    assert_may_read(store);
    return store->ops->count_open_backfills(store, owner, ret_n, error);
}

bool store_get_announced_at(Store *store, const char *engine_id, int64_t *ret_announced_at, GError **error)
{
    assert_may_read(store);
    g_assert(engine_id != NULL);
    return store->ops->get_announced_at(store, engine_id, ret_announced_at, error);
}

bool store_put_announcement(Store *store, const Announcement *announcement, int64_t now_ms, GError **error)
{
    assert_may_read(store);
    g_assert(announcement->engine_id.text[0] != '\0' && announcement->announced_at != INSTANT_NONE);
    return store->ops->put_announcement(store, announcement, now_ms, error);
}

bool store_is_shared(const Store *store)
{
    g_assert(store != NULL);
    return store->ops->is_shared;
}

const unsigned char *store_secret(Store *store)
{
    g_assert(store != NULL);
    return store->ops->secret(store);
}

bool store_check(Store *store, GError **error)
{
    assert_may_read(store);
    return store->ops->check(store, error);
}

void store_interrupt(Store *store)
{
    if (store != NULL && store->ops->interrupt != NULL) {
        store->ops->interrupt(store);
    }
}

void store_close(Store *store)
{
    if (store != NULL) {
        store->ops->close(store);
    }
}

guint run_seq_hash(gconstpointer run_seq)
{
    const RunSeq *key = run_seq;
    return g_str_hash(key->run_id.text) ^ (guint)key->seq;
}

gboolean run_seq_equal(gconstpointer left, gconstpointer right)
{
    const RunSeq *a = left, *b = right;
    return a->seq == b->seq && strcmp(a->run_id.text, b->run_id.text) == 0;
}

/* ---- what reads return ---- */

void run_document_free(RunDocument *document)
{
    if (document != NULL) {
        g_free(document->detail);
        g_free(document);
    }
}

JournalPage *journal_page_new(void)
{
    JournalPage *page = g_new0(JournalPage, 1);
    page->texts = g_ptr_array_new_with_free_func(g_free);
    return page;
}

void journal_page_free(JournalPage *page)
{
    if (page != NULL) {
        g_free(page->entries);
        g_ptr_array_unref(page->texts);
        g_free(page);
    }
}

void backfill_record_free(BackfillRecord *record)
{
    if (record != NULL) {
        g_free(record->state);
        g_free(record->plan);
        g_free(record);
    }
}

ListPage *list_page_new(size_t limit)
{
    ListPage *page = g_new0(ListPage, 1);
    page->items = g_new0(ListItem, limit);
    page->total = -1;
    return page;
}

void list_page_free(ListPage *page)
{
    if (page == NULL) {
        return;
    }
    for (size_t i = 0; i < page->n_items; i++) {
        g_free(page->items[i].json);
    }
    g_free(page->items);
    g_free(page);
}

DecisionPage *decision_page_new(size_t limit)
{
    DecisionPage *page = g_new0(DecisionPage, 1);
    page->entries = g_new0(DecisionEntry, limit);
    return page;
}

void decision_page_free(DecisionPage *page)
{
    if (page == NULL) {
        return;
    }
    for (size_t i = 0; i < page->n_entries; i++) {
        g_free(page->entries[i].text);
    }
    g_free(page->entries);
    g_free(page);
}

ScheduledPage *scheduled_page_new(size_t limit)
{
    ScheduledPage *page = g_new0(ScheduledPage, 1);
    page->items = g_new0(ScheduledFlow, limit);
    return page;
}

void scheduled_page_free(ScheduledPage *page)
{
    if (page == NULL) {
        return;
    }
    for (size_t i = 0; i < page->n_items; i++) {
        g_free(page->items[i].flow);
        g_free(page->items[i].decision);
    }
    g_free(page->items);
    g_free(page);
}
