/* bus_suite.c - the contract of bus.h as tests. Waiting is for a condition with a deadline; both directions go through the
 * same tests. */
#include "bus_suite.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/thread.h"

#define DEADLINE_MS 30000 /* a group that is joined on a busy machine takes its time */
#define ROOMY_MESSAGES 100000
#define ROOMY_BYTES (256 * 1024 * 1024)

static const BusImplementation *under_test;

/* One direction of the bus. */
typedef struct {
    const char *name;
    bool (*publish)(Bus *, BusMessage *const *, size_t, int64_t, size_t *, GError **);
    bool (*poll)(Bus *, BusMessage **, size_t, int64_t, size_t *, GError **);
} Direction;

/* As the other direction says it: how many of the first ones are on the bus. */
static bool publish_commands(Bus *bus, BusMessage *const *messages, size_t n_messages, int64_t timeout_ms,
                             size_t *ret_n_published, GError **error)
{
    g_autofree BusResult *results = g_new(BusResult, n_messages + 1);
    bool is_done = bus_publish_commands(bus, messages, n_messages, timeout_ms, results, error);
    *ret_n_published = 0;
    while (*ret_n_published < n_messages && results[*ret_n_published] == BUS_PUBLISHED)
        (*ret_n_published)++;
    return is_done;
}

static const Direction DIRECTIONS[] = {
    {"commands", publish_commands, bus_poll_commands},
    {"statuses", bus_publish_statuses, bus_poll_statuses},
};

static Bus *open_roomy(void)
{
    return under_test->open(ROOMY_MESSAGES, ROOMY_BYTES);
}

static int64_t now_ms(void)
{
    g_autoptr(Clock) clock = clock_new_system();
    return clock_monotonic_ms(clock);
}

static void publish_text(const Direction *direction, Bus *bus, const char *key, const char *text)
{
    g_autoptr(BusMessage) message = bus_message_new(key, text, strlen(text));
    g_autoptr(GError) error = NULL;
    size_t n = 0;
    assert_true(direction->publish(bus, &message, 1, DEADLINE_MS, &n, &error));
    assert_int_equal(n, 1);
}

/* The next message, waited for. */
static BusMessage *next(const Direction *direction, Bus *bus)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    BusMessage *message = NULL;
    size_t n = 0;
    while (n == 0) {
        g_autoptr(GError) error = NULL;
        assert_true(now_ms() < deadline);
        assert_true(direction->poll(bus, &message, 1, 1000, &n, &error));
    }
    return message;
}

static void assert_error(const GError *error, FlowopsError code)
{
    assert_non_null(error);
    assert_true(error->domain == FLOWOPS_ERROR);
    assert_int_equal(error->code, code);
}

/* ---- one thread ---- */

static void test_opens_and_closes(void **state G_GNUC_UNUSED)
{
    bus_close(open_roomy());
    bus_close(NULL);
}

static void test_nothing_comes_from_an_empty_bus(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        BusMessage *messages[4];
        size_t n = 99;
        int64_t began = now_ms();
        assert_true(DIRECTIONS[d].poll(bus, messages, 4, 0, &n, NULL));
        assert_int_equal(n, 0);
        assert_true(DIRECTIONS[d].poll(bus, messages, 4, 30, &n, NULL));
        assert_int_equal(n, 0);
        assert_true(now_ms() - began >= 29);
    }
}

static void test_a_message_arrives_whole(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        publish_text(&DIRECTIONS[d], bus, "k\xc3\xa4y", "{\"a\":\"\xe2\x82\xac\"}");
        g_autoptr(BusMessage) message = next(&DIRECTIONS[d], bus);
        assert_string_equal(message->key, "k\xc3\xa4y");
        assert_string_equal(message->value, "{\"a\":\"\xe2\x82\xac\"}");
        assert_int_equal(message->value_size, strlen(message->value));
    }
}

static void test_directions_do_not_mix(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    publish_text(&DIRECTIONS[0], bus, "k", "command");
    BusMessage *message = NULL;
    size_t n = 0;
    assert_true(bus_poll_statuses(bus, &message, 1, 0, &n, NULL));
    assert_int_equal(n, 0);
    publish_text(&DIRECTIONS[1], bus, "k", "status");
    g_autoptr(BusMessage) command = next(&DIRECTIONS[0], bus);
    g_autoptr(BusMessage) status = next(&DIRECTIONS[1], bus);
    assert_string_equal(command->value, "command");
    assert_string_equal(status->value, "status");
}

