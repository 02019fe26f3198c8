/* Each query of the MongoDB store has the index that docs/mongodb.md gives it. The commands are those that the store sends.
 * On every server: they fit the index's keys, which a server that ignores indexes cannot tell. Where `explain` shows
 * MongoDB's planner: that it takes just that index, and neither scans nor sorts. On the server that FLOWOPS_TEST_MONGO names. */
#include "store_contract.h"

#include <poll.h>
#include <string.h>

#include "mongo_support.h"
#include "store/store_mongo_internal.h"

enum { N_RUNS = 240, N_FLOWS = 6, DEADLINE_MS = 30000, MAX_COMMANDS = 8 };

typedef struct {
    StoreFixture *fixture;
    Store *store; /* observed */
    bson_t *commands[MAX_COMMANDS];
    size_t n_commands;
} Plans;

static Id owner, other_owner;

/* ---- what is looked through ---- */

static void note_command(void *arg, const bson_t *command)
{
    Plans *plans = arg;
    if (bson_has_field(command, "getMore")) /* as the server pleases */
        return;
    g_assert(plans->n_commands < MAX_COMMANDS);
    plans->commands[plans->n_commands++] = bson_copy(command);
}

static void forget_commands(Plans *plans)
{
    for (size_t i = 0; i < plans->n_commands; i++)
        bson_destroy(plans->commands[i]);
    plans->n_commands = 0;
}

static void write_flows(Store *store)
{
    for (unsigned i = 0; i < N_FLOWS; i++) {
        g_autoptr(Flow) flow = sample_flow(i, i % 2 == 0 ? &owner : &other_owner, 1, 2);
        write_flow_version(store, flow);
    }
    g_autoptr(Flow) gone = sample_flow(N_FLOWS, &owner, 1, 2);
    g_autoptr(Flow) deletion = sample_flow_deletion(gone, true);
    write_flow_version(store, gone);
    write_flow_version(store, deletion);
}

/* Of two owners, in every phase, with labels: so that a planner which tries its plans has something to choose by. */
static void write_runs(Store *store)
{
    static const RunStatus statuses[] = {RUN_RUNNING, RUN_COMPLETED, RUN_FAILED, RUN_COMPLETED};
    static const RunPhase phases[] = {PHASE_OPEN, PHASE_SETTLED, PHASE_ENDING, PHASE_SETTLED};
    SampleRun *runs[N_RUNS];
    StoreWrite writes[N_RUNS];
    for (unsigned i = 0; i < N_RUNS; i++) {
        Id flow_id = test_id('f', i % (N_FLOWS + 1));
        SampleRun *run = runs[i] = sample_run_new(i, i % 2 == 0 ? &owner : &other_owner, &flow_id);
        run->row.status = statuses[(i / 2) % 4];
        run->row.phase = phases[(i / 2) % 4];
        if (run->row.phase == PHASE_OPEN) {
            run->row.pending = COMMAND_PAUSE;
            run->row.pending_at = run->row.created_at;
        }
        text_map_add(&run->labels, i % 3 == 0 ? "kind" : "other", i % 5 == 0 ? "one" : "two");
        if (i % 8 == 0)
            sample_command(run, 1);
        writes[i] = sample_append(run, 1, 0);
    }
    write_all(store, writes, N_RUNS);
    for (unsigned i = 0; i < N_RUNS; i++)
        sample_run_free(runs[i]);
}

static bool has_index(const StoreFixture *fixture, const char *collection, const char *name)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(handle, NULL);
    const bson_t *index;
    bool is_found = false;
    while (!is_found && mongoc_cursor_next(cursor, &index))
        is_found = g_strcmp0(member_text(index, "name", NULL), name) == 0;
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
    return is_found;
}

static int setup(void **state)
{
    Plans *plans = g_new0(Plans, 1);
    plans->fixture = store_fixture_new(mongo_open_for_test);
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    while (!has_index(plans->fixture, "flow_versions", "step") || !has_index(plans->fixture, "flows", "stopping")) {
        g_assert(clock_monotonic_ms(clock) < deadline_ms);
        poll(NULL, 0, 5);
    }
    write_flows(plans->fixture->store);
    write_runs(plans->fixture->store);
    plans->store = mongo_open_with(
        plans->fixture, (MongoOptions){.counts_traffic = true, .observe = note_command, .observe_arg = plans});
    forget_commands(plans);
    *state = plans;
    return 0;
}

