/* message.h - the two dialects of the bus (contract, section 3): commands out, statuses in. JSON text both ways, the
 * same on every bus. Reading is lenient (unknown members ignored, null is absent, numeric timestamps), writing is strict.
 * Thread: any. Owner: the caller of *_decode(). */
#ifndef FLOWOPS_DOMAIN_MESSAGE_H
#define FLOWOPS_DOMAIN_MESSAGE_H

#include "domain/flow.h"
#include "domain/run.h"

typedef struct {
    Id step_id;
    StepStatus status;
    int64_t attempt;
    int64_t n_failures; /* of the attempts so far (RUNNING and FAILED steps); -1 when the sender does not say */
    char *outputs_json; /* NULL: none */
} StepProgress;

/* EXECUTION_START | PAUSE | RESUME | STOP as an engine reads it. */
typedef struct {
    CommandKind command;
    Id run_id, flow_id;
    char *triggered_by;
    int64_t timestamp;
    Id command_id; /* "" when the sender knows none */
    int64_t seq;   /* 0 when absent */
    /* START only */
    int64_t generation; /* 1 when absent */
    bool is_paused;     /* desired: PAUSED */
    Step **steps;
    size_t n_steps;
    TextMap inputs;
    StepProgress *progress;
    size_t n_progress;
} CommandMessage;

/* Writes the message of a command event. START (of a creation or a hand-over) takes the definition, and from the run
 * what the engine needs to go on: inputs, generation, desired (PAUSED also while a pause or a stop is pending: it follows,
 * and no step is to begin before it), progress (steps that are not PENDING; left out while there is none). `event_seq` is the seq of the event that ordered it. flow is NULL for the other commands. */
void command_message_encode(const Run *run, const Flow *flow, CommandKind command, const Id *command_id,
                            int64_t timestamp, int64_t event_seq, GString *out);
MUST_CHECK CommandMessage *command_message_decode(const char *json, size_t size, GError **error);
void command_message_free(CommandMessage *message);

#define COMMAND_PARTITIONS_MAX 10000 /* that one ENGINE_STATUS may name */

typedef enum { STATUS_FLOW, STATUS_STEP, STATUS_ENGINE } StatusKind;

/* FLOW_STATUS, STEP_STATUS and ENGINE_STATUS as they travel. */
typedef struct {
    StatusKind kind;
    Id run_id, flow_id;
    int64_t timestamp;
    int64_t generation; /* 0 when absent: the current one */
    RunStatus run_status;
    Id step_id;
    StepStatus step_status;
    int64_t attempt; /* 0 when absent: the current one */
    char *error;
    char *outputs_json;
    Id engine_id;                /* STATUS_ENGINE */
    int32_t *command_partitions; /* STATUS_ENGINE: those that became the engine's */
    size_t n_command_partitions;
    Origin origin; /* filled by the consumer, not part of the text */
} StatusMessage;

void status_message_encode(const StatusMessage *message, GString *out);
/* INVALID, with what is wrong: broken JSON, unknown eventType or status, wrong member types, missing ids, empty value,
 * more than COMMAND_PARTITIONS_MAX partitions. UUIDs in any case are accepted. Timestamps: ISO-8601 text or epoch seconds
 * with a fraction (exact to the millisecond); a missing one is INVALID. Depth and size are bounded by the caller's maximum
 * message size. */
MUST_CHECK StatusMessage *status_message_decode(const char *json, size_t size, GError **error);
void status_message_free(StatusMessage *message);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CommandMessage, command_message_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StatusMessage, status_message_free)

#endif
