/* test_scheduler.c - three years of schedules on a clock of our own, with everything that may come between: stops, crashes
 * at each point of a step, a store that fails, clocks that are set, changed flows, pauses, runs that end late. Then every
 * flow's journal is walked: no slot started twice, none passed over without a decision, and just the runs that it owes. */
#include "rig.h"

#include <string.h>

#include <glib/gstdio.h>

#include "domain/flow_request.h"
#include "domain/schedule.h"
#include "service/scheduler.h"
#include "service/service_internal.h"
#include "store/store_internal.h"

#define BEGIN_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define YEARS_MS (3 * 365 * DAY_MS)
#define MAX_REPLICAS 2
#define OPEN_PAGE 500
#define STEPS_MAX 200 /* of a scheduler that is to come to rest */

typedef struct {
    Bus *bus;
    Hub *hub;
    Service *service; /* NULL: it is down */
    Scheduler *scheduler;
} Replica;

typedef struct {
    const char *cron, *schedule; /* members behind cron and timezone, or "" */
    Id id;
    bool is_paused;
} Subject;

typedef struct {
    char *data_dir;
    Clock *clock; /* fake */
    Store *store; /* fails when told to */
    StoreOps store_ops;
    Replica replicas[MAX_REPLICAS];
    size_t n_replicas;
    GRand *random;
    CronZones *zones;
    Subject *subjects;
    size_t n_subjects;
    int64_t n_started, n_skipped, n_crashes, n_changes;
} World;

static const char *const zones[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC",
                                    "Asia/Kathmandu"};

/* ---- replicas ---- */

