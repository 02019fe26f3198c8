/* engine_alone.h - `flowops engine`: the engine without a service, on Kafka. Any number of them share the command partitions.
 * Thread: main. */
#ifndef FLOWOPS_APP_ENGINE_ALONE_H
#define FLOWOPS_APP_ENGINE_ALONE_H

#include "app/config.h"

/* Returns the process's exit status: 0 after a signal asked it to end, within 10 s of that. */
int engine_alone(const Config *config, const char *version);

#endif
