/* clock.c - the two clocks, real and fake, and instants as text. Dates are computed (proleptic Gregorian, days counted
 * in eras of 400 years), not asked from libc: no locale, no time zone, no lock, and fast enough for every event. */
#include "base/clock.h"

#include <time.h>

#include "base/error.h"

#define MS_PER_SECOND INT64_C(1000)
#define MS_PER_DAY (INT64_C(86400) * MS_PER_SECOND)
#define FIRST_MS INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define LAST_MS INT64_C(253402300799999)  /* 9999-12-31T23:59:59.999Z */
#define DAYS_PER_ERA 146097               /* 400 years */
#define DAYS_TO_EPOCH 719468              /* from 0000-03-01, where the first era begins, to 1970-01-01 */

struct Clock {
    bool is_fake;
    int64_t start_ms;    /* fake: atomic; the wall clock's first reading, moved when it is set */
    int64_t advanced_ms; /* fake: atomic; both clocks follow this one number, so they part only when the wall is set */
};

Clock *clock_new_system(void)
{
    return g_new0(Clock, 1);
}

Clock *clock_new_fake(int64_t wall_ms)
{
    Clock *clock = g_new0(Clock, 1);
    clock->is_fake = true;
    clock->start_ms = wall_ms;
    return clock;
}

void clock_free(Clock *clock)
{
    g_free(clock);
}

void clock_fake_advance(Clock *clock, int64_t by_ms)
{
    g_assert(clock->is_fake);
    __atomic_add_fetch(&clock->advanced_ms, by_ms, __ATOMIC_SEQ_CST);
}

void clock_fake_set_wall(Clock *clock, int64_t by_ms)
{
    g_assert(clock->is_fake);
    __atomic_add_fetch(&clock->start_ms, by_ms, __ATOMIC_SEQ_CST);
}

static int64_t fake_advanced_ms(const Clock *clock)
{
    return __atomic_load_n(&clock->advanced_ms, __ATOMIC_SEQ_CST);
}

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);
    g_assert(failed == 0); /* only a clock id that does not exist fails */
    return now;
}

int64_t clock_read_ms(clockid_t id)
{
    struct timespec now = read_clock(id);
    return (int64_t)now.tv_sec * MS_PER_SECOND + now.tv_nsec / 1000000;
}

int64_t clock_wall_ms(const Clock *clock)
{
    if (clock->is_fake)
        return __atomic_load_n(&clock->start_ms, __ATOMIC_SEQ_CST) + fake_advanced_ms(clock);
    return clock_read_ms(CLOCK_REALTIME);
}

