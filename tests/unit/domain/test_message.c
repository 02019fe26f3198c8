/* test_message.c - the dialects of the bus: what we write, what of it we read, and how everything else is refused. */
#include "run_fixture.h"

/* ---- statuses ---- */

#define FLOW_IDS "\"flowId\":\"" FLOW_ID "\",\"runId\":\"" RUN_ID "\""
#define AT "\"timestamp\":\"2026-01-31T09:00:00.123Z\""

static StatusMessage *status_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    StatusMessage *message = status_message_decode(text, strlen(text), &error);
    if (message == NULL)
        print_error("%s: %s\n", text, error->message);
    assert_non_null(message);
    return message;
}

static void assert_status_refused(const char *text, const char *reason)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(StatusMessage) message = status_message_decode(text, strlen(text), &error);
    if (message != NULL)
        print_error("accepted: %s\n", text);
    assert_null(message);
    assert_int_equal(error->code, FLOWOPS_INVALID);
    if (reason != NULL)
        assert_string_equal(error->message, reason);
}

static void test_a_flow_status_of_the_contract(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message = status_of("{\"eventType\":\"FLOW_STATUS\"," FLOW_IDS ",\"status\":\"FAILED\","
                                                 "\"error\":\"broke\"," AT "}");
    assert_int_equal(message->kind, STATUS_FLOW);
    assert_string_equal(message->flow_id.text, FLOW_ID);
    assert_string_equal(message->run_id.text, RUN_ID);
    assert_int_equal(message->run_status, RUN_FAILED);
    assert_string_equal(message->error, "broke");
    assert_int_equal(message->timestamp, T0 + 123);
    assert_int_equal(message->generation, 0);
    assert_null(message->origin.topic);
}

static void test_a_step_status_of_the_contract(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message =
        status_of("{\"eventType\":\"STEP_STATUS\"," FLOW_IDS ",\"stepId\":\"" STEP_A "\",\"status\":\"SKIPPED\","
                  "\"error\":null," AT "}");
    assert_int_equal(message->kind, STATUS_STEP);
    assert_string_equal(message->step_id.text, STEP_A);
    assert_int_equal(message->step_status, STEP_SKIPPED);
    assert_int_equal(message->attempt, 0);
    assert_null(message->outputs_json);
    assert_null(message->error);
}

static void test_what_is_ours_in_a_step_status(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message = status_of(
        "{ \"outputs\" : { \"n\" : 1.50, \"t\" : \"\\u00fc\" }, \"attempt\":2,\"generation\":3,"
        "\"eventType\":\"STEP_STATUS\"," FLOW_IDS ",\"stepId\":\"" STEP_A "\",\"status\":\"COMPLETED\"," AT "}");
    assert_int_equal(message->attempt, 2);
    assert_int_equal(message->generation, 3);
    assert_string_equal(message->outputs_json, "{\"n\":1.50,\"t\":\"\u00fc\"}");
}

static void test_unknown_members_and_nulls_are_ignored(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message =
        status_of("{\"eventType\":\"STEP_STATUS\"," FLOW_IDS ",\"stepId\":\"" STEP_A "\",\"status\":\"RUNNING\"," AT
                  ",\"attempt\":null,\"generation\":null,\"outputs\":null,\"error\":null,\"origin\":7,\"x\":[{}]}");
    assert_int_equal(message->attempt, 0);
    assert_int_equal(message->generation, 0);
}

static void test_uuids_in_either_case(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message = status_of(
        "{\"eventType\":\"STEP_STATUS\",\"flowId\":\"019C134B-F4FE-73CC-9144-DB4D3AAD53AE\",\"runId\":\"" RUN_ID
        "\",\"stepId\":\"AAAAAAAA-0000-7000-8000-000000000001\",\"status\":\"RUNNING\"," AT "}");
    assert_string_equal(message->flow_id.text, FLOW_ID);
    assert_string_equal(message->step_id.text, STEP_A);
}

