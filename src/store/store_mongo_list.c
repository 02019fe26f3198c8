/* store_mongo_list.c - lists of flows and runs, newest first. A page is one find: each combination of filters begins with
 * what one index holds in the list's own order, and what is beyond it is checked on the way. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* ---- the filter ---- */

static void append_created_at(bson_t *filter, const ListQuery *query, bool is_count)
{
    bool has_from = query->from != INSTANT_NONE, has_to = query->to != INSTANT_NONE;
    bool has_after = query->after != NULL && !is_count;
    if (!has_from && !has_to && !has_after) {
        return;
    }
    bson_t range;
    bson_append_document_begin(filter, "createdAt", -1, &range);
    if (has_from) {
        append_instant(&range, "$gte", CLAMP(query->from, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX + 1));
    }
    if (has_to) {
        append_instant(&range, "$lt", CLAMP(query->to, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX + 1));
    }
    if (has_after) {
        append_instant(&range, "$lte", query->after->created_at);
    }
    bson_append_document_end(filter, &range);
}

/* Within the cursor's own millisecond, what comes behind its id. */
static void append_after(bson_t *filter, const ListPosition *after)
{
    bson_t either, branch, range;
    bson_append_array_begin(filter, "$or", -1, &either);
    bson_append_document_begin(&either, "0", -1, &branch);
    bson_append_document_begin(&branch, "createdAt", -1, &range);
    append_instant(&range, "$lt", after->created_at);
    bson_append_document_end(&branch, &range);
    bson_append_document_end(&either, &branch);
    bson_append_document_begin(&either, "1", -1, &branch);
    bson_append_document_begin(&branch, "_id", -1, &range);
    append_text(&range, "$gt", after->id.text);
    bson_append_document_end(&branch, &range);
    bson_append_document_end(&either, &branch);
    bson_append_array_end(filter, &either);
}

/* With a value, the whole pair is compared, by the one form that every server knows; the index on pairs serves it. */
static void append_label(bson_t *filter, const ListQuery *query)
{
    if (query->label_name == NULL) {
        return;
    }
    if (query->label_value == NULL) {
        append_text(filter, "labels.name", query->label_name);
        return;
    }
    bson_t all, pairs, pair;
    bson_append_document_begin(filter, "labels", -1, &all);
    bson_append_array_begin(&all, "$all", -1, &pairs);
    bson_append_document_begin(&pairs, "0", -1, &pair);
    append_text(&pair, "name", query->label_name);
    append_text(&pair, "value", query->label_value);
    bson_append_document_end(&pairs, &pair);
    bson_append_array_end(&all, &pairs);
    bson_append_document_end(filter, &all);
}

/* step_flow_ids: of the flows that have, or had, the step that is asked for; NULL: none is asked for. */
static void append_run_filter(bson_t *filter, const ListQuery *query, GPtrArray *step_flow_ids, bool is_count)
{
    append_text(filter, "owner", query->owner);
    append_label(filter, query);
    if (step_flow_ids != NULL) {
        mongo_filter_flow_ids(filter, step_flow_ids);
    } else if (query->flow_id != NULL) {
        append_text(filter, "flowId", query->flow_id);
    }
    if (query->status != NULL) {
        append_text(filter, "status", run_status_name(*query->status));
    }
    if (query->triggered_by != NULL) {
        append_text(filter, "triggeredBy", query->triggered_by);
    }
    append_created_at(filter, query, is_count);
    if (query->after != NULL && !is_count) {
        append_after(filter, query->after);
    }
}

static void append_flow_filter(bson_t *filter, const ListQuery *query, bool is_count)
{
    append_text(filter, "owner", query->owner);
    bson_append_bool(filter, "isDeleted", -1, false);
    append_created_at(filter, query, is_count);
    if (query->after != NULL && !is_count) {
        append_after(filter, query->after);
    }
}

static void append_backfill_filter(bson_t *filter, const ListQuery *query, bool is_count)
{
    append_text(filter, "owner", query->owner);
    append_text(filter, "flowId", query->flow_id);
    append_created_at(filter, query, is_count);
    if (query->after != NULL && !is_count) {
        append_after(filter, query->after);
    }
}

/* ---- the page ---- */

static void append_page_opts(bson_t *opts, const ListQuery *query)
{
    static const char *const names[] = {"createdAt", "summary"};
    bson_t sort;
    append_fields(opts, names, G_N_ELEMENTS(names));
    bson_append_document_begin(opts, "sort", -1, &sort);
    bson_append_int32(&sort, "createdAt", -1, -1);
    bson_append_int32(&sort, "_id", -1, 1);
    bson_append_document_end(opts, &sort);
    int64_t limit = (int64_t)query->limit + 1; /* one more tells whether there is a next page */
    bson_append_int64(opts, "limit", -1, limit);
    bson_append_int64(opts, "batchSize", -1, limit + 1); /* a page is one answer, and no cursor is left behind */
    bson_append_int64(opts, "skip", -1, query->skip);
}

