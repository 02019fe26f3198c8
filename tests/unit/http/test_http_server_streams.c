/* test_http_server_streams.c - replies without an end: what goes out, who is slow, who leaves, how it ends. */
#include "test_http_server_fixture.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LARGE (4 * 1024 * 1024) /* more than the socket buffers of a slow client hold */

static int start(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){0});
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop();
    return 0;
}

static Client open_stream_on(Client client, const char *version)
{
    g_autofree char *request = g_strdup_printf("GET /stream %s\r\nHost: a\r\nLast-Event-ID: 5\r\n\r\n", version);
    client_send(&client, request);
    return client;
}

static Client open_stream(int n_before)
{
    Client client = open_stream_on(client_open(), "HTTP/1.1");
    fixture_wait_streams(n_before + 1);
    g_free(client_read_until(&client, "\r\n\r\n"));
    return client;
}

static Client open_slow_stream(int n_before)
{
    Client client = open_stream_on(client_open_slow(), "HTTP/1.1");
    fixture_wait_streams(n_before + 1);
    g_free(client_read_until(&client, "\r\n\r\n"));
    return client;
}

static char *large_text(void)
{
    char *text = g_malloc(LARGE + 1);
    for (size_t i = 0; i < LARGE; i++)
        text[i] = (char)('a' + i * 7 % 26 + (i / 1000) % 3);
    text[LARGE] = '\0';
    return text;
}

/* Writes until the socket is full. */
static void get_stuck(int i, const char *text)
{
    if (fixture_stream_write(i, text, LARGE))
        while (fixture_stream_write(i, text, LARGE))
            ;
}

/* One chunk off the wire; NULL: the last. */
static char *read_chunk(Client *client, size_t *ret_size)
{
    g_autofree char *line = client_read_until(client, "\r\n");
    char *end;
    size_t size = (size_t)g_ascii_strtoull(line, &end, 16);
    assert_string_equal(end, "\r\n");
    char *text = g_malloc0(size + 3);
    client_read_n(client, size + 2, text);
    assert_string_equal(text + size, "\r\n");
    text[size] = '\0';
    if (ret_size != NULL)
        *ret_size = size;
    if (size == 0)
        g_clear_pointer(&text, g_free);
    return text;
}

static void assert_chunk(Client *client, const char *expected)
{
    g_autofree char *text = read_chunk(client, NULL);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void a_stream_sends_its_head_and_pieces(void **state)
{
    (void)state;
    Client client = open_stream_on(client_open(), "HTTP/1.1");
    fixture_wait_streams(1);
    g_autofree char *head = client_read_until(&client, "\r\n\r\n");
    assert_true(g_str_has_prefix(head, "HTTP/1.1 200 OK\r\nDate: "));
    assert_non_null(strstr(head, "\r\nContent-Type: text/event-stream\r\n"));
    assert_non_null(strstr(head, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(head, "\r\nX-Request-Id: "));
    assert_null(strstr(head, "Content-Length"));
    assert_true(fixture_stream_write(0, "one", 3));
    assert_true(fixture_stream_write(0, "", 0)); /* nothing is no end */
    assert_true(fixture_stream_write(0, "and two", 7));
    assert_chunk(&client, "one");
    assert_chunk(&client, "and two");
    assert_true(fixture_stream_is_writable(0));
    assert_in_range(fixture_stream_stuck_for_ms(0) + 1, 0, 1000);
    assert_int_equal(http_server_load(fixture_server()).n_streams, 1);
    assert_false(http_server_is_idle(fixture_server()));
    client_close(&client);
    fixture_wait_closed(1);
    wait_for_load(load.n_streams == 0 && load.n_connections == 0);
}

static void a_closed_stream_ends_its_body(void **state)
{
    (void)state;
    Client client = open_stream(0);
    assert_true(fixture_stream_write(0, "last", 4));
    fixture_stream_close(0);
    fixture_wait_closed(1);
    assert_chunk(&client, "last");
    assert_null(read_chunk(&client, NULL));
    client_assert_closed(&client);
    assert_int_equal(fixture_n_writable(), 0);
    client_close(&client);
}

static void http_1_0_gets_the_text_alone(void **state)
{
    (void)state;
    Client client = open_stream_on(client_open(), "HTTP/1.0");
    fixture_wait_streams(1);
    g_autofree char *head = client_read_until(&client, "\r\n\r\n");
    assert_null(strstr(head, "Transfer-Encoding"));
    assert_non_null(strstr(head, "\r\nConnection: close\r\n"));
    assert_true(fixture_stream_write(0, "one", 3));
    assert_true(fixture_stream_write(0, "", 0));
    assert_true(fixture_stream_write(0, "two", 3));
    fixture_stream_close(0);
    g_autofree char *text = client_read_to_end(&client, NULL);
    assert_string_equal(text, "onetwo");
    client_close(&client);
}

static void a_leaving_client_is_noticed_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        Client client = open_stream(i);
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        if (i % 3 == 0) {
            setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            client_close(&client);
        } else if (i % 3 == 1) {
            client_close(&client);
        } else {
            shutdown(client.fd, SHUT_WR);
        }
        fixture_wait_closed(i + 1);
        assert_false(fixture_stream_write(i, "anybody?", 8));
        if (i % 3 == 2)
            client_close(&client);
    }
    wait_for_load(load.n_connections == 0);
}

