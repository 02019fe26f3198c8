/* notify.h - what a service manager is told: that the start is over, that the end has begun, that we are alive.
 * The protocol of sd_notify(3); nothing is said when nobody asked ($NOTIFY_SOCKET is not set).
 * Thread: main. */
#ifndef FLOWOPS_APP_NOTIFY_H
#define FLOWOPS_APP_NOTIFY_H

#include <stdint.h>

/* state: "READY=1", "STOPPING=1" or "WATCHDOG=1". What cannot be sent is logged. */
void notify_manager(const char *state);

/* How often WATCHDOG=1 is to be sent: half of the time after which the manager takes us for hung; 0: it does not watch. */
int64_t notify_watchdog_interval_ms(void);

#endif
