/* The cache: bounds, versions, and the mark that keeps a slow reader from bringing back what a commit overtook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/thread.h"
#include "service/cache.h"

typedef struct {
    int ref_count; /* atomic */
    int number;
} Value;

static int n_values; /* alive; atomic */

static Value *value_new(int number)
{
    Value *value = g_new0(Value, 1);
    value->ref_count = 1;
    value->number = number;
    __atomic_add_fetch(&n_values, 1, __ATOMIC_RELAXED);
    return value;
}

static void *value_ref(void *value)
{
    __atomic_add_fetch(&((Value *)value)->ref_count, 1, __ATOMIC_RELAXED);
    return value;
}

static void value_unref(void *value)
{
    if (__atomic_sub_fetch(&((Value *)value)->ref_count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    g_free(value);
    __atomic_sub_fetch(&n_values, 1, __ATOMIC_RELAXED);
}

static const CacheValueOps OPS = {value_ref, value_unref};

static void put_number(Cache *cache, const char *key, int number, int64_t version, size_t size_bytes)
{
    Value *value = value_new(number);
    cache_put(cache, key, value, version, size_bytes);
    value_unref(value);
}

/* The number kept under a key, -1 when there is none. */
static int number_of(Cache *cache, const char *key)
{
    Value *value = cache_get(cache, key);
    if (value == NULL)
        return -1;
    int number = value->number;
    value_unref(value);
    return number;
}

static void test_an_unknown_key_has_no_value(void **state)
{
    (void)state;
    Cache *cache = cache_new(10000, &OPS);
    assert_int_equal(number_of(cache, "a"), -1);
    cache_free(cache);
}

static void test_what_was_put_is_found(void **state)
{
    (void)state;
    Cache *cache = cache_new(10000, &OPS);
    put_number(cache, "a", 1, 1, 10);
    put_number(cache, "b", 2, 1, 10);
    assert_int_equal(number_of(cache, "a"), 1);
    assert_int_equal(number_of(cache, "b"), 2);
    assert_int_equal(cache_load(cache).n_entries, 2);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

static void test_only_a_higher_version_replaces(void **state)
{
    (void)state;
    Cache *cache = cache_new(10000, &OPS);
    put_number(cache, "a", 1, 5, 10);
    put_number(cache, "a", 2, 5, 10);
    put_number(cache, "a", 3, 4, 10);
    assert_int_equal(number_of(cache, "a"), 1);
    put_number(cache, "a", 4, 6, 10);
    assert_int_equal(number_of(cache, "a"), 4);
    assert_int_equal(cache_load(cache).n_entries, 1);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

static void test_what_was_used_longest_ago_goes_first(void **state)
{
    (void)state;
    Cache *cache = cache_new(3500, &OPS);
    put_number(cache, "a", 1, 1, 1000);
    put_number(cache, "b", 2, 1, 1000);
    put_number(cache, "c", 3, 1, 1000);
    assert_int_equal(number_of(cache, "a"), 1);
    put_number(cache, "d", 4, 1, 1000);
    assert_int_equal(number_of(cache, "b"), -1);
    assert_int_equal(number_of(cache, "a"), 1);
    assert_int_equal(number_of(cache, "d"), 4);
    assert_true(cache_load(cache).size_bytes <= 3500);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

static void test_what_alone_exceeds_the_bound_is_not_kept(void **state)
{
    (void)state;
    Cache *cache = cache_new(1000, &OPS);
    put_number(cache, "a", 1, 1, 100);
    put_number(cache, "b", 2, 1, 1001);
    assert_int_equal(number_of(cache, "b"), -1);
    assert_int_equal(number_of(cache, "a"), 1);
    put_number(cache, "a", 3, 2, 1001); /* the newer version is not kept, the older must not stay either */
    assert_int_equal(number_of(cache, "a"), -1);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

static void test_a_read_that_a_commit_overtook_is_not_kept(void **state)
{
    (void)state;
    Cache *cache = cache_new(10000, &OPS);
    uint64_t mark = cache_mark(cache, "a");
    put_number(cache, "a", 2, 2, 10); /* the commit */
    cache_remove(cache, "a");         /* evicted meanwhile */
    Value *stale = value_new(1);
    cache_put_read(cache, "a", stale, 1, 10, mark);
    assert_int_equal(number_of(cache, "a"), -1);

    mark = cache_mark(cache, "a");
    cache_put_read(cache, "a", stale, 1, 10, mark);
    assert_int_equal(number_of(cache, "a"), 1);
    value_unref(stale);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

#define N_ROUNDS 20000

static void put_rounds(void *cache)
{
    for (int i = 1; i <= N_ROUNDS; i++)
        put_number(cache, "a", i, i, 10);
}

static void test_a_reader_never_sees_a_value_go_back(void **state)
{
    (void)state;
    Cache *cache = cache_new(10000, &OPS);
    g_autoptr(GError) error = NULL;
    Thread *thread = thread_start("putter", ROLE_WRITER, put_rounds, cache, &error);
    assert_non_null(thread);
    int last = -1;
    while (last < N_ROUNDS) {
        int number = number_of(cache, "a");
        assert_true(number >= last);
        last = number;
    }
    thread_join(thread);
    cache_free(cache);
    assert_int_equal(n_values, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_unknown_key_has_no_value),
        cmocka_unit_test(test_what_was_put_is_found),
        cmocka_unit_test(test_only_a_higher_version_replaces),
        cmocka_unit_test(test_what_was_used_longest_ago_goes_first),
        cmocka_unit_test(test_what_alone_exceeds_the_bound_is_not_kept),
        cmocka_unit_test(test_a_read_that_a_commit_overtook_is_not_kept),
        cmocka_unit_test(test_a_reader_never_sees_a_value_go_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
