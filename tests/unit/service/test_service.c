/* The service on a real store that can be told to fail, with the in-process bus and nobody or a hand-made engine on it. */
#include "rig.h"

#include <string.h>

#include <sched.h>
#include <sqlite3.h>

#include "base/thread.h"
#include "service/service_internal.h"

/* ---- tests ---- */

static void test_a_start_is_there_after_a_restart(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    g_autofree char *before = detail_of(rig, &run_id);
    rig_stop(rig);
    rig_start(rig);
    g_autofree char *after = detail_of(rig, &run_id);
    assert_non_null(before);
    assert_string_equal(before, after);
}

static void test_a_run_has_its_flows_labels_under_its_own(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1);
    ServiceCall *call = start_call(&flow_id, NULL, NULL);
    text_map_add(&call->start.labels, "tier", "2");
    assert_int_equal(do_call(rig, call), RESULT_OK);
    g_autofree char *detail = detail_of(rig, &call->run_id);
    assert_non_null(strstr(detail, "\"tier\":\"2\""));
    assert_non_null(strstr(detail, "\"team\":\"a\""));
    assert_null(strstr(detail, "\"tier\":\"1\""));
    service_call_free(call);
}

static void test_one_key_is_one_run(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), first, second, third = {""};
    assert_int_equal(start(rig, &flow_id, "k", "digest", &first), RESULT_OK);
    assert_int_equal(start(rig, &flow_id, "k", "digest", &second), RESULT_OK);
    assert_string_equal(first.text, second.text);
    assert_int_equal(start(rig, &flow_id, "k", "other", &third), RESULT_CONFLICT);
    assert_int_equal(start(rig, &flow_id, "l", "digest", &third), RESULT_OK);
    assert_string_not_equal(first.text, third.text);
    rig_stop(rig);
    rig_start(rig); /* the key is found in the journal too */
    assert_int_equal(start(rig, &flow_id, "k", "digest", &second), RESULT_OK);
    assert_string_equal(first.text, second.text);
    assert_int_equal(service_health(rig->service).n_open_runs, 2);
}

static void test_other_peoples_runs_do_not_exist(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, STRANGER, NULL), RESULT_NOT_FOUND);
    ServiceCall *call = call_new(CALL_START_RUN, STRANGER);
    call->flow_id = flow_id;
    assert_int_equal(do_call(rig, call), RESULT_NOT_FOUND);
    service_call_free(call);
}

static void test_no_more_runs_than_allowed(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), run_id;
    for (int i = 0; i < 100; i++)
        assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_BUSY);
    rig_stop(rig);
    rig_start(rig); /* the count is the store's */
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_BUSY);
}

static void test_commands_wait_and_answer_with_the_detail(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    g_autofree char *detail = NULL;
    assert_int_equal(command(rig, &run_id, COMMAND_PAUSE, OWNER, &detail), RESULT_OK);
    assert_non_null(strstr(detail, "\"command\":\"PAUSE\""));
    assert_non_null(strstr(detail, "\"status\":\"PENDING\""));
    assert_int_equal(command(rig, &run_id, COMMAND_PAUSE, OWNER, NULL), RESULT_NOTHING_TO_DO);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_OK);
    assert_int_equal(command(rig, &run_id, COMMAND_RESUME, OWNER, NULL), RESULT_CONFLICT);
}

static void test_a_precondition_guards_a_command(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    for (int64_t tag = 2; tag >= 1; tag--) {
        ServiceCall *call = call_new(CALL_COMMAND_RUN, OWNER);
        call->run_id = run_id;
        call->command = COMMAND_STOP;
        call->precondition.is_set = true;
        call->precondition.tags = g_memdup2(&tag, sizeof tag);
        call->precondition.n_tags = 1;
        assert_int_equal(do_call(rig, call), tag == 2 ? RESULT_PRECONDITION_FAILED : RESULT_OK);
        service_call_free(call);
    }
}

