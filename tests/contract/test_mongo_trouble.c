/* The MongoDB store when the network or the server is in trouble: a proxy between them is gone, stands still or loses
 * answers. On the server that FLOWOPS_TEST_MONGO names. */
#include "store_contract.h"

#include <limits.h>
#include <poll.h>
#include <string.h>

#include "base/thread.h"
#include "mongo_support.h"
#include "proxy.h"
#include "store/store_mongo_internal.h"

enum { DEADLINE_MS = 30000 };

typedef struct {
    StoreFixture *direct; /* the same database, not through the proxy */
    Proxy *proxy;
    Store *store;
} Trouble;

static Id owner, flow_id;

static Store *open_through(const Trouble *trouble, const char *login, GError **error)
{
    g_autofree char *uri = proxy_uri(trouble->proxy, login);
    g_autofree char *database = mongo_database_of(trouble->direct->data_dir);
    return store_open_mongo(uri, database, trouble->direct->clock, error);
}

static int setup(void **state)
{
    g_autoptr(GError) error = NULL;
    Trouble *trouble = g_new0(Trouble, 1);
    trouble->direct = store_fixture_new(mongo_open_for_test);
    trouble->proxy = proxy_start(mongo_test_uri());
    trouble->store = open_through(trouble, NULL, &error);
    assert_no_error(error);
    *state = trouble;
    return 0;
}

static int teardown(void **state)
{
    Trouble *trouble = *state;
    store_close(trouble->store);
    proxy_stop(trouble->proxy);
    store_fixture_free(trouble->direct);
    g_free(trouble);
    return 0;
}

/* A call of store_write() on a thread of its own. */
typedef struct {
    Store *store;
    StoreWrite *writes;
    size_t n_writes;
    bool is_done; /* atomic */
    bool ret;
    GError *error;
    Thread *thread;
} Call;

static void call_run(void *arg)
{
    Call *call = arg;
    call->ret = store_write(call->store, call->writes, call->n_writes, &call->error);
    __atomic_store_n(&call->is_done, true, __ATOMIC_RELEASE);
}

static void call_begin(Call *call)
{
    g_autoptr(GError) error = NULL;
    call->thread = thread_start("test-writer", ROLE_WRITER, call_run, call, &error);
    assert_no_error(error);
}

static void call_end(Call *call)
{
    thread_join(call->thread);
    g_clear_error(&call->error);
}

static void wait_until(bool (*is_so)(void *), void *arg)
{
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    while (!is_so(arg)) {
        assert_true(clock_monotonic_ms(clock) < deadline_ms);
        poll(NULL, 0, 5);
    }
}

static bool is_available(void *arg)
{
    g_autoptr(GError) error = NULL;
    bool is_ready = store_check(arg, &error);
    assert_true(is_ready || error->code == FLOWOPS_UNAVAILABLE ||
                error->code == FLOWOPS_INTERNAL); /* indexes are late */
    return is_ready;
}

/* ---- down ---- */

static void test_opens_without_a_server(void **state)
{
    Trouble *trouble = *state;
    proxy_set(trouble->proxy, PROXY_GONE);
    store_close(g_steal_pointer(&trouble->store));
    g_autoptr(GError) opening = NULL, writing = NULL, checking = NULL, reading = NULL, none = NULL;
    trouble->store = open_through(trouble, NULL, &opening);
    assert_no_error(opening);
    assert_non_null(trouble->store);
    assert_null(store_secret(trouble->store));
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    StoreWrite write = sample_append(run, 1, 0);
    assert_false(store_write(trouble->store, &write, 1, &writing));
    assert_error(writing, FLOWOPS_UNAVAILABLE);
    assert_int_equal(write.ret_outcome, WRITE_NOTHING);
    assert_false(store_check(trouble->store, &checking));
    assert_error(checking, FLOWOPS_UNAVAILABLE);
    assert_null(store_get_run(trouble->store, run->row.run_id.text, &reading));
    assert_error(reading, FLOWOPS_UNAVAILABLE);

    proxy_set(trouble->proxy, PROXY_PASS);
    wait_until(is_available, trouble->store);
    assert_memory_equal(store_secret(trouble->store), store_secret(trouble->direct->store), MONGO_SECRET_SIZE);
    assert_true(store_write(trouble->store, &write, 1, &none));
    await_followers(trouble->store, &write, 1);
    assert_int_equal(check_journal(trouble->direct->store, &run->row.run_id, 0, 10, 1000, 0), 1);
}

