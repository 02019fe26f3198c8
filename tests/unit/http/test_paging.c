/* List parameters: what the store is asked for, and every fault with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/paging.h"

#define FLOW "0190a0a0-0000-7000-8000-00000000000f"
#define STEP "0190a0a0-0000-7000-8000-00000000000e"

static const unsigned char SECRET[CURSOR_SECRET_SIZE] = "0123456789abcdef0123456789abcde";
static const Id OWNER = {"0190a0a0-0000-7000-8000-00000000000a"};

typedef struct {
    ServiceCall call;
    Faults *faults;
} Parsed;

static Parsed *parse(const char *raw, CursorList list, const Id *flow_id)
{
    Parsed *parsed = g_new0(Parsed, 1);
    g_auto(Query) query = {0};
    parsed->faults = faults_new();
    parsed->call.caller = OWNER;
    assert_true(query_init(&query, raw, parsed->faults));
    paging_parse(&query, list, flow_id, SECRET, &parsed->call, parsed->faults);
    return parsed;
}

static void parsed_free(Parsed *parsed)
{
    g_free(parsed->call.query_text.triggered_by);
    g_free(parsed->call.query_text.label_name);
    g_free(parsed->call.query_text.label_value);
    faults_free(parsed->faults);
    g_free(parsed);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Parsed, parsed_free)

/* Exactly one fault, of this field. */
static void expect_fault(const char *raw, const char *field)
{
    g_autoptr(Parsed) parsed = parse(raw, CURSOR_RUNS, NULL);
    if (faults_count(parsed->faults) != 1)
        fail_msg("%s: %zu faults", raw, faults_count(parsed->faults));
    assert_string_equal(faults_at(parsed->faults, 0)->field, field);
}

static void test_defaults(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed = parse(NULL, CURSOR_RUNS, NULL);
    const ListQuery *query = &parsed->call.query;
    assert_int_equal(faults_count(parsed->faults), 0);
    assert_string_equal(query->owner, OWNER.text);
    assert_int_equal(query->limit, 50);
    assert_int_equal(query->skip, 0);
    assert_true(query->wants_total);
    assert_null(query->after);
    assert_null(query->flow_id);
    assert_null(query->status);
    assert_true(query->from == INSTANT_NONE && query->to == INSTANT_NONE);
}

static void test_pages(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed = parse("page=3&pageSize=200", CURSOR_FLOWS, NULL);
    assert_int_equal(faults_count(parsed->faults), 0);
    assert_int_equal(parsed->call.query.skip, 600);
    assert_int_equal(parsed->call.query.limit, 200);
    g_autoptr(Parsed) far = parse("page=2147483647&pageSize=200", CURSOR_FLOWS, NULL);
    assert_int_equal(faults_count(far->faults), 0);
    assert_true(far->call.query.skip == 429496729400);
}

static void test_cursor(void **state)
{
    (void)state;
    ListPosition place = {1769850000123, {FLOW}};
    g_autofree char *cursor = cursor_encode(SECRET, CURSOR_RUNS, &OWNER, &place);
    g_autofree char *raw = g_strdup_printf("cursor=%s&pageSize=7", cursor);
    g_autoptr(Parsed) parsed = parse(raw, CURSOR_RUNS, NULL);
    assert_int_equal(faults_count(parsed->faults), 0);
    assert_non_null(parsed->call.query.after);
    assert_string_equal(parsed->call.query.after->id.text, FLOW);
    assert_int_equal(parsed->call.query.limit, 7);
    assert_false(parsed->call.query.wants_total);

    g_autofree char *both = g_strdup_printf("cursor=%s&page=0", cursor);
    expect_fault(both, "page");
    g_autoptr(Parsed) elsewhere = parse(raw, CURSOR_FLOWS, NULL);
    assert_int_equal(faults_count(elsewhere->faults), 1);
    assert_string_equal(faults_at(elsewhere->faults, 0)->field, "cursor");
}

static void test_filters(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed =
        parse("flowId=" FLOW "&stepId=" STEP "&status=FAILED&triggeredBy=system&label=env%3Dprod%3D1"
              "&from=2026-01-31T09:00:00Z&to=2026-01-31T09:00:00Z&unknown=1",
              CURSOR_RUNS, NULL);
    const ListQuery *query = &parsed->call.query;
    assert_int_equal(faults_count(parsed->faults), 0);
    assert_string_equal(query->flow_id, FLOW);
    assert_string_equal(query->step_id, STEP);
    assert_int_equal(*query->status, RUN_FAILED);
    assert_string_equal(query->triggered_by, "system");
    assert_string_equal(query->label_name, "env");
    assert_string_equal(query->label_value, "prod=1");
    assert_true(query->from == 1769850000000 && query->to == query->from);

    g_autoptr(Parsed) any = parse("label=env", CURSOR_RUNS, NULL);
    assert_string_equal(any->call.query.label_name, "env");
    assert_null(any->call.query.label_value);
    g_autoptr(Parsed) empty = parse("label=env%3D", CURSOR_RUNS, NULL);
    assert_string_equal(empty->call.query.label_value, "");
}

static void test_flows_know_no_filters(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed = parse("status=nonsense", CURSOR_FLOWS, NULL);
    assert_int_equal(faults_count(parsed->faults), 0);
}

static void test_flow_of_the_path(void **state)
{
    (void)state;
    Id flow_id = {FLOW};
    g_autoptr(Parsed) parsed = parse("flowId=" FLOW, CURSOR_RUNS, &flow_id);
    assert_int_equal(faults_count(parsed->faults), 0);
    assert_string_equal(parsed->call.query.flow_id, FLOW);
    g_autoptr(Parsed) other = parse("flowId=" STEP, CURSOR_RUNS, &flow_id);
    assert_int_equal(faults_count(other->faults), 1);
    assert_string_equal(faults_at(other->faults, 0)->field, "flowId");
    assert_string_equal(other->call.query.flow_id, FLOW);
}

static void test_faults(void **state)
{
    (void)state;
    expect_fault("page=-1", "page");
    expect_fault("page=2147483648", "page");
    expect_fault("page=", "page");
    expect_fault("pageSize=0", "pageSize");
    expect_fault("pageSize=201", "pageSize");
    expect_fault("pageSize=ten", "pageSize");
    expect_fault("cursor=", "cursor");
    expect_fault("cursor=forged", "cursor");
    expect_fault("page=1&cursor=forged", "page");
    expect_fault("page=1&page=1", "page");
    expect_fault("flowId=x", "flowId");
    expect_fault("stepId=", "stepId");
    expect_fault("status=failed", "status");
    expect_fault("status=", "status");
    expect_fault("triggeredBy=", "triggeredBy");
    expect_fault("label=", "label");
    expect_fault("label=%3Dx", "label");
    expect_fault("from=yesterday", "from");
    expect_fault("to=2026-13-01T00:00:00Z", "to");
    expect_fault("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to");
}

static void test_all_faults_at_once(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed =
        parse("page=a&pageSize=b&flowId=c&stepId=d&status=e&label=&from=f&to=g", CURSOR_RUNS, NULL);
    assert_int_equal(faults_count(parsed->faults), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_cursor),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_flows_know_no_filters),
        cmocka_unit_test(test_flow_of_the_path),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_all_faults_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
