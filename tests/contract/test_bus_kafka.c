/* test_bus_kafka.c - what only the Kafka bus does: test_bus_kafka mock|real. What takes a broker that can be switched off or
 * made to fail runs on the mock cluster; what takes topics that come and go, or large messages, on the real one. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "bus/bus_kafka_consumer_internal.h"
#include "kafka_broker.h"

#define DEADLINE_MS 20000
#define CLOSE_LIMIT_MS 5000

static KafkaBroker *broker; /* of the test that runs */
static Clock *clock_of_tests;

static int64_t now_ms(void)
{
    return clock_monotonic_ms(clock_of_tests);
}

static BusMessage *message_new(const char *key, const char *text)
{
    return bus_message_new(key, text, strlen(text));
}

static void publish_status(Bus *bus, const char *key, const char *text)
{
    g_autoptr(BusMessage) message = message_new(key, text);
    size_t n = 0;
    assert_true(bus_publish_statuses(bus, &message, 1, DEADLINE_MS, &n, NULL));
}

static BusMessage *next_status(Bus *bus)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    BusMessage *message = NULL;
    size_t n = 0;
    while (n == 0) {
        assert_true(now_ms() < deadline);
        assert_true(bus_poll_statuses(bus, &message, 1, 500, &n, NULL));
    }
    return message;
}

static void wait_until_up(Bus *bus, bool is_up)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (bus_health(bus).is_up != is_up) {
        assert_true(now_ms() < deadline);
        sched_yield();
    }
}

static void close_in_time(Bus *bus)
{
    int64_t began = now_ms();
    bus_close(bus);
    assert_true(now_ms() - began < CLOSE_LIMIT_MS);
}

static const BusHeader *find_header(const BusMessage *message, const char *name)
{
    for (size_t i = 0; i < message->n_headers; i++)
        if (strcmp(message->headers[i].name, name) == 0)
            return &message->headers[i];
    return NULL;
}

static void assert_header(const BusMessage *message, const char *name, const char *text)
{
    const BusHeader *header = find_header(message, name);
    assert_non_null(header);
    assert_int_equal(header->value_size, strlen(text));
    assert_memory_equal(header->value, text, strlen(text));
}

/* ---- options ---- */

static GError *open_refused(const char *text)
{
    KafkaOptions options = kafka_broker_options(broker);
    options.options = text;
    GError *error = NULL;
    assert_null(bus_open_kafka(&options, clock_of_tests, &error));
    assert_non_null(error);
    assert_true(error->domain == FLOWOPS_ERROR);
    assert_int_equal(error->code, FLOWOPS_INVALID);
    return error;
}

