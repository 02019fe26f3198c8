/* test_queue.c - bounds, order, ownership, closing, and producers against consumers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/queue.h"
#include "base/thread.h"

#define DEADLINE_MS 10000 /* what should happen at once; reached only when it never does */

static void *item(intptr_t number)
{
    return (void *)number;
}

static void *pop_one(Queue *queue)
{
    void *items[1];
    size_t n = 99;
    assert_int_equal(queue_pop(queue, items, 1, 0, &n), QUEUE_OK);
    assert_int_equal(n, 1);
    return items[0];
}

static void what_is_pushed_is_popped(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 4, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 10), QUEUE_OK);
    QueueLoad load = queue_load(queue);
    assert_int_equal(load.n_items, 1);
    assert_int_equal(load.size_bytes, 10);
    assert_ptr_equal(pop_one(queue), item(1));
    load = queue_load(queue);
    assert_int_equal(load.n_items, 0);
    assert_int_equal(load.size_bytes, 0);
}

static void an_empty_queue_times_out_and_leaves_the_outputs(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 4, 100, NULL);
    void *items[1] = {item(7)};
    size_t n = 99;
    assert_int_equal(queue_pop(queue, items, 1, 0, &n), QUEUE_TIMEOUT);
    g_autoptr(Clock) clock = clock_new_system();
    int64_t start = clock_monotonic_ms(clock);
    assert_int_equal(queue_pop(queue, items, 1, 30, &n), QUEUE_TIMEOUT);
    assert_true(clock_monotonic_ms(clock) - start >= 29);
    assert_int_equal(n, 99);
    assert_ptr_equal(items[0], item(7));
}

static void a_batch_keeps_the_order_across_the_ring_s_end(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 1000, 1000000, NULL);
    intptr_t pushed = 0, popped = 0;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 7; i++)
            assert_int_equal(queue_try_push(queue, item(++pushed), 1), QUEUE_OK);
        void *items[5];
        size_t n = 0;
        assert_int_equal(queue_pop(queue, items, G_N_ELEMENTS(items), 0, &n), QUEUE_OK);
        assert_int_equal(n, 5);
        for (size_t i = 0; i < n; i++)
            assert_ptr_equal(items[i], item(++popped));
    }
    assert_int_equal(queue_load(queue).n_items, 400);
    void *items[1000];
    size_t n = 0;
    assert_int_equal(queue_pop(queue, items, G_N_ELEMENTS(items), 0, &n), QUEUE_OK);
    assert_int_equal(n, 400);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(items[i], item(++popped));
}

static void the_item_bound_holds(void **state)
{
    (void)state;
    static const size_t bounds[] = {1, 2, 15, 16, 17, 33, 100};
    for (size_t b = 0; b < G_N_ELEMENTS(bounds); b++) {
        g_autoptr(Queue) queue = queue_new("test", bounds[b], 1000000, NULL);
        for (size_t i = 0; i < bounds[b]; i++)
            assert_int_equal(queue_try_push(queue, item(1), 0), QUEUE_OK);
        assert_int_equal(queue_try_push(queue, item(2), 0), QUEUE_FULL);
        assert_int_equal(queue_push(queue, item(2), 0, 0), QUEUE_TIMEOUT);
        assert_int_equal(queue_push(queue, item(2), 0, 5), QUEUE_TIMEOUT);
        assert_int_equal(queue_load(queue).n_items, bounds[b]);
        pop_one(queue);
        assert_int_equal(queue_try_push(queue, item(3), 0), QUEUE_OK);
    }
}

static void the_byte_bound_holds(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 100, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 60), QUEUE_OK);
    assert_int_equal(queue_try_push(queue, item(2), 41), QUEUE_FULL);
    assert_int_equal(queue_try_push(queue, item(2), SIZE_MAX), QUEUE_FULL); /* no overflow */
    assert_int_equal(queue_try_push(queue, item(2), 40), QUEUE_OK);
    assert_int_equal(queue_try_push(queue, item(3), 1), QUEUE_FULL);
    assert_int_equal(queue_load(queue).size_bytes, 100);
    pop_one(queue);
    assert_int_equal(queue_try_push(queue, item(3), 61), QUEUE_FULL);
    assert_int_equal(queue_try_push(queue, item(3), 60), QUEUE_OK);
}

static void an_item_heavier_than_the_bound_travels_alone(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 100, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 1), QUEUE_OK);
    assert_int_equal(queue_try_push(queue, item(2), 101), QUEUE_FULL);
    pop_one(queue);
    assert_int_equal(queue_try_push(queue, item(2), SIZE_MAX), QUEUE_OK);
    assert_int_equal(queue_try_push(queue, item(3), 0), QUEUE_FULL);
    assert_int_equal(queue_try_push(queue, item(3), 1), QUEUE_FULL);
    assert_ptr_equal(pop_one(queue), item(2));
    assert_int_equal(queue_load(queue).size_bytes, 0);
    assert_int_equal(queue_try_push(queue, item(3), 100), QUEUE_OK);
}

