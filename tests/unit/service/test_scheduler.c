/* test_scheduler.c - what a scheduler does in single cases, and a crash at every write of a step. */
#include "scheduler_world.h"

#include <string.h>

#include "service/service_internal.h"

/* ---- single cases: one flow of every hour, at the begin of an hour ---- */

typedef struct {
    World world;
    Subject subject;
    Replica *replica;
} Case;

static void case_begin(Case *c, const char *schedule)
{
    world_begin(&c->world, 1, 1);
    c->replica = &c->world.replicas[0];
    for (size_t i = 0; i < c->world.n_subjects; i++) { /* the others are not in the way */
        ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
        call->flow_id = c->world.subjects[i].id;
        assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
        service_call_free(call);
    }
    c->subject = (Subject){.cron = "0 * * * *", .schedule = schedule};
    create(&c->world, &c->subject);
    step(c->replica);
}

/* Verdicts of the flow's decisions, oldest first, with the hour of the slot. */
static void assert_story(Case *c, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) story = g_string_new(NULL);
    g_autoptr(DecisionPage) page = store_read_decisions(c->world.store, c->subject.id.text, 0, 1000, &error);
    assert_non_null(page);
    for (size_t i = 0; i < page->n_entries; i++) {
        static const char *const verdicts[] = {"started", "queued", "skipped", "reset"};
        ScheduleDecision decision;
        Id flow_id;
        assert_true(
            schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, &error));
        g_string_append_printf(story, "%s%s%s %d", i > 0 ? ", " : "", verdicts[decision.verdict],
                               decision.cancels_running ? "!" : "", (int)((decision.slot - BEGIN_MS) / HOUR_MS));
    }
    assert_string_equal(story->str, expected);
}

/* A decision that nobody can read, behind the last one. */
static void damage_journal(Case *c, int64_t n)
{
    static const char BROKEN[] = "{\"flowId\":\"";
    g_autoptr(GError) error = NULL;
    StoreWrite write = {.kind = WRITE_DECISION,
                        .decision = {.key = {c->subject.id, n},
                                     .text = BROKEN,
                                     .size = strlen(BROKEN),
                                     .decided_at = clock_wall_ms(c->world.clock)}};
    assert_true(store_write(c->world.store, &write, 1, &error));
    assert_int_equal(write.ret_outcome, WRITTEN);
}

static int64_t count_given_up(Case *c)
{
    return service_health(c->replica->service).schedules.n_given_up;
}

static int64_t count_open(Case *c)
{
    int64_t n;
    g_autoptr(GError) error = NULL;
    assert_true(store_count_open_runs(c->world.store, c->subject.id.text, &n, &error));
    return n;
}

static void hour(Case *c)
{
    clock_fake_advance(c->world.clock, HOUR_MS);
    step(c->replica);
}

/* What was due before a change is the former schedule's, though it comes to be decided after it. */
static void test_a_change_is_decided_first(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"misfire\":\"ALL\"");
    clock_fake_advance(c.world.clock, 2 * HOUR_MS);
    c.subject.is_paused = true;
    change(&c.world, c.replica, &c.subject);
    clock_fake_advance(c.world.clock, 30 * HOUR_MS);
    step(c.replica);
    assert_story(&c, "started 1, started 2, reset 2, skipped 3");
    c.subject.is_paused = false;
    change(&c.world, c.replica, &c.subject);
    step(c.replica);
    hour(&c);
    assert_int_equal(count_open(&c), 3);
    world_end(&c.world);
}

static void test_a_deleted_flow_starts_nothing_more(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "");
    ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
    call->flow_id = c.subject.id;
    assert_int_equal(do_service_call(c.replica, call), RESULT_OK);
    service_call_free(call);
    hour(&c);
    hour(&c);
    assert_story(&c, "");
    world_end(&c.world);
}

