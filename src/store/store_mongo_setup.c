/* store_mongo_setup.c - what must be there before the first use (the schema's version, the secret), and the indexes, made
 * by a thread of its own while the store is in use: correctness needs none of them. */
#include "store/store_mongo_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 2000

/* ---- admission ---- */

/* Each a second's work at most for a server that is well, and what is tried again when an answer is lost. */
#define UPDATES_AT_ONCE 500
/* FerretDB with SQLite keeps a connection for each document that one command updates, and stands still for good when its
 * hundred are taken. */
#define UPDATES_AT_ONCE_FERRETDB 50

/* Conditions and replacements are one step in MongoDB. FerretDB reads, compares and then writes; mongo-java-server (which
 * does not know "hello") scans for a condition. */
static bool find_kind(MongoStore *store, mongoc_client_t *client, GError **error)
{
    g_auto(bson_t) build_info = BSON_INITIALIZER;
    g_auto(bson_t) hello = BSON_INITIALIZER;
    bson_append_int32(&build_info, "buildInfo", -1, 1);
    bson_append_int32(&hello, "hello", -1, 1);
    bson_t reply;
    bson_error_t failure;
    bool is_answered = mongoc_client_command_simple(client, "admin", &build_info, NULL, &reply, &failure);
    bool is_ferretdb = is_answered && bson_has_field(&reply, "ferretdbVersion");
    bson_destroy(&reply);
    if (is_answered) {
        bool has_hello = mongoc_client_command_simple(client, "admin", &hello, NULL, &reply, &failure);
        bson_destroy(&reply);
        is_answered = has_hello || mongo_fault_of(&failure) == FAULT_REFUSED;
        store->has_atomic_replace = store->claims_atomic_replace || (has_hello && !is_ferretdb);
        store->n_updates_at_once = is_ferretdb ? UPDATES_AT_ONCE_FERRETDB : UPDATES_AT_ONCE;
    }
    if (!is_answered) {
        mongo_set_error(error, &failure, "use the database");
    }
    return is_answered;
}

/* Inserts a document of `meta` unless somebody has. */
static bool insert_meta(const ClientLease *lease, const bson_t *document, GError **error)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, COLLECTION_META);
    bson_error_t failure;
    if (mongoc_collection_insert_one(handle, document, NULL, NULL, &failure) ||
        failure.code == MONGOC_ERROR_DUPLICATE_KEY) {
        return true;
    }
    mongo_set_error(error, &failure, "set up the database");
    return false;
}

static void append_times(bson_t *document, const MongoStore *store)
{
    int64_t now_ms = clock_wall_ms(store->clock);
    append_instant(document, "createdAt", now_ms);
    append_instant(document, "updatedAt", now_ms);
}

/* Reads one document of `meta`; makes it when it is not there. Who loses the insert reads what won. */
static bool read_or_make_meta(const ClientLease *lease, const char *id, const bson_t *made, bson_t *ret_document,
                              GError **error)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int found = mongo_find_by_id(lease, COLLECTION_META, id, NULL, ret_document, "use the database", error);
        if (found != 0) {
            return found == 1;
        }
        if (!insert_meta(lease, made, error)) {
            return false;
        }
    }
    int found = mongo_find_by_id(lease, COLLECTION_META, id, NULL, ret_document, "use the database", error);
    if (found == 0) { /* written, and no majority has it yet */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot use the database: it is being set up");
    }
    return found == 1;
}

/* A database without our version that has flows or runs is another program's: the service that was here before kept its
 * documents under the same names. Nothing is mixed with those. */
