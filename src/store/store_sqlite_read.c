/* store_sqlite_read.c - reads of one flow, one run, one journal, and what watches over open runs. Each statement sees
 * one snapshot, taken when it begins: everything that was durable by then. */
#include "store/store_sqlite_internal.h"

#include <string.h>

Flow *sqlite_get_flow(Store *base, const char *flow_id, int64_t version, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    StatementId id = version == 0 ? STATEMENT_GET_NEWEST_FLOW : STATEMENT_GET_FLOW;
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    bind_text(statement, 1, flow_id);
    if (version != 0) {
        sqlite3_bind_int64(statement, 2, version);
    }
    int found = statement_next(statement, error);
    if (found <= 0) {
        if (found == 0) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "flow %s not found", flow_id);
        }
        return NULL;
    }
    g_autoptr(GError) broken = NULL;
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    Flow *flow = flow_decode(text, (size_t)sqlite3_column_bytes(statement, 0), &broken);
    if (flow == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "the definition of flow %s is damaged: %s", flow_id,
                    broken->message);
    }
    (void)sqlite3_reset(statement);
    return flow;
}

static RunDocument *take_document(sqlite3_stmt *statement, const char *run_id)
{
    RunDocument *document = g_new0(RunDocument, 1);
    g_strlcpy(document->run_id.text, run_id, sizeof document->run_id.text);
    column_id(statement, 0, &document->flow_id);
    column_id(statement, 1, &document->owner);
    document->status = (RunStatus)sqlite3_column_int(statement, 2);
    document->phase = (RunPhase)sqlite3_column_int(statement, 3);
    document->seq = sqlite3_column_int64(statement, 4);
    const void *summary = sqlite3_column_text(statement, 5);
    const void *rest = sqlite3_column_text(statement, 6);
    size_t summary_size = (size_t)sqlite3_column_bytes(statement, 5);
    size_t rest_size = (size_t)sqlite3_column_bytes(statement, 6);
    document->detail_size = summary_size + rest_size;
    document->detail = g_malloc(document->detail_size + 1);
    if (summary_size > 0) {
        memcpy(document->detail, summary, summary_size);
    }
    if (rest_size > 0) {
        memcpy(document->detail + summary_size, rest, rest_size);
    }
    document->detail[document->detail_size] = '\0';
    return document;
}

RunDocument *sqlite_get_run(Store *base, const char *run_id, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_GET_RUN, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    bind_text(statement, 1, run_id);
    int found = statement_next(statement, error);
    if (found == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "run %s not found", run_id);
    }
    RunDocument *document = NULL;
    if (found == 1) {
        document = take_document(statement, run_id);
        (void)sqlite3_reset(statement);
    }
    return document;
}

/* ---- the journal ---- */

typedef struct {
    JournalPage *page;
    const char *run_id;
    int64_t after; /* the last event that is not wanted, or that the page has */
    size_t max_entries;
    size_t bytes_left;
} JournalRead;

static bool refuse_damage(const JournalRead *read, GError **error)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL,
                "the journal of run %s is damaged after event %" G_GINT64_FORMAT, read->run_id, read->after);
    return false;
}

static bool is_full(const JournalRead *read, size_t event_size)
{
    return read->page->n_entries == read->max_entries || (read->page->n_entries > 0 && event_size > read->bytes_left);
}

/* Adds the record's events after read->after, as far as they fit. The page gets a copy of just those: `text` to `end`,
 * with each newline made the event's end. */
