/* flow.h - a flow: a named tree of steps, immutable in each of its versions.
 * Thread: any; a Flow never changes once built and is shared by atomic reference count.
 * A Flow is built by flow_request.h (from a client) or flow_decode() (from the store). */
#ifndef FLOWOPS_DOMAIN_FLOW_H
#define FLOWOPS_DOMAIN_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/id.h"
#include "base/json.h"
#include "domain/schedule_options.h"
#include "domain/text_map.h"

#define FLOW_MAX_STEPS 1000
#define FLOW_MAX_DEPTH 32                      /* levels of steps: a root step is level 1 */
#define FLOW_MAX_DEFINITION_BYTES (512 * 1024) /* serialised */

typedef enum { STEP_ACTION, STEP_DECISION } StepType;

typedef struct Step Step;

typedef struct {
    Id branch_id;
    char *condition; /* NULL: always holds */
    Step **steps;
    size_t n_steps;
} Branch;

typedef struct {
    int64_t timeout_ms; /* per attempt; 0: none */
    int64_t retry_count;
    int64_t retry_delay_ms;
    bool has_timeout, has_retry_count, has_retry_delay; /* what the request gave: absent is written as null */
} StepConfig;

struct Step {
    Id step_id;
    char *plugin_id; /* UUID or built-in name; NULL for a DECISION without one */
    StepType type;
    TextMap inputs;
    TextMap outputs; /* name -> type name */
    char *condition; /* NULL: always holds */
    Branch *branches;
    size_t n_branches;
    Step **children;
    size_t n_children;
    StepConfig config;
};

typedef struct {
    Id id;
    Id owner;
    char *name;
    char *description; /* NULL: none; the same for the next two */
    char *cron;
    char *timezone;
    ScheduleOptions *schedule; /* NULL: none given, the defaults hold */
    /* When the slots became those that they are: the instant of the version that last changed cron, time zone, startAt,
     * endAt or paused. Slots up to it are not started. INSTANT_NONE without a cron. */
    int64_t scheduled_since;
    TextMap labels;
    Step **steps;
    size_t n_steps;
    int64_t version; /* from 1 */
    bool is_deleted; /* the last version of a deleted flow */
    bool stops_runs; /* deleted with force: its open runs are to be stopped */
    int64_t created_at, updated_at;
    Id created_by, updated_by;
    /* Derived when built: the flattened tree in definition order (contract: a step, its children, the steps of each of
     * its branches, each flattened the same way) and the steps' JSON text, spliced into START and the flow's detail. */
    const Step **flat;
    size_t n_flat;
    const Step **by_id; /* flat, sorted by step_id, for flow_find_step() */
    char *steps_json;
    size_t steps_json_size;
    int ref_count; /* atomic */
} Flow;

Flow *flow_ref(const Flow *flow);
void flow_unref(Flow *flow); /* NULL is fine */

/* Derives flat, by_id and steps_json; called once by the builders when the tree is complete. */
void flow_seal(Flow *flow);

/* The stored form: the whole flow as one JSON object, decoded back by flow_decode(). INVALID on a broken text. */
void flow_encode(const Flow *flow, GString *out);
MUST_CHECK Flow *flow_decode(const char *json, size_t size, GError **error);

/* What a scheduler needs to know, decoded by flow_decode(), too: without steps, labels, description and inputs. */
void flow_encode_schedule(const Flow *flow, GString *out);

/* Payloads of the contract. A flow does not know its own nextRunAt, which depends on the time and on what was decided: who
 * knows both asks schedule_next_run(). INSTANT_NONE: null. */
void flow_encode_summary(const Flow *flow, GString *out);
void flow_encode_detail(const Flow *flow, int64_t next_run_at, GString *out);

const Step *flow_find_step(const Flow *flow, const char *step_id);

/* A step tree alone, as in EXECUTION_START (decoded leniently: unknown members ignored, faults are INVALID). */
MUST_CHECK bool steps_decode(const JsonValue *array, Step ***ret_steps, size_t *ret_n_steps, GError **error);
void steps_free(Step **steps, size_t n_steps);
void step_free(Step *step);
/* Preorder of the contract; ret_flat has room for what steps_count() says. */
size_t steps_count(Step *const *steps, size_t n_steps);
void steps_flatten(Step *const *steps, size_t n_steps, const Step **ret_flat);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Flow, flow_unref)

#endif
