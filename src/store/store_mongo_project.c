/* store_mongo_project.c - what follows the journal: each run's newest document, and forgetting what was published. Writers
 * leave it here and go on; a thread writes it in rounds. What comes for a run while another of its documents waits takes
 * that one's place, so a busy server costs fewer writes, not a longer queue. */
#include "store/store_mongo_internal.h"

#include <string.h>

/* What may wait to be written; above it writers wait. A server that is slower than the writers for long must hold them,
 * and a process that dies leaves this much for the sweepers to fold again. */
#define WAITING_MAX_ITEMS 8192
#define WAITING_MAX_BYTES (64 * 1024 * 1024)
#define CLOSE_MS 5000
#define RETRY_MIN_MS 50
#define RETRY_MAX_MS 1000
/* In one command: a fraction of the 48 MB that a message may have. */
#define ROUND_MAX_BYTES (16 * 1024 * 1024)

struct Projector {
    MongoStore *store;
    Thread *thread;
    Bell bell;
    Mutex mu;
    pthread_cond_t has_room;   /* CLOCK_MONOTONIC; also: something was written */
    GHashTable *waiting;       /* guarded by mu; run id (within the Projection) -> Projection, owned */
    GQueue order;              /* guarded by mu; of the same, as they came */
    GHashTable *in_round;      /* guarded by mu; the same table of what is being written, owned by the round */
    size_t n_items;            /* guarded by mu; reserved, waiting or being written */
    size_t n_bytes;            /* guarded by mu; the same */
    uint64_t n_ordered;        /* guarded by mu; entered `order`, ever; they leave it in that order */
    uint64_t n_finished;       /* guarded by mu; of these, written */
    bool is_closing;           /* atomic */
    int64_t close_deadline_ms; /* written before is_closing */
};

void projection_free(Projection *projection)
{
    if (projection == NULL) {
        return;
    }
    if (projection->document != NULL) {
        bson_destroy(projection->document);
    }
    if (projection->published != NULL) {
        g_array_unref(projection->published);
    }
    g_free(projection);
}

/* ---- room ---- */

static void give_back(Projector *projector, size_t n_items, size_t n_bytes)
{
    g_assert(projector->n_items >= n_items && projector->n_bytes >= n_bytes);
    projector->n_items -= n_items;
    projector->n_bytes -= n_bytes;
    pthread_cond_broadcast(&projector->has_room);
}

static struct timespec deadline_after(int64_t ms)
{
    struct timespec deadline;
    (void)clock_gettime(CLOCK_MONOTONIC, &deadline);
    int64_t nanoseconds = deadline.tv_nsec + ms % 1000 * 1000000;
    deadline.tv_sec += ms / 1000 + nanoseconds / 1000000000;
    deadline.tv_nsec = nanoseconds % 1000000000;
    return deadline;
}

bool projector_reserve(Projector *projector, size_t n_items, size_t n_bytes, GError **error)
{
    if (n_items == 0) {
        return true;
    }
    struct timespec deadline = deadline_after(PROJECTOR_ROOM_MS);
    MUTEX_SCOPE(&projector->mu);
    /* A group larger than all the room goes alone. */
    while (projector->n_items > 0 &&
           (projector->n_items + n_items > WAITING_MAX_ITEMS || projector->n_bytes + n_bytes > WAITING_MAX_BYTES)) {
        if (mongo_is_interrupted(projector->store) ||
            pthread_cond_timedwait(&projector->has_room, &projector->mu, &deadline) != 0) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE,
                        "MongoDB does not keep up: %zu run documents wait to be written", projector->n_items);
            return false;
        }
    }
    projector->n_items += n_items;
    projector->n_bytes += n_bytes;
    return true;
}

void projector_release(Projector *projector, size_t n_items, size_t n_bytes)
{
    MUTEX_SCOPE(&projector->mu);
    give_back(projector, n_items, n_bytes);
}

/* Who waits for room waits no longer; the rest goes on until the server is given up. */
void projector_interrupt(Projector *projector)
{
    MUTEX_SCOPE(&projector->mu);
    pthread_cond_broadcast(&projector->has_room);
}

/* ---- what waits ---- */

/* The run's share, made when there is none; then it keeps the item that was reserved, else that is given back. */
static Projection *find_or_add(Projector *projector, const Id *run_id)
{
    Projection *projection = g_hash_table_lookup(projector->waiting, run_id->text);
    if (projection != NULL) {
        give_back(projector, 1, 0);
        return projection;
    }
    projection = g_new0(Projection, 1);
    projection->run_id = *run_id;
    g_hash_table_insert(projector->waiting, projection->run_id.text, projection);
    g_queue_push_tail(&projector->order, projection);
    projector->n_ordered++;
    return projection;
}

void projector_push_run(Projector *projector, const Projection *run)
{
    MUTEX_SCOPE(&projector->mu);
    Projection *there = find_or_add(projector, &run->run_id);
    bson_t *unneeded = run->document;
    if (there->document == NULL || there->seq < run->seq || run->is_forced) {
        unneeded = there->document;
        there->document = run->document;
        there->seq = run->seq;
    }
    there->is_forced |= run->is_forced;
    there->superseded_before = MAX(there->superseded_before, run->superseded_before);
    if (there->first_seq == 0 || (run->first_seq != 0 && run->first_seq < there->first_seq)) {
        there->first_seq = run->first_seq;
    }
    if (unneeded != NULL) {
        give_back(projector, 0, unneeded->len);
        bson_destroy(unneeded);
    }
}

