/* What racing writers of the MongoDB store do to each other, what writers that died leave, and what an opened database has.
 * On the server that FLOWOPS_TEST_MONGO names. */
#include "store_contract.h"

#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"
#include "mongo_support.h"

enum { DEADLINE_MS = 30000 };

static Id owner, flow_id;

/* ---- flows ---- */

static StoreWrite backfill_entry(int64_t n, bool is_open, const char *state)
{
    return (StoreWrite){.kind = WRITE_BACKFILL,
                        .backfill = {.backfill_id = test_id('b', 1),
                                     .flow_id = test_id('f', 1),
                                     .owner = test_id('o', 1),
                                     .created_at = START_MS,
                                     .n = n,
                                     .is_open = is_open,
                                     .state = state,
                                     .state_size = strlen(state),
                                     .plan = n == 1 ? "{}" : NULL,
                                     .plan_size = n == 1 ? 2 : 0}};
}

static size_t n_open_backfills(Store *store)
{
    Id ids[4];
    size_t n;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_open_backfills(store, "", 4, ids, &n, &error));
    return n;
}

/* A writer died with its entry in and the head as it was, or with none: the next one to come second mends it. */
static void test_head_of_a_backfill_is_brought_forward(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    Id id = test_id('b', 1);
    assert_int_equal(write_one(fixture->store, backfill_entry(1, true, "{\"n\":1}")), WRITTEN);
    assert_int_equal(write_one(fixture->store, backfill_entry(2, true, "{\"n\":2}")), WRITTEN);
    change_document(fixture->data_dir, "backfills", id.text, NULL);
    assert_int_equal(n_open_backfills(fixture->store), 0);
    assert_int_equal(write_one(fixture->store, backfill_entry(2, true, "{\"rival\":2}")), WRITE_CONFLICT);
    assert_int_equal(n_open_backfills(fixture->store), 1);
    assert_int_equal(write_one(fixture->store, backfill_entry(3, false, "{\"n\":3}")), WRITTEN);
    assert_int_equal(n_open_backfills(fixture->store), 0);
    g_auto(Look) head = look_at(fixture->data_dir, "backfills", id.text);
    bson_iter_t iter;
    assert_true(bson_iter_init_find(&iter, head.document, "summary"));
    assert_string_equal(bson_iter_utf8(&iter, NULL), "{\"n\":3}");
    assert_false(bson_has_field(head.document, "openId"));
}

/* The same between the first entry and its head: to write the entry again is a conflict that makes the head. */
static void test_head_of_a_new_backfill_is_made_up_for(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    Id id = test_id('b', 1);
    assert_int_equal(write_one(fixture->store, backfill_entry(1, true, "{\"n\":1}")), WRITTEN);
    change_document(fixture->data_dir, "backfills", id.text, NULL);
    assert_int_equal(n_open_backfills(fixture->store), 0);
    assert_int_equal(write_one(fixture->store, backfill_entry(1, true, "{\"n\":1}")), WRITE_CONFLICT);
    assert_int_equal(n_open_backfills(fixture->store), 1);
}

/* A writer that died between a version and its head. */
static void test_head_that_lags_is_brought_forward(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    Store *store = fixture->store;
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) v1 = sample_flow(1, &owner, 1, 1);
    g_autoptr(Flow) v2 = sample_flow(1, &owner, 2, 2);
    g_autoptr(Flow) v3 = sample_flow(1, &owner, 3, 3);
    g_autoptr(Flow) rival = sample_flow(1, &owner, 2, 5);
    write_flow_version(store, v1);
    write_flow_version(store, v2);
    write_flow_version(store, v3);
    bson_t back = BSON_INITIALIZER, set;
    BSON_APPEND_DOCUMENT_BEGIN(&back, "$set", &set);
    BSON_APPEND_INT64(&set, "version", 1);
    bson_append_document_end(&back, &set);
    change_document(fixture->data_dir, "flows", v1->id.text, &back);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = rival}), WRITE_CONFLICT);
    g_autoptr(Flow) newest = store_get_flow(store, v1->id.text, 0, &error);
    assert_no_error(error);
    assert_int_equal(newest->version, 3);
    int64_t version = 0;
    assert_true(store_get_flow_versions(store, &v1->id, 1, &version, &error));
    assert_int_equal(version, 3);

    change_document(fixture->data_dir, "flows", v1->id.text, &back);
    g_autoptr(Flow) v4 = sample_flow(1, &owner, 4, 1);
    write_flow_version(store, v4);
    assert_true(store_get_flow_versions(store, &v1->id, 1, &version, &error));
    assert_int_equal(version, 4);
    bson_destroy(&back);
}

/* ---- writers that race ---- */

