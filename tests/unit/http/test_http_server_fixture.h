/* test_http_server_fixture.h - a server with a tiny handler, and raw clients for it. Paths:
 *   /echo     "METHOD path query body" (query "-" when there is none)
 *   /fields   the header named by the query, first and joined
 *   /big      BIG_SIZE bytes
 *   /none     204
 *   /wait     parked until fixture_answer_parked()
 *   /stream   a stream, see fixture_stream_*()
 *   /task     answered from a task of the same loop */
#ifndef FLOWOPS_TEST_HTTP_SERVER_FIXTURE_H
#define FLOWOPS_TEST_HTTP_SERVER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/thread.h"
#include "http/http_server.h"

#define BIG_SIZE (8 * 1024 * 1024)
#define PATIENCE_MS 20000 /* what should happen soon; reached only when it never does */

/* ---- the server ---- */

typedef struct {
    size_t n_loops;
    size_t max_connections;
    int64_t receive_deadline_ms, idle_timeout_ms;
} FixtureOptions;

/* Of loopback, but nobody else's: where the server has closed a port, no other program of this machine opens it. */
#define FIXTURE_ADDRESS "127.0.7.1"
#define FIXTURE_ADDRESS_NUMBER 0x7f000701

void fixture_start(FixtureOptions options);
void fixture_stop(void); /* also frees what the tests left */
HttpServer *fixture_server(void);
Clock *fixture_clock(void);

void fixture_wait_parked(int n);
void fixture_answer_parked(int status, const char *body);
int fixture_n_freed(void); /* requests' data freed so far */

/* Streams, numbered as they were opened. The calls run on the loops and return when they are done. */
void fixture_wait_streams(int n_opened);
void fixture_wait_closed(int n_closed);
int fixture_n_closing(void);
int fixture_n_writable(void);
bool fixture_stream_write(int i, const char *text, size_t size); /* what http_stream_write() said */
int fixture_stream_write_all(const char *text, size_t size);     /* one chunk to all; how many took it whole */
bool fixture_stream_is_writable(int i);
int64_t fixture_stream_stuck_for_ms(int i);
void fixture_stream_close(int i);
/* What the streams do by themselves: close when told that the server drains; write on from on_writable until n. */
void fixture_streams_close_on_closing(bool is_set);

/* Waits until the load satisfies `is_so`, or fails. */
#define wait_for_load(is_so) \
    do { \
        int64_t give_up_ms = clock_monotonic_ms(fixture_clock()) + PATIENCE_MS; \
        HttpLoad load = http_server_load(fixture_server()); \
        while (!(is_so)) { \
            assert_true(clock_monotonic_ms(fixture_clock()) < give_up_ms); \
            fixture_pause(); \
            load = http_server_load(fixture_server()); \
        } \
    } while (0)
void fixture_pause(void); /* between two looks */

/* ---- clients ---- */

typedef struct {
    int fd;
    GString *got; /* received and not yet taken */
} Client;

typedef struct {
    int status;
    char *head;
    char *body;
    size_t body_size;
} Reply;

Client client_open(void);
Client client_open_slow(void); /* with the smallest receive buffer */
void client_close(Client *client);
void client_send(Client *client, const char *text);
void client_send_n(Client *client, const char *text, size_t size);
bool client_try_send_n(Client *client, const char *text, size_t size);
/* By Content-Length; is_head: none follows. Fails the test when the connection ends first. */
Reply client_read_reply(Client *client, bool is_head);
void reply_done(Reply *reply);
char *reply_header(const Reply *reply, const char *name); /* NULL: none */
/* Takes exactly up to and with `end`. */
char *client_read_until(Client *client, const char *end);
void client_read_n(Client *client, size_t size, char *ret_bytes);
/* The rest of what comes until the server closes. */
char *client_read_to_end(Client *client, size_t *ret_size);
void client_assert_closed(Client *client);
bool client_is_reset_or_closed(Client *client);

/* A request on a connection of its own; what comes until its end. */
char *talk(const char *request);
void assert_status_and_close(const char *request, size_t size, int status, const char *message_part);
void assert_serves(void); /* a plain request is answered */

#endif
