/* cron_zone.c - what GLib knows of a zone as a list of spans, and names that are near to a mistyped one. */
#include "domain/cron_zone.h"

#include <string.h>

#include "domain/cron_internal.h"
#include "domain/near_text.h"

#define SECONDS_PER_DAY INT64_C(86400)
#define FIRST_S INT64_C(0)         /* 1970 */
#define LAST_S INT64_C(4102444800) /* 2100-01-01T00:00:00Z */
#define JULIAN_EPOCH 719163        /* GDate's number of 1970-01-01 */
#define LAST_LISTED_YEAR 2037      /* the last whose changes zone files list one by one */
enum {
    TIMEZONE_MAX_BYTES = 64,
    RULE_YEARS = 10, /* as many a rule must have held: a weekday then has fallen on each of the seven days it can */
    YEAR_CHANGES_MAX = 4,
    NEAR_MAX = 2, /* names with more mistakes are near to nothing */
    SUGGESTIONS_MAX = 3,
};

static const char EXPECTED[] = "expected an IANA time zone known here, such as Europe/Paris, or UTC";

/* ---- names ---- */

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

/* NULL when there is none of this name. */
static GTimeZone *find_zone(const char *name)
{
    return is_zone_name(name) ? g_time_zone_new_identifier(name) : NULL;
}

bool timezone_check(const char *name, GError **error)
{
    g_autoptr(GTimeZone) zone = find_zone(name);
    if (zone == NULL && strcmp(name, "UTC") != 0) { /* UTC needs no zone files */
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, EXPECTED);
        return false;
    }
    return true;
}

/* `Berlin` for `Europe/Berlin` is no mistake. */
static int count_mistakes(const char *name, const char *known)
{
    int n = near_text_count(name, known, NEAR_MAX);
    const char *city = strrchr(known, '/');
    return city == NULL || strchr(name, '/') != NULL ? n : MIN(n, near_text_count(name, city + 1, NEAR_MAX));
}

char *timezone_suggest(const char *name, const char *const *known)
{
    const char *nearest[SUGGESTIONS_MAX + 1] = {NULL};
    size_t n_nearest = 0;
    int fewest = NEAR_MAX;
    for (size_t i = 0; known[i] != NULL; i++) {
        int n = count_mistakes(name, known[i]);
        if (n > fewest || n + 1 >= (int)strlen(known[i]) || !is_zone_name(known[i]))
            continue;
        if (n < fewest)
            n_nearest = 0;
        fewest = n;
        if (n_nearest < SUGGESTIONS_MAX)
            nearest[n_nearest++] = known[i];
    }
    nearest[n_nearest] = NULL;
    return n_nearest == 0 ? NULL : g_strjoinv(", ", (char **)nearest);
}

/* ---- spans ---- */

static void add_span(GArray *spans, int64_t start_s, int32_t offset_s)
{
    CronSpan span = {.start_s = start_s, .offset_s = offset_s};
    if (spans->len == 0 || g_array_index(spans, CronSpan, spans->len - 1).offset_s != offset_s)
        g_array_append_val(spans, span);
}

/* The changes in (from_s, to_s], whose intervals GLib gives numbers: equal numbers at both ends mean that there is none
 * between. As deep as the range has bits. */
static void add_changes(GTimeZone *zone, GArray *spans, int64_t from_s, int from, int64_t to_s, int to)
{
    if (from == to)
        return;
    if (to_s - from_s == 1) {
        add_span(spans, to_s, g_time_zone_get_offset(zone, to));
        return;
    }
    int64_t middle_s = from_s + (to_s - from_s) / 2;
    int middle = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, middle_s);
    add_changes(zone, spans, from_s, from, middle_s, middle);
    add_changes(zone, spans, middle_s, middle, to_s, to);
}

/* One change of each year: the first such weekday from a day on, at a time, all in UTC. */
typedef struct {
    int low, high; /* days from the first of March on which it fell */
    int64_t weekday, second_of_day;
    int32_t offset_s;
} YearlyChange;

static int64_t march_first(int year)
{
    GDate date;
    g_date_clear(&date, 1);
    g_date_set_dmy(&date, 1, G_DATE_MARCH, (GDateYear)year);
    return (int64_t)g_date_get_julian(&date) - JULIAN_EPOCH;
}

static int year_of(int64_t at_s)
{
    GDate date;
    g_date_clear(&date, 1);
    g_date_set_julian(&date, (guint32)(at_s / SECONDS_PER_DAY + JULIAN_EPOCH));
    return g_date_get_year(&date);
}

static YearlyChange yearly_change(const CronSpan *span, int year)
{
    int64_t day = span->start_s / SECONDS_PER_DAY;
    int since_march = (int)(day - march_first(year));
    return (YearlyChange){.low = since_march,
                          .high = since_march,
                          .weekday = (day + 4) % 7, /* 1970-01-01 was a Thursday */
                          .second_of_day = span->start_s % SECONDS_PER_DAY,
                          .offset_s = span->offset_s};
}

/* What the changes of the last listed year have in common with those of the years before; 0 when there is no rule, or it
 * has ended. n_listed: spans up to the end of that year. */
