/* test_cron.c - cron expressions and time zones: what is taken, what is refused and where. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "domain/cron.h"

static void accepts(void **state)
{
    (void)state;
    static const char *const CASES[] = {
        "* * * * *",
        "0 9 * * 1-5",
        "*/15 0,12 1-7 jan,JUL mon-fri",
        "0 0 29 2 *",
        "59 23 31 12 7",
        "0 0 * * 0",
        " 5\t4  * * sun ",
        "1-59/2 * * * *",
        "*/60 */24 */31 */12 */8",
        "30 0 0 1 1 *",
        "0,30 * * * * *",
        "0 0 30 2 1",
        "0 0 1,31 feb,mar *",
        "@hourly",
        "@daily",
        "@midnight",
        "@weekly",
        "@monthly",
        "@yearly",
        "@annually",
        " @hourly ",
        "@every 1s",
        "@every 90m",
        "@every 24h",
        "@every 366d",
        "@every\t5m",
        "5-5 * * * *",
        "0 0 L * *",
        "0 0 l-3,LW,15w,1 * *",
        "0 0 L-30 * *",
        "0 0 * * 5L,5#3,friL,SUN#1,7#5,0",
        "0 0 29 2 */6",
        "@every 90s|0 0 * * *|@daily",
        " @hourly | 0 0 1 1 * ",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        if (!cron_check(CASES[i], &error))
            fail_msg("%s: %s", CASES[i], error->message);
    }
}

