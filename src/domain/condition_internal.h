/* condition_internal.h - a parsed condition as condition.c builds it and condition_eval.c reads it.
 * Thread: any; never changed once parsed. */
#ifndef FLOWOPS_DOMAIN_CONDITION_INTERNAL_H
#define FLOWOPS_DOMAIN_CONDITION_INTERNAL_H

#include <stdint.h>

#include "domain/condition.h"

typedef enum {
    NODE_NULL,
    NODE_BOOL,
    NODE_NUMBER,
    NODE_TEXT,
    NODE_REFERENCE,
    NODE_NOT, /* left */
    NODE_AND, /* left, right; a chain leans to the right, so it is walked, not recursed into */
    NODE_OR,
    NODE_EQUAL, /* from here on: comparisons */
    NODE_NOT_EQUAL,
    NODE_LESS,
    NODE_LESS_EQUAL,
    NODE_GREATER,
    NODE_GREATER_EQUAL,
    NODE_CONTAINS,
    NODE_MATCHES,
} NodeKind;

typedef struct {
    NodeKind kind;
    bool truth;           /* NODE_BOOL */
    uint16_t left, right; /* indexes; CONDITION_MAX_BYTES keeps them small */
    union {
        char *text;              /* NODE_TEXT; NODE_NUMBER: as written */
        TemplatePart *reference; /* NODE_REFERENCE */
        GRegex *pattern;         /* NODE_MATCHES with a literal pattern; else NULL: compiled when evaluated */
    } as;
} Node;

struct Condition {
    Node *nodes;
    size_t n_nodes;
    uint16_t root;
};

/* condition_parse() for one of many: what is compiled here is taken off *patterns_left, in bytes. */
MUST_CHECK Condition *condition_parse_counted(const char *text, IsStep is_step, void *arg, size_t *patterns_left,
                                              GError **error);

/* Searches anywhere in a text, within the limits below. INVALID says what is wrong with the pattern. */
MUST_CHECK GRegex *condition_pattern_new(const char *pattern, GError **error);

/* JSON's grammar for numbers, the whole text. */
bool condition_text_is_number(const char *text, size_t size, bool allows_exponent);

/* How far a pattern may look: `matches` refuses longer texts. Work per backtracking step is at most linear in the
 * text, so this times MATCH_MAX_STEPS bounds the time a hostile pattern can take (a fraction of a second at worst). */
#define PATTERN_MAX_BYTES 512 /* the worst found by random search compiles in 0.3 ms; the time grows with the square */
#define MATCH_MAX_TEXT_BYTES 8192
#define MATCH_MAX_STEPS 50000
#define MATCH_MAX_HEAP_KIB 8192

#endif
