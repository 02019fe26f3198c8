/* test_http_server_frame.c - what the strict look at raw requests lets through, and everything it must not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "http/http_server_frame.h"

static FrameHead head;
static FrameFault fault;

/* The text is copied to its exact size, so that sanitizers see a byte read too far. */
static FrameResult scan_n(const char *text, size_t size)
{
    size_t at = 0;
    g_autofree char *copy = g_memdup2(text, size);
    head = (FrameHead){0};
    fault = (FrameFault){0};
    return frame_scan_head(copy, size, &at, &head, &fault);
}

static FrameResult scan(const char *text)
{
    return scan_n(text, strlen(text));
}

static void assert_refused_n(const char *text, size_t size, int status)
{
    if (scan_n(text, size) != FRAME_REFUSED || fault.status != status)
        fail_msg("expected %d, got %d (%s) for: %s", status, fault.status, fault.message ? fault.message : "-", text);
    assert_non_null(fault.message);
}

static void assert_refused(const char *text, int status)
{
    assert_refused_n(text, strlen(text), status);
}

/* One header line (or several) in an otherwise fine GET. */
static void assert_field_refused(const char *lines, int status)
{
    g_autofree char *text = g_strconcat("POST / HTTP/1.1\r\nHost: a\r\n", lines, "\r\n\r\n", NULL);
    assert_refused(text, status);
}

static void assert_field_taken(const char *lines)
{
    g_autofree char *text = g_strconcat("POST / HTTP/1.1\r\nHost: a\r\n", lines, "\r\n\r\n", NULL);
    if (scan(text) != FRAME_COMPLETE)
        fail_msg("refused with %d (%s): %s", fault.status, fault.message ? fault.message : "-", lines);
    assert_int_equal(head.head_size, strlen(text));
}

static void a_small_request_is_complete(void **state)
{
    (void)state;
    const char *text = "GET /a?b=c HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
    assert_int_equal(scan(text), FRAME_COMPLETE);
    assert_int_equal(head.method, HTTP_GET);
    assert_int_equal(head.head_size, strlen(text));
    assert_int_equal(head.content_length, 0);
    assert_true(head.is_keep_alive);
    assert_false(head.is_http_1_0);
    assert_false(head.is_chunked);
    assert_false(head.expects_continue);
}

static void what_follows_the_head_is_not_looked_at(void **state)
{
    (void)state;
    assert_int_equal(scan("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\x01\n\n"), FRAME_COMPLETE);
    assert_int_equal(head.content_length, 3);
    assert_int_equal(head.head_size, 47);
}

static void every_prefix_is_partial(void **state)
{
    (void)state;
    const char *text = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX: y\r\n\r\n";
    for (size_t size = 0; size < strlen(text); size++)
        assert_int_equal(scan_n(text, size), FRAME_PARTIAL);
}

static void byte_by_byte_comes_to_the_same(void **state)
{
    (void)state;
    const char *text = "PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nX: y\r\n\r\n";
    size_t at = 0;
    for (size_t size = 1; size < strlen(text); size++) {
        g_autofree char *copy = g_memdup2(text, size);
        assert_int_equal(frame_scan_head(copy, size, &at, &head, &fault), FRAME_PARTIAL);
    }
    assert_int_equal(frame_scan_head(text, strlen(text), &at, &head, &fault), FRAME_COMPLETE);
    assert_int_equal(head.method, HTTP_PUT);
    assert_int_equal(head.content_length, 12);
}

