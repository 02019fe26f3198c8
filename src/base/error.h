/* error.h - the one GError domain of the project, with its closed list of codes.
 * Thread: any. Owner: a GError belongs to whoever received it (g_autoptr(GError)).
 * Backend codes (SQLite, libevent ...) never leave the file that talks to the backend: they become one of these. */
#ifndef FLOWOPS_BASE_ERROR_H
#define FLOWOPS_BASE_ERROR_H

#include <glib.h>
#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))

typedef enum {
    FLOWOPS_INVALID,     /* the caller's input is wrong; the same call fails again */
    FLOWOPS_NOT_FOUND,   /* no such flow, run, file */
    FLOWOPS_CONFLICT,    /* another writer was first, or the state rules the request out */
    FLOWOPS_BUSY,        /* a bound was reached (queue full); nothing happened; retry later */
    FLOWOPS_TIMEOUT,     /* a deadline passed; the outcome may be unknown */
    FLOWOPS_UNAVAILABLE, /* disk, network or peer is down; nothing happened; retry later */
    FLOWOPS_UNKNOWN,     /* a write failed in a way that leaves its outcome open; retry with the same ids */
    FLOWOPS_INTERNAL,    /* our bug or a broken environment; the text is for the log, never for a client */
} FlowopsError;

#define FLOWOPS_ERROR (flowops_error_quark())
GQuark flowops_error_quark(void);

/* True when the same call may succeed later without being changed (BUSY, TIMEOUT, UNAVAILABLE, UNKNOWN). */
bool flowops_error_is_retryable(const GError *error);

#endif