static bool take_record(JournalRead *read, int64_t seq, int64_t last_seq, const char *text, size_t size, GError **error)
{
    const char *end = text + size, *begin = text;
    size_t first_entry = read->page->n_entries;
    for (; seq <= last_seq; seq++) {
        const char *newline = text < end ? memchr(text, '\n', (size_t)(end - text)) : NULL;
        if (newline == NULL) {
            return refuse_damage(read, error);
        }
        size_t event_size = (size_t)(newline - text);
        if (seq <= read->after) {
            begin = newline + 1;
        } else if (is_full(read, event_size)) {
            read->page->has_more = true;
            break;
        } else {
            read->page->entries[read->page->n_entries++] = (JournalEntry){.seq = seq, .text = text, .size = event_size};
            read->bytes_left -= MIN(read->bytes_left, event_size);
            read->after = seq;
        }
        text = newline + 1;
    }
    if (read->page->n_entries > first_entry) {
        char *copy = g_memdup2(begin, (size_t)(text - begin));
        g_ptr_array_add(read->page->texts, copy);
        for (size_t i = first_entry; i < read->page->n_entries; i++) {
            JournalEntry *entry = &read->page->entries[i];
            size_t offset = (size_t)(entry->text - begin);
            copy[offset + entry->size] = '\0';
            entry->text = copy + offset;
        }
    }
    return true;
}

static bool take_records(JournalRead *read, sqlite3_stmt *statement, GError **error)
{
    int found;
    while (!read->page->has_more && (found = statement_next(statement, error)) != 0) {
        if (found < 0) {
            return false;
        }
        int64_t seq = sqlite3_column_int64(statement, 0);
        int64_t last_seq = sqlite3_column_int64(statement, 1);
        if (last_seq <= read->after) {
            continue; /* the caller is at or beyond the end of what the first record holds */
        }
        if (seq > read->after + 1) {
            return refuse_damage(read, error);
        }
        if (read->page->n_entries == read->max_entries) {
            read->page->has_more = true;
            break;
        }
        const char *text = (const char *)sqlite3_column_text(statement, 2);
        if (text == NULL ||
            !take_record(read, seq, last_seq, text, (size_t)sqlite3_column_bytes(statement, 2), error)) {
            return text == NULL ? refuse_damage(read, error) : false;
        }
    }
    return true;
}

JournalPage *sqlite_read_journal(Store *base, const char *run_id, int64_t after, size_t max_entries, size_t max_bytes,
                                 GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_READ_JOURNAL, error) : NULL;
    if (statement == NULL) {
        return NULL;
    }
    g_autoptr(JournalPage) page = journal_page_new();
    page->entries = g_new(JournalEntry, max_entries);
    after = MIN(after, INT64_MAX - 1);
    JournalRead read = {
        .page = page, .run_id = run_id, .after = after, .max_entries = max_entries, .bytes_left = max_bytes};
    bind_text(statement, 1, run_id);
    sqlite3_bind_int64(statement, 2, after + 1);
    bool is_read = take_records(&read, statement, error);
    (void)sqlite3_reset(statement);
    return is_read ? g_steal_pointer(&page) : NULL;
}

/* ---- open runs and what they wait for ---- */

bool sqlite_count_open_runs(Store *base, const char *flow_id, int64_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    StatementId id = flow_id == NULL ? STATEMENT_COUNT_OPEN : STATEMENT_COUNT_OPEN_OF_FLOW;
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    if (flow_id != NULL) {
        bind_text(statement, 1, flow_id);
    }
    if (statement_next(statement, error) != 1) {
        return false;
    }
    *ret_n = sqlite3_column_int64(statement, 0);
    (void)sqlite3_reset(statement);
    return true;
}

bool sqlite_take_ids(sqlite3_stmt *statement, Id *ret_ids, size_t *ret_n, GError **error)
{
    size_t n = 0;
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        column_id(statement, 0, &ret_ids[n++]);
    }
    if (found == 0) {
        *ret_n = n;
    }
    return found == 0;
}

bool sqlite_list_runs_in_phase(Store *base, RunPhase phase, int64_t requested_before, const char *after, size_t limit,
                               Id *ret_ids, size_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    bool is_any = requested_before == INSTANT_NONE;
    StatementId id = is_any ? STATEMENT_RUNS_IN_PHASE : STATEMENT_RUNS_PENDING_IN_PHASE;
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    sqlite3_bind_int(statement, 1, (int)phase);
    bind_text(statement, 2, after);
    sqlite3_bind_int64(statement, 3, (int64_t)limit);
    if (!is_any) {
        sqlite3_bind_int64(statement, 4, requested_before);
    }
    return sqlite_take_ids(statement, ret_ids, ret_n, error);
}

