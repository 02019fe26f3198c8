/* What the MongoDB store does beyond the contract: the form of its documents, what a call costs, writers and projectors
 * that race, marks that wait for their documents. On the server that FLOWOPS_TEST_MONGO names. */
#include "store_contract.h"

#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/decide.h"
#include "mongo_support.h"
#include "store/store_mongo_internal.h"

enum { DEADLINE_MS = 30000 };

static Id owner, flow_id;

static int setup(void **state)
{
    *state = store_fixture_new(mongo_open_for_test);
    return 0;
}

static int teardown(void **state)
{
    store_fixture_free(*state);
    return 0;
}

static Store *open_with(const StoreFixture *fixture, MongoOptions options)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    Store *store = mongo_open(mongo_test_uri(), database, fixture->clock, &options, &error);
    assert_no_error(error);
    assert_non_null(store);
    return store;
}

/* ---- looking at documents ---- */

typedef struct {
    mongoc_client_t *client;
    mongoc_collection_t *collection;
    mongoc_cursor_t *cursor;
    const bson_t *document; /* NULL: none */
} Look;

static Look look_at(const StoreFixture *fixture, const char *collection, const char *id)
{
    Look look = {.client = mongo_test_client()};
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    look.collection = mongoc_client_get_collection(look.client, database, collection);
    bson_t filter = BSON_INITIALIZER;
    BSON_APPEND_UTF8(&filter, "_id", id);
    look.cursor = mongoc_collection_find_with_opts(look.collection, &filter, NULL, NULL);
    bson_destroy(&filter);
    if (!mongoc_cursor_next(look.cursor, &look.document))
        look.document = NULL;
    return look;
}

static void look_end(Look *look)
{
    mongoc_cursor_destroy(look->cursor);
    mongoc_collection_destroy(look->collection);
    mongoc_client_destroy(look->client);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_end)

static void assert_member(const bson_t *document, const char *path, bson_type_t type, const char *text)
{
    bson_iter_t iter, member;
    if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, path, &member))
        fail_msg("%s is missing", path);
    if (bson_iter_type(&member) != type)
        fail_msg("%s is of type %d", path, (int)bson_iter_type(&member));
    if (text != NULL)
        assert_string_equal(bson_iter_utf8(&member, NULL), text);
}

static void change(const StoreFixture *fixture, const char *collection, const char *id, const bson_t *update)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    bson_t filter = BSON_INITIALIZER;
    bson_error_t failure;
    BSON_APPEND_UTF8(&filter, "_id", id);
    bool is_done = update == NULL ? mongoc_collection_delete_one(handle, &filter, NULL, NULL, &failure)
                                  : mongoc_collection_update_one(handle, &filter, update, NULL, NULL, &failure);
    assert_true(is_done);
    bson_destroy(&filter);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
}

/* A run made by the domain, with the row the service would write. */
typedef struct {
    Run *run;
    GString *events, *detail;
    RunRow row;
    int64_t command_seq;
} RealRun;

