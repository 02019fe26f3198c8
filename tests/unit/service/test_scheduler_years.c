/* test_scheduler_years.c - three years of schedules on a clock of our own, with everything that may come between: stops, crashes
 * at some point of a step, a store that fails, clocks that are set, changed flows, pauses, runs that end late. Then every
 * flow's journal is walked: no slot started twice, none passed over without a decision, and just the runs that it owes. */
#include "scheduler_world.h"

#define YEARS_MS (3 * 365 * DAY_MS)

static int64_t between(World *world, int64_t min, int64_t max)
{
    return min + (int64_t)(g_rand_double(world->random) * (double)(max - min));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_years),
        cmocka_unit_test(test_three_years_of_two_replicas),
    };
    return cmocka_run_group_tests_name("scheduler: years", tests, NULL, NULL);
}
