/* store_mongo_uri.c - what is wrong with the address of a MongoDB that the library refused. The library's own words repeat
 * parts of it, a password too; these name a part, and of what was given at most the name of an option that is known. */
#include "store/store_mongo_internal.h"

#include <string.h>

#define SRV "mongodb+srv://"
#define MAX_LABELS 128 /* of a host name: more than 253 characters can have */

static const char login_fault[] =
    "its user or password has a character that must be written as %XX (one of : / ? # [ ] @ %)";

/* ---- parts ---- */

static bool has_only_whole_escapes(const char *text)
{
    for (const char *at = strchr(text, '%'); at != NULL; at = strchr(at + 1, '%')) {
        if (!g_ascii_isxdigit(at[1]) || !g_ascii_isxdigit(at[2])) {
            return false;
        }
    }
    return true;
}

static const char *fault_of_login(const char *login)
{
    const char *colon = strchr(login, ':');
    bool is_plain = strpbrk(login, "@/?#[]") == NULL && (colon == NULL || strchr(colon + 1, ':') == NULL);
    if (!is_plain || !has_only_whole_escapes(login)) {
        return login_fault;
    }
    return *login == '\0' || colon == login ? "it has a password without a user" : NULL;
}

static bool is_port(const char *text)
{
    guint64 port;
    return g_ascii_string_to_unsigned(text, 10, 1, 65535, &port, NULL);
}

static const char *fault_of_host(const char *host)
{
    const char *end = *host == '[' ? strchr(host, ']') : strchr(host, ':');
    if (*host == '[' && end == NULL) {
        return "an IPv6 address in it has no closing bracket";
    }
    if (*host == '\0' || end == host) {
        return "a host is missing in it";
    }
    const char *port = end != NULL && *end == ']' ? end + 1 : end;
    if (port != NULL && *port != '\0' && (*port != ':' || !is_port(port + 1))) {
        return "a port in it is no number from 1 to 65535";
    }
    return NULL;
}

static const char *fault_of_hosts(const char *hosts, bool is_srv)
{
    if (is_srv) {
        g_auto(GStrv) labels = g_strsplit(hosts, ".", MAX_LABELS);
        return strpbrk(hosts, ",:") != NULL || g_strv_length(labels) < 3
                   ? "mongodb+srv:// takes one name of at least three parts and no port, and the name service must know it"
                   : NULL;
    }
    g_auto(GStrv) list = g_strsplit(hosts, ",", -1);
    const char *fault = *hosts == '\0' ? "a host is missing in it" : NULL;
    for (size_t i = 0; fault == NULL && list[i] != NULL; i++) {
        fault = fault_of_host(list[i]);
    }
    return fault;
}

/* ---- options ---- */

static bool is_flag(const char *value)
{
    static const char *const flags[] = {"true", "false", "t", "f", "yes", "no", "y", "n", "1", "0", NULL};
    return g_strv_contains(flags, value);
}

static char *fault_of_option(const char *option)
{
    const char *equals = strchr(option, '=');
    if (equals == NULL) {
        return g_strdup("an option in it has no value");
    }
    g_autofree char *name = g_strndup(option, (gsize)(equals - option));
    gint64 number;
    const char *wanted = NULL;
    if (mongoc_uri_option_is_int32(name) &&
        !g_ascii_string_to_signed(equals + 1, 10, INT32_MIN, INT32_MAX, &number, NULL)) {
        wanted = "a whole number";
    } else if (mongoc_uri_option_is_bool(name) && !is_flag(equals + 1)) {
        wanted = "true or false";
    } else if (mongoc_uri_option_is_utf8(name) && (equals[1] == '\0' || !has_only_whole_escapes(equals + 1))) {
        wanted = "a text, with %XX for what is not plain";
    }
    return wanted != NULL ? g_strdup_printf("its option %s takes %s", name, wanted) : NULL;
}

static char *fault_of_options(const char *options)
{
    g_auto(GStrv) list = g_strsplit(options, "&", -1);
    char *fault = NULL;
    for (size_t i = 0; fault == NULL && list[i] != NULL; i++) {
        fault = fault_of_option(list[i]);
    }
    return fault;
}

/* ---- the whole ---- */

char *mongo_uri_fault(const char *uri)
{
    bool is_srv = g_str_has_prefix(uri, SRV);
    if (!is_srv && !g_str_has_prefix(uri, "mongodb://")) {
        return g_strdup("it begins with neither mongodb:// nor mongodb+srv://");
    }
    const char *rest = strstr(uri, "://") + 3;
    const char *slash = strchr(rest, '/'), *question = strchr(rest, '?');
    const char *login_end = strrchr(rest, '@');
    if (login_end != NULL && ((slash != NULL && slash < login_end) || (question != NULL && question < login_end))) {
        return g_strdup(login_fault); /* or an option has one: it is to be written so, too */
    }
    if (question != NULL && (slash == NULL || question < slash)) {
        return g_strdup("a / is missing before its options");
    }
    g_autofree char *login = login_end != NULL ? g_strndup(rest, (gsize)(login_end - rest)) : NULL;
    const char *hosts_begin = login_end != NULL ? login_end + 1 : rest;
    g_autofree char *hosts = g_strndup(hosts_begin, strcspn(hosts_begin, "/"));
    g_autofree char *path = slash != NULL ? g_strndup(slash + 1, strcspn(slash + 1, "?")) : g_strdup("");
    const char *fault = login != NULL ? fault_of_login(login) : NULL;
    if (fault == NULL) {
        fault = fault_of_hosts(hosts, is_srv);
    }
    if (fault == NULL && strpbrk(path, "/\\. \"$*<>:|") != NULL) {
        fault = "the database in its path has a character that no name may have";
    }
    if (fault != NULL) {
        return g_strdup(fault);
    }
    char *option_fault = question != NULL ? fault_of_options(question + 1) : NULL;
    return option_fault != NULL ? option_fault
                                : g_strdup("its options contradict each other, or one has a value that is not known");
}
