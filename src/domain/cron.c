/* cron.c - from the text of an expression to its sets of bits, or to what is wrong with it and where. Each field becomes a
 * set, so that dates which never come (30 February) are seen too. */
#include "domain/cron_internal.h"

#include <stdarg.h>
#include <string.h>

#define BLANKS " \t"
#define JOINT '|'
#define WORKDAY 'W'
#define LAST 'L'
enum { EVERY_MAX_DAYS = 366, NAME_SIZE = 3, WEEKS_MAX = 5 /* that a weekday can come in a month */ };

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
enum { N_FIELDS = G_N_ELEMENTS(FIELDS), MINUTE = 0, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK };

/* What the items of one field add up to. */
typedef struct {
    uint64_t set;
    bool begins_with_star;
    bool has_star;  /* an item is `*` or `*` with a step */
    bool has_range; /* an item is a range of more than one value */
} FieldSet;

typedef struct {
    const char *text; /* the whole, so that columns are those of the reader */
    size_t start;     /* of the expression at hand */
    size_t at;
    const Field *field;
    CronPart *part;
    GPtrArray
        *faults; /* where they are gathered: reading goes on behind one. NULL: it ends with the first, in `error` */
    GError **error;
} Reader;

static bool fail(Reader *reader, size_t at, const char *format, ...) PRINTF_LIKE(3, 4);
static bool fail(Reader *reader, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *fault = reader->field == NULL
                                 ? g_strdup_printf("column %zu: %s", at + 1, what)
                                 : g_strdup_printf("%s, column %zu: %s", reader->field->title, at + 1, what);
    if (reader->faults != NULL)
        g_ptr_array_add(reader->faults, g_steal_pointer(&fault));
    else
        g_set_error_literal(reader->error, FLOWOPS_ERROR, FLOWOPS_INVALID, fault);
    return false;
}

static char char_here(const Reader *reader)
{
    return reader->text[reader->at];
}

/* The end of the expression at hand: of the text, or of its part. */
static bool is_end_here(const Reader *reader)
{
    return char_here(reader) == '\0' || char_here(reader) == JOINT;
}

/* Takes a letter of either case. */
static bool take_letter(Reader *reader, char letter)
{
    if (g_ascii_toupper(char_here(reader)) != letter)
        return false;
    reader->at++;
    return true;
}

static bool is_number_here(const Reader *reader)
{
    return g_ascii_isdigit(char_here(reader));
}

/* Digits, as far as they go; capped, since no field knows more than four. */
static int read_number(Reader *reader)
{
    int number = 0;
    while (is_number_here(reader)) {
        number = MIN(number * 10 + (char_here(reader) - '0'), 100000);
        reader->at++;
    }
    return number;
}

/* `friL`: the last Friday. */
static bool is_name_followed_by_last(const Field *field, const char *after)
{
    return field == &FIELDS[DAY_OF_WEEK] && g_ascii_toupper(after[0]) == LAST && !g_ascii_isalnum(after[1]);
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
        if (g_ascii_strncasecmp(here, field->names + i, NAME_SIZE) == 0 &&
            (!g_ascii_isalnum(here[NAME_SIZE]) || is_name_followed_by_last(field, here + NAME_SIZE))) {
            reader->at += NAME_SIZE;
            *ret_value = field->low + (int)(i / NAME_SIZE);
            return true;
        }
    }
    return fail(reader, at, "expected `*`, a number from %d to %d%s", field->low, field->high,
                field->names == NULL ? "" : " or a three-letter English name");
}

/* `L`, `L-3`, `LW`: days counted from the end of the month. */
static bool read_last_day(Reader *reader)
{
    if (take_letter(reader, WORKDAY)) {
        reader->part->has_last_workday = true;
        return true;
    }
    if (char_here(reader) != '-') {
        reader->part->last_days |= 1;
        return true;
    }
    size_t at = ++reader->at;
    int before = is_number_here(reader) ? read_number(reader) : 0;
    if (before < 1 || before > 30)
        return fail(reader, at, "expected 1 to 30 days before the last");
    reader->part->last_days |= UINT32_C(1) << before;
    return true;
}

