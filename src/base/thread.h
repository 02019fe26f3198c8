/* thread.h - named pthreads with a role that code can assert, a mutex with scoped locking, and a one-shot event.
 * Thread: any. GLib's threads and locks are not used: ThreadSanitizer cannot see into them. */
#ifndef FLOWOPS_BASE_THREAD_H
#define FLOWOPS_BASE_THREAD_H

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/error.h"

/* What a thread is for; docs/threads.md lists what each owns and may block on. */
typedef enum {
    ROLE_MAIN, /* every thread not started by thread_start(): main, and tests */
    ROLE_LOOP, /* HTTP event loop: never blocks */
    ROLE_WRITER,
    ROLE_READER,
    ROLE_BUS, /* intake and relay */
    ROLE_ENGINE,
} ThreadRole;

typedef struct Thread Thread;
typedef void (*ThreadMain)(void *arg);

/* name: at most 15 characters, shown by ps -T and gdb. All signals are blocked in the new thread. */
MUST_CHECK Thread *thread_start(const char *name, ThreadRole role, ThreadMain thread_main, void *arg, GError **error);
void thread_join(Thread *thread); /* waits, then frees; NULL is fine */
/* Instead of a join: it may run until the process ends. The Thread stays, for the caller to keep. */
void thread_leave(Thread *thread);

ThreadRole thread_role(void);

/* Fails (our bug) when called on a thread of this role; ROLE_MAIN may do what tests need. */
#define THREAD_ASSERT_NOT(role) g_assert(thread_role() != (role))

typedef pthread_mutex_t Mutex;
void mutex_init(Mutex *mutex);
void mutex_done(Mutex *mutex);

/* Locks for the rest of the enclosing block. */
static inline Mutex *mutex_lock_scoped(Mutex *mutex)
{
    pthread_mutex_lock(mutex);
    return mutex;
}
static inline void mutex_unlock_scoped(Mutex **mutex)
{
    pthread_mutex_unlock(*mutex);
}
#define MUTEX_SCOPE(mutex) \
    __attribute__((cleanup(mutex_unlock_scoped), unused)) Mutex *G_PASTE(scope_, __LINE__) = mutex_lock_scoped(mutex)

/* A bell that wakes one waiting thread; rings before a wait are remembered (as one). */
typedef struct {
    Mutex mu;
    pthread_cond_t cond; /* CLOCK_MONOTONIC */
    bool is_rung;        /* guarded by mu */
    bool is_closed;      /* guarded by mu */
} Bell;
void bell_init(Bell *bell);
void bell_done(Bell *bell);
void bell_ring(Bell *bell);
void bell_close(Bell *bell);
/* Waits until rung, closed or timeout_ms (< 0: for ever) passed, and forgets the ring. False once closed. */
bool bell_wait(Bell *bell, int64_t timeout_ms);

#endif
