/* test_bus.c - the bus suite on each implementation there is. */
#include "bus_suite.h"

static const BusImplementation IMPLEMENTATIONS[] = {
    {.name = "local", .open = bus_open_local, .is_bounded = true},
};

int main(void)
{
    int n_failed = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(IMPLEMENTATIONS); i++)
        n_failed += bus_suite_run(&IMPLEMENTATIONS[i]);
    return n_failed;
}