/* What may follow a single value of the days: `15W`, `5L`, `5#3`. */
static bool read_day_mark(Reader *reader, int value, bool *ret_is_marked)
{
    CronPart *part = reader->part;
    *ret_is_marked = true;
    if (reader->field == &FIELDS[DAY_OF_MONTH] && take_letter(reader, WORKDAY)) {
        g_assert(value <= 31); /* within its field */
        part->nearest_days |= UINT32_C(1) << value;
        return true;
    }
    int weekday = value % 7;
    if (reader->field == &FIELDS[DAY_OF_WEEK] && take_letter(reader, LAST)) {
        part->last_weekdays = (uint8_t)(part->last_weekdays | 1U << weekday);
        return true;
    }
    if (reader->field == &FIELDS[DAY_OF_WEEK] && char_here(reader) == '#') {
        size_t at = ++reader->at;
        int week = is_number_here(reader) ? read_number(reader) : 0;
        if (week < 1 || week > WEEKS_MAX)
            return fail(reader, at, "expected 1 to %d: which of them in the month", WEEKS_MAX);
        part->nth_weekdays |= UINT64_C(1) << (7 * (week - 1) + weekday);
        return true;
    }
    *ret_is_marked = false;
    return true;
}

/* `*`, or `a-b`, or `a`: which values, before a step. */
static bool read_span(Reader *reader, int *ret_first, int *ret_last, bool *ret_is_range, bool *ret_is_marked)
{
    const Field *field = reader->field;
    size_t start = reader->at;
    *ret_is_marked = false;
    if (char_here(reader) == '*') {
        reader->at++;
        *ret_first = field->low;
        *ret_last = field->high;
        *ret_is_range = true;
        return true;
    }
    if (!read_value(reader, ret_first) || !read_day_mark(reader, *ret_first, ret_is_marked))
        return false;
    *ret_last = *ret_first;
    *ret_is_range = !*ret_is_marked && char_here(reader) == '-';
    if (!*ret_is_range)
        return true;
    reader->at++;
    if (!read_value(reader, ret_last))
        return false;
    return *ret_first <= *ret_last || fail(reader, start, "the range ends before it begins%s",
                                           field == &FIELDS[DAY_OF_WEEK] ? " (Sunday at the end of a range is 7)" : "");
}

/* `*`, `a` or `a-b`, each but `a` with an optional `/step`; or one of the days' own. */
static bool read_item(Reader *reader, FieldSet *set)
{
    const Field *field = reader->field;
    bool is_star = char_here(reader) == '*', is_range, is_marked;
    int first, last, step = 1;
    if (field == &FIELDS[DAY_OF_MONTH] && take_letter(reader, LAST))
        return read_last_day(reader);
    if (!read_span(reader, &first, &last, &is_range, &is_marked))
        return false;
    if (is_marked)
        return true;
    if (char_here(reader) == '/') {
        size_t at = ++reader->at;
        int span = field->high - field->low + 1;
        if (!is_range)
            return fail(reader, at - 1, "a step needs `*` or a range before it, such as %d-%d", first, field->high);
        step = is_number_here(reader) ? read_number(reader) : 0;
        if (step < 1 || step > span)
            return fail(reader, at, "expected a step from 1 to %d", span);
    }
    set->has_star |= is_star;
    set->has_range |= first < last;
    g_assert(last <= field->high && field->high < 64); /* read_value() saw to it */
    for (int i = first; i <= last; i += step)
        set->set |= UINT64_C(1) << i;
    return true;
}

static bool read_field(Reader *reader, const Field *field, FieldSet *ret_set)
{
    reader->field = field;
    FieldSet set = {.begins_with_star = char_here(reader) == '*'};
    for (;;) {
        if (!read_item(reader, &set))
            return false;
        if (is_end_here(reader) || strchr(BLANKS, char_here(reader)) != NULL)
            break;
        if (char_here(reader) != ',')
            return fail(reader, reader->at, "expected `,`, `-`, `/` or a blank");
        reader->at++;
    }
    *ret_set = set;
    return true;
}

