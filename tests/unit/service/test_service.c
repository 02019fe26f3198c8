/* The service on a real store that can be told to fail, with the in-process bus and nobody or a hand-made engine on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "base/thread.h"
#include "domain/flow_request.h"
#include "domain/message.h"
#include "service/service.h"
#include "store/store_fault.h"

#define OWNER "11111111-1111-7111-8111-111111111111"
#define STRANGER "22222222-2222-7222-8222-222222222222"
#define LIMIT_MS 10000

typedef struct {
    char *data_dir;
    Clock *clock;
    Store *store;
    Bus *bus;
    Hub *hub;
    Service *service;
    ServiceOptions options;
} Rig;

static void rig_start(Rig *rig)
{
    g_autoptr(GError) error = NULL;
    Store *inner = store_open_sqlite(rig->data_dir, rig->clock, &error);
    if (inner == NULL)
        fail_msg("%s", error->message);
    rig->store = store_open_fault(inner);
    rig->bus = bus_open_local(1000, 1 << 20);
    rig->hub = hub_new(1 << 20);
    rig->service = service_start(rig->store, rig->bus, rig->hub, rig->clock, &rig->options, &error);
    if (rig->service == NULL)
        fail_msg("%s", error->message);
}

static void rig_stop(Rig *rig)
{
    service_close_doors(rig->service);
    bus_shutdown(rig->bus);
    service_stop(rig->service);
    hub_free(rig->hub);
    bus_close(rig->bus);
    store_close(rig->store);
}

static int set_up(void **state)
{
    Rig *rig = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;
    rig->data_dir = g_dir_make_tmp("flowops-service-XXXXXX", &error);
    rig->clock = clock_new_system();
    rig->options =
        (ServiceOptions){.max_open_runs = 100, .cache_bytes = 1 << 20, .n_readers = 1, .command_resend_ms = 30000};
    rig_start(rig);
    *state = rig;
    return 0;
}

static int set_up_with_engine(void **state)
{
    set_up(state);
    Rig *rig = *state;
    rig_stop(rig);
    rig->options.has_engine = true;
    rig_start(rig);
    return 0;
}

static int tear_down(void **state)
{
    Rig *rig = *state;
    rig_stop(rig);
    clock_free(rig->clock);
    g_autoptr(GDir) dir = g_dir_open(rig->data_dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(rig->data_dir, name, NULL);
        assert_int_equal(g_unlink(path), 0);
    }
    assert_int_equal(g_rmdir(rig->data_dir), 0);
    g_free(rig->data_dir);
    g_free(rig);
    return 0;
}

/* ---- calls that wait ---- */

static void ring(ServiceCall *call)
{
    bell_ring(call->arg);
}

static ServiceCall *call_new(CallKind kind, const char *caller)
{
    ServiceCall *call = service_call_new(kind, ring, NULL);
    g_strlcpy(call->caller.text, caller, sizeof call->caller.text);
    return call;
}

static CallResult do_call(Rig *rig, ServiceCall *call)
{
    Bell bell;
    bell_init(&bell);
    call->arg = &bell;
    g_autoptr(GError) error = NULL;
    if (!service_submit(rig->service, call, &error))
        fail_msg("%s", error->message);
    bell_wait(&bell, -1);
    bell_done(&bell);
    return call->result;
}

static Id make_id(void *arg)
{
    (void)arg;
    return id_make(1700000000000);
}

static Id create_flow(Rig *rig)
{
    static const char body_text[] =
        "{\"name\":\"f\",\"labels\":{\"team\":\"a\",\"tier\":\"1\"},\"steps\":[{\"type\":\"ACTION\",\"pluginId\":\"echo\"}]}";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonValue) body = NULL;
    assert_true(json_parse(body_text, sizeof body_text - 1, 32, &body, &error));
    FlowOrigin origin = {.flow_id = make_id(NULL), .now_ms = clock_wall_ms(rig->clock), .make_id = make_id};
    g_strlcpy(origin.owner.text, OWNER, sizeof origin.owner.text);
    origin.actor = origin.owner;
    g_autoptr(Faults) faults = faults_new();
    ServiceCall *call = call_new(CALL_CREATE_FLOW, OWNER);
    call->flow = flow_create(body, &origin, faults);
    assert_non_null(call->flow);
    assert_int_equal(do_call(rig, call), RESULT_OK);
    Id id = call->flow_id;
    service_call_free(call);
    return id;
}