static void methods_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        HttpMethod method;
    } methods[] = {{"GET", HTTP_GET},       {"HEAD", HTTP_HEAD},       {"POST", HTTP_POST},  {"PUT", HTTP_PUT},
                   {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS}, {"PATCH", HTTP_PATCH}};
    for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *text = g_strdup_printf("%s / HTTP/1.1\r\nHost: a\r\n\r\n", methods[i].name);
        assert_int_equal(scan(text), FRAME_COMPLETE);
        assert_int_equal(head.method, methods[i].method);
    }
    assert_refused("get / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    assert_refused("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    assert_refused("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    assert_refused("BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
    assert_refused("GETT / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
}

static void request_lines_that_are_none(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        "GET",
        "GET / HTTP/1.11",
        "GET / HTTP/1",
        "GET / http/1.1",
        "GET / HTTP/+1.1",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / a HTTP/1.1",
        "/ HTTP/1.1",
        "GET /\tx HTTP/1.1",
        "hello",
        ":",
        "GET / HTTP/1.1\r",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autofree char *text = g_strconcat(lines[i], "\r\n", NULL); /* told before the head is whole */
        assert_refused(text, 400);
    }
    assert_refused("GET / HTTP/2.0\r\n", 505);
    assert_refused("PRI * HTTP/2.0\r\n", 505);
    assert_refused("GET / HTTP/0.9\r\n", 505);
}

static void what_cannot_begin_a_request_is_told_at_once(void **state)
{
    (void)state;
    assert_refused("\x16\x03\x01\x02", 400); /* TLS */
    assert_refused_n("\0", 1, 400);
    assert_refused("\n", 400);
    assert_refused("\r\n", 400);
    assert_refused("{", 400);
}

static void targets(void **state)
{
    (void)state;
    static const char *const fine[] = {"/",          "/a/b?c=d&e=%20", "//",          "/%zz", "http://a",
                                       "http://a/b", "HTTPS://a:1?x",  "/a|b{c}\"<>", "/?"};
    static const char *const bad[] = {"a",    "*",     "a:b",       "http://", "http:///a", "ftp://a/",
                                      "/a#b", "/\x7f", "/\xc3\xa4", "http:/a", "httpx://a", "https://?"};
    for (size_t i = 0; i < G_N_ELEMENTS(fine); i++) {
        g_autofree char *text = g_strdup_printf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", fine[i]);
        if (scan(text) != FRAME_COMPLETE)
            fail_msg("refused: %s", fine[i]);
        assert_int_equal(head.is_keep_alive, fine[i][0] == '/');
    }
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", bad[i]);
        assert_refused(text, 400);
    }
    assert_int_equal(scan("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), FRAME_COMPLETE);
}

static void a_host_and_only_one(void **state)
{
    (void)state;
    assert_refused("GET / HTTP/1.1\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400);
    assert_int_equal(scan("GET / HTTP/1.0\r\n\r\n"), FRAME_COMPLETE);
    assert_int_equal(scan("GET / HTTP/1.1\r\nhost:\t[::1]:8080 \r\n\r\n"), FRAME_COMPLETE);
}

static void lengths(void **state)
{
    (void)state;
    static const char *const bad[] = {"+5", "-5", "5, 6", "5,5", "5 5", "0x5", "5;", "", "five", "5.0", "\"5\""};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *line = g_strconcat("Content-Length: ", bad[i], NULL);
        assert_field_refused(line, 400);
    }
    assert_field_refused("Content-Length: 5\r\nContent-Length: 6", 400);
    assert_field_refused("Content-Length: 5\r\nX: y\r\ncontent-length: 50", 400);
    assert_field_refused("Content-Length: 0\r\nContent-Length: 6", 400);
    assert_field_refused("Content-Length : 5", 400);
    assert_field_taken("Content-Length: 5\r\nContent-Length: 5");
    assert_field_taken("Content-Length:\t0005 ");
    assert_int_equal(head.content_length, 5);
    assert_field_taken("Content-Length: 1048576");
    assert_field_refused("Content-Length: 1048577", 413);
    assert_field_refused("Content-Length: 18446744073709551617", 413); /* 1 in 64 bits */
    assert_field_refused("Content-Length: 99999999999999999999999999999999999999999", 413);
}

static void transfer_codings(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "identity",    "gzip", "gzip, chunked", "chunked, gzip", "chunked, chunked", "xchunked", "chunkedx",
        "chunked;q=1", "",     "\"chunked\""};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *line = g_strconcat("Transfer-Encoding: ", bad[i], NULL);
        assert_field_refused(line, 400);
    }
    assert_field_refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400);
    assert_field_refused("Transfer-Encoding: chunked\r\nContent-Length: 5", 400);
    assert_field_refused("Content-Length: 5\r\nTransfer-Encoding: chunked", 400);
    assert_field_refused("Transfer-Encoding : chunked", 400);
    assert_field_refused("Transfer-Encoding:\r\n chunked", 400);
    assert_field_refused("Transfer-Encoding: chun\x0bked", 400);
    assert_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    assert_field_taken("Transfer-Encoding: Chunked\t");
    assert_true(head.is_chunked);
}