static void test_timestamps_are_exact_to_the_millisecond(void **state)
{
    (void)state;
    static const struct {
        const char *written;
        int64_t ms;
    } cases[] = {
        {"\"2026-01-31T09:00:00Z\"", T0},
        {"\"2026-01-31T10:00:00.1234567+01:00\"", T0 + 123},
        {"\"0000-01-01T00:00:00Z\"", -62167219200000},
        {"\"9999-12-31T23:59:59.999Z\"", 253402300799999},
        {"1769850000", T0},
        {"1769850000.0", T0},
        {"1769850000.123", T0 + 123},
        {"1769850000.001", T0 + 1},
        {"1769850000.999999999", T0 + 999},
        {"1769850000.1239999", T0 + 123},
        {"1769850000.29", T0 + 290}, /* as a double times 1000 it would be 289 or so for some */
        {"1769850000.57", T0 + 570},
        {"1769850000.123000000", T0 + 123},
        {"1.769850000123E9", T0 + 123},
        {"1.769850000123e+9", T0 + 123},
        {"1769850000123E-3", T0 + 123},
        {"17698500001239e-4", T0 + 123},
        {"1.7e1", 17000},
        {"17e-5", 0},
        {"0", 0},
        {"0.0", 0},
        {"-0.0", 0},
        {"0.0005", 0},
        {"-0.0005", -1},
        {"-1.5", -1500},
        {"-1.0001", -1001},
        {"-62167219200", -62167219200000},
        {"-62167219200.000", -62167219200000},
        {"253402300799.999", 253402300799999},
        {"253402300799.9999999", 253402300799999},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("{\"eventType\":\"FLOW_STATUS\"," FLOW_IDS ",\"status\":\"RUNNING\","
                                                "\"timestamp\":%s}",
                                                cases[i].written);
        g_autoptr(StatusMessage) message = status_of(text);
        if (message->timestamp != cases[i].ms)
            print_error("%s\n", cases[i].written);
        assert_true(message->timestamp == cases[i].ms);
    }
}

static void test_every_millisecond_of_a_second(void **state)
{
    (void)state;
    for (int ms = 0; ms < 1000; ms++) {
        g_autofree char *text = g_strdup_printf("{\"eventType\":\"FLOW_STATUS\"," FLOW_IDS ",\"status\":\"RUNNING\","
                                                "\"timestamp\":1769850000.%03d}",
                                                ms);
        g_autoptr(StatusMessage) message = status_of(text);
        assert_true(message->timestamp == T0 + ms);
    }
}

static void test_timestamps_that_are_none(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\"0000-01-01T00:00:00+01:00\"",
        "\"9999-12-31T23:59:59-01:00\"",
        "\"\"",
        "\"yesterday\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-31T09:00:00\"",
        "\"1769850000\"",
        "1e300",
        "253402300800",
        "253402300799.9999999e1",
        "-62167219200.0001",
        "-62167219201",
        "1769850000123",
        "9223372036854775807",
        "-9223372036854775808",
        "1e99",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *text = g_strdup_printf("{\"eventType\":\"FLOW_STATUS\"," FLOW_IDS ",\"status\":\"RUNNING\","
                                                "\"timestamp\":%s}",
                                                wrong[i]);
        assert_status_refused(text, "timestamp is no instant of the years 0000 to 9999");
    }
}

