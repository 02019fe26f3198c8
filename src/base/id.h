/* id.h - UUIDs: made (RFC 9562 5.7, version 7), derived (5.8, version 8 of SHA-256), checked.
 * Thread: any (the generator keeps its state per thread). Ids are NUL-terminated canonical lower-case text. */
#ifndef FLOWOPS_BASE_ID_H
#define FLOWOPS_BASE_ID_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_TEXT_SIZE 37 /* 36 characters and NUL */

typedef struct {
    char text[ID_TEXT_SIZE];
} Id;

/* A new version 7 UUID: 48 bits of wall milliseconds, then a counter within the thread's millisecond, then random
 * bits from the kernel (buffered). Ids of one thread are strictly increasing. */
Id id_make(int64_t wall_ms);

/* Version 8 of SHA-256 over the parts joined by NUL; the same parts give the same id on every machine. */
Id id_derive(const char *const *parts, size_t n_parts);

/* True for canonical lower-case text exactly (8-4-4-4-12), any version. */
bool id_is_valid(const char *text);

/* Copies a UUID in either case to canonical lower case; false (ret untouched) when `text` is none. */
bool id_parse(const char *text, Id *ret_id);

#endif
