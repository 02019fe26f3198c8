/* store_contract_read.c - the journal in pieces, the watch over open runs, the secret, and readers beside a writer. */
#include "store_contract.h"

#include <string.h>

#include "base/thread.h"

static Id owner, flow_id;

static void test_no_such_run(void **state)
{
    Store *store = fixture_of(state)->store;
    Id id = test_id('r', 404);
    g_autoptr(GError) error = NULL;
    assert_null(store_get_run(store, id.text, &error));
    assert_error(error, FLOWOPS_NOT_FOUND);
    assert_non_null(strstr(error->message, id.text));
    assert_int_equal(check_journal(store, &id, 0, 10, 10, 0), 0);
}

static void test_answers_when_asked(void **state)
{
    g_autoptr(GError) error = NULL;
    assert_true(store_check(fixture_of(state)->store, &error));
    assert_no_error(error);
}

static void test_secret_outlives_the_process(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    unsigned char secret[32], zeros[32] = {0};
    memcpy(secret, store_secret(fixture->store), sizeof secret);
    assert_memory_not_equal(secret, zeros, sizeof secret);
    store_fixture_reopen(fixture);
    assert_memory_equal(store_secret(fixture->store), secret, sizeof secret);

    g_autoptr(StoreFixture) other = store_fixture_new(fixture->open);
    assert_memory_not_equal(store_secret(other->store), secret, sizeof secret);
}

/* Records of 1, 4, 1, 7, 30, 2 events, read from every place in pages of every size: records begin before the page, end
 * after it, and hold it whole. */
static void test_journal_from_anywhere_in_pages_of_any_size(void **state)
{
    Store *store = fixture_of(state)->store;
    static const int64_t records[] = {1, 4, 1, 7, 30, 2};
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) before = sample_run_new(0, &owner, &flow_id);
    g_autoptr(SampleRun) behind = sample_run_new(2, &owner, &flow_id);
    append_events(store, before, 9);
    append_events(store, behind, 9);
    for (size_t i = 0; i < G_N_ELEMENTS(records); i++)
        append_events(store, run, records[i]);
    for (int64_t after = 0; after <= 45; after++) {
        for (size_t max_entries = 1; max_entries <= 46; max_entries += after % 3 == 0 ? 1 : 5)
            assert_int_equal(check_journal(store, &run->row.run_id, after, max_entries, 1 << 20, 0), 45);
    }
}

static void test_journal_pages_are_bounded_by_bytes(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    static const int64_t records[] = {1, 10, 3, 1};
    for (size_t i = 0; i < G_N_ELEMENTS(records); i++)
        assert_int_equal(write_one(store, sample_append(run, records[i], 1000)), WRITTEN);
    static const size_t bounds[] = {0, 1, 999, 1000, 1001, 1999, 2000, 5000, 14999, 15000, 100000};
    for (size_t i = 0; i < G_N_ELEMENTS(bounds); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JournalPage) page = store_read_journal(store, run->row.run_id.text, 0, 1000, bounds[i], &error);
        assert_no_error(error);
        assert_int_equal(page->n_entries, CLAMP(bounds[i] / 1000, 1, 15));
        assert_int_equal(page->has_more, page->n_entries < 15);
        assert_int_equal(check_journal(store, &run->row.run_id, 0, 1000, bounds[i], 1000), 15);
    }
}

/* An event larger than the page's bytes comes alone, whatever is around it. */
static void test_large_events_come_one_by_one(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (int i = 0; i < 3; i++)
        assert_int_equal(write_one(store, sample_append(run, 4, 70000)), WRITTEN);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 1000, 100, 70000), 12);
    assert_int_equal(check_journal(store, &run->row.run_id, 5, 1000, 200000, 70000), 12);
}

static void test_beyond_the_end_is_empty(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 3);
    static const int64_t places[] = {3, 4, 1000, INT64_MAX - 1, INT64_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JournalPage) page = store_read_journal(store, run->row.run_id.text, places[i], 10, 1000, &error);
        assert_no_error(error);
        assert_int_equal(page->n_entries, 0);
        assert_false(page->has_more);
    }
}

static void test_a_thousand_entries(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1000);
    append_events(store, run, 1);
    g_autoptr(GError) error = NULL;
    g_autoptr(JournalPage) page = store_read_journal(store, run->row.run_id.text, 0, 1000, 1 << 30, &error);
    assert_int_equal(page->n_entries, 1000);
    assert_true(page->has_more);
}

