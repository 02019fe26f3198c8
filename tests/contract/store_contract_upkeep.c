/* store_contract_upkeep.c - what fsck, copy and retention ask of a store: walks over everything, what has ended, deleting
 * runs, and documents made anew. */
#include "store_contract.h"

#include <string.h>

enum { SETTLE_MS = 30000 };

static Id owner, flow_id;

typedef bool (*ListIds)(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);

/* All ids in pages of this many, checked to grow. */
static GArray *walk_ids(Store *store, ListIds list, size_t limit)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(Id));
    g_autofree Id *page = g_new(Id, limit);
    Id after = {""};
    size_t n = limit;
    while (n == limit) {
        g_autoptr(GError) error = NULL;
        bool is_listed = list(store, after.text, limit, page, &n, &error);
        assert_no_error(error);
        assert_true(is_listed && n <= limit);
        for (size_t i = 0; i < n; i++) {
            assert_true(strcmp(after.text, page[i].text) < 0);
            after = page[i];
            g_array_append_val(ids, after);
        }
    }
    return ids;
}

static size_t ended_before(Store *store, int64_t before, size_t limit, Id *ret_ids)
{
    g_autoptr(GError) error = NULL;
    size_t n = 99;
    bool is_listed = store_list_runs_ended_before(store, before, limit, ret_ids, &n, &error);
    assert_no_error(error);
    assert_true(is_listed);
    return n;
}

static void delete_run(Store *store, const Id *run_id)
{
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = *run_id}), WRITTEN);
}

static void end_run(Store *store, SampleRun *run, int64_t updated_at)
{
    run->row.status = RUN_COMPLETED;
    run->row.phase = PHASE_SETTLED;
    run->row.updated_at = updated_at;
    append_events(store, run, 1);
}

static size_t count_outbox(Store *store)
{
    RunSeq entries[16];
    size_t n = 99;
    g_autoptr(GError) error = NULL;
    assert_true(store_read_outbox(store, NULL, G_N_ELEMENTS(entries), entries, &n, &error));
    return n;
}

static size_t count_labelled(Store *store, const char *name, const char *value)
{
    ListQuery query = query_of(&owner);
    query.label_name = name;
    query.label_value = value;
    query.wants_total = true;
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_int_equal(page->total, page->n_items);
    return page->n_items;
}

static bool has_document(Store *store, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run_id->text, &error);
    if (document == NULL)
        assert_error(error, FLOWOPS_NOT_FOUND);
    return document != NULL;
}

static void test_nothing_to_walk(void **state)
{
    Store *store = fixture_of(state)->store;
    Id id;
    g_autoptr(GArray) runs = walk_ids(store, store_list_run_ids, 10);
    g_autoptr(GArray) flows = walk_ids(store, store_list_flow_ids, 10);
    assert_int_equal(runs->len + flows->len, 0);
    assert_int_equal(ended_before(store, INT64_MAX, 1, &id), 0);
}

/* Whatever their owner, phase and number of records. */
static void test_every_run_once(void **state)
{
    Store *store = fixture_of(state)->store;
    Id other = test_id('o', 2);
    for (unsigned n = 1; n <= 23; n++) {
        g_autoptr(SampleRun) run = sample_run_new(24 - n, n % 2 == 0 ? &owner : &other, &flow_id);
        for (unsigned i = 0; i <= n % 4; i++)
            append_events(store, run, 1 + i);
        if (n % 3 == 0)
            end_run(store, run, START_MS);
    }
    for (size_t limit = 1; limit <= 25; limit++) {
        g_autoptr(GArray) ids = walk_ids(store, store_list_run_ids, limit);
        assert_int_equal(ids->len, 23);
        for (unsigned n = 1; n <= 23; n++) {
            Id expected = test_id('r', n);
            assert_string_equal(g_array_index(ids, Id, n - 1).text, expected.text);
        }
    }
}

static void test_document_without_journal_is_walked_too(void **state)
{
    Store *store = fixture_of(state)->store;
    for (unsigned n = 1; n <= 9; n++) {
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        StoreWrite append = sample_append(run, 1, 0);
        StoreWrite projection = {.kind = WRITE_PROJECTION, .projection = &run->row};
        assert_int_equal(write_one(store, n % 2 == 0 ? append : projection), WRITTEN);
    }
    for (size_t limit = 1; limit <= 10; limit++) {
        g_autoptr(GArray) ids = walk_ids(store, store_list_run_ids, limit);
        assert_int_equal(ids->len, 9);
    }
}

