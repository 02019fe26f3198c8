/* plugin_name.h - which plugin ids a flow may name: a UUID (engines know theirs) or a built-in's name.
 * Thread: any. The engine's table of built-ins is checked against this list by a test. */
#ifndef FLOWOPS_DOMAIN_PLUGIN_NAME_H
#define FLOWOPS_DOMAIN_PLUGIN_NAME_H

#include <stdbool.h>

extern const char *const PLUGIN_NAMES[]; /* NULL-terminated: delay echo fail transform */

bool plugin_name_is_known(const char *plugin_id);

/* The built-in a mistyped name was probably meant to be; NULL when none is near. */
const char *plugin_name_suggest(const char *name);

#endif
