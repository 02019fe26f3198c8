/* store_sqlite_backfill.c - backfills: a row that says where each is, and the entries of its journal, the plan with the
 * first. */
#include "store/store_sqlite_internal.h"

/* ---- writing: see store_sqlite_write.c ---- */

static sqlite3_stmt *prepared(const SqliteStore *store, StatementId id)
{
    sqlite3_stmt *statement = store->writer->statements[id];
    g_assert(statement != NULL); /* all of the writer's are prepared when the store opens */
    return statement;
}

static int find_n(const SqliteStore *store, const Id *backfill_id, int64_t *ret_n)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_FIND_BACKFILL_N);
    bind_id(statement, 1, backfill_id);
    int rc = sqlite3_step(statement);
    *ret_n = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    int reset = sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

static int write_row(const SqliteStore *store, const BackfillEntry *entry)
{
    bool is_new = entry->n == 1;
    sqlite3_stmt *statement = prepared(store, is_new ? STATEMENT_INSERT_BACKFILL : STATEMENT_UPDATE_BACKFILL);
    bind_id(statement, 1, &entry->backfill_id);
    if (is_new) {
        bind_id(statement, 2, &entry->owner);
        bind_id(statement, 3, &entry->flow_id);
        sqlite3_bind_int64(statement, 4, entry->created_at);
    }
    sqlite3_bind_int(statement, is_new ? 5 : 2, entry->is_open);
    sqlite3_bind_int64(statement, is_new ? 6 : 3, entry->n);
    return statement_run(statement);
}

int sqlite_write_backfill(const SqliteStore *store, const BackfillEntry *entry, WriteOutcome *ret_outcome)
{
    int64_t last;
    int rc = find_n(store, &entry->backfill_id, &last);
    *ret_outcome = rc == SQLITE_OK && entry->n == last + 1 ? WRITTEN : WRITE_CONFLICT;
    if (rc != SQLITE_OK || *ret_outcome == WRITE_CONFLICT) {
        return rc;
    }
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_BACKFILL_ENTRY);
    bind_id(statement, 1, &entry->backfill_id);
    sqlite3_bind_int64(statement, 2, entry->n);
    bind_text_n(statement, 3, entry->state, entry->state_size);
    if (entry->plan != NULL) {
        bind_text_n(statement, 4, entry->plan, entry->plan_size);
    } else {
        sqlite3_bind_null(statement, 4);
    }
    rc = statement_run(statement);
    return rc == SQLITE_OK ? write_row(store, entry) : rc;
}

/* ---- reading ---- */

static char *take_text(sqlite3_stmt *statement, int column, size_t *ret_size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    *ret_size = (size_t)sqlite3_column_bytes(statement, column);
    return text != NULL ? g_strndup((const char *)text, *ret_size) : NULL;
}

BackfillRecord *sqlite_get_backfill(Store *base, const char *backfill_id, bool has_plan, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_GET_BACKFILL, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    bind_text(statement, 1, backfill_id);
    sqlite3_bind_int(statement, 2, has_plan);
    int found = statement_next(statement, error);
    if (found <= 0) {
        if (found == 0) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "backfill %s not found", backfill_id);
        }
        return NULL;
    }
    BackfillRecord *record = g_new0(BackfillRecord, 1);
    record->state = take_text(statement, 0, &record->state_size);
    record->plan = take_text(statement, 1, &record->plan_size);
    (void)sqlite3_reset(statement);
    return record;
}

static bool take_items(sqlite3_stmt *statement, size_t limit, ListPage *page, GError **error)
{
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        if (page->n_items == limit) {
            page->has_more = true;
            (void)sqlite3_reset(statement);
            return true;
        }
        ListItem *item = &page->items[page->n_items++];
        item->position.created_at = sqlite3_column_int64(statement, 0);
        column_id(statement, 1, &item->position.id);
        item->json = take_text(statement, 2, &item->size);
    }
    return found == 0;
}

static bool read_number(sqlite3_stmt *statement, int64_t *ret_n, GError **error)
{
    if (statement_next(statement, error) != 1) {
        return false;
    }
    *ret_n = sqlite3_column_int64(statement, 0);
    (void)sqlite3_reset(statement);
    return true;
}

static bool read_items(Connection *connection, const ListQuery *query, ListPage *page, GError **error)
{
    sqlite3_stmt *statement = connection_statement(connection, STATEMENT_LIST_BACKFILLS, error);
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, query->owner);
    bind_text(statement, 2, query->flow_id);
    sqlite3_bind_int64(statement, 3, query->after != NULL ? query->after->created_at : INT64_MAX);
    bind_text(statement, 4, query->after != NULL ? query->after->id.text : "");
    sqlite3_bind_int64(statement, 5, (int64_t)query->limit + 1); /* one more tells whether there is a next page */
    sqlite3_bind_int64(statement, 6, query->skip);
    return take_items(statement, query->limit, page, error);
}

ListPage *sqlite_list_backfills(Store *base, const ListQuery *query, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    g_autoptr(ListPage) page = list_page_new(query->limit);
    if (lease.connection == NULL || !read_items(lease.connection, query, page, error)) {
        return NULL;
    }
    if (query->wants_total) {
        sqlite3_stmt *statement = connection_statement(lease.connection, STATEMENT_COUNT_BACKFILLS, error);
        if (statement == NULL) {
            return NULL;
        }
        bind_text(statement, 1, query->owner);
        bind_text(statement, 2, query->flow_id);
        if (!read_number(statement, &page->total, error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&page);
}

bool sqlite_list_open_backfills(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_OPEN_BACKFILLS, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, after);
    sqlite3_bind_int64(statement, 2, (int64_t)limit);
    return sqlite_take_ids(statement, ret_ids, ret_n, error);
}

bool sqlite_count_open_backfills(Store *base, const char *owner, int64_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    StatementId id = owner != NULL ? STATEMENT_COUNT_OPEN_BACKFILLS_OF : STATEMENT_COUNT_OPEN_BACKFILLS;
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    if (owner != NULL) {
        bind_text(statement, 1, owner);
    }
    return read_number(statement, ret_n, error);
}