static void test_queued_slots_wait_for_their_turn(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"QUEUE\"");
    for (int i = 0; i < 3; i++)
        hour(&c);
    assert_int_equal(count_open(&c), 1);
    for (int i = 0; i < 2; i++) {
        end_runs(&c.world, c.replica);
        step(c.replica); /* told by the end of the run, at the same instant */
        assert_int_equal(count_open(&c), 1);
    }
    assert_story(&c, "started 1, queued 2, queued 3, started 2, started 3");
    replica_stop(c.replica); /* and what waits survives */
    replica_start(&c.world, c.replica);
    hour(&c);
    replica_stop(c.replica);
    replica_start(&c.world, c.replica);
    step(c.replica);
    end_runs(&c.world, c.replica);
    step(c.replica);
    assert_story(&c, "started 1, queued 2, queued 3, started 2, started 3, queued 4, started 4");
    world_end(&c.world);
}

/* A pause ends the queue, and is summed up once a day. */
static void test_a_pause_ends_the_queue(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"QUEUE\"");
    hour(&c);
    hour(&c);
    c.subject.is_paused = true;
    change(&c.world, c.replica, &c.subject);
    step(c.replica);
    for (int i = 0; i < 20; i++)
        hour(&c);
    end_runs(&c.world, c.replica);
    step(c.replica);
    assert_story(&c, "started 1, queued 2, skipped 2, reset 2");
    for (int i = 0; i < 10; i++)
        hour(&c);
    assert_story(&c, "started 1, queued 2, skipped 2, reset 2, skipped 3");
    c.subject.is_paused = false;
    change(&c.world, c.replica, &c.subject);
    step(c.replica);
    assert_int_equal(count_open(&c), 0);
    world_end(&c.world);
}

static void remove_cron(Case *c)
{
    g_autoptr(GError) error = NULL;
    static const char TEXT[] = "{\"name\":\"f\",\"cron\":null,\"steps\":[]}";
    ServiceCall *call = call_new(CALL_UPDATE_FLOW, OWNER);
    call->flow_id = c->subject.id;
    assert_true(json_parse(TEXT, strlen(TEXT), 32, &call->body, &error));
    assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
    service_call_free(call);
}

static void delete_flow(Case *c, bool is_forced)
{
    ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
    call->flow_id = c->subject.id;
    call->is_forced = is_forced;
    assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
    service_call_free(call);
}

/* The others go on, whatever is to be done with it: decided, changed, deleted. */
static void test_a_damaged_journal_stops_its_flow_alone(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        Case c;
        case_begin(&c, "\"overlap\":\"QUEUE\"");
        hour(&c);
        Case other = c;
        create(&c.world, &other.subject);
        step(c.replica);
        assert_int_equal(count_given_up(&c), 0);
        damage_journal(&c, 2);
        if (i == 1)
            remove_cron(&c);
        if (i == 2)
            delete_flow(&c, true);
        for (int k = 0; k < 3; k++)
            hour(&c);
        assert_story(&other, "started 2, queued 3, queued 4");
        assert_int_equal(count_given_up(&c), i == 0);
        world_end(&c.world);
    }
}

/* Of the slots of the first three hours, how many a backfill would start. */
static int64_t count_missed(Case *c)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonValue) found = NULL;
    ServiceCall *call = call_new(CALL_CREATE_BACKFILL, OWNER);
    call->flow_id = c->subject.id;
    call->backfill.request = (BackfillRequest){
        .from = BEGIN_MS + HOUR_MS, .to = BEGIN_MS + 4 * HOUR_MS - 1, .max_parallel = 1, .is_dry_run = true};
    assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
    assert_true(json_parse(call->data->str, call->data->len, 8, &found, &error));
    service_call_free(call);
    return json_int(json_get(found, "slots"));
}

