/* run_row.h - a run's document as the store takes it: from a state, or from its journal alone for whoever rebuilds or moves it.
 * Thread: any. Owner: a row borrows the state, the actors and the detail it was made of. */
#ifndef FLOWOPS_SERVICE_RUN_ROW_H
#define FLOWOPS_SERVICE_RUN_ROW_H

#include "store/store.h"

/* Who made and who last changed a run. The journal names users; an engine's statuses and the service's own acts are told
 * apart by their kind of event, so steps that the service closed count as the engine's here. */
typedef struct {
    Id created_by, updated_by;
} RunActors;

void run_actors_note(RunActors *actors, const Event *event); /* for each event, in order */

/* What the state tells; created_by and updated_by are the caller's to add. `detail` is run_encode_detail()'s. */
RunRow run_row_of(const Run *run, const char *detail, size_t detail_size, size_t summary_size);

/* `detail` is emptied and filled with run_encode_detail(). */
void run_row_build(const Run *run, const RunActors *actors, GString *detail, RunRow *ret_row);

#endif
