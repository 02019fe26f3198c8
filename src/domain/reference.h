/* reference.h - input values as templates: literals and references to other steps' outputs or the run's inputs.
 * Thread: any. Forms (contract): `${stepId.outputKey}` anywhere in the text, `${run.inputs.name}` anywhere, or the whole
 * text being exactly `stepId.outputKey` where stepId is a step of this flow. */
#ifndef FLOWOPS_DOMAIN_REFERENCE_H
#define FLOWOPS_DOMAIN_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/id.h"

typedef enum { PART_LITERAL, PART_STEP_OUTPUT, PART_RUN_INPUT } PartKind;

typedef struct {
    PartKind kind;
    Id step_id;       /* PART_STEP_OUTPUT; lower case whatever the text has */
    size_t id_offset; /* PART_STEP_OUTPUT: where the step's id stands in the text that was parsed */
    char *text;       /* the literal, the output key or the input's name */
} TemplatePart;

typedef struct {
    TemplatePart *parts;
    size_t n_parts;
} Template;

/* Says whether `step_id` (lower case) names a step of the flow at hand (for the bare form). */
typedef bool (*IsStep)(const char *step_id, void *arg);

/* INVALID: a `${` that is not closed or holds something else; the message names the column (from 1, in bytes).
 * A `$` without `{` is a literal; `$${` is a literal `${`. Whether a `${}` reference names a step is the caller's
 * question. is_step may be NULL: then there is no bare form. */
MUST_CHECK bool template_parse(const char *text, IsStep is_step, void *arg, Template *ret_template, GError **error);
void template_done(Template *template);

/* Gives a reference's value as text (allocated), or NULL when there is none. */
typedef char *(*ResolveReference)(const TemplatePart *part, void *arg);

/* The text with every reference resolved; at most max_bytes. INVALID names the reference that has no value or the size. */
MUST_CHECK char *template_render(const Template *template, ResolveReference resolve, void *arg, size_t max_bytes,
                                 GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Template, template_done)

#endif
