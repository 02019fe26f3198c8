/* store_source.c - a store as the source of a copy: pages of ids, then what is behind each. */
#include "store/store_source.h"

#include <string.h>

#include "store/store_internal.h"

#define ID_PAGE 256
#define OUTBOX_PAGE 32 /* of one run: as a rule there is none, or one */
#define EVENT_PAGE_ENTRIES 1000
#define EVENT_PAGE_BYTES (256 * 1024) /* becomes one record of the target */
#define FIND_MAX 1000

typedef bool (*ListIds)(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);

/* A walk over ids, a page at a time. */
typedef struct {
    Id ids[ID_PAGE];
    size_t n, next;
    bool is_last_page;
} IdWalk;

typedef struct {
    StoreSource base;
    Store *store;
    IdWalk flows, runs;
    Id flow_id; /* at hand, with the version to come and the newest; newest 0: none at hand */
    int64_t version, newest;
    Id run_id;
} Source;

static bool walk_next(Source *source, IdWalk *walk, ListIds list, Id *ret_id, bool *ret_is_end, GError **error)
{
    if (walk->next == walk->n && !walk->is_last_page) {
        Id after = walk->n > 0 ? walk->ids[walk->n - 1] : (Id){""};
        size_t n;
        if (!list(source->store, after.text, ID_PAGE, walk->ids, &n, error)) {
            return false;
        }
        walk->n = n;
        walk->next = 0;
        walk->is_last_page = n < ID_PAGE;
    }
    *ret_is_end = walk->next == walk->n;
    if (!*ret_is_end) {
        *ret_id = walk->ids[walk->next++];
    }
    return !*ret_is_end;
}

static Flow *source_next_flow(StoreSource *base, bool *ret_is_end, GError **error)
{
    Source *source = (Source *)base;
    *ret_is_end = false;
    if (source->newest == 0) {
        if (!walk_next(source, &source->flows, store_list_flow_ids, &source->flow_id, ret_is_end, error)) {
            return NULL;
        }
        g_autoptr(Flow) newest = store_get_flow(source->store, source->flow_id.text, 0, error);
        if (newest == NULL) {
            return NULL;
        }
        source->newest = newest->version;
        source->version = 1;
    }
    Flow *flow = store_get_flow(source->store, source->flow_id.text, source->version, error);
    if (source->version++ == source->newest) {
        source->newest = 0;
    }
    return flow;
}

static bool source_next_run(StoreSource *base, Id *ret_run_id, bool *ret_is_end, GError **error)
{
    Source *source = (Source *)base;
    if (!walk_next(source, &source->runs, store_list_run_ids, &source->run_id, ret_is_end, error)) {
        return false;
    }
    *ret_run_id = source->run_id;
    return true;
}

static JournalPage *source_read_events(StoreSource *base, int64_t after, GError **error)
{
    Source *source = (Source *)base;
    return store_read_journal(source->store, source->run_id.text, after, EVENT_PAGE_ENTRIES, EVENT_PAGE_BYTES, error);
}

bool store_read_outbox_seqs(Store *store, const char *run_id, GArray *seqs, GError **error)
{
    RunSeq entries[OUTBOX_PAGE], after = {.seq = 0};
    size_t n = OUTBOX_PAGE;
    g_strlcpy(after.run_id.text, run_id, sizeof after.run_id.text);
    while (n == OUTBOX_PAGE && strcmp(after.run_id.text, run_id) == 0) {
        if (!store_read_outbox(store, &after, OUTBOX_PAGE, entries, &n, error)) {
            return false;
        }
        for (size_t i = 0; i < n && strcmp(entries[i].run_id.text, run_id) == 0; i++) {
            g_array_append_val(seqs, entries[i].seq);
        }
        after = n > 0 ? entries[n - 1] : after;
    }
    return true;
}

static bool source_read_outbox(StoreSource *base, GArray *seqs, GError **error)
{
    Source *source = (Source *)base;
    return store_read_outbox_seqs(source->store, source->run_id.text, seqs, error);
}

static bool source_find_runs(StoreSource *base, const Id *run_ids, size_t n, bool *ret_is_there, GError **error)
{
    g_assert(n <= FIND_MAX);
    g_autofree RunSeq *known = g_new0(RunSeq, n);
    for (size_t i = 0; i < n; i++) {
        known[i].run_id = run_ids[i];
    }
    return store_find_newer(((Source *)base)->store, known, n, ret_is_there, error);
}

static bool source_find_flows(StoreSource *base, const Id *flow_ids, size_t n, bool *ret_is_there, GError **error)
{
    g_assert(n <= FIND_MAX);
    g_autofree int64_t *versions = g_new0(int64_t, n);
    if (!store_get_flow_versions(((Source *)base)->store, flow_ids, n, versions, error)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        ret_is_there[i] = versions[i] > 0;
    }
    return true;
}

static DecisionPage *source_read_decisions(StoreSource *base, const char *flow_id, int64_t after, size_t limit,
                                           GError **error)
{
    return store_read_decisions(((Source *)base)->store, flow_id, after, limit, error);
}

static ListPage *source_list_backfills(StoreSource *base, const ListQuery *query, GError **error)
{
    return store_list_backfills(((Source *)base)->store, query, error);
}

static BackfillRecord *source_get_backfill(StoreSource *base, const char *backfill_id, GError **error)
{
    return store_get_backfill(((Source *)base)->store, backfill_id, true, error);
}

static void source_close(StoreSource *base)
{
    g_free(base);
}

static const StoreSourceOps source_ops = {
    .next_flow = source_next_flow,
    .next_run = source_next_run,
    .read_events = source_read_events,
    .read_outbox = source_read_outbox,
    .read_decisions = source_read_decisions,
    .list_backfills = source_list_backfills,
    .get_backfill = source_get_backfill,
    .find_runs = source_find_runs,
    .find_flows = source_find_flows,
    .close = source_close,
};

StoreSource *store_source_new(Store *store)
{
    Source *source = g_new0(Source, 1);
    source->base.ops = &source_ops;
    source->store = store;
    return &source->base;
}

DecisionPage *store_source_read_decisions(StoreSource *source, const char *flow_id, int64_t after, size_t limit,
                                          GError **error)
{
    return source->ops->read_decisions == NULL ? decision_page_new(0)
                                               : source->ops->read_decisions(source, flow_id, after, limit, error);
}

ListPage *store_source_list_backfills(StoreSource *source, const ListQuery *query, GError **error)
{
    return source->ops->list_backfills == NULL ? list_page_new(query->limit)
                                               : source->ops->list_backfills(source, query, error);
}

void store_source_close(StoreSource *source)
{
    if (source != NULL) {
        source->ops->close(source);
    }
}
