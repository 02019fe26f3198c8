/* mongo_support.c - see mongo_support.h. */
#include "mongo_support.h"

#include "store_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GPtrArray *data_dirs; /* of databases that were opened */

const char *mongo_test_uri(void)
{
    const char *uri = getenv("FLOWOPS_TEST_MONGO");
    if (uri == NULL || uri[0] == '\0') {
        fprintf(stderr, "FLOWOPS_TEST_MONGO names no server: tools/servers starts one\n");
        exit(1);
    }
    static char *whole;
    if (whole == NULL)
        whole = g_strconcat(strstr(uri, "://") == NULL ? "mongodb://" : "", uri, NULL);
    return whole;
}

char *mongo_database_of(const char *data_dir)
{
    return g_path_get_basename(data_dir);
}

mongoc_client_t *mongo_test_client(void)
{
    mongoc_client_t *client = mongoc_client_new(mongo_test_uri());
    g_assert(client != NULL);
    mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    return client;
}

static void drop(const char *data_dir)
{
    g_autofree char *name = mongo_database_of(data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_database_t *database = mongoc_client_get_database(client, name);
    bson_error_t failure;
    if (!mongoc_database_drop(database, &failure))
        fprintf(stderr, "cannot drop %s: %s\n", name, failure.message);
    mongoc_database_destroy(database);
    mongoc_client_destroy(client);
}

static void drop_unless(bool (*is_needed)(const char *data_dir))
{
    for (guint i = data_dirs != NULL ? data_dirs->len : 0; i > 0; i--) {
        const char *data_dir = data_dirs->pdata[i - 1];
        if (!is_needed(data_dir)) {
            drop(data_dir);
            g_ptr_array_remove_index_fast(data_dirs, i - 1);
        }
    }
}

static bool is_there(const char *data_dir)
{
    return g_file_test(data_dir, G_FILE_TEST_IS_DIR);
}

static bool is_never_needed(const char *data_dir)
{
    (void)data_dir;
    return false;
}

void mongo_drop_unneeded(void)
{
    drop_unless(is_there);
}

Store *mongo_open_for_test(const char *data_dir, const Clock *clock, GError **error)
{
    if (data_dirs == NULL)
        data_dirs = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *database = mongo_database_of(data_dir);
    Store *store = store_open_mongo(mongo_test_uri(), database, clock, error);
    mongo_drop_unneeded(); /* behind the first open, which sets the library up */
    if (!g_ptr_array_find_with_equal_func(data_dirs, data_dir, g_str_equal, NULL))
        g_ptr_array_add(data_dirs, g_strdup(data_dir));
    return store;
}

void mongo_drop_all(void)
{
    drop_unless(is_never_needed);
}

int mongo_setup(void **state)
{
    *state = store_fixture_new(mongo_open_for_test);
    return 0;
}

int mongo_teardown(void **state)
{
    store_fixture_free(*state);
    return 0;
}

Store *mongo_open_with(const StoreFixture *fixture, MongoOptions options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    Store *store = mongo_open(mongo_test_uri(), database, fixture->clock, &options, &error);
    assert_no_error(error);
    assert_non_null(store);
    return store;
}

Look look_at(const char *data_dir, const char *collection, const char *id)
{
    Look look = {.client = mongo_test_client()};
    g_autofree char *database = mongo_database_of(data_dir);
    look.collection = mongoc_client_get_collection(look.client, database, collection);
    bson_t filter = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&filter, "_id", id);
    look.cursor = mongoc_collection_find_with_opts(look.collection, &filter, NULL, NULL);
    bson_destroy(&filter);
    if (!mongoc_cursor_next(look.cursor, &look.document))
        look.document = NULL;
    return look;
}

void look_end(Look *look)
{
    mongoc_cursor_destroy(look->cursor);
    mongoc_collection_destroy(look->collection);
    mongoc_client_destroy(look->client);
}

void change_document(const char *data_dir, const char *collection, const char *id, const bson_t *update)
{
    g_autofree char *database = mongo_database_of(data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    bson_t filter = BSON_INITIALIZER;
    bson_error_t failure;
    BSON_APPEND_UTF8(&filter, "_id", id);
    bool is_done = update == NULL ? mongoc_collection_delete_one(handle, &filter, NULL, NULL, &failure)
                                  : mongoc_collection_update_one(handle, &filter, update, NULL, NULL, &failure);
    if (!is_done)
        g_error("change a document: %s", failure.message);
    bson_destroy(&filter);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
}
