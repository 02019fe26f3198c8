/* http_server_loop.c - one event loop: its thread, tasks from other threads, timers, and the single timer that watches the
 * deadlines of all its connections. Each state that has a timeout keeps its connections in order of entry, so the first
 * of a list is always the next to expire. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_server_internal.h"

static _Thread_local HttpLoop *own_loop;

HttpLoop *loop_own(void)
{
    return own_loop;
}

int64_t loop_now_ms(const HttpLoop *loop)
{
    return clock_monotonic_ms(loop->server->clock);
}

static struct timeval timeval_of_ms(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* ---- tasks ---- */

void http_loop_post(HttpLoop *loop, HttpTask *task)
{
    bool was_empty;
    task->next = NULL;
    {
        MUTEX_SCOPE(&loop->mu);
        was_empty = loop->tasks == NULL;
        *loop->tasks_end = task;
        loop->tasks_end = &task->next;
    }
    if (!was_empty)
        return; /* the loop has been woken for those before */
    const uint64_t one = 1;
    ssize_t n;
    do
        n = write(loop->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    g_assert(n == sizeof one); /* an eventfd that is read as a whole never fills up */
}

static void run_tasks(HttpLoop *loop)
{
    HttpTask *task;
    {
        MUTEX_SCOPE(&loop->mu);
        task = loop->tasks;
        loop->tasks = NULL;
        loop->tasks_end = &loop->tasks;
    }
    while (task != NULL) {
        HttpTask *next = task->next; /* running may free or post it */
        task->run(task);
        task = next;
    }
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint64_t n_rings;
    /* Nothing to read (another turn took it) is fine: the list says what there is to do. */
    if (read((int)fd, &n_rings, sizeof n_rings) == sizeof n_rings)
        run_tasks(arg);
}

size_t http_loop_index(const HttpLoop *loop)
{
    return loop->index;
}

/* ---- timers ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpTimer *timer = arg;
    timer->fire(timer->arg); /* may free the timer */
}

HttpTimer *http_timer_new(HttpLoop *loop, void (*fire)(void *arg), void *arg)
{
    HttpTimer *timer = g_new0(HttpTimer, 1);
    timer->fire = fire;
    timer->arg = arg;
    evtimer_assign(&timer->event, loop->base, on_timer, timer);
    return timer;
}

void http_timer_arm(HttpTimer *timer, int64_t after_ms)
{
    struct timeval after = timeval_of_ms(MAX(after_ms, 0));
    evtimer_add(&timer->event, &after);
}

void http_timer_free(HttpTimer *timer)
{
    if (timer == NULL)
        return;
    event_del(&timer->event);
    g_free(timer);
}

/* ---- deadlines ---- */

void loop_arm_deadline(HttpLoop *loop, int64_t at_ms)
{
    if (at_ms >= loop->deadline_at_ms)
        return;
    loop->deadline_at_ms = at_ms;
    struct timeval after = timeval_of_ms(MAX(at_ms - loop_now_ms(loop), 1));
    evtimer_add(&loop->deadline_event, &after);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpLoop *loop = arg;
    int64_t now_ms = loop_now_ms(loop);
    int64_t next_ms = INT64_MAX;
    loop->deadline_at_ms = 0; /* nobody arms it meanwhile */
    for (size_t state = 0; state < N_CONN_STATES; state++) {
        HttpConnection *first;
        if (loop->timeout_ms[state] == 0)
            continue;
        while ((first = TAILQ_FIRST(&loop->connections[state])) != NULL && first->deadline_ms <= now_ms)
            connection_expired(first);
    }
    if (loop->is_accept_paused && loop->accept_retry_at_ms <= now_ms)
        accept_resume(loop);
    loop->deadline_at_ms = INT64_MAX;
    for (size_t state = 0; state < N_CONN_STATES; state++) {
        const HttpConnection *first = TAILQ_FIRST(&loop->connections[state]);
        if (loop->timeout_ms[state] != 0 && first != NULL)
            next_ms = MIN(next_ms, first->deadline_ms);
    }
    if (loop->is_accept_paused)
        next_ms = MIN(next_ms, loop->accept_retry_at_ms);
    loop_arm_deadline(loop, next_ms);
}

