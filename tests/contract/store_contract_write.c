/* store_contract_write.c - appending: what is taken, what is a conflict, and that nothing is ever half written. */
#include "store_contract.h"

#include <string.h>

#include "domain/decide.h"

static Id owner, flow_id;

static void check_document(Store *store, const SampleRun *run)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run->row.run_id.text, &error);
    assert_no_error(error);
    assert_string_equal(document->run_id.text, run->row.run_id.text);
    assert_string_equal(document->flow_id.text, run->row.flow_id.text);
    assert_string_equal(document->owner.text, run->row.owner.text);
    assert_int_equal(document->status, run->row.status);
    assert_int_equal(document->phase, run->row.phase);
    assert_int_equal(document->seq, run->row.seq);
    assert_int_equal(document->detail_size, run->detail->len);
    assert_string_equal(document->detail, run->detail->str);
}

static size_t read_outbox(Store *store, const RunSeq *after, RunSeq *ret_entries, size_t limit)
{
    g_autoptr(GError) error = NULL;
    size_t n = 99;
    bool is_read = store_read_outbox(store, after, limit, ret_entries, &n, &error);
    assert_no_error(error);
    assert_true(is_read);
    return n;
}

static void test_nothing_to_write(void **state)
{
    g_autoptr(GError) error = NULL;
    assert_true(store_write(fixture_of(state)->store, NULL, 0, &error));
}

static void test_first_append(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 1);
}

static void test_next_appends(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    append_events(store, run, 3);
    run->row.status = RUN_RUNNING;
    append_events(store, run, 1);
    run->row.status = RUN_COMPLETED;
    run->row.phase = PHASE_SETTLED;
    append_events(store, run, 2);
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 7);
}

static void test_second_first_append_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
    text_map_add(&rival->labels, "of", "the loser");
    append_events(store, run, 2);
    sample_command(rival, 1);
    assert_int_equal(write_one(store, sample_append(rival, 1, 0)), WRITE_CONFLICT);
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 2);
    RunSeq entry;
    assert_int_equal(read_outbox(store, NULL, &entry, 1), 0);
    ListQuery query = query_of(&owner);
    query.label_name = "of";
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_int_equal(page->n_items, 0);
}

static void test_stale_append_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    rival->row.seq = 1;
    append_events(store, run, 3);
    sample_command(rival, 2);
    assert_int_equal(write_one(store, sample_append(rival, 1, 0)), WRITE_CONFLICT);
    check_document(store, run);
    RunSeq entry;
    assert_int_equal(read_outbox(store, NULL, &entry, 1), 0);
}

/* What follows no state that was ever read, a gap or a place within a record, is refused where the store can tell. A shared
 * store need not: nobody appends so, readers never come to such a record, and that of a run without a beginning goes
 * again, as that of a run that was deleted. */
static bool refuses_misplaced(const Store *store)
{
    return !store_is_shared(store);
}

static void write_misplaced(Store *store, StoreWrite write)
{
    g_autoptr(GError) error = NULL;
    assert_true(store_write(store, &write, 1, &error));
    assert_int_equal(write.ret_outcome, refuses_misplaced(store) ? WRITE_CONFLICT : WRITTEN);
}

/* Seq 3 begins no record: only its place within 2-4 tells that it is taken. */
static void test_append_into_the_middle_of_a_record_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    append_events(store, run, 3);
    for (int64_t seq = 1; seq <= (refuses_misplaced(store) ? 3 : 1); seq++) {
        g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
        rival->row.seq = seq;
        assert_int_equal(write_one(store, sample_append(rival, 5, 0)), WRITE_CONFLICT);
    }
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 4);
}

static void test_append_past_the_end_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) unborn = sample_run_new(2, &owner, &flow_id);
    append_events(store, run, 2);
    g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
    rival->row.seq = 3;
    write_misplaced(store, sample_append(rival, 1, 0));
    unborn->row.seq = 1;
    write_misplaced(store, sample_append(unborn, 1, 0));
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 2);
    assert_int_equal(check_journal(store, &unborn->row.run_id, 0, 100, 10000, 0), 0);
    if (!refuses_misplaced(store))
        return;
    append_events(store, run, 1);
    check_document(store, run);
}