static bool check_unused(const ClientLease *lease, GError **error)
{
    static const MongoCollection used[] = {COLLECTION_FLOWS, COLLECTION_RUNS};
    bool is_used = false;
    for (size_t i = 0; i < G_N_ELEMENTS(used) && !is_used; i++) {
        g_auto(bson_t) filter = BSON_INITIALIZER;
        g_auto(bson_t) opts = BSON_INITIALIZER;
        bson_append_int64(&opts, "limit", -1, 1);
        g_autoptr(mongoc_cursor_t) cursor = mongo_find(lease, used[i], &filter, &opts);
        const bson_t *document;
        int found = mongo_next(cursor, &document, "use the database", error);
        if (found < 0) {
            return false;
        }
        is_used = found == 1;
    }
    if (!is_used) {
        return true;
    }
    bson_t schema; /* another process may have set it up since it was looked for */
    int found = mongo_find_by_id(lease, COLLECTION_META, "schema", NULL, &schema, "use the database", error);
    if (found == 1) {
        bson_destroy(&schema);
    } else if (found == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "database %s has another program's flows and runs: give the store a database of its own, and take "
                    "them over with `flowops copy --from-legacy`",
                    lease->store->database);
    }
    return found == 1;
}

/* Before anything is made. */
static bool check_database(const ClientLease *lease, GError **error)
{
    bson_t schema;
    int found = mongo_find_by_id(lease, COLLECTION_META, "schema", NULL, &schema, "use the database", error);
    if (found == 1) {
        bson_destroy(&schema);
    }
    if (found != 0) {
        return found == 1;
    }
    if (lease->store->must_exist) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "there is no store in database %s of MongoDB",
                    lease->store->database);
        return false;
    }
    return check_unused(lease, error);
}

static bool check_schema(const ClientLease *lease, GError **error)
{
    g_auto(bson_t) made = BSON_INITIALIZER;
    bson_t stored;
    append_text(&made, "_id", "schema");
    bson_append_int32(&made, "version", -1, MONGO_SCHEMA_VERSION);
    append_times(&made, lease->store);
    if (!read_or_make_meta(lease, "schema", &made, &stored, error)) {
        return false;
    }
    int64_t version = member_int(&stored, "version", 0);
    bson_destroy(&stored);
    if (version != MONGO_SCHEMA_VERSION) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "database %s is of version %" G_GINT64_FORMAT ", this program knows version %d",
                    lease->store->database, version, MONGO_SCHEMA_VERSION);
        return false;
    }
    return true;
}

static bool find_secret(const ClientLease *lease, GError **error)
{
    unsigned char secret[MONGO_SECRET_SIZE];
    if (getrandom(secret, sizeof secret, 0) != (ssize_t)sizeof secret) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot make a secret: %s", g_strerror(errno));
        return false;
    }
    g_auto(bson_t) made = BSON_INITIALIZER;
    bson_t stored;
    append_text(&made, "_id", "secret");
    bson_append_binary(&made, "value", -1, BSON_SUBTYPE_BINARY, secret, sizeof secret);
    append_times(&made, lease->store);
    if (!read_or_make_meta(lease, "secret", &made, &stored, error)) {
        return false;
    }
    bson_iter_t iter;
    bson_subtype_t subtype;
    uint32_t size = 0;
    const uint8_t *value = NULL;
    if (bson_iter_init_find(&iter, &stored, "value") && BSON_ITER_HOLDS_BINARY(&iter)) {
        bson_iter_binary(&iter, &subtype, &size, &value);
    }
    bool is_sound = size == MONGO_SECRET_SIZE;
    if (is_sound) {
        memcpy(lease->store->secret, value, size);
    } else {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "database %s is damaged: its secret is no secret",
                    lease->store->database);
    }
    bson_destroy(&stored);
    return is_sound;
}

static bool admit_now(MongoStore *store, GError **error)
{
    CLIENT_LEASE(lease, store);
    return find_kind(store, lease.client, error) && check_database(&lease, error) && check_schema(&lease, error) &&
           find_secret(&lease, error);
}

