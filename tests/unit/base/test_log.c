/* test_log.c - log lines as they leave the process. stderr is a socket that keeps writes apart, so a line that took two
 * of them would be seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/thread.h"

static int reading_end, real_stderr;

static int capture(void **state)
{
    (void)state;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    real_stderr = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    reading_end = ends[0];
    return 0;
}

static int release(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(reading_end);
    return 0;
}

/* One write's text; NULL when nothing was written. */
static char *take_write(void)
{
    char buffer[65536];
    ssize_t n = recv(reading_end, buffer, sizeof buffer, MSG_DONTWAIT);
    return n < 0 ? NULL : g_strndup(buffer, (gsize)n);
}

static void assert_nothing_written(void)
{
    g_autofree char *text = take_write();
    assert_null(text);
}

/* The line without its time, which is checked. */
static char *take_text_line(void)
{
    g_autofree char *line = take_write();
    assert_non_null(line);
    assert_true(strlen(line) > 25);
    int64_t ms;
    line[24] = '\0';
    assert_true(instant_parse(line, &ms));
    return g_strdup(line + 25);
}

static JsonValue *take_json_line(void)
{
    g_autofree char *line = take_write();
    assert_non_null(line);
    size_t size = strlen(line);
    assert_ptr_equal(strchr(line, '\n'), line + size - 1);
    JsonValue *value = NULL;
    g_autoptr(GError) error = NULL;
    assert_true(json_parse(line, size, 2, &value, &error));
    int64_t ms;
    assert_true(instant_parse(json_text(json_get(value, "time")), &ms));
    return value;
}

static void levels_have_names(void **state)
{
    (void)state;
    LogLevel level = LOG_ERROR;
    assert_true(log_level_parse("debug", &level) && level == LOG_DEBUG);
    assert_true(log_level_parse("info", &level) && level == LOG_INFO);
    assert_true(log_level_parse("warning", &level) && level == LOG_WARNING);
    assert_true(log_level_parse("ERROR", &level) && level == LOG_ERROR);
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("loud", &level));
    assert_false(log_level_parse(NULL, &level));
    assert_int_equal(level, LOG_ERROR);
}

static void a_text_line_is_one_write(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    log_event(LOG_INFO, "run started", "runId", "018f-ab", "flow", "two words", "none", NULL, "empty", "", NULL);
    g_autofree char *line = take_text_line();
    assert_string_equal(line, "INFO    run started runId=018f-ab flow=\"two words\" empty=\"\"\n");
    assert_nothing_written();
}

static void a_json_line_is_one_write(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_JSON);
    log_event(LOG_WARNING, "run started", "runId", "018f-ab", "none", NULL, "flow", "two \"words\"\n", NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_string_equal(json_text(json_get(line, "level")), "warning");
    assert_string_equal(json_text(json_get(line, "message")), "run started");
    assert_string_equal(json_text(json_get(line, "runId")), "018f-ab");
    assert_string_equal(json_text(json_get(line, "flow")), "two \"words\"\n");
    assert_null(json_get(line, "none"));
    assert_int_equal(json_object_size(line), 6);
    assert_nothing_written();
}

static void automatic_is_json_without_a_terminal(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_AUTO);
    log_event(LOG_INFO, "x", NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_string_equal(json_text(json_get(line, "message")), "x");
}

