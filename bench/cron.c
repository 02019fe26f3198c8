/* cron.c - what one search for the next slot costs: usual expressions and the worst, in a zone whose clocks are changed,
 * each from instants spread over ten years. Prints a line for each; the last says whether the usual ones keep the limit. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "domain/cron.h"

#define START_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define SPAN_MS (INT64_C(3652) * 86400 * 1000)
enum { N_SEARCHES = 200000, LIMIT_NS = 2000 };

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t ns_each(const char *expression, const CronZone *zone)
{
    g_autoptr(Cron) cron = cron_parse(expression, NULL);
    g_assert(cron != NULL);
    int64_t began = now_ns(), sum = 0, slot = 0;
    for (int64_t i = 0; i < N_SEARCHES; i++) {
        cron_next(cron, zone, START_MS + i * (SPAN_MS / N_SEARCHES), &slot);
        sum ^= slot;
    }
    int64_t took = now_ns() - began;
    g_assert(sum != INT64_MIN); /* so that it is not left out */
    return took / N_SEARCHES;
}

int main(void)
{
    static const char *const USUAL[] = {"* * * * *", "*/5 * * * *", "0 * * * *",      "30 2 * * *", "0 9 * * mon-fri",
                                        "0 0 1 * *", "0 0 * * 5L",  "0 9 15W * *",    "@hourly",    "@daily",
                                        "@monthly",  "0 0 1 1 *",   "*/10 * * * * *", "@every 90s", "0 0 13 * 5"};
    static const char *const RARE[] = {"0 0 29 2 *", "0 0 29 2 */6", "0 0 31 */7 */6", "0 0 * 2 7#5",
                                       "0 9 * * 1|0 10 * * 2|0 11 * * 3|0 12 * * 4|0 13 * * 5"};
    g_autoptr(CronZone) zone = cron_zone_new("Europe/Berlin", NULL);
    int64_t worst = 0;
    g_assert(zone != NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(USUAL); i++) {
        int64_t ns = ns_each(USUAL[i], zone);
        worst = MAX(worst, ns);
        printf("%-20s %6" G_GINT64_FORMAT " ns\n", USUAL[i], ns);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(RARE); i++)
        printf("%-20s %6" G_GINT64_FORMAT " ns (rare)\n", RARE[i], ns_each(RARE[i], zone));
    int64_t began = now_ns();
    for (int i = 0; i < 20; i++)
        cron_zone_unref(cron_zone_new("America/New_York", NULL));
    printf("a zone made ready    %6" G_GINT64_FORMAT " us\n", (now_ns() - began) / 20 / 1000);
    printf("usual expressions: at most %" G_GINT64_FORMAT " ns (limit %d)   %s\n", worst, LIMIT_NS,
           worst <= LIMIT_NS ? "met" : "SHORT");
    return worst <= LIMIT_NS ? EXIT_SUCCESS : EXIT_FAILURE;
}