static void real_run_done(RealRun *real)
{
    run_free(real->run);
    g_string_free(real->events, TRUE);
    g_string_free(real->detail, TRUE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RealRun, real_run_done)

static RealRun real_run(const Flow *flow, const TextMap *labels)
{
    RealRun real = {.run = run_new(), .events = g_string_new(NULL), .detail = g_string_new(NULL), .command_seq = 1};
    TextMap none = {0};
    g_autoptr(GError) error = NULL;
    RunRequest request = {.run_id = test_id('r', 1),
                          .command_id = test_id('c', 1),
                          .flow = flow,
                          .triggered_by = owner.text,
                          .labels = labels,
                          .inputs = &none,
                          .now_ms = START_MS};
    g_autoptr(Decision) decision = decide_create(&request);
    for (size_t i = 0; i < decision->n_events; i++) {
        event_encode(decision->events[i], real.events);
        g_string_append_c(real.events, '\n');
        assert_true(run_fold(real.run, decision->events[i], &error));
    }
    size_t summary_size = run_encode_detail(real.run, real.detail);
    const Run *run = real.run;
    real.row = (RunRow){.run_id = run->id,
                        .flow_id = run->flow_id,
                        .owner = run->owner,
                        .status = run->status,
                        .phase = run_phase(run),
                        .triggered_by = run->triggered_by,
                        .created_by = owner.text,
                        .updated_by = owner.text,
                        .created_at = run->created_at,
                        .updated_at = run->updated_at,
                        .seq = run->seq,
                        .flow_version = run->flow_version,
                        .pending = run->pending.command,
                        .pending_at = run->pending.requested_at,
                        .detail = real.detail->str,
                        .detail_size = real.detail->len,
                        .summary_size = summary_size,
                        .labels = &run->labels,
                        .run = run};
    return real;
}

static StoreWrite write_of(RealRun *real)
{
    return (StoreWrite){.kind = WRITE_RUN,
                        .run = {.first_seq = 1,
                                .n_events = real->row.seq,
                                .events = real->events->str,
                                .events_size = real->events->len,
                                .row = &real->row,
                                .command_seqs = &real->command_seq,
                                .n_commands = 1}};
}

static void test_documents_can_be_read_by_people(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 2);
    TextMap labels = {0};
    text_map_add(&labels, "$where", "a.b.$c");
    text_map_add(&labels, "dotted.name", "");
    g_auto(RealRun) real = real_run(flow, &labels);
    write_flow_version(fixture->store, flow);
    assert_int_equal(write_one(fixture->store, write_of(&real)), WRITTEN);

    g_auto(Look) run = look_at(fixture, "runs", real.row.run_id.text);
    assert_member(run.document, "flowId", BSON_TYPE_UTF8, flow->id.text);
    assert_member(run.document, "status", BSON_TYPE_UTF8, "PENDING");
    assert_member(run.document, "phase", BSON_TYPE_UTF8, "OPEN");
    assert_member(run.document, "pendingCommand.command", BSON_TYPE_UTF8, "START");
    assert_member(run.document, "pendingCommand.commandId", BSON_TYPE_UTF8, test_id('c', 1).text);
    assert_member(run.document, "pendingCommand.requestedAt", BSON_TYPE_DATE_TIME, NULL);
    assert_member(run.document, "labels.0.name", BSON_TYPE_UTF8, "$where");
    assert_member(run.document, "labels.0.value", BSON_TYPE_UTF8, "a.b.$c");
    assert_member(run.document, "steps.1.stepId", BSON_TYPE_UTF8, flow->flat[1]->step_id.text);
    assert_member(run.document, "steps.1.status", BSON_TYPE_UTF8, "PENDING");
    assert_member(run.document, "startedAt", BSON_TYPE_NULL, NULL);

    char id[RECORD_ID_SIZE];
    record_id(id, real.row.run_id.text, 1);
    g_auto(Look) record = look_at(fixture, "run_events", id);
    g_autofree char *event = g_strndup(real.events->str, real.events->len - 1);
    assert_member(record.document, "events.0", BSON_TYPE_UTF8, event);
    assert_member(record.document, "unpublished.0", BSON_TYPE_INT64, NULL);
    record_id(id, flow->id.text, 1);
    g_auto(Look) version = look_at(fixture, "flow_versions", id);
    g_auto(Look) head = look_at(fixture, "flows", flow->id.text);
    assert_member(head.document, "name", BSON_TYPE_UTF8, flow->name);
    const bson_t *documents[] = {run.document, record.document, version.document, head.document};
    for (size_t i = 0; i < G_N_ELEMENTS(documents); i++) {
        assert_member(documents[i], "createdAt", BSON_TYPE_DATE_TIME, NULL);
        assert_member(documents[i], "updatedAt", BSON_TYPE_DATE_TIME, NULL);
        assert_member(documents[i], "createdBy", BSON_TYPE_UTF8, owner.text);
        assert_member(documents[i], "updatedBy", BSON_TYPE_UTF8, owner.text);
    }
    text_map_done(&labels);
}

static void test_labels_may_have_dots_and_dollars(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    text_map_add(&run->labels, "a.b", "$c");
    text_map_add(&run->labels, "$in", "x.y");
    append_events(store, run, 1);
    static const char *const pairs[][2] = {{"a.b", "$c"}, {"a.b", NULL}, {"$in", "x.y"}, {"$in", NULL}};
    for (size_t i = 0; i < G_N_ELEMENTS(pairs); i++) {
        ListQuery query = query_of(&owner);
        query.label_name = pairs[i][0];
        query.label_value = pairs[i][1];
        g_autoptr(ListPage) page = list_runs(store, &query);
        assert_int_equal(page->n_items, 1);
        query.label_value = "other";
        g_autoptr(ListPage) none = list_runs(store, &query);
        assert_int_equal(none->n_items, 0);
    }
}

/* ---- what a call costs ---- */

static int64_t commands_since(const Store *store, int64_t *before)
{
    int64_t now = __atomic_load_n(&mongo_traffic(store)->n_by_callers, __ATOMIC_RELAXED), n = now - *before;
    *before = now;
    return n;
}

