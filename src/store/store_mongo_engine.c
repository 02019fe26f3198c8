/* store_mongo_engine.c - the newest announcement of each engine that is done with. One process at a time reads the statuses of
 * an engine, and what is lost in a race is an older one at most. */
#include "store/store_mongo_internal.h"

bool mongo_get_announced_at(Store *base, const char *engine_id, int64_t *ret_announced_at, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    bson_t document;
    *ret_announced_at = INSTANT_NONE;
    int found = mongo_find_by_id(&lease, COLLECTION_ENGINES, engine_id, NULL, &document, "look for an engine", error);
    if (found == 1) {
        *ret_announced_at = member_instant(&document, "announcedAt");
        bson_destroy(&document);
    }
    return found >= 0;
}

static bool forget_old(mongoc_collection_t *handle, int64_t before, GError **error)
{
    g_auto(bson_t) filter = BSON_INITIALIZER;
    bson_t range;
    bson_append_document_begin(&filter, "updatedAt", -1, &range);
    append_instant(&range, "$lt", CLAMP(before, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX));
    bson_append_document_end(&filter, &range);
    bson_error_t failure;
    bool is_done = mongoc_collection_delete_many(handle, &filter, NULL, NULL, &failure);
    if (!is_done) {
        mongo_set_error(error, &failure, "forget engines");
    }
    return is_done;
}

static void form_update(bson_t *update, const Announcement *announcement, int64_t now_ms)
{
    bson_t member;
    bson_append_document_begin(update, "$max", -1, &member);
    append_instant(&member, "announcedAt", CLAMP(announcement->announced_at, MONGO_INSTANT_MIN, MONGO_INSTANT_MAX));
    bson_append_document_end(update, &member);
    bson_append_document_begin(update, "$set", -1, &member);
    append_instant(&member, "updatedAt", now_ms);
    bson_append_document_end(update, &member);
    bson_append_document_begin(update, "$setOnInsert", -1, &member);
    append_instant(&member, "createdAt", now_ms);
    bson_append_document_end(update, &member);
}

bool mongo_put_announcement(Store *base, const Announcement *announcement, int64_t now_ms, GError **error)
{
    MongoStore *store = (MongoStore *)base;
    if (!mongo_admit(store, error)) {
        return false;
    }
    CLIENT_LEASE(lease, store);
    g_autoptr(mongoc_collection_t) handle = mongo_collection(&lease, COLLECTION_ENGINES);
    if (!forget_old(handle, now_ms - ENGINE_KEPT_MS, error)) {
        return false;
    }
    g_auto(bson_t) selector = BSON_INITIALIZER;
    g_auto(bson_t) update = BSON_INITIALIZER;
    g_auto(bson_t) opts = BSON_INITIALIZER;
    append_text(&selector, "_id", announcement->engine_id.text);
    form_update(&update, announcement, now_ms);
    bson_append_bool(&opts, "upsert", -1, true);
    bson_error_t failure;
    bool is_put = mongoc_collection_update_one(handle, &selector, &update, &opts, NULL, &failure);
    if (!is_put && failure.code == MONGOC_ERROR_DUPLICATE_KEY) { /* another process made it in the same instant */
        is_put = mongoc_collection_update_one(handle, &selector, &update, NULL, NULL, &failure);
    }
    if (!is_put) {
        mongo_set_error(error, &failure, "remember an engine");
    }
    return is_put;
}