/* Values are bytes: a NUL inside, no value at all, no key, the largest there may be. */
static void test_odd_values_arrive_too(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    g_autofree char *large = g_malloc(BUS_MAX_MESSAGE_BYTES);
    memset(large, 'x', BUS_MAX_MESSAGE_BYTES);
    const struct {
        const char *key, *value;
        size_t size;
    } odd[] = {{"k", "a\0b", 3}, {"k", "", 0}, {"k", NULL, 0},
               {NULL, "v", 1},   {"", "v", 1}, {"k", large, BUS_MAX_MESSAGE_BYTES}};
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
            g_autoptr(BusMessage) message = bus_message_new(odd[i].key, odd[i].value, odd[i].size);
            size_t n = 0;
            assert_true(DIRECTIONS[d].publish(bus, &message, 1, DEADLINE_MS, &n, NULL));
            g_autoptr(BusMessage) got = next(&DIRECTIONS[d], bus);
            assert_int_equal(got->value_size, odd[i].size);
            assert_int_equal(got->value[odd[i].size], '\0');
            if (odd[i].size > 0)
                assert_memory_equal(got->value, odd[i].value, odd[i].size);
            assert_int_equal(g_strcmp0(got->key, odd[i].key), 0);
        }
    }
}

static void test_a_message_too_large_publishes_nothing(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    g_autofree char *large = g_malloc0(BUS_MAX_MESSAGE_BYTES + 1);
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(BusMessage) small = bus_message_new("k", "v", 1);
        g_autoptr(BusMessage) huge = bus_message_new("k", large, BUS_MAX_MESSAGE_BYTES + 1);
        BusMessage *batch[] = {small, huge};
        g_autoptr(GError) error = NULL;
        size_t n = 99;
        assert_false(DIRECTIONS[d].publish(bus, batch, 2, DEADLINE_MS, &n, &error));
        assert_error(error, FLOWOPS_INVALID);
        assert_int_equal(n, 0);
        BusMessage *none = NULL;
        assert_true(DIRECTIONS[d].poll(bus, &none, 1, 0, &n, NULL));
        assert_int_equal(n, 0);
    }
}

static void test_a_batch_keeps_its_order(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    enum { N = 1000 };
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(GPtrArray) batch = g_ptr_array_new_with_free_func((GDestroyNotify)bus_message_free);
        for (int i = 0; i < N; i++) {
            g_autofree char *text = g_strdup_printf("%d", i);
            g_ptr_array_add(batch, bus_message_new("same run", text, strlen(text)));
        }
        size_t n = 0;
        assert_true(DIRECTIONS[d].publish(bus, (BusMessage *const *)batch->pdata, N, DEADLINE_MS, &n, NULL));
        assert_int_equal(n, N);
        for (int i = 0; i < N; i++) {
            g_autoptr(BusMessage) message = next(&DIRECTIONS[d], bus);
            assert_int_equal(g_ascii_strtoll(message->value, NULL, 10), i);
        }
    }
}

static void test_an_empty_batch_is_fine(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    size_t n = 99;
    assert_true(publish_commands(bus, NULL, 0, 0, &n, NULL));
    assert_int_equal(n, 0);
}

static void test_a_poll_gives_no_more_than_asked(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        for (int i = 0; i < 5; i++)
            publish_text(&DIRECTIONS[d], bus, "k", "v");
        size_t got = 0;
        while (got < 5) {
            BusMessage *messages[3] = {NULL};
            size_t n = 0;
            assert_true(DIRECTIONS[d].poll(bus, messages, 3, DEADLINE_MS, &n, NULL));
            assert_in_range(n, 1, 3);
            for (size_t i = 0; i < n; i++)
                bus_message_free(messages[i]);
            got += n;
        }
        assert_int_equal(got, 5);
    }
}

static void test_what_was_polled_can_be_committed(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    assert_true(bus_commit_statuses(bus, 0, NULL)); /* nothing was polled yet */
    publish_text(&DIRECTIONS[1], bus, "k", "v");
    bus_message_free(next(&DIRECTIONS[1], bus));
    assert_true(bus_commit_statuses(bus, 0, NULL));
    assert_true(bus_commit_statuses(bus, 0, NULL));
}

