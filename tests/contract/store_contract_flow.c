/* store_contract_flow.c - flows: versions are unique, the newest shows, a deletion is the last. */
#include "store_contract.h"

#include <string.h>

static Id owner;

static Flow *get_flow(Store *store, const Flow *like, int64_t version)
{
    g_autoptr(GError) error = NULL;
    Flow *flow = store_get_flow(store, like->id.text, version, &error);
    assert_no_error(error);
    return flow;
}

static void assert_same_flow(const Flow *actual, const Flow *expected)
{
    g_autoptr(GString) a = g_string_new(NULL);
    g_autoptr(GString) b = g_string_new(NULL);
    flow_encode(actual, a);
    flow_encode(expected, b);
    assert_string_equal(a->str, b->str);
}

static void test_no_such_flow(void **state)
{
    Id id = test_id('f', 404);
    for (int64_t version = 0; version < 2; version++) {
        g_autoptr(GError) error = NULL;
        assert_null(store_get_flow(fixture_of(state)->store, id.text, version, &error));
        assert_error(error, FLOWOPS_NOT_FOUND);
        assert_non_null(strstr(error->message, id.text));
    }
}

static void test_versions_are_kept(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 2);
    g_autoptr(Flow) v2 = sample_flow(1, &owner, 2, 5);
    write_flow_version(store, v1);
    write_flow_version(store, v2);
    g_autoptr(Flow) newest = get_flow(store, v1, 0);
    g_autoptr(Flow) first = get_flow(store, v1, 1);
    g_autoptr(Flow) second = get_flow(store, v1, 2);
    assert_same_flow(newest, v2);
    assert_same_flow(first, v1);
    assert_same_flow(second, v2);
    g_autoptr(GError) error = NULL;
    assert_null(store_get_flow(store, v1->id.text, 3, &error));
    assert_error(error, FLOWOPS_NOT_FOUND);
}

static void test_second_writer_of_a_version_loses(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 2);
    g_autoptr(Flow) rival = sample_flow(1, &owner, 1, 3);
    write_flow_version(store, v1);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = rival}), WRITE_CONFLICT);
    g_autoptr(Flow) first = get_flow(store, v1, 0);
    assert_same_flow(first, v1);
}

static void test_both_writers_in_one_group(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 2);
    g_autoptr(Flow) rival = sample_flow(1, &owner, 1, 3);
    g_autoptr(Flow) v2 = sample_flow(1, &owner, 2, 1);
    StoreWrite writes[] = {
        {.kind = WRITE_FLOW, .flow = v1}, {.kind = WRITE_FLOW, .flow = rival}, {.kind = WRITE_FLOW, .flow = v2}};
    g_autoptr(GError) error = NULL;
    assert_true(store_write(store, writes, 3, &error));
    assert_int_equal(writes[0].ret_outcome, WRITTEN);
    assert_int_equal(writes[1].ret_outcome, WRITE_CONFLICT);
    assert_int_equal(writes[2].ret_outcome, WRITTEN);
    g_autoptr(Flow) first = get_flow(store, v1, 1);
    assert_same_flow(first, v1);
}

static void test_version_with_a_gap_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v2 = sample_flow(1, &owner, 2, 1);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = v2}), WRITE_CONFLICT);
    g_autoptr(GError) error = NULL;
    assert_null(store_get_flow(store, v2->id.text, 0, &error));
    assert_error(error, FLOWOPS_NOT_FOUND);
}

static void test_deletion_is_the_last_version(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 2);
    g_autoptr(Flow) other = sample_flow(2, &owner, 1, 0);
    g_autoptr(Flow) deletion = sample_flow_deletion(v1, true);
    write_flow_version(store, v1);
    write_flow_version(store, other);
    write_flow_version(store, deletion);

    g_autoptr(Flow) newest = get_flow(store, v1, 0);
    assert_true(newest->is_deleted && newest->stops_runs);
    assert_int_equal(newest->version, 2);
    g_autoptr(Flow) kept = get_flow(store, v1, 1);
    assert_false(kept->is_deleted);

    ListQuery query = query_of(&owner);
    query.wants_total = true;
    g_autoptr(ListPage) page = list_flows(store, &query);
    assert_int_equal(page->n_items, 1);
    assert_int_equal(page->total, 1);
    assert_string_equal(page->items[0].position.id.text, other->id.text);

    g_autoptr(Flow) revived = sample_flow(1, &owner, 3, 1);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = revived}), WRITE_CONFLICT);
}

