/* condition.h - the expressions of `condition`: parsed once, evaluated without surprises.
 * Thread: any; a Condition is immutable. Owner: the caller of condition_parse(). Grammar: docs/conditions.md.
 * Bounded: CONDITION_MAX_BYTES of text, CONDITION_MAX_DEPTH of nesting; `matches` runs with a match limit, so that no
 * pattern can hold a thread. */
#ifndef FLOWOPS_DOMAIN_CONDITION_H
#define FLOWOPS_DOMAIN_CONDITION_H

#include "domain/reference.h"

#define CONDITION_MAX_BYTES 4096
#define CONDITION_MAX_DEPTH 64

typedef struct Condition Condition;

/* INVALID: "column C: what was expected" (from 1, in bytes). References: `${...}` as in reference.h, or bare
 * `stepId.outputKey`; both must name steps, is_step NULL takes them unseen. A regular expression given as a literal is compiled here, so its faults are found here too. */
MUST_CHECK Condition *condition_parse(const char *text, IsStep is_step, void *arg, GError **error);
void condition_free(Condition *condition);

/* Every step it refers to. */
typedef void (*ConditionReferenceFunc)(const TemplatePart *reference, void *arg);
void condition_foreach_reference(const Condition *condition, ConditionReferenceFunc func, void *arg);

/* A reference without a value is null. INVALID when it can't be evaluated (a bad pattern from data, match limit). */
MUST_CHECK bool condition_evaluate(const Condition *condition, ResolveReference resolve, void *arg, bool *ret_holds,
                                   GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Condition, condition_free)

#endif