static void test_dead_letters_are_counted(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    assert_int_equal(bus_health(bus).n_dead_letters, 0);
    publish_text(&DIRECTIONS[1], bus, "k", "{broken");
    g_autoptr(BusMessage) message = next(&DIRECTIONS[1], bus);
    g_autoptr(BusMessage) empty = bus_message_new(NULL, NULL, 0);
    assert_true(bus_dead_letter(bus, message, "line 1, column 2: broken", NULL));
    assert_true(bus_dead_letter(bus, empty, "an empty value", NULL));
    assert_int_equal(bus_health(bus).n_dead_letters, 2);
    assert_string_equal(message->value, "{broken"); /* it was borrowed */
}

/* Each message has its own fate. */
static void test_results_are_per_message(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    g_autofree char *large = g_malloc0(BUS_MAX_MESSAGE_BYTES + 1);
    g_autoptr(BusMessage) small = bus_message_new("k", "v", 1);
    g_autoptr(BusMessage) huge = bus_message_new("k", large, BUS_MAX_MESSAGE_BYTES + 1);
    BusMessage *batch[] = {small, huge, small};
    BusResult results[3];
    assert_false(bus_publish_commands(bus, batch, 3, DEADLINE_MS, results, NULL));
    assert_int_equal(results[0], BUS_NOT_NOW);
    assert_int_equal(results[1], BUS_REFUSED);
    assert_int_equal(results[2], BUS_NOT_NOW);
    batch[1] = small;
    assert_true(bus_publish_commands(bus, batch, 3, DEADLINE_MS, results, NULL));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(results[i], BUS_PUBLISHED);
    bus_shutdown(bus);
    assert_false(bus_publish_commands(bus, batch, 3, DEADLINE_MS, results, NULL));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(results[i], BUS_NOT_NOW);
}

static void test_statuses_can_be_flushed(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    assert_true(bus_flush_statuses(bus, DEADLINE_MS, NULL));
    for (int i = 0; i < 20; i++)
        publish_text(&DIRECTIONS[1], bus, "k", "v");
    assert_true(bus_flush_statuses(bus, DEADLINE_MS, NULL));
    if (under_test->is_kept)
        assert_int_equal(bus_health(bus).n_statuses_queued, 0);
}

static void test_is_well(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    int64_t deadline = now_ms() + DEADLINE_MS;
    BusHealth health;
    while (health = bus_health(bus), !health.is_up) {
        assert_true(now_ms() < deadline);
        assert_true(strlen(health.reason) > 0);
        sched_yield();
    }
    assert_string_equal(health.reason, "");
    assert_int_equal(bus_is_durable(bus), under_test->is_kept);
}

static void publish_number(const Direction *direction, Bus *bus, int number)
{
    g_autofree char *text = g_strdup_printf("%d", number);
    publish_text(direction, bus, "same run", text);
}

static void assert_next_is(const Direction *direction, Bus *bus, int number)
{
    g_autoptr(BusMessage) message = next(direction, bus);
    assert_int_equal(g_ascii_strtoll(message->value, NULL, 10), number);
}

static void test_holding_takes_nothing_and_loses_nothing(void **state G_GNUC_UNUSED)
{
    const Direction *statuses = &DIRECTIONS[1];
    g_autoptr(Bus) bus = open_roomy();
    bus_hold_statuses(bus); /* before anything was polled */
    for (int i = 0; i < 10; i++)
        publish_number(statuses, bus, i);
    assert_next_is(statuses, bus, 0);
    assert_next_is(statuses, bus, 1);
    for (int i = 10; i < 20; i++) {
        bus_hold_statuses(bus);
        publish_number(statuses, bus, i);
    }
    assert_true(bus_flush_statuses(bus, DEADLINE_MS, NULL));
    bus_hold_statuses(bus);
    for (int i = 2; i < 20; i++)
        assert_next_is(statuses, bus, i);
}

static void test_what_was_not_committed_comes_again(void **state G_GNUC_UNUSED)
{
    const Direction *statuses = &DIRECTIONS[1];
    Bus *first = open_roomy();
    for (int i = 0; i < 10; i++)
        publish_number(statuses, first, i);
    for (int i = 0; i < 6; i++)
        assert_next_is(statuses, first, i);
    assert_true(bus_commit_statuses(first, 4, NULL)); /* two */
    assert_true(bus_commit_statuses(first, 2, NULL)); /* two more */
    assert_next_is(statuses, first, 6);
    assert_true(bus_flush_statuses(first, DEADLINE_MS, NULL));
    bus_close(first);
    g_autoptr(Bus) second = open_roomy();
    for (int i = 4; i < 10; i++)
        assert_next_is(statuses, second, i);
}

