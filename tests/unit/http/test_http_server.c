/* test_http_server.c - requests and replies over real sockets, tasks and timers, from one request to many threads. */
#include "test_http_server_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/id.h"

static int start(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){0});
    return 0;
}

static int start_two_loops(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fixture_stop();
    return 0;
}

static void starts_and_stops(void **state)
{
    (void)state;
    assert_true(http_server_port(fixture_server()) > 0);
    assert_true(http_server_is_idle(fixture_server()));
}

static void a_get_is_answered(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /echo?a=%20b HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply.body, "GET /echo a=%20b ");
    assert_true(g_str_has_prefix(reply.head, "HTTP/1.1 200 OK\r\nDate: "));
    g_autofree char *id = reply_header(&reply, "X-Request-Id");
    assert_true(id_is_valid(id));
    g_autofree char *evil = reply_header(&reply, "X-Evil");
    assert_string_equal(evil, "a  b"); /* a line end in a value ends no line */
    assert_null(reply_header(&reply, "Connection"));
    reply_done(&reply);
    client_close(&client);
}

static void the_date_is_now(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply reply = client_read_reply(&client, false);
    g_autofree char *date = reply_header(&reply, "Date");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    bool is_now = false;
    for (int ago = 0; ago < 5 && !is_now; ago++) {
        g_autoptr(GDateTime) then = g_date_time_add_seconds(now, -ago);
        g_autofree char *text = g_date_time_format(then, "%a, %d %b %Y %H:%M:%S GMT");
        is_now = strcmp(text, date) == 0;
    }
    assert_true(is_now);
    reply_done(&reply);
    client_close(&client);
}

static void every_known_method_arrives(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    Client client = client_open();
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *request =
            g_strdup_printf("%s /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", methods[i]);
        g_autofree char *expected = g_strdup_printf("%s /echo - body", methods[i]);
        client_send(&client, request);
        Reply reply = client_read_reply(&client, false);
        assert_string_equal(reply.body, expected);
        reply_done(&reply);
    }
    client_close(&client);
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply head = client_read_reply(&client, true);
    g_autofree char *length = reply_header(&head, "Content-Length");
    assert_string_equal(length, "13"); /* "HEAD /echo - " */
    Reply get = client_read_reply(&client, false);
    assert_string_equal(get.body, "GET /echo - ");
    reply_done(&head);
    reply_done(&get);
    client_close(&client);
}

static void no_content_has_no_length(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /none HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply none = client_read_reply(&client, false);
    assert_int_equal(none.status, 204);
    assert_null(reply_header(&none, "Content-Length"));
    Reply get = client_read_reply(&client, false);
    assert_int_equal(get.status, 200);
    reply_done(&none);
    reply_done(&get);
    client_close(&client);
}

