/* store_mongo_apply.c - one round of the projector. In this order, so that a crash at any point leaves marks rather than
 * takes them: the documents; what hand-overs have superseded; what was published. A run whose document is not there, or is
 * behind a command, keeps that command's mark: whoever finds the mark folds the document first. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* Rounds of reading and writing where a replacement is not conditional; beyond that, others are writing these runs. */
#define REPLACE_MAX_PASSES 8

/* ---- bulks ---- */

typedef struct {
    const ClientLease *lease;
    mongoc_bulk_operation_t *operation;
    size_t n;
} ApplyBulk;

static ApplyBulk bulk_begin(const ClientLease *lease, MongoCollection collection)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, collection);
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_append_bool(&opts, "ordered", -1, false);
    return (ApplyBulk){.lease = lease, .operation = mongoc_collection_create_bulk_operation_with_opts(handle, &opts)};
}

static void bulk_end(ApplyBulk *bulk)
{
    mongoc_bulk_operation_destroy(bulk->operation);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ApplyBulk, bulk_end)

static int64_t sub_int(const bson_iter_t *document, const char *key)
{
    bson_iter_t member;
    return bson_iter_recurse(document, &member) && bson_iter_find(&member, key) ? bson_iter_as_int64(&member) : -1;
}

/* A duplicate is a document that was not behind; what is refused for good is noted; the rest is tried again. */
static bool take_write_errors(const bson_t *reply, bool *refused, size_t n)
{
    bson_iter_t iter, element;
    if (!bson_iter_init_find(&iter, reply, "writeErrors") || !bson_iter_recurse(&iter, &element)) {
        return false;
    }
    bool has_errors = false;
    while (bson_iter_next(&element)) {
        int64_t index = sub_int(&element, "index"), code = sub_int(&element, "code");
        bson_error_t failure = {.domain = MONGOC_ERROR_SERVER, .code = (uint32_t)code};
        has_errors = true;
        if (code == MONGOC_ERROR_DUPLICATE_KEY) {
            continue;
        }
        if (mongo_fault_of(&failure) != FAULT_REFUSED || index < 0 || index >= (int64_t)n) {
            return false;
        }
        if (refused != NULL) {
            refused[index] = true;
        }
    }
    return has_errors && (!bson_iter_init_find(&iter, reply, "writeConcernErrors") ||
                          !bson_iter_recurse(&iter, &element) || !bson_iter_next(&element));
}

/* refused: room for each of the bulk's, or NULL. */
static bool bulk_run(ApplyBulk *bulk, bool *refused, const char *doing, GError **error)
{
    if (bulk->n == 0) {
        return true;
    }
    bson_t reply;
    bson_error_t failure;
    bool is_done = mongoc_bulk_operation_execute(bulk->operation, &reply, &failure) != 0 ||
                   take_write_errors(&reply, refused, bulk->n);
    bson_destroy(&reply);
    if (!is_done) {
        mongo_set_error(error, &failure, doing);
    }
    return is_done;
}

/* Sends what there is when no more goes into one command. For bulks in which nothing can be refused for good. */
static bool bulk_make_room(ApplyBulk *bulk, const char *doing, GError **error)
{
    if (bulk->n < bulk->lease->store->n_updates_at_once) {
        return true;
    }
    if (!bulk_run(bulk, NULL, doing, error)) {
        return false;
    }
    const ClientLease *lease = bulk->lease;
    bulk_end(bulk);
    *bulk = bulk_begin(lease, COLLECTION_RUN_EVENTS);
    return true;
}

static void bulk_replace(ApplyBulk *bulk, const Projection *projection, bool is_conditional)
{
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_text(&selector, "_id", projection->run_id.text);
    if (is_conditional) {
        bson_t below;
        bson_append_document_begin(&selector, "seq", -1, &below);
        bson_append_int64(&below, "$lt", -1, projection->seq);
        bson_append_document_end(&selector, &below);
    }
    bson_append_bool(&opts, "upsert", -1, true);
    bson_append_bool(&opts, "validate", -1, false);
    bson_error_t failure;
    bool is_added =
        mongoc_bulk_operation_replace_one_with_opts(bulk->operation, &selector, projection->document, &opts, &failure);
    g_assert(is_added);
    bulk->n++;
}

