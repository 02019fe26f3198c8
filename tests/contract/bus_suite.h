/* bus_suite.h - what every bus must do, whatever carries its messages. */
#ifndef FLOWOPS_TESTS_CONTRACT_BUS_SUITE_H
#define FLOWOPS_TESTS_CONTRACT_BUS_SUITE_H

#include "bus/bus.h"

typedef struct {
    const char *name;
    /* An empty bus. The bounds are those of bus_open_local(); a bus without such bounds ignores them. */
    Bus *(*open)(size_t max_messages, size_t max_bytes);
    bool is_bounded; /* a full queue is BUSY: false where a broker takes any number */
} BusImplementation;

/* Runs the suite; returns how many tests failed. */
int bus_suite_run(const BusImplementation *implementation);

#endif
