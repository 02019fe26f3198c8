/* store_contract_list.c - lists of runs: order, every filter alone and all together, pages that neither repeat nor skip
 * while runs come in. The expected list is made by looking at every run there is. */
#include "store_contract.h"

#include <stdlib.h>
#include <string.h>

enum { N_RUNS = 240, N_OWNERS = 2, N_FLOWS = 3, N_INSTANTS = 20 };

static const RunStatus statuses[] = {RUN_PENDING, RUN_RUNNING, RUN_COMPLETED, RUN_FAILED};

/* Runs that differ in every way a list can tell, several to a millisecond. */
static SampleRun *make_run(unsigned n)
{
    Id owner = test_id('o', n % N_OWNERS), flow_id = test_id('f', (n / 2) % N_FLOWS + 1);
    SampleRun *run = sample_run_new((n * 7919) % N_RUNS, &owner, &flow_id);
    run->row.created_at = START_MS + (n * 31) % N_INSTANTS;
    run->row.status = statuses[(n / 5) % G_N_ELEMENTS(statuses)];
    run->row.phase = run->row.status >= RUN_COMPLETED ? PHASE_SETTLED : PHASE_OPEN;
    run->row.triggered_by = n % 4 == 0 ? "system" : "tester";
    if (n % 3 == 0)
        text_map_add(&run->labels, "env", n % 2 == 0 ? "prod" : "test");
    if (n % 7 == 0)
        text_map_add(&run->labels, "team", "\xc3\xa4");
    return run;
}

static SampleRun **write_runs(Store *store)
{
    SampleRun **runs = g_new0(SampleRun *, N_RUNS);
    StoreWrite writes[N_RUNS];
    for (unsigned n = 0; n < N_RUNS; n++) {
        runs[n] = make_run(n);
        RunStatus status = runs[n]->row.status;
        runs[n]->row.status = RUN_PENDING;
        runs[n]->row.phase = PHASE_OPEN;
        writes[n] = sample_append(runs[n], 1, 0);
        runs[n]->row.status = status;
        runs[n]->row.phase = status >= RUN_COMPLETED ? PHASE_SETTLED : PHASE_OPEN;
    }
    write_all(store, writes, N_RUNS);
    for (unsigned n = 0; n < N_RUNS; n++)
        writes[n] = sample_append(runs[n], 1, 0);
    write_all(store, writes, N_RUNS);
    return runs;
}

static void free_runs(SampleRun **runs)
{
    for (unsigned n = 0; n < N_RUNS; n++)
        sample_run_free(runs[n]);
    g_free(runs);
}

static bool is_wanted(const SampleRun *run, const ListQuery *query, const Id *step_flow)
{
    const char *label = query->label_name != NULL ? text_map_find(&run->labels, query->label_name) : NULL;
    return strcmp(run->row.owner.text, query->owner) == 0 &&
           (query->flow_id == NULL || strcmp(run->row.flow_id.text, query->flow_id) == 0) &&
           (query->step_id == NULL || (step_flow != NULL && strcmp(run->row.flow_id.text, step_flow->text) == 0)) &&
           (query->status == NULL || run->row.status == *query->status) &&
           (query->triggered_by == NULL || strcmp(run->row.triggered_by, query->triggered_by) == 0) &&
           (query->label_name == NULL ||
            (label != NULL && (query->label_value == NULL || strcmp(label, query->label_value) == 0))) &&
           (query->from == INSTANT_NONE || run->row.created_at >= query->from) &&
           (query->to == INSTANT_NONE || run->row.created_at < query->to);
}

static int compare_runs(const void *a, const void *b)
{
    const SampleRun *left = *(SampleRun *const *)a, *right = *(SampleRun *const *)b;
    if (left->row.created_at != right->row.created_at)
        return left->row.created_at > right->row.created_at ? -1 : 1;
    return strcmp(left->row.run_id.text, right->row.run_id.text);
}

static void check_list(Store *store, SampleRun *const *runs, const ListQuery *query, const Id *step_flow)
{
    const SampleRun *expected[N_RUNS];
    size_t n_expected = 0;
    for (unsigned n = 0; n < N_RUNS; n++) {
        if (is_wanted(runs[n], query, step_flow))
            expected[n_expected++] = runs[n];
    }
    qsort(expected, n_expected, sizeof expected[0], compare_runs);
    g_autoptr(GArray) ids = walk_list(store, query, false);
    assert_int_equal(ids->len, n_expected);
    for (size_t i = 0; i < n_expected; i++)
        assert_string_equal(g_array_index(ids, Id, i).text, expected[i]->row.run_id.text);

    ListQuery counted = *query;
    counted.wants_total = true;
    counted.skip = n_expected > 2 ? 2 : 0;
    g_autoptr(ListPage) page = list_runs(store, &counted);
    assert_int_equal(page->total, n_expected);
    if (n_expected > 2)
        assert_string_equal(page->items[0].position.id.text, expected[2]->row.run_id.text);
}

