/* The start body: members, types, limits, the key; every fault at once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/start_request.h"

#define FLOW "0190a0a0-0000-7000-8000-00000000000f"

typedef struct {
    ServiceCall call;
    Faults *faults;
    bool is_valid;
} Parsed;

static Parsed *parse(const char *body, const char *key)
{
    Parsed *parsed = g_new0(Parsed, 1);
    g_autoptr(JsonValue) value = NULL;
    if (body)
        assert_true(json_parse(body, strlen(body), 100, &value, NULL));
    parsed->faults = faults_new();
    g_strlcpy(parsed->call.flow_id.text, FLOW, ID_TEXT_SIZE);
    parsed->is_valid = start_request_parse(value, key, &parsed->call, parsed->faults);
    return parsed;
}

static void parsed_free(Parsed *parsed)
{
    g_free(parsed->call.start.triggered_by);
    text_map_done(&parsed->call.start.labels);
    text_map_done(&parsed->call.start.inputs);
    g_free(parsed->call.start.idempotency_key);
    g_free(parsed->call.start.request_digest);
    faults_free(parsed->faults);
    g_free(parsed);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Parsed, parsed_free)

static void expect_fault(const char *body, const char *field, const char *message)
{
    g_autoptr(Parsed) parsed = parse(body, NULL);
    assert_false(parsed->is_valid);
    assert_int_equal(faults_count(parsed->faults), 1);
    const Fault *fault = faults_at(parsed->faults, 0);
    if (field)
        assert_string_equal(fault->field, field);
    else
        assert_null(fault->field);
    assert_string_equal(fault->message, message);
}

static void test_nothing_is_needed(void **state)
{
    (void)state;
    static const char *const bodies[] = {NULL, "null", "{}", "{\"triggeredBy\":null,\"labels\":null,\"later\":[1]}"};
    for (size_t i = 0; i < G_N_ELEMENTS(bodies); i++) {
        g_autoptr(Parsed) parsed = parse(bodies[i], NULL);
        assert_true(parsed->is_valid);
        assert_null(parsed->call.start.triggered_by);
        assert_null(parsed->call.start.idempotency_key);
        assert_null(parsed->call.start.request_digest);
    }
}

static void test_everything(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed = parse("{\"flowId\":\"0190A0A0-0000-7000-8000-00000000000F\",\"triggeredBy\":\"system\","
                                     "\"labels\":{\"env\":\"prod\",\"gone\":null},\"inputs\":{\"b\":\"2\",\"a\":\"\"}}",
                                     "key-1");
    assert_true(parsed->is_valid);
    assert_string_equal(parsed->call.start.triggered_by, "system");
    assert_int_equal(parsed->call.start.labels.n_pairs, 1);
    assert_string_equal(text_map_find(&parsed->call.start.labels, "env"), "prod");
    assert_string_equal(parsed->call.start.inputs.pairs[0].name, "b");
    assert_string_equal(text_map_find(&parsed->call.start.inputs, "a"), "");
    assert_string_equal(parsed->call.start.idempotency_key, "key-1");
    assert_int_equal(strlen(parsed->call.start.request_digest), 64);
}

static void test_types(void **state)
{
    (void)state;
    expect_fault("[]", NULL, "the body must be an object, not array");
    expect_fault("\"x\"", NULL, "the body must be an object, not string");
    expect_fault("{\"flowId\":1}", "flowId", "must be a string, not integer");
    expect_fault("{\"flowId\":\"x\"}", "flowId", "must be a UUID");
    expect_fault("{\"flowId\":\"0190a0a0-0000-7000-8000-000000000001\"}", "flowId",
                 "must be the flow of the path, " FLOW);
    expect_fault("{\"triggeredBy\":true}", "triggeredBy", "must be a string, not boolean");
    expect_fault("{\"triggeredBy\":\" \\t\"}", "triggeredBy", "must not be blank");
    expect_fault("{\"labels\":[]}", "labels", "must be an object of strings, not array");
    expect_fault("{\"labels\":{\"a\":1}}", "labels.a", "must be a string, not integer");
    expect_fault("{\"labels\":{\"\":\"x\"}}", "labels", "has a member with an empty name");
    expect_fault("{\"inputs\":\"x\"}", "inputs", "must be an object of strings, not string");
    expect_fault("{\"inputs\":{\"a\":{}}}", "inputs.a", "must be a string, not object");
}

static char *body_with(const char *member, size_t name_size, size_t value_size)
{
    g_autofree char *name = g_strnfill(name_size, 'n'), *value = g_strnfill(value_size, 'v');
    return g_strdup_printf("{\"%s\":{\"%s\":\"%s\"}}", member, name, value);
}

static void test_limits(void **state)
{
    (void)state;
    g_autofree char *name = g_strnfill(TRIGGERED_BY_MAX_BYTES + 1, 'x');
    g_autofree char *long_name = g_strdup_printf("{\"triggeredBy\":\"%s\"}", name);
    expect_fault(long_name, "triggeredBy", "must have at most 255 bytes");

    g_autofree char *inputs = body_with("inputs", 1, RUN_INPUTS_MAX_BYTES - 8); /* {"n":""} */
    g_autoptr(Parsed) parsed = parse(inputs, NULL);
    assert_true(parsed->is_valid);
    g_autofree char *more_inputs = body_with("inputs", 2, RUN_INPUTS_MAX_BYTES - 8);
    expect_fault(more_inputs, "inputs", "must have at most 65536 bytes as JSON, these have 65537");
    g_autoptr(GString) escaped = g_string_new("{\"inputs\":{\"n\":\"");
    for (int i = 0; i < RUN_INPUTS_MAX_BYTES / 6; i++)
        g_string_append(escaped, "\\u0001");
    g_string_append(escaped, "\"}}");
    expect_fault(escaped->str, "inputs", "must have at most 65536 bytes as JSON, these have 65540");

    g_autofree char *label = body_with("labels", START_LABEL_NAME_MAX_CHARS, START_LABEL_VALUE_MAX_CHARS);
    g_autoptr(Parsed) labelled = parse(label, NULL);
    assert_true(labelled->is_valid);
    g_autofree char *longer_name = body_with("labels", START_LABEL_NAME_MAX_CHARS + 1, 1);
    expect_fault(longer_name, "labels", "has a name of more than 64 characters");
    g_autofree char *longer_value = body_with("labels", 1, START_LABEL_VALUE_MAX_CHARS + 1);
    expect_fault(longer_value, "labels.n", "must have at most 256 characters");

    g_autoptr(GString) many = g_string_new("{\"labels\":{");
    for (int i = 0; i <= START_LABELS_MAX; i++)
        g_string_append_printf(many, "%s\"l%d\":\"\"", i ? "," : "", i);
    g_string_append(many, "}}");
    expect_fault(many->str, "labels", "must have at most 64 members");
}

