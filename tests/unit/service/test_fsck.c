/* test_fsck.c - a sound store has no fault, whoever writes to it meanwhile; each kind of damage is found, named, and mended
 * where a journal can mend it. */
#include "real_run.h"

#include <sqlite3.h>
#include <string.h>

#include "base/thread.h"
#include "service/fsck.h"
#include "store/store_internal.h"

typedef struct {
    FsckReport report;
    GString *lines;
} Outcome;

static void outcome_done(Outcome *outcome)
{
    g_string_free(outcome->lines, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Outcome, outcome_done)

static void take_line(void *arg, const char *line)
{
    g_string_append_printf(arg, "%s\n", line);
}

static Outcome check(Store *store, bool repairs)
{
    Outcome outcome = {.lines = g_string_new(NULL)};
    FsckOptions options = {.repairs = repairs, .tell = take_line, .arg = outcome.lines};
    Clock *clock = clock_new_system();
    g_autoptr(GError) error = NULL;
    bool is_done = fsck_check_store(store, clock, &options, &outcome.report, &error);
    assert_no_error(error);
    assert_true(is_done);
    clock_free(clock);
    return outcome;
}

/* Three runs, the flow of one having gone on since. */
static StoreFixture *small_store(void)
{
    StoreFixture *fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(Flow) one = real_flow(fixture->store, 1);
    g_autoptr(Flow) two = real_flow(fixture->store, 2);
    real_run_write(fixture->store, 1, one, HISTORY_CREATED, 1);
    real_run_write(fixture->store, 2, one, HISTORY_STOPPING, 1);
    real_run_write(fixture->store, 3, two, HISTORY_ENDED, 1);
    for (int64_t n = 1; n <= 3; n++) {
        g_autoptr(SampleDecision) sample = sample_decision_new(&one->id, n, n == 2);
        write_one(fixture->store, (StoreWrite){.kind = WRITE_DECISION, .decision = sample->row});
    }
    real_backfill_write(fixture->store, one, 1, 2);
    g_autoptr(Flow) next = sample_flow(1, &one->owner, 2, 3);
    write_flow_version(fixture->store, next);
    g_autoptr(Flow) deletion = sample_flow_deletion(two, false);
    write_flow_version(fixture->store, deletion);
    return fixture;
}

static void assert_sound(Store *store)
{
    g_auto(Outcome) outcome = check(store, false);
    assert_string_equal(outcome.lines->str, "");
    assert_int_equal(outcome.report.n_faults, 0);
}

/* On the file, with nobody at it. */
static void damage(StoreFixture *fixture, const char *sql)
{
    g_autofree char *path = store_file(fixture, "flowops.db");
    store_close(g_steal_pointer(&fixture->store));
    sqlite3 *db = NULL;
    char *message = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    assert_true(sqlite3_total_changes(db) > 0);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    store_fixture_reopen(fixture);
}

static void test_empty_store(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_int_equal(outcome.report.n_runs + outcome.report.n_flows + outcome.report.n_faults, 0);
    static const unsigned char zeros[FSCK_DIGEST_SIZE];
    assert_memory_equal(outcome.report.digest, zeros, sizeof zeros);
}

static void test_sound_store(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = small_store();
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_string_equal(outcome.lines->str, "");
    assert_int_equal(outcome.report.n_flows, 2);
    assert_int_equal(outcome.report.n_flow_versions, 4);
    assert_int_equal(outcome.report.n_backfills, 1);
    assert_int_equal(outcome.report.n_runs, 3);
    assert_int_equal(outcome.report.n_events, 1 + 4 + N_EVENTS_ENDED);
    assert_int_equal(outcome.report.n_outbox, 2);
    assert_int_equal(outcome.report.n_faults, 0);
}

/* The same events in other records are the same store; one event more is not. */
static void test_digest_is_of_the_content(void **state)
{
    (void)state;
    unsigned char digests[3][FSCK_DIGEST_SIZE];
    for (unsigned i = 0; i < 3; i++) {
        g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
        g_autoptr(Flow) flow = real_flow(fixture->store, 1);
        for (unsigned n = 1; n <= 5; n++)
            real_run_write(fixture->store, n, flow, i < 2 || n < 5 ? HISTORY_ENDED : HISTORY_RUNNING, i == 1 ? 3 : 1);
        g_auto(Outcome) outcome = check(fixture->store, false);
        memcpy(digests[i], outcome.report.digest, FSCK_DIGEST_SIZE);
    }
    assert_memory_equal(digests[0], digests[1], FSCK_DIGEST_SIZE);
    assert_memory_not_equal(digests[0], digests[2], FSCK_DIGEST_SIZE);
}

static void test_journals_longer_than_a_page(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(Flow) flow = real_flow(fixture->store, 1);
    real_run_write_long(fixture->store, 1, flow, 3210);
    for (unsigned n = 2; n <= 600; n++) /* and more runs than a page has */
        real_run_write(fixture->store, n, flow, HISTORY_RUNNING, 3);
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_int_equal(outcome.report.n_faults, 0);
    assert_int_equal(outcome.report.n_runs, 600);
    assert_int_equal(outcome.report.n_events, 3210 + 599 * 3);
}

/* ---- damage ---- */

#define RUN_1 "'00000001-0072-7000-8000-000000000001'"
#define RUN_2 "'00000002-0072-7000-8000-000000000002'"
#define RUN_3 "'00000003-0072-7000-8000-000000000003'"
#define FLOW_1 "'00000001-0066-7000-8000-000000000001'"

typedef struct {
    const char *sql, *expected;
    bool is_mendable;
} Damage;

static const Damage damages[] = {
    {"DELETE FROM runs WHERE id = " RUN_2, "has no document", true},
    {"UPDATE runs SET rest = replace(rest, 'RUNNING', 'COMPLETED') WHERE id = " RUN_2, "event 4 in: detail", true},
    {"UPDATE runs SET summary = summary || ' ' WHERE id = " RUN_3, "event 7 in: detail", true},
    {"UPDATE runs SET status = 4 WHERE id = " RUN_2, "in: status", true},
    {"UPDATE runs SET phase = 2 WHERE id = " RUN_2, "in: phase", true},
    {"UPDATE runs SET owner = '00000009-006f-7000-8000-000000000009' WHERE id = " RUN_2, "in: owner", true},
    {"UPDATE runs SET flow_id = id WHERE id = " RUN_2, "in: flow", true},
    {"UPDATE runs SET seq = 5 WHERE id = " RUN_2, "document is at event 5, its journal ends at 4", true},
    {"UPDATE runs SET seq = 3 WHERE id = " RUN_2, "document ends at event 3, its journal at 4", true},
    {"UPDATE runs SET seq = 0 WHERE id = " RUN_2, "document ends at event 0", true},
    {"DELETE FROM journal WHERE run_id = " RUN_3 " AND seq = 7", "document is at event 7, its journal ends at 6", true},
    {"DELETE FROM journal WHERE run_id = " RUN_1, "has a document and no journal", false},
    {"DELETE FROM journal WHERE run_id = " RUN_3 " AND seq = 4", "damaged after event 3", false},
    {"DELETE FROM journal WHERE run_id = " RUN_3 " AND seq = 1", "damaged after event 0", false},
    {"UPDATE journal SET events = substr(events, 9) WHERE run_id = " RUN_3 " AND seq = 4",
     "event 4 of its journal is broken", false},
    {"UPDATE journal SET events = rtrim(events, char(10)) WHERE run_id = " RUN_3 " AND seq = 4",
     "damaged after event 3", false},
    {"UPDATE journal SET events = replace(events, '\"seq\":4', '\"seq\":6') WHERE run_id = " RUN_3 " AND seq = 4",
     "not the next in the journal", false},
    {"UPDATE journal SET events = replace(events, " RUN_1 ", " RUN_2 ") WHERE run_id = " RUN_1, "it is of run", false},
    {"UPDATE journal SET events = replace(events, '\"stepId\":\"000', '\"stepId\":\"999') WHERE run_id = " RUN_3
     " AND seq = 3",
     "of an unknown step", false},
    {"UPDATE outbox SET seq = 2 WHERE run_id = " RUN_2, "outbox names event 2, which orders nothing", true},
    {"UPDATE outbox SET seq = 9 WHERE run_id = " RUN_2, "outbox names event 9, which orders nothing", true},
    {"INSERT INTO outbox(run_id, seq) VALUES ('ffffffff-0072-7000-8000-000000000099', 1)", "run ffffffff-0072", true},
    {"DELETE FROM flow_versions WHERE flow_id = " FLOW_1 " AND version = 1", "version 1 is missing", false},
    {"DELETE FROM flow_versions WHERE flow_id = " FLOW_1, "it has no versions", false},
    {"UPDATE flow_versions SET definition = 'x' WHERE flow_id = " FLOW_1 " AND version = 1", "version 1 cannot be read",
     false},
    {"UPDATE flow_versions SET definition = replace(definition, '\"version\":1', '\"version\":2') WHERE flow_id = " FLOW_1,
     "version 1 holds version 2", false},
    {"UPDATE flows SET version = 1 WHERE id = " FLOW_1, "its head says version 1, its newest is 2", false},
    {"DELETE FROM flows WHERE id = " FLOW_1, "its head says version 0, its newest is 2", false},
    {"UPDATE flow_versions SET definition = replace(definition, '\"isDeleted\":false', '\"isDeleted\":true')"
     " WHERE flow_id = " FLOW_1 " AND version = 1",
     "versions follow its deletion", false},
    {"UPDATE journal SET events = replace(events, '\"flowVersion\":1', '\"flowVersion\":7') WHERE run_id = " RUN_1
     "; UPDATE runs SET summary = replace(summary, '\"flowVersion\":1', '\"flowVersion\":7') WHERE id = " RUN_1,
     "has no version 7", false},
    {"DELETE FROM decisions WHERE flow_id = " FLOW_1 " AND n = 2", "decision 2 of its schedule: broken decision: n",
     false},
    {"UPDATE decisions SET decision = 'x' WHERE n = 3", "decision 3 of its schedule", false},
    {"UPDATE decisions SET decision = replace(decision, " FLOW_1 ", " RUN_1 ") WHERE n = 3", "decision 3 of its",
     false},
    {"UPDATE decisions SET decision = replace(decision, '\"queued\":0', '\"queued\":1') WHERE n = 3",
     "says 1 wait, 0 do", false},
    {"UPDATE backfill_entries SET state = 'x' WHERE n = 2", "its newest entry cannot be read", false},
    {"UPDATE backfill_entries SET plan = NULL", "has no plan", false},
    {"UPDATE backfill_entries SET plan = 'x' WHERE n = 1", "its newest entry cannot be read", false},
    {"UPDATE backfill_entries SET state = replace(state, '\"started\":2', '\"started\":3')",
     "3 slots were started, 0 ended and 2 are open", false},
    {"UPDATE backfill_entries SET state = replace(state, '\"slots\":3', '\"slots\":2')", "2 slots, its plan 3", false},
    {"UPDATE backfill_entries SET state = replace(state, " FLOW_1 ", " RUN_1 ")", "its entry is of flow", false},
};

static void test_each_damage_is_found(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autoptr(StoreFixture) fixture = small_store();
        damage(fixture, damages[i].sql);
        g_auto(Outcome) outcome = check(fixture->store, false);
        if (outcome.report.n_faults == 0 || strstr(outcome.lines->str, damages[i].expected) == NULL)
            fail_msg("%s\n  gives: %s", damages[i].sql, outcome.lines->str);
        g_auto(Outcome) again = check(fixture->store, false); /* looking changes nothing */
        assert_string_equal(again.lines->str, outcome.lines->str);
    }
}

