/* test_backfills.c - backfills of two replicas on a clock of our own, with a store that fails, replicas that die between what
 * they record and what they carry out, runs that end anywhere, pauses. Each slot gets one run, in order, and never are more
 * open than was asked for. */
#include "scheduler_world.h"

#include <string.h>

#include "service/service_internal.h"

#define N_SLOTS 60
#define PARALLEL 4
#define N_REPLICAS 2
#define OPEN_PAGE 100
#define ROUNDS_MAX 5000
#define FIRST_SLOT_MS (BEGIN_MS - 1000 * HOUR_MS) /* far behind the clock */

/* A flow of every hour, paused: what is started is the backfill's. */
typedef struct {
    World world;
    Subject flow;
    Id backfill_id;
} Bench;

static void step_one(Bench *bench, size_t i)
{
    Replica *replica = &bench->world.replicas[i];
    if (replica->service == NULL)
        replica_start(&bench->world, replica);
    step(replica);
}

/* The end of a run is in the store a moment before the scheduler is told. */
#define STEP_UNTIL(bench, condition) WAIT_UNTIL((step_one((bench), 0), (condition)))

static void fail_writes(Bench *bench, FaultPoint point, int64_t nth, int64_t n_times)
{
    store_fault_set(bench->world.store, STORE_WRITE, point, nth, n_times);
}

/* ---- calls ---- */

static CallResult ask(Bench *bench, size_t i, ServiceCall *call)
{
    call->flow_id = bench->flow.id;
    return do_service_call(&bench->world.replicas[i], call);
}

static CallResult create_backfill(Bench *bench, int64_t n_slots, const char *key, const char *digest)
{
    ServiceCall *call = call_new(CALL_CREATE_BACKFILL, OWNER);
    call->backfill.request =
        (BackfillRequest){.from = FIRST_SLOT_MS, .to = FIRST_SLOT_MS + n_slots * HOUR_MS, .max_parallel = PARALLEL};
    call->start.idempotency_key = g_strdup(key);
    call->start.request_digest = g_strdup(digest);
    CallResult result = ask(bench, 0, call);
    if (result == RESULT_OK)
        bench->backfill_id = call->backfill.id;
    service_call_free(call);
    return result;
}

static CallResult steer(Bench *bench, size_t i, BackfillCommand command)
{
    ServiceCall *call = call_new(CALL_COMMAND_BACKFILL, OWNER);
    call->backfill.id = bench->backfill_id;
    call->backfill.command = command;
    CallResult result = ask(bench, i, call);
    service_call_free(call);
    return result;
}

static Backfill backfill_of(Bench *bench)
{
    Backfill backfill = {0};
    g_autoptr(GError) error = NULL;
    g_autoptr(BackfillRecord) record = store_get_backfill(bench->world.store, bench->backfill_id.text, false, &error);
    if (record == NULL || !backfill_decode(record->state, record->state_size, &backfill, &error))
        fail_msg("%s", error->message);
    return backfill;
}

/* ---- runs ---- */

static size_t list_open(Bench *bench, Id *ids)
{
    size_t n;
    g_autoptr(GError) error = NULL;
    assert_true(store_list_runs_in_phase(bench->world.store, PHASE_OPEN, INSTANT_NONE, "", OPEN_PAGE, ids, &n, &error));
    return n;
}

/* At most n of the open runs end at this replica. */
static void end_some(Bench *bench, size_t i, size_t n_max)
{
    Id ids[OPEN_PAGE];
    size_t n_open = list_open(bench, ids), n = MIN(n_open, n_max);
    Rig rig = {.clock = bench->world.clock, .bus = bench->world.replicas[i].bus};
    for (size_t k = 0; k < n; k++) {
        StatusMessage status = {.kind = STATUS_FLOW,
                                .run_id = ids[k],
                                .flow_id = bench->flow.id,
                                .timestamp = clock_wall_ms(bench->world.clock),
                                .generation = 1,
                                .run_status = RUN_COMPLETED};
        report(&rig, &status);
    }
    WAIT_UNTIL(list_open(bench, ids) == n_open - n);
    wait_for_writer(&bench->world.replicas[i]);
}

/* ---- worlds ---- */

