/* health.c - see health.h. */
#include "app/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/config.h"
#include "base/json.h"
#include "http/http_probe.h"

#define TIME_LIMIT_MS 2000
#define MAX_TIME_LIMIT_MS 60000
#define MAX_DEPTH 16 /* of an answer's JSON */

/* The text at a JSON pointer, or NULL. */
static const char *text_at(const JsonValue *root, const char *pointer)
{
    const JsonValue *value = json_pointer(root, pointer);
    return json_type(value) == JSON_STRING ? json_text(value) : NULL;
}

/* A line of what was answered; 0 when it says that all is well. */
static int tell(const char *url, int status, const GString *body)
{
    g_autoptr(JsonValue) root = NULL;
    (void)!json_parse(body->str, body->len, MAX_DEPTH, &root, NULL);
    const char *word = text_at(root, "/data/status");
    if (status == 200 && word != NULL) {
        const char *reason = text_at(root, "/data/reason");
        printf("%s: %s%s%s\n", url, word, reason != NULL ? ": " : "", reason != NULL ? reason : "");
        return EXIT_SUCCESS;
    }
    const char *message = text_at(root, "/errors/0/message");
    fprintf(stderr, "flowops: %s answered %d: %s\n", url, status,
            message != NULL ? message : "this is no answer of the execution service");
    return EXIT_FAILURE;
}

static int ask(const Config *config, const char *path, int time_limit_ms)
{
    g_autofree char *base = config_url(config, (unsigned)config->port);
    g_autofree char *url = g_strconcat(base, path, NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) body = NULL;
    int status;
    if (http_probe(config_reachable_address(config), (uint16_t)config->port, path, time_limit_ms, &status, &body,
                   &error))
        return tell(url, status, body);
    fprintf(stderr, "flowops: %s: %s\n", url, error->message);
    return EXIT_FAILURE;
}

static int time_limit_of(const char *text, GPtrArray *faults)
{
    gint64 limit_ms = TIME_LIMIT_MS;
    if (text != NULL && !g_ascii_string_to_signed(text, 10, 1, MAX_TIME_LIMIT_MS, &limit_ms, NULL))
        g_ptr_array_add(faults, g_strdup_printf("--time-limit-ms=%s: expected a whole number from 1 to %d", text,
                                                MAX_TIME_LIMIT_MS));
    return (int)limit_ms;
}

static void print_usage(void)
{
    g_autoptr(GString) settings = g_string_new(NULL);
    setting_print_help(FOR_HEALTH, settings);
    printf(
        "Usage: flowops health [OPTION ...]\n"
        "\n"
        "Asks the service on this machine whether it is ready (GET /readyz). Exit status 0: yes; 1: no, or no answer in\n"
        "time: a line says why.\n"
        "\n"
        "  --live\n      ask whether it answers at all (GET /healthz)\n"
        "  --time-limit-ms N\n      wait so long for the answer [%d]\n%s",
        TIME_LIMIT_MS, settings->str);
}

int health(int n_words, char **words)
{
    Config config = {0};
    bool is_live = false, is_help = false;
    g_autofree char *limit_text = NULL;
    const CommandOption options[] = {
        {"live", &is_live, NULL}, {"help", &is_help, NULL}, {"time-limit-ms", NULL, &limit_text}, {NULL, NULL, NULL}};
    g_autoptr(GPtrArray) faults = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(SettingValues) values = setting_values_read(FOR_HEALTH, n_words, words, options, faults);
    if (is_help) {
        print_usage();
        return EXIT_SUCCESS;
    }
    int time_limit_ms = time_limit_of(limit_text, faults);
    int status = EXIT_FAILURE;
    bool is_loaded = config_load(&config, FOR_HEALTH, values, faults);
    if (is_loaded && config.port == 0)
        g_ptr_array_add(faults, g_strdup("EXECUTION_SERVICE_PORT=0: which port was picked is to be said with "
                                         "--execution-service-port"));
    if (faults->len == 0)
        status = ask(&config, is_live ? "/healthz" : "/readyz", time_limit_ms);
    config_print_faults(faults);
    config_done(&config);
    return status;
}