static void test_options_are_checked(void **state G_GNUC_UNUSED)
{
    static const struct {
        const char *options, *named;
    } refused[] = {
        {"no.such.key=s3cret", "no.such.key"},
        {"security.protocol=s3cret", "security.protocol"},
        {"linger.ms=1,acks=s3cret", "acks"},
        {"enable.idempotence=false", "enable.idempotence"},
        {"group.id=s3cret", "group.id"},
        {"enable.auto.commit=true", "enable.auto.commit"},
        {"partitioner=random", "partitioner"},
        {"s3cret", "key=value"},
        {"=s3cret", "key=value"},
        {"client.id=a,,linger.ms=1", "key=value"},
        {"security.protocol=ssl,ssl.ca.location=/s3cret/nowhere", "ssl.ca.location"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(GError) error = open_refused(refused[i].options);
        assert_non_null(strstr(error->message, refused[i].named));
        assert_null(strstr(error->message, "s3cret"));
    }
}

static void test_options_are_taken(void **state G_GNUC_UNUSED)
{
    static const char *const taken[] = {"", "client.id=a=b", " linger.ms=2,client.id=a\\,b\\\\c",
                                        "statistics.interval.ms=0,"};
    for (size_t i = 0; i < G_N_ELEMENTS(taken); i++) {
        KafkaOptions options = kafka_broker_options(broker);
        options.options = taken[i];
        g_autoptr(GError) error = NULL;
        g_autoptr(Bus) bus = bus_open_kafka(&options, clock_of_tests, &error);
        assert_null(error);
        assert_non_null(bus);
    }
}

/* ---- without a broker ---- */

static void test_comes_up_without_a_broker(void **state G_GNUC_UNUSED)
{
    KafkaOptions options = kafka_broker_options(broker);
    options.brokers = "127.0.0.1:1"; /* nobody listens there */
    int64_t began = now_ms();
    Bus *bus = bus_open_kafka(&options, clock_of_tests, NULL);
    assert_non_null(bus);
    assert_true(now_ms() - began < 1000);
    assert_false(bus_health(bus).is_up);
    assert_true(strlen(bus_health(bus).reason) > 0);
    assert_int_equal(bus_command_partition(bus, "run"), -1);

    /* A status is kept; a command comes back after message.timeout.ms, so that it may be published again. */
    publish_status(bus, "k", "v");
    g_autoptr(GError) flush_error = NULL;
    assert_false(bus_flush_statuses(bus, 50, &flush_error));
    assert_int_equal(flush_error->code, FLOWOPS_TIMEOUT);
    assert_int_equal(bus_health(bus).n_statuses_queued, 1);
    g_autoptr(BusMessage) command = message_new("k", "v");
    BusResult result;
    g_autoptr(GError) error = NULL;
    began = now_ms();
    assert_false(bus_publish_commands(bus, &command, 1, 1000, &result, &error));
    assert_int_equal(error->code, FLOWOPS_UNAVAILABLE);
    assert_int_equal(result, BUS_NOT_NOW);
    assert_in_range(now_ms() - began, 4000, 8000);

    /* A position cannot go past a dead letter that is nowhere yet. */
    g_autoptr(GError) commit_error = NULL;
    assert_true(bus_dead_letter(bus, command, "why", NULL));
    assert_false(bus_commit_statuses(bus, 0, &commit_error));
    assert_true(flowops_error_is_retryable(commit_error));
    close_in_time(bus);
}

typedef struct {
    Bus *bus;
    bool is_begun; /* atomic */
    BusResult result;
} Publisher;

static void publish_one(void *arg)
{
    Publisher *publisher = arg;
    g_autoptr(BusMessage) command = message_new("k", "v");
    __atomic_store_n(&publisher->is_begun, true, __ATOMIC_RELEASE);
    assert_false(bus_publish_commands(publisher->bus, &command, 1, 1000, &publisher->result, NULL));
}

static void test_shutdown_ends_a_publish_at_once(void **state G_GNUC_UNUSED)
{
    KafkaOptions options = kafka_broker_options(broker);
    options.brokers = "127.0.0.1:1";
    Bus *bus = bus_open_kafka(&options, clock_of_tests, NULL);
    Publisher publisher = {.bus = bus};
    Thread *thread = thread_start("publisher", ROLE_BUS, publish_one, &publisher, NULL);
    assert_non_null(thread);
    while (bus_health(bus).n_commands_queued == 0)
        sched_yield();
    int64_t began = now_ms();
    bus_shutdown(bus);
    thread_join(thread);
    assert_true(now_ms() - began < 1000);
    assert_int_equal(publisher.result, BUS_NOT_NOW);
    close_in_time(bus);
}

static void test_the_broker_goes_and_comes_back(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    publish_status(bus, "run", "0");
    bus_message_free(next_status(bus));
    kafka_broker_set_up(broker, false);
    wait_until_up(bus, false);
    assert_non_null(strstr(bus_health(bus).reason, "no Kafka broker answers"));
    for (int i = 1; i < 50; i++) {
        g_autofree char *text = g_strdup_printf("%d", i);
        publish_status(bus, "run", text);
    }
    g_autoptr(BusMessage) message = message_new("k", "broken");
    assert_true(bus_dead_letter(bus, message, "why", NULL));
    kafka_broker_set_up(broker, true);
    wait_until_up(bus, true);
    for (int i = 1; i < 50; i++) {
        g_autoptr(BusMessage) status = next_status(bus);
        assert_int_equal(g_ascii_strtoll(status->value, NULL, 10), i);
    }
    assert_true(bus_commit_statuses(bus, 0, NULL));
    g_autoptr(GPtrArray) letters = kafka_broker_read(broker, "execution.status.dlq", 1);
    assert_string_equal(((BusMessage *)letters->pdata[0])->value, "broken");
}

static void test_closes_while_the_broker_is_down(void **state G_GNUC_UNUSED)
{
    Bus *bus = kafka_broker_open(broker);
    publish_status(bus, "run", "0");
    bus_message_free(next_status(bus)); /* a member of its group, with a position to commit */
    assert_true(bus_commit_statuses(bus, 0, NULL));
    kafka_broker_set_up(broker, false);
    wait_until_up(bus, false);
    close_in_time(bus);
}

/* It hangs with requests under way: a commit, and what closing asks of it. */
static void test_closes_while_the_broker_hangs(void **state G_GNUC_UNUSED)
{
    Bus *bus = kafka_broker_open(broker);
    publish_status(bus, "run", "0");
    bus_message_free(next_status(bus));
    kafka_broker_set_delay(broker, 60 * 1000);
    publish_status(bus, "run", "1");
    assert_true(bus_commit_statuses(bus, 0, NULL));
    g_autoptr(BusMessage) message = message_new("k", "v");
    assert_true(bus_dead_letter(bus, message, "why", NULL));
    close_in_time(bus);
}

static void test_closes_during_a_rebalance(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) first = kafka_broker_open(broker);
    publish_status(first, "run", "0");
    bus_message_free(next_status(first));
    for (int i = 0; i < 3; i++) {
        Bus *other = kafka_broker_open(broker); /* its joining makes the first give partitions back */
        size_t n;
        BusMessage *messages[1];
        assert_true(bus_poll_statuses(other, messages, 1, 50 * i, &n, NULL));
        close_in_time(other);
    }
}

