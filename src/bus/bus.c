/* bus.c - the port's callers' side: preconditions in one place, then straight to the implementation. */
#include "bus/bus.h"

#include <string.h>

#include "bus/bus_internal.h"

BusMessage *bus_message_new(const char *key, const char *value, size_t value_size)
{
    g_assert(value != NULL || value_size == 0);
    BusMessage *message = g_new0(BusMessage, 1);
    message->key = g_strdup(key);
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
    g_free(message);
}

/* A message beyond the limit fails the call before anything of it is published: the sender has to know, not the wire. */
static bool check_sizes(BusMessage *const *messages, size_t n_messages, GError **error)
{
    for (size_t i = 0; i < n_messages; i++) {
        g_assert(messages[i] != NULL);
        if (messages[i]->value_size > BUS_MAX_MESSAGE_BYTES) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "message of %zu bytes is larger than %d",
                        messages[i]->value_size, BUS_MAX_MESSAGE_BYTES);
            return false;
        }
    }
    return true;
}

bool bus_publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                          size_t *ret_n_published, GError **error)
{
    g_assert(bus != NULL && ret_n_published != NULL);
    *ret_n_published = 0;
    return check_sizes(messages, n_messages, error) &&
           bus->ops->publish_commands(bus, messages, n_messages, timeout_ms, ret_n_published, error);
}

bool bus_poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                       GError **error)
{
    g_assert(bus != NULL && ret_messages != NULL && max > 0 && ret_n != NULL);
    *ret_n = 0;
    return bus->ops->poll_commands(bus, ret_messages, max, timeout_ms, ret_n, error);
}

bool bus_publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                          size_t *ret_n_published, GError **error)
{
    g_assert(bus != NULL && ret_n_published != NULL);
    *ret_n_published = 0;
    return check_sizes(messages, n_messages, error) &&
           bus->ops->publish_statuses(bus, messages, n_messages, timeout_ms, ret_n_published, error);
}

bool bus_poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                       GError **error)
{
    g_assert(bus != NULL && ret_messages != NULL && max > 0 && ret_n != NULL);
    *ret_n = 0;
    return bus->ops->poll_statuses(bus, ret_messages, max, timeout_ms, ret_n, error);
}

bool bus_commit_statuses(Bus *bus, GError **error)
{
    g_assert(bus != NULL);
    return bus->ops->commit_statuses(bus, error);
}

bool bus_dead_letter(Bus *bus, const BusMessage *message, const char *reason, GError **error)
{
    g_assert(bus != NULL && message != NULL && reason != NULL);
    return bus->ops->dead_letter(bus, message, reason, error);
}

BusLoad bus_load(Bus *bus)
{
    g_assert(bus != NULL);
    return bus->ops->load(bus);
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