enum { N_RACERS = 4, N_WINS = 40 };

/* Appends to one run until it has won so often, as a process of its own would: known state, append, on a conflict read. */
static int race(const StoreFixture *fixture, unsigned racer)
{
    g_autoptr(GError) error = NULL;
    Store *store = mongo_open_for_test(fixture->data_dir, fixture->clock, &error);
    if (store == NULL)
        return 2;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (unsigned n_wins = 0; n_wins < N_WINS;) {
        StoreWrite write = sample_append(run, 1 + (racer + n_wins) % 3, 0);
        if (!store_write(store, &write, 1, &error))
            return 3;
        if (write.ret_outcome == WRITTEN) {
            n_wins++;
            continue;
        }
        run->row.seq = write.run.first_seq - 1;
        bool has_more = true;
        while (has_more) {
            g_autoptr(JournalPage) page =
                store_read_journal(store, run->row.run_id.text, run->row.seq, 100, 100000, &error);
            if (page == NULL)
                return 4;
            for (size_t i = 0; i < page->n_entries; i++) {
                if (page->entries[i].seq != ++run->row.seq)
                    return 5;
            }
            has_more = page->has_more;
        }
    }
    store_close(store);
    return 0;
}

static int64_t events_of(unsigned racer)
{
    int64_t n = 0;
    for (unsigned i = 0; i < N_WINS; i++)
        n += 1 + (racer + i) % 3;
    return n;
}

/* Each win is in the journal once: it has as many events as were won, without a gap. */
static void test_processes_race_on_one_run(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    store_close(g_steal_pointer(&fixture->store)); /* no thread of the library's is there when children are made */
    pid_t children[N_RACERS];
    int64_t n_expected = 0;
    for (unsigned i = 0; i < N_RACERS; i++) {
        n_expected += events_of(i);
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(race(fixture, i));
    }
    for (unsigned i = 0; i < N_RACERS; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    store_fixture_reopen(fixture);
    Id run_id = test_id('r', 1);
    assert_int_equal(check_journal(fixture->store, &run_id, 0, 1000, 1 << 20, 0), n_expected);
}

typedef struct {
    Store *store;
    Flow *flow;
    WriteOutcome outcome;
} FlowRacer;

static void write_rival(void *arg)
{
    FlowRacer *racer = arg;
    g_autoptr(GError) error = NULL;
    StoreWrite write = {.kind = WRITE_FLOW, .flow = racer->flow};
    racer->outcome = store_write(racer->store, &write, 1, &error) ? write.ret_outcome : WRITE_UNKNOWN;
}

static void test_one_of_many_writers_of_a_version_wins(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    enum { N = 8, N_VERSIONS = 6 };
    for (int64_t version = 1; version <= N_VERSIONS; version++) {
        FlowRacer racers[N];
        Thread *threads[N];
        g_autoptr(GError) error = NULL;
        for (unsigned i = 0; i < N; i++) {
            racers[i] = (FlowRacer){.store = fixture->store, .flow = sample_flow(1, &owner, version, i)};
            threads[i] = thread_start("test-writer", ROLE_WRITER, write_rival, &racers[i], &error);
            assert_no_error(error);
        }
        int n_won = 0, n_lost = 0;
        for (unsigned i = 0; i < N; i++) {
            thread_join(threads[i]);
            n_won += racers[i].outcome == WRITTEN;
            n_lost += racers[i].outcome == WRITE_CONFLICT;
            flow_unref(racers[i].flow);
        }
        assert_int_equal(n_won, 1);
        assert_int_equal(n_lost, N - 1);
        g_autoptr(Flow) newest = store_get_flow(fixture->store, test_id('f', 1).text, 0, &error);
        assert_no_error(error);
        assert_int_equal(newest->version, version);
    }
}

/* ---- what is set up ---- */

static size_t count_indexes(const StoreFixture *fixture, const char *collection)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(handle, NULL);
    const bson_t *index;
    size_t n = 0;
    while (mongoc_cursor_next(cursor, &index))
        n++;
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
    return n;
}

static void test_indexes_are_made_once(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    static const char *const collections[] = {"run_events",         "runs",      "flow_versions", "flows",
                                              "schedule_decisions", "backfills", "engines"};
    static const size_t expected[] = {2, 10, 2, 5, 2, 3, 2};
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < G_N_ELEMENTS(collections); i++) {
            while (count_indexes(fixture, collections[i]) != expected[i]) {
                assert_true(clock_monotonic_ms(clock) < deadline_ms);
                poll(NULL, 0, 5);
            }
        }
        store_fixture_reopen(fixture);
    }
}