static void test_a_restart_takes_no_command_twice(void **state G_GNUC_UNUSED)
{
    const Direction *commands = &DIRECTIONS[0];
    Bus *first = open_roomy();
    for (int i = 0; i < 3; i++)
        publish_number(commands, first, i);
    for (int i = 0; i < 3; i++)
        assert_next_is(commands, first, i);
    BusMessage *none = NULL;
    size_t n = 0;
    assert_true(bus_poll_commands(first, &none, 1, 0, &n, NULL)); /* by this the others are taken */
    bus_close(first);
    g_autoptr(Bus) second = open_roomy();
    publish_number(commands, second, 3);
    assert_next_is(commands, second, 3);
}

static void test_polled_messages_say_whence(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        publish_text(&DIRECTIONS[d], bus, "k", "v");
        g_autoptr(BusMessage) first = next(&DIRECTIONS[d], bus);
        publish_text(&DIRECTIONS[d], bus, "k", "v");
        g_autoptr(BusMessage) second = next(&DIRECTIONS[d], bus);
        if (!under_test->is_kept) {
            assert_null(first->origin.topic);
            continue;
        }
        assert_string_equal(first->origin.topic, second->origin.topic);
        assert_int_equal(first->origin.partition, second->origin.partition);
        assert_int_equal(second->origin.offset, first->origin.offset + 1);
        assert_true(second->timestamp >= first->timestamp && first->timestamp > 0);
    }
}

/* The engine says which partitions are its own; the service finds a run's among them. */
static void test_partitions_are_told_once(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    g_autoptr(GArray) lost = g_array_new(FALSE, FALSE, sizeof(int32_t));
    g_autoptr(GArray) gained = g_array_new(FALSE, FALSE, sizeof(int32_t));
    BusPartitions partitions = {lost, gained};
    publish_text(&DIRECTIONS[0], bus, "some run", "v");
    g_autoptr(BusMessage) message = next(&DIRECTIONS[0], bus);
    bus_take_partitions(bus, &partitions);
    assert_true(gained->len >= 1);
    assert_int_equal(lost->len, 0);
    int32_t own = bus_command_partition(bus, "some run");
    assert_int_equal(own, message->origin.partition);
    bool is_among = false;
    for (guint i = 0; i < gained->len; i++)
        is_among |= g_array_index(gained, int32_t, i) == own;
    assert_true(is_among);
    g_array_set_size(gained, 0);
    bus_take_partitions(bus, &partitions);
    assert_int_equal(gained->len + lost->len, 0);
}

/* ---- bounds ---- */

static void test_a_full_queue_is_busy_after_the_timeout(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = under_test->open(3, ROOMY_BYTES);
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(BusMessage) message = bus_message_new("k", "v", 1);
        BusMessage *batch[] = {message, message, message, message, message};
        g_autoptr(GError) error = NULL;
        size_t n = 0;
        int64_t began = now_ms();
        assert_false(DIRECTIONS[d].publish(bus, batch, 5, 30, &n, &error));
        assert_error(error, FLOWOPS_BUSY);
        assert_int_equal(n, 3);
        assert_true(now_ms() - began >= 29);

        /* What was accepted is there, and room for one more is room for one more. */
        bus_message_free(next(&DIRECTIONS[d], bus));
        assert_false(DIRECTIONS[d].publish(bus, batch, 2, 0, &n, NULL));
        assert_int_equal(n, 1);
    }
    BusHealth load = bus_health(bus);
    assert_int_equal(load.n_commands_queued, 3);
    assert_int_equal(load.n_statuses_queued, 3);
}

static void test_bytes_are_bounded_too(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = under_test->open(ROOMY_MESSAGES, 100 * 1000);
    g_autofree char *text = g_strnfill(30 * 1000, 'x');
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(BusMessage) message = bus_message_new("k", text, 30 * 1000);
        BusMessage *batch[] = {message, message, message, message};
        size_t n = 0;
        g_autoptr(GError) error = NULL;
        assert_false(DIRECTIONS[d].publish(bus, batch, 4, 0, &n, &error));
        assert_error(error, FLOWOPS_BUSY);
        assert_int_equal(n, 3);
    }
}

