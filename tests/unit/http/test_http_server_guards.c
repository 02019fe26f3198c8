/* test_http_server_guards.c - what evhttp alone would let through, and what keeps others out: every guard of the server
 * over a real socket, each answered in JSON and followed by the end of the connection. */
#include "test_http_server_fixture.h"

#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEADLINE_MS 300
#define IDLE_MS 400

static int start(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){0});
    return 0;
}

static int start_impatient(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.receive_deadline_ms = DEADLINE_MS, .idle_timeout_ms = IDLE_MS});
    return 0;
}

static int stop(void **state)
{
    (void)state;
    assert_serves();
    fixture_stop();
    return 0;
}

static int stop_only(void **state)
{
    (void)state;
    fixture_stop();
    return 0;
}

static int64_t now_ms(void)
{
    return clock_monotonic_ms(fixture_clock());
}

static void assert_refused(const char *request, int status, const char *message_part)
{
    assert_status_and_close(request, strlen(request), status, message_part);
}

/* ---- heads ---- */

static void garbage_is_a_400(void **state)
{
    (void)state;
    assert_refused("garbage\r\n", 400, "request line");
    assert_refused("\r\n\r\n", 400, "request line");
    assert_refused("GET /\r\n\r\n", 400, "request line");
    assert_refused("\x16\x03\x01\x02\x00\x01", 400, "request line");
    assert_refused("GET / HTTP/1.1\nHost: a\n\n", 400, "CR LF");
}

static void large_headers_are_a_431(void **state)
{
    (void)state;
    g_autofree char *value = g_strnfill(HTTP_MAX_HEADER_BYTES, 'x');
    g_autofree char *whole = g_strconcat("GET / HTTP/1.1\r\nHost: a\r\nX: ", value, "\r\n\r\n", NULL);
    g_autofree char *endless = g_strconcat("GET / HTTP/1.1\r\nHost: a\r\nX: ", value, value, value, value, NULL);
    g_autofree char *target = g_strconcat("GET /", value, value, " HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
    assert_refused(whole, 431, "16 KiB");
    assert_refused(endless, 431, "16 KiB");
    assert_refused(target, 431, "16 KiB");
    g_autoptr(GString) many = g_string_new("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < 200; i++)
        g_string_append(many, "a: b\r\n");
    g_string_append(many, "\r\n");
    assert_refused(many->str, 431, "128 headers");
}

static void almost_too_large_headers_are_served(void **state)
{
    (void)state;
    g_autofree char *value = g_strnfill(HTTP_MAX_HEADER_BYTES - 100, 'x');
    g_autofree char *request =
        g_strconcat("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ", value, "\r\n\r\n", NULL);
    g_autofree char *text = talk(request);
    assert_true(g_str_has_prefix(text, "HTTP/1.1 200 "));
}

static void transfer_codings_but_chunked_are_a_400(void **state)
{
    (void)state;
    /* evhttp would take the body for the next request. */
    assert_refused(
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n", 400,
        "Transfer-Encoding");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400,
                   "Transfer-Encoding");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
                   "chunked\r\n\r\n0\r\n\r\n",
                   400, "control character");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
                   400, "exclude each other");
}

static void lengths_that_differ_or_are_none_are_a_400(void **state)
{
    (void)state;
    static const char *const lengths[] = {"+5", "-5", "5, 6", "5,5", "0x5", "5 ", "", "5\r\nContent-Length: 6"};
    for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autofree char *request =
            g_strdup_printf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %sx\r\n\r\nhello", lengths[i]);
        assert_refused(request, 400, "Content-Length");
    }
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nhello", 400, "malformed");
}

static void hosts_must_be_one(void **state)
{
    (void)state;
    assert_refused("GET / HTTP/1.1\r\n\r\n", 400, "Host is missing");
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "more than one Host");
}