static void replica_start(World *world, Replica *replica)
{
    g_autoptr(GError) error = NULL;
    ServiceOptions options = {
        .max_open_runs = 100000, .cache_bytes = 1 << 20, .n_readers = 1, .command_resend_ms = INT64_C(1) << 50};
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

static Replica *any_replica(World *world)
{
    Replica *replica = &world->replicas[g_rand_int_range(world->random, 0, (gint32)world->n_replicas)];
    if (replica->service == NULL)
        replica_start(world, replica);
    return replica;
}

static int64_t between(World *world, int64_t min, int64_t max)
{
    return min + (int64_t)(g_rand_double(world->random) * (double)(max - min));
}

/* ---- flows ---- */

static CallResult do_service_call(Replica *replica, ServiceCall *call)
{
    Rig rig = {.service = replica->service};
    return do_call(&rig, call);
}

static JsonValue *body_of(const Subject *subject, const char *zone)
{
    g_autofree char *text = g_strdup_printf(
        "{\"name\":\"f\",\"cron\":\"%s\",\"timezone\":\"%s\",\"schedule\":{%s%s\"paused\":%s},"
        "\"steps\":[]}",
        subject->cron, zone, subject->schedule, *subject->schedule ? "," : "", subject->is_paused ? "true" : "false");
    g_autoptr(GError) error = NULL;
    JsonValue *body = NULL;
    if (!json_parse(text, strlen(text), 32, &body, &error))
        fail_msg("%s", error->message);
    return body;
}

static Id new_id(void *world)
{
    return id_make(clock_wall_ms(((World *)world)->clock));
}

static void create(World *world, Subject *subject)
{
    g_autoptr(JsonValue) body = body_of(subject, zones[0]);
    FlowOrigin origin = {
        .flow_id = new_id(world), .now_ms = clock_wall_ms(world->clock), .make_id = new_id, .make_id_arg = world};
    g_strlcpy(origin.owner.text, OWNER, sizeof origin.owner.text);
    origin.actor = origin.owner;
    g_autoptr(Faults) faults = faults_new();
    ServiceCall *call = call_new(CALL_CREATE_FLOW, OWNER);
    call->flow = flow_create(body, &origin, faults);
    assert_non_null(call->flow);
    assert_int_equal(do_service_call(&world->replicas[0], call), RESULT_OK);
    subject->id = call->flow_id;
    service_call_free(call);
}

/* May fail with the store; then it has happened or not. */
static void change(World *world, Replica *replica, Subject *subject)
{
    ServiceCall *call = call_new(CALL_UPDATE_FLOW, OWNER);
    call->flow_id = subject->id;
    call->body = body_of(subject, zones[g_rand_int_range(world->random, 0, G_N_ELEMENTS(zones))]);
    (void)do_service_call(replica, call);
    service_call_free(call);
    world->n_changes++;
}

/* ---- what happens ---- */

static void step(Replica *replica)
{
    (void)scheduler_step(replica->scheduler);
}

/* All that is due is decided and made, and nothing fails any more. */
static void come_to_rest(World *world, Replica *replica)
{
    g_autoptr(GError) error = NULL;
    store_fault_set(world->store, STORE_WRITE, FAULT_BEFORE_EFFECT, 1, 0);
    store_fault_set(world->store, STORE_READ_OWED_DECISIONS, FAULT_BEFORE_EFFECT, 1, 0);
    for (int i = 0; i < STEPS_MAX; i++) {
        clock_fake_advance(world->clock, 11 * SECOND_MS); /* for what is made only when its replica has had its time */
        step(replica);
        g_autoptr(DecisionPage) owed = store_read_owed_decisions(world->store, NULL, NULL, 1, &error);
        assert_non_null(owed);
        if (owed->n_entries == 0 && i > 2)
            return;
    }
    fail_msg("runs are owed after %d steps", STEPS_MAX);
}

/* Every open run reports its end; until all are ended. */
static void end_runs(World *world, Replica *replica)
{
    Id ids[OPEN_PAGE];
    size_t n;
    g_autoptr(GError) error = NULL;
    Rig rig = {.clock = world->clock, .bus = replica->bus};
    for (;;) {
        assert_true(store_list_runs_in_phase(world->store, PHASE_OPEN, INSTANT_NONE, "", OPEN_PAGE, ids, &n, &error));
        if (n == 0)
            return;
        for (size_t i = 0; i < n; i++) {
            StatusMessage status = {.kind = STATUS_FLOW,
                                    .run_id = ids[i],
                                    .timestamp = clock_wall_ms(world->clock),
                                    .generation = 1,
                                    .run_status = RUN_COMPLETED};
            g_autoptr(RunDocument) document = store_get_run(world->store, ids[i].text, &error);
            assert_non_null(document);
            status.flow_id = document->flow_id;
            report(&rig, &status);
        }
        int64_t n_open = 1;
        WAIT_UNTIL(store_count_open_runs(world->store, NULL, &n_open, NULL) && n_open == 0);
    }
}

/* The store fails somewhere within the step; the process may end there, or go on. */
static void fail_in_a_step(World *world, Replica *replica)
{
    FaultPoint point = g_rand_boolean(world->random) ? FAULT_BEFORE_EFFECT : FAULT_AFTER_EFFECT;
    store_fault_set(world->store, STORE_WRITE, point, g_rand_int_range(world->random, 1, 6),
                    g_rand_int_range(world->random, 1, 3));
    if (g_rand_int_range(world->random, 0, 4) == 0)
        store_fault_set(world->store, STORE_READ_OWED_DECISIONS, point, 1, 1);
    step(replica);
    if (g_rand_boolean(world->random)) {
        replica_stop(replica);
        world->n_crashes++;
    }
    if (g_rand_boolean(world->random))
        store_fault_set(world->store, STORE_WRITE, point, 1, 0);
}

static void live(World *world)
{
    Replica *replica = any_replica(world);
    int kind = g_rand_int_range(world->random, 0, 100);
    clock_fake_advance(world->clock, between(world, MINUTE_MS, 18 * HOUR_MS));
    if (kind < 4) { /* a stop */
        replica_stop(replica);
        clock_fake_advance(world->clock, between(world, HOUR_MS, 12 * DAY_MS));
    } else if (kind < 16) {
        fail_in_a_step(world, replica);
    } else if (kind < 20) {
        clock_fake_set_wall(world->clock, between(world, -2 * DAY_MS, 2 * DAY_MS));
        step(replica);
    } else if (kind < 30) {
        Subject *subject = &world->subjects[g_rand_int_range(world->random, 0, (gint32)world->n_subjects)];
        subject->is_paused = g_rand_int_range(world->random, 0, 3) == 0;
        change(world, replica, subject);
        if (g_rand_boolean(world->random))
            step(replica);
    } else if (kind < 60) {
        step(replica);
        end_runs(world, replica);
        step(replica);
    } else {
        step(replica);
    }
}

/* ---- what came of it ---- */

typedef struct {
    World *world;
    const Subject *subject;
    ScheduleState state;
    GHashTable *started; /* slots, as int64 */
    Schedule *schedule;  /* of the version that decided last */
    int64_t version;
} Audit;

static void load_schedule(Audit *audit, int64_t version)
{
    g_autoptr(GError) error = NULL;
    if (audit->version == version)
        return;
    g_autoptr(Flow) flow = store_get_flow(audit->world->store, audit->subject->id.text, version, &error);
    assert_non_null(flow);
    schedule_free(audit->schedule);
    audit->schedule = schedule_new(flow, audit->world->zones, &error);
    assert_non_null(audit->schedule);
    audit->version = version;
}

/* It begins at the first slot behind what was decided, and names every slot up to its last. */
static void check_coverage(const Audit *audit, const ScheduleDecision *decision)
{
    const Cron *cron = schedule_cron(audit->schedule);
    int64_t slot = audit->state.watermark, n = 0;
    while (slot < decision->last_slot && n <= decision->n_slots) {
        assert_true(cron_next(cron, schedule_zone(audit->schedule), slot, &slot));
        if (n++ == 0)
            assert_int_equal(slot, decision->slot);
    }
    assert_int_equal(slot, decision->last_slot);
    assert_int_equal(n, decision->n_slots);
}

static void check_run(const Audit *audit, const ScheduleDecision *decision)
{
    g_autoptr(GError) error = NULL;
    Id run_id = schedule_run_id(&audit->subject->id, decision->slot);
    g_autoptr(RunDocument) run = store_get_run(audit->world->store, run_id.text, &error);
    if (run == NULL)
        fail_msg("decision %" G_GINT64_FORMAT " has no run: %s", decision->n, error->message);
    char slot[INSTANT_TEXT_SIZE];
    instant_format(decision->slot, slot);
    g_autofree char *label = g_strdup_printf("\"" SLOT_LABEL "\":\"%s\"", slot);
    g_autofree char *detail = g_strndup(run->detail, run->detail_size);
    assert_non_null(strstr(detail, label));
    assert_non_null(strstr(detail, "\"triggeredBy\":\"system\""));
}

static void audit_decision(Audit *audit, const ScheduleDecision *decision)
{
    g_autoptr(GError) error = NULL;
    load_schedule(audit, decision->flow_version);
    if (decision->verdict == SLOT_STARTED) {
        if (!g_hash_table_add(audit->started, g_memdup2(&decision->slot, sizeof decision->slot)))
            fail_msg("flow %s: a slot was started twice, by decision %" G_GINT64_FORMAT, audit->subject->cron,
                     decision->n);
        check_run(audit, decision);
        audit->world->n_started++;
    }
    if (decision->verdict == SLOT_SKIPPED)
        audit->world->n_skipped += decision->n_slots;
    if (decision->verdict == SLOT_RESET)
        assert_true(decision->slot <= decision->last_slot && decision->last_slot >= audit->state.watermark);
    else if (!decision->was_queued)
        check_coverage(audit, decision);
    if (!schedule_state_fold(&audit->state, decision, &error))
        fail_msg("flow %s: %s", audit->subject->cron, error->message);
}

static int64_t count_runs(World *world, const Subject *subject)
{
    g_autoptr(GError) error = NULL;
    ListQuery query = {.owner = OWNER,
                       .flow_id = subject->id.text,
                       .from = INSTANT_NONE,
                       .to = INSTANT_NONE,
                       .limit = 1,
                       .wants_total = true};
    g_autoptr(ListPage) page = store_list_runs(world->store, &query, &error);
    assert_non_null(page);
    return page->total;
}

static void audit_subject(World *world, const Subject *subject)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GHashTable) started = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    Audit audit = {.world = world, .subject = subject, .started = started};
    g_autoptr(Flow) first = store_get_flow(world->store, subject->id.text, 1, &error);
    assert_non_null(first);
    schedule_state_init(&audit.state, first);
    bool has_more = true;
    while (has_more) {
        g_autoptr(DecisionPage) page =
            store_read_decisions(world->store, subject->id.text, audit.state.n, 1000, &error);
        assert_non_null(page);
        for (size_t i = 0; i < page->n_entries; i++) {
            ScheduleDecision decision;
            Id flow_id;
            assert_true(
                schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, &error));
            audit_decision(&audit, &decision);
        }
        has_more = page->has_more;
    }
    assert_int_equal(count_runs(world, subject), g_hash_table_size(started));
    /* Nothing is left that should have been decided by now. */
    g_autoptr(Flow) newest = store_get_flow(world->store, subject->id.text, 0, &error);
    int64_t wake_at;
    load_schedule(&audit, newest->version);
    if (schedule_next_wake(audit.schedule, &audit.state, &wake_at) && wake_at < clock_wall_ms(world->clock) - MINUTE_MS)
        fail_msg("flow %s: what was due is undecided", subject->cron);
    schedule_free(audit.schedule);
    schedule_state_done(&audit.state);
}

