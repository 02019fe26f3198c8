/* setting_values.c - see setting_values.h. Nothing that was given is repeated in a fault before it is known to be no secret:
 * not the word after an unknown option, not a line of the file. */
#include "app/setting_values.h"

#include <stdlib.h>
#include <string.h>

#include "app/env_file.h"

/* The later goes before the earlier. */
typedef enum { FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG } Origin;

typedef struct {
    char *text; /* NULL: not given */
    Origin origin;
    unsigned line; /* FROM_FILE */
} Value;

struct SettingValues {
    char *env_file; /* NULL: none */
    Value *values;  /* one for each setting */
};

static void set_value(SettingValues *values, int i, const char *text, Origin origin, unsigned line)
{
    Value *value = &values->values[i];
    if (origin < value->origin)
        return;
    g_free(value->text);
    *value = (Value){.text = g_strdup(text), .origin = origin, .line = line};
}

/* ---- words ---- */

typedef struct {
    SettingValues *values;
    unsigned uses;
    const CommandOption *options;
    GPtrArray *faults;
} Reader;

static const CommandOption *find_option(const Reader *reader, const char *name)
{
    for (const CommandOption *option = reader->options; option->name != NULL; option++)
        if (strcmp(option->name, name) == 0)
            return option;
    return NULL;
}

static void add_unknown(const Reader *reader, const char *name)
{
    const Setting *nearest = setting_nearest(name);
    g_autofree char *flag = nearest != NULL && (nearest->uses & reader->uses) != 0 ? setting_flag(nearest) : NULL;
    g_ptr_array_add(reader->faults, flag != NULL
                                        ? g_strdup_printf("--%s: no such option; did you mean --%s?", name, flag)
                                        : g_strdup_printf("--%s: no such option", name));
}

static void take_text(const Reader *reader, const CommandOption *option, int i, const char *name, const char *text)
{
    if (option != NULL && option->text != NULL) {
        g_free(*option->text);
        *option->text = g_strdup(text);
    } else if (strcmp(name, "env-file") == 0) {
        g_free(reader->values->env_file);
        reader->values->env_file = g_strdup(text);
    } else {
        set_value(reader->values, i, text, FROM_FLAG, 0);
    }
}

/* One option, whose value may be the next word. Gives how many words it took. */
static int read_option(const Reader *reader, const char *word, const char *next)
{
    const char *equals = strchr(word, '=');
    g_autofree char *name = g_strndup(word + 2, equals != NULL ? (size_t)(equals - word - 2) : strlen(word + 2));
    const CommandOption *option = find_option(reader, name);
    int i = setting_find_flag(name);
    if (option != NULL && option->is_given != NULL) {
        *option->is_given = true;
        if (equals != NULL)
            g_ptr_array_add(reader->faults, g_strdup_printf("--%s takes no value", name));
        return 1;
    }
    bool has_next = equals == NULL && next != NULL && !g_str_has_prefix(next, "--");
    bool is_env_file = strcmp(name, "env-file") == 0;
    if (option == NULL && !is_env_file && (i < 0 || setting_at((size_t)i)->uses == FOR_STACK))
        add_unknown(reader, name);
    else if (option == NULL && !is_env_file && (setting_at((size_t)i)->uses & reader->uses) == 0)
        g_ptr_array_add(reader->faults, g_strdup_printf("--%s: this command has no use for it", name));
    else if (equals == NULL && !has_next)
        g_ptr_array_add(reader->faults, g_strdup_printf("--%s: its value is missing", name));
    else
        take_text(reader, option, i, name, equals != NULL ? equals + 1 : next);
    return has_next ? 2 : 1;
}

static void read_words(const Reader *reader, int n_words, char **words)
{
    for (int i = 0; i < n_words;) {
        if (g_str_has_prefix(words[i], "--")) {
            i += read_option(reader, words[i], i + 1 < n_words ? words[i + 1] : NULL);
            continue;
        }
        i++;
        g_ptr_array_add(
            reader->faults,
            g_strdup_printf("word %d after the command is no option: expected --name value or --name=value", i));
    }
}