/* Private memory; sanitizers keep what was freed, so with them it says nothing: 0. */
static int64_t resident_kb(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 0;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 0;
#endif
#endif
    g_autofree char *status = NULL;
    assert_true(g_file_get_contents("/proc/self/status", &status, NULL, NULL));
    return g_ascii_strtoll(strstr(status, "RssAnon:") + 8, NULL, 10);
}

static void what_a_client_sends_into_a_stream_is_dropped(void **state)
{
    (void)state;
    Client client = open_stream(0);
    g_autofree char *junk = g_malloc0(1024 * 1024);
    client_send_n(&client, junk, 1024 * 1024);
    int64_t before_kb = resident_kb();
    for (int i = 0; i < 32; i++)
        client_send_n(&client, junk, 1024 * 1024);
    client_send(&client, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(resident_kb() - before_kb < 16 * 1024);
    assert_true(fixture_stream_write(0, "still here", 10));
    assert_chunk(&client, "still here");
    assert_int_equal(http_server_load(fixture_server()).n_requests, 1);
    client_close(&client);
    fixture_wait_closed(1);
}

static void a_slow_reader_gets_everything_in_order(void **state)
{
    (void)state;
    g_autofree char *text = large_text();
    Client client = open_slow_stream(0);
    int n_written = 1;
    while (fixture_stream_write(0, text, LARGE))
        n_written++;
    assert_false(fixture_stream_is_writable(0));
    assert_int_equal(fixture_n_writable(), 0);
    for (int i = 0; i < n_written; i++) {
        size_t size;
        g_autofree char *got = read_chunk(&client, &size);
        assert_int_equal(size, LARGE);
        assert_memory_equal(got, text, LARGE);
    }
    int64_t give_up_ms = clock_monotonic_ms(fixture_clock()) + PATIENCE_MS;
    while (fixture_n_writable() == 0) {
        assert_true(clock_monotonic_ms(fixture_clock()) < give_up_ms);
        fixture_pause();
    }
    assert_int_equal(fixture_n_writable(), 1);
    assert_true(fixture_stream_write(0, "more", 4));
    assert_chunk(&client, "more");
    client_close(&client);
    fixture_wait_closed(1);
}

static void how_long_a_reader_is_stuck_is_known(void **state)
{
    (void)state;
    g_autofree char *text = large_text();
    Client client = open_slow_stream(0);
    get_stuck(0, text);
    int64_t until_ms = clock_monotonic_ms(fixture_clock()) + 60;
    while (clock_monotonic_ms(fixture_clock()) < until_ms)
        fixture_pause();
    assert_in_range(fixture_stream_stuck_for_ms(0), 59, 5000);
    client_close(&client);
    fixture_wait_closed(1);
}

static void a_stuck_stream_whose_client_dies_is_closed(void **state)
{
    (void)state;
    g_autofree char *text = large_text();
    for (int i = 0; i < 2; i++) {
        Client client = open_slow_stream(i);
        get_stuck(i, text);
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        if (i == 0)
            setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        client_close(&client);
        fixture_wait_closed(i + 1);
    }
}

static void a_stuck_stream_is_closed_with_what_it_had(void **state)
{
    (void)state;
    g_autofree char *text = large_text();
    Client client = open_slow_stream(0);
    int n_written = 1;
    while (fixture_stream_write(0, text, LARGE))
        n_written++;
    fixture_stream_close(0);
    assert_false(fixture_stream_write(0, "too late", 8));
    for (int i = 0; i < n_written; i++) {
        g_autofree char *got = read_chunk(&client, NULL);
        assert_memory_equal(got, text, LARGE);
    }
    assert_null(read_chunk(&client, NULL));
    client_assert_closed(&client);
    fixture_wait_closed(1);
    client_close(&client);
}

static void a_stuck_stream_is_not_waited_for_longer_than_two_seconds(void **state)
{
    (void)state;
    g_autofree char *text = large_text();
    Client client = open_slow_stream(0);
    get_stuck(0, text);
    int64_t began_ms = clock_monotonic_ms(fixture_clock());
    fixture_stream_close(0);
    fixture_wait_closed(1);
    assert_in_range(clock_monotonic_ms(fixture_clock()) - began_ms, 1900, 6000);
    client_close(&client);
}

static void a_stream_after_pipelined_requests(void **state)
{
    (void)state;
    /* Its head meets a full socket, and so does the first piece. */
    Client client = client_open_slow();
    client_send(&client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    client_send(&client, "GET /stream HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 2; i++) {
        Reply big = client_read_reply(&client, false);
        assert_int_equal(big.body_size, BIG_SIZE);
        reply_done(&big);
    }
    fixture_wait_streams(1);
    assert_true(fixture_stream_write(0, "first", 5));
    g_autofree char *head = client_read_until(&client, "\r\n\r\n");
    assert_non_null(strstr(head, "text/event-stream"));
    assert_chunk(&client, "first"); /* and not the answer to what came behind */
    client_close(&client);
    fixture_wait_closed(1);
}

static void draining_streams_say_good_bye(void **state)
{
    (void)state;
    enum { N = 20 };
    fixture_start((FixtureOptions){.n_loops = 2});
    fixture_streams_close_on_closing(true);
    Client clients[N];
    for (int i = 0; i < N; i++)
        clients[i] = open_stream(i);
    http_server_drain(fixture_server());
    fixture_wait_closed(N);
    assert_int_equal(fixture_n_closing(), N);
    for (int i = 0; i < N; i++) {
        assert_chunk(&clients[i], "bye");
        assert_null(read_chunk(&clients[i], NULL));
        client_assert_closed(&clients[i]);
        client_close(&clients[i]);
    }
    wait_for_load(load.n_connections == 0 && http_server_is_idle(fixture_server()));
    fixture_stop();
}

static void draining_tells_each_stream_once_even_if_it_stays(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){0});
    Client clients[3];
    for (int i = 0; i < 3; i++)
        clients[i] = open_stream(i);
    http_server_drain(fixture_server());
    for (int i = 0; i < 3; i++)
        (void)fixture_stream_is_writable(i); /* the loop has been through it */
    assert_int_equal(fixture_n_closing(), 3);
    assert_true(fixture_stream_write(2, "on", 2));
    assert_chunk(&clients[2], "on");
    for (int i = 0; i < 3; i++)
        client_close(&clients[i]);
    fixture_wait_closed(3);
    fixture_stop();
}