/* Journals that go further than is known, end there, or are not there at all. */
static void test_newer_journals_are_found(void **state)
{
    Store *store = fixture_of(state)->store;
    enum { N = 12 };
    RunSeq known[N];
    bool is_newer[N], expected[N];
    for (unsigned n = 0; n < N; n++) {
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        known[n] = (RunSeq){.run_id = run->row.run_id, .seq = n % 4};
        for (unsigned i = 0; i < 3 && n % 3 != 2; i++)
            append_events(store, run, 1);
        expected[n] = n % 3 != 2 && n % 4 < 3;
    }
    g_autoptr(GError) error = NULL;
    assert_true(store_find_newer(store, known, N, is_newer, &error));
    assert_memory_equal(is_newer, expected, sizeof expected);
}

/* ---- open runs ---- */

static size_t runs_in_phase(Store *store, RunPhase phase, int64_t before, const char *after, size_t limit, Id *ret_ids)
{
    g_autoptr(GError) error = NULL;
    size_t n = 0;
    assert_true(store_list_runs_in_phase(store, phase, before, after, limit, ret_ids, &n, &error));
    return n;
}

static int64_t count_open(Store *store, const char *of_flow)
{
    g_autoptr(GError) error = NULL;
    int64_t n = -1;
    assert_true(store_count_open_runs(store, of_flow, &n, &error));
    return n;
}

static void test_runs_of_a_phase(void **state)
{
    Store *store = fixture_of(state)->store;
    Id other_flow = test_id('f', 2);
    assert_int_equal(count_open(store, NULL), 0);
    for (unsigned n = 1; n <= 30; n++) {
        g_autoptr(SampleRun) run = sample_run_new(31 - n, &owner, n % 2 == 0 ? &flow_id : &other_flow);
        append_events(store, run, 1);
        run->row.phase = (RunPhase)(n % 3); /* a third each of open, ending, settled */
        run->row.status = n % 3 == 0 ? RUN_RUNNING : RUN_STOPPED;
        append_events(store, run, 1);
    }
    assert_int_equal(count_open(store, NULL), 10);
    assert_int_equal(count_open(store, flow_id.text), 5);
    assert_int_equal(count_open(store, other_flow.text), 5);
    assert_int_equal(count_open(store, test_id('f', 404).text), 0);

    Id ids[32];
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, INSTANT_NONE, "", 32, ids), 10);
    for (unsigned i = 1; i < 10; i++)
        assert_true(strcmp(ids[i - 1].text, ids[i].text) < 0);
    Id some[4];
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, INSTANT_NONE, ids[2].text, 4, some), 4);
    assert_string_equal(some[0].text, ids[3].text);
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, INSTANT_NONE, ids[9].text, 4, some), 0);
    assert_int_equal(runs_in_phase(store, PHASE_ENDING, INSTANT_NONE, "", 32, ids), 10);
}

static void test_runs_with_an_old_command(void **state)
{
    Store *store = fixture_of(state)->store;
    SampleRun *runs[10];
    for (unsigned n = 0; n < 10; n++) {
        runs[n] = sample_run_new(n, &owner, &flow_id);
        if (n % 2 == 0) {
            runs[n]->row.pending = COMMAND_START;
            runs[n]->row.pending_at = START_MS + (int64_t)n * 1000;
        }
        append_events(store, runs[n], 1);
    }
    Id ids[16];
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, START_MS, "", 16, ids), 0);
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, START_MS + 1, "", 16, ids), 1);
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, START_MS + 4001, "", 16, ids), 3);
    assert_string_equal(ids[2].text, runs[4]->row.run_id.text);
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, START_MS + 4001, ids[0].text, 1, ids), 1);
    assert_string_equal(ids[0].text, runs[2]->row.run_id.text);

    runs[2]->row.pending = COMMAND_NONE; /* answered; whatever pending_at still says */
    append_events(store, runs[2], 1);
    runs[4]->row.pending = COMMAND_STOP; /* replaced by a newer one */
    runs[4]->row.pending_at = START_MS + 60000;
    append_events(store, runs[4], 1);
    assert_int_equal(runs_in_phase(store, PHASE_OPEN, START_MS + 59999, "", 16, ids), 3);
    for (unsigned n = 0; n < 10; n++)
        sample_run_free(runs[n]);
}

