/* bench_bare_mongo URI DATABASE starts IN_FLIGHT SECONDS: the limit that starts are held against with MongoDB: so many
 * threads around libmongoc and nothing else, each sending the commands of a start, one after the other: the find of the
 * flow's version, and the insert of the run's first record, with the concerns of the store.
 * bench_bare_mongo URI DATABASE bulk BATCH SECONDS: the limit of status events: one thread inserting records in unordered
 * bulks of BATCH.
 * The bytes are those of a record in DATABASE (the first of a run for starts, a later one for bulk); what is written goes to
 * a database of its own, dropped at the end. Prints one JSON object. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <mongoc/mongoc.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/thread.h"

enum { MAX_IN_FLIGHT = 64, MAX_BATCH = 2048 };

static mongoc_client_pool_t *pool;
static const Clock *the_clock;
static char *bare_database;
static char *flow_id;
static bson_t *record; /* without _id and runId */
static bool is_over;   /* atomic */
static int64_t n_done; /* atomic */

static void fail(const char *doing, const bson_error_t *failure)
{
    fprintf(stderr, "bench_bare_mongo: %s: %s\n", doing, failure->message);
    exit(1);
}

static void connect_pool(const char *text)
{
    bson_error_t failure = {.message = "malformed"};
    mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &failure);
    if (uri == NULL)
        fail("the URI", &failure);
    mongoc_write_concern_t *write_concern = mongoc_write_concern_new();
    mongoc_write_concern_set_wmajority(write_concern, 0);
    mongoc_uri_set_write_concern(uri, write_concern);
    mongoc_read_concern_t *read_concern = mongoc_read_concern_new();
    mongoc_read_concern_set_level(read_concern, MONGOC_READ_CONCERN_LEVEL_MAJORITY);
    mongoc_uri_set_read_concern(uri, read_concern);
    pool = mongoc_client_pool_new(uri);
    mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
    mongoc_write_concern_destroy(write_concern);
    mongoc_read_concern_destroy(read_concern);
    mongoc_uri_destroy(uri);
}

/* ---- samples ---- */

static bson_t *find_one(mongoc_client_t *client, const char *database, const char *collection, const bson_t *filter)
{
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    bson_t *opts = BCON_NEW("limit", BCON_INT64(1)); /* without, mongo-java-server sends all in one message */
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(handle, filter, opts, NULL);
    bson_destroy(opts);
    const bson_t *found;
    bson_error_t failure = {.message = "there is none"};
    if (!mongoc_cursor_next(cursor, &found)) {
        (void)mongoc_cursor_error(cursor, &failure);
        fail("read a sample", &failure);
    }
    bson_t *copy = bson_copy(found);
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(handle);
    return copy;
}

static void read_samples(mongoc_client_t *client, const char *database, bool is_creation)
{
    bson_t all = BSON_INITIALIZER, records = BSON_INITIALIZER;
    bson_t *flow = find_one(client, database, "flows", &all);
    bson_iter_t iter;
    bson_iter_init_find(&iter, flow, "_id");
    flow_id = g_strdup(bson_iter_utf8(&iter, NULL));
    BCON_APPEND(&records, "seq", "{", is_creation ? "$lte" : "$gt", BCON_INT64(1), "}");
    bson_t *sample = find_one(client, database, "run_events", &records);
    record = bson_new();
    bson_copy_to_excluding_noinit(sample, record, "_id", "runId", NULL);

    mongoc_collection_t *flows = mongoc_client_get_collection(client, bare_database, "flows");
    bson_error_t failure;
    if (!mongoc_collection_insert_one(flows, flow, NULL, NULL, &failure))
        fail("copy the flow", &failure);
    mongoc_collection_destroy(flows);
    bson_destroy(sample);
    bson_destroy(flow);
    bson_destroy(&records);
    bson_destroy(&all);
}

static bson_t *make_record(void)
{
    char id[64];
    Id run_id = id_make(clock_wall_ms(the_clock));
    (void)snprintf(id, sizeof id, "%s:%012d", run_id.text, 1);
    bson_t *document = bson_sized_new(record->len + 128);
    BSON_APPEND_UTF8(document, "_id", id);
    BSON_APPEND_UTF8(document, "runId", run_id.text);
    bson_concat(document, record);
    return document;
}

/* ---- loops ---- */

