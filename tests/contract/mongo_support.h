/* mongo_support.h - databases for tests on the server that FLOWOPS_TEST_MONGO names. A test is skipped by nobody: without
 * the variable the program fails. */
#ifndef FLOWOPS_TESTS_MONGO_SUPPORT_H
#define FLOWOPS_TESTS_MONGO_SUPPORT_H

#include <mongoc/mongoc.h>

#include "store/store_mongo_internal.h"
#include "store_support.h"

const char *mongo_test_uri(void);
/* A StoreOpen: the database is named after the directory. Databases whose directory is gone are dropped first. */
Store *mongo_open_for_test(const char *data_dir, const Clock *clock, GError **error);
/* A group's: *state is a StoreFixture with such a store. */
int mongo_setup(void **state);
int mongo_teardown(void **state);
/* Another store on the database of this one. */
Store *mongo_open_with(const StoreFixture *fixture, MongoOptions options);
char *mongo_database_of(const char *data_dir);
void mongo_drop_unneeded(void);
void mongo_drop_all(void);
/* A client of the test's own, to look at documents; free with mongoc_client_destroy(). */
mongoc_client_t *mongo_test_client(void);

/* One document, as it is in the database of this directory. */
typedef struct {
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    mongoc_cursor_t *cursor;
    const bson_t *document; /* NULL: none */
} Look;
Look look_at(const char *data_dir, const char *collection, const char *id);
void look_end(Look *look);
/* Behind the store's back; update NULL: deletes it. */
void change_document(const char *data_dir, const char *collection, const char *id, const bson_t *update);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_end)

#endif
