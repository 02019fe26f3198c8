/* run_harness.c - see run_harness.h. */
#include "run_harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ID_PREFIX "00000000-0000-4000-8000-0000000000"

typedef struct {
    char step;
    size_t index;
} Handle;

Id step_id(char step)
{
    Id id;
    (void)snprintf(id.text, sizeof id.text, ID_PREFIX "%02x", (unsigned)step);
    return id;
}

static char letter_of(const Id *id)
{
    char letter = (char)strtol(id->text + strlen(ID_PREFIX), NULL, 16);
    return g_ascii_islower(letter) ? letter : '?';
}

char *expand_ids(const char *text)
{
    GString *out = g_string_new(NULL);
    for (; *text != '\0'; text++) {
        if (text[0] == '@' && g_ascii_islower(text[1]))
            g_string_append(out, step_id(*++text).text);
        else
            g_string_append_c(out, *text);
    }
    return g_string_free(out, FALSE);
}

/* Ids back to letters, so that expectations are readable. */
static char *shrink_ids(const char *text)
{
    GString *out = g_string_new(NULL);
    while (*text != '\0') {
        if (strncmp(text, ID_PREFIX, strlen(ID_PREFIX)) == 0) {
            Id id;
            memcpy(id.text, text, ID_TEXT_SIZE - 1);
            id.text[ID_TEXT_SIZE - 1] = '\0';
            g_string_append_printf(out, "@%c", letter_of(&id));
            text += ID_TEXT_SIZE - 1;
        } else {
            g_string_append_c(out, *text++);
        }
    }
    return g_string_free(out, FALSE);
}

static void note_publish(const StatusMessage *status, void *arg)
{
    Harness *harness = arg;
    assert_false(harness->has_status_ended);
    assert_int_equal(status->generation, harness->generation);
    assert_true(status->timestamp >= harness->last_at);
    assert_true(status->timestamp >= START_WALL_MS);
    harness->last_at = status->timestamp;
    if (status->kind == STATUS_FLOW) {
        assert_true(status->timestamp > harness->last_flow_at);
        harness->last_flow_at = status->timestamp;
        harness->has_status_ended = run_status_is_terminal(status->run_status);
        g_string_append_printf(harness->trace, "FLOW %s", run_status_name(status->run_status));
    } else {
        g_string_append_printf(harness->trace, "%c %s %d", letter_of(&status->step_id),
                               step_status_name(status->step_status), (int)status->attempt);
    }
    if (status->error != NULL) {
        g_autofree char *error = shrink_ids(status->error);
        g_string_append_printf(harness->trace, " (%s)", error);
    }
    if (status->outputs_json != NULL) {
        g_autofree char *outputs = shrink_ids(status->outputs_json);
        g_string_append_printf(harness->trace, " %s", outputs);
    }
    g_string_append_c(harness->trace, '\n');
}

/* Handles know the step's index only through the order of starting, so the letter is read from the trace: every attempt
 * is preceded by its RUNNING. */
static void *note_start(EngineRun *run, size_t step, const Plugin *plugin, TextMap inputs, int64_t number, void *arg)
{
    Harness *harness = arg;
    assert_true(harness->run == NULL || harness->run == run);
    assert_non_null(plugin);
    assert_true(number >= 1);
    const char *line = harness->trace->str + harness->trace->len - 1;
    while (line > harness->trace->str && line[-1] != '\n')
        line--;
    assert_non_null(strstr(line, " RUNNING "));
    Handle *handle = g_new0(Handle, 1);
    handle->step = *line;
    handle->index = step;
    g_hash_table_add(harness->attempts, handle);

    g_autoptr(GString) out = g_string_new(NULL);
    JsonWriter writer = json_writer(out);
    text_map_encode(&inputs, &writer, NULL);
    text_map_done(&inputs);
    char **place = &harness->inputs[handle->step - 'a'];
    g_free(*place);
    *place = g_strdup(out->str);
    return handle;
}

static void note_cancel(void *attempt, void *arg)
{
    Harness *harness = arg;
    g_string_append_printf(harness->trace, "cancel %c\n", ((Handle *)attempt)->step);
    assert_true(g_hash_table_remove(harness->attempts, attempt));
}

static void note_ended(EngineRun *run G_GNUC_UNUSED, void *arg)
{
    Harness *harness = arg;
    assert_false(harness->was_ended);
    assert_true(harness->has_status_ended);
    harness->was_ended = true;
}

