/* setting.h - the table of settings: name, default, bounds, meaning, and which command each is for. Validation, the help, the
 * table in docs/configuration.md and .env.example all come from it.
 * Thread: any; the table never changes. */
#ifndef FLOWOPS_APP_SETTING_H
#define FLOWOPS_APP_SETTING_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum {
    FOR_SERVE = 1 << 0,
    FOR_ENGINE = 1 << 1,
    FOR_UPKEEP = 1 << 2, /* fsck, copy */
    FOR_HEALTH = 1 << 3,
    FOR_STACK = 1 << 4, /* the compose file and `make stack`; no command of ours looks at it */
} ConfigUse;

typedef enum {
    SHOWN,
    HIDDEN,       /* nothing of it is ever shown */
    HIDDEN_LOGIN, /* a URI: its password and options are not */
} Secrecy;

typedef struct {
    const char *name;
    unsigned uses;                  /* of ConfigUse */
    const char *default_text;       /* NULL: none */
    const char *default_note;       /* what holds without one; NULL: it is not set */
    size_t member;                  /* offset in Config; FOR_STACK alone: none */
    int64_t min, max;               /* a number's; both 0: a text */
    const char *choices;            /* "a|b|c", of which a text is one in any case; NULL: any text */
    bool (*fits)(const char *text); /* NULL: all do */
    const char *expected;           /* what fits() takes */
    Secrecy secrecy;
    const char *meaning; /* Markdown of one line */
} Setting;

size_t setting_count(void);
const Setting *setting_at(size_t i);
/* By name ("DATA_DIR") or by flag ("data-dir", without the dashes before it). -1: there is none. */
int setting_find(const char *name);
int setting_find_flag(const char *flag);
/* The setting that a mistyped name or flag may have meant; NULL: none is near. */
const Setting *setting_nearest(const char *name);
char *setting_flag(const Setting *setting);

/* What the text should be ("a whole number from 0 to 65535"); NULL: it fits. */
char *setting_fault(const Setting *setting, const char *text);
/* The text as it may be shown. */
/* False: it is a secret, or holds an @ and so may be a login that stands in the wrong place. */
bool setting_is_shown(const Setting *setting, const char *text);
char *setting_shown(const Setting *setting, const char *text);

/* The table for a terminal, and the option that names a file of them; with uses 0 the table for all commands. */
void setting_print_help(unsigned uses, GString *out);
void setting_print_markdown(GString *out);
void setting_print_mdoc(GString *out); /* items of a list in mdoc(7) */
void setting_print_env_example(GString *out);

#endif