/* marks: what the record still has to publish; NULL: nothing. */
static void bulk_set_marks(ApplyBulk *bulk, const char *record, GArray *marks)
{
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) update = BSON_INITIALIZER;
    bson_t set, array, unset;
    append_text(&selector, "_id", record);
    bson_append_document_begin(&update, "$set", -1, &set);
    append_instant(&set, "updatedAt", clock_wall_ms(bulk->lease->store->clock));
    if (marks != NULL) {
        bson_append_array_begin(&set, "unpublished", -1, &array);
        for (guint i = 0; i < marks->len; i++) {
            char buffer[16];
            const char *key;
            (void)bson_uint32_to_string(i, &key, buffer, sizeof buffer);
            bson_append_int64(&array, key, -1, g_array_index(marks, int64_t, i));
        }
        bson_append_array_end(&set, &array);
    }
    bson_append_document_end(&update, &set);
    if (marks == NULL) {
        bson_append_document_begin(&update, "$unset", -1, &unset);
        append_text(&unset, "unpublished", "");
        append_text(&unset, "outboxId", "");
        bson_append_document_end(&update, &unset);
    }
    bson_error_t failure;
    bool is_added = mongoc_bulk_operation_update_one_with_opts(bulk->operation, &selector, &update, NULL, &failure);
    g_assert(is_added);
    bulk->n++;
}

/* ---- documents ---- */

static bool needs_document(const Projection *projection)
{
    return projection->document != NULL && !projection->is_document_done;
}

static bool write_documents(const ClientLease *lease, Projection **projections, size_t n, bool is_conditional,
                            GError **error)
{
    g_auto(ApplyBulk) bulk = bulk_begin(lease, COLLECTION_RUNS);
    g_autofree Projection **written = g_new0(Projection *, n);
    g_autofree bool *refused = g_new0(bool, n);
    for (size_t i = 0; i < n; i++) {
        if (needs_document(projections[i])) {
            written[bulk.n] = projections[i];
            bulk_replace(&bulk, projections[i], is_conditional && !projections[i]->is_forced);
        }
    }
    if (!bulk_run(&bulk, refused, "write run documents", error)) {
        return false;
    }
    for (size_t i = 0; i < bulk.n; i++) {
        written[i]->is_refused = refused[i];
        written[i]->is_document_done = is_conditional || refused[i] || written[i]->is_forced;
    }
    return true;
}

/* Seqs of the documents that are there, by run id; free with g_hash_table_unref(). */
static GHashTable *read_seqs(const ClientLease *lease, Projection **projections, size_t n,
                             bool (*is_wanted)(const Projection *), GError **error)
{
    static const char *const names[] = {"seq"};
    g_autoptr(GHashTable) seqs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t in, ids;
    uint32_t n_wanted = 0;
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < n; i++) {
        if (is_wanted(projections[i])) {
            mongo_filter_ids_add(&ids, n_wanted++, projections[i]->run_id.text);
        }
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    if (n_wanted == 0) {
        return g_steal_pointer(&seqs);
    }
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_RUNS, &filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read back run documents", error)) == 1) {
        int64_t seq = member_int(document, "seq", 0);
        g_hash_table_insert(seqs, g_strdup(member_text(document, "_id", NULL)), g_memdup2(&seq, sizeof seq));
    }
    return found == 0 ? g_steal_pointer(&seqs) : NULL;
}

static int64_t seq_of(GHashTable *seqs, const Projection *projection)
{
    const int64_t *seq = g_hash_table_lookup(seqs, projection->run_id.text);
    return seq != NULL ? *seq : 0;
}

/* Where a replacement with a condition is not one step: look, write what is behind, and look again until nothing is. Two
 * that write the same run at the same instant can still leave the older one; a sweeper finds such by their age. */