static int n_freed;
static void count_free(void *freed)
{
    n_freed++;
    g_free(freed);
}

static void what_was_never_popped_is_freed_once(void **state)
{
    (void)state;
    n_freed = 0;
    Queue *queue = queue_new("test", 40, 1000, count_free);
    for (int i = 0; i < 40; i++)
        assert_int_equal(queue_try_push(queue, g_malloc(1), 1), QUEUE_OK);
    void *refused = g_malloc(1);
    assert_int_equal(queue_try_push(queue, refused, 1), QUEUE_FULL);
    g_free(refused); /* still ours */
    for (int i = 0; i < 10; i++)
        g_free(pop_one(queue));
    assert_int_equal(n_freed, 0);
    queue_free(queue);
    assert_int_equal(n_freed, 30);
    queue_free(NULL);
}

static void a_close_refuses_pushes_and_hands_out_the_rest(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 4, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 1), QUEUE_OK);
    queue_close(queue);
    queue_close(queue);
    assert_int_equal(queue_try_push(queue, item(2), 1), QUEUE_CLOSED);
    assert_int_equal(queue_push(queue, item(2), 1, -1), QUEUE_CLOSED);
    assert_ptr_equal(pop_one(queue), item(1));
    void *items[1];
    size_t n = 99;
    assert_int_equal(queue_pop(queue, items, 1, -1, &n), QUEUE_CLOSED);
    assert_int_equal(n, 99);
}

typedef struct {
    Queue *queue;
    size_t weight_bytes;
    QueueResult result;
    void *popped;
    pid_t thread_id; /* atomic; 0 until the call is about to be made */
} Call;

static void call_push(void *arg)
{
    Call *call = arg;
    __atomic_store_n(&call->thread_id, gettid(), __ATOMIC_SEQ_CST);
    call->result = queue_push(call->queue, item(2), call->weight_bytes, -1);
}

static void call_pop(void *arg)
{
    Call *call = arg;
    size_t n;
    __atomic_store_n(&call->thread_id, gettid(), __ATOMIC_SEQ_CST);
    call->result = queue_pop(call->queue, &call->popped, 1, -1, &n);
}

static Thread *start(ThreadMain thread_main, Call *call)
{
    Thread *thread = thread_start("caller", ROLE_READER, thread_main, call, NULL);
    assert_non_null(thread);
    return thread;
}

/* Until the kernel says that the caller's thread sleeps: the only lock it could sleep on besides is free. */
static void wait_until_asleep(const Call *call)
{
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline = clock_monotonic_ms(clock) + DEADLINE_MS;
    while (clock_monotonic_ms(clock) < deadline) {
        pid_t id = __atomic_load_n(&call->thread_id, __ATOMIC_SEQ_CST);
        g_autofree char *path = g_strdup_printf("/proc/self/task/%d/stat", (int)id), *stat = NULL;
        if (id != 0 && g_file_get_contents(path, &stat, NULL, NULL) && strstr(stat, ") S ") != NULL)
            return;
        sched_yield();
    }
    fail_msg("the caller never waited");
}

static void a_push_wakes_a_waiting_pop(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 4, 100, NULL);
    Call call = {.queue = queue};
    Thread *thread = start(call_pop, &call);
    wait_until_asleep(&call);
    assert_int_equal(queue_push(queue, item(1), 1, DEADLINE_MS), QUEUE_OK);
    thread_join(thread);
    assert_int_equal(call.result, QUEUE_OK);
    assert_ptr_equal(call.popped, item(1));
}

static void a_pop_wakes_a_waiting_push(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 1, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 1), QUEUE_OK);
    Call call = {.queue = queue, .weight_bytes = 1};
    Thread *thread = start(call_push, &call);
    wait_until_asleep(&call);
    void *popped[2];
    size_t n = 0;
    assert_int_equal(queue_pop(queue, popped, 1, DEADLINE_MS, &n), QUEUE_OK);
    assert_int_equal(queue_pop(queue, popped + 1, 1, DEADLINE_MS, &n), QUEUE_OK);
    thread_join(thread);
    assert_int_equal(call.result, QUEUE_OK);
    assert_ptr_equal(popped[1], item(2));
}

/* The light one fits after the pop, the heavy one does not: whoever of the two is woken, the light one must get in. */
static void a_pop_wakes_the_push_that_fits(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("test", 10, 100, NULL);
    assert_int_equal(queue_try_push(queue, item(1), 50), QUEUE_OK);
    assert_int_equal(queue_try_push(queue, item(1), 50), QUEUE_OK);
    Call heavy = {.queue = queue, .weight_bytes = 60}, light = {.queue = queue, .weight_bytes = 10};
    Thread *heavy_thread = start(call_push, &heavy);
    wait_until_asleep(&heavy);
    Thread *light_thread = start(call_push, &light);
    wait_until_asleep(&light);
    pop_one(queue);
    thread_join(light_thread);
    assert_int_equal(light.result, QUEUE_OK);
    pop_one(queue);
    thread_join(heavy_thread);
    assert_int_equal(heavy.result, QUEUE_OK);
}

