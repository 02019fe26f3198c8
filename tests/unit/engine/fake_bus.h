/* fake_bus.h - a bus whose engine side is scripted: what each poll gives, and which partitions come and go with it. Statuses
 * go into a queue of the bus within one process. */
#ifndef FLOWOPS_TESTS_FAKE_BUS_H
#define FLOWOPS_TESTS_FAKE_BUS_H

#include "bus/bus.h"

Bus *fake_bus_open(void);

/* Added to the turn in the making; fake_bus_turn() gives it to the next poll. */
void fake_bus_lose(Bus *bus, int32_t partition);
void fake_bus_gain(Bus *bus, int32_t partition);
void fake_bus_command(Bus *bus, int32_t partition, const char *text);
void fake_bus_turn(Bus *bus);
/* True when every turn was polled, and a poll has begun after the last. */
bool fake_bus_is_through(Bus *bus);

/* While it is down, publishing is UNAVAILABLE and flushing times out. */
void fake_bus_set_down(Bus *bus, bool is_down);
size_t fake_bus_n_failed(Bus *bus);  /* publish calls that failed since the bus was opened */
size_t fake_bus_n_flushed(Bus *bus); /* flush calls */
/* Statuses that had been accepted when the last flush began. */
size_t fake_bus_n_before_flush(Bus *bus);

#endif
