/* Cursors: what we gave out comes back; nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/cursor.h"

static const unsigned char SECRET[CURSOR_SECRET_SIZE] = "0123456789abcdef0123456789abcde";
static const Id OWNER = {"0190a0a0-0000-7000-8000-00000000000a"}, STRANGER = {"0190a0a0-0000-7000-8000-00000000000b"};
static const ListPosition PLACE = {1769850000123, {"0190a0a0-0000-7000-8000-000000000001"}};

static void test_there_and_back(void **state)
{
    (void)state;
    static const int64_t instants[] = {0, -1, INT64_MAX, INT64_MIN + 1, 1769850000123};
    for (size_t i = 0; i < G_N_ELEMENTS(instants); i++) {
        ListPosition place = {instants[i], PLACE.id}, back = {0};
        g_autofree char *text = cursor_encode(SECRET, CURSOR_RUNS, &OWNER, &place);
        assert_true(cursor_decode(SECRET, CURSOR_RUNS, &OWNER, text, &back));
        assert_true(back.created_at == place.created_at);
        assert_string_equal(back.id.text, place.id.text);
    }
}

static void test_bound_to_owner_list_and_secret(void **state)
{
    (void)state;
    ListPosition back;
    unsigned char other[CURSOR_SECRET_SIZE] = {0};
    g_autofree char *text = cursor_encode(SECRET, CURSOR_RUNS, &OWNER, &PLACE);
    assert_false(cursor_decode(SECRET, CURSOR_RUNS, &STRANGER, text, &back));
    assert_false(cursor_decode(SECRET, CURSOR_FLOWS, &OWNER, text, &back));
    assert_false(cursor_decode(other, CURSOR_RUNS, &OWNER, text, &back));
}

static void test_every_changed_character_is_found(void **state)
{
    (void)state;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. ";
    g_autofree char *text = cursor_encode(SECRET, CURSOR_RUNS, &OWNER, &PLACE);
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        for (const char *c = alphabet; *c; c++) {
            ListPosition back;
            g_autofree char *forged = g_strdup(text);
            forged[i] = *c;
            if (strcmp(forged, text) != 0 && cursor_decode(SECRET, CURSOR_RUNS, &OWNER, forged, &back))
                fail_msg("taken with %c at %zu", *c, i);
        }
    }
}

static void test_garbage(void **state)
{
    (void)state;
    g_autofree char *text = cursor_encode(SECRET, CURSOR_RUNS, &OWNER, &PLACE);
    g_autofree char *longer = g_strconcat(text, "A", NULL), *padded = g_strconcat(text, "==", NULL);
    g_autofree char *shorter = g_strndup(text, strlen(text) - 1), *zeros = g_strnfill(strlen(text), 'A');
    const char *const bad[] = {"", "A", "null", longer, padded, shorter, zeros, "\xff\xfe"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        ListPosition back = PLACE;
        assert_false(cursor_decode(SECRET, CURSOR_RUNS, &OWNER, bad[i], &back));
        assert_true(back.created_at == PLACE.created_at);
        assert_string_equal(back.id.text, PLACE.id.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_bound_to_owner_list_and_secret),
        cmocka_unit_test(test_every_changed_character_is_found),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
