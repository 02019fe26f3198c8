/* plugin_builtin.c - echo, delay, fail and transform. None of them blocks or keeps anything, so none can be cancelled:
 * the engine itself clears the timer of a delay. */
#include "engine/plugin_builtin.h"

#include <inttypes.h>
#include <string.h>

#define TRANSFORM_MAX_DEPTH 32

/* ---- echo: outputs = inputs ---- */

static void echo_start(Attempt *attempt)
{
    GString *out = g_string_new(NULL);
    JsonWriter writer = json_writer(out);
    text_map_encode(attempt_inputs(attempt), &writer, NULL);
    attempt_done(attempt, g_string_free(out, FALSE), NULL);
}

const Plugin PLUGIN_ECHO = {.name = "echo", .start = echo_start};

/* ---- delay: waits for `ms` ---- */

/* A whole number without a sign; anything else ends the attempt. */
static bool read_number(Attempt *attempt, const char *name, const char *text, uint64_t max, uint64_t *ret_number)
{
    g_autoptr(GError) error = NULL;
    if (g_ascii_string_to_unsigned(text, 10, 0, max, ret_number, &error))
        return true;
    attempt_done(attempt, NULL, g_strdup_printf("input %s must be a whole number from 0 to %" PRIu64, name, max));
    return false;
}

static void delay_start(Attempt *attempt)
{
    const char *text = text_map_find(attempt_inputs(attempt), "ms");
    uint64_t ms = 0;
    if (text == NULL) {
        attempt_done(attempt, NULL, g_strdup("input ms is missing"));
        return;
    }
    if (read_number(attempt, "ms", text, DELAY_MAX_MS, &ms))
        attempt_done_after(attempt, (int64_t)ms, g_strdup_printf("{\"ms\":\"%" PRIu64 "\"}", ms));
}

const Plugin PLUGIN_DELAY = {.name = "delay", .start = delay_start};

/* ---- fail: fails with `message`, always or the first `times` attempts ---- */

static void fail_start(Attempt *attempt)
{
    const char *message = text_map_find(attempt_inputs(attempt), "message");
    const char *text = text_map_find(attempt_inputs(attempt), "times");
    uint64_t times = UINT64_MAX;
    if (text != NULL && !read_number(attempt, "times", text, UINT32_MAX, &times))
        return;
    if ((uint64_t)attempt_number(attempt) > times)
        attempt_done(attempt, NULL, NULL);
    else
        attempt_done(attempt, NULL, g_strdup(message != NULL ? message : "failed"));
}

const Plugin PLUGIN_FAIL = {.name = "fail", .start = fail_start};

/* ---- transform: texts as they are, and what JSON pointers find in `value` ---- */

#define POINTER_PREFIX "pointer."

static const char *pointer_output(const char *input_name)
{
    return g_str_has_prefix(input_name, POINTER_PREFIX) ? input_name + strlen(POINTER_PREFIX) : NULL;
}

static bool has_pointer(const TextMap *inputs)
{
    for (size_t i = 0; i < inputs->n_pairs; i++)
        if (pointer_output(inputs->pairs[i].name) != NULL)
            return true;
    return false;
}

/* A pointer that finds nothing gives null, so that a condition may ask for it; one that is none is a fault. */
static char *put_pointed(JsonWriter *writer, const TextMap *inputs, const TextPair *pair, const JsonValue *value)
{
    const char *name = pointer_output(pair->name);
    if (*pair->value != '\0' && *pair->value != '/')
        return g_strdup_printf("input %s is not a JSON pointer: it must be empty or begin with /", pair->name);
    /* `value` and the pointers are no outputs under their own names. */
    if (strcmp(name, "value") != 0 && pointer_output(name) == NULL && text_map_find(inputs, name) != NULL)
        return g_strdup_printf("output %s is given twice: by inputs %s and %s", name, name, pair->name);
    g_autofree char *text = json_print(json_pointer(value, pair->value));
    json_put_raw(writer, name, text, strlen(text));
    return NULL;
}

/* Returns what is wrong (allocated), or NULL. */
static char *transform(const TextMap *inputs, GString *out)
{
    bool is_pointing = has_pointer(inputs);
    g_autoptr(JsonValue) value = NULL;
    if (is_pointing) {
        const char *text = text_map_find(inputs, "value");
        g_autoptr(GError) error = NULL;
        if (text == NULL)
            return g_strdup("input value is missing: there are pointers into it");
        if (!json_parse(text, strlen(text), TRANSFORM_MAX_DEPTH, &value, &error))
            return g_strdup_printf("input value is not JSON: %s", error->message);
    }
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    for (size_t i = 0; i < inputs->n_pairs; i++) {
        const TextPair *pair = &inputs->pairs[i];
        char *fault = NULL;
        if (pointer_output(pair->name) != NULL)
            fault = put_pointed(&writer, inputs, pair, value);
        else if (!is_pointing || strcmp(pair->name, "value") != 0)
            json_put_string(&writer, pair->name, pair->value);
        if (fault != NULL)
            return fault;
    }
    json_end_object(&writer);
    return NULL;
}

static void transform_start(Attempt *attempt)
{
    g_autoptr(GString) out = g_string_new(NULL);
    char *fault = transform(attempt_inputs(attempt), out);
    if (fault != NULL)
        attempt_done(attempt, NULL, fault);
    else
        attempt_done(attempt, g_string_free(g_steal_pointer(&out), FALSE), NULL);
}

const Plugin PLUGIN_TRANSFORM = {.name = "transform", .start = transform_start};