int64_t clock_monotonic_us(const Clock *clock)
{
    if (clock->is_fake)
        return fake_advanced_ms(clock) * 1000;
    struct timespec now = read_clock(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_ms(const Clock *clock)
{
    return clock_monotonic_us(clock) / 1000;
}

/* ---- instants ---- */

static char *put_digits(char *at, unsigned value, int n_digits)
{
    for (int i = n_digits - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + n_digits;
}

size_t instant_format(int64_t ms, char ret_text[INSTANT_TEXT_SIZE])
{
    g_assert(ms >= FIRST_MS && ms <= LAST_MS);
    unsigned since_start = (unsigned)((ms - FIRST_MS) / MS_PER_DAY);
    unsigned ms_of_day = (unsigned)((ms - FIRST_MS) % MS_PER_DAY);

    /* A year here begins with March, so a leap day is a year's last. One era is added, for January and February of
     * year 0 belong to the year before. */
    unsigned day = since_start + DAYS_PER_ERA - 60;
    unsigned era = day / DAYS_PER_ERA;
    unsigned day_of_era = day % DAYS_PER_ERA;
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    unsigned year = year_of_era + era * 400 + (month <= 2) - 400;

    char *at = put_digits(ret_text, year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day_of_year - (153 * month_from_march + 2) / 5 + 1, 2);
    *at++ = 'T';
    at = put_digits(at, ms_of_day / 3600000, 2);
    *at++ = ':';
    at = put_digits(at, ms_of_day / 60000 % 60, 2);
    *at++ = ':';
    at = put_digits(at, ms_of_day / 1000 % 60, 2);
    *at++ = '.';
    at = put_digits(at, ms_of_day % 1000, 3);
    *at++ = 'Z';
    *at = '\0';
    return (size_t)(at - ret_text);
}

/* Reads exactly n digits and moves on; a NUL is no digit, so this never runs past the end. */
static bool take_digits(const char **at, int n_digits, int *ret_value)
{
    int value = 0;
    for (int i = 0; i < n_digits; i++) {
        char c = (*at)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *at += n_digits;
    *ret_value = value;
    return true;
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap);
}

/* Days since 1970-01-01. */
static int64_t days_from_date(int year, int month, int day)
{
    int64_t march_year = (int64_t)year - (month <= 2) + 400; /* one era up, so that nothing is negative */
    int64_t era = march_year / 400;
    int64_t year_of_era = march_year % 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (era - 1) * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH;
}

static bool take_date(const char **at, int64_t *ret_days)
{
    int year, month, day;
    if (!take_digits(at, 4, &year) || !take_char(at, '-') || !take_digits(at, 2, &month) || !take_char(at, '-') ||
        !take_digits(at, 2, &day))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_of_month(year, month))
        return false;
    *ret_days = days_from_date(year, month, day);
    return true;
}

/* HH:MM, HH:MM:SS or HH:MM:SS.f...; seconds may be 60 here, which only the last minute of a UTC day may have. */
static bool take_time(const char **at, int64_t *ret_ms_of_minute, int64_t *ret_minutes)
{
    int hour, minute, second = 0, ms = 0;
    if (!take_digits(at, 2, &hour) || !take_char(at, ':') || !take_digits(at, 2, &minute))
        return false;
    if (take_char(at, ':')) {
        if (!take_digits(at, 2, &second))
            return false;
        if (take_char(at, '.')) {
            if (**at < '0' || **at > '9')
                return false;
            for (int unit = 100; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
                ms += (**at - '0') * unit;
        }
    }
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    *ret_minutes = hour * 60 + minute;
    *ret_ms_of_minute = (int64_t)second * MS_PER_SECOND + ms;
    return true;
}

/* Z, +HH, +HHMM or +HH:MM (or with a minus). */
static bool take_offset(const char **at, int64_t *ret_minutes)
{
    if (take_char(at, 'Z') || take_char(at, 'z')) {
        *ret_minutes = 0;
        return true;
    }
    int sign, hours, minutes = 0;
    if (take_char(at, '+'))
        sign = 1;
    else if (take_char(at, '-'))
        sign = -1;
    else
        return false;
    if (!take_digits(at, 2, &hours))
        return false;
    if (**at != '\0') {
        take_char(at, ':');
        if (!take_digits(at, 2, &minutes))
            return false;
    }
    if (hours > 23 || minutes > 59)
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

bool instant_parse(const char *text, int64_t *ret_ms)
{
    int64_t days, minutes, ms_of_minute, offset_minutes;
    const char *at = text;
    if (at == NULL || !take_date(&at, &days))
        return false;
    if (!take_char(&at, 'T') && !take_char(&at, 't'))
        return false;
    if (!take_time(&at, &ms_of_minute, &minutes) || !take_offset(&at, &offset_minutes) || *at != '\0')
        return false;

    int64_t utc_minutes = days * 1440 + minutes - offset_minutes;
    if (ms_of_minute >= 60 * MS_PER_SECOND) {
        if ((utc_minutes + 1) % 1440 != 0)
            return false;
        ms_of_minute = 60 * MS_PER_SECOND - 1;
    }
    int64_t ms = utc_minutes * 60 * MS_PER_SECOND + ms_of_minute;
    if (ms < FIRST_MS || ms > LAST_MS)
        return false;
    *ret_ms = ms;
    return true;
}