/* While no server answers each attempt takes its time: whoever waited for another's shares what came of it. */
bool mongo_admit(MongoStore *store, GError **error)
{
    if (mongo_is_given_up(store)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "MongoDB does not answer, and this process is ending");
        return false;
    }
    if (__atomic_load_n(&store->is_admitted, __ATOMIC_ACQUIRE)) {
        return true;
    }
    int64_t n_attempts = __atomic_load_n(&store->n_admission_attempts, __ATOMIC_ACQUIRE);
    MUTEX_SCOPE(&store->admission_mu);
    if (store->is_admitted) {
        return true;
    }
    if (store->n_admission_attempts == n_attempts) {
        g_clear_error(&store->admission_error);
        bool is_admitted = admit_now(store, &store->admission_error);
        __atomic_add_fetch(&store->n_admission_attempts, 1, __ATOMIC_RELEASE);
        __atomic_store_n(&store->is_admitted, is_admitted, __ATOMIC_RELEASE);
        if (is_admitted) {
            return true;
        }
    }
    g_propagate_error(error, g_error_copy(store->admission_error));
    return false;
}

/* ---- indexes ---- */

typedef struct {
    MongoCollection collection;
    const char *name;
    struct {
        const char *key;
        int direction;
    } keys[5];
    bool is_sparse;
} MongoIndex;

