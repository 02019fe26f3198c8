/* test_flow.c - the tree flattened and found, the payloads of the contract, and the stored form there and back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/flow_internal.h"

#define ID(n) "0191aaaa-0000-7000-8000-0000000000" n
#define OWNER "0191cccc-0000-7000-8000-000000000001"
#define NO_CONFIG "\"config\":{\"timeoutMs\":null,\"retryCount\":null,\"retryDelayMs\":null}}"

static Id id_of(const char *text)
{
    Id id;
    assert_true(id_parse(text, &id));
    return id;
}

static Step *new_step(const char *id)
{
    Step *step = g_new0(Step, 1);
    step->step_id = id_of(id);
    step->plugin_id = g_strdup("echo");
    return step;
}

static Step **list_of(size_t n, ...)
{
    va_list args;
    Step **steps = g_new(Step *, n);
    va_start(args, n);
    for (size_t i = 0; i < n; i++)
        steps[i] = va_arg(args, Step *);
    va_end(args);
    return steps;
}

/* 01 (child 02 (child 03)), 04: DECISION (child 05, branches [06, 07], []), 08 */
static Flow *new_tree(void)
{
    Flow *flow = flow_new();
    flow->id = id_of(ID("f0"));
    flow->owner = flow->created_by = flow->updated_by = id_of(OWNER);
    flow->name = g_strdup("tree \"1\"");
    flow->created_at = 0;
    flow->updated_at = 1769850000123;
    Step *step1 = new_step(ID("01")), *step2 = new_step(ID("02")), *step4 = new_step(ID("04"));
    step2->children = list_of(1, new_step(ID("03")));
    step2->n_children = 1;
    step1->children = list_of(1, step2);
    step1->n_children = 1;
    step4->type = STEP_DECISION;
    g_clear_pointer(&step4->plugin_id, g_free);
    step4->children = list_of(1, new_step(ID("05")));
    step4->n_children = 1;
    step4->branches = g_new0(Branch, 2);
    step4->n_branches = 2;
    step4->branches[0] = (Branch){.branch_id = id_of(ID("b0")), .condition = g_strdup("true"), .n_steps = 2};
    step4->branches[0].steps = list_of(2, new_step(ID("06")), new_step(ID("07")));
    step4->branches[1] = (Branch){.branch_id = id_of(ID("b1"))};
    flow->steps = list_of(3, step1, step4, new_step(ID("08")));
    flow->n_steps = 3;
    flow_seal(flow);
    return flow;
}

static void an_empty_flow_is_sealed_and_encoded(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = flow_new();
    flow->id = id_of(ID("f0"));
    flow->name = g_strdup("");
    flow_seal(flow);
    assert_int_equal(flow->n_flat, 0);
    assert_string_equal(flow->steps_json, "[]");
    assert_null(flow_find_step(flow, ID("01")));
    flow_unref(NULL);
    step_free(NULL);
    steps_free(NULL, 0);
}

static void flattens_in_definition_order(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = new_tree();
    assert_int_equal(flow->n_flat, 8);
    for (size_t i = 0; i < flow->n_flat; i++) {
        g_autofree char *expected = g_strdup_printf("0191aaaa-0000-7000-8000-00000000000%zu", i + 1);
        assert_string_equal(flow->flat[i]->step_id.text, expected);
        assert_ptr_equal(flow_find_step(flow, expected), flow->flat[i]);
    }
    assert_null(flow_find_step(flow, ID("09")));
    assert_null(flow_find_step(flow, ""));
}

static void finds_steps_whatever_their_order(void **state)
{
    (void)state;
    enum { N = 500 };
    g_autoptr(Flow) flow = flow_new();
    flow->steps = g_new(Step *, N);
    for (flow->n_steps = 0; flow->n_steps < N; flow->n_steps++) {
        g_autofree char *id = g_strdup_printf("0191aaaa-0000-7000-8000-%012zu", (flow->n_steps * 7919) % 10007);
        flow->steps[flow->n_steps] = new_step(id);
    }
    flow_seal(flow);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(flow_find_step(flow, flow->flat[i]->step_id.text), flow->flat[i]);
}