static void lines_below_the_level_are_dropped(void **state)
{
    (void)state;
    log_init(LOG_WARNING, LOG_FORMAT_JSON);
    log_event(LOG_DEBUG, "x", NULL);
    log_event(LOG_INFO, "x", NULL);
    assert_nothing_written();
    log_event(LOG_WARNING, "warning", NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_string_equal(json_text(json_get(line, "level")), "warning");
    log_init(LOG_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_DEBUG, "x", NULL);
    g_autoptr(JsonValue) debug = take_json_line();
    assert_string_equal(json_text(json_get(debug, "level")), "debug");
}

static void an_error_brings_its_text(void **state)
{
    (void)state;
    g_autoptr(GError) error = g_error_new(FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "disk \"%s\" is full", "sda");
    log_init(LOG_INFO, LOG_FORMAT_JSON);
    log_error(LOG_ERROR, "append failed", error, "runId", "r1", NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_string_equal(json_text(json_get(line, "error")), "disk \"sda\" is full");
    assert_string_equal(json_text(json_get(line, "runId")), "r1");
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    log_error(LOG_ERROR, "append failed", error, "runId", "r1", NULL);
    g_autofree char *text = take_text_line();
    assert_string_equal(text, "ERROR   append failed error=\"disk \\\"sda\\\" is full\" runId=r1\n");
    log_error(LOG_ERROR, "append failed", NULL, NULL);
    g_autofree char *without = take_text_line();
    assert_string_equal(without, "ERROR   append failed\n");
}

/* Line ends, a terminal's escape sequences (the one-byte kind too), a direction override; in values and a message. */
static void nothing_forges_a_text_line(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    log_event(LOG_INFO, "a\nb", "x", "1\n2026-01-31T09:00:00.000Z INFO forged", "esc", "\x1b[31m\r\x07\x7f", "c1",
              "\xc2\x9b"
              "31m\xe2\x80\xae",
              "word", "a=b", "e", "\xc3\xa9", NULL);
    g_autofree char *line = take_text_line();
    assert_string_equal(line,
                        "INFO    a\\nb x=\"1\\n2026-01-31T09:00:00.000Z INFO forged\" esc=\"\\u001b[31m\\u000d\\u0007"
                        "\\u007f\" c1=\"\\u009b31m\\u202e\" word=\"a=b\" e=\"\xc3\xa9\"\n");
}

static void invalid_utf8_is_made_safe(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_JSON);
    log_event(LOG_INFO, "x\xff", "v", "a\xc3(\xed\xa0\x80z", NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_string_equal(json_text(json_get(line, "message")), "x\xef\xbf\xbd");
    assert_true(g_str_has_prefix(json_text(json_get(line, "v")), "a\xef\xbf\xbd("));
    assert_true(g_str_has_suffix(json_text(json_get(line, "v")), "z"));
}

static void a_huge_value_is_cut(void **state)
{
    (void)state;
    g_autofree char *huge = g_strnfill(1000000, 'x'), *fits = g_strnfill(4096, 'y');
    log_init(LOG_INFO, LOG_FORMAT_JSON);
    log_event(LOG_INFO, "x", "v", huge, "w", fits, NULL);
    g_autoptr(JsonValue) line = take_json_line();
    assert_int_equal(strlen(json_text(json_get(line, "v"))), 4099);
    assert_true(g_str_has_suffix(json_text(json_get(line, "v")), "x..."));
    assert_string_equal(json_text(json_get(line, "w")), fits);
}

static void logging_keeps_errno(void **state)
{
    (void)state;
    log_init(LOG_INFO, LOG_FORMAT_TEXT);
    errno = ENOSPC;
    log_event(LOG_INFO, "x", NULL);
    assert_int_equal(errno, ENOSPC);
    g_autofree char *line = take_text_line();
    assert_string_equal(line, "INFO    x\n");
}

/* The clock is the system's here: the windows themselves are test_log_limit's. */
static void what_repeats_is_held_back(void **state)
{
    (void)state;
    log_init(LOG_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_WARNING, "repeats", "runId", "r1", NULL);
    log_event(LOG_WARNING, "repeats", "runId", "r1", NULL);
    g_autoptr(JsonValue) first = take_json_line();
    assert_null(json_get(first, "repeated"));
    assert_nothing_written();
    log_event(LOG_WARNING, "repeats", "runId", "r2", NULL);
    g_autoptr(JsonValue) other = take_json_line();
    assert_string_equal(json_text(json_get(other, "runId")), "r2");
    assert_int_equal(json_int(json_get(other, "repeated")), 1);
    log_tell_repeated();
    assert_nothing_written();
    log_event(LOG_DEBUG, "detail", NULL);
    log_event(LOG_DEBUG, "detail", NULL);
    g_autoptr(JsonValue) debug = take_json_line();
    g_autoptr(JsonValue) again = take_json_line();
    assert_string_equal(json_text(json_get(again, "message")), json_text(json_get(debug, "message")));
}

enum { N_LINES = 200 };

static void log_many(void *arg)
{
    for (int i = 0; i < N_LINES; i++)
        log_event(LOG_DEBUG, "many", "who", arg, "text", "some text that is long enough to be torn apart", NULL);
}

/* The socket's buffer holds fewer lines than are written, so the reader works beside the writers. */
static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    log_init(LOG_DEBUG, LOG_FORMAT_JSON);
    Thread *threads[] = {thread_start("log-a", ROLE_LOOP, log_many, "a", NULL),
                         thread_start("log-b", ROLE_LOOP, log_many, "b", NULL)};
    int n_of[2] = {0};
    for (int i = 0; i < 2 * N_LINES; i++) {
        char line[1024];
        ssize_t n = recv(reading_end, line, sizeof line, 0);
        JsonValue *value = NULL;
        assert_true(n > 0 && json_parse(line, (size_t)n, 2, &value, NULL));
        n_of[json_text(json_get(value, "who"))[0] - 'a']++;
        json_free(value);
    }
    thread_join(threads[0]);
    thread_join(threads[1]);
    assert_int_equal(n_of[0], N_LINES);
    assert_int_equal(n_of[1], N_LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_have_names),
        cmocka_unit_test_setup_teardown(a_text_line_is_one_write, capture, release),
        cmocka_unit_test_setup_teardown(a_json_line_is_one_write, capture, release),
        cmocka_unit_test_setup_teardown(automatic_is_json_without_a_terminal, capture, release),
        cmocka_unit_test_setup_teardown(lines_below_the_level_are_dropped, capture, release),
        cmocka_unit_test_setup_teardown(an_error_brings_its_text, capture, release),
        cmocka_unit_test_setup_teardown(nothing_forges_a_text_line, capture, release),
        cmocka_unit_test_setup_teardown(invalid_utf8_is_made_safe, capture, release),
        cmocka_unit_test_setup_teardown(a_huge_value_is_cut, capture, release),
        cmocka_unit_test_setup_teardown(logging_keeps_errno, capture, release),
        cmocka_unit_test_setup_teardown(what_repeats_is_held_back, capture, release),
        cmocka_unit_test_setup_teardown(lines_of_several_threads_do_not_mix, capture, release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
