/* store_mongo_schedule.c - what schedules decided, and which flows have one. A decision is a document under
 * "<flowId>:<n>", whose free _id is the whole question. Of several decisions of one flow each is inserted only when the one
 * before it is in, so a flow's journal has no gap and what a loser would have decided next is not in it. The newest
 * decision of each flow is also kept in `schedules`, written behind it: a hint that spares the start a look-up for each
 * flow. Who reads it looks for what came after. */
#include "store/store_mongo_internal.h"

#include <string.h>

#define HEALED_META "schedules"

/* ---- writing ---- */

typedef struct {
    const ClientLease *lease;
    StoreWrite *writes;
    size_t n_writes;
    GHashTable *stopped; /* flow id -> outcome of the decision that stopped it */
    GHashTable *newest;  /* flow id -> the StoreWrite of its last decision that was written */
} DecisionCall;

static bson_t *form_decision(const DecisionRow *row, const char *id, int64_t now_ms, bson_oid_t *ret_token)
{
    bson_t *document = bson_new();
    append_text(document, "_id", id);
    append_text(document, "flowId", row->key.flow_id.text);
    bson_append_int64(document, "n", -1, row->key.n);
    append_text_n(document, "decision", row->text, row->size);
    if (row->is_owed) {
        append_text(document, "owedId", id);
    }
    append_instant(document, "createdAt", row->decided_at);
    append_instant(document, "updatedAt", now_ms);
    bson_oid_init(ret_token, NULL);
    bson_append_oid(document, "appendId", -1, ret_token);
    return document;
}

/* The next decision of each flow that goes on; their number. The others of a flow that stopped share its fate. */
static size_t pick_wave(DecisionCall *call, bool *is_done, StoreWrite **ret_wave)
{
    g_autoptr(GHashTable) picked = g_hash_table_new(g_str_hash, g_str_equal);
    size_t n = 0;
    for (size_t i = 0; i < call->n_writes; i++) {
        StoreWrite *write = &call->writes[i];
        if (write->kind != WRITE_DECISION || is_done[i]) {
            continue;
        }
        const char *flow_id = write->decision.key.flow_id.text;
        gpointer outcome;
        if (g_hash_table_lookup_extended(call->stopped, flow_id, NULL, &outcome)) {
            /* One behind what is in doubt was not sent. */
            write->ret_outcome = GPOINTER_TO_INT(outcome) == WRITE_CONFLICT ? WRITE_CONFLICT : WRITE_NOTHING;
            is_done[i] = true;
        } else if (g_hash_table_add(picked, (gpointer)flow_id)) {
            ret_wave[n++] = write;
            is_done[i] = true;
        }
    }
    return n;
}

static bool write_wave(DecisionCall *call, StoreWrite **wave, size_t n, GError **error)
{
    g_autofree MongoInsert *inserts = g_new0(MongoInsert, n);
    g_autofree char(*ids)[RECORD_ID_SIZE] = g_malloc_n(n, RECORD_ID_SIZE);
    int64_t now_ms = clock_wall_ms(call->lease->store->clock);
    for (size_t i = 0; i < n; i++) {
        const DecisionRow *row = &wave[i]->decision;
        record_id(ids[i], row->key.flow_id.text, row->key.n);
        inserts[i].id = ids[i];
        inserts[i].document = form_decision(row, ids[i], now_ms, &inserts[i].token);
    }
    bool is_written = mongo_insert(call->lease, COLLECTION_DECISIONS, inserts, n, error);
    for (size_t i = 0; i < n; i++) {
        char *flow_id = wave[i]->decision.key.flow_id.text;
        wave[i]->ret_outcome = inserts[i].ret_outcome;
        if (inserts[i].ret_outcome == WRITTEN) {
            g_hash_table_insert(call->newest, flow_id, wave[i]);
        } else {
            g_hash_table_insert(call->stopped, flow_id, GINT_TO_POINTER(inserts[i].ret_outcome));
        }
        bson_destroy(inserts[i].document);
    }
    return is_written;
}

