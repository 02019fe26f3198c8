/* store_mongo_read.c - reads of one run, one journal, and what watches over open runs. All from the primary, with read
 * concern majority: what a reader saw stays. */
#include "store/store_mongo_internal.h"

#include <string.h>

#define UNSETTLED_PAGE 500 /* documents that are held against their journals at once */

/* ---- a run's document ---- */

static RunDocument *take_document(const bson_t *stored, const char *run_id, GError **error)
{
    size_t summary_size = 0, rest_size = 0;
    const char *summary = member_text(stored, "summary", &summary_size);
    const char *rest = member_text(stored, "rest", &rest_size);
    const char *status = member_text(stored, "status", NULL);
    g_autoptr(RunDocument) document = g_new0(RunDocument, 1);
    if (summary == NULL || summary_size == 0 || rest == NULL || status == NULL ||
        !run_status_parse(status, &document->status) ||
        !phase_parse(member_text(stored, "phase", NULL), &document->phase)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "the document of run %s is damaged", run_id);
        return NULL;
    }
    (void)g_strlcpy(document->run_id.text, run_id, sizeof document->run_id.text);
    member_id(stored, "flowId", &document->flow_id);
    member_id(stored, "owner", &document->owner);
    document->seq = member_int(stored, "seq", 0);
    summary_size--; /* the brace that makes it a text of its own */
    document->detail_size = summary_size + rest_size;
    document->detail = g_malloc(document->detail_size + 1);
    memcpy(document->detail, summary, summary_size);
    memcpy(document->detail + summary_size, rest, rest_size);
    document->detail[document->detail_size] = '\0';
    return g_steal_pointer(&document);
}

RunDocument *mongo_get_run(Store *base, const char *run_id, GError **error)
{
    static const char *const names[] = {"flowId", "owner", "status", "phase", "seq", "summary", "rest"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    bson_t stored;
    int found = mongo_find_by_id(&lease, COLLECTION_RUNS, run_id, &opts, &stored, "read a run", error);
    if (found == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "run %s not found", run_id);
    }
    if (found != 1) {
        return NULL;
    }
    RunDocument *document = take_document(&stored, run_id, error);
    bson_destroy(&stored);
    return document;
}

/* ---- the journal ---- */

typedef struct {
    const ClientLease *lease;
    JournalPage *page;
    const char *run_id;
    int64_t after; /* the last event that is not wanted, or that the page has */
    size_t max_entries;
    size_t bytes_left;
} JournalRead;

/* The run's records that begin between these seqs. */
static mongoc_cursor_t *find_records(const JournalRead *read, int64_t from, int64_t to, int direction, int64_t limit)
{
    static const char *const names[] = {"seq", "lastSeq", "events"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_records(&filter, read->run_id, from, to);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "_id", direction);
    bson_append_int64(&opts, "limit", -1, limit);
    return mongo_find(read->lease, COLLECTION_RUN_EVENTS, &filter, &opts);
}

static bool refuse_damage(const JournalRead *read, GError **error)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL,
                "the journal of run %s is damaged after event %" G_GINT64_FORMAT, read->run_id, read->after);
    return false;
}

/* Adds a record's events after read->after, as far as they fit. */
static bool take_record(JournalRead *read, const bson_t *record, GError **error)
{
    bson_iter_t iter, event;
    int64_t seq = member_int(record, "seq", 0), last_seq = member_int(record, "lastSeq", 0);
    if (!bson_iter_init_find(&iter, record, "events") || !BSON_ITER_HOLDS_ARRAY(&iter) ||
        !bson_iter_recurse(&iter, &event)) {
        return refuse_damage(read, error);
    }
    JournalPage *page = read->page;
    for (; seq <= last_seq; seq++) {
        if (!bson_iter_next(&event) || !BSON_ITER_HOLDS_UTF8(&event)) {
            return refuse_damage(read, error);
        }
        uint32_t size;
        const char *text = bson_iter_utf8(&event, &size);
        if (seq <= read->after) {
            continue;
        }
        if (page->n_entries == read->max_entries || (page->n_entries > 0 && size > read->bytes_left)) {
            page->has_more = true;
            return true;
        }
        char *copy = g_strndup(text, size);
        g_ptr_array_add(page->texts, copy);
        page->entries[page->n_entries++] = (JournalEntry){.seq = seq, .text = copy, .size = size};
        read->bytes_left -= MIN(read->bytes_left, size);
        read->after = seq;
    }
    return true;
}

