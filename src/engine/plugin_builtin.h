/* plugin_builtin.h - the plugins that need nothing but the engine thread (docs/engine.md describes them to users). */
#ifndef FLOWOPS_ENGINE_PLUGIN_BUILTIN_H
#define FLOWOPS_ENGINE_PLUGIN_BUILTIN_H

#include "engine/plugin.h"

#define DELAY_MAX_MS (24 * 60 * 60 * 1000)

extern const Plugin PLUGIN_DELAY;
extern const Plugin PLUGIN_ECHO;
extern const Plugin PLUGIN_FAIL;
extern const Plugin PLUGIN_TRANSFORM;

#endif
