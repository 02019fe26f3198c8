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
    return !is_number || g_ascii_strtod(value->text, NULL) != 0;
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

/* `(?i)` with a class whose range ends beyond ASCII, such as `[a-\x{10ffff}]`: the library would walk the whole range
 * for its other cases (10 ms each). Errs on the safe side inside quotes. */
static bool is_costly_range(const char *pattern)
{
    bool ignores_case = false;
    for (const char *c = strstr(pattern, "(?"); c != NULL && !ignores_case; c = strstr(c + 2, "(?"))
        ignores_case =
            memchr(c + 2, 'i', strspn(c + 2, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ^-")) != NULL;
    for (const char *c = strchr(pattern, '-'); c != NULL && ignores_case; c = strchr(c, '-')) {
        for (c++; *c == ' ' || *c == '\t' || strncmp(c, "\\Q", 2) == 0 || strncmp(c, "\\E", 2) == 0;)
            c += *c == '\\' ? 2 : 1;
        if ((unsigned char)*c >= 0x80 || (c[0] == '\\' && c[1] != '\0' && strchr("xoN", c[1]) != NULL && c[2] == '{'))
            return true;
    }
    return false;
}

/* The library counts its steps anew at each place a match may begin; inside one match that skips ahead by itself they
 * are counted together. */
static GRegex *compile_bounded(const char *pattern, GError **error)
{
    g_autofree char *bounded =
        g_strdup_printf("(*NO_JIT)(*LIMIT_MATCH=%d)(*LIMIT_DEPTH=%d)(*LIMIT_HEAP=%d)\\A(?s:.*?)(?:%s\\E)",
                        MATCH_MAX_STEPS, MATCH_MAX_STEPS, MATCH_MAX_HEAP_KIB, pattern);
    return g_regex_new(bounded, 0, 0, error);
}

GRegex *condition_pattern_new(const char *pattern, GError **error)
{
    g_autoptr(GError) why = NULL;
    if (strnlen(pattern, PATTERN_MAX_BYTES + 1) > PATTERN_MAX_BYTES || !g_utf8_validate(pattern, -1, NULL)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "a pattern must be UTF-8 of at most %d bytes",
                    PATTERN_MAX_BYTES);
        return NULL;
    }
    if (is_costly_range(pattern)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "a pattern that ignores case can't have a range that ends beyond ASCII");
        return NULL;
    }
    g_autoptr(GRegex) bounded = compile_bounded(pattern, NULL);
    if (bounded != NULL && strchr(pattern, ')') == NULL) /* only with a `)` can it be whole there and broken alone */
        return g_steal_pointer(&bounded);
    g_autoptr(GRegex) alone = g_regex_new(pattern, 0, 0, &why);
    if (bounded != NULL && alone != NULL)
        return g_steal_pointer(&bounded);
    if (alone != NULL) { /* an open comment swallows what ends the bounded form; options may only stand at the start */
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                    "the pattern must not begin with `(*` options or end inside a comment");
        return NULL;
    }
    const char *place = g_strrstr(why->message, "at char ");
    const char *what = place == NULL ? NULL : strstr(place, ": ");
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

static bool values_match(const Node *node, const Value *left, const Value *right, bool *ret_holds, GError **error)
{
    if (node->as.pattern != NULL)
        return text_matches(node->as.pattern, left->text, ret_holds, error);
    g_autoptr(GRegex) pattern = condition_pattern_new(right->text, error);
    return pattern != NULL && text_matches(pattern, left->text, ret_holds, error);
}

static bool order_fits(NodeKind kind, int order)
{
    switch (kind) {
    case NODE_EQUAL:
        return order == 0;
    case NODE_NOT_EQUAL:
        return order != 0;
    case NODE_LESS:
        return order < 0;
    case NODE_LESS_EQUAL:
        return order <= 0;
    case NODE_GREATER:
        return order > 0;
    default:
        return order >= 0;
    }
}

static bool compare_values(const Node *node, const Value *left, const Value *right, bool *ret_holds, GError **error)
{
    if (left->kind == VALUE_NULL || right->kind == VALUE_NULL) { /* null equals null; nothing else holds of it */
        bool is_same = left->kind == right->kind;
        *ret_holds = (node->kind == NODE_EQUAL && is_same) || (node->kind == NODE_NOT_EQUAL && !is_same);
        return true;
    }
    if (node->kind == NODE_MATCHES)
        return values_match(node, left, right, ret_holds, error);
    if (node->kind == NODE_CONTAINS)
        *ret_holds = strstr(left->text, right->text) != NULL;
    else
        *ret_holds = order_fits(node->kind, compare(left, right));
    return true;
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