static void stop_closes_open_and_stuck_streams(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    g_autofree char *text = large_text();
    Client slow = open_slow_stream(0);
    Client fast = open_stream(1);
    get_stuck(0, text);
    fixture_stop(); /* checks that on_closed was called for each */
    client_close(&slow);
    client_close(&fast);
}

static void one_piece_reaches_thousands(void **state)
{
    (void)state;
    enum { N = 2000 };
    Client *clients = g_new(Client, N);
    for (int i = 0; i < N; i++)
        clients[i] = open_stream_on(client_open(), "HTTP/1.1");
    fixture_wait_streams(N);
    assert_int_equal(fixture_stream_write_all("an event", 8), N);
    for (int i = 0; i < N; i++) {
        g_free(client_read_until(&clients[i], "\r\n\r\n"));
        assert_chunk(&clients[i], "an event");
    }
    /* Half of them go; the rest is still served, at once and with the others' ends on the way. */
    for (int i = 0; i < N; i += 2)
        client_close(&clients[i]);
    (void)fixture_stream_write_all("another", 7);
    for (int i = 1; i < N; i += 2) {
        assert_chunk(&clients[i], "another");
        client_close(&clients[i]);
    }
    fixture_wait_closed(N);
    wait_for_load(load.n_connections == 0);
    g_free(clients);
}

#define with_server(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(a_stream_sends_its_head_and_pieces),
        with_server(a_closed_stream_ends_its_body),
        with_server(http_1_0_gets_the_text_alone),
        with_server(a_leaving_client_is_noticed_at_once),
        with_server(what_a_client_sends_into_a_stream_is_dropped),
        with_server(a_slow_reader_gets_everything_in_order),
        with_server(how_long_a_reader_is_stuck_is_known),
        with_server(a_stuck_stream_whose_client_dies_is_closed),
        with_server(a_stuck_stream_is_closed_with_what_it_had),
        with_server(a_stuck_stream_is_not_waited_for_longer_than_two_seconds),
        with_server(a_stream_after_pipelined_requests),
        cmocka_unit_test(draining_streams_say_good_bye),
        cmocka_unit_test(draining_tells_each_stream_once_even_if_it_stays),
        cmocka_unit_test(stop_closes_open_and_stuck_streams),
        with_server(one_piece_reaches_thousands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
