/* store_mongo_backfill.c - backfills. An entry of a backfill's journal is a document under "<backfillId>:<n>", whose free
 * _id is the whole question; the first has the plan. The head in `backfills` is what lists and the look for open ones read,
 * and is replaced before the writer hears that its entry was taken. A writer that dies in between leaves a head that lags,
 * or none: who meets a CONFLICT brings it forward. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* ---- writing ---- */

static bson_t *form_entry(const BackfillEntry *entry, const char *id, int64_t now_ms, bson_oid_t *ret_token)
{
    bson_t *document = bson_new();
    append_text(document, "_id", id);
    append_text(document, "backfillId", entry->backfill_id.text);
    append_text(document, "owner", entry->owner.text);
    append_text(document, "flowId", entry->flow_id.text);
    bson_append_int64(document, "n", -1, entry->n);
    bson_append_bool(document, "isOpen", -1, entry->is_open);
    append_text_n(document, "state", entry->state, entry->state_size);
    if (entry->plan != NULL) {
        append_text_n(document, "plan", entry->plan, entry->plan_size);
    }
    append_instant(document, "startedAt", entry->created_at); /* the backfill's own createdAt */
    append_instant(document, "createdAt", now_ms);
    append_instant(document, "updatedAt", now_ms);
    bson_oid_init(ret_token, NULL);
    bson_append_oid(document, "appendId", -1, ret_token);
    return document;
}

static bool read_head_n(const ClientLease *lease, const char *backfill_id, int64_t *ret_n, GError **error)
{
    static const char *const names[] = {"n"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t document;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    int found = mongo_find_by_id(lease, COLLECTION_BACKFILLS, backfill_id, &opts, &document, "read a backfill", error);
    *ret_n = found == 1 ? member_int(&document, "n", 0) : 0;
    if (found == 1) {
        bson_destroy(&document);
    }
    return found >= 0;
}

/* Only by a later entry. Where a server does not do both in one step two writers may cross, and the head lags until the next
 * entry: as after a crash. */
static bool replace_head(const ClientLease *lease, const BackfillEntry *entry, GError **error)
{
    const MongoStore *store = lease->store;
    int64_t head_n = 0;
    if (!store->has_atomic_replace && !read_head_n(lease, entry->backfill_id.text, &head_n, error)) {
        return false;
    }
    if (head_n >= entry->n) {
        return true;
    }
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_BACKFILLS);
    g_auto(bson_t) document = BSON_INITIALIZER;
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_text(&document, "_id", entry->backfill_id.text);
    append_text(&document, "owner", entry->owner.text);
    append_text(&document, "flowId", entry->flow_id.text);
    bson_append_int64(&document, "n", -1, entry->n);
    if (entry->is_open) { /* absent otherwise: its sparse index holds what there is to do */
        append_text(&document, "openId", entry->backfill_id.text);
    }
    append_text_n(&document, "summary", entry->state, entry->state_size);
    append_instant(&document, "createdAt", entry->created_at);
    append_instant(&document, "updatedAt", clock_wall_ms(store->clock));
    append_text(&selector, "_id", entry->backfill_id.text);
    if (store->has_atomic_replace) {
        bson_t below;
        bson_append_document_begin(&selector, "n", -1, &below);
        bson_append_int64(&below, "$lt", -1, entry->n);
        bson_append_document_end(&selector, &below);
    }
    bson_append_bool(&opts, "upsert", -1, true);
    bson_error_t failure;
    if (mongoc_collection_replace_one(handle, &selector, &document, &opts, NULL, &failure) ||
        failure.code == MONGOC_ERROR_DUPLICATE_KEY) { /* the upsert met a head that is not below */
        return true;
    }
    mongo_set_error(error, &failure, "write a backfill");
    return false;
}

/* The newest entry: 1, 0 when there is none, -1 with error set. ret_document is initialised on 1. */
static int find_newest(const ClientLease *lease, const char *backfill_id, bson_t *ret_document, GError **error)
{
    static const char *const names[] = {"owner", "flowId", "n", "isOpen", "state", "startedAt"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_records(&filter, backfill_id, 0, RECORD_NUMBER_MAX);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "_id", -1);
    bson_append_int64(&opts, "limit", -1, 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_BACKFILL_ENTRIES, &filter, &opts);
    const bson_t *document;
    int found = mongo_next(cursor, &document, "read a backfill", error);
    if (found == 1) {
        bson_copy_to(document, ret_document);
    }
    return found;
}

static bool heal_head(const ClientLease *lease, const Id *backfill_id, GError **error)
{
    bson_t document;
    int found = find_newest(lease, backfill_id->text, &document, error);
    if (found <= 0) {
        return found == 0;
    }
    BackfillEntry newest = {.backfill_id = *backfill_id,
                            .n = member_int(&document, "n", 0),
                            .is_open = member_bool(&document, "isOpen"),
                            .created_at = member_instant(&document, "startedAt")};
    member_id(&document, "owner", &newest.owner);
    member_id(&document, "flowId", &newest.flow_id);
    newest.state = member_text(&document, "state", &newest.state_size);
    bool is_done = newest.state == NULL || replace_head(lease, &newest, error);
    bson_destroy(&document);
    return is_done;
}