static void test_round_trips(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 2);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow->id);
    write_flow_version(fixture->store, flow);
    g_autoptr(Store) store = open_with(fixture, (MongoOptions){.counts_traffic = true});
    g_autoptr(GError) error = NULL;
    int64_t count = 0;
    (void)commands_since(store, &count);

    /* A start: the flow's version, and the append. */
    int64_t version = 0;
    StoreWrite write = sample_append(run, 1, 0);
    assert_true(store_get_flow_versions(store, &flow->id, 1, &version, &error));
    assert_true(store_write(store, &write, 1, &error));
    assert_int_equal(version, 1);
    assert_int_equal(commands_since(store, &count), 2);

    /* A batch of statuses of many runs: one. */
    SampleRun *many[100];
    StoreWrite writes[100];
    for (unsigned i = 0; i < 100; i++) {
        many[i] = sample_run_new(100 + i, &owner, &flow->id);
        writes[i] = sample_append(many[i], 2, 0);
    }
    assert_true(store_write(store, writes, 100, &error));
    assert_int_equal(commands_since(store, &count), 1);
    await_followers(store, &write, 1);
    await_followers(store, writes, 100);
    (void)commands_since(store, &count);

    g_autoptr(RunDocument) document = store_get_run(store, run->row.run_id.text, &error);
    assert_int_equal(commands_since(store, &count), 1);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_int_equal(page->n_items, 50);
    assert_int_equal(commands_since(store, &count), 1);
    g_autoptr(JournalPage) journal = store_read_journal(store, run->row.run_id.text, 0, 100, 10000, &error);
    assert_int_equal(commands_since(store, &count), 1);
    bool is_newer[2];
    RunSeq known[] = {{run->row.run_id, 1}, {many[0]->row.run_id, 0}};
    assert_true(store_find_newer(store, known, 2, is_newer, &error));
    assert_true(!is_newer[0] && is_newer[1]);
    assert_int_equal(commands_since(store, &count), 1);
    for (unsigned i = 0; i < 100; i++)
        sample_run_free(many[i]);
}

/* ---- projections ---- */

static int64_t seq_of_document(Store *store, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(RunDocument) document = store_get_run(store, run_id->text, &error);
    return document != NULL ? document->seq : 0;
}

/* With either way of replacing: by a condition, and by looking before and after. */
static void test_projections_never_go_back(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    for (unsigned way = 0; way < 2; way++) {
        g_autoptr(Store) store = open_with(fixture, (MongoOptions){.claims_atomic_replace = way == 1});
        g_autoptr(SampleRun) run = sample_run_new(1 + way, &owner, &flow_id);
        g_autoptr(SampleRun) old = sample_run_new(1 + way, &owner, &flow_id);
        append_events(store, run, 1);
        (void)sample_append(old, 1, 0);
        append_events(store, run, 4);
        StoreWrite late = {.kind = WRITE_PROJECTION, .projection = &old->row};
        assert_int_equal(write_one(store, late), WRITTEN);
        assert_true(mongo_settle(store, DEADLINE_MS));
        assert_int_equal(seq_of_document(store, &run->row.run_id), 5);

        /* One that was never written, as after a crash. */
        change(fixture, "runs", run->row.run_id.text, NULL);
        StoreWrite again = {.kind = WRITE_PROJECTION, .projection = &run->row};
        assert_int_equal(write_one(store, late), WRITTEN);
        assert_int_equal(write_one(store, again), WRITTEN);
        assert_int_equal(seq_of_document(store, &run->row.run_id), 5);
    }
}

/* A run that gets many events in a row costs few documents, and ends with the newest. */
static void test_documents_of_one_run_are_coalesced(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(Store) store = open_with(fixture, (MongoOptions){.counts_traffic = true});
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    assert_true(mongo_settle(store, DEADLINE_MS));
    for (int i = 0; i < 200; i++) {
        g_autoptr(GError) error = NULL;
        StoreWrite write = sample_append(run, 1, 0);
        assert_true(store_write(store, &write, 1, &error));
        assert_int_equal(write.ret_outcome, WRITTEN);
    }
    assert_true(mongo_settle(store, DEADLINE_MS));
    assert_int_equal(seq_of_document(store, &run->row.run_id), 200);
}

static size_t outbox_size(Store *store)
{
    g_autoptr(GError) error = NULL;
    RunSeq entries[16];
    size_t n = 0;
    assert_true(store_read_outbox(store, NULL, G_N_ELEMENTS(entries), entries, &n, &error));
    return n;
}

/* Whoever finds a mark after a crash folds the run's document first: so it must not go before that is there. */
static void test_mark_waits_for_its_document(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(GError) error = NULL;
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    sample_command(run, 2);
    append_events(fixture->store, run, 3);
    change(fixture, "runs", run->row.run_id.text, NULL);
    StoreWrite published = {.kind = WRITE_PUBLISHED, .published = {run->row.run_id, 2}};
    assert_true(store_write(fixture->store, &published, 1, &error));
    assert_true(mongo_settle(fixture->store, DEADLINE_MS));
    assert_int_equal(outbox_size(fixture->store), 1);

    StoreWrite both[] = {published, {.kind = WRITE_PROJECTION, .projection = &run->row}};
    write_all(fixture->store, both, 2);
    assert_int_equal(outbox_size(fixture->store), 0);
}