static void test_gone_and_back(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(trouble->store, run, 1);
    proxy_set(trouble->proxy, PROXY_GONE);
    g_autoptr(Clock) clock = clock_new_system();
    int64_t began_ms = clock_monotonic_ms(clock);
    for (unsigned i = 0; i < 2; i++) { /* the first finds a connection cut, the next no server */
        g_autoptr(GError) error = NULL;
        g_autoptr(RunDocument) document = store_get_run(trouble->store, run->row.run_id.text, &error);
        assert_null(document);
        assert_error(error, FLOWOPS_UNAVAILABLE);
    }
    assert_true(clock_monotonic_ms(clock) - began_ms < 10000);
    proxy_set(trouble->proxy, PROXY_PASS);
    wait_until(is_available, trouble->store);
    append_events(trouble->store, run, 2);
    assert_int_equal(check_journal(trouble->direct->store, &run->row.run_id, 0, 10, 1000, 0), 3);
}

/* Documents and marks that could not be written while the server was gone are written when it is back. */
static void test_documents_follow_when_it_is_back(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(GError) error = NULL;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    sample_command(run, 1);
    append_events(trouble->store, run, 1);
    proxy_set(trouble->proxy, PROXY_GONE);
    run->row.seq = 2;
    StoreWrite writes[] = {{.kind = WRITE_PROJECTION, .projection = &run->row},
                           {.kind = WRITE_PUBLISHED, .published = {run->row.run_id, 1}}};
    assert_true(store_write(trouble->store, writes, 2, &error));
    assert_false(mongo_settle(trouble->store, 3000));
    proxy_set(trouble->proxy, PROXY_PASS);
    await_followers(trouble->direct->store, writes, 2);
}

/* Deletes a run until the store says something else than that no server answers. */
typedef struct {
    Store *store;
    StoreWrite write;
    int code; /* of the last try; -1: it was written */
} Deletion;

static bool is_told(void *arg)
{
    Deletion *deletion = arg;
    g_autoptr(GError) error = NULL;
    deletion->code = store_write(deletion->store, &deletion->write, 1, &error) ? -1 : error->code;
    return deletion->code != FLOWOPS_UNAVAILABLE && deletion->code != FLOWOPS_UNKNOWN;
}

/* One run's document that does not get through holds up the deletion of that run, not of others. */
static void test_deleting_waits_for_its_own_documents(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(GError) error = NULL;
    g_autoptr(SampleRun) stuck = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) other = sample_run_new(2, &owner, &flow_id);
    append_events(trouble->store, stuck, 1);
    append_events(trouble->store, other, 1);
    assert_true(mongo_settle(trouble->store, DEADLINE_MS));
    proxy_swallow_answers(trouble->proxy, stuck->row.run_id.text, INT_MAX);
    stuck->row.seq = 2;
    StoreWrite behind = {.kind = WRITE_PROJECTION, .projection = &stuck->row};
    assert_true(store_write(trouble->store, &behind, 1, &error));
    Deletion deletion = {.store = trouble->store, .write = {.kind = WRITE_DELETE_RUN, .deleted = stuck->row.run_id}};
    wait_until(is_told, &deletion);
    assert_int_equal(deletion.code, FLOWOPS_BUSY);
    assert_int_equal(deletion.write.ret_outcome, WRITE_NOTHING);
    deletion.write.deleted = other->row.run_id;
    wait_until(is_told, &deletion);
    assert_int_equal(deletion.code, -1);
    assert_int_equal(check_journal(trouble->direct->store, &other->row.run_id, 0, 10, 1000, 0), 0);
    proxy_swallow_answers(trouble->proxy, "", 0);
    assert_true(mongo_settle(trouble->store, DEADLINE_MS));
    deletion.write.deleted = stuck->row.run_id;
    wait_until(is_told, &deletion);
    assert_int_equal(deletion.code, -1);
}

/* ---- answers that are lost ---- */

static void test_lost_answer_is_found_out(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) taken = sample_run_new(2, &owner, &flow_id);
    g_autoptr(SampleRun) rival = sample_run_new(2, &owner, &flow_id);
    append_events(trouble->store, taken, 1);
    for (unsigned i = 0; i < 5; i++) {
        g_autoptr(GError) error = NULL;
        rival->row.seq = 0;
        StoreWrite writes[] = {sample_append(run, 2, 0), sample_append(rival, 1, 0)};
        proxy_swallow_answers(trouble->proxy, "run_events", 1 + (int)i % 2);
        assert_true(store_write(trouble->store, writes, 2, &error));
        assert_int_equal(writes[0].ret_outcome, WRITTEN);
        assert_int_equal(writes[1].ret_outcome, WRITE_CONFLICT);
    }
    assert_true(proxy_swallowed(trouble->proxy) >= 5);
    assert_int_equal(check_journal(trouble->direct->store, &run->row.run_id, 0, 100, 10000, 0), 10);
    assert_int_equal(check_journal(trouble->direct->store, &taken->row.run_id, 0, 100, 10000, 0), 1);
}

