/* bus_suite.h - what every bus must do, whatever carries its messages. */
#ifndef FLOWOPS_TESTS_CONTRACT_BUS_SUITE_H
#define FLOWOPS_TESTS_CONTRACT_BUS_SUITE_H

#include "bus/bus.h"

typedef struct {
    const char *name;
    /* Around each test: what lies behind the buses of one test. NULL: nothing does. */
    int (*set_up)(void **state);
    int (*tear_down)(void **state);
    /* Both sides in one; empty when it is the first of the test. The bounds are those of bus_open_local(); a bus without
     * such bounds ignores them. */
    Bus *(*open)(size_t max_messages, size_t max_bytes);
    bool is_bounded; /* a full queue is BUSY: false where a broker takes any number */
    bool is_shared;  /* several threads may poll one direction at once, which the port does not ask for */
    bool is_kept;    /* what was not committed is there for the next bus */
} BusImplementation;

/* Runs the part'th of n_parts equal shares of the suite; returns how many tests failed. */
int bus_suite_run(const BusImplementation *implementation, size_t part, size_t n_parts);

#endif
