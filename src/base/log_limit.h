/* log_limit.h - which of the lines that repeat are written: within a window of LOG_WINDOW_MS each message is written for at
 * most LOG_WINDOW_LINES different lines, the rest is counted and told with a later line. Memory is fixed.
 * Thread: the caller locks. Owner: the caller; a LogLimit of zeros is an empty one. */
#ifndef FLOWOPS_BASE_LOG_LIMIT_H
#define FLOWOPS_BASE_LOG_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_WINDOW_MS 10000
#define LOG_WINDOW_LINES 16 /* protects the disk from a fault that hits every run at once; a few runs are all named */
#define LOG_LIMIT_MESSAGES 128 /* remembered at once; with more the one whose window began first is forgotten */

typedef struct {
    const char *message; /* static text; NULL: free */
    int level;
    int64_t began_ms;   /* the window; monotonic */
    int64_t n_repeated; /* left out and not told of yet */
    size_t n_lines;
    uint64_t lines[LOG_WINDOW_LINES]; /* hashes of what was written in the window */
} LogLimitEntry;

typedef struct {
    LogLimitEntry entries[LOG_LIMIT_MESSAGES];
    size_t n_silent; /* entries with n_repeated > 0 */
} LogLimit;

/* Whether to write this line now; line_hash is over all its values. True: *ret_n_repeated lines of this message were left
 * out before it and have not been told of. `message` is static text. */
bool log_limit_take(LogLimit *limit, int level, const char *message, uint64_t line_hash, int64_t now_ms,
                    int64_t *ret_n_repeated);

/* A message whose window is over and that left lines out, which are told of now; call until it gives false. */
bool log_limit_take_silent(LogLimit *limit, int64_t now_ms, int *ret_level, const char **ret_message,
                           int64_t *ret_n_repeated);

#endif