static bool replace_owed_head(const ClientLease *lease, const void *entry, GError **error)
{
    return replace_head(lease, entry, error);
}

static bool check_predecessor(const ClientLease *lease, const BackfillEntry *entry, bool *ret_follows, GError **error)
{
    static const char *const names[] = {"n"};
    *ret_follows = true;
    if (entry->n == 1) {
        return true; /* the insert tells */
    }
    char id[RECORD_ID_SIZE];
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t document;
    record_id(id, entry->backfill_id.text, MIN(entry->n - 1, RECORD_NUMBER_MAX));
    append_fields(&opts, names, G_N_ELEMENTS(names));
    int found = mongo_find_by_id(lease, COLLECTION_BACKFILL_ENTRIES, id, &opts, &document, "read a backfill", error);
    if (found == 1) {
        bson_destroy(&document);
    }
    *ret_follows = found == 1;
    return found >= 0;
}

bool mongo_write_backfill(const ClientLease *lease, const BackfillEntry *entry, WriteOutcome *ret_outcome,
                          GError **error)
{
    bool follows;
    *ret_outcome = WRITE_NOTHING;
    if (!check_predecessor(lease, entry, &follows, error)) {
        return false;
    }
    if (!follows) {
        *ret_outcome = WRITE_CONFLICT;
        return true;
    }
    char id[RECORD_ID_SIZE];
    MongoInsert insert = {.id = id};
    record_id(id, entry->backfill_id.text, MIN(entry->n, RECORD_NUMBER_MAX));
    g_autoptr(bson_t) document = form_entry(entry, id, clock_wall_ms(lease->store->clock), &insert.token);
    insert.document = document;
    bool is_done = mongo_insert(lease, COLLECTION_BACKFILL_ENTRIES, &insert, 1, error);
    *ret_outcome = insert.ret_outcome;
    if (!is_done) {
        return false;
    }
    if (*ret_outcome == WRITTEN) {
        return mongo_finish(lease, replace_owed_head, entry, ret_outcome, error);
    }
    if (!heal_head(lease, &entry->backfill_id, error)) { /* the loser reloads, and lists are to show the winner */
        *ret_outcome = WRITE_NOTHING;
        return false;
    }
    return true;
}

/* ---- reading ---- */

static char *take_text(const bson_t *document, const char *name, size_t *ret_size)
{
    const char *text = member_text(document, name, ret_size);
    return text != NULL ? g_strndup(text, *ret_size) : NULL;
}

static bool read_plan(const ClientLease *lease, const char *backfill_id, BackfillRecord *record, GError **error)
{
    static const char *const names[] = {"plan"};
    char id[RECORD_ID_SIZE];
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t document;
    record_id(id, backfill_id, 1);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    int found = mongo_find_by_id(lease, COLLECTION_BACKFILL_ENTRIES, id, &opts, &document, "read a backfill", error);
    if (found < 0) {
        return false;
    }
    if (found == 1) {
        record->plan = take_text(&document, "plan", &record->plan_size);
        bson_destroy(&document);
    }
    if (record->plan == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "backfill %s is damaged: it has no plan", backfill_id);
    }
    return record->plan != NULL;
}

BackfillRecord *mongo_get_backfill(Store *base, const char *backfill_id, bool has_plan, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    bson_t document;
    int found = find_newest(&lease, backfill_id, &document, error);
    if (found <= 0) {
        if (found == 0) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "backfill %s not found", backfill_id);
        }
        return NULL;
    }
    g_autoptr(BackfillRecord) record = g_new0(BackfillRecord, 1);
    record->state = take_text(&document, "state", &record->state_size);
    bson_destroy(&document);
    if (record->state == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "backfill %s is damaged: it has no state", backfill_id);
        return NULL;
    }
    return !has_plan || read_plan(&lease, backfill_id, record, error) ? g_steal_pointer(&record) : NULL;
}

bool mongo_list_open_backfills(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    static const char *const names[] = {"openId"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_texts(&filter, "openId", "$gt", after, NULL, NULL);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "openId", 1);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_BACKFILLS, &filter, &opts);
    const bson_t *document;
    int found;
    *ret_n = 0;
    while ((found = mongo_next(cursor, &document, "look for backfills", error)) == 1 && *ret_n < limit) {
        member_id(document, "openId", &ret_ids[(*ret_n)++]);
    }
    return found >= 0;
}

bool mongo_count_open_backfills(Store *base, const char *owner, int64_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    mongo_filter_texts(&filter, "openId", "$gt", "", NULL, NULL);
    if (owner != NULL) {
        append_text(&filter, "owner", owner);
    }
    return mongo_count(&lease, COLLECTION_BACKFILLS, &filter, ret_n, error);
}