static size_t find_rule(const GArray *spans, size_t n_listed, YearlyChange ret_rule[YEAR_CHANGES_MAX])
{
    size_t n = 0, at = n_listed;
    for (int year = LAST_LISTED_YEAR; year > LAST_LISTED_YEAR - RULE_YEARS; year--) {
        size_t n_of_year = 0;
        for (; at > 1 && year_of(g_array_index(spans, CronSpan, at - 1).start_s) >= year; at--)
            n_of_year++;
        if (year == LAST_LISTED_YEAR)
            n = n_of_year;
        if (n_of_year != n || n == 0 || n > YEAR_CHANGES_MAX)
            return 0;
        for (size_t i = 0; i < n; i++) {
            YearlyChange change = yearly_change(&g_array_index(spans, CronSpan, at + i), year);
            YearlyChange *rule = &ret_rule[i];
            if (year == LAST_LISTED_YEAR)
                *rule = change;
            rule->low = MIN(rule->low, change.low);
            rule->high = MAX(rule->high, change.high);
            /* Days before March move with leap years: no zone of today changes then. */
            if (rule->low < 0 || rule->high - rule->low > 6 || change.weekday != rule->weekday ||
                change.second_of_day != rule->second_of_day || change.offset_s != rule->offset_s)
                return 0;
        }
    }
    return n;
}

/* Zone files list every change up to 2037. For what comes after GLib works with the rule at a file's end, which it reads
 * wrongly where summer time is the normal one (Europe/Dublin gets two hours in winter): the rule is taken from the listed
 * years instead. Where they follow none (Africa/Casablanca lists the years of Ramadan up to 2087) GLib's stand. */
static void go_on_by_rule(GArray *spans)
{
    YearlyChange rule[YEAR_CHANGES_MAX];
    size_t n_listed = 1;
    while (n_listed < spans->len && year_of(g_array_index(spans, CronSpan, n_listed).start_s) <= LAST_LISTED_YEAR)
        n_listed++;
    size_t n = find_rule(spans, n_listed, rule);
    if (n > 0)
        g_array_set_size(spans, (guint)n_listed);
    for (int year = LAST_LISTED_YEAR + 1; n > 0 && year <= CRON_LAST_YEAR; year++) {
        for (size_t i = 0; i < n; i++) {
            int64_t day = march_first(year) + rule[i].low;
            day += (rule[i].weekday - (day + 4) % 7 + 7) % 7;
            add_span(spans, day * SECONDS_PER_DAY + rule[i].second_of_day, rule[i].offset_s);
        }
    }
}

CronZone *cron_zone_new(const char *name, GError **error)
{
    const char *asked = name == NULL ? "UTC" : name;
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(CronSpan));
    g_autoptr(GTimeZone) zone = find_zone(asked);
    if (zone != NULL) {
        int first = g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, FIRST_S);
        add_span(spans, INT64_MIN, g_time_zone_get_offset(zone, first));
        add_changes(zone, spans, FIRST_S, first, LAST_S,
                    g_time_zone_find_interval(zone, G_TIME_TYPE_UNIVERSAL, LAST_S));
        go_on_by_rule(spans);
    } else if (strcmp(asked, "UTC") == 0) {
        add_span(spans, INT64_MIN, 0);
    } else {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID, EXPECTED);
        return NULL;
    }
    CronZone *made = g_malloc0(sizeof(CronZone) + spans->len * sizeof(CronSpan));
    made->ref_count = 1;
    made->name = g_strdup(asked);
    made->n_spans = spans->len;
    memcpy(made->spans, spans->data, spans->len * sizeof(CronSpan));
    return made;
}

CronZone *cron_zone_ref(const CronZone *zone)
{
    CronZone *shared = (CronZone *)zone; /* the count is the one thing of it that changes */
    __atomic_fetch_add(&shared->ref_count, 1, __ATOMIC_RELAXED);
    return shared;
}

void cron_zone_unref(CronZone *zone)
{
    if (zone == NULL || __atomic_sub_fetch(&zone->ref_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    g_free(zone->name);
    g_free(zone);
}

const char *cron_zone_name(const CronZone *zone)
{
    return zone == NULL ? "UTC" : zone->name;
}

/* ---- the table ---- */

struct CronZones {
    GHashTable *by_name; /* name (of the zone) -> CronZone, a reference each */
    size_t max_zones;
};

CronZones *cron_zones_new(size_t max_zones)
{
    CronZones *zones = g_new(CronZones, 1);
    zones->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)cron_zone_unref);
    zones->max_zones = max_zones;
    return zones;
}

void cron_zones_free(CronZones *zones)
{
    if (zones == NULL)
        return;
    g_hash_table_unref(zones->by_name);
    g_free(zones);
}

static gboolean is_unused(gpointer name, gpointer value, gpointer arg)
{
    (void)name;
    (void)arg;
    const CronZone *zone = value;
    return __atomic_load_n(&zone->ref_count, __ATOMIC_ACQUIRE) == 1;
}

CronZone *cron_zones_open(CronZones *zones, const char *name, GError **error)
{
    const CronZone *known = g_hash_table_lookup(zones->by_name, name == NULL ? "UTC" : name);
    if (known != NULL)
        return cron_zone_ref(known);
    CronZone *zone = cron_zone_new(name, error);
    if (zone == NULL)
        return NULL;
    if (g_hash_table_size(zones->by_name) >= zones->max_zones)
        g_hash_table_foreach_remove(zones->by_name, is_unused, NULL);
    if (g_hash_table_size(zones->by_name) < zones->max_zones)
        g_hash_table_insert(zones->by_name, zone->name, cron_zone_ref(zone));
    return zone;
}
