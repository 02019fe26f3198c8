/* test_event.c - the journal's texts, byte for byte: they are stored for ever and shown to clients. */
#include "run_fixture.h"

static const char CREATED[] =
    "{\"eventType\":\"RUN_CREATED\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
    "\",\"timestamp\":\"2026-01-31T09:00:00.000Z\",\"seq\":1,\"owner\":\"" OWNER_ID
    "\",\"triggeredBy\":\"system\",\"flowVersion\":4,\"command\":\"START\",\"commandId\":\"" COMMAND_ID
    "\",\"labels\":{\"team\":\"blue\"},\"inputs\":{},\"steps\":[\"" STEP_A "\",\"" STEP_B
    "\"],\"requestDigest\":\"d\"}";
static const char PAUSE[] =
    "{\"eventType\":\"COMMAND_REQUESTED\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
    "\",\"timestamp\":\"2026-01-31T09:00:00.500Z\",\"seq\":2,\"command\":\"PAUSE\",\"commandId\":"
    "\"" COMMAND_ID "\",\"requestedBy\":\"" OWNER_ID "\"}";
static const char STOP[] = "{\"eventType\":\"COMMAND_REQUESTED\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
                           "\",\"timestamp\":\"2026-01-31T09:00:00.500Z\",\"seq\":2,\"command\":\"STOP\",\"commandId\":"
                           "\"" COMMAND_ID "\",\"requestedBy\":null}";
static const char HANDED_OVER[] = "{\"eventType\":\"RUN_HANDED_OVER\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
                                  "\",\"timestamp\":\"2026-01-31T09:00:00.500Z\",\"seq\":3,\"command\":\"START\","
                                  "\"commandId\":\"" COMMAND_ID "\",\"generation\":2}";
static const char FLOW_STATUS[] = "{\"eventType\":\"FLOW_STATUS\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
                                  "\",\"status\":\"FAILED\",\"error\":\"it \\\"broke\\\"\",\"timestamp\":"
                                  "\"2026-01-31T09:00:00.001Z\",\"seq\":9007199254740993,\"generation\":1,\"origin\":"
                                  "{\"topic\":\"execution.status\",\"partition\":2,\"offset\":9223372036854775807}}";
static const char STEP_STATUS[] = "{\"eventType\":\"STEP_STATUS\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID
                                  "\",\"stepId\":\"" STEP_A "\",\"status\":\"COMPLETED\",\"error\":null,\"timestamp\":"
                                  "\"1969-12-31T23:59:59.999Z\",\"attempt\":2,\"outputs\":{\"n\":1.50,\"deep\":[[{}]]},"
                                  "\"seq\":5,\"generation\":3}";
static const char BARE_STEP_STATUS[] =
    "{\"eventType\":\"STEP_STATUS\",\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID "\",\"stepId\":\"" STEP_A
    "\",\"status\":\"RUNNING\",\"error\":null,\"timestamp\":"
    "\"0000-01-01T00:00:00.000Z\",\"attempt\":1,\"outputs\":null,\"seq\":5,"
    "\"generation\":1}";

static const char *const TEXTS[] = {CREATED, PAUSE, STOP, HANDED_OVER, FLOW_STATUS, STEP_STATUS, BARE_STEP_STATUS};

static Event *decode(const char *text)
{
    g_autoptr(GError) error = NULL;
    Event *event = event_decode(text, strlen(text), &error);
    if (error != NULL)
        print_error("%s\n", error->message);
    assert_non_null(event);
    return event;
}