static bool write_documents_with_care(const ClientLease *lease, Projection **projections, size_t n, GError **error)
{
    for (int pass = 0; pass < REPLACE_MAX_PASSES; pass++) {
        g_autoptr(GHashTable) seqs = read_seqs(lease, projections, n, needs_document, error);
        if (seqs == NULL) {
            return false;
        }
        size_t n_behind = 0;
        for (size_t i = 0; i < n; i++) {
            if (needs_document(projections[i])) {
                projections[i]->is_document_done =
                    seq_of(seqs, projections[i]) >= projections[i]->seq && !projections[i]->is_forced;
                n_behind += !projections[i]->is_document_done;
            }
        }
        if (n_behind == 0) {
            return true;
        }
        if (!write_documents(lease, projections, n, false, error)) {
            return false;
        }
    }
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "run documents are being overwritten by an older writer");
    return false;
}

static bool apply_documents(const ClientLease *lease, Projection **projections, size_t n, GError **error)
{
    return lease->store->has_atomic_replace ? write_documents(lease, projections, n, true, error)
                                            : write_documents_with_care(lease, projections, n, error);
}

/* ---- runs that were deleted ---- */

static bool may_be_deleted(const Projection *projection)
{
    return projection->document != NULL && projection->first_seq > 1;
}

/* Takes back what was appended to a run that is not there any more, and its document. */
static bool remove_remains(const ClientLease *lease, const Projection *projection, GError **error)
{
    g_autoptr(mongoc_collection_t) events = mongo_collection(lease, COLLECTION_RUN_EVENTS);
    g_autoptr(mongoc_collection_t) runs = mongo_collection(lease, COLLECTION_RUNS);
    g_auto(bson_t) records = BSON_INITIALIZER;
    g_auto(bson_t) document = BSON_INITIALIZER;
    mongo_filter_records(&records, projection->run_id.text, projection->first_seq, projection->seq);
    append_text(&document, "_id", projection->run_id.text);
    bson_append_int64(&document, "seq", -1, projection->seq);
    bson_error_t failure;
    if (!mongoc_collection_delete_many(events, &records, NULL, NULL, &failure) ||
        !mongoc_collection_delete_one(runs, &document, NULL, NULL, &failure)) {
        mongo_set_error(error, &failure, "take back what a deleted run was given");
        return false;
    }
    return true;
}

/* Who appends to a run that another process deletes learns nothing of it, and would leave a run without a beginning. Whoever
 * deletes takes the records first and the document last; so when the first record is still there after the document was
 * written, both will go, and when it is not, they go here. */
static bool remove_deleted(const ClientLease *lease, Projection **projections, size_t n, GError **error)
{
    static const char *const names[] = {"_id"};
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t in, ids;
    uint32_t n_wanted = 0;
    char id[RECORD_ID_SIZE];
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < n; i++) {
        if (may_be_deleted(projections[i])) {
            record_id(id, projections[i]->run_id.text, 1);
            mongo_filter_ids_add(&ids, n_wanted++, id);
        }
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    if (n_wanted == 0) {
        return true;
    }
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(GHashTable) there = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_RUN_EVENTS, &filter, &opts);
    const bson_t *record;
    int found;
    while ((found = mongo_next(cursor, &record, "look for deleted runs", error)) == 1) {
        g_hash_table_add(there, g_strdup(member_text(record, "_id", NULL)));
    }
    for (size_t i = 0; i < n && found == 0; i++) {
        record_id(id, projections[i]->run_id.text, 1);
        if (may_be_deleted(projections[i]) && !g_hash_table_contains(there, id) &&
            !remove_remains(lease, projections[i], error)) {
            return false;
        }
    }
    return found == 0;
}

/* ---- marks ---- */

/* A record of the outbox as it is now. */
typedef struct {
    char id[RECORD_ID_SIZE];
    GArray *marks; /* owned */
} MarkedRecord;

