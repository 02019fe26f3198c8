/* attempt.c - how an attempt ends exactly once, though a plugin's thread and the engine's may both try: the state leaves
 * RUNNING by one atomic exchange, and only who made it goes on. */
#include "engine/attempt_internal.h"

Attempt *attempt_new(const AttemptHost *host, const Plugin *plugin, TextMap inputs, int64_t number, EngineRun *run,
                     size_t step)
{
    Attempt *attempt = g_new0(Attempt, 1);
    attempt->host = host;
    attempt->plugin = plugin;
    attempt->inputs = inputs;
    attempt->number = number;
    attempt->run = run;
    attempt->step = step;
    return attempt;
}

void attempt_free(Attempt *attempt)
{
    text_map_done(&attempt->inputs);
    g_free(attempt->outputs_json);
    g_free(attempt->error);
    g_free(attempt);
}

void attempt_start(Attempt *attempt)
{
    attempt->plugin->start(attempt);
}

static bool leave_running(Attempt *attempt, AttemptState state)
{
    int expected = ATTEMPT_RUNNING;
    return __atomic_compare_exchange_n(&attempt->state, &expected, (int)state, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

bool attempt_cancel(Attempt *attempt)
{
    if (!leave_running(attempt, ATTEMPT_CANCELLED)) {
        attempt->run = NULL;
        return false;
    }
    timers_clear(attempt->host->timers, &attempt->delay);
    if (attempt->plugin->cancel != NULL)
        attempt->plugin->cancel(attempt);
    attempt_free(attempt);
    return true;
}

/* ---- what plugins see ---- */

const TextMap *attempt_inputs(const Attempt *attempt)
{
    return &attempt->inputs;
}

int64_t attempt_number(const Attempt *attempt)
{
    return attempt->number;
}

void attempt_done(Attempt *attempt, char *outputs_json, char *error)
{
    if (!leave_running(attempt, ATTEMPT_ENDED)) {
        g_free(outputs_json);
        g_free(error);
        return;
    }
    attempt->outputs_json = outputs_json;
    attempt->error = error;
    attempt->host->deliver(attempt, attempt->host->arg);
}

static void end_delayed(Timer *timer)
{
    Attempt *attempt = (Attempt *)((char *)timer - offsetof(Attempt, delay));
    attempt_done(attempt, g_steal_pointer(&attempt->outputs_json), NULL);
}

void attempt_done_after(Attempt *attempt, int64_t delay_ms, char *outputs_json)
{
    g_assert(delay_ms >= 0 && attempt->outputs_json == NULL);
    attempt->outputs_json = outputs_json;
    timers_set(attempt->host->timers, &attempt->delay, clock_monotonic_ms(attempt->host->clock) + delay_ms,
               end_delayed);
}