/* The rest of the record that read->after lies in; nearly always it is a record's end, and there is none. */
static bool take_cut_record(JournalRead *read, GError **error)
{
    g_autoptr(mongoc_cursor_t) cursor = find_records(read, 0, read->after, -1, 1);
    const bson_t *record;
    int found = mongo_next(cursor, &record, "read a journal", error);
    return found == 0 || (found == 1 && take_record(read, record, error));
}

static bool take_records(JournalRead *read, GError **error)
{
    int64_t from = read->after + 1;
    /* One more than fits tells whether there is more. */
    g_autoptr(mongoc_cursor_t) cursor = find_records(read, from, RECORD_NUMBER_MAX, 1, (int64_t)read->max_entries + 1);
    const bson_t *record;
    int found = mongo_next(cursor, &record, "read a journal", error);
    if (found < 0) {
        return false;
    }
    bool begins_there = found == 1 && member_int(record, "seq", 0) == from;
    if (!begins_there && read->after > 0 && !take_cut_record(read, error)) {
        return false;
    }
    while (found == 1 && !read->page->has_more) {
        int64_t seq = member_int(record, "seq", 0);
        if (seq > read->after + 1) {
            return true; /* what is missing was not there yet: read again */
        }
        /* One that begins within what another holds was never part of the journal. */
        if (seq == read->after + 1 && !take_record(read, record, error)) {
            return false;
        }
        found = read->page->has_more ? 0 : mongo_next(cursor, &record, "read a journal", error);
    }
    return found >= 0;
}

JournalPage *mongo_read_journal(Store *base, const char *run_id, int64_t after, size_t max_entries, size_t max_bytes,
                                GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return NULL;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(JournalPage) page = journal_page_new();
    page->entries = g_new(JournalEntry, max_entries);
    JournalRead read = {.lease = &lease,
                        .page = page,
                        .run_id = run_id,
                        .after = MIN(after, RECORD_NUMBER_MAX - 1),
                        .max_entries = max_entries,
                        .bytes_left = max_bytes};
    return take_records(&read, error) ? g_steal_pointer(&page) : NULL;
}

/* A journal that goes further has a record that begins right behind: what is known of a run ends where a record does. */
bool mongo_find_newer(Store *base, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error)
{
    static const char *const names[] = {"_id"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    IdFind find;
    char id[RECORD_ID_SIZE];
    id_find_begin(&find);
    for (size_t i = 0; i < n; i++) {
        record_id(id, known[i].run_id.text, MIN(known[i].seq + 1, RECORD_NUMBER_MAX));
        mongo_filter_ids_add(&find.ids, (uint32_t)i, id);
    }
    g_autoptr(GHashTable) there = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(mongoc_cursor_t) cursor =
        mongo_find_ids(&lease, COLLECTION_RUN_EVENTS, &find, names, G_N_ELEMENTS(names));
    const bson_t *record;
    int found;
    while ((found = mongo_next(cursor, &record, "look for newer events", error)) == 1) {
        g_hash_table_add(there, g_strdup(member_text(record, "_id", NULL)));
    }
    for (size_t i = 0; i < n && found == 0; i++) {
        record_id(id, known[i].run_id.text, MIN(known[i].seq + 1, RECORD_NUMBER_MAX));
        ret_is_newer[i] = g_hash_table_contains(there, id);
    }
    return found == 0;
}

/* ---- open runs and what they wait for ---- */

bool mongo_count_open_runs(Store *base, const char *flow_id, int64_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    (void)mongo_settle(base, MONGO_OWN_WRITES_MS);
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    if (flow_id != NULL) {
        append_text(&filter, "flowId", flow_id);
    }
    append_text(&filter, "phase", phase_name(PHASE_OPEN));
    return mongo_count(&lease, COLLECTION_RUNS, &filter, ret_n, error);
}

static void append_after(bson_t *filter, const char *after)
{
    bson_t range;
    bson_append_document_begin(filter, "_id", -1, &range);
    append_text(&range, "$gt", after);
    bson_append_document_end(filter, &range);
}

bool mongo_read_run_ids(const ClientLease *lease, const bson_t *filter, const char *sort_key, size_t limit, Id *ret_ids,
                        size_t *ret_n, GError **error)
{
    static const char *const names[] = {"_id"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, sort_key, 1);
    bson_append_int64(&opts, "limit", -1, (int64_t)limit);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_RUNS, filter, &opts);
    const bson_t *document;
    size_t n = 0;
    int found;
    while ((found = mongo_next(cursor, &document, "look for runs", error)) == 1) {
        g_assert(n < limit);
        member_id(document, "_id", &ret_ids[n++]);
    }
    if (found == 0) {
        *ret_n = n;
    }
    return found == 0;
}