static void bench_begin(Bench *bench, guint32 seed)
{
    *bench = (Bench){.flow = {.cron = "0 * * * *", .schedule = "", .is_paused = true}};
    world_begin(&bench->world, N_REPLICAS, seed);
    for (size_t i = 0; i < bench->world.n_subjects; i++) { /* the others are not in the way */
        ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
        call->flow_id = bench->world.subjects[i].id;
        assert_int_equal(do_service_call(&bench->world.replicas[0], call), RESULT_OK);
        service_call_free(call);
    }
    create(&bench->world, &bench->flow);
}

/* ---- single cases ---- */

static void test_in_order_and_few_at_once(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 6, NULL, NULL), RESULT_OK);
    assert_int_equal(list_open(&bench, ids), 0);
    step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), PARALLEL);
    Id fourth = schedule_run_id(&bench.flow.id, FIRST_SLOT_MS + 3 * HOUR_MS);
    g_autoptr(RunDocument) run = store_get_run(bench.world.store, fourth.text, NULL);
    assert_non_null(run);
    /* It is told by the ends of runs: the clock stands still. */
    end_some(&bench, 0, 1);
    STEP_UNTIL(&bench, list_open(&bench, ids) == PARALLEL);
    end_some(&bench, 0, OPEN_PAGE);
    STEP_UNTIL(&bench, list_open(&bench, ids) == 1);
    end_some(&bench, 0, OPEN_PAGE);
    STEP_UNTIL(&bench, backfill_of(&bench).status == BACKFILL_COMPLETED);
    assert_int_equal(count_runs(&bench.world, &bench.flow), 6);
    world_end(&bench.world);
}

/* It has recorded what starts, and dies before anything does. */
static void test_another_replica_carries_out(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 6, NULL, NULL), RESULT_OK);
    fail_writes(&bench, FAULT_BEFORE_EFFECT, 2, 1);
    step_one(&bench, 0);
    assert_int_equal(backfill_of(&bench).n_started, PARALLEL);
    assert_int_equal(list_open(&bench, ids), 0);
    replica_stop(&bench.world.replicas[0]);
    step_one(&bench, 1);
    clock_fake_advance(bench.world.clock, 9000);
    step_one(&bench, 1);
    assert_int_equal(list_open(&bench, ids), 0); /* it may still come */
    clock_fake_advance(bench.world.clock, 2000);
    step_one(&bench, 1);
    assert_int_equal(list_open(&bench, ids), PARALLEL);
    world_end(&bench.world);
}

static void test_a_failed_start_is_made_up_for(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    for (FaultPoint point = FAULT_BEFORE_EFFECT; point <= FAULT_AFTER_EFFECT; point++) {
        for (int64_t nth = 1; nth <= 2; nth++) {
            bench_begin(&bench, 1);
            assert_int_equal(create_backfill(&bench, 6, NULL, NULL), RESULT_OK);
            fail_writes(&bench, point, nth, 1);
            step_one(&bench, 0);
            step_one(&bench, 0);
            clock_fake_advance(bench.world.clock, 11000); /* an entry whose outcome stayed open may be another's */
            step_one(&bench, 0);
            clock_fake_advance(bench.world.clock, 11000);
            step_one(&bench, 0);
            assert_int_equal(list_open(&bench, ids), PARALLEL);
            assert_int_equal(count_runs(&bench.world, &bench.flow), PARALLEL);
            world_end(&bench.world);
        }
    }
}

static void test_a_pause_at_another_replica(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 10, NULL, NULL), RESULT_OK);
    step_one(&bench, 0);
    assert_int_equal(steer(&bench, 1, BACKFILL_PAUSE), RESULT_OK);
    assert_int_equal(steer(&bench, 0, BACKFILL_PAUSE), RESULT_NOTHING_TO_DO);
    end_some(&bench, 0, OPEN_PAGE);
    step_one(&bench, 0);
    clock_fake_advance(bench.world.clock, 20000);
    step_one(&bench, 1);
    assert_int_equal(list_open(&bench, ids), 0);
    assert_int_equal(backfill_of(&bench).n_completed, PARALLEL);
    assert_int_equal(steer(&bench, 0, BACKFILL_RESUME), RESULT_OK);
    step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), PARALLEL);
    assert_int_equal(steer(&bench, 1, BACKFILL_CANCEL), RESULT_OK);
    end_some(&bench, 0, OPEN_PAGE);
    STEP_UNTIL(&bench, backfill_of(&bench).n_open == 0);
    assert_int_equal(list_open(&bench, ids), 0);
    Backfill backfill = backfill_of(&bench);
    assert_int_equal(backfill.status, BACKFILL_CANCELLED);
    assert_int_equal(backfill.n_completed, 2 * PARALLEL);
    assert_int_equal(steer(&bench, 1, BACKFILL_RESUME), RESULT_CONFLICT);
    world_end(&bench.world);
}

