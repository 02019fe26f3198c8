/* store_mongo_legacy.c - the walk over the older service's documents. What cannot be taken is told by its _id and counted, and
 * the walk goes on; an owner that is missing, or the server, ends it. */
#include "store/store_mongo_legacy.h"

#include <string.h>

#include "domain/event.h"
#include "store/store_mongo_legacy_internal.h"

#define FLOWS_KEPT 256 /* runs come in any order: read once for many runs, and bounded */
#define PAGE_ENTRIES 1000
#define PAGE_BYTES (256 * 1024) /* becomes one record of the target */
#define FIND_MAX 1000

typedef struct {
    StoreSource base;
    MongoStore connection; /* of which pool, database and timer are used */
    ClientLease lease;
    LegacyOptions options;
    LegacyRefusals refusals;
    Store *target;           /* borrowed; NULL: none */
    mongoc_cursor_t *cursor; /* of flows, then of runs; NULL: not begun */
    bool has_read_flows;
    GHashTable *flows; /* id (owned) -> Flow (owned), NULL: refused */
    LegacyRun run;
} LegacySource;

static void tell(const LegacySource *source, const char *kind, const bson_t *document, const char *reason)
{
    if (source->options.tell == NULL) {
        return;
    }
    g_autofree char *id = legacy_show_id(document);
    g_autofree char *line = g_strdup_printf("%s %s: %s", kind, id, reason);
    g_strdelimit(line, "\n\r", ' ');
    source->options.tell(source->options.arg, line);
}

static void refuse(const LegacySource *source, const char *kind, const bson_t *document, const char *reason)
{
    g_autofree char *text = g_strconcat("cannot be taken: ", reason, NULL);
    tell(source, kind, document, text);
}

/* ---- ids ---- */

/* {"_id": {"$in": every form below `n_forms` of each id}} */
static void filter_ids(bson_t *filter, const Id *ids, size_t n, LegacyForm n_forms)
{
    bson_t in, values;
    uint32_t index = 0;
    mongo_filter_ids_begin(filter, &in, &values);
    for (size_t i = 0; i < n; i++) {
        for (LegacyForm form = LEGACY_JAVA; form < n_forms; form++) {
            legacy_append_id(&values, &index, &ids[i], form);
        }
    }
    mongo_filter_ids_end(filter, &in, &values);
}

/* The same id stored in a form that comes before this one: 1, 0 when there is none, -1 with error set. */
static int find_twin(LegacySource *source, MongoCollection collection, const Id *id, LegacyForm form, GError **error)
{
    static const char *const names[] = {"_id"};
    if (form == LEGACY_JAVA) {
        return 0;
    }
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    filter_ids(&filter, id, 1, form);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    bson_append_int64(&opts, "limit", -1, 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&source->lease, collection, &filter, &opts);
    const bson_t *document;
    return mongo_next(cursor, &document, "look for the same id", error);
}

/* 1: the document's id; 0: it has none that can be used, and *ret_reason (static) says why; -1 with error set. */
static int read_id(LegacySource *source, MongoCollection collection, const bson_t *document, Id *ret_id,
                   const char **ret_reason, GError **error)
{
    bson_iter_t value;
    LegacyForm form;
    if (!bson_validate(document, BSON_VALIDATE_UTF8, NULL)) {
        *ret_reason = "it is damaged, or holds text that is no UTF-8";
        return 0;
    }
    if (!legacy_find(document, "_id", &value) || !legacy_value_id(&value, ret_id, &form)) {
        *ret_reason = "its _id is no UUID";
        return 0;
    }
    if (form == LEGACY_UPPER_TEXT) { /* by its id it is found again in one case or the other */
        g_autofree char *upper = g_ascii_strup(ret_id->text, -1);
        if (strcmp(upper, bson_iter_utf8(&value, NULL)) != 0) {
            *ret_reason = "its _id is in mixed case";
            return 0;
        }
    }
    int found = find_twin(source, collection, ret_id, form, error);
    *ret_reason = "its _id is there in another form, too";
    return found < 0 ? -1 : !found;
}

static bool find_ids(LegacySource *source, MongoCollection collection, const Id *ids, size_t n, bool *ret_is_there,
                     GError **error)
{
    static const char *const names[] = {"_id"};
    g_assert(n <= FIND_MAX);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    filter_ids(&filter, ids, n, N_LEGACY_FORMS);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(GHashTable) there = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&source->lease, collection, &filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "look for ids", error)) == 1) {
        Id id;
        if (legacy_find_id(document, "_id", &id)) {
            g_hash_table_add(there, g_strdup(id.text));
        }
    }
    for (size_t i = 0; i < n && found == 0; i++) {
        ret_is_there[i] = g_hash_table_contains(there, ids[i].text);
    }
    return found == 0;
}

