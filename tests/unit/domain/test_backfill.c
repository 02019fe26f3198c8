/* test_backfill.c - which slots a backfill has, what it does next, how it is steered, and its forms. JSON is written with '
 * for ", instants as the time of day on 2026-02-02. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "domain/backfill.h"
#include "domain/flow_request.h"

#define FLOW_ID "0191aaaa-0000-7000-8000-0000000000f0"
#define OWNER "0191aaaa-0000-7000-8000-00000000000a"
#define DAY "2026-02-02T"
#define MINUTE INT64_C(60000)

static int64_t at(const char *time)
{
    int64_t ms;
    g_autofree char *text = strchr(time, 'T') == NULL ? g_strconcat(DAY, time, ":00Z", NULL) : g_strdup(time);
    if (!instant_parse(text, &ms))
        fail_msg("no instant: %s", text);
    return ms;
}

static JsonValue *parse(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    JsonValue *value = NULL;
    if (!json_parse(json, strlen(json), 8, &value, NULL))
        fail_msg("no JSON: %s", json);
    return value;
}

static Flow *flow_of(const char *text)
{
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) body = parse(text);
    FlowOrigin origin = {.flow_id = {FLOW_ID}, .owner = {OWNER}, .now_ms = at("00:00")};
    Flow *flow = flow_create(body, &origin, faults);
    if (flow == NULL)
        fail_msg("%s: %s", text, faults_at(faults, 0)->message);
    return flow;
}

/* ---- the request ---- */

static bool read_request(const char *text, BackfillRequest *ret_request, Faults *faults)
{
    g_autoptr(JsonValue) body = parse(text);
    return backfill_request_read(body, at("12:00"), ret_request, faults);
}

static void test_a_request_with_its_defaults(void **state)
{
    (void)state;
    BackfillRequest request;
    g_autoptr(Faults) faults = faults_new();
    assert_true(read_request("{'from':'" DAY "08:00:00Z'}", &request, faults));
    assert_true(request.from == at("08:00") && request.to == at("12:00"));
    assert_int_equal(request.max_parallel, 1);
    assert_false(request.is_dry_run);
    assert_true(read_request("{'from':'" DAY "08:00:00Z','to':'" DAY "12:00:00Z','maxParallel':100,'dryRun':true}",
                             &request, faults));
    assert_int_equal(request.max_parallel, 100);
    assert_true(request.is_dry_run);
}

static void expect_fault(const char *text, const char *field, const char *message)
{
    BackfillRequest request;
    g_autoptr(Faults) faults = faults_new();
    assert_false(read_request(text, &request, faults));
    for (size_t i = 0; i < faults_count(faults); i++) {
        const Fault *fault = faults_at(faults, i);
        if (g_strcmp0(fault->field, field) == 0 && strstr(fault->message, message) != NULL)
            return;
    }
    fail_msg("%s: no fault of %s with %s, but %s", text, field, message, faults_at(faults, 0)->message);
}

static void test_faults_of_a_request(void **state)
{
    (void)state;
    expect_fault("{}", "from", "is required");
    expect_fault("[]", NULL, "must be an object");
    expect_fault("{'from':'" DAY "08:00:00Z','to':'" DAY "12:00:00.001Z'}", "to", "must not be after now");
    expect_fault("{'from':'" DAY "12:00:00Z'}", "from", "must be before " DAY "12:00:00.000Z");
    expect_fault("{'from':'" DAY "09:00:00Z','to':'" DAY "08:00:00Z'}", "from", "must be before to");
    expect_fault("{'from':'2100-01-01T00:00:00Z'}", "from", "1970 to 2099");
    expect_fault("{'from':'" DAY "08:00:00Z','to':'2100-01-01T00:00:00Z'}", "to", "1970 to 2099");
    expect_fault("{'from':5,'maxParallel':0,'dryRun':'yes'}", "from", "must be a string");
    expect_fault("{'from':5,'maxParallel':0,'dryRun':'yes'}", "maxParallel", "must be from 1 to 100");
    expect_fault("{'from':5,'maxParallel':101,'dryRun':'yes'}", "maxParallel", "must be from 1 to 100");
    expect_fault("{'from':5,'maxParallel':0,'dryRun':'yes'}", "dryRun", "must be a boolean");
}

/* ---- slots ---- */

static int64_t find(const char *flow_text, int64_t from, int64_t to, GArray *slots)
{
    g_autoptr(Flow) flow = flow_of(flow_text);
    g_autoptr(CronZones) zones = cron_zones_new(2);
    g_autoptr(Schedule) schedule = schedule_new(flow, zones, NULL);
    return backfill_find_slots(schedule, from, to, slots);
}

