/* Commands on their way from the journal to the bus: what was ordered, and the message that says it. */
#include "service/service_internal.h"

#include <string.h>

Order *order_new(const Event *event)
{
    Order *order = g_new0(Order, 1);
    order->command = event->command;
    order->command_id = event->command_id;
    order->timestamp = event->timestamp;
    order->seq = event->seq;
    return order;
}

static void order_set_pending(Order *order, const PendingCommand *pending)
{
    order->command = pending->command;
    order->command_id = pending->command_id;
    order->timestamp = pending->requested_at;
    order->seq = pending->seq;
}

Order *order_new_pending(RunView *view)
{
    Order *order = g_new0(Order, 1);
    order->view = run_view_ref(view);
    order_set_pending(order, &view->run->pending);
    return order;
}

void order_free(Order *order)
{
    if (order == NULL)
        return;
    run_view_unref(order->view);
    g_free(order);
}

size_t order_size_bytes(const Order *order)
{
    return sizeof *order + run_view_size_bytes(order->view);
}

/* As a rule it is what is pending; else the journal tells. */
static Order *find_order(Service *service, RunView *view, int64_t seq, GError **error)
{
    if (view->run->pending.command != COMMAND_NONE && view->run->pending.seq == seq)
        return order_new_pending(view);
    g_autoptr(JournalPage) page = store_read_journal(service->store, view->run_id.text, seq - 1, 1, 1, error);
    if (page == NULL)
        return NULL;
    if (page->n_entries == 0 || page->entries[0].seq != seq) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_NOT_FOUND, "no event %" G_GINT64_FORMAT " in run %s", seq,
                    view->run_id.text);
        return NULL;
    }
    g_autoptr(Event) event = event_decode(page->entries[0].text, page->entries[0].size, error);
    if (event == NULL)
        return NULL;
    if (event->command == COMMAND_NONE) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "event %" G_GINT64_FORMAT " of run %s orders nothing", seq,
                    view->run_id.text);
        return NULL;
    }
    Order *order = order_new(event);
    order->view = run_view_ref(view);
    return order;
}

Order *order_load(Service *service, const RunSeq *entry, GError **error)
{
    RunView *view = service_load_current(service, entry->run_id.text, error);
    if (view == NULL)
        return NULL;
    Order *order = find_order(service, view, entry->seq, error);
    run_view_unref(view);
    return order;
}

bool order_is_superseded(Service *service, const Order *order)
{
    RunView *cached = cache_get(service->runs, order->view->run_id.text);
    const Run *run = order->view->run;
    if (cached != NULL && cached->run != NULL && cached->seq > run->seq)
        run = cached->run;
    bool is_superseded = (order->seq < run->handed_over_seq && !order->is_repeat) ||
                         (order->command == COMMAND_START && run_status_is_terminal(run->status));
    run_view_unref(cached);
    return is_superseded;
}

static void add_message(GPtrArray *messages, const Order *order, const Flow *flow, int64_t seq)
{
    const Run *run = order->view->run;
    g_autoptr(GString) text = g_string_sized_new(flow != NULL ? flow->steps_json_size + 512 : 320);
    command_message_encode(run, flow, order->command, &order->command_id, order->timestamp, seq, text);
    g_ptr_array_add(messages, bus_message_new(run->id.text, text->str, text->len));
}

/* START of a creation or a hand-over. A command that was pending before a hand-over is said again behind it; START then
 * brings a seq below that command's, so that the engine takes it. */
static bool encode_start(Service *service, const Order *order, GPtrArray *messages, GError **error)
{
    const Run *run = order->view->run;
    g_autoptr(Flow) flow = service_load_flow(service, run->flow_id.text, run->flow_version, error);
    if (flow == NULL)
        return false;
    const PendingCommand *pending = &run->pending;
    bool says_again =
        pending->command != COMMAND_NONE && pending->command != COMMAND_START && pending->seq < order->seq;
    add_message(messages, order, flow, says_again ? pending->seq - 1 : order->seq);
    if (says_again) {
        Order again = *order;
        order_set_pending(&again, pending);
        add_message(messages, &again, NULL, again.seq);
    }
    return true;
}

bool order_encode(Service *service, const Order *order, GPtrArray *messages, GError **error)
{
    if (order->command == COMMAND_START)
        return encode_start(service, order, messages, error);
    add_message(messages, order, NULL, order->seq);
    return true;
}
