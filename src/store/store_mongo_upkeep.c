/* store_mongo_upkeep.c - walks over all runs and flows, what has ended, and deleting it: for fsck, copy and retention. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* ---- walks ---- */

typedef struct {
    MongoCollection records, documents;
    const char *key; /* of the records: whose they are */
} MongoWalk;

/* Ids in order, behind `after`; the caller's array of `limit`. Records are read in passing, several for each id: far fewer
 * answers than a find for each. */
static bool read_ids(const ClientLease *lease, MongoCollection collection, const char *key, const char *from,
                     size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t range;
    bson_append_document_begin(&filter, "_id", -1, &range);
    append_text(&range, "$gt", from);
    bson_append_document_end(&filter, &range);
    append_fields(&opts, &key, 1);
    append_sort(&opts, "_id", 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, collection, &filter, &opts);
    const bson_t *document;
    size_t n = 0;
    int found = 0;
    while (n < limit && (found = mongo_next(cursor, &document, "list all ids", error)) == 1) {
        Id id;
        member_id(document, key, &id);
        if (id.text[0] != '\0' && (n == 0 || strcmp(ret_ids[n - 1].text, id.text) != 0)) {
            ret_ids[n++] = id;
        }
    }
    *ret_n = n;
    return found >= 0;
}

/* Each id once, whichever of the two knows it. */
static size_t merge_ids(const Id *a, size_t n_a, const Id *b, size_t n_b, size_t limit, Id *ret_ids)
{
    size_t n = 0, i = 0, k = 0;
    while (n < limit && (i < n_a || k < n_b)) {
        int order = i == n_a ? 1 : k == n_b ? -1 : strcmp(a[i].text, b[k].text);
        ret_ids[n++] = order <= 0 ? a[i] : b[k];
        i += order <= 0;
        k += order >= 0;
    }
    return n;
}

static bool walk(Store *base, const MongoWalk *what, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                 GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    (void)mongo_settle(base, MONGO_OWN_WRITES_MS);
    CLIENT_LEASE(lease, store);
    /* Behind all records of `after`: theirs are "<id>:<number>", and ';' follows ':'. */
    g_autofree char *behind = after[0] != '\0' ? g_strconcat(after, ";", NULL) : g_strdup("");
    g_autofree Id *recorded = g_new(Id, limit);
    g_autofree Id *documented = g_new(Id, limit);
    size_t n_recorded, n_documented;
    if (!read_ids(&lease, what->records, what->key, behind, limit, recorded, &n_recorded, error) ||
        !read_ids(&lease, what->documents, "_id", after, limit, documented, &n_documented, error)) {
        return false;
    }
    *ret_n = merge_ids(recorded, n_recorded, documented, n_documented, limit, ret_ids);
    return true;
}

bool mongo_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const MongoWalk runs = {COLLECTION_RUN_EVENTS, COLLECTION_RUNS, "runId"};
    return walk(store, &runs, after, limit, ret_ids, ret_n, error);
}

bool mongo_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const MongoWalk flows = {COLLECTION_FLOW_VERSIONS, COLLECTION_FLOWS, "flowId"};
    return walk(store, &flows, after, limit, ret_ids, ret_n, error);
}

/* ---- what has ended ---- */

bool mongo_list_runs_ended_before(Store *base, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const char *const names[] = {"_id"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t range;
    bson_append_document_begin(&filter, "settledAt", -1, &range);
    append_instant(&range, "$lt", CLAMP(before, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX + 1));
    bson_append_document_end(&filter, &range);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "settledAt", 1);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_RUNS, &filter, &opts);
    const bson_t *document;
    size_t n = 0;
    int found;
    while ((found = mongo_next(cursor, &document, "look for runs that ended", error)) == 1) {
        g_assert(n < limit);
        member_id(document, "_id", &ret_ids[n++]);
    }
    if (found == 0) {
        *ret_n = n;
    }
    return found == 0;
}

/* ---- deleting ---- */

/* All records of these runs. */
static bool delete_records(const ClientLease *lease, const Id *run_ids, size_t n, bson_error_t *ret_failure)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_RUN_EVENTS);
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_append_bool(&opts, "ordered", -1, false);
    g_autoptr(mongoc_bulk_operation_t) bulk = mongoc_collection_create_bulk_operation_with_opts(handle, &opts);
    for (size_t i = 0; i < n; i++) {
        g_auto(bson_t) selector = BSON_INITIALIZER;
        mongo_filter_records(&selector, run_ids[i].text, 0, RECORD_NUMBER_MAX);
        bool is_added = mongoc_bulk_operation_remove_many_with_opts(bulk, &selector, NULL, ret_failure);
        g_assert(is_added);
    }
    return mongoc_bulk_operation_execute(bulk, NULL, ret_failure) != 0;
}

static bool delete_documents(const ClientLease *lease, const Id *run_ids, size_t n, bson_error_t *ret_failure)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_RUNS);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t in, ids;
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < n; i++) {
        mongo_filter_ids_add(&ids, (uint32_t)i, run_ids[i].text);
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    return mongoc_collection_delete_many(handle, &filter, NULL, NULL, ret_failure);
}

/* The documents go last: a run that is half gone is still found by its document, and deleted again. */
WriteOutcome mongo_delete_runs(const ClientLease *lease, const Id *run_ids, size_t n, GError **error)
{
    bson_error_t failure;
    for (size_t begin = 0, size; begin < n; begin += size) {
        size = MIN(n - begin, lease->store->n_updates_at_once);
        bool is_first = begin == 0;
        bool has_records_gone = delete_records(lease, run_ids + begin, size, &failure);
        if (has_records_gone && delete_documents(lease, run_ids + begin, size, &failure)) {
            continue;
        }
        bool is_nothing = is_first && !has_records_gone && mongo_fault_of(&failure) != FAULT_IN_DOUBT;
        g_autoptr(GError) inner = NULL;
        mongo_set_error(&inner, &failure, "delete runs");
        g_set_error(error, FLOWOPS_ERROR, is_nothing ? inner->code : FLOWOPS_UNKNOWN, "%s", inner->message);
        return is_nothing ? WRITE_NOTHING : WRITE_UNKNOWN;
    }
    return WRITTEN;
}
