/* cron_next.c - the next slot, by jumps: to the next month that is named, the next day in it, the next time of that day.
 * Wall times are seconds since 1970-01-01T00:00:00 as the wall clock shows it. GDate does the calendar.
 *
 * Where a wall clock is changed there are two kinds of expressions (docs/schedules.md):
 *  interval: each span of the zone is searched by itself, so what is shown twice runs twice and what is never shown does
 *    not run.
 *  fixed: each wall time runs once, as if there were a function from wall times to instants: the first time it is shown;
 *    when it is never shown, the instant at which the clock jumps over it. That function never decreases, so the least wall
 *    time whose instant lies ahead gives the next slot. */
#include "domain/cron_internal.h"

#define MS_PER_SECOND INT64_C(1000)
#define SECONDS_PER_DAY INT64_C(86400)
#define LAST_SLOT_MS INT64_C(4102444799000) /* 2099-12-31T23:59:59Z */
#define JULIAN_EPOCH 719163                 /* GDate's number of 1970-01-01 */
#define LAST_WALL_YEAR (CRON_LAST_YEAR + 1) /* clocks east of Greenwich show it before 2099 ends in UTC */

static const CronZone UTC = {.ref_count = 1, .n_spans = 1, .name = NULL, .spans = {{INT64_MIN, 0}}};

/* ---- days ---- */

/* Bits of seven weekdays so that bit 0 is the weekday of the month's first day. */
static uint64_t turn_week(uint64_t weekdays, unsigned first_weekday)
{
    return (weekdays >> first_weekday | weekdays << (7 - first_weekday)) & 0x7f;
}

/* The working day (Monday to Friday) nearest to a day, within its month. */
static unsigned nearest_workday(unsigned day, unsigned n_days, unsigned first_weekday)
{
    unsigned weekday = (first_weekday + day - 1) % 7;
    if (weekday == 6)
        return day > 1 ? day - 1 : day + 2;
    if (weekday == 0)
        return day < n_days ? day + 1 : day - 2;
    return day;
}

static uint32_t days_by_number(const CronPart *part, unsigned n_days, unsigned first_weekday)
{
    uint32_t days = part->days;
    for (uint32_t rest = part->last_days; rest != 0; rest &= rest - 1) {
        unsigned before = (unsigned)__builtin_ctz(rest);
        if (before < n_days)
            days |= UINT32_C(1) << (n_days - before);
    }
    for (uint32_t rest = part->nearest_days; rest != 0; rest &= rest - 1) {
        unsigned day = (unsigned)__builtin_ctz(rest);
        if (day <= n_days)
            days |= UINT32_C(1) << nearest_workday(day, n_days, first_weekday);
    }
    if (part->has_last_workday)
        days |= UINT32_C(1) << nearest_workday(n_days, n_days, first_weekday);
    return days;
}

static uint32_t days_by_weekday(const CronPart *part, unsigned n_days, unsigned first_weekday)
{
    static const uint64_t EACH_WEEK = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
    uint64_t days = turn_week(part->weekdays, first_weekday) * EACH_WEEK;
    if (part->last_weekdays != 0)
        days |= turn_week(part->last_weekdays, first_weekday) * EACH_WEEK & UINT64_C(0x7f) << (n_days - 7);
    for (unsigned week = 0; part->nth_weekdays >> (7 * week) != 0; week++)
        days |= turn_week(part->nth_weekdays >> (7 * week) & 0x7f, first_weekday) << (7 * week);
    return (uint32_t)(days << 1);
}

uint32_t cron_month_days(const CronPart *part, int year, int month)
{
    GDate first;
    g_date_clear(&first, 1);
    g_date_set_dmy(&first, 1, (GDateMonth)month, (GDateYear)year);
    unsigned first_weekday = (unsigned)g_date_get_weekday(&first) % 7; /* GLib's Sunday is 7 */
    unsigned n_days = g_date_get_days_in_month((GDateMonth)month, (GDateYear)year);
    uint32_t all = ((UINT32_C(1) << n_days) - 1) << 1;
    uint32_t by_number = days_by_number(part, n_days, first_weekday);
    uint32_t by_weekday = days_by_weekday(part, n_days, first_weekday);
    bool needs_both = part->is_any_day || part->is_any_weekday;
    return (needs_both ? by_number & by_weekday : by_number | by_weekday) & all;
}

