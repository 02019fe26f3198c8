/* setting_print.c - the table of settings as text: for a terminal, as Markdown, for a manual, and as an env file. */
#include <string.h>

#include "app/setting.h"

#define WIDTH 100 /* of a line, in bytes */

/* The text in lines that begin with `begin`, broken at spaces. */
static void append_wrapped(GString *out, const char *begin, const char *text)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    size_t n_used = 0;
    for (size_t i = 0; words[i] != NULL; i++) {
        if (i > 0 && n_used + 1 + strlen(words[i]) <= WIDTH) {
            g_string_append_c(out, ' ');
            n_used++;
        } else {
            g_string_append_printf(out, "%s%s", i > 0 ? "\n" : "", begin);
            n_used = strlen(begin);
        }
        g_string_append(out, words[i]);
        n_used += strlen(words[i]);
    }
    g_string_append_c(out, '\n');
}

static char *meaning_of(const Setting *setting)
{
    if (setting->max == 0)
        return g_strdup(setting->meaning);
    return g_strdup_printf("%s; from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, setting->meaning, setting->min,
                           setting->max);
}

static const char *commands_of(const Setting *setting)
{
    if ((setting->uses & FOR_ENGINE) != 0)
        return "serve, engine";
    return (setting->uses & FOR_SERVE) != 0 ? "serve" : "compose";
}

static char *default_of(const Setting *setting, const char *quote)
{
    if (setting->default_text != NULL)
        return g_strdup_printf("%s%s%s", quote, setting->default_text, quote);
    return g_strdup(setting->default_note != NULL ? setting->default_note : "not set");
}

void setting_print_help(unsigned uses, GString *out)
{
    if (uses != 0)
        g_string_append(out,
                        "  --env-file FILE\n"
                        "      settings in lines, NAME=value; a flag or a variable of the environment comes before\n");
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        if (uses != 0 && (setting->uses & uses) == 0)
            continue;
        g_autofree char *flag = setting_flag(setting);
        g_autofree char *text = default_of(setting, "");
        g_autofree char *meaning = meaning_of(setting);
        bool has_flag = setting->uses != FOR_STACK;
        g_string_append_printf(out, "  %s%s%s (%s) [%s]\n", setting->name, has_flag ? ", --" : "", has_flag ? flag : "",
                               commands_of(setting), text);
        append_wrapped(out, "      ", meaning);
    }
}

void setting_print_markdown(GString *out)
{
    g_string_append(out, "| name | for | default | meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        g_autofree char *text = default_of(setting, "`");
        g_autofree char *meaning = meaning_of(setting);
        g_string_append_printf(out, "| `%s` | %s | %s | %s |\n", setting->name, commands_of(setting), text, meaning);
    }
}

/* Without the marks of code; no word of it is a request or an escape. */
static char *mdoc_of(const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "`", -1);
    g_autofree char *plain = g_strjoinv("", parts);
    GString *out = g_string_new(NULL);
    for (const char *at = plain; *at != '\0'; at++) {
        if ((at == plain || at[-1] == ' ') && (*at == '.' || *at == '\''))
            g_string_append(out, "\\&");
        if (*at == '\\')
            g_string_append(out, "\\e");
        else
            g_string_append_c(out, *at);
    }
    return g_string_free(out, FALSE);
}

void setting_print_mdoc(GString *out)
{
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        if (setting->uses == FOR_STACK)
            continue;
        g_autofree char *text = default_of(setting, "");
        g_autofree char *meaning = meaning_of(setting);
        g_autofree char *safe_text = mdoc_of(text);
        g_autofree char *safe_meaning = mdoc_of(meaning);
        g_string_append_printf(out, ".It Ev %s Pq %s\n", setting->name, commands_of(setting));
        append_wrapped(out, "", safe_meaning);
        g_string_append_printf(out, ".br\nDefault: %s\n", safe_text);
    }
}

void setting_print_env_example(GString *out)
{
    append_wrapped(
        out, "# ",
        "Settings of FlowOps: copy this to .env and take the # before a line away to set it. The compose file, "
        "`make stack` and `flowops ... --env-file .env` read the copy. What stands here is the default; "
        "nothing has to be set.");
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        g_autofree char *meaning = meaning_of(setting);
        g_autofree char *whole = setting->default_note == NULL
                                     ? g_strdup(meaning)
                                     : g_strdup_printf("%s. Default: %s", meaning, setting->default_note);
        g_string_append_c(out, '\n');
        append_wrapped(out, "# ", whole);
        g_string_append_printf(out, "#%s=%s\n", setting->name,
                               setting->default_text != NULL ? setting->default_text : "");
    }
}