static void test_what_a_status_is_refused_for(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "empty value"},
        {"null", "the value must be an object, not null"},
        {"[1]", "the value must be an object, not array"},
        {"{}", "eventType is missing"},
        {"{\"eventType\":null}", "eventType is missing"},
        {"{\"eventType\":7}", "eventType must be string, not integer"},
        {"{\"eventType\":\"EXECUTION_START\"}", "unknown eventType \"EXECUTION_START\""},
        {"{\"eventType\":\"flow_status\"}", "unknown eventType \"flow_status\""},
        {"{\"eventType\":\"FLOW_STATUS\"}", "timestamp is missing"},
        {"{\"eventType\":\"FLOW_STATUS\",\"timestamp\":true}",
         "timestamp must be ISO-8601 text or epoch seconds, not boolean"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "}", "flowId is missing"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT ",\"flowId\":\"x\"}", "flowId must be a UUID"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT ",\"flowId\":5}", "flowId must be string, not integer"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT ",\"flowId\":\"" FLOW_ID "\"}", "runId is missing"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "," FLOW_IDS "}", "status is missing"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "," FLOW_IDS ",\"status\":\"SKIPPED\"}", "unknown status \"SKIPPED\""},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "," FLOW_IDS ",\"status\":[]}", "status must be string, not array"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "," FLOW_IDS ",\"status\":\"RUNNING\",\"error\":{}}",
         "error must be string, not object"},
        {"{\"eventType\":\"FLOW_STATUS\"," AT "," FLOW_IDS ",\"status\":\"RUNNING\",\"generation\":0}",
         "generation must be from 1 to 9223372036854775807"},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"status\":\"RUNNING\"}", "stepId is missing"},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"stepId\":\"" STEP_A "\",\"status\":\"PAUSED\"}",
         "unknown status \"PAUSED\""},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"stepId\":\"" STEP_A
         "\",\"status\":\"RUNNING\",\"attempt\":0}",
         "attempt must be from 1 to 1000000000"},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"stepId\":\"" STEP_A
         "\",\"status\":\"RUNNING\",\"attempt\":1000000001}",
         "attempt must be from 1 to 1000000000"},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"stepId\":\"" STEP_A
         "\",\"status\":\"RUNNING\",\"attempt\":\"1\"}",
         "attempt must be integer, not string"},
        {"{\"eventType\":\"STEP_STATUS\"," AT "," FLOW_IDS ",\"stepId\":\"" STEP_A
         "\",\"status\":\"RUNNING\",\"outputs\":\"x\"}",
         "outputs must be object, not string"},
        {"{\"eventType\":\"FLOW_STATUS\",", NULL},
        {"{\"eventType\":\"FLOW_STATUS\",\"eventType\":\"FLOW_STATUS\"}", NULL},
        {"\xff", NULL},
        {"{\"eventType\":\"\xc3\"}", NULL},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_status_refused(cases[i].text, cases[i].reason);
}

/* A reason becomes a header: what it repeats is cut. */
static void test_reasons_stay_short(void **state)
{
    (void)state;
    g_autofree char *type = g_strnfill(100000, 'T');
    g_autofree char *text = g_strdup_printf("{\"eventType\":\"%s\"}", type);
    g_autoptr(GError) error = NULL;
    assert_null(status_message_decode(text, strlen(text), &error));
    assert_true(strlen(error->message) < 120);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    for (int depth = 126; depth <= 127; depth++) {
        GString *text = g_string_new("{\"eventType\":\"STEP_STATUS\"," FLOW_IDS ",\"stepId\":\"" STEP_A
                                     "\",\"status\":\"COMPLETED\"," AT ",\"outputs\":{\"a\":");
        for (int i = 0; i < depth; i++)
            g_string_append_c(text, '[');
        for (int i = 0; i < depth; i++)
            g_string_append_c(text, ']');
        g_string_append(text, "}}");
        g_autoptr(StatusMessage) message = status_message_decode(text->str, text->len, NULL);
        assert_int_equal(message != NULL, depth == 126);
        if (message != NULL) { /* what is accepted can be kept: the event reads back */
            g_autoptr(Run) run = fixture_run();
            assert_int_equal(fixture_take(run, message), DECISION_APPEND);
        }
        g_string_free(text, TRUE);
    }
}

