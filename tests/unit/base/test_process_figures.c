/* test_process_figures.c - what is read of this very process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <glib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/process_figures.h"
#include "base/thread.h"

static ProcessFigures figures_now(void)
{
    ProcessFigures figures;
    assert_true(process_figures_read(&figures));
    return figures;
}

static void sizes_and_times_are_plausible(void **state)
{
    (void)state;
    ProcessFigures figures = figures_now();
    int64_t now_ms = (int64_t)time(NULL) * 1000;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(figures.resident_bytes > 100000 && figures.resident_bytes < figures.virtual_bytes);
    assert_in_range(figures.start_ms, now_ms - 600000, now_ms + 2000);
    assert_int_equal(figures.max_fds, limit.rlim_cur == RLIM_INFINITY ? -1 : (int64_t)limit.rlim_cur);
}

static void processor_time_grows(void **state)
{
    (void)state;
    ProcessFigures before = figures_now();
    struct timespec used;
    do
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    while (used.tv_sec == 0 && used.tv_nsec < 60000000);
    ProcessFigures after = figures_now();
    assert_true(after.cpu_ms > before.cpu_ms);
    assert_in_range(after.cpu_ms, 20, 60000);
}

static void a_descriptor_more_is_one_more(void **state)
{
    (void)state;
    int64_t before = figures_now().n_open_fds;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(figures_now().n_open_fds, before + 1);
    close(fd);
    assert_int_equal(figures_now().n_open_fds, before);
}

static void wait_for_end(void *bell)
{
    bell_wait(bell, -1);
}

static void a_thread_more_is_one_more(void **state)
{
    (void)state;
    Bell bell;
    bell_init(&bell);
    /* ThreadSanitizer adds one of its own to it. */
    Thread *first = thread_start("first", ROLE_READER, wait_for_end, &bell, NULL);
    int64_t before = figures_now().n_threads;
    Thread *thread = thread_start("more", ROLE_READER, wait_for_end, &bell, NULL);
    assert_int_equal(figures_now().n_threads, before + 1);
    bell_close(&bell);
    thread_join(thread);
    thread_join(first);
    bell_done(&bell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_and_times_are_plausible),
        cmocka_unit_test(processor_time_grows),
        cmocka_unit_test(a_descriptor_more_is_one_more),
        cmocka_unit_test(a_thread_more_is_one_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
