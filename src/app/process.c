/* process.c - see process.h. */
#include "app/process.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"

static sigset_t end_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    return signals;
}

void process_set_up(void)
{
    /* Few, early-trimmed arenas: an idle process stays small, and threads here share most of what they allocate. */
    mallopt(M_ARENA_MAX, 2);
    signal(SIGPIPE, SIG_IGN);
    sigset_t signals = end_signals();
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

void process_warn_of_root(void)
{
    if (geteuid() == 0)
        log_event(LOG_WARNING, "running as root, which is not needed and not given up: a user of its own is safer",
                  NULL);
}

bool process_end_is_asked(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

const char *process_wait_for_end(int64_t tick_ms, void (*tick)(void *arg), void *arg)
{
    sigset_t signals = end_signals();
    struct timespec wait = {.tv_sec = tick_ms / 1000, .tv_nsec = tick_ms % 1000 * 1000000};
    int number;
    while ((number = sigtimedwait(&signals, NULL, tick_ms > 0 ? &wait : NULL)) < 0)
        if (errno == EAGAIN)
            tick(arg);
    return number == SIGINT ? "SIGINT" : "SIGTERM";
}
