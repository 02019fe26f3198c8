/* clock.h - wall and monotonic time, injectable so that tests own it; instants as text.
 * Thread: any. Owner: whoever made the Clock; everyone else borrows it. An instant is int64 milliseconds since
 * 1970-01-01T00:00:00Z; INSTANT_NONE stands for "no value" (JSON null). */
#ifndef FLOWOPS_BASE_CLOCK_H
#define FLOWOPS_BASE_CLOCK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define INSTANT_NONE INT64_MIN
#define INSTANT_TEXT_SIZE 32 /* "2026-01-31T09:00:00.123Z" and its NUL fit; years 0000-9999 only */

typedef struct Clock Clock;

Clock *clock_new_system(void);
Clock *clock_new_fake(int64_t wall_ms); /* monotonic starts at 0 */
void clock_free(Clock *clock);
void clock_fake_advance(Clock *clock, int64_t by_ms); /* moves wall and monotonic; any thread */
void clock_fake_set_wall(Clock *clock,
                         int64_t by_ms); /* moves the wall alone, either way, as who sets a clock; any thread */

int64_t clock_wall_ms(const Clock *clock);
int64_t clock_monotonic_ms(const Clock *clock);
int64_t clock_monotonic_us(const Clock *clock);
/* One of the kernel's clocks, for what has no Clock to ask: the log, the process's own figures. */
int64_t clock_read_ms(clockid_t id);

/* Writes "YYYY-MM-DDTHH:MM:SS.mmmZ" and returns its length (24). `ms` must lie in years 0000-9999. */
size_t instant_format(int64_t ms, char ret_text[INSTANT_TEXT_SIZE]);

/* ISO 8601 / RFC 3339 with "Z" or a numeric offset, seconds fraction of 0-9+ digits cut to milliseconds.
 * Years 0000-9999, a leap second 60 is read as 59.999. False when the text is anything else. */
bool instant_parse(const char *text, int64_t *ret_ms);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Clock, clock_free)

#endif