static void test_each_damage_is_mended_or_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autoptr(StoreFixture) fixture = small_store();
        damage(fixture, damages[i].sql);
        g_auto(Outcome) repair = check(fixture->store, true);
        if ((repair.report.n_repaired == repair.report.n_faults) != damages[i].is_mendable)
            fail_msg("%s\n  gives: %s", damages[i].sql, repair.lines->str);
        g_auto(Outcome) after = check(fixture->store, false);
        if ((after.report.n_faults == 0) != damages[i].is_mendable)
            fail_msg("%s\n  leaves: %s", damages[i].sql, after.lines->str);
    }
}

/* Lists and filters see what was mended, too. */
static void test_mended_document_is_whole(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = small_store();
    Id owner = test_id('o', 1);
    ListQuery query = query_of(&owner);
    query.label_name = "team";
    query.label_value = "even";
    g_autoptr(ListPage) before = list_runs(fixture->store, &query);
    assert_int_equal(before->n_items, 1);
    damage(fixture, "DELETE FROM runs; DELETE FROM run_labels");
    g_autoptr(ListPage) damaged = list_runs(fixture->store, &query);
    assert_int_equal(damaged->n_items, 0);
    g_auto(Outcome) repair = check(fixture->store, true);
    assert_int_equal(repair.report.n_repaired, 3);
    g_autoptr(ListPage) mended = list_runs(fixture->store, &query);
    assert_int_equal(mended->n_items, 1);
    assert_string_equal(mended->items[0].json, before->items[0].json);
}

