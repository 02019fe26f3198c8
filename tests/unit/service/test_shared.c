/* Two replicas on one store: what one has not seen of the other. The store is SQLite's, told that it is shared. */
#include "rig.h"

#include <stdatomic.h>
#include <string.h>

#include <glib/gstdio.h>

#include "bus/bus_internal.h"
#include "store/store_internal.h"

enum { ONE, OTHER, N_REPLICAS };

/* Each replica has a bus of its own, so that a test says who hears of what. */
typedef struct {
    char *data_dir;
    Clock *clock; /* fake */
    Store *store;
    StoreOps store_ops;
    BusOps bus_ops;
    Rig replicas[N_REPLICAS];
} Pair;

static void replica_start(Pair *pair, Rig *rig, bool publishes)
{
    g_autoptr(GError) error = NULL;
    rig->clock = pair->clock;
    rig->store = pair->store;
    rig->bus = bus_open_local(1000, 1 << 20);
    if (publishes) {
        pair->bus_ops = *rig->bus->ops;
        pair->bus_ops.is_durable = true;
        rig->bus->ops = &pair->bus_ops;
    }
    rig->hub = hub_new(1 << 20);
    rig->options =
        (ServiceOptions){.max_open_runs = 100, .cache_bytes = 1 << 20, .n_readers = 1, .command_resend_ms = 3600000};
    rig->service = service_start(rig->store, rig->bus, rig->hub, rig->clock, &rig->options, &error);
    if (rig->service == NULL)
        fail_msg("%s", error->message);
}

/* The second one publishes nothing: as one that was stopped right after it appended. */
static int set_up_pair(void **state)
{
    Pair *pair = g_new0(Pair, 1);
    g_autoptr(GError) error = NULL;
    pair->data_dir = g_dir_make_tmp("flowops-shared-XXXXXX", &error);
    pair->clock = clock_new_fake(1769850000000);
    pair->store = store_open_sqlite(pair->data_dir, pair->clock, &error);
    if (pair->store == NULL)
        fail_msg("%s", error->message);
    pair->store_ops = *pair->store->ops;
    pair->store_ops.is_shared = true;
    pair->store->ops = &pair->store_ops;
    replica_start(pair, &pair->replicas[ONE], true);
    replica_start(pair, &pair->replicas[OTHER], false);
    *state = pair;
    return 0;
}

static int tear_down_pair(void **state)
{
    Pair *pair = *state;
    for (size_t i = 0; i < N_REPLICAS; i++) {
        Rig *rig = &pair->replicas[i];
        service_close_doors(rig->service);
        bus_shutdown(rig->bus);
        service_stop(rig->service);
        hub_free(rig->hub);
        bus_close(rig->bus);
    }
    store_close(pair->store);
    clock_free(pair->clock);
    g_autoptr(GDir) dir = g_dir_open(pair->data_dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(pair->data_dir, name, NULL);
        assert_int_equal(g_unlink(path), 0);
    }
    assert_int_equal(g_rmdir(pair->data_dir), 0);
    g_free(pair->data_dir);
    g_free(pair);
    return 0;
}

/* The deadline is real time; the replicas' clock stands still unless a test moves it. */
static CommandMessage *published(Rig *rig, CommandKind expected)
{
    CommandMessage *message = next_command(rig);
    assert_int_equal(message->command, expected);
    return message;
}

static void assert_nothing_published(Rig *rig)
{
    BusMessage *message;
    size_t n = 0;
    assert_true(bus_poll_commands(rig->bus, &message, 1, 300, &n, NULL));
    assert_int_equal(n, 0);
}

/* ---- states ---- */

static void test_a_replica_sees_what_the_other_appended(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autofree char *before = detail_of(other, &run_id);
    assert_non_null(strstr(before, "\"seq\":1,"));
    assert_int_equal(command(one, &run_id, COMMAND_PAUSE, OWNER, NULL), RESULT_OK);
    g_autofree char *after = detail_of(other, &run_id);
    assert_non_null(strstr(after, "\"seq\":2,"));
    assert_non_null(strstr(after, "\"command\":\"PAUSE\""));
}

