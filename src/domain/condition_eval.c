/* condition_eval.c - what a condition means: values, comparison, patterns. The rules are those of docs/conditions.md.
 * References come as text, so numbers are recognised by their form; nothing here grows with hostile input. */
#include <string.h>

#include "domain/condition_internal.h"
#include "domain/fault.h"

typedef enum { VALUE_NULL, VALUE_BOOL, VALUE_NUMBER, VALUE_TEXT } ValueKind;

typedef struct {
    ValueKind kind; /* VALUE_NUMBER: a literal; numbers from data are VALUE_TEXT */
    bool truth;
    const char *text; /* unless VALUE_NULL */
    char *owned;      /* what resolve() gave */
} Value;

typedef struct {
    const Condition *condition;
    ResolveReference resolve;
    void *arg;
} Evaluation;

static bool node_holds(const Evaluation *evaluation, uint16_t index, bool *ret_holds, GError **error);

bool condition_text_is_number(const char *text, size_t size, bool allows_exponent)
{
    const char *c = text, *end = text + size;
    if (c < end && *c == '-')
        c++;
    const char *digits = c;
    while (c < end && g_ascii_isdigit(*c))
        c++;
    if (c == digits || (*digits == '0' && c - digits > 1))
        return false;
    if (c < end && *c == '.') {
        digits = ++c;
        while (c < end && g_ascii_isdigit(*c))
            c++;
        if (c == digits)
            return false;
    }
    if (allows_exponent && c < end && (*c == 'e' || *c == 'E')) {
        c++;
        if (c < end && (*c == '+' || *c == '-'))
            c++;
        digits = c;
        while (c < end && g_ascii_isdigit(*c))
            c++;
        if (c == digits)
            return false;
    }
    return c == end;
}

static int sign_of(double difference)
{
    return (difference > 0) - (difference < 0);
}

/* Whole numbers are compared digit by digit: ids of twenty digits differ where doubles would not. */
static int compare_integers(const char *a, const char *b)
{
    bool is_negative_a = a[0] == '-' && a[1] != '0', is_negative_b = b[0] == '-' && b[1] != '0';
    a += a[0] == '-' ? 1 : 0;
    b += b[0] == '-' ? 1 : 0;
    if (is_negative_a != is_negative_b)
        return is_negative_a ? -1 : 1;
    size_t size_a = strlen(a), size_b = strlen(b);
    int order = size_a != size_b ? (size_a > size_b) - (size_a < size_b) : strcmp(a, b);
    return is_negative_a ? -order : order;
}

static int compare_number_texts(const char *a, const char *b)
{
    static const char FRACTION[] = ".eE";
    if (strpbrk(a, FRACTION) == NULL && strpbrk(b, FRACTION) == NULL)
        return compare_integers(a, b);
    double x = g_ascii_strtod(a, NULL), y = g_ascii_strtod(b, NULL);
    return (x > y) - (x < y);
}

/* Neither is null. */
static int compare(const Value *a, const Value *b)
{
    if (a->kind != VALUE_BOOL && b->kind != VALUE_BOOL) {
        bool has_literal = a->kind == VALUE_NUMBER || b->kind == VALUE_NUMBER;
        if (condition_text_is_number(a->text, strlen(a->text), has_literal) &&
            condition_text_is_number(b->text, strlen(b->text), has_literal))
            return compare_number_texts(a->text, b->text);
    }
    return strcmp(a->text, b->text);
}

static bool is_truthy(const Value *value)
{
    switch (value->kind) {
    case VALUE_NULL:
        return false;
    case VALUE_BOOL:
        return value->truth;
    case VALUE_NUMBER:
    case VALUE_TEXT:
        break;
    }
    if (value->text[0] == '\0' || strcmp(value->text, "false") == 0)
        return false;
    bool is_number = condition_text_is_number(value->text, strlen(value->text), value->kind == VALUE_NUMBER);
    return !is_number || sign_of(g_ascii_strtod(value->text, NULL)) != 0;
}

static Value value_from_bool(bool truth)
{
    return (Value){.kind = VALUE_BOOL, .truth = truth, .text = truth ? "true" : "false"};
}

/* The caller frees ret_value->owned. */
static bool node_value(const Evaluation *evaluation, uint16_t index, Value *ret_value, GError **error)
{
    const Node *node = &evaluation->condition->nodes[index];
    bool holds;
    switch (node->kind) {
    case NODE_NULL:
        *ret_value = (Value){.kind = VALUE_NULL};
        return true;
    case NODE_BOOL:
        *ret_value = value_from_bool(node->truth);
        return true;
    case NODE_NUMBER:
        *ret_value = (Value){.kind = VALUE_NUMBER, .text = node->as.text};
        return true;
    case NODE_TEXT:
        *ret_value = (Value){.kind = VALUE_TEXT, .text = node->as.text};
        return true;
    case NODE_REFERENCE: {
        char *text = evaluation->resolve(node->as.reference, evaluation->arg);
        *ret_value = (Value){.kind = text == NULL ? VALUE_NULL : VALUE_TEXT, .text = text, .owned = text};
        return true;
    }
    default:
        if (!node_holds(evaluation, index, &holds, error))
            return false;
        *ret_value = value_from_bool(holds);
        return true;
    }
}

