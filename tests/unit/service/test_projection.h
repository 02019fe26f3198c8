/* test_projection.h - histories through the whole service, on the store that rigs stand on. */
#ifndef FLOWOPS_TESTS_PROJECTION_H
#define FLOWOPS_TESTS_PROJECTION_H

int run_histories(void); /* the number of tests that failed */

#endif
