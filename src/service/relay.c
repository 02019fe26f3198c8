/* The relay publishes what the journal ordered: it follows the outbox in the order of appending, so no command of a run
 * appears before an earlier one, and forgets an entry only when the bus has it. A crash in between repeats a message,
 * with the same commandId. */
#include "service/service_internal.h"

#include <string.h>

#include "base/log.h"
#include "domain/message.h"

#define RELAY_BATCH 256
#define RESEND_PAGE 16                      /* START carries whole definitions: bounds what a page of them takes */
#define RELAY_BATCH_BYTES (8 * 1024 * 1024) /* START carries whole definitions: a batch ends early at this */
#define RELAY_RETRY_MS 200
#define RELAY_POLL_MS 1000 /* a lost ring costs no more than this */
#define PUBLISH_TIMEOUT_MS 1000

typedef struct {
    Service *service;
    Bell latch;
    GArray *results; /* of BusResult */
    GPtrArray *messages;
    size_t size_bytes;
    int64_t resent_at; /* monotonic ms of the last look for unanswered commands */
} Relay;

static void message_free(void *message)
{
    bus_message_free(message); /* NULL: it left the batch before */
}

static void add_message(Relay *relay, const Run *run, const Flow *flow, CommandKind command, const Id *command_id,
                        int64_t timestamp, int64_t seq)
{
    g_autoptr(GString) text = g_string_sized_new(flow != NULL ? flow->steps_json_size + 512 : 320);
    command_message_encode(run, flow, command, command_id, timestamp, seq, text);
    g_ptr_array_add(relay->messages, bus_message_new(run->id.text, text->str, text->len));
    relay->size_bytes += text->len;
}

/* A command as the journal ordered it. */
typedef struct {
    CommandKind command;
    Id command_id;
    int64_t timestamp;
    int64_t seq;
} Order;

static Order order_of_pending(const PendingCommand *pending)
{
    return (Order){pending->command, pending->command_id, pending->requested_at, pending->seq};
}

/* The order behind an outbox entry: as a rule it is what is pending; else the journal tells. */
static bool find_order(Service *service, const Run *run, int64_t seq, Order *ret_order, GError **error)
{
    if (run->pending.command != COMMAND_NONE && run->pending.seq == seq) {
        *ret_order = order_of_pending(&run->pending);
        return true;
    }
    g_autoptr(JournalPage) page = store_read_journal(service->store, run->id.text, seq - 1, 1, 1, error);
    if (page == NULL)
        return false;
    if (page->n_entries == 0 || page->entries[0].seq != seq) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "no event %" G_GINT64_FORMAT " in run %s", seq,
                    run->id.text);
        return false;
    }
    g_autoptr(Event) event = event_decode(page->entries[0].text, page->entries[0].size, error);
    if (event == NULL)
        return false;
    *ret_order = (Order){event->command, event->command_id, event->timestamp, seq};
    return true;
}

/* START of a creation or a hand-over. A command that was pending before a hand-over is said again behind it; START then
 * brings a seq below that command's, so that the engine takes it. */
static bool add_start(Relay *relay, const Run *run, const Order *order, GError **error)
{
    g_autoptr(Flow) flow = service_load_flow(relay->service, run->flow_id.text, run->flow_version, error);
    if (flow == NULL)
        return false;
    Order pending = order_of_pending(&run->pending);
    bool says_again = pending.command != COMMAND_NONE && pending.command != COMMAND_START && pending.seq < order->seq;
    int64_t seq = says_again ? pending.seq - 1 : order->seq;
    add_message(relay, run, flow, COMMAND_START, &order->command_id, order->timestamp, seq);
    if (says_again)
        add_message(relay, run, NULL, pending.command, &pending.command_id, pending.timestamp, pending.seq);
    return true;
}

static bool add_order(Relay *relay, const Run *run, const Order *order, GError **error)
{
    if (order->command == COMMAND_START)
        return add_start(relay, run, order, error);
    add_message(relay, run, NULL, order->command, &order->command_id, order->timestamp, order->seq);
    return true;
}

/* Nothing is said for a hand-over that a later one makes up for, nor a START of a run that has ended (stopped by force
 * before it was published): nobody would stop it again. */