static void test_lost_answer_of_a_flow(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(GError) error = NULL;
    static const char *const words[] = {"flow_versions", "upsert"};
    for (int64_t version = 1; version <= 4; version++) {
        g_autoptr(Flow) flow = sample_flow(1, &owner, version, 2);
        proxy_swallow_answers(trouble->proxy, words[version % 2], 1);
        write_flow_version(trouble->store, flow);
        g_autoptr(Flow) newest = store_get_flow(trouble->direct->store, flow->id.text, 0, &error);
        assert_no_error(error);
        assert_int_equal(newest->version, version);
    }
}

/* ---- a server that stands still ---- */

static bool is_call_done(void *arg)
{
    return __atomic_load_n(&((Call *)arg)->is_done, __ATOMIC_ACQUIRE);
}

static bool are_eight_seconds_over(void *arg)
{
    static int64_t began_ms;
    int64_t now_ms = clock_monotonic_ms(arg);
    began_ms = began_ms == 0 ? now_ms : began_ms;
    return now_ms - began_ms >= 8000;
}

/* Longer than a socket waits, shorter than an append is tried: requests that waited in sockets are carried out late,
 * beside those that were sent again. */
static void test_standstill_is_survived(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(Clock) clock = clock_new_system();
    enum { N = 50 };
    SampleRun *runs[N];
    StoreWrite writes[N];
    for (unsigned i = 0; i < N; i++) {
        runs[i] = sample_run_new(i, &owner, &flow_id);
        writes[i] = sample_append(runs[i], 2, 0);
    }
    proxy_set(trouble->proxy, PROXY_STILL);
    Call call = {.store = trouble->store, .writes = writes, .n_writes = N};
    call_begin(&call);
    wait_until(are_eight_seconds_over, clock);
    assert_false(is_call_done(&call));
    proxy_set(trouble->proxy, PROXY_PASS);
    wait_until(is_call_done, &call);
    assert_no_error(call.error);
    call_end(&call);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(writes[i].ret_outcome, WRITTEN);
        append_events(trouble->store, runs[i], 1);
        assert_int_equal(check_journal(trouble->direct->store, &runs[i]->row.run_id, 0, 100, 10000, 0), 3);
        sample_run_free(runs[i]);
    }
}

/* What stays in doubt is said to be: never WRITTEN, never NOTHING. */
static void test_too_long_a_standstill_is_unknown(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    StoreWrite write = sample_append(run, 2, 0);
    proxy_set(trouble->proxy, PROXY_STILL);
    Call call = {.store = trouble->store, .writes = &write, .n_writes = 1};
    call_begin(&call);
    wait_until(is_call_done, &call);
    assert_error(call.error, FLOWOPS_UNKNOWN);
    assert_int_equal(write.ret_outcome, WRITE_UNKNOWN);
    call_end(&call);
    proxy_set(trouble->proxy, PROXY_PASS);
    wait_until(is_available, trouble->store);
    run->row.seq = 0; /* whoever comes next finds it written, or writes it: once, either way */
    StoreWrite again = sample_append(run, 2, 0);
    WriteOutcome outcome = write_one(trouble->store, again);
    assert_true(outcome == WRITTEN || outcome == WRITE_CONFLICT);
    assert_int_equal(check_journal(trouble->direct->store, &run->row.run_id, 0, 100, 10000, 0), 2);
}

/* The process is to end: what is under way ends by its time-out, nothing else is begun, and closing does not wait. */
static void test_interrupted_while_it_stands_still(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(Clock) clock = clock_new_system();
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(trouble->store, run, 1);
    StoreWrite write = sample_append(run, 2, 0);
    proxy_set(trouble->proxy, PROXY_STILL);
    int64_t began_ms = clock_monotonic_ms(clock);
    Call call = {.store = trouble->store, .writes = &write, .n_writes = 1};
    call_begin(&call);
    store_interrupt(trouble->store);
    for (bool is_refused = false; !is_refused;) { /* each costs a time-out until the server is given up */
        g_autoptr(GError) error = NULL;
        g_autoptr(RunDocument) document = store_get_run(trouble->store, run->row.run_id.text, &error);
        assert_null(document);
        assert_error(error, FLOWOPS_UNAVAILABLE);
        is_refused = strstr(error->message, "this process is ending") != NULL;
        assert_true(clock_monotonic_ms(clock) - began_ms < 8000);
    }
    wait_until(is_call_done, &call);
    assert_error(call.error, FLOWOPS_UNKNOWN);
    assert_int_equal(write.ret_outcome, WRITE_UNKNOWN);
    call_end(&call);
    store_close(g_steal_pointer(&trouble->store));
    assert_true(clock_monotonic_ms(clock) - began_ms < 9000);
}

/* ---- cursors ---- */