static int teardown(void **state)
{
    Plans *plans = *state;
    store_close(plans->store);
    forget_commands(plans);
    store_fixture_free(plans->fixture);
    g_free(plans);
    return 0;
}

/* ---- the queries ---- */

static bool is_listed(Store *store, ListQuery query, bool is_flows)
{
    g_autoptr(ListPage) page = is_flows ? list_flows(store, &query) : list_runs(store, &query);
    return page->n_items > 0;
}

static bool flows_of_owner(Store *store)
{
    return is_listed(store, query_of(&owner), true);
}

static bool runs_of_owner(Store *store)
{
    return is_listed(store, query_of(&owner), false);
}

static bool runs_behind_a_cursor(Store *store)
{
    ListPosition position = {.created_at = START_MS + N_RUNS / 2, .id = test_id('r', N_RUNS / 2)};
    ListQuery query = query_of(&owner);
    query.after = &position;
    return is_listed(store, query, false);
}

static bool runs_by_whom(Store *store)
{
    ListQuery query = query_of(&owner);
    query.triggered_by = "tester";
    return is_listed(store, query, false);
}

static bool runs_of_flow(Store *store)
{
    Id flow_id = test_id('f', 2);
    ListQuery query = query_of(&owner);
    query.flow_id = flow_id.text;
    return is_listed(store, query, false);
}

static bool runs_of_status(Store *store)
{
    static const RunStatus failed = RUN_FAILED;
    ListQuery query = query_of(&owner);
    query.status = &failed;
    return is_listed(store, query, false);
}

static bool runs_by_label(Store *store)
{
    ListQuery query = query_of(&owner);
    query.label_name = "kind";
    query.label_value = "one";
    return is_listed(store, query, false);
}

static bool runs_by_label_name(Store *store)
{
    ListQuery query = query_of(&owner);
    query.label_name = "kind";
    return is_listed(store, query, false);
}

static bool runs_of_step(Store *store)
{
    g_autoptr(Flow) flow = sample_flow(2, &owner, 1, 2);
    ListQuery query = query_of(&owner);
    query.step_id = flow->flat[1]->step_id.text;
    return is_listed(store, query, false);
}

static bool open_runs_of_flow(Store *store)
{
    int64_t n = 0;
    return store_count_open_runs(store, test_id('f', 2).text, &n, NULL) && n > 0;
}

static bool open_runs(Store *store)
{
    int64_t n = 0;
    return store_count_open_runs(store, NULL, &n, NULL) && n > 0;
}

static bool runs_that_wait(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_runs_in_phase(store, PHASE_OPEN, START_MS + N_RUNS, "", 100, ids, &n, NULL) && n > 0;
}

static bool runs_that_end(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_runs_in_phase(store, PHASE_ENDING, INSTANT_NONE, "", 100, ids, &n, NULL) && n > 0;
}

static bool runs_behind(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_runs_behind(store, "", 100, ids, &n, NULL);
}

static bool runs_to_stop(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_runs_to_stop(store, "", 100, ids, &n, NULL) && n > 0;
}

static bool runs_past_retention(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_runs_ended_before(store, START_MS + N_RUNS, 100, ids, &n, NULL) && n > 0;
}

static bool outbox(Store *store)
{
    RunSeq entries[100];
    size_t n = 0;
    return store_read_outbox(store, NULL, 100, entries, &n, NULL) && n > 0;
}

static bool outbox_of_run(Store *store)
{
    RunSeq entries[100];
    size_t n = 0;
    return store_read_outbox_of(store, test_id('r', 8).text, 100, 100, entries, &n, NULL) && n > 0;
}

static bool one_run(Store *store)
{
    g_autoptr(RunDocument) document = store_get_run(store, test_id('r', 8).text, NULL);
    return document != NULL;
}

static bool one_flow(Store *store)
{
    g_autoptr(Flow) flow = store_get_flow(store, test_id('f', 2).text, 0, NULL);
    return flow != NULL;
}

static bool flow_versions(Store *store)
{
    Id flow_id = test_id('f', 2);
    int64_t version = 0;
    return store_get_flow_versions(store, &flow_id, 1, &version, NULL) && version == 1;
}

static bool journal(Store *store)
{
    g_autoptr(JournalPage) page = store_read_journal(store, test_id('r', 8).text, 0, 100, 10000, NULL);
    return page != NULL && page->n_entries > 0;
}

static bool newer(Store *store)
{
    RunSeq known = {test_id('r', 8), 0};
    bool is_newer = false;
    return store_find_newer(store, &known, 1, &is_newer, NULL) && is_newer;
}