static void refuses(void **state)
{
    (void)state;
#define COUNT "expected five fields (minute, hour, day of month, month, day of week) or six with seconds first, found "
#define NEVER "no month of these has such a day, so it would never start"
    static const struct {
        const char *text, *expected;
    } CASES[] = {
        {"", "column 1: the expression is empty; leave it out for no schedule"},
        {"  ", "column 1: the expression is empty; leave it out for no schedule"},
        {"* * * *", "column 1: " COUNT "4"},
        {"* * * * * * *", "column 1: " COUNT "7"},
        {"hello", "column 1: " COUNT "1"},
        {"60 * * * *", "minute, column 1: expected 0 to 59, found 60"},
        {"* 24 * * *", "hour, column 3: expected 0 to 23, found 24"},
        {"* * 0 * *", "day of month, column 5: expected 1 to 31, found 0"},
        {"* * * 13 *", "month, column 7: expected 1 to 12, found 13"},
        {"* * * * 8", "day of week, column 9: expected 0 to 7, found 8"},
        {"60 * * * * *", "second, column 1: expected 0 to 59, found 60"},
        {"99999999999999999999 * * * *", "minute, column 1: expected 0 to 59, found 99999999"},
        {"5/15 * * * *", "minute, column 2: a step needs `*` or a range before it, such as 5-59"},
        {"*/0 * * * *", "minute, column 3: expected a step from 1 to 60"},
        {"*/61 * * * *", "minute, column 3: expected a step from 1 to 60"},
        {"*/ * * * *", "minute, column 3: expected a step from 1 to 60"},
        {"30-10 * * * *", "minute, column 1: the range ends before it begins"},
        {"* * * * fri-sun",
         "day of week, column 9: the range ends before it begins (Sunday at the end of a range is 7)"},
        {"1,,2 * * * *", "minute, column 3: expected `*`, a number from 0 to 59"},
        {"1, * * * *", "minute, column 3: expected `*`, a number from 0 to 59"},
        {"-1 * * * *", "minute, column 1: expected `*`, a number from 0 to 59"},
        {"1- * * * *", "minute, column 3: expected `*`, a number from 0 to 59"},
        {"* * ? * *", "day of month, column 5: expected `*`, a number from 1 to 31"},
        {"* * * * L", "day of week, column 9: expected `*`, a number from 0 to 7 or a three-letter English name"},
        {"* L * * *", "hour, column 3: expected `*`, a number from 0 to 23"},
        {"* * L-0 * *", "day of month, column 7: expected 1 to 30 days before the last"},
        {"* * L-31 * *", "day of month, column 7: expected 1 to 30 days before the last"},
        {"* * L-x * *", "day of month, column 7: expected 1 to 30 days before the last"},
        {"* * LX * *", "day of month, column 6: expected `,`, `-`, `/` or a blank"},
        {"* * L-3W * *", "day of month, column 8: expected `,`, `-`, `/` or a blank"},
        {"* * 32W * *", "day of month, column 5: expected 1 to 31, found 32"},
        {"* * 1-5W * *", "day of month, column 8: expected `,`, `-`, `/` or a blank"},
        {"* * * * 5#0", "day of week, column 11: expected 1 to 5: which of them in the month"},
        {"* * * * fri#6", "day of week, column 13: expected 1 to 5: which of them in the month"},
        {"* * * * 5#", "day of week, column 11: expected 1 to 5: which of them in the month"},
        {"* * * * 5L/2", "day of week, column 11: expected `,`, `-`, `/` or a blank"},
        {"* * * * friLx", "day of week, column 9: expected `*`, a number from 0 to 7 or a three-letter English name"},
        {"5W * * * *", "minute, column 2: expected `,`, `-`, `/` or a blank"},
        {"* * * foo *", "month, column 7: expected `*`, a number from 1 to 12 or a three-letter English name"},
        {"* * * january *", "month, column 7: expected `*`, a number from 1 to 12 or a three-letter English name"},
        {"** * * * *", "minute, column 2: expected `,`, `-`, `/` or a blank"},
        {"1.5 * * * *", "minute, column 2: expected `,`, `-`, `/` or a blank"},
        {"* * * * *\n", "day of week, column 10: expected `,`, `-`, `/` or a blank"},
        {"0 0 30 2 *", "column 1: " NEVER},
        {"0 0 31 4,6,9,nov *", "column 1: " NEVER},
        {"0 0 30 2 */2", "column 1: " NEVER},
        {"30 2 31 2 *", "column 1: " NEVER},
        {"0 0 31W 2,4 *", "column 1: " NEVER},
        {"0 0 */31 2 */7 | 0 0 30 2 *", "column 17: " NEVER},
        {"|@hourly", "column 1: expected an expression beside `|`"},
        {"@hourly|", "column 9: expected an expression beside `|`"},
        {"@hourly | | @daily", "column 10: expected an expression beside `|`"},
        {"@hourly|61 * * * *", "minute, column 9: expected 0 to 59, found 61"},
        {"@hourly|* * * *", "column 9: " COUNT "4"},
        {"@every 5x|@hourly", "column 9: expected a unit: s, m, h or d"},
        {"@reboot", "column 1: expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every"},
        {"@hourly x", "column 9: expected the end"},
        {"@every", "column 7: expected a number and a unit (s, m, h or d), such as `@every 5m`"},
        {"@every 5", "column 9: expected a unit: s, m, h or d"},
        {"@every 5w", "column 9: expected a unit: s, m, h or d"},
        {"@every 1ms", "column 8: expected an interval from 1s to 366d"},
        {"@every 0s", "column 8: expected an interval from 1s to 366d"},
        {"@every 367d", "column 8: expected an interval from 1s to 366d"},
        {"@every 99999999999999999999s", "column 8: expected an interval from 1s to 366d"},
        {"@every 5m30s", "column 10: expected the end"},
        {"@every -5m", "column 8: expected a number and a unit (s, m, h or d), such as `@every 5m`"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        if (cron_check(CASES[i].text, &error))
            fail_msg("%s was taken", CASES[i].text);
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_string_equal(error->message, CASES[i].expected);
    }
}

static void tells_every_fault(void **state)
{
    (void)state;
    static const char *const EXPECTED[] = {
        "minute, column 1: expected 0 to 59, found 60",
        "hour, column 4: expected 0 to 23, found 24",
        "month, column 9: expected 1 to 12, found 13",
        "day of week, column 12: expected `*`, a number from 0 to 7 or a three-letter English name",
        "column 24: expected a unit: s, m, h or d",
        ("column 28: " COUNT "4"),
        "second, column 38: expected 0 to 59, found 61",
        "day of week, column 49: expected 0 to 7, found 8",
        ("column 52: " NEVER),
    };
    g_autoptr(GPtrArray) faults = cron_faults("60 24 * 13 x,1|@every 5x | * * * * | 61 0 * * * 8 | 0 0 30 2 *");
    assert_int_equal(faults->len, G_N_ELEMENTS(EXPECTED));
    for (guint i = 0; i < faults->len; i++)
        assert_string_equal(faults->pdata[i], EXPECTED[i]);
    g_autoptr(GPtrArray) none = cron_faults("0 0 13 * fri | @hourly");
    assert_int_equal(none->len, 0);
}

static void refuses_what_is_too_long(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = g_strnfill(CRON_MAX_BYTES + 1, ' ');
    assert_false(cron_check(text, &error));
    assert_string_equal(error->message, "column 257: a cron expression may have at most 256 bytes");
}

static void time_zones(void **state)
{
    (void)state;
    static const char *const GOOD[] = {"UTC",     "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5",
                                       "EST5EDT", "GMT0",          "America/Port-au-Prince"};
    static const char *const BAD[] = {"",
                                      "Z",
                                      "utc",
                                      "europe/berlin",
                                      "Europe/Atlantis",
                                      "Europe",
                                      "Europe/",
                                      "Europe//Berlin",
                                      "../etc/passwd",
                                      "/etc/localtime",
                                      "Europe/../Europe/Berlin",
                                      "localtime",
                                      "posix/Europe/Berlin",
                                      "leapseconds",
                                      "zone.tab",
                                      "+05:00",
                                      "GMT+2",
                                      "ABC5DEF",
                                      "EST5EDT,M3.2.0,M11.1.0",
                                      " UTC",
                                      "UTC\n",
                                      "Europe/Berlin\xc3\xa9"};
    g_autofree char *overlong = g_strnfill(100000, 'A');
    for (size_t i = 0; i < G_N_ELEMENTS(GOOD); i++) {
        g_autoptr(GError) error = NULL;
        if (!timezone_check(GOOD[i], &error))
            fail_msg("%s: %s", GOOD[i], error->message);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(BAD); i++) {
        g_autoptr(GError) error = NULL;
        if (timezone_check(BAD[i], &error))
            fail_msg("%s was taken", BAD[i]);
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_string_equal(error->message, "expected an IANA time zone known here, such as Europe/Paris, or UTC");
    }
    assert_false(timezone_check(overlong, NULL));
}

#define MS_PER_SECOND INT64_C(1000)

static CronZone *zone_of(const char *name)
{
    g_autoptr(GError) error = NULL;
    CronZone *zone = cron_zone_new(name, &error);
    if (zone == NULL)
        fail_msg("%s: %s", name, error->message);
    return zone;
}

/* `expression` after an instant gives these slots and, in `then`, the one after them. Instants are UTC. */
static void assert_slots(const char *zone_name, const char *expression, const char *after, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CronZone) zone = zone_of(zone_name);
    g_autoptr(Cron) cron = cron_parse(expression, &error);
    int64_t at;
    if (cron == NULL)
        fail_msg("%s: %s", expression, error->message);
    assert_true(instant_parse(after, &at));
    g_auto(GStrv) wanted = g_strsplit(expected, " ", -1);
    for (size_t i = 0; wanted[i] != NULL; i++) {
        char text[INSTANT_TEXT_SIZE];
        if (!cron_next(cron, zone, at, &at))
            fail_msg("%s in %s ends before slot %zu", expression, zone_name, i);
        instant_format(at, text);
        if (!g_str_has_prefix(text, wanted[i]))
            fail_msg("%s in %s: slot %zu is %s, expected %s", expression, zone_name, i, text, wanted[i]);
    }
}

