/* decide.c - what a person's command means for a run. The judgement of engines' statuses is in decide_status.c.
 * Nothing here changes a run: it says which facts to append, and run_fold() does the rest. */
#include "domain/decide.h"

#include <stdarg.h>
#include <string.h>

#include "domain/decide_internal.h"

static Decision *decision_new(DecisionKind kind, char *reason)
{
    Decision *decision = g_new0(Decision, 1);
    decision->kind = kind;
    decision->reason = reason;
    return decision;
}

Decision *decision_nothing(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Decision *decision = decision_new(DECISION_NOTHING, g_strdup_vprintf(format, args));
    va_end(args);
    return decision;
}

Decision *decision_reject(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    Decision *decision = decision_new(DECISION_REJECT, g_strdup_vprintf(format, args));
    va_end(args);
    return decision;
}

Decision *decision_append(size_t max_events)
{
    Decision *decision = decision_new(DECISION_APPEND, NULL);
    decision->events = g_new0(Event *, max_events);
    return decision;
}

Event *decision_add(Decision *decision, const Run *run, EventType type, int64_t timestamp)
{
    Event *event = event_new(type, &run->id, &run->flow_id, timestamp);
    decision->events[decision->n_events++] = event;
    event->seq = run->seq + (int64_t)decision->n_events;
    event->generation = run->generation;
    return event;
}

void decision_free(Decision *decision)
{
    if (decision == NULL)
        return;
    for (size_t i = 0; i < decision->n_events; i++)
        event_free(decision->events[i]);
    g_free(decision->events);
    g_free(decision->reason);
    g_free(decision);
}

Decision *decide_create(const RunRequest *request)
{
    const Flow *flow = request->flow;
    Event *event = event_new(EVENT_RUN_CREATED, &request->run_id, &flow->id, request->now_ms);
    event->seq = 1;
    event->owner = flow->owner;
    event->triggered_by = g_strdup(request->triggered_by);
    event->flow_version = flow->version;
    if (request->labels != NULL)
        text_map_copy(request->labels, &event->labels);
    if (request->inputs != NULL)
        text_map_copy(request->inputs, &event->inputs);
    event->n_steps = flow->n_flat;
    event->step_ids = g_new0(Id, flow->n_flat);
    for (size_t i = 0; i < flow->n_flat; i++)
        event->step_ids[i] = flow->flat[i]->step_id;
    event->request_digest = g_strdup(request->request_digest);
    event->command = COMMAND_START;
    event->command_id = request->command_id;

    Decision *decision = decision_append(1);
    decision->events[decision->n_events++] = event;
    return decision;
}

/* Closes every open step. Each event alone is a late step event of a run that has ended. */
static void add_cancellations(Decision *decision, const Run *run, int64_t generation, const char *error, int64_t now_ms)
{
    for (size_t i = 0; i < run->n_steps; i++) {
        const StepState *step = &run->steps[i];
        if (step_status_is_terminal(step->status))
            continue;
        Event *event = decision_add(decision, run, EVENT_STEP_STATUS, now_ms);
        event->generation = generation;
        event->step_id = step->step_id;
        event->step_status = STEP_CANCELLED;
        event->attempt = MAX(step->attempt, 1);
        event->error = g_strdup(error);
        event->outputs_json = g_strdup(step->outputs_json);
    }
}

static Decision *request_command(const Run *run, const CommandRequest *request)
{
    Decision *decision = decision_append(1);
    Event *event = decision_add(decision, run, EVENT_COMMAND_REQUESTED, request->now_ms);
    event->command = request->command;
    event->command_id = request->command_id;
    event->requested_by = request->requested_by;
    return decision;
}

