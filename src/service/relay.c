/* The relay publishes what the journal ordered. The writer hands it each order as it commits; what did not fit, what an
 * earlier process left, and (in a shared store) what a replica that died left, it finds in the outbox. An entry of the
 * outbox is forgotten only when the bus has its message: a crash in between repeats a message, with the same commandId.
 *
 * No command of a run appears for the first time before an earlier one: a batch holds one order of a run, orders of a run
 * stay in line, and one that has an earlier one of another replica before it is held until that has been published, by
 * that replica or, when it has stood there for TAKE_OVER_MS, by this one. */
#include "service/relay_internal.h"

#include <string.h>

#include "base/log.h"

#define RELAY_BATCH 1024
#define RELAY_BATCH_BYTES (8 * 1024 * 1024) /* START carries whole definitions: a batch ends early at this */
#define RELAY_RETRY_MS 200
#define RELAY_POLL_MS 1000 /* a lost ring costs no more than this */
#define PUBLISH_TIMEOUT_MS 1000
#define RESEND_PAGE 256
#define SLOW_MAX \
    64 /* orders of a batch for partitions that failed in the last one: they must not keep the others waiting */
#define SETTLE_MS 1000 /* documents follow their journals within this when the store is well */

static void message_free(void *message)
{
    bus_message_free(message);
}

void relay_add(Relay *relay, Order *order)
{
    g_queue_push_tail(&relay->todo, order);
}

/* ---- a batch ---- */

/* False only for what may get better. An order that cannot be told is logged and passed over: it must not hold up
 * everybody else's. */
static bool encode(Relay *relay, const Order *order, size_t *ret_n_messages, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    guint n_before = relay->messages->len;
    *ret_n_messages = 0;
    if (order_is_superseded(relay->service, order))
        return true;
    if (order_encode(relay->service, order, relay->messages, &own_error)) {
        *ret_n_messages = relay->messages->len - n_before;
        return true;
    }
    g_ptr_array_set_size(relay->messages, (gint)n_before);
    if (flowops_error_is_retryable(own_error)) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return false;
    }
    log_error(LOG_ERROR, "a command cannot be published", own_error, "runId", order->view->run_id.text, NULL);
    return true;
}

static gpointer partition_of(const Relay *relay, const Order *order)
{
    return GINT_TO_POINTER(bus_command_partition(relay->service->bus, order->view->run_id.text));
}

/* Whether this order has its turn; `runs` are those of the batch. One of a run that the bus has refused a command of is left to
 * the outbox, where the refused one is, too. */
static bool has_turn(Relay *relay, GList *link, GHashTable *runs, size_t *n_slow)
{
    Order *order = link->data;
    if (g_hash_table_contains(relay->refused, order->view->run_id.text)) {
        order_free(order);
        g_queue_delete_link(&relay->todo, link);
        return false;
    }
    bool is_slow = g_hash_table_size(relay->slow) > 0 && g_hash_table_contains(relay->slow, partition_of(relay, order));
    if ((is_slow && *n_slow >= SLOW_MAX) || !g_hash_table_add(runs, order->view->run_id.text))
        return false;
    *n_slow += is_slow;
    return true;
}

/* Moves orders from `todo` to the batch: one of a run, those of a run in line. */
static bool fill_batch(Relay *relay, GError **error)
{
    g_autoptr(GHashTable) runs = g_hash_table_new(g_str_hash, g_str_equal);
    size_t size_bytes = 0, n_slow = 0;
    g_ptr_array_set_size(relay->messages, 0);
    g_array_set_size(relay->n_messages, 0);
    for (GList *link = relay->todo.head, *next; link != NULL; link = next) {
        next = link->next;
        Order *order = link->data;
        if (!has_turn(relay, link, runs, &n_slow))
            continue;
        guint n_before = relay->messages->len;
        size_t n;
        if (!encode(relay, order, &n, error))
            return false;
        g_queue_delete_link(&relay->todo, link);
        g_ptr_array_add(relay->batch, order);
        g_array_append_val(relay->n_messages, n);
        for (guint i = n_before; i < relay->messages->len; i++)
            size_bytes += ((BusMessage *)relay->messages->pdata[i])->value_size;
        if (relay->batch->len == RELAY_BATCH || size_bytes >= RELAY_BATCH_BYTES)
            break;
    }
    return true;
}

/* What is left of the batch goes back to the front, in its order. */
static void unfill_batch(Relay *relay)
{
    for (guint i = relay->batch->len; i > 0; i--)
        g_queue_push_head(&relay->todo, relay->batch->pdata[i - 1]);
    g_ptr_array_set_size(relay->batch, 0);
}