static void test_marks_within_a_record_go_one_by_one(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    append_events(fixture->store, run, 1);
    sample_command(run, 3);
    sample_command(run, 5);
    append_events(fixture->store, run, 5);
    for (int64_t seq = 3; seq <= 5; seq += 2) {
        assert_int_equal(outbox_size(fixture->store), seq == 3 ? 2 : 1);
        StoreWrite write = {.kind = WRITE_PUBLISHED, .published = {run->row.run_id, seq}};
        assert_int_equal(write_one(fixture->store, write), WRITTEN);
    }
    char id[RECORD_ID_SIZE];
    record_id(id, run->row.run_id.text, 2);
    assert_true(mongo_settle(fixture->store, DEADLINE_MS));
    g_auto(Look) record = look_at(fixture, "run_events", id);
    assert_false(bson_has_field(record.document, "unpublished"));
    assert_false(bson_has_field(record.document, "outboxId"));
    assert_int_equal(check_journal(fixture->store, &run->row.run_id, 0, 100, 10000, 0), 6);
}

/* ---- sizes ---- */

static void test_document_over_the_limit_is_refused_alone(void **state)
{
    Store *store = fixture_of(state)->store;
    g_autoptr(SampleRun) large = sample_run_new(1, &owner, &flow_id);
    g_autoptr(SampleRun) small = sample_run_new(2, &owner, &flow_id);
    g_autoptr(SampleRun) fitting = sample_run_new(3, &owner, &flow_id);
    StoreWrite writes[] = {sample_append(small, 1, 0), sample_append(large, 1, 16 * 1024 * 1024),
                           sample_append(fitting, 1, 15 * 1024 * 1024)};
    g_autoptr(GError) error = NULL;
    assert_false(store_write(store, writes, 3, &error));
    assert_error(error, FLOWOPS_INVALID);
    assert_int_equal(writes[0].ret_outcome, WRITTEN);
    assert_int_equal(writes[1].ret_outcome, WRITE_NOTHING);
    assert_int_equal(writes[2].ret_outcome, WRITTEN);
    assert_int_equal(check_journal(store, &large->row.run_id, 0, 10, 10, 0), 0);
    assert_int_equal(check_journal(store, &small->row.run_id, 0, 10, 10, 0), 1);
    assert_int_equal(check_journal(store, &fitting->row.run_id, 0, 10, 10, 15 * 1024 * 1024), 1);
}

/* ---- flows ---- */

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
    change(fixture, "flows", v1->id.text, &back);
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = rival}), WRITE_CONFLICT);
    g_autoptr(Flow) newest = store_get_flow(store, v1->id.text, 0, &error);
    assert_no_error(error);
    assert_int_equal(newest->version, 3);

    change(fixture, "flows", v1->id.text, &back);
    g_autoptr(Flow) v4 = sample_flow(1, &owner, 4, 1);
    write_flow_version(store, v4);
    int64_t version = 0;
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
    static const char *const collections[] = {"run_events", "runs", "flow_versions", "flows"};
    static const size_t expected[] = {2, 9, 2, 3};
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

static void test_newer_database_is_refused(void **state)
{
    StoreFixture *fixture = fixture_of(state);
    store_close(g_steal_pointer(&fixture->store));
    bson_t newer = BSON_INITIALIZER, set;
    BSON_APPEND_DOCUMENT_BEGIN(&newer, "$set", &set);
    BSON_APPEND_INT32(&set, "version", 99);
    bson_append_document_end(&newer, &set);
    change(fixture, "meta", "schema", &newer);
    bson_destroy(&newer);
    g_autoptr(GError) error = NULL;
    assert_null(mongo_open_for_test(fixture->data_dir, fixture->clock, &error));
    assert_error(error, FLOWOPS_INVALID);
    assert_non_null(strstr(error->message, "99"));
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_documents_can_be_read_by_people, setup, teardown),
        cmocka_unit_test_setup_teardown(test_labels_may_have_dots_and_dollars, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_projections_never_go_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_documents_of_one_run_are_coalesced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mark_waits_for_its_document, setup, teardown),
        cmocka_unit_test_setup_teardown(test_marks_within_a_record_go_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_document_over_the_limit_is_refused_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head_that_lags_is_brought_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_of_many_writers_of_a_version_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_processes_race_on_one_run, setup, teardown),
        cmocka_unit_test_setup_teardown(test_indexes_are_made_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_database_is_refused, setup, teardown),
    };
    int n_failed = cmocka_run_group_tests_name("store: mongo", tests, NULL, NULL);
    mongo_drop_all();
    return n_failed;
}
