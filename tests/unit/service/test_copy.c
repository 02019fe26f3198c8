/* test_copy.c - a copy is the same store; cut short at any write, before or after its effect, it goes on; and it never mixes
 * two stores. */
#include "real_run.h"

#include <string.h>

#include "domain/backfill.h"
#include "service/copy.h"
#include "service/fsck.h"
#include "store/store_fault.h"
#include "store/store_internal.h"

static void ignore_line(void *arg, const char *line)
{
    (void)arg;
    fail_msg("%s", line);
}

static FsckReport prove(Store *store)
{
    FsckOptions options = {.tell = ignore_line};
    FsckReport report;
    Clock *clock = clock_new_system();
    g_autoptr(GError) error = NULL;
    assert_true(fsck_check_store(store, clock, &options, &report, &error));
    assert_no_error(error);
    clock_free(clock);
    return report;
}

static bool try_copy(Store *source, Store *target, CopyReport *ret_report, GError **error)
{
    CopyOptions options = {.progress = NULL};
    g_autoptr(StoreSource) walk = store_source_new(source);
    return copy_store(walk, target, &options, ret_report, error);
}

static CopyReport copy(Store *source, Store *target)
{
    g_autoptr(GError) error = NULL;
    CopyReport report;
    bool is_copied = try_copy(source, target, &report, &error);
    assert_no_error(error);
    assert_true(is_copied);
    return report;
}

static void assert_refused(Store *source, Store *target, const char *expected)
{
    g_autoptr(GError) error = NULL;
    CopyReport report;
    assert_false(try_copy(source, target, &report, &error));
    assert_error(error, FLOWOPS_CONFLICT);
    if (strstr(error->message, expected) == NULL)
        fail_msg("%s", error->message);
}

static void assert_same(Store *one, Store *other)
{
    FsckReport first = prove(one), second = prove(other);
    assert_int_equal(first.n_flow_versions, second.n_flow_versions);
    assert_int_equal(first.n_decisions, second.n_decisions);
    assert_int_equal(first.n_backfills, second.n_backfills);
    assert_int_equal(first.n_runs, second.n_runs);
    assert_int_equal(first.n_events, second.n_events);
    assert_int_equal(first.n_outbox, second.n_outbox);
    assert_memory_equal(first.digest, second.digest, FSCK_DIGEST_SIZE);
}

typedef struct {
    StoreFixture *source, *target;
} Sides;

static int setup(void **state)
{
    Sides *sides = g_new0(Sides, 1);
    sides->source = store_fixture_new(store_open_sqlite);
    sides->target = store_fixture_new(store_open_sqlite);
    *state = sides;
    return 0;
}

static int teardown(void **state)
{
    Sides *sides = *state;
    store_fixture_free(sides->source);
    store_fixture_free(sides->target);
    g_free(sides);
    return 0;
}

static void write_decisions(Store *store, const Id *flow_id, int64_t n_decisions)
{
    for (int64_t n = 1; n <= n_decisions; n++) {
        g_autoptr(SampleDecision) sample = sample_decision_new(flow_id, n, n % 2 == 0);
        assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_DECISION, .decision = sample->row}), WRITTEN);
    }
}

/* Flows with a past, one deleted; runs of every history, one longer than a page of the journal. */
static void fill(Store *store, unsigned n_runs, int64_t n_long)
{
    g_autoptr(Flow) one = real_flow(store, 1);
    g_autoptr(Flow) two = real_flow(store, 2);
    g_autoptr(Flow) next = sample_flow(1, &one->owner, 2, 3);
    g_autoptr(Flow) deletion = sample_flow_deletion(two, true);
    write_flow_version(store, next);
    write_decisions(store, &one->id, 300);
    write_decisions(store, &two->id, 2);
    for (unsigned n = 1; n <= n_runs; n++)
        real_run_write(store, n, n % 3 == 0 ? two : one, (History)(n % 4), 1 + n % 3);
    if (n_long > 0)
        real_run_write_long(store, n_runs + 1, one, n_long);
    write_flow_version(store, deletion);
}

/* How far a backfill came: slots started, and ended. NULL: it is not there. */
static char *progress_of(Store *store, unsigned number)
{
    Backfill backfill;
    g_auto(BackfillPlan) plan = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(BackfillRecord) record = store_get_backfill(store, test_id('b', number).text, true, &error);
    if (record == NULL)
        return NULL;
    assert_true(backfill_decode(record->state, record->state_size, &backfill, &error));
    assert_true(backfill_plan_decode(record->plan, record->plan_size, &plan, &error));
    return g_strdup_printf("%d of %zu, %d", (int)backfill.n_started, plan.n_slots, (int)backfill.n_completed);
}

static void assert_progress(Store *store, unsigned number, const char *expected)
{
    g_autofree char *progress = progress_of(store, number);
    assert_string_equal(progress, expected);
}

