/* test_backfills.c - backfills of two replicas on a clock of our own, with a store that fails, replicas that die between what
 * they record and what they carry out, runs that end anywhere, pauses. Each slot gets one run, in order, and never are more
 * open than was asked for. */
#include "rig.h"

#include <string.h>

#include <glib/gstdio.h>

#include "domain/flow_request.h"
#include "service/scheduler.h"
#include "service/service_internal.h"
#include "store/store_internal.h"

#define BEGIN_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define HOUR_MS INT64_C(3600000)
#define N_SLOTS 60
#define PARALLEL 4
#define N_REPLICAS 2
#define OPEN_PAGE 100
#define ROUNDS_MAX 5000

typedef struct {
    Bus *bus;
    Hub *hub;
    Service *service; /* NULL: it is down */
    Scheduler *scheduler;
} Replica;

typedef struct {
    char *data_dir;
    Clock *clock; /* fake, far behind the slots */
    Store *store; /* fails when told to */
    StoreOps store_ops;
    Replica replicas[N_REPLICAS];
    GRand *random;
    Id flow_id, backfill_id;
} World;

static void replica_start(World *world, Replica *replica)
{
    g_autoptr(GError) error = NULL;
    ServiceOptions options = {
        .max_open_runs = 1000, .cache_bytes = 1 << 20, .n_readers = 1, .command_resend_ms = INT64_C(1) << 50};
    replica->bus = bus_open_local(100, 1 << 20);
    replica->hub = hub_new(1 << 20);
    replica->service = service_start(world->store, replica->bus, replica->hub, world->clock, &options, &error);
    if (replica->service == NULL)
        fail_msg("%s", error->message);
    replica->scheduler = scheduler_new(replica->service);
}

static void replica_stop(Replica *replica)
{
    if (replica->service == NULL)
        return;
    scheduler_free(replica->scheduler);
    service_close_doors(replica->service);
    bus_shutdown(replica->bus);
    service_stop(replica->service);
    hub_free(replica->hub);
    bus_close(replica->bus);
    replica->service = NULL;
}

static void step(World *world, size_t i)
{
    if (world->replicas[i].service == NULL)
        replica_start(world, &world->replicas[i]);
    (void)scheduler_step(world->replicas[i].scheduler);
}

/* The end of a run is in the store a moment before the scheduler is told. */
#define STEP_UNTIL(world, condition) WAIT_UNTIL((step((world), 0), (condition)))

static void fail_writes(World *world, FaultPoint point, int64_t nth, int64_t n_times)
{
    store_fault_set(world->store, STORE_WRITE, point, nth, n_times);
}

/* ---- calls ---- */

static CallResult ask(World *world, size_t i, ServiceCall *call)
{
    Rig rig = {.service = world->replicas[i].service};
    call->flow_id = world->flow_id;
    return do_call(&rig, call);
}

static Id new_id(void *world)
{
    return id_make(clock_wall_ms(((World *)world)->clock));
}

/* Of every hour, and paused: what is started is the backfill's. */
static void create_flow_of_hours(World *world)
{
    static const char text[] = "{\"name\":\"f\",\"cron\":\"0 * * * *\",\"schedule\":{\"paused\":true},\"steps\":[]}";
    g_autoptr(JsonValue) body = NULL;
    g_autoptr(Faults) faults = faults_new();
    assert_true(json_parse(text, strlen(text), 8, &body, NULL));
    FlowOrigin origin = {.flow_id = new_id(world),
                         .owner = {OWNER},
                         .actor = {OWNER},
                         .now_ms = clock_wall_ms(world->clock),
                         .make_id = new_id,
                         .make_id_arg = world};
    ServiceCall *call = call_new(CALL_CREATE_FLOW, OWNER);
    world->flow_id = origin.flow_id;
    call->flow = flow_create(body, &origin, faults);
    assert_non_null(call->flow);
    assert_int_equal(ask(world, 0, call), RESULT_OK);
    service_call_free(call);
}

