/* scheduler_world.h - a service, or two on one store, with a clock of our own and flows that have schedules; and a walk over what
 * their journals say in the end. Schedulers are stepped by the test. Everything here fails the test by itself. */
#ifndef FLOWOPS_TESTS_SCHEDULER_WORLD_H
#define FLOWOPS_TESTS_SCHEDULER_WORLD_H

#include "rig.h"

#include "domain/schedule.h"
#include "service/scheduler.h"
#include "store/store_internal.h"

#define BEGIN_MS INT64_C(1767225600000) /* 2026-01-01T00:00:00Z */
#define SECOND_MS INT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)
#define MAX_REPLICAS 2

typedef struct {
    Bus *bus;
    Hub *hub;
    Service *service; /* NULL: it is down */
    Scheduler *scheduler;
} Replica;

typedef struct {
    const char *cron, *schedule; /* members of the schedule, or "" */
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

/* With eight flows of every kind. */
void world_begin(World *world, size_t n_replicas, guint32 seed);
void world_end(World *world);

void replica_start(World *world, Replica *replica);
void replica_stop(Replica *replica);
Replica *any_replica(World *world);
CallResult do_service_call(Replica *replica, ServiceCall *call);

void create(World *world, Subject *subject);
JsonValue *body_of(const Subject *subject, const char *zone);
/* To another zone, paused or not. May fail with the store; then it has happened or not. */
void change(World *world, Replica *replica, Subject *subject);

void step(Replica *replica);
/* Until all that is due is decided and made; nothing fails any more. */
void come_to_rest(World *world, Replica *replica);
/* Until the writer has done what it was at, with all that others are told of it. */
void wait_for_writer(Replica *replica);
/* Every open run reports its end; until all are ended and the scheduler was told. */
void end_runs(World *world, Replica *replica);

/* No slot twice, none passed over without a decision, and just the runs that the decisions owe. */
void audit_subject(World *world, const Subject *subject);
int64_t count_runs(World *world, const Subject *subject);

#endif