/* ---- the beginning and the end of connections ---- */

void loop_adopt_soon(HttpLoop *loop)
{
    event_active(&loop->adopt_event, EV_TIMEOUT, 1);
}

static void on_adopt(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpLoop *loop = arg;
    HttpConnection *conn;
    while ((conn = TAILQ_FIRST(&loop->connections[CONN_FRESH])) != NULL)
        connection_adopt(conn);
}

void loop_reap_soon(HttpLoop *loop)
{
    const struct timeval at_once = {0};
    if (!evtimer_pending(&loop->reap_event, NULL))
        evtimer_add(&loop->reap_event, &at_once);
}

/* A descriptor must not be closed before libevent has told epoll to forget it, which it does between two turns: another
 * thread may have been given the same number by then. So each connection waits here for one such moment. */
static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    HttpLoop *loop = arg;
    HttpConnection *conn;
    while ((conn = TAILQ_FIRST(&loop->connections[CONN_DYING])) != NULL)
        connection_free(conn);
    while ((conn = TAILQ_FIRST(&loop->connections[CONN_DOOMED])) != NULL)
        connection_enter(conn, CONN_DYING);
    if (!TAILQ_EMPTY(&loop->connections[CONN_DYING]))
        loop_reap_soon(loop);
    accept_resume(loop);
}

/* ---- turning, draining and stopping, on the loop ---- */

static void drain(HttpTask *task)
{
    HttpLoop *loop = (HttpLoop *)(void *)((char *)task - G_STRUCT_OFFSET(HttpLoop, drain_task));
    HttpConnection *conn;
    loop->is_draining = true;
    http_loop_post(loop, &loop->shut_task);
    loop->timeout_ms[CONN_IDLE] = HTTP_LAST_IDLE_MS;
    const HttpConnection *last = TAILQ_LAST(&loop->connections[CONN_IDLE], ConnectionList);
    do {
        conn = TAILQ_FIRST(&loop->connections[CONN_IDLE]);
        if (conn != NULL)
            connection_enter(conn, CONN_IDLE); /* its deadline is a new one */
    } while (conn != last);
    /* A callback may end its own and other streams: the list is turned once, not walked. */
    while ((conn = TAILQ_FIRST(&loop->connections[CONN_STREAM])) != NULL && !conn->stream->is_told) {
        conn->stream->is_told = true;
        connection_enter(conn, CONN_STREAM);
        conn->stream->callbacks->on_closing(conn->stream, conn->stream->arg);
    }
}

/* A turn after drain(), so that those who had connected by then are taken in and answered: closing a listening socket
 * resets whoever waits in its queue. */
static void shut(HttpTask *task)
{
    accept_stop((HttpLoop *)(void *)((char *)task - G_STRUCT_OFFSET(HttpLoop, shut_task)));
}

static void turn(HttpTask *task)
{
    HttpLoop *loop = (HttpLoop *)(void *)((char *)task - G_STRUCT_OFFSET(HttpLoop, turn_task));
    __atomic_store_n(&loop->is_turn_owed, false, __ATOMIC_RELEASE);
}

static void stop(HttpTask *task)
{
    HttpLoop *loop = (HttpLoop *)(void *)((char *)task - G_STRUCT_OFFSET(HttpLoop, stop_task));
    loop->is_stopping = true;
    event_base_loopbreak(loop->base);
}