static CallResult create_backfill(World *world, int64_t n_slots, const char *key, const char *digest)
{
    ServiceCall *call = call_new(CALL_CREATE_BACKFILL, OWNER);
    call->backfill.request =
        (BackfillRequest){.from = BEGIN_MS, .to = BEGIN_MS + n_slots * HOUR_MS, .max_parallel = PARALLEL};
    call->start.idempotency_key = g_strdup(key);
    call->start.request_digest = g_strdup(digest);
    CallResult result = ask(world, 0, call);
    if (result == RESULT_OK)
        world->backfill_id = call->backfill.id;
    service_call_free(call);
    return result;
}

static CallResult steer(World *world, size_t i, BackfillCommand command)
{
    ServiceCall *call = call_new(CALL_COMMAND_BACKFILL, OWNER);
    call->backfill.id = world->backfill_id;
    call->backfill.command = command;
    CallResult result = ask(world, i, call);
    service_call_free(call);
    return result;
}

static Backfill backfill_of(World *world)
{
    Backfill backfill;
    g_autoptr(GError) error = NULL;
    g_autoptr(BackfillRecord) record = store_get_backfill(world->store, world->backfill_id.text, false, &error);
    if (record == NULL || !backfill_decode(record->state, record->state_size, &backfill, &error))
        fail_msg("%s", error->message);
    return backfill;
}

/* ---- runs ---- */

static size_t list_open(World *world, Id *ids)
{
    size_t n;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_runs_in_phase(world->store, PHASE_OPEN, INSTANT_NONE, "", OPEN_PAGE, ids, &n, &error));
    return n;
}

/* At most n of the open runs end at this replica. */
static void end_runs(World *world, size_t i, size_t n_max)
{
    Id ids[OPEN_PAGE];
    size_t n_open = list_open(world, ids), n = MIN(n_open, n_max);
    Rig rig = {.clock = world->clock, .bus = world->replicas[i].bus};
    for (size_t k = 0; k < n; k++) {
        StatusMessage status = {.kind = STATUS_FLOW,
                                .run_id = ids[k],
                                .flow_id = world->flow_id,
                                .timestamp = clock_wall_ms(world->clock),
                                .generation = 1,
                                .run_status = RUN_COMPLETED};
        report(&rig, &status);
    }
    WAIT_UNTIL(list_open(world, ids) == n_open - n);
}

static int64_t count_runs(World *world)
{
    g_autoptr(GError) error = NULL;
    ListQuery query = {.owner = OWNER,
                       .flow_id = world->flow_id.text,
                       .from = INSTANT_NONE,
                       .to = INSTANT_NONE,
                       .limit = 1,
                       .wants_total = true};
    g_autoptr(ListPage) page = store_list_runs(world->store, &query, &error);
    assert_non_null(page);
    return page->total;
}

/* ---- worlds ---- */

static void world_begin(World *world, guint32 seed)
{
    g_autoptr(GError) error = NULL;
    *world = (World){.random = g_rand_new_with_seed(seed), .clock = clock_new_fake(BEGIN_MS + 1000 * HOUR_MS)};
    world->data_dir = g_dir_make_tmp("flowops-backfills-XXXXXX", &error);
    Store *inner = store_open_sqlite(world->data_dir, world->clock, &error);
    if (inner == NULL)
        fail_msg("%s", error->message);
    world->store_ops = *inner->ops;
    world->store_ops.is_shared = true; /* SQLite's store, told that it is shared */
    inner->ops = &world->store_ops;
    world->store = store_open_fault(inner);
    for (size_t i = 0; i < N_REPLICAS; i++)
        replica_start(world, &world->replicas[i]);
    create_flow_of_hours(world);
}

static void world_end(World *world)
{
    for (size_t i = 0; i < N_REPLICAS; i++)
        replica_stop(&world->replicas[i]);
    store_close(world->store);
    clock_free(world->clock);
    g_rand_free(world->random);
    g_autoptr(GDir) dir = g_dir_open(world->data_dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(world->data_dir, name, NULL);
        assert_int_equal(g_unlink(path), 0);
    }
    assert_int_equal(g_rmdir(world->data_dir), 0);
    g_free(world->data_dir);
}