static void test_a_failed_write_leaves_nothing_and_says_so(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    g_autofree char *before = detail_of(rig, &run_id);
    store_fault_set(rig->store, STORE_CHECK, FAULT_BEFORE_EFFECT, 1, INT64_MAX);
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_UNAVAILABLE);
    assert_false(service_health(rig->service).is_store_up);
    g_autofree char *after = detail_of(rig, &run_id);
    assert_string_equal(before, after);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_OK);
    assert_true(service_health(rig->service).is_store_up);
}

static void test_an_unknown_outcome_is_settled_by_what_is_stored(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), run_id, again;
    store_fault_set(rig->store, STORE_WRITE, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(start(rig, &flow_id, "k", "digest", &run_id), RESULT_UNKNOWN);
    assert_int_equal(start(rig, &flow_id, "k", "digest", &run_id), RESULT_OK); /* the client's retry finds it */
    store_fault_set(rig->store, STORE_WRITE, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_UNKNOWN);
    g_autofree char *detail = detail_of(rig, &run_id);
    assert_non_null(strstr(detail, "\"command\":\"STOP\""));
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_NOTHING_TO_DO);
    assert_int_equal(start(rig, &flow_id, "k", "digest", &again), RESULT_OK);
    assert_string_equal(again.text, run_id.text);
    assert_int_equal(start(rig, &flow_id, "l", "digest", &again), RESULT_OK);
    assert_int_equal(service_health(rig->service).n_open_runs, 2); /* the one that came about unseen is counted too */
}

static void test_a_store_that_is_up_again_is_noticed_without_a_write(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), run_id;
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_UNAVAILABLE);
    WAIT_UNTIL(service_health(rig->service).is_store_up);
}

static void test_a_journal_is_folded_once_for_many_commands(void **state)
{
    Rig *rig = *state;
    Id run_id = started_run(rig);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_OK);
    rig_stop(rig);
    rig_start(rig);
    g_autofree char *detail = detail_of(rig, &run_id); /* the document is in the cache, alone */
    assert_non_null(detail);
    assert_int_equal(command(rig, &run_id, COMMAND_STOP, STRANGER, NULL), RESULT_NOT_FOUND);
    assert_int_equal(store_fault_count(rig->store, STORE_READ_JOURNAL), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(command(rig, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_NOTHING_TO_DO);
    assert_int_equal(store_fault_count(rig->store, STORE_READ_JOURNAL), 1);
}

/* What nobody can repair while the service runs, in the stopped store's file. */
static void destroy_journal(Rig *rig, const Id *run_id)
{
    g_autofree char *path = g_build_filename(rig->data_dir, "flowops.db", NULL);
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    g_autofree char *sql =
        g_strdup_printf("UPDATE journal SET events = '{\"nonsense\":1}' || char(10) WHERE run_id = '%s'", run_id->text);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_a_broken_journal_holds_up_nobody_else(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id flow_id = create_flow(rig, 1), run_ids[3];
    CommandMessage *messages[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_ids[i]), RESULT_OK);
        messages[i] = next_command(rig);
        command_message_free(messages[i]);
    }
    rig_stop(rig);
    destroy_journal(rig, &run_ids[1]);
    rig_start(rig);
    announce(rig);
    /* hand-over: the two that can be read, once each */
    for (int i = 0; i < 3; i += 2) {
        messages[i] = next_command(rig);
        assert_string_equal(messages[i]->run_id.text, run_ids[i].text);
        assert_int_equal(messages[i]->generation, 2);
    }
    /* statuses: the broken run's is a dead letter, the others' are taken */
    CommandMessage broken = {.run_id = run_ids[1], .flow_id = flow_id, .generation = 1};
    report_flow(rig, &broken, RUN_RUNNING);
    for (int i = 0; i < 3; i += 2) {
        report_flow(rig, messages[i], RUN_RUNNING);
        wait_for(rig, &run_ids[i], "\"status\":\"RUNNING\"");
        wait_for(rig, &run_ids[i], "\"generation\":2");
        command_message_free(messages[i]);
    }
    assert_int_equal(service_health(rig->service).n_dead_letters, 1);
    /* and a new run is published */
    Id another;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &another), RESULT_OK);
    g_autoptr(CommandMessage) message = next_command(rig);
    assert_string_equal(message->run_id.text, another.text);
}