static void test_names(void **state)
{
    (void)state;
    for (RunStatus status = RUN_SCHEDULED; status <= RUN_STOPPED; status++) {
        RunStatus parsed;
        assert_true(run_status_parse(run_status_name(status), &parsed));
        assert_int_equal(parsed, status);
        assert_int_equal(run_status_is_terminal(status), status >= RUN_COMPLETED);
    }
    for (StepStatus status = STEP_PENDING; status <= STEP_CANCELLED; status++) {
        StepStatus parsed;
        assert_true(step_status_parse(step_status_name(status), &parsed));
        assert_int_equal(parsed, status);
        assert_int_equal(step_status_is_terminal(status), status >= STEP_COMPLETED);
    }
    RunStatus run_status = RUN_PAUSED;
    StepStatus step_status = STEP_SKIPPED;
    static const char *const wrong[] = {"", "running", "RUNNING ", "RUNNINGX", "RUN", "NONE"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        assert_false(run_status_parse(wrong[i], &run_status));
        assert_false(step_status_parse(wrong[i], &step_status));
    }
    assert_false(run_status_parse("SKIPPED", &run_status));
    assert_false(step_status_parse("PAUSED", &step_status));
    assert_int_equal(run_status, RUN_PAUSED);
    assert_string_equal(command_name(COMMAND_START), "START");
    assert_string_equal(command_name(COMMAND_STOP), "STOP");
}

static void test_every_text_survives_reading_and_writing(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(TEXTS); i++) {
        g_autoptr(Event) event = decode(TEXTS[i]);
        GString *out = g_string_new("kept: ");
        event_encode(event, out);
        assert_string_equal(out->str + strlen("kept: "), TEXTS[i]);
        g_string_free(out, TRUE);
    }
}

static void test_what_is_read(void **state)
{
    (void)state;
    g_autoptr(Event) created = decode(CREATED);
    assert_int_equal(created->type, EVENT_RUN_CREATED);
    assert_int_equal(created->timestamp, T0);
    assert_int_equal(created->command, COMMAND_START);
    assert_int_equal(created->n_steps, 2);
    assert_string_equal(created->step_ids[1].text, STEP_B);
    assert_string_equal(text_map_find(&created->labels, "team"), "blue");
    g_autoptr(Event) stop = decode(STOP);
    assert_int_equal(stop->command, COMMAND_STOP);
    assert_string_equal(stop->requested_by.text, "");
    g_autoptr(Event) flow = decode(FLOW_STATUS);
    assert_int_equal(flow->run_status, RUN_FAILED);
    assert_true(flow->seq == 9007199254740993);
    assert_true(flow->origin.offset == G_MAXINT64);
    g_autoptr(Event) step = decode(STEP_STATUS);
    assert_int_equal(step->timestamp, -1);
    assert_null(step->origin.topic);
    assert_string_equal(step->outputs_json, "{\"n\":1.50,\"deep\":[[{}]]}");
}

static void test_frame_names_without_parsing(void **state)
{
    (void)state;
    assert_string_equal(event_text_frame_name(CREATED, strlen(CREATED)), "created");
    assert_string_equal(event_text_frame_name(PAUSE, strlen(PAUSE)), "command");
    assert_string_equal(event_text_frame_name(HANDED_OVER, strlen(HANDED_OVER)), "command");
    assert_null(event_text_frame_name(FLOW_STATUS, strlen(FLOW_STATUS)));
    assert_null(event_text_frame_name(STEP_STATUS, strlen(STEP_STATUS)));
}

/* Each text with each single member renamed: whatever is missing is noticed, except what may be absent. */
static void test_a_text_that_misses_a_member_is_broken(void **state)
{
    (void)state;
    static const char *const optional[] = {"triggeredBy", "requestDigest", "requestedBy", "error", "outputs", "origin"};
    for (size_t i = 0; i < G_N_ELEMENTS(TEXTS); i++) {
        g_autoptr(JsonValue) whole = NULL;
        assert_true(json_parse(TEXTS[i], strlen(TEXTS[i]), 64, &whole, NULL));
        g_auto(GStrv) quoted = g_strsplit(TEXTS[i], "\"", -1);
        for (size_t at = 1; quoted[at] != NULL && quoted[at + 1] != NULL; at += 2) {
            bool is_name = quoted[at + 1][0] == ':' && json_get(whole, quoted[at]) != NULL;
            if (!is_name || strcmp(quoted[at], "n") == 0)
                continue;
            bool is_optional = g_strv_contains(optional, quoted[at]);
            if (strcmp(quoted[at], "command") == 0 && i != 1 && i != 2)
                is_optional = true; /* only requests differ in their command */
            g_autofree char *name = quoted[at];
            quoted[at] = g_strdup("renamed");
            g_autofree char *text = g_strjoinv("\"", quoted);
            g_autoptr(GError) error = NULL;
            g_autoptr(Event) event = event_decode(text, strlen(text), &error);
            if ((event != NULL) != is_optional)
                print_error("without %s: %s\n", name, text);
            assert_int_equal(event != NULL, is_optional);
            if (event == NULL) {
                g_autofree char *expected = g_strdup_printf("%s is missing", name);
                assert_string_equal(error->message, expected);
                assert_int_equal(error->code, FLOWOPS_INVALID);
            }
            g_free(quoted[at]);
            quoted[at] = g_steal_pointer(&name);
        }
    }
}