static void paths_are_decoded_and_targets_may_be_absolute(void **state)
{
    (void)state;
    static const char *const targets[][2] = {
        {"/a%20b/%C3%A4", "GET /a b/\xc3\xa4 - "},     {"/a?b?c", "GET /a b?c "}, {"/a?", "GET /a  "},
        {"http://a:80/x%2Fy?q", "GET /x/y q "},        {"http://a", "GET / - "},  {"http://a?q", "GET / q "},
        {"//double//slash", "GET //double//slash - "}, {"/a:b", "GET /a:b - "},   {"/+", "GET /+ - "},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(targets); i++) {
        g_autofree char *request =
            g_strdup_printf("GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", targets[i][0]);
        g_autofree char *text = talk(request);
        if (!g_str_has_suffix(text, targets[i][1]))
            fail_msg("%s: %s", targets[i][0], text);
    }
    g_autofree char *text = talk("OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(g_str_has_suffix(text, "OPTIONS * - "));
    text = (g_free(text), talk("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_non_null(strstr(text, "Connection: close"));
}

static void headers_are_found_and_joined(void **state)
{
    (void)state;
    g_autofree char *text = talk("GET /fields?if-match HTTP/1.1\r\nHost: a\r\nIf-Match: \"a\"\r\nX: y\r\n"
                                 "IF-MATCH:\t \"b\" \t\r\nConnection: close\r\n\r\n");
    assert_true(g_str_has_suffix(text, "[\"a\"][\"a\", \"b\"]"));
    g_autofree char *none = talk("GET /fields?y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(g_str_has_suffix(none, "[none][none]"));
}

static void request_ids_come_back_when_they_are_sane(void **state)
{
    (void)state;
    g_autofree char *longest = g_strnfill(128, 'i');
    g_autofree char *too_long = g_strnfill(129, 'i');
    const char *const ids[] = {"abc-123", longest, too_long, "a b", "\xc3\xa4", ""};
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        Client client = client_open();
        g_autofree char *request = g_strdup_printf("GET /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: %s\r\n\r\n", ids[i]);
        client_send(&client, request);
        Reply reply = client_read_reply(&client, false);
        g_autofree char *id = reply_header(&reply, "X-Request-Id");
        if (i < 2)
            assert_string_equal(id, ids[i]);
        else
            assert_true(id_is_valid(id));
        reply_done(&reply);
        client_close(&client);
    }
}

static void one_connection_serves_many_requests(void **state)
{
    (void)state;
    Client client = client_open();
    for (int i = 0; i < 300; i++) {
        client_send(&client, i % 3 ? "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n" : "GET /task HTTP/1.1\r\nHost: a\r\n\r\n");
        Reply reply = client_read_reply(&client, false);
        assert_string_equal(reply.body, i % 3 ? "GET /echo - " : "later");
        reply_done(&reply);
    }
    HttpLoad before = http_server_load(fixture_server());
    assert_int_equal(before.n_connections, 1);
    assert_int_equal(before.n_requests, 300);
    client_close(&client);
    wait_for_load(load.n_connections == 0);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    (void)state;
    Client client = client_open();
    g_autoptr(GString) requests = g_string_new(NULL);
    for (int i = 0; i < 200; i++)
        g_string_append_printf(requests, "POST /%s?%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d",
                               i % 7 ? "echo" : "task", i, i % 100);
    client_send(&client, requests->str);
    for (int i = 0; i < 200; i++) {
        Reply reply = client_read_reply(&client, false);
        g_autofree char *expected = i % 7 ? g_strdup_printf("POST /echo %d %02d", i, i % 100) : g_strdup("later");
        assert_string_equal(reply.body, expected);
        reply_done(&reply);
    }
    client_close(&client);
}

static void what_follows_a_parked_request_waits_for_its_answer(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\nGET /echo?2 HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture_wait_parked(1);
    assert_false(http_server_is_idle(fixture_server()));
    fixture_answer_parked(202, "first");
    Reply first = client_read_reply(&client, false);
    Reply second = client_read_reply(&client, false);
    assert_int_equal(first.status, 202);
    assert_string_equal(first.body, "first");
    assert_string_equal(second.body, "GET /echo 2 ");
    assert_int_equal(fixture_n_freed(), 1);
    reply_done(&first);
    reply_done(&second);
    client_close(&client);
}

static void requests_may_arrive_byte_by_byte(void **state)
{
    (void)state;
    static const char request[] = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
                                  "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    Client client = client_open();
    int on = 1;
    setsockopt(client.fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
    for (size_t i = 0; i < sizeof request - 1; i++)
        client_send_n(&client, request + i, 1);
    Reply first = client_read_reply(&client, false);
    assert_string_equal(first.body, "POST /echo - hello!");
    Reply second = client_read_reply(&client, false);
    assert_string_equal(second.body, "POST /echo - abc");
    reply_done(&first);
    reply_done(&second);
    client_close(&client);
}

static void an_empty_line_before_a_request_is_forgiven(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /echo?2 HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply first = client_read_reply(&client, false);
    Reply second = client_read_reply(&client, false);
    assert_string_equal(second.body, "GET /echo 2 ");
    reply_done(&first);
    reply_done(&second);
    client_close(&client);
}

static void large_bodies_come_and_go(void **state)
{
    (void)state;
    Client client = client_open();
    g_autofree char *body = g_strnfill(HTTP_MAX_BODY_BYTES, 'x');
    g_autofree char *head =
        g_strdup_printf("PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", HTTP_MAX_BODY_BYTES);
    client_send(&client, head);
    client_send(&client, body);
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.body_size, strlen("PUT /echo - ") + HTTP_MAX_BODY_BYTES);
    assert_string_equal(reply.body + strlen("PUT /echo - "), body);
    reply_done(&reply);

    client_send(&client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply big = client_read_reply(&client, false);
    assert_int_equal(big.body_size, BIG_SIZE);
    Reply after = client_read_reply(&client, false);
    assert_string_equal(after.body, "GET /echo - ");
    reply_done(&big);
    reply_done(&after);
    client_close(&client);
}

static void chunked_bodies_arrive_and_the_connection_stays(void **state)
{
    (void)state;
    Client client = client_open();
    for (int i = 0; i < 3; i++) {
        client_send(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "a\r\n0123456789\r\n1\r\n!\r\n0\r\n\r\n");
        Reply reply = client_read_reply(&client, false);
        assert_string_equal(reply.body, "POST /echo - 0123456789!");
        reply_done(&reply);
    }
    client_close(&client);
}

static void a_client_that_asks_may_continue(void **state)
{
    (void)state;
    Client client = client_open();
    for (int i = 0; i < 2; i++) {
        client_send(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        g_autofree char *leave = client_read_until(&client, "\r\n\r\n");
        assert_string_equal(leave, "HTTP/1.1 100 Continue\r\n\r\n");
        client_send(&client, "body");
        Reply reply = client_read_reply(&client, false);
        assert_string_equal(reply.body, "POST /echo - body");
        reply_done(&reply);
    }
    /* Whoever does not wait is not told. */
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody");
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 200);
    reply_done(&reply);
    client_close(&client);
}

static void old_and_closing_clients_are_closed(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /echo HTTP/1.0\r\n\r\n",
        "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(requests); i++) {
        g_autofree char *text = talk(requests[i]);
        assert_true(g_str_has_prefix(text, "HTTP/1.1 200 OK\r\n"));
        assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
        assert_true(g_str_has_suffix(text, "GET /echo - "));
        assert_ptr_equal(strstr(text, "200 OK"), g_strrstr(text, "200 OK")); /* one answer */
    }
}

static void a_half_closed_client_is_answered(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture_wait_parked(1);
    shutdown(client.fd, SHUT_WR);
    fixture_answer_parked(200, "late");
    Reply reply = client_read_reply(&client, false);
    assert_string_equal(reply.body, "late");
    client_assert_closed(&client);
    reply_done(&reply);
    client_close(&client);
}

static void a_reply_to_nobody_goes_nowhere(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        Client client = client_open();
        client_send(&client, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
        fixture_wait_parked(1);
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        if (i % 2)
            setsockopt(client.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        client_close(&client);
        fixture_answer_parked(200, "anybody there?");
    }
    assert_int_equal(fixture_n_freed(), 20);
    wait_for_load(load.n_connections == 0);
    assert_true(http_server_is_idle(fixture_server()));
}

static void a_client_that_leaves_in_the_middle_is_forgotten(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    client_close(&client);
    Client other = client_open();
    client_send(&other, "GET /e");
    client_close(&other);
    Client reader = client_open_slow();
    client_send(&reader, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    g_free(client_read_until(&reader, "\r\n"));
    client_close(&reader);
    wait_for_load(load.n_connections == 0);
    assert_true(http_server_is_idle(fixture_server()));
}

static void stop_frees_what_was_never_answered(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    Client clients[6];
    for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = client_open();
        client_send(&clients[i], "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    fixture_wait_parked(G_N_ELEMENTS(clients));
    fixture_stop();
    assert_int_equal(fixture_n_freed(), G_N_ELEMENTS(clients));
    for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
        assert_true(client_is_reset_or_closed(&clients[i]));
        client_close(&clients[i]);
    }
}

typedef struct {
    HttpTask task;
    Bell end;
} Hang;

static void hang(HttpTask *task)
{
    bell_wait(&((Hang *)task)->end, -1);
}

static void a_loop_that_hangs_takes_no_turn(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    Hang hanging = {.task.run = hang};
    bell_init(&hanging.end);
    assert_true(http_server_turns(fixture_server()));
    while (!http_server_turns(fixture_server())) /* on a loaded machine not at once */
        fixture_pause();
    http_loop_post(http_server_loop(fixture_server(), 1), &hanging.task);
    (void)http_server_turns(fixture_server()); /* asked behind it, or a moment before */
    (void)http_server_turns(fixture_server());
    assert_false(http_server_turns(fixture_server()));
    bell_ring(&hanging.end);
    while (!http_server_turns(fixture_server()))
        fixture_pause();
    fixture_stop();
    bell_done(&hanging.end);
}

static void draining_answers_what_is_under_way_and_takes_no_more(void **state)
{
    (void)state;
    fixture_start((FixtureOptions){.n_loops = 2});
    Client idle = client_open();
    client_send(&idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply before = client_read_reply(&idle, false);
    Client silent = client_open();
    Client waiting = client_open();
    client_send(&waiting, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    fixture_wait_parked(1);
    http_server_drain(fixture_server());
    http_server_drain(fixture_server());
    client_send(&idle, "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
    Reply last = client_read_reply(&idle, false);
    g_autofree char *is_last = reply_header(&last, "Connection");
    assert_string_equal(is_last, "close");
    client_assert_closed(&idle);
    client_assert_closed(&silent);
    assert_false(http_server_is_idle(fixture_server()));
    fixture_answer_parked(200, "done");
    Reply reply = client_read_reply(&waiting, false);
    assert_string_equal(reply.body, "done");
    g_autofree char *connection = reply_header(&reply, "Connection");
    assert_string_equal(connection, "close");
    client_assert_closed(&waiting);
    wait_for_load(load.n_connections == 0 && http_server_is_idle(fixture_server()));

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(http_server_port(fixture_server()))};
    address.sin_addr.s_addr = htonl(FIXTURE_ADDRESS_NUMBER);
    assert_int_not_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    reply_done(&before);
    reply_done(&last);
    reply_done(&reply);
    client_close(&idle);
    client_close(&silent);
    client_close(&waiting);
    fixture_stop();
}

static void an_empty_line_behind_a_body_is_no_request(void **state)
{
    (void)state;
    Client client = client_open();
    client_send(&client, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n");
    Reply reply = client_read_reply(&client, false);
    assert_int_equal(reply.status, 200);
    assert_serves(); /* the line has been looked at */
    assert_true(http_server_is_idle(fixture_server()));
    reply_done(&reply);
    client_close(&client);
}

/* ---- the port ---- */

static void never_called(HttpRequest *request, void *arg)
{
    (void)arg;
    http_reply(request, 500, NULL, 0, NULL, 0);
}

static void no_body(int status, const char *message, const char *request_id, GString *out, void *arg)
{
    (void)status;
    (void)message;
    (void)request_id;
    (void)out;
    (void)arg;
}

static void assert_does_not_start(const char *address, uint16_t port, int code)
{
    HttpOptions options = {
        .address = address, .port = port, .n_loops = 2, .handler = never_called, .error_body = no_body};
    g_autoptr(GError) error = NULL;
    assert_null(http_server_start(&options, fixture_clock(), &error));
    assert_true(g_error_matches(error, FLOWOPS_ERROR, code));
    assert_null(strchr(error->message, '\n'));
}

static void a_taken_port_is_told(void **state)
{
    (void)state;
    /* By another of us, which shares its port among its own loops. */
    assert_does_not_start(FIXTURE_ADDRESS, http_server_port(fixture_server()), FLOWOPS_CONFLICT);
    assert_does_not_start("0.0.0.0", http_server_port(fixture_server()), FLOWOPS_CONFLICT);
    assert_does_not_start("localhost", 0, FLOWOPS_UNAVAILABLE);
    assert_does_not_start("203.0.113.1", 0, FLOWOPS_UNAVAILABLE); /* not ours */
    assert_serves();
    /* By a stranger. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_does_not_start("127.0.0.1", ntohs(address.sin_port), FLOWOPS_CONFLICT);
    close(fd);
}

static void a_port_is_free_again_at_once(void **state)
{
    (void)state;
    HttpOptions options = {.address = "::1", .n_loops = 2, .handler = never_called, .error_body = no_body};
    for (int i = 0; i < 5; i++) {
        g_autoptr(GError) error = NULL;
        HttpServer *server = http_server_start(&options, fixture_clock(), &error);
        assert_null(error);
        options.port = http_server_port(server);
        http_server_stop(server);
    }
    http_server_stop(NULL);
}

/* ---- tasks and timers ---- */

static void every_loop_serves(void **state)
{
    (void)state;
    /* The kernel spreads connections by a hash; a hundred on one of two loops is not going to happen. */
    for (int i = 0; i < 100; i++)
        assert_serves();
    HttpLoad load = http_server_load(fixture_server());
    assert_int_equal(load.n_requests, 100);
    assert_int_equal(http_loop_index(http_server_loop(fixture_server(), 0)), 0);
    assert_int_equal(http_loop_index(http_server_loop(fixture_server(), 1)), 1);
}

#define N_POSTERS 4
#define N_POSTS 2000

typedef struct {
    HttpTask task;
    int poster, number;
} Numbered;

static int next_of[N_POSTERS]; /* loop 1 only */
static int n_run;              /* atomic */

static void check_order(HttpTask *task)
{
    const Numbered *numbered = (const Numbered *)(void *)task;
    assert_int_equal(numbered->number, next_of[numbered->poster]++);
    assert_int_equal(thread_role(), ROLE_LOOP);
    __atomic_add_fetch(&n_run, 1, __ATOMIC_SEQ_CST);
}

static void post_many(void *arg)
{
    Numbered *tasks = arg;
    for (int i = 0; i < N_POSTS; i++)
        http_loop_post(http_server_loop(fixture_server(), 1), &tasks[i].task);
}

static void tasks_of_many_threads_run_in_their_order(void **state)
{
    (void)state;
    Numbered *tasks = g_new0(Numbered, N_POSTERS * N_POSTS);
    Thread *threads[N_POSTERS];
    memset(next_of, 0, sizeof next_of);
    n_run = 0;
    for (int poster = 0; poster < N_POSTERS; poster++) {
        for (int i = 0; i < N_POSTS; i++)
            tasks[poster * N_POSTS + i] = (Numbered){.task = {.run = check_order}, .poster = poster, .number = i};
        threads[poster] = thread_start("poster", ROLE_WRITER, post_many, tasks + poster * N_POSTS, NULL);
        assert_non_null(threads[poster]);
    }
    for (int poster = 0; poster < N_POSTERS; poster++)
        thread_join(threads[poster]);
    int64_t give_up_ms = clock_monotonic_ms(fixture_clock()) + PATIENCE_MS;
    while (__atomic_load_n(&n_run, __ATOMIC_SEQ_CST) < N_POSTERS * N_POSTS) {
        assert_true(clock_monotonic_ms(fixture_clock()) < give_up_ms);
        fixture_pause();
    }
    g_free(tasks);
}

static struct {
    HttpTask task;
    HttpTimer *timer, *never;
    int n_fired;
    int64_t armed_ms, fired_ms;
    Bell done;
} timing;

static void on_fire(void *arg)
{
    assert_ptr_equal(arg, &timing);
    timing.fired_ms = clock_monotonic_ms(fixture_clock());
    if (++timing.n_fired < 3) {
        http_timer_arm(timing.timer, 0);
        return;
    }
    http_timer_free(timing.timer);
    http_timer_free(timing.never);
    http_timer_free(NULL);
    bell_ring(&timing.done);
}

static void on_never(void *arg)
{
    (void)arg;
    g_assert_not_reached();
}

static void begin_timing(HttpTask *task)
{
    (void)task;
    HttpLoop *loop = http_server_loop(fixture_server(), 0);
    timing.timer = http_timer_new(loop, on_fire, &timing);
    timing.never = http_timer_new(loop, on_never, NULL);
    timing.armed_ms = clock_monotonic_ms(fixture_clock());
    http_timer_arm(timing.timer, 3600 * 1000);
    http_timer_arm(timing.timer, 30); /* moves it */
    http_timer_arm(timing.never, 1);
    http_timer_arm(timing.never, 3600 * 1000);
}

static void timers_fire_when_they_should(void **state)
{
    (void)state;
    memset(&timing, 0, sizeof timing);
    bell_init(&timing.done);
    timing.task.run = begin_timing;
    http_loop_post(http_server_loop(fixture_server(), 0), &timing.task);
    assert_true(bell_wait(&timing.done, PATIENCE_MS));
    assert_int_equal(timing.n_fired, 3);
    assert_true(timing.fired_ms - timing.armed_ms >= 25); /* libevent's clock is coarse */
    bell_done(&timing.done);
}

typedef struct {
    int n_ok;
    int seed;
} Hammer;

static void hammer(void *arg)
{
    Hammer *self = arg;
    for (int i = 0; i < 60; i++) {
        Client client = client_open();
        for (int j = 0; j < 5; j++) {
            bool is_task = (i + j + self->seed) % 2;
            client_send(&client,
                        is_task ? "GET /task HTTP/1.1\r\nHost: a\r\n\r\n" : "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
            Reply reply = client_read_reply(&client, false);
            self->n_ok += strcmp(reply.body, is_task ? "later" : "GET /echo - ") == 0;
            reply_done(&reply);
        }
        client_close(&client);
    }
}

static void many_clients_at_once(void **state)
{
    (void)state;
    Hammer hammers[4] = {0};
    Thread *threads[4];
    for (int i = 0; i < 4; i++) {
        hammers[i].seed = i;
        threads[i] = thread_start("hammer", ROLE_READER, hammer, &hammers[i], NULL);
        assert_non_null(threads[i]);
    }
    for (int i = 0; i < 4; i++) {
        thread_join(threads[i]);
        assert_int_equal(hammers[i].n_ok, 300);
    }
    wait_for_load(load.n_connections == 0);
    HttpLoad after = http_server_load(fixture_server());
    assert_int_equal(after.n_requests, 1200);
}

#define with_server(f) cmocka_unit_test_setup_teardown(f, start, stop)
#define with_two_loops(f) cmocka_unit_test_setup_teardown(f, start_two_loops, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_server(starts_and_stops),
        with_server(a_get_is_answered),
        with_server(the_date_is_now),
        with_server(every_known_method_arrives),
        with_server(head_has_the_length_and_no_body),
        with_server(no_content_has_no_length),
        with_server(paths_are_decoded_and_targets_may_be_absolute),
        with_server(headers_are_found_and_joined),
        with_server(request_ids_come_back_when_they_are_sane),
        with_server(one_connection_serves_many_requests),
        with_server(pipelined_requests_are_answered_in_order),
        with_server(what_follows_a_parked_request_waits_for_its_answer),
        with_server(requests_may_arrive_byte_by_byte),
        with_server(an_empty_line_before_a_request_is_forgiven),
        with_server(an_empty_line_behind_a_body_is_no_request),
        with_server(large_bodies_come_and_go),
        with_server(chunked_bodies_arrive_and_the_connection_stays),
        with_server(a_client_that_asks_may_continue),
        with_server(old_and_closing_clients_are_closed),
        with_server(a_half_closed_client_is_answered),
        with_server(a_reply_to_nobody_goes_nowhere),
        with_server(a_client_that_leaves_in_the_middle_is_forgotten),
        cmocka_unit_test(stop_frees_what_was_never_answered),
        cmocka_unit_test(a_loop_that_hangs_takes_no_turn),
        cmocka_unit_test(draining_answers_what_is_under_way_and_takes_no_more),
        with_two_loops(a_taken_port_is_told),
        with_two_loops(a_port_is_free_again_at_once),
        with_two_loops(every_loop_serves),
        with_two_loops(tasks_of_many_threads_run_in_their_order),
        with_two_loops(timers_fire_when_they_should),
        with_two_loops(many_clients_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