/* ---- single cases ---- */

static void test_in_order_and_few_at_once(void **state)
{
    (void)state;
    World world;
    Id ids[OPEN_PAGE];
    world_begin(&world, 1);
    assert_int_equal(create_backfill(&world, 6, NULL, NULL), RESULT_OK);
    assert_int_equal(list_open(&world, ids), 0);
    step(&world, 0);
    assert_int_equal(list_open(&world, ids), PARALLEL);
    Id fourth = schedule_run_id(&world.flow_id, BEGIN_MS + 3 * HOUR_MS);
    g_autoptr(RunDocument) run = store_get_run(world.store, fourth.text, NULL);
    assert_non_null(run);
    /* It is told by the ends of runs: the clock stands still. */
    end_runs(&world, 0, 1);
    STEP_UNTIL(&world, list_open(&world, ids) == PARALLEL);
    end_runs(&world, 0, OPEN_PAGE);
    STEP_UNTIL(&world, list_open(&world, ids) == 1);
    end_runs(&world, 0, OPEN_PAGE);
    STEP_UNTIL(&world, backfill_of(&world).status == BACKFILL_COMPLETED);
    assert_int_equal(count_runs(&world), 6);
    world_end(&world);
}

/* It has recorded what starts, and dies before anything does. */
static void test_another_replica_carries_out(void **state)
{
    (void)state;
    World world;
    Id ids[OPEN_PAGE];
    world_begin(&world, 1);
    assert_int_equal(create_backfill(&world, 6, NULL, NULL), RESULT_OK);
    fail_writes(&world, FAULT_BEFORE_EFFECT, 2, 1);
    step(&world, 0);
    assert_int_equal(backfill_of(&world).n_started, PARALLEL);
    assert_int_equal(list_open(&world, ids), 0);
    replica_stop(&world.replicas[0]);
    step(&world, 1);
    clock_fake_advance(world.clock, 9000);
    step(&world, 1);
    assert_int_equal(list_open(&world, ids), 0); /* it may still come */
    clock_fake_advance(world.clock, 2000);
    step(&world, 1);
    assert_int_equal(list_open(&world, ids), PARALLEL);
    world_end(&world);
}

static void test_a_failed_start_is_made_up_for(void **state)
{
    (void)state;
    World world;
    Id ids[OPEN_PAGE];
    for (FaultPoint point = FAULT_BEFORE_EFFECT; point <= FAULT_AFTER_EFFECT; point++) {
        for (int64_t nth = 1; nth <= 2; nth++) {
            world_begin(&world, 1);
            assert_int_equal(create_backfill(&world, 6, NULL, NULL), RESULT_OK);
            fail_writes(&world, point, nth, 1);
            step(&world, 0);
            step(&world, 0);
            clock_fake_advance(world.clock, 11000); /* an entry whose outcome stayed open may be another's */
            step(&world, 0);
            clock_fake_advance(world.clock, 11000);
            step(&world, 0);
            assert_int_equal(list_open(&world, ids), PARALLEL);
            assert_int_equal(count_runs(&world), PARALLEL);
            world_end(&world);
        }
    }
}

static void test_a_pause_at_another_replica(void **state)
{
    (void)state;
    World world;
    Id ids[OPEN_PAGE];
    world_begin(&world, 1);
    assert_int_equal(create_backfill(&world, 10, NULL, NULL), RESULT_OK);
    step(&world, 0);
    assert_int_equal(steer(&world, 1, BACKFILL_PAUSE), RESULT_OK);
    assert_int_equal(steer(&world, 0, BACKFILL_PAUSE), RESULT_NOTHING_TO_DO);
    end_runs(&world, 0, OPEN_PAGE);
    step(&world, 0);
    clock_fake_advance(world.clock, 20000);
    step(&world, 1);
    assert_int_equal(list_open(&world, ids), 0);
    assert_int_equal(backfill_of(&world).n_completed, PARALLEL);
    assert_int_equal(steer(&world, 0, BACKFILL_RESUME), RESULT_OK);
    step(&world, 0);
    assert_int_equal(list_open(&world, ids), PARALLEL);
    assert_int_equal(steer(&world, 1, BACKFILL_CANCEL), RESULT_OK);
    end_runs(&world, 0, OPEN_PAGE);
    STEP_UNTIL(&world, backfill_of(&world).n_open == 0);
    assert_int_equal(list_open(&world, ids), 0);
    Backfill backfill = backfill_of(&world);
    assert_int_equal(backfill.status, BACKFILL_CANCELLED);
    assert_int_equal(backfill.n_completed, 2 * PARALLEL);
    assert_int_equal(steer(&world, 1, BACKFILL_RESUME), RESULT_CONFLICT);
    world_end(&world);
}

