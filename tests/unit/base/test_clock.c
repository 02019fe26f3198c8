/* test_clock.c - clocks, and instants as text: checked against GLib's calendar and at every edge the format has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "base/clock.h"

#define YEAR_0 INT64_C(-62167219200000)
#define YEAR_9999_END INT64_C(253402300799999)

static void the_system_clock_tells_the_time(void **state)
{
    (void)state;
    g_autoptr(Clock) clock = clock_new_system();
    int64_t before = (int64_t)time(NULL) * 1000;
    int64_t now = clock_wall_ms(clock);
    assert_true(now >= before - 1000 && now < before + 60000);
    int64_t first_us = clock_monotonic_us(clock);
    int64_t second_us = clock_monotonic_us(clock);
    assert_true(first_us > 0 && second_us >= first_us);
    assert_true(clock_monotonic_ms(clock) >= first_us / 1000);
}

static void a_fake_clock_moves_only_when_told(void **state)
{
    (void)state;
    g_autoptr(Clock) clock = clock_new_fake(1700000000123);
    assert_int_equal(clock_wall_ms(clock), 1700000000123);
    assert_int_equal(clock_monotonic_ms(clock), 0);
    clock_fake_advance(clock, 1500);
    assert_int_equal(clock_wall_ms(clock), 1700000001623);
    assert_int_equal(clock_monotonic_ms(clock), 1500);
    assert_int_equal(clock_monotonic_us(clock), 1500000);
}

static void freeing_no_clock_is_fine(void **state)
{
    (void)state;
    clock_free(NULL);
}

static void assert_formats(int64_t ms, const char *expected)
{
    char text[INSTANT_TEXT_SIZE];
    assert_int_equal(instant_format(ms, text), 24);
    assert_string_equal(text, expected);
    int64_t parsed;
    assert_true(instant_parse(text, &parsed));
    assert_int_equal(parsed, ms);
}

static void instants_are_written(void **state)
{
    (void)state;
    assert_formats(0, "1970-01-01T00:00:00.000Z");
    assert_formats(-1, "1969-12-31T23:59:59.999Z");
    assert_formats(1769850000123, "2026-01-31T09:00:00.123Z");
    assert_formats(951782400000, "2000-02-29T00:00:00.000Z");
    assert_formats(951868799999, "2000-02-29T23:59:59.999Z");
    assert_formats(951868800000, "2000-03-01T00:00:00.000Z");
    assert_formats(4107542400000, "2100-03-01T00:00:00.000Z");
    assert_formats(4107542399999, "2100-02-28T23:59:59.999Z");
}

static void the_first_and_the_last_year_are_written(void **state)
{
    (void)state;
    assert_formats(YEAR_0, "0000-01-01T00:00:00.000Z");
    assert_formats(YEAR_0 + INT64_C(59) * 86400000, "0000-02-29T00:00:00.000Z");
    assert_formats(YEAR_0 + INT64_C(60) * 86400000, "0000-03-01T00:00:00.000Z");
    assert_formats(YEAR_9999_END, "9999-12-31T23:59:59.999Z");
}

/* Every day of years 1-9999, against another implementation of the same calendar. */
static void every_day_agrees_with_glib(void **state)
{
    (void)state;
    g_autoptr(GDate) date = g_date_new_dmy(1, G_DATE_JANUARY, 1);
    int64_t ms = INT64_C(-62135596800000) + 43200000 + 1;
    char text[INSTANT_TEXT_SIZE], expected[64];
    int n_bad = 0;
    for (; g_date_get_year(date) <= 9999; g_date_add_days(date, 1), ms += 86400000) {
        g_snprintf(expected, sizeof expected, "%04d-%02d-%02dT12:00:00.001Z", g_date_get_year(date),
                   g_date_get_month(date), g_date_get_day(date));
        instant_format(ms, text);
        int64_t parsed = 0;
        n_bad += strcmp(text, expected) != 0 || !instant_parse(expected, &parsed) || parsed != ms;
        if (ms > YEAR_9999_END - 86400000)
            break;
    }
    assert_int_equal(n_bad, 0);
    assert_int_equal(g_date_get_year(date), 9999);
}

typedef struct {
    const char *text;
    int64_t ms;
} Accepted;

