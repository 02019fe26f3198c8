/* store_mongo_insert.c - inserting under an _id that must be free, which is how everything here is decided: whoever comes
 * second learns so. An answer that gets lost is found out by inserting again. Reading could not tell: a request that sits
 * in the socket of a server that stands still is carried out when the server goes on, after any read that said "not
 * there". A second insert leaves just two ways: it is in now, or it was, and then its token says whose it is. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* Outlasts a server that stands still for 10 s, or an election; the writer and all that is queued behind it wait. */
#define SETTLE_MS 15000
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 500
#define OWED_PAUSE_MS 100

typedef struct {
    const ClientLease *lease;
    MongoCollection collection;
    MongoInsert *inserts;
    size_t n;
    GError *error; /* of the last failure */
} InsertCall;

static void note_error(InsertCall *call, const bson_error_t *failure)
{
    g_clear_error(&call->error);
    g_autofree char *doing = g_strdup_printf("write to %s", mongo_collection_name(call->collection));
    mongo_set_error(&call->error, failure, doing);
}

static void settle(MongoInsert *insert, WriteOutcome outcome)
{
    insert->ret_outcome = outcome;
    insert->is_settled = true;
}

/* ---- one bulk ---- */

typedef struct {
    MongoInsert *inserts[MONGO_BULK_MAX_ITEMS];
    const bson_t *documents[MONGO_BULK_MAX_ITEMS];
    bool is_refused[MONGO_BULK_MAX_ITEMS];
    size_t n;
} Bulk;

static void take_write_error(InsertCall *call, Bulk *bulk, bson_iter_t *error_iter)
{
    bson_iter_t member;
    int64_t index = -1, code = 0;
    const char *message = "";
    if (!BSON_ITER_HOLDS_DOCUMENT(error_iter) || !bson_iter_recurse(error_iter, &member)) {
        return;
    }
    while (bson_iter_next(&member)) {
        const char *key = bson_iter_key(&member);
        if (strcmp(key, "index") == 0) {
            index = bson_iter_as_int64(&member);
        } else if (strcmp(key, "code") == 0) {
            code = bson_iter_as_int64(&member);
        } else if (strcmp(key, "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&member)) {
            message = bson_iter_utf8(&member, NULL);
        }
    }
    if (index < 0 || index >= (int64_t)bulk->n) {
        return;
    }
    MongoInsert *insert = bulk->inserts[index];
    bulk->is_refused[index] = true;
    if (code != MONGOC_ERROR_DUPLICATE_KEY) {
        bson_error_t failure;
        bson_set_error(&failure, MONGOC_ERROR_SERVER, (uint32_t)code, "%s", message);
        note_error(call, &failure);
        if (mongo_fault_of(&failure) == FAULT_REFUSED) {
            settle(insert, WRITE_NOTHING);
        } else {
            insert->may_be_there = true;
        }
    } else if (!insert->may_be_there) {
        settle(insert, WRITE_CONFLICT);
    } /* else the token decides */
}

static bool has_elements(const bson_t *reply, const char *key)
{
    bson_iter_t iter, element;
    return bson_iter_init_find(&iter, reply, key) && bson_iter_recurse(&iter, &element) && bson_iter_next(&element);
}

/* Which documents were refused is in writeErrors alone: the count of the others is wrong in mongo-java-server. */
static void take_reply(InsertCall *call, Bulk *bulk, const bson_t *reply)
{
    bson_iter_t iter, element;
    if (bson_iter_init_find(&iter, reply, "writeErrors") && bson_iter_recurse(&iter, &element)) {
        while (bson_iter_next(&element)) {
            take_write_error(call, bulk, &element);
        }
    }
    /* Written here, but no majority has said that it will stay. */
    bool is_in_doubt = has_elements(reply, "writeConcernErrors");
    if (is_in_doubt) {
        bson_error_t failure;
        bson_set_error(&failure, MONGOC_ERROR_WRITE_CONCERN, MONGOC_ERROR_WRITE_CONCERN_ERROR,
                       "no majority has it yet");
        note_error(call, &failure);
    }
    for (size_t i = 0; i < bulk->n; i++) {
        if (!bulk->is_refused[i] && is_in_doubt) {
            bulk->inserts[i]->may_be_there = true;
        } else if (!bulk->is_refused[i]) {
            settle(bulk->inserts[i], WRITTEN);
        }
    }
}

/* False: the rest need not be tried now. */
static bool send_bulk(InsertCall *call, Bulk *bulk)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(call->lease, call->collection);
    g_auto(bson_t) opts = BSON_INITIALIZER;
    g_auto(bson_t) reply = BSON_INITIALIZER;
    bson_error_t failure = {0};
    bson_append_bool(&opts, "ordered", -1, false);
    bson_append_bool(&opts, "validate", -1, false); /* a scan of every byte for faults of ours */
    bson_destroy(&reply);                           /* the call initialises it */
    bool is_done = mongoc_collection_insert_many(handle, bulk->documents, bulk->n, &opts, &reply, &failure);
    if (is_done || has_elements(&reply, "writeErrors") || has_elements(&reply, "writeConcernErrors")) {
        take_reply(call, bulk, &reply);
        return true;
    }
    note_error(call, &failure);
    MongoFault fault = mongo_fault_of(&failure);
    for (size_t i = 0; i < bulk->n; i++) {
        if (fault == FAULT_REFUSED && !bulk->inserts[i]->may_be_there) {
            settle(bulk->inserts[i], WRITE_NOTHING);
        } else if (fault == FAULT_IN_DOUBT) {
            bulk->inserts[i]->may_be_there = true;
        }
    }
    return false;
}

