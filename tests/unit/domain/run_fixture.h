/* run_fixture.h - a run with three steps and short words for what happens to it. Every append goes through the events'
 * texts, so that a test of a rule tests the journal too. */
#ifndef FLOWOPS_TESTS_RUN_FIXTURE_H
#define FLOWOPS_TESTS_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "domain/decide.h"

#define T0 1769850000000 /* 2026-01-31T09:00:00.000Z: the run's creation */
#define FLOW_ID "019c134b-f4fe-73cc-9144-db4d3aad53ae"
#define RUN_ID "019c134b-f4fe-73cc-9146-8de03242ecb3"
#define OWNER_ID "019c134b-f4fe-73cc-9145-0a181dcdbaa9"
#define COMMAND_ID "019c134b-f4fe-73cc-9147-0a181dcdbaa9"
#define STEP_A "aaaaaaaa-0000-7000-8000-000000000001"
#define STEP_B "bbbbbbbb-0000-7000-8000-000000000002"
#define STEP_C "cccccccc-0000-7000-8000-000000000003"
#define NO_POSITION (-1)

Id fixture_id(const char *text);
Run *fixture_run(void);
/* Any number of steps, with ids that do not come in order. */
Run *fixture_run_of(size_t n_steps);

StatusMessage fixture_flow_status(RunStatus status, int64_t timestamp);
StatusMessage fixture_step_status(const char *step_id, StepStatus status, int64_t timestamp);
StatusMessage fixture_at(StatusMessage status, int64_t offset); /* from partition 0 of a topic */

/* Decides, appends what was decided, and says what it was. The reason is for fixture_reason(). */
DecisionKind fixture_take(Run *run, const StatusMessage *status);
DecisionKind fixture_command(Run *run, CommandKind command, int64_t now_ms);
DecisionKind fixture_force_stop(Run *run, int64_t now_ms);
DecisionKind fixture_hand_over(Run *run, int64_t now_ms);
DecisionKind fixture_settle(Run *run, int64_t now_ms);
const char *fixture_reason(void); /* of the last decision; NULL after an append */
size_t fixture_n_events(void);    /* of the last decision */

/* The same for what must be appended. */
void fixture_flow(Run *run, RunStatus status, int64_t timestamp);
void fixture_step(Run *run, const char *step_id, StepStatus status, int64_t timestamp);

#endif
