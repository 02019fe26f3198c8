/* etag.h - entity tags (RFC 9110, 8.8.3 and 13.1). Ours are a version or a seq in quotes, always strong.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_ETAG_H
#define FLOWOPS_HTTP_ETAG_H

#include "service/service.h"

#define ETAG_TEXT_SIZE 24 /* two quotes, 20 digits, NUL */
#define ETAG_LIST_MAX 64  /* tags of one header; more is INVALID */

void etag_format(int64_t tag, char ret_text[ETAG_TEXT_SIZE]);

/* A list of tags or `*`. Strong comparison: weak tags are skipped, as are tags that can't be ours. `header` NULL gives a
 * precondition that is not set. INVALID: not a list of tags. Free ret->tags with g_free(). */
MUST_CHECK bool etag_parse_if_match(const char *header, Precondition *ret, GError **error);
bool precondition_allows(const Precondition *precondition, int64_t tag);

/* If-None-Match, weak comparison (W/"5" matches "5"). *ret_matches: true means 304. */
MUST_CHECK bool etag_parse_if_none_match(const char *header, int64_t tag, bool *ret_matches, GError **error);

#endif