/* It stays in the outbox, and what comes later of its run with it, until the next look at what nobody answered. */
static void note_refused(Relay *relay, const Order *order, const GError *error)
{
    log_error(LOG_ERROR, "the bus refused a command; it is tried again later", error, "runId", order->view->run_id.text,
              NULL);
    g_hash_table_add(relay->refused, g_strdup(order->view->run_id.text));
}

static BusResult worst_of(const BusResult *results, size_t n)
{
    BusResult worst = BUS_PUBLISHED;
    for (size_t i = 0; i < n; i++)
        worst = MAX(worst, results[i]);
    return worst;
}

static void settle_batch(Relay *relay, const BusResult *results, const GError *error)
{
    guint n_left = 0;
    g_hash_table_remove_all(relay->slow);
    for (guint i = 0; i < relay->batch->len; i++) {
        Order *order = relay->batch->pdata[i];
        size_t n = g_array_index(relay->n_messages, size_t, i);
        BusResult result = worst_of(results, n);
        results += n;
        if (result == BUS_NOT_NOW) {
            relay->batch->pdata[n_left++] = order;
            g_hash_table_add(relay->slow, partition_of(relay, order));
            continue;
        }
        if (result == BUS_REFUSED) {
            note_refused(relay, order, error);
        } else {
            atomic_fetch_add(&relay->service->n_commands_published, (int_fast64_t)n);
            relay_note_published(relay, order);
        }
        order_free(order);
    }
    g_ptr_array_set_size(relay->batch, (gint)n_left);
}

static void note_bus(Relay *relay, bool is_up, const GError *error)
{
    bool is_ending = !atomic_load(&relay->service->is_accepting); /* then the bus ends with us */
    if (atomic_exchange(&relay->service->is_bus_up, is_up) && !is_up && !is_ending)
        log_error(LOG_ERROR, "the bus takes no commands; they wait in the outbox", error, NULL);
}

/* Whoever lists the open runs finds those whose START is on the bus: a hand-over rests on that. */
static bool settle_documents(Relay *relay)
{
    return !relay->service->is_shared ||
           (relay_refresh_documents(relay) && store_settle(relay->service->store, SETTLE_MS));
}

/* False: try again after a while. */
static bool publish_batch(Relay *relay)
{
    g_autoptr(GError) error = NULL;
    if (!fill_batch(relay, &error) || !settle_documents(relay)) {
        log_error(LOG_WARNING, "commands wait for the store", error, NULL);
        unfill_batch(relay);
        return false;
    }
    g_autofree BusResult *results = g_new(BusResult, relay->messages->len + 1);
    bool is_done = bus_publish_commands(relay->service->bus, (BusMessage *const *)relay->messages->pdata,
                                        relay->messages->len, PUBLISH_TIMEOUT_MS, results, &error);
    settle_batch(relay, results, error);
    unfill_batch(relay);
    relay_mark(relay);
    bool is_up = is_done || error->code != FLOWOPS_UNAVAILABLE; /* a full bus is slow, not down */
    note_bus(relay, is_up, error);
    return is_up;
}

/* For the figures: the first in line stands for them all. While nothing may be published what waits is in the outbox. */
static void note_waiting(Relay *relay)
{
    Service *service = relay->service;
    bool is_open = atomic_load(&service->is_relay_open);
    const Order *first = g_queue_peek_head(relay->todo.length > 0 ? &relay->todo : &relay->held);
    int64_t since = INSTANT_NONE;
    if (first != NULL && !first->is_repeat)
        since = first->timestamp;
    else if (!is_open && atomic_load(&service->is_outbox_behind))
        since = relay_note_outbox(relay);
    if (is_open)
        relay->behind_since = INSTANT_NONE;
    atomic_store(&service->n_relay_waiting, relay->todo.length + relay->held.length);
    atomic_store(&service->relay_waits_since, since);
}

int64_t service_relay_lag_ms(Service *service)
{
    int64_t since = atomic_load(&service->relay_waits_since);
    return since == INSTANT_NONE ? 0 : MAX(clock_wall_ms(service->clock) - since, 0);
}

bool relay_publish_all(Relay *relay)
{
    while (relay->todo.length > 0) {
        note_waiting(relay);
        if (!atomic_load(&relay->service->is_relay_open) || atomic_load(&relay->service->is_stopping))
            return false;
        if (!publish_batch(relay) && !bell_wait(&relay->service->stop_bell, RELAY_RETRY_MS))
            return false;
        if (!relay->service->is_shared && atomic_load(&relay->service->is_outbox_behind))
            return true; /* what comes next may have an earlier one in the outbox */
    }
    return true;
}

/* ---- what nobody answered ---- */

