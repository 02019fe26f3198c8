/* store_contract_schedule.c - schedule decisions: the next one is taken once, marks stay until their runs are there, and
 * flows with a cron are found with what was decided last. */
#include "store_contract.h"

#include <string.h>

#include "domain/schedule.h"

static Id owner;

static WriteOutcome decide(Store *store, const Id *flow_id, int64_t n, bool is_owed)
{
    g_autoptr(SampleDecision) sample = sample_decision_new(flow_id, n, is_owed);
    return write_one(store, (StoreWrite){.kind = WRITE_DECISION, .decision = sample->row});
}

/* The n of each entry, joined. */
static char *numbers(const DecisionPage *page)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < page->n_entries; i++) {
        ScheduleDecision decision;
        Id flow_id;
        g_autoptr(GError) error = NULL;
        bool is_decoded =
            schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, &error);
        assert_no_error(error);
        assert_true(is_decoded);
        g_string_append_printf(text, "%s%" G_GINT64_FORMAT "%s", i > 0 ? " " : "", decision.n,
                               page->entries[i].is_owed ? "!" : "");
    }
    g_string_append(text, page->has_more ? " ..." : "");
    return g_string_free(text, FALSE);
}

static void assert_page(DecisionPage *take_page, const GError *error, const char *expected)
{
    assert_no_error(error);
    g_autoptr(DecisionPage) page = take_page;
    g_autofree char *actual = numbers(page);
    assert_string_equal(actual, expected);
}

static void assert_decisions(Store *store, const Id *flow_id, int64_t after, size_t limit, const char *expected)
{
    g_autoptr(GError) error = NULL;
    DecisionPage *page = store_read_decisions(store, flow_id->text, after, limit, &error);
    assert_page(page, error, expected);
}

static void assert_newest(Store *store, const Id *flow_id, int64_t before, size_t limit, const char *expected)
{
    g_autoptr(GError) error = NULL;
    DecisionPage *page = store_read_newest_decisions(store, flow_id->text, before, limit, &error);
    assert_page(page, error, expected);
}

static void assert_owed(Store *store, const char *flow_id, const DecisionKey *after, size_t limit, const char *expected)
{
    g_autoptr(GError) error = NULL;
    DecisionPage *page = store_read_owed_decisions(store, flow_id, after, limit, &error);
    assert_page(page, error, expected);
}

static void test_no_decisions(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 1);
    assert_decisions(store, &flow_id, 0, 10, "");
    assert_newest(store, &flow_id, INT64_MAX, 10, "");
    assert_owed(store, NULL, NULL, 10, "");
    assert_owed(store, flow_id.text, NULL, 10, "");
}

static void test_each_n_is_taken_once(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 1), other = test_id('f', 2);
    assert_int_equal(decide(store, &flow_id, 1, false), WRITTEN);
    assert_int_equal(decide(store, &flow_id, 1, true), WRITE_CONFLICT);
    assert_int_equal(decide(store, &other, 1, false), WRITTEN);
    assert_int_equal(decide(store, &flow_id, 2, true), WRITTEN);
    assert_decisions(store, &flow_id, 0, 10, "1 2!");
    assert_decisions(store, &other, 0, 10, "1");
}

/* One that loses takes with it what was decided behind it; other flows go on. */
static void test_several_of_a_flow_in_a_group(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 1), other = test_id('f', 2);
    assert_int_equal(decide(store, &flow_id, 1, false), WRITTEN);
    g_autoptr(SampleDecision) lost = sample_decision_new(&flow_id, 1, true);
    g_autoptr(SampleDecision) behind = sample_decision_new(&flow_id, 2, true);
    g_autoptr(SampleDecision) other_1 = sample_decision_new(&other, 1, true);
    g_autoptr(SampleDecision) other_2 = sample_decision_new(&other, 2, false);
    StoreWrite writes[] = {{.kind = WRITE_DECISION, .decision = lost->row},
                           {.kind = WRITE_DECISION, .decision = other_1->row},
                           {.kind = WRITE_DECISION, .decision = behind->row},
                           {.kind = WRITE_DECISION, .decision = other_2->row}};
    g_autoptr(GError) error = NULL;
    assert_true(store_write(store, writes, G_N_ELEMENTS(writes), &error));
    assert_int_equal(writes[0].ret_outcome, WRITE_CONFLICT);
    assert_int_equal(writes[1].ret_outcome, WRITTEN);
    assert_int_equal(writes[2].ret_outcome, WRITE_CONFLICT);
    assert_int_equal(writes[3].ret_outcome, WRITTEN);
    assert_decisions(store, &other, 0, 10, "1! 2");
}