/* ---- what the broker refuses ---- */

static void test_refused_commands_are_told_from_those_to_repeat(void **state G_GNUC_UNUSED)
{
    static const struct {
        rd_kafka_resp_err_t error;
        BusResult result;
        int code;
    } cases[] = {
        {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, BUS_REFUSED, FLOWOPS_INVALID},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, BUS_NOT_NOW, FLOWOPS_UNAVAILABLE}, /* may be granted */
    };
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    g_autoptr(BusMessage) command = message_new("k", "v");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        BusResult result;
        g_autoptr(GError) error = NULL;
        kafka_broker_fail_produce(broker, cases[i].error, 1);
        assert_false(bus_publish_commands(bus, &command, 1, 1000, &result, &error));
        assert_int_equal(result, cases[i].result);
        assert_int_equal(error->code, cases[i].code);
        /* The library takes a topic for forbidden until it has asked again. */
        int64_t deadline = now_ms() + DEADLINE_MS;
        while (!bus_publish_commands(bus, &command, 1, 1000, &result, NULL))
            assert_true(now_ms() < deadline);
        assert_int_equal(result, BUS_PUBLISHED);
    }
}

/* The library gives up for good when a broker has lost count of what it was sent; we do not. */
static void test_a_broken_producer_is_replaced(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    for (int round = 0; round < 3; round++) {
        kafka_broker_fail_produce(broker, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1);
        for (int i = 0; i < 20; i++) {
            g_autofree char *text = g_strdup_printf("%d", round * 20 + i);
            publish_status(bus, "run", text);
        }
        assert_true(bus_flush_statuses(bus, DEADLINE_MS, NULL));
    }
    for (int i = 0; i < 60; i++) {
        g_autoptr(BusMessage) status = next_status(bus);
        assert_int_equal(g_ascii_strtoll(status->value, NULL, 10), i);
    }
    g_autoptr(BusMessage) command = message_new("k", "v");
    BusResult result = BUS_REFUSED;
    kafka_broker_fail_produce(broker, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, 1);
    assert_false(bus_publish_commands(bus, &command, 1, 1000, &result, NULL));
    assert_int_equal(result, BUS_NOT_NOW);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (!bus_publish_commands(bus, &command, 1, 1000, &result, NULL)) {
        assert_int_equal(result, BUS_NOT_NOW);
        assert_true(now_ms() < deadline);
    }
}

/* What is wrong with one topic says nothing of the positions on another. */
static void test_a_topic_with_a_problem_does_not_stop_commits(void **state G_GNUC_UNUSED)
{
    Bus *bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    kafka_watch_set_readers_problem(((KafkaBus *)bus)->watch, TOPIC_COMMANDS, "may not be read");
    wait_until_up(bus, false);
    publish_status(bus, "run", "before");
    bus_message_free(next_status(bus));
    assert_true(bus_commit_statuses(bus, 0, NULL));
    close_in_time(bus);
    g_autoptr(Bus) next = kafka_broker_open(broker);
    publish_status(next, "run", "after");
    g_autoptr(BusMessage) status = next_status(next);
    assert_string_equal(status->value, "after");
}

static void test_a_coordinator_that_is_slow_does_not_hold_up_statuses(void **state G_GNUC_UNUSED)
{
    enum { LASTS_MS = 3000, SLOW_MS = 900 }; /* the mock itself answers a fetch after half a second */
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    publish_status(bus, "run", "first");
    bus_message_free(next_status(bus));
    kafka_broker_delay_positions(broker, 1500, 20); /* later than is waited for */
    int64_t began = now_ms();
    int n_slow = 0;
    while (now_ms() - began < LASTS_MS) {
        publish_status(bus, "run", "more");
        int64_t polled_at = now_ms();
        bus_message_free(next_status(bus));
        assert_true(bus_commit_statuses(bus, 0, NULL));
        n_slow += now_ms() - polled_at > SLOW_MS;
    }
    assert_in_range(n_slow, 1, 1);
}

/* ---- what one poll brings ---- */

