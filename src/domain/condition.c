/* condition.c - parses conditions: a recursive descent straight over the text, into one array of nodes.
 * Grammar and meaning: docs/conditions.md. */
#include "domain/condition.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "domain/condition_internal.h"
#include "domain/fault.h"
#include "domain/reference_internal.h"

G_STATIC_ASSERT(CONDITION_MAX_BYTES < UINT16_MAX); /* a node takes at least one byte of text */

enum { SHOWN_MAX = 24 }; /* bytes of an unexpected piece that a message repeats */

typedef struct {
    const char *text;
    size_t at;
    int depth;
    IsStep is_step;
    void *arg;
    GArray *nodes;
    size_t *patterns_left; /* NULL: not counted */
    GError **error;
} Parser;

static bool parse_or(Parser *parser, uint16_t *ret_node);

static bool fail_at(Parser *parser, size_t at, const char *format, ...) PRINTF_LIKE(3, 4);
static bool fail_at(Parser *parser, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(parser->error, FLOWOPS_ERROR, FLOWOPS_INVALID, "column %zu: %s", at + 1, what);
    return false;
}

static bool is_word_char(char c)
{
    return g_ascii_isalnum(c) || c == '_';
}

/* "expected X, found Y" at the place reached. */
static bool fail_expected(Parser *parser, const char *expected)
{
    const char *found = parser->text + parser->at;
    if (*found == '\0')
        return fail_at(parser, parser->at, "expected %s, found the end", expected);
    size_t size = 0;
    while (size < SHOWN_MAX && is_word_char(found[size]))
        size++;
    if (size == 0)
        size = (size_t)(g_utf8_next_char(found) - found);
    return fail_at(parser, parser->at, "expected %s, found `%.*s`", expected, (int)size, found);
}

static void skip_blanks(Parser *parser)
{
    parser->at += strspn(parser->text + parser->at, " \t\r\n");
}

static uint16_t add_node(Parser *parser, Node node)
{
    g_array_append_val(parser->nodes, node);
    return (uint16_t)(parser->nodes->len - 1);
}

/* Takes `token` when it comes next. */
static bool take(Parser *parser, const char *token)
{
    skip_blanks(parser);
    size_t size = strlen(token);
    const char *here = parser->text + parser->at;
    if (strncmp(here, token, size) != 0 || (is_word_char(token[0]) && is_word_char(here[size])))
        return false;
    parser->at += size;
    return true;
}

/* `\\`, `\"`, `\'`, `\n`, `\r` and `\t` are escapes; any other backslash stays, so that patterns read well. */
static bool parse_quoted(Parser *parser, uint16_t *ret_node)
{
    size_t start = parser->at;
    char quote = parser->text[parser->at++];
    g_autoptr(GString) value = g_string_new(NULL);
    for (;;) {
        char c = parser->text[parser->at];
        if (c == '\0')
            return fail_at(parser, start, "the text that begins here is not closed by %c", quote);
        parser->at++;
        if (c == quote)
            break;
        if (c == '\\') {
            static const char ESCAPES[] = "\\\"'nrt", MEANT[] = "\\\"'\n\r\t";
            char next = parser->text[parser->at];
            const char *escape = next == '\0' ? NULL : strchr(ESCAPES, next);
            if (escape != NULL) {
                c = MEANT[escape - ESCAPES];
                parser->at++;
            }
        }
        g_string_append_c(value, c);
    }
    *ret_node = add_node(parser, (Node){.kind = NODE_TEXT, .as.text = g_string_free(g_steal_pointer(&value), FALSE)});
    return true;
}

static bool parse_number(Parser *parser, uint16_t *ret_node)
{
    const char *start = parser->text + parser->at;
    size_t size = strspn(start, "0123456789+-.eE");
    if (!condition_text_is_number(start, size, true) || is_word_char(start[size]))
        return fail_expected(parser, "a number as in JSON");
    g_autofree char *text = g_strndup(start, size);
    if (!isfinite(g_ascii_strtod(text, NULL)))
        return fail_at(parser, parser->at, "the number is too large");
    parser->at += size;
    *ret_node = add_node(parser, (Node){.kind = NODE_NUMBER, .as.text = g_steal_pointer(&text)});
    return true;
}

/* Takes the part. */
static bool add_reference(Parser *parser, size_t at, TemplatePart part, uint16_t *ret_node)
{
    bool is_known =
        part.kind != PART_STEP_OUTPUT || parser->is_step == NULL || parser->is_step(part.step_id.text, parser->arg);
    if (!is_known) {
        reference_part_done(&part);
        return fail_at(parser, at, "step %s does not exist in this flow", part.step_id.text);
    }
    TemplatePart *reference = g_new(TemplatePart, 1);
    *reference = part;
    *ret_node = add_node(parser, (Node){.kind = NODE_REFERENCE, .as.reference = reference});
    return true;
}

