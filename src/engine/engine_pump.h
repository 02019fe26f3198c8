/* engine_pump.h - the thread that reads the bus for the engine: commands, and which command partitions are the engine's, in
 * the order in which they are to be dealt with, into the engine's inbox.
 * Thread: start and stop from main; inside, one thread of its own. Owner: the engine. */
#ifndef FLOWOPS_ENGINE_ENGINE_PUMP_H
#define FLOWOPS_ENGINE_ENGINE_PUMP_H

#include "base/queue.h"
#include "bus/bus.h"
#include "domain/message.h"
#include "engine/plugin.h"

/* One of the three, or none: then the engine is to stop. */
typedef struct {
    CommandMessage *command;
    int32_t partition; /* that the command came on */
    BusPartitions *partitions;
    Attempt *attempt; /* ended on a thread that is not the engine's; not freed with the item */
} InboxItem;
void inbox_item_free(InboxItem *item);

typedef struct Pump Pump;

/* Pushing into the inbox waits for as long as it takes: somebody must empty it until pump_stop() has returned. */
MUST_CHECK Pump *pump_start(Bus *bus, const Clock *clock, Queue *inbox, GError **error);
void pump_stop(Pump *pump); /* nothing is pushed after it; NULL is fine */

#endif