static bool scheduled_flows(Store *store)
{
    g_autoptr(ScheduledPage) page = store_read_scheduled_flows(store, "", 100, NULL);
    return page != NULL;
}

static bool changed_flows(Store *store)
{
    FlowVersion flows[100];
    size_t n = 0;
    return store_list_changed_flows(store, START_MS - 1000, NULL, 100, flows, &n, NULL);
}

static bool decisions(Store *store)
{
    g_autoptr(DecisionPage) page = store_read_newest_decisions(store, test_id('f', 2).text, INT64_MAX, 100, NULL);
    return page != NULL;
}

static bool owed_decisions(Store *store)
{
    g_autoptr(DecisionPage) page = store_read_owed_decisions(store, NULL, NULL, 100, NULL);
    return page != NULL;
}

static bool backfills_of_flow(Store *store)
{
    ListQuery query = query_of(&owner);
    Id flow_id = test_id('f', 2);
    query.flow_id = flow_id.text;
    g_autoptr(ListPage) page = store_list_backfills(store, &query, NULL);
    return page != NULL;
}

static bool open_backfills(Store *store)
{
    Id ids[100];
    size_t n = 0;
    return store_list_open_backfills(store, "", 100, ids, &n, NULL);
}

/* The index of each command that a query sends, in their order. */
static const struct {
    const char *what;
    bool (*run)(Store *store); /* false: it failed, or found nothing */
    const char *indexes[3];
} queries[] = {
    {"a run", one_run, {"_id_"}},
    {"a flow", one_flow, {"_id_"}},
    {"a flow's newest version", flow_versions, {"_id_"}},
    {"a journal", journal, {"_id_"}},
    {"whether journals go further", newer, {"_id_"}},
    {"an owner's flows", flows_of_owner, {"owner"}},
    {"an owner's runs", runs_of_owner, {"owner"}},
    {"an owner's runs behind a cursor", runs_behind_a_cursor, {"owner"}},
    {"an owner's runs by whom", runs_by_whom, {"owner"}},
    {"a flow's runs", runs_of_flow, {"owner_flow"}},
    {"runs of a status", runs_of_status, {"owner_status"}},
    {"runs with a label", runs_by_label, {"owner_label"}},
    {"runs with a label's name", runs_by_label_name, {"owner_label_name"}},
    {"a step's runs", runs_of_step, {"step", "owner_flow"}},
    {"a flow's open runs", open_runs_of_flow, {"flow_phase"}},
    {"all open runs", open_runs, {"phase"}},
    {"runs that wait", runs_that_wait, {"phase"}},
    {"runs that end", runs_that_end, {"phase"}},
    {"runs behind their journals", runs_behind, {"phase", "_id_"}},
    {"runs to be stopped", runs_to_stop, {"stopping", "flow_phase"}},
    {"runs past their retention", runs_past_retention, {"settled"}},
    {"the outbox", outbox, {"outbox"}},
    {"a run's outbox", outbox_of_run, {"outbox"}},
    {"flows with a schedule", scheduled_flows, {"schedule"}},
    {"flows that others changed", changed_flows, {"updated"}},
    {"a flow's decisions", decisions, {"_id_"}},
    {"decisions whose run is to be made", owed_decisions, {"owed"}},
    {"a flow's backfills", backfills_of_flow, {"owner_flow"}},
    {"open backfills", open_backfills, {"open"}},
};

/* ---- whether a command fits an index ---- */

/* What a command asks for: the members it compares and the order it wants. Not to be copied: a bson_t knows its place. */
typedef struct {
    const char *collection;
    bson_t filter, sort; /* within the command */
} Asked;

static bool sub_document(const bson_t *document, const char *path, bson_t *ret_document)
{
    bson_iter_t iter, member;
    const uint8_t *bytes;
    uint32_t size;
    if (!bson_iter_init(&iter, document) || !bson_iter_find_descendant(&iter, path, &member) ||
        !BSON_ITER_HOLDS_DOCUMENT(&member))
        return false;
    bson_iter_document(&member, &size, &bytes);
    return bson_init_static(ret_document, bytes, size);
}

