/* store_mongo.c - the store as a MongoDB database that any number of processes share: opening and closing. */
#include "store/store_mongo_internal.h"

#include <string.h>

static void mongo_store_close(Store *base)
{
    MongoStore *store = (MongoStore *)base;
    setup_stop(store->setup);
    projector_stop(store->projector);
    mongo_pool_close(store);
    g_clear_error(&store->admission_error);
    mutex_done(&store->admission_mu);
    clock_free(store->timer);
    g_free(store->database);
    g_free(store);
}

/* NULL until the database has answered once; any read that succeeded came after that. */
static const unsigned char *mongo_secret(Store *base)
{
    MongoStore *store = (MongoStore *)base;
    return __atomic_load_n(&store->is_admitted, __ATOMIC_ACQUIRE) ? store->secret : NULL;
}

static void mongo_interrupt(Store *base)
{
    MongoStore *store = (MongoStore *)base;
    __atomic_store_n(&store->interrupted_at, clock_monotonic_ms(store->timer), __ATOMIC_RELEASE);
    projector_interrupt(store->projector);
}

static const StoreOps mongo_ops = {
    .name = "mongo",
    .is_shared = true,
    .write = mongo_write,
    .get_flow = mongo_get_flow,
    .get_run = mongo_get_run,
    .read_journal = mongo_read_journal,
    .list_flows = mongo_list_flows,
    .list_runs = mongo_list_runs,
    .count_open_runs = mongo_count_open_runs,
    .list_runs_in_phase = mongo_list_runs_in_phase,
    .list_runs_to_stop = mongo_list_runs_to_stop,
    .read_outbox = mongo_read_outbox,
    .read_outbox_of = mongo_read_outbox_of,
    .settle = mongo_settle,
    .list_runs_ended_before = mongo_list_runs_ended_before,
    .list_run_ids = mongo_list_run_ids,
    .list_flow_ids = mongo_list_flow_ids,
    .list_runs_behind = mongo_list_runs_behind,
    .find_newer = mongo_find_newer,
    .get_flow_versions = mongo_get_flow_versions,
    .read_decisions = mongo_read_decisions,
    .read_newest_decisions = mongo_read_newest_decisions,
    .read_owed_decisions = mongo_read_owed_decisions,
    .read_scheduled_flows = mongo_read_scheduled_flows,
    .list_changed_flows = mongo_list_changed_flows,
    .list_open_system_runs = mongo_list_open_system_runs,
    .get_backfill = mongo_get_backfill,
    .list_backfills = mongo_list_backfills,
    .list_open_backfills = mongo_list_open_backfills,
    .count_open_backfills = mongo_count_open_backfills,
    .get_announced_at = mongo_get_announced_at,
    .put_announcement = mongo_put_announcement,
    .check = mongo_check,
    .secret = mongo_secret,
    .interrupt = mongo_interrupt,
    .close = mongo_store_close,
};

/* Names that every server takes: MongoDB rules out /\. "$*<>:|? and more than 63 bytes. */
static bool check_database_name(const char *database, GError **error)
{
    size_t size = strlen(database);
    if (size == 0 || size > 63 || strpbrk(database, "/\\. \"$*<>:|?") != NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "\"%s\" is no name for a database of MongoDB", database);
        return false;
    }
    return true;
}

Store *mongo_open(const char *uri, const char *database, const Clock *clock, const MongoOptions *options,
                  GError **error)
{
    THREAD_ASSERT_NOT(ROLE_LOOP);
    if (!check_database_name(database, error)) {
        return NULL;
    }
    MongoStore *store = g_new0(MongoStore, 1);
    store->base.ops = &mongo_ops;
    store->database = g_strdup(database);
    store->clock = clock;
    store->claims_atomic_replace = options->claims_atomic_replace;
    store->must_exist = options->must_exist;
    store->traffic.observe = options->observe;
    store->traffic.observe_arg = options->observe_arg;
    store->timer = clock_new_system();
    mutex_init(&store->admission_mu);
    store->pool = mongo_pool_new(uri, store, options->counts_traffic, error);
    if (store->pool == NULL) {
        mongo_store_close(&store->base);
        return NULL;
    }
    /* A server that is there is asked now, so that the secret is known from the start. One that is not is no reason not to
     * open; one whose database is not for this program is. */
    g_autoptr(GError) refused = NULL;
    if (!mongo_admit(store, &refused) && (options->must_exist || refused->code == FLOWOPS_INVALID)) {
        g_propagate_error(error, g_steal_pointer(&refused));
        mongo_store_close(&store->base);
        return NULL;
    }
    store->projector = projector_start(store, error);
    if (store->projector != NULL && !options->must_exist) {
        store->setup = setup_start(store, error);
    }
    if (store->projector == NULL || (store->setup == NULL && !options->must_exist)) {
        mongo_store_close(&store->base);
        return NULL;
    }
    return &store->base;
}

Store *store_open_mongo(const char *uri, const char *database, const Clock *clock, GError **error)
{
    const MongoOptions options = {.counts_traffic = false};
    return mongo_open(uri, database, clock, &options, error);
}

Store *store_open_mongo_existing(const char *uri, const char *database, const Clock *clock, GError **error)
{
    const MongoOptions options = {.must_exist = true};
    return mongo_open(uri, database, clock, &options, error);
}

const MongoTraffic *mongo_traffic(const Store *store)
{
    return &((const MongoStore *)store)->traffic;
}

bool mongo_is_interrupted(const MongoStore *store)
{
    return __atomic_load_n(&store->interrupted_at, __ATOMIC_ACQUIRE) != 0;
}

bool mongo_settle(Store *store, int64_t timeout_ms)
{
    return projector_settle(((MongoStore *)store)->projector, timeout_ms);
}