static void payloads_have_every_member_in_order(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = flow_new();
    flow->id = id_of(ID("f0"));
    flow->name = g_strdup("n");
    flow->version = 7;
    flow->created_at = 0;
    flow->updated_at = 1;
    text_map_add(&flow->labels, "env", "prod");
    Step *step = new_step(ID("01"));
    text_map_add(&step->inputs, "a.b", "$c");
    text_map_add(&step->outputs, "o", "string");
    step->condition = g_strdup("true");
    step->config = (StepConfig){.timeout_ms = 5, .has_timeout = true, .has_retry_count = true};
    flow->steps = list_of(1, step);
    flow->n_steps = 1;
    flow_seal(flow);
    g_autoptr(GString) summary = g_string_new(NULL);
    g_autoptr(GString) detail = g_string_new(NULL);
    flow_encode_summary(flow, summary);
    flow_encode_detail(flow, INSTANT_NONE, detail);
#define SUMMARY \
    "{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"description\":null,\"createdAt\":\"1970-01-01T00:00:00.000Z\"," \
                          "\"updatedAt\":\"1970-01-01T00:00:00.001Z\""
    assert_string_equal(summary->str, SUMMARY "}");
    assert_string_equal(
        detail->str,
        SUMMARY ",\"cron\":null,\"timezone\":null,\"schedule\":null,\"nextRunAt\":null,\"version\":7,"
                "\"labels\":{\"env\":\"prod\"},\"steps\":[{\"stepId\":\"" ID(
                    "01") "\","
                          "\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"a.b\":\"$c\"},"
                          "\"outputs\":{\"o\":\"string\"},\"condition\":\"true\",\"branches\":[],\"children\":[],"
                          "\"config\":{\"timeoutMs\":5,\"retryCount\":0,\"retryDelayMs\":null}}]}");
}

static void a_decision_is_encoded_with_its_branches(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = new_tree();
    assert_non_null(
        strstr(flow->steps_json, "\"branches\":[{\"branchId\":\"" ID("b0") "\",\"condition\":\"true\",\"steps\":[{"));
    assert_non_null(
        strstr(flow->steps_json, "{\"branchId\":\"" ID("b1") "\",\"condition\":null,\"steps\":[]}],\"children\":[{"));
    assert_non_null(strstr(flow->steps_json, "\"stepId\":\"" ID("04") "\",\"pluginId\":null,\"type\":\"DECISION\","));
}

static void assert_round_trip(const Flow *flow)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autoptr(GString) again = g_string_new(NULL);
    flow_encode(flow, text);
    g_autoptr(Flow) decoded = flow_decode(text->str, text->len, &error);
    if (decoded == NULL)
        fail_msg("%s: %s", error->message, text->str);
    flow_encode(decoded, again);
    assert_string_equal(again->str, text->str);
    assert_int_equal(decoded->n_flat, flow->n_flat);
    assert_int_equal(decoded->version, flow->version);
    assert_true(decoded->created_at == flow->created_at && decoded->updated_at == flow->updated_at);
    assert_true(decoded->is_deleted == flow->is_deleted && decoded->stops_runs == flow->stops_runs);
    assert_string_equal(decoded->owner.text, flow->owner.text);
    for (size_t i = 0; i < flow->n_flat; i++) {
        const Step *a = flow->flat[i], *b = decoded->flat[i];
        assert_string_equal(a->step_id.text, b->step_id.text);
        assert_int_equal(a->type, b->type);
        assert_true(g_strcmp0(a->plugin_id, b->plugin_id) == 0);
        assert_true(g_strcmp0(a->condition, b->condition) == 0);
        assert_int_equal(a->n_branches, b->n_branches);
        assert_int_equal(a->n_children, b->n_children);
        assert_int_equal(a->inputs.n_pairs, b->inputs.n_pairs);
        assert_true(a->config.has_timeout == b->config.has_timeout && a->config.timeout_ms == b->config.timeout_ms &&
                    a->config.has_retry_count == b->config.has_retry_count &&
                    a->config.retry_count == b->config.retry_count &&
                    a->config.has_retry_delay == b->config.has_retry_delay &&
                    a->config.retry_delay_ms == b->config.retry_delay_ms);
    }
}

static void stored_form_round_trips(void **state)
{
    (void)state;
    g_autoptr(Flow) flow = new_tree();
    flow->is_deleted = true;
    flow->version = INT64_MAX;
    assert_round_trip(flow);
}

