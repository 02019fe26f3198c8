/* log.h - one line per event on stderr: readable text on a terminal, JSON otherwise.
 * Thread: any; a line is one write(2). Values are escaped, so nothing a client sends can forge a line.
 * Lower layers return errors; only service, http and app log, once, with the run id. */
#ifndef FLOWOPS_BASE_LOG_H
#define FLOWOPS_BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR } LogLevel;
typedef enum { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON } LogFormat;

/* Call once before threads start. Lines below `level` are dropped. */
void log_init(LogLevel level, LogFormat format);
bool log_level_parse(const char *text, LogLevel *ret_level);
/* Lines are for people, not for programs. */
bool log_is_text(void);
/* For what would be costly to put together in vain. */
bool log_is_on(LogLevel level);

/* What repeats is held back (base/log_limit.h): the same line is written once in 10 s, a message for at most 16 different
 * lines. A later line of the message says under "repeated" how many were left out. Debug lines are all written.
 * `message` is static text. Names and values alternate and end with NULL: log_event(LOG_INFO, "run started", "runId", id, NULL).
 * A NULL value is written as null (text: left out), so optional values go last or through log_event's twin below. */
void log_event(LogLevel level, const char *message, ...) __attribute__((sentinel));

/* The same with the error's text under "error". */
void log_error(LogLevel level, const char *message, const GError *error, ...) __attribute__((sentinel));

/* Writes how often what is not said any more was left out; called by whoever logs,
 * and every few seconds, so that a silence is not taken for an end. */
void log_tell_repeated(void);

#endif
