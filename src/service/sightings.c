/* A table from (run, seq) to the first time it was noted and the last round it was noted in. */
#include "service/sightings.h"

typedef struct {
    RunSeq key; /* first: the table takes it for the whole */
    int64_t first_ms;
    int64_t round;
} Sighting;

struct Sightings {
    GHashTable *by_key; /* Sighting as its own key */
    size_t max_items;
    int64_t round;
};

Sightings *sightings_new(size_t max_items)
{
    Sightings *sightings = g_new0(Sightings, 1);
    sightings->by_key = g_hash_table_new_full(run_seq_hash, run_seq_equal, g_free, NULL);
    sightings->max_items = max_items;
    return sightings;
}

void sightings_free(Sightings *sightings)
{
    if (sightings == NULL)
        return;
    g_hash_table_unref(sightings->by_key);
    g_free(sightings);
}

int64_t sightings_note(Sightings *sightings, const Id *run_id, int64_t seq, int64_t now_monotonic_ms)
{
    RunSeq key = {.run_id = *run_id, .seq = seq};
    Sighting *sighting = g_hash_table_lookup(sightings->by_key, &key);
    if (sighting == NULL && g_hash_table_size(sightings->by_key) >= sightings->max_items)
        return 0;
    if (sighting == NULL) {
        sighting = g_new(Sighting, 1);
        *sighting = (Sighting){.key = key, .first_ms = now_monotonic_ms};
        g_hash_table_add(sightings->by_key, sighting);
    }
    sighting->round = sightings->round;
    return now_monotonic_ms - sighting->first_ms;
}

static gboolean is_gone(gpointer key, gpointer value G_GNUC_UNUSED, gpointer sightings)
{
    return ((const Sighting *)key)->round != ((const Sightings *)sightings)->round;
}

void sightings_end_round(Sightings *sightings)
{
    g_hash_table_foreach_remove(sightings->by_key, is_gone, sightings);
    sightings->round++;
}
