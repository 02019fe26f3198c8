/* test_bus.c - the bus suite on an implementation: test_bus NAME [PART PARTS | PATTERN]. The mock cluster lets a group wait three
 * seconds for its first members, so its suite is run in parts, side by side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bus_suite.h"
#include "kafka_broker.h"

static KafkaBroker *broker; /* of the test that runs */

static int set_up_mock(void **state G_GNUC_UNUSED)
{
    broker = kafka_broker_new(true);
    return 0;
}

static int set_up_real(void **state G_GNUC_UNUSED)
{
    broker = kafka_broker_new(false);
    return 0;
}

static int tear_down(void **state G_GNUC_UNUSED)
{
    kafka_broker_free(g_steal_pointer(&broker));
    return 0;
}

static Bus *open_kafka(size_t max_messages G_GNUC_UNUSED, size_t max_bytes G_GNUC_UNUSED)
{
    return kafka_broker_open(broker);
}

static const BusImplementation IMPLEMENTATIONS[] = {
    {.name = "local", .open = bus_open_local, .is_bounded = true, .is_shared = true},
    {.name = "kafka-mock", .set_up = set_up_mock, .tear_down = tear_down, .open = open_kafka, .is_kept = true},
    {.name = "kafka", .set_up = set_up_real, .tear_down = tear_down, .open = open_kafka, .is_kept = true},
};

int main(int n_args, char **args)
{
    const char *name = n_args > 1 ? args[1] : "local";
    if (n_args == 3)
        cmocka_set_test_filter(args[2]);
    size_t part = n_args > 3 ? (size_t)strtoul(args[2], NULL, 10) : 0;
    size_t n_parts = n_args > 3 ? (size_t)strtoul(args[3], NULL, 10) : 1;
    for (size_t i = 0; i < G_N_ELEMENTS(IMPLEMENTATIONS); i++)
        if (strcmp(IMPLEMENTATIONS[i].name, name) == 0)
            return bus_suite_run(&IMPLEMENTATIONS[i], part, n_parts);
    fprintf(stderr, "no bus is called %s\n", name);
    return 2;
}