/* ---- worlds ---- */

static Subject *subjects_new(size_t *ret_n)
{
    static const Subject all[] = {
        {.cron = "0 */6 * * *", .schedule = "\"misfire\":\"ALL\""},
        {.cron = "30 2 * * *", .schedule = ""},
        {.cron = "0 */4 * * *", .schedule = "\"misfire\":\"SKIP\",\"misfireGraceSeconds\":3600"},
        {.cron = "15 3 * * mon-fri | 0 22 * * 6", .schedule = "\"misfire\":\"ALL\",\"overlap\":\"QUEUE\""},
        {.cron = "@every 8h", .schedule = "\"misfire\":\"ALL\",\"overlap\":\"SKIP\""},
        {.cron = "0 1-23/11 * * *", .schedule = "\"overlap\":\"CANCEL_RUNNING\""},
        {.cron = "0 12 L * *", .schedule = "\"jitterSeconds\":7200"},
        {.cron = "@daily", .schedule = "\"startAt\":\"2026-05-01T00:00:00Z\",\"endAt\":\"2028-03-01T00:00:00Z\""},
    };
    *ret_n = G_N_ELEMENTS(all);
    return g_memdup2(all, sizeof all);
}

static void world_begin(World *world, size_t n_replicas, guint32 seed)
{
    g_autoptr(GError) error = NULL;
    *world = (World){.n_replicas = n_replicas, .random = g_rand_new_with_seed(seed)};
    /* In memory where there is such a place: thousands of flushes tell nothing here. */
    world->data_dir = g_strdup("/dev/shm/flowops-scheduler-XXXXXX");
    if (g_mkdtemp(world->data_dir) == NULL) {
        g_free(world->data_dir);
        world->data_dir = g_dir_make_tmp("flowops-scheduler-XXXXXX", &error);
    }
    world->clock = clock_new_fake(BEGIN_MS);
    Store *inner = store_open_sqlite(world->data_dir, world->clock, &error);
    if (inner == NULL)
        fail_msg("%s", error->message);
    world->store_ops = *inner->ops;
    world->store_ops.is_shared = n_replicas > 1; /* SQLite's store, told that it is shared */
    inner->ops = &world->store_ops;
    world->store = store_open_fault(inner);
    world->zones = cron_zones_new(64);
    world->subjects = subjects_new(&world->n_subjects);
    for (size_t i = 0; i < n_replicas; i++)
        replica_start(world, &world->replicas[i]);
    for (size_t i = 0; i < world->n_subjects; i++) {
        clock_fake_advance(world->clock, 7);
        create(world, &world->subjects[i]);
    }
}

