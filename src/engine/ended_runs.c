/* ended_runs.c - a hash table over a ring: the place about to be written holds the oldest. */
#include "engine/ended_runs.h"

#include <glib.h>

typedef struct {
    Id run_id;                      /* first: the table's key is its text */
    int64_t generation, started_at; /* the highest, the newest */
} EndedRun;

struct EndedRuns {
    GHashTable *by_id; /* run id -> EndedRun, borrowed from the ring */
    GPtrArray *ring;   /* of EndedRun, owned; grows to max_runs, then wraps */
    size_t max_runs;
    size_t next;
};

EndedRuns *ended_runs_new(size_t max_runs)
{
    g_assert(max_runs > 0);
    EndedRuns *ended = g_new0(EndedRuns, 1);
    ended->by_id = g_hash_table_new(g_str_hash, g_str_equal);
    ended->ring = g_ptr_array_new_with_free_func(g_free);
    ended->max_runs = max_runs;
    return ended;
}

void ended_runs_free(EndedRuns *ended)
{
    if (ended == NULL)
        return;
    g_hash_table_destroy(ended->by_id);
    g_ptr_array_free(ended->ring, TRUE);
    g_free(ended);
}

/* A run that ended before, in a lower generation, keeps its place: it is rare, and forgotten a little early at worst. */
void ended_runs_note(EndedRuns *ended, const Id *run_id, int64_t generation, int64_t started_at)
{
    EndedRun *known = g_hash_table_lookup(ended->by_id, run_id->text);
    if (known != NULL) {
        known->generation = MAX(known->generation, generation);
        known->started_at = MAX(known->started_at, started_at);
        return;
    }
    EndedRun *entry;
    if (ended->ring->len < ended->max_runs) {
        entry = g_new0(EndedRun, 1);
        g_ptr_array_add(ended->ring, entry);
    } else {
        entry = ended->ring->pdata[ended->next];
        ended->next = (ended->next + 1) % ended->max_runs;
        g_hash_table_remove(ended->by_id, entry->run_id.text);
    }
    entry->run_id = *run_id;
    entry->generation = generation;
    entry->started_at = started_at;
    g_hash_table_insert(ended->by_id, entry->run_id.text, entry);
}

bool ended_runs_has(const EndedRuns *ended, const Id *run_id, int64_t generation, int64_t started_at)
{
    const EndedRun *known = g_hash_table_lookup(ended->by_id, run_id->text);
    return known != NULL && generation <= known->generation && started_at <= known->started_at;
}

size_t ended_runs_count(const EndedRuns *ended)
{
    return g_hash_table_size(ended->by_id);
}
