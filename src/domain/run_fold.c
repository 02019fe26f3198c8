/* run_fold.c - the one place where a run's state changes. It takes every event that decide emits and never judges: what
 * was accepted is a fact. It refuses only what no journal of ours can hold. */
#include "domain/run.h"

#include <string.h>

#include "domain/run_internal.h"

bool command_is_answered_by(CommandKind command, RunStatus status)
{
    if (run_status_is_terminal(status))
        return command != COMMAND_NONE;
    switch (command) {
    case COMMAND_START:
        return status == RUN_RUNNING;
    case COMMAND_PAUSE:
        return status == RUN_PAUSED;
    case COMMAND_RESUME:
        /* Newer than the PAUSED, as it was taken; or there is none, when the resume overtook the pause. */
        return status == RUN_RUNNING;
    case COMMAND_STOP:
    case COMMAND_NONE:
        break;
    }
    return false;
}

static bool refuse(const Event *event, const char *why, GError **error)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "event %" G_GINT64_FORMAT " of run %s: %s", event->seq,
                event->run_id.text, why);
    return false;
}

static bool check_next(const Run *run, const Event *event, GError **error)
{
    if (event->seq != run->seq + 1)
        return refuse(event, "not the next in the journal", error);
    if ((run->seq == 0) != (event->type == EVENT_RUN_CREATED))
        return refuse(event, run->seq == 0 ? "the first is not RUN_CREATED" : "a second RUN_CREATED", error);
    if (run->seq == 0)
        return true;
    if (strcmp(event->run_id.text, run->id.text) != 0 || strcmp(event->flow_id.text, run->flow_id.text) != 0)
        return refuse(event, "of another run", error);
    if (event->type == EVENT_STEP_STATUS) {
        if (run_find_step(run, event->step_id.text) == NULL)
            return refuse(event, "of an unknown step", error);
    } else if (run_status_is_terminal(run->status)) {
        return refuse(event, "after the end", error);
    }
    return true;
}

static void fold_created(Run *run, const Event *event)
{
    run->id = event->run_id;
    run->flow_id = event->flow_id;
    run->owner = event->owner;
    run->flow_version = event->flow_version;
    run->status = RUN_PENDING;
    run->created_at = event->timestamp;
    run->generation = 1;
    run->handed_over_seq = event->seq;
    run->pending = (PendingCommand){
        .command = COMMAND_START, .command_id = event->command_id, .requested_at = event->timestamp, .seq = event->seq};
    run_set_birth(run, event);
}

static void fold_command(Run *run, const Event *event)
{
    run->pending = (PendingCommand){.command = event->command,
                                    .command_id = event->command_id,
                                    .requested_at = event->timestamp,
                                    .seq = event->seq};
}

static void note_announcement(Run *run, const Announcement *announcement)
{
    if (announcement->engine_id.text[0] == '\0')
        return;
    if (run->n_announcements == RUN_MAX_ANNOUNCEMENTS)
        memmove(run->announcements, run->announcements + 1, --run->n_announcements * sizeof *run->announcements);
    run->announcements = g_renew(Announcement, run->announcements, run->n_announcements + 1);
    run->announcements[run->n_announcements++] = *announcement;
}

/* The START of a hand-over takes the place of one still unanswered: it is as old as the first, but the same to engines
 * as what was published last. Any other pending command stays and is published again behind it. */
static void fold_handed_over(Run *run, const Event *event)
{
    run->generation = event->generation;
    run->handed_over_seq = event->seq;
    note_announcement(run, &event->announcement);
    if (run->pending.command == COMMAND_START) {
        run->pending.command_id = event->command_id;
        run->pending.seq = event->seq;
    }
}

/* One too many is not remembered; decide takes none of that timestamp any more. */
static void note_taken(Run *run, const Event *event)
{
    if (event->timestamp != run->last_flow_status_at)
        run_clear_taken(run);
    if (event->origin.topic == NULL || run->n_taken == RUN_MAX_TAKEN_AT_ONCE)
        return;
    run->taken = g_renew(TakenStatus, run->taken, run->n_taken + 1);
    TakenStatus *taken = &run->taken[run->n_taken++];
    *taken = (TakenStatus){.origin = event->origin, .status = event->run_status};
    taken->origin.topic = g_strdup(event->origin.topic);
}

static void fold_flow_status(Run *run, const Event *event)
{
    if (command_is_answered_by(run->pending.command, event->run_status))
        run->pending = (PendingCommand){.command = COMMAND_NONE, .requested_at = INSTANT_NONE};
    run->status = event->run_status;
    g_free(run->error);
    run->error = g_strdup(event->error);
    if (event->run_status == RUN_RUNNING && run->started_at == INSTANT_NONE)
        run->started_at = event->timestamp;
    if (run_status_is_terminal(event->run_status))
        run->completed_at = run->ended_at = event->timestamp;
    if (event->generation > run->generation)
        run->generation = event->generation; /* a forced stop shuts out the engine that did not answer */
    note_taken(run, event);
    run->last_flow_status_at = event->timestamp;
    run->last_flow_generation = event->generation;
}

static size_t text_size(const char *text)
{
    return text != NULL ? strlen(text) : 0;
}

/* Told as FAILED, or as RUNNING of the next attempt with what failed as its error. */
static bool is_failure(const StepState *step, const Event *event)
{
    if (event->step_status == STEP_FAILED)
        return true;
    return event->step_status == STEP_RUNNING && event->attempt > MAX(step->attempt, 1) && event->error != NULL &&
           step->status != STEP_FAILED;
}

static void fold_step_status(Run *run, const Event *event)
{
    StepState *step = run_find_step(run, event->step_id.text);
    bool was_open = !step_status_is_terminal(step->status);
    bool is_open = !step_status_is_terminal(event->step_status);
    if (was_open && !is_open)
        run->n_open_steps--;
    else if (!was_open && is_open)
        run->n_open_steps++;

    if (is_failure(step, event))
        step->n_failures++;
    if (event->attempt != step->attempt)
        step->started_at = step->completed_at = INSTANT_NONE;
    step->attempt = event->attempt;
    step->status = event->step_status;
    if (event->step_status == STEP_RUNNING)
        step->started_at = event->timestamp;
    if (!is_open)
        step->completed_at = event->timestamp;

    run->outputs_size_bytes -= text_size(step->outputs_json);
    run->outputs_size_bytes += text_size(event->outputs_json);
    g_free(step->error);
    step->error = g_strdup(event->error);
    g_free(step->outputs_json);
    step->outputs_json = g_strdup(event->outputs_json);
}

bool run_fold(Run *run, const Event *event, GError **error)
{
    if (!check_next(run, event, error))
        return false;
    switch (event->type) {
    case EVENT_RUN_CREATED:
        fold_created(run, event);
        break;
    case EVENT_COMMAND_REQUESTED:
        fold_command(run, event);
        break;
    case EVENT_HANDED_OVER:
        fold_handed_over(run, event);
        break;
    case EVENT_FLOW_STATUS:
        fold_flow_status(run, event);
        break;
    case EVENT_STEP_STATUS:
        fold_step_status(run, event);
        break;
    }
    run->seq = event->seq;
    if (run->updated_at == INSTANT_NONE || event->timestamp > run->updated_at)
        run->updated_at = event->timestamp;
    return true;
}
