/* store_contract_backfill.c - backfills: the next entry is taken once, the newest is what is read, open ones are found. */
#include "store_contract.h"

#include <string.h>

static Id owner, stranger;

/* The n-th entry of a backfill, its state and plan naming both. */
static WriteOutcome append(Store *store, unsigned backfill, const Id *of_owner, unsigned flow, int64_t n, bool is_open)
{
    g_autofree char *state = g_strdup_printf("{\"backfill\":%u,\"n\":%" G_GINT64_FORMAT "}", backfill, n);
    g_autofree char *plan = g_strdup_printf("{\"plan\":%u}", backfill);
    BackfillEntry entry = {.backfill_id = test_id('b', backfill),
                           .flow_id = test_id('f', flow),
                           .owner = *of_owner,
                           .created_at = START_MS + backfill,
                           .n = n,
                           .is_open = is_open,
                           .state = state,
                           .state_size = strlen(state),
                           .plan = n == 1 ? plan : NULL,
                           .plan_size = n == 1 ? strlen(plan) : 0};
    return write_one(store, (StoreWrite){.kind = WRITE_BACKFILL, .backfill = entry});
}

static BackfillRecord *get(Store *store, unsigned backfill, bool has_plan)
{
    g_autoptr(GError) error = NULL;
    BackfillRecord *record = store_get_backfill(store, test_id('b', backfill).text, has_plan, &error);
    assert_no_error(error);
    return record;
}

static void assert_state(Store *store, unsigned backfill, const char *expected)
{
    g_autoptr(BackfillRecord) record = get(store, backfill, false);
    assert_string_equal(record->state, expected);
    assert_int_equal(record->state_size, strlen(expected));
    assert_null(record->plan);
}

static void test_no_such_backfill(void **state)
{
    g_autoptr(GError) error = NULL;
    assert_null(store_get_backfill(fixture_of(state)->store, test_id('b', 404).text, true, &error));
    assert_error(error, FLOWOPS_NOT_FOUND);
}

static void test_the_newest_entry_is_read(void **state)
{
    Store *store = fixture_of(state)->store;
    assert_int_equal(append(store, 1, &owner, 1, 1, true), WRITTEN);
    assert_state(store, 1, "{\"backfill\":1,\"n\":1}");
    for (int64_t n = 2; n <= 12; n++)
        assert_int_equal(append(store, 1, &owner, 1, n, true), WRITTEN);
    assert_state(store, 1, "{\"backfill\":1,\"n\":12}");
    g_autoptr(BackfillRecord) record = get(store, 1, true);
    assert_string_equal(record->plan, "{\"plan\":1}");
    assert_int_equal(record->plan_size, strlen(record->plan));
}

static void test_only_the_next_entry_is_taken(void **state)
{
    Store *store = fixture_of(state)->store;
    assert_int_equal(append(store, 1, &owner, 1, 2, true), WRITE_CONFLICT);
    assert_int_equal(append(store, 1, &owner, 1, 1, true), WRITTEN);
    assert_int_equal(append(store, 1, &owner, 1, 1, true), WRITE_CONFLICT);
    assert_int_equal(append(store, 1, &owner, 1, 3, true), WRITE_CONFLICT);
    assert_int_equal(append(store, 1, &owner, 1, 2, false), WRITTEN);
    assert_int_equal(append(store, 1, &owner, 1, 2, true), WRITE_CONFLICT);
    assert_state(store, 1, "{\"backfill\":1,\"n\":2}");
}

static void test_a_large_plan(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autofree char *plan = g_malloc0(200001);
    memset(plan, 'p', 200000);
    BackfillEntry entry = {.backfill_id = test_id('b', 1),
                           .flow_id = test_id('f', 1),
                           .owner = owner,
                           .created_at = START_MS,
                           .n = 1,
                           .is_open = true,
                           .state = "{}",
                           .state_size = 2,
                           .plan = plan,
                           .plan_size = 200000};
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_BACKFILL, .backfill = entry}), WRITTEN);
    g_autoptr(BackfillRecord) record = get(store, 1, true);
    assert_int_equal(record->plan_size, 200000);
    assert_string_equal(record->plan, plan);
}

static size_t list_open(Store *store, const char *after, size_t limit, Id *ids)
{
    size_t n = 99;
    g_autoptr(GError) error = NULL;
    if (!store_list_open_backfills(store, after, limit, ids, &n, &error))
        fail_msg("%s", error->message);
    return n;
}

