/* notify.c - see notify.h. By hand, as sd_notify(3) shows it for programs that want no dependency: libsystemd would bring
 * four more libraries into a small image, to send one datagram. */
#include "app/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

static int send_to(const char *path, const char *state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || size >= sizeof address.sun_path)
        return EINVAL;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') /* the abstract name space */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    socklen_t address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    ssize_t n = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address, address_size);
    int failed = n < 0 ? errno : 0;
    close(fd);
    return failed;
}

void notify_manager(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    if (path == NULL || *path == '\0')
        return;
    int failed = send_to(path, state);
    if (failed != 0)
        log_event(LOG_WARNING, "the service manager cannot be told", "state", state, "socket", path, "reason",
                  g_strerror(failed), NULL);
}

static int64_t number_of(const char *name)
{
    const char *text = getenv(name);
    gint64 number = 0;
    return text != NULL && g_ascii_string_to_signed(text, 10, 1, INT64_MAX, &number, NULL) ? number : 0;
}

int64_t notify_watchdog_interval_ms(void)
{
    if (getenv("WATCHDOG_PID") != NULL && number_of("WATCHDOG_PID") != getpid())
        return 0; /* it watches somebody else, who has started us */
    int64_t watchdog_us = number_of("WATCHDOG_USEC");
    return watchdog_us > 0 ? MAX(watchdog_us / 2000, 1) : 0;
}