/* One run's damage hides nobody else's. */
static void test_all_faults_are_told(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = small_store();
    damage(fixture,
           "UPDATE journal SET events = 'x' || events WHERE seq = 1; DELETE FROM outbox WHERE run_id = " RUN_1);
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_int_equal(outcome.report.n_faults, 3);
    assert_int_equal(outcome.report.n_runs, 3);
}

/* ---- while somebody writes ---- */

enum { ROUNDS = 40 };

typedef struct {
    Store *store;
    const Flow *flow;
    bool is_over;       /* atomic */
    unsigned n_written; /* atomic */
} Writer;

/* Runs come, go on and are deleted. */
static void write_along(void *arg)
{
    Writer *writer = arg;
    while (!__atomic_load_n(&writer->is_over, __ATOMIC_SEQ_CST)) {
        unsigned n = __atomic_add_fetch(&writer->n_written, 1, __ATOMIC_SEQ_CST);
        real_run_write(writer->store, n, writer->flow, n % 3 == 0 ? HISTORY_ENDED : HISTORY_STOPPING, 1 + n % 3);
        if (n > 40)
            assert_int_equal(
                write_one(writer->store, (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = test_id('r', n - 40)}),
                WRITTEN);
    }
}

static void test_no_false_alarm_beside_a_writer(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(Flow) flow = real_flow(fixture->store, 1);
    Writer writer = {.store = fixture->store, .flow = flow};
    g_autoptr(GError) error = NULL;
    g_autoptr(Store) beside = store_open_sqlite_readonly(fixture->data_dir, &error);
    assert_no_error(error);
    Thread *thread = thread_start("test-writer", ROLE_WRITER, write_along, &writer, &error);
    assert_no_error(error);
    GString *lines = g_string_new(NULL);
    int64_t deadline_us = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    for (int i = 0; i < ROUNDS || __atomic_load_n(&writer.n_written, __ATOMIC_SEQ_CST) < ROUNDS; i++) {
        assert_true(g_get_monotonic_time() < deadline_us);
        g_auto(Outcome) outcome = check(beside, false);
        g_string_append(lines, outcome.lines->str);
    }
    __atomic_store_n(&writer.is_over, true, __ATOMIC_SEQ_CST);
    thread_join(thread);
    assert_string_equal(lines->str, "");
    g_string_free(lines, TRUE);
    assert_sound(beside);
}

