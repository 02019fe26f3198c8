/* store_sqlite_list.c - lists of flows and runs, newest first. Each combination of filters has a statement of its own that
 * names the index it walks, already in the list's order: a page costs what it shows and skips, never a sort. Filters
 * beyond the one the index serves are checked row by row on the way. */
#include "store/store_sqlite_internal.h"

#include <string.h>

typedef enum { BY_OWNER, BY_FLOW, BY_STATUS, BY_LABEL } RunPath;

/* The narrowest first: a label's entries, a flow's runs, a status, everything the owner has. */
static RunPath choose_path(const ListQuery *query)
{
    if (query->label_name != NULL) {
        return BY_LABEL;
    }
    if (query->flow_id != NULL) {
        return BY_FLOW;
    }
    return query->status != NULL ? BY_STATUS : BY_OWNER;
}

static void add_run_source(GString *sql, const ListQuery *query, RunPath path)
{
    static const char *const indexes[] = {
        [BY_OWNER] = "runs_owner", [BY_FLOW] = "runs_flow", [BY_STATUS] = "runs_status"};
    if (path == BY_LABEL) {
        g_string_append_printf(sql,
                               " FROM run_labels k INDEXED BY %s CROSS JOIN runs r ON r.id = k.run_id"
                               " WHERE k.owner = :owner AND k.name = :label%s",
                               query->label_value != NULL ? "run_labels_value" : "run_labels_name",
                               query->label_value != NULL ? " AND k.value = :value" : "");
    } else {
        g_string_append_printf(sql, " FROM runs r INDEXED BY %s WHERE r.owner = :owner", indexes[path]);
    }
}

/* The part of the order that is wanted: one range of created_at for the index, and the rest of the cursor's own
 * millisecond. */
static void add_range(GString *sql, const ListQuery *query, const char *created_at, const char *id, bool is_count)
{
    if (query->from != INSTANT_NONE) {
        g_string_append_printf(sql, " AND %s >= :from", created_at);
    }
    if (query->to != INSTANT_NONE || (query->after != NULL && !is_count)) {
        g_string_append_printf(sql, " AND %s <= :last", created_at);
    }
    if (query->after != NULL && !is_count) {
        g_string_append_printf(sql, " AND (%s < :after_at OR %s > :after_id)", created_at, id);
    }
}

char *list_runs_sql(const ListQuery *query, bool is_count)
{
    RunPath path = choose_path(query);
    const char *created_at = path == BY_LABEL ? "k.created_at" : "r.created_at";
    const char *id = path == BY_LABEL ? "k.run_id" : "r.id";
    GString *sql = g_string_new("SELECT ");
    if (is_count) {
        g_string_append(sql, "count(*)");
    } else {
        g_string_append_printf(sql, "%s, %s, r.summary", created_at, id);
    }
    add_run_source(sql, query, path);
    if (query->flow_id != NULL) {
        g_string_append(sql, " AND r.flow_id = :flow");
    }
    if (query->status != NULL) {
        g_string_append(sql, " AND r.status = :status");
    }
    if (query->triggered_by != NULL) {
        g_string_append(sql, " AND r.triggered_by = :triggered_by");
    }
    if (query->step_id != NULL) {
        g_string_append(sql,
                        " AND r.flow_id IN (SELECT flow_id FROM flow_steps WHERE step_id = :step AND owner = :owner)");
    }
    add_range(sql, query, created_at, id, is_count);
    if (!is_count) {
        g_string_append_printf(sql, " ORDER BY %s DESC, %s LIMIT :limit OFFSET :skip", created_at, id);
    }
    return g_string_free(sql, FALSE);
}

char *list_flows_sql(const ListQuery *query, bool is_count)
{
    GString *sql = g_string_new(is_count ? "SELECT count(*)" : "SELECT created_at, id, summary");
    g_string_append(sql, " FROM flows INDEXED BY flows_owner WHERE owner = :owner AND is_deleted = 0");
    add_range(sql, query, "created_at", "id", is_count);
    if (!is_count) {
        g_string_append(sql, " ORDER BY created_at DESC, id LIMIT :limit OFFSET :skip");
    }
    return g_string_free(sql, FALSE);
}

static void bind_named_text(sqlite3_stmt *statement, const char *name, const char *text)
{
    int index = sqlite3_bind_parameter_index(statement, name);
    if (index != 0) {
        bind_text(statement, index, text);
    }
}

static void bind_named_int(sqlite3_stmt *statement, const char *name, int64_t value)
{
    int index = sqlite3_bind_parameter_index(statement, name);
    if (index != 0) {
        sqlite3_bind_int64(statement, index, value);
    }
}

/* The newest created_at that is wanted: below `to` and, with a cursor, not newer than its place. */
static int64_t last_wanted(const ListQuery *query, bool is_count)
{
    int64_t last = INT64_MAX;
    if (query->to != INSTANT_NONE) {
        last = query->to > INT64_MIN + 1 ? query->to - 1 : INT64_MIN;
    }
    if (query->after != NULL && !is_count) {
        last = MIN(last, query->after->created_at);
    }
    return last;
}

