/* store_mongo_flow.c - flows. A version is a unique insert into flow_versions, which decides; the head in `flows` is what
 * starts and lists read, and is replaced before the writer hears that its version was taken. A writer that dies in between
 * leaves a head that lags: the next one, who meets a CONFLICT there, brings it forward before it answers. */
#include "store/store_mongo_internal.h"

#include <string.h>

typedef struct {
    int64_t version; /* 0: no head */
    bool is_deleted;
} Head;

static bool read_head(const ClientLease *lease, const char *flow_id, Head *ret_head, GError **error)
{
    static const char *const names[] = {"version", "isDeleted"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    bson_t document;
    int found = mongo_find_by_id(lease, COLLECTION_FLOWS, flow_id, &opts, &document, "read a flow", error);
    *ret_head = (Head){.version = 0};
    if (found == 1) {
        *ret_head =
            (Head){.version = member_int(&document, "version", 0), .is_deleted = member_bool(&document, "isDeleted")};
        bson_destroy(&document);
    }
    return found >= 0;
}

static Flow *take_flow(const bson_t *document, const char *flow_id, GError **error)
{
    size_t size = 0;
    const char *text = member_text(document, "definition", &size);
    g_autoptr(GError) broken = NULL;
    Flow *flow = text != NULL ? flow_decode(text, size, &broken) : NULL;
    if (flow == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "the definition of flow %s is damaged: %s", flow_id,
                    broken != NULL ? broken->message : "it is missing");
    }
    return flow;
}

/* NULL with no error: there is none. */
static Flow *read_flow(const ClientLease *lease, MongoCollection collection, const char *id, GError **error)
{
    static const char *const names[] = {"definition"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    bson_t document;
    if (mongo_find_by_id(lease, collection, id, &opts, &document, "read a flow", error) != 1) {
        return NULL;
    }
    Flow *flow = take_flow(&document, id, error);
    bson_destroy(&document);
    return flow;
}

/* ---- the head ---- */

/* Only by a higher version. Where a server does not do both in one step, two writers may still cross; the look for a
 * later version that follows each replacement then finds what was covered. */
static bool replace_head(const ClientLease *lease, const Flow *flow, GError **error)
{
    if (!lease->store->has_atomic_replace) {
        Head head;
        if (!read_head(lease, flow->id.text, &head, error)) {
            return false;
        }
        if (head.version >= flow->version) {
            return true;
        }
    }
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_FLOWS);
    g_autoptr(bson_t) document = form_flow_head(flow);
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_text(&selector, "_id", flow->id.text);
    if (lease->store->has_atomic_replace) {
        bson_t below;
        bson_append_document_begin(&selector, "version", -1, &below);
        bson_append_int64(&below, "$lt", -1, flow->version);
        bson_append_document_end(&selector, &below);
    }
    bson_append_bool(&opts, "upsert", -1, true);
    bson_append_bool(&opts, "validate", -1, false);
    bson_error_t failure;
    if (mongoc_collection_replace_one(handle, &selector, document, &opts, NULL, &failure) ||
        failure.code == MONGOC_ERROR_DUPLICATE_KEY) { /* the upsert met a head that is not below */
        return true;
    }
    mongo_set_error(error, &failure, "write a flow");
    return false;
}

/* Brings the head to the newest version there is, from `flow` on. */
static bool advance_head(const ClientLease *lease, const Flow *from, GError **error)
{
    g_autoptr(Flow) flow = flow_ref(from);
    for (;;) {
        if (!replace_head(lease, flow, error)) {
            return false;
        }
        char id[RECORD_ID_SIZE];
        record_id(id, flow->id.text, flow->version + 1);
        g_autoptr(GError) inner = NULL;
        Flow *next = read_flow(lease, COLLECTION_FLOW_VERSIONS, id, &inner);
        if (next == NULL) {
            if (inner != NULL) {
                g_propagate_error(error, g_steal_pointer(&inner));
                return false;
            }
            return true;
        }
        flow_unref(flow);
        flow = next;
    }
}

/* The version that is in the way is the newest, or leads to it. */
static bool heal_head(const ClientLease *lease, const Flow *rival, GError **error)
{
    char id[RECORD_ID_SIZE];
    record_id(id, rival->id.text, rival->version);
    g_autoptr(GError) inner = NULL;
    g_autoptr(Flow) there = read_flow(lease, COLLECTION_FLOW_VERSIONS, id, &inner);
    if (there == NULL && inner != NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return false;
    }
    return there == NULL || advance_head(lease, there, error);
}