/* ---- wall times ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t first_time_of_day(const CronPart *part)
{
    return __builtin_ctz(part->hours) * 3600 + __builtin_ctzll(part->minutes) * 60 + __builtin_ctzll(part->seconds);
}

/* The first time of a day from `from_s` (seconds since its midnight) on; -1 when there is none left. */
static int64_t next_time_of_day(const CronPart *part, int from_s)
{
    int hour = from_s / 3600, minute = from_s / 60 % 60, second = from_s % 60;
    if ((part->hours >> hour & 1) != 0) {
        uint64_t seconds = part->seconds >> second;
        if ((part->minutes >> minute & 1) != 0 && seconds != 0)
            return from_s + __builtin_ctzll(seconds);
        uint64_t minutes = part->minutes >> (minute + 1);
        if (minutes != 0)
            return hour * 3600 + (minute + 1 + __builtin_ctzll(minutes)) * 60 + __builtin_ctzll(part->seconds);
    }
    uint32_t hours = part->hours >> (hour + 1);
    if (hours == 0)
        return -1;
    return first_time_of_day(part) + (hour + 1 + __builtin_ctz(hours) - __builtin_ctz(part->hours)) * INT64_C(3600);
}

/* The first wall time from `from_s` on that the fields name. */
static bool next_wall(const CronPart *part, int64_t from_s, int64_t *ret_wall_s)
{
    int64_t day = floor_div(from_s, SECONDS_PER_DAY);
    GDate date;
    g_date_clear(&date, 1);
    g_date_set_julian(&date, (guint32)(day + JULIAN_EPOCH));
    int year = g_date_get_year(&date), month = g_date_get_month(&date), today = g_date_get_day(&date);
    int64_t first_of_month = day - (today - 1);
    while (year <= LAST_WALL_YEAR) {
        uint32_t days = (part->months >> month & 1) == 0 ? 0 : cron_month_days(part, year, month);
        if ((days >> today & 1) != 0) { /* bit 0 is never set */
            int64_t time = next_time_of_day(part, (int)(from_s - day * SECONDS_PER_DAY));
            if (time >= 0) {
                *ret_wall_s = day * SECONDS_PER_DAY + time;
                return true;
            }
        }
        days &= (uint32_t)(UINT64_C(0xfffffffe) << today); /* later than today */
        if (days != 0) {
            *ret_wall_s = (first_of_month + __builtin_ctz(days) - 1) * SECONDS_PER_DAY + first_time_of_day(part);
            return true;
        }
        today = 0; /* further on, every day is later */
        first_of_month += g_date_get_days_in_month((GDateMonth)month, (GDateYear)year);
        year += month / 12;
        month = month % 12 + 1;
    }
    return false;
}

/* ---- instants ---- */