static bool legacy_find_runs(StoreSource *base, const Id *run_ids, size_t n, bool *ret_is_there, GError **error)
{
    return find_ids((LegacySource *)base, COLLECTION_RUNS, run_ids, n, ret_is_there, error);
}

static bool legacy_find_flows(StoreSource *base, const Id *flow_ids, size_t n, bool *ret_is_there, GError **error)
{
    return find_ids((LegacySource *)base, COLLECTION_FLOWS, flow_ids, n, ret_is_there, error);
}

/* ---- flows ---- */

static bool find_owner(const bson_t *document, Id *ret_owner)
{
    return legacy_find_id(document, "ownerId", ret_owner) || legacy_find_id(document, "createdBy", ret_owner);
}

static bool take_owner(const LegacySource *source, const bson_t *document, Id *ret_owner, GError **error)
{
    if (find_owner(document, ret_owner)) {
        return true;
    }
    *ret_owner = source->options.owner;
    if (ret_owner->text[0] == '\0') {
        g_autofree char *id = legacy_show_id(document);
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "flow %s names no owner: say with --owner whose it is", id);
        return false;
    }
    return true;
}

/* What an earlier try gave a flow without any instant, else the time of the copy. */
static bool first_copied_at(const LegacySource *source, const Id *flow_id, int64_t *ret_ms, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autoptr(Flow) there = source->target != NULL ? store_get_flow(source->target, flow_id->text, 1, &inner) : NULL;
    *ret_ms = there != NULL ? there->created_at : source->options.now_ms;
    if (inner != NULL && inner->code != FLOWOPS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return false;
    }
    return true;
}

static bool find_flow_instants(const LegacySource *source, const bson_t *document, LegacyFlowFacts *facts,
                               GError **error)
{
    facts->created_at = legacy_find_instant(document, "createdAt");
    facts->updated_at = legacy_find_instant(document, "updatedAt");
    if (facts->created_at == INSTANT_NONE) {
        facts->created_at = facts->updated_at;
    }
    if (facts->created_at == INSTANT_NONE && !first_copied_at(source, &facts->id, &facts->created_at, error)) {
        return false;
    }
    if (facts->updated_at == INSTANT_NONE) {
        facts->updated_at = facts->created_at;
    }
    return true;
}

/* *ret_flow NULL on success: it cannot be taken. is_told: say so, and count it. */
static bool take_flow(LegacySource *source, const bson_t *document, bool is_told, Flow **ret_flow, GError **error)
{
    LegacyFlowFacts facts;
    const char *no_id = NULL;
    g_autofree char *reason = NULL, *lost_schedule = NULL;
    *ret_flow = NULL;
    int has_id = read_id(source, COLLECTION_FLOWS, document, &facts.id, &no_id, error);
    if (has_id < 0) {
        return false;
    }
    if (has_id == 1) {
        if (!take_owner(source, document, &facts.owner, error) ||
            !find_flow_instants(source, document, &facts, error)) {
            return false;
        }
        *ret_flow = legacy_flow_read(document, &facts, &reason, &lost_schedule);
    }
    if (*ret_flow == NULL && is_told) {
        refuse(source, "flow", document, has_id == 1 ? reason : no_id);
        source->refusals.n_flows++;
    } else if (*ret_flow != NULL && is_told && lost_schedule != NULL) {
        tell(source, "flow", document, lost_schedule);
        source->refusals.n_schedules++;
    }
    return true;
}

static mongoc_cursor_t *walk(LegacySource *source, MongoCollection collection)
{
    g_auto(bson_t) all = BSON_INITIALIZER;
    return mongo_find(&source->lease, collection, &all, NULL);
}

static Flow *legacy_next_flow(StoreSource *base, bool *ret_is_end, GError **error)
{
    LegacySource *source = (LegacySource *)base;
    Flow *flow = NULL;
    *ret_is_end = false;
    if (source->cursor == NULL) {
        source->cursor = walk(source, COLLECTION_FLOWS);
    }
    while (flow == NULL) {
        const bson_t *document;
        int found = mongo_next(source->cursor, &document, "read the flows", error);
        *ret_is_end = found == 0;
        if (found != 1 || !take_flow(source, document, true, &flow, error)) {
            break;
        }
    }
    return flow;
}