static void append_head(mongoc_bulk_operation_t *bulk, const MongoStore *store, const DecisionRow *row)
{
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) document = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_text(&selector, "_id", row->key.flow_id.text);
    append_text(&document, "_id", row->key.flow_id.text);
    bson_append_int64(&document, "n", -1, row->key.n);
    append_text_n(&document, "decision", row->text, row->size);
    append_instant(&document, "createdAt", row->decided_at);
    append_instant(&document, "updatedAt", clock_wall_ms(store->clock));
    if (store->has_atomic_replace) {
        bson_t below;
        bson_append_document_begin(&selector, "n", -1, &below);
        bson_append_int64(&below, "$lt", -1, row->key.n);
        bson_append_document_end(&selector, &below);
    }
    bson_append_bool(&opts, "upsert", -1, true);
    bson_error_t failure;
    bool is_added = mongoc_bulk_operation_replace_one_with_opts(bulk, &selector, &document, &opts, &failure);
    g_assert(is_added);
}

static mongoc_bulk_operation_t *bulk_new(const ClientLease *lease, MongoCollection collection)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, collection);
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_append_bool(&opts, "ordered", -1, false);
    return mongoc_collection_create_bulk_operation_with_opts(handle, &opts);
}

/* One that fails, or meets a later one, is made up for by who reads it and by the flow's next decision. */
static void write_heads(const DecisionCall *call)
{
    const MongoStore *store = call->lease->store;
    GHashTableIter iter;
    gpointer write;
    bool has_more = true;
    g_hash_table_iter_init(&iter, call->newest);
    while (has_more) {
        g_autoptr(mongoc_bulk_operation_t) bulk = bulk_new(call->lease, COLLECTION_SCHEDULES);
        size_t n = 0;
        while (n < store->n_updates_at_once && (has_more = g_hash_table_iter_next(&iter, NULL, &write))) {
            append_head(bulk, store, &((const StoreWrite *)write)->decision);
            n++;
        }
        bson_error_t failure;
        if (n > 0) {
            (void)mongoc_bulk_operation_execute(bulk, NULL, &failure);
        }
    }
}

/* Removes the marks of these records. */
static bool remove_marks(const ClientLease *lease, char (*ids)[RECORD_ID_SIZE], size_t n, bson_error_t *ret_failure)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_DECISIONS);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) update = BSON_INITIALIZER;
    bson_t in, array, member;
    mongo_filter_ids_begin(&filter, &in, &array);
    for (size_t i = 0; i < n; i++) {
        mongo_filter_ids_add(&array, (uint32_t)i, ids[i]);
    }
    mongo_filter_ids_end(&filter, &in, &array);
    bson_append_document_begin(&update, "$set", -1, &member);
    append_instant(&member, "updatedAt", clock_wall_ms(lease->store->clock));
    bson_append_document_end(&update, &member);
    bson_append_document_begin(&update, "$unset", -1, &member);
    append_text(&member, "owedId", "");
    bson_append_document_end(&update, &member);
    return mongoc_collection_update_many(handle, &filter, &update, NULL, NULL, ret_failure);
}

static bool write_made(DecisionCall *call, GError **error)
{
    size_t n_at_once = MIN(call->lease->store->n_updates_at_once, MONGO_BULK_MAX_ITEMS), i = 0;
    g_autofree char(*ids)[RECORD_ID_SIZE] = g_malloc_n(n_at_once, RECORD_ID_SIZE);
    while (i < call->n_writes) {
        size_t n = 0, first = i;
        for (; i < call->n_writes && n < n_at_once; i++) {
            if (call->writes[i].kind == WRITE_MADE) {
                record_id(ids[n++], call->writes[i].made.flow_id.text, call->writes[i].made.n);
            }
        }
        bson_error_t failure;
        bool is_done = n == 0 || remove_marks(call->lease, ids, n, &failure);
        for (size_t k = first; k < i && is_done; k++) {
            if (call->writes[k].kind == WRITE_MADE) {
                call->writes[k].ret_outcome = WRITTEN;
            }
        }
        if (!is_done) { /* doing it again does no harm, so that it may have happened makes no difference */
            mongo_set_error(error, &failure, "write to schedule_decisions");
            return false;
        }
    }
    return true;
}

bool mongo_write_decisions(const ClientLease *lease, StoreWrite *writes, size_t n_writes, GError **error)
{
    bool has_any = false;
    for (size_t i = 0; i < n_writes && !has_any; i++) {
        has_any = writes[i].kind == WRITE_DECISION || writes[i].kind == WRITE_MADE;
    }
    if (!has_any) {
        return true;
    }
    g_autoptr(GHashTable) stopped = g_hash_table_new(g_str_hash, g_str_equal);
    g_autoptr(GHashTable) newest = g_hash_table_new(g_str_hash, g_str_equal);
    DecisionCall call = {lease, writes, n_writes, stopped, newest};
    g_autofree bool *is_done = g_new0(bool, n_writes);
    g_autofree StoreWrite **wave = g_new(StoreWrite *, n_writes);
    g_autoptr(GError) first_error = NULL;
    for (size_t n; (n = pick_wave(&call, is_done, wave)) > 0;) {
        g_autoptr(GError) wave_error = NULL;
        if (!write_wave(&call, wave, n, &wave_error) && (first_error == NULL || wave_error->code == FLOWOPS_UNKNOWN)) {
            g_clear_error(&first_error);
            first_error = g_steal_pointer(&wave_error);
        }
    }
    write_heads(&call);
    if (first_error != NULL) {
        g_propagate_error(error, g_steal_pointer(&first_error));
        return false;
    }
    return write_made(&call, error);
}

