/* store_sqlite_schedule.c - what schedules decided, and which flows have one. */
#include "store/store_sqlite_internal.h"

#include <string.h>

/* ---- writing: see store_sqlite_write.c ---- */

static sqlite3_stmt *prepared(const SqliteStore *store, StatementId id)
{
    sqlite3_stmt *statement = store->writer->statements[id];
    g_assert(statement != NULL); /* all of the writer's are prepared when the store opens */
    return statement;
}

static int find_last(const SqliteStore *store, const Id *flow_id, int64_t *ret_n)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_LAST_DECISION_N);
    bind_id(statement, 1, flow_id);
    int rc = sqlite3_step(statement);
    *ret_n = rc == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0; /* NULL reads as 0 */
    int reset = sqlite3_reset(statement);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? SQLITE_OK : reset;
}

int sqlite_write_decision(const SqliteStore *store, const DecisionRow *decision, WriteOutcome *ret_outcome)
{
    int64_t last;
    int rc = find_last(store, &decision->key.flow_id, &last);
    *ret_outcome = rc == SQLITE_OK && decision->key.n == last + 1 ? WRITTEN : WRITE_CONFLICT;
    if (rc != SQLITE_OK || *ret_outcome == WRITE_CONFLICT) {
        return rc;
    }
    sqlite3_stmt *statement = prepared(store, STATEMENT_INSERT_DECISION);
    bind_id(statement, 1, &decision->key.flow_id);
    sqlite3_bind_int64(statement, 2, decision->key.n);
    sqlite3_bind_int(statement, 3, decision->is_owed);
    bind_text_n(statement, 4, decision->text, decision->size);
    return statement_run(statement);
}

int sqlite_write_made(const SqliteStore *store, const DecisionKey *key)
{
    sqlite3_stmt *statement = prepared(store, STATEMENT_DECISION_MADE);
    bind_id(statement, 1, &key->flow_id);
    sqlite3_bind_int64(statement, 2, key->n);
    return statement_run(statement);
}

/* ---- reading ---- */

static char *take_text(sqlite3_stmt *statement, int column, size_t *ret_size)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    *ret_size = (size_t)sqlite3_column_bytes(statement, column);
    return text != NULL ? g_strndup((const char *)text, *ret_size) : NULL;
}

/* `id` has a flow's id, a bound for n, a limit. One row more than wanted tells whether there are more. */
static DecisionPage *read_decisions(Store *base, StatementId id, const char *flow_id, int64_t bound, size_t limit,
                                    GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    bind_text(statement, 1, flow_id);
    sqlite3_bind_int64(statement, 2, bound);
    sqlite3_bind_int64(statement, 3, (int64_t)limit + 1);
    g_autoptr(DecisionPage) page = decision_page_new(limit);
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        if (page->n_entries == limit) {
            page->has_more = true;
            (void)sqlite3_reset(statement);
            break;
        }
        DecisionEntry *entry = &page->entries[page->n_entries++];
        entry->text = take_text(statement, 0, &entry->size);
        entry->is_owed = sqlite3_column_int(statement, 1) != 0;
    }
    return found >= 0 ? g_steal_pointer(&page) : NULL;
}

DecisionPage *sqlite_read_decisions(Store *base, const char *flow_id, int64_t after, size_t limit, GError **error)
{
    return read_decisions(base, STATEMENT_READ_DECISIONS, flow_id, after, limit, error);
}

DecisionPage *sqlite_read_newest_decisions(Store *base, const char *flow_id, int64_t before, size_t limit,
                                           GError **error)
{
    return read_decisions(base, STATEMENT_READ_NEWEST_DECISIONS, flow_id, before, limit, error);
}

DecisionPage *sqlite_read_owed_decisions(Store *base, const char *flow_id, const DecisionKey *after, size_t limit,
                                         GError **error)
{
    if (flow_id != NULL) {
        return read_decisions(base, STATEMENT_READ_OWED_OF_FLOW, flow_id, after != NULL ? after->n : 0, limit, error);
    }
    return read_decisions(base, STATEMENT_READ_OWED, after != NULL ? after->flow_id.text : "",
                          after != NULL ? after->n : 0, limit, error);
}

ScheduledPage *sqlite_read_scheduled_flows(Store *base, const char *after, size_t limit, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_READ_SCHEDULED, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    bind_text(statement, 1, after);
    sqlite3_bind_int64(statement, 2, (int64_t)limit);
    g_autoptr(ScheduledPage) page = scheduled_page_new(limit);
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        ScheduledFlow *item = &page->items[page->n_items++];
        column_id(statement, 0, &page->last_id);
        item->flow = take_text(statement, 1, &item->flow_size);
        item->decision = take_text(statement, 2, &item->decision_size);
    }
    page->has_more = page->n_items == limit;
    return found == 0 ? g_steal_pointer(&page) : NULL;
}

bool sqlite_list_changed_flows(Store *base G_GNUC_UNUSED, int64_t from G_GNUC_UNUSED,
                               const FlowVersion *after G_GNUC_UNUSED, size_t limit G_GNUC_UNUSED,
                               FlowVersion *ret_flows G_GNUC_UNUSED, size_t *ret_n, GError **error G_GNUC_UNUSED)
{
    *ret_n = 0;
    return true;
}

bool sqlite_list_open_system_runs(Store *base, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                  GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_OPEN_SYSTEM_RUNS, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, flow_id);
    sqlite3_bind_int64(statement, 2, (int64_t)limit);
    return sqlite_take_ids(statement, ret_ids, ret_n, error);
}
