/* bus.c - the port's callers' side: preconditions in one place, then straight to the implementation. */
#include "bus/bus.h"

#include <string.h>

#include "bus/bus_internal.h"

BusMessage *bus_message_new(const char *key, const char *value, size_t value_size)
{
    g_assert(value != NULL || value_size == 0);
    BusMessage *message = g_new0(BusMessage, 1);
    message->key = g_strdup(key);
    message->key_size = key != NULL ? strlen(key) : 0;
    message->timestamp = INSTANT_NONE;
    /* A NUL after the value costs one byte and spares every reader a copy. */
    message->value = g_malloc(value_size + 1);
    if (value_size > 0)
        memcpy(message->value, value, value_size);
    message->value[value_size] = '\0';
    message->value_size = value_size;
    return message;
}

void bus_message_free(BusMessage *message)
{
    if (message == NULL)
        return;
    g_free(message->key);
    g_free(message->value);
    g_free(message->origin.topic);
    for (size_t i = 0; i < message->n_headers; i++) {
        g_free(message->headers[i].name);
        g_free(message->headers[i].value);
    }
    g_free(message->headers);
    g_free(message);
}

/* A message beyond the limit fails the call before anything of it is published: the sender has to know, not the wire. */
static bool check_sizes(BusMessage *const *messages, size_t n_messages, size_t *ret_n_fitting, GError **error)
{
    for (size_t i = 0; i < n_messages; i++) {
        g_assert(messages[i] != NULL);
        *ret_n_fitting = i;
        if (messages[i]->value_size > BUS_MAX_MESSAGE_BYTES) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "message of %zu bytes is larger than %d",
                        messages[i]->value_size, BUS_MAX_MESSAGE_BYTES);
            return false;
        }
    }
    return true;
}

bool bus_is_durable(const Bus *bus)
{
    g_assert(bus != NULL);
    return bus->ops->is_durable;
}

bool bus_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                          BusResult *ret_results, GError **error)
{
    g_assert(bus != NULL && (ret_results != NULL || n_messages == 0));
    for (size_t i = 0; i < n_messages; i++)
        ret_results[i] = BUS_NOT_NOW;
    size_t n_fitting;
    g_autoptr(GError) size_error = NULL;
    if (!check_sizes(messages, n_messages, &n_fitting, &size_error)) {
        ret_results[n_fitting] = BUS_REFUSED;
        g_propagate_error(error, g_steal_pointer(&size_error));
        return false;
    }
    return bus->ops->publish_commands(bus, messages, n_messages, timeout_ms, ret_results, error);
}

int32_t bus_command_partition(Bus *bus, const char *run_id)
{
    g_assert(bus != NULL && run_id != NULL);
    return bus->ops->command_partition(bus, run_id);
}

bool bus_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                       GError **error)
{
    g_assert(bus != NULL && ret_messages != NULL && max > 0 && ret_n != NULL);
    *ret_n = 0;
    return bus->ops->poll_commands(bus, ret_messages, max, timeout_ms, ret_n, error);
}

void bus_take_partitions(Bus *bus, BusPartitions *partitions)
{
    g_assert(bus != NULL && partitions->lost != NULL && partitions->gained != NULL);
    bus->ops->take_partitions(bus, partitions);
}

bool bus_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                          size_t *ret_n_published, GError **error)
{
    g_assert(bus != NULL && ret_n_published != NULL);
    *ret_n_published = 0;
    size_t n_fitting;
    return check_sizes(messages, n_messages, &n_fitting, error) &&
           bus->ops->publish_statuses(bus, messages, n_messages, timeout_ms, ret_n_published, error);
}

bool bus_flush_statuses(Bus *bus, int64_t timeout_ms, GError **error)
{
    g_assert(bus != NULL);
    return bus->ops->flush_statuses(bus, timeout_ms, error);
}

bool bus_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                       GError **error)
{
    g_assert(bus != NULL && ret_messages != NULL && max > 0 && ret_n != NULL);
    *ret_n = 0;
    return bus->ops->poll_statuses(bus, ret_messages, max, timeout_ms, ret_n, error);
}

void bus_hold_statuses(Bus *bus)
{
    g_assert(bus != NULL);
    bus->ops->hold_statuses(bus);
}

bool bus_commit_statuses(Bus *bus, size_t n_later, GError **error)
{
    g_assert(bus != NULL);
    return bus->ops->commit_statuses(bus, n_later, error);
}

bool bus_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error)
{
    g_assert(bus != NULL && message != NULL && reason != NULL);
    return bus->ops->dead_letter(bus, message, reason, error);
}

void bus_publish_update(Bus *bus, const char *run_id, int64_t seq)
{
    g_assert(bus != NULL && run_id != NULL);
    bus->ops->publish_update(bus, run_id, seq);
}

bool bus_poll_updates(Bus *bus, BusUpdate *ret_updates, size_t max, int64_t timeout_ms, size_t *ret_n, GError **error)
{
    g_assert(bus != NULL && ret_updates != NULL && max > 0 && ret_n != NULL);
    *ret_n = 0;
    return bus->ops->poll_updates(bus, ret_updates, max, timeout_ms, ret_n, error);
}

BusHealth bus_health(Bus *bus)
{
    g_assert(bus != NULL);
    return bus->ops->health(bus);
}

void bus_shutdown(Bus *bus)
{
    g_assert(bus != NULL);
    bus->ops->shutdown(bus);
}

void bus_close(Bus *bus)
{
    if (bus != NULL)
        bus->ops->close(bus);
}
