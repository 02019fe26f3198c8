/* fake_bus.c - see fake_bus.h. */
#include "fake_bus.h"

#include <string.h>

#include "base/thread.h"
#include "bus/bus_internal.h"

typedef struct {
    GPtrArray *messages;
    GArray *lost, *gained;
} Turn;

typedef struct {
    Bus bus;
    Bus *inner; /* statuses */
    Bell bell;
    Turn *making; /* test's thread */

    Mutex mu;
    /* guarded by mu */
    GQueue turns;
    Turn *polled; /* its partitions are still to be taken */
    bool is_through, is_down;
    size_t n_failed, n_flushed, n_accepted, n_before_flush;
} FakeBus;

static Turn *turn_new(void)
{
    Turn *turn = g_new0(Turn, 1);
    turn->messages = g_ptr_array_new();
    turn->lost = g_array_new(FALSE, FALSE, sizeof(int32_t));
    turn->gained = g_array_new(FALSE, FALSE, sizeof(int32_t));
    return turn;
}

static void turn_free(Turn *turn)
{
    if (turn == NULL)
        return;
    for (guint i = 0; i < turn->messages->len; i++)
        bus_message_free(turn->messages->pdata[i]);
    g_ptr_array_free(turn->messages, TRUE);
    g_array_free(turn->lost, TRUE);
    g_array_free(turn->gained, TRUE);
    g_free(turn);
}

void fake_bus_lose(Bus *bus, int32_t partition)
{
    g_array_append_val(((FakeBus *)bus)->making->lost, partition);
}

void fake_bus_gain(Bus *bus, int32_t partition)
{
    g_array_append_val(((FakeBus *)bus)->making->gained, partition);
}

void fake_bus_command(Bus *bus, int32_t partition, const char *text)
{
    static int64_t offset;
    BusMessage *message = bus_message_new(NULL, text, strlen(text));
    message->origin = (Origin){.topic = g_strdup("execution.commands"), .partition = partition, .offset = offset++};
    g_ptr_array_add(((FakeBus *)bus)->making->messages, message);
}

void fake_bus_turn(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    g_queue_push_tail(&fake->turns, fake->making);
    fake->making = turn_new();
    fake->is_through = false;
    bell_ring(&fake->bell);
}

bool fake_bus_is_through(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    return fake->is_through;
}

void fake_bus_set_down(Bus *bus, bool is_down)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    fake->is_down = is_down;
}

size_t fake_bus_n_failed(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    return fake->n_failed;
}

size_t fake_bus_n_flushed(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    return fake->n_flushed;
}

size_t fake_bus_n_before_flush(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    return fake->n_before_flush;
}

/* ---- the port ---- */

static bool poll_commands(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                          GError **error G_GNUC_UNUSED)
{
    FakeBus *fake = (FakeBus *)bus;
    for (int tries = 0; tries < 2; tries++) {
        if (tries > 0)
            bell_wait(&fake->bell, timeout_ms);
        MUTEX_SCOPE(&fake->mu);
        Turn *turn = g_queue_pop_head(&fake->turns);
        if (turn == NULL) {
            fake->is_through = true;
            continue;
        }
        g_assert(turn->messages->len <= max && fake->polled == NULL);
        *ret_n = turn->messages->len;
        for (guint i = 0; i < turn->messages->len; i++)
            ret_messages[i] = turn->messages->pdata[i];
        g_ptr_array_set_size(turn->messages, 0);
        fake->polled = turn;
        break;
    }
    return true;
}

static void take_partitions(Bus *bus, BusPartitions *partitions)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    if (fake->polled == NULL)
        return;
    g_array_append_vals(partitions->lost, fake->polled->lost->data, fake->polled->lost->len);
    g_array_append_vals(partitions->gained, fake->polled->gained->data, fake->polled->gained->len);
    turn_free(g_steal_pointer(&fake->polled));
}

static bool publish_statuses(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                             size_t *ret_n_published, GError **error)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    if (fake->is_down) {
        fake->n_failed++;
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the fake bus is down");
        return false;
    }
    bool is_ok = bus_publish_statuses(fake->inner, messages, n_messages, timeout_ms, ret_n_published, error);
    fake->n_accepted += *ret_n_published;
    return is_ok;
}

static bool flush_statuses(Bus *bus, int64_t timeout_ms G_GNUC_UNUSED, GError **error)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    fake->n_flushed++;
    fake->n_before_flush = fake->n_accepted;
    if (fake->is_down)
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_TIMEOUT, "the fake bus is down");
    return !fake->is_down;
}

static bool poll_statuses(Bus *bus, BusMessage **ret_messages, size_t max, int64_t timeout_ms, size_t *ret_n,
                          GError **error)
{
    return bus_poll_statuses(((FakeBus *)bus)->inner, ret_messages, max, timeout_ms, ret_n, error);
}

static BusHealth health(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    MUTEX_SCOPE(&fake->mu);
    return (BusHealth){.is_up = !fake->is_down, .reason = "it was said so"};
}

static void shut_down(Bus *bus)
{
    bus_shutdown(((FakeBus *)bus)->inner);
}

static void close_bus(Bus *bus)
{
    FakeBus *fake = (FakeBus *)bus;
    Turn *turn;
    while ((turn = g_queue_pop_head(&fake->turns)) != NULL)
        turn_free(turn);
    turn_free(fake->polled);
    turn_free(fake->making);
    bus_close(fake->inner);
    bell_done(&fake->bell);
    mutex_done(&fake->mu);
    g_free(fake);
}

/* An engine uses no other half. */
static const BusOps FAKE_OPS = {
    .name = "fake",
    .is_durable = true,
    .poll_commands = poll_commands,
    .take_partitions = take_partitions,
    .publish_statuses = publish_statuses,
    .flush_statuses = flush_statuses,
    .poll_statuses = poll_statuses,
    .health = health,
    .shutdown = shut_down,
    .close = close_bus,
};

Bus *fake_bus_open(void)
{
    FakeBus *fake = g_new0(FakeBus, 1);
    fake->bus.ops = &FAKE_OPS;
    fake->inner = bus_open_local(100000, 64 * 1024 * 1024);
    fake->making = turn_new();
    bell_init(&fake->bell);
    mutex_init(&fake->mu);
    return &fake->bus;
}
