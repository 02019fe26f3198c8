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

/* Names and values alternate and end with NULL: log_event(LOG_INFO, "run started", "runId", id, NULL).
 * A NULL value is written as null (text: left out), so optional values go last or through log_event's twin below. */
void log_event(LogLevel level, const char *message, ...) __attribute__((sentinel));

/* The same with the error's text under "error". */
void log_error(LogLevel level, const char *message, const GError *error, ...) __attribute__((sentinel));

#endif
