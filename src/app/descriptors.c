/* descriptors.c - see descriptors.h. The service's own are counted from above: what a thread holds while it works, and what
 * the clients of Kafka and MongoDB open for a few brokers or members. */
#include "app/descriptors.h"

#include <sys/resource.h>

#define FOR_PROCESS 24    /* standard streams, lock, a schema's change, a file read for a moment */
#define FOR_EACH_LOOP 8   /* epoll, wake-up, listener */
#define FOR_EACH_READER 4 /* a database, its write-ahead log and index */
#define N_WRITERS 2       /* the writer, and who checkpoints */
#define FOR_KAFKA 64      /* two clients with sockets and wake-ups for each of a few brokers */
#define FOR_MONGO 64      /* the pool's sockets and its monitors' */
#define CONNECTIONS_LEAST 16
#define CONNECTIONS_MOST 65536  /* each takes memory, too: a limit that is none does not count */
#define CONNECTIONS_WANTED 1000 /* hundreds of streams, and those who make calls beside them */

static size_t own_descriptors(const Config *config)
{
    size_t n = FOR_PROCESS + FOR_EACH_LOOP * (size_t)config->http_loops;
    n += FOR_EACH_READER * ((size_t)config->store_readers + N_WRITERS);
    return n + (config->kafka_broker != NULL ? FOR_KAFKA : 0) + (config->mongo_uri != NULL ? FOR_MONGO : 0);
}

/* The soft limit, after it was raised to the hard one. */
static size_t raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024; /* what a Linux process has at least when nobody says otherwise */
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

bool descriptors_reserve(const Config *config, size_t *ret_max_connections, GError **error)
{
    size_t limit = raise_limit(), own = own_descriptors(config);
    if (limit < own + CONNECTIONS_LEAST) {
        g_set_error(
            error, FLOWOPS_ERROR, FLOWOPS_INVALID,
            "the limit of open files is %zu: %zu are needed at least, %zu for %d connections (ulimit -n, LimitNOFILE=)",
            limit, own + CONNECTIONS_LEAST, own + CONNECTIONS_WANTED, CONNECTIONS_WANTED);
        return false;
    }
    size_t n = MIN(limit - own, CONNECTIONS_MOST);
    if (n < CONNECTIONS_WANTED) {
        g_autofree char *limit_text = g_strdup_printf("%zu", limit);
        g_autofree char *needed = g_strdup_printf("%zu", own + CONNECTIONS_WANTED);
        g_autofree char *connections = g_strdup_printf("%zu", n);
        log_event(LOG_WARNING, "the limit of open files is low: few connections and streams can be open at once",
                  "limit", limit_text, "connections", connections, "needed", needed, NULL);
    }
    *ret_max_connections = n;
    return true;
}

bool descriptors_reserve_for_engine(GError **error)
{
    size_t limit = raise_limit(), needed = FOR_PROCESS + FOR_KAFKA;
    if (limit >= needed)
        return true;
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                "the limit of open files is %zu: %zu are needed at least (ulimit -n, LimitNOFILE=)", limit, needed);
    return false;
}