static bool read_items(const ClientLease *lease, MongoCollection collection, const bson_t *filter,
                       const ListQuery *query, ListPage *page, GError **error)
{
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_page_opts(&opts, query);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, collection, filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read a list", error)) == 1) {
        if (page->n_items == query->limit) {
            page->has_more = true;
            return true;
        }
        size_t size = 0;
        const char *summary = member_text(document, "summary", &size);
        ListItem *item = &page->items[page->n_items++];
        item->position.created_at = member_instant(document, "createdAt");
        member_id(document, "_id", &item->position.id);
        item->json = g_strndup(summary != NULL ? summary : "", size);
        item->size = size;
    }
    return found == 0;
}

bool mongo_count(const ClientLease *lease, MongoCollection collection, const bson_t *filter, int64_t *ret_n,
                 GError **error)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, collection);
    bson_error_t failure;
    int64_t n = mongoc_collection_count_documents(handle, filter, NULL, NULL, NULL, &failure);
    if (n < 0) {
        mongo_set_error(error, &failure, "count");
        return false;
    }
    *ret_n = n;
    return true;
}

static bool read_page(const ClientLease *lease, MongoCollection collection, const ListQuery *query,
                      GPtrArray *step_flow_ids, ListPage *page, GError **error)
{
    for (int is_count = 0; is_count <= (query->wants_total ? 1 : 0); is_count++) {
        g_auto(bson_t) filter = BSON_INITIALIZER;
        if (collection == COLLECTION_RUNS) {
            append_run_filter(&filter, query, step_flow_ids, is_count);
        } else if (collection == COLLECTION_BACKFILLS) {
            append_backfill_filter(&filter, query, is_count);
        } else {
            append_flow_filter(&filter, query, is_count);
        }
        if (is_count ? !mongo_count(lease, collection, &filter, &page->total, error)
                     : !read_items(lease, collection, &filter, query, page, error)) {
            return false;
        }
    }
    return true;
}

ListPage *mongo_list_flows(Store *base, const ListQuery *query, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(ListPage) page = list_page_new(query->limit);
    return read_page(&lease, COLLECTION_FLOWS, query, NULL, page, error) ? g_steal_pointer(&page) : NULL;
}

ListPage *mongo_list_backfills(Store *base, const ListQuery *query, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(ListPage) page = list_page_new(query->limit);
    return read_page(&lease, COLLECTION_BACKFILLS, query, NULL, page, error) ? g_steal_pointer(&page) : NULL;
}

/* ---- runs by step ---- */

/* The owner's flows that have, or had, the step: nearly always one. With a flow asked for too, that one or none. */
static GPtrArray *read_flows_of_step(const ClientLease *lease, const ListQuery *query, GError **error)
{
    g_auto(bson_t) command = BSON_INITIALIZER;
    bson_t filter;
    append_text(&command, "distinct", mongo_collection_name(COLLECTION_FLOW_VERSIONS));
    append_text(&command, "key", "flowId");
    bson_append_document_begin(&command, "query", -1, &filter);
    append_text(&filter, "owner", query->owner);
    append_text(&filter, "stepIds", query->step_id);
    if (query->flow_id != NULL) {
        append_text(&filter, "flowId", query->flow_id);
    }
    bson_append_document_end(&command, &filter);

    bson_t reply;
    bson_error_t failure;
    bson_iter_t iter, element;
    g_autoptr(GPtrArray) flow_ids = g_ptr_array_new_with_free_func(g_free);
    if (!mongoc_client_read_command_with_opts(lease->client, lease->store->database, &command, NULL, NULL, &reply,
                                              &failure)) {
        bson_destroy(&reply);
        mongo_set_error(error, &failure, "look for the flows of a step");
        return NULL;
    }
    if (bson_iter_init_find(&iter, &reply, "values") && bson_iter_recurse(&iter, &element)) {
        while (bson_iter_next(&element) && BSON_ITER_HOLDS_UTF8(&element)) {
            g_ptr_array_add(flow_ids, g_strdup(bson_iter_utf8(&element, NULL)));
        }
    }
    bson_destroy(&reply);
    return g_steal_pointer(&flow_ids);
}

ListPage *mongo_list_runs(Store *base, const ListQuery *query, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    (void)mongo_settle(base, MONGO_OWN_WRITES_MS);
    CLIENT_LEASE(lease, store);
    g_autoptr(GPtrArray) flow_ids = NULL;
    g_autoptr(ListPage) page = list_page_new(query->limit);
    if (query->step_id != NULL) {
        flow_ids = read_flows_of_step(&lease, query, error);
        if (flow_ids == NULL) {
            return NULL;
        }
        if (flow_ids->len == 0) {
            page->total = query->wants_total ? 0 : -1;
            return g_steal_pointer(&page);
        }
    }
    return read_page(&lease, COLLECTION_RUNS, query, flow_ids, page, error) ? g_steal_pointer(&page) : NULL;
}