static void test_an_engine_announces_itself(void **state)
{
    (void)state;
    g_autoptr(StatusMessage) message =
        status_of("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID "\",\"commandPartitions\":[0,2]," AT "}");
    assert_int_equal(message->kind, STATUS_ENGINE);
    assert_string_equal(message->engine_id.text, OWNER_ID);
    assert_int_equal(message->n_command_partitions, 2);
    assert_int_equal(message->command_partitions[0], 0);
    assert_int_equal(message->command_partitions[1], 2);
    g_autoptr(StatusMessage) bare = status_of("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID "\"," AT "}");
    assert_int_equal(bare->n_command_partitions, 0);
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\"," AT "}", "engineId is missing");
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID "\"}", "timestamp is missing");
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID "\",\"commandPartitions\":{}," AT
                          "}",
                          "commandPartitions must be array, not object");
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID
                          "\",\"commandPartitions\":[\"0\"]," AT "}",
                          "commandPartitions must hold whole numbers from 0 to 2147483647");
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID
                          "\",\"commandPartitions\":[0,-1]," AT "}",
                          "commandPartitions must hold whole numbers from 0 to 2147483647");
    assert_status_refused("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID
                          "\",\"commandPartitions\":[2147483648]," AT "}",
                          "commandPartitions must hold whole numbers from 0 to 2147483647");
}

static void test_an_engine_names_so_many_partitions_at_most(void **state)
{
    (void)state;
    for (int n = COMMAND_PARTITIONS_MAX; n <= COMMAND_PARTITIONS_MAX + 1; n++) {
        GString *text =
            g_string_new("{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID "\",\"commandPartitions\":[0");
        for (int i = 1; i < n; i++)
            g_string_append_printf(text, ",%d", i);
        g_string_append(text, "]," AT "}");
        if (n > COMMAND_PARTITIONS_MAX) {
            assert_status_refused(text->str, "commandPartitions must hold at most 10000, not 10001");
        } else {
            g_autoptr(StatusMessage) message = status_of(text->str);
            assert_int_equal(message->n_command_partitions, n);
            assert_int_equal(message->command_partitions[n - 1], n - 1);
        }
        g_string_free(text, TRUE);
    }
}

static void test_statuses_are_written_as_the_contract_says(void **state)
{
    (void)state;
    char outputs[] = "{\"x\":1}", error[] = "odd";
    StatusMessage messages[] = {
        fixture_flow_status(RUN_PAUSED, T0),
        fixture_step_status(STEP_B, STEP_COMPLETED, T0),
        {.kind = STATUS_ENGINE, .engine_id = fixture_id(OWNER_ID), .timestamp = T0},
        {.kind = STATUS_ENGINE,
         .engine_id = fixture_id(OWNER_ID),
         .timestamp = T0,
         .command_partitions = (int32_t[]){0, 11},
         .n_command_partitions = 2},
    };
    messages[1].outputs_json = outputs;
    messages[1].error = error;
    messages[1].attempt = 2;
    messages[1].generation = 3;
    static const char *const expected[] = {
        "{\"eventType\":\"FLOW_STATUS\"," FLOW_IDS
        ",\"status\":\"PAUSED\",\"error\":null,\"timestamp\":\"2026-01-31T09:00:00.000Z\"}",
        "{\"eventType\":\"STEP_STATUS\"," FLOW_IDS ",\"stepId\":\"" STEP_B
        "\",\"status\":\"COMPLETED\",\"error\":\"odd\",\"timestamp\":\"2026-01-31T09:00:00.000Z\",\"generation\":3,"
        "\"attempt\":2,\"outputs\":{\"x\":1}}",
        "{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID
        "\",\"commandPartitions\":[],\"timestamp\":\"2026-01-31T09:00:00.000Z\"}",
        "{\"eventType\":\"ENGINE_STATUS\",\"engineId\":\"" OWNER_ID
        "\",\"commandPartitions\":[0,11],\"timestamp\":\"2026-01-31T09:00:00.000Z\"}",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
        GString *out = g_string_new(NULL);
        status_message_encode(&messages[i], out);
        assert_string_equal(out->str, expected[i]);
        g_autoptr(StatusMessage) read = status_of(out->str);
        assert_int_equal(read->kind, messages[i].kind);
        g_string_free(out, TRUE);
    }
}

/* ---- commands ---- */

