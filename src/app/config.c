/* Settings are text in the environment; an empty value is an absent one. All faults are found before any is reported. */
#include "app/config.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *name;
    const char *default_text; /* NULL: none */
    size_t offset;            /* of the member in Config */
    int64_t min, max;         /* numbers; both 0: a text */
    const char *help;
} Setting;

#define TEXT(name, member, default_text, help) \
    { \
        name, default_text, offsetof(Config, member), 0, 0, help \
    }
#define NUMBER(name, member, default_text, min, max, help) \
    { \
        name, default_text, offsetof(Config, member), min, max, help \
    }

static const Setting SETTINGS[] = {
    NUMBER("EXECUTION_SERVICE_PORT", port, "8080", 0, 65535, "port to listen on; 0 picks a free one"),
    TEXT("LISTEN_ADDR", listen_addr, "127.0.0.1", "numeric address to listen on"),
    TEXT("DATA_DIR", data_dir, "./data", "where flows, runs and journals are kept"),
    TEXT("AUTH_MODE", auth_mode, NULL, "none (loopback only, the default there) or gateway"),
    TEXT("GATEWAY_SECRET", gateway_secret, NULL, "gateway mode: what X-Gateway-Secret must equal"),
    TEXT("ALLOW_UNAUTHENTICATED", allow_unauthenticated, NULL, "`container`: AUTH_MODE none beyond loopback"),
    TEXT("ENGINE", engine, "on", "on: run flows in this process; off: only record them"),
    NUMBER("ENGINE_MAX_PARALLEL_STEPS", max_parallel_steps, "64", 1, 1000, "steps of one run that run at once"),
    NUMBER("MAX_OPEN_RUNS", max_open_runs, "100000", 1, 100000000, "unfinished runs; a start beyond them gets 503"),
    NUMBER("HTTP_LOOPS", http_loops, "0", 0, 64, "HTTP event loops; 0: one for every two processors"),
    NUMBER("STORE_READERS", store_readers, "2", 1, 8, "threads that read the store"),
    NUMBER("CACHE_BYTES", cache_bytes, "33554432", 65536, 68719476736, "memory for recently used runs"),
    NUMBER("COMMAND_RESEND_SECONDS", command_resend_seconds, "30", 1, 86400, "an unanswered command is sent again"),
    TEXT("LOG_LEVEL", log_level, "info", "debug, info, warning or error"),
    TEXT("LOG_FORMAT", log_format, "auto", "text, json, or auto: text on a terminal"),
};

static void add_fault(GString *faults, const char *format, ...) PRINTF_LIKE(2, 3);
static void add_fault(GString *faults, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_string_append_vprintf(faults, format, args);
    va_end(args);
    g_string_append_c(faults, '\n');
}

static void load_setting(Config *config, const Setting *setting, GString *faults)
{
    void *member = (char *)config + setting->offset;
    const char *text = getenv(setting->name);
    if (text == NULL || *text == '\0')
        text = setting->default_text;
    if (setting->max == 0) {
        *(char **)member = g_strdup(text);
        return;
    }
    char *end;
    gint64 number = g_ascii_strtoll(text, &end, 10);
    if (!g_ascii_isdigit(*text) || *end != '\0' || number < setting->min || number > setting->max)
        add_fault(faults, "%s=%s: expected a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                  setting->name, text, setting->min, setting->max);
    else
        *(int64_t *)member = number;
}

/* True when the address is one; tells whether only this machine reaches it. */
static bool address_parse(const char *address, bool *ret_is_loopback)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) {
        *ret_is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
        return true;
    }
    if (inet_pton(AF_INET6, address, &v6) == 1) {
        *ret_is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return true;
    }
    return false;
}

static void check_identity(Config *config, GString *faults)
{
    if (!address_parse(config->listen_addr, &config->is_loopback)) {
        add_fault(faults, "LISTEN_ADDR=%s: expected a numeric IPv4 or IPv6 address", config->listen_addr);
        return;
    }
    const char *mode = config->auth_mode;
    bool is_none = mode == NULL ? config->is_loopback : strcmp(mode, "none") == 0;
    config->is_gateway = g_strcmp0(mode, "gateway") == 0;
    bool is_allowed = config->is_loopback || g_strcmp0(config->allow_unauthenticated, "container") == 0;
    if (g_strcmp0(mode, "jwt") == 0)
        add_fault(faults, "AUTH_MODE=jwt: this version has no bearer tokens; use gateway, or none on loopback");
    else if (mode == NULL && !is_none)
        add_fault(faults, "AUTH_MODE is not set: beyond loopback (LISTEN_ADDR=%s) it must be said who may call",
                  config->listen_addr);
    else if (!is_none && !config->is_gateway)
        add_fault(faults, "AUTH_MODE=%s: expected none or gateway", mode);
    else if (is_none && !is_allowed)
        add_fault(faults, "AUTH_MODE=none is for this machine only: LISTEN_ADDR=%s can be reached from others",
                  config->listen_addr);
    if (config->allow_unauthenticated != NULL && strcmp(config->allow_unauthenticated, "container") != 0)
        add_fault(faults, "ALLOW_UNAUTHENTICATED=%s: expected container or nothing", config->allow_unauthenticated);
}

static void check_texts(Config *config, GString *faults)
{
    config->has_engine = strcmp(config->engine, "on") == 0;
    if (!config->has_engine && strcmp(config->engine, "off") != 0)
        add_fault(faults, "ENGINE=%s: expected on or off", config->engine);
    if (!log_level_parse(config->log_level, &config->level))
        add_fault(faults, "LOG_LEVEL=%s: expected debug, info, warning or error", config->log_level);
    if (strcmp(config->log_format, "auto") == 0)
        config->format = LOG_FORMAT_AUTO;
    else if (strcmp(config->log_format, "text") == 0)
        config->format = LOG_FORMAT_TEXT;
    else if (strcmp(config->log_format, "json") == 0)
        config->format = LOG_FORMAT_JSON;
    else
        add_fault(faults, "LOG_FORMAT=%s: expected text, json or auto", config->log_format);
}

bool config_load(Config *config, GString *ret_faults)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++)
        load_setting(config, &SETTINGS[i], ret_faults);
    check_identity(config, ret_faults);
    check_texts(config, ret_faults);
    if (config->http_loops == 0)
        config->http_loops = MAX(1, sysconf(_SC_NPROCESSORS_ONLN) / 2);
    return ret_faults->len == 0;
}

void config_done(Config *config)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++)
        if (SETTINGS[i].max == 0)
            g_free(*(char **)(void *)((char *)config + SETTINGS[i].offset));
}

void config_print_help(GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++)
        g_string_append_printf(out, "  %-26s %s%s%s%s\n", SETTINGS[i].name, SETTINGS[i].help,
                               SETTINGS[i].default_text != NULL ? " [" : "",
                               SETTINGS[i].default_text != NULL ? SETTINGS[i].default_text : "",
                               SETTINGS[i].default_text != NULL ? "]" : "");
}