/* Its run ended and was deleted before anybody looked. */
static void test_a_deleted_run_is_not_made_again(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 1, NULL, NULL), RESULT_OK);
    step_one(&bench, 0);
    end_some(&bench, 0, OPEN_PAGE);
    ServiceCall *call = call_new(CALL_DELETE_RUN, OWNER);
    call->run_id = schedule_run_id(&bench.flow.id, FIRST_SLOT_MS);
    assert_int_equal(ask(&bench, 0, call), RESULT_OK);
    service_call_free(call);
    STEP_UNTIL(&bench, backfill_of(&bench).status == BACKFILL_COMPLETED);
    assert_int_equal(backfill_of(&bench).n_deleted, 1);
    assert_int_equal(count_runs(&bench.world, &bench.flow), 0);
    world_end(&bench.world);
}

/* Whoever made it, and whatever is recorded of that. */
static void test_a_run_that_is_there_covers_its_slot(void **state)
{
    (void)state;
    Bench bench;
    Bell latch;
    bench_begin(&bench, 1);
    int64_t slot = FIRST_SLOT_MS + HOUR_MS;
    g_autoptr(Flow) flow = store_get_flow(bench.world.store, bench.flow.id.text, 0, NULL);
    SlotStart start = {.flow = flow, .run_id = schedule_run_id(&bench.flow.id, slot), .slot = slot};
    WriterItem item = {.kind = ITEM_SLOTS, .slots = &start, .n_slots = 1};
    bell_init(&latch);
    assert_true(writer_do(bench.world.replicas[0].service, &item, sizeof item, &latch));
    assert_int_equal(item.result, RESULT_OK);
    bell_done(&latch);
    assert_int_equal(create_backfill(&bench, 3, NULL, NULL), RESULT_OK);
    Backfill backfill = backfill_of(&bench);
    assert_int_equal(backfill.n_in_range, 3);
    assert_int_equal(backfill.n_slots, 2);
    world_end(&bench.world);
}

static void test_the_same_key(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_OK);
    Id first = bench.backfill_id;
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_OK);
    assert_string_equal(bench.backfill_id.text, first.text);
    assert_int_equal(create_backfill(&bench, 3, "key", "other"), RESULT_CONFLICT);
    world_end(&bench.world);
}

/* Its runs may be deleted before another one comes to them. */
static void test_what_another_one_planned_is_covered(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 6, NULL, NULL), RESULT_OK);
    Id first = bench.backfill_id;
    assert_int_equal(create_backfill(&bench, 8, NULL, NULL), RESULT_OK); /* nothing was started yet */
    assert_int_equal(backfill_of(&bench).n_slots, 2);
    assert_int_equal(steer(&bench, 0, BACKFILL_CANCEL), RESULT_OK); /* never starts them */
    bench.backfill_id = first;
    assert_int_equal(steer(&bench, 0, BACKFILL_PAUSE), RESULT_OK); /* still may */
    assert_int_equal(create_backfill(&bench, 8, NULL, NULL), RESULT_OK);
    assert_int_equal(backfill_of(&bench).n_slots, 2);
    world_end(&bench.world);
}

typedef struct {
    Bench *bench;
    size_t replica;
    Id id;
    CallResult result;
} Rival;

static void create_rival(void *arg)
{
    Rival *rival = arg;
    ServiceCall *call = call_new(CALL_CREATE_BACKFILL, OWNER);
    call->backfill.request =
        (BackfillRequest){.from = FIRST_SLOT_MS, .to = FIRST_SLOT_MS + 6 * HOUR_MS, .max_parallel = PARALLEL};
    rival->result = ask(rival->bench, rival->replica, call);
    rival->id = call->backfill.id;
    service_call_free(call);
}