static void test_tiny_messages_weigh_something(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = under_test->open(ROOMY_MESSAGES, 10 * 1000);
    g_autoptr(BusMessage) message = bus_message_new(NULL, NULL, 0);
    size_t n_accepted = 0, n = 1;
    while (n == 1 && n_accepted < ROOMY_MESSAGES / 2) {
        bool is_ok = publish_commands(bus, &message, 1, 0, &n, NULL);
        assert_int_equal(is_ok, n == 1);
        n_accepted += n;
    }
    assert_true(n_accepted < 1000);
}

/* ---- threads ---- */

typedef struct {
    const Direction *direction;
    Bus *bus;
    int id;
    int n;           /* to publish */
    bool is_started; /* atomic */
    bool is_ok;
    int error_code;
    size_t n_done;
} Worker;

static void publish_one(void *arg)
{
    Worker *worker = arg;
    g_autoptr(BusMessage) message = bus_message_new("k", "late", 4);
    g_autoptr(GError) error = NULL;
    __atomic_store_n(&worker->is_started, true, __ATOMIC_RELEASE);
    worker->is_ok = worker->direction->publish(worker->bus, &message, 1, DEADLINE_MS, &worker->n_done, &error);
    worker->error_code = error != NULL ? error->code : -1;
}

static void poll_one(void *arg)
{
    Worker *worker = arg;
    BusMessage *message = NULL;
    g_autoptr(GError) error = NULL;
    __atomic_store_n(&worker->is_started, true, __ATOMIC_RELEASE);
    worker->is_ok = worker->direction->poll(worker->bus, &message, 1, DEADLINE_MS, &worker->n_done, &error);
    worker->error_code = error != NULL ? error->code : -1;
    if (worker->n_done > 0)
        bus_message_free(message);
}

static Thread *start_worker(ThreadMain thread_main, Worker *worker)
{
    Thread *thread = thread_start("worker", ROLE_BUS, thread_main, worker, NULL);
    assert_non_null(thread);
    while (!__atomic_load_n(&worker->is_started, __ATOMIC_ACQUIRE))
        sched_yield();
    return thread;
}

static void test_a_poll_wakes_a_publisher_that_waits_for_room(void **state G_GNUC_UNUSED)
{
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(Bus) bus = under_test->open(1, ROOMY_BYTES);
        publish_text(&DIRECTIONS[d], bus, "k", "first");
        Worker worker = {.direction = &DIRECTIONS[d], .bus = bus};
        Thread *thread = start_worker(publish_one, &worker);
        bus_message_free(next(&DIRECTIONS[d], bus));
        g_autoptr(BusMessage) late = next(&DIRECTIONS[d], bus);
        thread_join(thread);
        assert_true(worker.is_ok);
        assert_string_equal(late->value, "late");
    }
}

static void test_a_publish_wakes_a_poll(void **state G_GNUC_UNUSED)
{
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(Bus) bus = open_roomy();
        Worker worker = {.direction = &DIRECTIONS[d], .bus = bus};
        int64_t began = now_ms();
        Thread *thread = start_worker(poll_one, &worker);
        publish_text(&DIRECTIONS[d], bus, "k", "v");
        thread_join(thread);
        assert_int_equal(worker.n_done, 1);
        assert_true(now_ms() - began < DEADLINE_MS);
    }
}

static void test_shutdown_wakes_everyone(void **state G_GNUC_UNUSED)
{
    enum { N_POLLS = 3 };
    size_t n_polls = under_test->is_shared ? N_POLLS : 1;
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(Bus) bus = open_roomy();
        Worker workers[N_POLLS];
        Thread *threads[N_POLLS];
        for (size_t i = 0; i < n_polls; i++) {
            workers[i] = (Worker){.direction = &DIRECTIONS[d], .bus = bus};
            threads[i] = start_worker(poll_one, &workers[i]);
        }
        int64_t began = now_ms();
        bus_shutdown(bus);
        for (size_t i = 0; i < n_polls; i++) {
            thread_join(threads[i]);
            assert_false(workers[i].is_ok);
            assert_int_equal(workers[i].error_code, FLOWOPS_UNAVAILABLE);
        }
        assert_true(now_ms() - began < DEADLINE_MS / 2);
    }
}