/* Right after a run's document was read, somebody changes the run. */
static StoreOps real_ops, racing_ops;
static void (*interfere)(Store *store, const Id *run_id);
static int n_interferences; /* to come */

static RunDocument *get_run_and_race(Store *store, const char *run_id, GError **error)
{
    RunDocument *document = real_ops.get_run(store, run_id, error);
    if (document != NULL && n_interferences-- > 0)
        interfere(store, &document->run_id);
    return document;
}

static void race(Store *store, void (*change)(Store *store, const Id *run_id), int n_times)
{
    real_ops = racing_ops = *store->ops;
    racing_ops.get_run = get_run_and_race;
    store->ops = &racing_ops;
    interfere = change;
    n_interferences = n_times;
}

static void delete_it(Store *store, const Id *run_id)
{
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = *run_id}), WRITTEN);
}

static RealRun *going;

static void go_on(Store *store, const Id *run_id)
{
    (void)store;
    assert_string_equal(run_id->text, going->run->id.text);
    real_run_flow_status(going, RUN_RUNNING);
}

static void test_deleted_between_document_and_journal(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = small_store();
    race(fixture->store, delete_it, 1);
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_string_equal(outcome.lines->str, "");
    assert_int_equal(outcome.report.n_runs, 2);
}

static void test_appended_between_document_and_journal(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(Flow) flow = real_flow(fixture->store, 1);
    going = real_run_begin(fixture->store, 1, flow, 1);
    race(fixture->store, go_on, 3); /* at the second look, too */
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_string_equal(outcome.lines->str, "");
    assert_true(outcome.report.n_events >= 2);
    real_run_end(going);
}

