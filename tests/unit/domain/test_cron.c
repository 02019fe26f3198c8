/* test_cron.c - cron expressions and time zones: what is taken, what is refused and where. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

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
        {"* * L * *", "day of month, column 5: expected `*`, a number from 1 to 31"},
        {"* * * foo *", "month, column 7: expected `*`, a number from 1 to 12 or a three-letter English name"},
        {"* * * january *", "month, column 7: expected `*`, a number from 1 to 12 or a three-letter English name"},
        {"** * * * *", "minute, column 2: expected `,`, `-`, `/` or a blank"},
        {"1.5 * * * *", "minute, column 2: expected `,`, `-`, `/` or a blank"},
        {"* * * * *\n", "day of week, column 10: expected `,`, `-`, `/` or a blank"},
        {"0 0 30 2 *", "column 1: " NEVER},
        {"0 0 31 4,6,9,nov *", "column 1: " NEVER},
        {"0 0 30 2 */2", "column 1: " NEVER},
        {"@reboot", "column 1: expected @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly or @every"},
        {"@hourly x", "column 9: expected the end"},
        {"@every", "column 7: expected a number and a unit (s, m, h or d), such as `@every 5m`"},
        {"@every 5", "column 9: expected a unit: s, m, h or d"},
        {"@every 5w", "column 9: expected a unit: s, m, h or d"},
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(time_zones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