static void find_what_is_asked(const bson_t *command, Asked *asked)
{
    static const uint8_t nothing[] = {5, 0, 0, 0, 0};
    bson_iter_t iter;
    assert_true(bson_iter_init(&iter, command) && bson_iter_next(&iter) && BSON_ITER_HOLDS_UTF8(&iter));
    asked->collection = bson_iter_utf8(&iter, NULL);
    assert_true(sub_document(command, "filter", &asked->filter) || sub_document(command, "query", &asked->filter) ||
                sub_document(command, "pipeline.0.$match", &asked->filter));
    if (!sub_document(command, "sort", &asked->sort))
        assert_true(bson_init_static(&asked->sort, nothing, sizeof nothing));
}

typedef enum { NOT_COMPARED, COMPARED_IN_A_RANGE, COMPARED_TO_VALUES } Comparison;

/* $in and $all ask for values; with an order behind them a planner merges the values' shares of the index. */
static Comparison comparison_of(const bson_t *filter, const char *key)
{
    bson_iter_t iter, operator;
    if (!bson_iter_init(&iter, filter))
        return NOT_COMPARED;
    while (bson_iter_next(&iter)) {
        if (strcmp(bson_iter_key(&iter), key) != 0)
            continue;
        bool has_operator = BSON_ITER_HOLDS_DOCUMENT(&iter) && bson_iter_recurse(&iter, &operator) &&
                            bson_iter_next(&operator) && bson_iter_key(&operator)[0] == '$';
        const char *name = has_operator ? bson_iter_key(&operator) : "$eq";
        return strcmp(name, "$eq") == 0 || strcmp(name, "$in") == 0 || strcmp(name, "$all") == 0 ? COMPARED_TO_VALUES
                                                                                                 : COMPARED_IN_A_RANGE;
    }
    return NOT_COMPARED;
}

/* Values first, then the order that is wanted, in one direction throughout; where none is wanted, a range may follow. */
static void assert_fits(const char *what, const Asked *asked, const bson_t *keys)
{
    bson_iter_t key, sort;
    size_t n_values = 0;
    int direction = 0;
    assert_true(bson_iter_init(&key, keys));
    bool has_key = bson_iter_next(&key);
    for (; has_key && comparison_of(&asked->filter, bson_iter_key(&key)) == COMPARED_TO_VALUES; n_values++)
        has_key = bson_iter_next(&key);
    if (n_values == 0 && (!has_key || comparison_of(&asked->filter, bson_iter_key(&key)) == NOT_COMPARED))
        fail_msg("%s: the index begins with what is not asked for", what);
    assert_true(bson_iter_init(&sort, &asked->sort));
    while (bson_iter_next(&sort)) {
        if (!has_key || strcmp(bson_iter_key(&key), bson_iter_key(&sort)) != 0)
            fail_msg("%s: the index is not in the order of %s", what, bson_iter_key(&sort));
        int64_t factor = bson_iter_as_int64(&key) * bson_iter_as_int64(&sort);
        assert_true(direction == 0 || direction == (factor > 0 ? 1 : -1));
        direction = factor > 0 ? 1 : -1;
        has_key = bson_iter_next(&key);
    }
}

/* The keys of an index as the server has it; free with bson_destroy(). */
static bson_t *keys_of(const StoreFixture *fixture, const char *collection, const char *name)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    mongoc_client_t *client = mongo_test_client();
    mongoc_collection_t *handle = mongoc_client_get_collection(client, database, collection);
    mongoc_cursor_t *cursor = mongoc_collection_find_indexes_with_opts(handle, NULL);
    const bson_t *index;
    bson_t keys, *copy = NULL;
    while (copy == NULL && mongoc_cursor_next(cursor, &index)) {
        if (g_strcmp0(member_text(index, "name", NULL), name) == 0 && sub_document(index, "key", &keys))
            copy = bson_copy(&keys);
    }
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(handle);
    mongoc_client_destroy(client);
    if (copy == NULL)
        fail_msg("%s has no index %s", collection, name);
    return copy;
}

static size_t run_query(Plans *plans, size_t i)
{
    size_t n_expected = 0;
    while (n_expected < G_N_ELEMENTS(queries[i].indexes) && queries[i].indexes[n_expected] != NULL)
        n_expected++;
    forget_commands(plans);
    if (!queries[i].run(plans->store))
        fail_msg("%s: failed, or found nothing", queries[i].what);
    if (plans->n_commands != n_expected)
        fail_msg("%s: %zu commands", queries[i].what, plans->n_commands);
    return n_expected;
}

static void test_queries_fit_their_indexes(void **state)
{
    Plans *plans = *state;
    for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
        size_t n = run_query(plans, i);
        for (size_t k = 0; k < n; k++) {
            Asked asked;
            find_what_is_asked(plans->commands[k], &asked);
            g_autoptr(bson_t) keys = keys_of(plans->fixture, asked.collection, queries[i].indexes[k]);
            assert_fits(queries[i].what, &asked, keys);
        }
    }
}

