/* The hub: what listeners see of rings, the bounds, and a ringing thread beside reading ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "hub/hub.h"

#define RUN "0190a0a0-0000-7000-8000-000000000001"
#define OTHER "0190a0a0-0000-7000-8000-000000000002"
#define MANY (1024 * 1024 * 64)

static void count_wake(void *arg)
{
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

static void ring_text(Hub *hub, const char *run_id, int64_t seq, const char *text)
{
    HubEvent event = {text, strlen(text)};
    hub_ring(hub, run_id, seq, &event, 1);
}

static void ring_size(Hub *hub, const char *run_id, int64_t seq, size_t size)
{
    g_autofree char *text = g_malloc(size);
    memset(text, 'x', size);
    HubEvent event = {text, size};
    hub_ring(hub, run_id, seq, &event, 1);
}

/* The seqs that a read after `after` gives, as "4 5 6", "-" for nothing newer, "store" when it has to be read there. */
static const char *read_seqs(Hub *hub, HubListener *listener, int64_t after, size_t max)
{
    static char out[1024];
    HubText *texts[HUB_RING_ENTRIES];
    size_t n;
    if (!hub_read(hub, listener, after, texts, max, &n))
        return "store";
    g_strlcpy(out, n ? "" : "-", sizeof(out));
    for (size_t i = 0; i < n; i++) {
        char one[32];
        snprintf(one, sizeof(one), "%s%d", i ? " " : "", (int)texts[i]->seq);
        g_strlcat(out, one, sizeof(out));
        hub_text_unref(texts[i]);
    }
    return out;
}

static void test_nobody_listens(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    ring_text(hub, RUN, 1, "one");
    HubLoad load = hub_load(hub);
    assert_int_equal(load.n_runs, 0);
    assert_int_equal(load.size_bytes, 0);
    hub_free(hub);
}

static void test_listener_reads_what_rings(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_wakes = 0;
    HubListener *listener = hub_listen(hub, RUN, count_wake, &n_wakes);
    assert_int_equal(n_wakes, 0);
    assert_int_equal(hub_newest_seq(hub, listener), 0);
    assert_string_equal(read_seqs(hub, listener, 0, 10), "-");

    HubEvent events[] = {{"seven", 5}, {"eight", 5}};
    hub_ring(hub, RUN, 7, events, 2);
    ring_text(hub, OTHER, 1, "not ours");
    assert_int_equal(n_wakes, 1);
    assert_int_equal(hub_newest_seq(hub, listener), 8);
    assert_string_equal(read_seqs(hub, listener, 6, 10), "7 8");
    assert_string_equal(read_seqs(hub, listener, 6, 1), "7");
    assert_string_equal(read_seqs(hub, listener, 7, 10), "8");
    assert_string_equal(read_seqs(hub, listener, 8, 10), "-");
    assert_string_equal(read_seqs(hub, listener, 99, 10), "-");
    assert_string_equal(read_seqs(hub, listener, 5, 10), "store"); /* 6 was never here */

    HubText *texts[2];
    size_t n;
    assert_true(hub_read(hub, listener, 6, texts, 2, &n));
    hub_unlisten(hub, listener); /* texts outlive the ring */
    assert_string_equal(texts[0]->text, "seven");
    assert_int_equal(texts[1]->size, 5);
    hub_text_unref(texts[0]);
    hub_text_unref(texts[1]);
    assert_int_equal(hub_load(hub).size_bytes, 0);
    hub_free(hub);
}

static void test_late_listener_shares_the_ring(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_first = 0, n_second = 0;
    HubListener *first = hub_listen(hub, RUN, count_wake, &n_first);
    ring_text(hub, RUN, 1, "one");
    HubListener *second = hub_listen(hub, RUN, count_wake, &n_second);
    assert_int_equal(hub_newest_seq(hub, second), 0); /* nothing since it came */
    assert_string_equal(read_seqs(hub, second, 0, 10), "1");
    ring_text(hub, RUN, 2, "two");
    assert_int_equal(n_first, 2);
    assert_int_equal(n_second, 1);
    hub_unlisten(hub, first);
    assert_string_equal(read_seqs(hub, second, 0, 10), "1 2");
    ring_text(hub, RUN, 3, "three");
    assert_int_equal(n_first, 2);
    hub_unlisten(hub, second);
    hub_free(hub);
}