Harness *harness_new(size_t max_parallel_steps)
{
    Harness *harness = g_new0(Harness, 1);
    harness->clock = clock_new_fake(START_WALL_MS);
    harness->trace = g_string_new(NULL);
    harness->attempts = g_hash_table_new_full(NULL, NULL, g_free, NULL);
    harness->generation = 1;
    harness->port = (RunPort){
        .clock = harness->clock,
        .timers = timers_new(),
        .random = g_rand_new_with_seed(1),
        .definitions = definitions_new(),
        .max_parallel_steps = max_parallel_steps,
        .publish = note_publish,
        .start_attempt = note_start,
        .cancel_attempt = note_cancel,
        .ended = note_ended,
        .arg = harness,
    };
    return harness;
}

void harness_free(Harness *harness)
{
    engine_run_free(harness->run);
    assert_int_equal(g_hash_table_size(harness->attempts), 0);
    assert_int_equal(timers_count(harness->port.timers), 0);
    assert_int_equal(definitions_count(harness->port.definitions), 0);
    g_hash_table_destroy(harness->attempts);
    timers_free(harness->port.timers);
    g_rand_free(harness->port.random);
    definitions_free(harness->port.definitions);
    clock_free(harness->clock);
    g_string_free(harness->trace, TRUE);
    for (size_t i = 0; i < G_N_ELEMENTS(harness->inputs); i++)
        g_free(harness->inputs[i]);
    g_free(harness);
}

void harness_start(Harness *harness, const char *steps, const char *more)
{
    g_autofree char *json = g_strdup_printf("{\"eventType\":\"EXECUTION_START\",\"flowId\":\"@y\",\"runId\":\"@z\","
                                            "\"timestamp\":\"2026-01-31T09:00:00Z\",\"seq\":1,\"steps\":%s%s%s}",
                                            steps, more != NULL ? "," : "", more != NULL ? more : "");
    g_autofree char *text = expand_ids(json);
    g_autoptr(GError) error = NULL;
    g_autoptr(CommandMessage) start = command_message_decode(text, strlen(text), &error);
    if (start == NULL)
        fail_msg("START cannot be read: %s", error->message);
    harness->generation = start->generation;
    harness->run = engine_run_new(start, 0, &harness->port);
}

void harness_command(Harness *harness, CommandKind command, int64_t seq)
{
    CommandMessage message = {.command = command, .run_id = *engine_run_id(harness->run), .seq = seq};
    engine_run_command(harness->run, &message);
}

static size_t take_attempt(Harness *harness, char step)
{
    GHashTableIter iter;
    void *found;
    g_hash_table_iter_init(&iter, harness->attempts);
    while (g_hash_table_iter_next(&iter, &found, NULL)) {
        Handle *handle = found;
        if (handle->step == step) {
            size_t index = handle->index;
            g_hash_table_iter_remove(&iter);
            return index;
        }
    }
    fail_msg("step %c is not running", step);
    return 0;
}

void harness_done(Harness *harness, char step, const char *outputs)
{
    size_t index = take_attempt(harness, step);
    engine_run_attempt_done(harness->run, index, outputs != NULL ? expand_ids(outputs) : NULL, NULL);
}

void harness_failed(Harness *harness, char step, const char *error)
{
    size_t index = take_attempt(harness, step);
    engine_run_attempt_done(harness->run, index, NULL, g_strdup(error));
}

void harness_advance(Harness *harness, int64_t by_ms)
{
    int64_t end = clock_monotonic_ms(harness->clock) + by_ms;
    for (;;) {
        int64_t now = clock_monotonic_ms(harness->clock);
        int64_t next = MIN(timers_next_at(harness->port.timers), end);
        if (next > now)
            clock_fake_advance(harness->clock, next - now);
        timers_fire_due(harness->port.timers, clock_monotonic_ms(harness->clock));
        if (next >= end && timers_next_at(harness->port.timers) > end)
            break;
    }
}

void harness_expect(Harness *harness, const char *trace)
{
    assert_string_equal(harness->trace->str, trace);
    harness_forget(harness);
}

void harness_forget(Harness *harness)
{
    g_string_truncate(harness->trace, 0);
}

const char *harness_inputs(const Harness *harness, char step)
{
    return harness->inputs[step - 'a'];
}
