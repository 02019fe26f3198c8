/* plugin_name.c - the built-in names, in order, and a guess at what a mistyped one was meant to be. */
#include "domain/plugin_name.h"

#include <glib.h>
#include <string.h>

#include "base/id.h"

const char *const PLUGIN_NAMES[] = {"delay", "echo", "fail", "transform", NULL};

enum { NAME_MAX_BYTES = 32, NEAR_MAX = 2 }; /* longer names are near to nothing; so are those with more mistakes */

bool plugin_name_is_known(const char *plugin_id)
{
    for (size_t i = 0; PLUGIN_NAMES[i] != NULL; i++) {
        if (strcmp(PLUGIN_NAMES[i], plugin_id) == 0)
            return true;
    }
    Id id;
    return id_parse(plugin_id, &id);
}

/* Mistakes between two names: a letter added, left out, changed, or two neighbours swapped; case does not count. */
static int count_mistakes(const char *a, const char *b)
{
    int rows[3][NAME_MAX_BYTES + 1];
    size_t n = strlen(b);
    int *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n; j++)
        above[j] = (int)j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            bool is_same = g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 1]);
            row[j] = MIN(above[j - 1] + (is_same ? 0 : 1), MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && g_ascii_tolower(a[i - 1]) == g_ascii_tolower(b[j - 2]) &&
                g_ascii_tolower(a[i - 2]) == g_ascii_tolower(b[j - 1]))
                row[j] = MIN(row[j], before[j - 2] + 1);
        }
        int *spare = before;
        before = above;
        above = row;
        row = spare;
    }
    return above[n];
}

const char *plugin_name_suggest(const char *name)
{
    const char *nearest = NULL;
    int fewest = NEAR_MAX + 1;
    if (strlen(name) > NAME_MAX_BYTES)
        return NULL;
    for (size_t i = 0; PLUGIN_NAMES[i] != NULL; i++) {
        int n = count_mistakes(name, PLUGIN_NAMES[i]);
        if (n < fewest && n < (int)strlen(PLUGIN_NAMES[i]) - 1) {
            fewest = n;
            nearest = PLUGIN_NAMES[i];
        }
    }
    return nearest;
}
