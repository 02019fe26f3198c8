/* rig.h - the service on a real store that can be told to fail, with the in-process bus, calls that wait, and a hand-made
 * engine. Shared by the tests of the service and the histories that run through it. */
#ifndef FLOWOPS_TESTS_SERVICE_RIG_H
#define FLOWOPS_TESTS_SERVICE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/thread.h"
#include "domain/message.h"
#include "service/service.h"
#include "store/store_fault.h"

#define OWNER "11111111-1111-7111-8111-111111111111"
#define STRANGER "22222222-2222-7222-8222-222222222222"
#define LIMIT_MS 10000

/* Looks again and again until the condition holds; fails when it does not within LIMIT_MS. */
#define WAIT_UNTIL(condition) \
    do { \
        Bell pause; \
        int64_t deadline_us = g_get_monotonic_time() + LIMIT_MS * 1000; /* the rig's clock may stand still */ \
        bell_init(&pause); \
        while (!(condition) && g_get_monotonic_time() < deadline_us) \
            bell_wait(&pause, 2); \
        bell_done(&pause); \
        assert_true(condition); \
    } while (0)

typedef Store *(*RigStoreOpen)(const char *data_dir, const Clock *clock, GError **error);

typedef struct {
    char *data_dir;
    Clock *clock;
    Store *store;
    Bus *bus;
    Hub *hub;
    Service *service;
    ServiceOptions options;
} Rig;

void rig_start(Rig *rig);
void rig_stop(Rig *rig);
/* What rigs stand on; SQLite unless a test says otherwise. */
extern RigStoreOpen rig_open_store;

int set_up(void **state); /* the test is the engine, once it announces itself */
int tear_down(void **state);

ServiceCall *call_new(CallKind kind, const char *caller);
CallResult do_call(Rig *rig, ServiceCall *call);
Id make_id(void *arg);
Id create_flow(Rig *rig, size_t n_steps);
ServiceCall *start_call(const Id *flow_id, const char *key, const char *digest);
CallResult start(Rig *rig, const Id *flow_id, const char *key, const char *digest, Id *ret_run_id);
Id started_run(Rig *rig); /* of a flow of its own, with one step */
CallResult command(Rig *rig, const Id *run_id, CommandKind kind, const char *caller, char **ret_detail);
/* GET status as a client sees it; NULL when there is no such run. */
char *detail_of(Rig *rig, const Id *run_id);
/* Waits until the run's detail contains a text. */
void wait_for(Rig *rig, const Id *run_id, const char *text);

CommandMessage *next_command(Rig *rig);
void report(Rig *rig, const StatusMessage *status);
void report_flow(Rig *rig, const CommandMessage *start_message, RunStatus run_status);
void announce(Rig *rig);

#endif