static void send_all(InsertCall *call)
{
    g_autofree Bulk *bulk = g_new0(Bulk, 1);
    size_t n_bytes = 0;
    for (size_t i = 0; i < call->n; i++) {
        MongoInsert *insert = &call->inserts[i];
        if (insert->is_settled) {
            continue;
        }
        if (bulk->n == MONGO_BULK_MAX_ITEMS ||
            (bulk->n > 0 && n_bytes + insert->document->len > MONGO_BULK_MAX_BYTES)) {
            if (!send_bulk(call, bulk)) {
                return;
            }
            *bulk = (Bulk){.n = 0};
            n_bytes = 0;
        }
        bulk->inserts[bulk->n] = insert;
        bulk->documents[bulk->n++] = insert->document;
        n_bytes += insert->document->len;
    }
    if (bulk->n > 0) {
        (void)send_bulk(call, bulk);
    }
}

/* ---- whose they are ---- */

static void take_token(InsertCall *call, const bson_t *document)
{
    const char *id = member_text(document, "_id", NULL);
    bson_iter_t iter;
    bool has_token = bson_iter_init_find(&iter, document, "appendId") && BSON_ITER_HOLDS_OID(&iter);
    for (size_t i = 0; i < call->n && id != NULL; i++) {
        MongoInsert *insert = &call->inserts[i];
        if (!insert->is_settled && strcmp(insert->id, id) == 0) {
            bool is_ours = has_token && bson_oid_equal(bson_iter_oid(&iter), &insert->token);
            settle(insert, is_ours ? WRITTEN : WRITE_CONFLICT);
            return;
        }
    }
}

/* After a second insert: what is there now is there to stay, with a majority behind it. */
static void read_tokens(InsertCall *call)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    bson_t in, ids, fields;
    uint32_t n = 0;
    mongo_filter_ids_begin(&filter, &in, &ids);
    for (size_t i = 0; i < call->n; i++) {
        if (!call->inserts[i].is_settled && call->inserts[i].may_be_there) {
            mongo_filter_ids_add(&ids, n++, call->inserts[i].id);
        }
    }
    mongo_filter_ids_end(&filter, &in, &ids);
    if (n == 0) {
        return;
    }
    bson_append_document_begin(&opts, "projection", -1, &fields);
    bson_append_bool(&fields, "appendId", -1, true);
    bson_append_document_end(&opts, &fields);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(call->lease, call->collection, &filter, &opts);
    const bson_t *document;
    g_autoptr(GError) error = NULL;
    int found;
    while ((found = mongo_next(cursor, &document, "read back what was written", &error)) == 1) {
        take_token(call, document);
    }
    if (found < 0) {
        g_clear_error(&call->error);
        call->error = g_steal_pointer(&error);
    }
}

/* ---- until all is known ---- */

static size_t count_open(const InsertCall *call, bool in_doubt_only)
{
    size_t n = 0;
    for (size_t i = 0; i < call->n; i++) {
        n += !call->inserts[i].is_settled && (!in_doubt_only || call->inserts[i].may_be_there);
    }
    return n;
}

static bool finish(InsertCall *call, GError **error)
{
    size_t n_failed = 0, n_unknown = 0;
    for (size_t i = 0; i < call->n; i++) {
        MongoInsert *insert = &call->inserts[i];
        if (!insert->is_settled) {
            settle(insert, insert->may_be_there ? WRITE_UNKNOWN : WRITE_NOTHING);
        }
        n_failed += insert->ret_outcome == WRITE_NOTHING;
        n_unknown += insert->ret_outcome == WRITE_UNKNOWN;
    }
    if (n_unknown > 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNKNOWN, "%s", call->error->message);
    } else if (n_failed > 0) {
        g_propagate_error(error, g_steal_pointer(&call->error));
    }
    g_clear_error(&call->error);
    return n_failed == 0 && n_unknown == 0;
}

bool mongo_insert(const ClientLease *lease, MongoCollection collection, MongoInsert *inserts, size_t n, GError **error)
{
    InsertCall call = {.lease = lease, .collection = collection, .inserts = inserts, .n = n};
    const Clock *timer = lease->store->timer;
    int64_t deadline_ms = clock_monotonic_ms(timer) + SETTLE_MS;
    for (size_t i = 0; i < n; i++) {
        inserts[i].ret_outcome = WRITE_NOTHING;
        inserts[i].may_be_there = inserts[i].is_settled = false;
    }
    bool is_again = false;
    for (int64_t pause_ms = PAUSE_MIN_MS;; pause_ms = MIN(2 * pause_ms, PAUSE_MAX_MS)) {
        send_all(&call);
        if (is_again) {
            read_tokens(&call);
        }
        /* Nothing in doubt: what was not sent is the caller's to try again. */
        if (count_open(&call, true) == 0 || clock_monotonic_ms(timer) >= deadline_ms ||
            mongo_is_interrupted(lease->store)) {
            return finish(&call, error);
        }
        is_again = true;
        mongo_pause(pause_ms);
    }
}

bool mongo_finish(const ClientLease *lease, MongoOwed owed, const void *arg, WriteOutcome *ret_outcome, GError **error)
{
    const Clock *timer = lease->store->timer;
    int64_t deadline_ms = clock_monotonic_ms(timer) + SETTLE_MS;
    for (;;) {
        g_autoptr(GError) inner = NULL;
        if (owed(lease, arg, &inner)) {
            *ret_outcome = WRITTEN;
            return true;
        }
        if (clock_monotonic_ms(timer) >= deadline_ms || mongo_is_interrupted(lease->store) ||
            !flowops_error_is_retryable(inner)) {
            *ret_outcome = WRITE_UNKNOWN;
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNKNOWN, "%s", inner->message);
            return false;
        }
        mongo_pause(OWED_PAUSE_MS);
    }
}