/* Whether there is such a document in `meta`; removes it when it is to go. */
static bool find_meta(const StoreFixture *fixture, const char *id, bool is_to_go)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, "meta");
    bson_t *selector = BCON_NEW("_id", BCON_UTF8(id));
    bson_error_t failure;
    bool is_there = mongoc_collection_count_documents(handle, selector, NULL, NULL, NULL, &failure) == 1;
    if (is_to_go)
        assert_true(mongoc_collection_delete_one(handle, selector, NULL, NULL, &failure));
    bson_destroy(selector);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
    return is_there;
}

/* A flow that had a cron before there were schedules is found once a process has been over it. */
static void test_old_flows_get_their_schedule(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(Clock) clock = clock_new_system();
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 1);
    flow->cron = g_strdup("@daily");
    flow->scheduled_since = flow->created_at;
    write_flow_version(fixture->store, flow);
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    while (!find_meta(fixture, "schedules", false)) {
        assert_true(clock_monotonic_ms(clock) < deadline_ms);
        poll(NULL, 0, 5);
    }
    store_close(g_steal_pointer(&fixture->store));
    bson_t *older = BCON_NEW("$unset", "{", "schedule", BCON_UTF8(""), "scheduleId", BCON_UTF8(""), "}");
    change_document(fixture->data_dir, "flows", flow->id.text, older);
    bson_destroy(older);
    assert_true(find_meta(fixture, "schedules", true));
    store_fixture_reopen(fixture);
    for (bool is_found = false; !is_found;) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ScheduledPage) page = store_read_scheduled_flows(fixture->store, "", 10, &error);
        assert_no_error(error);
        is_found = page->n_items == 1;
        assert_true(clock_monotonic_ms(clock) < deadline_ms);
        poll(NULL, 0, 5);
    }
}

static void test_newer_database_is_refused(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    store_close(g_steal_pointer(&fixture->store));
    bson_t newer = BSON_INITIALIZER, set;
    BSON_APPEND_DOCUMENT_BEGIN(&newer, "$set", &set);
    BSON_APPEND_INT32(&set, "version", 99);
    bson_append_document_end(&newer, &set);
    change_document(fixture->data_dir, "meta", "schema", &newer);
    bson_destroy(&newer);
    g_autoptr(GError) error = NULL;
    assert_null(mongo_open_for_test(fixture->data_dir, fixture->clock, &error));
    assert_error(error, FLOWOPS_INVALID);
    assert_non_null(strstr(error->message, "99"));
}

/* An index of ours under another name: FerretDB and MongoDB refuse a second one of the same keys. The store works, and
 * says what is wrong. */
static bool make_index(const StoreFixture *fixture, const char *name)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    bson_t *command =
        BCON_NEW("createIndexes", "flows", "indexes", "[", "{", "key", "{", "owner", BCON_INT32(1), "createdAt",
                 BCON_INT32(-1), "_id", BCON_INT32(1), "}", "name", BCON_UTF8(name), "}", "]");
    bson_error_t failure;
    bool is_made = mongoc_client_command_simple(client, database, command, NULL, NULL, &failure);
    bson_destroy(command);
    mongoc_client_destroy(client);
    return is_made;
}

static void test_index_that_is_refused(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    store_close(g_steal_pointer(&fixture->store));
    remove_tree(fixture->data_dir); /* the database goes with it */
    mongo_drop_unneeded();
    assert_true(make_index(fixture, "somebody's"));
    bool is_refused = !make_index(fixture, "again");
    g_autoptr(GError) opening = NULL;
    fixture->store = mongo_open_for_test(fixture->data_dir, fixture->clock, &opening);
    assert_no_error(opening);
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    for (bool is_ready = true; is_refused && is_ready;) {
        g_autoptr(GError) error = NULL;
        is_ready = store_check(fixture->store, &error);
        if (!is_ready) {
            assert_error(error, FLOWOPS_INTERNAL);
            assert_non_null(strstr(error->message, "indexes of flows"));
        }
        assert_true(clock_monotonic_ms(clock) < deadline_ms);
        poll(NULL, 0, 5);
    }
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 1);
    write_flow_version(fixture->store, flow);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_flows(fixture->store, &query);
    assert_int_equal(page->n_items, 1);
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_head_that_lags_is_brought_forward, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_head_of_a_backfill_is_brought_forward, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_head_of_a_new_backfill_is_made_up_for, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_one_of_many_writers_of_a_version_wins, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_processes_race_on_one_run, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_indexes_are_made_once, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_old_flows_get_their_schedule, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_index_that_is_refused, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_newer_database_is_refused, mongo_setup, mongo_teardown),
    };
    int n_failed = cmocka_run_group_tests_name("store: mongo, many writers", tests, NULL, NULL);
    mongo_drop_all();
    return n_failed;
}
