/* The matcher, on a table of its own. (The service's own table: test_api.c.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "http/routes.h"

static const Route TABLE[] = {
    {HTTP_POST, "/a", NULL, false},
    {HTTP_GET, "/a", NULL, false},
    {HTTP_GET, "/a/{id}", NULL, false},
    {HTTP_PUT, "/a/{id}", NULL, false},
    {HTTP_DELETE, "/a/{id}", NULL, false},
    {HTTP_POST, "/a/{id}/start", NULL, false},
    {HTTP_GET, "/stream/{id}", NULL, false},
    {HTTP_GET, "/a/{id}/b/{id}", NULL, false},
    {HTTP_POST, "/a/{id}/b/{id}/stop", NULL, false},
};

/* "2 xyz": route 2 with the id; "404"; "405 GET, HEAD ..."; "204 GET ..." */
static const char *match(HttpMethod method, const char *path)
{
    static char out[256];
    RouteMatch match = routes_match(TABLE, G_N_ELEMENTS(TABLE), method, path);
    switch (match.outcome) {
    case ROUTE_NO_PATH:
        return "404";
    case ROUTE_NO_METHOD:
        g_snprintf(out, sizeof(out), "405 %s", match.allow);
        return out;
    case ROUTE_OPTIONS:
        g_snprintf(out, sizeof(out), "204 %s", match.allow);
        return out;
    case ROUTE_FOUND:
        break;
    }
    g_snprintf(out, sizeof(out), "%d %.*s", (int)(match.route - TABLE), (int)match.id_size, match.id ? match.id : "");
    if (match.second_id) {
        size_t size = strlen(out);
        g_snprintf(out + size, sizeof(out) - size, " %.*s", (int)match.second_id_size, match.second_id);
    }
    return out;
}

static void test_found(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_POST, "/a"), "0 ");
    assert_string_equal(match(HTTP_GET, "/a"), "1 ");
    assert_string_equal(match(HTTP_GET, "/a/x"), "2 x");
    assert_string_equal(match(HTTP_DELETE, "/a/long-id"), "4 long-id");
    assert_string_equal(match(HTTP_POST, "/a/x/start"), "5 x");
    assert_string_equal(match(HTTP_GET, "/a/start"), "2 start");
}

static void test_two_ids(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_GET, "/a/x/b/yz"), "7 x yz");
    assert_string_equal(match(HTTP_GET, "/a/x/b/yz/"), "7 x yz");
    assert_string_equal(match(HTTP_POST, "/a/x/b/yz/stop"), "8 x yz");
    assert_string_equal(match(HTTP_GET, "/a/x/b/yz/stop"), "405 POST, OPTIONS");
    static const char *const paths[] = {"/a/x/b", "/a/x/b/", "/a/x/b//", "/a//b/y", "/a/x/b/y/z", "/a/x/b/y/stopp"};
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++)
        if (strcmp(match(HTTP_GET, paths[i]), "404") != 0)
            fail_msg("%s leads to %s", paths[i], match(HTTP_GET, paths[i]));
}

static void test_head_is_get(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_HEAD, "/a/x"), "2 x");
    assert_string_equal(match(HTTP_HEAD, "/a/x/start"), "405 POST, OPTIONS");
}

static void test_one_slash_at_the_end_is_ignored(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_GET, "/a/"), "1 ");
    assert_string_equal(match(HTTP_GET, "/a/x/"), "2 x");
    assert_string_equal(match(HTTP_POST, "/a/x/start/"), "5 x");
    assert_string_equal(match(HTTP_GET, "/a//"), "404");
    assert_string_equal(match(HTTP_GET, "/"), "404");
}

static void test_not_found(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "",    "/",       "a",        "/b", "/A", "/a/x/y", "/a//start", "/a/x/start/y", "/a/x/startx",
        "/ax", "/stream", "/stream/", "*",  "//a"};
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++)
        if (strcmp(match(HTTP_GET, paths[i]), "404") != 0)
            fail_msg("%s leads to %s", paths[i], match(HTTP_GET, paths[i]));
}

static void test_wrong_method(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_DELETE, "/a"), "405 GET, HEAD, POST, OPTIONS");
    assert_string_equal(match(HTTP_POST, "/a/x"), "405 GET, HEAD, PUT, DELETE, OPTIONS");
    assert_string_equal(match(HTTP_PATCH, "/a/x"), "405 GET, HEAD, PUT, DELETE, OPTIONS");
    assert_string_equal(match(HTTP_OTHER, "/stream/x"), "405 GET, HEAD, OPTIONS");
}

static void test_options(void **state)
{
    (void)state;
    assert_string_equal(match(HTTP_OPTIONS, "/a"), "204 GET, HEAD, POST, OPTIONS");
    assert_string_equal(match(HTTP_OPTIONS, "/a/x/start"), "204 POST, OPTIONS");
    assert_string_equal(match(HTTP_OPTIONS, "/b"), "404");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),       cmocka_unit_test(test_two_ids),
        cmocka_unit_test(test_head_is_get), cmocka_unit_test(test_one_slash_at_the_end_is_ignored),
        cmocka_unit_test(test_not_found),   cmocka_unit_test(test_wrong_method),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
