/* bench_streams PORT RUN_ID N: opens N streams of one run, says "open" when each has its snapshot; for each line on its
 * standard input, "FRAMES PATH", it posts that path (a command of the run that makes so many frames) and says how long it
 * took until every stream had the last of them. Ends with its input. One thread, epoll. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define LIMIT_MS 30000

static int epoll_fd;
static struct sockaddr_in address = {.sin_family = AF_INET};
static int *n_frames; /* of each descriptor: "\nid:" seen */
static char *tails;   /* of each descriptor: the last 3 bytes, for a mark cut in two */

static void die(const char *what)
{
    fprintf(stderr, "bench_streams: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_connection(const char *request)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        die("connect");
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (write(fd, request, strlen(request)) != (ssize_t)strlen(request))
        die("write");
    return fd;
}

/* Counts the frames in what has come; true when this was the first of a new round for the descriptor. */
static int count_frames(int fd)
{
    char buffer[65536 + 3];
    memcpy(buffer, tails + 3 * fd, 3);
    ssize_t n = recv(fd, buffer + 3, 65536, MSG_DONTWAIT);
    if (n <= 0) {
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        die("a stream ended");
    }
    int n_found = 0;
    char *end = buffer + 3 + n;
    for (char *at = buffer; (at = memmem(at, (size_t)(end - at), "id: ", 4)) != NULL; at += 4)
        n_found++;
    memcpy(tails + 3 * fd, end - 3, 3);
    n_frames[fd] += n_found;
    return n_found;
}

/* Waits until every stream has `round` frames. Returns how many streams had them when the limit passed. */
static int wait_round(const Clock *clock, int n_streams, int round, int *n_there)
{
    struct epoll_event events[512];
    int64_t deadline_ms = clock_monotonic_ms(clock) + LIMIT_MS;
    while (*n_there < n_streams && clock_monotonic_ms(clock) < deadline_ms) {
        int n = epoll_wait(epoll_fd, events, 512, 100);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, before = n_frames[fd];
            if (count_frames(fd) > 0 && before < round && n_frames[fd] >= round)
                (*n_there)++;
        }
    }
    return *n_there;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: bench_streams PORT RUN_ID N\n");
        return 2;
    }
    int n_streams = atoi(argv[3]);
    struct rlimit limit = {(rlim_t)n_streams + 200, (rlim_t)n_streams + 200};
    setrlimit(RLIMIT_NOFILE, &limit);
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    n_frames = g_new0(int, n_streams + 300);
    tails = g_new0(char, 3 * (n_streams + 300));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    g_autoptr(Clock) clock = clock_new_system();
    g_autofree char *request =
        g_strdup_printf("GET /api/executions/stream/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
    for (int i = 0; i < n_streams; i++) {
        int fd = open_connection(request);
        if (fd >= n_streams + 200)
            die("too many descriptors");
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
    int round = 1, n_there = 0;
    if (wait_round(clock, n_streams, round, &n_there) < n_streams)
        die("not every stream opened");
    printf("open\n");
    fflush(stdout);

    char path[512];
    while (fgets(path, sizeof path, stdin) != NULL) {
        path[strcspn(path, "\n")] = '\0';
        char *after_count;
        long n_frames_of_command = strtol(path, &after_count, 10);
        g_autofree char *post = g_strdup_printf(
            "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", after_count + 1);
        round += (int)n_frames_of_command;
        n_there = 0;
        int64_t start_us = clock_monotonic_us(clock);
        int fd = open_connection(post);
        wait_round(clock, n_streams, round, &n_there);
        printf("{\"reached\": %d, \"ms\": %.1f}\n", n_there, (double)(clock_monotonic_us(clock) - start_us) / 1e3);
        fflush(stdout);
        close(fd);
    }
    return 0;
}