static ServiceCall *start_call(const Id *flow_id, const char *key, const char *digest)
{
    ServiceCall *call = call_new(CALL_START_RUN, OWNER);
    call->flow_id = *flow_id;
    call->start.idempotency_key = g_strdup(key);
    call->start.request_digest = g_strdup(digest);
    return call;
}

static CallResult start(Rig *rig, const Id *flow_id, const char *key, const char *digest, Id *ret_run_id)
{
    ServiceCall *call = start_call(flow_id, key, digest);
    CallResult result = do_call(rig, call);
    if (result == RESULT_OK)
        *ret_run_id = call->run_id;
    service_call_free(call);
    return result;
}

static CallResult command(Rig *rig, const Id *run_id, CommandKind kind, const char *caller, char **ret_detail)
{
    ServiceCall *call = call_new(CALL_COMMAND_RUN, caller);
    call->run_id = *run_id;
    call->command = kind;
    CallResult result = do_call(rig, call);
    if (ret_detail != NULL)
        *ret_detail = call->view != NULL ? g_strndup(call->view->detail, call->view->detail_size) : NULL;
    service_call_free(call);
    return result;
}

/* GET status as a client sees it; NULL when there is no such run. */
static char *detail_of(Rig *rig, const Id *run_id)
{
    ServiceCall *call = call_new(CALL_GET_RUN, OWNER);
    call->run_id = *run_id;
    char *detail = do_call(rig, call) == RESULT_OK ? g_strndup(call->view->detail, call->view->detail_size) : NULL;
    service_call_free(call);
    return detail;
}

/* ---- a hand-made engine ---- */

static CommandMessage *next_command(Rig *rig)
{
    g_autoptr(GError) error = NULL;
    BusMessage *message;
    size_t n = 0;
    assert_true(bus_poll_commands(rig->bus, &message, 1, LIMIT_MS, &n, &error));
    if (n == 0)
        fail_msg("no command came");
    CommandMessage *command_message = command_message_decode(message->value, message->value_size, &error);
    assert_non_null(command_message);
    bus_message_free(message);
    return command_message;
}

static void report(Rig *rig, const StatusMessage *status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    status_message_encode(status, text);
    g_autoptr(BusMessage) message = bus_message_new(status->run_id.text, text->str, text->len);
    BusMessage *messages[] = {message};
    size_t n;
    assert_true(bus_publish_statuses(rig->bus, messages, 1, LIMIT_MS, &n, &error));
}

static void report_flow(Rig *rig, const CommandMessage *start_message, RunStatus run_status)
{
    StatusMessage status = {.kind = STATUS_FLOW,
                            .run_id = start_message->run_id,
                            .flow_id = start_message->flow_id,
                            .timestamp = clock_wall_ms(rig->clock),
                            .generation = start_message->generation,
                            .run_status = run_status};
    report(rig, &status);
}

static void announce(Rig *rig)
{
    StatusMessage status = {.kind = STATUS_ENGINE, .timestamp = clock_wall_ms(rig->clock), .engine_id = make_id(NULL)};
    report(rig, &status);
}

/* Waits until the run's detail contains a text. */
static void wait_for(Rig *rig, const Id *run_id, const char *text)
{
    Bell pause;
    bell_init(&pause);
    int64_t deadline_ms = clock_monotonic_ms(rig->clock) + LIMIT_MS;
    for (;;) {
        g_autofree char *detail = detail_of(rig, run_id);
        if (detail != NULL && strstr(detail, text) != NULL)
            break;
        if (clock_monotonic_ms(rig->clock) > deadline_ms)
            fail_msg("no %s in %s", text, detail != NULL ? detail : "nothing");
        bell_wait(&pause, 2);
    }
    bell_done(&pause);
}

