/* cron.c - refuses what no schedule could follow, and says where. Each field becomes a set of bits, so that dates which
 * never come (30 February) are seen too. */
#include "domain/cron.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#define BLANKS " \t"
enum { EVERY_MAX_DAYS = 366, TIMEZONE_MAX_BYTES = 64, NAME_SIZE = 3 };

typedef struct {
    const char *title;
    int low, high;
    const char *names; /* three letters each, the first is `low`; NULL: none */
} Field;

static const Field SECOND = {"second", 0, 59, NULL};
static const Field FIELDS[] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of week", 0, 7, "sunmontuewedthufrisat"},
};
enum { N_FIELDS = G_N_ELEMENTS(FIELDS), DAY_OF_MONTH = 2, MONTH = 3, DAY_OF_WEEK = 4 };

typedef struct {
    const char *text;
    size_t at;
    const Field *field;
    GError **error;
} Reader;

static bool fail(Reader *reader, size_t at, const char *format, ...) PRINTF_LIKE(3, 4);
static bool fail(Reader *reader, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    if (reader->field == NULL)
        g_set_error(reader->error, FLOWOPS_ERROR, FLOWOPS_INVALID, "column %zu: %s", at + 1, what);
    else
        g_set_error(reader->error, FLOWOPS_ERROR, FLOWOPS_INVALID, "%s, column %zu: %s", reader->field->title, at + 1,
                    what);
    return false;
}

static bool is_number_here(const Reader *reader)
{
    return g_ascii_isdigit(reader->text[reader->at]);
}

/* Digits, as far as they go; capped, since no field knows more than four. */
static int read_number(Reader *reader)
{
    int number = 0;
    while (is_number_here(reader)) {
        number = MIN(number * 10 + (reader->text[reader->at] - '0'), 100000);
        reader->at++;
    }
    return number;
}

/* A number within the field, or one of its names. */
static bool read_value(Reader *reader, int *ret_value)
{
    const Field *field = reader->field;
    const char *here = reader->text + reader->at;
    size_t at = reader->at;
    if (is_number_here(reader)) {
        int number = read_number(reader);
        if (number < field->low || number > field->high)
            return fail(reader, at, "expected %d to %d, found %.*s", field->low, field->high,
                        (int)MIN(reader->at - at, 8), here);
        *ret_value = number;
        return true;
    }
    for (size_t i = 0; field->names != NULL && field->names[i] != '\0'; i += NAME_SIZE) {
        if (g_ascii_strncasecmp(here, field->names + i, NAME_SIZE) == 0 && !g_ascii_isalnum(here[NAME_SIZE])) {
            reader->at += NAME_SIZE;
            *ret_value = field->low + (int)(i / NAME_SIZE);
            return true;
        }
    }
    return fail(reader, at, "expected `*`, a number from %d to %d%s", field->low, field->high,
                field->names == NULL ? "" : " or a three-letter English name");
}

/* `*`, `a` or `a-b`, each but `a` with an optional `/step`. */
static bool read_item(Reader *reader, uint64_t *set)
{
    const Field *field = reader->field;
    size_t start = reader->at;
    int first = field->low, last = field->high, step = 1;
    bool is_range = true;
    if (reader->text[reader->at] == '*') {
        reader->at++;
    } else {
        if (!read_value(reader, &first))
            return false;
        last = first;
        is_range = reader->text[reader->at] == '-';
        if (is_range) {
            reader->at++;
            if (!read_value(reader, &last))
                return false;
            if (last < first)
                return fail(reader, start, "the range ends before it begins%s",
                            field == &FIELDS[DAY_OF_WEEK] ? " (Sunday at the end of a range is 7)" : "");
        }
    }
    if (reader->text[reader->at] == '/') {
        size_t at = ++reader->at;
        int span = field->high - field->low + 1;
        if (!is_range)
            return fail(reader, at - 1, "a step needs `*` or a range before it, such as %d-%d", first, field->high);
        step = is_number_here(reader) ? read_number(reader) : 0;
        if (step < 1 || step > span)
            return fail(reader, at, "expected a step from 1 to %d", span);
    }
    for (int i = first; i <= last; i += step)
        *set |= UINT64_C(1) << i;
    return true;
}

static bool read_field(Reader *reader, const Field *field, uint64_t *ret_set)
{
    uint64_t set = 0;
    reader->field = field;
    for (;;) {
        if (!read_item(reader, &set))
            return false;
        char c = reader->text[reader->at];
        if (c == '\0' || strchr(BLANKS, c) != NULL)
            break;
        if (c != ',')
            return fail(reader, reader->at, "expected `,`, `-`, `/` or a blank");
        reader->at++;
    }
    *ret_set = set;
    return true;
}

/* Some month of the set has a day of the set. A restricted day of week comes round in every month. */
static bool comes_ever(const uint64_t *sets)
{
    static const int LENGTHS[] = {0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int month = 1; month <= 12; month++) {
        uint64_t days = ((UINT64_C(1) << LENGTHS[month]) - 1) << 1;
        if ((sets[MONTH] & (UINT64_C(1) << month)) != 0 && (sets[DAY_OF_MONTH] & days) != 0)
            return true;
    }
    return false;
}

static size_t count_fields(const char *text)
{
    size_t n = 0;
    for (text += strspn(text, BLANKS); *text != '\0'; text += strspn(text, BLANKS)) {
        text += strcspn(text, BLANKS);
        n++;
    }
    return n;
}

