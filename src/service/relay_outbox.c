/* The relay and the outbox: telling it what is published, finding what is not, and whose turn it is. */
#include "service/relay_internal.h"

#include <string.h>

#include "base/log.h"

#define OUTBOX_PAGE 256
#define MARK_MAX 4096         /* entries that one write forgets */
#define TAKE_OVER_MS 10000    /* rules.md: longer than a message may be on its way to the bus (5 s) */
#define RECENT_SHARED_MS 3000 /* a shared store forgets within a second when it is well */
#define HELD_LOOK_MS 200
#define SWEEP_MS 2000
#define SWEEP_PAGES 16   /* of one look; the next goes on behind them */
#define OTHERS_MAX 20000 /* entries whose age is kept: bounds memory while nobody publishes */
#define EARLIER_MAX 16   /* unpublished commands of one run before an order */
#define HELD_MAX 4096    /* beyond, orders wait in the outbox alone */

/* A write that is under way: the writer's until is_done. */
struct Marking {
    WriterItem item;
    Service *service;
    GArray *entries; /* of RunSeq */
    atomic_bool is_done;
};

void relay_init_outbox(Relay *relay)
{
    relay->recent = g_hash_table_new_full(run_seq_hash, run_seq_equal, g_free, g_free);
    relay->to_mark = g_array_new(FALSE, FALSE, sizeof(RunSeq));
    relay->to_refresh = g_array_new(FALSE, FALSE, sizeof(Id));
    relay->others = sightings_new(OTHERS_MAX);
    relay->behind_since = INSTANT_NONE;
    relay->held_at = relay->swept_at = clock_monotonic_ms(relay->service->clock);
}

static void marking_free(Marking *marking)
{
    g_array_unref(marking->entries);
    g_free(marking->item.message);
    g_free(marking);
}

/* What the store was not told stays in the outbox and is published again after the next start. */
void relay_done_outbox(Relay *relay)
{
    if (relay->marking != NULL) {
        Bell pause; /* the writer answers all that it was given before it ends */
        bell_init(&pause);
        while (!atomic_load(&relay->marking->is_done))
            bell_wait(&pause, 1);
        bell_done(&pause);
        marking_free(relay->marking);
    }
    for (Order *order; (order = g_queue_pop_head(&relay->held)) != NULL;)
        order_free(order);
    g_queue_clear(&relay->recent_order);
    g_hash_table_unref(relay->recent);
    g_array_unref(relay->to_mark);
    g_array_unref(relay->to_refresh);
    sightings_free(relay->others);
}

/* ---- what this process published ---- */

static void forget_recent(Relay *relay, const RunSeq *entry)
{
    gpointer key;
    if (!g_hash_table_lookup_extended(relay->recent, entry, &key, NULL))
        return;
    g_queue_remove(&relay->recent_order, key); /* near the head: what was published first is marked first */
    g_hash_table_remove(relay->recent, entry);
}

static void forget_old_recent(Relay *relay, int64_t now_ms)
{
    for (GList *link; (link = relay->recent_order.head) != NULL;) {
        const int64_t *at = g_hash_table_lookup(relay->recent, link->data);
        if (now_ms - *at < RECENT_SHARED_MS)
            return;
        gpointer key = link->data;
        g_queue_delete_link(&relay->recent_order, link);
        g_hash_table_remove(relay->recent, key);
    }
}

void relay_note_published(Relay *relay, const Order *order)
{
    if (order->is_repeat)
        return;
    RunSeq entry = {.run_id = order->view->run_id, .seq = order->seq};
    g_array_append_val(relay->to_mark, entry);
    if (g_hash_table_contains(relay->recent, &entry))
        return;
    RunSeq *key = g_memdup2(&entry, sizeof entry);
    int64_t now_ms = clock_monotonic_ms(relay->service->clock);
    g_hash_table_insert(relay->recent, key, g_memdup2(&now_ms, sizeof now_ms));
    g_queue_push_tail(&relay->recent_order, key);
}

bool relay_is_recent(const Relay *relay, const RunSeq *entry)
{
    return g_hash_table_contains(relay->recent, entry);
}

bool relay_is_held(const Relay *relay, const Id *run_id)
{
    for (const GList *link = relay->held.head; link != NULL; link = link->next)
        if (strcmp(((const Order *)link->data)->view->run_id.text, run_id->text) == 0)
            return true;
    return false;
}

/* ---- telling the store ---- */

static void marking_done(WriterItem *item)
{
    Marking *marking = item->arg;
    Service *service = marking->service;
    atomic_store(&marking->is_done, true);
    bell_ring(&service->relay_bell);
}

