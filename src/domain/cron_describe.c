/* cron_describe.c - an expression in English words. It is told from the sets, so that it says what will happen, however
 * the expression was written. */
#include <string.h>

#include "domain/cron_internal.h"

#define ALL_SIXTY ((UINT64_C(1) << 60) - 1)
#define ALL_HOURS UINT64_C(0xffffff)
#define ALL_DAYS UINT64_C(0xfffffffe)
#define ALL_MONTHS UINT64_C(0x1ffe)
#define ALL_WEEKDAYS UINT64_C(0x7f)
enum { TIMES_MAX = 6, /* times of day that are listed one by one */ RUN_MIN = 3 /* neighbours that become `a to b` */ };

static const char *const MONTHS[] = {"",     "January", "February",  "March",   "April",    "May",     "June",
                                     "July", "August",  "September", "October", "November", "December"};
static const char *const WEEKDAYS[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const ORDINALS[] = {"first", "second", "third", "fourth", "fifth"};

/* ---- lists ---- */

static void add_item(GPtrArray *items, char *text)
{
    g_ptr_array_add(items, text);
}

/* `a, b and c` */
static void append_items(GString *out, const GPtrArray *items, const char *last_joint)
{
    for (guint i = 0; i < items->len; i++) {
        if (i > 0)
            g_string_append(out, i + 1 == items->len ? last_joint : ", ");
        g_string_append(out, g_ptr_array_index(items, i));
    }
}

static char *value_text(const char *const *names, int value)
{
    return names == NULL ? g_strdup_printf("%d", value) : g_strdup(names[value]);
}

/* The values of a set, runs of them as `a to b`. */
static void add_values(GPtrArray *items, uint64_t set, const char *const *names)
{
    for (int value = 0; set >> value != 0; value++) {
        int last = value;
        if ((set >> value & 1) == 0)
            continue;
        while ((set >> (last + 1) & 1) != 0)
            last++;
        if (last - value + 1 < RUN_MIN)
            last = value;
        g_autofree char *from = value_text(names, value);
        g_autofree char *to = value_text(names, last);
        add_item(items, last == value ? g_steal_pointer(&from) : g_strdup_printf("%s to %s", from, to));
        value = last;
    }
}

static void append_values(GString *out, uint64_t set, const char *const *names)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
    add_values(items, set, names);
    append_items(out, items, " and ");
}

/* n when the set is 0, n, 2n ... and comes round evenly; 1: every one; 0: no such step. */
static int step_of(uint64_t set, int size)
{
    for (int step = 1; step < size; step++) {
        uint64_t expected = 0;
        for (int i = 0; i < size; i += step)
            expected |= UINT64_C(1) << i;
        if (size % step == 0 && set == expected)
            return step;
    }
    return 0;
}

static const char *ordinal_end(int n)
{
    static const char *const ENDS[] = {"th", "st", "nd", "rd"};
    return n / 10 % 10 != 1 && n % 10 <= 3 ? ENDS[n % 10] : "th";
}

/* ---- times ---- */

static void append_times(GString *out, const CronPart *part)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
    for (int second = 0; second < 86400; second++) {
        int hour = second / 3600, minute = second / 60 % 60;
        if ((part->hours >> hour & 1) == 0 || (part->minutes >> minute & 1) == 0 ||
            (part->seconds >> second % 60 & 1) == 0)
            continue;
        add_item(items, part->seconds == 1 ? g_strdup_printf("%02d:%02d", hour, minute)
                                           : g_strdup_printf("%02d:%02d:%02d", hour, minute, second % 60));
    }
    g_string_append(out, "at ");
    append_items(out, items, " and ");
}

/* `every 15 minutes`, `at minutes 5 and 20`. */
static void append_unit(GString *out, uint64_t set, int size, const char *unit)
{
    int step = step_of(set, size);
    if (step == 1) {
        g_string_append_printf(out, "every %s", unit);
    } else if (step > 1) {
        g_string_append_printf(out, "every %d %ss", step, unit);
    } else {
        g_string_append_printf(out, "at %s%s ", unit, (set & (set - 1)) == 0 ? "" : "s");
        append_values(out, set, NULL);
    }
}

/* In which of the larger units that is: ` of every 2nd hour`, ` of hours 9 to 17`; of all of them needs no word, except
 * after a list. */
static void append_within(GString *out, uint64_t set, int size, const char *unit, bool is_after_list)
{
    int step = step_of(set, size);
    if (step == 1) {
        if (is_after_list)
            g_string_append_printf(out, " of every %s", unit);
    } else if (step > 1) {
        g_string_append_printf(out, " of every %d%s %s", step, ordinal_end(step), unit);
    } else {
        g_string_append_printf(out, " of %s%s ", unit, (set & (set - 1)) == 0 ? "" : "s");
        append_values(out, set, NULL);
    }
}

