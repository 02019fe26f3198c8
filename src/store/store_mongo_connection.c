/* store_mongo_connection.c - the pool of clients and its settings, what errors of the driver mean, and finds. */
#include "store/store_mongo_internal.h"

#include <stdlib.h>
#include <string.h>

/* A server that is down is noticed soon: whoever waits for it holds a thread. */
#define SERVER_SELECTION_MS 2000
#define CONNECT_MS 2000
/* What has not been answered by then is in doubt. Longer than the slowest healthy command (a count of millions); a server
 * that was only stopped for a while is waited for by trying again. */
#define SOCKET_MS 5000
/* A process that is to end gives a server up that has answered nobody for so long. With what is then under way, SOCKET_MS,
 * this leaves some of the 10 s in which a process is usually expected to end. */
#define LAST_ANSWER_MS 1500

static const char *const collection_names[N_COLLECTIONS] = {
    [COLLECTION_RUN_EVENTS] = "run_events",
    [COLLECTION_RUNS] = "runs",
    [COLLECTION_FLOW_VERSIONS] = "flow_versions",
    [COLLECTION_FLOWS] = "flows",
    [COLLECTION_DECISIONS] = "schedule_decisions",
    [COLLECTION_SCHEDULES] = "schedules",
    [COLLECTION_BACKFILLS] = "backfills",
    [COLLECTION_BACKFILL_ENTRIES] = "backfill_entries",
    [COLLECTION_ENGINES] = "engines",
    [COLLECTION_META] = "meta",
};

/* ---- the pool ---- */

static _Thread_local bool is_background;

void mongo_mark_background_thread(void)
{
    is_background = true;
}

static void count_command(const mongoc_apm_command_started_t *event)
{
    MongoTraffic *traffic = mongoc_apm_command_started_get_context(event);
    __atomic_add_fetch(is_background ? &traffic->n_in_background : &traffic->n_by_callers, 1, __ATOMIC_RELAXED);
    if (traffic->observe != NULL && !is_background) {
        traffic->observe(traffic->observe_arg, mongoc_apm_command_started_get_command(event));
    }
}

/* Pools of servers that stand still, until the process ends: to destroy one ends its sessions, which waits for an answer. */
static mongoc_client_pool_t *given_up; /* atomic; any of them */

static void clean_up_library(void)
{
    if (__atomic_load_n(&given_up, __ATOMIC_ACQUIRE) == NULL) { /* else its threads are in it */
        mongoc_cleanup();
    }
}

/* The library's own messages go to stderr, some with parts of the URI: errors are ours to word. */
static void set_up_library(void)
{
    mongoc_log_set_handler(NULL, NULL);
    mongoc_init();
    (void)atexit(clean_up_library); /* full: what it holds is freed by the end of the process */
}

static void set_default_ms(mongoc_uri_t *uri, const char *option, int32_t ms)
{
    if (!mongoc_uri_has_option(uri, option)) {
        (void)mongoc_uri_set_option_as_int32(uri, option, ms);
    }
}

static void set_default_bool(mongoc_uri_t *uri, const char *option, bool value)
{
    if (!mongoc_uri_has_option(uri, option)) {
        (void)mongoc_uri_set_option_as_bool(uri, option, value);
    }
}

static void set_concerns(mongoc_uri_t *uri)
{
    mongoc_write_concern_t *write_concern = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(write_concern, 0);
    mongoc_uri_set_write_concern(uri, write_concern);
    mongoc_write_concern_destroy(write_concern);

    mongoc_read_concern_t *read_concern = mongoc_read_concern_new();
    (void)mongoc_read_concern_set_level(read_concern, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    mongoc_uri_set_read_concern(uri, read_concern);
    mongoc_read_concern_destroy(read_concern);

    mongoc_read_prefs_t *read_prefs = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    mongoc_uri_set_read_prefs_t(uri, read_prefs);
    mongoc_read_prefs_destroy(read_prefs);
}

mongoc_client_pool_t *mongo_pool_new(const char *uri_text, MongoStore *store, bool counts_traffic, GError **error)
{
    static pthread_once_t is_set_up = PTHREAD_ONCE_INIT;
    (void)pthread_once(&is_set_up, set_up_library);
    bson_error_t failure = {0};
    mongoc_uri_t *uri = mongoc_uri_new_with_error(uri_text, &failure);
    if (uri == NULL) { /* the library's text may repeat what was given */
        g_autofree char *fault = mongo_uri_fault(uri_text);
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "the address of MongoDB, mongodb://[user:password@]host[:port][,...][/?options], is wrong: %s",
                    fault);
        return NULL;
    }
    set_default_ms(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SERVER_SELECTION_MS);
    set_default_ms(uri, MONGOC_URI_CONNECTTIMEOUTMS, CONNECT_MS);
    set_default_ms(uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
    set_default_bool(uri, MONGOC_URI_RETRYWRITES, true);
    /* A second try on a server that stands still would hold its thread once more as long, on a new connection. */
    set_default_bool(uri, MONGOC_URI_RETRYREADS, false);
    set_concerns(uri);
    mongoc_client_pool_t *pool = mongoc_client_pool_new_with_error(uri, &failure);
    mongoc_uri_destroy(uri);
    if (pool == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "the options in the address of MongoDB contradict each other");
        return NULL;
    }
    (void)mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
    (void)mongoc_client_pool_set_appname(pool, "flowops");
    if (counts_traffic) {
        mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
        mongoc_apm_set_command_started_cb(callbacks, count_command);
        (void)mongoc_client_pool_set_apm_callbacks(pool, callbacks, &store->traffic);
        mongoc_apm_callbacks_destroy(callbacks);
    }
    return pool;
}