static void a_schedule_is_stored_and_shown_with_all_its_members(void **state)
{
    (void)state;
#define SCHEDULE \
    "\"schedule\":{\"misfire\":\"ALL\",\"misfireGraceSeconds\":5,\"overlap\":\"CANCEL_RUNNING\",\"startAt\":null," \
    "\"endAt\":\"1970-01-01T00:00:09.000Z\",\"jitterSeconds\":7,\"paused\":true,\"inputs\":{\"day\":\"${slot.date}\"}}"
    g_autoptr(Flow) flow = new_tree();
    g_autoptr(GString) detail = g_string_new(NULL);
    g_autoptr(GString) stored = g_string_new(NULL);
    flow->cron = g_strdup("@daily");
    flow->schedule = schedule_options_new();
    flow->schedule->misfire = MISFIRE_ALL;
    flow->schedule->overlap = OVERLAP_CANCEL_RUNNING;
    flow->schedule->misfire_grace_s = 5;
    flow->schedule->jitter_s = 7;
    flow->schedule->end_at = 9000;
    flow->schedule->is_paused = true;
    text_map_add(&flow->schedule->inputs, "day", "${slot.date}");
    flow->scheduled_since = 3;
    flow_encode_detail(flow, INSTANT_NONE, detail);
    flow_encode(flow, stored);
    assert_non_null(strstr(detail->str, "\"timezone\":null," SCHEDULE ",\"nextRunAt\":null,"));
    assert_non_null(strstr(stored->str, SCHEDULE ",\"scheduledSince\":\"1970-01-01T00:00:00.003Z\","));
    assert_round_trip(flow);

    g_autoptr(GString) alone = g_string_new(NULL); /* what a scheduler reads */
    g_autoptr(GError) error = NULL;
    flow_encode_schedule(flow, alone);
    g_autoptr(Flow) read = flow_decode(alone->str, alone->len, &error);
    assert_non_null(read);
    assert_string_equal(read->id.text, flow->id.text);
    assert_string_equal(read->cron, "@daily");
    assert_true(read->version == flow->version && read->scheduled_since == 3 && read->created_at == flow->created_at &&
                read->updated_at == flow->updated_at);
    assert_true(read->schedule->is_paused && read->schedule->end_at == 9000 && read->schedule->jitter_s == 7 &&
                read->schedule->misfire == MISFIRE_ALL && read->schedule->overlap == OVERLAP_CANCEL_RUNNING);
    assert_int_equal(read->n_flat + read->labels.n_pairs + read->schedule->inputs.n_pairs, 0);
}

static void a_flow_stored_before_schedules_has_had_its_cron_since_its_last_version(void **state)
{
    (void)state;
    static const char OLD[] = "{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":2,\"cron\":\"@daily\","
                                                    "\"updatedAt\":\"1970-01-01T00:00:00.005Z\"}";
    g_autoptr(Flow) flow = flow_decode(OLD, strlen(OLD), NULL);
    assert_non_null(flow);
    assert_null(flow->schedule);
    assert_true(flow->scheduled_since == 5);
}

/* A random tree with awkward texts; deterministic. */
typedef struct {
    unsigned seed;
    size_t n_left;
    int64_t next_id;
} Grower;

static unsigned pick(Grower *grower, unsigned n)
{
    return (unsigned)rand_r(&grower->seed) % n;
}

static char *pick_text(Grower *grower)
{
    static const char *const PIECES[] = {"a",   "\"", "\\", "\n",   "\x01",         "\xc3\xa9", "\xf0\x9f\x98\x80",
                                         "${",  "}",  "/",  "\x7f", "\xe2\x80\xa8", ".",        "$",
                                         "null"};
    GString *text = g_string_new(NULL);
    for (unsigned n = pick(grower, 8); n > 0; n--)
        g_string_append(text, PIECES[pick(grower, G_N_ELEMENTS(PIECES))]);
    return g_string_free(text, FALSE);
}

static void pick_map(Grower *grower, TextMap *map)
{
    for (unsigned i = 0, n = pick(grower, 4); i < n; i++) {
        g_autofree char *value = pick_text(grower);
        g_autofree char *name = g_strdup_printf("%u%s", i, value);
        text_map_add(map, name, value);
    }
}

static Id next_id(Grower *grower)
{
    return id_make(1000 + grower->next_id++);
}

static void grow(Grower *grower, int depth, Step ***ret_steps, size_t *ret_n_steps);