/* The same; false once all faults are wanted and it has one: reading is then behind it. */
static bool read_field_or_skip(Reader *reader, const Field *field, FieldSet *ret_set)
{
    static const char ENDS[] = BLANKS "|";
    if (read_field(reader, field, ret_set))
        return true;
    reader->at += strcspn(reader->text + reader->at, ENDS);
    return false;
}

/* Blanks and what is between them, up to the end of the part. */
static size_t count_fields(const char *text)
{
    static const char ENDS[] = BLANKS "|";
    size_t n = 0;
    for (text += strspn(text, BLANKS); *text != '\0' && *text != JOINT; text += strspn(text, BLANKS)) {
        text += strcspn(text, ENDS);
        n++;
    }
    return n;
}

static void skip_blanks(Reader *reader)
{
    reader->at += strspn(reader->text + reader->at, BLANKS);
}

/* Any hundred years hold every way that a calendar can fall. */
static bool comes_ever(const CronPart *part)
{
    for (int year = 2000; year <= CRON_LAST_YEAR; year++) {
        for (int month = 1; month <= 12; month++) {
            if ((part->months & 1U << month) != 0 && cron_month_days(part, year, month) != 0)
                return true;
        }
    }
    return false;
}

static void take_sets(CronPart *part, const FieldSet *sets, const FieldSet *seconds)
{
    const FieldSet *minute = &sets[MINUTE], *hour = &sets[HOUR], *weekday = &sets[DAY_OF_WEEK];
    part->seconds = seconds->set;
    part->minutes = minute->set;
    part->hours = (uint32_t)hour->set;
    part->days = (uint32_t)sets[DAY_OF_MONTH].set;
    part->months = (uint16_t)sets[MONTH].set;
    part->weekdays = (uint8_t)((weekday->set | weekday->set >> 7) & 0x7f); /* 7 is Sunday too */
    part->is_any_day = sets[DAY_OF_MONTH].begins_with_star;
    part->is_any_weekday = weekday->begins_with_star;
    part->is_interval = minute->has_star || hour->has_star || hour->has_range;
}

static bool read_fields(Reader *reader)
{
    FieldSet sets[N_FIELDS], seconds = {.set = 1};
    size_t n = count_fields(reader->text + reader->at);
    if (n != N_FIELDS && n != N_FIELDS + 1)
        return fail(reader, reader->at,
                    "expected five fields (minute, hour, day of month, month, day of week) or six with seconds first, "
                    "found %zu",
                    n);
    bool is_right = n == N_FIELDS || read_field_or_skip(reader, &SECOND, &seconds);
    for (size_t i = 0; i < N_FIELDS && (is_right || reader->faults != NULL); i++) {
        skip_blanks(reader);
        is_right = read_field_or_skip(reader, &FIELDS[i], &sets[i]) && is_right;
    }
    reader->field = NULL;
    if (!is_right)
        return false;
    take_sets(reader->part, sets, &seconds);
    return comes_ever(reader->part) ||
           fail(reader, reader->start, "no month of these has such a day, so it would never start");
}

/* `@every <n>(s|m|h|d)`. */
static bool read_every(Reader *reader)
{
    static const struct {
        char unit;
        int per_day;
    } UNITS[] = {{'s', 86400}, {'m', 1440}, {'h', 24}, {'d', 1}};
    static const int64_t DAY_MS = INT64_C(86400) * 1000;
    skip_blanks(reader);
    size_t at = reader->at;
    int64_t n = 0;
    while (is_number_here(reader)) {
        n = MIN(n * 10 + (char_here(reader) - '0'), INT32_MAX);
        reader->at++;
    }
    if (reader->at == at)
        return fail(reader, at, "expected a number and a unit (s, m, h or d), such as `@every 5m`");
    for (size_t i = 0; i < G_N_ELEMENTS(UNITS); i++) {
        if (char_here(reader) != UNITS[i].unit)
            continue;
        reader->at++;
        if (UNITS[i].unit == 'm' && char_here(reader) == 's' && !g_ascii_isalnum(reader->text[reader->at + 1]))
            return fail(reader, at, "expected an interval from 1s to %dd", EVERY_MAX_DAYS); /* milliseconds */
        skip_blanks(reader);
        if (!is_end_here(reader))
            return fail(reader, reader->at, "expected the end");
        if (n < 1 || n > (int64_t)EVERY_MAX_DAYS * UNITS[i].per_day)
            return fail(reader, at, "expected an interval from 1s to %dd", EVERY_MAX_DAYS);
        reader->part->every_ms = n * (DAY_MS / UNITS[i].per_day);
        return true;
    }
    return fail(reader, reader->at, "expected a unit: s, m, h or d");
}