void projector_push_published(Projector *projector, const RunSeq *published)
{
    MUTEX_SCOPE(&projector->mu);
    Projection *projection = find_or_add(projector, &published->run_id);
    if (projection->published == NULL) {
        projection->published = g_array_new(FALSE, FALSE, sizeof(int64_t));
    }
    for (guint i = 0; i < projection->published->len; i++) {
        if (g_array_index(projection->published, int64_t, i) == published->seq) {
            return;
        }
    }
    g_array_append_val(projection->published, published->seq);
}

void projector_ring(Projector *projector)
{
    bell_ring(&projector->bell);
}

bool projector_settle(Projector *projector, int64_t timeout_ms)
{
    struct timespec deadline = deadline_after(timeout_ms);
    MUTEX_SCOPE(&projector->mu);
    uint64_t n_before = projector->n_ordered;
    while (projector->n_finished < n_before) {
        if (mongo_is_given_up(projector->store) ||
            pthread_cond_timedwait(&projector->has_room, &projector->mu, &deadline) != 0) {
            return false;
        }
    }
    return true;
}

static bool is_any_on_its_way(const Projector *projector, const Id *run_ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (g_hash_table_contains(projector->waiting, run_ids[i].text) ||
            g_hash_table_contains(projector->in_round, run_ids[i].text)) {
            return true;
        }
    }
    return false;
}

bool projector_settle_runs(Projector *projector, const Id *run_ids, size_t n, int64_t timeout_ms)
{
    struct timespec deadline = deadline_after(timeout_ms);
    MUTEX_SCOPE(&projector->mu);
    while (is_any_on_its_way(projector, run_ids, n)) {
        if (mongo_is_interrupted(projector->store) ||
            pthread_cond_timedwait(&projector->has_room, &projector->mu, &deadline) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- rounds ---- */

static size_t take_round(Projector *projector, Projection **ret_projections, size_t max_items)
{
    MUTEX_SCOPE(&projector->mu);
    size_t n = 0, n_bytes = 0;
    Projection *projection;
    while (n < max_items && n_bytes < ROUND_MAX_BYTES && (projection = g_queue_pop_head(&projector->order)) != NULL) {
        (void)g_hash_table_remove(projector->waiting, projection->run_id.text);
        (void)g_hash_table_insert(projector->in_round, projection->run_id.text, projection);
        n_bytes += projection->document != NULL ? projection->document->len : 0;
        ret_projections[n++] = projection;
    }
    return n;
}

static void end_round(Projector *projector, Projection **projections, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        n_bytes += projections[i]->document != NULL ? projections[i]->document->len : 0;
    }
    {
        MUTEX_SCOPE(&projector->mu);
        g_hash_table_remove_all(projector->in_round);
        projector->n_finished += n;
        give_back(projector, n, n_bytes);
    }
    for (size_t i = 0; i < n; i++) {
        projection_free(projections[i]);
    }
}

static bool is_over(const Projector *projector)
{
    if (mongo_is_given_up(projector->store)) {
        return true;
    }
    return __atomic_load_n(&projector->is_closing, __ATOMIC_ACQUIRE) &&
           clock_monotonic_ms(projector->store->timer) >= projector->close_deadline_ms;
}

/* Until it is done, or the store has closed and waited enough: whoever finds the documents behind folds them anew. */
static void write_round(Projector *projector, Projection **projections, size_t n)
{
    for (int64_t pause_ms = RETRY_MIN_MS;; pause_ms = MIN(2 * pause_ms, RETRY_MAX_MS)) {
        g_autoptr(GError) error = NULL; /* callers learn of a server that is gone from their own calls */
        if (projections_apply(projector->store, projections, n, &error) || is_over(projector)) {
            return;
        }
        mongo_pause(pause_ms);
    }
}

/* Whoever left something here was admitted. */
static void write_what_waits(Projector *projector)
{
    size_t max_items = projector->store->n_updates_at_once, n;
    g_autofree Projection **projections = g_new(Projection *, max_items);
    while ((n = take_round(projector, projections, max_items)) > 0) {
        if (!is_over(projector)) {
            write_round(projector, projections, n);
        }
        end_round(projector, projections, n);
    }
}

static void projector_run(void *arg)
{
    Projector *projector = arg;
    mongo_mark_background_thread();
    bool is_open = true;
    do {
        is_open = bell_wait(&projector->bell, -1);
        write_what_waits(projector);
    } while (is_open);
}

Projector *projector_start(MongoStore *store, GError **error)
{
    Projector *projector = g_new0(Projector, 1);
    projector->store = store;
    bell_init(&projector->bell);
    mutex_init(&projector->mu);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&projector->has_room, &monotonic);
    pthread_condattr_destroy(&monotonic);
    projector->waiting = g_hash_table_new(g_str_hash, g_str_equal);
    projector->in_round = g_hash_table_new(g_str_hash, g_str_equal);
    g_queue_init(&projector->order);
    projector->thread = thread_start("mongo-project", ROLE_WRITER, projector_run, projector, error);
    if (projector->thread == NULL) {
        projector_stop(projector);
        return NULL;
    }
    return projector;
}

void projector_stop(Projector *projector)
{
    if (projector == NULL) {
        return;
    }
    projector->close_deadline_ms = clock_monotonic_ms(projector->store->timer) + CLOSE_MS;
    __atomic_store_n(&projector->is_closing, true, __ATOMIC_RELEASE);
    bell_close(&projector->bell);
    thread_join(projector->thread);
    g_hash_table_unref(projector->waiting);
    g_hash_table_unref(projector->in_round);
    g_queue_clear_full(&projector->order, (GDestroyNotify)projection_free);
    pthread_cond_destroy(&projector->has_room);
    mutex_done(&projector->mu);
    bell_done(&projector->bell);
    g_free(projector);
}
