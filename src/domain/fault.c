/* fault.c - collects faults up to a bound; what comes after is only counted, so a hostile body costs no memory. */
#include "domain/fault.h"

#include <stdarg.h>
#include <string.h>

static const char CODE[] = "VALIDATION_ERROR";
static const char CUT_MARK[] = "\xe2\x80\xa6"; /* an ellipsis: the value was longer */

struct Faults {
    Fault kept[FAULTS_MAX];
    size_t n_kept;
    size_t n_more; /* not kept */
    Fault more;    /* says how many; its text is made when asked for */
};

Faults *faults_new(void)
{
    return g_new0(Faults, 1);
}

static void fault_done(Fault *fault)
{
    g_free(fault->message);
    g_free(fault->field);
    g_free(fault->rejected);
}

void faults_free(Faults *faults)
{
    if (faults == NULL)
        return;
    for (size_t i = 0; i < faults->n_kept; i++)
        fault_done(&faults->kept[i]);
    fault_done(&faults->more);
    g_free(faults);
}

size_t faults_count(const Faults *faults)
{
    return faults->n_kept + (faults->n_more > 0 ? 1 : 0);
}

const Fault *faults_at(const Faults *faults, size_t i)
{
    g_assert(i < faults_count(faults));
    if (i < faults->n_kept)
        return &faults->kept[i];
    Fault *more = (Fault *)&faults->more;
    g_free(more->message);
    more->code = CODE;
    more->message = g_strdup_printf("and %zu more fault%s", faults->n_more, faults->n_more == 1 ? "" : "s");
    return more;
}

size_t text_cut(const char *text, size_t max_bytes)
{
    size_t size = strnlen(text, max_bytes + 1);
    if (size <= max_bytes)
        return size;
    size = max_bytes;
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

/* As a JSON string, cut when too long. */
static char *rejected_from_text(const char *text)
{
    g_autoptr(GString) shown = g_string_new_len(text, (gssize)text_cut(text, FAULT_REJECTED_MAX));
    if (text[shown->len] != '\0')
        g_string_append(shown, CUT_MARK);
    GString *out = g_string_new(NULL);
    JsonWriter writer = json_writer(out);
    json_put_string(&writer, NULL, shown->str);
    return g_string_free(out, FALSE);
}

/* Always JSON: an array or object that is too long is shown as the beginning of its text, in a string. */
static char *rejected_from_json(const JsonValue *value)
{
    if (json_type(value) == JSON_STRING)
        return rejected_from_text(json_text(value));
    g_autofree char *text = json_print(value);
    if (strlen(text) <= FAULT_REJECTED_MAX)
        return g_steal_pointer(&text);
    return rejected_from_text(text);
}

/* NULL when there is no more room. */
static Fault *add_fault(Faults *faults, const char *field, const char *format, va_list args) PRINTF_LIKE(3, 0);
static Fault *add_fault(Faults *faults, const char *field, const char *format, va_list args)
{
    if (faults->n_kept == FAULTS_MAX) {
        faults->n_more++;
        return NULL;
    }
    Fault *fault = &faults->kept[faults->n_kept++];
    *fault = (Fault){.code = CODE, .message = g_strdup_vprintf(format, args), .field = g_strdup(field)};
    return fault;
}

void faults_add(Faults *faults, const char *field, const JsonValue *rejected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Fault *fault = add_fault(faults, field, format, args);
    va_end(args);
    if (fault != NULL && rejected != NULL)
        fault->rejected = rejected_from_json(rejected);
}

void faults_add_text(Faults *faults, const char *field, const char *rejected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Fault *fault = add_fault(faults, field, format, args);
    va_end(args);
    if (fault != NULL && rejected != NULL)
        fault->rejected = rejected_from_text(rejected);
}
