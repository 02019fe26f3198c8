/* config_show.h - `flowops config`: the settings in force and where each came from.
 * Thread: main. */
#ifndef FLOWOPS_APP_CONFIG_SHOW_H
#define FLOWOPS_APP_CONFIG_SHOW_H

#include "app/config.h"

/* To stdout, as lines of an env file: NAME=value and the origin as a comment; what is not set is a comment, secrets are
 * masked. config was loaded from values. */
void config_show(const Config *config, const SettingValues *values);

#endif