GRegex *condition_pattern_new(const char *pattern, GError **error)
{
    g_autoptr(GError) why = NULL;
    g_autoptr(GRegex) alone = NULL;
    if (strnlen(pattern, CONDITION_MAX_BYTES + 1) > CONDITION_MAX_BYTES || !g_utf8_validate(pattern, -1, NULL)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "a pattern must be UTF-8 of at most %d bytes",
                    CONDITION_MAX_BYTES);
        return NULL;
    }
    /* The library counts its steps anew at each place a match may begin; inside one match that skips ahead by itself
     * they are counted together. Only a pattern with `)` can be whole here and broken alone. */
    g_autofree char *bounded =
        g_strdup_printf("(*NO_JIT)(*LIMIT_MATCH=%d)(*LIMIT_DEPTH=%d)(*LIMIT_HEAP=%d)\\A(?s:.*?)(?:%s\\E)",
                        MATCH_MAX_STEPS, MATCH_MAX_STEPS, MATCH_MAX_HEAP_KIB, pattern);
    g_autoptr(GRegex) regex = g_regex_new(bounded, 0, 0, &why);
    if (regex == NULL || strchr(pattern, ')') != NULL) {
        g_autoptr(GError) why_alone = NULL;
        alone = g_regex_new(pattern, 0, 0, &why_alone);
        if (alone == NULL) {
            g_clear_error(&why);
            why = g_steal_pointer(&why_alone);
        }
    }
    if (why == NULL)
        return g_steal_pointer(&regex);
    const char *place = g_strrstr(why->message, "at char ");
    const char *what = place == NULL ? NULL : strstr(place, ": ");
    if (alone != NULL) /* sound alone: it only fails to end where it ends, by an open comment or a leading option */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "the pattern must not begin with `(*` options or end inside a comment");
    else
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "the pattern is wrong: %s",
                    what == NULL ? why->message : what + 2);
    return NULL;
}

static bool text_matches(const GRegex *pattern, const char *text, bool *ret_holds, GError **error)
{
    g_autoptr(GError) why = NULL;
    size_t size = strnlen(text, MATCH_MAX_TEXT_BYTES + 1);
    if (size > MATCH_MAX_TEXT_BYTES || !g_utf8_validate(text, (gssize)size, NULL)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "`matches` looks at UTF-8 text of at most %d bytes",
                    MATCH_MAX_TEXT_BYTES);
        return false;
    }
    bool is_found = g_regex_match_full(pattern, text, (gssize)size, 0, 0, NULL, &why);
    if (why != NULL) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "the pattern takes more than %d steps on this text; make it less ambiguous", MATCH_MAX_STEPS);
        return false;
    }
    *ret_holds = is_found;
    return true;
}

static bool compare_values(const Node *node, const Value *left, const Value *right, bool *ret_holds, GError **error)
{
    bool is_null = left->kind == VALUE_NULL || right->kind == VALUE_NULL;
    bool is_equal = is_null ? left->kind == right->kind : false;
    int order = is_null ? 0 : node->kind < NODE_CONTAINS ? compare(left, right) : 0;
    switch (node->kind) {
    case NODE_EQUAL:
        *ret_holds = is_null ? is_equal : order == 0;
        return true;
    case NODE_NOT_EQUAL:
        *ret_holds = is_null ? !is_equal : order != 0;
        return true;
    case NODE_LESS:
        *ret_holds = !is_null && order < 0;
        return true;
    case NODE_LESS_EQUAL:
        *ret_holds = !is_null && order <= 0;
        return true;
    case NODE_GREATER:
        *ret_holds = !is_null && order > 0;
        return true;
    case NODE_GREATER_EQUAL:
        *ret_holds = !is_null && order >= 0;
        return true;
    case NODE_CONTAINS:
        *ret_holds = !is_null && strstr(left->text, right->text) != NULL;
        return true;
    default:
        break;
    }
    if (is_null) {
        *ret_holds = false;
        return true;
    }
    if (node->as.pattern != NULL)
        return text_matches(node->as.pattern, left->text, ret_holds, error);
    g_autoptr(GRegex) pattern = condition_pattern_new(right->text, error);
    return pattern != NULL && text_matches(pattern, left->text, ret_holds, error);
}

static bool comparison_holds(const Evaluation *evaluation, const Node *node, bool *ret_holds, GError **error)
{
    Value left = {0}, right = {0};
    bool is_ok = node_value(evaluation, node->left, &left, error) &&
                 node_value(evaluation, node->right, &right, error) &&
                 compare_values(node, &left, &right, ret_holds, error);
    g_free(left.owned);
    g_free(right.owned);
    return is_ok;
}

static bool operand_holds(const Evaluation *evaluation, uint16_t index, bool *ret_holds, GError **error)
{
    Value value = {0};
    if (!node_value(evaluation, index, &value, error))
        return false;
    *ret_holds = is_truthy(&value);
    g_free(value.owned);
    return true;
}

/* Recursion is as deep as the text nests (CONDITION_MAX_DEPTH); chains are walked. */
static bool node_holds(const Evaluation *evaluation, uint16_t index, bool *ret_holds, GError **error)
{
    for (;;) {
        const Node *node = &evaluation->condition->nodes[index];
        if (node->kind < NODE_NOT)
            return operand_holds(evaluation, index, ret_holds, error);
        if (node->kind >= NODE_EQUAL)
            return comparison_holds(evaluation, node, ret_holds, error);
        bool holds;
        if (!node_holds(evaluation, node->left, &holds, error))
            return false;
        if (node->kind == NODE_NOT || holds == (node->kind == NODE_OR)) {
            *ret_holds = node->kind == NODE_NOT ? !holds : holds;
            return true;
        }
        index = node->right;
    }
}

bool condition_evaluate(const Condition *condition, ResolveReference resolve, void *arg, bool *ret_holds,
                        GError **error)
{
    Evaluation evaluation = {.condition = condition, .resolve = resolve, .arg = arg};
    return node_holds(&evaluation, condition->root, ret_holds, error);
}