/* One record of many events: all of them or none. */
static void test_losing_record_leaves_no_event(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    rival->row.seq = 1;
    append_events(store, run, 1);
    for (int64_t seq = 2; seq <= 9; seq++)
        sample_command(rival, seq);
    assert_int_equal(write_one(store, sample_append(rival, 500, 0)), WRITE_CONFLICT);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 1000, 100000, 0), 2);
    RunSeq entry;
    assert_int_equal(read_outbox(store, NULL, &entry, 1), 0);
}

static void test_conflicts_do_not_spoil_their_group(void **state)
{
    Store *store = fixture_of(state)->store;
    enum { N = 40 };
    SampleRun *runs[N];
    StoreWrite writes[N + 1];
    g_autoptr(SampleRun) taken = sample_run_new(6, &owner, &flow_id);
    append_events(store, taken, 1);
    for (unsigned i = 0; i < N; i++) {
        runs[i] = sample_run_new(i, &owner, &flow_id);
        if (i % 3 == 1)
            runs[i]->row.seq = 4; /* a gap */
        writes[i] = sample_append(runs[i], 2, 0);
    }
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 2);
    writes[N] = (StoreWrite){.kind = WRITE_FLOW, .flow = flow};
    g_autoptr(GError) error = NULL;
    assert_true(store_write(store, writes, N + 1, &error));
    for (unsigned i = 0; i < N; i++) {
        bool is_lost = i % 3 == 1 || i == 6;
        if (!is_lost)
            await_followers(store, &writes[i], 1);
        bool is_refused = i == 6 || (is_lost && refuses_misplaced(store));
        assert_int_equal(writes[i].ret_outcome, is_refused ? WRITE_CONFLICT : WRITTEN);
        int64_t last = check_journal(store, &runs[i]->row.run_id, 0, 100, 10000, 0);
        assert_int_equal(last, i == 6 ? 1 : is_lost ? 0 : 2);
        if (!is_lost)
            check_document(store, runs[i]);
        sample_run_free(runs[i]);
    }
    assert_int_equal(writes[N].ret_outcome, WRITTEN);
}

static void test_document_may_be_large(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    StoreWrite write = sample_append(run, 1, 300 * 1024);
    for (int i = 0; i < 90000; i++)
        g_string_append(run->detail, "0123456789");
    run->row.detail = run->detail->str;
    run->row.detail_size = run->detail->len;
    assert_int_equal(write_one(store, write), WRITTEN);
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 10, 10, 300 * 1024), 1);
    append_events(store, run, 1); /* and become small again */
    check_document(store, run);
}

static void test_document_may_be_all_summary(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    StoreWrite write = sample_append(run, 1, 0);
    run->row.summary_size = run->row.detail_size;
    assert_int_equal(write_one(store, write), WRITTEN);
    check_document(store, run);
    write = sample_append(run, 1, 0);
    run->row.summary_size = 0;
    assert_int_equal(write_one(store, write), WRITTEN);
    check_document(store, run);
}

static void test_absent_values(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    run->row.triggered_by = run->row.created_by = run->row.updated_by = NULL;
    StoreWrite write = sample_append(run, 1, 0);
    run->row.labels = NULL;
    assert_int_equal(write_one(store, write), WRITTEN);
    check_document(store, run);
}

static void test_projection_never_goes_back(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) old = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 1);
    append_events(store, run, 3);
    (void)sample_append(old, 2, 0);
    old->row.status = RUN_FAILED;
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_PROJECTION, .projection = &old->row}), WRITTEN);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_PROJECTION, .projection = &run->row}), WRITTEN);
    check_document(store, run);
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 100, 10000, 0), 4);
}

/* ---- the outbox ---- */

static void assert_entry(const RunSeq *entry, const SampleRun *run, int64_t seq)
{
    assert_string_equal(entry->run_id.text, run->row.run_id.text);
    assert_int_equal(entry->seq, seq);
}