static void test_backfills_are_taken_along(void **state)
{
    Sides *sides = *state;
    Store *source = sides->source->store, *target = sides->target->store;
    Id ids[4];
    size_t n;
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = real_flow(source, 1);
    real_backfill_write(source, flow, 1, 3);
    real_backfill_write(source, flow, 2, 1);
    (void)copy(source, target);
    assert_progress(target, 1, "3 of 3, 1");
    assert_progress(target, 2, "0 of 3, 0");
    assert_same(source, target);
    assert_true(store_list_open_backfills(target, "", 4, ids, &n, &error));
    assert_int_equal(n, 2);
    real_backfill_write(source, flow, 2, 2); /* the source has gone on */
    (void)copy(source, target);
    assert_progress(target, 2, "2 of 3, 0");
    assert_same(source, target);
    (void)copy(source, target);
    real_backfill_write(target, flow, 2, 3); /* the target has */
    assert_memory_not_equal(prove(source).digest, prove(target).digest, FSCK_DIGEST_SIZE);
    assert_progress(target, 2, "3 of 3, 1");
    assert_refused(source, target, "has gone on");
}

static void test_nothing_to_copy(void **state)
{
    Sides *sides = *state;
    CopyReport report = copy(sides->source->store, sides->target->store);
    assert_int_equal(report.n_runs + report.n_flow_versions, 0);
}

static StoreOps strict_ops;
static const StoreOps *real_ops;

/* Holds a copy to what the port asks of its callers and SQLite does without: one append of a run in a group. */
static bool write_strictly(Store *store, StoreWrite *writes, size_t n_writes, GError **error)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    assert_true(n_writes <= 256);
    for (size_t i = 0; i < n_writes; i++)
        if (writes[i].kind == WRITE_RUN)
            assert_true(g_hash_table_add(seen, (void *)writes[i].run.row->run_id.text));
    return real_ops->write(store, writes, n_writes, error);
}

static void test_a_copy_is_the_same_store(void **state)
{
    Sides *sides = *state;
    real_ops = sides->target->store->ops;
    strict_ops = *real_ops;
    strict_ops.write = write_strictly;
    sides->target->store->ops = &strict_ops;
    fill(sides->source->store, 700, 2500);
    CopyReport report = copy(sides->source->store, sides->target->store);
    assert_int_equal(report.n_flow_versions_written, 4);
    assert_int_equal(report.n_runs_written, 701);
    assert_int_equal(report.n_events_written, report.n_events);
    assert_same(sides->source->store, sides->target->store);
}

/* What no digest holds: lists, labels, phases, what has ended, what is to be stopped. */
static void test_lists_are_the_same(void **state)
{
    Sides *sides = *state;
    fill(sides->source->store, 40, 0);
    (void)copy(sides->source->store, sides->target->store);
    Id owner = test_id('o', 1);
    for (int shape = 0; shape < 3; shape++) {
        ListQuery query = query_of(&owner);
        query.label_name = shape == 1 ? "team" : NULL;
        query.label_value = shape == 1 ? "even" : NULL;
        query.triggered_by = shape == 2 ? "tester" : NULL;
        g_autoptr(ListPage) there = list_runs(sides->source->store, &query);
        g_autoptr(ListPage) here = list_runs(sides->target->store, &query);
        assert_int_equal(here->n_items, there->n_items);
        assert_true(here->n_items > 0);
        for (size_t i = 0; i < here->n_items; i++)
            assert_string_equal(here->items[i].json, there->items[i].json);
    }
    Id ids[2][64];
    size_t n[2];
    for (int side = 0; side < 2; side++) {
        Store *store = side == 0 ? sides->source->store : sides->target->store;
        g_autoptr(GError) error = NULL;
        assert_true(store_list_runs_to_stop(store, "", 64, ids[side], &n[side], &error));
    }
    assert_true(n[0] > 0);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(ids[0], ids[1], n[0] * sizeof(Id));
}

static void test_again_writes_nothing(void **state)
{
    Sides *sides = *state;
    fill(sides->source->store, 50, 1200);
    (void)copy(sides->source->store, sides->target->store);
    CopyReport report = copy(sides->source->store, sides->target->store);
    assert_int_equal(report.n_flow_versions_written + report.n_runs_written + report.n_events_written, 0);
    assert_int_equal(report.n_runs, 51);
}

/* The source went on between two tries: the target follows. */
static void test_goes_on_where_the_source_went_on(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    RealRun *real = real_run_begin(sides->source->store, 1, flow, 1);
    (void)copy(sides->source->store, sides->target->store);
    assert_int_equal(prove(sides->target->store).n_outbox, 1);
    real_run_flow_status(real, RUN_RUNNING); /* the START was published */
    real_run_step_status(real, 0, STEP_COMPLETED);
    real_run_end(real);
    CopyReport report = copy(sides->source->store, sides->target->store);
    assert_int_equal(report.n_runs_written, 0);
    assert_int_equal(report.n_events_written, 2);
    assert_int_equal(prove(sides->target->store).n_outbox, 0);
    assert_same(sides->source->store, sides->target->store);
}

