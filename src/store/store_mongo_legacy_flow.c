/* store_mongo_legacy_flow.c - a flow's document, written anew in our stored form and read by flow_decode(): what that takes is
 * taken. It is not validated as a request is: what ran until now is kept, and an engine says what it cannot do. */
#include <string.h>

#include "domain/cron.h"
#include "store/store_mongo_legacy_internal.h"

typedef struct {
    JsonWriter writer;
    const LegacyFlowFacts *facts;
    GString *path; /* of the step at hand: what an id is derived from where there is none */
    int depth;
    size_t n_steps;
    char *reason;        /* owned; NULL: nothing is wrong so far */
    char *lost_schedule; /* owned; NULL: none */
} FlowReading;

static bool refuse(FlowReading *reading, const char *what)
{
    reading->reason = g_strdup_printf("%s%s%s", reading->path->str, reading->path->len > 0 ? ": " : "", what);
    return false;
}

static bool put_steps(FlowReading *reading, const bson_t *document, const char *key);

/* The same at each try, so that a copy can be gone on with. */
static Id derive_id(const FlowReading *reading)
{
    const char *parts[] = {"legacy", reading->facts->id.text, reading->path->str};
    return id_derive(parts, G_N_ELEMENTS(parts));
}

static void put_id(FlowReading *reading, const bson_t *document, const char *key)
{
    Id id;
    if (!legacy_find_id(document, key, &id)) {
        id = derive_id(reading);
    }
    json_put_string(&reading->writer, key, id.text);
}

static void put_text(FlowReading *reading, const bson_t *document, const char *key)
{
    bson_iter_t value;
    g_autofree char *text = legacy_find(document, key, &value) ? legacy_value_text(&value) : NULL;
    json_put_string(&reading->writer, key, text);
}

static void put_map(FlowReading *reading, const bson_t *document, const char *key)
{
    bson_t map;
    bson_iter_t pair;
    json_begin_object(&reading->writer, key);
    if (legacy_find_inner(document, key, &map) && bson_iter_init(&pair, &map)) {
        while (bson_iter_next(&pair)) {
            g_autofree char *text = legacy_value_text(&pair);
            if (text != NULL) {
                json_put_string(&reading->writer, bson_iter_key(&pair), text);
            }
        }
    }
    json_end_object(&reading->writer);
}

static void put_config(FlowReading *reading, const bson_t *document)
{
    static const char *const names[] = {"timeoutMs", "retryCount", "retryDelayMs"};
    bson_t config;
    json_begin_object(&reading->writer, "config");
    if (legacy_find_inner(document, "config", &config)) {
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
            int64_t number;
            if (legacy_find_count(&config, names[i], &number)) {
                json_put_int(&reading->writer, names[i], number);
            }
        }
    }
    json_end_object(&reading->writer);
}

static bool put_branch(FlowReading *reading, const bson_t *branch)
{
    json_begin_object(&reading->writer, NULL);
    put_id(reading, branch, "branchId");
    put_text(reading, branch, "condition");
    bool is_right = put_steps(reading, branch, "steps");
    json_end_object(&reading->writer);
    return is_right;
}

static bool put_step(FlowReading *reading, const bson_t *step)
{
    bson_t branches;
    const char *type = legacy_find_text(step, "type");
    bool has_branches = legacy_find_inner(step, "branches", &branches) && bson_count_keys(&branches) > 0;
    if (++reading->n_steps > FLOW_MAX_STEPS) {
        return refuse(reading, "too many steps");
    }
    json_begin_object(&reading->writer, NULL);
    put_id(reading, step, "stepId");
    put_text(reading, step, "pluginId");
    json_put_string(&reading->writer, "type", type != NULL ? type : has_branches ? "DECISION" : "ACTION");
    put_map(reading, step, "inputs");
    put_map(reading, step, "outputs");
    put_text(reading, step, "condition");
    put_config(reading, step);
    bool is_right = put_steps(reading, step, "children") && put_steps(reading, step, "branches");
    json_end_object(&reading->writer);
    return is_right;
}

