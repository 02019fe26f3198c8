/* bus_internal.h - what an implementation of the bus provides. Every method is required. */
#ifndef FLOWOPS_BUS_BUS_INTERNAL_H
#define FLOWOPS_BUS_BUS_INTERNAL_H

#include "bus/bus.h"

typedef struct {
    const char *name;
    bool is_durable;
    bool (*publish_commands)(Bus *, BusMessage *const *, size_t, int64_t, BusResult *, GError **); /* blocking */
    int32_t (*command_partition)(Bus *, const char *);
    bool (*poll_commands)(Bus *, BusMessage **, size_t, int64_t, size_t *, GError **); /* blocking */
    void (*take_partitions)(Bus *, BusPartitions *);
    bool (*publish_statuses)(Bus *, BusMessage *const *, size_t, int64_t, size_t *, GError **); /* blocking */
    bool (*flush_statuses)(Bus *, int64_t, GError **);                                          /* blocking */
    bool (*poll_statuses)(Bus *, BusMessage **, size_t, int64_t, size_t *, GError **);          /* blocking */
    void (*hold_statuses)(Bus *);
    bool (*commit_statuses)(Bus *, size_t, GError **); /* blocking, idempotent */
    bool (*dead_letter)(Bus *, const BusMessage *, const char *, GError **);
    void (*publish_update)(Bus *, const char *, int64_t);
    bool (*poll_updates)(Bus *, BusUpdate *, size_t, int64_t, size_t *, GError **); /* blocking */
    BusHealth (*health)(Bus *);
    void (*shutdown)(Bus *); /* any thread, idempotent */
    void (*close)(Bus *);    /* frees the Bus */
} BusOps;

struct Bus {
    const BusOps *ops; /* the implementation's struct begins with this one */
};

#endif