static void test_every_flow_once(void **state)
{
    Store *store = fixture_of(state)->store;
    for (unsigned n = 11; n >= 1; n--) {
        g_autoptr(Flow) flow = sample_flow(n, &owner, 1, 2);
        write_flow_version(store, flow);
        g_autoptr(Flow) next = n % 3 == 0 ? sample_flow_deletion(flow, false) : sample_flow(n, &owner, 2, 3);
        write_flow_version(store, next);
    }
    for (size_t limit = 1; limit <= 12; limit++) {
        g_autoptr(GArray) ids = walk_ids(store, store_list_flow_ids, limit);
        assert_int_equal(ids->len, 11);
        for (unsigned n = 1; n <= 11; n++) {
            Id expected = test_id('f', n);
            assert_string_equal(g_array_index(ids, Id, n - 1).text, expected.text);
        }
    }
}

/* ---- what has ended ---- */

static void test_settled_runs_by_age(void **state)
{
    Store *store = fixture_of(state)->store;
    static const int64_t ages[] = {50, 10, 40, 20, 30};
    for (unsigned n = 0; n < 5; n++) {
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        append_events(store, run, 1);
        end_run(store, run, START_MS + ages[n]);
    }
    Id ids[8];
    assert_int_equal(ended_before(store, START_MS + 10, 8, ids), 0);
    assert_int_equal(ended_before(store, START_MS + 31, 8, ids), 3);
    static const unsigned oldest_first[] = {1, 3, 4, 2, 0};
    for (unsigned i = 0; i < 3; i++) {
        Id expected = test_id('r', oldest_first[i]);
        assert_string_equal(ids[i].text, expected.text);
    }
    assert_int_equal(ended_before(store, START_MS + 51, 2, ids), 2);
    Id expected = test_id('r', 3);
    assert_string_equal(ids[1].text, expected.text);
    assert_int_equal(ended_before(store, INT64_MAX, 8, ids), 5);
}

static void test_what_is_going_has_not_ended(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) open = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) ending = sample_run_new(2, &owner, &flow_id);
    g_autoptr(SampleRun) settled = sample_run_new(3, &owner, &flow_id);
    append_events(store, open, 3);
    append_events(store, ending, 1);
    ending->row.phase = PHASE_ENDING;
    ending->row.status = RUN_STOPPED;
    append_events(store, ending, 1);
    end_run(store, settled, START_MS);
    Id ids[4];
    assert_int_equal(ended_before(store, INT64_MAX, 4, ids), 1);
    assert_string_equal(ids[0].text, settled->row.run_id.text);
    end_run(store, ending, START_MS - 1); /* its last steps came */
    assert_int_equal(ended_before(store, INT64_MAX, 4, ids), 2);
    assert_string_equal(ids[0].text, ending->row.run_id.text);
}

/* An event that came late counts from its own time. */
static void test_age_follows_the_last_update(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    Id id;
    end_run(store, run, START_MS);
    run->row.updated_at = START_MS + 1000;
    append_events(store, run, 1);
    assert_int_equal(ended_before(store, START_MS + 1000, 1, &id), 0);
    assert_int_equal(ended_before(store, START_MS + 1001, 1, &id), 1);
}

/* ---- engines ---- */

static int64_t announced_at(Store *store, const Id *engine_id)
{
    g_autoptr(GError) error = NULL;
    int64_t at = 99;
    bool is_read = store_get_announced_at(store, engine_id->text, &at, &error);
    assert_no_error(error);
    assert_true(is_read);
    return at;
}

static void put_announcement(Store *store, const Id *engine_id, int64_t at, int64_t now_ms)
{
    g_autoptr(GError) error = NULL;
    Announcement announcement = {.engine_id = *engine_id, .announced_at = at};
    bool is_put = store_put_announcement(store, &announcement, now_ms, &error);
    assert_no_error(error);
    assert_true(is_put);
}

static void test_the_newest_announcement_of_each_engine_is_remembered(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    Id one = test_id('e', 1), two = test_id('e', 2), never = test_id('e', 3);
    put_announcement(fixture->store, &one, START_MS + 5, START_MS);
    put_announcement(fixture->store, &two, START_MS - 5, START_MS);
    put_announcement(fixture->store, &one, START_MS + 4, START_MS);
    put_announcement(fixture->store, &two, START_MS - 4, START_MS);
    put_announcement(fixture->store, &two, START_MS - 4, START_MS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(announced_at(fixture->store, &one), START_MS + 5);
        assert_int_equal(announced_at(fixture->store, &two), START_MS - 4);
        assert_int_equal(announced_at(fixture->store, &never), INSTANT_NONE);
        store_fixture_reopen(fixture);
    }
}

