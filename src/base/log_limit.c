#include "base/log_limit.h"

#include <glib.h>
#include <string.h>

/* What an entry that is given up has left out is lost, with the entry of the same message that it will not be. */
static LogLimitEntry *entry_of(LogLimit *limit, int level, const char *message, int64_t now_ms)
{
    LogLimitEntry *oldest = &limit->entries[0];
    for (size_t i = 0; i < LOG_LIMIT_MESSAGES; i++) {
        LogLimitEntry *entry = &limit->entries[i];
        if (entry->message != NULL && entry->level == level && strcmp(entry->message, message) == 0)
            return entry;
        if (oldest->message != NULL && (entry->message == NULL || entry->began_ms < oldest->began_ms))
            oldest = entry;
    }
    limit->n_silent -= oldest->n_repeated > 0;
    *oldest = (LogLimitEntry){.message = message, .level = level, .began_ms = now_ms};
    return oldest;
}

static bool was_written(const LogLimitEntry *entry, uint64_t line_hash)
{
    for (size_t i = 0; i < entry->n_lines; i++)
        if (entry->lines[i] == line_hash)
            return true;
    return false;
}

static int64_t take_repeated(LogLimit *limit, LogLimitEntry *entry)
{
    int64_t n_repeated = entry->n_repeated;
    limit->n_silent -= n_repeated > 0;
    entry->n_repeated = 0;
    return n_repeated;
}

bool log_limit_take(LogLimit *limit, int level, const char *message, uint64_t line_hash, int64_t now_ms,
                    int64_t *ret_n_repeated)
{
    LogLimitEntry *entry = entry_of(limit, level, message, now_ms);
    if (now_ms - entry->began_ms >= LOG_WINDOW_MS) {
        entry->began_ms = now_ms;
        entry->n_lines = 0;
    }
    if (entry->n_lines == LOG_WINDOW_LINES || was_written(entry, line_hash)) {
        limit->n_silent += entry->n_repeated == 0;
        entry->n_repeated++;
        return false;
    }
    entry->lines[entry->n_lines++] = line_hash;
    *ret_n_repeated = take_repeated(limit, entry);
    return true;
}

bool log_limit_take_silent(LogLimit *limit, int64_t now_ms, int *ret_level, const char **ret_message,
                           int64_t *ret_n_repeated)
{
    for (size_t i = 0; limit->n_silent > 0 && i < LOG_LIMIT_MESSAGES; i++) {
        LogLimitEntry *entry = &limit->entries[i];
        if (entry->n_repeated == 0 || now_ms - entry->began_ms < LOG_WINDOW_MS)
            continue;
        *ret_level = entry->level;
        *ret_message = entry->message;
        *ret_n_repeated = take_repeated(limit, entry);
        return true;
    }
    return false;
}