static void marked_record_clear(gpointer data)
{
    g_array_unref(((MarkedRecord *)data)->marks);
}

static void take_marked_record(GArray *records, const bson_t *document)
{
    bson_iter_t iter, mark;
    MarkedRecord record = {.marks = g_array_new(FALSE, FALSE, sizeof(int64_t))};
    const char *id = member_text(document, "_id", NULL);
    (void)g_strlcpy(record.id, id != NULL ? id : "", sizeof record.id);
    if (bson_iter_init_find(&iter, document, "unpublished") && bson_iter_recurse(&iter, &mark)) {
        while (bson_iter_next(&mark)) {
            int64_t seq = bson_iter_as_int64(&mark);
            g_array_append_val(record.marks, seq);
        }
    }
    g_array_append_val(records, record);
}

static bool read_records(const ClientLease *lease, const bson_t *filter, GArray *records, GError **error)
{
    static const char *const names[] = {"unpublished"};
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_fields(&opts, names, G_N_ELEMENTS(names));
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, COLLECTION_RUN_EVENTS, filter, &opts);
    const bson_t *document;
    int found;
    while ((found = mongo_next(cursor, &document, "read the outbox", error)) == 1) {
        take_marked_record(records, document);
    }
    return found == 0;
}

/* The run's records with marks that begin below this seq. */
static bool read_records_of_run(const ClientLease *lease, const Id *run_id, int64_t below, GArray *records,
                                GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    char from[RECORD_ID_SIZE], to[RECORD_ID_SIZE];
    record_id(from, run_id->text, 0);
    record_id(to, run_id->text, below);
    mongo_filter_texts(&filter, "outboxId", "$gte", from, "$lt", to);
    return read_records(lease, &filter, records, error);
}

static GArray *marked_records_new(void)
{
    GArray *records = g_array_new(FALSE, FALSE, sizeof(MarkedRecord));
    g_array_set_clear_func(records, marked_record_clear);
    return records;
}

/* A hand-over orders its run anew: what was ordered before is not to be published any more. A crash before this is done
 * leaves marks that whoever publishes tells by their seqs. */
static bool apply_superseded(const ClientLease *lease, const Projection *projection, GError **error)
{
    if (projection->superseded_before == 0) {
        return true;
    }
    g_autoptr(GArray) records = marked_records_new();
    if (!read_records_of_run(lease, &projection->run_id, projection->superseded_before, records, error)) {
        return false;
    }
    g_auto(ApplyBulk) bulk = bulk_begin(lease, COLLECTION_RUN_EVENTS);
    for (guint i = 0; i < records->len; i++) {
        if (!bulk_make_room(&bulk, "drop superseded commands", error)) {
            return false;
        }
        bulk_set_marks(&bulk, g_array_index(records, MarkedRecord, i).id, NULL);
    }
    return bulk_run(&bulk, NULL, "drop superseded commands", error);
}

static bool has_marks_alone(const Projection *projection)
{
    return projection->published != NULL && projection->document == NULL;
}

/* Leaves to each projection the marks that may go: those its run's document has. */
static bool hold_back_marks(const ClientLease *lease, Projection **projections, size_t n, GError **error)
{
    g_autoptr(GHashTable) seqs = read_seqs(lease, projections, n, has_marks_alone, error);
    if (seqs == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        Projection *projection = projections[i];
        if (projection->published == NULL) {
            continue;
        }
        int64_t seq = projection->is_refused         ? 0
                      : projection->document != NULL ? projection->seq
                                                     : seq_of(seqs, projection);
        for (guint k = projection->published->len; k > 0; k--) {
            if (g_array_index(projection->published, int64_t, k - 1) > seq) {
                g_array_remove_index(projection->published, k - 1);
            }
        }
    }
    return true;
}