/* By the service's clock: an engine's own may be off. */
static void test_an_engine_that_says_nothing_is_forgotten(void **state)
{
    Store *store = fixture_of(state)->store;
    Id one = test_id('e', 1), two = test_id('e', 2), three = test_id('e', 3);
    put_announcement(store, &one, START_MS + 2 * ENGINE_KEPT_MS, START_MS);
    put_announcement(store, &two, 1, START_MS + 1);
    put_announcement(store, &three, START_MS, START_MS + ENGINE_KEPT_MS + 1);
    assert_int_equal(announced_at(store, &one), INSTANT_NONE);
    assert_int_equal(announced_at(store, &two), 1);
    assert_int_equal(announced_at(store, &three), START_MS);
}

/* ---- deleting ---- */

static void test_a_deleted_run_is_gone(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    SampleRun *runs[3];
    for (unsigned n = 0; n < 3; n++) {
        runs[n] = sample_run_new(n, &owner, &flow_id);
        text_map_add(&runs[n]->labels, "team", "red");
        text_map_add(&runs[n]->labels, "n", n == 1 ? "one" : "other");
        sample_command(runs[n], 1);
        append_events(fixture->store, runs[n], 5);
        append_events(fixture->store, runs[n], 3);
        end_run(fixture->store, runs[n], START_MS);
    }
    const Id *gone = &runs[1]->row.run_id;
    delete_run(fixture->store, gone);
    for (int i = 0; i < 2; i++) {
        Store *store = fixture->store;
        Id ids[4];
        bool is_newer = true;
        assert_false(has_document(store, gone));
        assert_int_equal(check_journal(store, gone, 0, 10, 1000, 0), 0);
        assert_int_equal(count_outbox(store), 2);
        assert_int_equal(count_labelled(store, "team", "red"), 2);
        assert_int_equal(count_labelled(store, "n", "one"), 0);
        assert_int_equal(count_labelled(store, "n", NULL), 2);
        assert_int_equal(ended_before(store, INT64_MAX, 4, ids), 2);
        g_autoptr(GArray) walked = walk_ids(store, store_list_run_ids, 4);
        assert_int_equal(walked->len, 2);
        g_autoptr(GError) error = NULL;
        assert_true(store_find_newer(store, &(RunSeq){.run_id = *gone, .seq = 0}, 1, &is_newer, &error));
        assert_false(is_newer);
        for (unsigned n = 0; n < 3; n += 2) {
            assert_true(has_document(store, &runs[n]->row.run_id));
            assert_int_equal(check_journal(store, &runs[n]->row.run_id, 0, 10, 1000, 0), 9);
        }
        store_fixture_reopen(fixture);
    }
    for (unsigned n = 0; n < 3; n++)
        sample_run_free(runs[n]);
}

static void test_deleting_what_is_not_there(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 2);
    Id never = test_id('r', 404);
    delete_run(store, &never);
    delete_run(store, &run->row.run_id);
    delete_run(store, &run->row.run_id);
    assert_false(has_document(store, &run->row.run_id));
}

static void test_append_to_a_deleted_run_is_a_conflict(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(store, run, 2);
    delete_run(store, &run->row.run_id);
    if (!store_is_shared(store)) {
        assert_int_equal(write_one(store, sample_append(run, 1, 0)), WRITE_CONFLICT);
    } else { /* it counts as appended before, and goes, too */
        g_autoptr(GError) error = NULL;
        StoreWrite write = sample_append(run, 1, 0);
        assert_true(store_write(store, &write, 1, &error));
        assert_true(store_settle(store, SETTLE_MS));
    }
    assert_false(has_document(store, &run->row.run_id));
    assert_int_equal(check_journal(store, &run->row.run_id, 0, 10, 1000, 0), 0);
    g_autoptr(GArray) ids = walk_ids(store, store_list_run_ids, 10);
    assert_int_equal(ids->len, 0);
}

/* The same Idempotency-Key gives the same id, also after the first run was deleted. */
static void test_a_deleted_id_may_begin_anew(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) again = sample_run_new(1, &owner, &flow_id);
    text_map_add(&run->labels, "round", "first");
    text_map_add(&again->labels, "round", "second");
    append_events(store, run, 4);
    delete_run(store, &run->row.run_id);
    append_events(store, again, 1);
    assert_int_equal(check_journal(store, &again->row.run_id, 0, 10, 1000, 0), 1);
    assert_int_equal(count_labelled(store, "round", "first"), 0);
    assert_int_equal(count_labelled(store, "round", "second"), 1);
}