/* ---- what the server says ---- */

/* As it is sent, without what belongs to the connection. NULL: the server does not explain. */
static bson_t *explain(const StoreFixture *fixture, const bson_t *command)
{
    g_autofree char *database = mongo_database_of(fixture->data_dir);
    g_auto(bson_t) plain = BSON_INITIALIZER;
    g_auto(bson_t) request = BSON_INITIALIZER;
    bson_t reply;
    bson_error_t failure;
    bson_copy_to_excluding_noinit(command, &plain, "$db", "lsid", "$clusterTime", "txnNumber", "$readPreference",
                                  "readConcern", NULL);
    bson_append_document(&request, "explain", -1, &plain);
    append_text(&request, "verbosity", "queryPlanner");
    mongoc_client_t *client = mongo_test_client();
    bool is_answered = mongoc_client_command_simple(client, database, &request, NULL, &reply, &failure);
    bson_t *copy = is_answered ? bson_copy(&reply) : NULL;
    bson_destroy(&reply);
    mongoc_client_destroy(client);
    if (!is_answered && failure.code != MONGOC_ERROR_QUERY_COMMAND_NOT_FOUND)
        fail_msg("explain: %s", failure.message);
    return copy;
}

/* Looks through a reply's winning plans, at any depth. */
typedef struct {
    bool has_plan, scans, sorts, is_by_id;
    char index[64]; /* "": none; the last, where several are merged */
    bool has_other; /* two of different names */
} Plan;

static void look_through(const bson_iter_t *parent, bool is_winning, Plan *plan)
{
    bson_iter_t iter;
    if (!bson_iter_recurse(parent, &iter))
        return;
    while (bson_iter_next(&iter)) {
        const char *key = bson_iter_key(&iter);
        if (is_winning && BSON_ITER_HOLDS_UTF8(&iter)) {
            const char *text = bson_iter_utf8(&iter, NULL);
            bool is_stage = strcmp(key, "stage") == 0;
            plan->has_plan |= is_stage;
            plan->scans |= is_stage && strcmp(text, "COLLSCAN") == 0;
            plan->sorts |= is_stage && strcmp(text, "SORT") == 0;
            plan->is_by_id |= is_stage && strcmp(text, "IDHACK") == 0;
            if (strcmp(key, "indexName") == 0) {
                plan->has_other |= plan->index[0] != '\0' && strcmp(plan->index, text) != 0;
                (void)g_strlcpy(plan->index, text, sizeof plan->index);
            }
        } else if (BSON_ITER_HOLDS_DOCUMENT(&iter) || BSON_ITER_HOLDS_ARRAY(&iter)) {
            look_through(&iter, is_winning || strcmp(key, "winningPlan") == 0, plan);
        }
    }
}

static Plan plan_of(const bson_t *reply)
{
    Plan plan = {.has_plan = false};
    g_auto(bson_t) whole = BSON_INITIALIZER;
    bson_iter_t iter;
    bson_append_document(&whole, "reply", -1, reply);
    assert_true(bson_iter_init_find(&iter, &whole, "reply"));
    look_through(&iter, false, &plan);
    return plan;
}

static void assert_planned(const char *what, const Plan *plan, const char *index)
{
    bool is_it = plan->is_by_id ? strcmp(index, "_id_") == 0 : strcmp(index, plan->index) == 0 && !plan->has_other;
    if (!is_it || plan->scans || plan->sorts)
        fail_msg("%s: index %s instead of %s%s%s", what, plan->index, index, plan->scans ? ", scans" : "",
                 plan->sorts ? ", sorts" : "");
}