static void test_shutdown_wakes_a_publisher_that_waits_for_room(void **state G_GNUC_UNUSED)
{
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(Bus) bus = under_test->open(1, ROOMY_BYTES);
        publish_text(&DIRECTIONS[d], bus, "k", "first");
        Worker worker = {.direction = &DIRECTIONS[d], .bus = bus};
        Thread *thread = start_worker(publish_one, &worker);
        bus_shutdown(bus);
        thread_join(thread);
        assert_false(worker.is_ok);
        assert_int_equal(worker.error_code, FLOWOPS_UNAVAILABLE);
        assert_int_equal(worker.n_done, 0);
    }
}

static void test_after_shutdown_nothing_goes_in_or_out(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = open_roomy();
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++)
        publish_text(&DIRECTIONS[d], bus, "k", "left behind");
    bus_shutdown(bus);
    bus_shutdown(bus);
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(GError) publish_error = NULL, poll_error = NULL;
        g_autoptr(BusMessage) message = bus_message_new("k", "v", 1);
        BusMessage *none = NULL;
        size_t n = 99;
        assert_false(DIRECTIONS[d].publish(bus, &message, 1, -1, &n, &publish_error));
        assert_error(publish_error, FLOWOPS_UNAVAILABLE);
        assert_int_equal(n, 0);
        assert_false(DIRECTIONS[d].poll(bus, &none, 1, -1, &n, &poll_error));
        assert_error(poll_error, FLOWOPS_UNAVAILABLE);
        assert_int_equal(n, 0);
    }
}

static void publish_many(void *arg)
{
    Worker *worker = arg;
    g_autofree char *key = g_strdup_printf("run %d", worker->id);
    worker->is_ok = true;
    for (int i = 0; i < worker->n && worker->is_ok; i++) {
        g_autofree char *text = g_strdup_printf("%d %d", worker->id, i);
        g_autoptr(BusMessage) message = bus_message_new(key, text, strlen(text));
        size_t n = 0;
        worker->is_ok = worker->direction->publish(worker->bus, &message, 1, DEADLINE_MS, &n, NULL);
        worker->n_done += n;
    }
}

/* Many producers through a narrow queue: everything arrives once, and in order for each run. */
static void test_order_holds_per_run_among_many_producers(void **state G_GNUC_UNUSED)
{
    enum { N_PRODUCERS = 4, N_EACH = 500 };
    for (size_t d = 0; d < G_N_ELEMENTS(DIRECTIONS); d++) {
        g_autoptr(Bus) bus = under_test->open(16, ROOMY_BYTES);
        Worker workers[N_PRODUCERS];
        Thread *threads[N_PRODUCERS];
        int seen[N_PRODUCERS] = {0};
        for (int i = 0; i < N_PRODUCERS; i++) {
            workers[i] = (Worker){.direction = &DIRECTIONS[d], .bus = bus, .id = i, .n = N_EACH};
            threads[i] = thread_start("producer", ROLE_BUS, publish_many, &workers[i], NULL);
            assert_non_null(threads[i]);
        }
        for (int i = 0; i < N_PRODUCERS * N_EACH; i++) {
            g_autoptr(BusMessage) message = next(&DIRECTIONS[d], bus);
            int producer = -1, number = -1;
            assert_int_equal(sscanf(message->value, "%d %d", &producer, &number), 2);
            assert_in_range(producer, 0, N_PRODUCERS - 1);
            assert_int_equal(number, seen[producer]++);
        }
        for (int i = 0; i < N_PRODUCERS; i++) {
            thread_join(threads[i]);
            assert_true(workers[i].is_ok);
        }
    }
}

static void poll_many(void *arg)
{
    Worker *worker = arg;
    size_t n = 0;
    BusMessage *messages[7];
    while (worker->direction->poll(worker->bus, messages, G_N_ELEMENTS(messages), DEADLINE_MS, &n, NULL)) {
        for (size_t i = 0; i < n; i++)
            bus_message_free(messages[i]);
        __atomic_add_fetch(&worker->n_done, n, __ATOMIC_RELEASE);
    }
}

