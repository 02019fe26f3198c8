/* test_group.c - what the writer decides together: what one run's trouble, or a store that does not answer, costs the rest
 * of its group. */
#include "rig.h"

#include <string.h>

#include "service/writer_internal.h"

#define N_COLD 4

/* Runs that only the store knows, and a status of each: RUNNING of all, then COMPLETED of all. */
typedef struct {
    Id run_ids[N_COLD];
    StatusMessage messages[2 * N_COLD];
    StatusItem statuses[2 * N_COLD];
    WriterItem item;
} ColdBatch;

static void cold_batch_init(ColdBatch *batch, Rig *rig)
{
    *batch = (ColdBatch){.item = {.kind = ITEM_STATUSES}};
    Id flow_id = create_flow(rig, 1);
    for (size_t i = 0; i < N_COLD; i++)
        assert_int_equal(start(rig, &flow_id, NULL, NULL, &batch->run_ids[i]), RESULT_OK);
    rig_stop(rig);
    rig_start(rig);
    for (size_t i = 0; i < G_N_ELEMENTS(batch->messages); i++) {
        batch->messages[i] = (StatusMessage){.kind = STATUS_FLOW,
                                             .run_id = batch->run_ids[i % N_COLD],
                                             .flow_id = flow_id,
                                             .timestamp = clock_wall_ms(rig->clock) + (int64_t)i,
                                             .generation = 1,
                                             .run_status = i < N_COLD ? RUN_RUNNING : RUN_COMPLETED};
        batch->statuses[i].message = &batch->messages[i];
    }
    batch->item.statuses = batch->statuses;
    batch->item.n_statuses = G_N_ELEMENTS(batch->statuses);
}

static void cold_batch_done(ColdBatch *batch)
{
    for (size_t i = 0; i < G_N_ELEMENTS(batch->statuses); i++)
        g_free(batch->statuses[i].reason);
    g_free(batch->item.message);
}

static void test_a_store_that_does_not_answer_is_asked_once_a_group(void **state)
{
    Rig *rig = *state;
    ColdBatch batch;
    cold_batch_init(&batch, rig);
    WriterItem own = {.kind = ITEM_STOP, .run_ids = batch.run_ids, .n_run_ids = N_COLD};
    store_fault_set(rig->store, STORE_READ_JOURNAL, FAULT_BEFORE_EFFECT, 1, INT64_MAX);
    store_fault_set(rig->store, STORE_GET_RUN, FAULT_BEFORE_EFFECT, 1, INT64_MAX);
    int64_t n_journals = store_fault_count(rig->store, STORE_READ_JOURNAL);
    int64_t n_documents = store_fault_count(rig->store, STORE_GET_RUN);
    Group *group = group_new(rig->service);
    group_take_run_item(group, &batch.item);
    group_take_run_item(group, &own);
    ServiceCall *call = call_new(CALL_COMMAND_RUN, OWNER);
    call->run_id = batch.run_ids[N_COLD - 1];
    WriterItem command = {.kind = ITEM_CALL, .call = call};
    group_take_run_item(group, &command);
    assert_int_equal(store_fault_count(rig->store, STORE_READ_JOURNAL), n_journals + 1);
    assert_int_equal(store_fault_count(rig->store, STORE_GET_RUN), n_documents);
    assert_int_equal(batch.item.result, RESULT_UNAVAILABLE);
    assert_int_equal(own.result, RESULT_UNAVAILABLE);
    assert_int_equal(call->result, RESULT_UNAVAILABLE);
    assert_false(service_health(rig->service).is_store_up);
    group_free(group);
    service_call_free(call);
    g_free(own.message);
    cold_batch_done(&batch);
}

/* The second journal cannot be read once: what follows in the batch waits for it, also what could be read. */
static void test_no_status_overtakes_one_that_could_not_be_decided(void **state)
{
    Rig *rig = *state;
    ColdBatch batch;
    cold_batch_init(&batch, rig);
    store_fault_set(rig->store, STORE_READ_JOURNAL, FAULT_BEFORE_EFFECT, 2, 1);
    Group *group = group_new(rig->service);
    group_take_run_item(group, &batch.item);
    assert_int_equal(batch.item.result, RESULT_UNAVAILABLE);
    assert_int_equal(group->touched->len, 1);
    assert_int_equal(touched_state(group->touched->pdata[0])->status, RUN_RUNNING);
    group_free(group);

    Bell latch; /* the whole way, as the intake goes it */
    bell_init(&latch);
    batch.item.result = RESULT_OK;
    g_clear_pointer(&batch.item.message, g_free);
    store_fault_set(rig->store, STORE_READ_JOURNAL, FAULT_BEFORE_EFFECT, 2, 1);
    cache_remove(rig->service->runs, batch.run_ids[0].text);
    assert_true(writer_do(rig->service, &batch.item, 1, &latch));
    assert_int_equal(batch.item.result, RESULT_UNAVAILABLE);
    assert_true(writer_do(rig->service, &batch.item, 1, &latch));
    assert_int_equal(batch.item.result, RESULT_OK);
    bell_done(&latch);
    for (size_t i = 0; i < N_COLD; i++) /* created, RUNNING, COMPLETED */
        wait_for(rig, &batch.run_ids[i], "\"seq\":3,");
    cold_batch_done(&batch);
}

