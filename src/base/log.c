/* log.c - log lines. A line is built whole and written with one write(2), so lines of several threads never mix. In
 * JSON the writer's escaping keeps a value inside its quotes; on a terminal whatever does not print (line ends, escape
 * sequences, direction marks) is written as \uXXXX, and a value that is no plain word is quoted. */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log_limit.h"
#include "base/thread.h"

#define VALUE_MAX_BYTES 4096 /* of one value: what a client sends must not fill the disk with a single line */

static const char *const level_names[] = {"debug", "info", "warning", "error"};

/* Set once before threads start, read-only after that. */
static LogLevel min_level = LOG_INFO;
static bool is_text = false;

static Mutex limit_mu = PTHREAD_MUTEX_INITIALIZER;
static LogLimit limit; /* guarded by limit_mu */

void log_init(LogLevel level, LogFormat format)
{
    min_level = level;
    limit = (LogLimit){0};
    is_text = format == LOG_FORMAT_TEXT || (format == LOG_FORMAT_AUTO && isatty(STDERR_FILENO));
}

bool log_is_text(void)
{
    return is_text;
}

bool log_is_on(LogLevel level)
{
    return level >= min_level;
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

static GString *line_as_text(LogLevel level, const char *message, const GError *error, int64_t n_repeated,
                             va_list pairs)
{
    static const char *const labels[] = {"DEBUG  ", "INFO   ", "WARNING", "ERROR  "};
    GString *line = g_string_sized_new(256);
    char time_text[INSTANT_TEXT_SIZE];
    instant_format(clock_read_ms(CLOCK_REALTIME), time_text);
    g_string_append_printf(line, "%s %s ", time_text, labels[level]);
    g_autofree char *safe_message = value_make_safe(message);
    append_printable(line, safe_message, false);
    if (error != NULL)
        append_text_pair(line, "error", error->message);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *))
        append_text_pair(line, name, va_arg(pairs, const char *));
    if (n_repeated > 0)
        g_string_append_printf(line, " repeated=%" PRId64, n_repeated);
    g_string_append_c(line, '\n');
    return line;
}

static GString *line_as_json(LogLevel level, const char *message, const GError *error, int64_t n_repeated,
                             va_list pairs)
{
    GString *line = g_string_sized_new(256);
    JsonWriter writer = json_writer(line);
    json_begin_object(&writer, NULL);
    json_put_instant(&writer, "time", clock_read_ms(CLOCK_REALTIME));
    json_put_string(&writer, "level", level_names[level]);
    append_json_pair(&writer, "message", message);
    if (error != NULL)
        append_json_pair(&writer, "error", error->message);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *))
        append_json_pair(&writer, name, va_arg(pairs, const char *));
    if (n_repeated > 0)
        json_put_int(&writer, "repeated", n_repeated);
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

/* FNV-1a, 64 bits: two different lines of one window do not meet by chance. The '\0' between values counts. */
static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const char *at = text != NULL ? text : "";; at++) {
        hash = (hash ^ (unsigned char)*at) * 0x100000001b3u;
        if (*at == '\0')
            return hash;
    }
}

static uint64_t hash_line(const GError *error, va_list pairs)
{
    uint64_t hash = hash_text(0xcbf29ce484222325u, error != NULL ? error->message : NULL);
    for (const char *name = va_arg(pairs, const char *); name != NULL; name = va_arg(pairs, const char *))
        hash = hash_text(hash_text(hash, name), va_arg(pairs, const char *));
    return hash;
}

static bool may_write(LogLevel level, const char *message, const GError *error, int64_t *ret_n_repeated, va_list pairs)
{
    *ret_n_repeated = 0;
    if (level == LOG_DEBUG) /* who asks for these wants them all */
        return true;
    uint64_t hash = hash_line(error, pairs);
    MUTEX_SCOPE(&limit_mu);
    return log_limit_take(&limit, (int)level, message, hash, clock_read_ms(CLOCK_MONOTONIC), ret_n_repeated);
}

static void write_pairs(LogLevel level, const char *message, const GError *error, int64_t n_repeated, va_list pairs)
{
    GString *line = is_text ? line_as_text(level, message, error, n_repeated, pairs)
                            : line_as_json(level, message, error, n_repeated, pairs);
    write_line(line);
    g_string_free(line, TRUE);
}

static void write_repeated(LogLevel level, int64_t n_repeated, const char *message, ...)
{
    va_list pairs;
    va_start(pairs, message);
    write_pairs(level, message, NULL, n_repeated, pairs);
    va_end(pairs);
}

static bool take_silent(int *ret_level, const char **ret_message, int64_t *ret_n_repeated)
{
    MUTEX_SCOPE(&limit_mu);
    return log_limit_take_silent(&limit, clock_read_ms(CLOCK_MONOTONIC), ret_level, ret_message, ret_n_repeated);
}

void log_tell_repeated(void)
{
    int level;
    const char *message;
    int64_t n_repeated;
    while (take_silent(&level, &message, &n_repeated))
        write_repeated((LogLevel)level, n_repeated, message, NULL);
}

static void log_pairs(LogLevel level, const char *message, const GError *error, va_list pairs)
{
    if (!log_is_on(level))
        return;
    int errno_before = errno;
    int64_t n_repeated;
    va_list hashed;
    va_copy(hashed, pairs);
    if (may_write(level, message, error, &n_repeated, hashed))
        write_pairs(level, message, error, n_repeated, pairs);
    va_end(hashed);
    if (level != LOG_DEBUG)
        log_tell_repeated();
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