/* ---- a store that is shared: documents follow their journals ---- */

static StoreOps shared_ops;

static void share(Store *store)
{
    shared_ops = *store->ops;
    shared_ops.is_shared = true;
    store->ops = &shared_ops;
}

static void test_a_document_behind_is_no_fault_where_it_may_be(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = store_fixture_new(store_open_sqlite);
    g_autoptr(Flow) flow = real_flow(fixture->store, 1);
    RealRun *real = real_run_begin(fixture->store, 1, flow, 1);
    g_autoptr(GString) detail = g_string_new(NULL);
    Run *early = run_copy(real->run);
    RunRow row = real_run_row(real, detail);
    row.run = early;
    row.labels = &early->labels;
    real_run_flow_status(real, RUN_RUNNING);
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &row, .is_forced = true};
    assert_int_equal(write_one(fixture->store, write), WRITTEN);
    run_free(early);
    real_run_end(real);

    g_auto(Outcome) alone = check(fixture->store, false);
    assert_int_equal(alone.report.n_faults, 1);
    share(fixture->store);
    g_auto(Outcome) shared = check(fixture->store, false);
    assert_int_equal(shared.report.n_faults, 0);
    assert_int_equal(shared.report.n_behind, 1);
    g_auto(Outcome) repair = check(fixture->store, true);
    assert_int_equal(repair.report.n_behind, 1);
    g_auto(Outcome) after = check(fixture->store, false);
    assert_int_equal(after.report.n_behind, 0);
}

static void test_a_missing_document_gets_time_to_come(void **state)
{
    (void)state;
    g_autoptr(StoreFixture) fixture = small_store();
    damage(fixture, "DELETE FROM runs WHERE id = " RUN_2);
    share(fixture->store);
    g_auto(Outcome) outcome = check(fixture->store, false);
    assert_int_equal(outcome.report.n_faults, 1);
    assert_int_equal(outcome.report.n_runs, 3);
    assert_true(outcome.report.elapsed_ms >= 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_store),
        cmocka_unit_test(test_sound_store),
        cmocka_unit_test(test_digest_is_of_the_content),
        cmocka_unit_test(test_journals_longer_than_a_page),
        cmocka_unit_test(test_each_damage_is_found),
        cmocka_unit_test(test_each_damage_is_mended_or_left),
        cmocka_unit_test(test_mended_document_is_whole),
        cmocka_unit_test(test_all_faults_are_told),
        cmocka_unit_test(test_deleted_between_document_and_journal),
        cmocka_unit_test(test_appended_between_document_and_journal),
        cmocka_unit_test(test_no_false_alarm_beside_a_writer),
        cmocka_unit_test(test_a_document_behind_is_no_fault_where_it_may_be),
        cmocka_unit_test(test_a_missing_document_gets_time_to_come),
    };
    return cmocka_run_group_tests_name("fsck", tests, NULL, NULL);
}