/* STOPPED comes first: a journal that is cut behind it is an ended run with open steps, which decide_settle() closes. */
static Decision *force_stop(const Run *run, const CommandRequest *request)
{
    const PendingCommand *pending = &run->pending;
    if (pending->command != COMMAND_STOP)
        return decision_reject("The run is %s and no stop is pending; a stop can be forced once one stayed unanswered "
                               "for %d s.",
                               run_status_name(run->status), FORCE_STOP_AFTER_MS / 1000);
    if (request->now_ms - pending->requested_at < FORCE_STOP_AFTER_MS)
        return decision_reject("The run is %s and its stop is pending for less than %d s; it can be forced after that.",
                               run_status_name(run->status), FORCE_STOP_AFTER_MS / 1000);
    Decision *decision = decision_append(1 + run->n_open_steps);
    Event *event = decision_add(decision, run, EVENT_FLOW_STATUS, request->now_ms);
    event->run_status = RUN_STOPPED;
    event->generation = run->generation + 1;
    event->error = g_strdup("forced");
    add_cancellations(decision, run, event->generation, "forced", request->now_ms);
    return decision;
}

static Decision *decide_pause(const Run *run, const CommandRequest *request)
{
    bool is_resuming = run->pending.command == COMMAND_RESUME;
    if (run->status == RUN_PAUSED && !is_resuming)
        return decision_nothing("The run is PAUSED already.");
    if (run->status == RUN_SCHEDULED)
        return decision_reject("The run is SCHEDULED and cannot be paused before its turn comes.");
    return request_command(run, request);
}

static Decision *decide_resume(const Run *run, const CommandRequest *request)
{
    bool is_pausing = run->pending.command == COMMAND_PAUSE;
    if (run->status == RUN_RUNNING && !is_pausing)
        return decision_nothing("The run is RUNNING already.");
    if (run->status != RUN_RUNNING && run->status != RUN_PAUSED && !is_pausing)
        return decision_reject("The run is %s: there is nothing to resume.", run_status_name(run->status));
    return request_command(run, request);
}

Decision *decide_command(const Run *run, const CommandRequest *request)
{
    g_assert(request->command > COMMAND_START && run->seq > 0);
    CommandKind command = request->command;
    CommandKind pending = run->pending.command;
    if (command == COMMAND_STOP && run->status == RUN_STOPPED)
        return decision_nothing("The run is STOPPED already.");
    if (run_status_is_terminal(run->status))
        return decision_reject("The run is %s: it has ended.", run_status_name(run->status));
    if (command == COMMAND_STOP && request->is_forced)
        return force_stop(run, request);
    if (command == pending)
        return decision_nothing("A %s is pending already.", command_name(command));
    if (pending == COMMAND_STOP)
        return decision_reject("The run is %s and a STOP is pending.", run_status_name(run->status));
    if (command == COMMAND_PAUSE)
        return decide_pause(run, request);
    if (command == COMMAND_RESUME)
        return decide_resume(run, request);
    return request_command(run, request);
}

static bool was_answered(const Run *run, const Announcement *announcement)
{
    for (size_t i = 0; i < run->n_announcements; i++)
        if (run->announcements[i].announced_at == announcement->announced_at &&
            strcmp(run->announcements[i].engine_id.text, announcement->engine_id.text) == 0)
            return true;
    return false;
}

Decision *decide_hand_over(const Run *run, const Announcement *announcement, const Id *command_id, int64_t now_ms)
{
    if (run_status_is_terminal(run->status))
        return decision_nothing("The run is %s: it has ended.", run_status_name(run->status));
    if (announcement != NULL && was_answered(run, announcement))
        return decision_nothing("The run was handed over for this announcement.");
    if (announcement != NULL && run->generation == 1 && run->pending.command == COMMAND_START &&
        run->pending.requested_at > announcement->announced_at)
        return decision_nothing("The run was started after this announcement.");
    Decision *decision = decision_append(1);
    Event *event = decision_add(decision, run, EVENT_HANDED_OVER, now_ms);
    event->command = COMMAND_START;
    event->command_id = *command_id;
    event->generation = run->generation + 1;
    if (announcement != NULL)
        event->announcement = *announcement;
    return decision;
}

Decision *decide_settle(const Run *run, int64_t now_ms)
{
    if (run_phase(run) != PHASE_ENDING)
        return decision_nothing("The run is %s and has nothing to settle.", run_status_name(run->status));
    Decision *decision = decision_append(run->n_open_steps);
    add_cancellations(decision, run, run->generation, "not reported by the engine", now_ms);
    return decision;
}
