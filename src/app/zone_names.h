/* zone_names.h - the names of the time zones that this machine knows, for near matches of a mistyped one.
 * Thread: main. Owner: the caller, g_strfreev(). */
#ifndef FLOWOPS_APP_ZONE_NAMES_H
#define FLOWOPS_APP_ZONE_NAMES_H

/* Names below $TZDIR, or where GLib looks without it; NULL-terminated. Empty, with a line in the log, when there are no zone
 * files: then schedules have UTC alone. */
char **zone_names_read(void);

#endif
