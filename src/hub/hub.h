/* hub.h - who listens to which run. A doorbell, not a mailbox: a listener is told that there is more and reads it, from
 * the run's ring of recent journal texts or, when it is further behind, from the store.
 * Thread: any. Owner: app. Locks are held for look-ups and copies only; listeners are called with the hub's lock held
 * and may do no more than mark themselves and wake their loop.
 * Bounded: per run HUB_RING_ENTRIES texts and HUB_RING_BYTES, all rings together max_bytes (then the ring at hand loses
 * its oldest, and its readers go to the store). Runs nobody listens to cost nothing. */
#ifndef FLOWOPS_HUB_HUB_H
#define FLOWOPS_HUB_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"

#define HUB_RING_ENTRIES 64
#define HUB_RING_BYTES (256 * 1024)

typedef struct Hub Hub;
typedef struct HubListener HubListener;

/* One journal text, shared by reference count. */
typedef struct {
    int64_t seq;
    size_t size;
    int ref_count; /* atomic */
    char text[];   /* as stored, '\0' ended */
} HubText;
HubText *hub_text_ref(HubText *text);
void hub_text_unref(HubText *text);

Hub *hub_new(size_t max_bytes);
void hub_free(Hub *hub); /* no listener may be left */

/* One listener for each (loop, run), however many streams it serves. `wake` is called for every ring of the run, also
 * from within hub_listen() when nothing is known yet: never. */
typedef void (*HubWake)(void *arg);
HubListener *hub_listen(Hub *hub, const char *run_id, HubWake wake, void *arg);
void hub_unlisten(Hub *hub, HubListener *listener); /* `wake` is not called any more once this returns */

/* The writer's side: these texts (seq first_seq, first_seq + 1 ...) are durable now. Nothing happens when nobody listens. */
typedef struct {
    const char *text;
    size_t size;
} HubEvent;
void hub_ring(Hub *hub, const char *run_id, int64_t first_seq, const HubEvent *events, size_t n_events);

/* Another process's side: the journal goes up to seq now; what is new is in the store. */
void hub_ring_seq(Hub *hub, const char *run_id, int64_t seq);

/* The seq of the newest text rung since the listener came; 0 when there was none. */
int64_t hub_newest_seq(Hub *hub, const HubListener *listener);

/* Takes references to texts with seq after+1 ... in order, at most max. False when after + 1 has left the ring (or never
 * was in it) although something newer is there: read the store. True with *ret_n = 0: nothing newer. */
bool hub_read(Hub *hub, const HubListener *listener, int64_t after, HubText **ret_texts, size_t max, size_t *ret_n);

typedef struct {
    size_t n_runs, n_listeners, size_bytes;
} HubLoad;
HubLoad hub_load(Hub *hub);

#endif