static void test_deletions_share_a_group(void **state)
{
    Store *store = fixture_of(state)->store;
    StoreWrite writes[12];
    for (unsigned n = 0; n < 10; n++) {
        g_autoptr(SampleRun) run = sample_run_new(n, &owner, &flow_id);
        append_events(store, run, 1);
        writes[n] = (StoreWrite){.kind = WRITE_DELETE_RUN, .deleted = run->row.run_id};
    }
    g_autoptr(SampleRun) added = sample_run_new(20, &owner, &flow_id);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 1);
    writes[10] = sample_append(added, 2, 0);
    writes[11] = (StoreWrite){.kind = WRITE_FLOW, .flow = flow};
    write_all(store, writes, G_N_ELEMENTS(writes));
    g_autoptr(GArray) walked = walk_ids(store, store_list_run_ids, 4);
    assert_int_equal(walked->len, 1);
    assert_string_equal(g_array_index(walked, Id, 0).text, added->row.run_id.text);
}

/* ---- documents made anew ---- */

static int64_t document_seq(Store *store, const SampleRun *run)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run->row.run_id.text, &error);
    assert_no_error(error);
    return document->seq;
}

static void test_a_projection_goes_back_only_by_force(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    text_map_add(&run->labels, "team", "red");
    append_events(store, run, 5);

    g_autoptr(SampleRun) other = sample_run_new(1, &owner, &flow_id);
    text_map_add(&other->labels, "team", "red");
    (void)sample_append(other, 3, 0);
    other->row.status = RUN_FAILED;
    other->row.phase = PHASE_SETTLED;
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &other->row};
    assert_int_equal(write_one(store, write), WRITTEN);
    assert_int_equal(document_seq(store, run), 5);

    write.is_forced = true;
    assert_int_equal(write_one(store, write), WRITTEN);
    assert_int_equal(document_seq(store, run), 3);
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run->row.run_id.text, &error);
    assert_int_equal(document->status, RUN_FAILED);
    assert_string_equal(document->detail, other->detail->str);
    assert_int_equal(count_labelled(store, "team", "red"), 1);
    Id id;
    assert_int_equal(ended_before(store, INT64_MAX, 1, &id), 1);
}

/* What never changes is made anew too. */
static void test_force_mends_the_whole_document(void **state)
{
    Store *store = fixture_of(state)->store;
    Id stranger = test_id('o', 9);
    g_autoptr(SampleRun) wrong = sample_run_new(1, &stranger, &flow_id);
    g_autoptr(SampleRun) right = sample_run_new(1, &owner, &flow_id);
    append_events(store, wrong, 2);
    text_map_add(&right->labels, "team", "red");
    (void)sample_append(right, 2, 0);
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &right->row, .is_forced = true};
    assert_int_equal(write_one(store, write), WRITTEN);
    assert_int_equal(count_labelled(store, "team", "red"), 1);
    ListQuery query = query_of(&stranger);
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_int_equal(page->n_items, 0);
    assert_int_equal(check_journal(store, &right->row.run_id, 0, 10, 1000, 0), 2);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_nothing_to_walk),
    cmocka_unit_test(test_every_run_once),
    cmocka_unit_test(test_document_without_journal_is_walked_too),
    cmocka_unit_test(test_every_flow_once),
    cmocka_unit_test(test_settled_runs_by_age),
    cmocka_unit_test(test_what_is_going_has_not_ended),
    cmocka_unit_test(test_age_follows_the_last_update),
    cmocka_unit_test(test_the_newest_announcement_of_each_engine_is_remembered),
    cmocka_unit_test(test_an_engine_that_says_nothing_is_forgotten),
    cmocka_unit_test(test_a_deleted_run_is_gone),
    cmocka_unit_test(test_deleting_what_is_not_there),
    cmocka_unit_test(test_append_to_a_deleted_run_is_a_conflict),
    cmocka_unit_test(test_a_deleted_id_may_begin_anew),
    cmocka_unit_test(test_deletions_share_a_group),
    cmocka_unit_test(test_a_projection_goes_back_only_by_force),
    cmocka_unit_test(test_force_mends_the_whole_document),
};

StoreTests store_upkeep_tests(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    return (StoreTests){tests, G_N_ELEMENTS(tests)};
}