/* The forms that MongoDB's replies have, so that the reading of them is tested where no MongoDB is. */
static void test_plans_are_read_from_replies(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        Plan plan;
    } cases[] = {
        {"{\"queryPlanner\":{\"winningPlan\":{\"stage\":\"LIMIT\",\"inputStage\":{\"stage\":\"FETCH\",\"inputStage\":{\"stage\":"
         "\"IXSCAN\",\"indexName\":\"owner\"}}},\"rejectedPlans\":[{\"stage\":\"SORT\",\"inputStage\":{\"stage\":\"IXSCAN\","
         "\"indexName\":\"other\"}}]}}",
         {.has_plan = true, .index = "owner"}},
        {"{\"queryPlanner\":{\"winningPlan\":{\"queryPlan\":{\"stage\":\"COUNT_SCAN\",\"indexName\":\"phase\"}}}}",
         {.has_plan = true, .index = "phase"}},
        {"{\"stages\":[{\"$cursor\":{\"queryPlanner\":{\"winningPlan\":{\"stage\":\"SORT_MERGE\",\"inputStages\":[{\"stage\":"
         "\"IXSCAN\",\"indexName\":\"a\"},{\"stage\":\"IXSCAN\",\"indexName\":\"b\"}]}}}}]}",
         {.has_plan = true, .index = "b", .has_other = true}},
        {"{\"queryPlanner\":{\"winningPlan\":{\"stage\":\"SORT\",\"inputStage\":{\"stage\":\"COLLSCAN\"}}}}",
         {.has_plan = true, .scans = true, .sorts = true}},
        {"{\"queryPlanner\":{\"winningPlan\":{\"stage\":\"IDHACK\"}}}", {.has_plan = true, .is_by_id = true}},
        {"{\"queryPlanner\":{\"Plan\":[\"SCAN\"]}}", {.has_plan = false}},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(bson_t) reply = bson_new_from_json((const uint8_t *)cases[i].reply, -1, NULL);
        assert_non_null(reply);
        Plan plan = plan_of(reply);
        const Plan *expected = &cases[i].plan;
        assert_string_equal(plan.index, expected->index);
        assert_true(plan.has_plan == expected->has_plan && plan.scans == expected->scans &&
                    plan.sorts == expected->sorts && plan.is_by_id == expected->is_by_id &&
                    plan.has_other == expected->has_other);
    }
}

/* Gives whether the server's plans are MongoDB's. */
static bool check_plans(Plans *plans, size_t i)
{
    bool has_plans = true;
    size_t n = run_query(plans, i);
    for (size_t k = 0; k < n && has_plans; k++) {
        g_autoptr(bson_t) reply = explain(plans->fixture, plans->commands[k]);
        Plan plan = reply != NULL ? plan_of(reply) : (Plan){.has_plan = false};
        has_plans = plan.has_plan;
        if (has_plans)
            assert_planned(queries[i].what, &plan, queries[i].indexes[k]);
    }
    return has_plans;
}

static void test_planner_takes_the_indexes(void **state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(queries); i++) {
        if (!check_plans(*state, i)) {
            print_message("skipped: this server does not explain its plans as MongoDB does\n");
            skip();
        }
    }
}

/* FerretDB says which filters it leaves to the database behind it: of these, only those by one _id. */
static void test_reads_of_one_document_are_left_to_the_database(void **state)
{
    Plans *plans = *state;
    for (size_t i = 0; i < 2; i++) {
        (void)run_query(plans, i);
        g_autoptr(bson_t) reply = explain(plans->fixture, plans->commands[0]);
        if (reply == NULL || !bson_has_field(reply, "filterPushdown")) {
            print_message("skipped: this server does not explain as FerretDB does\n");
            skip();
        }
        if (!member_bool(reply, "filterPushdown"))
            fail_msg("%s: it is filtered after it was read", queries[i].what);
    }
}

/* For other parts of FlowOps; the store itself never asks so. */
static void test_a_step_has_an_index_on_runs(void **state)
{
    Plans *plans = *state;
    g_autoptr(bson_t) keys = keys_of(plans->fixture, "runs", "step");
    bson_t *command = BCON_NEW("find", "runs", "filter", "{", "steps.stepId", "x", "}");
    Asked asked;
    find_what_is_asked(command, &asked);
    assert_fits("runs of a step, by hand", &asked, keys);
    g_autoptr(bson_t) reply = explain(plans->fixture, command);
    Plan plan = reply != NULL ? plan_of(reply) : (Plan){.has_plan = false};
    if (plan.has_plan)
        assert_planned("runs of a step, by hand", &plan, "step");
    bson_destroy(command);
}

int main(void)
{
    owner = test_id('o', 1);
    other_owner = test_id('o', 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queries_fit_their_indexes),
        cmocka_unit_test(test_a_step_has_an_index_on_runs),
        cmocka_unit_test(test_reads_of_one_document_are_left_to_the_database),
        cmocka_unit_test(test_plans_are_read_from_replies),
        cmocka_unit_test(test_planner_takes_the_indexes),
    };
    int n_failed = cmocka_run_group_tests_name("store: mongo, plans", tests, setup, teardown);
    mongo_drop_all();
    return n_failed;
}
