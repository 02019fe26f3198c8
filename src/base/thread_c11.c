/* thread_c11.c - C11 threads by way of pthreads; in ThreadSanitizer builds alone. Libraries that use the C library's own
 * (librdkafka does) would have threads that the sanitizer has never heard of, and it crashes on those; so their calls find
 * these functions instead, whose pthreads it knows. As in glibc the types are pthreads' by other names and the same size.
 * Thread: any. */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) >= sizeof(pthread_mutex_t), "a mutex fits");
_Static_assert(sizeof(cnd_t) >= sizeof(pthread_cond_t), "a condition fits");
_Static_assert(sizeof(thrd_t) == sizeof(pthread_t), "a thread is a thread");

/* Librdkafka counts references with atomics that the sanitizer, for want of its source, does not see: what the library
 * frees after another thread's last look seems to be raced for. So nothing that has the library on its stack is reported;
 * callbacks, which do, should do little. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka.so\n";
}

typedef struct {
    thrd_start_t func;
    void *arg;
} Start;

static void *run(void *arg)
{
    g_autofree Start *start = arg;
    return GINT_TO_POINTER(start->func(start->arg));
}

static int result_of(int error)
{
    switch (error) {
    case 0:
        return thrd_success;
    case ETIMEDOUT:
        return thrd_timedout;
    case EBUSY:
        return thrd_busy;
    case ENOMEM:
        return thrd_nomem;
    default:
        return thrd_error;
    }
}

int thrd_create(thrd_t *thread, thrd_start_t func, void *arg)
{
    Start *start = g_new(Start, 1);
    *start = (Start){func, arg};
    int error = pthread_create((pthread_t *)thread, NULL, run, start);
    if (error != 0)
        g_free(start);
    return result_of(error);
}

int thrd_join(thrd_t thread, int *ret_result)
{
    void *result = NULL;
    int error = pthread_join((pthread_t)thread, &result);
    if (error == 0 && ret_result != NULL)
        *ret_result = GPOINTER_TO_INT(result);
    return result_of(error);
}

/* As librdkafka makes them: plain. */
int mtx_init(mtx_t *mutex, int type)
{
    g_assert(type == mtx_plain);
    return result_of(pthread_mutex_init((pthread_mutex_t *)mutex, NULL));
}

int mtx_lock(mtx_t *mutex)
{
    return result_of(pthread_mutex_lock((pthread_mutex_t *)mutex));
}

int mtx_trylock(mtx_t *mutex)
{
    return result_of(pthread_mutex_trylock((pthread_mutex_t *)mutex));
}

int mtx_unlock(mtx_t *mutex)
{
    return result_of(pthread_mutex_unlock((pthread_mutex_t *)mutex));
}

void mtx_destroy(mtx_t *mutex)
{
    pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int cnd_init(cnd_t *cond)
{
    return result_of(pthread_cond_init((pthread_cond_t *)cond, NULL));
}

int cnd_signal(cnd_t *cond)
{
    return result_of(pthread_cond_signal((pthread_cond_t *)cond));
}

int cnd_broadcast(cnd_t *cond)
{
    return result_of(pthread_cond_broadcast((pthread_cond_t *)cond));
}

int cnd_wait(cnd_t *cond, mtx_t *mutex)
{
    return result_of(pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex));
}

int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until)
{
    return result_of(pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until));
}

void cnd_destroy(cnd_t *cond)
{
    pthread_cond_destroy((pthread_cond_t *)cond);
}
