/* body.c - content types and digests of request bodies. */
#include "http/body.h"

#include <string.h>

static bool charset_is_utf8(const char *value, size_t size)
{
    if (size >= 2 && value[0] == '"' && value[size - 1] == '"') {
        value++;
        size -= 2;
    }
    return (size == 5 && g_ascii_strncasecmp(value, "utf-8", 5) == 0) ||
           (size == 4 && g_ascii_strncasecmp(value, "utf8", 4) == 0);
}

bool content_type_is_json(const char *content_type)
{
    static const char json[] = "application/json";
    if (!content_type)
        return false;
    const char *p = content_type + strspn(content_type, " \t");
    if (g_ascii_strncasecmp(p, json, sizeof(json) - 1) != 0)
        return false;
    p += sizeof(json) - 1;
    for (;;) {
        p += strspn(p, " \t");
        if (!*p)
            return true;
        if (*p != ';')
            return false;
        p++;
        p += strspn(p, " \t");
        size_t size = strcspn(p, "; \t");
        if (size > 8 && g_ascii_strncasecmp(p, "charset=", 8) == 0 && !charset_is_utf8(p + 8, size - 8))
            return false;
        p += size;
    }
}

char *body_digest(const JsonValue *body)
{
    g_autofree char *text = body ? json_print_canonical(body) : g_strdup("{}");
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
}
