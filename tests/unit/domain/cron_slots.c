/* cron_slots.c - prints slots, for the comparison with an independent implementation (tests/system/test_cron_slots.py).
 * A line of stdin is `zone <TAB> after, in seconds <TAB> how many <TAB> expression`; the answer is one line of instants in
 * seconds with blanks between them, fewer when there are no more, or `error: why`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/cron.h"

enum { LINE_MAX_BYTES = 1024 };

static void answer(CronZones *zones, char **words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(CronZone) zone = cron_zones_open(zones, words[0], &error);
    g_autoptr(Cron) cron = zone == NULL ? NULL : cron_parse(words[3], &error);
    if (cron == NULL) {
        printf("error: %s\n", error->message);
        return;
    }
    int64_t at = g_ascii_strtoll(words[1], NULL, 10) * 1000;
    gint64 n = g_ascii_strtoll(words[2], NULL, 10);
    for (gint64 i = 0; i < n && cron_next(cron, zone, at, &at); i++)
        printf("%s%" G_GINT64_FORMAT, i == 0 ? "" : " ", at / 1000);
    putchar('\n');
}

int main(void)
{
    g_autoptr(CronZones) zones = cron_zones_new(64);
    char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof(line), stdin) != NULL) {
        g_auto(GStrv) words = g_strsplit(g_strchomp(line), "\t", 4);
        if (g_strv_length(words) != 4) {
            fprintf(stderr, "expected zone, instant, count and expression\n");
            return EXIT_FAILURE;
        }
        answer(zones, words);
    }
    return EXIT_SUCCESS;
}