static void write_many(Store *store, const Id *flow_id, int64_t n)
{
    for (int64_t i = 1; i <= n; i++)
        assert_int_equal(decide(store, flow_id, i, i % 3 == 0), WRITTEN);
}

static void test_pages_both_ways(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 2), before = test_id('f', 1), behind = test_id('f', 3);
    write_many(store, &before, 1);
    write_many(store, &flow_id, 7);
    write_many(store, &behind, 1);
    assert_decisions(store, &flow_id, 0, 3, "1 2 3! ...");
    assert_decisions(store, &flow_id, 3, 4, "4 5 6! 7");
    assert_decisions(store, &flow_id, 7, 4, "");
    assert_newest(store, &flow_id, INT64_MAX, 3, "7 6! 5 ...");
    assert_newest(store, &flow_id, 5, 4, "4 3! 2 1");
    assert_newest(store, &flow_id, 1, 4, "");
}

static void test_marks_stay_until_made(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 1), other = test_id('f', 2);
    write_many(store, &flow_id, 9);
    write_many(store, &other, 4);
    assert_owed(store, NULL, NULL, 10, "3! 6! 9! 3!");
    assert_owed(store, NULL, NULL, 2, "3! 6! ...");
    assert_owed(store, NULL, &(DecisionKey){flow_id, 6}, 10, "9! 3!");
    assert_owed(store, flow_id.text, NULL, 10, "3! 6! 9!");
    assert_owed(store, other.text, NULL, 10, "3!");
    StoreWrite writes[] = {{.kind = WRITE_MADE, .made = {flow_id, 6}}, {.kind = WRITE_MADE, .made = {other, 3}}};
    write_all(store, writes, G_N_ELEMENTS(writes));
    write_all(store, writes, G_N_ELEMENTS(writes)); /* twice is fine */
    assert_owed(store, NULL, NULL, 10, "3! 9!");
    assert_decisions(store, &flow_id, 5, 1, "6 ...");
}

static Flow *cron_flow(unsigned n, int64_t version, const char *cron)
{
    Flow *flow = sample_flow(n, &owner, version, 1);
    flow->cron = g_strdup(cron);
    flow->timezone = g_strdup(cron != NULL ? "Europe/Berlin" : NULL);
    flow->scheduled_since = cron != NULL ? flow->updated_at : INSTANT_NONE;
    return flow;
}

static void write_flow(Store *store, Flow *take_flow)
{
    g_autoptr(Flow) flow = take_flow;
    write_flow_version(store, flow);
}

/* "flow number:version:n of its last decision", joined, over all pages. */
static char *scheduled(Store *store, size_t limit)
{
    GString *text = g_string_new(NULL);
    Id after = {""};
    bool has_more = true;
    while (has_more) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ScheduledPage) page = store_read_scheduled_flows(store, after.text, limit, &error);
        assert_no_error(error);
        for (size_t i = 0; i < page->n_items; i++) {
            const ScheduledFlow *item = &page->items[i];
            g_autoptr(Flow) flow = flow_decode(item->flow, item->flow_size, &error);
            assert_no_error(error);
            assert_int_equal(flow->n_steps, 0);
            assert_string_equal(flow->timezone, "Europe/Berlin");
            assert_int_equal(flow->scheduled_since, flow->updated_at);
            ScheduleDecision decision = {0};
            Id flow_id;
            assert_true(item->decision == NULL ||
                        schedule_decision_decode(item->decision, item->decision_size, &decision, &flow_id, &error));
            g_string_append_printf(text, "%s%s:%" G_GINT64_FORMAT ":%" G_GINT64_FORMAT, text->len > 0 ? " " : "",
                                   flow->cron, flow->version, decision.n);
        }
        has_more = page->has_more;
        after = page->last_id;
    }
    return g_string_free(text, FALSE);
}