static void a_close_wakes_everyone(void **state)
{
    (void)state;
    g_autoptr(Queue) empty = queue_new("empty", 1, 100, NULL), full = queue_new("full", 1, 100, NULL);
    assert_int_equal(queue_try_push(full, item(1), 1), QUEUE_OK);
    Call pops[2] = {{.queue = empty}, {.queue = empty}}, pushes[2] = {{.queue = full}, {.queue = full}};
    Thread *threads[4] = {start(call_pop, &pops[0]), start(call_pop, &pops[1]), start(call_push, &pushes[0]),
                          start(call_push, &pushes[1])};
    for (size_t i = 0; i < 2; i++) {
        wait_until_asleep(&pops[i]);
        wait_until_asleep(&pushes[i]);
    }
    queue_close(empty);
    queue_close(full);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        thread_join(threads[i]);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pops[i].result, QUEUE_CLOSED);
        assert_int_equal(pushes[i].result, QUEUE_CLOSED);
    }
}

/* ---- producers against consumers ---- */

enum { N_PRODUCERS = 4, N_CONSUMERS = 3, N_EACH = 5000 };

typedef struct {
    Queue *queue;
    int number;
    bool is_in_order;
    size_t n_taken;
    uint64_t sum;
} Worker;

static void produce(void *arg)
{
    const Worker *worker = arg;
    for (int i = 0; i < N_EACH; i++) {
        intptr_t number = (intptr_t)worker->number * N_EACH + i + 1;
        size_t weight = (size_t)(number % 7) * 10;
        QueueResult result = i % 3 == 0 ? queue_try_push(worker->queue, item(number), weight) : QUEUE_FULL;
        if (result == QUEUE_FULL)
            result = queue_push(worker->queue, item(number), weight, -1);
        g_assert(result == QUEUE_OK);
    }
}

/* What one consumer takes of one producer comes in that producer's order. */
static void consume(void *arg)
{
    Worker *worker = arg;
    intptr_t last[N_PRODUCERS] = {0};
    void *items[8];
    size_t n;
    worker->is_in_order = true;
    while (queue_pop(worker->queue, items, (size_t)worker->number + 1, -1, &n) == QUEUE_OK) {
        for (size_t i = 0; i < n; i++) {
            intptr_t number = (intptr_t)items[i], producer = (number - 1) / N_EACH;
            worker->is_in_order = worker->is_in_order && number > last[producer];
            last[producer] = number;
            worker->sum += (uint64_t)number;
        }
        worker->n_taken += n;
    }
}

static void many_producers_and_consumers_lose_nothing(void **state)
{
    (void)state;
    g_autoptr(Queue) queue = queue_new("busy", 50, 500, NULL);
    Worker producers[N_PRODUCERS] = {0}, consumers[N_CONSUMERS] = {0};
    Thread *producing[N_PRODUCERS], *consuming[N_CONSUMERS];
    for (int i = 0; i < N_CONSUMERS; i++) {
        consumers[i] = (Worker){.queue = queue, .number = i};
        consuming[i] = thread_start("consumer", ROLE_WRITER, consume, &consumers[i], NULL);
        assert_non_null(consuming[i]);
    }
    for (int i = 0; i < N_PRODUCERS; i++) {
        producers[i] = (Worker){.queue = queue, .number = i};
        producing[i] = thread_start("producer", ROLE_LOOP, produce, &producers[i], NULL);
        assert_non_null(producing[i]);
    }
    for (int i = 0; i < N_PRODUCERS; i++)
        thread_join(producing[i]);
    queue_close(queue);
    size_t n_taken = 0;
    uint64_t sum = 0;
    for (int i = 0; i < N_CONSUMERS; i++) {
        thread_join(consuming[i]);
        assert_true(consumers[i].is_in_order);
        n_taken += consumers[i].n_taken;
        sum += consumers[i].sum;
    }
    uint64_t n_all = N_PRODUCERS * N_EACH;
    assert_int_equal(n_taken, n_all);
    assert_int_equal(sum, n_all * (n_all + 1) / 2);
    assert_int_equal(queue_load(queue).size_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pushed_is_popped),
        cmocka_unit_test(an_empty_queue_times_out_and_leaves_the_outputs),
        cmocka_unit_test(a_batch_keeps_the_order_across_the_ring_s_end),
        cmocka_unit_test(the_item_bound_holds),
        cmocka_unit_test(the_byte_bound_holds),
        cmocka_unit_test(an_item_heavier_than_the_bound_travels_alone),
        cmocka_unit_test(what_was_never_popped_is_freed_once),
        cmocka_unit_test(a_close_refuses_pushes_and_hands_out_the_rest),
        cmocka_unit_test(a_push_wakes_a_waiting_pop),
        cmocka_unit_test(a_pop_wakes_a_waiting_push),
        cmocka_unit_test(a_pop_wakes_the_push_that_fits),
        cmocka_unit_test(a_close_wakes_everyone),
        cmocka_unit_test(many_producers_and_consumers_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