static void test_repeats_and_gaps(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_wakes = 0;
    HubListener *listener = hub_listen(hub, RUN, count_wake, &n_wakes);
    HubEvent events[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    hub_ring(hub, RUN, 1, events, 3);
    hub_ring(hub, RUN, 2, events, 3); /* 2 and 3 again, 4 anew */
    assert_string_equal(read_seqs(hub, listener, 0, 10), "1 2 3 4");
    ring_text(hub, RUN, 2, "late");
    assert_string_equal(read_seqs(hub, listener, 0, 10), "1 2 3 4");
    ring_text(hub, RUN, 9, "after a gap");
    assert_string_equal(read_seqs(hub, listener, 4, 10), "store");
    assert_string_equal(read_seqs(hub, listener, 8, 10), "9");
    hub_unlisten(hub, listener);
    hub_free(hub);
}

static void test_ring_keeps_its_newest_entries(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_wakes = 0;
    HubListener *listener = hub_listen(hub, RUN, count_wake, &n_wakes);
    for (int seq = 1; seq <= 1000; seq++)
        ring_text(hub, RUN, seq, "x");
    assert_string_equal(read_seqs(hub, listener, 1000 - HUB_RING_ENTRIES - 1, 1), "store");
    char first[16];
    snprintf(first, sizeof(first), "%d", 1000 - HUB_RING_ENTRIES + 1);
    assert_string_equal(read_seqs(hub, listener, 1000 - HUB_RING_ENTRIES, 1), first);
    hub_unlisten(hub, listener);
    hub_free(hub);
}

static void test_ring_bytes_are_bounded(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_wakes = 0;
    HubListener *listener = hub_listen(hub, RUN, count_wake, &n_wakes);
    for (int seq = 1; seq <= 50; seq++) {
        ring_size(hub, RUN, seq, 60000);
        assert_true(hub_load(hub).size_bytes <= HUB_RING_BYTES);
    }
    assert_string_equal(read_seqs(hub, listener, 46, 64), "47 48 49 50");
    ring_size(hub, RUN, 51, HUB_RING_BYTES + 1); /* fits nowhere: readers go to the store for it */
    assert_int_equal(hub_newest_seq(hub, listener), 51);
    assert_string_equal(read_seqs(hub, listener, 50, 64), "store");
    ring_text(hub, RUN, 52, "x");
    assert_string_equal(read_seqs(hub, listener, 50, 64), "store");
    assert_string_equal(read_seqs(hub, listener, 51, 64), "52");
    hub_unlisten(hub, listener);
    hub_free(hub);
}

static void test_all_rings_together_are_bounded(void **state)
{
    (void)state;
    Hub *hub = hub_new(10000);
    int n_wakes = 0;
    HubListener *a = hub_listen(hub, RUN, count_wake, &n_wakes);
    HubListener *b = hub_listen(hub, OTHER, count_wake, &n_wakes);
    for (int seq = 1; seq <= 20; seq++) {
        ring_size(hub, RUN, seq, 1000);
        ring_size(hub, OTHER, seq, 1000);
        assert_true(hub_load(hub).size_bytes <= 10000);
    }
    assert_string_equal(read_seqs(hub, a, 19, 1), "20");
    assert_string_equal(read_seqs(hub, b, 19, 1), "20");
    assert_string_equal(read_seqs(hub, b, 0, 1), "store");
    hub_unlisten(hub, a);
    ring_size(hub, OTHER, 21, 1000);
    assert_string_equal(read_seqs(hub, b, 20, 1), "21");
    hub_unlisten(hub, b);
    assert_int_equal(hub_load(hub).size_bytes, 0);
    assert_int_equal(hub_load(hub).n_listeners, 0);
    hub_free(hub);
}

/* ---- threads: one rings, others listen, read, leave and come again ---- */

enum { N_LISTENERS = 3, N_EVENTS = 5000, N_VISITS = 50 };

typedef struct {
    Hub *hub;
    Bell bell;
} Reader;

static void wake_reader(void *arg)
{
    bell_ring(&((Reader *)arg)->bell);
}

static void ring_all(void *arg)
{
    for (int seq = 1; seq <= N_EVENTS; seq++) {
        char text[32];
        snprintf(text, sizeof(text), "event %d", seq);
        ring_text(arg, RUN, seq, text);
    }
}

/* Follows to the end: every text it gets is the one that belongs to its seq; a hole is skipped as the store would fill it. */
static void follow(void *arg)
{
    Reader *reader = arg;
    HubListener *listener = hub_listen(reader->hub, RUN, wake_reader, reader);
    int64_t cursor = 0;
    while (cursor < N_EVENTS) {
        HubText *texts[HUB_RING_ENTRIES];
        size_t n;
        if (!hub_read(reader->hub, listener, cursor, texts, HUB_RING_ENTRIES, &n)) {
            cursor++;
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            char text[32];
            snprintf(text, sizeof(text), "event %d", (int)texts[i]->seq);
            assert_int_equal(texts[i]->seq, cursor + 1);
            assert_string_equal(texts[i]->text, text);
            hub_text_unref(texts[i]);
            cursor++;
        }
        if (n == 0)
            assert_true(bell_wait(&reader->bell, 10000));
    }
    hub_unlisten(reader->hub, listener);
}

static void come_and_go(void *arg)
{
    Reader *reader = arg;
    for (int i = 0; i < N_VISITS; i++) {
        HubListener *listener = hub_listen(reader->hub, RUN, wake_reader, reader);
        (void)hub_newest_seq(reader->hub, listener);
        hub_unlisten(reader->hub, listener);
    }
}

static void test_ringing_thread_and_listeners(void **state)
{
    (void)state;
    Hub *hub = hub_new(MANY);
    int n_wakes = 0;
    HubListener *keeper = hub_listen(hub, RUN, count_wake, &n_wakes); /* so that the ring is there from the start */
    Reader readers[N_LISTENERS + 1];
    Thread *threads[N_LISTENERS + 1];
    for (size_t i = 0; i <= N_LISTENERS; i++) {
        readers[i].hub = hub;
        bell_init(&readers[i].bell);
        threads[i] = thread_start("listener", ROLE_LOOP, i < N_LISTENERS ? follow : come_and_go, &readers[i], NULL);
        assert_non_null(threads[i]);
    }
    Thread *ringer = thread_start("ringer", ROLE_WRITER, ring_all, hub, NULL);
    assert_non_null(ringer);
    thread_join(ringer);
    for (size_t i = 0; i <= N_LISTENERS; i++) {
        thread_join(threads[i]);
        bell_done(&readers[i].bell);
    }
    assert_int_equal(n_wakes, N_EVENTS);
    assert_int_equal(hub_load(hub).n_listeners, 1);
    hub_unlisten(hub, keeper);
    hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_listener_reads_what_rings),
        cmocka_unit_test(test_late_listener_shares_the_ring),
        cmocka_unit_test(test_repeats_and_gaps),
        cmocka_unit_test(test_ring_keeps_its_newest_entries),
        cmocka_unit_test(test_ring_bytes_are_bounded),
        cmocka_unit_test(test_all_rings_together_are_bounded),
        cmocka_unit_test(test_ringing_thread_and_listeners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
