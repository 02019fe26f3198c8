/* The rig: see rig.h. */
#include "rig.h"

#include <string.h>

#include <glib/gstdio.h>

#include "base/thread.h"
#include "domain/flow_request.h"

RigStoreOpen rig_open_store = store_open_sqlite;

void rig_start(Rig *rig)
{
    g_autoptr(GError) error = NULL;
    Store *inner = rig_open_store(rig->data_dir, rig->clock, &error);
    if (inner == NULL)
        fail_msg("%s", error->message);
    rig->store = store_open_fault(inner);
    rig->bus = bus_open_local(4096, 4 << 20);
    rig->hub = hub_new(1 << 20);
    rig->service = service_start(rig->store, rig->bus, rig->hub, rig->clock, &rig->options, &error);
    if (rig->service == NULL)
        fail_msg("%s", error->message);
}

void rig_stop(Rig *rig)
{
    service_close_doors(rig->service);
    bus_shutdown(rig->bus);
    service_stop(rig->service);
    hub_free(rig->hub);
    bus_close(rig->bus);
    store_close(rig->store);
}

int set_up(void **state)
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

int tear_down(void **state)
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

ServiceCall *call_new(CallKind kind, const char *caller)
{
    ServiceCall *call = service_call_new(kind, ring, NULL);
    g_strlcpy(call->caller.text, caller, sizeof call->caller.text);
    return call;
}

CallResult do_call(Rig *rig, ServiceCall *call)
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

Id make_id(void *arg)
{
    (void)arg;
    return id_make(1700000000000);
}

Id create_flow(Rig *rig, size_t n_steps)
{
    g_autoptr(GString) text = g_string_new("{\"name\":\"f\",\"labels\":{\"team\":\"a\",\"tier\":\"1\"},\"steps\":[");
    for (size_t i = 0; i < n_steps; i++)
        g_string_append_printf(text, "%s{\"type\":\"ACTION\",\"pluginId\":\"echo\"}", i > 0 ? "," : "");
    g_string_append(text, "]}");
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonValue) body = NULL;
    assert_true(json_parse(text->str, text->len, 32, &body, &error));
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

ServiceCall *start_call(const Id *flow_id, const char *key, const char *digest)
{
    ServiceCall *call = call_new(CALL_START_RUN, OWNER);
    call->flow_id = *flow_id;
    call->start.idempotency_key = g_strdup(key);
    call->start.request_digest = g_strdup(digest);
    return call;
}

CallResult start(Rig *rig, const Id *flow_id, const char *key, const char *digest, Id *ret_run_id)
{
    ServiceCall *call = start_call(flow_id, key, digest);
    CallResult result = do_call(rig, call);
    if (result == RESULT_OK)
        *ret_run_id = call->run_id;
    service_call_free(call);
    return result;
}

Id started_run(Rig *rig)
{
    Id flow_id = create_flow(rig, 1), run_id;
    assert_int_equal(start(rig, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    return run_id;
}

CallResult command(Rig *rig, const Id *run_id, CommandKind kind, const char *caller, char **ret_detail)
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

char *detail_of(Rig *rig, const Id *run_id)
{
    ServiceCall *call = call_new(CALL_GET_RUN, OWNER);
    call->run_id = *run_id;
    char *detail = do_call(rig, call) == RESULT_OK ? g_strndup(call->view->detail, call->view->detail_size) : NULL;
    service_call_free(call);
    return detail;
}

/* ---- a hand-made engine ---- */

CommandMessage *next_command(Rig *rig)
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

void report(Rig *rig, const StatusMessage *status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    status_message_encode(status, text);
    g_autoptr(BusMessage) message = bus_message_new(status->run_id.text, text->str, text->len);
    BusMessage *messages[] = {message};
    size_t n;
    assert_true(bus_publish_statuses(rig->bus, messages, 1, LIMIT_MS, &n, &error));
}

void report_flow(Rig *rig, const CommandMessage *start_message, RunStatus run_status)
{
    StatusMessage status = {.kind = STATUS_FLOW,
                            .run_id = start_message->run_id,
                            .flow_id = start_message->flow_id,
                            .timestamp = clock_wall_ms(rig->clock),
                            .generation = start_message->generation,
                            .run_status = run_status};
    report(rig, &status);
}

void announce(Rig *rig)
{
    int32_t partition = 0;
    StatusMessage status = {.kind = STATUS_ENGINE,
                            .command_partitions = &partition,
                            .n_command_partitions = 1,
                            .timestamp = clock_wall_ms(rig->clock),
                            .engine_id = make_id(NULL)};
    report(rig, &status);
}

void wait_for(Rig *rig, const Id *run_id, const char *text)
{
    Bell pause;
    bell_init(&pause);
    int64_t deadline_us = g_get_monotonic_time() + LIMIT_MS * 1000;
    for (;;) {
        g_autofree char *detail = detail_of(rig, run_id);
        if (detail != NULL && strstr(detail, text) != NULL)
            break;
        if (g_get_monotonic_time() > deadline_us)
            fail_msg("no %s in %s", text, detail != NULL ? detail : "nothing");
        bell_wait(&pause, 2);
    }
    bell_done(&pause);
}
