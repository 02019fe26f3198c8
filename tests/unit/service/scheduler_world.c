/* The world of the schedulers' tests: see scheduler_world.h. */
#include "scheduler_world.h"

#include <string.h>

#include <glib/gstdio.h>

#include "domain/flow_request.h"

#define OPEN_PAGE 500
#define STEPS_MAX 200 /* of a scheduler that is to come to rest */

static const char *const zones[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC",
                                    "Asia/Kathmandu"};

/* ---- replicas ---- */

void replica_start(World *world, Replica *replica)
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

void replica_stop(Replica *replica)
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

Replica *any_replica(World *world)
{
    Replica *replica = &world->replicas[g_rand_int_range(world->random, 0, (gint32)world->n_replicas)];
    if (replica->service == NULL)
        replica_start(world, replica);
    return replica;
}

/* ---- flows ---- */

CallResult do_service_call(Replica *replica, ServiceCall *call)
{
    Rig rig = {.service = replica->service};
    return do_call(&rig, call);
}

JsonValue *body_of(const Subject *subject, const char *zone)
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

void create(World *world, Subject *subject)
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
void change(World *world, Replica *replica, Subject *subject)
{
    ServiceCall *call = call_new(CALL_UPDATE_FLOW, OWNER);
    call->flow_id = subject->id;
    call->body = body_of(subject, zones[g_rand_int_range(world->random, 0, G_N_ELEMENTS(zones))]);
    (void)do_service_call(replica, call);
    service_call_free(call);
    world->n_changes++;
}

/* ---- what happens ---- */

/* A call is answered behind what came before it. */
void wait_for_writer(Replica *replica)
{
    ServiceCall *call = call_new(CALL_DELETE_FLOW, OWNER);
    call->flow_id = id_make(BEGIN_MS); /* nobody's */
    assert_int_not_equal(do_service_call(replica, call), RESULT_OK);
    service_call_free(call);
}

void step(Replica *replica)
{
    (void)scheduler_step(replica->scheduler);
}

/* All that is due is decided and made, and nothing fails any more. */
void come_to_rest(World *world, Replica *replica)
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
void end_runs(World *world, Replica *replica)
{
    Id ids[OPEN_PAGE];
    size_t n;
    g_autoptr(GError) error = NULL;
    Rig rig = {.clock = world->clock, .bus = replica->bus};
    for (;;) {
        assert_true(store_list_runs_in_phase(world->store, PHASE_OPEN, INSTANT_NONE, "", OPEN_PAGE, ids, &n, &error));
        if (n == 0) {
            wait_for_writer(replica);
            return;
        }
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

int64_t count_runs(World *world, const Subject *subject)
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

void audit_subject(World *world, const Subject *subject)
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

void world_begin(World *world, size_t n_replicas, guint32 seed)
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

void world_end(World *world)
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