static void bind_query(sqlite3_stmt *statement, const ListQuery *query, bool is_count)
{
    bind_named_text(statement, ":owner", query->owner);
    bind_named_text(statement, ":flow", query->flow_id);
    bind_named_text(statement, ":step", query->step_id);
    bind_named_text(statement, ":triggered_by", query->triggered_by);
    bind_named_text(statement, ":label", query->label_name);
    bind_named_text(statement, ":value", query->label_value);
    bind_named_int(statement, ":status", query->status != NULL ? (int64_t)*query->status : 0);
    bind_named_int(statement, ":from", query->from);
    bind_named_int(statement, ":last", last_wanted(query, is_count));
    if (query->after != NULL) {
        bind_named_int(statement, ":after_at", query->after->created_at);
        bind_named_text(statement, ":after_id", query->after->id.text);
    }
    bind_named_int(statement, ":limit", (int64_t)query->limit + 1); /* one more tells whether there is a next page */
    bind_named_int(statement, ":skip", query->skip);
}

static int take_items(sqlite3_stmt *statement, const char *ending, size_t limit, ListPage *page, GError **error)
{
    size_t ending_size = strlen(ending);
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        if (page->n_items == limit) {
            page->has_more = true;
            return 0;
        }
        ListItem *item = &page->items[page->n_items++];
        item->position.created_at = sqlite3_column_int64(statement, 0);
        column_id(statement, 1, &item->position.id);
        const void *text = sqlite3_column_text(statement, 2);
        size_t size = (size_t)sqlite3_column_bytes(statement, 2);
        item->size = size + ending_size;
        item->json = g_malloc(item->size + 1);
        if (size > 0) {
            memcpy(item->json, text, size);
        }
        memcpy(item->json + size, ending, ending_size + 1);
    }
    return found;
}

typedef char *(*ListSql)(const ListQuery *query, bool is_count);

static sqlite3_stmt *prepare_list(sqlite3 *db, ListSql make_sql, const ListQuery *query, bool is_count, GError **error)
{
    g_autofree char *sql = make_sql(query, is_count);
    sqlite3_stmt *statement = NULL;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK) {
        set_sqlite_error(error, db, rc, "prepare a list");
        return NULL;
    }
    bind_query(statement, query, is_count);
    return statement;
}

static bool read_items(sqlite3 *db, ListSql make_sql, const ListQuery *query, const char *ending, ListPage *page,
                       GError **error)
{
    sqlite3_stmt *statement = prepare_list(db, make_sql, query, false, error);
    int found = statement != NULL ? take_items(statement, ending, query->limit, page, error) : -1;
    sqlite3_finalize(statement);
    return found == 0;
}

static bool read_total(sqlite3 *db, ListSql make_sql, const ListQuery *query, ListPage *page, GError **error)
{
    sqlite3_stmt *statement = prepare_list(db, make_sql, query, true, error);
    int found = statement != NULL ? statement_next(statement, error) : -1;
    if (found == 1) {
        page->total = sqlite3_column_int64(statement, 0);
    }
    sqlite3_finalize(statement);
    return found == 1;
}

/* A step nearly always belongs to one flow: its runs are then found by that flow, in order. *ret_has_none: no flow of
 * the owner has, or had, the step. */
static bool narrow_by_step(Connection *connection, ListQuery *query, Id *flow_id, bool *ret_has_none, GError **error)
{
    sqlite3_stmt *statement = connection_statement(connection, STATEMENT_FLOWS_OF_STEP, error);
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, query->step_id);
    bind_text(statement, 2, query->owner);
    size_t n = 0;
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        column_id(statement, 0, flow_id);
        n++;
    }
    *ret_has_none = n == 0 || (n == 1 && query->flow_id != NULL && strcmp(query->flow_id, flow_id->text) != 0);
    if (n == 1) {
        query->flow_id = flow_id->text;
        query->step_id = NULL;
    }
    return found == 0;
}

static bool read_list(Connection *connection, ListSql make_sql, const ListQuery *asked, const char *ending,
                      ListPage *page, GError **error)
{
    ListQuery query = *asked;
    Id flow_id;
    bool has_none = false;
    if (query.step_id != NULL && !narrow_by_step(connection, &query, &flow_id, &has_none, error)) {
        return false;
    }
    if (has_none) {
        page->total = query.wants_total ? 0 : -1;
        return true;
    }
    return read_items(connection->db, make_sql, &query, ending, page, error) &&
           (!query.wants_total || read_total(connection->db, make_sql, &query, page, error));
}

/* Page and total from one snapshot. */
static ListPage *read_page(Store *base, ListSql make_sql, const ListQuery *query, const char *ending, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    if (lease.connection == NULL) {
        return NULL;
    }
    sqlite3_stmt *begin = connection_statement(lease.connection, STATEMENT_BEGIN_READ, error);
    sqlite3_stmt *commit = connection_statement(lease.connection, STATEMENT_COMMIT, error);
    if (begin == NULL || commit == NULL || statement_next(begin, error) != 0) {
        return NULL;
    }
    g_autoptr(ListPage) page = list_page_new(query->limit);
    bool is_read = read_list(lease.connection, make_sql, query, ending, page, error);
    (void)statement_run(commit); /* ends the snapshot; it has nothing to write that could fail */
    return is_read ? g_steal_pointer(&page) : NULL;
}

ListPage *sqlite_list_flows(Store *store, const ListQuery *query, GError **error)
{
    ListQuery flows = {.owner = query->owner,
                       .from = query->from,
                       .to = query->to,
                       .after = query->after,
                       .skip = query->skip,
                       .limit = query->limit,
                       .wants_total = query->wants_total};
    return read_page(store, list_flows_sql, &flows, "", error);
}

ListPage *sqlite_list_runs(Store *store, const ListQuery *query, GError **error)
{
    return read_page(store, list_runs_sql, query, "}", error);
}