/* What takes next to nothing on the way may be large here: all of it comes with one answer. */
static void test_a_poll_is_bounded_in_bytes(void **state G_GNUC_UNUSED)
{
    enum { N = 30, VALUE_BYTES = 900 * 1000, LIMIT_BYTES = 8 * 1024 * 1024 };
    KafkaOptions options = kafka_broker_options(broker);
    options.options = "compression.type=lz4";
    g_autoptr(Bus) bus = bus_open_kafka(&options, clock_of_tests, NULL);
    assert_non_null(bus);
    g_autofree char *large = g_strnfill(VALUE_BYTES, 'x');
    for (int i = 0; i < N; i++)
        publish_status(bus, "run", large);
    rd_kafka_queue_t *queue = ((KafkaBus *)bus)->status_consumer->messages;
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (rd_kafka_queue_length(queue) < N) {
        assert_true(now_ms() < deadline);
        bus_hold_statuses(bus);
        sched_yield();
    }
    for (size_t n_left = N, n = 0; n_left > 0; n_left -= n) {
        BusMessage *messages[N];
        assert_true(bus_poll_statuses(bus, messages, N, 500, &n, NULL));
        assert_in_range(n, 1, LIMIT_BYTES / VALUE_BYTES + 1);
        for (size_t i = 0; i < n; i++)
            bus_message_free(messages[i]);
    }
}

/* ---- dead letters ---- */

static void test_a_letter_keeps_what_fits(void **state G_GNUC_UNUSED)
{
    enum { MANY = 300, HEADER_BYTES = 10 * 1000 };
    g_autofree char *value = g_strnfill(900 * 1000, 'v');
    g_autofree char *text = g_strnfill(HEADER_BYTES, 'h');
    g_autofree char *reason = g_strnfill(20 * 1000, 'r');
    g_autoptr(BusMessage) message = message_new("key", value);
    message->n_headers = MANY;
    message->headers = g_new0(BusHeader, MANY);
    for (int i = 0; i < MANY; i++)
        message->headers[i] = (BusHeader){g_strdup_printf("header %d", i), g_strdup(text), HEADER_BYTES};
    g_autoptr(BusMessage) letter = kafka_letter_new(message, reason);
    assert_true(kafka_message_weight(letter) > 3 * 1000 * 1000);
    for (size_t max_bytes = 1000 * 1000; max_bytes >= 10 * 1000; max_bytes /= 10) {
        kafka_letter_cut(letter, max_bytes);
        assert_in_range(kafka_message_weight(letter), max_bytes / 2, max_bytes);
        assert_string_equal(letter->key, "key");
        assert_true(find_header(letter, "dlq.reason")->value_size >= 1000);
        assert_header(letter, "dlq.truncated", "true");
        assert_string_equal(letter->headers[letter->n_headers - 1].name, "dlq.truncated");
    }
    assert_true(letter->value_size > 0);
    assert_null(find_header(letter, "header 299"));
}

static size_t count_headers(const BusMessage *message, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < message->n_headers; i++)
        n += strcmp(message->headers[i].name, name) == 0;
    return n;
}

/* Whoever writes the original may name its headers as we name ours. */
static void test_a_letter_that_was_put_back_is_cut_all_the_same(void **state G_GNUC_UNUSED)
{
    enum { MANY = 200 * 1000, MAX_BYTES = 10 * 1000 };
    static const char *const names[] = {"dlq.reason", "dlq.topic", "dlq.truncated", "dlq.other"};
    g_autoptr(BusMessage) message = message_new("key", "value");
    message->headers = g_new0(BusHeader, MANY);
    message->n_headers = MANY;
    for (size_t i = 0; i < MANY; i++)
        message->headers[i] = (BusHeader){g_strdup(names[i % G_N_ELEMENTS(names)]), g_strdup("old"), 3};
    g_autoptr(BusMessage) letter = kafka_letter_new(message, "new");
    assert_int_equal(count_headers(letter, "dlq.reason"), 1);
    assert_header(letter, "dlq.reason", "new");
    assert_int_equal(count_headers(letter, "dlq.topic"), 0);
    assert_int_equal(count_headers(letter, "dlq.other"), MANY / G_N_ELEMENTS(names));
    assert_int_equal(count_headers(letter, "dlq.truncated"), 1); /* it was, and still is */
    int64_t began = now_ms();
    kafka_letter_cut(letter, MAX_BYTES);
    assert_true(now_ms() - began < 1000);
    assert_in_range(kafka_message_weight(letter), 1, MAX_BYTES);
    assert_header(letter, "dlq.reason", "new");
    assert_int_equal(count_headers(letter, "dlq.truncated"), 1);
    assert_string_equal(letter->value, "value");
}

static void test_a_letter_is_cut_to_what_the_broker_takes(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    g_autofree char *large = g_strnfill(3 * 1000 * 1000, 'x');
    g_autoptr(BusMessage) message = message_new("k", large);
    kafka_broker_fail_produce(broker, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, 2);
    assert_true(bus_dead_letter(bus, message, "too much", NULL));
    assert_true(bus_commit_statuses(bus, 0, NULL));
    g_autoptr(GPtrArray) letters = kafka_broker_read(broker, "execution.status.dlq", 1);
    const BusMessage *letter = letters->pdata[0];
    assert_in_range(letter->value_size, 99 * 1000, 100 * 1000); /* the second size that is tried */
    assert_header(letter, "dlq.reason", "too much");
    assert_header(letter, "dlq.truncated", "true");
    assert_string_equal(letter->key, "k");
}

