/* sightings.h - since when this process sees something in the store: ages that depend on nobody else's clock.
 * Work goes in rounds: note what is seen, then forget what was not seen in this round.
 * Thread: one. Owner: whoever made it. Bounded: what is new beyond max_items is not noted, and has no age, until others
 * have gone. */
#ifndef FLOWOPS_SERVICE_SIGHTINGS_H
#define FLOWOPS_SERVICE_SIGHTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

typedef struct Sightings Sightings;

Sightings *sightings_new(size_t max_items);
void sightings_free(Sightings *sightings);

/* Notes it and returns for how long it has been seen, in ms: 0 the first time. */
int64_t sightings_note(Sightings *sightings, const Id *run_id, int64_t seq, int64_t now_monotonic_ms);
/* Ends a round: forgets what was not noted since the last one ended. */
void sightings_end_round(Sightings *sightings);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sightings, sightings_free)

#endif