static void no_body_with_head(void **state)
{
    (void)state;
    assert_refused("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 400);
    assert_refused("HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    assert_int_equal(scan("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), FRAME_COMPLETE);
}

static void lines_and_names_and_values(void **state)
{
    (void)state;
    assert_refused("GET / HTTP/1.1\nHost: a\n\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400);
    assert_refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
    assert_field_refused("no colon", 400);
    assert_field_refused(": nameless", 400);
    assert_field_refused("a b: c", 400);
    assert_field_refused("a\x7f: c", 400);
    assert_field_refused("\xc3\xa4: c", 400);
    assert_field_refused(" folded: x", 400);
    assert_field_refused("a: b\r\n folded", 400);
    assert_field_refused("a: b\r\n\tfolded", 400);
    assert_field_refused("a: b\rc", 400);
    assert_field_refused("a: b\x01", 400);
    assert_field_refused("a: \x7f", 400);
    assert_field_taken("a:\r\nb: \t \r\nc: \xc3\xa4\xff \"(){}\r\n!#$%&'*+-.^_`|~9: x");
    static const char with_nul[] = "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n";
    assert_refused_n(with_nul, sizeof with_nul - 1, 400);
    static const char nul_in_name[] = "GET / HTTP/1.1\r\nHost: a\r\nX\0: ab\r\n\r\n";
    assert_refused_n(nul_in_name, sizeof nul_in_name - 1, 400);
    static const char nul_in_target[] = "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_refused_n(nul_in_target, sizeof nul_in_target - 1, 400);
}

static void who_wants_to_stay(void **state)
{
    (void)state;
    assert_field_taken("Connection: close");
    assert_false(head.is_keep_alive);
    assert_field_taken("Connection: Foo, CLOSE ,bar");
    assert_false(head.is_keep_alive);
    assert_field_taken("Connection: keep-alive\r\nConnection: close");
    assert_false(head.is_keep_alive);
    assert_field_taken("Connection: keep-alive");
    assert_true(head.is_keep_alive);
    assert_field_taken("Connection: ,,closed,");
    assert_true(head.is_keep_alive);
    assert_int_equal(scan("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), FRAME_COMPLETE);
    assert_true(head.is_http_1_0);
    assert_false(head.is_keep_alive);
}

static void expectations(void **state)
{
    (void)state;
    assert_field_taken("Expect: 100-Continue");
    assert_true(head.expects_continue);
    assert_field_refused("Expect: miracles", 417);
    assert_int_equal(scan("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), FRAME_COMPLETE);
    assert_false(head.expects_continue);
}

static void heads_have_a_limit(void **state)
{
    (void)state;
    const char *begin = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    g_autoptr(GString) text = g_string_new(begin);
    while (text->len < HTTP_MAX_HEADER_BYTES - 4)
        g_string_append_c(text, 'x');
    g_string_append(text, "\r\n\r\n");
    assert_int_equal(scan_n(text->str, text->len), FRAME_COMPLETE);
    g_string_insert_c(text, (gssize)strlen(begin), 'x');
    assert_refused_n(text->str, text->len, 431);
    g_string_truncate(text, HTTP_MAX_HEADER_BYTES);
    assert_int_equal(scan_n(text->str, text->len), FRAME_PARTIAL);
    g_string_append_c(text, 'x');
    assert_refused_n(text->str, text->len, 431);

    g_autofree char *endless = g_strnfill(HTTP_MAX_HEADER_BYTES + 1, 'A');
    assert_refused(endless, 431);
}

static void fields_have_a_limit(void **state)
{
    (void)state;
    g_autoptr(GString) text = g_string_new("GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 1; i < FRAME_MAX_FIELDS; i++)
        g_string_append(text, "a:\r\n");
    g_autofree char *most = g_strconcat(text->str, "\r\n", NULL);
    g_autofree char *too_many = g_strconcat(text->str, "a:\r\n\r\n", NULL);
    assert_int_equal(scan(most), FRAME_COMPLETE);
    assert_refused(too_many, 431);
}

/* ---- chunks ---- */

static FrameResult scan_chunks_in_pieces(const char *text, size_t step, size_t *ret_used)
{
    FrameChunks chunks = {0};
    FrameResult result = FRAME_PARTIAL;
    size_t size = strlen(text);
    *ret_used = 0;
    for (size_t i = 0; i < size && result == FRAME_PARTIAL; i += step) {
        size_t n = MIN(step, size - i);
        size_t n_used = 0;
        g_autofree char *copy = g_memdup2(text + i, n);
        result = frame_scan_chunks(&chunks, copy, n, &n_used, &fault);
        *ret_used += n_used;
    }
    return result;
}

static void chunked_bodies_end_where_they_say(void **state)
{
    (void)state;
    static const char *const bodies[] = {"0\r\n\r\n", "000\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n",
                                         "1\r\na\r\nA\r\n0123456789\r\n00\r\n\r\n", "2\r\n\r\n\r\n0\r\n\r\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        g_autofree char *text = g_strconcat(bodies[i], "GET / HTTP/1.1", NULL);
        for (size_t step = 1; step < 20; step++) {
            size_t n_used;
            assert_int_equal(scan_chunks_in_pieces(text, step, &n_used), FRAME_COMPLETE);
            assert_int_equal(n_used, strlen(bodies[i]));
        }
    }
}

static void chunked_bodies_that_are_none(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x5\r\n",
        " 5\r\n",
        "5 \r\n",
        "5;a=b\r\n",
        "5\n",
        "5\rx",
        "5\r\nhelloX",
        "5\r\nhello\n",
        "5\r\nhello\rX",
        "000000000\r\n",
        "5\r\n\r\nhello",
        "0\r\nX-User: a\r\n\r\n",
        "0\r\n\n",
        "5\r\nhello3\r\nabc",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        size_t n_used;
        g_autofree char *text = g_strconcat(bodies[i], "zzzzzzzzzzz", NULL);
        fault.status = 0;
        if (scan_chunks_in_pieces(text, 3, &n_used) != FRAME_REFUSED || fault.status != 400)
            fail_msg("taken: %s", bodies[i]);
    }
}

static void chunked_bodies_have_a_limit(void **state)
{
    (void)state;
    size_t n_used;
    assert_int_equal(scan_chunks_in_pieces("100000\r\n", 100, &n_used), FRAME_PARTIAL);
    assert_int_equal(scan_chunks_in_pieces("100001\r\n", 100, &n_used), FRAME_REFUSED);
    assert_int_equal(fault.status, 413);
    assert_int_equal(scan_chunks_in_pieces("FFFFFFFF\r\n", 100, &n_used), FRAME_REFUSED);
    assert_int_equal(fault.status, 413);
    assert_int_equal(scan_chunks_in_pieces("1\r\nx\r\n100000\r\n", 100, &n_used), FRAME_REFUSED);
    assert_int_equal(fault.status, 413);
}

/* ---- paths ---- */

static void paths_are_decoded(void **state)
{
    (void)state;
    char path[] = "/a%20b%2fc%C3%A4+d";
    assert_true(frame_decode_path(path));
    assert_string_equal(path, "/a b/c\xc3\xa4+d");
    static const char *const bad[] = {"/%", "/%2", "/%zz", "/%00", "/a%2x", "/%c3", "/%ff", "/%ed%a0%80", "/%%20"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *copy = g_strdup(bad[i]);
        if (frame_decode_path(copy))
            fail_msg("taken: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_request_is_complete),
        cmocka_unit_test(what_follows_the_head_is_not_looked_at),
        cmocka_unit_test(every_prefix_is_partial),
        cmocka_unit_test(byte_by_byte_comes_to_the_same),
        cmocka_unit_test(methods_are_told_apart),
        cmocka_unit_test(request_lines_that_are_none),
        cmocka_unit_test(what_cannot_begin_a_request_is_told_at_once),
        cmocka_unit_test(targets),
        cmocka_unit_test(a_host_and_only_one),
        cmocka_unit_test(lengths),
        cmocka_unit_test(transfer_codings),
        cmocka_unit_test(no_body_with_head),
        cmocka_unit_test(lines_and_names_and_values),
        cmocka_unit_test(who_wants_to_stay),
        cmocka_unit_test(expectations),
        cmocka_unit_test(heads_have_a_limit),
        cmocka_unit_test(fields_have_a_limit),
        cmocka_unit_test(chunked_bodies_end_where_they_say),
        cmocka_unit_test(chunked_bodies_that_are_none),
        cmocka_unit_test(chunked_bodies_have_a_limit),
        cmocka_unit_test(paths_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