static void test_slots_of_a_range(void **state)
{
    (void)state;
    g_autoptr(GArray) slots = g_array_new(FALSE, FALSE, sizeof(int64_t));
    assert_int_equal(find("{'name':'n','cron':'@hourly'}", at("08:00"), at("11:00"), slots), 3);
    assert_true(g_array_index(slots, int64_t, 0) == at("08:00") && g_array_index(slots, int64_t, 2) == at("10:00"));
    g_array_set_size(slots, 0);
    assert_int_equal(find("{'name':'n','cron':'@hourly','schedule':{'startAt':'" DAY "09:30:00Z','paused':true}}",
                          at("08:00"), at("11:00"), slots),
                     1);
    assert_int_equal(find("{'name':'n','cron':'@hourly'}", at("08:01"), at("09:00"), slots), 0);
}

static void test_more_slots_than_it_may_have(void **state)
{
    (void)state;
    g_autoptr(GArray) slots = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int64_t begin = at("2026-01-01T00:00:00Z");
    assert_int_equal(find("{'name':'n','cron':'* * * * *'}", begin, begin + 20000 * MINUTE, slots), 20000);
    assert_int_equal(slots->len, BACKFILL_SLOTS_MAX);
    g_array_set_size(slots, 0);
    assert_int_equal(find("{'name':'n','cron':'@every 1s'}", begin, begin + 20000 * 60 * MINUTE, slots),
                     BACKFILL_COUNT_MAX);
}

static void test_what_covers_a_slot(void **state)
{
    (void)state;
    assert_true(backfill_is_covered_by(&(ScheduleDecision){.verdict = SLOT_STARTED}));
    assert_false(backfill_is_covered_by(&(ScheduleDecision){.verdict = SLOT_QUEUED}));
    assert_false(backfill_is_covered_by(&(ScheduleDecision){.verdict = SLOT_SKIPPED}));
    assert_false(backfill_is_covered_by(&(ScheduleDecision){.verdict = SLOT_RESET}));
}

/* ---- what comes next ---- */

typedef struct {
    BackfillPlan plan;
    Backfill backfill;
} Bench;

static void bench_init(Bench *bench, size_t n_slots, int64_t max_parallel)
{
    g_autoptr(Flow) flow = flow_of("{'name':'n','cron':'* * * * *'}");
    BackfillRequest request = {.from = at("00:00"), .to = at("12:00"), .max_parallel = max_parallel};
    bench->plan = (BackfillPlan){.slots = g_new(int64_t, n_slots), .n_slots = n_slots};
    for (size_t i = 0; i < n_slots; i++)
        bench->plan.slots[i] = at("00:00") + (int64_t)i * MINUTE;
    backfill_init(&bench->backfill, &(Id){FLOW_ID}, flow, &request, (int64_t)n_slots, n_slots, at("12:00"));
}

/* runs: one letter for each open slot: open, completed, failed, stopped, deleted. */
static bool advance(Bench *bench, const char *runs)
{
    static const char LETTERS[] = "ocfsd";
    SlotRun known[BACKFILL_PARALLEL_MAX];
    assert_int_equal(strlen(runs), bench->backfill.n_open);
    for (size_t i = 0; runs[i] != '\0'; i++)
        known[i] = (SlotRun)(strchr(LETTERS, runs[i]) - LETTERS);
    Backfill next;
    if (!backfill_advance(&bench->backfill, &bench->plan, known, at("12:01"), &next))
        return false;
    assert_int_equal(next.n, bench->backfill.n + 1);
    bench->backfill = next;
    return true;
}

static void expect_open(const Bench *bench, int64_t n_started, size_t n_open, int64_t first)
{
    assert_int_equal(bench->backfill.n_started, n_started);
    assert_int_equal(bench->backfill.n_open, n_open);
    if (n_open > 0)
        assert_true(bench->backfill.open[0] == at("00:00") + first * MINUTE);
}

static void test_one_after_the_other(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 3, 1);
    assert_true(advance(&bench, ""));
    expect_open(&bench, 1, 1, 0);
    assert_false(advance(&bench, "o"));
    assert_true(advance(&bench, "c"));
    expect_open(&bench, 2, 1, 1);
    assert_int_equal(bench.backfill.n_made, 1);
    assert_true(advance(&bench, "f"));
    expect_open(&bench, 3, 1, 2);
    assert_true(backfill_is_open(&bench.backfill));
    assert_true(advance(&bench, "s"));
    expect_open(&bench, 3, 0, 0);
    assert_int_equal(bench.backfill.status, BACKFILL_COMPLETED);
    assert_false(backfill_is_open(&bench.backfill));
    assert_false(advance(&bench, ""));
    assert_int_equal(bench.backfill.n_completed, 1);
    assert_int_equal(bench.backfill.n_failed, 1);
    assert_int_equal(bench.backfill.n_stopped, 1);
    backfill_plan_done(&bench.plan);
}