/* A command is nearly always its record's first event: all those are found by one read of _ids. */
static bool read_marked_records(const ClientLease *lease, Projection **projections, size_t n, GArray *records,
                                GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t in, ids;
    uint32_t n_ids = 0;
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < n; i++) {
        for (guint k = 0; projections[i]->published != NULL && k < projections[i]->published->len; k++) {
            char id[RECORD_ID_SIZE];
            record_id(id, projections[i]->run_id.text, g_array_index(projections[i]->published, int64_t, k));
            mongo_filter_ids_add(&ids, n_ids++, id);
        }
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    return n_ids == 0 || read_records(lease, &filter, records, error);
}

static bool contains(const GArray *seqs, int64_t seq)
{
    for (guint i = 0; i < seqs->len; i++) {
        if (g_array_index(seqs, int64_t, i) == seq) {
            return true;
        }
    }
    return false;
}

/* Two that take marks from one record at once may leave one that was taken: its command is published once more, with the
 * same id. None is ever taken that nobody named. */
static bool unmark(ApplyBulk *bulk, MarkedRecord *record, const GArray *published, GError **error)
{
    guint n_before = record->marks->len;
    for (guint i = n_before; i > 0; i--) {
        if (contains(published, g_array_index(record->marks, int64_t, i - 1))) {
            g_array_remove_index(record->marks, i - 1);
        }
    }
    if (record->marks->len == n_before) {
        return true;
    }
    if (!bulk_make_room(bulk, "mark commands as published", error)) {
        return false;
    }
    bulk_set_marks(bulk, record->id, record->marks->len > 0 ? record->marks : NULL);
    return true;
}

static bool unmark_run(const ClientLease *lease, ApplyBulk *bulk, GHashTable *by_id, const Projection *projection,
                       GError **error)
{
    int64_t last_elsewhere = 0; /* the highest seq that begins no record */
    for (guint k = 0; k < projection->published->len; k++) {
        int64_t seq = g_array_index(projection->published, int64_t, k);
        char id[RECORD_ID_SIZE];
        record_id(id, projection->run_id.text, seq);
        MarkedRecord *record = g_hash_table_lookup(by_id, id);
        if (record == NULL) {
            last_elsewhere = MAX(last_elsewhere, seq);
        } else if (!unmark(bulk, record, projection->published, error)) {
            return false;
        }
    }
    if (last_elsewhere == 0) {
        return true;
    }
    g_autoptr(GArray) records = marked_records_new();
    if (!read_records_of_run(lease, &projection->run_id, last_elsewhere, records, error)) {
        return false;
    }
    for (guint i = 0; i < records->len; i++) {
        MarkedRecord *record = &g_array_index(records, MarkedRecord, i);
        if (!g_hash_table_contains(by_id, record->id) && !unmark(bulk, record, projection->published, error)) {
            return false;
        }
    }
    return true;
}

static bool apply_published(const ClientLease *lease, Projection **projections, size_t n, GError **error)
{
    g_autoptr(GArray) records = marked_records_new();
    if (!hold_back_marks(lease, projections, n, error) || !read_marked_records(lease, projections, n, records, error)) {
        return false;
    }
    g_autoptr(GHashTable) by_id = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; i < records->len; i++) {
        MarkedRecord *record = &g_array_index(records, MarkedRecord, i);
        g_hash_table_insert(by_id, record->id, record);
    }
    g_auto(ApplyBulk) bulk = bulk_begin(lease, COLLECTION_RUN_EVENTS);
    for (size_t i = 0; i < n; i++) {
        if (projections[i]->published != NULL && projections[i]->published->len > 0 &&
            !unmark_run(lease, &bulk, by_id, projections[i], error)) {
            return false;
        }
    }
    return bulk_run(&bulk, NULL, "mark commands as published", error);
}

bool projections_apply(MongoStore *store, Projection **projections, size_t n, GError **error)
{
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    if (!apply_documents(&lease, projections, n, error) || !remove_deleted(&lease, projections, n, error)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!apply_superseded(&lease, projections[i], error)) {
            return false;
        }
        projections[i]->superseded_before = 0;
    }
    return apply_published(&lease, projections, n, error);
}