static void assert_scheduled(Store *store, const char *expected)
{
    for (size_t limit = 1; limit <= 4; limit++) {
        g_autofree char *actual = scheduled(store, limit);
        assert_string_equal(actual, expected);
    }
}

static void test_flows_with_a_cron(void **state)
{
    Store *store = fixture_of(state)->store;
    Id first = test_id('f', 1), third = test_id('f', 3);
    assert_scheduled(store, "");
    write_flow(store, cron_flow(1, 1, "a"));
    write_flow(store, cron_flow(2, 1, NULL));
    write_flow(store, cron_flow(3, 1, "c"));
    write_flow(store, cron_flow(4, 1, "d"));
    write_many(store, &first, 3);
    write_many(store, &third, 1);
    assert_scheduled(store, "a:1:3 c:1:1 d:1:0");
    write_flow(store, cron_flow(1, 2, NULL)); /* has none any more */
    write_flow(store, cron_flow(2, 2, "b"));  /* has one now */
    write_flow(store, cron_flow(3, 2, "c2"));
    g_autoptr(Flow) fourth = cron_flow(4, 1, "d");
    write_flow(store, sample_flow_deletion(fourth, false));
    assert_scheduled(store, "b:2:0 c2:2:1");
    assert_decisions(store, &first, 0, 10, "1 2 3!"); /* kept */
}

static void test_changed_flows(void **state)
{
    Store *store = fixture_of(state)->store;
    for (unsigned n = 1; n <= 4; n++)
        write_flow(store, sample_flow(n, &owner, 1, 0)); /* updated at START_MS + n + version */
    write_flow(store, sample_flow(1, &owner, 2, 0));
    FlowVersion flows[8];
    size_t n_flows = 99;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_changed_flows(store, START_MS + 3, NULL, G_N_ELEMENTS(flows), flows, &n_flows, &error));
    assert_no_error(error);
    if (!store_is_shared(store)) {
        assert_int_equal(n_flows, 0);
        return;
    }
    assert_int_equal(n_flows, 4); /* the first is at the third's instant: by id then */
    static const struct {
        unsigned n;
        int64_t version;
    } expected[] = {{1, 2}, {2, 1}, {3, 1}, {4, 1}};
    for (size_t i = 0; i < n_flows; i++) {
        Id id = test_id('f', expected[i].n);
        assert_string_equal(flows[i].flow_id.text, id.text);
        assert_int_equal(flows[i].version, expected[i].version);
    }
    FlowVersion after = flows[0];
    assert_true(store_list_changed_flows(store, START_MS + 3, &after, 2, flows, &n_flows, &error));
    assert_int_equal(n_flows, 2);
    Id second = test_id('f', 2);
    assert_string_equal(flows[0].flow_id.text, second.text);
}

static void test_open_runs_of_the_system(void **state)
{
    Store *store = fixture_of(state)->store;
    Id flow_id = test_id('f', 1), other = test_id('f', 2), ids[8];
    size_t n = 99;
    g_autoptr(GError) error = NULL;
    for (unsigned i = 1; i <= 4; i++) {
        g_autoptr(SampleRun) run = sample_run_new(i, &owner, i == 4 ? &other : &flow_id);
        run->row.triggered_by = i == 2 ? owner.text : "system";
        if (i == 3)
            run->row.phase = PHASE_SETTLED;
        append_events(store, run, 1);
    }
    assert_true(store_list_open_system_runs(store, flow_id.text, G_N_ELEMENTS(ids), ids, &n, &error));
    assert_no_error(error);
    assert_int_equal(n, 1);
    Id first = test_id('r', 1);
    assert_string_equal(ids[0].text, first.text);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_decisions),
    cmocka_unit_test(test_each_n_is_taken_once),
    cmocka_unit_test(test_several_of_a_flow_in_a_group),
    cmocka_unit_test(test_pages_both_ways),
    cmocka_unit_test(test_marks_stay_until_made),
    cmocka_unit_test(test_flows_with_a_cron),
    cmocka_unit_test(test_changed_flows),
    cmocka_unit_test(test_open_runs_of_the_system),
};

StoreTests store_schedule_tests(void)
{
    owner = test_id('o', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
