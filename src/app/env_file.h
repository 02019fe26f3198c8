/* env_file.h - a file of NAME=value lines, in the part of Compose's syntax that means the same to every reader. One line is
 * one of:
 *   nothing, or # and a comment
 *   [export ]NAME=value       up to the line's end or to a # after a space; spaces around it are not part of it
 *   [export ]NAME='value'     as it is; no ' inside
 *   [export ]NAME="value"     with \n \r \t \\ \" \$
 * Compose fills in variables at a $ outside of single quotes, this reader does not: there a $ is a fault, as is what Compose
 * reads and this does not (a value of several lines, a name without =).
 * Thread: any. */
#ifndef FLOWOPS_APP_ENV_FILE_H
#define FLOWOPS_APP_ENV_FILE_H

#include "base/error.h"

#define ENV_FILE_MAX_BYTES (64 * 1024)

/* The whole file. INVALID when it is too large; UNAVAILABLE when it cannot be read. */
MUST_CHECK bool env_file_read(const char *path, GString **ret_text, GError **error);

typedef void (*EnvFileFunc)(const char *name, const char *value, unsigned line, void *arg);

/* Calls func for every line that sets something, in order. A line that is none of the above adds "PATH:LINE: what" to faults
 * (of char *), which never repeats a value. */
void env_file_parse(const GString *text, const char *path, EnvFileFunc func, void *arg, GPtrArray *faults);

#endif