/* Its run ended and was deleted before anybody looked. */
static void test_a_deleted_run_is_not_made_again(void **state)
{
    (void)state;
    World world;
    world_begin(&world, 1);
    assert_int_equal(create_backfill(&world, 1, NULL, NULL), RESULT_OK);
    step(&world, 0);
    end_runs(&world, 0, OPEN_PAGE);
    ServiceCall *call = call_new(CALL_DELETE_RUN, OWNER);
    call->run_id = schedule_run_id(&world.flow_id, BEGIN_MS);
    assert_int_equal(ask(&world, 0, call), RESULT_OK);
    service_call_free(call);
    STEP_UNTIL(&world, backfill_of(&world).status == BACKFILL_COMPLETED);
    assert_int_equal(backfill_of(&world).n_deleted, 1);
    assert_int_equal(count_runs(&world), 0);
    world_end(&world);
}

/* Whoever made it, and whatever is recorded of that. */
static void test_a_run_that_is_there_covers_its_slot(void **state)
{
    (void)state;
    World world;
    Bell latch;
    world_begin(&world, 1);
    int64_t slot = BEGIN_MS + HOUR_MS;
    g_autoptr(Flow) flow = store_get_flow(world.store, world.flow_id.text, 0, NULL);
    SlotStart start = {.flow = flow, .run_id = schedule_run_id(&world.flow_id, slot), .slot = slot};
    WriterItem item = {.kind = ITEM_SLOTS, .slots = &start, .n_slots = 1};
    bell_init(&latch);
    assert_true(writer_do(world.replicas[0].service, &item, sizeof item, &latch));
    assert_int_equal(item.result, RESULT_OK);
    bell_done(&latch);
    assert_int_equal(create_backfill(&world, 3, NULL, NULL), RESULT_OK);
    Backfill backfill = backfill_of(&world);
    assert_int_equal(backfill.n_in_range, 3);
    assert_int_equal(backfill.n_slots, 2);
    world_end(&world);
}

static void test_the_same_key(void **state)
{
    (void)state;
    World world;
    world_begin(&world, 1);
    assert_int_equal(create_backfill(&world, 3, "key", "digest"), RESULT_OK);
    Id first = world.backfill_id;
    assert_int_equal(create_backfill(&world, 3, "key", "digest"), RESULT_OK);
    assert_string_equal(world.backfill_id.text, first.text);
    assert_int_equal(create_backfill(&world, 3, "key", "other"), RESULT_CONFLICT);
    world_end(&world);
}

static void test_a_store_that_fails_says_so(void **state)
{
    (void)state;
    World world;
    world_begin(&world, 1);
    fail_writes(&world, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&world, 3, NULL, NULL), RESULT_UNAVAILABLE);
    fail_writes(&world, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&world, 3, "key", "digest"), RESULT_UNKNOWN);
    assert_int_equal(create_backfill(&world, 3, "key", "digest"), RESULT_OK); /* and the same key finds it */
    static const StoreMethod reads[] = {STORE_GET_BACKFILL, STORE_LIST_BACKFILLS, STORE_COUNT_OPEN_BACKFILLS,
                                        STORE_FIND_NEWER, STORE_READ_DECISIONS};
    for (size_t i = 0; i < G_N_ELEMENTS(reads); i++) {
        store_fault_set(world.store, reads[i], FAULT_BEFORE_EFFECT, 1, 1);
        assert_int_equal(create_backfill(&world, 3, i == 0 ? "key 2" : NULL, "digest"), RESULT_UNAVAILABLE);
    }
    world_end(&world);
}