static void test_what_appends_nothing_is_decided_on_the_newest_state(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autoptr(CommandMessage) message = published(one, COMMAND_START);
    report_flow(one, message, RUN_RUNNING);
    wait_for(one, &run_id, "\"status\":\"RUNNING\"");
    /* The other one knows the run as RUNNING ... */
    assert_int_equal(command(other, &run_id, COMMAND_RESUME, OWNER, NULL), RESULT_NOTHING_TO_DO);
    clock_fake_advance(pair->clock, 5);
    report_flow(one, message, RUN_PAUSED);
    wait_for(one, &run_id, "\"status\":\"PAUSED\"");
    /* ... and would have nothing to do, or a reason to refuse, if it believed that. */
    assert_int_equal(command(other, &run_id, COMMAND_RESUME, OWNER, NULL), RESULT_OK);
    assert_int_equal(command(one, &run_id, COMMAND_RESUME, OWNER, NULL), RESULT_NOTHING_TO_DO);
    clock_fake_advance(pair->clock, 5);
    report_flow(one, message, RUN_COMPLETED);
    wait_for(one, &run_id, "\"status\":\"COMPLETED\"");
    assert_int_equal(command(other, &run_id, COMMAND_RESUME, OWNER, NULL), RESULT_CONFLICT);
}

static void test_a_replay_to_the_other_replica_changes_nothing(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_free(detail_of(other, &run_id)); /* it knows the run as it is now */
    g_autoptr(CommandMessage) message = published(one, COMMAND_START);
    report_flow(one, message, RUN_RUNNING);
    wait_for(one, &run_id, "\"status\":\"RUNNING\"");
    report_flow(other, message, RUN_RUNNING);
    WAIT_UNTIL(service_health(other->service).n_statuses_ignored == 1);
    g_autofree char *after = detail_of(one, &run_id);
    assert_non_null(strstr(after, "\"seq\":2,"));
}

static void test_a_start_takes_the_version_that_the_other_made(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    ServiceCall *update = call_new(CALL_UPDATE_FLOW, OWNER);
    update->flow_id = flow_id;
    assert_true(json_parse("{\"name\":\"g\"}", 12, 8, &update->body, NULL));
    assert_int_equal(do_call(other, update), RESULT_OK);
    service_call_free(update);
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autofree char *detail = detail_of(one, &run_id);
    assert_non_null(strstr(detail, "\"flowVersion\":2"));
    ServiceCall *deletion = call_new(CALL_DELETE_FLOW, OWNER);
    deletion->flow_id = flow_id;
    deletion->is_forced = true;
    assert_int_equal(do_call(other, deletion), RESULT_OK);
    service_call_free(deletion);
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_NOT_FOUND);
}

typedef struct {
    atomic_int n_left;
    atomic_int n_accepted, n_nothing, n_others;
    Bell bell;
} Race;

static void race_done(ServiceCall *call)
{
    Race *race = call->arg;
    atomic_fetch_add(call->result == RESULT_OK              ? &race->n_accepted
                     : call->result == RESULT_NOTHING_TO_DO ? &race->n_nothing
                                                            : &race->n_others,
                     1);
    service_call_free(call);
    if (atomic_fetch_sub(&race->n_left, 1) == 1)
        bell_ring(&race->bell);
}

static void test_thirty_stops_at_both_replicas_are_one(void **state)
{
    enum { N = 30 };
    Pair *pair = *state;
    Id flow_id = create_flow(&pair->replicas[ONE], 1);
    for (int round = 0; round < 20; round++) {
        Id run_id;
        assert_int_equal(start(&pair->replicas[round % 2], &flow_id, NULL, NULL, &run_id), RESULT_OK);
        for (size_t i = 0; i < N_REPLICAS; i++)
            g_free(detail_of(&pair->replicas[i], &run_id));
        Race race = {.n_left = N};
        bell_init(&race.bell);
        for (int i = 0; i < N; i++) {
            ServiceCall *call = service_call_new(CALL_COMMAND_RUN, race_done, &race);
            g_strlcpy(call->caller.text, OWNER, sizeof call->caller.text);
            call->run_id = run_id;
            call->command = COMMAND_STOP;
            assert_true(service_submit(pair->replicas[i % 2].service, call, NULL));
        }
        bell_wait(&race.bell, -1);
        bell_done(&race.bell);
        assert_int_equal(race.n_accepted, 1);
        assert_int_equal(race.n_nothing, N - 1);
        g_autofree char *detail = detail_of(&pair->replicas[ONE], &run_id);
        assert_non_null(strstr(detail, "\"seq\":2,"));
    }
}

