/* event.h - the facts of a run's journal. Their JSON is documented in docs/events.md and is what clients see: stored,
 * listed (GET /runs/{id}/events) and streamed unchanged.
 * Thread: one at a time. Owner: the caller of event_new()/event_decode(). */
#ifndef FLOWOPS_DOMAIN_EVENT_H
#define FLOWOPS_DOMAIN_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/id.h"
#include "base/json.h"
#include "domain/text_map.h"

typedef enum {
    EVENT_RUN_CREATED,       /* carries the START command: creation is one event */
    EVENT_COMMAND_REQUESTED, /* pause, resume, stop */
    EVENT_HANDED_OVER,       /* the run goes to an engine again, with a higher generation; carries a START */
    EVENT_FLOW_STATUS,
    EVENT_STEP_STATUS,
} EventType;

typedef enum { RUN_SCHEDULED, RUN_PENDING, RUN_RUNNING, RUN_PAUSED, RUN_COMPLETED, RUN_FAILED, RUN_STOPPED } RunStatus;
typedef enum { STEP_PENDING, STEP_RUNNING, STEP_COMPLETED, STEP_FAILED, STEP_SKIPPED, STEP_CANCELLED } StepStatus;
typedef enum { COMMAND_NONE, COMMAND_START, COMMAND_PAUSE, COMMAND_RESUME, COMMAND_STOP } CommandKind;

const char *run_status_name(RunStatus status); /* "SCHEDULED" ... */
const char *step_status_name(StepStatus status);
const char *command_name(CommandKind command); /* "START" "PAUSE" "RESUME" "STOP" */
bool run_status_parse(const char *text, RunStatus *ret_status);
bool step_status_parse(const char *text, StepStatus *ret_status);
bool run_status_is_terminal(RunStatus status);
bool step_status_is_terminal(StepStatus status);

/* Where a status came from, so that a replay is recognised. The in-process bus has no positions: topic NULL. */
typedef struct {
    char *topic;
    int32_t partition;
    int64_t offset;
} Origin;

/* An engine's word that it has begun to take the commands of some partitions (ENGINE_STATUS): its id and the timestamp make
 * it the only one of its kind, wherever and however often it arrives. */
typedef struct {
    Id engine_id;
    int64_t announced_at;
} Announcement;

typedef struct {
    EventType type;
    int64_t seq; /* 1, 2, 3 ... within the run */
    Id run_id, flow_id;
    int64_t timestamp; /* of the fact: the engine's for statuses, ours for the rest; milliseconds */

    /* RUN_CREATED */
    Id owner;
    char *triggered_by;
    int64_t flow_version;
    TextMap labels, inputs;
    Id *step_ids; /* flattened, definition order */
    size_t n_steps;
    char *request_digest; /* of the start body behind an Idempotency-Key; NULL without one */

    /* RUN_CREATED (START), COMMAND_REQUESTED, HANDED_OVER (START) */
    CommandKind command;
    Id command_id;
    Id requested_by; /* COMMAND_REQUESTED; the zero id (text "") for the service itself */

    Announcement announcement; /* HANDED_OVER: what it answers; engine_id "" when it is not known */

    /* HANDED_OVER, FLOW_STATUS, STEP_STATUS: the generation it belongs to */
    int64_t generation;

    /* FLOW_STATUS, STEP_STATUS */
    RunStatus run_status;
    Id step_id;
    StepStatus step_status;
    int64_t attempt; /* STEP_STATUS: from 1; always set in the journal */
    char *error;
    char *outputs_json; /* STEP_STATUS: an object's text */
    Origin origin;
} Event;

Event *event_new(EventType type, const Id *run_id, const Id *flow_id, int64_t timestamp);
void event_free(Event *event);

/* One JSON object without a newline; every member of the contract's status events plus seq and ours. */
void event_encode(const Event *event, GString *out);
MUST_CHECK Event *event_decode(const char *json, size_t size, GError **error);

/* The SSE event name a journal text has, found without parsing it: NULL for a status (the default event type),
 * "created" or "command" for the others. The text must come from event_encode(). */
const char *event_text_frame_name(const char *json, size_t size);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Event, event_free)

#endif