/* ---- reading decisions ---- */

static bool take_decision(const bson_t *document, DecisionEntry *entry, GError **error)
{
    const char *text = member_text(document, "decision", &entry->size);
    if (text == NULL) {
        const char *id = member_text(document, "_id", NULL);
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "schedule decision %s is damaged: it has no text",
                    id != NULL ? id : "without an id");
        return false;
    }
    entry->text = g_strndup(text, entry->size);
    entry->is_owed = bson_has_field(document, "owedId");
    return true;
}

/* Documents whose `key` lies between: from excluded; to included. */
static DecisionPage *read_range(MongoStore *store, const char *key, const char *from, const char *to, int direction,
                                size_t limit, GError **error)
{
    static const char *const names[] = {"decision", "owedId"};
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bool is_forward = direction > 0;
    mongo_filter_texts(&filter, key, is_forward ? "$gt" : "$gte", from, is_forward ? "$lte" : "$lt", to);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, key, direction);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit + 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_DECISIONS, &filter, &opts);
    g_autoptr(DecisionPage) page = decision_page_new(limit);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read schedule decisions", error)) == 1) {
        if (page->n_entries == limit) {
            page->has_more = true;
            break;
        }
        if (!take_decision(document, &page->entries[page->n_entries++], error)) {
            return NULL;
        }
    }
    return found >= 0 ? g_steal_pointer(&page) : NULL;
}

DecisionPage *mongo_read_decisions(Store *base, const char *flow_id, int64_t after, size_t limit, GError **error)
{
    char from[RECORD_ID_SIZE], to[RECORD_ID_SIZE];
    record_id(from, flow_id, MIN(after, RECORD_NUMBER_MAX));
    record_id(to, flow_id, RECORD_NUMBER_MAX);
    return read_range((MongoStore *)base, "_id", from, to, 1, limit, error);
}

DecisionPage *mongo_read_newest_decisions(Store *base, const char *flow_id, int64_t before, size_t limit,
                                          GError **error)
{
    char from[RECORD_ID_SIZE], to[RECORD_ID_SIZE];
    record_id(from, flow_id, 0);
    record_id(to, flow_id, CLAMP(before, 0, RECORD_NUMBER_MAX));
    return read_range((MongoStore *)base, "_id", from, to, -1, limit, error);
}

DecisionPage *mongo_read_owed_decisions(Store *base, const char *flow_id, const DecisionKey *after, size_t limit,
                                        GError **error)
{
    char from[RECORD_ID_SIZE] = "", to[RECORD_ID_SIZE];
    if (after != NULL) {
        record_id(from, after->flow_id.text, after->n);
    } else if (flow_id != NULL) {
        record_id(from, flow_id, 0);
    }
    if (flow_id != NULL) {
        record_id(to, flow_id, RECORD_NUMBER_MAX);
    }
    return read_range((MongoStore *)base, "owedId", from, flow_id != NULL ? to : NULL, 1, limit, error);
}

/* ---- flows that have a schedule ---- */

typedef struct {
    ScheduledPage *page;
    Id *ids;
    int64_t *last_n; /* of the decision that is known; 0: none */
} ScheduledRead;

static bool read_flows(const ClientLease *lease, const char *after, size_t limit, ScheduledRead *read, GError **error)
{
    static const char *const names[] = {"schedule"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_texts(&filter, "scheduleId", "$gt", after, NULL, NULL);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "scheduleId", 1);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_FLOWS, &filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read schedules", error)) == 1) {
        g_assert(read->page->n_items < limit);
        ScheduledFlow *item = &read->page->items[read->page->n_items];
        const char *text = member_text(document, "schedule", &item->flow_size);
        member_id(document, "_id", &read->ids[read->page->n_items]);
        item->flow = g_strndup(text != NULL ? text : "", item->flow_size);
        read->page->n_items++;
    }
    return found == 0;
}