static void test_letters_are_bounded(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    kafka_broker_set_up(broker, false);
    g_autofree char *large = g_strnfill(1024 * 1024, 'x');
    g_autoptr(BusMessage) message = message_new("k", large);
    g_autoptr(GError) error = NULL;
    int n = 0;
    while (bus_dead_letter(bus, message, "why", &error))
        assert_in_range(++n, 1, 64);
    assert_int_equal(error->code, FLOWOPS_BUSY);
    assert_in_range(n, 60, 64);
    kafka_broker_set_up(broker, true);
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (!bus_commit_statuses(bus, 0, NULL))
        assert_true(now_ms() < deadline);
    assert_true(bus_dead_letter(bus, message, "why", NULL));
}

static void put_aside_next(Bus *bus, const char *reason, BusMessage **ret_message)
{
    *ret_message = next_status(bus);
    assert_true(bus_dead_letter(bus, *ret_message, reason, NULL));
}

static void test_a_letter_is_the_original_and_says_why(void **state G_GNUC_UNUSED)
{
    g_autofree char *large = g_strnfill(1024 * 1024, 'x');
    char binary[] = "a\0\xff\xfe{";
    const struct {
        const char *key, *value;
        size_t size;
    } cases[] = {{"k", binary, 5},
                 {NULL, "no key", 6},
                 {"tombstone", NULL, 0},
                 {"\xff\xfe", "", 0},
                 {"large", large, 1000 * 1000}};
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(BusMessage) original = bus_message_new(cases[i].key, cases[i].value, cases[i].size);
        original->is_null = cases[i].value == NULL;
        original->headers = g_new0(BusHeader, 2);
        original->n_headers = 2;
        original->headers[0] = (BusHeader){g_strdup("__TypeId__"), g_strdup("com.example.Status"), 18};
        original->headers[1] = (BusHeader){g_strdup("binary"), g_memdup2("\0\xff", 2), 2};
        kafka_broker_produce(broker, "execution.status", (int32_t)i % KAFKA_TEST_PARTITIONS, original);
        BusMessage *got = NULL;
        put_aside_next(bus, "not understood", &got);
        assert_int_equal(got->is_null, original->is_null);
        assert_int_equal(got->n_headers, 2);
        assert_true(bus_commit_statuses(bus, 0, NULL));

        g_autoptr(GPtrArray) letters = kafka_broker_read(broker, "execution.status.dlq", i + 1);
        const BusMessage *letter = NULL;
        g_autofree char *partition = g_strdup_printf("%d", (int)got->origin.partition);
        g_autofree char *offset = g_strdup_printf("%" G_GINT64_FORMAT, got->origin.offset);
        g_autofree char *timestamp = g_strdup_printf("%" G_GINT64_FORMAT, got->timestamp);
        for (size_t j = 0; j < letters->len && letter == NULL; j++) {
            const BusMessage *candidate = letters->pdata[j];
            if (strncmp(find_header(candidate, "dlq.partition")->value, partition, strlen(partition)) == 0 &&
                strncmp(find_header(candidate, "dlq.offset")->value, offset, strlen(offset)) == 0)
                letter = candidate;
        }
        assert_non_null(letter);
        assert_int_equal(letter->is_null, original->is_null);
        assert_int_equal(letter->value_size, cases[i].size);
        if (cases[i].size > 0)
            assert_memory_equal(letter->value, cases[i].value, cases[i].size);
        assert_int_equal(g_strcmp0(letter->key, cases[i].key), 0);
        assert_header(letter, "__TypeId__", "com.example.Status");
        assert_int_equal(find_header(letter, "binary")->value_size, 2);
        assert_memory_equal(find_header(letter, "binary")->value, "\0\xff", 2);
        assert_header(letter, "dlq.reason", "not understood");
        assert_non_null(g_strrstr(find_header(letter, "dlq.topic")->value, "execution.status"));
        assert_header(letter, "dlq.timestamp", timestamp);
        assert_null(find_header(letter, "dlq.truncated"));
        bus_message_free(got);
    }
}

/* ---- several ---- */

/* What an engine holds, kept up by what it is told. */
typedef struct {
    Bus *bus;
    bool held[KAFKA_TEST_PARTITIONS];
    int n_held, n_lost, n_gained;
} Engine;

static void engine_poll(Engine *engine)
{
    g_autoptr(GArray) lost = g_array_new(FALSE, FALSE, sizeof(int32_t));
    g_autoptr(GArray) gained = g_array_new(FALSE, FALSE, sizeof(int32_t));
    BusMessage *messages[8];
    size_t n = 0;
    assert_true(bus_poll_commands(engine->bus, messages, 8, 20, &n, NULL));
    for (size_t i = 0; i < n; i++)
        bus_message_free(messages[i]);
    BusPartitions partitions = {lost, gained};
    bus_take_partitions(engine->bus, &partitions);
    for (guint i = 0; i < lost->len; i++) {
        bool *is_held = &engine->held[g_array_index(lost, int32_t, i)];
        assert_true(*is_held);
        *is_held = false;
    }
    for (guint i = 0; i < gained->len; i++) {
        bool *is_held = &engine->held[g_array_index(gained, int32_t, i)];
        assert_false(*is_held);
        *is_held = true;
    }
    engine->n_lost += (int)lost->len;
    engine->n_gained += (int)gained->len;
    engine->n_held += (int)gained->len - (int)lost->len;
}