/* ---- writing ---- */

/* May this version come next? Its predecessor must be the newest, and no deletion. */
static bool check_predecessor(const ClientLease *lease, const Flow *flow, bool *ret_follows, GError **error)
{
    *ret_follows = true;
    if (flow->version == 1) {
        return true; /* the insert tells */
    }
    Head head;
    if (!read_head(lease, flow->id.text, &head, error)) {
        return false;
    }
    if (head.version > 0 && head.version < flow->version - 1) { /* it may lag */
        char id[RECORD_ID_SIZE];
        record_id(id, flow->id.text, head.version);
        g_autoptr(Flow) newest = read_flow(lease, COLLECTION_FLOW_VERSIONS, id, error);
        if (newest == NULL || !advance_head(lease, newest, error) || !read_head(lease, flow->id.text, &head, error)) {
            return false;
        }
    }
    *ret_follows = head.version == flow->version - 1 && !head.is_deleted;
    return true;
}

static bool insert_version(const ClientLease *lease, const Flow *flow, WriteOutcome *ret_outcome, GError **error)
{
    MongoInsert insert = {0};
    char id[RECORD_ID_SIZE];
    record_id(id, flow->id.text, flow->version);
    g_autoptr(bson_t) document = form_flow_version(flow, &insert.token);
    insert.document = document;
    insert.id = id;
    bool is_done = mongo_insert(lease, COLLECTION_FLOW_VERSIONS, &insert, 1, error);
    *ret_outcome = insert.ret_outcome;
    return is_done;
}

static bool advance_owed_head(const ClientLease *lease, const void *flow, GError **error)
{
    return advance_head(lease, flow, error);
}

bool mongo_write_flow(const ClientLease *lease, const Flow *flow, WriteOutcome *ret_outcome, GError **error)
{
    bool follows;
    *ret_outcome = WRITE_NOTHING;
    if (!check_predecessor(lease, flow, &follows, error)) {
        return false;
    }
    if (!follows) {
        *ret_outcome = WRITE_CONFLICT;
        return true;
    }
    if (!insert_version(lease, flow, ret_outcome, error)) {
        return false;
    }
    if (*ret_outcome == WRITTEN) {
        return mongo_finish(lease, advance_owed_head, flow, ret_outcome, error);
    }
    if (!heal_head(lease, flow, error)) { /* the loser reloads, and is to find the winner */
        *ret_outcome = WRITE_NOTHING;
        return false;
    }
    return true;
}

/* ---- reading ---- */

Flow *mongo_get_flow(Store *base, const char *flow_id, int64_t version, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    char id[RECORD_ID_SIZE];
    if (version == 0) {
        (void)g_strlcpy(id, flow_id, sizeof id);
    } else {
        record_id(id, flow_id, MIN(version, RECORD_NUMBER_MAX));
    }
    g_autoptr(GError) inner = NULL;
    Flow *flow = read_flow(&lease, version == 0 ? COLLECTION_FLOWS : COLLECTION_FLOW_VERSIONS, id, &inner);
    if (flow == NULL && inner == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "flow %s not found", flow_id);
    } else if (flow == NULL) {
        g_propagate_error(error, g_steal_pointer(&inner));
    }
    return flow;
}

bool mongo_get_flow_versions(Store *base, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error)
{
    static const char *const names[] = {"version"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    IdFind find;
    id_find_begin(&find);
    for (size_t i = 0; i < n; i++) {
        mongo_filter_ids_add(&find.ids, (uint32_t)i, flow_ids[i].text);
    }
    g_autoptr(GHashTable) versions = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find_ids(&lease, COLLECTION_FLOWS, &find, names, G_N_ELEMENTS(names));
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read the versions of flows", error)) == 1) {
        int64_t version = member_int(document, "version", 0);
        const char *id = member_text(document, "_id", NULL);
        if (id != NULL) {
            g_hash_table_replace(versions, g_strdup(id), g_memdup2(&version, sizeof version));
        }
    }
    for (size_t i = 0; i < n && found == 0; i++) {
        const int64_t *version = g_hash_table_lookup(versions, flow_ids[i].text);
        ret_versions[i] = version != NULL ? *version : 0;
    }
    return found == 0;
}