static void test_runs_to_stop(void **state)
{
    Store *store = fixture_of(state)->store;
    Id ids[16];
    size_t n = 99;
    for (unsigned f = 1; f <= 3; f++) {
        g_autoptr(Flow) flow = sample_flow(f, &owner, 1, 1);
        write_flow_version(store, flow);
        for (unsigned i = 0; i < 4; i++) {
            g_autoptr(SampleRun) run = sample_run_new(f * 10 + i, &owner, &flow->id);
            append_events(store, run, 1);
            if (i == 1) {
                run->row.pending = COMMAND_STOP;
                run->row.pending_at = START_MS;
                append_events(store, run, 1);
            } else if (i == 2) {
                run->row.status = RUN_STOPPED;
                run->row.phase = PHASE_ENDING;
                append_events(store, run, 1);
            } else if (i == 3) {
                run->row.pending = COMMAND_PAUSE;
                run->row.pending_at = START_MS;
                append_events(store, run, 1);
            }
        }
        g_autoptr(GError) error = NULL;
        assert_true(store_list_runs_to_stop(store, "", 16, ids, &n, &error));
        assert_int_equal(n, f == 3 ? 2 : 0);
        g_autoptr(Flow) deletion = sample_flow_deletion(flow, f == 2);
        if (f < 3)
            write_flow_version(store, deletion);
    }
    g_autoptr(GError) error = NULL;
    assert_true(store_list_runs_to_stop(store, "", 16, ids, &n, &error));
    assert_int_equal(n, 2);
    Id first = test_id('r', 20), second = test_id('r', 23);
    assert_string_equal(ids[0].text, first.text);
    assert_string_equal(ids[1].text, second.text);
    assert_true(store_list_runs_to_stop(store, first.text, 16, ids, &n, &error));
    assert_int_equal(n, 1);
    assert_string_equal(ids[0].text, second.text);
}

/* ---- readers beside the writer ---- */

enum { N_READERS = 12, N_APPENDS = 300 };

typedef struct {
    Store *store;
    Id run_id;
    int64_t durable; /* atomic: what store_write() has returned for */
    bool is_over;    /* atomic */
    int n_faults;    /* atomic: threads can't fail a test by themselves */
} Race;

static void note(Race *race, bool is_right)
{
    if (!is_right)
        __atomic_add_fetch(&race->n_faults, 1, __ATOMIC_SEQ_CST);
}

/* Each read shows at least what was durable when it began, and a document that is one with its journal. */
static void read_along(void *arg)
{
    Race *race = arg;
    ListQuery query = query_of(&owner);
    query.wants_total = true;
    while (!__atomic_load_n(&race->is_over, __ATOMIC_SEQ_CST)) {
        g_autoptr(GError) error = NULL;
        int64_t durable = __atomic_load_n(&race->durable, __ATOMIC_SEQ_CST);
        g_autoptr(RunDocument) document = store_get_run(race->store, race->run_id.text, &error);
        note(race, document != NULL && document->seq >= durable);
        if (document == NULL)
            continue;
        g_autoptr(JournalPage) page =
            store_read_journal(race->store, race->run_id.text, document->seq - 1, 10, 10000, &error);
        note(race, page != NULL && page->n_entries > 0 && page->entries[0].seq == document->seq);
        g_autoptr(ListPage) list = store_list_runs(race->store, &query, &error);
        note(race, list != NULL && list->total == 1 && list->n_items == 1);
    }
}

static void test_readers_see_what_was_durable(void **state)
{
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    Race race = {.store = fixture_of(state)->store, .run_id = run->row.run_id, .durable = 1};
    append_events(race.store, run, 1);
    Thread *readers[N_READERS];
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < N_READERS; i++) {
        readers[i] = thread_start("test-reader", ROLE_READER, read_along, &race, &error);
        assert_no_error(error);
    }
    for (int i = 0; i < N_APPENDS; i++) {
        run->row.status = i % 2 == 0 ? RUN_RUNNING : RUN_PAUSED;
        append_events(race.store, run, 1 + i % 3);
        __atomic_store_n(&race.durable, run->row.seq, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&race.is_over, true, __ATOMIC_SEQ_CST);
    for (int i = 0; i < N_READERS; i++)
        thread_join(readers[i]);
    assert_int_equal(race.n_faults, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_no_such_run),
    cmocka_unit_test(test_answers_when_asked),
    cmocka_unit_test(test_secret_outlives_the_process),
    cmocka_unit_test(test_beyond_the_end_is_empty),
    cmocka_unit_test(test_a_thousand_entries),
    cmocka_unit_test(test_journal_pages_are_bounded_by_bytes),
    cmocka_unit_test(test_large_events_come_one_by_one),
    cmocka_unit_test(test_journal_from_anywhere_in_pages_of_any_size),
    cmocka_unit_test(test_newer_journals_are_found),
    cmocka_unit_test(test_runs_of_a_phase),
    cmocka_unit_test(test_runs_with_an_old_command),
    cmocka_unit_test(test_runs_to_stop),
    cmocka_unit_test(test_readers_see_what_was_durable),
};

StoreTests store_read_tests(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
