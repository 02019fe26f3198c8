/* env_file.c - see env_file.h. */
#include "app/env_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

/* ---- reading ---- */

bool env_file_read(const char *path, GString **ret_text, GError **error)
{
    g_autofree char *text = g_malloc(ENV_FILE_MAX_BYTES + 1);
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(text, 1, ENV_FILE_MAX_BYTES + 1, file) : 0;
    bool is_read = file != NULL && ferror(file) == 0;
    if (!is_read)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "cannot read %s: %s", path, g_strerror(errno));
    if (file != NULL)
        (void)fclose(file);
    if (is_read && n > ENV_FILE_MAX_BYTES) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s has more than %d bytes", path, ENV_FILE_MAX_BYTES);
        return false;
    }
    if (is_read)
        *ret_text = g_string_new_len(text, (gssize)n);
    return is_read;
}

/* ---- values; each gives what is wrong, or NULL and the value ---- */

static const char *skip_spaces(const char *at)
{
    return at + strspn(at, " \t");
}

/* After a closing quote. */
static const char *check_rest(const char *at)
{
    const char *rest = skip_spaces(at);
    return *rest == '\0' || (*rest == '#' && rest > at) ? NULL : "something follows the closing quote";
}

static const char *take_single_quoted(const char *at, GString *value)
{
    const char *end = strchr(at, '\'');
    if (end == NULL)
        return "the closing quote is missing";
    g_string_append_len(value, at, end - at);
    return check_rest(end + 1);
}

static const char *take_double_quoted(const char *at, GString *value)
{
    static const char escapes[] = "nrt\\\"$", meanings[] = "\n\r\t\\\"$";
    for (; *at != '"'; at++) {
        if (*at == '\0')
            return "the closing quote is missing";
        if (*at == '$')
            return "variables are not filled in: a $ stands in single quotes";
        if (*at != '\\') {
            g_string_append_c(value, *at);
            continue;
        }
        at++;
        const char *escape = *at != '\0' ? strchr(escapes, *at) : NULL;
        if (escape == NULL)
            return "in double quotes a backslash comes before one of n r t \\ \" $ only";
        g_string_append_c(value, meanings[escape - escapes]);
    }
    return check_rest(at + 1);
}

static const char *take_plain(const char *at, GString *value)
{
    size_t n = 0;
    while (at[n] != '\0' && !(at[n] == '#' && (n == 0 || at[n - 1] == ' ' || at[n - 1] == '\t')))
        n++;
    while (n > 0 && (at[n - 1] == ' ' || at[n - 1] == '\t'))
        n--;
    if (memchr(at, '$', n) != NULL)
        return "variables are not filled in: a $ stands in single quotes";
    g_string_append_len(value, at, (gssize)n);
    return NULL;
}

static const char *take_value(const char *at, GString *value)
{
    if (*at == '\'')
        return take_single_quoted(at + 1, value);
    return *at == '"' ? take_double_quoted(at + 1, value) : take_plain(at, value);
}

/* ---- lines ---- */

static size_t name_length(const char *text)
{
    size_t n = g_ascii_isalpha(*text) || *text == '_' ? 1 : 0;
    while (n > 0 && (g_ascii_isalnum(text[n]) || text[n] == '_'))
        n++;
    return n;
}

static const char *take_line(const char *line, GString *name, GString *value)
{
    const char *at = skip_spaces(line);
    if (*at == '\0' || *at == '#')
        return NULL;
    if (g_str_has_prefix(at, "export ") || g_str_has_prefix(at, "export\t"))
        at = skip_spaces(at + strlen("export "));
    g_string_append_len(name, at, (gssize)name_length(at));
    at = skip_spaces(at + name->len);
    if (name->len == 0 || *at != '=')
        return "expected NAME=value, a # and a comment, or nothing";
    return take_value(skip_spaces(at + 1), value);
}

void env_file_parse(const GString *text, const char *path, EnvFileFunc func, void *arg, GPtrArray *faults)
{
    const char *end = text->str + text->len;
    const char *at = g_str_has_prefix(text->str, BYTE_ORDER_MARK) ? text->str + strlen(BYTE_ORDER_MARK) : text->str;
    for (unsigned number = 1; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        size_t size = (size_t)(line_end - at);
        if (size > 0 && at[size - 1] == '\r')
            size--;
        g_autofree char *line = g_strndup(at, size);
        g_autoptr(GString) name = g_string_new(NULL);
        g_autoptr(GString) value = g_string_new(NULL);
        const char *fault =
            g_utf8_validate(at, (gssize)size, NULL) ? take_line(line, name, value) : "this is no text in UTF-8";
        if (fault != NULL)
            g_ptr_array_add(faults, g_strdup_printf("%s:%u: %s", path, number, fault));
        else if (name->len > 0)
            func(name->str, value->str, number, arg);
        at = line_end + 1;
    }
}