static void world_end(World *world)
{
    for (size_t i = 0; i < world->n_replicas; i++)
        replica_stop(&world->replicas[i]);
    store_close(world->store);
    clock_free(world->clock);
    cron_zones_free(world->zones);
    g_free(world->subjects);
    g_rand_free(world->random);
    g_autoptr(GDir) dir = g_dir_open(world->data_dir, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *path = g_build_filename(world->data_dir, name, NULL);
        assert_int_equal(g_unlink(path), 0);
    }
    assert_int_equal(g_rmdir(world->data_dir), 0);
    g_free(world->data_dir);
}

static void run_years(size_t n_replicas, guint32 seed)
{
    World world;
    world_begin(&world, n_replicas, seed);
    while (clock_monotonic_ms(world.clock) < YEARS_MS)
        live(&world);
    Replica *last = any_replica(&world);
    clock_fake_advance(world.clock, 30 * DAY_MS); /* beyond every clock that was set back */
    come_to_rest(&world, last);
    end_runs(&world, last);
    come_to_rest(&world, last);
    for (size_t i = 0; i < world.n_subjects; i++)
        audit_subject(&world, &world.subjects[i]);
    print_message("%zu replicas, seed %u: %" G_GINT64_FORMAT " started, %" G_GINT64_FORMAT " skipped, %" G_GINT64_FORMAT
                  " crashes, %" G_GINT64_FORMAT " changes\n",
                  n_replicas, seed, world.n_started, world.n_skipped, world.n_crashes, world.n_changes);
    assert_true(world.n_started > 1000 && world.n_skipped > 500 && world.n_crashes > 20 && world.n_changes > 50);
    world_end(&world);
}

