/* store_mongo_write.c - store_write(): the journal's records in unordered bulks, each with an outcome of its own, then
 * flows one by one; documents and marks are left to the projector.
 *
 * An append is one document under "<runId>:<first seq>", so it is all or nothing, and that its _id is free is the whole
 * question: a state that somebody decides on ends where a record ends (a reader takes records whole, from the first, each
 * beginning where the one before ended), every append begins at the next seq, and so two that follow one state meet at the
 * same _id. One that follows no state that was ever read begins in a gap or within a record: readers never come to it.
 * One that follows a run that was deleted meanwhile counts as appended before: the projector takes it away. */
#include "store/store_mongo_internal.h"

#include <string.h>

#define DELETE_WAIT_MS 500

/* What a call is about to do, by the index of its write. */
typedef struct {
    MongoStore *store;
    StoreWrite *writes;
    size_t n_writes;
    bson_t **records;   /* of WRITE_RUN */
    bson_t **documents; /* of WRITE_RUN and WRITE_PROJECTION, until the projector has them */
    char (*ids)[RECORD_ID_SIZE];
    MongoInsert *inserts; /* of WRITE_RUN, without gaps */
    size_t *insert_of;    /* index of a write -> index in inserts */
    size_t n_inserts;
    size_t n_reserved; /* items, bytes */
    size_t n_reserved_bytes;
    GError *error; /* the first of the worst kind */
} WriteCall;

/* An open outcome is worse than a failure, and that is worse than a refusal. */
static int badness(const GError *error)
{
    return error->code == FLOWOPS_UNKNOWN ? 2 : error->code != FLOWOPS_INVALID;
}

static void keep_error(WriteCall *call, GError *take_error)
{
    if (call->error == NULL || badness(take_error) > badness(call->error)) {
        g_clear_error(&call->error);
        call->error = take_error;
    } else {
        g_error_free(take_error);
    }
}

static bool is_projected(const StoreWrite *write)
{
    return write->kind == WRITE_RUN || write->kind == WRITE_PROJECTION;
}

static const RunRow *row_of(const StoreWrite *write)
{
    return write->kind == WRITE_RUN ? write->run.row : write->projection;
}

/* Refused before it is sent: the server would refuse the bulk it is in. */
static bool fits(const bson_t *document)
{
    return document == NULL || document->len <= MONGO_DOCUMENT_MAX_BYTES;
}

static void prepare(WriteCall *call, size_t i)
{
    StoreWrite *write = &call->writes[i];
    write->ret_outcome = WRITE_NOTHING;
    if (!is_projected(write)) {
        call->n_reserved += write->kind == WRITE_PUBLISHED;
        return;
    }
    MongoInsert insert = {.id = call->ids[i]};
    call->documents[i] = form_run(row_of(write));
    if (write->kind == WRITE_RUN) {
        record_id(call->ids[i], write->run.row->run_id.text, write->run.first_seq);
        call->records[i] = form_run_events(&write->run, clock_wall_ms(call->store->clock), &insert.token);
    }
    if (!fits(call->documents[i]) || !fits(call->records[i])) {
        keep_error(call,
                   g_error_new(FLOWOPS_ERROR, FLOWOPS_INVALID,
                               "run %s: %u bytes are more than a document of MongoDB may have",
                               row_of(write)->run_id.text,
                               MAX(call->documents[i]->len, call->records[i] != NULL ? call->records[i]->len : 0)));
        g_clear_pointer(&call->documents[i], bson_destroy);
        write->ret_outcome = WRITE_REFUSED;
        return;
    }
    call->n_reserved++;
    call->n_reserved_bytes += call->documents[i]->len;
    if (write->kind == WRITE_RUN) {
        insert.document = call->records[i];
        call->insert_of[i] = call->n_inserts;
        call->inserts[call->n_inserts++] = insert;
    }
}

static void write_journal(WriteCall *call, const ClientLease *lease)
{
    GError *error = NULL;
    if (call->n_inserts > 0 && !mongo_insert(lease, COLLECTION_RUN_EVENTS, call->inserts, call->n_inserts, &error)) {
        keep_error(call, error);
    }
    for (size_t i = 0; i < call->n_writes; i++) {
        if (call->writes[i].kind == WRITE_RUN && call->documents[i] != NULL) {
            call->writes[i].ret_outcome = call->inserts[call->insert_of[i]].ret_outcome;
        }
    }
}

static void write_flows(WriteCall *call, const ClientLease *lease)
{
    for (size_t i = 0; i < call->n_writes; i++) {
        StoreWrite *write = &call->writes[i];
        GError *error = NULL;
        if (write->kind == WRITE_FLOW &&
            (!mongo_admit(call->store, &error) || !mongo_write_flow(lease, write->flow, &write->ret_outcome, &error))) {
            keep_error(call, error);
        }
    }
}

static void push_run(Projector *projector, const StoreWrite *write, bson_t *document)
{
    const RunRow *row = row_of(write);
    Projection run = {.run_id = row->run_id, .document = document, .seq = row->seq};
    if (write->kind == WRITE_RUN) {
        run.first_seq = write->run.first_seq;
        run.superseded_before = write->run.supersedes_commands ? write->run.first_seq : 0;
    } else {
        run.is_forced = write->is_forced;
    }
    projector_push_run(projector, &run);
}