void mongo_pool_close(MongoStore *store)
{
    if (store->pool == NULL) {
        return;
    }
    if (mongo_is_given_up(store)) {
        __atomic_store_n(&given_up, store->pool, __ATOMIC_RELEASE);
        return;
    }
    mongoc_client_pool_destroy(store->pool);
}

/* ---- clients ---- */

bool mongo_is_given_up(MongoStore *store)
{
    int64_t interrupted_at = __atomic_load_n(&store->interrupted_at, __ATOMIC_ACQUIRE);
    if (interrupted_at == 0 || __atomic_load_n(&store->is_given_up, __ATOMIC_ACQUIRE)) {
        return interrupted_at != 0;
    }
    int64_t answered_at = MAX(interrupted_at, __atomic_load_n(&store->returned_at, __ATOMIC_ACQUIRE));
    if (__atomic_load_n(&store->n_leases, __ATOMIC_ACQUIRE) == 0 ||
        clock_monotonic_ms(store->timer) - answered_at < LAST_ANSWER_MS) {
        return false;
    }
    __atomic_store_n(&store->is_given_up, true, __ATOMIC_RELEASE);
    return true;
}

ClientLease client_lease_begin(MongoStore *store)
{
    if (__atomic_fetch_add(&store->n_leases, 1, __ATOMIC_ACQ_REL) == 0) {
        __atomic_store_n(&store->returned_at, clock_monotonic_ms(store->timer),
                         __ATOMIC_RELEASE); /* none was awaited */
    }
    return (ClientLease){.store = store, .client = mongoc_client_pool_pop(store->pool)};
}

/* The first to come back from a server that stands still finds that out. */
void client_lease_end(ClientLease *lease)
{
    MongoStore *store = lease->store;
    (void)mongo_is_given_up(store);
    mongoc_client_pool_push(store->pool, lease->client);
    __atomic_store_n(&store->returned_at, clock_monotonic_ms(store->timer), __ATOMIC_RELEASE);
    __atomic_sub_fetch(&store->n_leases, 1, __ATOMIC_ACQ_REL);
}

void mongo_pause(int64_t ms)
{
    Bell bell; /* nobody rings it */
    bell_init(&bell);
    (void)bell_wait(&bell, ms);
    bell_done(&bell);
}

/* ---- errors ---- */

/* Codes of the server (its error_codes.yml) for what passes by itself: elections, shutdowns, timeouts between members; and
 * for what went wrong inside it, perhaps after a part was done. */
static bool is_passing(uint32_t code)
{
    static const uint32_t codes[] = {
        1 /* InternalError */,
        6 /* HostUnreachable */,
        7 /* HostNotFound */,
        8 /* UnknownError */,
        MONGOC_ERROR_PROTOCOL_ERROR /* an error without a code */,
        50 /* MaxTimeMSExpired */,
        64 /* WriteConcernFailed */,
        89 /* NetworkTimeout */,
        91 /* ShutdownInProgress */,
        112 /* WriteConflict */,
        189 /* PrimarySteppedDown */,
        262 /* ExceededTimeLimit */,
        9001 /* SocketException */,
        10058,
        10107 /* NotPrimary */,
        11600 /* InterruptedAtShutdown */,
        11602 /* InterruptedDueToReplStateChange */,
        13435,
        13436 /* NotPrimaryOrSecondary */,
        43 /* CursorNotFound: it timed out, or its server was restarted; what was read for it is to be read again */,
        175 /* QueryPlanKilled: an index was dropped meanwhile */,
        237 /* CursorKilled */,
    };
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (codes[i] == code) {
            return true;
        }
    }
    return false;
}

static bool is_about_login(const bson_error_t *failure)
{
    return (failure->domain == MONGOC_ERROR_CLIENT && failure->code == MONGOC_ERROR_CLIENT_AUTHENTICATE) ||
           failure->domain == MONGOC_ERROR_SASL || failure->domain == MONGOC_ERROR_SCRAM ||
           (failure->domain == MONGOC_ERROR_SERVER && (failure->code == 18 || failure->code == 11));
}