static char STEPS_JSON[] = "[{\"stepId\":\"" STEP_A "\",\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{},"
                           "\"outputs\":{},\"condition\":null,\"branches\":[],\"children\":[],\"config\":null}]";

static CommandMessage *command_of(const char *text)
{
    g_autoptr(GError) error = NULL;
    CommandMessage *message = command_message_decode(text, strlen(text), &error);
    if (message == NULL)
        print_error("%s: %s\n", text, error->message);
    assert_non_null(message);
    return message;
}

static void test_a_pause_is_written_and_read(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    Id command_id = fixture_id(COMMAND_ID);
    GString *out = g_string_new(NULL);
    command_message_encode(run, NULL, COMMAND_PAUSE, &command_id, T0 + 5, 9, out);
    assert_string_equal(out->str, "{\"eventType\":\"EXECUTION_PAUSE\"," FLOW_IDS
                                  ",\"triggeredBy\":\"system\",\"timestamp\":\"2026-01-31T09:00:00.005Z\","
                                  "\"commandId\":\"" COMMAND_ID "\",\"seq\":9}");
    g_autoptr(CommandMessage) message = command_of(out->str);
    assert_int_equal(message->command, COMMAND_PAUSE);
    assert_string_equal(message->run_id.text, RUN_ID);
    assert_string_equal(message->triggered_by, "system");
    assert_string_equal(message->command_id.text, COMMAND_ID);
    assert_int_equal(message->timestamp, T0 + 5);
    assert_int_equal(message->seq, 9);
    assert_null(message->steps);
    g_string_free(out, TRUE);
}

static void test_a_first_start_splices_the_definition(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    Flow flow = {.steps_json = STEPS_JSON, .steps_json_size = strlen(STEPS_JSON)};
    GString *out = g_string_new(NULL);
    command_message_encode(run, &flow, COMMAND_START, &run->pending.command_id, T0, 1, out);
    g_autofree char *expected = g_strconcat(
        "{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"triggeredBy\":\"system\",\"timestamp\":"
        "\"2026-01-31T09:00:00.000Z\",\"commandId\":\"" COMMAND_ID "\",\"seq\":1,\"generation\":1,\"desired\":\"RUN\","
        "\"inputs\":{\"who\":\"world\"},\"steps\":",
        STEPS_JSON, "}", NULL);
    assert_string_equal(out->str, expected);
    g_autoptr(CommandMessage) message = command_of(out->str);
    assert_int_equal(message->n_steps, 1);
    assert_string_equal(message->steps[0]->step_id.text, STEP_A);
    assert_int_equal(message->generation, 1);
    assert_false(message->is_paused);
    assert_string_equal(text_map_find(&message->inputs, "who"), "world");
    assert_int_equal(message->n_progress, 0);
    g_string_free(out, TRUE);
}

static void test_a_hand_over_carries_how_far_the_run_is(void **state)
{
    (void)state;
    g_autoptr(Run) run = fixture_run();
    Flow flow = {.steps_json = STEPS_JSON, .steps_json_size = strlen(STEPS_JSON)};
    fixture_flow(run, RUN_RUNNING, T0 + 10);
    StatusMessage done = fixture_step_status(STEP_A, STEP_COMPLETED, T0 + 20);
    char outputs[] = "{\"x\":\"1\"}";
    done.outputs_json = outputs;
    done.attempt = 2;
    assert_int_equal(fixture_take(run, &done), DECISION_APPEND);
    fixture_step(run, STEP_C, STEP_RUNNING, T0 + 30);
    fixture_flow(run, RUN_PAUSED, T0 + 40);
    assert_int_equal(fixture_hand_over(run, T0 + 50), DECISION_APPEND);
    GString *out = g_string_new(NULL);
    Id command_id = fixture_id(COMMAND_ID);
    command_message_encode(run, &flow, COMMAND_START, &command_id, T0 + 50, run->seq, out);
    assert_non_null(strstr(out->str, "\"generation\":2,\"desired\":\"PAUSED\","));
    assert_true(g_str_has_suffix(out->str,
                                 ",\"progress\":[{\"stepId\":\"" STEP_A
                                 "\",\"status\":\"COMPLETED\",\"attempt\":2,\"outputs\":{\"x\":\"1\"}},"
                                 "{\"stepId\":\"" STEP_C "\",\"status\":\"RUNNING\",\"attempt\":1,\"failures\":0}]}"));
    g_autoptr(CommandMessage) message = command_of(out->str);
    assert_true(message->is_paused);
    assert_int_equal(message->generation, 2);
    assert_int_equal(message->n_progress, 2);
    assert_string_equal(message->progress[0].outputs_json, "{\"x\":\"1\"}");
    assert_int_equal(message->progress[0].attempt, 2);
    assert_int_equal(message->progress[0].n_failures, -1);
    assert_int_equal(message->progress[1].n_failures, 0);
    assert_int_equal(message->progress[1].status, STEP_RUNNING);
    assert_null(message->progress[1].outputs_json);
    g_string_free(out, TRUE);
}

