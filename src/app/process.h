/* process.h - what every long-running command of ours is as a process: signals and memory.
 * Thread: main, before any other starts (process_set_up), then until the end. */
#ifndef FLOWOPS_APP_PROCESS_H
#define FLOWOPS_APP_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Blocks the signals that ask for an end, for all threads that start later; a broken connection is no signal. */
void process_set_up(void);

/* One line in the log for whom runs it as root: nothing here needs that, and nothing gives it up by itself. */
void process_warn_of_root(void);

/* Whether one of them has come, for a start that takes its time. */
bool process_end_is_asked(void);

/* Returns when SIGTERM or SIGINT came, with its name. Until then tick(arg) is called every tick_ms; 0: never. */
const char *process_wait_for_end(int64_t tick_ms, void (*tick)(void *arg), void *arg);

#endif