static bool is_superseded(const Run *run, const RunSeq *entry, const Order *order)
{
    return entry->seq < run->handed_over_seq ||
           (order->command == COMMAND_START && run_status_is_terminal(run->status));
}

static bool add_entry_of(Relay *relay, const Run *run, const RunSeq *entry, GError **error)
{
    Order order;
    if (!find_order(relay->service, run, entry->seq, &order, error))
        return false;
    return is_superseded(run, entry, &order) || add_order(relay, run, &order, error);
}

/* False only for what may get better. A run that cannot be read is logged and its entry passed over: it must not hold up
 * everybody else's. */
static bool add_entry(Relay *relay, const RunSeq *entry, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    guint n_before = relay->messages->len;
    RunView *view = service_load_run(relay->service, entry->run_id.text, &own_error);
    bool is_added = view != NULL && add_entry_of(relay, view->run, entry, &own_error);
    run_view_unref(view);
    if (is_added)
        return true;
    g_ptr_array_set_size(relay->messages, (gint)n_before);
    if (flowops_error_is_retryable(own_error)) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return false;
    }
    log_error(LOG_ERROR, "a command cannot be published", own_error, "runId", entry->run_id.text, NULL);
    return true;
}

/* Takes out of the batch what need not be tried again; the rest keeps its order. */
static void drop_settled(Relay *relay, const GError *error)
{
    Service *service = relay->service;
    const BusResult *results = (const BusResult *)(void *)relay->results->data;
    guint n_left = 0;
    for (guint i = 0; i < relay->messages->len; i++) {
        BusMessage *message = relay->messages->pdata[i];
        if (results[i] == BUS_NOT_NOW) {
            relay->messages->pdata[n_left++] = message;
            continue;
        }
        if (results[i] == BUS_REFUSED) /* this one will never do; the others will */
            log_error(LOG_ERROR, "the bus refused a command", error, "runId", message->key, NULL);
        else
            atomic_fetch_add(&service->n_commands_published, 1);
        bus_message_free(message);
        relay->messages->pdata[i] = NULL;
    }
    for (guint i = n_left; i < relay->messages->len; i++)
        relay->messages->pdata[i] = NULL;
    g_ptr_array_set_size(relay->messages, (gint)n_left);
}

/* Waits until the bus has them all. False: the service is stopping. */
static bool publish(Relay *relay)
{
    Service *service = relay->service;
    while (relay->messages->len > 0) {
        g_autoptr(GError) error = NULL;
        g_array_set_size(relay->results, relay->messages->len);
        bool is_done =
            bus_publish_commands(service->bus, (BusMessage *const *)relay->messages->pdata, relay->messages->len,
                                 PUBLISH_TIMEOUT_MS, (BusResult *)(void *)relay->results->data, &error);
        drop_settled(relay, error);
        if (atomic_load(&service->is_stopping))
            return relay->messages->len == 0;
        bool is_up = is_done || error->code != FLOWOPS_UNAVAILABLE; /* a full bus is slow, not down */
        if (atomic_exchange(&service->is_bus_up, is_up) && !is_up)
            log_error(LOG_ERROR, "the bus takes no commands; they wait in the outbox", error, NULL);
        if (!is_up && !bell_wait(&service->stop_bell, RELAY_RETRY_MS))
            return false;
    }
    return true;
}

/* Tells the store until it knows. False: the service is stopping; the entries are published again after the start. */
static bool mark_published(Relay *relay, const RunSeq *entries, size_t n)
{
    WriterItem item = {.kind = ITEM_PUBLISHED, .published = entries, .n_published = n};
    bool is_marked = false;
    while (!is_marked && writer_do(relay->service, &item, sizeof item + n * sizeof *entries, &relay->latch)) {
        is_marked = item.result == RESULT_OK;
        if (!is_marked && !bell_wait(&relay->service->stop_bell, RELAY_RETRY_MS))
            break;
    }
    g_free(item.message);
    return is_marked;
}