bool mongo_list_runs_in_phase(Store *base, RunPhase phase, int64_t requested_before, const char *after, size_t limit,
                              Id *ret_ids, size_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    (void)mongo_settle(base, MONGO_OWN_WRITES_MS);
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    append_text(&filter, "phase", phase_name(phase));
    append_after(&filter, after);
    if (requested_before != INSTANT_NONE) {
        bson_t range;
        bson_append_document_begin(&filter, "pendingCommand.requestedAt", -1, &range);
        append_instant(&range, "$lt", requested_before);
        bson_append_document_end(&filter, &range);
    }
    return mongo_read_run_ids(&lease, &filter, "_id", limit, ret_ids, ret_n, error);
}

/* A page of runs that have not settled, and how far their documents are. */
static bool read_unsettled(const ClientLease *lease, const char *after, RunSeq *ret_known, size_t *ret_n,
                           GError **error)
{
    static const char *const names[] = {"_id", "seq"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t in, phases;
    bson_append_document_begin(&filter, "phase", -1, &in);
    bson_append_array_begin(&in, "$in", -1, &phases);
    append_text(&phases, "0", phase_name(PHASE_OPEN));
    append_text(&phases, "1", phase_name(PHASE_ENDING));
    bson_append_array_end(&in, &phases);
    bson_append_document_end(&filter, &in);
    append_after(&filter, after);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "_id", 1);
    bson_append_int64(&opts, "limit", -1, UNSETTLED_PAGE);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_RUNS, &filter, &opts);
    const bson_t *document;
    size_t n = 0;
    int found;
    while ((found = mongo_next(cursor, &document, "look for runs", error)) == 1) {
        g_assert(n < UNSETTLED_PAGE);
        member_id(document, "_id", &ret_known[n].run_id);
        ret_known[n++].seq = member_int(document, "seq", 0);
    }
    if (found == 0) {
        *ret_n = n;
    }
    return found == 0;
}

/* Two round trips for each page of runs that have not settled. One whose document is merely on its way is named, too: to
 * write it once more does no harm. */
bool mongo_list_runs_behind(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    RunSeq known[UNSETTLED_PAGE] = {{.run_id = {""}}};
    bool is_newer[UNSETTLED_PAGE];
    if (!mongo_admit(store, error)) {
        return false;
    }
    Id last;
    g_strlcpy(last.text, after, sizeof last.text);
    size_t n_found = 0, n;
    do {
        {
            CLIENT_LEASE(lease, store);
            if (!read_unsettled(&lease, last.text, known, &n, error)) {
                return false;
            }
        }
        if (n > 0 && !mongo_find_newer(base, known, n, is_newer, error)) {
            return false;
        }
        for (size_t i = 0; i < n && n_found < limit; i++) {
            if (is_newer[i]) {
                ret_ids[n_found++] = known[i].run_id;
            }
            last = known[i].run_id;
        }
    } while (n == UNSETTLED_PAGE && n_found < limit);
    *ret_n = n_found;
    return true;
}

/* Open runs of these flows that no stop is pending for. */
static bool read_runs_of_flows(const ClientLease *lease, GPtrArray *flow_ids, const char *after, size_t limit,
                               Id *ret_ids, size_t *ret_n, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t unlike;
    append_text(&filter, "phase", phase_name(PHASE_OPEN));
    append_after(&filter, after);
    mongo_filter_flow_ids(&filter, flow_ids);
    bson_append_document_begin(&filter, "pendingCommand.command", -1, &unlike);
    append_text(&unlike, "$ne", command_name(COMMAND_STOP));
    bson_append_document_end(&filter, &unlike);
    return mongo_read_run_ids(lease, &filter, "_id", limit, ret_ids, ret_n, error);
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(((const Id *)a)->text, ((const Id *)b)->text);
}