static void slots_of_plain_expressions(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *after, *expected;
    } CASES[] = {
        {"* * * * *", "2026-01-31T23:58:59.999Z", "2026-01-31T23:59:00.000 2026-02-01T00:00:00.000"},
        {"* * * * *", "2026-01-31T23:59:00.000Z", "2026-02-01T00:00"},
        {"* * * * * *", "2026-12-31T23:59:58.001Z", "2026-12-31T23:59:59.000 2027-01-01T00:00:00.000"},
        {"0 9 * * mon-fri", "2026-01-30T09:00:00Z", "2026-02-02T09:00 2026-02-03T09:00"},
        {"0 0 13 * 5", "2026-02-01T00:00:00Z", "2026-02-06 2026-02-13 2026-02-20 2026-02-27 2026-03-06"},
        {"0 0 */13 * 5", "2026-02-01T00:00:00Z", "2026-02-27T00:00 2026-03-27T00:00 2026-05-01T00:00"},
        {"0 0 29 2 *", "2096-02-28T00:00:00Z", "2096-02-29T00:00"},
        {"0 0 L 2 *", "2024-01-01T00:00:00Z", "2024-02-29 2025-02-28"},
        {"0 0 L-3 * *", "2026-02-01T00:00:00Z", "2026-02-25 2026-03-28"},
        {"0 0 LW * *", "2026-01-01T00:00:00Z", "2026-01-30 2026-02-27 2026-03-31 2026-04-30 2026-05-29"},
        {"0 0 15W * *", "2026-01-01T00:00:00Z", "2026-01-15 2026-02-16 2026-03-16 2026-04-15 2026-05-15 2026-06-15"},
        {"0 0 1W * *", "2026-01-02T00:00:00Z", "2026-02-02 2026-03-02 2026-04-01 2026-05-01 2026-06-01 2026-07-01"},
        {"0 0 1W 8 *", "2026-01-02T00:00:00Z", "2026-08-03"},
        {"0 0 31W * *", "2026-01-01T00:00:00Z", "2026-01-30 2026-03-31 2026-05-29"},
        {"0 0 * * 5L", "2026-01-01T00:00:00Z", "2026-01-30 2026-02-27 2026-03-27"},
        {"0 0 * * 5#3", "2026-01-01T00:00:00Z", "2026-01-16 2026-02-20 2026-03-20"},
        {"0 0 * * 7#5", "2026-01-01T00:00:00Z", "2026-03-29 2026-05-31"},
        {"@every 90s", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30 2026-01-01T00:03:00"},
        {"@every 7d", "2026-01-01T00:00:01Z", "2026-01-08T00:00:00 2026-01-15"},
        {"0 12 * * *|@every 12h|0 6 * * *", "2026-01-01T00:00:00Z",
         "2026-01-01T06 2026-01-01T12 2026-01-02T00 2026-01-02T06"},
        {"0 0 1 1 *", "1969-12-31T00:00:00Z", "1970-01-01T00:00:00.000 1971"},
        {"@every 1s", "1960-01-01T00:00:00Z", "1970-01-01T00:00:00.000 1970-01-01T00:00:01.000"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++)
        assert_slots("UTC", CASES[i].expression, CASES[i].after, CASES[i].expected);
}

/* Fixed times: in the gap once right after it, in the repeated hour once. Intervals: real time. */
static void slots_around_changed_clocks(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *expression, *after, *expected;
    } CASES[] = {
        /* +1 to +2 at 2026-03-29 01:00Z, back at 2026-10-25 01:00Z */
        {"Europe/Berlin", "30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-29T01:00 2026-03-30T00:30"},
        {"Europe/Berlin", "30 2 * * *", "2026-03-29T00:59:59Z", "2026-03-29T01:00 2026-03-30T00:30"},
        {"Europe/Berlin", "30 2 * * *", "2026-03-29T01:00:00Z", "2026-03-30T00:30"},
        {"Europe/Berlin", "0,15,30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-29T01:00 2026-03-30T00:00"},
        {"Europe/Berlin", "30 2,3 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:00 2026-03-29T01:30 2026-03-30T00:30"},
        {"Europe/Berlin", "0 2,3 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:00 2026-03-30T00:00"},
        {"Europe/Berlin", "*/30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-30T00:00 2026-03-30T00:30"},
        {"Europe/Berlin", "30 1-3 * * *", "2026-03-29T00:00:00Z", "2026-03-29T00:30 2026-03-29T01:30 2026-03-29T23:30"},
        {"Europe/Berlin", "30 * * * *", "2026-03-29T00:00:00Z", "2026-03-29T00:30 2026-03-29T01:30"},
        {"Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30 2026-10-26T01:30"},
        {"Europe/Berlin", "30 2 * * *", "2026-10-25T01:10:00Z", "2026-10-26T01:30"},
        {"Europe/Berlin", "0 3 * * *", "2026-10-24T12:00:00Z", "2026-10-25T02:00 2026-10-26T02:00"},
        {"Europe/Berlin", "0 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:00 2026-10-26T01:00"},
        {"Europe/Berlin", "*/30 2 * * *", "2026-10-24T12:00:00Z",
         "2026-10-25T00:00 2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30 2026-10-26T01:00"},
        {"Europe/Berlin", "0 */2 * * *", "2026-10-24T23:00:00Z", "2026-10-25T00:00 2026-10-25T01:00 2026-10-25T03:00"},
        /* -5 to -4 at 2026-03-08 07:00Z, back at 2026-11-01 06:00Z */
        {"America/New_York", "30 2 * * *", "2026-03-08T00:00:00Z", "2026-03-08T07:00 2026-03-09T06:30"},
        {"America/New_York", "30 1 * * *", "2026-10-31T12:00:00Z", "2026-11-01T05:30 2026-11-02T06:30"},
        {"America/New_York", "*/30 1 * * *", "2026-10-31T12:00:00Z",
         "2026-11-01T05:00 2026-11-01T05:30 2026-11-01T06:00 2026-11-01T06:30 2026-11-02T06:00"},
        /* half an hour: +11 to +10:30 at 2026-04-04 15:00Z, back at 2026-10-03 15:30Z */
        {"Australia/Lord_Howe", "45 1 * * *", "2026-04-04T00:00:00Z", "2026-04-04T14:45 2026-04-05T15:15"},
        {"Australia/Lord_Howe", "*/15 1 * * *", "2026-04-04T14:00:00Z",
         "2026-04-04T14:15 2026-04-04T14:30 2026-04-04T14:45 2026-04-04T15:00 2026-04-04T15:15 2026-04-05T14:30"},
        {"Australia/Lord_Howe", "15 2 * * *", "2026-10-03T00:00:00Z", "2026-10-03T15:30 2026-10-04T15:15"},
        {"Australia/Lord_Howe", "15,45 2 * * *", "2026-10-03T00:00:00Z", "2026-10-03T15:30 2026-10-03T15:45"},
        /* midnight: -3 to -2 at 2018-11-04 03:00Z, back at 2019-02-17 02:00Z, the last time */
        {"America/Sao_Paulo", "@daily", "2018-11-03T12:00:00Z", "2018-11-04T03:00 2018-11-05T02:00"},
        {"America/Sao_Paulo", "30 23 * * *", "2019-02-16T12:00:00Z", "2019-02-17T01:30 2019-02-18T02:30"},
        {"America/Sao_Paulo", "@daily", "2019-11-02T12:00:00Z", "2019-11-03T03:00 2019-11-04T03:00"},
        /* no changes, half an hour off */
        {"Asia/Kolkata", "30 2 * * *", "2026-03-28T00:00:00Z", "2026-03-28T21:00 2026-03-29T21:00"},
        /* 2011-12-30 was left out: -10 to +14 at 10:00Z */
        {"Pacific/Apia", "0 12 * * *", "2011-12-29T12:00:00Z", "2011-12-29T22:00 2011-12-30T10:00 2011-12-30T22:00"},
        {"Pacific/Apia", "0 */12 * * *", "2011-12-29T12:00:00Z", "2011-12-29T22:00 2011-12-30T10:00 2011-12-30T22:00"},
        {"Pacific/Apia", "0 12 30 12 *", "2010-12-31T12:00:00Z", "2011-12-30T10:00 2012-12-29T22:00"},
        /* Ramadan: +1 to 0 at 2026-02-15 02:00Z, back at 2026-03-22 02:00Z */
        {"Africa/Casablanca", "30 2 * * *", "2026-02-14T12:00:00Z", "2026-02-15T01:30 2026-02-16T02:30"},
        {"Africa/Casablanca", "30 2 * * *", "2026-03-21T12:00:00Z", "2026-03-22T02:00 2026-03-23T01:30"},
        /* winter time is the exception, not summer time: the clock is the same */
        {"Europe/Dublin", "30 1 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:00 2026-03-30T00:30"},
        {"Europe/Dublin", "30 1 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30 2026-10-26T01:30"},
        {"Europe/Dublin", "*/30 1 * * *", "2026-10-24T12:00:00Z",
         "2026-10-25T00:00 2026-10-25T00:30 2026-10-25T01:00 2026-10-25T01:30 2026-10-26T01:00"},
        {"Europe/Dublin", "0 12 15 1,7 *", "2050-01-01T00:00:00Z",
         "2050-01-15T12:00 2050-07-15T11:00 2051-01-15T12:00"},
        /* -3 to -4 at 2026-04-05 03:00Z, back at 2026-09-06 04:00Z: at midnight */
        {"America/Santiago", "30 23 * * *", "2026-04-04T12:00:00Z", "2026-04-05T02:30 2026-04-06T03:30"},
        {"America/Santiago", "30 0 * * *", "2026-09-05T12:00:00Z", "2026-09-06T04:00 2026-09-07T03:30"},
        /* two hours: 0 to +2 at 2026-03-29 01:00Z, back at 2026-10-25 01:00Z */
        {"Antarctica/Troll", "30 1,2 * * *", "2026-03-28T12:00:00Z",
         "2026-03-29T01:00 2026-03-29T23:30 2026-03-30T00:30"},
        {"Antarctica/Troll", "30 1,2 * * *", "2026-10-24T12:00:00Z",
         "2026-10-24T23:30 2026-10-25T00:30 2026-10-26T01:30"},
        {"Antarctica/Troll", "30 * * * *", "2026-10-24T23:00:00Z",
         "2026-10-24T23:30 2026-10-25T00:30 2026-10-25T01:30 2026-10-25T02:30"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++)
        assert_slots(CASES[i].zone, CASES[i].expression, CASES[i].after, CASES[i].expected);
}

static void slots_end_with_2099(void **state)
{
    (void)state;
    g_autoptr(Cron) cron = cron_parse("59 59 23 31 12 *", NULL);
    g_autoptr(Cron) leap_day = cron_parse("0 0 29 2 *", NULL);
    int64_t at, last;
    assert_true(instant_parse("2099-12-31T23:59:59Z", &last));
    assert_true(cron_next(cron, NULL, last - 1, &at));
    assert_true(at == last);
    assert_false(cron_next(cron, NULL, last, &at));
    assert_false(cron_next(cron, NULL, INT64_MAX, &at));
    assert_false(
        cron_next(leap_day, NULL, last - INT64_C(3) * 365 * 86400 * MS_PER_SECOND, &at)); /* 2100 is no leap year */
    assert_true(at == last);                                                              /* untouched */
    assert_true(cron_next(cron, NULL, INT64_MIN, &at));
}

static void zones_are_kept_up_to_a_bound(void **state)
{
    (void)state;
    g_autoptr(CronZones) zones = cron_zones_new(2);
    g_autoptr(GError) error = NULL;
    g_autoptr(CronZone) berlin = cron_zones_open(zones, "Europe/Berlin", NULL);
    g_autoptr(CronZone) again = cron_zones_open(zones, "Europe/Berlin", NULL);
    assert_ptr_equal(berlin, again);
    g_autoptr(CronZone) utc = cron_zones_open(zones, NULL, NULL);
    g_autoptr(CronZone) more = cron_zones_open(zones, "Asia/Tokyo", NULL); /* no room: all are in use */
    g_autoptr(CronZone) other = cron_zones_open(zones, "Asia/Tokyo", NULL);
    assert_true(more != other);
    assert_string_equal(cron_zone_name(more), "Asia/Tokyo");
    assert_string_equal(cron_zone_name(utc), "UTC");
    assert_string_equal(cron_zone_name(NULL), "UTC");
    assert_int_equal(cron_zone_offset_s(more, 0), 9 * 3600);
    assert_int_equal(cron_zone_offset_s(NULL, 0), 0);
    g_clear_pointer(&utc, cron_zone_unref);
    g_autoptr(CronZone) kept = cron_zones_open(zones, "Asia/Tokyo", NULL);
    g_autoptr(CronZone) found = cron_zones_open(zones, "Asia/Tokyo", NULL);
    assert_ptr_equal(kept, found);
    assert_null(cron_zones_open(zones, "Europe/Atlantis", &error));
    assert_int_equal(error->code, FLOWOPS_INVALID);
}

static void near_zones_are_suggested(void **state)
{
    (void)state;
    static const char *const KNOWN[] = {
        "Africa/Abidjan", "Europe/Berlin", "Europe/Bern", "posix/Europe/Berlim", "Asia/Tokyo", "America/New_York",
        "America/Nome",   "UTC",           "GMT",         "US/Eastern",          "Cuba",       NULL};
    static const struct {
        const char *name, *expected;
    } CASES[] = {
        {"Europe/Berln", "Europe/Berlin, Europe/Bern"},
        {"Europe/Berlim", "Europe/Berlin"},
        {"europe/berlin", "Europe/Berlin"},
        {"Berlin", "Europe/Berlin"},
        {"tokio", "Asia/Tokyo"},
        {"America/NewYork", "America/New_York"},
        {"US/Esatern", "US/Eastern"},
        {"ABC", NULL},
        {"", NULL},
        {"Mars/Base", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autofree char *near = timezone_suggest(CASES[i].name, KNOWN);
        if (g_strcmp0(near, CASES[i].expected) != 0)
            fail_msg("%s: %s, expected %s", CASES[i].name, near, CASES[i].expected);
    }
    g_autofree char *overlong = g_strnfill(100000, 'A');
    assert_null(timezone_suggest(overlong, KNOWN));
}

static void descriptions(void **state)
{
    (void)state;
    static const struct {
        const char *expression, *expected;
    } CASES[] = {
        {"30 2 * * 1-5", "at 02:30 on Monday to Friday"},
        {"30 2 * * *", "at 02:30 every day"},
        {"@hourly", "every hour"},
        {"* * * * *", "every minute"},
        {"* * * * * *", "every second"},
        {"*/15 * * * *", "every 15 minutes"},
        {"*/7 9 * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of hour 9"},
        {"*/15 9-17 * * mon-fri", "every 15 minutes of hours 9 to 17 on Monday to Friday"},
        {"5 * * * *", "at minute 5 of every hour"},
        {"5,20 * * * *", "at minutes 5 and 20 of every hour"},
        {"0 */2 * * *", "every 2 hours"},
        {"30 */2 * * *", "at minute 30 of every 2nd hour"},
        {"*/10 * * * * *", "every 10 seconds"},
        {"*/10 */5 9-12 * * *", "every 10 seconds of every 5th minute of hours 9 to 12"},
        {"15 30 9 * * *", "at 09:30:15 every day"},
        {"0 6,18 * * *", "at 06:00 and 18:00 every day"},
        {"0 0 1 * *", "at 00:00 on day 1 of the month"},
        {"0 0 1,15 1,7 *", "at 00:00 on days 1 and 15 of the month in January and July"},
        {"0 0 L * *", "at 00:00 on the last day of the month"},
        {"0 0 L-3,LW,15W * *",
         "at 00:00 on the 3rd day before the last, the working day nearest to day 15 and the last "
         "working day of the month"},
        {"0 0 * * 5L", "at 00:00 on the last Friday of the month"},
        {"0 0 * * 5#3", "at 00:00 on the third Friday of the month"},
        {"0 0 13 * fri", "at 00:00 on day 13 of the month or on Friday"},
        {"0 0 */10 * fri", "at 00:00 on days 1, 11, 21 and 31 of the month if it is Friday"},
        {"0 0 29 2 */6", "at 00:00 on day 29 of the month if it is Saturday or Sunday in February"},
        {"0 0 * 3-5 sat,sun", "at 00:00 on Saturday and Sunday in March to May"},
        {"@weekly|@every 90m", "at 00:00 on Sunday; and every 90 minutes, counted from 1970-01-01 00:00 UTC"},
        {"@every 1d", "every day, counted from 1970-01-01 00:00 UTC"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(Cron) cron = cron_parse(CASES[i].expression, NULL);
        assert_non_null(cron);
        g_autofree char *text = cron_describe(cron);
        if (strcmp(text, CASES[i].expected) != 0)
            fail_msg("%s: \"%s\", expected \"%s\"", CASES[i].expression, text, CASES[i].expected);
    }
}

static void a_walk_gives_what_next_gives(void **state)
{
    (void)state;
    static const char *const CASES[] = {"*/7 * * * *", "30 2 * * *|@every 90m|0 0 29 2 *",
                                        "@daily|0 0 * * *|0 0 * * mon", "0 0 1 1 *", "*/15 1-3 * mar,oct *|0 3 * * *"};
    g_autoptr(CronZone) zone = cron_zone_new("Europe/Berlin", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(Cron) cron = cron_parse(CASES[i], NULL);
        static const int64_t BEGINS[] = {-5, INT64_C(1774700000000), INT64_C(4102300000000), INT64_C(4102444800000)};
        for (size_t k = 0; k < G_N_ELEMENTS(BEGINS); k++) {
            g_auto(CronWalk) walk;
            cron_walk_init(&walk, cron, zone, BEGINS[k]);
            int64_t slot = BEGINS[k], walked;
            bool has_next = true;
            for (int n = 0; n < 5000 && has_next; n++) {
                has_next = cron_next(cron, zone, slot, &slot);
                assert_int_equal(cron_walk_next(&walk, &walked), has_next);
                if (has_next && walked != slot)
                    fail_msg("%s: %" G_GINT64_FORMAT " instead of %" G_GINT64_FORMAT, CASES[i], walked, slot);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(tells_every_fault),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(time_zones),
        cmocka_unit_test(zones_are_kept_up_to_a_bound),
        cmocka_unit_test(near_zones_are_suggested),
        cmocka_unit_test(slots_of_plain_expressions),
        cmocka_unit_test(slots_around_changed_clocks),
        cmocka_unit_test(slots_end_with_2099),
        cmocka_unit_test(a_walk_gives_what_next_gives),
        cmocka_unit_test(descriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
