/* The table of settings: each row by itself, near names, what is held against a row, what is shown of a secret. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "app/setting.h"

static void test_every_default_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < setting_count(); i++) {
        const Setting *setting = setting_at(i);
        g_autofree char *fault = setting->default_text != NULL ? setting_fault(setting, setting->default_text) : NULL;
        assert_null(fault);
        assert_true(setting->max == 0 || setting->default_text != NULL); /* a number always has a value */
        assert_true(setting->meaning != NULL && strpbrk(setting->meaning, "|\n") == NULL);
    }
}

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < setting_count(); i++) {
        g_autofree char *flag = setting_flag(setting_at(i));
        assert_int_equal(setting_find(setting_at(i)->name), i);
        assert_int_equal(setting_find_flag(flag), i);
        assert_ptr_equal(setting_nearest(setting_at(i)->name), setting_at(i));
    }
    assert_int_equal(setting_find("data-dir"), -1);
    assert_int_equal(setting_find_flag("DATA_DIR"), -1);
}

static void expect_near(const char *name, const char *expected)
{
    const Setting *nearest = setting_nearest(name);
    assert_true((nearest == NULL) == (expected == NULL));
    if (expected != NULL)
        assert_string_equal(nearest->name, expected);
}

static void test_near_names(void **state)
{
    (void)state;
    expect_near("MONGO_URL", "MONGO_URI");
    expect_near("data-dri", "DATA_DIR");
    expect_near("KAFKA_BROKERS", "KAFKA_BROKER");
    expect_near("http_loop", "HTTP_LOOPS");
    expect_near("PATH", NULL);
    expect_near("x", NULL);
    expect_near("", NULL);
}

static void expect_fault(const char *name, const char *text, bool is_wrong)
{
    g_autofree char *fault = setting_fault(setting_at((size_t)setting_find(name)), text);
    assert_int_equal(fault != NULL, is_wrong);
}

static void test_what_fits(void **state)
{
    (void)state;
    static const char *const fine[][2] = {
        {"EXECUTION_SERVICE_PORT", "0"},
        {"EXECUTION_SERVICE_PORT", "65535"},
        {"LISTEN_ADDR", "::1"},
        {"LOG_LEVEL", "WARNING"},
        {"ENGINE", "off"},
        {"KAFKA_REPLICATION", "-1"},
        {"KAFKA_BROKER", "a:1, [::1]:2"},
        {"MONGO_URI", "mongodb+srv://h"},
        {"ALLOW_UNAUTHENTICATED", "container"},
    };
    static const char *const wrong[][2] = {
        {"EXECUTION_SERVICE_PORT", "65536"},
        {"EXECUTION_SERVICE_PORT", " 1"},
        {"EXECUTION_SERVICE_PORT", "1 "},
        {"LISTEN_ADDR", "localhost"},
        {"LOG_LEVEL", "warn"},
        {"ENGINE", "on|off"},
        {"KAFKA_REPLICATION", "0"},
        {"KAFKA_REPLICATION", "00"},
        {"KAFKA_BROKER", "a:1,"},
        {"KAFKA_BROKER", "::1:2"},
        {"MONGO_URI", "http://h"},
        {"MONGO_DB", "a.b"},
        {"CACHE_BYTES", "1e9"},
        {"CACHE_BYTES", "0x100000"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(fine); i++)
        expect_fault(fine[i][0], fine[i][1], false);
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
        expect_fault(wrong[i][0], wrong[i][1], true);
}

static void expect_shown(const char *name, const char *text, const char *expected)
{
    g_autofree char *shown = setting_shown(setting_at((size_t)setting_find(name)), text);
    assert_string_equal(shown, expected);
}

static void test_secrets_are_masked(void **state)
{
    (void)state;
    expect_shown("DATA_DIR", "/data", "/data");
    expect_shown("GATEWAY_SECRET", "hunter2", "***");
    expect_shown("KAFKA_OPTIONS", "sasl.username=me,sasl.password=hunter2", "***");
    expect_shown("MONGO_URI", "mongodb://h", "mongodb://h");
    expect_shown("MONGO_URI", "mongodb://h:1,[::1]:2/db", "mongodb://h:1,[::1]:2/db");
    expect_shown("MONGO_URI", "mongodb://me@h/", "mongodb://me@h/");
    expect_shown("MONGO_URI", "mongodb://me:hunter2@h:1/db?replicaSet=r", "mongodb://me:***@h:1/db?***");
    expect_shown("MONGO_URI", "mongodb+srv://me:hun:ter2@h.example.com", "mongodb+srv://me:***@h.example.com");
    expect_shown("MONGO_URI", "mongodb://h/?tlsCertificateKeyFilePassword=hunter2", "mongodb://h/?***");
}

static void test_a_secret_that_is_misplaced_is_masked_with_all_around_it(void **state)
{
    (void)state;
    static const char *const uris[] = {
        "mongodb://me:hun/ter2@h",
        "mongodb://me:hun?ter2@h",
        "mongodb://me:hun#ter2@h",
        "mongodb://me:hun@ter2@h",
        "mongodb://me:hunter2/db",
        "mongodb://me:hunter2",
        "me:hunter2@h",
        "hunter2",
        "mongodb://h,me:hunter2",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++)
        expect_shown("MONGO_URI", uris[i], "***");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_default_fits),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_near_names),
        cmocka_unit_test(test_what_fits),
        cmocka_unit_test(test_secrets_are_masked),
        cmocka_unit_test(test_a_secret_that_is_misplaced_is_masked_with_all_around_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