static void test_a_start_holds_the_run_while_a_pause_or_stop_is_behind_it(void **state)
{
    (void)state;
    static const struct {
        CommandKind command;
        const char *desired;
    } cases[] = {{COMMAND_PAUSE, "\"desired\":\"PAUSED\""},
                 {COMMAND_STOP, "\"desired\":\"PAUSED\""},
                 {COMMAND_NONE, "\"desired\":\"RUN\""}};
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Run) run = fixture_run();
        if (cases[i].command != COMMAND_NONE)
            assert_int_equal(fixture_command(run, cases[i].command, T0 + 1), DECISION_APPEND);
        Flow flow = {.steps_json = STEPS_JSON, .steps_json_size = strlen(STEPS_JSON)};
        GString *out = g_string_new(NULL);
        Id command_id = fixture_id(COMMAND_ID);
        command_message_encode(run, &flow, COMMAND_START, &command_id, T0, 1, out);
        assert_non_null(strstr(out->str, cases[i].desired));
        g_string_free(out, TRUE);
    }
}

/* A JSON object of exactly this size with one text. */
static char *text_of_size(size_t size_bytes)
{
    g_autofree char *filler = g_strnfill(size_bytes - strlen("{\"o\":\"\"}"), 'o');
    return g_strconcat("{\"o\":\"", filler, "\"}", NULL);
}

/* A run that has kept what outputs it may, each step with the longest words about how far it is. */
static Run *run_at_its_largest(size_t n_steps)
{
    Run *run = fixture_run_of(n_steps);
    g_autofree char *outputs = text_of_size(MIN(STEP_OUTPUTS_MAX_BYTES, RUN_OUTPUTS_MAX_BYTES / n_steps + 1));
    for (size_t i = 0; i < n_steps; i++) {
        StatusMessage failed = fixture_step_status(run->steps[i].step_id.text, STEP_FAILED, T0 + 20);
        failed.attempt = 1000000000;
        failed.outputs_json = outputs;
        assert_int_equal(fixture_take(run, &failed), DECISION_APPEND);
        run->steps[i].n_failures = 1000000000;
    }
    run->generation = G_MAXINT64;
    return run;
}

/* Rules, "Sizes". */
static void test_the_largest_start_stays_below_its_limit(void **state)
{
    (void)state;
    g_autofree char *steps = g_strnfill(FLOW_MAX_DEFINITION_BYTES, ' ');
    Flow flow = {.steps_json = steps, .steps_json_size = FLOW_MAX_DEFINITION_BYTES};
    g_autofree char *triggered_by = g_strnfill(255, '\x01');
    g_autofree char *input = g_strnfill(RUN_INPUTS_MAX_BYTES - strlen("{\"n\":\"\"}"), 'i');
    TextMap inputs = {0};
    text_map_add(&inputs, "n", input);
    for (size_t n_steps = 1; n_steps <= FLOW_MAX_STEPS; n_steps += n_steps == 1 ? 99 : 50) {
        g_autoptr(Run) run = run_at_its_largest(n_steps);
        run->triggered_by = triggered_by;
        run->inputs = inputs;
        GString *out = g_string_new(NULL);
        command_message_encode(run, &flow, COMMAND_START, &run->pending.command_id, T0, G_MAXINT64, out);
        if (out->len >= START_MAX_BYTES)
            print_error("%zu steps: %zu bytes\n", n_steps, out->len);
        assert_true(out->len < START_MAX_BYTES);
        g_string_free(out, TRUE);
    }
    text_map_done(&inputs);
}

