/* decide_status.c - what an engine's word means for a run. Delivery is at least once and engines are not perfect, so the
 * common answers are "taken" and "changes nothing"; a rejection is for what cannot be of this run at all. */
#include <string.h>

#include "domain/decide_internal.h"
#include "domain/flow.h"
#include "domain/message_member.h"

/* ---- what is kept of a status ---- */

/* As much of an error as takes max_bytes where it is written as JSON: a control character takes six there, and a thousand
 * steps' errors are in one document. */
static char *error_head(const char *error, size_t max_bytes)
{
    size_t size = 0, written = 0;
    for (; error != NULL && error[size] != '\0'; size++) {
        unsigned char c = (unsigned char)error[size];
        written += c < 0x20 ? 6 : c == '"' || c == '\\' ? 2 : 1;
        if (written > max_bytes)
            break;
    }
    return text_head(error, size);
}

/* "outputs dropped: ..." behind the engine's own error, within the bound. */
static char *join_error(const char *error, const char *note)
{
    if (error == NULL || *error == '\0')
        return g_strdup(note);
    g_autofree char *kept = error_head(error, RUN_ERROR_MAX_BYTES - strlen(note) - 2);
    return g_strconcat(kept, "; ", note, NULL);
}

size_t run_outputs_max_bytes(size_t n_steps)
{
    size_t others = FLOW_MAX_DEFINITION_BYTES + RUN_INPUTS_MAX_BYTES + START_FRAME_MAX_BYTES +
                    MIN(n_steps, FLOW_MAX_STEPS) * STEP_PROGRESS_MAX_BYTES;
    return MIN(RUN_OUTPUTS_MAX_BYTES, START_MAX_BYTES - others);
}

static void keep_outputs(const Run *run, const StepState *step, const StatusMessage *status, Event *event)
{
    size_t size = status->outputs_json != NULL ? strlen(status->outputs_json) : 0;
    size_t others = run->outputs_size_bytes - (step->outputs_json != NULL ? strlen(step->outputs_json) : 0);
    size_t max = run_outputs_max_bytes(run->n_steps);
    char note[160];
    if (size > STEP_OUTPUTS_MAX_BYTES) {
        g_snprintf(note, sizeof note, "outputs dropped: %zu bytes, a step keeps at most %d", size,
                   STEP_OUTPUTS_MAX_BYTES);
    } else if (others + size > max) {
        g_snprintf(note, sizeof note, "outputs dropped: %zu bytes beside the other steps' %zu, a run keeps at most %zu",
                   size, others, max);
    } else {
        event->outputs_json = g_strdup(status->outputs_json);
        event->error = error_head(status->error, RUN_ERROR_MAX_BYTES);
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

/* The last one taken, of those with the newest timestamp, that is not behind this place in the same partition. */
static const TakenStatus *find_nearest_taken(const Run *run, const Origin *origin)
{
    const TakenStatus *nearest = NULL;
    for (size_t i = 0; i < run->n_taken; i++) {
        const Origin *taken = &run->taken[i].origin;
        if (taken->partition == origin->partition && taken->offset <= origin->offset &&
            strcmp(taken->topic, origin->topic) == 0 && (nearest == NULL || taken->offset > nearest->origin.offset))
            nearest = &run->taken[i];
    }
    return nearest;
}

static bool is_said_already(const Run *run, RunStatus status)
{
    for (size_t i = 0; i < run->n_taken; i++)
        if (run->taken[i].status == status)
            return true;
    return run->n_taken == 0 && run->status == status;
}

/* Of one with the timestamp of the last taken. A position that was taken is known exactly: a lower one may be of a topic that
 * was made anew. What only repeats is passed over and in no journal, so it must be told from news by what is: it says the
 * same as the one before it in its partition, or, when nothing of its partition was taken before it, as any other. Both
 * stay so when the log is read again. */
static const char *judge_at_once(const Run *run, const StatusMessage *status)
{
    static const char SAME[] = "the same as the last flow status taken";
    if (status->origin.topic == NULL)
        return status->run_status == run->status ? SAME : NULL;
    const TakenStatus *nearest = find_nearest_taken(run, &status->origin);
    if (nearest != NULL && nearest->origin.offset == status->origin.offset)
        return "taken before, from the same position";
    if (nearest != NULL ? nearest->status == status->run_status : is_said_already(run, status->run_status))
        return SAME;
    return run->n_taken == RUN_MAX_TAKEN_AT_ONCE ? "one too many within a millisecond" : NULL;
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
    return order > 0 ? NULL : judge_at_once(run, status);
}

static Decision *decide_flow_status(const Run *run, const StatusMessage *status)
{
    const char *reason = judge_flow_status(run, status);
    if (reason != NULL)
        return decision_nothing("FLOW_STATUS %s: %s", run_status_name(status->run_status), reason);
    Decision *decision = decision_append(1);
    Event *event = decision_add(decision, run, EVENT_FLOW_STATUS, status->timestamp);
    event->run_status = status->run_status;
    event->error = error_head(status->error, RUN_ERROR_MAX_BYTES);
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