/* Neither can see the other before it is recorded itself. */
static void test_of_two_at_once_one_gives_way(void **state)
{
    (void)state;
    Bench bench;
    Thread *threads[N_REPLICAS];
    g_autoptr(GError) error = NULL;
    Rival rivals[N_REPLICAS];
    size_t n_open = 0;
    bench_begin(&bench, 1);
    step_one(&bench, 1);
    int64_t n_before = store_fault_count(bench.world.store, STORE_COUNT_OPEN_BACKFILLS);
    store_fault_hold(bench.world.store, STORE_COUNT_OPEN_BACKFILLS, true);
    for (size_t i = 0; i < N_REPLICAS; i++) {
        rivals[i] = (Rival){.bench = &bench, .replica = i};
        threads[i] = thread_start("rival", ROLE_MAIN, create_rival, &rivals[i], &error);
        assert_non_null(threads[i]);
    }
    WAIT_UNTIL(store_fault_count(bench.world.store, STORE_COUNT_OPEN_BACKFILLS) == n_before + N_REPLICAS);
    store_fault_hold(bench.world.store, STORE_COUNT_OPEN_BACKFILLS, false);
    for (size_t i = 0; i < N_REPLICAS; i++) {
        thread_join(threads[i]);
        bench.backfill_id = rivals[i].id;
        Backfill backfill = backfill_of(&bench);
        assert_int_equal(rivals[i].result, backfill_is_open(&backfill) ? RESULT_OK : RESULT_CONFLICT);
        assert_int_equal(backfill.reason, backfill_is_open(&backfill) ? BACKFILL_NO_REASON : BACKFILL_SLOTS_TAKEN);
        n_open += backfill_is_open(&backfill);
    }
    assert_in_range(n_open, 0, 1);
    assert_int_equal(create_backfill(&bench, 6, NULL, NULL), RESULT_OK); /* what gave way has taken nothing */
    assert_int_equal(backfill_of(&bench).n_slots, n_open == 0 ? 6 : 0);
    world_end(&bench.world);
}

static CallResult create_over(Bench *bench, int64_t from, int64_t to)
{
    ServiceCall *call = call_new(CALL_CREATE_BACKFILL, OWNER);
    call->backfill.request = (BackfillRequest){.from = from, .to = to, .max_parallel = PARALLEL};
    CallResult result = ask(bench, 0, call);
    bench->backfill_id = call->backfill.id;
    service_call_free(call);
    return result;
}

static void test_what_is_not_decided_is_left_to_the_scheduler(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    Subject flow = {.cron = "0 * * * *", .schedule = "\"misfire\":\"ALL\""};
    create(&bench.world, &flow);
    bench.flow.id = flow.id;
    int64_t made_at = clock_wall_ms(bench.world.clock);
    clock_fake_advance(bench.world.clock, 3 * HOUR_MS);
    int64_t now_ms = clock_wall_ms(bench.world.clock);
    assert_int_equal(create_over(&bench, made_at + 1, now_ms), RESULT_CONFLICT);
    assert_int_equal(create_over(&bench, made_at - 2 * HOUR_MS, now_ms), RESULT_OK);
    Backfill backfill = backfill_of(&bench);
    assert_int_equal(backfill.n_in_range, backfill.n_slots);
    assert_in_range(backfill.n_slots, 2, 3); /* the flow may have been made on the hour */
    assert_true(backfill.to <= made_at + 1);
    come_to_rest(&bench.world, &bench.world.replicas[0]);
    assert_int_equal(create_over(&bench, made_at + 1, now_ms), RESULT_OK);
    assert_int_equal(backfill_of(&bench).n_slots, 0);
    world_end(&bench.world);
}

#define N_WAITING 20 /* of an owner */
#define SLOW_MS 150  /* two looks fill a step */

static World *slow_world;
static BackfillRecord *(*get_fast)(Store *, const char *, bool, GError **);

static BackfillRecord *get_slowly(Store *store, const char *backfill_id, bool has_plan, GError **error)
{
    clock_fake_advance(slow_world->clock, SLOW_MS);
    return get_fast(store, backfill_id, has_plan, error);
}

/* The first are due again before the last have had their turn. */
static void test_each_has_its_turn(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    for (int64_t i = 0; i < N_WAITING; i++)
        assert_int_equal(create_over(&bench, FIRST_SLOT_MS + i * HOUR_MS, FIRST_SLOT_MS + (i + 1) * HOUR_MS),
                         RESULT_OK);
    slow_world = &bench.world;
    get_fast = bench.world.store_ops.get_backfill;
    bench.world.store_ops.get_backfill = get_slowly;
    for (size_t i = 0; i < N_WAITING / 2; i++)
        step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), N_WAITING);
    world_end(&bench.world);
}

static DecisionPage *(*read_fast)(Store *, const char *, int64_t, size_t, GError **);

