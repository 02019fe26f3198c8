/* test_plugin.c - what the built-in plugins give for what they get, and how attempts end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "domain/plugin_name.h"
#include "engine/attempt_internal.h"
#include "engine/plugin_builtin.h"

static Clock *clock_;
static AttemptHost host;
static Attempt *delivered;

static void note_delivery(Attempt *attempt, void *arg G_GNUC_UNUSED)
{
    assert_null(delivered);
    delivered = attempt;
}

static int set_up(void **state G_GNUC_UNUSED)
{
    clock_ = clock_new_fake(0);
    host = (AttemptHost){.clock = clock_, .timers = timers_new(), .deliver = note_delivery};
    delivered = NULL;
    return 0;
}

static int tear_down(void **state G_GNUC_UNUSED)
{
    timers_free(host.timers);
    clock_free(clock_);
    return 0;
}

/* Names and values alternate and end with NULL. */
static Attempt *begin(const char *plugin, int64_t number, const char *const *inputs)
{
    TextMap map = {0};
    for (size_t i = 0; inputs[i] != NULL; i += 2)
        text_map_add(&map, inputs[i], inputs[i + 1]);
    const Plugin *found = plugin_find(plugin);
    assert_non_null(found);
    Attempt *attempt = attempt_new(&host, found, map, number, NULL, 0);
    attempt_start(attempt);
    return attempt;
}

#define INPUTS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void assert_ends(const char *plugin, int64_t number, const char *const *inputs, const char *outputs,
                        const char *error)
{
    Attempt *attempt = begin(plugin, number, inputs);
    assert_ptr_equal(delivered, attempt);
    if (error != NULL && attempt->error != NULL)
        assert_string_equal(attempt->error, error);
    assert_int_equal(g_strcmp0(attempt->error, error), 0);
    if (outputs != NULL && attempt->outputs_json != NULL)
        assert_string_equal(attempt->outputs_json, outputs);
    assert_int_equal(g_strcmp0(attempt->outputs_json, outputs), 0);
    attempt_free(attempt);
    delivered = NULL;
}

/* ---- the table ---- */

static void test_the_table_is_the_domains_list(void **state G_GNUC_UNUSED)
{
    size_t n = 0;
    for (; PLUGIN_NAMES[n] != NULL; n++) {
        assert_non_null(plugin_at(n));
        assert_string_equal(plugin_at(n)->name, PLUGIN_NAMES[n]);
        assert_ptr_equal(plugin_find(PLUGIN_NAMES[n]), plugin_at(n));
        assert_true(n == 0 || strcmp(PLUGIN_NAMES[n - 1], PLUGIN_NAMES[n]) < 0);
    }
    assert_null(plugin_at(n));
    assert_null(plugin_find("no such"));
    assert_null(plugin_find(""));
}

/* ---- echo ---- */

static void test_echo(void **state G_GNUC_UNUSED)
{
    assert_ends("echo", 1, INPUTS(), "{}", NULL);
    assert_ends("echo", 1, INPUTS("b", "1", "a", "\"\n"), "{\"b\":\"1\",\"a\":\"\\\"\\n\"}", NULL);
}

/* ---- delay ---- */

static void test_delay_waits(void **state G_GNUC_UNUSED)
{
    Attempt *attempt = begin("delay", 1, INPUTS("ms", "1500"));
    assert_null(delivered);
    clock_fake_advance(clock_, 1499);
    timers_fire_due(host.timers, clock_monotonic_ms(clock_));
    assert_null(delivered);
    clock_fake_advance(clock_, 1);
    timers_fire_due(host.timers, clock_monotonic_ms(clock_));
    assert_ptr_equal(delivered, attempt);
    assert_string_equal(attempt->outputs_json, "{\"ms\":\"1500\"}");
    attempt_free(attempt);
}

static void test_delay_of_nothing_and_of_a_day(void **state G_GNUC_UNUSED)
{
    Attempt *attempt = begin("delay", 1, INPUTS("ms", "0"));
    timers_fire_due(host.timers, 0);
    assert_ptr_equal(delivered, attempt);
    attempt_free(attempt);
    attempt = begin("delay", 1, INPUTS("ms", "86400000"));
    assert_int_equal(timers_next_at(host.timers), 86400000);
    assert_true(attempt_cancel(attempt));
    assert_int_equal(timers_count(host.timers), 0);
}

