/* plugin_name.c - the built-in names, in order, and a guess at what a mistyped one was meant to be. */
#include "domain/plugin_name.h"

#include <glib.h>
#include <string.h>

#include "base/id.h"
#include "domain/near_text.h"

const char *const PLUGIN_NAMES[] = {"delay", "echo", "fail", "transform", NULL};

enum { NEAR_MAX = 2 }; /* names with more mistakes are near to nothing */

bool plugin_name_is_known(const char *plugin_id)
{
    for (size_t i = 0; PLUGIN_NAMES[i] != NULL; i++) {
        if (strcmp(PLUGIN_NAMES[i], plugin_id) == 0)
            return true;
    }
    Id id;
    return id_parse(plugin_id, &id);
}

const char *plugin_name_suggest(const char *name)
{
    const char *nearest = NULL;
    int fewest = NEAR_MAX + 1;
    for (size_t i = 0; PLUGIN_NAMES[i] != NULL; i++) {
        int n = near_text_count(name, PLUGIN_NAMES[i], NEAR_MAX);
        if (n < fewest && n < (int)strlen(PLUGIN_NAMES[i]) - 1) {
            fewest = n;
            nearest = PLUGIN_NAMES[i];
        }
    }
    return nearest;
}