/* The span of an instant. */
static size_t find_span(const CronZone *zone, int64_t at_s)
{
    size_t low = 0, high = zone->n_spans; /* the span is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (zone->spans[middle].start_s <= at_s)
            low = middle;
        else
            high = middle;
    }
    return low;
}

int cron_zone_offset_s(const CronZone *zone, int64_t at_ms)
{
    const CronZone *known = zone == NULL ? &UTC : zone;
    return known->spans[find_span(known, floor_div(at_ms, MS_PER_SECOND))].offset_s;
}

/* The first slot from `from_s` on, searched span by span. */
static bool next_interval(const CronPart *part, const CronZone *zone, int64_t from_s, int64_t *ret_slot_s)
{
    size_t i = find_span(zone, from_s);
    int64_t searched_s = from_s + zone->spans[i].offset_s, wall_s; /* nothing is named between the two */
    if (!next_wall(part, searched_s, &wall_s))
        return false;
    for (;; i++) {
        int64_t slot_s = wall_s - zone->spans[i].offset_s;
        if (i + 1 == zone->n_spans || slot_s < zone->spans[i + 1].start_s) {
            *ret_slot_s = slot_s;
            return true;
        }
        int64_t begin_s = zone->spans[i + 1].start_s + zone->spans[i + 1].offset_s;
        if (begin_s < searched_s || begin_s > wall_s) { /* the clock went back, or jumped over what was found */
            searched_s = begin_s;
            if (!next_wall(part, searched_s, &wall_s))
                return false;
        }
    }
}

static bool next_fixed(const CronPart *part, const CronZone *zone, int64_t from_s, int64_t *ret_slot_s)
{
    size_t i = find_span(zone, from_s);
    int64_t from_wall_s = from_s + zone->spans[i].offset_s, wall_s;
    if (i > 0) {
        int64_t before_s = zone->spans[i].start_s + zone->spans[i - 1].offset_s; /* shown when the clock was changed */
        /* What is shown for the second time had its turn; what is jumped over comes at that very instant. */
        if (from_s == zone->spans[i].start_s || from_wall_s < before_s)
            from_wall_s = before_s;
    }
    if (!next_wall(part, from_wall_s, &wall_s))
        return false;
    while (i + 1 < zone->n_spans && wall_s >= zone->spans[i + 1].start_s + zone->spans[i].offset_s)
        i++;
    *ret_slot_s = MAX(wall_s - zone->spans[i].offset_s, zone->spans[i].start_s);
    return true;
}

static bool next_of_part(const CronPart *part, const CronZone *zone, int64_t after_ms, int64_t *ret_slot_ms)
{
    if (part->every_ms > 0) {
        *ret_slot_ms = (floor_div(after_ms, part->every_ms) + 1) * part->every_ms;
        return true;
    }
    int64_t from_s = floor_div(after_ms, MS_PER_SECOND) + 1, slot_s;
    if (!(part->is_interval ? next_interval : next_fixed)(part, zone, from_s, &slot_s))
        return false;
    *ret_slot_ms = slot_s * MS_PER_SECOND;
    return true;
}

bool cron_next(const Cron *cron, const CronZone *zone, int64_t after_ms, int64_t *ret_slot_ms)
{
    int64_t first = INT64_MAX, slot;
    if (after_ms >= LAST_SLOT_MS)
        return false;
    for (size_t i = 0; i < cron->n_parts; i++) {
        if (next_of_part(&cron->parts[i], zone == NULL ? &UTC : zone, MAX(after_ms, -1), &slot))
            first = MIN(first, slot);
    }
    if (first > LAST_SLOT_MS)
        return false;
    *ret_slot_ms = first;
    return true;
}

static void advance(CronWalk *walk, size_t i, int64_t after_ms)
{
    if (after_ms >= LAST_SLOT_MS || !next_of_part(&walk->cron->parts[i], walk->zone, after_ms, &walk->next_ms[i]))
        walk->next_ms[i] = INT64_MAX;
}

void cron_walk_init(CronWalk *walk, const Cron *cron, const CronZone *zone, int64_t after_ms)
{
    *walk = (CronWalk){.cron = cron, .zone = zone == NULL ? &UTC : zone, .next_ms = g_new(int64_t, cron->n_parts)};
    for (size_t i = 0; i < cron->n_parts; i++)
        advance(walk, i, MAX(after_ms, -1));
}

bool cron_walk_next(CronWalk *walk, int64_t *ret_slot_ms)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < walk->cron->n_parts; i++)
        first = MIN(first, walk->next_ms[i]);
    if (first > LAST_SLOT_MS)
        return false;
    for (size_t i = 0; i < walk->cron->n_parts; i++) {
        if (walk->next_ms[i] == first)
            advance(walk, i, first);
    }
    *ret_slot_ms = first;
    return true;
}

void cron_walk_done(CronWalk *walk)
{
    g_free(walk->next_ms);
    *walk = (CronWalk){0};
}