/* A definition larger than any message: no client can make one, so it is put into the store by hand. */
static Id store_huge_flow(Rig *rig)
{
    g_autoptr(GError) error = NULL;
    Id small_id = create_flow(rig, 1);
    g_autoptr(Flow) small = store_get_flow(rig->store, small_id.text, 0, &error);
    assert_non_null(small);
    g_autoptr(GString) text = g_string_new(NULL);
    flow_encode(small, text);
    g_autofree char *filler = g_strnfill(BUS_MAX_MESSAGE_BYTES, 'x');
    g_autofree char *inputs = g_strdup_printf("\"inputs\":{\"huge\":\"%s\"}", filler);
    Id huge_id = make_id(NULL);
    g_string_replace(text, "\"inputs\":{}", inputs, 1);
    g_string_replace(text, small_id.text, huge_id.text, 1);
    g_autoptr(Flow) huge = flow_decode(text->str, text->len, &error);
    if (huge == NULL)
        fail_msg("%s", error->message);
    assert_true(huge->steps_json_size > BUS_MAX_MESSAGE_BYTES);
    StoreWrite write = {.kind = WRITE_FLOW, .flow = huge};
    assert_true(store_write(rig->store, &write, 1, &error));
    assert_int_equal(write.ret_outcome, WRITTEN);
    return huge_id;
}

static void test_a_command_that_the_bus_refuses_holds_up_nobody_else(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id huge_id = store_huge_flow(rig), flow_id = create_flow(rig, 1), stuck, run_id;
    assert_int_equal(start(rig, &huge_id, NULL, NULL, &stuck), RESULT_OK);
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autoptr(CommandMessage) message = next_command(rig);
    assert_string_equal(message->run_id.text, run_id.text);
    assert_true(service_health(rig->service).is_bus_up);
}

static void count_down(ServiceCall *call)
{
    __atomic_sub_fetch((int *)call->arg, 1, __ATOMIC_ACQ_REL);
}

static void stop_service(void *service)
{
    service_stop(service);
}

static void test_what_queues_shares_a_commit(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1);
    int64_t n_before = store_fault_count(rig->store, STORE_WRITE);
    store_fault_hold(rig->store, STORE_WRITE, true);
    ServiceCall *calls[50];
    int n_left = G_N_ELEMENTS(calls);
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        calls[i] = start_call(&flow_id, NULL, NULL);
        calls[i]->done = count_down;
        calls[i]->arg = &n_left;
        assert_true(service_submit(rig->service, calls[i], &error));
    }
    store_fault_hold(rig->store, STORE_WRITE, false);
    WAIT_UNTIL(__atomic_load_n(&n_left, __ATOMIC_ACQUIRE) == 0);
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        assert_int_equal(calls[i]->result, RESULT_OK);
        service_call_free(calls[i]);
    }
    /* The first may have gone alone; the rest waited for its commit and share one. */
    assert_true(store_fault_count(rig->store, STORE_WRITE) - n_before <= 2);
}