static void test_empty_list(void **state)
{
    Id owner = test_id('o', 1);
    ListQuery query = query_of(&owner);
    query.wants_total = true;
    g_autoptr(ListPage) page = list_runs(fixture_of(state)->store, &query);
    assert_int_equal(page->n_items, 0);
    assert_int_equal(page->total, 0);
    assert_false(page->has_more);
}

static void test_items_are_summaries(void **state)
{
    Store *store = fixture_of(state)->store;
    Id owner = test_id('o', 1), flow_id = test_id('f', 1);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    append_events(store, run, 1);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_runs(store, &query);
    g_autofree char *expected = g_strdup_printf("%.*s}", (int)run->row.summary_size, run->detail->str);
    assert_int_equal(page->n_items, 1);
    assert_string_equal(page->items[0].json, expected);
    assert_int_equal(page->items[0].size, strlen(expected));
    assert_int_equal(page->items[0].position.created_at, run->row.created_at);
    assert_int_equal(page->total, -1);
}

/* Every combination of the filters, in pages that end within a millisecond. */
static void test_every_combination_of_filters(void **state)
{
    Store *store = fixture_of(state)->store;
    SampleRun **runs = write_runs(store);
    Id owner = test_id('o', 0), flow_id = test_id('f', 2);
    g_autoptr(Flow) flow = sample_flow(2, &owner, 1, 2);
    write_flow_version(store, flow);
    RunStatus status = RUN_COMPLETED;
    enum { FLOW = 1, STEP = 2, STATUS = 4, TRIGGER = 8, LABEL = 16, VALUE = 32, FROM = 64, TO = 128, ALL = 255 };
    for (unsigned filters = 0; filters <= ALL; filters++) {
        ListQuery query = query_of(&owner);
        query.limit = 1 + filters % 7;
        query.flow_id = filters & FLOW ? flow_id.text : NULL;
        query.step_id = filters & STEP ? flow->flat[1]->step_id.text : NULL;
        query.status = filters & STATUS ? &status : NULL;
        query.triggered_by = filters & TRIGGER ? "tester" : NULL;
        query.label_name = filters & (LABEL | VALUE) ? "env" : NULL;
        query.label_value = filters & VALUE ? "prod" : NULL;
        query.from = filters & FROM ? START_MS + 3 : INSTANT_NONE;
        query.to = filters & TO ? START_MS + 15 : INSTANT_NONE;
        check_list(store, runs, &query, &flow_id);
    }
    free_runs(runs);
}

static void test_odd_filters(void **state)
{
    Store *store = fixture_of(state)->store;
    SampleRun **runs = write_runs(store);
    Id owner = test_id('o', 1), nobody = test_id('o', 404), no_step = test_id('s', 404), no_flow = test_id('f', 404);
    ListQuery query = query_of(&owner);
    query.label_name = "team";
    query.label_value = "\xc3\xa4";
    check_list(store, runs, &query, NULL);
    query.label_value = "' OR 1 = 1 --";
    check_list(store, runs, &query, NULL);
    query = query_of(&nobody);
    check_list(store, runs, &query, NULL);
    query = query_of(&owner);
    query.step_id = no_step.text;
    check_list(store, runs, &query, &no_flow);
    query = query_of(&owner);
    query.flow_id = no_flow.text;
    check_list(store, runs, &query, NULL);
    query = query_of(&owner);
    query.from = START_MS + 5;
    query.to = START_MS + 5; /* nothing is between */
    check_list(store, runs, &query, NULL);
    query.to = START_MS + 6;
    check_list(store, runs, &query, NULL);
    query.from = INT64_MIN + 1;
    query.to = INT64_MAX;
    check_list(store, runs, &query, NULL);
    free_runs(runs);
}

/* A step belongs to the flow's history: a version that dropped it does not take its runs out of the list; and the same
 * step id in two flows, or with another owner, is told apart. */