static void test_outbox_holds_commands_in_order(void **state)
{
    Store *store = fixture_of(state)->store;
    enum { N = 5 };
    SampleRun *runs[N];
    for (unsigned i = 0; i < N; i++) {
        runs[i] = sample_run_new(N - i, &owner, &flow_id); /* not in the order of ids */
        sample_command(runs[i], 1);
        append_events(store, runs[i], 1);
    }
    sample_command(runs[1], 3);
    sample_command(runs[1], 4);
    append_events(store, runs[1], 4);
    append_events(store, runs[2], 1); /* orders nothing */

    RunSeq entries[16];
    assert_int_equal(read_outbox(store, NULL, entries, 16), N + 2);
    const SampleRun *expected[] = {runs[4], runs[3], runs[2], runs[1], runs[1], runs[1], runs[0]};
    const int64_t expected_seqs[] = {1, 1, 1, 1, 3, 4, 1};
    for (unsigned i = 0; i < N + 2; i++)
        assert_entry(&entries[i], expected[i], expected_seqs[i]);
    RunSeq some[2];
    assert_int_equal(read_outbox(store, &entries[3], some, 2), 2);
    assert_entry(&some[0], runs[1], 3);
    assert_entry(&some[1], runs[1], 4);
    assert_int_equal(read_outbox(store, &entries[N + 1], some, 2), 0);

    g_autoptr(GError) error = NULL;
    size_t n = 0;
    const char *run_id = runs[1]->row.run_id.text;
    assert_true(store_read_outbox_of(store, run_id, 4, 16, entries, &n, &error));
    assert_int_equal(n, 2);
    assert_entry(&entries[0], runs[1], 1);
    assert_entry(&entries[1], runs[1], 3);
    assert_true(store_read_outbox_of(store, run_id, 4, 1, entries, &n, &error));
    assert_int_equal(n, 1);
    assert_true(store_read_outbox_of(store, run_id, 1, 16, entries, &n, &error));
    assert_int_equal(n, 0);
    for (unsigned i = 0; i < N; i++)
        sample_run_free(runs[i]);
}

static void test_published_twice_is_fine(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    sample_command(run, 1);
    sample_command(run, 2);
    append_events(store, run, 2);
    RunSeq entries[4];
    assert_int_equal(read_outbox(store, NULL, entries, 4), 2);
    StoreWrite published = {.kind = WRITE_PUBLISHED, .published = entries[0]};
    assert_int_equal(write_one(store, published), WRITTEN);
    assert_int_equal(write_one(store, published), WRITTEN);
    RunSeq left[4];
    assert_int_equal(read_outbox(store, NULL, left, 4), 1);
    assert_entry(&left[0], run, 2);
    published.published.run_id = test_id('r', 4711);
    assert_int_equal(write_one(store, published), WRITTEN);
}

static void test_hand_over_supersedes_what_waited(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) other = sample_run_new(2, &owner, &flow_id);
    sample_command(run, 1);
    append_events(store, run, 1);
    sample_command(other, 1);
    append_events(store, other, 1);
    sample_command(run, 2);
    append_events(store, run, 1);
    run->supersedes = true;
    sample_command(run, 4);
    append_events(store, run, 2);
    RunSeq entries[4];
    assert_int_equal(read_outbox(store, NULL, entries, 4), 2);
    assert_entry(&entries[0], run, 4);
    assert_entry(&entries[1], other, 1);

    /* One that loses supersedes nothing. */
    g_autoptr(SampleRun) rival = sample_run_new(1, &owner, &flow_id);
    rival->row.seq = 1;
    rival->supersedes = true;
    assert_int_equal(write_one(store, sample_append(rival, 1, 0)), WRITE_CONFLICT);
    assert_int_equal(read_outbox(store, NULL, entries, 4), 2);
}

/* ---- the domain's own events ---- */