/* Fails at each write of the copy in turn, and goes on from there until that fails, too. */
static void cut_at_every_write(Sides *sides, FaultPoint point)
{
    fill(sides->source->store, 600, 2500);
    Store *target = store_open_fault(g_steal_pointer(&sides->target->store));
    sides->target->store = target;
    bool is_copied = false;
    int n_cuts = 0;
    while (!is_copied) {
        g_autoptr(GError) error = NULL;
        CopyReport report;
        store_fault_set(target, STORE_WRITE, point, point == FAULT_BEFORE_EFFECT ? 2 : 1, INT64_MAX);
        is_copied = try_copy(sides->source->store, target, &report, &error);
        assert_true(is_copied || flowops_error_is_retryable(error));
        n_cuts += !is_copied;
    }
    assert_true(n_cuts >= 6);
    store_fault_set(target, STORE_WRITE, point, 1, 0);
    assert_same(sides->source->store, target);
}

static void test_cut_before_every_write(void **state)
{
    cut_at_every_write(*state, FAULT_BEFORE_EFFECT);
}

static void test_cut_after_every_write(void **state)
{
    cut_at_every_write(*state, FAULT_AFTER_EFFECT);
}

/* A crash of a shared store may leave a document behind its journal. */
static void test_documents_left_behind_are_made_up_for(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    real_run_write(sides->source->store, 1, flow, HISTORY_ENDED, 1);
    (void)copy(sides->source->store, sides->target->store);

    RealRun *real = real_run_begin(sides->source->store, 2, flow, 1); /* only for its row */
    g_autoptr(GString) detail = g_string_new(NULL);
    RunRow row = real_run_row(real, detail);
    row.run_id = test_id('r', 1);
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &row, .is_forced = true};
    assert_int_equal(write_one(sides->target->store, write), WRITTEN);
    real_run_end(real);
    (void)copy(sides->source->store, sides->target->store);
    assert_same(sides->source->store, sides->target->store);
}

/* ---- never two stores in one ---- */

static void test_another_run_in_the_target(void **state)
{
    Sides *sides = *state;
    fill(sides->source->store, 3, 0);
    g_autoptr(Flow) flow = real_flow(sides->target->store, 1);
    real_run_write(sides->target->store, 77, flow, HISTORY_CREATED, 1);
    Id stranger = test_id('r', 77);
    assert_refused(sides->source->store, sides->target->store, stranger.text);
    assert_int_equal(prove(sides->target->store).n_runs, 1); /* nothing was mixed in */
}

static void test_another_flow_in_the_target(void **state)
{
    Sides *sides = *state;
    fill(sides->source->store, 3, 0);
    g_autoptr(Flow) flow = real_flow(sides->target->store, 9);
    assert_refused(sides->source->store, sides->target->store, flow->id.text);
    assert_int_equal(prove(sides->target->store).n_flows, 1);
}

static void test_a_version_that_differs(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    g_autoptr(Flow) other = sample_flow(1, &flow->owner, 1, 5);
    write_flow_version(sides->target->store, other);
    assert_refused(sides->source->store, sides->target->store, "version 1 is another one in the target");
}

static void test_a_journal_that_differs(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    write_flow_version(sides->target->store, flow);
    RealRun *one = real_run_begin(sides->source->store, 1, flow, 1);
    RealRun *other = real_run_begin(sides->target->store, 1, flow, 1);
    real_run_step_status(one, 0, STEP_COMPLETED);
    real_run_step_status(other, 0, STEP_FAILED);
    real_run_end(one);
    real_run_end(other);
    Id id = test_id('r', 1);
    assert_refused(sides->source->store, sides->target->store, id.text);
    assert_refused(sides->source->store, sides->target->store, "event 2 is another one");
}

static void test_a_journal_that_goes_beyond(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    write_flow_version(sides->target->store, flow);
    real_run_write(sides->source->store, 1, flow, HISTORY_RUNNING, 1);
    real_run_write(sides->target->store, 1, flow, HISTORY_ENDED, 1);
    assert_refused(sides->source->store, sides->target->store, "goes beyond");
}

static void test_a_target_that_was_at_work(void **state)
{
    Sides *sides = *state;
    g_autoptr(Flow) flow = real_flow(sides->source->store, 1);
    real_run_write(sides->source->store, 1, flow, HISTORY_CREATED, 1);
    (void)copy(sides->source->store, sides->target->store);
    StoreWrite published = {.kind = WRITE_PUBLISHED, .published = {.run_id = test_id('r', 1), .seq = 1}};
    assert_int_equal(write_one(sides->target->store, published), WRITTEN);
    assert_refused(sides->source->store, sides->target->store, "has published");
}

int main(void)
{
#define COPY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        COPY(test_nothing_to_copy),
        COPY(test_backfills_are_taken_along),
        COPY(test_a_copy_is_the_same_store),
        COPY(test_lists_are_the_same),
        COPY(test_again_writes_nothing),
        COPY(test_goes_on_where_the_source_went_on),
        COPY(test_cut_before_every_write),
        COPY(test_cut_after_every_write),
        COPY(test_documents_left_behind_are_made_up_for),
        COPY(test_another_run_in_the_target),
        COPY(test_another_flow_in_the_target),
        COPY(test_a_version_that_differs),
        COPY(test_a_journal_that_differs),
        COPY(test_a_journal_that_goes_beyond),
        COPY(test_a_target_that_was_at_work),
    };
    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
