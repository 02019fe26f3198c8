/* bus_local.h - what only the in-process bus has: a look at the dead letters it kept.
 * Thread: any. */
#ifndef FLOWOPS_BUS_BUS_LOCAL_H
#define FLOWOPS_BUS_BUS_LOCAL_H

#include "bus/bus.h"

/* There is no topic to put dead letters on, so the newest are kept in memory, within these bounds. */
#define BUS_LOCAL_MAX_DEAD_LETTERS 64
#define BUS_LOCAL_MAX_DEAD_LETTER_BYTES (1024 * 1024)

typedef struct {
    BusMessage *message;
    char *reason;
} DeadLetter;

void dead_letter_free(DeadLetter *letter);

/* Takes the oldest one kept, or NULL. The bus must be a local one. */
DeadLetter *bus_local_take_dead_letter(Bus *bus);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(DeadLetter, dead_letter_free)

#endif
