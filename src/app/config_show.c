/* config_show.c - see config_show.h. */
#include "app/config_show.h"

#include <stdio.h>
#include <string.h>

#define COLUMN 48 /* of the origin */

/* A value as env_file.h reads it back; what does not print is escaped. */
static char *quote(const char *text)
{
    const char *plain = "-_./:,;@%+=*?&[]~";
    size_t n = 0;
    while (g_ascii_isalnum(text[n]) || (text[n] != '\0' && strchr(plain, text[n]) != NULL))
        n++;
    if (text[n] == '\0')
        return g_strdup(text);
    g_autoptr(GString) out = g_string_new("\"");
    for (const char *at = text; *at != '\0'; at++) {
        const char *found = strchr("\n\r\t\\\"$", *at);
        if (found != NULL)
            g_string_append_printf(out, "\\%c", "nrt\\\"$"[found - "\n\r\t\\\"$"]);
        else
            g_string_append_c(out, g_ascii_iscntrl(*at) ? '?' : *at);
    }
    g_string_append_c(out, '"');
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* What was given, else what was settled on without it. */
static const char *text_in_force(const Config *config, const SettingValues *values, size_t i)
{
    const Setting *setting = setting_at(i);
    const char *text = setting_values_text(values, i);
    if (text != NULL)
        return text;
    if (setting->default_text == NULL && setting->uses != FOR_STACK)
        return *(char *const *)(const void *)((const char *)config + setting->member);
    return setting->default_text;
}

void config_show(const Config *config, const SettingValues *values)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        const char *text = text_in_force(config, values, i);
        g_autofree char *origin = setting_values_origin(values, i);
        const char *empty =
            setting_values_text(values, i) == NULL && setting_values_is_given(values, i) ? ", empty" : "";
        if (text == NULL) {
            printf("# %s is not set (%s%s)\n", setting->name, origin, empty);
            continue;
        }
        g_autofree char *shown = setting_shown(setting, text);
        g_autofree char *quoted = quote(shown);
        g_autofree char *line = g_strconcat(setting->name, "=", quoted, NULL);
        printf("%-*s # %s%s\n", COLUMN, line, origin, empty);
    }
}
