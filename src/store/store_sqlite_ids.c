/* store_sqlite_ids.c - walks over all runs and flows, and over what has ended: for fsck, copy and retention. */
#include "store/store_sqlite_internal.h"

#include <string.h>

/* One of the two ways to know an id: the index that names it, and the next one found there. */
typedef struct {
    StatementId statement;
    Id next;      /* "" at the end */
    bool is_read; /* `next` is what comes behind the last id that was given out */
} IdSource;

static bool source_advance(IdSource *source, Connection *connection, const char *after, GError **error)
{
    if (source->is_read) {
        return true;
    }
    sqlite3_stmt *statement = connection_statement(connection, source->statement, error);
    if (statement == NULL) {
        return false;
    }
    bind_text(statement, 1, after);
    int found = statement_next(statement, error);
    if (found < 0) {
        return false;
    }
    column_id(statement, 0, &source->next); /* min() of nothing is NULL, which is "" here */
    (void)sqlite3_reset(statement);
    source->is_read = true;
    return true;
}

/* Merges what two indexes know. Each id costs a seek in each of them (about 2 microseconds with the pages at hand),
 * however many rows it has: no row of a journal is read for it. */
static bool list_ids(Store *base, StatementId by_journal, StatementId by_document, const char *after, size_t limit,
                     Id *ret_ids, size_t *ret_n, GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    if (lease.connection == NULL) {
        return false;
    }
    IdSource journal = {.statement = by_journal}, document = {.statement = by_document};
    size_t n = 0;
    while (n < limit) {
        if (!source_advance(&journal, lease.connection, after, error) ||
            !source_advance(&document, lease.connection, after, error)) {
            return false;
        }
        bool is_over = journal.next.text[0] == '\0' && document.next.text[0] == '\0';
        if (is_over) {
            break;
        }
        bool is_journal_first = document.next.text[0] == '\0' ||
                                (journal.next.text[0] != '\0' && strcmp(journal.next.text, document.next.text) < 0);
        ret_ids[n] = is_journal_first ? journal.next : document.next;
        after = ret_ids[n++].text;
        journal.is_read = strcmp(journal.next.text, after) != 0;
        document.is_read = strcmp(document.next.text, after) != 0;
    }
    *ret_n = n;
    return true;
}

bool sqlite_list_run_ids(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    return list_ids(base, STATEMENT_NEXT_JOURNAL_RUN, STATEMENT_NEXT_RUN, after, limit, ret_ids, ret_n, error);
}

bool sqlite_list_flow_ids(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    return list_ids(base, STATEMENT_NEXT_VERSIONED_FLOW, STATEMENT_NEXT_FLOW, after, limit, ret_ids, ret_n, error);
}

bool sqlite_list_runs_ended_before(Store *base, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                   GError **error)
{
    READER_LEASE(lease, (SqliteStore *)base, error);
    sqlite3_stmt *statement =
        lease.connection != NULL ? connection_statement(lease.connection, STATEMENT_RUNS_ENDED_BEFORE, error) : NULL;
    if (statement == NULL) {
        return false;
    }
    sqlite3_bind_int64(statement, 1, before);
    sqlite3_bind_int64(statement, 2, (int64_t)limit);
    return sqlite_take_ids(statement, ret_ids, ret_n, error);
}