/* ---- whatever happens ---- */

static void live(World *world)
{
    size_t i = (size_t)g_rand_int_range(world->random, 0, N_REPLICAS);
    FaultPoint point = g_rand_boolean(world->random) ? FAULT_BEFORE_EFFECT : FAULT_AFTER_EFFECT;
    int kind = g_rand_int_range(world->random, 0, 100);
    clock_fake_advance(world->clock, g_rand_int_range(world->random, 1, 4000));
    if (kind < 15) { /* the store fails somewhere within the step, and the process may end there */
        fail_writes(world, point, g_rand_int_range(world->random, 1, 4), 1);
        step(world, i);
        if (g_rand_boolean(world->random))
            replica_stop(&world->replicas[i]);
        fail_writes(world, point, 1, 0);
    } else if (kind < 20) {
        replica_stop(&world->replicas[i]);
    } else if (kind < 25 && world->replicas[i].service != NULL) {
        (void)steer(world, i, g_rand_int_range(world->random, 0, 3) == 0 ? BACKFILL_PAUSE : BACKFILL_RESUME);
    } else if (kind < 60 && world->replicas[i].service != NULL) {
        end_runs(world, i, (size_t)g_rand_int_range(world->random, 0, PARALLEL + 1));
    } else {
        step(world, i);
    }
}

static void check_runs(World *world)
{
    int64_t created_before = 0;
    for (int64_t n = 0; n < N_SLOTS; n++) {
        g_autoptr(GError) error = NULL;
        Id run_id = schedule_run_id(&world->flow_id, BEGIN_MS + n * HOUR_MS);
        g_autoptr(JournalPage) page = store_read_journal(world->store, run_id.text, 0, 10, 1 << 20, &error);
        assert_true(page != NULL && page->n_entries > 0);
        g_autoptr(Event) created = event_decode(page->entries[0].text, page->entries[0].size, &error);
        assert_non_null(created);
        assert_true(created->timestamp >= created_before); /* in order */
        created_before = created->timestamp;
    }
    assert_int_equal(count_runs(world), N_SLOTS);
}

static void run_world(guint32 seed)
{
    World world;
    Id ids[OPEN_PAGE];
    world_begin(&world, seed);
    assert_int_equal(create_backfill(&world, N_SLOTS, NULL, NULL), RESULT_OK);
    int n_rounds = 0;
    while (backfill_of(&world).status != BACKFILL_COMPLETED && n_rounds++ < ROUNDS_MAX) {
        live(&world);
        assert_in_range(list_open(&world, ids), 0, PARALLEL);
    }
    Backfill backfill = backfill_of(&world);
    assert_int_equal(backfill.status, BACKFILL_COMPLETED);
    assert_int_equal(backfill.n_completed, N_SLOTS);
    assert_int_equal(backfill.n_deleted, 0);
    check_runs(&world);
    print_message("seed %u: %d rounds, %" G_GINT64_FORMAT " entries\n", seed, n_rounds, backfill.n);
    world_end(&world);
}

static void test_whatever_happens(void **state)
{
    (void)state;
    const char *text = g_getenv("FLOWOPS_TEST_SEED");
    guint32 first = text != NULL ? (guint32)g_ascii_strtoull(text, NULL, 10) : 1;
    for (guint32 seed = first; seed < first + 3; seed++)
        run_world(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order_and_few_at_once),
        cmocka_unit_test(test_another_replica_carries_out),
        cmocka_unit_test(test_a_failed_start_is_made_up_for),
        cmocka_unit_test(test_a_pause_at_another_replica),
        cmocka_unit_test(test_a_deleted_run_is_not_made_again),
        cmocka_unit_test(test_a_run_that_is_there_covers_its_slot),
        cmocka_unit_test(test_the_same_key),
        cmocka_unit_test(test_a_store_that_fails_says_so),
        cmocka_unit_test(test_whatever_happens),
    };
    return cmocka_run_group_tests_name("backfills", tests, NULL, NULL);
}
