/* bus_internal.h - what an implementation of the bus provides. Every method is required. */
#ifndef FLOWOPS_BUS_BUS_INTERNAL_H
#define FLOWOPS_BUS_BUS_INTERNAL_H

#include "bus/bus.h"

typedef struct {
    const char *name;
    bool (*publish_commands)(Bus *, BusMessage *const *, size_t, int64_t, size_t *, GError **); /* blocking */
    bool (*poll_commands)(Bus *, BusMessage **, size_t, int64_t, size_t *, GError **);          /* blocking */
    bool (*publish_statuses)(Bus *, BusMessage *const *, size_t, int64_t, size_t *, GError **); /* blocking */
    bool (*poll_statuses)(Bus *, BusMessage **, size_t, int64_t, size_t *, GError **);          /* blocking */
    bool (*commit_statuses)(Bus *, GError **);                                                  /* idempotent */
    bool (*dead_letter)(Bus *, const BusMessage *, const char *, GError **);
    BusLoad (*load)(Bus *);
    void (*shutdown)(Bus *); /* any thread, idempotent */
    void (*close)(Bus *);    /* frees the Bus */
} BusOps;

struct Bus {
    const BusOps *ops; /* the implementation's struct begins with this one */
};

#endif