/* Noticed at once, or only after a restart, when the flow has no schedule any more. */
static void test_what_waits_is_told_its_end(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        Case c;
        bool is_noticed = i % 2 == 0, is_deleted = i >= 2;
        case_begin(&c, "\"overlap\":\"QUEUE\"");
        for (int k = 0; k < 3; k++)
            hour(&c);
        assert_story(&c, "started 1, queued 2, queued 3");
        assert_int_equal(count_missed(&c), 0);
        if (is_deleted)
            delete_flow(&c, true);
        else
            remove_cron(&c);
        if (!is_noticed) {
            replica_stop(c.replica);
            replica_start(&c.world, c.replica);
        }
        step(c.replica);
        assert_story(&c, "started 1, queued 2, queued 3, skipped 2");
        if (!is_deleted) { /* and does not come back */
            change(&c.world, c.replica, &c.subject);
            step(c.replica);
            end_runs(&c.world, c.replica);
            step(c.replica);
            assert_int_equal(count_open(&c), 0);
            assert_story(&c, "started 1, queued 2, queued 3, skipped 2, reset 3");
            assert_int_equal(count_missed(&c), 2);
        }
        world_end(&c.world);
    }
}

static void test_a_start_stops_what_runs(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"CANCEL_RUNNING\"");
    hour(&c);
    Id first = schedule_run_id(&c.subject.id, BEGIN_MS + HOUR_MS);
    Rig rig = {.service = c.replica->service};
    g_autofree char *before = detail_of(&rig, &first);
    assert_null(strstr(before, "\"STOP\""));
    hour(&c);
    assert_story(&c, "started 1, started! 2");
    g_autofree char *after = detail_of(&rig, &first);
    assert_non_null(strstr(after, "\"STOP\""));
    world_end(&c.world);
}

static void test_open_runs_are_skipped_over(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"SKIP\"");
    hour(&c);
    hour(&c);
    end_runs(&c.world, c.replica);
    hour(&c);
    assert_story(&c, "started 1, skipped 2, started 3");
    world_end(&c.world);
}

/* Too many runs are open: what is decided waits, nothing is lost, and nothing more is decided. */
static void test_no_room_for_a_run(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"misfire\":\"ALL\"");
    c.replica->service->options.max_open_runs = 1;
    clock_fake_advance(c.world.clock, 2 * HOUR_MS);
    step(c.replica);
    hour(&c);
    assert_story(&c, "started 1, started 2");
    assert_int_equal(count_open(&c), 1);
    end_runs(&c.world, c.replica);
    step(c.replica);
    assert_int_equal(count_open(&c), 1);
    c.replica->service->options.max_open_runs = 10;
    step(c.replica);
    assert_story(&c, "started 1, started 2, started 3");
    assert_int_equal(count_runs(&c.world, &c.subject), 3);
    world_end(&c.world);
}

/* The process ends at each write of a step in turn, which has happened or not; the next one finishes what it left. */
static void test_a_crash_at_every_write(void **state)
{
    (void)state;
    for (FaultPoint point = FAULT_BEFORE_EFFECT; point <= FAULT_AFTER_EFFECT; point++) {
        bool is_over = false;
        for (int64_t nth = 1; !is_over; nth++) {
            Case c;
            case_begin(&c, "\"misfire\":\"ALL\",\"overlap\":\"CANCEL_RUNNING\"");
            hour(&c);
            clock_fake_advance(c.world.clock, 2 * HOUR_MS);
            int64_t n_before = store_fault_count(c.world.store, STORE_WRITE);
            store_fault_set(c.world.store, STORE_WRITE, point, nth, INT64_MAX);
            step(c.replica);
            is_over = store_fault_count(c.world.store, STORE_WRITE) - n_before < nth;
            replica_stop(c.replica);
            store_fault_set(c.world.store, STORE_WRITE, point, 1, 0);
            replica_start(&c.world, c.replica);
            come_to_rest(&c.world, c.replica);
            assert_story(&c, "started 1, skipped 2, started! 3");
            audit_subject(&c.world, &c.subject);
            Id first = schedule_run_id(&c.subject.id, BEGIN_MS + HOUR_MS);
            Rig rig = {.service = c.replica->service};
            g_autofree char *detail = detail_of(&rig, &first);
            assert_non_null(strstr(detail, "\"STOP\""));
            assert_true(is_over || nth < 10);
            if (is_over)
                assert_true(nth >= 4); /* decisions, the stop, the run, the mark */
            world_end(&c.world);
        }
    }
}