static void methods_nobody_knows_are_a_501(void **state)
{
    (void)state;
    assert_refused("BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method");
    assert_refused("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method");
    assert_refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method");
    assert_refused("GET / HTTP/2.0\r\n\r\n", 505, "HTTP/1.1");
    assert_refused("POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 3\r\n\r\n", 417, "100-continue");
}

static void nul_and_control_characters_are_a_400(void **state)
{
    (void)state;
    static const char nul_value[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    static const char nul_name[] = "GET / HTTP/1.1\r\nHost: a\r\nCon\0tent-Length: 5\r\n\r\n";
    static const char nul_length[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\0 6\r\n\r\nhello";
    assert_status_and_close(nul_value, sizeof nul_value - 1, 400, "control character");
    assert_status_and_close(nul_name, sizeof nul_name - 1, 400, "malformed");
    assert_status_and_close(nul_length, sizeof nul_length - 1, 400, "control character");
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", 400, "control character");
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400, "second line");
}

static void paths_that_do_not_decode_are_a_400(void **state)
{
    (void)state;
    static const char *const paths[] = {"/%00", "/a%", "/%zz", "/%c3", "/x%2"};
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *request = g_strdup_printf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", paths[i]);
        assert_refused(request, 400, "malformed");
    }
}

/* Our look takes these for paths, evhttp for an authority that is none: its HTML must not get out. */
static void what_only_evhttp_refuses_is_our_400_too(void **state)
{
    (void)state;
    assert_refused("GET //[ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed");
    assert_refused("GET http://a:99999999/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed");
}

static void smuggled_requests_are_not_served(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "HEAD /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 44\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Gateway-Secret: s\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\n\r\nx0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy0\r\n\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        g_autofree char *request = g_strconcat(requests[i], "GET /echo?smuggled HTTP/1.1\r\nHost: a\r\n\r\n", NULL);
        int64_t n_before = http_server_load(fixture_server()).n_requests;
        assert_refused(request, 400, "");
        assert_int_equal(http_server_load(fixture_server()).n_requests, n_before);
    }
}

static void earlier_pipelined_requests_are_answered_before_a_refusal(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client,
                "GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\nGET /task HTTP/1.1\r\nHost: a\r\n\r\nnonsense\r\n\r\n");
    Reply first = client_read_reply(&client, false);
    Reply second = client_read_reply(&client, false);
    Reply third = client_read_reply(&client, false);
    assert_string_equal(first.body, "GET /echo 1 ");
    assert_string_equal(second.body, "later");
    assert_int_equal(third.status, 400);
    client_assert_closed(&client);
    reply_done(&first);
    reply_done(&second);
    reply_done(&third);
    client_close(&client);
}

/* ---- bodies ---- */

static void announced_large_bodies_are_a_413_at_once(void **state)
{
    (void)state;
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413, "1 MiB");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, "1 MiB");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n", 413,
                   "1 MiB");
}

/* Without care, closing with the body still arriving resets the connection before the answer is read. */
static void the_413_reaches_a_client_that_sends_on(void **state)
{
    (void)state;
    g_autofree char *body = g_strnfill(4 * 1024 * 1024, 'x');
    g_autofree char *request =
        g_strdup_printf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    for (int i = 0; i < 5; i++) {
        Client client = client_open();
        client_send(&client, request); /* all of it, and only then it reads */
        Reply reply = client_read_reply(&client, false);
        assert_int_equal(reply.status, 413);
        client_assert_closed(&client);
        reply_done(&reply);
        client_close(&client);
    }
}