/* The flow of a run, from memory or its document; *ret_flow NULL: there is none that was taken. */
static bool find_flow(LegacySource *source, const Id *flow_id, const Flow **ret_flow, GError **error)
{
    gpointer known = NULL;
    if (g_hash_table_lookup_extended(source->flows, flow_id->text, NULL, &known)) {
        *ret_flow = known;
        return true;
    }
    g_auto(bson_t) filter = BSON_INITIALIZER;
    filter_ids(&filter, flow_id, 1, N_LEGACY_FORMS);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&source->lease, COLLECTION_FLOWS, &filter, NULL);
    const bson_t *document;
    Flow *flow = NULL;
    int found = 1;
    while (flow == NULL && (found = mongo_next(cursor, &document, "read a run's flow", error)) == 1) {
        if (!take_flow(source, document, false, &flow, error)) {
            return false;
        }
    }
    if (found < 0) {
        return false;
    }
    if (g_hash_table_size(source->flows) >= FLOWS_KEPT) {
        g_hash_table_remove_all(source->flows);
    }
    g_hash_table_insert(source->flows, g_strdup(flow_id->text), flow);
    *ret_flow = flow;
    return true;
}

/* ---- runs ---- */

static bool find_created_at(const LegacySource *source, const bson_t *document, const Id *id, int64_t *ret_ms,
                            GError **error)
{
    *ret_ms = legacy_run_created_at(document);
    if (*ret_ms != INSTANT_NONE) {
        return true;
    }
    *ret_ms = source->options.now_ms;
    if (source->target == NULL) {
        return true;
    }
    g_autoptr(JournalPage) page = store_read_journal(source->target, id->text, 0, 1, 1, error);
    if (page == NULL) {
        return false;
    }
    if (page->n_entries == 1) {
        g_autoptr(Event) creation = event_decode(page->entries[0].text, page->entries[0].size, error);
        if (creation == NULL) {
            return false;
        }
        *ret_ms = creation->timestamp;
    }
    return true;
}

/* *ret_is_taken false on success: it was refused. */
static bool take_run(LegacySource *source, const bson_t *document, bool *ret_is_taken, GError **error)
{
    Id id, flow_id;
    const Flow *flow = NULL;
    const char *why = NULL;
    g_autofree char *reason = NULL;
    int64_t created_at;
    *ret_is_taken = false;
    int has_id = read_id(source, COLLECTION_RUNS, document, &id, &why, error);
    if (has_id < 0) {
        return false;
    }
    if (has_id == 1 && !legacy_find_id(document, "flowId", &flow_id)) {
        why = "it has no flowId that is a UUID";
        has_id = 0;
    }
    if (has_id == 1) {
        if (!find_flow(source, &flow_id, &flow, error) || !find_created_at(source, document, &id, &created_at, error)) {
            return false;
        }
        *ret_is_taken = flow != NULL && legacy_run_read(document, &id, flow, created_at, &source->run, &reason);
        if (flow == NULL) {
            reason = g_strdup_printf("its flow %s is not there, or cannot be taken", flow_id.text);
        }
    }
    if (!*ret_is_taken) {
        refuse(source, "run", document, reason != NULL ? reason : why);
        source->refusals.n_runs++;
    }
    return true;
}

static bool legacy_next_run(StoreSource *base, Id *ret_run_id, bool *ret_is_end, GError **error)
{
    LegacySource *source = (LegacySource *)base;
    bool is_taken = false;
    *ret_is_end = false;
    if (!source->has_read_flows) {
        g_clear_pointer(&source->cursor, mongoc_cursor_destroy);
        source->cursor = walk(source, COLLECTION_RUNS);
        source->has_read_flows = true;
    }
    legacy_run_done(&source->run);
    while (!is_taken) {
        const bson_t *document;
        int found = mongo_next(source->cursor, &document, "read the runs", error);
        *ret_is_end = found == 0;
        if (found != 1 || !take_run(source, document, &is_taken, error)) {
            return false;
        }
    }
    *ret_run_id = source->run.id;
    return true;
}

