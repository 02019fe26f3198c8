/* backends.c - see backends.h. */
#include "app/backends.h"

#include <unistd.h>

#include "base/log.h"

#define BUS_MAX_MESSAGES 8192            /* of each queue of the in-process bus */
#define BUS_MAX_BYTES (32 * 1024 * 1024) /* of each queue */

/* Somebody who moved to MongoDB, or set MONGO_URI by chance, must not look for flows in the wrong place. */
static void warn_of_other_store(const Config *config)
{
    g_autofree char *path = g_build_filename(config->data_dir, "flowops.db", NULL);
    if (access(path, F_OK) == 0)
        log_event(LOG_WARNING, "MONGO_URI is set: MongoDB is used, and what is in DATA_DIR's flowops.db is not",
                  "database", config->mongo_db, "file", path, NULL);
}

Store *open_store(const Config *config, const Clock *clock, GError **error)
{
    if (config->mongo_uri == NULL)
        return store_open_sqlite(config->data_dir, clock, error);
    warn_of_other_store(config);
    return store_open_mongo(config->mongo_uri, config->mongo_db, clock, error);
}

Bus *open_bus(const Config *config, BusUse uses, const Clock *clock, GError **error)
{
    if (config->kafka_broker == NULL)
        return bus_open_local(BUS_MAX_MESSAGES, BUS_MAX_BYTES);
    KafkaOptions options = {
        .brokers = config->kafka_broker,
        .options = config->kafka_options,
        .n_partitions = (int32_t)config->kafka_partitions,
        .n_replicas = (int32_t)config->kafka_replication,
        .has_service_side = (uses & BUS_FOR_SERVICE) != 0,
        .has_engine_side = (uses & BUS_FOR_ENGINE) != 0,
        .has_updates = (uses & BUS_FOR_REPLICAS) != 0,
    };
    return bus_open_kafka(&options, clock, error);
}
