/* process_figures.h - what this process uses, as the kernel tells (proc(5)).
 * Thread: any; reads /proc, no disk. */
#ifndef FLOWOPS_BASE_PROCESS_FIGURES_H
#define FLOWOPS_BASE_PROCESS_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t cpu_ms;   /* user and system */
    int64_t start_ms; /* an instant */
    int64_t virtual_bytes, resident_bytes;
    int64_t n_threads;
    int64_t n_open_fds;
    int64_t max_fds; /* the soft limit; -1: none */
} ProcessFigures;

/* False where there is no /proc. */
bool process_figures_read(ProcessFigures *ret);

#endif
