/* test_schedule_preview.c - what a schedule is going to do, as people are shown it, and every fault of the question. JSON is
 * written with ' for ". */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "domain/schedule_preview.h"

static const char *const ZONES[] = {"Europe/Berlin", "Europe/London", NULL};

static int64_t at(const char *text)
{
    int64_t ms;
    if (!instant_parse(text, &ms))
        fail_msg("no instant: %s", text);
    return ms;
}

static Flow *read_body(const char *text, int64_t *ret_from, size_t *ret_count, Faults *faults)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    g_autoptr(JsonValue) body = NULL;
    if (!json_parse(json, strlen(json), 8, &body, NULL))
        fail_msg("no JSON: %s", json);
    FlowOrigin origin = {.zone_names = ZONES};
    return schedule_preview_read(body, &origin, ret_from, ret_count, faults);
}

/* The answer to a body, with ' for ". */
static char *preview(const char *text)
{
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = read_body(text, &from, &count, faults);
    if (flow == NULL)
        fail_msg("%s: %s", text, faults_at(faults, 0)->message);
    g_autoptr(CronZones) zones = cron_zones_new(2);
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(Schedule) schedule = schedule_new(flow, zones, NULL);
    schedule_preview_encode(flow, schedule, from, count, out);
    return g_strdelimit(g_strdup(out->str), "\"", '\'');
}

static void expect(const char *text, const char *part)
{
    g_autofree char *answer = preview(text);
    if (strstr(answer, part) == NULL)
        fail_msg("%s: no %s in %s", text, part, answer);
}

static void test_an_answer(void **state)
{
    (void)state;
    g_autofree char *answer = preview("{'cron':'0 9 * * mon','count':1,'from':'2026-02-02T00:00:00Z'}");
    assert_string_equal(answer,
                        "{'flowId':null,'cron':'0 9 * * mon','timezone':'UTC','description':'at 09:00 on Monday',"
                        "'schedule':null,'slots':[{'slot':'2026-02-02T09:00:00.000Z',"
                        "'local':'2026-02-02T09:00:00.000+00:00','runAt':'2026-02-02T09:00:00.000Z'}]}");
}

static void test_from_belongs_to_it(void **state)
{
    (void)state;
    expect("{'cron':'@daily','from':'2026-02-02T00:00:00Z'}", "[{'slot':'2026-02-02T00:00:00.000Z'");
    expect("{'cron':'@daily','from':'2026-02-02T00:00:00.001Z'}", "[{'slot':'2026-02-03T00:00:00.000Z'");
    expect("{'cron':'@daily','from':'1970-01-01T00:00:00Z'}", "[{'slot':'1970-01-01T00:00:00.000Z'");
}

static void test_zone_time_around_a_change(void **state)
{
    (void)state;
    expect("{'cron':'30 2 * * *','timezone':'Europe/Berlin','from':'2026-03-28T00:00:00Z','count':2}",
           "'local':'2026-03-28T02:30:00.000+01:00','runAt':'2026-03-28T01:30:00.000Z'},"
           "{'slot':'2026-03-29T01:00:00.000Z','local':'2026-03-29T03:00:00.000+02:00'");
    expect("{'cron':'0 0 * * *','timezone':'Asia/Kathmandu','from':'2026-01-01T00:00:00Z','count':1}",
           "'local':'2026-01-02T00:00:00.000+05:45'");
    expect("{'cron':'0 0 * * *','timezone':'America/St_Johns','from':'2026-01-01T00:00:00Z','count':1}", "-03:30'");
    expect("{'cron':'0 0 * * *','timezone':'Africa/Monrovia','from':'1970-01-01T00:00:00Z','count':1}", "-00:44:30'");
}

static void test_slots_end_with_the_schedule(void **state)
{
    (void)state;
    g_autofree char *answer = preview("{'cron':'@daily','from':'2026-01-01T00:00:00Z','count':1000,"
                                      "'schedule':{'startAt':'2026-02-01T00:00:00Z','endAt':'2026-02-02T00:00:00Z'}}");
    g_auto(GStrv) parts = g_strsplit(answer, "'slot'", -1);
    assert_int_equal(g_strv_length(parts), 3);
    expect("{'cron':'@yearly','from':'2099-12-31T23:59:59Z'}", "'slots':[]");
}

static void test_the_default_count(void **state)
{
    (void)state;
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = read_body("{'cron':'@daily'}", &from, &count, faults);
    assert_non_null(flow);
    assert_int_equal(count, 20);
    assert_true(from == INSTANT_NONE);
}

