/* serve.h - `flowops serve`: wires store, bus, engine, service and HTTP, and takes them down in order.
 * Thread: main. */
#ifndef FLOWOPS_APP_SERVE_H
#define FLOWOPS_APP_SERVE_H

#include "app/config.h"

/* Returns the process's exit status: 0 after a signal asked it to end and everything was answered and closed. */
int serve(const Config *config, const char *version);

#endif