static void add_unanswered(Relay *relay, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    RunView *view = service_load_current(relay->service, run_id->text, &error);
    if (view == NULL) { /* the next round looks again */
        log_error(LOG_WARNING, "an unanswered command cannot be published again", error, "runId", run_id->text, NULL);
        return;
    }
    RunSeq unpublished;
    size_t n_unpublished = 1;
    bool is_read = store_read_outbox_of(relay->service->store, run_id->text, view->run->pending.seq + 1, 1,
                                        &unpublished, &n_unpublished, &error);
    if (!is_read)
        log_error(LOG_WARNING, "an unanswered command cannot be published again", error, "runId", run_id->text, NULL);
    /* What is not published yet, here or by another replica, is not to be overtaken by what is. */
    if (is_read && n_unpublished == 0 && view->run->pending.command != COMMAND_NONE) {
        Order *order = order_new_pending(view);
        order->is_repeat = true;
        relay_add(relay, order);
    }
    run_view_unref(view);
}

/* Publishes again what no engine answered, with the same commandId. What waits in the outbox was not published even once. */
static bool resend_unanswered(Relay *relay, GError **error)
{
    Service *service = relay->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    if (now_ms - relay->resent_at < service->options.command_resend_ms || atomic_load(&service->is_outbox_behind))
        return true;
    relay->resent_at = now_ms;
    if (g_hash_table_size(relay->refused) > 0) { /* they get another chance, from the outbox, in order */
        g_hash_table_remove_all(relay->refused);
        atomic_store(&service->is_outbox_behind, true);
        return true;
    }
    int64_t before = clock_wall_ms(service->clock) - service->options.command_resend_ms;
    Id ids[RESEND_PAGE];
    Id after = {""};
    size_t n = 0;
    do {
        if (!store_list_runs_in_phase(service->store, PHASE_OPEN, before, after.text, RESEND_PAGE, ids, &n, error))
            return false;
        for (size_t i = 0; i < n; i++)
            add_unanswered(relay, &ids[i]);
        if (!relay_publish_all(relay))
            return true;
        if (n > 0)
            after = ids[n - 1];
    } while (n == RESEND_PAGE);
    return true;
}

/* ---- the thread ---- */

static void take_orders(Relay *relay)
{
    void *orders[RELAY_BATCH];
    size_t n = 0;
    if (queue_pop(relay->service->orders, orders, RELAY_BATCH, 0, &n) != QUEUE_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        Order *order = orders[i];
        RunSeq key = {.run_id = order->view->run_id, .seq = order->seq};
        if (relay_is_recent(relay, &key))
            order_free(order); /* the outbox told of it */
        else
            relay_add(relay, order);
    }
}

/* Everything that may be published now. False: look again after a while. */
static bool relay_round(Relay *relay)
{
    Service *service = relay->service;
    g_autoptr(GError) error = NULL;
    bool is_well = true;
    while (is_well && atomic_load(&service->is_relay_open) && !atomic_load(&service->is_stopping)) {
        take_orders(relay);
        if (!service->is_shared && atomic_load(&service->is_outbox_behind))
            is_well = relay_take_outbox(relay, &error);
        else
            is_well = !service->is_shared || relay_hold_back(relay, &error);
        is_well = is_well && relay_publish_all(relay);
        if (relay->todo.length == 0 && queue_load(service->orders).n_items == 0)
            break;
    }
    is_well = is_well && relay_look_after_others(relay, &error) && resend_unanswered(relay, &error);
    relay_mark(relay);
    if (error != NULL)
        log_error(LOG_WARNING, "the relay could not read what to publish; it tries again", error, NULL);
    return is_well;
}

void relay_main(void *arg)
{
    Service *service = arg;
    Relay relay = {.service = service,
                   .batch = g_ptr_array_new(),
                   .messages = g_ptr_array_new_with_free_func(message_free),
                   .n_messages = g_array_new(FALSE, FALSE, sizeof(size_t)),
                   .slow = g_hash_table_new(g_direct_hash, g_direct_equal),
                   .refused = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                   .resent_at = clock_monotonic_ms(service->clock)};
    relay_init_outbox(&relay);
    int64_t wait_ms = 0;
    while (bell_wait(&service->relay_bell, wait_ms)) {
        atomic_store(&service->is_relay_idle, false);
        bool is_well = relay_round(&relay);
        bool is_idle = relay.todo.length == 0 && !atomic_load(&service->is_outbox_behind);
        atomic_store(&service->is_relay_idle, is_idle);
        note_waiting(&relay);
        wait_ms = is_well ? relay_wait_ms(&relay, RELAY_POLL_MS) : RELAY_RETRY_MS;
    }
    for (Order *order; (order = g_queue_pop_head(&relay.todo)) != NULL;)
        order_free(order);
    relay_done_outbox(&relay);
    g_ptr_array_unref(relay.batch);
    g_ptr_array_unref(relay.messages);
    g_array_unref(relay.n_messages);
    g_hash_table_unref(relay.slow);
    g_hash_table_unref(relay.refused);
}