static Step *grow_step(Grower *grower, int depth)
{
    Step *step = g_new0(Step, 1);
    step->step_id = next_id(grower);
    step->type = pick(grower, 2) == 0 ? STEP_ACTION : STEP_DECISION;
    step->plugin_id = pick(grower, 2) == 0 ? NULL : pick_text(grower);
    step->condition = pick(grower, 2) == 0 ? NULL : pick_text(grower);
    pick_map(grower, &step->inputs);
    pick_map(grower, &step->outputs);
    if (pick(grower, 2) == 0)
        step->config = (StepConfig){.timeout_ms = pick(grower, 100), .has_timeout = true};
    if (pick(grower, 2) == 0) {
        step->config.has_retry_delay = true;
        step->config.retry_delay_ms = INT64_MAX;
    }
    grow(grower, depth + 1, &step->children, &step->n_children);
    if (step->type == STEP_DECISION) {
        step->n_branches = pick(grower, 3);
        step->branches = g_new0(Branch, step->n_branches);
        for (size_t i = 0; i < step->n_branches; i++) {
            step->branches[i].branch_id = next_id(grower);
            step->branches[i].condition = pick(grower, 2) == 0 ? NULL : pick_text(grower);
            grow(grower, depth + 1, &step->branches[i].steps, &step->branches[i].n_steps);
        }
    }
    return step;
}

static void grow(Grower *grower, int depth, Step ***ret_steps, size_t *ret_n_steps)
{
    size_t n = depth > FLOW_MAX_DEPTH ? 0 : pick(grower, 4);
    *ret_steps = n == 0 ? NULL : g_new0(Step *, n);
    *ret_n_steps = 0;
    while (*ret_n_steps < n && grower->n_left > 0) {
        grower->n_left--;
        (*ret_steps)[(*ret_n_steps)++] = grow_step(grower, depth);
    }
}

static void any_tree_round_trips(void **state)
{
    (void)state;
    size_t n_steps = 0;
    for (unsigned seed = 1; seed <= 300; seed++) {
        Grower grower = {.seed = seed, .n_left = 200};
        g_autoptr(Flow) flow = flow_new();
        flow->id = next_id(&grower);
        flow->owner = next_id(&grower);
        flow->name = pick_text(&grower);
        flow->description = pick(&grower, 2) == 0 ? NULL : pick_text(&grower);
        flow->created_at = pick(&grower, 2) == 0 ? INSTANT_NONE : (int64_t)pick(&grower, INT32_MAX) * 1000 + 999;
        flow->version = 1 + pick(&grower, 5);
        flow->stops_runs = pick(&grower, 2) == 0;
        pick_map(&grower, &flow->labels);
        grow(&grower, 1, &flow->steps, &flow->n_steps);
        flow_seal(flow);
        assert_round_trip(flow);
        n_steps += flow->n_flat;
    }
    assert_true(n_steps > 5000);
}

