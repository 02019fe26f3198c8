/* test_id.c - UUIDs: shape, order within a thread, uniqueness across threads, fixed vectors for what is derived. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "base/id.h"
#include "base/thread.h"

#define BURST 100000
#define NOW_MS INT64_C(1769850000123)

static int64_t id_time_ms(const Id *id)
{
    g_autofree char *hex = g_strdup_printf("%.8s%.4s", id->text, id->text + 9);
    return (int64_t)g_ascii_strtoull(hex, NULL, 16);
}

static void an_id_is_a_version_7_uuid(void **state)
{
    (void)state;
    Id id = id_make(NOW_MS);
    assert_int_equal(strlen(id.text), 36);
    assert_true(id_is_valid(id.text));
    assert_true(g_uuid_string_is_valid(id.text));
    assert_int_equal(id.text[14], '7');
    assert_non_null(strchr("89ab", id.text[19]));
    assert_int_equal(id_time_ms(&id), NOW_MS);
}

static void ids_of_one_millisecond_increase(void **state)
{
    (void)state;
    Id before = id_make(NOW_MS + 1);
    for (int i = 0; i < BURST; i++) {
        Id id = id_make(NOW_MS + 1);
        assert_true(strcmp(before.text, id.text) < 0);
        before = id;
    }
    assert_int_equal(id_time_ms(&before), NOW_MS + 1); /* the counter held them all */
}

static void ids_increase_when_the_clock_is_set_back(void **state)
{
    (void)state;
    Id before = id_make(NOW_MS + 5000);
    for (int i = 0; i < 1000; i++) {
        Id id = id_make(NOW_MS - i * 1000);
        assert_true(strcmp(before.text, id.text) < 0);
        before = id;
    }
    assert_int_equal(id_time_ms(&before), NOW_MS + 5000);
    Id later = id_make(NOW_MS + 5001);
    assert_true(strcmp(before.text, later.text) < 0);
    assert_int_equal(id_time_ms(&later), NOW_MS + 5001);
}

/* 48 random bits: ten thousand of them repeat with a chance of one in five million. */
static void random_bits_differ_within_a_millisecond(void **state)
{
    (void)state;
    g_autoptr(GHashTable) tails = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < 10000; i++) {
        Id id = id_make(NOW_MS + 6000);
        assert_true(g_hash_table_add(tails, g_strdup(id.text + 24)));
    }
}

static void clocks_far_off_still_give_ids(void *arg)
{
    const int64_t *wall_ms = arg;
    Id first = id_make(*wall_ms), second = id_make(*wall_ms);
    g_assert_true(id_is_valid(first.text) && id_is_valid(second.text));
    g_assert_cmpstr(first.text, <, second.text);
}

static void a_clock_far_off_still_gives_ids(void **state)
{
    (void)state;
    static const int64_t walls[] = {0, -1, INT64_MIN, (INT64_C(1) << 48) - 1, INT64_MAX};
    for (size_t i = 0; i < G_N_ELEMENTS(walls); i++) {
        int64_t wall_ms = walls[i];
        Thread *thread = thread_start("clock-far-off", ROLE_READER, clocks_far_off_still_give_ids, &wall_ms, NULL);
        assert_non_null(thread);
        thread_join(thread);
    }
}

typedef struct {
    Id ids[20000];
} Batch;

static void make_batch(void *arg)
{
    Batch *batch = arg;
    for (size_t i = 0; i < G_N_ELEMENTS(batch->ids); i++)
        batch->ids[i] = id_make(NOW_MS);
}

static void ids_of_several_threads_differ(void **state)
{
    (void)state;
    enum { N_THREADS = 4 };
    Thread *threads[N_THREADS];
    Batch *batches = g_new(Batch, N_THREADS);
    for (int i = 0; i < N_THREADS; i++) {
        threads[i] = thread_start("id-maker", ROLE_READER, make_batch, &batches[i], NULL);
        assert_non_null(threads[i]);
    }
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (int i = 0; i < N_THREADS; i++) {
        thread_join(threads[i]);
        for (size_t k = 0; k < G_N_ELEMENTS(batches[i].ids); k++)
            assert_true(g_hash_table_add(seen, batches[i].ids[k].text));
    }
    g_free(batches);
}