static void test_calls_that_wait_at_the_end_are_answered_busy(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1);
    store_fault_hold(rig->store, STORE_WRITE, true);
    ServiceCall *calls[20];
    int n_left = G_N_ELEMENTS(calls);
    g_autoptr(GError) error = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        calls[i] = start_call(&flow_id, NULL, NULL);
        calls[i]->done = count_down;
        calls[i]->arg = &n_left;
        assert_true(service_submit(rig->service, calls[i], &error));
        if (i == 0) /* it is with the store; the others wait behind it */
            while (store_fault_count(rig->store, STORE_WRITE) < 2)
                sched_yield();
    }
    service_close_doors(rig->service);
    bus_shutdown(rig->bus);
    Thread *stopper = thread_start("stopper", ROLE_MAIN, stop_service, rig->service, &error);
    assert_non_null(stopper);
    while (!atomic_load(&rig->service->is_past_deadline))
        sched_yield();
    store_fault_hold(rig->store, STORE_WRITE, false);
    thread_join(stopper);
    assert_int_equal(__atomic_load_n(&n_left, __ATOMIC_ACQUIRE), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        assert_int_equal(calls[i]->result, i == 0 ? RESULT_OK : RESULT_BUSY);
        service_call_free(calls[i]);
    }
    hub_free(rig->hub);
    bus_close(rig->bus);
    store_close(rig->store);
    rig_start(rig); /* for the tear-down */
    assert_int_equal(service_health(rig->service).n_open_runs, 1);
}

static void test_a_flow_with_runs_is_deleted_only_by_force(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    for (int is_forced = 0; is_forced <= 1; is_forced++) {
        ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
        call->flow_id = flow_id;
        call->is_forced = is_forced;
        assert_int_equal(do_call(rig, call), is_forced ? RESULT_OK : RESULT_CONFLICT);
        if (!is_forced)
            assert_non_null(strstr(call->message, "1 run of this flow is going"));
        service_call_free(call);
    }
    wait_for(rig, &run_id, "\"command\":\"STOP\"");
    Id another;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &another), RESULT_NOT_FOUND);
}

static bool is_outbox_empty(Rig *rig)
{
    RunSeq entry;
    size_t n;
    return store_read_outbox(rig->store, NULL, 1, &entry, &n, NULL) && n == 0;
}

static void test_a_start_is_published_once_and_answered(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    assert_int_equal(message->command, COMMAND_START);
    assert_string_equal(message->run_id.text, run_id.text);
    assert_int_equal(message->generation, 1);
    assert_int_equal(message->n_steps, 1);
    report_flow(rig, message, RUN_RUNNING);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    report_flow(rig, message, RUN_COMPLETED);
    wait_for(rig, &run_id, "\"status\":\"COMPLETED\"");
    assert_int_equal(service_health(rig->service).n_open_runs, 0);
    WAIT_UNTIL(is_outbox_empty(rig));
}

static void test_statuses_wait_out_a_store_that_is_down(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 3);
    report_flow(rig, message, RUN_RUNNING);
    report_flow(rig, message, RUN_COMPLETED);
    wait_for(rig, &run_id, "\"status\":\"COMPLETED\"");
    assert_int_equal(service_health(rig->service).n_dead_letters, 0);
}

/* What is taken while a batch is with the writer comes after it, however often that one has to be tried. */
static void test_a_batch_that_fails_is_not_overtaken(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id flow_id = create_flow(rig, 1), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autoptr(CommandMessage) message = next_command(rig);
    WAIT_UNTIL(is_outbox_empty(rig));
    store_fault_hold(rig->store, STORE_WRITE, true);
    int64_t n_writes = store_fault_count(rig->store, STORE_WRITE);
    report_flow(rig, message, RUN_RUNNING);
    WAIT_UNTIL(store_fault_count(rig->store, STORE_WRITE) > n_writes);
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 2);
    StatusMessage paused = {.kind = STATUS_FLOW,
                            .run_id = message->run_id,
                            .flow_id = message->flow_id,
                            .timestamp = clock_wall_ms(rig->clock) + 1,
                            .generation = message->generation,
                            .run_status = RUN_PAUSED};
    for (int i = 0; i < STATUS_BATCH_MESSAGES; i++) /* the next batch: one that is news, and repeats */
        report(rig, &paused);
    report_flow(rig, message, RUN_COMPLETED); /* the one after it */
    store_fault_hold(rig->store, STORE_WRITE, false);
    wait_for(rig, &run_id, "\"status\":\"COMPLETED\"");
    wait_for(rig, &run_id, "\"seq\":4,"); /* created, RUNNING, PAUSED, COMPLETED */
    assert_int_equal(service_health(rig->service).n_dead_letters, 0);
}

