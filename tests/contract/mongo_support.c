/* mongo_support.c - see mongo_support.h. */
#include "mongo_support.h"

#include <stdio.h>
#include <stdlib.h>

static GPtrArray *data_dirs; /* of databases that were opened */

const char *mongo_test_uri(void)
{
    const char *uri = getenv("FLOWOPS_TEST_MONGO");
    if (uri == NULL || uri[0] == '\0') {
        fprintf(stderr, "FLOWOPS_TEST_MONGO names no server: tools/servers starts one\n");
        exit(1);
    }
    return uri;
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

Store *mongo_open_for_test(const char *data_dir, const Clock *clock, GError **error)
{
    if (data_dirs == NULL)
        data_dirs = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *database = mongo_database_of(data_dir);
    Store *store = store_open_mongo(mongo_test_uri(), database, clock, error);
    drop_unless(is_there); /* behind the first open, which sets the library up */
    if (!g_ptr_array_find_with_equal_func(data_dirs, data_dir, g_str_equal, NULL))
        g_ptr_array_add(data_dirs, g_strdup(data_dir));
    return store;
}

void mongo_drop_all(void)
{
    drop_unless(is_never_needed);
}