/* ---- tests ---- */

static void test_a_start_is_there_after_a_restart(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
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
    Id flow_id = create_flow(rig);
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
    Id flow_id = create_flow(rig), first, second, third = {""};
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
    Id flow_id = create_flow(rig), run_id;
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
    Id flow_id = create_flow(rig), run_id;
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
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
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
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
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
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autofree char *before = detail_of(rig, &run_id);
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
    Id flow_id = create_flow(rig), run_id, again;
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

static void count_down(ServiceCall *call)
{
    __atomic_sub_fetch((int *)call->arg, 1, __ATOMIC_ACQ_REL);
}

static void test_what_queues_shares_a_commit(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig);
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
    int64_t deadline_ms = clock_monotonic_ms(rig->clock) + LIMIT_MS;
    Bell pause;
    bell_init(&pause);
    while (__atomic_load_n(&n_left, __ATOMIC_ACQUIRE) > 0 && clock_monotonic_ms(rig->clock) < deadline_ms)
        bell_wait(&pause, 1);
    bell_done(&pause);
    assert_int_equal(__atomic_load_n(&n_left, __ATOMIC_ACQUIRE), 0);
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        assert_int_equal(calls[i]->result, RESULT_OK);
        service_call_free(calls[i]);
    }
    /* The first may have gone alone; the rest waited for its commit and share one. */
    assert_true(store_fault_count(rig->store, STORE_WRITE) - n_before <= 2);
}

static void test_a_flow_with_runs_is_deleted_only_by_force(void **state)
{
    Rig *rig = *state;
    Id flow_id = create_flow(rig), run_id;
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

static void test_a_start_is_published_once_and_answered(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
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
    OutboxEntry entry;
    size_t n = 1;
    g_autoptr(GError) error = NULL;
    for (int64_t deadline_ms = clock_monotonic_ms(rig->clock) + LIMIT_MS;
         n > 0 && clock_monotonic_ms(rig->clock) < deadline_ms;)
        assert_true(store_read_outbox(rig->store, 0, 1, &entry, &n, &error));
    assert_int_equal(n, 0);
}

static void test_statuses_wait_out_a_store_that_is_down(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autoptr(CommandMessage) message = next_command(rig);
    store_fault_set(rig->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 3);
    report_flow(rig, message, RUN_RUNNING);
    report_flow(rig, message, RUN_COMPLETED);
    wait_for(rig, &run_id, "\"status\":\"COMPLETED\"");
    assert_int_equal(service_health(rig->service).n_dead_letters, 0);
}

static void test_an_unknown_run_is_a_dead_letter(void **state)
{
    Rig *rig = *state;
    CommandMessage nobody = {.run_id = make_id(NULL), .flow_id = make_id(NULL), .generation = 1};
    report_flow(rig, &nobody, RUN_RUNNING);
    Bell pause;
    bell_init(&pause);
    for (int64_t deadline_ms = clock_monotonic_ms(rig->clock) + LIMIT_MS;
         service_health(rig->service).n_dead_letters == 0 && clock_monotonic_ms(rig->clock) < deadline_ms;)
        bell_wait(&pause, 2);
    bell_done(&pause);
    assert_int_equal(service_health(rig->service).n_dead_letters, 1);
    assert_int_equal(bus_load(rig->bus).n_dead_letters, 1);
}

static void test_left_over_runs_go_to_the_next_engine_with_their_pause(void **state)
{
    Rig *rig = *state;
    announce(rig);
    Id flow_id = create_flow(rig), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
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

int main(void)
{
#define SERVICE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ENGINE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_with_engine, tear_down)
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
        SERVICE_TEST(test_what_queues_shares_a_commit),
        SERVICE_TEST(test_a_flow_with_runs_is_deleted_only_by_force),
        ENGINE_TEST(test_a_start_is_published_once_and_answered),
        ENGINE_TEST(test_statuses_wait_out_a_store_that_is_down),
        ENGINE_TEST(test_an_unknown_run_is_a_dead_letter),
        ENGINE_TEST(test_left_over_runs_go_to_the_next_engine_with_their_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
