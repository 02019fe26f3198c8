/* schedule_options.c - names, defaults and the small templates of a schedule's inputs. */
#include "domain/schedule_options.h"

#include <string.h>

#include "base/clock.h"
#include "domain/fault.h"

enum { DATE_SIZE = 10 /* YYYY-MM-DD, the beginning of an instant's text */, SHOWN_MAX = 80 };

static const char *const MISFIRES[] = {"SKIP", "LATEST", "ALL"};
static const char *const OVERLAPS[] = {"ALLOW", "SKIP", "QUEUE", "CANCEL_RUNNING"};

ScheduleOptions *schedule_options_new(void)
{
    ScheduleOptions *options = g_new0(ScheduleOptions, 1);
    options->misfire = MISFIRE_LATEST;
    options->overlap = OVERLAP_ALLOW;
    options->misfire_grace_s = SCHEDULE_GRACE_DEFAULT_S;
    options->start_at = options->end_at = INSTANT_NONE;
    return options;
}

ScheduleOptions *schedule_options_copy(const ScheduleOptions *options)
{
    if (options == NULL)
        return NULL;
    ScheduleOptions *copy = g_new(ScheduleOptions, 1);
    *copy = *options;
    text_map_copy(&options->inputs, &copy->inputs);
    return copy;
}

void schedule_options_free(ScheduleOptions *options)
{
    if (options == NULL)
        return;
    text_map_done(&options->inputs);
    g_free(options);
}

/* The index of a name; n_names when it is none. */
static size_t find_name(const char *const *names, size_t n_names, const char *text)
{
    size_t i = 0;
    while (i < n_names && g_ascii_strcasecmp(names[i], text) != 0)
        i++;
    return i;
}

const char *misfire_name(Misfire misfire)
{
    return MISFIRES[misfire];
}

bool misfire_parse(const char *text, Misfire *ret_misfire)
{
    size_t i = find_name(MISFIRES, G_N_ELEMENTS(MISFIRES), text);
    if (i == G_N_ELEMENTS(MISFIRES))
        return false;
    *ret_misfire = (Misfire)i;
    return true;
}

const char *overlap_name(Overlap overlap)
{
    return OVERLAPS[overlap];
}

bool overlap_parse(const char *text, Overlap *ret_overlap)
{
    size_t i = find_name(OVERLAPS, G_N_ELEMENTS(OVERLAPS), text);
    if (i == G_N_ELEMENTS(OVERLAPS))
        return false;
    *ret_overlap = (Overlap)i;
    return true;
}

static bool refuse(const char *value, const char *at, size_t size, GError **error)
{
    if (size == 0)
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "column %zu: `${` is not closed by `}` (a literal `${` is written `$${`)",
                    (size_t)(at - value) + 1);
    else
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "column %zu: `%.*s` is neither `${slot}` nor `${slot.date}`",
                    (size_t)(at - value) + 1, (int)text_cut(at, MIN(size, SHOWN_MAX)), at);
    return false;
}

static bool render(const char *value, const char *slot, const char *wall, GString *out, GError **error)
{
    static const char SLOT[] = "${slot}", DATE[] = "${slot.date}";
    const char *at = value, *mark;
    while ((mark = strstr(at, "${")) != NULL) {
        bool is_literal = mark > at && mark[-1] == '$';
        g_string_append_len(out, at, mark - at - is_literal);
        at = mark;
        if (is_literal) {
            g_string_append(out, "${");
            at += 2;
        } else if (g_str_has_prefix(at, SLOT)) {
            g_string_append(out, slot);
            at += strlen(SLOT);
        } else if (g_str_has_prefix(at, DATE)) {
            g_string_append_len(out, wall, DATE_SIZE);
            at += strlen(DATE);
        } else {
            const char *end = strchr(at, '}');
            return refuse(value, at, end == NULL ? 0 : (size_t)(end - at) + 1, error);
        }
    }
    g_string_append(out, at);
    return true;
}

char *schedule_input_render(const char *value, int64_t slot_ms, int offset_s, GError **error)
{
    char slot[INSTANT_TEXT_SIZE], wall[INSTANT_TEXT_SIZE]; /* the instant, and what the wall clock showed */
    instant_format(slot_ms, slot);
    instant_format(slot_ms + offset_s * INT64_C(1000), wall);
    g_autoptr(GString) out = g_string_new(NULL);
    if (!render(value, slot, wall, out, error))
        return NULL;
    return g_strdup(out->str);
}