static void test_many_consumers_share_without_loss(void **state G_GNUC_UNUSED)
{
    enum { N_CONSUMERS = 3, N_MESSAGES = 2000 };
    const Direction *direction = &DIRECTIONS[0];
    g_autoptr(Bus) bus = under_test->open(16, ROOMY_BYTES);
    Worker workers[N_CONSUMERS];
    Thread *threads[N_CONSUMERS];
    for (int i = 0; i < N_CONSUMERS; i++) {
        workers[i] = (Worker){.direction = direction, .bus = bus};
        threads[i] = thread_start("consumer", ROLE_BUS, poll_many, &workers[i], NULL);
        assert_non_null(threads[i]);
    }
    for (int i = 0; i < N_MESSAGES; i++)
        publish_text(direction, bus, "k", "v");
    int64_t deadline = now_ms() + DEADLINE_MS;
    size_t total = 0;
    while (total < N_MESSAGES) {
        assert_true(now_ms() < deadline);
        total = 0;
        for (int i = 0; i < N_CONSUMERS; i++)
            total += __atomic_load_n(&workers[i].n_done, __ATOMIC_ACQUIRE);
    }
    bus_shutdown(bus);
    for (int i = 0; i < N_CONSUMERS; i++)
        thread_join(threads[i]);
    assert_int_equal(total, N_MESSAGES);
}

#define ANY SIZE_MAX
#define IF(member) offsetof(BusImplementation, member)
#define TEST(function, where) \
    { \
        {.name = #function, .test_func = (function)}, (where) \
    }
static const struct {
    struct CMUnitTest test;
    size_t where; /* the test is for implementations with this property; ANY */
} TESTS[] = {
    TEST(test_opens_and_closes, ANY),
    TEST(test_nothing_comes_from_an_empty_bus, ANY),
    TEST(test_a_message_arrives_whole, ANY),
    TEST(test_directions_do_not_mix, ANY),
    TEST(test_odd_values_arrive_too, ANY),
    TEST(test_a_message_too_large_publishes_nothing, ANY),
    TEST(test_a_batch_keeps_its_order, ANY),
    TEST(test_an_empty_batch_is_fine, ANY),
    TEST(test_results_are_per_message, ANY),
    TEST(test_a_poll_gives_no_more_than_asked, ANY),
    TEST(test_is_well, ANY),
    TEST(test_polled_messages_say_whence, ANY),
    TEST(test_partitions_are_told_once, ANY),
    TEST(test_statuses_can_be_flushed, ANY),
    TEST(test_what_was_polled_can_be_committed, ANY),
    TEST(test_holding_takes_nothing_and_loses_nothing, ANY),
    TEST(test_what_was_not_committed_comes_again, IF(is_kept)),
    TEST(test_a_restart_takes_no_command_twice, IF(is_kept)),
    TEST(test_dead_letters_are_counted, ANY),
    TEST(test_a_full_queue_is_busy_after_the_timeout, IF(is_bounded)),
    TEST(test_bytes_are_bounded_too, IF(is_bounded)),
    TEST(test_tiny_messages_weigh_something, IF(is_bounded)),
    TEST(test_a_poll_wakes_a_publisher_that_waits_for_room, IF(is_bounded)),
    TEST(test_a_publish_wakes_a_poll, ANY),
    TEST(test_shutdown_wakes_everyone, ANY),
    TEST(test_shutdown_wakes_a_publisher_that_waits_for_room, IF(is_bounded)),
    TEST(test_after_shutdown_nothing_goes_in_or_out, ANY),
    TEST(test_order_holds_per_run_among_many_producers, ANY),
    TEST(test_many_consumers_share_without_loss, IF(is_shared)),
};

static bool is_for(const BusImplementation *implementation, size_t where)
{
    return where == ANY || *(const bool *)((const char *)implementation + where);
}

int bus_suite_run(const BusImplementation *implementation, size_t part, size_t n_parts)
{
    under_test = implementation;
    struct CMUnitTest tests[G_N_ELEMENTS(TESTS)];
    size_t n = 0;
    for (size_t i = part; i < G_N_ELEMENTS(TESTS); i += n_parts) {
        if (!is_for(implementation, TESTS[i].where))
            continue;
        tests[n] = TESTS[i].test;
        tests[n].setup_func = implementation->set_up;
        tests[n++].teardown_func = implementation->tear_down;
    }
    return _cmocka_run_group_tests(implementation->name, tests, n, NULL, NULL);
}