/* docs/mongodb.md says which query each one serves. */
static const MongoIndex indexes[] = {
    {COLLECTION_RUN_EVENTS, "outbox", {{"outboxId", 1}}, true},
    {COLLECTION_RUNS, "owner", {{"owner", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "owner_flow", {{"owner", 1}, {"flowId", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "owner_status", {{"owner", 1}, {"status", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "owner_label", {{"owner", 1}, {"labels", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "owner_label_name", {{"owner", 1}, {"labels.name", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "flow_phase", {{"flowId", 1}, {"phase", 1}, {"_id", 1}}, false},
    {COLLECTION_RUNS, "phase", {{"phase", 1}, {"_id", 1}, {"pendingCommand.requestedAt", 1}}, false},
    {COLLECTION_RUNS, "settled", {{"settledAt", 1}}, true},
    {COLLECTION_RUNS, "step", {{"steps.stepId", 1}}, false},
    {COLLECTION_FLOWS, "owner", {{"owner", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_FLOWS, "stopping", {{"stopsRuns", 1}}, true},
    {COLLECTION_FLOWS, "schedule", {{"scheduleId", 1}}, true},
    {COLLECTION_FLOWS, "updated", {{"updatedAt", 1}, {"_id", 1}}, false},
    {COLLECTION_DECISIONS, "owed", {{"owedId", 1}}, true},
    {COLLECTION_FLOW_VERSIONS, "step", {{"owner", 1}, {"stepIds", 1}, {"flowId", 1}}, false},
    {COLLECTION_BACKFILLS, "owner_flow", {{"owner", 1}, {"flowId", 1}, {"createdAt", -1}, {"_id", 1}}, false},
    {COLLECTION_BACKFILLS, "open", {{"openId", 1}}, true},
    {COLLECTION_ENGINES, "updated", {{"updatedAt", 1}}, false},
};

struct Setup {
    MongoStore *store;
    Thread *thread;
    Bell bell; /* closed: give up */
    Mutex mu;
    GError *error; /* guarded by mu; NULL: no attempt has failed, or all is done */
};

/* Names of the collection's indexes; NULL with error set. Repeating a createIndexes is no habit of every server's. */
static GHashTable *read_index_names(const ClientLease *lease, MongoCollection collection, GError **error)
{
    g_autoptr(mongoc_collection_t) handle = mongo_collection(lease, collection);
    g_autoptr(mongoc_cursor_t) cursor = mongoc_collection_find_indexes_with_opts(handle, NULL);
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const bson_t *index;
    int found;
    while ((found = mongo_next(cursor, &index, "list the indexes", error)) == 1) {
        g_hash_table_add(names, g_strdup(member_text(index, "name", NULL)));
    }
    return found == 0 ? g_steal_pointer(&names) : NULL;
}

static void append_index(bson_t *array, uint32_t position, const MongoIndex *index)
{
    char buffer[16];
    const char *key;
    bson_t document, keys;
    (void)bson_uint32_to_string(position, &key, buffer, sizeof buffer);
    bson_append_document_begin(array, key, -1, &document);
    bson_append_document_begin(&document, "key", -1, &keys);
    for (size_t i = 0; i < G_N_ELEMENTS(index->keys) && index->keys[i].key != NULL; i++) {
        bson_append_int32(&keys, index->keys[i].key, -1, index->keys[i].direction);
    }
    bson_append_document_end(&document, &keys);
    append_text(&document, "name", index->name);
    if (index->is_sparse) {
        bson_append_bool(&document, "sparse", -1, true);
    }
    bson_append_document_end(array, &document);
}

static bool make_indexes_of(const ClientLease *lease, MongoCollection collection, GError **error)
{
    g_autoptr(GHashTable) names = read_index_names(lease, collection, error);
    if (names == NULL) {
        return false;
    }
    g_auto(bson_t) command = BSON_INITIALIZER;
    bson_t array, reply;
    uint32_t n = 0;
    append_text(&command, "createIndexes", mongo_collection_name(collection));
    bson_append_array_begin(&command, "indexes", -1, &array);
    for (size_t i = 0; i < G_N_ELEMENTS(indexes); i++) {
        if (indexes[i].collection == collection && !g_hash_table_contains(names, indexes[i].name)) {
            append_index(&array, n++, &indexes[i]);
        }
    }
    bson_append_array_end(&command, &array);
    if (n == 0) {
        return true;
    }
    bson_error_t failure;
    bool is_made =
        mongoc_client_command_simple(lease->client, lease->store->database, &command, NULL, &reply, &failure);
    bson_destroy(&reply);
    if (!is_made) {
        g_autofree char *doing = g_strdup_printf("make the indexes of %s", mongo_collection_name(collection));
        mongo_set_error(error, &failure, doing);
    }
    return is_made;
}

static bool make_indexes(MongoStore *store, GError **error)
{
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    for (MongoCollection collection = 0; collection < N_COLLECTIONS; collection++) {
        if (collection != COLLECTION_META && !make_indexes_of(&lease, collection, error)) {
            return false;
        }
    }
    return true;
}

static void setup_run(void *arg)
{
    Setup *setup = arg;
    mongo_mark_background_thread();
    for (int64_t pause_ms = RETRY_MIN_MS;; pause_ms = MIN(2 * pause_ms, RETRY_MAX_MS)) {
        GError *error = NULL;
        bool is_made = make_indexes(setup->store, &error);
        is_made = mongo_heal_schedules(setup->store, is_made ? &error : NULL) && is_made; /* needs no index */
        {
            MUTEX_SCOPE(&setup->mu);
            g_clear_error(&setup->error);
            setup->error = error;
        }
        if (is_made || !bell_wait(&setup->bell, pause_ms)) {
            return;
        }
    }
}

Setup *setup_start(MongoStore *store, GError **error)
{
    Setup *setup = g_new0(Setup, 1);
    setup->store = store;
    mutex_init(&setup->mu);
    bell_init(&setup->bell);
    setup->thread = thread_start("mongo-setup", ROLE_WRITER, setup_run, setup, error);
    if (setup->thread == NULL) {
        setup_stop(setup);
        return NULL;
    }
    return setup;
}

void setup_stop(Setup *setup)
{
    if (setup == NULL) {
        return;
    }
    bell_close(&setup->bell);
    thread_join(setup->thread);
    g_clear_error(&setup->error);
    bell_done(&setup->bell);
    mutex_done(&setup->mu);
    g_free(setup);
}

bool setup_check(Setup *setup, GError **error)
{
    if (setup == NULL) {
        return true;
    }
    MUTEX_SCOPE(&setup->mu);
    if (setup->error == NULL) {
        return true;
    }
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "%s", setup->error->message);
    return false;
}