static void read_version(mongoc_collection_t *flows)
{
    bson_t *filter = BCON_NEW("_id", "{", "$in", "[", BCON_UTF8(flow_id), "]", "}");
    bson_t *opts = BCON_NEW("projection", "{", "version", BCON_BOOL(true), "}");
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(flows, filter, opts, NULL);
    const bson_t *found;
    bson_error_t failure = {.message = "it is gone"};
    if (!mongoc_cursor_next(cursor, &found)) {
        (void)mongoc_cursor_error(cursor, &failure);
        fail("read the flow", &failure);
    }
    mongoc_cursor_destroy(cursor);
    bson_destroy(filter);
    bson_destroy(opts);
}

static void insert(mongoc_collection_t *events, bson_t *const *documents, size_t n)
{
    bson_t *opts = BCON_NEW("ordered", BCON_BOOL(false), "validate", BCON_BOOL(false));
    bson_error_t failure;
    if (!mongoc_collection_insert_many(events, (const bson_t **)documents, n, opts, NULL, &failure))
        fail("insert", &failure);
    bson_destroy(opts);
    __atomic_add_fetch(&n_done, (int64_t)n, __ATOMIC_RELAXED);
}

static void loop(size_t batch)
{
    mongoc_client_t *client = mongoc_client_pool_pop(pool);
    mongoc_collection_t *flows = mongoc_client_get_collection(client, bare_database, "flows");
    mongoc_collection_t *events = mongoc_client_get_collection(client, bare_database, "run_events");
    bson_t *documents[MAX_BATCH];
    while (!__atomic_load_n(&is_over, __ATOMIC_RELAXED)) {
        if (batch == 1)
            read_version(flows);
        for (size_t i = 0; i < batch; i++)
            documents[i] = make_record();
        insert(events, documents, batch);
        for (size_t i = 0; i < batch; i++)
            bson_destroy(documents[i]);
    }
    mongoc_collection_destroy(flows);
    mongoc_collection_destroy(events);
    mongoc_client_pool_push(pool, client);
}

static void loop_of_thread(void *arg)
{
    loop(*(const size_t *)arg);
}

static double processor_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(size_t n_threads, size_t batch, double seconds)
{
    Thread *threads[MAX_IN_FLIGHT];
    g_autoptr(GError) error = NULL;
    double start_cpu = processor_seconds();
    int64_t start_us = clock_monotonic_us(the_clock);
    for (size_t i = 0; i < n_threads; i++) {
        threads[i] = thread_start("bare", ROLE_MAIN, loop_of_thread, &batch, &error);
        g_assert_no_error(error);
    }
    Bell bell; /* nobody rings it: a wait for the end */
    bell_init(&bell);
    (void)bell_wait(&bell, (int64_t)(seconds * 1000));
    bell_done(&bell);
    __atomic_store_n(&is_over, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n_threads; i++)
        thread_join(threads[i]);
    double took = (double)(clock_monotonic_us(the_clock) - start_us) / 1e6;
    double cpu = processor_seconds() - start_cpu;
    printf("{\"rate\": %.1f, \"cpu_us\": %.3f, \"bytes\": %u}\n", (double)n_done / took, cpu * 1e6 / (double)n_done,
           record->len);
}

int main(int argc, char **argv)
{
    size_t n = argc == 6 ? (size_t)atoi(argv[4]) : 0;
    bool is_starts = argc == 6 && strcmp(argv[3], "starts") == 0;
    if (n < 1 || n > (is_starts ? (size_t)MAX_IN_FLIGHT : (size_t)MAX_BATCH)) {
        fprintf(stderr, "usage: bench_bare_mongo URI DATABASE starts IN_FLIGHT SECONDS\n"
                        "       bench_bare_mongo URI DATABASE bulk BATCH SECONDS\n");
        return 2;
    }
    g_autoptr(Clock) clock = clock_new_system();
    the_clock = clock;
    bare_database = g_strdup_printf("%s_bare", argv[2]);
    mongoc_init();
    connect_pool(argv[1]);
    mongoc_client_t *client = mongoc_client_pool_pop(pool);
    mongoc_database_t *database = mongoc_client_get_database(client, bare_database);
    bson_error_t failure;
    if (!mongoc_database_drop(database, &failure)) /* what one that was cut short left */
        fail("drop the database", &failure);
    read_samples(client, argv[2], is_starts);
    measure(is_starts ? n : 1, is_starts ? 1 : n, atof(argv[5]));
    if (!mongoc_database_drop(database, &failure))
        fail("drop the database", &failure);
    mongoc_database_destroy(database);
    mongoc_client_pool_push(pool, client);
    mongoc_client_pool_destroy(pool);
    mongoc_cleanup();
    bson_destroy(record);
    g_free(flow_id);
    g_free(bare_database);
    return 0;
}