static int64_t count_open(Store *store, const char *of_owner)
{
    int64_t n = 99;
    g_autoptr(GError) error = NULL;
    if (!store_count_open_backfills(store, of_owner, &n, &error))
        fail_msg("%s", error->message);
    return n;
}

static void test_open_ones_are_found(void **state)
{
    Store *store = fixture_of(state)->store;
    Id ids[8];
    assert_int_equal(list_open(store, "", 8, ids), 0);
    assert_int_equal(count_open(store, NULL), 0);
    for (unsigned i = 1; i <= 5; i++)
        assert_int_equal(append(store, i, i == 4 ? &stranger : &owner, 1, 1, i != 3), WRITTEN);
    assert_int_equal(list_open(store, "", 8, ids), 4);
    assert_string_equal(ids[0].text, test_id('b', 1).text);
    assert_string_equal(ids[2].text, test_id('b', 4).text);
    assert_int_equal(list_open(store, "", 2, ids), 2);
    assert_int_equal(list_open(store, ids[1].text, 8, ids), 2);
    assert_string_equal(ids[0].text, test_id('b', 4).text);
    assert_int_equal(count_open(store, NULL), 4);
    assert_int_equal(count_open(store, owner.text), 3);
    assert_int_equal(count_open(store, stranger.text), 1);
    assert_int_equal(append(store, 4, &stranger, 1, 2, false), WRITTEN);
    assert_int_equal(list_open(store, "", 8, ids), 3);
    assert_int_equal(count_open(store, stranger.text), 0);
}

static ListPage *list(Store *store, const ListQuery *query)
{
    g_autoptr(GError) error = NULL;
    ListPage *page = store_list_backfills(store, query, &error);
    assert_no_error(error);
    return page;
}

static void test_a_flows_backfills_newest_first(void **state)
{
    Store *store = fixture_of(state)->store;
    for (unsigned i = 1; i <= 7; i++)
        assert_int_equal(append(store, i, i == 6 ? &stranger : &owner, i == 7 ? 2 : 1, 1, true), WRITTEN);
    assert_int_equal(append(store, 2, &owner, 1, 2, false), WRITTEN);
    Id flow_id = test_id('f', 1);
    ListQuery query = query_of(&owner);
    query.flow_id = flow_id.text;
    query.limit = 2;
    query.wants_total = true;
    g_autoptr(ListPage) first = list(store, &query);
    assert_int_equal(first->n_items, 2);
    assert_true(first->has_more);
    assert_int_equal(first->total, 5);
    assert_string_equal(first->items[0].json, "{\"backfill\":5,\"n\":1}");
    assert_string_equal(first->items[1].json, "{\"backfill\":4,\"n\":1}");
    query.after = &first->items[1].position;
    g_autoptr(ListPage) second = list(store, &query);
    assert_int_equal(second->n_items, 2);
    assert_string_equal(second->items[1].json, "{\"backfill\":2,\"n\":2}");
    query.after = NULL;
    query.skip = 4;
    g_autoptr(ListPage) last = list(store, &query);
    assert_int_equal(last->n_items, 1);
    assert_false(last->has_more);
    assert_string_equal(last->items[0].json, "{\"backfill\":1,\"n\":1}");
}

static void test_backfills_survive(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    Id ids[8];
    assert_int_equal(append(fixture->store, 1, &owner, 1, 1, true), WRITTEN);
    assert_int_equal(append(fixture->store, 1, &owner, 1, 2, true), WRITTEN);
    store_fixture_reopen(fixture);
    assert_state(fixture->store, 1, "{\"backfill\":1,\"n\":2}");
    assert_int_equal(list_open(fixture->store, "", 8, ids), 1);
    assert_int_equal(append(fixture->store, 1, &owner, 1, 2, true), WRITE_CONFLICT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_such_backfill),
    cmocka_unit_test(test_the_newest_entry_is_read),
    cmocka_unit_test(test_only_the_next_entry_is_taken),
    cmocka_unit_test(test_a_large_plan),
    cmocka_unit_test(test_open_ones_are_found),
    cmocka_unit_test(test_a_flows_backfills_newest_first),
    cmocka_unit_test(test_backfills_survive),
};

StoreTests store_backfill_tests(void)
{
    owner = test_id('o', 1);
    stranger = test_id('o', 2);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
