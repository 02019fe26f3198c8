/* store_contract.h - the suite that every store passes, alike. */
#ifndef FLOWOPS_TESTS_STORE_CONTRACT_H
#define FLOWOPS_TESTS_STORE_CONTRACT_H

#include "store_support.h"

/* Runs all groups; the number of tests that failed. */
int store_contract_run(const char *name, StoreOpen open);

/* The groups' tests; each gets its fixture from the runner. */
typedef struct {
    const struct CMUnitTest *tests;
    size_t n_tests;
} StoreTests;
StoreTests store_write_tests(void);
StoreTests store_flow_tests(void);
StoreTests store_read_tests(void);
StoreTests store_list_tests(void);
StoreTests store_crash_tests(void);
StoreTests store_upkeep_tests(void);
StoreTests store_backfill_tests(void);
StoreTests store_schedule_tests(void);

static inline StoreFixture *fixture_of(void **state)
{
    return *state;
}

#endif