static void test_runs_by_step(void **state)
{
    Store *store = fixture_of(state)->store;
    SampleRun **runs = write_runs(store);
    Id owner = test_id('o', 0), stranger = test_id('o', 1), flow_id = test_id('f', 2);
    g_autoptr(Flow) v1 = sample_flow(2, &owner, 1, 2);
    g_autoptr(Flow) v2 = sample_flow(2, &owner, 2, 2);
    write_flow_version(store, v1);
    write_flow_version(store, v2);
    ListQuery query = query_of(&owner);
    query.step_id = v1->flat[0]->step_id.text;
    check_list(store, runs, &query, &flow_id);
    query.owner = stranger.text;
    g_autoptr(ListPage) foreign = list_runs(store, &query);
    assert_int_equal(foreign->n_items, 0);

    g_autoptr(Flow) twin = sample_flow(3, &owner, 1, 1);
    Step *step = (Step *)twin->flat[0];
    step->step_id = v1->flat[0]->step_id;
    write_flow_version(store, twin);
    query.owner = owner.text;
    query.limit = 200;
    query.wants_total = true;
    g_autoptr(ListPage) both = list_runs(store, &query);
    size_t n_expected = 0;
    for (unsigned n = 0; n < N_RUNS; n++) {
        n_expected += strcmp(runs[n]->row.owner.text, owner.text) == 0 &&
                      strcmp(runs[n]->row.flow_id.text, test_id('f', 1).text) != 0;
    }
    assert_int_equal(both->n_items, n_expected);
    assert_int_equal(both->total, n_expected);
    query.flow_id = twin->id.text;
    query.step_id = v2->flat[0]->step_id.text;
    g_autoptr(ListPage) none = list_runs(store, &query);
    assert_int_equal(none->n_items, 0);
    assert_int_equal(none->total, 0);
    free_runs(runs);
}

/* Runs that come in at every page's end, newer than it and within its own millisecond, neither repeat nor hide one that
 * was there from the start. */
static void test_cursor_survives_inserts(void **state)
{
    Store *store = fixture_of(state)->store;
    SampleRun **runs = write_runs(store);
    Id owner = test_id('o', 0), flow_id = test_id('f', 1);
    ListQuery query = query_of(&owner);
    query.limit = 7;
    ListPosition after;
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    unsigned n_new = N_RUNS;
    for (bool has_more = true; has_more;) {
        g_autoptr(ListPage) page = list_runs(store, &query);
        for (size_t i = 0; i < page->n_items; i++)
            assert_true(g_hash_table_add(seen, g_strdup(page->items[i].position.id.text)));
        has_more = page->has_more;
        if (!has_more)
            break;
        after = page->items[page->n_items - 1].position;
        query.after = &after;
        for (int64_t offset = -1; offset <= 1; offset++) {
            g_autoptr(SampleRun) late = sample_run_new(n_new++, &owner, &flow_id);
            late->row.created_at = after.created_at + (offset < 0 ? 1000 : offset);
            append_events(store, late, 1);
        }
    }
    for (unsigned n = 0; n < N_RUNS; n++) {
        if (strcmp(runs[n]->row.owner.text, owner.text) == 0)
            assert_true(g_hash_table_contains(seen, runs[n]->row.run_id.text));
    }
    free_runs(runs);
}

static void test_page_of_exactly_what_is_left(void **state)
{
    Store *store = fixture_of(state)->store;
    Id owner = test_id('o', 1), flow_id = test_id('f', 1);
    for (unsigned n = 0; n < 6; n++) {
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        append_events(store, run, 1);
    }
    ListQuery query = query_of(&owner);
    query.limit = 6;
    g_autoptr(ListPage) whole = list_runs(store, &query);
    assert_int_equal(whole->n_items, 6);
    assert_false(whole->has_more);
    query.limit = 5;
    g_autoptr(ListPage) part = list_runs(store, &query);
    assert_int_equal(part->n_items, 5);
    assert_true(part->has_more);
    query.after = &whole->items[5].position;
    g_autoptr(ListPage) beyond = list_runs(store, &query);
    assert_int_equal(beyond->n_items, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_empty_list),
    cmocka_unit_test(test_items_are_summaries),
    cmocka_unit_test(test_page_of_exactly_what_is_left),
    cmocka_unit_test(test_odd_filters),
    cmocka_unit_test(test_runs_by_step),
    cmocka_unit_test(test_cursor_survives_inserts),
    cmocka_unit_test(test_every_combination_of_filters),
};

StoreTests store_list_tests(void)
{
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
