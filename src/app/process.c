/* process.c - see process.h. */
#include "app/process.h"

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

const char *process_wait_for_end(void)
{
    sigset_t signals = end_signals();
    int number = 0;
    while (sigwait(&signals, &number) != 0)
        ;
    return number == SIGINT ? "SIGINT" : "SIGTERM";
}
