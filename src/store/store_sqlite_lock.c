/* store_sqlite_lock.c - one process per data directory: a lock on data_dir/flowops.lock that the kernel drops when its
 * holder dies however it dies; the file's text tells the next one who holds it. An OFD lock belongs to the open file,
 * so a second store within this process is refused too. The file stays when the lock goes: removing it would let two
 * processes hold locks on two files of one name. */
#include "store/store_sqlite_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "flowops.lock"
#define LOCK_TEXT_MAX 256

static void set_held_error(int fd, const char *data_dir, GError **error)
{
    char text[LOCK_TEXT_MAX + 1];
    ssize_t n = pread(fd, text, LOCK_TEXT_MAX, 0);
    text[n > 0 ? n : 0] = '\0';
    long pid = 0;
    char started[INSTANT_TEXT_SIZE] = "";
    int n_read = sscanf(text, "pid %ld\nstarted %31s\n", &pid, started);
    if (n_read == 2) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "data directory %s is in use by process %ld (started %s)",
                    data_dir, pid, started);
    } else { /* it holds the lock and has not written its name yet */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "data directory %s is in use by another process", data_dir);
    }
}

/* Only for people: the lock holds whether or not the text could be written (the disk may be full). */
static void write_holder(int fd, const Clock *clock)
{
    char started[INSTANT_TEXT_SIZE];
    (void)instant_format(clock_wall_ms(clock), started);
    g_autofree char *text = g_strdup_printf("pid %ld\nstarted %s\n", (long)getpid(), started);
    if (ftruncate(fd, 0) == 0) {
        ssize_t n = pwrite(fd, text, strlen(text), 0);
        (void)n;
    }
}

int lock_take(const char *data_dir, const Clock *clock, GError **error)
{
    g_autofree char *path = g_build_filename(data_dir, LOCK_NAME, NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot open %s: %s", path, g_strerror(errno));
        return -1;
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        if (errno == EAGAIN || errno == EACCES) {
            set_held_error(fd, data_dir, error);
        } else {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot lock %s: %s", path, g_strerror(errno));
        }
        close(fd);
        return -1;
    }
    write_holder(fd, clock);
    return fd;
}

void lock_release(int lock_fd)
{
    if (lock_fd >= 0) {
        (void)!ftruncate(lock_fd, 0);
        close(lock_fd); /* the lock goes with the last descriptor of this open file */
    }
}
