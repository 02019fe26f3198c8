/* cursor.h - a place in a list as opaque text, signed, so that only what this service gave out is taken back, from the
 * same user and for the same kind of list.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_CURSOR_H
#define FLOWOPS_HTTP_CURSOR_H

#include "service/service.h"

#define CURSOR_SECRET_SIZE 32

/* Of decisions the position is n, as created_at, and the flow. */
typedef enum { CURSOR_FLOWS = 1, CURSOR_RUNS = 2, CURSOR_DECISIONS = 3, CURSOR_BACKFILLS = 4 } CursorList;

/* base64url text (RFC 4648, 5), to be freed. */
char *cursor_encode(const unsigned char secret[CURSOR_SECRET_SIZE], CursorList list, const Id *owner,
                    const ListPosition *position);
/* False: not ours, somebody else's, another list's. */
bool cursor_decode(const unsigned char secret[CURSOR_SECRET_SIZE], CursorList list, const Id *owner, const char *text,
                   ListPosition *ret_position);

#endif
