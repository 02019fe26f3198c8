/* log.c - log lines. A line is built whole and written with one write(2), so lines of several threads never mix. In
 * JSON the writer's escaping keeps a value inside its quotes; on a terminal whatever does not print (line ends, escape
 * sequences, direction marks) is written as \uXXXX, and a value that is no plain word is quoted. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

#define VALUE_MAX_BYTES 4096 /* of one value: what a client sends must not fill the disk with a single line */

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* Set once before threads start, read-only after that. */
static LogLevel min_level = LOG_INFO;
static bool is_text = false;

void log_init(LogLevel level, LogFormat format)
{
    min_level = level;
    is_text = format == LOG_FORMAT_TEXT || (format == LOG_FORMAT_AUTO && isatty(STDERR_FILENO));
}

bool log_level_parse(const char *text, LogLevel *ret_level)
{
    for (size_t i = 0; text != NULL && i < G_N_ELEMENTS(level_names); i++) {
        if (g_ascii_strcasecmp(text, level_names[i]) == 0) {
            *ret_level = (LogLevel)i;
            return true;
        }
    }
    return false;
}

/* A valid UTF-8 copy of bounded length. */
static char *value_make_safe(const char *value)
{
    size_t size = strnlen(value, VALUE_MAX_BYTES + 1);
    if (size <= VALUE_MAX_BYTES)
        return g_utf8_make_valid(value, (gssize)size);
    g_autofree char *cut = g_utf8_make_valid(value, VALUE_MAX_BYTES);
    return g_strconcat(cut, "...", NULL);
}

static bool is_plain_word(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (!g_ascii_isalnum(*text) && strchr("-_.:/@+,%", *text) == NULL)
            return false;
    }
    return true;
}

/* Valid UTF-8 in, what a terminal shows as it is out. */
static void append_printable(GString *out, const char *text, bool is_quoted)
{
    for (const char *at = text; *at != '\0'; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (is_quoted && (c == '"' || c == '\\'))
            g_string_append_c(out, '\\');
        if (c == '\n')
            g_string_append(out, "\\n");
        else if (g_unichar_isprint(c))
            g_string_append_unichar(out, c);
        else
            g_string_append_printf(out, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
    }
}

static void append_text_pair(GString *line, const char *name, const char *value)
{
    if (value == NULL)
        return;
    g_autofree char *safe = value_make_safe(value);
    bool is_quoted = !is_plain_word(safe);
    g_string_append_printf(line, is_quoted ? " %s=\"" : " %s=", name);
    append_printable(line, safe, is_quoted);
    if (is_quoted)
        g_string_append_c(line, '"');
}

static void append_json_pair(JsonWriter *writer, const char *name, const char *value)
{
    g_autofree char *safe = value == NULL ? NULL : value_make_safe(value);
    json_put_string(writer, name, safe);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static GString *line_as_text(LogLevel level, const char *message, const GError *error, va_list pairs)
{
    static const char *const labels[] = {"DEBUG  ", "INFO   ", "WARNING", "ERROR  "};
    GString *line = g_string_sized_new(256);
    char time_text[INSTANT_TEXT_SIZE];
    instant_format(now_ms(), time_text);
    g_string_append_printf(line, "%s %s ", time_text, labels[level]);
    g_autofree char *safe_message = value_make_safe(message);
    append_printable(line, safe_message, false);
    if (error != NULL)
        append_text_pair(line, "error", error->message);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *))
        append_text_pair(line, name, va_arg(pairs, const char *));
    g_string_append_c(line, '\n');
    return line;
}

static GString *line_as_json(LogLevel level, const char *message, const GError *error, va_list pairs)
{
    GString *line = g_string_sized_new(256);
    JsonWriter writer = json_writer(line);
    json_begin_object(&writer, NULL);
    json_put_instant(&writer, "time", now_ms());
    json_put_string(&writer, "level", level_names[level]);
    append_json_pair(&writer, "message", message);
    if (error != NULL)
        append_json_pair(&writer, "error", error->message);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *))
        append_json_pair(&writer, name, va_arg(pairs, const char *));
    json_end_object(&writer);
    g_string_append_c(line, '\n');
    return line;
}

/* One write in all but the rarest cases; there is nowhere to report that stderr itself fails. */
static void write_line(const GString *line)
{
    size_t n_done = 0;
    while (n_done < line->len) {
        ssize_t n = write(STDERR_FILENO, line->str + n_done, line->len - n_done);
        if (n > 0)
            n_done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            return;
    }
}

static void log_pairs(LogLevel level, const char *message, const GError *error, va_list pairs)
{
    if (level < min_level)
        return;
    int errno_before = errno;
    GString *line = is_text ? line_as_text(level, message, error, pairs) : line_as_json(level, message, error, pairs);
    write_line(line);
    g_string_free(line, TRUE);
    errno = errno_before;
}

void log_event(LogLevel level, const char *message, ...)
{
    va_list pairs;
    va_start(pairs, message);
    log_pairs(level, message, NULL, pairs);
    va_end(pairs);
}

void log_error(LogLevel level, const char *message, const GError *error, ...)
{
    va_list pairs;
    va_start(pairs, error);
    log_pairs(level, message, error, pairs);
    va_end(pairs);
}