static void broken_texts_are_refused(void **state)
{
    (void)state;
#define STEP(members) "{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"steps\":[" members "]}"
    static const struct {
        const char *json, *expected;
    } CASES[] = {
        {"[]", "broken flow: a flow is no object"},
        {"null", "broken flow: a flow is no object"},
        {"{}", "broken flow: id is missing"},
        {"{\"id\":\"x\"}", "broken flow: id is no UUID"},
        {"{\"id\":5}", "broken flow: id is of the wrong type"},
        {"{\"id\":\"" ID("f0") "\"}", "broken flow: name is missing"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\"}", "broken flow: version is missing"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":-1}", "broken flow: version is negative"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"createdAt\":\"now\"}",
         "broken flow: createdAt is no instant"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"schedule\":5}",
         "broken flow: schedule is of the wrong type"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"schedule\":{\"misfire\":\"NEVER\"}}",
         "broken flow: misfire is unknown"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"schedule\":{\"overlap\":\"\"}}",
         "broken flow: overlap is unknown"},
        {"{\"id\":\"" ID("f0") "\",\"name\":\"n\",\"version\":1,\"steps\":{}}", "broken flow: steps is no array"},
        {STEP("5"), "broken flow: step 0: a step is no object"},
        {STEP("{}"), "broken flow: step 0: stepId is missing"},
        {STEP("{\"stepId\":\"" ID("01") "\"}"), "broken flow: step 0: type is neither ACTION nor DECISION"},
        {STEP("{\"stepId\":\"" ID("01") "\",\"type\":\"ACTION\",\"children\":[{\"stepId\":\"" ID(
             "02") "\","
                   "\"type\":\"x\"}]}"),
         "broken flow: step 0: step 0: type is neither ACTION nor DECISION"},
        {STEP("{\"stepId\":\"" ID("01") "\",\"type\":\"DECISION\",\"branches\":[{\"steps\":[null]}]}"),
         "broken flow: step 0: step 0: a step is no object"},
        {STEP("{\"stepId\":\"" ID("01") "\",\"type\":\"DECISION\",\"branches\":[{\"condition\":\"x\"},5]}"),
         "broken flow: step 0: a branch is no object"},
        {STEP("{\"stepId\":\"" ID("01") "\",\"type\":\"ACTION\",\"config\":{\"retryCount\":1.5}}"),
         "broken flow: step 0: retryCount is of the wrong type"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(CASES); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(flow_decode(CASES[i].json, strlen(CASES[i].json), &error));
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_string_equal(error->message, CASES[i].expected);
    }
    g_autoptr(GError) error = NULL;
    assert_null(flow_decode("{", 1, &error));
    assert_int_equal(error->code, FLOWOPS_INVALID);
}

static void foreign_trees_are_read_leniently_but_bounded(void **state)
{
    (void)state;
    static const char LENIENT[] = "[{\"stepId\":\"0191AAAA-0000-7000-8000-000000000001\",\"type\":\"decision\","
                                  "\"colour\":5,\"branches\":[{\"steps\":null}],\"children\":null,\"config\":{}}]";
    g_autoptr(JsonValue) array = NULL;
    Step **steps;
    size_t n_steps;
    assert_true(json_parse(LENIENT, sizeof(LENIENT) - 1, 64, &array, NULL));
    assert_true(steps_decode(array, &steps, &n_steps, NULL));
    assert_string_equal(steps[0]->step_id.text, ID("01"));
    assert_int_equal(steps[0]->n_branches, 1);
    assert_string_equal(steps[0]->branches[0].branch_id.text, "");
    steps_free(steps, n_steps);
    assert_true(steps_decode(NULL, &steps, &n_steps, NULL));
    assert_int_equal(n_steps, 0);

    g_autoptr(GString) many = g_string_new("[");
    for (int i = 0; i <= FLOW_MAX_STEPS; i++)
        g_string_append_printf(many, "%s{}", i == 0 ? "" : ",");
    g_string_append(many, "]");
    g_autoptr(JsonValue) too_many = NULL;
    g_autoptr(GError) error = NULL;
    assert_true(json_parse(many->str, many->len, 8, &too_many, NULL));
    assert_false(steps_decode(too_many, &steps, &n_steps, &error));
    assert_string_equal(error->message, "steps are too many");

    g_autoptr(GString) deep = g_string_new(NULL);
    for (int i = 0; i <= FLOW_MAX_DEPTH; i++)
        g_string_append(deep, "[{\"stepId\":\"" ID("01") "\",\"type\":\"ACTION\",\"children\":");
    g_string_append(deep, "null");
    for (int i = 0; i <= FLOW_MAX_DEPTH; i++)
        g_string_append(deep, "}]");
    g_autoptr(JsonValue) too_deep = NULL;
    g_clear_error(&error);
    assert_true(json_parse(deep->str, deep->len, 4 * FLOW_MAX_DEPTH, &too_deep, NULL));
    assert_false(steps_decode(too_deep, &steps, &n_steps, &error));
    assert_true(g_str_has_suffix(error->message, "step 0: steps are nested too deep"));
}

static void *ref_and_unref(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        Flow *flow = flow_ref(arg);
        assert_non_null(flow_find_step(flow, ID("07")));
        flow_unref(flow);
    }
    flow_unref(arg);
    return NULL;
}

static void references_are_counted_across_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    Flow *flow = new_tree();
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, flow_ref(flow)), 0);
    flow_unref(flow);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_flow_is_sealed_and_encoded),
        cmocka_unit_test(flattens_in_definition_order),
        cmocka_unit_test(finds_steps_whatever_their_order),
        cmocka_unit_test(payloads_have_every_member_in_order),
        cmocka_unit_test(a_decision_is_encoded_with_its_branches),
        cmocka_unit_test(stored_form_round_trips),
        cmocka_unit_test(a_schedule_is_stored_and_shown_with_all_its_members),
        cmocka_unit_test(a_flow_stored_before_schedules_has_had_its_cron_since_its_last_version),
        cmocka_unit_test(any_tree_round_trips),
        cmocka_unit_test(broken_texts_are_refused),
        cmocka_unit_test(foreign_trees_are_read_leniently_but_bounded),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
