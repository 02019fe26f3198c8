/* body.h - what a request's body has to be before anyone looks into it. Thread: any. */
#ifndef FLOWOPS_HTTP_BODY_H
#define FLOWOPS_HTTP_BODY_H

#include <stdbool.h>

#include "base/json.h"

/* Deep enough that a flow with too many levels is a validation error, not unreadable JSON: a level of steps nests four
 * levels of JSON at most. */
#define BODY_MAX_DEPTH 1024

/* application/json, alone or with charset=utf-8; other parameters are ignored (RFC 8259, 11). NULL: false. */
bool content_type_is_json(const char *content_type);

/* Hex SHA-256 of the value's canonical text; NULL (no body, or null) counts as {}. Equal for equal values. */
char *body_digest(const JsonValue *body);

#endif
