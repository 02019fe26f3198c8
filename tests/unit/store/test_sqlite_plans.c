/* test_sqlite_plans.c - how SQLite means to answer each statement: by an index, in the index's own order. A scan of a
 * table or a sort would not be felt in tests, only years later. */
#include "store_support.h"

#include <string.h>

#include "store/store_sqlite_internal.h"

static int setup(void **state)
{
    *state = store_fixture_new(store_open_sqlite);
    return 0;
}

static int teardown(void **state)
{
    store_fixture_free(*state);
    return 0;
}

/* The plan's lines, one after another. */
static char *plan_of(const StoreFixture *fixture, const char *sql)
{
    const SqliteStore *store = (const SqliteStore *)fixture->store;
    g_autofree char *explain = g_strconcat("EXPLAIN QUERY PLAN ", sql, NULL);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->writer->db, explain, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(store->writer->db));
    GString *plan = g_string_new(NULL);
    while (sqlite3_step(statement) == SQLITE_ROW)
        g_string_append_printf(plan, "%s; ", sqlite3_column_text(statement, 3));
    sqlite3_finalize(statement);
    return g_string_free(plan, FALSE);
}

static void check_plan(const StoreFixture *fixture, const char *sql, const char *expected)
{
    g_autofree char *plan = plan_of(fixture, sql);
    if (strstr(plan, "SCAN ") != NULL || strstr(plan, "TEMP B-TREE") != NULL || strstr(plan, "AUTOMATIC") != NULL)
        fail_msg("%s\n  is answered by: %s", sql, plan);
    if (expected != NULL && strstr(plan, expected) == NULL)
        fail_msg("%s\n  is answered by: %s\n  instead of: %s", sql, plan, expected);
}

static void test_fixed_statements(void **state)
{
    for (StatementId id = STATEMENT_FIND_RUN_ROW; id < N_STATEMENTS; id++) {
        const char *sql = statement_text(id);
        assert_non_null(sql);
        check_plan(*state, sql, NULL);
    }
    check_plan(*state, statement_text(STATEMENT_READ_JOURNAL), "INDEX journal_run (run_id=? AND seq>?)");
    check_plan(*state, statement_text(STATEMENT_RUNS_IN_PHASE), "COVERING INDEX runs_unsettled (phase=? AND id>?)");
    check_plan(*state, statement_text(STATEMENT_RUNS_PENDING_IN_PHASE),
               "COVERING INDEX runs_unsettled (phase=? AND id>?)");
    check_plan(*state, statement_text(STATEMENT_COUNT_OPEN), "COVERING INDEX runs_unsettled (phase=?)");
    check_plan(*state, statement_text(STATEMENT_COUNT_OPEN_OF_FLOW), "COVERING INDEX runs_unsettled (phase=?)");
    check_plan(*state, statement_text(STATEMENT_UPDATE_RUN), "INTEGER PRIMARY KEY");
    check_plan(*state, statement_text(STATEMENT_READ_OUTBOX), "INDEX outbox_run (run_id>?)");
    check_plan(*state, statement_text(STATEMENT_RUNS_ENDED_BEFORE),
               "COVERING INDEX runs_settled (phase=? AND updated_at<?)");
    check_plan(*state, statement_text(STATEMENT_NEXT_JOURNAL_RUN), "COVERING INDEX journal_run (run_id>?)");
    check_plan(*state, statement_text(STATEMENT_NEXT_VERSIONED_FLOW), "COVERING INDEX flow_versions_flow (flow_id>?)");
    check_plan(*state, statement_text(STATEMENT_DELETE_JOURNAL), "INDEX journal_run (run_id=?)");
    check_plan(*state, statement_text(STATEMENT_DELETE_LABELS), "INDEX run_labels_run (run_id=?)");
}

static void test_runs_to_stop(void **state)
{
    const char *sql = statement_text(STATEMENT_RUNS_TO_STOP);
    check_plan(*state, sql, "SEARCH r USING INDEX runs_unsettled (phase=? AND id>?)");
    check_plan(*state, sql, "SEARCH f USING COVERING INDEX flows_stopping (stops_runs=?)");
}

static void test_flow_lists(void **state)
{
    Id owner = test_id('o', 1);
    ListPosition after = {.created_at = 1, .id = owner};
    for (unsigned shape = 0; shape < 8; shape++) {
        ListQuery query = query_of(&owner);
        query.from = shape & 1 ? 1 : INSTANT_NONE;
        query.to = shape & 2 ? 2 : INSTANT_NONE;
        query.after = shape & 4 ? &after : NULL;
        g_autofree char *list = list_flows_sql(&query, false);
        g_autofree char *count = list_flows_sql(&query, true);
        check_plan(*state, list, "INDEX flows_owner (owner=?");
        check_plan(*state, count, "INDEX flows_owner (owner=?");
    }
}

/* All 512 shapes of a list of runs, and of its total. */
static void test_run_lists(void **state)
{
    Id owner = test_id('o', 1);
    ListPosition after = {.created_at = 1, .id = owner};
    RunStatus status = RUN_FAILED;
    for (unsigned shape = 0; shape < 512; shape++) {
        ListQuery query = query_of(&owner);
        query.from = shape & 1 ? 1 : INSTANT_NONE;
        query.to = shape & 2 ? 2 : INSTANT_NONE;
        query.after = shape & 4 ? &after : NULL;
        query.flow_id = shape & 8 ? "f" : NULL;
        query.step_id = shape & 16 ? "s" : NULL;
        query.status = shape & 32 ? &status : NULL;
        query.triggered_by = shape & 64 ? "t" : NULL;
        query.label_name = shape & 128 ? "n" : NULL;
        query.label_value = (shape & 384) == 384 ? "v" : NULL;
        g_autofree char *list = list_runs_sql(&query, false);
        g_autofree char *count = list_runs_sql(&query, true);
        const char *path = (shape & 384) == 384
                               ? "SEARCH k USING COVERING INDEX run_labels_value (owner=? AND name=? AND "
                                 "value=?"
                           : shape & 128 ? "SEARCH k USING COVERING INDEX run_labels_name (owner=? AND name=?"
                           : shape & 8   ? "INDEX runs_flow (owner=? AND flow_id=?"
                           : shape & 32  ? "INDEX runs_status (owner=? AND status=?"
                                         : "INDEX runs_owner (owner=?";
        check_plan(*state, list, path);
        check_plan(*state, count, path);
        if (shape & 7) /* the range narrows the walk, it does not filter it */
            check_plan(*state, list, "created_at");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fixed_statements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_runs_to_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flow_lists, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run_lists, setup, teardown),
    };
    return cmocka_run_group_tests_name("store: query plans", tests, NULL, NULL);
}
