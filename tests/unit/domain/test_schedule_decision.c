/* test_schedule_decision.c - the journal of a schedule: a decision's form, and what decisions fold to. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "domain/schedule.h"

#define FLOW_ID "0191aaaa-0000-7000-8000-0000000000f0"
#define DAY "2026-02-02T"

static int64_t at(const char *time)
{
    int64_t ms;
    g_autofree char *text = g_strdup_printf(DAY "%s:00Z", time);
    if (!instant_parse(text, &ms))
        fail_msg("no instant: %s", text);
    return ms;
}

static void decisions_come_back_from_the_journal(void **state)
{
    (void)state;
    Id flow_id = {FLOW_ID}, id;
    ScheduleDecision decision = {.n = 7,
                                 .verdict = SLOT_SKIPPED,
                                 .reason = SLOT_AFTER_END,
                                 .slot = at("01:00"),
                                 .last_slot = at("02:00"),
                                 .n_slots = 2,
                                 .decided_at = at("03:00"),
                                 .late_ms = 5,
                                 .cancels_running = true,
                                 .since = at("00:00"),
                                 .flow_version = 3,
                                 .watermark = at("02:00"),
                                 .n_queued = 4},
                     again = {0};
    g_autoptr(GString) json = g_string_new(NULL);
    schedule_decision_encode(&decision, &flow_id, json);
    assert_string_equal(json->str,
                        "{\"flowId\":\"" FLOW_ID "\",\"n\":7,\"verdict\":\"SKIPPED\",\"reason\":\"AFTER_END\","
                        "\"slot\":\"2026-02-02T01:00:00.000Z\",\"lastSlot\":\"2026-02-02T02:00:00.000Z\",\"slots\":2,"
                        "\"decidedAt\":\"2026-02-02T03:00:00.000Z\",\"lateMs\":5,\"runId\":null,\"wasQueued\":false,"
                        "\"cancelsRunning\":true,\"scheduledSince\":\"2026-02-02T00:00:00.000Z\",\"flowVersion\":3,"
                        "\"watermark\":\"2026-02-02T02:00:00.000Z\",\"queued\":4}");
    assert_true(schedule_decision_decode(json->str, json->len, &again, &id, NULL));
    g_autoptr(GString) twice = g_string_new(NULL);
    schedule_decision_encode(&again, &id, twice);
    assert_string_equal(twice->str, json->str);
    for (size_t cut = 0; cut < json->len; cut++)
        assert_false(schedule_decision_decode(json->str, cut, &again, &id, NULL));
    static const char *const BROKEN[] = {"null", "[]", "{}",
                                         "{\"flowId\":\"" FLOW_ID "\",\"n\":1,\"verdict\":\"MAYBE\"}"};
    for (size_t i = 0; i < G_N_ELEMENTS(BROKEN); i++)
        assert_false(schedule_decision_decode(BROKEN[i], strlen(BROKEN[i]), &again, &id, NULL));
}

static void a_state_takes_only_what_follows(void **state)
{
    (void)state;
    g_auto(ScheduleState) known = {.n = 2, .watermark = 5};
    ScheduleDecision decision = {.n = 2, .verdict = SLOT_QUEUED, .slot = 9, .watermark = 9};
    g_autoptr(GError) error = NULL;
    assert_false(schedule_state_fold(&known, &decision, &error));
    assert_string_equal(error->message, "broken decision: n is not the next");
    decision.n = 3;
    assert_true(schedule_state_fold(&known, &decision, NULL));
    ScheduleDecision wrong = {
        .n = 4, .verdict = SLOT_STARTED, .was_queued = true, .slot = 8, .n_slots = 1, .watermark = 9};
    assert_false(schedule_state_fold(&known, &wrong, NULL));
    wrong.slot = 9;
    assert_true(schedule_state_fold(&known, &wrong, NULL));
    assert_int_equal(known.n_queued, 0);
    assert_int_equal(known.watermark, 9);
    g_auto(ScheduleState) loaded = {0};
    schedule_state_from(&loaded, &wrong);
    assert_true(loaded.n == 4 && loaded.watermark == 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions_come_back_from_the_journal),
        cmocka_unit_test(a_state_takes_only_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
