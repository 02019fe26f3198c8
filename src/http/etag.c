/* etag.c - reads lists of entity tags without allocating for those that are not ours. */
#include "http/etag.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void etag_format(int64_t tag, char ret_text[ETAG_TEXT_SIZE])
{
    snprintf(ret_text, ETAG_TEXT_SIZE, "\"%" PRId64 "\"", tag);
}

/* The number between the quotes when it is written as ours are: no sign, no leading zero. */
static bool opaque_is_ours(const char *opaque, size_t size, int64_t *ret_tag)
{
    if (size == 0 || size > 19 || opaque[0] == '0')
        return false;
    uint64_t tag = 0;
    for (size_t i = 0; i < size; i++) {
        if (!g_ascii_isdigit(opaque[i]))
            return false;
        tag = tag * 10 + (uint64_t)(opaque[i] - '0');
    }
    if (tag > INT64_MAX)
        return false;
    *ret_tag = (int64_t)tag;
    return true;
}

static const char *skip_space(const char *p)
{
    return p + strspn(p, " \t");
}

typedef struct {
    bool is_weak;
    bool is_ours;
    int64_t tag;
} EntityTag;

/* Returns what follows the tag; NULL when there is none. */
static const char *read_tag(const char *p, EntityTag *ret)
{
    ret->is_weak = strncmp(p, "W/", 2) == 0;
    if (ret->is_weak)
        p += 2;
    if (*p != '"')
        return NULL;
    const char *opaque = ++p;
    while (*p && *p != '"') {
        unsigned char c = (unsigned char)*p++;
        if (c <= 0x20 || c == 0x7f)
            return NULL;
    }
    if (*p != '"')
        return NULL;
    ret->is_ours = opaque_is_ours(opaque, (size_t)(p - opaque), &ret->tag);
    return p + 1;
}

/* Fills at most ETAG_LIST_MAX tags; empty list elements are allowed (RFC 9110, 5.6.1). */
static bool read_list(const char *name, const char *header, bool *ret_is_any, EntityTag *ret_tags, size_t *ret_n,
                      GError **error)
{
    size_t n = 0;
    const char *p = skip_space(header);
    *ret_is_any = p[0] == '*' && *skip_space(p + 1) == '\0';
    *ret_n = 0;
    if (*ret_is_any)
        return true;
    for (;;) {
        p += strspn(p, " \t,");
        if (!*p)
            break;
        if (n == ETAG_LIST_MAX) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s has more than %d entity tags", name, ETAG_LIST_MAX);
            return false;
        }
        EntityTag tag;
        p = read_tag(p, &tag);
        if (p)
            p = skip_space(p);
        if (!p || (*p && *p != ',')) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s is not `*` or a list of quoted entity tags", name);
            return false;
        }
        ret_tags[n++] = tag;
    }
    if (n == 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s is empty", name);
        return false;
    }
    *ret_n = n;
    return true;
}

bool etag_parse_if_match(const char *header, Precondition *ret, GError **error)
{
    if (!header) {
        *ret = (Precondition){0};
        return true;
    }
    EntityTag list[ETAG_LIST_MAX];
    size_t n;
    bool is_any;
    if (!read_list("If-Match", header, &is_any, list, &n, error))
        return false;
    Precondition precondition = {.is_set = true, .is_any = is_any, .tags = g_new(int64_t, n + 1)};
    for (size_t i = 0; i < n; i++)
        if (list[i].is_ours && !list[i].is_weak)
            precondition.tags[precondition.n_tags++] = list[i].tag;
    *ret = precondition;
    return true;
}

bool precondition_allows(const Precondition *precondition, int64_t tag)
{
    if (!precondition->is_set || precondition->is_any)
        return true;
    for (size_t i = 0; i < precondition->n_tags; i++)
        if (precondition->tags[i] == tag)
            return true;
    return false;
}

bool etag_parse_if_none_match(const char *header, int64_t tag, bool *ret_matches, GError **error)
{
    bool is_any = false;
    size_t n = 0;
    EntityTag list[ETAG_LIST_MAX];
    if (header && !read_list("If-None-Match", header, &is_any, list, &n, error))
        return false;
    bool matches = is_any;
    for (size_t i = 0; i < n && !matches; i++)
        matches = list[i].is_ours && list[i].tag == tag;
    *ret_matches = matches;
    return true;
}