static void test_a_start_of_the_old_service(void **state)
{
    (void)state;
    g_autofree char *text = g_strconcat("{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"triggeredBy\":\"u\","
                                        "\"timestamp\":1769850000.5,\"steps\":",
                                        STEPS_JSON, "}", NULL);
    g_autoptr(CommandMessage) message = command_of(text);
    assert_int_equal(message->generation, 1);
    assert_int_equal(message->seq, 0);
    assert_string_equal(message->command_id.text, "");
    assert_int_equal(message->timestamp, T0 + 500);
    assert_false(message->is_paused);
    assert_int_equal(message->n_steps, 1);
}

static void test_what_a_command_is_refused_for(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "empty value"},
        {"{\"eventType\":\"EXECUTION_\"}", "unknown eventType \"EXECUTION_\""},
        {"{\"eventType\":\"EXECUTION_NONE\"}", "unknown eventType \"EXECUTION_NONE\""},
        {"{\"eventType\":\"START\"}", "unknown eventType \"START\""},
        {"{\"eventType\":\"EXECUTION_STOP\"}", "runId is missing"},
        {"{\"eventType\":\"EXECUTION_STOP\"," FLOW_IDS ",\"seq\":-1}", "seq must be from 0 to 9223372036854775807"},
        {"{\"eventType\":\"EXECUTION_START\"," FLOW_IDS "}", "steps is missing"},
        {"{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"steps\":{}}", "steps must be array, not object"},
        {"{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"steps\":[],\"desired\":\"STOP\"}",
         "unknown desired \"STOP\""},
        {"{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"steps\":[],\"progress\":[7]}",
         "progress must hold objects"},
        {"{\"eventType\":\"EXECUTION_START\"," FLOW_IDS ",\"steps\":[],\"progress\":[{\"stepId\":\"" STEP_A "\"}]}",
         "progress[0]: status is missing"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        assert_null(command_message_decode(cases[i].text, strlen(cases[i].text), &error));
        assert_int_equal(error->code, FLOWOPS_INVALID);
        assert_string_equal(error->message, cases[i].reason);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flow_status_of_the_contract),
        cmocka_unit_test(test_a_step_status_of_the_contract),
        cmocka_unit_test(test_what_is_ours_in_a_step_status),
        cmocka_unit_test(test_unknown_members_and_nulls_are_ignored),
        cmocka_unit_test(test_uuids_in_either_case),
        cmocka_unit_test(test_timestamps_are_exact_to_the_millisecond),
        cmocka_unit_test(test_every_millisecond_of_a_second),
        cmocka_unit_test(test_timestamps_that_are_none),
        cmocka_unit_test(test_what_a_status_is_refused_for),
        cmocka_unit_test(test_reasons_stay_short),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_an_engine_announces_itself),
        cmocka_unit_test(test_an_engine_names_so_many_partitions_at_most),
        cmocka_unit_test(test_statuses_are_written_as_the_contract_says),
        cmocka_unit_test(test_a_pause_is_written_and_read),
        cmocka_unit_test(test_a_first_start_splices_the_definition),
        cmocka_unit_test(test_a_hand_over_carries_how_far_the_run_is),
        cmocka_unit_test(test_a_start_holds_the_run_while_a_pause_or_stop_is_behind_it),
        cmocka_unit_test(test_the_largest_start_stays_below_its_limit),
        cmocka_unit_test(test_a_start_of_the_old_service),
        cmocka_unit_test(test_what_a_command_is_refused_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