/* Takes the decisions that are found under these ids, by the flow that each begins with. */
static bool take_decisions(const ClientLease *lease, MongoCollection collection, const bson_t *filter,
                           ScheduledRead *read, GHashTable *index, size_t *ret_n, GError **error)
{
    static const char *const names[] = {"n", "decision"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, collection, filter, &opts);
    const bson_t *document;
    int found;
    *ret_n = 0;
    while ((found = mongo_next(cursor, &document, "read schedules", error)) == 1) {
        const char *id = member_text(document, "_id", NULL);
        size_t size = 0;
        const char *text = member_text(document, "decision", &size);
        char flow_id[ID_TEXT_SIZE];
        gpointer position;
        g_strlcpy(flow_id, id != NULL ? id : "", sizeof flow_id);
        if (text == NULL || !g_hash_table_lookup_extended(index, flow_id, NULL, &position)) {
            continue;
        }
        size_t i = GPOINTER_TO_SIZE(position);
        g_free(read->page->items[i].decision);
        read->page->items[i].decision = g_strndup(text, size);
        read->page->items[i].decision_size = size;
        read->last_n[i] = member_int(document, "n", 0);
        (*ret_n)++;
    }
    return found == 0;
}

static bool read_heads(const ClientLease *lease, ScheduledRead *read, GHashTable *index, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t in, ids;
    size_t n;
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < read->page->n_items; i++) {
        mongo_filter_ids_add(&ids, (uint32_t)i, read->ids[i].text);
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    return take_decisions(lease, COLLECTION_SCHEDULES, &filter, read, index, &n, error);
}

/* What comes behind the heads, as long as there is any. */
static bool read_beyond(const ClientLease *lease, ScheduledRead *read, GHashTable *index, GError **error)
{
    size_t n = 1;
    while (n > 0) {
        g_auto(bson_t) filter = BSON_INITIALIZER;
        bson_t in, ids;
        mongo_filter_ids_begin(&filter, &in, &ids);
        for (size_t i = 0; i < read->page->n_items; i++) {
            char id[RECORD_ID_SIZE];
            record_id(id, read->ids[i].text, read->last_n[i] + 1);
            mongo_filter_ids_add(&ids, (uint32_t)i, id);
        }
        mongo_filter_ids_end(&filter, &in, &ids);
        if (!take_decisions(lease, COLLECTION_DECISIONS, &filter, read, index, &n, error)) {
            return false;
        }
    }
    return true;
}

ScheduledPage *mongo_read_scheduled_flows(Store *base, const char *after, size_t limit, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(ScheduledPage) page = scheduled_page_new(limit);
    g_autofree Id *ids = g_new0(Id, limit);
    g_autofree int64_t *last_n = g_new0(int64_t, limit);
    g_autoptr(GHashTable) index = g_hash_table_new(g_str_hash, g_str_equal);
    ScheduledRead read = {page, ids, last_n};
    if (!read_flows(&lease, after, limit, &read, error)) {
        return NULL;
    }
    for (size_t i = 0; i < page->n_items; i++) {
        g_hash_table_insert(index, ids[i].text, GSIZE_TO_POINTER(i));
    }
    if (page->n_items > 0 && (!read_heads(&lease, &read, index, error) || !read_beyond(&lease, &read, index, error))) {
        return NULL;
    }
    page->has_more = page->n_items == limit;
    if (page->n_items > 0) {
        page->last_id = ids[page->n_items - 1];
    }
    return g_steal_pointer(&page);
}

/* ---- what has changed ---- */

/* From then on; behind `after`. */
static void append_changed(bson_t *filter, int64_t from, const FlowVersion *after)
{
    bson_t range, either, one, other;
    if (after == NULL) {
        bson_append_document_begin(filter, "updatedAt", -1, &range);
        append_instant(&range, "$gte", CLAMP(from, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX));
        bson_append_document_end(filter, &range);
        return;
    }
    bson_append_array_begin(filter, "$or", -1, &either);
    bson_append_document_begin(&either, "0", -1, &one);
    bson_append_document_begin(&one, "updatedAt", -1, &range);
    append_instant(&range, "$gt", after->updated_at);
    bson_append_document_end(&one, &range);
    bson_append_document_end(&either, &one);
    bson_append_document_begin(&either, "1", -1, &other);
    append_instant(&other, "updatedAt", after->updated_at);
    bson_append_document_begin(&other, "_id", -1, &range);
    append_text(&range, "$gt", after->flow_id.text);
    bson_append_document_end(&other, &range);
    bson_append_document_end(&either, &other);
    bson_append_array_end(filter, &either);
}