/* The write that was under way; what failed is told again. */
static void take_marking(Relay *relay)
{
    Marking *marking = relay->marking;
    if (marking == NULL || !atomic_load(&marking->is_done))
        return;
    relay->marking = NULL;
    if (marking->item.result != RESULT_OK) {
        g_array_append_vals(relay->to_mark, marking->entries->data, marking->entries->len);
    } else if (!relay->service->is_shared) {
        for (guint i = 0; i < marking->entries->len; i++)
            forget_recent(relay, &g_array_index(marking->entries, RunSeq, i));
    }
    marking_free(marking);
}

bool relay_refresh_documents(Relay *relay)
{
    if (relay->to_refresh->len == 0)
        return true;
    WriterItem item = {.kind = ITEM_REFRESH,
                       .run_ids = (const Id *)(void *)relay->to_refresh->data,
                       .n_run_ids = relay->to_refresh->len};
    Bell latch;
    bell_init(&latch);
    bool is_done =
        writer_do(relay->service, &item, relay->to_refresh->len * sizeof(Id), &latch) && item.result == RESULT_OK;
    bell_done(&latch);
    g_free(item.message);
    if (is_done)
        g_array_set_size(relay->to_refresh, 0);
    return is_done;
}

void relay_mark(Relay *relay)
{
    Service *service = relay->service;
    take_marking(relay);
    if (service->is_shared)
        forget_old_recent(relay, clock_monotonic_ms(service->clock));
    if (relay->marking != NULL || relay->to_mark->len == 0)
        return;
    guint n = MIN(relay->to_mark->len, MARK_MAX);
    Marking *marking = g_new0(Marking, 1);
    marking->service = service;
    marking->entries = g_array_sized_new(FALSE, FALSE, sizeof(RunSeq), n);
    g_array_append_vals(marking->entries, relay->to_mark->data, n);
    marking->item = (WriterItem){.kind = ITEM_PUBLISHED,
                                 .done = marking_done,
                                 .arg = marking,
                                 .published = (const RunSeq *)(void *)marking->entries->data,
                                 .n_published = n};
    if (queue_try_push(service->writes, &marking->item, n * sizeof(RunSeq)) != QUEUE_OK) {
        marking_free(marking); /* the next round tries again */
        return;
    }
    g_array_remove_range(relay->to_mark, 0, n);
    relay->marking = marking;
}

/* ---- this process's own outbox ---- */

/* Makes an order of an entry. True without one (*ret_order NULL): it can't be told, is logged and passed over. */
static bool load_order(Relay *relay, const RunSeq *entry, Order **ret_order, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    *ret_order = order_load(relay->service, entry, &own_error);
    if (*ret_order != NULL)
        return true;
    if (flowops_error_is_retryable(own_error)) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return false;
    }
    log_error(LOG_ERROR, "a command cannot be published", own_error, "runId", entry->run_id.text, NULL);
    return true;
}

int64_t relay_note_outbox(Relay *relay)
{
    RunSeq entry;
    size_t n = 0;
    g_autoptr(GError) error = NULL; /* then it is as before; who needs the entries reports it */
    if (!store_read_outbox(relay->service->store, NULL, 1, &entry, &n, &error))
        return relay->behind_since;
    if (n == 0)
        relay->behind_since = INSTANT_NONE;
    else if (relay->behind_since == INSTANT_NONE)
        relay->behind_since = clock_wall_ms(relay->service->clock);
    return relay->behind_since;
}

static void drop_todo(Relay *relay)
{
    for (Order *order; (order = g_queue_pop_head(&relay->todo)) != NULL;)
        order_free(order);
}

/* What is added to the outbox meanwhile is handed over by the writer, or raises the flag again. */
bool relay_take_outbox(Relay *relay, GError **error)
{
    Service *service = relay->service;
    atomic_store(&service->is_outbox_behind, false);
    drop_todo(relay);
    RunSeq entries[OUTBOX_PAGE];
    RunSeq after;
    size_t n = 0;
    bool is_well;
    do {
        is_well = store_read_outbox(service->store, n > 0 ? &after : NULL, OUTBOX_PAGE, entries, &n, error);
        for (size_t i = 0; is_well && i < n; i++) {
            Order *order = NULL;
            is_well = relay_is_recent(relay, &entries[i]) || load_order(relay, &entries[i], &order, error);
            if (order != NULL)
                relay_add(relay, order);
        }
        is_well = is_well && relay_publish_all(relay);
        if (is_well && n > 0)
            after = entries[n - 1];
    } while (is_well && n == OUTBOX_PAGE);
    if (!is_well)
        atomic_store(&service->is_outbox_behind, true);
    return is_well;
}

/* ---- a shared store ---- */

/* Another replica's order; its run's document may be missing, too. */
static bool take_over(Relay *relay, const RunSeq *entry, Order **ret_order, GError **error)
{
    if (!load_order(relay, entry, ret_order, error))
        return false;
    if (*ret_order != NULL) {
        (*ret_order)->is_taken_over = true;
        g_array_append_val(relay->to_refresh, entry->run_id);
    }
    return true;
}