static void close_all(HttpLoop *loop)
{
    run_tasks(loop); /* answers that came at the last moment */
    accept_stop(loop);
    on_adopt(-1, 0, loop);
    for (size_t state = 0; state < CONN_DOOMED; state++) {
        HttpConnection *conn;
        while ((conn = TAILQ_FIRST(&loop->connections[state])) != NULL)
            connection_doom(conn);
    }
    while (!TAILQ_EMPTY(&loop->connections[CONN_DOOMED]) || !TAILQ_EMPTY(&loop->connections[CONN_DYING]))
        event_base_loop(loop->base, EVLOOP_ONCE);
    /* libevent frees a bufferevent in a later turn. */
    event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void loop_main(void *arg)
{
    HttpLoop *loop = arg;
    own_loop = loop;
    while (!loop->is_stopping && event_base_dispatch(loop->base) == 0)
        ;
    if (!loop->is_stopping)
        log_event(LOG_ERROR, "an HTTP loop ended: epoll failed", NULL);
    close_all(loop);
}

/* ---- making and ending ---- */

static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    /* A loop belongs to one thread; only wake_fd crosses, which needs no lock of libevent's. The changelist folds what is
     * switched off and on again within a turn, as every request does. */
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static struct evhttp *http_new(HttpLoop *loop)
{
    struct evhttp *http = evhttp_new(loop->base);
    evhttp_set_max_headers_size(http, HTTP_MAX_HEADER_BYTES); /* held by our own scan already */
    evhttp_set_max_body_size(http, HTTP_MAX_BODY_BYTES);
    evhttp_set_allowed_methods(http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                         EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_default_content_type(http, NULL);
    evhttp_set_bevcb(http, accept_connection, loop);
    evhttp_set_gencb(http, connection_deliver, loop);
    return http;
}

static void set_timeouts(HttpLoop *loop)
{
    const HttpOptions *options = &loop->server->options;
    loop->timeout_ms[CONN_IDLE] = options->idle_timeout_ms;
    loop->timeout_ms[CONN_RECEIVING] = options->receive_deadline_ms;
    loop->timeout_ms[CONN_SENDING] = options->idle_timeout_ms;
    loop->timeout_ms[CONN_ENDING] = HTTP_CLOSING_MS;
    loop->timeout_ms[CONN_CLOSING] = HTTP_CLOSING_MS;
}

bool loop_init(HttpLoop *loop, HttpServer *server, size_t index, int listen_fd, GError **error)
{
    loop->server = server;
    loop->index = index;
    mutex_init(&loop->mu);
    loop->tasks_end = &loop->tasks;
    loop->deadline_at_ms = INT64_MAX;
    loop->accept_logged_at_ms = loop_now_ms(loop) - 24 * 3600 * 1000;
    loop->body = g_string_sized_new(512);
    loop->scratch = g_malloc(LOOP_SCRATCH_BYTES);
    loop->end_chunk = http_chunk_new(NULL, 0);
    loop->drain_task.run = drain;
    loop->shut_task.run = shut;
    loop->stop_task.run = stop;
    loop->turn_task.run = turn;
    for (size_t state = 0; state < N_CONN_STATES; state++)
        TAILQ_INIT(&loop->connections[state]);
    set_timeouts(loop);

    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->base = loop->wake_fd < 0 ? NULL : base_new();
    if (loop->base == NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot make an event loop: %s", g_strerror(errno));
        close(listen_fd);
        return false;
    }
    event_assign(&loop->wake_event, loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
    evtimer_assign(&loop->adopt_event, loop->base, on_adopt, loop);
    evtimer_assign(&loop->reap_event, loop->base, on_reap, loop);
    evtimer_assign(&loop->deadline_event, loop->base, on_deadline, loop);
    loop->http = http_new(loop);
    loop->bound = evhttp_accept_socket_with_handle(loop->http, listen_fd);
    if (loop->bound == NULL || event_add(&loop->wake_event, NULL) != 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot watch the listening socket");
        if (loop->bound == NULL)
            close(listen_fd);
        return false;
    }
    loop->listener = evhttp_bound_socket_get_listener(loop->bound);
    evconnlistener_set_error_cb(loop->listener, accept_failed);
    return true;
}

bool loop_start(HttpLoop *loop, GError **error)
{
    char name[16];
    g_snprintf(name, sizeof name, "http-%zu", loop->index);
    loop->thread = thread_start(name, ROLE_LOOP, loop_main, loop, error);
    return loop->thread != NULL;
}

void loop_done(HttpLoop *loop)
{
    if (loop->server == NULL) /* never begun */
        return;
    if (loop->http != NULL)
        evhttp_free(loop->http);
    if (loop->base != NULL) {
        event_del(&loop->wake_event);
        event_del(&loop->deadline_event);
        event_del(&loop->adopt_event);
        event_del(&loop->reap_event);
        event_base_free(loop->base);
    }
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    http_chunk_unref(loop->end_chunk);
    g_string_free(loop->body, TRUE);
    g_free(loop->scratch);
    mutex_done(&loop->mu);
}