static bool read_nickname(Reader *reader)
{
    static const struct {
        const char *name, *fields;
    } NICKNAMES[] = {
        {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
        {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"},
    };
    static const char ENDS[] = BLANKS "|";
    const char *here = reader->text + reader->at;
    size_t size = strcspn(here, ENDS), every = strlen("@every");
    if (size == every && strncmp(here, "@every", every) == 0) {
        reader->at += size;
        return read_every(reader);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(NICKNAMES); i++) {
        if (size == strlen(NICKNAMES[i].name) && strncmp(here, NICKNAMES[i].name, size) == 0) {
            reader->at += size;
            skip_blanks(reader);
            Reader fields = {.text = NICKNAMES[i].fields, .part = reader->part};
            bool is_ok = read_fields(&fields);
            g_assert(is_ok);
            return is_end_here(reader) || fail(reader, reader->at, "expected the end");
        }
    }
    return fail(reader, reader->at,
                "expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every");
}

/* One expression, up to its end. */
static bool read_part(Reader *reader, CronPart *ret_part)
{
    *ret_part = (CronPart){0};
    reader->part = ret_part;
    reader->start = reader->at;
    reader->field = NULL;
    skip_blanks(reader);
    if (is_end_here(reader))
        return fail(reader, reader->start, "expected an expression beside `|`");
    if (!(char_here(reader) == '@' ? read_nickname(reader) : read_fields(reader)))
        return false;
    skip_blanks(reader);
    g_assert(is_end_here(reader)); /* the fields were counted */
    return true;
}

static Cron *read_all(Reader *reader)
{
    const char *expression = reader->text;
    if (strnlen(expression, CRON_MAX_BYTES + 1) > CRON_MAX_BYTES) {
        fail(reader, CRON_MAX_BYTES, "a cron expression may have at most %d bytes", CRON_MAX_BYTES);
        return NULL;
    }
    if (expression[strspn(expression, BLANKS)] == '\0') {
        fail(reader, 0, "the expression is empty; leave it out for no schedule");
        return NULL;
    }
    size_t n_parts = 1;
    for (const char *c = expression; *c != '\0'; c++)
        n_parts += *c == JOINT;
    g_autofree Cron *cron = g_malloc0(sizeof(Cron) + n_parts * sizeof(CronPart));
    bool is_right = true;
    for (cron->n_parts = 0; cron->n_parts < n_parts; cron->n_parts++, reader->at++) { /* past the joint */
        is_right = read_part(reader, &cron->parts[cron->n_parts]) && is_right;
        if (!is_right && reader->faults == NULL)
            return NULL;
        reader->at += strcspn(expression + reader->at, "|");
    }
    return is_right ? g_steal_pointer(&cron) : NULL;
}

Cron *cron_parse(const char *expression, GError **error)
{
    Reader reader = {.text = expression, .error = error};
    return read_all(&reader);
}

GPtrArray *cron_faults(const char *expression)
{
    Reader reader = {.text = expression, .faults = g_ptr_array_new_with_free_func(g_free)};
    cron_free(read_all(&reader));
    return reader.faults;
}

void cron_free(Cron *cron)
{
    g_free(cron);
}

bool cron_check(const char *expression, GError **error)
{
    g_autoptr(Cron) cron = cron_parse(expression, error);
    return cron != NULL;
}