static void test_newest_versions_of_many(void **state)
{
    Store *store = fixture_of(state)->store;
    Id ids[] = {test_id('f', 1), test_id('f', 404), test_id('f', 2), test_id('f', 1)};
    int64_t versions[G_N_ELEMENTS(ids)];
    for (int64_t version = 1; version <= 3; version++) {
        g_autoptr(Flow) flow = sample_flow(1, &owner, version, 1);
        write_flow_version(store, flow);
    }
    g_autoptr(Flow) other = sample_flow(2, &owner, 1, 0);
    g_autoptr(Flow) deletion = sample_flow_deletion(other, false);
    write_flow_version(store, other);
    write_flow_version(store, deletion);
    g_autoptr(GError) error = NULL;
    assert_true(store_get_flow_versions(store, ids, G_N_ELEMENTS(ids), versions, &error));
    static const int64_t expected[] = {3, 0, 2, 3};
    assert_memory_equal(versions, expected, sizeof expected);
}

static void test_list_shows_the_newest_summary(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 2);
    g_autoptr(Flow) v2 = sample_flow(1, &owner, 2, 2);
    write_flow_version(store, v1);
    write_flow_version(store, v2);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_flows(store, &query);
    g_autoptr(GString) summary = g_string_new(NULL);
    flow_encode_summary(v2, summary);
    assert_int_equal(page->n_items, 1);
    assert_string_equal(page->items[0].json, summary->str);
    assert_int_equal(page->items[0].size, summary->len);
    assert_int_equal(page->items[0].position.created_at, v1->created_at);
    assert_int_equal(page->total, -1);
}

static void test_flows_page_by_page(void **state)
{
    Store *store = fixture_of(state)->store;
    Id stranger = test_id('o', 2);
    for (unsigned n = 1; n <= 25; n++) {
        g_autoptr(Flow) flow = sample_flow(n, n % 5 == 0 ? &stranger : &owner, 1, 0);
        write_flow_version(store, flow);
    }
    ListQuery query = query_of(&owner);
    query.limit = 3;
    g_autoptr(GArray) ids = walk_list(store, &query, true);
    assert_int_equal(ids->len, 20);
    for (unsigned n = 25, i = 0; n >= 1; n--) {
        if (n % 5 == 0)
            continue;
        Id expected = test_id('f', n);
        assert_string_equal(g_array_index(ids, Id, i++).text, expected.text);
    }
    query.skip = 18;
    query.wants_total = true;
    g_autoptr(ListPage) last = list_flows(store, &query);
    assert_int_equal(last->n_items, 2);
    assert_false(last->has_more);
    assert_int_equal(last->total, 20);
    query.skip = 1000;
    g_autoptr(ListPage) beyond = list_flows(store, &query);
    assert_int_equal(beyond->n_items, 0);
    assert_int_equal(beyond->total, 20);
}

static void test_a_thousand_steps(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 1000);
    write_flow_version(store, flow);
    g_autoptr(Flow) read = get_flow(store, flow, 1);
    assert_same_flow(read, flow);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_such_flow),
    cmocka_unit_test(test_versions_are_kept),
    cmocka_unit_test(test_second_writer_of_a_version_loses),
    cmocka_unit_test(test_both_writers_in_one_group),
    cmocka_unit_test(test_version_with_a_gap_is_a_conflict),
    cmocka_unit_test(test_deletion_is_the_last_version),
    cmocka_unit_test(test_newest_versions_of_many),
    cmocka_unit_test(test_list_shows_the_newest_summary),
    cmocka_unit_test(test_flows_page_by_page),
    cmocka_unit_test(test_a_thousand_steps),
};

StoreTests store_flow_tests(void)
{
    owner = test_id('o', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
