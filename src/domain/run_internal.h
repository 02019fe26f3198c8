/* run_internal.h - what the files of the run's state share. */
#ifndef FLOWOPS_DOMAIN_RUN_INTERNAL_H
#define FLOWOPS_DOMAIN_RUN_INTERNAL_H

#include "domain/run.h"

struct RunBirth {
    int ref_count; /* atomic: copies of a run are freed by any thread */
    char *triggered_by;
    TextMap labels, inputs;
    char *request_digest;
    uint32_t *step_order; /* places in `steps`, sorted by step id; NULL when there are few */
};

/* Takes over what RUN_CREATED says for good: labels, inputs, the steps and the way to find them. */
void run_set_birth(Run *run, const Event *created);

void run_clear_taken(Run *run);

#endif