static void test_several_at_once_and_in_order(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 6, 3);
    assert_true(advance(&bench, ""));
    expect_open(&bench, 3, 3, 0);
    assert_true(advance(&bench, "oco")); /* the second ended first */
    expect_open(&bench, 4, 3, 0);
    assert_true(bench.backfill.open[2] == at("00:03"));
    assert_true(advance(&bench, "ddo"));
    expect_open(&bench, 6, 3, 3);
    assert_int_equal(bench.backfill.n_deleted, 2);
    assert_true(advance(&bench, "occ"));
    expect_open(&bench, 6, 1, 3);
    assert_true(advance(&bench, "c"));
    assert_int_equal(bench.backfill.status, BACKFILL_COMPLETED);
    assert_int_equal(bench.backfill.n_completed, 4);
    backfill_plan_done(&bench.plan);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 0, 3);
    assert_int_equal(bench.backfill.status, BACKFILL_COMPLETED);
    assert_false(backfill_is_open(&bench.backfill));
    backfill_plan_done(&bench.plan);
}

static BackfillOutcome command(Bench *bench, BackfillCommand what)
{
    Backfill next;
    BackfillOutcome outcome =
        backfill_command(&bench->backfill, what, BACKFILL_BY_USER, &(Id){OWNER}, at("12:02"), &next);
    if (outcome == BACKFILL_APPEND) {
        assert_int_equal(next.n, bench->backfill.n + 1);
        assert_int_equal(next.n_made, bench->backfill.n_made);
        bench->backfill = next;
    }
    return outcome;
}

static void test_a_pause_starts_nothing_and_sees_runs_end(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 5, 2);
    assert_true(advance(&bench, ""));
    assert_int_equal(command(&bench, BACKFILL_RESUME), BACKFILL_NOTHING);
    assert_int_equal(command(&bench, BACKFILL_PAUSE), BACKFILL_APPEND);
    assert_int_equal(command(&bench, BACKFILL_PAUSE), BACKFILL_NOTHING);
    assert_true(advance(&bench, "co"));
    expect_open(&bench, 2, 1, 1);
    assert_true(advance(&bench, "c"));
    assert_int_equal(bench.backfill.status, BACKFILL_PAUSED);
    assert_true(backfill_is_open(&bench.backfill));
    assert_false(advance(&bench, ""));
    assert_int_equal(command(&bench, BACKFILL_RESUME), BACKFILL_APPEND);
    assert_true(advance(&bench, ""));
    expect_open(&bench, 4, 2, 2);
    backfill_plan_done(&bench.plan);
}

static void test_a_cancelled_one_is_watched_until_its_runs_end(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 5, 2);
    assert_true(advance(&bench, ""));
    assert_int_equal(command(&bench, BACKFILL_CANCEL), BACKFILL_APPEND);
    assert_int_equal(bench.backfill.reason, BACKFILL_BY_USER);
    assert_int_equal(command(&bench, BACKFILL_CANCEL), BACKFILL_NOTHING);
    assert_int_equal(command(&bench, BACKFILL_RESUME), BACKFILL_REJECT);
    assert_int_equal(command(&bench, BACKFILL_PAUSE), BACKFILL_REJECT);
    assert_true(backfill_is_open(&bench.backfill));
    assert_true(advance(&bench, "cc"));
    expect_open(&bench, 2, 0, 0);
    assert_int_equal(bench.backfill.status, BACKFILL_CANCELLED);
    assert_false(backfill_is_open(&bench.backfill));
    backfill_plan_done(&bench.plan);
}

static void test_an_ended_one_cannot_be_steered(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 0, 1);
    assert_int_equal(command(&bench, BACKFILL_CANCEL), BACKFILL_REJECT);
    assert_int_equal(command(&bench, BACKFILL_PAUSE), BACKFILL_REJECT);
    backfill_plan_done(&bench.plan);
}

/* ---- forms ---- */

static void test_an_entry_reads_as_it_was_written(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 5, 2);
    assert_true(advance(&bench, ""));
    assert_int_equal(command(&bench, BACKFILL_PAUSE), BACKFILL_APPEND);
    for (int i = 0; i < 2; i++) {
        g_autoptr(GString) text = g_string_new(NULL), again = g_string_new(NULL);
        Backfill read;
        backfill_encode(&bench.backfill, text);
        assert_true(backfill_decode(text->str, text->len, &read, NULL));
        backfill_encode(&read, again);
        assert_string_equal(again->str, text->str);
        assert_int_equal(read.n_made, bench.backfill.n_made);
        assert_string_equal(read.updated_by.text, bench.backfill.updated_by.text);
        assert_int_equal(command(&bench, BACKFILL_CANCEL), i == 0 ? BACKFILL_APPEND : BACKFILL_NOTHING);
    }
    backfill_plan_done(&bench.plan);
}