static void test_jitter_without_a_flow_is_not_known(void **state)
{
    (void)state;
    expect("{'cron':'@daily','from':'2026-01-01T00:00:00Z','schedule':{'jitterSeconds':60}}", "'runAt':null");
}

static void test_jitter_of_a_flow(void **state)
{
    (void)state;
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow =
        read_body("{'cron':'@daily','count':1,'schedule':{'jitterSeconds':3600}}", &from, &count, faults);
    g_strlcpy(flow->id.text, "0191aaaa-0000-7000-8000-0000000000f0", ID_TEXT_SIZE);
    g_autoptr(CronZones) zones = cron_zones_new(2);
    g_autoptr(Schedule) schedule = schedule_new(flow, zones, NULL);
    char due[INSTANT_TEXT_SIZE];
    instant_format(schedule_due_at(schedule, at("2026-01-01T00:00:00Z")), due);
    assert_string_not_equal(due, "2026-01-01T00:00:00.000Z");
    g_autoptr(GString) out = g_string_new(NULL);
    schedule_preview_encode(flow, schedule, at("2026-01-01T00:00:00Z"), 1, out);
    g_autofree char *part = g_strdup_printf("\"runAt\":\"%s\"", due);
    assert_non_null(strstr(out->str, part));
}

static void test_a_flow_without_cron_has_no_slots(void **state)
{
    (void)state;
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = read_body("{'cron':'@daily'}", &from, &count, faults);
    g_clear_pointer(&flow->cron, g_free);
    g_autoptr(GString) out = g_string_new(NULL);
    schedule_preview_encode(flow, NULL, 0, 5, out);
    assert_non_null(
        strstr(out->str, "\"cron\":null,\"timezone\":\"UTC\",\"description\":null,\"schedule\":null,\"slots\":[]"));
}

/* field: message, the beginning of both. */
static void expect_faults(const char *text, size_t n, const char *const *faults_expected)
{
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = read_body(text, &from, &count, faults);
    assert_null(flow);
    for (size_t i = 0; i < n; i++) {
        bool is_there = false;
        for (size_t k = 0; k < faults_count(faults); k++) {
            const Fault *fault = faults_at(faults, k);
            g_autofree char *line = g_strdup_printf("%s: %s", fault->field == NULL ? "" : fault->field, fault->message);
            is_there = is_there || strstr(line, faults_expected[i]) == line;
        }
        if (!is_there)
            fail_msg("%s: no fault %s", text, faults_expected[i]);
    }
    assert_int_equal(faults_count(faults), n);
}
#define EXPECT_FAULTS(text, ...) \
    expect_faults(text, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static void test_every_fault_at_once(void **state)
{
    (void)state;
    EXPECT_FAULTS("{'cron':'61 * * * *','timezone':'Europe/Berln','count':0,'from':'2100-01-01T00:00:00Z',"
                  "'schedule':{'startAt':'2026-02-02T00:00:00Z','endAt':'2026-02-01T00:00:00Z'}}",
                  "cron: minute, column 1", "timezone: ", "count: must be from 1 to 1000", "from: must be an instant",
                  "schedule.endAt: must be after startAt");
    EXPECT_FAULTS("{}", "cron: is required");
    EXPECT_FAULTS("{'cron':null}", "cron: is required");
    EXPECT_FAULTS("{'cron':5,'count':'5','from':7}", "cron: must be a string", "count: must be an integer",
                  "from: must be a string");
    EXPECT_FAULTS("{'cron':'@every 1ms','count':1001}", "cron: ", "count: must be from 1 to 1000");
    EXPECT_FAULTS("[]", ": must be an object");
    EXPECT_FAULTS("null", ": must be an object");
}

static void test_a_mistyped_zone_gets_near_matches(void **state)
{
    (void)state;
    int64_t from;
    size_t count;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(Flow) flow = read_body("{'cron':'@daily','timezone':'Europe/Berln'}", &from, &count, faults);
    assert_null(flow);
    assert_non_null(strstr(faults_at(faults, 0)->message, "did you mean Europe/Berlin?"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_from_belongs_to_it),
        cmocka_unit_test(test_zone_time_around_a_change),
        cmocka_unit_test(test_slots_end_with_the_schedule),
        cmocka_unit_test(test_the_default_count),
        cmocka_unit_test(test_jitter_without_a_flow_is_not_known),
        cmocka_unit_test(test_jitter_of_a_flow),
        cmocka_unit_test(test_a_flow_without_cron_has_no_slots),
        cmocka_unit_test(test_every_fault_at_once),
        cmocka_unit_test(test_a_mistyped_zone_gets_near_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