static void test_keys(void **state)
{
    (void)state;
    g_autofree char *longest = g_strnfill(255, 'k'), *longer = g_strnfill(256, 'k');
    const char *const good[] = {"k", "!~", longest};
    for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(Parsed) parsed = parse("{}", good[i]);
        assert_true(parsed->is_valid);
        assert_string_equal(parsed->call.start.idempotency_key, good[i]);
    }
    const char *const bad[] = {"", " ", "a b", "a, b", "\x7f", "\xc3\xa9", longer};
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(Parsed) parsed = parse("{}", bad[i]);
        assert_false(parsed->is_valid);
        assert_string_equal(faults_at(parsed->faults, 0)->field, "Idempotency-Key");
        assert_string_equal(faults_at(parsed->faults, 0)->message, "must have 1 to 255 visible ASCII characters");
    }
}

static void test_digest_follows_the_body(void **state)
{
    (void)state;
    g_autoptr(Parsed) none = parse(NULL, "k"), empty = parse("{}", "k"), other = parse("{\"triggeredBy\":\"x\"}", "k");
    assert_string_equal(none->call.start.request_digest, empty->call.start.request_digest);
    assert_string_not_equal(none->call.start.request_digest, other->call.start.request_digest);
}

static void test_all_faults_at_once(void **state)
{
    (void)state;
    g_autoptr(Parsed) parsed =
        parse("{\"flowId\":1,\"triggeredBy\":2,\"labels\":{\"a\":1,\"b\":[]},\"inputs\":3}", "a b");
    assert_int_equal(faults_count(parsed->faults), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_needed),
        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_digest_follows_the_body),
        cmocka_unit_test(test_all_faults_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