static void test_a_plan_reads_as_it_was_written(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 5, 2);
    bench.plan.request_digest = g_strdup("d");
    g_autoptr(GString) text = g_string_new(NULL);
    g_auto(BackfillPlan) read = {0};
    backfill_plan_encode(&bench.plan, text);
    assert_true(backfill_plan_decode(text->str, text->len, &read, NULL));
    assert_int_equal(read.n_slots, 5);
    assert_memory_equal(read.slots, bench.plan.slots, 5 * sizeof(int64_t));
    assert_string_equal(read.request_digest, "d");
    backfill_plan_done(&bench.plan);
}

static void test_what_is_broken_is_refused(void **state)
{
    (void)state;
    static const char *const PLANS[] = {"[]",
                                        "{}",
                                        "{\"slots\":5}",
                                        "{\"slots\":[1.5]}",
                                        "{\"slots\":[-1]}",
                                        "{\"slots\":[60,60]}",
                                        "{\"slots\":[4102444800]}",
                                        "{\"slots\":[1"};
    for (size_t i = 0; i < G_N_ELEMENTS(PLANS); i++) {
        BackfillPlan plan;
        g_autoptr(GError) error = NULL;
        assert_false(backfill_plan_decode(PLANS[i], strlen(PLANS[i]), &plan, &error));
        assert_non_null(error);
    }
    Bench bench;
    bench_init(&bench, 5, 2);
    g_autoptr(GString) text = g_string_new(NULL);
    backfill_encode(&bench.backfill, text);
    static const char *const MEMBERS[] = {"id",      "flowId",    "owner",     "status", "from",       "to",
                                          "slots",   "started",   "made",      "open",   "completed",  "failed",
                                          "stopped", "createdAt", "updatedAt", "n",      "maxParallel"};
    for (size_t i = 0; i < G_N_ELEMENTS(MEMBERS); i++) { /* each is missing in turn */
        g_autofree char *name = g_strconcat("\"", MEMBERS[i], "\":", NULL);
        g_autofree char *cut = g_strdup(text->str);
        char *place = strstr(cut, name);
        assert_non_null(place);
        place[1] = '_';
        Backfill read;
        g_autoptr(GError) error = NULL;
        assert_false(backfill_decode(cut, strlen(cut), &read, &error));
        assert_non_null(error);
    }
    backfill_plan_done(&bench.plan);
}

static void test_a_dry_run(void **state)
{
    (void)state;
    Bench bench;
    bench_init(&bench, 30, 2);
    BackfillRequest request = {.from = at("00:00"), .to = at("12:00"), .max_parallel = 2, .is_dry_run = true};
    g_autoptr(GString) text = g_string_new(NULL);
    backfill_encode_dry_run(&(Id){FLOW_ID}, &request, 31, &bench.plan, text);
    Id run_id = schedule_run_id(&(Id){FLOW_ID}, at("00:00"));
    g_autofree char *first = g_strdup_printf("\"slotsInRange\":31,\"slots\":30,\"firstSlots\":[{\"slot\":\"" DAY
                                             "00:00:00.000Z\",\"runId\":\"%s\"}",
                                             run_id.text);
    assert_non_null(strstr(text->str, first));
    g_auto(GStrv) parts = g_strsplit(text->str, "\"runId\"", -1);
    assert_int_equal(g_strv_length(parts), 1 + BACKFILL_FIRST_SLOTS);
    backfill_plan_done(&bench.plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_with_its_defaults),
        cmocka_unit_test(test_faults_of_a_request),
        cmocka_unit_test(test_slots_of_a_range),
        cmocka_unit_test(test_more_slots_than_it_may_have),
        cmocka_unit_test(test_what_covers_a_slot),
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_several_at_once_and_in_order),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_a_pause_starts_nothing_and_sees_runs_end),
        cmocka_unit_test(test_a_cancelled_one_is_watched_until_its_runs_end),
        cmocka_unit_test(test_an_ended_one_cannot_be_steered),
        cmocka_unit_test(test_an_entry_reads_as_it_was_written),
        cmocka_unit_test(test_a_plan_reads_as_it_was_written),
        cmocka_unit_test(test_what_is_broken_is_refused),
        cmocka_unit_test(test_a_dry_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