static void derived_ids_are_fixed(void **state)
{
    (void)state;
    /* SHA-256("key\0owner\0flow\0k") and SHA-256("slot"), with version 8 and variant set. */
    static const char *const parts[] = {"key", "owner", "flow", "k"};
    Id id = id_derive(parts, G_N_ELEMENTS(parts));
    assert_string_equal(id.text, "a5687a62-6aee-8c6d-9111-68e5160324ea");
    static const char *const one[] = {"slot"};
    id = id_derive(one, 1);
    assert_string_equal(id.text, "65588383-31b7-82a6-b1d5-935b32b4612a");
    assert_true(id_is_valid(id.text));
}

static void the_borders_between_parts_count(void **state)
{
    (void)state;
    static const char *const a[] = {"ab", "c"}, *const b[] = {"a", "bc"}, *const c[] = {"abc"},
                             *const d[] = {"abc", ""};
    Id ids[] = {id_derive(a, 2), id_derive(b, 2), id_derive(c, 1), id_derive(d, 2)};
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        for (size_t k = i + 1; k < G_N_ELEMENTS(ids); k++)
            assert_string_not_equal(ids[i].text, ids[k].text);
    }
}

static void only_canonical_text_is_valid(void **state)
{
    (void)state;
    assert_true(id_is_valid("018f0000-0000-7000-8000-00000000000a"));
    assert_true(id_is_valid("00000000-0000-0000-0000-000000000000"));
    assert_true(id_is_valid("ffffffff-ffff-ffff-ffff-ffffffffffff"));
    static const char *const bad[] = {
        "",
        "0",
        "018F0000-0000-7000-8000-00000000000A",
        "018f0000-0000-7000-8000-00000000000",
        "018f0000-0000-7000-8000-00000000000aa",
        "018f0000-0000-7000-8000-00000000000g",
        "018f00000-000-7000-8000-00000000000a",
        "018f000000007000800000000000000a",
        "{018f0000-0000-7000-8000-0000000000a}",
        " 18f0000-0000-7000-8000-00000000000a",
        "018f0000_0000_7000_8000_00000000000a",
        "018f0000-0000-7000-8000-00000000000\n",
        "018f0000-0000-7000-8000-0000000000\xc3\xa4",
        "------------------------------------",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        if (id_is_valid(bad[i]))
            fail_msg("accepted: \"%s\"", bad[i]);
    }
    assert_false(id_is_valid(NULL));
}

static void either_case_is_read_and_made_lower(void **state)
{
    (void)state;
    Id id;
    assert_true(id_parse("018F0000-AbCd-7000-8000-00000000000A", &id));
    assert_string_equal(id.text, "018f0000-abcd-7000-8000-00000000000a");
    Id untouched = {.text = "x"};
    assert_false(id_parse("018F0000-AbCd-7000-8000-00000000000G", &untouched));
    assert_false(id_parse(NULL, &untouched));
    assert_string_equal(untouched.text, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_is_a_version_7_uuid),
        cmocka_unit_test(ids_of_one_millisecond_increase),
        cmocka_unit_test(ids_increase_when_the_clock_is_set_back),
        cmocka_unit_test(random_bits_differ_within_a_millisecond),
        cmocka_unit_test(a_clock_far_off_still_gives_ids),
        cmocka_unit_test(ids_of_several_threads_differ),
        cmocka_unit_test(derived_ids_are_fixed),
        cmocka_unit_test(the_borders_between_parts_count),
        cmocka_unit_test(only_canonical_text_is_valid),
        cmocka_unit_test(either_case_is_read_and_made_lower),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
