/* flow_request.h - from a client's JSON to a Flow, or to every fault at once (contract: FlowRequest, FlowUpdate).
 * Thread: any. Pure: ids come from the caller. */
#ifndef FLOWOPS_DOMAIN_FLOW_REQUEST_H
#define FLOWOPS_DOMAIN_FLOW_REQUEST_H

#include "domain/fault.h"
#include "domain/flow.h"

typedef Id (*MakeId)(void *arg);

/* Where a validated flow comes from and goes to. */
typedef struct {
    Id flow_id;
    Id owner;
    Id actor; /* who does it: createdBy / updatedBy */
    int64_t now_ms;
    MakeId make_id; /* for stepId and branchId where the request has none */
    void *make_id_arg;
    const char *const *zone_names; /* of the machine, NULL-terminated, for near matches; NULL: none are named */
} FlowOrigin;

/* Parses and validates the whole body: shape and JSON types of every member, name, cron, timezone, schedule, labels, step tree
 * (types, plugins, duplicate ids, references, conditions, cycles, config, limits), serialised size.
 * NULL when faults were added; then *faults has them all. The result is version 1, created and updated now. */
MUST_CHECK Flow *flow_create(const JsonValue *body, const FlowOrigin *origin, Faults *faults);

/* The next version of `current`: replaces what a flow has, except steps, which stay when absent. */
MUST_CHECK Flow *flow_update(const Flow *current, const JsonValue *body, const FlowOrigin *origin, Faults *faults);

/* The version that deletes it (no steps changed, is_deleted). */
Flow *flow_delete(const Flow *current, bool stops_runs, const FlowOrigin *origin);

#endif