static void chunked_bodies_are_cut(void **state)
{
    (void)state;
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n", 413, "1 MiB");
    assert_refused("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413, "1 MiB");

    g_autoptr(GString) growing = g_string_new("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    g_autofree char *piece = g_strnfill(0x8000, 'x');
    for (int i = 0; i < 33; i++)
        g_string_append_printf(growing, "8000\r\n%s\r\n", piece);
    assert_refused(growing->str, 413, "1 MiB");

    /* Mostly framing: little body, much to hold. */
    g_string_assign(growing, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < HTTP_MAX_BODY_BYTES / 2; i++)
        g_string_append(growing, "1\r\nx\r\n");
    assert_refused(growing->str, 413, "1 MiB");
}

static void the_largest_chunked_body_is_taken(void **state)
{
    (void)state;
    g_autoptr(GString) request =
        g_string_new("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    g_autofree char *piece = g_strnfill(0x8000, 'x');
    for (int i = 0; i < 32; i++)
        g_string_append_printf(request, "8000\r\n%s\r\n", piece);
    g_string_append(request, "0\r\n\r\n");
    Client client = client_open();
    client_send_n(&client, request->str, request->len);
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body_size, strlen("POST /echo - ") + HTTP_MAX_BODY_BYTES);
    reply_done(&reply);
    client_close(&client);
}

static void unfinished_requests_together_have_a_limit(void **state)
{
    (void)state;
    enum { N = 68 };
    Client clients[N];
    fixture_start((FixtureOptions){.receive_deadline_ms = 3 * PATIENCE_MS});
    g_autofree char *most = g_strnfill(HTTP_MAX_BODY_BYTES - 1, 'x');
    g_autofree char *request =
        g_strdup_printf("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", HTTP_MAX_BODY_BYTES, most);
    for (int i = 0; i < N; i++) {
        clients[i] = client_open();
        (void)client_try_send_n(&clients[i], request, strlen(request));
    }
    /* The first answer of all is that there are too many: none has been asked whole. */
    struct pollfd fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    assert_true(poll(fds, N, PATIENCE_MS) > 0);
    int n_refused = 0;
    for (int i = 0; i < N; i++) {
        (void)client_try_send_n(&clients[i], "x", 1);
        Reply reply = client_read_reply(&clients[i], false);
        n_refused += reply.status == 503;
        assert_true(reply.status == 503 || reply.status == 200);
        reply_done(&reply);
        client_close(&clients[i]);
    }
    assert_in_range(n_refused, 1, 10);
    fixture_stop();
}

/* ---- time ---- */

/* A byte every 20 ms never lets an idle timer expire. Returns how long it took to be told. */
static int64_t drip(const char *first, char byte)
{
    Client client = client_open();
    int64_t began_ms = now_ms();
    client_send(&client, first);
    char answer;
    do {
        assert_true(now_ms() - began_ms < PATIENCE_MS);
        (void)client_try_send_n(&client, &byte, 1);
        struct timeval wait = {.tv_usec = 20000};
        setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    } while (recv(client.fd, &answer, 1, MSG_PEEK) != 1);
    int64_t took_ms = now_ms() - began_ms;
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 408);
    client_assert_closed(&client);
    reply_done(&reply);
    client_close(&client);
    return took_ms;
}

static void dripping_requests_end_after_the_total_deadline(void **state)
{
    (void)state;
    static const char *const beginnings[] = {
        "G",
        "GET / HTTP/1.1\r\nHost: a\r\nX: ",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(beginnings); i++) {
        int64_t took_ms = drip(beginnings[i], 'E');
        assert_in_range(took_ms, DEADLINE_MS - 10, DEADLINE_MS + 5000);
    }
}

static void the_deadline_counts_anew_for_each_request(void **state)
{
    (void)state;
    Client client = client_open();
    for (int i = 0; i < 8; i++) {
        client_send(&client, "GET /echo HTTP/1.1\r\n");
        struct timeval wait = {.tv_usec = DEADLINE_MS / 4 * 1000};
        char none;
        setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        assert_int_equal(recv(client.fd, &none, 1, 0), -1);
        wait.tv_sec = PATIENCE_MS / 1000;
        setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        client_send(&client, "Host: a\r\n\r\n");
        Reply reply = client_read_reply(&client, false);
        assert_int_equal(reply.status, 200);
        reply_done(&reply);
    }
    client_close(&client);
}

static void a_pipelined_fragment_has_its_deadline_too(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /ec");
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 200);
    reply_done(&reply);
    reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 408);
    reply_done(&reply);
    client_assert_closed(&client);
    client_close(&client);
}