static void append_decided(Store *store, Run *run, const Decision *decision)
{
    assert_int_equal(decision->kind, DECISION_APPEND);
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) events = g_string_new(NULL);
    g_autoptr(GString) detail = g_string_new(NULL);
    for (size_t i = 0; i < decision->n_events; i++) {
        event_encode(decision->events[i], events);
        g_string_append_c(events, '\n');
        assert_true(run_fold(run, decision->events[i], &error));
    }
    size_t summary_size = run_encode_detail(run, detail);
    RunRow row = {.run_id = run->id,
                  .flow_id = run->flow_id,
                  .owner = run->owner,
                  .status = run->status,
                  .phase = run_phase(run),
                  .triggered_by = run->triggered_by,
                  .created_by = run->triggered_by,
                  .updated_by = run->triggered_by,
                  .created_at = run->created_at,
                  .updated_at = run->updated_at,
                  .seq = run->seq,
                  .flow_version = run->flow_version,
                  .pending = run->pending.command,
                  .pending_at = run->pending.requested_at,
                  .detail = detail->str,
                  .detail_size = detail->len,
                  .summary_size = summary_size,
                  .labels = &run->labels};
    StoreWrite write = {.kind = WRITE_RUN,
                        .run = {.first_seq = decision->events[0]->seq,
                                .n_events = (int64_t)decision->n_events,
                                .events = events->str,
                                .events_size = events->len,
                                .row = &row}};
    assert_int_equal(write_one(store, write), WRITTEN);
}

/* Folding what the journal gives back is the document that was stored, byte for byte. */
static void test_journal_folds_to_the_document(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 3);
    g_autoptr(Run) run = run_new();
    TextMap none = {0};
    RunRequest request = {.run_id = test_id('r', 1),
                          .command_id = test_id('c', 1),
                          .flow = flow,
                          .triggered_by = owner.text,
                          .labels = &none,
                          .inputs = &none,
                          .now_ms = START_MS};
    g_autoptr(Decision) created = decide_create(&request);
    append_decided(store, run, created);
    for (unsigned i = 0; i < flow->n_flat; i++) {
        StatusMessage status = {.kind = STATUS_STEP,
                                .run_id = run->id,
                                .flow_id = flow->id,
                                .timestamp = START_MS + 10 + i,
                                .step_id = flow->flat[i]->step_id,
                                .step_status = STEP_RUNNING,
                                .attempt = 1};
        g_autoptr(Decision) running = decide_status(run, &status);
        append_decided(store, run, running);
    }
    CommandRequest stop = {
        .command = COMMAND_STOP, .command_id = test_id('c', 2), .requested_by = owner, .now_ms = START_MS + 50};
    g_autoptr(Decision) stopping = decide_command(run, &stop);
    append_decided(store, run, stopping);

    g_autoptr(JournalPage) page = store_read_journal(store, run->id.text, 0, 1000, 1 << 20, &error);
    assert_no_error(error);
    g_autoptr(Run) folded = run_new();
    for (size_t i = 0; i < page->n_entries; i++) {
        g_autoptr(Event) event = event_decode(page->entries[i].text, page->entries[i].size, &error);
        assert_no_error(error);
        assert_true(run_fold(folded, event, &error));
    }
    g_autoptr(GString) expected = g_string_new(NULL);
    (void)run_encode_detail(folded, expected);
    g_autoptr(RunDocument) document = store_get_run(store, run->id.text, &error);
    assert_no_error(error);
    assert_string_equal(document->detail, expected->str);
    assert_int_equal(document->seq, folded->seq);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_nothing_to_write),
    cmocka_unit_test(test_first_append),
    cmocka_unit_test(test_next_appends),
    cmocka_unit_test(test_absent_values),
    cmocka_unit_test(test_document_may_be_all_summary),
    cmocka_unit_test(test_document_may_be_large),
    cmocka_unit_test(test_second_first_append_is_a_conflict),
    cmocka_unit_test(test_stale_append_is_a_conflict),
    cmocka_unit_test(test_append_past_the_end_is_a_conflict),
    cmocka_unit_test(test_append_into_the_middle_of_a_record_is_a_conflict),
    cmocka_unit_test(test_losing_record_leaves_no_event),
    cmocka_unit_test(test_conflicts_do_not_spoil_their_group),
    cmocka_unit_test(test_projection_never_goes_back),
    cmocka_unit_test(test_outbox_holds_commands_in_order),
    cmocka_unit_test(test_published_twice_is_fine),
    cmocka_unit_test(test_hand_over_supersedes_what_waited),
    cmocka_unit_test(test_journal_folds_to_the_document),
};

StoreTests store_write_tests(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
