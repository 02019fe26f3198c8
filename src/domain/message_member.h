/* message_member.h - typed members of a JSON object; what is wrong is said in words fit for a dead letter.
 * Thread: any. Texts and values handed out are borrowed from the object. Absent and null are the same. */
#ifndef FLOWOPS_DOMAIN_MESSAGE_MEMBER_H
#define FLOWOPS_DOMAIN_MESSAGE_MEMBER_H

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"

typedef enum { MEMBER_OPTIONAL, MEMBER_REQUIRED } MemberNeed;

/* Parses a text that must be an object. */
MUST_CHECK JsonValue *member_parse_object(const char *json, size_t size, int max_depth, GError **error);

/* INVALID: missing, or another type. An optional member that is absent leaves *ret untouched. */
MUST_CHECK bool member_get(const JsonValue *object, const char *name, JsonType type, MemberNeed need,
                           const JsonValue **ret_value, GError **error);
MUST_CHECK bool member_get_text(const JsonValue *object, const char *name, MemberNeed need, const char **ret_text,
                                GError **error);
MUST_CHECK bool member_get_int(const JsonValue *object, const char *name, MemberNeed need, int64_t min, int64_t max,
                               int64_t *ret_int, GError **error);
/* A UUID in either case. */
MUST_CHECK bool member_get_id(const JsonValue *object, const char *name, MemberNeed need, Id *ret_id, GError **error);
/* ISO-8601 text, or a number of epoch seconds; cut to milliseconds (towards the past), exact however it is written. */
MUST_CHECK bool member_get_instant(const JsonValue *object, const char *name, MemberNeed need, int64_t *ret_ms,
                                   GError **error);
/* The index of a name among `names`; absent is the one that is NULL. False: none of them. */
MUST_CHECK bool member_find_name(const JsonValue *object, const char *name, const char *const *names, size_t n_names,
                                 size_t *ret_index);
/* "unknown <name> "<text>"", the text cut to what a header should carry. */
void member_set_unknown(const char *name, const char *text, GError **error);

/* The first max_bytes of a text, cut at a character. NULL for NULL. */
char *text_head(const char *text, size_t max_bytes);

#endif