static void skip_blanks(Reader *reader)
{
    reader->at += strspn(reader->text + reader->at, BLANKS);
}

static bool check_fields(Reader *reader)
{
    uint64_t sets[N_FIELDS], seconds;
    size_t n = count_fields(reader->text);
    if (n != N_FIELDS && n != N_FIELDS + 1)
        return fail(reader, reader->at,
                    "expected five fields (minute, hour, day of month, month, day of week) or six with seconds first, "
                    "found %zu",
                    n);
    if (n > N_FIELDS && !read_field(reader, &SECOND, &seconds))
        return false;
    bool is_any_weekday = false;
    for (size_t i = 0; i < N_FIELDS; i++) {
        skip_blanks(reader);
        is_any_weekday = reader->text[reader->at] == '*';
        if (!read_field(reader, &FIELDS[i], &sets[i]))
            return false;
    }
    reader->field = NULL;
    return !is_any_weekday || comes_ever(sets) ||
           fail(reader, 0, "no month of these has such a day, so it would never start");
}

/* `@every <n>(s|m|h|d)`. */
static bool check_every(Reader *reader)
{
    static const struct {
        char unit;
        int per_day;
    } UNITS[] = {{'s', 86400}, {'m', 1440}, {'h', 24}, {'d', 1}};
    skip_blanks(reader);
    size_t at = reader->at;
    int64_t n = 0;
    while (is_number_here(reader)) {
        n = MIN(n * 10 + (reader->text[reader->at] - '0'), INT32_MAX);
        reader->at++;
    }
    if (reader->at == at)
        return fail(reader, at, "expected a number and a unit (s, m, h or d), such as `@every 5m`");
    for (size_t i = 0; i < G_N_ELEMENTS(UNITS); i++) {
        if (reader->text[reader->at] != UNITS[i].unit)
            continue;
        reader->at++;
        skip_blanks(reader);
        if (reader->text[reader->at] != '\0')
            return fail(reader, reader->at, "expected the end");
        if (n < 1 || n > (int64_t)EVERY_MAX_DAYS * UNITS[i].per_day)
            return fail(reader, at, "expected an interval from 1s to %dd", EVERY_MAX_DAYS);
        return true;
    }
    return fail(reader, reader->at, "expected a unit: s, m, h or d");
}

static bool check_nickname(Reader *reader)
{
    static const char *const NICKNAMES[] = {"@yearly", "@annually", "@monthly", "@weekly",
                                            "@daily",  "@midnight", "@hourly",  NULL};
    const char *here = reader->text + reader->at;
    size_t size = strcspn(here, BLANKS), every = strlen("@every");
    if (size == every && strncmp(here, "@every", every) == 0) {
        reader->at += size;
        return check_every(reader);
    }
    for (size_t i = 0; NICKNAMES[i] != NULL; i++) {
        if (size == strlen(NICKNAMES[i]) && strncmp(here, NICKNAMES[i], size) == 0) {
            reader->at += size;
            skip_blanks(reader);
            return reader->text[reader->at] == '\0' || fail(reader, reader->at, "expected the end");
        }
    }
    return fail(reader, reader->at,
                "expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every");
}

bool cron_check(const char *expression, GError **error)
{
    Reader reader = {.text = expression, .error = error};
    if (strnlen(expression, CRON_MAX_BYTES + 1) > CRON_MAX_BYTES)
        return fail(&reader, CRON_MAX_BYTES, "a cron expression may have at most %d bytes", CRON_MAX_BYTES);
    skip_blanks(&reader);
    if (expression[reader.at] == '\0')
        return fail(&reader, 0, "the expression is empty; leave it out for no schedule");
    return expression[reader.at] == '@' ? check_nickname(&reader) : check_fields(&reader);
}

/* An IANA name by its form: parts of letters, digits, `_`, `-` and `+`, joined by single slashes. All begin with a
 * capital letter; what doesn't is a file beside the zones (posix/, right/, localtime), and dots would leave the folder. */
static bool is_zone_name(const char *name)
{
    static const char *const WITH_DIGITS[] = {"EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT",
                                              "GMT0",    "GMT+0",   "GMT-0",   NULL};
    size_t size = strnlen(name, TIMEZONE_MAX_BYTES + 1);
    if (size < 2 || size > TIMEZONE_MAX_BYTES || !g_ascii_isupper(name[0]) || name[size - 1] == '/' ||
        strstr(name, "//") != NULL)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!g_ascii_isalnum(name[i]) && strchr("_-+/", name[i]) == NULL)
            return false;
    }
    /* `ABC5DEF` would be taken as a POSIX rule; among the names only these look like one. */
    return strchr(name, '/') != NULL || strpbrk(name, "0123456789") == NULL || g_strv_contains(WITH_DIGITS, name);
}

bool timezone_check(const char *name, GError **error)
{
    GTimeZone *zone = is_zone_name(name) ? g_time_zone_new_identifier(name) : NULL;
    if (zone == NULL && strcmp(name, "UTC") != 0) { /* UTC needs no zone files */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "expected an IANA time zone known here, such as Europe/Paris, or UTC");
        return false;
    }
    g_clear_pointer(&zone, g_time_zone_unref);
    return true;
}
