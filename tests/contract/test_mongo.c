/* What the MongoDB store does beyond the contract: the form of its documents, what a call costs, documents that never
 * go back, marks that wait for their documents, what is too large. On the server that FLOWOPS_TEST_MONGO names. */
#include "store_contract.h"

#include <string.h>

#include "domain/decide.h"
#include "mongo_support.h"
#include "store/store_mongo_internal.h"

enum { DEADLINE_MS = 30000 };

static Id owner, flow_id;

/* ---- documents ---- */

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

    g_auto(Look) run = look_at(fixture->data_dir, "runs", real.row.run_id.text);
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
    g_auto(Look) record = look_at(fixture->data_dir, "run_events", id);
    g_autofree char *event = g_strndup(real.events->str, real.events->len - 1);
    assert_member(record.document, "events.0", BSON_TYPE_UTF8, event);
    assert_member(record.document, "unpublished.0", BSON_TYPE_INT64, NULL);
    record_id(id, flow->id.text, 1);
    g_auto(Look) version = look_at(fixture->data_dir, "flow_versions", id);
    g_auto(Look) head = look_at(fixture->data_dir, "flows", flow->id.text);
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
    g_autoptr(Store) store = mongo_open_with(fixture, (MongoOptions){.counts_traffic = true});
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
    assert_int_equal(document->seq, 1);
    assert_int_equal(commands_since(store, &count), 1);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_int_equal(page->n_items, 50);
    assert_int_equal(commands_since(store, &count), 1);
    g_autoptr(JournalPage) journal = store_read_journal(store, run->row.run_id.text, 0, 100, 10000, &error);
    assert_int_equal(journal->n_entries, 1);
    assert_int_equal(commands_since(store, &count), 1);
    bool is_newer[2];
    RunSeq known[] = {{run->row.run_id, 1}, {many[0]->row.run_id, 0}};
    assert_true(store_find_newer(store, known, 2, is_newer, &error));
    assert_true(!is_newer[0] && is_newer[1]);
    assert_int_equal(commands_since(store, &count), 1);
    for (unsigned i = 0; i < 100; i++)
        sample_run_free(many[i]);
}

/* What each command asked for, by its name: "insert w=majority". */
static void note_concern(void *arg, const bson_t *command)
{
    bson_iter_t iter, member;
    GString *seen = arg;
    g_assert(bson_iter_init(&iter, command) && bson_iter_next(&iter));
    g_string_append_printf(seen, "%s", bson_iter_key(&iter));
    if (bson_iter_init(&iter, command) && bson_iter_find_descendant(&iter, "writeConcern.w", &member))
        g_string_append_printf(seen, " w=%s", bson_iter_utf8(&member, NULL));
    if (bson_iter_init(&iter, command) && bson_iter_find_descendant(&iter, "readConcern.level", &member))
        g_string_append_printf(seen, " level=%s", bson_iter_utf8(&member, NULL));
    g_string_append_c(seen, ';');
}

static void test_concerns_are_majority(void **state)
{
    g_autoptr(GString) seen = g_string_new(NULL);
    g_autoptr(Store) store = mongo_open_with(
        fixture_of(state), (MongoOptions){.counts_traffic = true, .observe = note_concern, .observe_arg = seen});
    g_autoptr(SampleRun) run = sample_run_new(1, &owner, &flow_id);
    g_autoptr(Flow) flow = sample_flow(1, &owner, 1, 1);
    g_string_truncate(seen, 0);
    append_events(store, run, 1);
    write_flow_version(store, flow);
    ListQuery query = query_of(&owner);
    g_autoptr(ListPage) page = list_runs(store, &query);
    assert_non_null(page);
    int64_t n_open = 0;
    assert_true(store_count_open_runs(store, NULL, &n_open, NULL));
    g_auto(GStrv) commands = g_strsplit(seen->str, ";", -1);
    for (size_t i = 0; commands[i][0] != '\0'; i++) {
        bool is_write = g_str_has_prefix(commands[i], "insert") || g_str_has_prefix(commands[i], "update");
        if (!g_str_has_suffix(commands[i], is_write ? " w=majority" : " level=majority"))
            fail_msg("%s", commands[i]);
    }
    assert_non_null(strstr(seen->str, "insert") != NULL ? strstr(seen->str, "aggregate") : NULL);
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
        g_autoptr(Store) store = mongo_open_with(fixture, (MongoOptions){.claims_atomic_replace = way == 1});
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
        change_document(fixture->data_dir, "runs", run->row.run_id.text, NULL);
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
    g_autoptr(Store) store = mongo_open_with(fixture, (MongoOptions){.counts_traffic = true});
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
    change_document(fixture->data_dir, "runs", run->row.run_id.text, NULL);
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
    g_auto(Look) record = look_at(fixture->data_dir, "run_events", id);
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
    assert_int_equal(writes[1].ret_outcome, WRITE_REFUSED);
    assert_int_equal(writes[2].ret_outcome, WRITTEN);
    assert_int_equal(check_journal(store, &large->row.run_id, 0, 10, 10, 0), 0);
    assert_int_equal(check_journal(store, &small->row.run_id, 0, 10, 10, 0), 1);
    assert_int_equal(check_journal(store, &fitting->row.run_id, 0, 10, 10, 15 * 1024 * 1024), 1);
}

int main(void)
{
    owner = test_id('o', 1);
    flow_id = test_id('f', 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_documents_can_be_read_by_people, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_labels_may_have_dots_and_dollars, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_round_trips, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_concerns_are_majority, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_projections_never_go_back, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_documents_of_one_run_are_coalesced, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_mark_waits_for_its_document, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_marks_within_a_record_go_one_by_one, mongo_setup, mongo_teardown),
        cmocka_unit_test_setup_teardown(test_document_over_the_limit_is_refused_alone, mongo_setup, mongo_teardown),
    };
    int n_failed = cmocka_run_group_tests_name("store: mongo", tests, NULL, NULL);
    mongo_drop_all();
    return n_failed;
}