bool sqlite_list_runs_to_stop(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_RUNS_TO_STOP, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, after);
    sqlite3_bind_int64(statement, 2, (int64_t)limit);
    sqlite3_bind_int(statement, 3, COMMAND_STOP);
    return sqlite_take_ids(statement, ret_ids, ret_n, error);
}

static bool take_outbox(sqlite3_stmt *statement, RunSeq *ret_entries, size_t *ret_n, GError **error)
{
    size_t n = 0;
    int found;
    while ((found = statement_next(statement, error)) == 1) {
        RunSeq *entry = &ret_entries[n++];
        column_id(statement, 0, &entry->run_id);
        entry->seq = sqlite3_column_int64(statement, 1);
    }
    if (found == 0) {
        *ret_n = n;
    }
    return found == 0;
}

/* `id` and `id > seq` select what is wanted. */
static bool read_outbox(Store *base, StatementId id, const char *run_id, int64_t seq, size_t limit, RunSeq *ret_entries,
                        size_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement = lease.connection != NULL ? connection_statement(lease.connection, id, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, run_id);
    sqlite3_bind_int64(statement, 2, seq);
    sqlite3_bind_int64(statement, 3, (int64_t)limit);
    return take_outbox(statement, ret_entries, ret_n, error);
}

bool sqlite_read_outbox(Store *base, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                        GError **error)
{
    return read_outbox(base, STATEMENT_READ_OUTBOX, after != NULL ? after->run_id.text : "",
                       after != NULL ? after->seq : 0, limit, ret_entries, ret_n, error);
}

bool sqlite_read_outbox_of(Store *base, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                           size_t *ret_n, GError **error)
{
    return read_outbox(base, STATEMENT_READ_OUTBOX_OF, run_id, before_seq, limit, ret_entries, ret_n, error);
}

/* The first column of the one row by this id; 0 when there is none. */
static bool read_number(const ReaderLease *lease, StatementId id, const char *key, int64_t *ret_number, GError **error)
{
    sqlite3_stmt *statement = lease->connection != NULL ? connection_statement(lease->connection, id, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, key);
    int found = statement_next(statement, error);
    if (found >= 0) {
        *ret_number = found == 1 ? sqlite3_column_int64(statement, 0) : 0;
        sqlite3_reset(statement);
    }
    return found >= 0;
}

/* A document is written in the transaction of its append. */
bool sqlite_settle(Store *base G_GNUC_UNUSED, int64_t timeout_ms G_GNUC_UNUSED)
{
    return true;
}

bool sqlite_list_runs_behind(Store *base G_GNUC_UNUSED, const char *after G_GNUC_UNUSED, size_t limit G_GNUC_UNUSED,
                             Id *ret_ids G_GNUC_UNUSED, size_t *ret_n, GError **error G_GNUC_UNUSED)
{
    *ret_n = 0;
    return true;
}

bool sqlite_find_newer(Store *base, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    for (size_t i = 0; i < n; i++) {
        int64_t seq;
        if (!read_number(&lease, STATEMENT_GET_RUN_SEQ, known[i].run_id.text, &seq, error)) {
            return false;
        }
        ret_is_newer[i] = seq > known[i].seq;
    }
    return true;
}

bool sqlite_get_flow_versions(Store *base, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    for (size_t i = 0; i < n; i++) {
        if (!read_number(&lease, STATEMENT_GET_FLOW_VERSION, flow_ids[i].text, &ret_versions[i], error)) {
            return false;
        }
    }
    return true;
}

bool sqlite_get_announced_at(Store *base, const char *engine_id, int64_t *ret_announced_at, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_GET_ENGINE, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, engine_id);
    int found = statement_next(statement, error);
    *ret_announced_at = found == 1 ? sqlite3_column_int64(statement, 0) : INSTANT_NONE;
    (void)sqlite3_reset(statement);
    return found >= 0;
}