/* ---- the file, the environment ---- */

static void take_line(const char *name, const char *value, unsigned line, void *arg)
{
    const Reader *reader = arg;
    int i = setting_find(name);
    if (i >= 0) {
        set_value(reader->values, i, value, FROM_FILE, line);
        return;
    }
    if (g_str_has_prefix(name, "COMPOSE_")) /* Compose's own settings are in the same file */
        return;
    const Setting *nearest = setting_nearest(name);
    g_ptr_array_add(reader->faults, g_strdup_printf("%s:%u: there is no setting %s%s%s%s", reader->values->env_file,
                                                    line, name, nearest != NULL ? "; did you mean " : "",
                                                    nearest != NULL ? nearest->name : "", nearest != NULL ? "?" : ""));
}

static void read_env_file(Reader *reader)
{
    const char *path = reader->values->env_file;
    g_autoptr(GString) text = NULL;
    g_autoptr(GError) error = NULL;
    if (path == NULL)
        return;
    if (env_file_read(path, &text, &error))
        env_file_parse(text, path, take_line, reader, reader->faults);
    else
        g_ptr_array_add(reader->faults, g_strdup_printf("--env-file: %s", error->message));
}

static void read_environment(SettingValues *values)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const char *text = getenv(setting_at(i)->name);
        if (text != NULL)
            set_value(values, (int)i, text, FROM_ENVIRONMENT, 0);
    }
}

/* ---- the whole ---- */

SettingValues *setting_values_read(unsigned uses, int n_words, char **words, const CommandOption *options,
                                   GPtrArray *faults)
{
    SettingValues *values = g_new0(SettingValues, 1);
    values->values = g_new0(Value, setting_count());
    Reader reader = {.values = values, .uses = uses, .options = options, .faults = faults};
    read_words(&reader, n_words, words);
    read_env_file(&reader);
    read_environment(values);
    return values;
}

SettingValues *setting_values_read_file(const char *env_file, GPtrArray *faults)
{
    static const CommandOption none[] = {{NULL, NULL, NULL}};
    g_autofree char *word = env_file != NULL ? g_strconcat("--env-file=", env_file, NULL) : NULL;
    return setting_values_read(0, word != NULL ? 1 : 0, &word, none, faults);
}

void setting_values_free(SettingValues *values)
{
    if (values == NULL)
        return;
    for (size_t i = 0; i < setting_count(); i++)
        g_free(values->values[i].text);
    g_free(values->values);
    g_free(values->env_file);
    g_free(values);
}

const char *setting_values_text(const SettingValues *values, size_t i)
{
    const char *text = values->values[i].text;
    return text != NULL && *text != '\0' ? text : NULL;
}

bool setting_values_is_given(const SettingValues *values, size_t i)
{
    return values->values[i].text != NULL;
}

char *setting_values_origin(const SettingValues *values, size_t i)
{
    const Value *value = &values->values[i];
    g_autofree char *flag = NULL;
    switch (value->origin) {
    case FROM_FILE:
        return g_strdup_printf("%s:%u", values->env_file, value->line);
    case FROM_ENVIRONMENT:
        return g_strdup("environment");
    case FROM_FLAG:
        flag = setting_flag(setting_at(i));
        return g_strconcat("--", flag, NULL);
    default:
        return g_strdup("default");
    }
}

char *setting_values_label(const SettingValues *values, size_t i)
{
    const Setting *setting = setting_at(i);
    const Value *value = &values->values[i];
    bool is_shown = value->text != NULL && setting_is_shown(setting, value->text);
    const char *equals = is_shown ? "=" : "";
    const char *text = is_shown ? value->text : "";
    g_autofree char *origin = setting_values_origin(values, i);
    if (value->origin == FROM_FLAG)
        return g_strconcat(origin, equals, text, NULL);
    return g_strconcat(value->origin == FROM_FILE ? origin : "", value->origin == FROM_FILE ? ": " : "", setting->name,
                       equals, text, NULL);
}