static void instants_are_read(void **state)
{
    (void)state;
    static const Accepted table[] = {
        {"2026-01-31T09:00:00Z", 1769850000000},
        {"2026-01-31T09:00:00.1Z", 1769850000100},
        {"2026-01-31T09:00:00.12Z", 1769850000120},
        {"2026-01-31T09:00:00.123Z", 1769850000123},
        {"2026-01-31T09:00:00.123999999Z", 1769850000123}, /* cut, not rounded */
        {"2026-01-31T09:00:00.000999999999999999999999999Z", 1769850000000},
        {"2026-01-31T09:00Z", 1769850000000}, /* ISO 8601, and what some mappers write for whole minutes */
        {"2026-01-31t09:00:00z", 1769850000000},
        {"2026-01-31T09:00:00+00:00", 1769850000000},
        {"2026-01-31T09:00:00-00:00", 1769850000000},
        {"2026-01-31T10:30:00+01:30", 1769850000000},
        {"2026-01-31T10:30:00+0130", 1769850000000},
        {"2026-01-31T10:00:00+01", 1769850000000},
        {"2026-01-30T23:00:00-10:00", 1769850000000},
        {"2026-02-01T08:59:00+23:59", 1769850000000},
        {"0000-01-01T00:00:00Z", YEAR_0},
        {"0000-01-01T23:59:00+23:59", YEAR_0},
        {"9999-12-31T23:59:59.9999999Z", YEAR_9999_END},
        {"9999-12-31T22:59:59.999-01:00", YEAR_9999_END},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(table); i++) {
        int64_t ms = INSTANT_NONE;
        if (!instant_parse(table[i].text, &ms) || ms != table[i].ms)
            fail_msg("%s was read as %" G_GINT64_FORMAT, table[i].text, ms);
    }
}

static void a_leap_second_is_the_last_millisecond_before_it(void **state)
{
    (void)state;
    static const char *const texts[] = {"2016-12-31T23:59:60Z", "2016-12-31T23:59:60.000Z", "2016-12-31T23:59:60.5Z",
                                        "2017-01-01T00:59:60+01:00", "2016-12-31T15:59:60.999-08:00"};
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        int64_t ms = 0;
        assert_true(instant_parse(texts[i], &ms));
        assert_int_equal(ms, 1483228799999);
    }
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "2",
        "2026",
        "2026-01-31",
        "2026-01-31T",
        "2026-01-31T09",
        "2026-01-31T09:00",
        "2026-01-31T09:00:00",
        "2026-01-31T09:00:00.",
        "2026-01-31T09:00:00.Z",
        "2026-01-31T09:00:00,1Z",
        "2026-01-31 09:00:00Z",
        " 2026-01-31T09:00:00Z",
        "2026-01-31T09:00:00Z ",
        "2026-01-31T09:00:00Z\n",
        "2026-01-31T09:00:00ZZ",
        "2026-1-31T09:00:00Z",
        "2026-01-31T9:00:00Z",
        "02026-01-31T09:00:00Z",
        "+2026-01-31T09:00:00Z",
        "-2026-01-31T09:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026/01/31T09:00:00Z",
        "20260131T090000Z",
        "2026-00-31T09:00:00Z",
        "2026-13-31T09:00:00Z",
        "2026-01-00T09:00:00Z",
        "2026-01-32T09:00:00Z",
        "2026-02-29T09:00:00Z",
        "2100-02-29T09:00:00Z",
        "2026-04-31T09:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T09:60:00Z",
        "2026-01-31T09:00:61Z",
        "2026-01-31T09:00:60Z",
        "2016-12-31T23:59:60+01:00",
        "2026-01-31T09:00:00+24:00",
        "2026-01-31T09:00:00+00:60",
        "2026-01-31T09:00:00+1:00",
        "2026-01-31T09:00:00+01:",
        "2026-01-31T09:00:00+01:0",
        "2026-01-31T09:00:00+01:000",
        "2026-01-31T09:00:00+",
        "2026-01-31T09:00:00UTC",
        "2026-01-31T09:00:00.1.2Z",
        "2026-01-31T09:00:00.12a3Z",
        "1769850000.123",
        "0000-01-01T00:00:00+00:01",                        /* a year before 0 */
        "9999-12-31T23:59:59-00:01",                        /* a year after 9999 */
        "\xd9\xa2\xd9\xa0\xd9\xa2\xd9\xa6-01-31T09:00:00Z", /* digits, but not ASCII's */
    };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        int64_t ms = 77;
        if (instant_parse(texts[i], &ms))
            fail_msg("accepted: \"%s\"", texts[i]);
        assert_int_equal(ms, 77); /* untouched on failure */
    }
    int64_t ms = 77;
    assert_false(instant_parse(NULL, &ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_system_clock_tells_the_time),
        cmocka_unit_test(a_fake_clock_moves_only_when_told),
        cmocka_unit_test(freeing_no_clock_is_fine),
        cmocka_unit_test(instants_are_written),
        cmocka_unit_test(the_first_and_the_last_year_are_written),
        cmocka_unit_test(every_day_agrees_with_glib),
        cmocka_unit_test(instants_are_read),
        cmocka_unit_test(a_leap_second_is_the_last_millisecond_before_it),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