static bool is_in(const GQueue *orders, const RunSeq *entry)
{
    for (const GList *link = orders->head; link != NULL; link = link->next) {
        const Order *order = link->data;
        RunSeq key = {.run_id = order->view->run_id, .seq = order->seq};
        if (run_seq_equal(&key, entry))
            return true;
    }
    return false;
}

/* True when an earlier command of the order's run is not published and is not this process's to publish. Those that have
 * stood there for too long are put before it. */
static bool has_to_wait(Relay *relay, const Order *order, GQueue *ready, bool *ret_has_to_wait, GError **error)
{
    RunSeq earlier[EARLIER_MAX];
    size_t n;
    *ret_has_to_wait = false;
    if (order->seq == 1 || order->is_repeat || order->is_taken_over || order->command == COMMAND_START)
        return true;
    if (!store_read_outbox_of(relay->service->store, order->view->run_id.text, order->seq, EARLIER_MAX, earlier, &n,
                              error))
        return false;
    int64_t now_ms = clock_monotonic_ms(relay->service->clock);
    for (size_t i = 0; i < n; i++) {
        if (relay_is_recent(relay, &earlier[i]) || is_in(ready, &earlier[i]))
            continue;
        if (sightings_note(relay->others, &earlier[i].run_id, earlier[i].seq, now_ms) < TAKE_OVER_MS) {
            *ret_has_to_wait = true;
            return true;
        }
        Order *others = NULL;
        if (!take_over(relay, &earlier[i], &others, error))
            return false;
        if (others != NULL)
            g_queue_push_tail(ready, others);
    }
    return true;
}

/* Sorts orders into those that may go and those that wait; with an error the rest waits. */
static bool sort_orders(Relay *relay, GQueue *orders, GQueue *ready, GError **error)
{
    bool is_well = true;
    for (Order *order; (order = g_queue_pop_head(orders)) != NULL;) {
        bool waits = true;
        if (is_well && !(relay->held.length > 0 && relay_is_held(relay, &order->view->run_id)))
            is_well = has_to_wait(relay, order, ready, &waits, error);
        if (!waits)
            g_queue_push_tail(ready, order);
        else if (relay->held.length < HELD_MAX)
            g_queue_push_tail(&relay->held, order);
        else
            order_free(order); /* the outbox has it: taken over when it has stood there */
    }
    return is_well;
}

bool relay_hold_back(Relay *relay, GError **error)
{
    GQueue orders = relay->todo;
    g_queue_init(&relay->todo);
    return sort_orders(relay, &orders, &relay->todo, error);
}

static bool look_at_held(Relay *relay, GError **error)
{
    GQueue orders = relay->held;
    g_queue_init(&relay->held);
    return sort_orders(relay, &orders, &relay->todo, error) && relay_publish_all(relay);
}

/* Entries that nobody has published for as long as their replica could still do so. */
static bool sweep_page(Relay *relay, bool *ret_has_more, GError **error)
{
    RunSeq entries[OUTBOX_PAGE];
    size_t n;
    const RunSeq *after = relay->swept.run_id.text[0] != '\0' ? &relay->swept : NULL;
    if (!store_read_outbox(relay->service->store, after, OUTBOX_PAGE, entries, &n, error))
        return false;
    int64_t now_ms = clock_monotonic_ms(relay->service->clock);
    for (size_t i = 0; i < n; i++) {
        if (relay_is_recent(relay, &entries[i]) ||
            sightings_note(relay->others, &entries[i].run_id, entries[i].seq, now_ms) < TAKE_OVER_MS)
            continue;
        Order *order = NULL;
        if (!take_over(relay, &entries[i], &order, error))
            return false;
        if (order != NULL)
            relay_add(relay, order);
    }
    *ret_has_more = n == OUTBOX_PAGE;
    if (*ret_has_more) {
        relay->swept = entries[n - 1];
    } else {
        relay->swept = (RunSeq){.run_id = {""}};
        sightings_end_round(relay->others);
    }
    return relay_publish_all(relay);
}

bool relay_look_after_others(Relay *relay, GError **error)
{
    Service *service = relay->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    if (!service->is_shared || !atomic_load(&service->is_relay_open))
        return true;
    if (relay->held.length > 0 && now_ms - relay->held_at >= HELD_LOOK_MS) {
        relay->held_at = now_ms;
        if (!look_at_held(relay, error))
            return false;
    }
    if (now_ms - relay->swept_at < SWEEP_MS)
        return true;
    relay->swept_at = now_ms;
    atomic_store(&service->is_outbox_behind, false); /* what is in no queue is found here */
    bool has_more = true;
    for (size_t i = 0; has_more && i < SWEEP_PAGES; i++)
        if (!sweep_page(relay, &has_more, error))
            return false;
    return true;
}

int64_t relay_wait_ms(const Relay *relay, int64_t limit_ms)
{
    return relay->held.length > 0 ? MIN(limit_ms, HELD_LOOK_MS) : limit_ms;
}