static DecisionPage *read_slowly(Store *store, const char *flow_id, int64_t after, size_t limit, GError **error)
{
    clock_fake_advance(slow_world->clock, limit > 1 ? HOUR_MS : 0);
    return read_fast(store, flow_id, after, limit, error);
}

/* A reader has more to do than to read one flow's journal. */
static void test_a_long_journal_is_not_read_to_its_end(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    slow_world = &bench.world;
    read_fast = bench.world.store_ops.read_decisions;
    bench.world.store_ops.read_decisions = read_slowly;
    assert_int_equal(create_backfill(&bench, 3, NULL, NULL), RESULT_BUSY);
    bench.world.store_ops.read_decisions = read_fast;
    assert_true(atomic_load(&bench.world.replicas[0].service->is_store_up)); /* it is not to blame */
    assert_int_equal(create_backfill(&bench, 3, NULL, NULL), RESULT_OK);
    world_end(&bench.world);
}

static void write_zone(Bench *bench, const char *zone)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Flow) flow = store_get_flow(bench->world.store, bench->flow.id.text, 0, &error);
    assert_null(error);
    flow->version++;
    g_free(flow->timezone);
    flow->timezone = g_strdup(zone);
    StoreWrite write = {.kind = WRITE_FLOW, .flow = flow};
    assert_true(store_write(bench->world.store, &write, 1, &error));
    assert_int_equal(write.ret_outcome, WRITTEN);
}

/* Another replica's machine may know it. */
static void test_an_unknown_zone_cancels_nothing(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    assert_int_equal(create_backfill(&bench, 3 * PARALLEL, NULL, NULL), RESULT_OK);
    step_one(&bench, 0);
    write_zone(&bench, "Nowhere/Land");
    end_some(&bench, 0, OPEN_PAGE);
    for (int i = 0; i < 3; i++) {
        clock_fake_advance(bench.world.clock, 20000);
        step_one(&bench, 0);
        assert_int_equal(backfill_of(&bench).status, BACKFILL_RUNNING);
    }
    Id first = bench.backfill_id;
    assert_int_equal(create_over(&bench, FIRST_SLOT_MS, BEGIN_MS), RESULT_CONFLICT); /* nor is one made */
    bench.backfill_id = first;
    write_zone(&bench, "UTC");
    clock_fake_advance(bench.world.clock, HOUR_MS);
    step_one(&bench, 0);
    step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), PARALLEL);
    write_zone(&bench, "Nowhere/Land"); /* to be cancelled takes no zone */
    assert_int_equal(steer(&bench, 0, BACKFILL_CANCEL), RESULT_OK);
    end_some(&bench, 0, OPEN_PAGE);
    STEP_UNTIL(&bench, backfill_of(&bench).n_completed == 2 * PARALLEL);
    world_end(&bench.world);
}

/* Whoever took it in died before its scheduler heard of it, and before what lists show was written: the repeat sees to both. */
static void test_the_same_key_wakes_the_scheduler(void **state)
{
    (void)state;
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, 1);
    step_one(&bench, 0); /* it looks for backfills now, and on a clock that stands never again */
    fail_writes(&bench, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_UNKNOWN);
    step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), 0);
    fail_writes(&bench, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_UNAVAILABLE); /* not mended: not answered */
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_OK);
    step_one(&bench, 0);
    assert_int_equal(list_open(&bench, ids), 3);
    world_end(&bench.world);
}

static void test_a_store_that_fails_says_so(void **state)
{
    (void)state;
    Bench bench;
    bench_begin(&bench, 1);
    fail_writes(&bench, FAULT_BEFORE_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&bench, 3, NULL, NULL), RESULT_UNAVAILABLE);
    fail_writes(&bench, FAULT_AFTER_EFFECT, 1, 1);
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_UNKNOWN);
    assert_int_equal(create_backfill(&bench, 3, "key", "digest"), RESULT_OK); /* and the same key finds it */
    static const StoreMethod reads[] = {STORE_GET_BACKFILL, STORE_LIST_BACKFILLS, STORE_COUNT_OPEN_BACKFILLS,
                                        STORE_FIND_NEWER, STORE_READ_DECISIONS};
    for (size_t i = 0; i < G_N_ELEMENTS(reads); i++) {
        store_fault_set(bench.world.store, reads[i], FAULT_BEFORE_EFFECT, 1, 1);
        assert_int_equal(create_backfill(&bench, 3, i == 0 ? "key 2" : NULL, "digest"), RESULT_UNAVAILABLE);
    }
    world_end(&bench.world);
}