/* A server forgets cursors that are not used for long, and all of them when it is restarted. */
static void test_cursor_that_is_gone_can_be_tried_again(void **state)
{
    Trouble *trouble = *state;
    enum { N = 150 }; /* records: more than a first batch is meant to have */
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    for (unsigned i = 0; i < N; i++)
        append_events(trouble->store, run, 1);
    g_autoptr(GError) error = NULL;
    proxy_spoil_cursors(trouble->proxy, 1);
    g_autoptr(JournalPage) page = store_read_journal(trouble->store, run->row.run_id.text, 0, 2 * N, 1 << 20, &error);
    if (proxy_spoils_left(trouble->proxy) > 0) { /* mongo-java-server tells all at once unless it is told not to */
        assert_non_null(page);
    } else {
        assert_null(page);
        assert_error(error, FLOWOPS_UNAVAILABLE);
    }
    assert_int_equal(check_journal(trouble->store, &run->row.run_id, 0, 2 * N, 1 << 20, 0), N);
}

/* ---- credentials ---- */

/* mongo-java-server and FerretDB know no passwords: they refuse whoever has one. */
static void test_refused_login_is_one_clear_line_without_the_password(void **state)
{
    Trouble *trouble = *state;
    g_autoptr(GError) opening = NULL, checking = NULL;
    g_autoptr(Store) store = open_through(trouble, "somebody:pass%40word", &opening);
    assert_no_error(opening);
    assert_false(store_check(store, &checking));
    assert_error(checking, FLOWOPS_UNAVAILABLE);
    assert_non_null(strstr(checking->message, "login"));
    assert_null(strstr(checking->message, "pass"));
    assert_null(strchr(checking->message, '\n'));
}

/* "hush" stands for whatever somebody may have put there. */
static void test_fault_of_an_address_is_told_without_what_is_in_it(void **state)
{
    Trouble *trouble = *state;
    static const struct {
        const char *uri, *words;
    } cases[] = {
        {"", "begins with"},
        {"hush", "begins with"},
        {"mongo://x:hush@h", "begins with"},
        {"mongodb://", "a host is missing"},
        {"mongodb://x:hush@", "a host is missing"},
        {"mongodb://hush,", "a host is missing"},
        {"mongodb://:27017", "a host is missing"},
        {"mongodb://x:hush@h:99999999", "a port in it"},
        {"mongodb://x:hush@h:0", "a port in it"},
        {"mongodb://x:hush@h:", "a port in it"},
        {"mongodb://h:1,g:hush", "a port in it"},
        {"mongodb://x:hush@[::1", "closing bracket"},
        {"mongodb://x:hu:shhush@h", "written as %XX"},
        {"mongodb://x:hush%zz@h", "written as %XX"},
        {"mongodb://x:hush/hush@h", "written as %XX"},
        {"mongodb://x:hu#hush@h:hush", "written as %XX"},
        {"mongodb://:hush@h", "without a user"},
        {"mongodb://x:hush@h?w=1", "a / is missing"},
        {"mongodb://x:hush@h/hu.sh", "the database in its path"},
        {"mongodb://x:hush@h/?hush", "has no value"},
        {"mongodb://x:hush@h/?replicaSet=&w=1", "its option replicaSet takes a text"},
        {"mongodb://x:hush@h/?w=1&serverSelectionTimeoutMS=hush",
         "its option serverSelectionTimeoutMS takes a whole number"},
        {"mongodb://x:hush@h/?retryWrites=hush", "its option retryWrites takes true or false"},
        {"mongodb://x:hush@h/?readPreference=hush", "its options contradict"},
        {"mongodb://hush,g/?directConnection=true", "its options contradict"},
        {"mongodb+srv://x:hush@h", "three parts"},
        {"mongodb+srv://x:hush@a.b.hush:27017", "three parts"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(store_open_mongo(cases[i].uri, "flowops", trouble->direct->clock, &error));
        assert_error(error, FLOWOPS_INVALID);
        if (strstr(error->message, cases[i].words) == NULL || strstr(error->message, "hush") != NULL)
            fail_msg("%s: %s", cases[i].uri, error->message);
    }
    static const char *const names[] = {"", "a.b", "a b", "a$b", "a/b"};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(store_open_mongo("mongodb://127.0.0.1", names[i], trouble->direct->clock, &error));
        assert_error(error, FLOWOPS_INVALID);
    }
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fault_of_an_address_is_told_without_what_is_in_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_login_is_one_clear_line_without_the_password, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opens_without_a_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gone_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_documents_follow_when_it_is_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleting_waits_for_its_own_documents, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answer_is_found_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answer_of_a_flow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cursor_that_is_gone_can_be_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_interrupted_while_it_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(test_standstill_is_survived, setup, teardown),
        cmocka_unit_test_setup_teardown(test_too_long_a_standstill_is_unknown, setup, teardown),
    };
    int n_failed = cmocka_run_group_tests_name("store: mongo in trouble", tests, NULL, NULL);
    mongo_drop_all();
    return n_failed;
}