/* One batch. *ret_is_empty: nothing was waiting. False: stopping, or an error to wait after. */
static bool relay_batch(Relay *relay, bool *ret_is_empty, GError **error)
{
    RunSeq entries[RELAY_BATCH];
    size_t n_entries;
    if (!store_read_outbox(relay->service->store, NULL, RELAY_BATCH, entries, &n_entries, error))
        return false;
    *ret_is_empty = n_entries == 0;
    g_ptr_array_set_size(relay->messages, 0);
    relay->size_bytes = 0;
    size_t n = 0;
    while (n < n_entries && relay->size_bytes < RELAY_BATCH_BYTES) {
        if (!add_entry(relay, &entries[n], error))
            return false;
        n++;
    }
    if (n == 0)
        return true;
    if (!publish(relay))
        return false;
    return mark_published(relay, entries, n);
}

/* Whether a run has an entry among those that wait: then its command was not published even once. */
static bool is_waiting(const RunSeq *entries, size_t n_entries, const Id *run_id)
{
    for (size_t i = 0; i < n_entries; i++)
        if (strcmp(entries[i].run_id.text, run_id->text) == 0)
            return true;
    return false;
}

static void add_unanswered(Relay *relay, const Id *run_id)
{
    g_autoptr(GError) error = NULL;
    RunView *view = service_load_run(relay->service, run_id->text, &error);
    bool is_added = view != NULL;
    if (is_added && view->run->pending.command != COMMAND_NONE) {
        Order order = order_of_pending(&view->run->pending);
        is_added = add_order(relay, view->run, &order, &error);
    }
    run_view_unref(view);
    if (!is_added) /* the next round looks again */
        log_error(LOG_WARNING, "an unanswered command cannot be published again", error, "runId", run_id->text, NULL);
}

/* Publishes again what no engine answered, with the same commandId. While the relay is behind by more than a batch it is
 * not the engines that are slow to answer: then this waits. */
static bool resend_unanswered(Relay *relay, GError **error)
{
    Service *service = relay->service;
    int64_t now_ms = clock_monotonic_ms(service->clock);
    if (now_ms - relay->resent_at < service->options.command_resend_ms)
        return true;
    RunSeq waiting[RELAY_BATCH];
    size_t n_waiting;
    if (!store_read_outbox(service->store, NULL, RELAY_BATCH, waiting, &n_waiting, error))
        return false;
    if (n_waiting == RELAY_BATCH)
        return true;
    relay->resent_at = now_ms;
    int64_t before = clock_wall_ms(service->clock) - service->options.command_resend_ms;
    Id ids[RESEND_PAGE];
    Id after = {""};
    size_t n = 0;
    do {
        if (!store_list_runs_in_phase(service->store, PHASE_OPEN, before, after.text, RESEND_PAGE, ids, &n, error))
            return false;
        g_ptr_array_set_size(relay->messages, 0);
        for (size_t i = 0; i < n; i++)
            if (!is_waiting(waiting, n_waiting, &ids[i]))
                add_unanswered(relay, &ids[i]);
        if (!publish(relay))
            return false;
        if (n > 0)
            after = ids[n - 1];
    } while (n == RESEND_PAGE);
    return true;
}

/* Empties the outbox. False: look again after a while. */
static bool relay_all(Relay *relay)
{
    g_autoptr(GError) error = NULL;
    bool is_empty = false;
    while (!is_empty && atomic_load(&relay->service->is_relay_open) && !atomic_load(&relay->service->is_stopping))
        if (!relay_batch(relay, &is_empty, &error) || !resend_unanswered(relay, &error))
            break;
    if (error != NULL)
        log_error(LOG_WARNING, "the relay could not read what to publish; it tries again", error, NULL);
    return error == NULL;
}

void relay_main(void *arg)
{
    Service *service = arg;
    Relay relay = {.service = service,
                   .messages = g_ptr_array_new_with_free_func(message_free),
                   .results = g_array_new(FALSE, FALSE, sizeof(BusResult)),
                   .resent_at = clock_monotonic_ms(service->clock)};
    bell_init(&relay.latch);
    bool is_well = relay_all(&relay);
    while (bell_wait(&service->relay_bell, is_well ? RELAY_POLL_MS : RELAY_RETRY_MS))
        is_well = relay_all(&relay);
    bell_done(&relay.latch);
    g_ptr_array_unref(relay.messages);
    g_array_unref(relay.results);
}