/* An array of steps, or of branches. */
static bool put_steps(FlowReading *reading, const bson_t *document, const char *key)
{
    bson_t array;
    bson_iter_t element;
    bool is_right = true, are_branches = strcmp(key, "branches") == 0;
    if (!legacy_find_inner(document, key, &array) || !bson_iter_init(&element, &array)) {
        return true;
    }
    reading->depth += !are_branches;
    if (reading->depth > FLOW_MAX_DEPTH) {
        return refuse(reading, "its steps are nested too deep");
    }
    json_begin_array(&reading->writer, key);
    while (is_right && bson_iter_next(&element)) {
        bson_t inner;
        gsize mark = reading->path->len;
        g_string_append_printf(reading->path, "%s%s[%s]", mark > 0 ? "." : "", key, bson_iter_key(&element));
        if (!BSON_ITER_HOLDS_DOCUMENT(&element) || !legacy_value_inner(&element, &inner)) {
            is_right = refuse(reading, "is no document");
        } else {
            is_right = are_branches ? put_branch(reading, &inner) : put_step(reading, &inner);
        }
        g_string_truncate(reading->path, mark);
    }
    json_end_array(&reading->writer);
    reading->depth -= !are_branches;
    return is_right;
}

/* "?" is what some schedulers write for any day. A schedule that is not understood would never come due: the flow is taken
 * without it, and that is said. */
static void put_cron(FlowReading *reading, const bson_t *document)
{
    const char *told = legacy_find_text(document, "cron");
    g_autofree char *cron = g_strdelimit(g_strdup(told), "?", '*');
    g_autoptr(GError) why = NULL;
    bool is_right = cron == NULL || *cron == '\0' || cron_check(cron, &why);
    if (!is_right) {
        reading->lost_schedule = g_strdup_printf("its cron \"%s\" is left out: %s", told, why->message);
    }
    json_put_string(&reading->writer, "cron", is_right && cron != NULL && *cron != '\0' ? cron : NULL);
}

static void put_actor(FlowReading *reading, const bson_t *document, const char *key)
{
    Id actor = reading->facts->owner;
    (void)!legacy_find_id(document, key, &actor); /* who did it was the owner, when it does not say */
    json_put_string(&reading->writer, key, actor.text);
}

static bool put_flow(FlowReading *reading, const bson_t *document)
{
    const LegacyFlowFacts *facts = reading->facts;
    JsonWriter *writer = &reading->writer;
    const char *name = legacy_find_text(document, "name");
    json_begin_object(writer, NULL);
    json_put_string(writer, "id", facts->id.text);
    json_put_string(writer, "owner", facts->owner.text);
    json_put_string(writer, "name", name != NULL ? name : facts->id.text);
    put_text(reading, document, "description");
    put_cron(reading, document);
    json_put_int(writer, "version", 1);
    json_put_instant(writer, "createdAt", facts->created_at);
    put_actor(reading, document, "createdBy");
    json_put_instant(writer, "updatedAt", facts->updated_at);
    put_actor(reading, document, "updatedBy");
    if (!put_steps(reading, document, "steps")) {
        return false;
    }
    json_end_object(writer);
    return true;
}

static const char *find_fault(const Flow *flow)
{
    for (size_t i = 1; i < flow->n_flat; i++) {
        if (strcmp(flow->by_id[i - 1]->step_id.text, flow->by_id[i]->step_id.text) == 0) {
            return "two of its steps have the same stepId";
        }
    }
    g_autoptr(GString) text = g_string_new(NULL);
    flow_encode(flow, text);
    return text->len > FLOW_MAX_DEFINITION_BYTES ? "its definition is too large" : NULL;
}

static Flow *read_sealed(FlowReading *reading, const bson_t *document)
{
    g_autoptr(GError) broken = NULL;
    if (!put_flow(reading, document)) {
        return NULL;
    }
    const GString *text = reading->writer.out;
    g_autoptr(Flow) flow = flow_decode(text->str, text->len, &broken);
    const char *fault = flow == NULL ? broken->message : find_fault(flow);
    if (fault != NULL) {
        reading->reason = g_strdup(fault);
        return NULL;
    }
    return g_steal_pointer(&flow);
}

Flow *legacy_flow_read(const bson_t *document, const LegacyFlowFacts *facts, char **ret_reason,
                       char **ret_lost_schedule)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GString) path = g_string_new(NULL);
    FlowReading reading = {.writer = json_writer(text), .facts = facts, .path = path};
    Flow *flow = read_sealed(&reading, document);
    *ret_reason = reading.reason;
    *ret_lost_schedule = reading.lost_schedule;
    return flow;
}
