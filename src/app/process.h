/* process.h - what every long-running command of ours is as a process: signals and memory.
 * Thread: main, before any other starts (process_set_up), then until the end. */
#ifndef FLOWOPS_APP_PROCESS_H
#define FLOWOPS_APP_PROCESS_H

/* Blocks the signals that ask for an end, for all threads that start later; a broken connection is no signal. */
void process_set_up(void);

/* One line in the log for whom runs it as root: nothing here needs that, and nothing gives it up by itself. */
void process_warn_of_root(void);

/* Returns when SIGTERM or SIGINT came, with its name. */
const char *process_wait_for_end(void);

#endif