/* A document that is on its way would come after its run was deleted, so those of these runs are waited for: not for long,
 * as everybody waits for the writer meanwhile. */
static void delete_runs(WriteCall *call, const ClientLease *lease)
{
    g_autofree Id *run_ids = g_new(Id, call->n_writes);
    size_t n = 0;
    for (size_t i = 0; i < call->n_writes; i++) {
        if (call->writes[i].kind == WRITE_DELETE_RUN) {
            run_ids[n++] = call->writes[i].deleted;
        }
    }
    if (n == 0) {
        return;
    }
    GError *error = NULL;
    WriteOutcome outcome = WRITE_NOTHING;
    if (projector_settle_runs(call->store->projector, run_ids, n, DELETE_WAIT_MS)) {
        outcome = mongo_delete_runs(lease, run_ids, n, &error);
    } else {
        error = g_error_new_literal(FLOWOPS_ERROR, FLOWOPS_BUSY, "a run that is to be deleted is still being written");
    }
    if (error != NULL) {
        keep_error(call, error);
    }
    for (size_t i = 0; i < call->n_writes; i++) {
        if (call->writes[i].kind == WRITE_DELETE_RUN) {
            call->writes[i].ret_outcome = outcome;
        }
    }
}

static void write_decisions(WriteCall *call, const ClientLease *lease)
{
    GError *error = NULL;
    if (!mongo_write_decisions(lease, call->writes, call->n_writes, &error)) {
        keep_error(call, error);
    }
}

static void write_backfills(WriteCall *call, const ClientLease *lease)
{
    for (size_t i = 0; i < call->n_writes; i++) {
        StoreWrite *write = &call->writes[i];
        GError *error = NULL;
        if (write->kind == WRITE_BACKFILL &&
            !mongo_write_backfill(lease, &write->backfill, &write->ret_outcome, &error)) {
            keep_error(call, error);
        }
    }
}

/* What was written, or needs no journal, goes to the projector; the room of the rest is given back. */
static void project(WriteCall *call)
{
    Projector *projector = call->store->projector;
    for (size_t i = 0; i < call->n_writes; i++) {
        StoreWrite *write = &call->writes[i];
        if (write->kind == WRITE_PUBLISHED) {
            projector_push_published(projector, &write->published);
            write->ret_outcome = WRITTEN;
        } else if (call->documents[i] == NULL) {
            continue;
        } else if (write->kind == WRITE_RUN && write->ret_outcome != WRITTEN) {
            projector_release(projector, 1, call->documents[i]->len);
        } else {
            push_run(projector, write, g_steal_pointer(&call->documents[i]));
            write->ret_outcome = WRITTEN;
        }
    }
    projector_ring(projector);
}

static void write_all(WriteCall *call)
{
    GError *error = NULL;
    if (!mongo_admit(call->store, &error) ||
        !projector_reserve(call->store->projector, call->n_reserved, call->n_reserved_bytes, &error)) {
        keep_error(call, error);
        return;
    }
    {
        CLIENT_LEASE(lease, call->store);
        write_journal(call, &lease);
        write_flows(call, &lease);
        delete_runs(call, &lease);
        write_decisions(call, &lease);
        write_backfills(call, &lease);
    }
    project(call);
}

bool mongo_write(Store *base, StoreWrite *writes, size_t n_writes, GError **error)
{
    WriteCall call = {.store = (MongoStore *)base,
                      .writes = writes,
                      .n_writes = n_writes,
                      .records = g_new0(bson_t *, n_writes),
                      .documents = g_new0(bson_t *, n_writes),
                      .ids = g_malloc_n(n_writes, RECORD_ID_SIZE),
                      .inserts = g_new0(MongoInsert, n_writes),
                      .insert_of = g_new0(size_t, n_writes)};
    for (size_t i = 0; i < n_writes; i++) {
        prepare(&call, i);
    }
    write_all(&call);
    for (size_t i = 0; i < n_writes; i++) {
        g_clear_pointer(&call.records[i], bson_destroy);
        g_clear_pointer(&call.documents[i], bson_destroy);
    }
    g_free(call.records);
    g_free(call.documents);
    g_free(call.ids);
    g_free(call.inserts);
    g_free(call.insert_of);
    if (call.error != NULL) {
        g_propagate_error(error, call.error);
        return false;
    }
    return true;
}

/* One small document, written anew and durable. */
bool mongo_check(Store *base, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(mongoc_collection_t) handle = mongo_collection(&lease, COLLECTION_META);
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) update = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t member;
    int64_t now_ms = clock_wall_ms(store->clock);
    append_text(&selector, "_id", "check");
    bson_append_document_begin(&update, "$set", -1, &member);
    append_instant(&member, "updatedAt", now_ms);
    bson_append_document_end(&update, &member);
    bson_append_document_begin(&update, "$setOnInsert", -1, &member);
    append_instant(&member, "createdAt", now_ms);
    bson_append_document_end(&update, &member);
    bson_append_bool(&opts, "upsert", -1, true);
    bson_error_t failure;
    /* A duplicate: another process made the document in the same instant, so the server takes writes. */
    if (!mongoc_collection_update_one(handle, &selector, &update, &opts, NULL, &failure) &&
        failure.code != MONGOC_ERROR_DUPLICATE_KEY) {
        mongo_set_error(error, &failure, "write to the database");
        return false;
    }
    return setup_check(store->setup, error);
}
