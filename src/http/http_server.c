/* http_server.c - the server as a whole: start, drain, stop, load. */
#include "http/http_server.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_server_internal.h"

/* Out of memory ends the process, as everywhere (a null pointer deep inside evhttp would be worse); what libevent has to
 * say goes to our log. Both are for the whole process and must come before any other call of libevent. */
static void log_libevent(int severity, const char *message)
{
    if (severity >= EVENT_LOG_WARN)
        log_event(severity == EVENT_LOG_ERR ? LOG_ERROR : LOG_WARNING, "libevent", "message", message, NULL);
}

static void prepare_libevent(void)
{
    static bool is_done; /* main thread only */
    if (is_done)
        return;
    is_done = true;
    event_set_mem_functions(g_malloc, g_realloc, g_free);
    event_set_log_callback(log_libevent);
}

static void server_free(HttpServer *server)
{
    for (size_t i = 0; i < server->n_loops; i++)
        loop_done(&server->loops[i]);
    g_free(server->loops);
    g_free(server->address);
    g_free(server);
}

static void stop_loops(HttpServer *server)
{
    for (size_t i = 0; i < server->n_loops; i++)
        if (server->loops[i].thread != NULL)
            http_loop_post(&server->loops[i], &server->loops[i].stop_task);
    for (size_t i = 0; i < server->n_loops; i++)
        thread_join(server->loops[i].thread);
}

/* Each socket belongs to its loop once that was begun. */
static bool make_loops(HttpServer *server, const int *fds, GError **error)
{
    bool is_fine = true;
    for (size_t i = 0; i < server->n_loops; i++) {
        if (is_fine)
            is_fine = loop_init(&server->loops[i], server, i, fds[i], error);
        else
            close(fds[i]);
    }
    for (size_t i = 0; is_fine && i < server->n_loops; i++)
        is_fine = loop_start(&server->loops[i], error);
    return is_fine;
}

HttpServer *http_server_start(const HttpOptions *options, const Clock *clock, GError **error)
{
    g_assert(options->n_loops > 0 && options->handler != NULL && options->error_body != NULL);
    prepare_libevent();
    size_t max_connections = listen_max_connections();
    g_autofree int *fds = g_new(int, options->n_loops);
    uint16_t port;
    if (!listen_open(options->address, options->port, fds, options->n_loops, &port, error))
        return NULL;

    HttpServer *server = g_new0(HttpServer, 1);
    server->options = *options;
    server->address = g_strdup(options->address);
    server->options.address = server->address;
    if (options->max_connections == 0)
        server->options.max_connections = max_connections;
    if (options->receive_deadline_ms == 0)
        server->options.receive_deadline_ms = HTTP_RECEIVE_DEADLINE_MS;
    if (options->idle_timeout_ms == 0)
        server->options.idle_timeout_ms = HTTP_IDLE_TIMEOUT_MS;
    server->clock = clock;
    server->port = port;
    server->n_loops = server->n_listening = options->n_loops;
    server->loops = g_new0(HttpLoop, options->n_loops);
    if (!make_loops(server, fds, error)) {
        stop_loops(server);
        server_free(server);
        return NULL;
    }
    return server;
}

uint16_t http_server_port(const HttpServer *server)
{
    return server->port;
}

HttpLoop *http_server_loop(HttpServer *server, size_t i)
{
    g_assert(i < server->n_loops);
    return &server->loops[i];
}

void http_server_drain(HttpServer *server)
{
    if (server->is_drained)
        return;
    server->is_drained = true;
    for (size_t i = 0; i < server->n_loops; i++)
        http_loop_post(&server->loops[i], &server->loops[i].drain_task);
}

bool http_server_is_idle(HttpServer *server)
{
    if (server->is_drained)
        return __atomic_load_n(&server->n_listening, __ATOMIC_RELAXED) == 0 &&
               __atomic_load_n(&server->n_connections, __ATOMIC_RELAXED) == 0;
    for (size_t i = 0; i < server->n_loops; i++)
        if (__atomic_load_n(&server->loops[i].n_busy, __ATOMIC_RELAXED) > 0 ||
            __atomic_load_n(&server->loops[i].n_streams, __ATOMIC_RELAXED) > 0)
            return false;
    return true;
}

bool http_server_turns(HttpServer *server)
{
    bool do_all_turn = true;
    for (size_t i = 0; i < server->n_loops; i++) {
        HttpLoop *loop = &server->loops[i];
        if (__atomic_exchange_n(&loop->is_turn_owed, true, __ATOMIC_ACQUIRE))
            do_all_turn = false;
        else
            http_loop_post(loop, &loop->turn_task);
    }
    return do_all_turn;
}

void http_server_stop(HttpServer *server)
{
    if (server == NULL)
        return;
    stop_loops(server);
    server_free(server);
}

HttpLoad http_server_load(HttpServer *server)
{
    HttpLoad load = {.n_connections = __atomic_load_n(&server->n_connections, __ATOMIC_RELAXED)};
    for (size_t i = 0; i < server->n_loops; i++) {
        const HttpLoop *loop = &server->loops[i];
        load.n_requests += __atomic_load_n(&loop->n_requests, __ATOMIC_RELAXED);
        load.n_busy += __atomic_load_n(&loop->n_busy, __ATOMIC_RELAXED);
        load.n_streams += __atomic_load_n(&loop->n_streams, __ATOMIC_RELAXED);
        load.is_accept_paused |= __atomic_load_n(&loop->is_accept_paused, __ATOMIC_RELAXED);
    }
    return load;
}