/* A read that fails puts off what needs it. */
static void test_every_read_may_fail(void **state)
{
    (void)state;
    static const StoreMethod methods[] = {STORE_GET_FLOW,
                                          STORE_READ_JOURNAL,
                                          STORE_READ_DECISIONS,
                                          STORE_READ_OWED_DECISIONS,
                                          STORE_READ_SCHEDULED_FLOWS,
                                          STORE_LIST_OPEN_SYSTEM_RUNS};
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        Case c;
        case_begin(&c, "\"overlap\":\"QUEUE\"");
        hour(&c);
        hour(&c);
        replica_stop(c.replica);
        replica_start(&c.world, c.replica); /* everything is to be read again, the queue, too */
        clock_fake_advance(c.world.clock, HOUR_MS);
        store_fault_set(c.world.store, methods[i], FAULT_BEFORE_EFFECT, 1, 2);
        for (int k = 0; k < 4; k++)
            step(c.replica);
        end_runs(&c.world, c.replica);
        for (int k = 0; k < 3; k++)
            step(c.replica);
        assert_story(&c, "started 1, queued 2, queued 3, started 2");
        audit_subject(&c.world, &c.subject);
        world_end(&c.world);
    }
}

/* nextRunAt follows each change at once, whoever is asked. */
static char *next_run_at(Case *c)
{
    ServiceCall *call = call_new(CALL_GET_FLOW, OWNER);
    call->flow_id = c->subject.id;
    assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
    const char *at = strstr(call->data->str, "\"nextRunAt\":");
    assert_non_null(at);
    at += strlen("\"nextRunAt\":");
    char *value = g_strndup(at, strcspn(at, ",}"));
    service_call_free(call);
    return value;
}

static void assert_next_run_at(Case *c, const char *expected)
{
    g_autofree char *actual = next_run_at(c);
    assert_string_equal(actual, expected);
}

static void test_next_run(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "");
    assert_next_run_at(&c, "\"2026-01-01T01:00:00.000Z\"");
    hour(&c);
    assert_next_run_at(&c, "\"2026-01-01T02:00:00.000Z\"");
    clock_fake_set_wall(c.world.clock, -HOUR_MS); /* a decided slot does not come again */
    assert_next_run_at(&c, "\"2026-01-01T02:00:00.000Z\"");
    c.subject.is_paused = true;
    change(&c.world, c.replica, &c.subject);
    assert_next_run_at(&c, "null");
    c.subject.is_paused = false;
    c.subject.cron = "30 5 * * *";
    ServiceCall *call = call_new(CALL_UPDATE_FLOW, OWNER);
    call->flow_id = c.subject.id;
    call->body = body_of(&c.subject, "UTC");
    assert_int_equal(do_service_call(c.replica, call), RESULT_OK);
    service_call_free(call);
    assert_next_run_at(&c, "\"2026-01-01T05:30:00.000Z\"");
    world_end(&c.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_is_decided_first),
        cmocka_unit_test(test_a_deleted_flow_starts_nothing_more),
        cmocka_unit_test(test_queued_slots_wait_for_their_turn),
        cmocka_unit_test(test_a_pause_ends_the_queue),
        cmocka_unit_test(test_what_waits_is_told_its_end),
        cmocka_unit_test(test_a_damaged_journal_stops_its_flow_alone),
        cmocka_unit_test(test_a_start_stops_what_runs),
        cmocka_unit_test(test_open_runs_are_skipped_over),
        cmocka_unit_test(test_no_room_for_a_run),
        cmocka_unit_test(test_a_crash_at_every_write),
        cmocka_unit_test(test_every_read_may_fail),
        cmocka_unit_test(test_next_run),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
