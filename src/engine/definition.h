/* definition.h - a step tree made ready to run: flattened, with its templates and conditions parsed, its plugins looked
 * up and its edges in both directions. Runs of equal trees share one.
 * Thread: engine. Owner: the set owns them; a run holds a reference for as long as it lives. */
#ifndef FLOWOPS_ENGINE_DEFINITION_H
#define FLOWOPS_ENGINE_DEFINITION_H

#include "domain/condition.h"
#include "domain/flow.h"
#include "engine/plugin.h"

#define NO_INDEX SIZE_MAX

typedef struct {
    const Step *step;
    const Plugin *plugin;          /* NULL: none was named, or this engine has none of that id */
    char *fault;                   /* a text that cannot be parsed: what the step fails with; NULL: none */
    Template *inputs;              /* one for each pair of step->inputs */
    Condition *condition;          /* NULL: always holds */
    Condition **branch_conditions; /* one for each branch; NULL elements always hold */
    size_t parent;                 /* the step it is a child or a branch step of, or NO_INDEX */
    size_t branch;                 /* of parent; NO_INDEX for a child and for a root step */
    GArray *waits_for; /* of size_t, each once: the steps it refers to; the parent is not among them for being it */
    GArray *waiters;   /* of size_t, each once: the steps that refer to it */
    GArray *owned;     /* of size_t: its children and branch steps, one level */
} StepPlan;

typedef struct {
    StepPlan *plans; /* definition order */
    size_t n_steps;
    char *fault; /* what makes the whole impossible to run; NULL: nothing */

    /* private */
    Step **steps;
    size_t n_roots;
    GHashTable *index; /* step id -> index + 1 */
    unsigned hash;
    size_t ref_count;
} Definition;

size_t definition_find(const Definition *definition, const char *step_id); /* NO_INDEX: no such step */

typedef struct Definitions Definitions;

Definitions *definitions_new(void);
void definitions_free(Definitions *definitions); /* none may be in use any more; NULL is fine */

/* Takes the tree and returns a reference to the definition equal to it. */
Definition *definitions_take(Definitions *definitions, Step **steps, size_t n_steps);
void definitions_release(Definitions *definitions, Definition *definition); /* NULL is fine */
size_t definitions_count(const Definitions *definitions);

#endif