static Bus *open_engine(void)
{
    KafkaOptions options = kafka_broker_options(broker);
    options.has_service_side = options.has_updates = false;
    Bus *bus = bus_open_kafka(&options, clock_of_tests, NULL);
    assert_non_null(bus);
    return bus;
}

static void test_engines_share_the_partitions(void **state G_GNUC_UNUSED)
{
    Engine first = {.bus = open_engine()};
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (first.n_held < KAFKA_TEST_PARTITIONS) {
        assert_true(now_ms() < deadline);
        engine_poll(&first);
    }
    assert_int_equal(bus_health(first.bus).n_partitions_held, KAFKA_TEST_PARTITIONS);
    Engine second = {.bus = open_engine()};
    deadline = now_ms() + DEADLINE_MS;
    while (second.n_held == 0 || first.n_held + second.n_held != KAFKA_TEST_PARTITIONS) {
        assert_true(now_ms() < deadline);
        engine_poll(&first);
        engine_poll(&second);
    }
    assert_int_equal(first.n_lost, second.n_held); /* what it kept it never gave up */
    for (int i = 0; i < KAFKA_TEST_PARTITIONS; i++)
        assert_true(first.held[i] != second.held[i]);
    close_in_time(second.bus);
    deadline = now_ms() + DEADLINE_MS;
    while (first.n_held < KAFKA_TEST_PARTITIONS) {
        assert_true(now_ms() < deadline);
        engine_poll(&first);
    }
    close_in_time(first.bus);
}

static Bus *open_replica(void)
{
    KafkaOptions options = kafka_broker_options(broker);
    options.has_engine_side = false;
    Bus *bus = bus_open_kafka(&options, clock_of_tests, NULL);
    assert_non_null(bus);
    return bus;
}

/* Doorbells may be lost, above all before a listener has found its place: the ringer rings until it is heard. */
static void hear(Bus *ringer, Bus *listener, const char *run_id, int64_t seq)
{
    int64_t deadline = now_ms() + DEADLINE_MS;
    while (true) {
        assert_true(now_ms() < deadline);
        bus_publish_update(ringer, run_id, seq);
        BusUpdate updates[16];
        size_t n = 0;
        assert_true(bus_poll_updates(listener, updates, 16, 100, &n, NULL));
        for (size_t i = 0; i < n; i++)
            if (strcmp(updates[i].run_id.text, run_id) == 0 && updates[i].seq == seq)
                return;
    }
}

static void test_doorbells_cross_replicas(void **state G_GNUC_UNUSED)
{
    static const char *const nonsense[] = {"",
                                           "{",
                                           "[]",
                                           "{\"runId\":7,\"seq\":1}",
                                           "{\"runId\":\"x\",\"seq\":1}",
                                           "{\"runId\":\"00000000-0000-4000-8000-000000000001\"}",
                                           "{\"runId\":\"00000000-0000-4000-8000-000000000001\",\"seq\":-1}"};
    g_autoptr(Bus) first = open_replica();
    g_autoptr(Bus) second = open_replica();
    hear(first, second, "00000000-0000-4000-8000-000000000001", 1);
    hear(second, first, "00000000-0000-4000-8000-000000000002", INT64_MAX);
    for (size_t i = 0; i < G_N_ELEMENTS(nonsense); i++) {
        g_autoptr(BusMessage) message = message_new("k", nonsense[i]);
        kafka_broker_produce(broker, "execution.updates", -1, message);
    }
    g_autoptr(BusMessage) tombstone = message_new("k", "");
    tombstone->is_null = true;
    kafka_broker_produce(broker, "execution.updates", -1, tombstone);
    hear(first, second, "00000000-0000-4000-8000-000000000003", 3);
}