static guint32 seed_of_test(void)
{
    const char *text = g_getenv("FLOWOPS_TEST_SEED");
    return text != NULL ? (guint32)g_ascii_strtoull(text, NULL, 10) : 1;
}

static void test_three_years(void **state)
{
    (void)state;
    run_years(1, seed_of_test());
}

/* Each decides by itself; who comes second finds out. */
static void test_three_years_of_two_replicas(void **state)
{
    (void)state;
    run_years(2, seed_of_test());
}

/* ---- single cases: one flow of every hour, at the begin of an hour ---- */

typedef struct {
    World world;
    Subject subject;
    Replica *replica;
} Case;

static void case_begin(Case *c, const char *schedule)
{
    world_begin(&c->world, 1, 1);
    c->replica = &c->world.replicas[0];
    for (size_t i = 0; i < c->world.n_subjects; i++) { /* the others are not in the way */
        ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
        call->flow_id = c->world.subjects[i].id;
        assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
        service_call_free(call);
    }
    c->subject = (Subject){.cron = "0 * * * *", .schedule = schedule};
    create(&c->world, &c->subject);
    step(c->replica);
}

/* Verdicts of the flow's decisions, oldest first, with the hour of the slot. */
static void assert_story(Case *c, const char *expected)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) story = g_string_new(NULL);
    g_autoptr(DecisionPage) page = store_read_decisions(c->world.store, c->subject.id.text, 0, 1000, &error);
    assert_non_null(page);
    for (size_t i = 0; i < page->n_entries; i++) {
        static const char *const verdicts[] = {"started", "queued", "skipped", "reset"};
        ScheduleDecision decision;
        Id flow_id;
        assert_true(
            schedule_decision_decode(page->entries[i].text, page->entries[i].size, &decision, &flow_id, &error));
        g_string_append_printf(story, "%s%s%s %d", i > 0 ? ", " : "", verdicts[decision.verdict],
                               decision.cancels_running ? "!" : "", (int)((decision.slot - BEGIN_MS) / HOUR_MS));
    }
    assert_string_equal(story->str, expected);
}

static int64_t count_open(Case *c)
{
    int64_t n;
    g_autoptr(GError) error = NULL;
    assert_true(store_count_open_runs(c->world.store, c->subject.id.text, &n, &error));
    return n;
}

static void hour(Case *c)
{
    clock_fake_advance(c->world.clock, HOUR_MS);
    step(c->replica);
}

/* What was due before a change is the former schedule's, though it comes to be decided after it. */
static void test_a_change_is_decided_first(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"misfire\":\"ALL\"");
    clock_fake_advance(c.world.clock, 2 * HOUR_MS);
    c.subject.is_paused = true;
    change(&c.world, c.replica, &c.subject);
    clock_fake_advance(c.world.clock, 30 * HOUR_MS);
    step(c.replica);
    assert_story(&c, "started 1, started 2, reset 2, skipped 3");
    c.subject.is_paused = false;
    change(&c.world, c.replica, &c.subject);
    step(c.replica);
    hour(&c);
    assert_int_equal(count_open(&c), 3);
    world_end(&c.world);
}

