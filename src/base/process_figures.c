#include "base/process_figures.h"

#include <fcntl.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define STAT_SIZE 1024 /* some 50 numbers and a name of 15 characters */

static bool read_stat(char text[STAT_SIZE])
{
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, STAT_SIZE - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* The kernel since 6.2 gives the number as the directory's size; before that they are counted. */
static int64_t count_open_fds(void)
{
    struct stat info;
    if (stat("/proc/self/fd", &info) == 0 && info.st_size > 0)
        return info.st_size;
    GDir *folder = g_dir_open("/proc/self/fd", 0, NULL);
    if (folder == NULL)
        return 0;
    int64_t n = 0;
    while (g_dir_read_name(folder) != NULL)
        n++;
    g_dir_close(folder);
    return n - 1; /* the directory's own */
}

/* Read once: a clock that is set must not look like another start. */
static int64_t boot_ms(void)
{
    static atomic_int_fast64_t first; /* 0: not read */
    int_fast64_t none = 0;
    (void)atomic_compare_exchange_strong(&first, &none, clock_read_ms(CLOCK_REALTIME) - clock_read_ms(CLOCK_BOOTTIME));
    return atomic_load(&first);
}

bool process_figures_read(ProcessFigures *ret)
{
    char text[STAT_SIZE];
    if (!read_stat(text))
        return false;
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long user_ticks, system_ticks, virtual_bytes;
    unsigned long long start_ticks;
    long n_threads, resident_pages;
    /* Fields 14, 15, 20, 22, 23 and 24 of proc(5). */
    if (at == NULL ||
        sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld %*d %llu %lu %ld",
               &user_ticks, &system_ticks, &n_threads, &start_ticks, &virtual_bytes, &resident_pages) != 6)
        return false;
    int64_t ticks = sysconf(_SC_CLK_TCK);
    struct rlimit limit;
    bool has_limit = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    *ret = (ProcessFigures){
        .cpu_ms = (int64_t)(user_ticks + system_ticks) * 1000 / ticks,
        .start_ms = boot_ms() + (int64_t)start_ticks * 1000 / ticks,
        .virtual_bytes = (int64_t)virtual_bytes,
        .resident_bytes = resident_pages * sysconf(_SC_PAGESIZE),
        .n_threads = n_threads,
        .n_open_fds = count_open_fds(),
        .max_fds = has_limit ? (int64_t)limit.rlim_cur : -1,
    };
    return true;
}
