/* attempt_internal.h - one attempt of one step between the engine and a plugin.
 * Thread: as said per field; the engine thread owns the attempt, a plugin's thread may end it. */
#ifndef FLOWOPS_ENGINE_ATTEMPT_INTERNAL_H
#define FLOWOPS_ENGINE_ATTEMPT_INTERNAL_H

#include "engine/engine_run.h"
#include "engine/plugin.h"
#include "engine/timers.h"

/* What the attempts of an engine share. */
typedef struct {
    const Clock *clock;
    Timers *timers;
    /* Brings an attempt that ended to the engine thread; called once per attempt, on the thread that ended it. */
    void (*deliver)(Attempt *attempt, void *arg);
    void *arg;
} AttemptHost;

typedef enum { ATTEMPT_RUNNING, ATTEMPT_ENDED, ATTEMPT_CANCELLED } AttemptState;

struct Attempt {
    const AttemptHost *host;
    const Plugin *plugin;
    TextMap inputs;
    int64_t number;
    int state; /* AttemptState; atomic: whoever moves it from RUNNING decides how the attempt ends */

    /* the ending: written before it is delivered, read after */
    char *outputs_json;
    char *error;

    /* engine thread */
    EngineRun *run; /* NULL: nobody waits for it any more */
    size_t step;
    Timer delay;   /* attempt_done_after() */
    Attempt *next; /* in the engine's list of endings of its own thread */
};

/* Takes the inputs. */
Attempt *attempt_new(const AttemptHost *host, const Plugin *plugin, TextMap inputs, int64_t number, EngineRun *run,
                     size_t step);
/* Calls the plugin; it may have ended when this returns. */
void attempt_start(Attempt *attempt);
/* True: it was under way, the plugin has let go of it, and it was freed. False: it has ended, its delivery is on the way
 * and must free it; it has no run any more. */
bool attempt_cancel(Attempt *attempt);
void attempt_free(Attempt *attempt);

#endif