MongoFault mongo_fault_of(const bson_error_t *failure)
{
    if (failure->domain == MONGOC_ERROR_SERVER_SELECTION || is_about_login(failure)) {
        return FAULT_NOT_SENT;
    }
    switch (failure->domain) {
    case MONGOC_ERROR_SERVER:
    case MONGOC_ERROR_QUERY:
    case MONGOC_ERROR_WRITE_CONCERN:
        return is_passing(failure->code) ? FAULT_IN_DOUBT : FAULT_REFUSED;
    case MONGOC_ERROR_CURSOR:
    case MONGOC_ERROR_STREAM:
    case MONGOC_ERROR_PROTOCOL:
    case MONGOC_ERROR_CLIENT:
        return FAULT_IN_DOUBT;
    default:
        return FAULT_REFUSED;
    }
}

void mongo_set_error(GError **error, const bson_error_t *failure, const char *doing)
{
    if (is_about_login(failure)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot %s: MongoDB refuses the login", doing);
        return;
    }
    if (failure->domain == MONGOC_ERROR_SERVER && failure->code == 13) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot %s: MongoDB's user may not: %s", doing,
                    failure->message);
        return;
    }
    FlowopsError code = mongo_fault_of(failure) == FAULT_REFUSED ? FLOWOPS_INTERNAL : FLOWOPS_UNAVAILABLE;
    g_set_error(error, FLOWOPS_ERROR, code, "cannot %s: MongoDB: %s (%u.%u)", doing, failure->message, failure->domain,
                failure->code);
}

/* ---- finds ---- */

const char *mongo_collection_name(MongoCollection collection)
{
    return collection_names[collection];
}

mongoc_collection_t *mongo_collection(const ClientLease *lease, MongoCollection collection)
{
    return mongoc_client_get_collection(lease->client, lease->store->database, collection_names[collection]);
}

mongoc_cursor_t *mongo_find(const ClientLease *lease, MongoCollection collection, const bson_t *filter,
                            const bson_t *opts)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, collection);
    return mongoc_collection_find_with_opts(handle, filter, opts, NULL);
}

int mongo_next(mongoc_cursor_t *cursor, const bson_t **ret_document, const char *doing, GError **error)
{
    if (mongoc_cursor_next(cursor, ret_document)) {
        return 1;
    }
    bson_error_t failure;
    if (mongoc_cursor_error(cursor, &failure)) {
        mongo_set_error(error, &failure, doing);
        return -1;
    }
    return 0;
}

int mongo_find_by_id(const ClientLease *lease, MongoCollection collection, const char *id, const bson_t *opts,
                     bson_t *ret_document, const char *doing, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    append_text(&filter, "_id", id);
    g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, collection, &filter, opts);
    const bson_t *document;
    int found = mongo_next(cursor, &document, doing, error);
    if (found == 1) {
        bson_copy_to(document, ret_document);
    }
    return found;
}

void mongo_filter_texts(bson_t *filter, const char *key, const char *low, const char *from, const char *high,
                        const char *to)
{
    bson_t range;
    bson_append_document_begin(filter, key, -1, &range);
    append_text(&range, low, from);
    if (to != NULL) {
        append_text(&range, high, to);
    }
    bson_append_document_end(filter, &range);
}

void mongo_filter_records(bson_t *filter, const char *run_id, int64_t from, int64_t to)
{
    char first[RECORD_ID_SIZE], last[RECORD_ID_SIZE];
    record_id(first, run_id, from);
    record_id(last, run_id, to);
    mongo_filter_texts(filter, "_id", "$gte", first, "$lte", last);
}

void mongo_filter_flow_ids(bson_t *filter, const GPtrArray *flow_ids)
{
    bson_t in, ids;
    bson_append_document_begin(filter, "flowId", -1, &in);
    bson_append_array_begin(&in, "$in", -1, &ids);
    for (guint i = 0; i < flow_ids->len; i++) {
        mongo_filter_ids_add(&ids, i, flow_ids->pdata[i]);
    }
    mongo_filter_ids_end(filter, &in, &ids);
}

void mongo_filter_ids_begin(bson_t *filter, bson_t *in, bson_t *ids)
{
    bson_append_document_begin(filter, "_id", -1, in);
    bson_append_array_begin(in, "$in", -1, ids);
}

void mongo_filter_ids_add(bson_t *ids, uint32_t index, const char *id)
{
    char buffer[16];
    const char *key;
    (void)bson_uint32_to_string(index, &key, buffer, sizeof buffer);
    append_text(ids, key, id);
}

void mongo_filter_ids_end(bson_t *filter, bson_t *in, bson_t *ids)
{
    bson_append_array_end(in, ids);
    bson_append_document_end(filter, in);
}

void id_find_begin(IdFind *find)
{
    bson_init(&find->filter);
    mongo_filter_ids_begin(&find->filter, &find->in, &find->ids);
}

mongoc_cursor_t *mongo_find_ids(const ClientLease *lease, MongoCollection collection, IdFind *find,
                                const char *const *names, size_t n_names)
{
    g_auto(bson_t) opts = BSON_INITIALIZER;
    mongo_filter_ids_end(&find->filter, &find->in, &find->ids);
    append_fields(&opts, names, n_names);
    mongoc_cursor_t *cursor = mongo_find(lease, collection, &find->filter, &opts);
    bson_destroy(&find->filter);
    return cursor;
}
