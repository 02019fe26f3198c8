/* decide_status.c - what an engine's word means for a run. Delivery is at least once and engines are not perfect, so the
 * common answers are "taken" and "changes nothing"; a rejection is for what cannot be of this run at all. */
#include <string.h>

#include "domain/decide_internal.h"
#include "domain/message_member.h"

/* ---- what is kept of a status ---- */

/* "outputs dropped: ..." behind the engine's own error, within the bound. */
static char *join_error(const char *error, const char *note)
{
    if (error == NULL || *error == '\0')
        return g_strdup(note);
    g_autofree char *kept = text_head(error, RUN_ERROR_MAX_BYTES - strlen(note) - 2);
    return g_strconcat(kept, "; ", note, NULL);
}

static void keep_outputs(const Run *run, const StepState *step, const StatusMessage *status, Event *event)
{
    size_t size = status->outputs_json != NULL ? strlen(status->outputs_json) : 0;
    size_t others = run->outputs_size_bytes - (step->outputs_json != NULL ? strlen(step->outputs_json) : 0);
    char note[160];
    if (size > STEP_OUTPUTS_MAX_BYTES) {
        g_snprintf(note, sizeof note, "outputs dropped: %zu bytes, a step keeps at most %d", size,
                   STEP_OUTPUTS_MAX_BYTES);
    } else if (others + size > RUN_OUTPUTS_MAX_BYTES) {
        g_snprintf(note, sizeof note, "outputs dropped: %zu bytes beside the other steps' %zu, a run keeps at most %d",
                   size, others, RUN_OUTPUTS_MAX_BYTES);
    } else {
        event->outputs_json = g_strdup(status->outputs_json);
        event->error = text_head(status->error, RUN_ERROR_MAX_BYTES);
        return;
    }
    event->error = join_error(status->error, note);
}

static void keep_origin(const Origin *origin, Event *event)
{
    event->origin = *origin;
    event->origin.topic = g_strdup(origin->topic);
}

/* ---- flow statuses: ordered by (generation, timestamp) ---- */

/* A status without a generation is of the current one, but its place in the order is its timestamp's alone: else a replay
 * of an engine that sends none would be taken again after a hand-over. */
static int compare_with_last(const Run *run, const StatusMessage *status)
{
    if (run->last_flow_status_at == INSTANT_NONE)
        return 1;
    if (status->generation > run->last_flow_generation)
        return 1;
    return (status->timestamp > run->last_flow_status_at) - (status->timestamp < run->last_flow_status_at);
}

static bool is_position_taken(const Origin *last, const Origin *origin)
{
    return origin->topic != NULL && last->topic != NULL && strcmp(origin->topic, last->topic) == 0 &&
           origin->partition == last->partition && origin->offset <= last->offset;
}

/* NULL: it is taken. Otherwise why it changes nothing. */
static const char *judge_flow_status(const Run *run, const StatusMessage *status)
{
    if (run_status_is_terminal(run->status))
        return "the run has ended";
    if (run_status_is_terminal(status->run_status))
        return NULL; /* the first of its generation, however old */
    int order = compare_with_last(run, status);
    if (order < 0)
        return "older than the last flow status taken";
    if (order > 0)
        return NULL;
    if (is_position_taken(&run->last_flow_origin, &status->origin))
        return "taken before, from the same position";
    if (status->run_status == run->status)
        return "the same as the last flow status taken";
    return NULL;
}

static Decision *decide_flow_status(const Run *run, const StatusMessage *status)
{
    const char *reason = judge_flow_status(run, status);
    if (reason != NULL)
        return decision_nothing("FLOW_STATUS %s: %s", run_status_name(status->run_status), reason);
    Decision *decision = decision_append(1);
    Event *event = decision_add(decision, run, EVENT_FLOW_STATUS, status->timestamp);
    event->run_status = status->run_status;
    event->error = text_head(status->error, RUN_ERROR_MAX_BYTES);
    keep_origin(&status->origin, event);
    return decision;
}

/* ---- step statuses: judged by state alone ---- */

static int progress_of(StepStatus status)
{
    return status == STEP_PENDING ? 0 : status == STEP_RUNNING ? 1 : 2;
}

/* Which attempt a status without one is of: the current, or the one that a RUNNING after a failure begins, or (0) one that
 * has passed: a FAILED from before the current attempt's begin is a repeat of the failure that led to it. */
static int64_t attempt_of(const Run *run, const StepState *step, const StatusMessage *status)
{
    int64_t current = MAX(step->attempt, 1);
    if (status->attempt > 0)
        return status->attempt;
    if (step->status == STEP_FAILED && status->step_status == STEP_RUNNING && !run_status_is_terminal(run->status) &&
        status->timestamp > step->completed_at)
        return current + 1;
    if (current > 1 && step->status == STEP_RUNNING && status->step_status == STEP_FAILED &&
        status->timestamp < step->started_at)
        return 0;
    return current;
}

/* NULL: it is taken. Otherwise why it changes nothing. */
static const char *judge_step_status(const Run *run, const StepState *step, StepStatus status, int64_t attempt)
{
    int64_t current = MAX(step->attempt, 1);
    if (status == STEP_PENDING)
        return "a step is PENDING until an attempt begins";
    if (attempt < current)
        return "of an earlier attempt";
    if (attempt == current)
        return progress_of(status) > progress_of(step->status) ? NULL : "the attempt is as far already";
    /* A later attempt has begun, whether or not its RUNNING was seen. */
    bool begins_after_end = run_status_is_terminal(run->status) &&
                            (step_status_is_terminal(step->status) || !step_status_is_terminal(status));
    return begins_after_end ? "no attempt begins after the run's end" : NULL;
}

static Decision *decide_step_status(const Run *run, const StatusMessage *status)
{
    const StepState *step = run_find_step(run, status->step_id.text);
    int64_t attempt = attempt_of(run, step, status);
    const char *reason = judge_step_status(run, step, status->step_status, attempt);
    if (reason != NULL)
        return decision_nothing("STEP_STATUS %s: %s", step_status_name(status->step_status), reason);
    Decision *decision = decision_append(1);
    Event *event = decision_add(decision, run, EVENT_STEP_STATUS, status->timestamp);
    event->step_id = status->step_id;
    event->step_status = status->step_status;
    event->attempt = attempt;
    keep_outputs(run, step, status, event);
    keep_origin(&status->origin, event);
    return decision;
}

Decision *decide_status(const Run *run, const StatusMessage *status)
{
    g_assert(status->kind != STATUS_ENGINE && run->seq > 0);
    if (strcmp(status->flow_id.text, run->flow_id.text) != 0)
        return decision_reject("flowId %s is not the run's", status->flow_id.text);
    if (status->kind == STATUS_STEP && run_find_step(run, status->step_id.text) == NULL)
        return decision_reject("step %s is not in the run's flow", status->step_id.text);
    if (status->kind == STATUS_FLOW && status->run_status == RUN_SCHEDULED)
        return decision_reject("SCHEDULED is no status of an engine");
    if (status->generation > run->generation)
        return decision_reject("generation %" G_GINT64_FORMAT " was never handed out, the run's is %" G_GINT64_FORMAT,
                               status->generation, run->generation);
    if (status->generation > 0 && status->generation < run->generation)
        return decision_nothing("of generation %" G_GINT64_FORMAT ", the run's is %" G_GINT64_FORMAT,
                                status->generation, run->generation);
    return status->kind == STATUS_STEP ? decide_step_status(run, status) : decide_flow_status(run, status);
}
