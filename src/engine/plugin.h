/* plugin.h - what a step does: the seam for built-in plugins now, `http` and external processes later (roadmap).
 * Thread: start and cancel are called on the engine thread and never block; a plugin that works elsewhere reports from
 * any thread through attempt_done(). */
#ifndef FLOWOPS_ENGINE_PLUGIN_H
#define FLOWOPS_ENGINE_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "domain/text_map.h"

typedef struct Attempt Attempt; /* one attempt of one step; lives until attempt_done() was handled */

/* What a plugin may know of its attempt. */
const TextMap *attempt_inputs(const Attempt *attempt); /* references are resolved */
int64_t attempt_number(const Attempt *attempt);        /* from 1 */

/* Ends the attempt: outputs_json (an object's text, taken; NULL: none) or, when error is not NULL, failed with that text
 * (taken). Call exactly once, unless cancelled first. */
void attempt_done(Attempt *attempt, char *outputs_json, char *error);
/* For plugins that only wait: attempt_done() is called by the engine after delay_ms with these outputs. */
void attempt_done_after(Attempt *attempt, int64_t delay_ms, char *outputs_json);

typedef struct {
    const char *name;
    /* Begins the attempt. May call attempt_done() before it returns. */
    void (*start)(Attempt *attempt);
    /* Optional: the attempt is not wanted any more (timeout, stop); release what start took. attempt_done() must not be
     * called after it returns. NULL when there is nothing to release. */
    void (*cancel)(Attempt *attempt);
} Plugin;

const Plugin *plugin_find(const char *plugin_id); /* NULL: this engine has none of that id */
const Plugin *plugin_at(size_t i);                /* the table, in order of name; NULL past its end */

#endif
