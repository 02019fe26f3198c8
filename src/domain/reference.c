/* reference.c - one pass over the text; a template is a list of literals and references in order. */
#include "domain/reference.h"

#include <string.h>

#include "domain/fault.h"
#include "domain/reference_internal.h"

#define RUN_INPUTS "run.inputs."
enum { UUID_SIZE = ID_TEXT_SIZE - 1, SHOWN_MAX = 80 /* bytes of a reference that a message repeats */ };

bool reference_begins_bare(const char *text, Id *ret_step_id)
{
    char id[ID_TEXT_SIZE];
    if (strnlen(text, UUID_SIZE + 1) <= UUID_SIZE || text[UUID_SIZE] != '.')
        return false;
    memcpy(id, text, UUID_SIZE);
    id[UUID_SIZE] = '\0';
    return id_parse(id, ret_step_id);
}

void reference_part_done(TemplatePart *part)
{
    g_free(part->text);
    part->text = NULL;
}

bool reference_parse_braced(const char *text, size_t at, TemplatePart *ret_part, size_t *ret_size, GError **error)
{
    const char *inside = text + at + 2;
    const char *end = strchr(inside, '}');
    const char *nested = strstr(inside, "${");
    if (end == NULL || (nested != NULL && nested < end)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "column %zu: `${` is not closed by `}` (a literal `${` is written `$${`)", at + 1);
        return false;
    }
    size_t size = (size_t)(end - inside), prefix = strlen(RUN_INPUTS);
    TemplatePart part = {0};
    if (size > prefix && strncmp(inside, RUN_INPUTS, prefix) == 0) {
        part.kind = PART_RUN_INPUT;
        part.text = g_strndup(inside + prefix, size - prefix);
    } else if (size > UUID_SIZE + 1 && reference_begins_bare(inside, &part.step_id)) {
        part.kind = PART_STEP_OUTPUT;
        part.id_offset = at + 2;
        part.text = g_strndup(inside + UUID_SIZE + 1, size - UUID_SIZE - 1);
    } else {
        g_autofree char *shown = g_strndup(inside, text_cut(inside, MIN(size, SHOWN_MAX)));
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "column %zu: `${%s%s}` is neither `${stepId.outputKey}` nor `${run.inputs.name}`", at + 1, shown,
                    size > SHOWN_MAX ? "\xe2\x80\xa6" : "");
        return false;
    }
    *ret_part = part;
    *ret_size = size + 3;
    return true;
}

/* The whole text as `stepId.outputKey`. A key with blanks or braces is taken for prose that begins with an id. */
static bool parse_bare(const char *text, IsStep is_step, void *arg, TemplatePart *ret_part)
{
    Id id;
    if (is_step == NULL || !reference_begins_bare(text, &id))
        return false;
    const char *key = text + UUID_SIZE + 1;
    if (*key == '\0' || !is_step(id.text, arg))
        return false;
    for (const char *c = key; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '{' || *c == '}')
            return false;
    }
    *ret_part = (TemplatePart){.kind = PART_STEP_OUTPUT, .step_id = id, .text = g_strdup(key)};
    return true;
}

static void flush_literal(GArray *parts, GString *literal)
{
    if (literal->len == 0)
        return;
    TemplatePart part = {.kind = PART_LITERAL, .text = g_strndup(literal->str, literal->len)};
    g_array_append_val(parts, part);
    g_string_truncate(literal, 0);
}

static bool parse_parts(const char *text, GArray *parts, GError **error)
{
    g_autoptr(GString) literal = g_string_new(NULL);
    size_t at = 0;
    while (text[at] != '\0') {
        size_t plain = strcspn(text + at, "$");
        g_string_append_len(literal, text + at, (gssize)plain);
        at += plain;
        if (text[at] == '\0')
            break;
        if (strncmp(text + at, "$${", 3) == 0) {
            g_string_append(literal, "${");
            at += 3;
        } else if (text[at + 1] == '{') {
            TemplatePart part;
            size_t size;
            if (!reference_parse_braced(text, at, &part, &size, error))
                return false;
            flush_literal(parts, literal);
            g_array_append_val(parts, part);
            at += size;
        } else {
            g_string_append_c(literal, '$');
            at++;
        }
    }
    flush_literal(parts, literal);
    return true;
}

bool template_parse(const char *text, IsStep is_step, void *arg, Template *ret_template, GError **error)
{
    GArray *parts = g_array_new(FALSE, FALSE, sizeof(TemplatePart));
    TemplatePart bare;
    bool is_ok = true;
    if (parse_bare(text, is_step, arg, &bare))
        g_array_append_val(parts, bare);
    else
        is_ok = parse_parts(text, parts, error);
    Template result = {.n_parts = parts->len};
    result.parts = (TemplatePart *)(void *)g_array_free(parts, FALSE);
    if (is_ok)
        *ret_template = result;
    else
        template_done(&result);
    return is_ok;
}

void template_done(Template *template)
{
    for (size_t i = 0; i < template->n_parts; i++)
        reference_part_done(&template->parts[i]);
    g_free(template->parts);
    *template = (Template){0};
}

static void set_no_value_error(const TemplatePart *part, GError **error)
{
    size_t shown = text_cut(part->text, SHOWN_MAX);
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "`${%s.%.*s}` has no value",
                part->kind == PART_RUN_INPUT ? "run.inputs" : part->step_id.text, (int)shown, part->text);
}

char *template_render(const Template *template, ResolveReference resolve, void *arg, size_t max_bytes, GError **error)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (size_t i = 0; i < template->n_parts; i++) {
        const TemplatePart *part = &template->parts[i];
        g_autofree char *value = NULL;
        const char *text = part->text;
        if (part->kind != PART_LITERAL) {
            value = resolve(part, arg);
            if (value == NULL) {
                set_no_value_error(part, error);
                return NULL;
            }
            text = value;
        }
        size_t size = strlen(text);
        if (size > max_bytes - out->len) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                        "the text is longer than %zu bytes once its references are resolved", max_bytes);
            return NULL;
        }
        g_string_append_len(out, text, (gssize)size);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}