/* Each status goes to one of the replicas, and a position that one committed holds for the other. */
static void test_replicas_share_the_statuses(void **state G_GNUC_UNUSED)
{
    enum { N = 300 };
    g_autoptr(Bus) engine = open_engine();
    g_autoptr(Bus) first = open_replica();
    Bus *second = open_replica();
    int n_seen[N] = {0};
    int n_all = 0, n_of_first = 0, n_sent = 0;
    int64_t deadline = now_ms() + 2 * DEADLINE_MS;
    while (n_all < N) {
        assert_true(now_ms() < deadline);
        /* The second one goes in the middle. */
        if (second != NULL && n_all > N / 2)
            close_in_time(g_steal_pointer(&second));
        if (n_sent < N) {
            g_autofree char *text = g_strdup_printf("%d", n_sent);
            g_autofree char *key = g_strdup_printf("run %d", n_sent % 17);
            publish_status(engine, key, text);
            n_sent++;
        }
        for (int i = 0; i < 2; i++) {
            Bus *bus = i == 0 ? first : second;
            BusMessage *messages[16];
            size_t n = 0;
            if (bus == NULL)
                continue;
            assert_true(bus_poll_statuses(bus, messages, 16, 5, &n, NULL));
            for (size_t j = 0; j < n; j++) {
                int number = (int)g_ascii_strtoll(messages[j]->value, NULL, 10);
                n_all += n_seen[number]++ == 0;
                n_of_first += i == 0;
                bus_message_free(messages[j]);
            }
            assert_true(bus_commit_statuses(bus, 0, NULL));
        }
    }
    /* Committed before it was given back, so nothing came twice. */
    for (int i = 0; i < N; i++)
        assert_int_equal(n_seen[i], 1);
    assert_true(n_of_first > 0);
    bus_close(second);
}

/* ---- topics ---- */

static void test_missing_topics_are_made(void **state G_GNUC_UNUSED)
{
    static const char *const names[] = {"execution.commands", "execution.status", "execution.status.dlq",
                                        "execution.updates"};
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        assert_true(kafka_broker_has_topic(broker, names[i]));
    kafka_broker_delete_topic(broker, "execution.commands");
    int64_t deadline = now_ms() + DEADLINE_MS;
    g_autoptr(BusMessage) command = message_new("k", "v");
    BusResult result = BUS_NOT_NOW;
    while (!bus_publish_commands(bus, &command, 1, 1000, &result, NULL)) {
        assert_int_equal(result, BUS_NOT_NOW);
        assert_true(now_ms() < deadline);
    }
}

static void test_a_large_letter_fits(void **state G_GNUC_UNUSED)
{
    g_autofree char *large = g_strnfill(3900 * 1000, 'x');
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    g_autoptr(BusMessage) message = message_new("k", large);
    assert_true(bus_dead_letter(bus, message, "why", NULL));
    assert_true(bus_commit_statuses(bus, 0, NULL));
    g_autoptr(GPtrArray) letters = kafka_broker_read(broker, "execution.status.dlq", 1);
    const BusMessage *letter = letters->pdata[0];
    assert_int_equal(letter->value_size, 3900 * 1000);
    assert_null(find_header(letter, "dlq.truncated"));
}

static void test_a_letter_fits_a_topic_made_by_others(void **state G_GNUC_UNUSED)
{
    kafka_broker_make_topic(broker, "execution.status.dlq", 1, "1048588");
    g_autofree char *large = g_strnfill(1024 * 1024, 'x');
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    g_autoptr(BusMessage) message = message_new("k", large);
    assert_true(bus_dead_letter(bus, message, "why", NULL));
    assert_true(bus_commit_statuses(bus, 0, NULL));
    assert_true(bus_health(bus).is_up);
}

static void test_a_status_of_megabytes_comes_through(void **state G_GNUC_UNUSED)
{
    kafka_broker_make_topic(broker, "execution.status", KAFKA_TEST_PARTITIONS, "8000000");
    g_autofree char *large = g_strnfill(6 * 1000 * 1000, 'x');
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    g_autoptr(BusMessage) before = message_new("k", "before");
    g_autoptr(BusMessage) huge = message_new("k", large);
    g_autoptr(BusMessage) after = message_new("k", "after");
    kafka_broker_produce(broker, "execution.status", 0, before);
    kafka_broker_produce(broker, "execution.status", 0, huge);
    kafka_broker_produce(broker, "execution.status", 0, after);
    g_autoptr(BusMessage) got_before = next_status(bus);
    g_autoptr(BusMessage) got_huge = next_status(bus);
    g_autoptr(BusMessage) got_after = next_status(bus);
    assert_string_equal(got_before->value, "before");
    assert_int_equal(got_huge->value_size, 6 * 1000 * 1000);
    assert_string_equal(got_after->value, "after");
}

/* Polls until a status with this text has come; what came before it is counted in n_seen (numbers). */
static void poll_until(Bus *bus, const char *last, int *n_seen)
{
    bool is_last = false;
    while (!is_last) {
        g_autoptr(BusMessage) message = next_status(bus);
        is_last = strcmp(message->value, last) == 0;
        if (!is_last)
            n_seen[g_ascii_strtoll(message->value, NULL, 10)]++;
        assert_true(bus_commit_statuses(bus, 0, NULL));
    }
}

