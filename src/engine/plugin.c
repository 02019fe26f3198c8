/* plugin.c - the table of plugins this engine has. */
#include "engine/plugin.h"

#include <string.h>

#include "engine/plugin_builtin.h"

static const Plugin *const PLUGINS[] = {&PLUGIN_DELAY, &PLUGIN_ECHO, &PLUGIN_FAIL, &PLUGIN_TRANSFORM};

const Plugin *plugin_at(size_t i)
{
    return i < G_N_ELEMENTS(PLUGINS) ? PLUGINS[i] : NULL;
}

const Plugin *plugin_find(const char *plugin_id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(PLUGINS); i++)
        if (strcmp(PLUGINS[i]->name, plugin_id) == 0)
            return PLUGINS[i];
    return NULL;
}