/* Adds the runs of these flows to those found so far, and keeps the first `limit` of all. */
static bool merge_runs_of_flows(const ClientLease *lease, GPtrArray *flow_ids, const char *after, size_t limit,
                                GArray *found, GError **error)
{
    if (flow_ids->len == 0) {
        return true;
    }
    size_t n = 0;
    g_autofree Id *ids = g_new(Id, limit);
    if (!read_runs_of_flows(lease, flow_ids, after, limit, ids, &n, error)) {
        return false;
    }
    g_array_append_vals(found, ids, (guint)n);
    g_array_sort(found, compare_ids);
    g_array_set_size(found, (guint)MIN(found->len, limit));
    g_ptr_array_set_size(flow_ids, 0);
    return true;
}

/* Nearly always no flow is being stopped, and no run need be looked at. All that ever were deleted by force are asked
 * for, this many at a time. */
#define STOPPING_FLOWS_AT_ONCE 1000

bool mongo_list_runs_to_stop(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    static const char *const names[] = {"_id"};
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_append_bool(&filter, "stopsRuns", -1, true);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_FLOWS, &filter, &opts);
    g_autoptr(GPtrArray) flow_ids = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(Id));
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "look for flows to stop", error)) == 1) {
        g_ptr_array_add(flow_ids, g_strdup(member_text(document, "_id", NULL)));
        if (flow_ids->len == STOPPING_FLOWS_AT_ONCE &&
            !merge_runs_of_flows(&lease, flow_ids, after, limit, runs, error)) {
            return false;
        }
    }
    if (found < 0 || !merge_runs_of_flows(&lease, flow_ids, after, limit, runs, error)) {
        return false;
    }
    if (runs->len > 0) {
        memcpy(ret_ids, runs->data, runs->len * sizeof(Id));
    }
    *ret_n = runs->len;
    return true;
}

/* ---- the outbox ---- */

typedef struct {
    const RunSeq *after; /* NULL: from the start */
    int64_t before_seq;
    size_t limit;
    RunSeq *entries;
    size_t n;
} OutboxRead;

static void take_marks(OutboxRead *read, const bson_t *record)
{
    bson_iter_t iter, mark;
    RunSeq entry;
    member_id(record, "runId", &entry.run_id);
    if (!bson_iter_init_find(&iter, record, "unpublished") || !BSON_ITER_HOLDS_ARRAY(&iter) ||
        !bson_iter_recurse(&iter, &mark)) {
        return;
    }
    bool is_cut = read->after != NULL && strcmp(read->after->run_id.text, entry.run_id.text) == 0;
    while (bson_iter_next(&mark) && read->n < read->limit) {
        entry.seq = bson_iter_as_int64(&mark);
        if (entry.seq < read->before_seq && (!is_cut || entry.seq > read->after->seq)) {
            read->entries[read->n++] = entry;
        }
    }
}

/* Records with marks whose ids lie between these, both included. */
static bool read_marks(MongoStore *store, const char *from, const char *to, OutboxRead *read, GError **error)
{
    static const char *const names[] = {"runId", "unpublished"};
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_texts(&filter, "outboxId", "$gte", from, "$lte", to);
    append_fields(&opts, names, G_N_ELEMENTS(names));
    append_sort(&opts, "outboxId", 1);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(&lease, COLLECTION_RUN_EVENTS, &filter, &opts);
    const bson_t *record;
    int found = 1;
    while (read->n < read->limit && (found = mongo_next(cursor, &record, "read the outbox", error)) == 1) {
        take_marks(read, record);
    }
    return found >= 0;
}

bool mongo_read_outbox(Store *base, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                       GError **error)
{
    char from[RECORD_ID_SIZE] = "";
    if (after != NULL) {
        record_id(from, after->run_id.text, 0); /* a record before its seq may hold later ones */
    }
    OutboxRead read = {.after = after, .before_seq = INT64_MAX, .limit = limit, .entries = ret_entries};
    if (!read_marks((MongoStore *)base, from, NULL, &read, error)) {
        return false;
    }
    *ret_n = read.n;
    return true;
}

bool mongo_read_outbox_of(Store *base, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                          size_t *ret_n, GError **error)
{
    char from[RECORD_ID_SIZE], to[RECORD_ID_SIZE];
    record_id(from, run_id, 0);
    record_id(to, run_id, CLAMP(before_seq, 0, RECORD_NUMBER_MAX));
    OutboxRead read = {.before_seq = before_seq, .limit = limit, .entries = ret_entries};
    if (!read_marks((MongoStore *)base, from, to, &read, error)) {
        return false;
    }
    *ret_n = read.n;
    return true;
}
