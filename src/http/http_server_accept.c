/* http_server_accept.c - new connections, and what happens when there are too many. A server out of descriptors must
 * neither spin on accept() nor stay shut: accepting pauses, the longest idle connections make room, and the listener is
 * tried again when a connection ends or a moment has passed. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "http/http_server_internal.h"

#define RETRY_MS 200
#define LOG_EVERY_MS 60000
#define EVICT_AFTER_MS 1000 /* an idle connection younger than this may be about to send */

static void accept_pause(HttpLoop *loop, const char *why)
{
    if (loop->listener == NULL || loop->is_accept_paused)
        return;
    evconnlistener_disable(loop->listener);
    __atomic_store_n(&loop->is_accept_paused, true, __ATOMIC_RELAXED);
    int64_t now_ms = loop_now_ms(loop);
    loop->accept_retry_at_ms = now_ms + RETRY_MS;
    loop_arm_deadline(loop, loop->accept_retry_at_ms);
    if (now_ms - loop->accept_logged_at_ms >= LOG_EVERY_MS) {
        loop->accept_logged_at_ms = now_ms;
        log_event(LOG_WARNING, "accepting connections is paused until some close", "reason", why, NULL);
    }
}

/* Ends the connection that has been idle for longest, when that is long enough. */
static bool evict_idle(HttpLoop *loop)
{
    HttpConnection *oldest = TAILQ_FIRST(&loop->connections[CONN_IDLE]);
    if (oldest == NULL)
        return false;
    int64_t idle_since_ms = oldest->deadline_ms - loop->timeout_ms[CONN_IDLE];
    if (loop_now_ms(loop) - idle_since_ms < EVICT_AFTER_MS)
        return false;
    connection_doom(oldest);
    return true;
}

struct bufferevent *accept_connection(struct event_base *base, void *arg)
{
    HttpLoop *loop = arg;
    HttpConnection *conn = g_new0(HttpConnection, 1);
    conn->loop = loop;
    conn->bev = bufferevent_socket_new(base, -1, 0);
    conn->state = CONN_FRESH;
    TAILQ_INSERT_TAIL(&loop->connections[CONN_FRESH], conn, entry);
    loop_adopt_soon(loop);
    size_t n = __atomic_add_fetch(&loop->server->n_connections, 1, __ATOMIC_RELAXED);
    if (n >= loop->server->options.max_connections && !evict_idle(loop))
        accept_pause(loop, "the limit of connections is reached");
    return conn->bev;
}

void accept_failed(struct evconnlistener *listener, void *http)
{
    int failed = errno;
    (void)listener;
    (void)http; /* evhttp has made itself the listener's argument */
    HttpLoop *loop = loop_own();
    /* What concerns one connection alone (reset before it was accepted, refused by a firewall) passes. */
    if (failed != EMFILE && failed != ENFILE && failed != ENOBUFS && failed != ENOMEM)
        return;
    (void)evict_idle(loop);
    accept_pause(loop, g_strerror(failed));
}

void accept_resume(HttpLoop *loop)
{
    if (!loop->is_accept_paused || loop->listener == NULL)
        return;
    size_t n = __atomic_load_n(&loop->server->n_connections, __ATOMIC_RELAXED);
    if (n >= loop->server->options.max_connections && !evict_idle(loop)) {
        loop->accept_retry_at_ms = loop_now_ms(loop) + RETRY_MS;
        loop_arm_deadline(loop, loop->accept_retry_at_ms);
        return;
    }
    __atomic_store_n(&loop->is_accept_paused, false, __ATOMIC_RELAXED);
    evconnlistener_enable(loop->listener);
}

void accept_stop(HttpLoop *loop)
{
    if (loop->listener == NULL)
        return;
    struct evhttp_bound_socket *bound = loop->bound;
    loop->bound = NULL;
    loop->listener = NULL;
    evhttp_del_accept_socket(loop->http, bound); /* closes the socket: the port is free for a successor */
    __atomic_sub_fetch(&loop->server->n_listening, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&loop->is_accept_paused, false, __ATOMIC_RELAXED);
}