/* The new topic has more than was read of the old one before anybody looks again. */
static void remake_topic(bool is_at_once)
{
    enum { N = 40 };
    g_autoptr(Bus) bus = kafka_broker_open(broker);
    wait_until_up(bus, true);
    int n_seen[N] = {0};
    for (int i = 0; i < 5; i++)
        publish_status(bus, "run", "0");
    publish_status(bus, "run", "end of the old");
    poll_until(bus, "end of the old", n_seen);
    /* The broker knows the position. */
    int64_t deadline = now_ms() + 1500;
    while (now_ms() < deadline) {
        size_t n = 0;
        BusMessage *none = NULL;
        assert_true(bus_poll_statuses(bus, &none, 1, 100, &n, NULL));
        assert_int_equal(n, 0);
    }
    kafka_broker_delete_topic(broker, "execution.status");
    if (is_at_once)
        kafka_broker_make_topic(broker, "execution.status", KAFKA_TEST_PARTITIONS, NULL);
    memset(n_seen, 0, sizeof n_seen);
    for (int i = 0; i < N; i++) {
        g_autofree char *text = g_strdup_printf("%d", i);
        publish_status(bus, "run", text);
    }
    publish_status(bus, "run", "end of the new");
    poll_until(bus, "end of the new", n_seen);
    deadline = now_ms() + DEADLINE_MS;
    for (int i = 0; i < N; i++) {
        /* What was overlooked at first comes once the loss is noticed. */
        while (n_seen[i] == 0) {
            assert_true(now_ms() < deadline);
            g_autoptr(BusMessage) message = next_status(bus);
            if (g_ascii_isdigit(message->value[0]))
                n_seen[g_ascii_strtoll(message->value, NULL, 10)]++;
            assert_true(bus_commit_statuses(bus, 0, NULL));
        }
    }
}

static void test_a_topic_that_is_deleted_loses_nothing(void **state G_GNUC_UNUSED)
{
    remake_topic(false);
}

static void test_a_topic_that_is_made_anew_at_once_loses_nothing(void **state G_GNUC_UNUSED)
{
    remake_topic(true);
}

static int set_up_mock(void **state G_GNUC_UNUSED)
{
    broker = kafka_broker_new(true);
    return 0;
}

static int set_up_real(void **state G_GNUC_UNUSED)
{
    broker = kafka_broker_new(false);
    return 0;
}

static int tear_down(void **state G_GNUC_UNUSED)
{
    kafka_broker_free(g_steal_pointer(&broker));
    return 0;
}

#define MOCK(test) cmocka_unit_test_setup_teardown(test, set_up_mock, tear_down)
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up_real, tear_down)

static int run_on_mock(void)
{
    const struct CMUnitTest tests[] = {
        MOCK(test_options_are_checked),
        MOCK(test_options_are_taken),
        MOCK(test_comes_up_without_a_broker),
        MOCK(test_shutdown_ends_a_publish_at_once),
        MOCK(test_refused_commands_are_told_from_those_to_repeat),
        MOCK(test_a_topic_with_a_problem_does_not_stop_commits),
        MOCK(test_a_coordinator_that_is_slow_does_not_hold_up_statuses),
        MOCK(test_a_letter_keeps_what_fits),
        MOCK(test_a_letter_that_was_put_back_is_cut_all_the_same),
        MOCK(test_a_letter_is_cut_to_what_the_broker_takes),
        MOCK(test_a_letter_is_the_original_and_says_why),
        MOCK(test_letters_are_bounded),
        MOCK(test_a_broken_producer_is_replaced),
        MOCK(test_the_broker_goes_and_comes_back),
        MOCK(test_closes_while_the_broker_is_down),
        MOCK(test_closes_while_the_broker_hangs),
        MOCK(test_doorbells_cross_replicas),
    };
    return cmocka_run_group_tests_name("kafka-mock", tests, NULL, NULL);
}

static int run_on_real(void)
{
    const struct CMUnitTest tests[] = {
        REAL(test_missing_topics_are_made),
        REAL(test_a_letter_is_the_original_and_says_why),
        REAL(test_a_large_letter_fits),
        REAL(test_a_letter_fits_a_topic_made_by_others),
        REAL(test_a_status_of_megabytes_comes_through),
        REAL(test_a_poll_is_bounded_in_bytes),
        REAL(test_doorbells_cross_replicas),
        REAL(test_engines_share_the_partitions),
        REAL(test_replicas_share_the_statuses),
        REAL(test_closes_during_a_rebalance),
        REAL(test_a_topic_that_is_deleted_loses_nothing),
        REAL(test_a_topic_that_is_made_anew_at_once_loses_nothing),
    };
    return cmocka_run_group_tests_name("kafka", tests, NULL, NULL);
}

int main(int n_args, char **args)
{
    clock_of_tests = clock_new_system();
    if (n_args > 2)
        cmocka_set_test_filter(args[2]);
    int n_failed = n_args > 1 && strcmp(args[1], "real") == 0 ? run_on_real() : run_on_mock();
    clock_free(clock_of_tests);
    return n_failed;
}