static void test_a_deleted_flow_starts_nothing_more(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "");
    ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
    call->flow_id = c.subject.id;
    assert_int_equal(do_service_call(c.replica, call), RESULT_OK);
    service_call_free(call);
    hour(&c);
    hour(&c);
    assert_story(&c, "");
    world_end(&c.world);
}

static void test_queued_slots_wait_for_their_turn(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"QUEUE\"");
    for (int i = 0; i < 3; i++)
        hour(&c);
    assert_int_equal(count_open(&c), 1);
    for (int i = 0; i < 2; i++) {
        end_runs(&c.world, c.replica);
        step(c.replica); /* told by the end of the run, at the same instant */
        assert_int_equal(count_open(&c), 1);
    }
    assert_story(&c, "started 1, queued 2, queued 3, started 2, started 3");
    replica_stop(c.replica); /* and what waits survives */
    replica_start(&c.world, c.replica);
    hour(&c);
    replica_stop(c.replica);
    replica_start(&c.world, c.replica);
    step(c.replica);
    end_runs(&c.world, c.replica);
    step(c.replica);
    assert_story(&c, "started 1, queued 2, queued 3, started 2, started 3, queued 4, started 4");
    world_end(&c.world);
}

static void test_a_start_stops_what_runs(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"CANCEL_RUNNING\"");
    hour(&c);
    Id first = schedule_run_id(&c.subject.id, BEGIN_MS + HOUR_MS);
    Rig rig = {.service = c.replica->service};
    g_autofree char *before = detail_of(&rig, &first);
    assert_null(strstr(before, "\"STOP\""));
    hour(&c);
    assert_story(&c, "started 1, started! 2");
    g_autofree char *after = detail_of(&rig, &first);
    assert_non_null(strstr(after, "\"STOP\""));
    world_end(&c.world);
}

static void test_open_runs_are_skipped_over(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"overlap\":\"SKIP\"");
    hour(&c);
    hour(&c);
    end_runs(&c.world, c.replica);
    hour(&c);
    assert_story(&c, "started 1, skipped 2, started 3");
    world_end(&c.world);
}

/* Too many runs are open: what is decided waits, nothing is lost, and nothing more is decided. */
static void test_no_room_for_a_run(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "\"misfire\":\"ALL\"");
    c.replica->service->options.max_open_runs = 1;
    clock_fake_advance(c.world.clock, 2 * HOUR_MS);
    step(c.replica);
    hour(&c);
    assert_story(&c, "started 1, started 2");
    assert_int_equal(count_open(&c), 1);
    end_runs(&c.world, c.replica);
    step(c.replica);
    assert_int_equal(count_open(&c), 1);
    c.replica->service->options.max_open_runs = 10;
    step(c.replica);
    assert_story(&c, "started 1, started 2, started 3");
    assert_int_equal(count_runs(&c.world, &c.subject), 3);
    world_end(&c.world);
}

/* The process ends at each write of a step in turn, which has happened or not; the next one finishes what it left. */
static void test_a_crash_at_every_write(void **state)
{
    (void)state;
    for (FaultPoint point = FAULT_BEFORE_EFFECT; point <= FAULT_AFTER_EFFECT; point++) {
        bool is_over = false;
        for (int64_t nth = 1; !is_over; nth++) {
            Case c;
            case_begin(&c, "\"misfire\":\"ALL\",\"overlap\":\"CANCEL_RUNNING\"");
            hour(&c);
            clock_fake_advance(c.world.clock, 2 * HOUR_MS);
            int64_t n_before = store_fault_count(c.world.store, STORE_WRITE);
            store_fault_set(c.world.store, STORE_WRITE, point, nth, INT64_MAX);
            step(c.replica);
            is_over = store_fault_count(c.world.store, STORE_WRITE) - n_before < nth;
            replica_stop(c.replica);
            store_fault_set(c.world.store, STORE_WRITE, point, 1, 0);
            replica_start(&c.world, c.replica);
            come_to_rest(&c.world, c.replica);
            assert_story(&c, "started 1, skipped 2, started! 3");
            audit_subject(&c.world, &c.subject);
            Id first = schedule_run_id(&c.subject.id, BEGIN_MS + HOUR_MS);
            Rig rig = {.service = c.replica->service};
            g_autofree char *detail = detail_of(&rig, &first);
            assert_non_null(strstr(detail, "\"STOP\""));
            assert_true(is_over || nth < 10);
            if (is_over)
                assert_true(nth >= 4); /* decisions, the stop, the run, the mark */
            world_end(&c.world);
        }
    }
}

