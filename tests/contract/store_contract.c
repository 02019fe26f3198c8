/* store_contract.c - runs the suite on one implementation, each test on a store of its own. */
#include "store_contract.h"

#include <string.h>

static StoreOpen open_under_test;

static int setup(void **state)
{
    *state = store_fixture_new(open_under_test);
    return 0;
}

static int teardown(void **state)
{
    store_fixture_free(*state);
    return 0;
}

int store_contract_run(const char *name, StoreOpen open)
{
    StoreTests groups[] = {store_write_tests(), store_flow_tests(),   store_read_tests(),     store_list_tests(),
                           store_crash_tests(), store_upkeep_tests(), store_schedule_tests(), store_backfill_tests()};
    open_under_test = open;
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(struct CMUnitTest));
    for (size_t i = 0; i < G_N_ELEMENTS(groups); i++)
        g_array_append_vals(all, groups[i].tests, (guint)groups[i].n_tests);
    for (guint i = 0; i < all->len; i++) {
        struct CMUnitTest *test = &g_array_index(all, struct CMUnitTest, i);
        test->setup_func = setup;
        test->teardown_func = teardown;
    }
    return _cmocka_run_group_tests(name, (const struct CMUnitTest *)(void *)all->data, all->len, NULL, NULL);
}