static JournalPage *legacy_read_events(StoreSource *base, int64_t after, GError **error)
{
    const LegacyRun *run = &((LegacySource *)base)->run;
    JournalPage *page = journal_page_new();
    size_t n_bytes = 0;
    (void)error; /* it is all in memory */
    page->entries = g_new(JournalEntry, PAGE_ENTRIES);
    for (guint i = (guint)after; i < run->events->len; i++) {
        size_t size = strlen(run->events->pdata[i]);
        if (page->n_entries == PAGE_ENTRIES || (page->n_entries > 0 && n_bytes + size > PAGE_BYTES)) {
            page->has_more = true;
            break;
        }
        char *text = g_strdup(run->events->pdata[i]);
        g_ptr_array_add(page->texts, text);
        page->entries[page->n_entries++] = (JournalEntry){.seq = i + 1, .text = text, .size = size};
        n_bytes += size;
    }
    return page;
}

static bool legacy_read_outbox(StoreSource *base, GArray *seqs, GError **error)
{
    const int64_t creation = 1;
    (void)error;
    if (((LegacySource *)base)->run.is_start_owed) {
        g_array_append_val(seqs, creation);
    }
    return true;
}

/* ---- opening ---- */

static void legacy_close(StoreSource *base)
{
    LegacySource *source = (LegacySource *)base;
    g_clear_pointer(&source->cursor, mongoc_cursor_destroy);
    if (source->lease.client != NULL) {
        client_lease_end(&source->lease);
    }
    mongo_pool_close(&source->connection);
    clock_free(source->connection.timer);
    legacy_run_done(&source->run);
    g_hash_table_unref(source->flows);
    g_free(source->connection.database);
    g_free(source);
}

static const StoreSourceOps legacy_ops = {
    .next_flow = legacy_next_flow,
    .next_run = legacy_next_run,
    .read_events = legacy_read_events,
    .read_outbox = legacy_read_outbox,
    .find_runs = legacy_find_runs,
    .find_flows = legacy_find_flows,
    .close = legacy_close,
};

/* 1: there is a document; 0; -1 with error set. */
static int has_documents(LegacySource *source, MongoCollection collection, const char *id, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    if (id != NULL) {
        append_text(&filter, "_id", id);
    }
    bson_append_int64(&opts, "limit", -1, 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&source->lease, collection, &filter, &opts);
    const bson_t *document;
    return mongo_next(cursor, &document, "look at the old documents", error);
}

static bool check_database(LegacySource *source, GError **error)
{
    const char *database = source->connection.database;
    int is_ours = has_documents(source, COLLECTION_META, "schema", error);
    if (is_ours == 1) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "database %s is a store of this program: copy it with --from", database);
    }
    if (is_ours != 0) {
        return false;
    }
    int has_flows = has_documents(source, COLLECTION_FLOWS, NULL, error);
    int has_runs = has_flows == 0 ? has_documents(source, COLLECTION_RUNS, NULL, error) : has_flows;
    if (has_runs == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "database %s has neither flows nor runs", database);
    }
    return has_runs == 1;
}

/* Found out before anything is written. */
static bool check_owners(LegacySource *source, GError **error)
{
    static const char *const names[] = {"_id", "ownerId", "createdBy"};
    g_auto(bson_t) all = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&source->lease, COLLECTION_FLOWS, &all, &opts);
    const bson_t *document;
    Id owner;
    int found = 0;
    while (source->options.owner.text[0] == '\0' &&
           (found = mongo_next(cursor, &document, "read the flows' owners", error)) == 1) {
        if (!take_owner(source, document, &owner, error)) {
            return false;
        }
    }
    return found == 0;
}

StoreSource *legacy_source_open(const char *uri, const char *database, const LegacyOptions *options, GError **error)
{
    THREAD_ASSERT_NOT(ROLE_LOOP);
    g_autoptr(StoreSource) base = (StoreSource *)g_new0(LegacySource, 1);
    LegacySource *source = (LegacySource *)base;
    base->ops = &legacy_ops;
    source->options = *options;
    source->connection.database = g_strdup(database);
    source->connection.timer = clock_new_system();
    source->flows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)flow_unref);
    source->connection.pool = mongo_pool_new(uri, &source->connection, false, error);
    if (source->connection.pool == NULL) {
        return NULL;
    }
    source->lease = client_lease_begin(&source->connection);
    return check_database(source, error) && check_owners(source, error) ? g_steal_pointer(&base) : NULL;
}

void legacy_source_set_target(StoreSource *source, Store *target)
{
    ((LegacySource *)source)->target = target;
}

LegacyRefusals legacy_source_refusals(const StoreSource *source)
{
    return ((const LegacySource *)source)->refusals;
}
