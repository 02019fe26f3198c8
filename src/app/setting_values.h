/* setting_values.h - what each setting was given, and where. A flag goes before the environment, that before the env file;
 * within one place the last one counts.
 * Thread: main. Owner: the caller (setting_values_free). */
#ifndef FLOWOPS_APP_SETTING_VALUES_H
#define FLOWOPS_APP_SETTING_VALUES_H

#include "app/setting.h"

typedef struct SettingValues SettingValues;

/* An option of a command beside its settings. */
typedef struct {
    const char *name; /* without dashes */
    bool *is_given;   /* it takes no value; or */
    char **text;      /* the value it takes, freed by the caller */
} CommandOption;

/* The words after a command's name, then the file of --env-file, then the environment. `options` ends with a name of NULL. A
 * fault is a line of its own in faults (of char *); there is always a result. */
SettingValues *setting_values_read(unsigned uses, int n_words, char **words, const CommandOption *options,
                                   GPtrArray *faults);
/* The same without any words. env_file NULL: none. */
SettingValues *setting_values_read_file(const char *env_file, GPtrArray *faults);
void setting_values_free(SettingValues *values); /* NULL is fine */

/* NULL: it was not given, or as an empty text, which means the default. Borrowed. */
const char *setting_values_text(const SettingValues *values, size_t i);
bool setting_values_is_given(const SettingValues *values, size_t i);
/* "default", "environment", "FILE:LINE", "--flag". */
char *setting_values_origin(const SettingValues *values, size_t i);
/* How a fault names a setting, with what it was given unless that is secret: "NAME=text", "FILE:LINE: NAME=text",
 * "--name=text". */
char *setting_values_label(const SettingValues *values, size_t i);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(SettingValues, setting_values_free)

#endif