static bool parse_braced_reference(Parser *parser, uint16_t *ret_node)
{
    size_t at = parser->at, size;
    TemplatePart part;
    if (!reference_parse_braced(parser->text, at, &part, &size, parser->error))
        return false;
    parser->at += size;
    return add_reference(parser, at, part, ret_node);
}

/* `stepId.key`, the key of letters, digits, `_`, `-` and `.`; other keys need the braces. */
static bool parse_bare_reference(Parser *parser, const Id *step_id, uint16_t *ret_node)
{
    size_t at = parser->at, size = 0;
    parser->at += ID_TEXT_SIZE; /* the id and its dot */
    const char *key = parser->text + parser->at;
    while (is_word_char(key[size]) || key[size] == '-' || key[size] == '.')
        size++;
    if (size == 0)
        return fail_expected(parser, "the name of an output");
    parser->at += size;
    TemplatePart part = {.kind = PART_STEP_OUTPUT, .step_id = *step_id, .id_offset = at, .text = g_strndup(key, size)};
    return add_reference(parser, at, part, ret_node);
}

static bool parse_word(Parser *parser, uint16_t *ret_node)
{
    if (take(parser, "true"))
        *ret_node = add_node(parser, (Node){.kind = NODE_BOOL, .truth = true});
    else if (take(parser, "false"))
        *ret_node = add_node(parser, (Node){.kind = NODE_BOOL, .truth = false});
    else if (take(parser, "null"))
        *ret_node = add_node(parser, (Node){.kind = NODE_NULL});
    else
        return fail_expected(parser, "a reference, quoted text, a number, true, false, null or `(`");
    return true;
}

static bool enter(Parser *parser)
{
    if (++parser->depth > CONDITION_MAX_DEPTH)
        return fail_at(parser, parser->at, "nested deeper than %d levels", CONDITION_MAX_DEPTH);
    return true;
}

static bool parse_operand(Parser *parser, uint16_t *ret_node)
{
    skip_blanks(parser);
    Id step_id;
    const char *here = parser->text + parser->at;
    if (*here == '(') {
        if (!enter(parser))
            return false;
        parser->at++;
        if (!parse_or(parser, ret_node))
            return false;
        if (!take(parser, ")"))
            return fail_expected(parser, "`)` or an operator");
        parser->depth--;
        return true;
    }
    if (*here == '"' || *here == '\'')
        return parse_quoted(parser, ret_node);
    if (here[0] == '$' && here[1] == '{')
        return parse_braced_reference(parser, ret_node);
    if (reference_begins_bare(here, &step_id)) /* before numbers: an id may begin with a digit */
        return parse_bare_reference(parser, &step_id, ret_node);
    if (g_ascii_isdigit(*here) || *here == '-')
        return parse_number(parser, ret_node);
    return parse_word(parser, ret_node);
}

/* True with *ret_is_found when an operator was taken; false when something like one stands there. */
static bool parse_comparison_operator(Parser *parser, bool *ret_is_found, NodeKind *ret_kind)
{
    static const struct {
        const char *token;
        NodeKind kind;
    } OPERATORS[] = {
        {"==", NODE_EQUAL},         {"!=", NODE_NOT_EQUAL}, {"<=", NODE_LESS_EQUAL},     {"<", NODE_LESS},
        {">=", NODE_GREATER_EQUAL}, {">", NODE_GREATER},    {"contains", NODE_CONTAINS}, {"matches", NODE_MATCHES},
    };
    *ret_is_found = false;
    for (size_t i = 0; i < G_N_ELEMENTS(OPERATORS); i++) {
        if (take(parser, OPERATORS[i].token)) {
            *ret_is_found = true;
            *ret_kind = OPERATORS[i].kind;
            return true;
        }
    }
    if (parser->text[parser->at] == '=')
        return fail_at(parser, parser->at, "expected an operator, found `=` (equality is written `==`)");
    return true;
}

/* A pattern that is written out is compiled here, once, and its faults are found here. */
static bool compile_pattern(Parser *parser, size_t at, uint16_t right, GRegex **ret_pattern)
{
    g_autoptr(GError) why = NULL;
    const Node *node = &g_array_index(parser->nodes, Node, right);
    *ret_pattern = NULL;
    if (node->kind != NODE_TEXT)
        return true;
    size_t size = strlen(node->as.text);
    if (parser->patterns_left != NULL) {
        if (size > *parser->patterns_left)
            return fail_at(parser, at, "the patterns of a flow are too long together");
        *parser->patterns_left -= size;
    }
    *ret_pattern = condition_pattern_new(node->as.text, &why);
    return *ret_pattern != NULL || fail_at(parser, at, "%s", why->message);
}