static void test_an_unknown_run_is_a_dead_letter(void **state)
{
    Rig *rig = *state;
    CommandMessage nobody = {.run_id = make_id(NULL), .flow_id = make_id(NULL), .generation = 1};
    report_flow(rig, &nobody, RUN_RUNNING);
    WAIT_UNTIL(bus_health(rig->bus).n_dead_letters == 1);
    assert_int_equal(service_health(rig->service).n_dead_letters, 1);
}

static void test_left_over_runs_go_to_the_next_engine_with_their_pause(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    CommandMessage *message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    command_message_free(message);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    assert_int_equal(command(rig, &run_id, COMMAND_PAUSE, OWNER, NULL), RESULT_OK);
    rig_stop(rig);
    rig_start(rig);
    announce(rig);
    message = next_command(rig);
    assert_int_equal(message->command, COMMAND_START);
    assert_int_equal(message->generation, 2);
    int64_t start_seq = message->seq;
    command_message_free(message);
    message = next_command(rig);
    assert_int_equal(message->command, COMMAND_PAUSE);
    assert_true(message->seq > start_seq);
    command_message_free(message);
    wait_for(rig, &run_id, "\"generation\":2");
}

static void test_what_nobody_answers_is_said_again_also_after_a_hand_over(void **state)
{
    Rig *rig = *state;
    rig_stop(rig);
    rig->options.command_resend_ms = 200;
    rig_start(rig);
    announce(rig);
    Id run_id = started_run(rig);
    CommandMessage *message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    command_message_free(message);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    assert_int_equal(command(rig, &run_id, COMMAND_PAUSE, OWNER, NULL), RESULT_OK);
    announce(rig);
    while ((message = next_command(rig))->generation != 2)
        command_message_free(message);
    command_message_free(message);
    Id first = {""};
    for (int i = 0; i < 3; i++) { /* behind the START, and again, and again */
        message = next_command(rig);
        assert_int_equal(message->command, COMMAND_PAUSE);
        assert_true(i == 0 || strcmp(message->command_id.text, first.text) == 0);
        first = message->command_id;
        command_message_free(message);
    }
}

static void test_an_announcement_that_comes_again_hands_nothing_over(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    int32_t partition = 0;
    StatusMessage announcement = {.kind = STATUS_ENGINE,
                                  .command_partitions = &partition,
                                  .n_command_partitions = 1,
                                  .timestamp = clock_wall_ms(rig->clock) + 1,
                                  .engine_id = make_id(NULL)};
    report(rig, &announcement);
    wait_for(rig, &run_id, "\"generation\":2");
    report(rig, &announcement);
    report_flow(rig, message, RUN_PAUSED); /* of the old generation: behind the announcement, and ignored */
    WAIT_UNTIL(service_health(rig->service).n_statuses_ignored == 1);
    g_autofree char *detail = detail_of(rig, &run_id);
    assert_non_null(strstr(detail, "\"generation\":2"));
}

/* A run that began behind an announcement has nothing of it in its journal. */
static void test_an_announcement_read_again_leaves_what_began_since_alone(void **state)
{
    Rig *rig = *state;
    int32_t partition = 0;
    StatusMessage announcement = {.kind = STATUS_ENGINE,
                                  .command_partitions = &partition,
                                  .n_command_partitions = 1,
                                  .timestamp = clock_wall_ms(rig->clock),
                                  .engine_id = make_id(NULL)};
    report(rig, &announcement);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    for (int i = 0; i < 2; i++) {
        report(rig, &announcement);
        StatusMessage older = announcement;
        older.timestamp -= 1000;
        report(rig, &older);
        StatusMessage no_news = {.kind = STATUS_FLOW,
                                 .run_id = run_id,
                                 .flow_id = message->flow_id,
                                 .timestamp = 1,
                                 .generation = 1,
                                 .run_status = RUN_RUNNING};
        report(rig, &no_news); /* behind them */
        WAIT_UNTIL(service_health(rig->service).n_statuses_ignored == 1);
        g_autofree char *detail = detail_of(rig, &run_id);
        assert_non_null(strstr(detail, "\"generation\":1"));
        if (i == 0) {
            rig_stop(rig);
            rig_start(rig);
        }
    }
    announcement.timestamp++; /* by an engine's clock that is slow, and real all the same */
    report(rig, &announcement);
    wait_for(rig, &run_id, "\"generation\":2");
}