/* ---- commands ---- */

static void test_a_command_waits_for_the_others_earlier_one(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(other, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    assert_int_equal(command(one, &run_id, COMMAND_PAUSE, OWNER, NULL), RESULT_OK);
    assert_nothing_published(one);
    clock_fake_advance(pair->clock, 9000);
    assert_nothing_published(one);
    /* It was never published by who appended it: this replica does both, in order. */
    clock_fake_advance(pair->clock, 2000);
    g_autoptr(CommandMessage) first = published(one, COMMAND_START);
    assert_string_equal(first->run_id.text, run_id.text);
    g_autoptr(CommandMessage) second = published(one, COMMAND_PAUSE);
    assert_int_equal(second->seq, 2);
    RunSeq entry;
    size_t n = 1;
    WAIT_UNTIL(store_read_outbox(pair->store, NULL, 1, &entry, &n, NULL) && n == 0);
}

static void test_what_nobody_comes_along_for_is_swept(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 1), run_id;
    assert_int_equal(start(other, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    assert_int_equal(command(other, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_OK);
    clock_fake_advance(pair->clock, 2500); /* seen for the first time */
    assert_nothing_published(one);
    Bell pause;
    bell_init(&pause);
    CommandMessage *first = NULL;
    for (int i = 0; i < 60 && first == NULL; i++) { /* the sweep's pace is its own */
        clock_fake_advance(pair->clock, 2500);
        BusMessage *message;
        size_t n = 0;
        assert_true(bus_poll_commands(one->bus, &message, 1, 250, &n, NULL));
        if (n == 1) {
            first = command_message_decode(message->value, message->value_size, NULL);
            bus_message_free(message);
        }
    }
    bell_done(&pause);
    assert_non_null(first);
    assert_int_equal(first->command, COMMAND_START);
    command_message_free(first);
    g_autoptr(CommandMessage) second = published(one, COMMAND_STOP);
    assert_int_equal(second->seq, 2);
}

static void test_a_run_that_the_other_deleted_is_gone(void **state)
{
    Pair *pair = *state;
    Rig *one = &pair->replicas[ONE], *other = &pair->replicas[OTHER];
    Id flow_id = create_flow(one, 0), run_id;
    assert_int_equal(start(one, &flow_id, NULL, NULL, &run_id), RESULT_OK);
    g_autoptr(CommandMessage) message = published(one, COMMAND_START);
    report_flow(one, message, RUN_COMPLETED);
    wait_for(one, &run_id, "\"status\":\"COMPLETED\"");
    wait_for(other, &run_id, "\"status\":\"COMPLETED\"");
    assert_int_equal(command(other, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_CONFLICT); /* folded there, too */
    ServiceCall *deletion = call_new(CALL_DELETE_RUN, OWNER);
    deletion->run_id = run_id;
    assert_int_equal(do_call(one, deletion), RESULT_OK);
    service_call_free(deletion);
    g_autofree char *here = detail_of(one, &run_id);
    assert_null(here);
    g_autofree char *there = detail_of(other, &run_id);
    assert_null(there);
    assert_int_equal(command(other, &run_id, COMMAND_STOP, OWNER, NULL), RESULT_NOT_FOUND);
}

int main(void)
{
#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, set_up_pair, tear_down_pair)
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_a_replica_sees_what_the_other_appended),
        PAIR_TEST(test_what_appends_nothing_is_decided_on_the_newest_state),
        PAIR_TEST(test_a_replay_to_the_other_replica_changes_nothing),
        PAIR_TEST(test_a_start_takes_the_version_that_the_other_made),
        PAIR_TEST(test_a_run_that_the_other_deleted_is_gone),
        PAIR_TEST(test_thirty_stops_at_both_replicas_are_one),
        PAIR_TEST(test_a_command_waits_for_the_others_earlier_one),
        PAIR_TEST(test_what_nobody_comes_along_for_is_swept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
