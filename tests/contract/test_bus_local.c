/* test_bus_local.c - what only the in-process bus does: it keeps the newest dead letters itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bus/bus_local.h"

static void put_aside(Bus *bus, size_t number, const char *filling)
{
    g_autofree char *reason = g_strdup_printf("reason %zu", number);
    g_autoptr(BusMessage) message = bus_message_new("key", filling, strlen(filling));
    assert_true(bus_dead_letter(bus, message, reason, NULL));
}

static void test_a_letter_is_kept_whole(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = bus_open_local(4, 1000);
    assert_null(bus_local_take_dead_letter(bus));
    put_aside(bus, 7, "{broken");
    g_autoptr(DeadLetter) letter = bus_local_take_dead_letter(bus);
    assert_string_equal(letter->message->key, "key");
    assert_string_equal(letter->message->value, "{broken");
    assert_string_equal(letter->reason, "reason 7");
    assert_null(bus_local_take_dead_letter(bus));
}

static void test_the_newest_are_kept(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = bus_open_local(4, 1000);
    size_t n = BUS_LOCAL_MAX_DEAD_LETTERS + 10;
    for (size_t i = 0; i < n; i++)
        put_aside(bus, i, "x");
    assert_int_equal(bus_health(bus).n_dead_letters, n);
    g_autoptr(DeadLetter) oldest = bus_local_take_dead_letter(bus);
    assert_string_equal(oldest->reason, "reason 10");
}

static void test_large_ones_push_out_more(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = bus_open_local(4, 1000);
    g_autofree char *large = g_strnfill(BUS_LOCAL_MAX_DEAD_LETTER_BYTES * 2 / 5, 'x');
    for (size_t i = 0; i < 5; i++)
        put_aside(bus, i, large);
    g_autoptr(DeadLetter) third = bus_local_take_dead_letter(bus);
    g_autoptr(DeadLetter) fourth = bus_local_take_dead_letter(bus);
    assert_string_equal(third->reason, "reason 3");
    assert_string_equal(fourth->reason, "reason 4");
    assert_null(bus_local_take_dead_letter(bus));
    g_autofree char *largest = g_strnfill(BUS_MAX_MESSAGE_BYTES, 'x');
    put_aside(bus, 5, largest);
    g_autoptr(DeadLetter) alone = bus_local_take_dead_letter(bus);
    assert_string_equal(alone->reason, "reason 5");
}

static void test_after_shutdown_letters_are_still_taken(void **state G_GNUC_UNUSED)
{
    g_autoptr(Bus) bus = bus_open_local(4, 1000);
    bus_shutdown(bus);
    put_aside(bus, 1, "x");
    dead_letter_free(bus_local_take_dead_letter(bus));
    assert_int_equal(bus_health(bus).n_dead_letters, 1);
    put_aside(bus, 2, "never taken");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_letter_is_kept_whole),
        cmocka_unit_test(test_the_newest_are_kept),
        cmocka_unit_test(test_large_ones_push_out_more),
        cmocka_unit_test(test_after_shutdown_letters_are_still_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
