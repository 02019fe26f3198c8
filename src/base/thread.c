/* thread.c - pthreads with a name and a role, and the bell. Locks here fail only when misused, which is our bug, so
 * their results are asserted instead of returned. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/thread_internal.h"

#define NAME_MAX_CHARS 15 /* the kernel's limit */

struct Thread {
    pthread_t handle;
    char name[NAME_MAX_CHARS + 1];
    ThreadRole role;
    ThreadMain thread_main;
    void *arg;
};

static _Thread_local ThreadRole own_role = ROLE_MAIN;

static void *thread_enter(void *arg)
{
    const Thread *thread = arg;
    own_role = thread->role;
    pthread_setname_np(pthread_self(), thread->name); /* cannot fail for a name this short; and it is only a name */
    thread->thread_main(thread->arg);
    return NULL;
}

/* Everything but the faults a thread causes itself: those cannot wait, and sanitizers report them from a handler. */
static void block_signals(sigset_t *ret_before)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < G_N_ELEMENTS(faults); i++)
        sigdelset(&blocked, faults[i]);
    int failed = pthread_sigmask(SIG_SETMASK, &blocked, ret_before);
    g_assert(failed == 0);
}

/* GLib makes its table of error domains when the first error is made, in a way that ThreadSanitizer cannot see into: that
 * happens here, before there is a second thread. */
static void make_first_error(void)
{
    g_error_free(g_error_new_literal(FLOWOPS_ERROR, FLOWOPS_INTERNAL, ""));
}

Thread *thread_start(const char *name, ThreadRole role, ThreadMain thread_main, void *arg, GError **error)
{
    size_t name_size = strlen(name);
    g_assert(name_size > 0 && name_size <= NAME_MAX_CHARS);
    make_first_error();
    Thread *thread = g_new0(Thread, 1);
    memcpy(thread->name, name, name_size + 1);
    thread->role = role;
    thread->thread_main = thread_main;
    thread->arg = arg;

    /* The new thread inherits the mask, so there is no moment in which a signal could run on it. */
    sigset_t before;
    block_signals(&before);
    int failed = pthread_create(&thread->handle, NULL, thread_enter, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot start thread %s: %s", name, g_strerror(failed));
        g_free(thread);
        return NULL;
    }
    return thread;
}

void thread_join(Thread *thread)
{
    if (thread == NULL)
        return;
    int failed = pthread_join(thread->handle, NULL);
    g_assert(failed == 0);
    g_free(thread);
}

void thread_leave(Thread *thread)
{
    int failed = pthread_detach(thread->handle);
    g_assert(failed == 0);
}

ThreadRole thread_role(void)
{
    return own_role;
}

void mutex_init(Mutex *mutex)
{
    int failed = pthread_mutex_init(mutex, NULL);
    g_assert(failed == 0);
}

void mutex_done(Mutex *mutex)
{
    int failed = pthread_mutex_destroy(mutex);
    g_assert(failed == 0); /* still locked: our bug */
}

void cond_init_monotonic(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int failed = pthread_condattr_init(&attributes);
    g_assert(failed == 0);
    failed = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    g_assert(failed == 0);
    failed = pthread_cond_init(cond, &attributes);
    g_assert(failed == 0);
    pthread_condattr_destroy(&attributes);
}

Deadline deadline_after_ms(int64_t timeout_ms)
{
    if (timeout_ms < 0)
        return (Deadline){.is_never = true};
    struct timespec now;
    int failed = clock_gettime(CLOCK_MONOTONIC, &now);
    g_assert(failed == 0);
    int64_t ns = now.tv_nsec + timeout_ms % 1000 * 1000000;
    time_t seconds = timeout_ms / 1000 + ns / 1000000000;
    /* A timeout so long that the sum overflows is as good as none. */
    if (__builtin_add_overflow(now.tv_sec, seconds, &now.tv_sec))
        return (Deadline){.is_never = true};
    now.tv_nsec = ns % 1000000000;
    return (Deadline){.at = now};
}

bool cond_wait_until(pthread_cond_t *cond, Mutex *mu, const Deadline *deadline)
{
    int result = deadline->is_never ? pthread_cond_wait(cond, mu) : pthread_cond_timedwait(cond, mu, &deadline->at);
    g_assert(result == 0 || result == ETIMEDOUT);
    return result == 0;
}

void bell_init(Bell *bell)
{
    mutex_init(&bell->mu);
    cond_init_monotonic(&bell->cond);
    bell->is_rung = false;
    bell->is_closed = false;
}

void bell_done(Bell *bell)
{
    pthread_cond_destroy(&bell->cond);
    mutex_done(&bell->mu);
}

void bell_ring(Bell *bell)
{
    MUTEX_SCOPE(&bell->mu);
    bell->is_rung = true;
    pthread_cond_signal(&bell->cond);
}

void bell_close(Bell *bell)
{
    MUTEX_SCOPE(&bell->mu);
    bell->is_closed = true;
    pthread_cond_broadcast(&bell->cond);
}

bool bell_wait(Bell *bell, int64_t timeout_ms)
{
    Deadline deadline = deadline_after_ms(timeout_ms);
    MUTEX_SCOPE(&bell->mu);
    bool is_in_time = timeout_ms != 0;
    while (!bell->is_rung && !bell->is_closed && is_in_time)
        is_in_time = cond_wait_until(&bell->cond, &bell->mu, &deadline);
    bell->is_rung = false;
    return !bell->is_closed;
}