/* Whether it was remembered is not known: the walk is done again, and finds its work done. */
static void test_an_announcement_that_is_not_remembered_is_done_again(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    report_flow(rig, message, RUN_RUNNING);
    wait_for(rig, &run_id, "\"status\":\"RUNNING\"");
    int64_t n_before = store_fault_count(rig->store, STORE_PUT_ANNOUNCEMENT);
    store_fault_set(rig->store, STORE_PUT_ANNOUNCEMENT, FAULT_BEFORE_EFFECT, 1, 2);
    announce(rig);
    WAIT_UNTIL(store_fault_count(rig->store, STORE_PUT_ANNOUNCEMENT) == n_before + 3);
    store_fault_set(rig->store, STORE_PUT_ANNOUNCEMENT, FAULT_AFTER_EFFECT, 1, 1);
    announce(rig);
    wait_for(rig, &run_id, "\"generation\":3");
    report_flow(rig, message, RUN_PAUSED); /* of the old generation: behind the announcements, and ignored */
    WAIT_UNTIL(service_health(rig->service).n_statuses_ignored == 1);
    g_autofree char *detail = detail_of(rig, &run_id);
    assert_non_null(strstr(detail, "\"generation\":3"));
}

int main(void)
{
#define SERVICE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ENGINE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(test_a_start_is_there_after_a_restart),
        SERVICE_TEST(test_a_run_has_its_flows_labels_under_its_own),
        SERVICE_TEST(test_one_key_is_one_run),
        SERVICE_TEST(test_other_peoples_runs_do_not_exist),
        SERVICE_TEST(test_no_more_runs_than_allowed),
        SERVICE_TEST(test_commands_wait_and_answer_with_the_detail),
        SERVICE_TEST(test_a_precondition_guards_a_command),
        SERVICE_TEST(test_a_failed_write_leaves_nothing_and_says_so),
        SERVICE_TEST(test_an_unknown_outcome_is_settled_by_what_is_stored),
        SERVICE_TEST(test_a_store_that_is_up_again_is_noticed_without_a_write),
        SERVICE_TEST(test_a_journal_is_folded_once_for_many_commands),
        SERVICE_TEST(test_what_queues_shares_a_commit),
        SERVICE_TEST(test_calls_that_wait_at_the_end_are_answered_busy),
        SERVICE_TEST(test_a_flow_with_runs_is_deleted_only_by_force),
        ENGINE_TEST(test_a_start_is_published_once_and_answered),
        ENGINE_TEST(test_statuses_wait_out_a_store_that_is_down),
        ENGINE_TEST(test_a_batch_that_fails_is_not_overtaken),
        ENGINE_TEST(test_an_unknown_run_is_a_dead_letter),
        ENGINE_TEST(test_a_broken_journal_holds_up_nobody_else),
        ENGINE_TEST(test_a_command_that_the_bus_refuses_holds_up_nobody_else),
        ENGINE_TEST(test_left_over_runs_go_to_the_next_engine_with_their_pause),
        ENGINE_TEST(test_what_nobody_answers_is_said_again_also_after_a_hand_over),
        ENGINE_TEST(test_an_announcement_that_comes_again_hands_nothing_over),
        ENGINE_TEST(test_an_announcement_read_again_leaves_what_began_since_alone),
        ENGINE_TEST(test_an_announcement_that_is_not_remembered_is_done_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