static void idle_connections_are_closed(void **state)
{
    (void)state;
    int64_t began_ms = now_ms();
    Client silent = client_open();
    Client kept = client_open();
    client_send(&kept, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply reply = client_read_reply(&kept, false);
    client_assert_closed(&silent);
    client_assert_closed(&kept);
    assert_in_range(now_ms() - began_ms, IDLE_MS - 10, IDLE_MS + 5000);
    reply_done(&reply);
    client_close(&silent);
    client_close(&kept);
}

static void a_parked_request_is_not_idle(void **state)
{
    (void)state;
    Client parked = client_open();
    Client silent = client_open();
    client_send(&parked, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture_wait_parked(1);
    client_assert_closed(&silent); /* the idle time is over */
    fixture_answer_parked(200, "still there");
    Reply reply = client_read_reply(&parked, false);
    assert_string_equal(reply.body, "still there");
    reply_done(&reply);
    client_close(&parked);
    client_close(&silent);
}

static void a_client_that_does_not_read_is_closed(void **state)
{
    (void)state;
    Client client = client_open_slow();
    client_send(&client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_for_load(load.n_requests == 1);
    wait_for_load(load.n_connections == 0);
    client_close(&client);
}

static void a_client_that_reads_slowly_is_served(void **state)
{
    (void)state;
    Client client = client_open_slow();
    client_send(&client, "GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    g_free(client_read_until(&client, "\r\n\r\n"));
    g_autofree char *piece = g_malloc(BIG_SIZE / 8);
    for (int i = 0; i < 8; i++) {
        client_read_n(&client, BIG_SIZE / 8, piece);
        /* Together longer than the idle timeout, each pause shorter. */
        for (int64_t until_ms = now_ms() + IDLE_MS / 4; now_ms() < until_ms;)
            fixture_pause();
    }
    client_assert_closed(&client);
    client_close(&client);
}

/* ---- numbers ---- */

static int64_t cpu_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
           (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

static void out_of_descriptors_accepting_pauses_and_recovers(void **state)
{
    (void)state;
    enum { N = 12, N_ALLOWED = 3 };
    fixture_start((FixtureOptions){0});
    assert_serves();
    wait_for_load(load.n_connections == 0);
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    /* Clients share our descriptors: all of theirs are taken before the limit falls. */
    int fds[N];
    for (int i = 0; i < N; i++)
        fds[i] = dup(STDERR_FILENO);
    int lowest = dup(STDERR_FILENO);
    close(lowest);
    Client clients[N];
    for (int i = 0; i < N; i++) {
        close(fds[i]);
        struct rlimit lowered = {.rlim_cur = (rlim_t)lowest + N_ALLOWED, .rlim_max = before.rlim_max};
        clients[i] = client_open();
        setrlimit(RLIMIT_NOFILE, &lowered); /* from the first on; later clients take the place of a dup */
        client_send(&clients[i], "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
        if (i < N_ALLOWED)
            fixture_wait_parked(i + 1);
    }
    wait_for_load(load.is_accept_paused);
    int64_t cpu_before_ms = cpu_ms();
    int64_t began_ms = now_ms();
    while (now_ms() - began_ms < 600)
        fixture_pause();
    assert_true(cpu_ms() - cpu_before_ms < 300); /* it does not spin */
    HttpLoad paused = http_server_load(fixture_server());
    assert_in_range(paused.n_connections, 1, N_ALLOWED + 1);

    setrlimit(RLIMIT_NOFILE, &before);
    fixture_wait_parked(N);
    fixture_answer_parked(200, "at last");
    for (int i = 0; i < N; i++) {
        Reply reply = client_read_reply(&clients[i], false);
        assert_string_equal(reply.body, "at last");
        reply_done(&reply);
        client_close(&clients[i]);
    }
    wait_for_load(!load.is_accept_paused);
    assert_serves();
    fixture_stop();
}

static void above_the_limit_of_connections_accepting_pauses(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.max_connections = 2});
    Client first = client_open();
    Client second = client_open();
    client_send(&first, "GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client_send(&second, "GET /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    fixture_wait_parked(2);
    wait_for_load(load.is_accept_paused);
    Client third = client_open(); /* the kernel's queue has it */
    client_send(&third, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(http_server_load(fixture_server()).n_connections, 2);
    fixture_answer_parked(200, "done");
    Reply reply = client_read_reply(&third, false);
    assert_string_equal(reply.body, "GET /echo - ");
    reply_done(&reply);
    client_close(&first);
    client_close(&second);
    client_close(&third);
    wait_for_load(!load.is_accept_paused && load.n_connections == 0);
    fixture_stop();
}

static void idle_connections_make_room(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.max_connections = 4});
    Client idle[4];
    for (int i = 0; i < 4; i++)
        idle[i] = client_open();
    wait_for_load(load.n_connections == 4);
    /* More than fit, one after the other; the idle timeout is a minute away. */
    int64_t began_ms = now_ms();
    for (int i = 0; i < 4; i++)
        assert_serves();
    assert_true(now_ms() - began_ms < 15000);
    client_assert_closed(&idle[0]); /* the oldest made room */
    for (int i = 0; i < 4; i++)
        client_close(&idle[i]);
    fixture_stop();
}

static void thousands_of_idle_connections_keep_nobody_out(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit); /* raised by the server; both ends are ours here */
    size_t n = MIN((size_t)limit.rlim_cur / 2 - 200, 3000);
    Client *idle = g_new(Client, n);
    for (size_t i = 0; i < n; i++)
        idle[i] = client_open();
    wait_for_load(load.n_connections == n);
    assert_false(http_server_load(fixture_server()).is_accept_paused);
    int64_t began_ms = now_ms();
    for (int i = 0; i < 20; i++)
        assert_serves();
    assert_true(now_ms() - began_ms < 5000);
    for (size_t i = 0; i < n; i++)
        client_close(&idle[i]);
    wait_for_load(load.n_connections == 0);
    g_free(idle);
    fixture_stop();
}

#define with_server(f) cmocka_unit_test_setup_teardown(f, start, stop)
#define with_impatient(f) cmocka_unit_test_setup_teardown(f, start_impatient, stop_only)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(garbage_is_a_400),
        with_server(large_headers_are_a_431),
        with_server(almost_too_large_headers_are_served),
        with_server(transfer_codings_but_chunked_are_a_400),
        with_server(lengths_that_differ_or_are_none_are_a_400),
        with_server(hosts_must_be_one),
        with_server(methods_nobody_knows_are_a_501),
        with_server(nul_and_control_characters_are_a_400),
        with_server(paths_that_do_not_decode_are_a_400),
        with_server(what_only_evhttp_refuses_is_our_400_too),
        with_server(smuggled_requests_are_not_served),
        with_server(earlier_pipelined_requests_are_answered_before_a_refusal),
        with_server(announced_large_bodies_are_a_413_at_once),
        with_server(the_413_reaches_a_client_that_sends_on),
        with_server(chunked_bodies_are_cut),
        with_server(the_largest_chunked_body_is_taken),
        cmocka_unit_test(unfinished_requests_together_have_a_limit),
        with_impatient(dripping_requests_end_after_the_total_deadline),
        with_impatient(the_deadline_counts_anew_for_each_request),
        with_impatient(a_pipelined_fragment_has_its_deadline_too),
        with_impatient(idle_connections_are_closed),
        with_impatient(a_parked_request_is_not_idle),
        with_impatient(a_client_that_does_not_read_is_closed),
        with_impatient(a_client_that_reads_slowly_is_served),
        cmocka_unit_test(out_of_descriptors_accepting_pauses_and_recovers),
        cmocka_unit_test(above_the_limit_of_connections_accepting_pauses),
        cmocka_unit_test(idle_connections_make_room),
        cmocka_unit_test(thousands_of_idle_connections_keep_nobody_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