/* True when it names times of day, so that `every day` may follow. */
static bool append_time_of_day(GString *out, const CronPart *part)
{
    int n = __builtin_popcount(part->hours) * __builtin_popcountll(part->minutes) * __builtin_popcountll(part->seconds);
    if (n <= TIMES_MAX) {
        append_times(out, part);
        return true;
    }
    bool is_minute_list = step_of(part->minutes, 60) == 0;
    if (part->seconds != 1) {
        bool is_second_list = step_of(part->seconds, 60) == 0;
        append_unit(out, part->seconds, 60, "second");
        append_within(out, part->minutes, 60, "minute", is_second_list);
        append_within(out, part->hours, 24, "hour", is_minute_list);
    } else if (part->minutes == 1 && step_of(part->hours, 24) != 0) {
        append_unit(out, part->hours, 24, "hour");
    } else {
        append_unit(out, part->minutes, 60, "minute");
        append_within(out, part->hours, 24, "hour", is_minute_list);
    }
    return false;
}

/* ---- days ---- */

/* `on day 1 of the month`, `the last day of the month` ... */
static void append_day_numbers(GString *out, const CronPart *part)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
    if (part->days != 0) {
        GString *days = g_string_new((part->days & (part->days - 1)) == 0 ? "day " : "days ");
        append_values(days, part->days, NULL);
        add_item(items, g_string_free(days, FALSE));
    }
    for (int before = 0; part->last_days >> before != 0; before++) {
        if ((part->last_days >> before & 1) == 0)
            continue;
        add_item(items, before == 0 ? g_strdup("the last day")
                                    : g_strdup_printf("the %d%s day before the last", before, ordinal_end(before)));
    }
    for (int day = 1; part->nearest_days >> day != 0 && day <= 31; day++) {
        if ((part->nearest_days >> day & 1) != 0)
            add_item(items, g_strdup_printf("the working day nearest to day %d", day));
    }
    if (part->has_last_workday)
        add_item(items, g_strdup("the last working day"));
    append_items(out, items, " and ");
    g_string_append(out, " of the month");
}

static void append_weekdays(GString *out, const CronPart *part, const char *last_joint)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_free);
    /* From Monday on, Sunday last, as people say it. */
    static const char *const FROM_MONDAY[] = {"",         "Monday", "Tuesday",  "Wednesday",
                                              "Thursday", "Friday", "Saturday", "Sunday"};
    add_values(items, (part->weekdays & 0x7eU) | (part->weekdays & 1U) << 7, FROM_MONDAY);
    bool is_of_month = false;
    for (int weekday = 0; weekday < 7; weekday++) {
        for (int week = 0; week < (int)G_N_ELEMENTS(ORDINALS); week++) {
            if ((part->nth_weekdays >> (7 * week + weekday) & 1) == 0)
                continue;
            add_item(items, g_strdup_printf("the %s %s", ORDINALS[week], WEEKDAYS[weekday]));
            is_of_month = true;
        }
        if ((part->last_weekdays >> weekday & 1) != 0) {
            add_item(items, g_strdup_printf("the last %s", WEEKDAYS[weekday]));
            is_of_month = true;
        }
    }
    append_items(out, items, last_joint);
    g_string_append(out, is_of_month ? " of the month" : "");
}

static void append_days(GString *out, const CronPart *part, bool is_time_of_day)
{
    bool has_numbers = !(part->is_any_day && part->days == ALL_DAYS);
    bool has_weekdays = !(part->is_any_weekday && part->weekdays == ALL_WEEKDAYS);
    if (has_numbers || has_weekdays)
        g_string_append(out, " on ");
    else if (is_time_of_day)
        g_string_append(out, " every day");
    if (has_numbers)
        append_day_numbers(out, part);
    bool is_condition = has_numbers && has_weekdays && (part->is_any_day || part->is_any_weekday);
    if (has_numbers && has_weekdays)
        g_string_append(out, is_condition ? " if it is " : " or on ");
    if (has_weekdays)
        append_weekdays(out, part, is_condition ? " or " : " and ");
    if (part->months != ALL_MONTHS) {
        g_string_append(out, " in ");
        append_values(out, part->months, MONTHS);
    }
}

static void append_every(GString *out, int64_t every_ms)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } UNITS[] = {{"day", 86400}, {"hour", 3600}, {"minute", 60}, {"second", 1}};
    int64_t seconds = every_ms / 1000;
    size_t i = 0;
    while (seconds % UNITS[i].seconds != 0)
        i++;
    int64_t n = seconds / UNITS[i].seconds;
    if (n == 1)
        g_string_append_printf(out, "every %s", UNITS[i].name);
    else
        g_string_append_printf(out, "every %" G_GINT64_FORMAT " %ss", n, UNITS[i].name);
    g_string_append(out, ", counted from 1970-01-01 00:00 UTC");
}

char *cron_describe(const Cron *cron)
{
    GString *out = g_string_new(NULL);
    for (size_t i = 0; i < cron->n_parts; i++) {
        const CronPart *part = &cron->parts[i];
        g_string_append(out, i == 0 ? "" : "; and ");
        if (part->every_ms > 0)
            append_every(out, part->every_ms);
        else
            append_days(out, part, append_time_of_day(out, part));
    }
    return g_string_free(out, FALSE);
}