static void test_what_else_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *find, *replace, *reason;
    } cases[] = {
        {FLOW_STATUS, "FLOW_STATUS", "FLOW_STATE", "unknown eventType \"FLOW_STATE\""},
        {FLOW_STATUS, "FAILED", "SKIPPED", "unknown status \"SKIPPED\""},
        {STEP_STATUS, "COMPLETED", "PAUSED", "unknown status \"PAUSED\""},
        {PAUSE, "PAUSE", "START", "unknown command \"START\""},
        {PAUSE, "PAUSE", "NONE", "unknown command \"NONE\""},
        {STEP_STATUS, "\"attempt\":2", "\"attempt\":0", "attempt must be from 1 to 9223372036854775807"},
        {STEP_STATUS, "\"seq\":5", "\"seq\":0", "seq must be from 1 to 9223372036854775807"},
        {STEP_STATUS, "\"seq\":5", "\"seq\":\"5\"", "seq must be integer, not string"},
        {STEP_STATUS, "\"seq\":5", "\"seq\":5.5", "seq must be integer, not number"},
        {STEP_STATUS, "{\"n\":1.50,\"deep\":[[{}]]}", "[]", "outputs must be object, not array"},
        {STEP_STATUS, STEP_A, "a", "stepId must be a UUID"},
        {CREATED, "\"" STEP_B "\"", "7", "steps must be UUIDs"},
        {CREATED, "{\"team\":\"blue\"}", "[]", "labels must be object, not array"},
        {FLOW_STATUS, "\"partition\":2", "\"partition\":2147483648", "partition must be from 0 to 2147483647"},
        {FLOW_STATUS, "09:00:00.001Z", "25:00:00.001Z", "timestamp is no instant of the years 0000 to 9999"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GString *text = g_string_new(cases[i].text);
        assert_int_equal(g_string_replace(text, cases[i].find, cases[i].replace, 1), 1);
        g_autoptr(GError) error = NULL;
        assert_null(event_decode(text->str, text->len, &error));
        assert_string_equal(error->message, cases[i].reason);
        g_string_free(text, TRUE);
    }
    static const char *const broken[] = {"", "null", "[]", "{", "{}x", "7"};
    for (size_t i = 0; i < G_N_ELEMENTS(broken); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(event_decode(broken[i], strlen(broken[i]), &error));
        assert_int_equal(error->code, FLOWOPS_INVALID);
    }
}

/* A journal text cut anywhere is noticed, and nothing is read behind its end. */
static void test_every_cut_text_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < G_N_ELEMENTS(TEXTS); i++) {
        for (size_t size = 0; size < strlen(TEXTS[i]); size++) {
            g_autofree char *cut = g_memdup2(TEXTS[i], size);
            g_autoptr(GError) error = NULL;
            assert_null(event_decode(cut != NULL ? cut : "", size, &error));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_text_survives_reading_and_writing),
        cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_frame_names_without_parsing),
        cmocka_unit_test(test_a_text_that_misses_a_member_is_broken),
        cmocka_unit_test(test_what_else_is_refused),
        cmocka_unit_test(test_every_cut_text_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
