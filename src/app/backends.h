/* backends.h - which store and which bus the settings ask for.
 * Thread: main. Owner: the caller (store_close, bus_close). */
#ifndef FLOWOPS_APP_BACKENDS_H
#define FLOWOPS_APP_BACKENDS_H

#include "app/config.h"
#include "bus/bus.h"
#include "store/store.h"

/* MongoDB with MONGO_URI, else the file in DATA_DIR. */
MUST_CHECK Store *open_store(const Config *config, const Clock *clock, GError **error);

typedef enum {
    BUS_FOR_SERVICE = 1 << 0,
    BUS_FOR_ENGINE = 1 << 1,
    BUS_FOR_REPLICAS = 1 << 2, /* doorbells: others share the store */
} BusUse;

/* Kafka with KAFKA_BROKER, else queues in this process. */
MUST_CHECK Bus *open_bus(const Config *config, BusUse uses, const Clock *clock, GError **error);

#endif