/* ---- whatever happens ---- */

static void live(Bench *bench)
{
    size_t i = (size_t)g_rand_int_range(bench->world.random, 0, N_REPLICAS);
    FaultPoint point = g_rand_boolean(bench->world.random) ? FAULT_BEFORE_EFFECT : FAULT_AFTER_EFFECT;
    int kind = g_rand_int_range(bench->world.random, 0, 100);
    clock_fake_advance(bench->world.clock, g_rand_int_range(bench->world.random, 1, 4000));
    if (kind < 15) { /* the store fails somewhere within the step, and the process may end there */
        fail_writes(bench, point, g_rand_int_range(bench->world.random, 1, 4), 1);
        step_one(bench, i);
        if (g_rand_boolean(bench->world.random))
            replica_stop(&bench->world.replicas[i]);
        fail_writes(bench, point, 1, 0);
    } else if (kind < 20) {
        replica_stop(&bench->world.replicas[i]);
    } else if (kind < 25 && bench->world.replicas[i].service != NULL) {
        (void)steer(bench, i, g_rand_int_range(bench->world.random, 0, 3) == 0 ? BACKFILL_PAUSE : BACKFILL_RESUME);
    } else if (kind < 60 && bench->world.replicas[i].service != NULL) {
        end_some(bench, i, (size_t)g_rand_int_range(bench->world.random, 0, PARALLEL + 1));
    } else {
        step_one(bench, i);
    }
}

static void check_runs(Bench *bench)
{
    int64_t created_before = 0;
    for (int64_t n = 0; n < N_SLOTS; n++) {
        g_autoptr(GError) error = NULL;
        Id run_id = schedule_run_id(&bench->flow.id, FIRST_SLOT_MS + n * HOUR_MS);
        g_autoptr(JournalPage) page = store_read_journal(bench->world.store, run_id.text, 0, 10, 1 << 20, &error);
        assert_true(page != NULL && page->n_entries > 0);
        g_autoptr(Event) created = event_decode(page->entries[0].text, page->entries[0].size, &error);
        assert_non_null(created);
        assert_true(created->timestamp >= created_before); /* in order */
        created_before = created->timestamp;
    }
    assert_int_equal(count_runs(&bench->world, &bench->flow), N_SLOTS);
}

static void run_bench(guint32 seed)
{
    Bench bench;
    Id ids[OPEN_PAGE];
    bench_begin(&bench, seed);
    assert_int_equal(create_backfill(&bench, N_SLOTS, NULL, NULL), RESULT_OK);
    int n_rounds = 0;
    while (backfill_of(&bench).status != BACKFILL_COMPLETED && n_rounds++ < ROUNDS_MAX) {
        live(&bench);
        assert_in_range(list_open(&bench, ids), 0, PARALLEL);
    }
    Backfill backfill = backfill_of(&bench);
    assert_int_equal(backfill.status, BACKFILL_COMPLETED);
    assert_int_equal(backfill.n_completed, N_SLOTS);
    assert_int_equal(backfill.n_deleted, 0);
    check_runs(&bench);
    print_message("seed %u: %d rounds, %" G_GINT64_FORMAT " entries\n", seed, n_rounds, backfill.n);
    world_end(&bench.world);
}

static void test_whatever_happens(void **state)
{
    (void)state;
    const char *text = g_getenv("FLOWOPS_TEST_SEED");
    guint32 first = text != NULL ? (guint32)g_ascii_strtoull(text, NULL, 10) : 1;
    for (guint32 seed = first; seed < first + 3; seed++)
        run_bench(seed);
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
        cmocka_unit_test(test_what_another_one_planned_is_covered),
        cmocka_unit_test(test_of_two_at_once_one_gives_way),
        cmocka_unit_test(test_what_is_not_decided_is_left_to_the_scheduler),
        cmocka_unit_test(test_each_has_its_turn),
        cmocka_unit_test(test_a_long_journal_is_not_read_to_its_end),
        cmocka_unit_test(test_an_unknown_zone_cancels_nothing),
        cmocka_unit_test(test_the_same_key_wakes_the_scheduler),
        cmocka_unit_test(test_a_store_that_fails_says_so),
        cmocka_unit_test(test_whatever_happens),
    };
    return cmocka_run_group_tests_name("backfills", tests, NULL, NULL);
}
