/* timers.h - what is to happen at a monotonic instant: a binary heap of timers that live inside their owners, so setting
 * and clearing allocate nothing and a cleared timer leaves nothing behind.
 * Thread: one (the engine's). Owner: whoever embeds a Timer; it must be cleared before its memory goes. */
#ifndef FLOWOPS_ENGINE_TIMERS_H
#define FLOWOPS_ENGINE_TIMERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct Timer Timer;

struct Timer {
    void (*fire)(Timer *timer);
    int64_t at_ms;  /* monotonic */
    uint64_t order; /* of setting: what is due at the same instant fires in this order */
    size_t place;   /* in the heap, from 1; 0: not set. A zeroed Timer is one that is not set */
};

typedef struct Timers Timers;

Timers *timers_new(void);
void timers_free(Timers *timers); /* no timer may be set any more; NULL is fine */

/* Sets it, or moves it when it is set already. */
void timers_set(Timers *timers, Timer *timer, int64_t at_ms, void (*fire)(Timer *timer));
void timers_clear(Timers *timers, Timer *timer); /* one that is not set is fine */

/* When the earliest is due; INT64_MAX when none is set. */
int64_t timers_next_at(const Timers *timers);
/* Fires those due at now_ms, earliest first. One that is set while firing (for now or later, never for the past) waits
 * for the next call, so that a timer that sets itself again cannot hold the thread. */
void timers_fire_due(Timers *timers, int64_t now_ms);

size_t timers_count(const Timers *timers);

#endif
