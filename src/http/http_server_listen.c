/* http_server_listen.c - the listening sockets. Loops share a port by SO_REUSEPORT, which would let a second process of the
 * same user share it too. So the first socket claims the port without it (its listen() fails when anybody listens
 * there, however they share) and joins the group afterwards: at no moment can two servers both believe the port theirs. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "http/http_server_internal.h"

#define BACKLOG 4096
#define RESERVED_DESCRIPTORS 128 /* for the store, logs, plugins */

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Address;

static bool address_parse(const char *text, uint16_t port, Address *ret_address, socklen_t *ret_size)
{
    Address address;
    memset(&address, 0, sizeof address);
    if (inet_pton(AF_INET, text, &address.v4.sin_addr) == 1) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        *ret_size = sizeof address.v4;
    } else if (inet_pton(AF_INET6, text, &address.v6.sin6_addr) == 1) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        *ret_size = sizeof address.v6;
    } else {
        return false;
    }
    *ret_address = address;
    return true;
}

/* Options that accepted sockets inherit, so that none costs a call for each connection. */
static bool set_options(int fd, bool is_shared)
{
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           (!is_shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0);
}

/* -1 with errno. */
static int open_one(const Address *address, socklen_t size, bool is_shared)
{
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const int on = 1;
    if (set_options(fd, is_shared) && bind(fd, &address->any, size) == 0 && listen(fd, BACKLOG) == 0 &&
        (is_shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0))
        return fd;
    int failed = errno;
    close(fd);
    errno = failed;
    return -1;
}

static void set_listen_error(GError **error, int failed, const char *address, uint16_t port)
{
    if (failed == EADDRINUSE)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "port %u on %s is taken by another program", port, address);
    else
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot listen on port %u of %s: %s", port, address,
                    g_strerror(failed));
}

bool listen_open(const char *address_text, uint16_t port, int *ret_fds, size_t n, uint16_t *ret_port, GError **error)
{
    Address address;
    socklen_t size = 0;
    if (!address_parse(address_text, port, &address, &size)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "%s is no numeric IPv4 or IPv6 address", address_text);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int fd = open_one(&address, size, i > 0);
        /* The port that the first one got is everybody's. */
        if (fd < 0 || (i == 0 && getsockname(fd, &address.any, &size) != 0)) {
            set_listen_error(error, errno, address_text, port);
            if (fd >= 0)
                close(fd);
            while (i-- > 0)
                close(ret_fds[i]);
            return false;
        }
        ret_fds[i] = fd;
    }
    *ret_port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
    return true;
}

size_t listen_max_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 512;
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            limit = raised;
    }
    return limit.rlim_cur > 2 * RESERVED_DESCRIPTORS ? limit.rlim_cur - RESERVED_DESCRIPTORS : limit.rlim_cur / 2;
}