static bool parse_comparison(Parser *parser, uint16_t *ret_node)
{
    uint16_t left, right;
    NodeKind kind;
    bool is_found;
    GRegex *pattern = NULL;
    if (!parse_operand(parser, &left) || !parse_comparison_operator(parser, &is_found, &kind))
        return false;
    if (!is_found) {
        *ret_node = left;
        return true;
    }
    skip_blanks(parser);
    size_t at = parser->at;
    if (!parse_operand(parser, &right))
        return false;
    if (kind == NODE_MATCHES && !compile_pattern(parser, at, right, &pattern))
        return false;
    *ret_node = add_node(parser, (Node){.kind = kind, .left = left, .right = right, .as.pattern = pattern});
    skip_blanks(parser);
    at = parser->at;
    if (!parse_comparison_operator(parser, &is_found, &kind))
        return false;
    return !is_found || fail_at(parser, at, "comparisons can't be chained; join them by `&&`");
}

static bool parse_not(Parser *parser, uint16_t *ret_node)
{
    uint16_t inner;
    skip_blanks(parser);
    if (parser->text[parser->at] != '!')
        return parse_comparison(parser, ret_node);
    if (!enter(parser))
        return false;
    parser->at++;
    if (!parse_not(parser, &inner))
        return false;
    parser->depth--;
    *ret_node = add_node(parser, (Node){.kind = NODE_NOT, .left = inner});
    return true;
}

typedef bool (*ParseFunc)(Parser *parser, uint16_t *ret_node);

/* part (token part)*, as a chain that leans to the right: (a, (b, (c, d))). */
static bool parse_chain(Parser *parser, ParseFunc parse_part, const char *token, NodeKind kind, uint16_t *ret_node)
{
    uint16_t part, last = 0;
    bool has_last = false;
    if (!parse_part(parser, ret_node))
        return false;
    part = *ret_node;
    while (take(parser, token)) {
        uint16_t next;
        if (!parse_part(parser, &next))
            return false;
        uint16_t joint = add_node(parser, (Node){.kind = kind, .left = part, .right = next});
        if (has_last)
            g_array_index(parser->nodes, Node, last).right = joint;
        else
            *ret_node = joint;
        last = joint;
        has_last = true;
        part = next;
    }
    return true;
}

static bool parse_and(Parser *parser, uint16_t *ret_node)
{
    return parse_chain(parser, parse_not, "&&", NODE_AND, ret_node);
}

static bool parse_or(Parser *parser, uint16_t *ret_node)
{
    return parse_chain(parser, parse_and, "||", NODE_OR, ret_node);
}

static bool parse_whole(Parser *parser, uint16_t *ret_root)
{
    if (strnlen(parser->text, CONDITION_MAX_BYTES + 1) > CONDITION_MAX_BYTES)
        return fail_at(parser, CONDITION_MAX_BYTES, "a condition may have at most %d bytes", CONDITION_MAX_BYTES);
    if (!g_utf8_validate(parser->text, -1, NULL))
        return fail_at(parser, 0, "not UTF-8");
    skip_blanks(parser);
    if (parser->text[parser->at] == '\0')
        return fail_at(parser, 0, "the condition is empty; leave it out when it shall always hold");
    if (!parse_or(parser, ret_root))
        return false;
    skip_blanks(parser);
    return parser->text[parser->at] == '\0' || fail_expected(parser, "an operator or the end");
}

Condition *condition_parse(const char *text, IsStep is_step, void *arg, GError **error)
{
    return condition_parse_counted(text, is_step, arg, NULL, error);
}

Condition *condition_parse_counted(const char *text, IsStep is_step, void *arg, size_t *patterns_left, GError **error)
{
    Parser parser = {.text = text, .is_step = is_step, .arg = arg, .error = error};
    parser.patterns_left = patterns_left;
    parser.nodes = g_array_new(FALSE, FALSE, sizeof(Node));
    uint16_t root = 0;
    bool is_ok = parse_whole(&parser, &root);
    Condition *condition = g_new(Condition, 1);
    condition->n_nodes = parser.nodes->len;
    condition->nodes = (Node *)(void *)g_array_free(parser.nodes, FALSE);
    condition->root = root;
    if (is_ok)
        return condition;
    condition_free(condition);
    return NULL;
}

void condition_free(Condition *condition)
{
    if (condition == NULL)
        return;
    for (size_t i = 0; i < condition->n_nodes; i++) {
        Node *node = &condition->nodes[i];
        if (node->kind == NODE_TEXT || node->kind == NODE_NUMBER) {
            g_free(node->as.text);
        } else if (node->kind == NODE_REFERENCE) {
            reference_part_done(node->as.reference);
            g_free(node->as.reference);
        } else if (node->kind == NODE_MATCHES && node->as.pattern != NULL) {
            g_regex_unref(node->as.pattern);
        }
    }
    g_free(condition->nodes);
    g_free(condition);
}

void condition_foreach_reference(const Condition *condition, ConditionReferenceFunc func, void *arg)
{
    for (size_t i = 0; i < condition->n_nodes; i++) {
        if (condition->nodes[i].kind == NODE_REFERENCE)
            func(condition->nodes[i].as.reference, arg);
    }
}
