/* hub.c - a table of the runs that somebody listens to, each with a ring of its newest journal texts.
 * One mutex guards it all: it is held for a look-up and a few copies, and a writer that rings for a run nobody listens
 * to pays for one look-up. */
#include "hub/hub.h"

#include <glib.h>
#include <string.h>

#include "base/thread.h"

typedef struct {
    char id[ID_TEXT_SIZE];
    HubListener *listeners;
    /* The texts newest_seq - n_texts + 1 ... newest_seq, the oldest at ring[first]. */
    HubText *ring[HUB_RING_ENTRIES];
    size_t first, n_texts;
    size_t size_bytes;
    int64_t newest_seq; /* 0: nothing was rung since somebody listens */
} HubRun;

struct HubListener {
    HubListener *next;
    HubRun *run;
    HubWake wake;
    void *arg;
    int64_t newest_seq;
};

struct Hub {
    Mutex mu;
    GHashTable *runs; /* id -> HubRun; guarded by mu, as all below and everything reached from it */
    size_t n_listeners;
    size_t size_bytes;
    size_t max_bytes;
};

static size_t text_weight(const HubText *text)
{
    return sizeof(HubText) + text->size + 1;
}

static HubText *text_new(int64_t seq, const char *text, size_t size)
{
    HubText *copy = g_malloc(sizeof(HubText) + size + 1);
    copy->seq = seq;
    copy->size = size;
    copy->ref_count = 1;
    memcpy(copy->text, text, size);
    copy->text[size] = '\0';
    return copy;
}

HubText *hub_text_ref(HubText *text)
{
    __atomic_add_fetch(&text->ref_count, 1, __ATOMIC_RELAXED);
    return text;
}

void hub_text_unref(HubText *text)
{
    if (text && __atomic_sub_fetch(&text->ref_count, 1, __ATOMIC_ACQ_REL) == 0)
        g_free(text);
}

static void run_drop_oldest(Hub *hub, HubRun *run)
{
    HubText *oldest = run->ring[run->first];
    run->ring[run->first] = NULL;
    run->first = (run->first + 1) % HUB_RING_ENTRIES;
    run->n_texts--;
    run->size_bytes -= text_weight(oldest);
    hub->size_bytes -= text_weight(oldest);
    hub_text_unref(oldest);
}

static void run_clear(Hub *hub, HubRun *run)
{
    while (run->n_texts)
        run_drop_oldest(hub, run);
}

/* Keeps the ring without a gap: what does not follow the newest starts it anew. */
static void run_push(Hub *hub, HubRun *run, int64_t seq, const HubEvent *event)
{
    if (seq <= run->newest_seq)
        return;
    if (seq != run->newest_seq + 1)
        run_clear(hub, run);
    run->newest_seq = seq;

    size_t weight = sizeof(HubText) + event->size + 1;
    while (run->n_texts && (run->n_texts == HUB_RING_ENTRIES || run->size_bytes + weight > HUB_RING_BYTES ||
                            hub->size_bytes + weight > hub->max_bytes))
        run_drop_oldest(hub, run);
    if (weight > HUB_RING_BYTES || hub->size_bytes + weight > hub->max_bytes)
        return; /* too heavy for what is left: its readers go to the store */
    run->ring[(run->first + run->n_texts) % HUB_RING_ENTRIES] = text_new(seq, event->text, event->size);
    run->n_texts++;
    run->size_bytes += weight;
    hub->size_bytes += weight;
}

Hub *hub_new(size_t max_bytes)
{
    Hub *hub = g_new0(Hub, 1);
    mutex_init(&hub->mu);
    hub->runs = g_hash_table_new(g_str_hash, g_str_equal);
    hub->max_bytes = max_bytes;
    return hub;
}

void hub_free(Hub *hub)
{
    if (!hub)
        return;
    g_assert(hub->n_listeners == 0);
    g_hash_table_destroy(hub->runs);
    mutex_done(&hub->mu);
    g_free(hub);
}

HubListener *hub_listen(Hub *hub, const char *run_id, HubWake wake, void *arg)
{
    g_assert(strlen(run_id) < ID_TEXT_SIZE);
    MUTEX_SCOPE(&hub->mu);
    HubRun *run = g_hash_table_lookup(hub->runs, run_id);
    if (!run) {
        run = g_new0(HubRun, 1);
        g_strlcpy(run->id, run_id, sizeof(run->id));
        g_hash_table_insert(hub->runs, run->id, run);
    }
    HubListener *listener = g_new(HubListener, 1);
    *listener = (HubListener){.next = run->listeners, .run = run, .wake = wake, .arg = arg};
    run->listeners = listener;
    hub->n_listeners++;
    return listener;
}

void hub_unlisten(Hub *hub, HubListener *listener)
{
    MUTEX_SCOPE(&hub->mu);
    HubRun *run = listener->run;
    HubListener **link = &run->listeners;
    while (*link != listener) {
        g_assert(*link);
        link = &(*link)->next;
    }
    *link = listener->next;
    g_free(listener);
    hub->n_listeners--;
    if (!run->listeners) {
        run_clear(hub, run);
        g_hash_table_remove(hub->runs, run->id);
        g_free(run);
    }
}

static void wake_listeners(HubRun *run)
{
    for (HubListener *listener = run->listeners; listener; listener = listener->next) {
        listener->newest_seq = MAX(listener->newest_seq, run->newest_seq);
        listener->wake(listener->arg);
    }
}

void hub_ring(Hub *hub, const char *run_id, int64_t first_seq, const HubEvent *events, size_t n_events)
{
    if (n_events == 0)
        return;
    MUTEX_SCOPE(&hub->mu);
    HubRun *run = g_hash_table_lookup(hub->runs, run_id);
    if (!run)
        return;
    for (size_t i = 0; i < n_events; i++)
        run_push(hub, run, first_seq + (int64_t)i, &events[i]);
    wake_listeners(run);
}

void hub_ring_seq(Hub *hub, const char *run_id, int64_t seq)
{
    MUTEX_SCOPE(&hub->mu);
    HubRun *run = g_hash_table_lookup(hub->runs, run_id);
    if (!run || seq <= run->newest_seq)
        return;
    run_clear(hub, run); /* the ring has no gaps */
    run->newest_seq = seq;
    wake_listeners(run);
}

int64_t hub_newest_seq(Hub *hub, const HubListener *listener)
{
    MUTEX_SCOPE(&hub->mu);
    return listener->newest_seq;
}

bool hub_read(Hub *hub, const HubListener *listener, int64_t after, HubText **ret_texts, size_t max, size_t *ret_n)
{
    MUTEX_SCOPE(&hub->mu);
    const HubRun *run = listener->run;
    if (after >= run->newest_seq) {
        *ret_n = 0;
        return true;
    }
    int64_t oldest_seq = run->newest_seq - (int64_t)run->n_texts + 1;
    if (after + 1 < oldest_seq || run->n_texts == 0)
        return false;
    size_t skip = (size_t)(after + 1 - oldest_seq);
    size_t n = MIN(max, run->n_texts - skip);
    for (size_t i = 0; i < n; i++)
        ret_texts[i] = hub_text_ref(run->ring[(run->first + skip + i) % HUB_RING_ENTRIES]);
    *ret_n = n;
    return true;
}

HubLoad hub_load(Hub *hub)
{
    MUTEX_SCOPE(&hub->mu);
    return (HubLoad){
        .n_runs = g_hash_table_size(hub->runs), .n_listeners = hub->n_listeners, .size_bytes = hub->size_bytes};
}