/* A read that fails puts off what needs it. */
static void test_every_read_may_fail(void **state)
{
    (void)state;
    static const StoreMethod methods[] = {STORE_GET_FLOW,
                                          STORE_READ_JOURNAL,
                                          STORE_READ_DECISIONS,
                                          STORE_READ_OWED_DECISIONS,
                                          STORE_READ_SCHEDULED_FLOWS,
                                          STORE_LIST_OPEN_SYSTEM_RUNS};
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        Case c;
        case_begin(&c, "\"overlap\":\"QUEUE\"");
        hour(&c);
        hour(&c);
        replica_stop(c.replica);
        replica_start(&c.world, c.replica); /* everything is to be read again, the queue, too */
        clock_fake_advance(c.world.clock, HOUR_MS);
        store_fault_set(c.world.store, methods[i], FAULT_BEFORE_EFFECT, 1, 2);
        for (int k = 0; k < 4; k++)
            step(c.replica);
        end_runs(&c.world, c.replica);
        for (int k = 0; k < 3; k++)
            step(c.replica);
        assert_story(&c, "started 1, queued 2, queued 3, started 2");
        audit_subject(&c.world, &c.subject);
        world_end(&c.world);
    }
}

/* nextRunAt follows each change at once, whoever is asked. */
static char *next_run_at(Case *c)
{
    ServiceCall *call = call_new(CALL_GET_FLOW, OWNER);
    call->flow_id = c->subject.id;
    assert_int_equal(do_service_call(c->replica, call), RESULT_OK);
    const char *at = strstr(call->data->str, "\"nextRunAt\":");
    assert_non_null(at);
    at += strlen("\"nextRunAt\":");
    char *value = g_strndup(at, strcspn(at, ",}"));
    service_call_free(call);
    return value;
}

static void assert_next_run_at(Case *c, const char *expected)
{
    g_autofree char *actual = next_run_at(c);
    assert_string_equal(actual, expected);
}

static void test_next_run(void **state)
{
    (void)state;
    Case c;
    case_begin(&c, "");
    assert_next_run_at(&c, "\"2026-01-01T01:00:00.000Z\"");
    hour(&c);
    assert_next_run_at(&c, "\"2026-01-01T02:00:00.000Z\"");
    clock_fake_set_wall(c.world.clock, -HOUR_MS); /* a decided slot does not come again */
    assert_next_run_at(&c, "\"2026-01-01T02:00:00.000Z\"");
    c.subject.is_paused = true;
    change(&c.world, c.replica, &c.subject);
    assert_next_run_at(&c, "null");
    c.subject.is_paused = false;
    c.subject.cron = "30 5 * * *";
    ServiceCall *call = call_new(CALL_UPDATE_FLOW, OWNER);
    call->flow_id = c.subject.id;
    call->body = body_of(&c.subject, "UTC");
    assert_int_equal(do_service_call(c.replica, call), RESULT_OK);
    service_call_free(call);
    assert_next_run_at(&c, "\"2026-01-01T05:30:00.000Z\"");
    world_end(&c.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_change_is_decided_first),
        cmocka_unit_test(test_a_deleted_flow_starts_nothing_more),
        cmocka_unit_test(test_queued_slots_wait_for_their_turn),
        cmocka_unit_test(test_a_start_stops_what_runs),
        cmocka_unit_test(test_open_runs_are_skipped_over),
        cmocka_unit_test(test_no_room_for_a_run),
        cmocka_unit_test(test_a_crash_at_every_write),
        cmocka_unit_test(test_every_read_may_fail),
        cmocka_unit_test(test_next_run),
        cmocka_unit_test(test_three_years),
        cmocka_unit_test(test_three_years_of_two_replicas),
    };
    return cmocka_run_group_tests_name("scheduler", tests, NULL, NULL);
}