/* One run's append that will never be taken costs that run its statuses, and nobody else anything. */
static void test_a_refused_append_is_that_runs_alone(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig, 1), refused, other;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &refused), RESULT_OK);
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &other), RESULT_OK);
    store_fault_refuse(rig->store, &refused);
    StatusMessage messages[2];
    StatusItem statuses[2];
    for (size_t i = 0; i < 2; i++) {
        messages[i] = (StatusMessage){.kind = STATUS_FLOW,
                                      .run_id = i == 0 ? refused : other,
                                      .flow_id = flow_id,
                                      .timestamp = clock_wall_ms(rig->clock),
                                      .generation = 1,
                                      .run_status = RUN_RUNNING};
        statuses[i] = (StatusItem){.message = &messages[i]};
    }
    WriterItem item = {.kind = ITEM_STATUSES, .statuses = statuses, .n_statuses = 2};
    Bell latch;
    bell_init(&latch);
    assert_true(writer_do(rig->service, &item, 1, &latch));
    assert_int_equal(item.result, RESULT_OK);
    assert_int_equal(statuses[0].outcome, STATUS_REJECTED);
    assert_non_null(strstr(statuses[0].reason, refused.text));
    assert_non_null(strstr(statuses[0].reason, "larger than the store takes"));
    assert_int_equal(statuses[1].outcome, STATUS_APPENDED);
    wait_for(rig, &other, "\"status\":\"RUNNING\"");
    wait_for(rig, &refused, "\"seq\":1,");

    WriterItem own = {.kind = ITEM_REFRESH, .run_ids = (Id[]){refused, other}, .n_run_ids = 2};
    assert_true(writer_do(rig->service, &own, 1, &latch)); /* the sweeper's page goes on */
    assert_int_equal(own.result, RESULT_OK);
    bell_done(&latch);
    g_free(statuses[0].reason);

    ServiceCall *call = call_new(CALL_COMMAND_RUN, OWNER);
    call->run_id = refused;
    call->command = COMMAND_STOP;
    assert_int_equal(do_call(rig, call), RESULT_CONFLICT);
    assert_non_null(strstr(call->message, "larger than the store takes"));
    service_call_free(call);
    assert_true(service_health(rig->service).is_store_up);
    store_fault_refuse(rig->store, NULL);
    assert_int_equal(command(rig, &refused, COMMAND_STOP, OWNER, NULL), RESULT_OK);
}

/* A step that reports large outputs again and again: each time is an event of 64 KiB. */
static void test_what_a_run_appends_at_once_is_bounded(void **state)
{
    enum { N = 100, OUTPUTS_BYTES = 60 * 1024 };
    Rig *rig = *state;
    announce(rig);
    Id run_id = started_run(rig);
    g_autoptr(CommandMessage) message = next_command(rig);
    g_autofree char *filler = g_strnfill(OUTPUTS_BYTES, 'x');
    g_autofree char *outputs = g_strdup_printf("{\"text\":\"%s\"}", filler);
    g_autofree StatusMessage *messages = g_new0(StatusMessage, N);
    g_autofree StatusItem *statuses = g_new0(StatusItem, N);
    for (int i = 0; i < N; i++) {
        messages[i] = (StatusMessage){.kind = STATUS_STEP,
                                      .run_id = run_id,
                                      .flow_id = message->flow_id,
                                      .step_id = message->steps[0]->step_id,
                                      .timestamp = clock_wall_ms(rig->clock) + i,
                                      .generation = message->generation,
                                      .attempt = i + 1,
                                      .step_status = i % 2 == 0 ? STEP_RUNNING : STEP_FAILED,
                                      .outputs_json = outputs};
        statuses[i].message = &messages[i];
    }
    WriterItem item = {.kind = ITEM_STATUSES, .statuses = statuses, .n_statuses = N};
    Bell latch;
    bell_init(&latch);
    int64_t n_writes = store_fault_count(rig->store, STORE_WRITE);
    assert_true(writer_do(rig->service, &item, 1, &latch));
    bell_done(&latch);
    assert_int_equal(item.result, RESULT_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(statuses[i].outcome, STATUS_APPENDED);
    assert_int_equal(store_fault_count(rig->store, STORE_WRITE), n_writes + 2);
}

#define GROUP_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GROUP_TEST(test_a_store_that_does_not_answer_is_asked_once_a_group),
        GROUP_TEST(test_no_status_overtakes_one_that_could_not_be_decided),
        GROUP_TEST(test_a_refused_append_is_that_runs_alone),
        GROUP_TEST(test_what_a_run_appends_at_once_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