bool mongo_list_changed_flows(Store *base, int64_t from, const FlowVersion *after, size_t limit, FlowVersion *ret_flows,
                              size_t *ret_n, GError **error)
{
    static const char *const names[] = {"version", "updatedAt"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t order;
    append_changed(&filter, from, after);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    bson_append_document_begin(&opts, "sort", -1, &order);
    bson_append_int32(&order, "updatedAt", -1, 1);
    bson_append_int32(&order, "_id", -1, 1);
    bson_append_document_end(&opts, &order);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_FLOWS, &filter, &opts);
    const bson_t *document;
    size_t n = 0;
    int found;
    while ((found = mongo_next(cursor, &document, "look for changed flows", error)) == 1) {
        g_assert(n < limit);
        FlowVersion *flow = &ret_flows[n++];
        member_id(document, "_id", &flow->flow_id);
        flow->version = member_int(document, "version", 0);
        flow->updated_at = member_instant(document, "updatedAt");
    }
    *ret_n = found == 0 ? n : 0;
    return found == 0;
}

bool mongo_list_open_system_runs(Store *base, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                 GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    (void)mongo_settle(base, MONGO_OWN_WRITES_MS);
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    append_text(&filter, "flowId", flow_id);
    append_text(&filter, "phase", phase_name(PHASE_OPEN));
    append_text(&filter, "triggeredBy", SYSTEM_TRIGGER);
    return mongo_read_run_ids(&lease, &filter, "_id", limit, ret_ids, ret_n, error);
}

/* ---- flows from before there were schedules ---- */

static bool heal_flow(const ClientLease *lease, const bson_t *document, GError **error)
{
    size_t size = 0;
    const char *text = member_text(document, "definition", &size);
    g_autoptr(Flow) flow = text != NULL ? flow_decode(text, size, NULL) : NULL;
    if (flow == NULL || flow->cron == NULL) {
        return true; /* damaged: fsck tells */
    }
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_FLOWS);
    g_autoptr(GString) schedule = g_string_new(NULL);
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) update = BSON_INITIALIZER;
    bson_t set;
    flow_encode_schedule(flow, schedule);
    append_text(&selector, "_id", flow->id.text);
    bson_append_int64(&selector, "version", -1, flow->version);
    bson_append_document_begin(&update, "$set", -1, &set);
    append_text_n(&set, "schedule", schedule->str, schedule->len);
    append_text(&set, "scheduleId", flow->id.text);
    bson_append_document_end(&update, &set);
    bson_error_t failure;
    if (!mongoc_collection_update_one(handle, &selector, &update, NULL, NULL, &failure)) {
        mongo_set_error(error, &failure, "write a flow");
        return false;
    }
    return true;
}

static bool heal_flows(const ClientLease *lease, GError **error)
{
    static const char *const names[] = {"definition"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t any;
    bson_append_document_begin(&filter, "cron", -1, &any);
    append_text(&any, "$gt", "");
    bson_append_document_end(&filter, &any);
    bson_append_bool(&filter, "isDeleted", -1, false);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_FLOWS, &filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "look for flows with a cron", error)) == 1) {
        if (!heal_flow(lease, document, error)) {
            return false;
        }
    }
    return found == 0;
}

bool mongo_heal_schedules(MongoStore *store, GError **error)
{
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    bson_t there;
    int found = mongo_find_by_id(&lease, COLLECTION_META, HEALED_META, NULL, &there, "use the database", error);
    if (found == 1) {
        bson_destroy(&there);
    }
    if (found != 0) {
        return found == 1;
    }
    if (!heal_flows(&lease, error)) {
        return false;
    }
    g_auto(bson_t) made = BSON_INITIALIZER;
    g_autoptr(mongoc_collection_t) handle = mongo_collection(&lease, COLLECTION_META);
    int64_t now_ms = clock_wall_ms(store->clock);
    append_text(&made, "_id", HEALED_META);
    append_instant(&made, "createdAt", now_ms);
    append_instant(&made, "updatedAt", now_ms);
    bson_error_t failure;
    if (!mongoc_collection_insert_one(handle, &made, NULL, NULL, &failure) &&
        failure.code != MONGOC_ERROR_DUPLICATE_KEY) {
        mongo_set_error(error, &failure, "set up the database");
        return false;
    }
    return true;
}
