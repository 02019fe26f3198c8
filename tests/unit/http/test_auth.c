/* Who is let in: loopback names, users, secrets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/auth.h"

#define USER "0190a0a0-0000-7000-8000-00000000000a"

static void test_loopback_hosts(void **state)
{
    (void)state;
    static const char *const good[] = {"localhost",       "LocalHost:8080", "localhost.",
                                       "api.localhost:1", "127.0.0.1",      "127.255.0.3:65535",
                                       "[::1]",           "[::1]:8080",     "localhost:"};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++)
        if (!host_is_loopback(good[i]))
            fail_msg("%s was refused", good[i]);
}

static void test_other_hosts(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "example.com",
                                      "localhost.example.com",
                                      "evillocalhost",
                                      ".localhost.evil",
                                      "127.0.0.1.nip.io",
                                      "127.1",
                                      "128.0.0.1",
                                      "0.0.0.0",
                                      "2130706433",
                                      "[::2]",
                                      "[::1",
                                      "[::1]x",
                                      "[::1]:80a",
                                      "::1",
                                      "localhost:80@evil",
                                      "localhost:123456",
                                      "localhost,evil",
                                      "127.0.0.1 evil",
                                      " localhost"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        if (host_is_loopback(bad[i]))
            fail_msg("%s was let in", bad[i]);
    assert_false(host_is_loopback(NULL));
    g_autofree char *longest = g_strnfill(100000, 'x');
    assert_false(host_is_loopback(longest));
}

static void test_none(void **state)
{
    (void)state;
    Id local = {USER}, caller = {""};
    const char *why = NULL;
    assert_true(auth_check_none(NULL, &local, &caller, &why));
    assert_string_equal(caller.text, USER);
    assert_true(auth_check_none("0190A0A0-0000-7000-8000-00000000000B", &local, &caller, &why));
    assert_string_equal(caller.text, "0190a0a0-0000-7000-8000-00000000000b");
    assert_false(auth_check_none("root", &local, &caller, &why));
    assert_string_equal(why, "X-User-Id is not a UUID");
}

static void test_gateway(void **state)
{
    (void)state;
    Id caller = {""};
    const char *why = NULL;
    assert_true(auth_check_gateway(USER, NULL, NULL, &caller, &why));
    assert_string_equal(caller.text, USER);
    assert_true(auth_check_gateway(USER, "anything", NULL, &caller, &why));
    assert_false(auth_check_gateway(NULL, NULL, NULL, &caller, &why));
    assert_string_equal(why, "X-User-Id is missing");
    assert_false(auth_check_gateway("", NULL, NULL, &caller, &why));
    assert_string_equal(why, "X-User-Id is not a UUID");
}

static void test_gateway_secret(void **state)
{
    (void)state;
    Id caller = {""};
    const char *why = NULL;
    assert_true(auth_check_gateway(USER, "s3cret", "s3cret", &caller, &why));
    caller.text[0] = '\0';
    static const char *const wrong[] = {"", "s3cre", "s3cret ", "S3cret", "s3cretx"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        assert_false(auth_check_gateway(USER, wrong[i], "s3cret", &caller, &why));
        assert_string_equal(why, "X-Gateway-Secret is wrong");
    }
    assert_false(auth_check_gateway(USER, NULL, "s3cret", &caller, &why));
    assert_string_equal(why, "X-Gateway-Secret is missing");
    assert_string_equal(caller.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loopback_hosts), cmocka_unit_test(test_other_hosts),    cmocka_unit_test(test_none),
        cmocka_unit_test(test_gateway),        cmocka_unit_test(test_gateway_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