static void test_delay_refuses_what_is_no_delay(void **state G_GNUC_UNUSED)
{
    const char *message = "input ms must be a whole number from 0 to 86400000";
    const char *const bad[] = {"",    " ", "-1", "+1", "1.5", "1e3", "ten", "1 ", "86400001", "99999999999999999999",
                               "0x10"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        assert_ends("delay", 1, INPUTS("ms", bad[i]), NULL, message);
    assert_ends("delay", 1, INPUTS(), NULL, "input ms is missing");
}

/* ---- fail ---- */

static void test_fail(void **state G_GNUC_UNUSED)
{
    assert_ends("fail", 1, INPUTS(), NULL, "failed");
    assert_ends("fail", 1000, INPUTS("message", "no luck"), NULL, "no luck");
    assert_ends("fail", 2, INPUTS("times", "2"), NULL, "failed");
    assert_ends("fail", 3, INPUTS("times", "2", "message", "x"), NULL, NULL);
    assert_ends("fail", 1, INPUTS("times", "0"), NULL, NULL);
    assert_ends("fail", 1, INPUTS("times", "x"), NULL, "input times must be a whole number from 0 to 4294967295");
}

/* ---- transform ---- */

static void test_transform_of_texts(void **state G_GNUC_UNUSED)
{
    assert_ends("transform", 1, INPUTS(), "{}", NULL);
    assert_ends("transform", 1, INPUTS("a", "x y", "value", "{not json"), "{\"a\":\"x y\",\"value\":\"{not json\"}",
                NULL);
}

static void test_transform_with_pointers(void **state G_GNUC_UNUSED)
{
    const char *value = "{\"a\":{\"b/c\":[1,2.50,\"t\"]},\"n\":null}";
    assert_ends(
        "transform", 1,
        INPUTS("value", value, "pointer.number", "/a/b~1c/1", "pointer.text", "/a/b~1c/2", "greeting", "hi",
               "pointer.list", "/a/b~1c", "pointer.none", "/no/where", "pointer.null", "/n"),
        "{\"number\":2.50,\"text\":\"t\",\"greeting\":\"hi\",\"list\":[1,2.50,\"t\"],\"none\":null,\"null\":null}",
        NULL);
    assert_ends("transform", 1, INPUTS("value", "[1]", "pointer.value", ""), "{\"value\":[1]}", NULL);
    assert_ends("transform", 1, INPUTS("value", "null", "pointer.x", "/a"), "{\"x\":null}", NULL);
}

static void test_transform_says_what_is_wrong(void **state G_GNUC_UNUSED)
{
    assert_ends("transform", 1, INPUTS("pointer.x", "/a"), NULL, "input value is missing: there are pointers into it");
    assert_ends("transform", 1, INPUTS("value", "1", "pointer.x", "a"), NULL,
                "input pointer.x is not a JSON pointer: it must be empty or begin with /");
    assert_ends("transform", 1, INPUTS("value", "1", "x", "1", "pointer.x", ""), NULL,
                "output x is given twice: by inputs x and pointer.x");
    Attempt *attempt = begin("transform", 1, INPUTS("value", "{", "pointer.x", ""));
    assert_true(g_str_has_prefix(attempt->error, "input value is not JSON: line 1, column "));
    attempt_free(attempt);
    delivered = NULL;
    g_autofree char *deep = g_strnfill(100, '[');
    attempt = begin("transform", 1, INPUTS("value", deep, "pointer.x", ""));
    assert_non_null(attempt->error);
    attempt_free(attempt);
}

/* ---- attempts ---- */

static int n_cancelled;
static void start_nothing(Attempt *attempt G_GNUC_UNUSED)
{
}
static void note_cancel(Attempt *attempt G_GNUC_UNUSED)
{
    n_cancelled++;
}
static const Plugin ELSEWHERE = {.name = "elsewhere", .start = start_nothing, .cancel = note_cancel};

static Attempt *begin_elsewhere(void)
{
    n_cancelled = 0;
    Attempt *attempt = attempt_new(&host, &ELSEWHERE, (TextMap){0}, 1, (EngineRun *)&host, 0);
    attempt_start(attempt);
    return attempt;
}

static void test_cancel_frees_what_runs(void **state G_GNUC_UNUSED)
{
    assert_true(attempt_cancel(begin_elsewhere()));
    assert_int_equal(n_cancelled, 1);
    assert_null(delivered);
}

static void test_cancel_after_the_end_leaves_it_to_the_delivery(void **state G_GNUC_UNUSED)
{
    Attempt *attempt = begin_elsewhere();
    attempt_done(attempt, g_strdup("{}"), NULL);
    assert_ptr_equal(delivered, attempt);
    assert_false(attempt_cancel(attempt));
    assert_int_equal(n_cancelled, 0);
    assert_null(attempt->run);
    attempt_free(attempt);
}

static void end_it(void *arg)
{
    attempt_done(arg, g_strdup("{\"late\":1}"), g_strdup("late"));
}

/* A plugin's thread ends the attempt while the engine cancels it: one of the two wins, nothing is lost or freed twice. The
 * plugin's cancel waits for its thread, as plugin.h asks. */
static Thread *worker;
static void join_worker(Attempt *attempt G_GNUC_UNUSED)
{
    thread_join(g_steal_pointer(&worker));
}
static const Plugin THREADED = {.name = "threaded", .start = start_nothing, .cancel = join_worker};

static void test_ending_and_cancelling_at_once(void **state G_GNUC_UNUSED)
{
    for (int i = 0; i < 200; i++) {
        delivered = NULL;
        Attempt *attempt = attempt_new(&host, &THREADED, (TextMap){0}, 1, (EngineRun *)&host, 0);
        attempt_start(attempt);
        worker = thread_start("plugin", ROLE_ENGINE, end_it, attempt, NULL);
        assert_non_null(worker);
        if (attempt_cancel(attempt))
            continue;
        thread_join(g_steal_pointer(&worker));
        assert_ptr_equal(delivered, attempt);
        assert_string_equal(attempt->error, "late");
        attempt_free(attempt);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_the_table_is_the_domains_list),
        TEST(test_echo),
        TEST(test_delay_waits),
        TEST(test_delay_of_nothing_and_of_a_day),
        TEST(test_delay_refuses_what_is_no_delay),
        TEST(test_fail),
        TEST(test_transform_of_texts),
        TEST(test_transform_with_pointers),
        TEST(test_transform_says_what_is_wrong),
        TEST(test_cancel_frees_what_runs),
        TEST(test_cancel_after_the_end_leaves_it_to_the_delivery),
        TEST(test_ending_and_cancelling_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
