/* store_mongo_upkeep.c - walks over all runs and flows, what has ended, and deleting it: for fsck, copy and retention. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* ---- walks ---- */

/* _ids of records that one command reads: those of many runs where each has a few. What a run has beyond is jumped over, so
 * that no journal is read to its end for its id. */
#define RECORD_IDS_AT_ONCE 1000
#define RECORD_ID_LENGTH (ID_TEXT_SIZE + 12) /* of what record_id() makes */

typedef struct {
    MongoCollection records, documents;
} MongoWalk;

/* Ids in the order of a collection's _ids: "<id>" of a document, or "<id>:<number>" of an id's records. */
typedef struct {
    const ClientLease *lease;
    MongoCollection collection;
    bool is_of_records;
    char *after; /* owned; nothing up to this _id is wanted */
    bool is_over;
    Id *ids;
    size_t n, limit;
} IdWalk;

/* An id's records are all behind "<id>:", and ';' follows ':'. */
static void pass_over(IdWalk *walk, const char *id)
{
    g_free(walk->after);
    walk->after = g_strconcat(id, walk->is_of_records && id[0] != '\0' ? ";" : "", NULL);
}

/* What has another form is nobody's id. */
static bool take_id(IdWalk *walk, const char *text, size_t size)
{
    bool is_id =
        walk->is_of_records ? size == RECORD_ID_LENGTH && text[ID_TEXT_SIZE - 1] == ':' : size == ID_TEXT_SIZE - 1;
    Id id;
    (void)g_strlcpy(id.text, text, sizeof id.text);
    if (!is_id || !id_is_valid(id.text)) {
        return false;
    }
    if (walk->n == 0 || strcmp(walk->ids[walk->n - 1].text, id.text) != 0) {
        walk->ids[walk->n++] = id;
    }
    return true;
}

/* One command, which the index on _id answers alone; the next goes on behind the last id that it gave. */
static bool walk_on(IdWalk *walk, GError **error)
{
    static const char *const names[] = {"_id"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t range;
    size_t n_wanted = walk->is_of_records ? RECORD_IDS_AT_ONCE : walk->limit - walk->n, n = 0;
    bson_append_document_begin(&filter, "_id", -1, &range);
    append_text(&range, "$gt", walk->after);
    bson_append_document_end(&filter, &range);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "_id", 1);
    bson_append_int64(&opts, "limit", -1, (int64_t)n_wanted);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(walk->lease, walk->collection, &filter, &opts);
    const bson_t *document;
    int found = 1;
    while (walk->n < walk->limit && (found = mongo_next(cursor, &document, "list all ids", error)) == 1) {
        size_t size = 0;
        const char *text = member_text(document, "_id", &size);
        n++;
        if (text == NULL) { /* the range is of texts alone */
            continue;
        }
        if (take_id(walk, text, size)) {
            pass_over(walk, walk->ids[walk->n - 1].text);
        } else {
            g_free(walk->after);
            walk->after = g_strdup(text);
        }
    }
    walk->is_over = found == 0 && n < n_wanted;
    return found >= 0;
}

static bool read_ids(const ClientLease *lease, MongoCollection collection, bool is_of_records, const char *after,
                     size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    IdWalk walk = {
        .lease = lease, .collection = collection, .is_of_records = is_of_records, .ids = ret_ids, .limit = limit};
    bool is_right = true;
    pass_over(&walk, after);
    while (is_right && !walk.is_over && walk.n < limit) {
        is_right = walk_on(&walk, error);
    }
    g_free(walk.after);
    *ret_n = walk.n;
    return is_right;
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
    g_autofree Id *recorded = g_new(Id, limit);
    g_autofree Id *documented = g_new(Id, limit);
    size_t n_recorded, n_documented;
    if (!read_ids(&lease, what->records, true, after, limit, recorded, &n_recorded, error) ||
        !read_ids(&lease, what->documents, false, after, limit, documented, &n_documented, error)) {
        return false;
    }
    *ret_n = merge_ids(recorded, n_recorded, documented, n_documented, limit, ret_ids);
    return true;
}

bool mongo_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const MongoWalk runs = {COLLECTION_RUN_EVENTS, COLLECTION_RUNS};
    return walk(store, &runs, after, limit, ret_ids, ret_n, error);
}

bool mongo_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const MongoWalk flows = {COLLECTION_FLOW_VERSIONS, COLLECTION_FLOWS};
    return walk(store, &flows, after, limit, ret_ids, ret_n, error);
}

/* ---- what has ended ---- */

bool mongo_list_runs_ended_before(Store *base, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t range;
    bson_append_document_begin(&filter, "settledAt", -1, &range);
    append_instant(&range, "$lt", CLAMP(before, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX + 1));
    bson_append_document_end(&filter, &range);
    return mongo_read_run_ids(&lease, &filter, "settledAt", limit, ret_ids, ret_n, error);
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
