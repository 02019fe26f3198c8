/* Settings are text in the environment; an empty value is an absent one. All faults are found before any is reported. */
#include "app/config.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    unsigned uses; /* of ConfigUse */
    const char *name;
    const char *default_text; /* NULL: none */
    size_t offset;            /* of the member in Config */
    int64_t min, max;         /* numbers; both 0: a text */
    const char *help;
} Setting;

#define TEXT(uses, name, member, default_text, help) \
    { \
        uses, name, default_text, offsetof(Config, member), 0, 0, help \
    }
#define NUMBER(uses, name, member, default_text, min, max, help) \
    { \
        uses, name, default_text, offsetof(Config, member), min, max, help \
    }

#define SERVE FOR_SERVE
#define BOTH (FOR_SERVE | FOR_ENGINE)
#define STORE (FOR_SERVE | FOR_UPKEEP)

static const Setting SETTINGS[] = {
    NUMBER(SERVE, "EXECUTION_SERVICE_PORT", port, "8080", 0, 65535, "port to listen on; 0 picks a free one"),
    TEXT(SERVE, "LISTEN_ADDR", listen_addr, "127.0.0.1", "numeric address to listen on"),
    TEXT(STORE, "DATA_DIR", data_dir, "./data", "where flows, runs and journals are kept without MONGO_URI"),
    TEXT(STORE, "MONGO_URI", mongo_uri, NULL, "mongodb://...: keep them in MongoDB, for several replicas"),
    TEXT(STORE, "MONGO_DB", mongo_db, "flowops", "MongoDB: the database"),
    TEXT(BOTH, "KAFKA_BROKER", kafka_broker, NULL, "host:port,...: commands and statuses go over Kafka"),
    TEXT(BOTH, "KAFKA_OPTIONS", kafka_options, NULL, "key=value,... for the Kafka client: SASL, TLS"),
    NUMBER(BOTH, "KAFKA_PARTITIONS", kafka_partitions, "3", 1, 1000, "partitions of topics that have to be made"),
    NUMBER(BOTH, "KAFKA_REPLICATION", kafka_replication, "-1", -1, 10, "replicas of such; -1: the broker's default"),
    TEXT(SERVE, "AUTH_MODE", auth_mode, NULL, "none (loopback only, the default there) or gateway"),
    TEXT(SERVE, "GATEWAY_SECRET", gateway_secret, NULL, "gateway mode: what X-Gateway-Secret must equal"),
    TEXT(SERVE, "ALLOW_UNAUTHENTICATED", allow_unauthenticated, NULL, "`container`: AUTH_MODE none beyond loopback"),
    TEXT(SERVE, "ENGINE", engine, NULL, "on: run flows in this process, the default without Kafka; off: do not"),
    NUMBER(BOTH, "ENGINE_MAX_PARALLEL_STEPS", max_parallel_steps, "64", 1, 1000, "steps of one run that run at once"),
    NUMBER(SERVE, "MAX_OPEN_RUNS", max_open_runs, "100000", 1, 100000000, "unfinished runs; a start beyond gets 503"),
    NUMBER(SERVE, "HTTP_LOOPS", http_loops, "0", 0, 64, "HTTP event loops; 0: one for every two processors"),
    NUMBER(SERVE, "STORE_READERS", store_readers, "2", 1, 8, "threads that read the store"),
    NUMBER(SERVE, "CACHE_BYTES", cache_bytes, "33554432", 65536, 68719476736, "memory for recently used runs"),
    NUMBER(SERVE, "COMMAND_RESEND_SECONDS", command_resend_seconds, "30", 1, 86400,
           "an unanswered command is sent again"),
    NUMBER(SERVE, "RUN_RETENTION_DAYS", run_retention_days, "0", 0, 36500,
           "an ended run is deleted after these; 0: never"),
    TEXT(BOTH, "LOG_LEVEL", log_level, "info", "debug, info, warning or error"),
    TEXT(BOTH, "LOG_FORMAT", log_format, "auto", "text, json, or auto: text on a terminal"),
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
    bool is_number = g_ascii_isdigit(*text) || (setting->min < 0 && *text == '-' && g_ascii_isdigit(text[1]));
    if (!is_number || *end != '\0' || number < setting->min || number > setting->max) {
        add_fault(faults, "%s=%s: expected a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT,
                  setting->name, text, setting->min, setting->max);
        number = setting->min; /* no second fault for the same setting */
    }
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

/* Without Kafka nobody else could run anything; with it, engines are usually processes of their own. */
static void check_engine(Config *config, GString *faults)
{
    config->has_engine = config->engine != NULL ? strcmp(config->engine, "on") == 0 : config->kafka_broker == NULL;
    if (config->engine != NULL && !config->has_engine && strcmp(config->engine, "off") != 0)
        add_fault(faults, "ENGINE=%s: expected on or off", config->engine);
}

/* host:port, or [v6 address]:port. */
static bool is_broker(const char *text)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || strchr(text, '/') != NULL || strpbrk(text, " \t") != NULL)
        return false;
    bool is_v6 = text[0] == '[' && colon[-1] == ']';
    char *end;
    guint64 port = g_ascii_strtoull(colon + 1, &end, 10);
    return (is_v6 || memchr(text, ':', (size_t)(colon - text)) == NULL) && g_ascii_isdigit(colon[1]) && *end == '\0' &&
           port >= 1 && port <= 65535;
}

static void check_kafka(const Config *config, ConfigUse use, GString *faults)
{
    if (config->kafka_replication == 0)
        add_fault(faults, "KAFKA_REPLICATION=0: expected 1 to 10, or -1 for the broker's default");
    if (config->kafka_broker == NULL) {
        if (use == FOR_ENGINE)
            add_fault(faults, "KAFKA_BROKER is not set: an engine on its own takes its commands from Kafka");
        return;
    }
    g_auto(GStrv) brokers = g_strsplit(config->kafka_broker, ",", -1);
    for (size_t i = 0; brokers[i] != NULL; i++) {
        if (!is_broker(g_strstrip(brokers[i]))) {
            add_fault(faults, "KAFKA_BROKER=%s: expected host:port, or several with commas between them",
                      config->kafka_broker);
            return;
        }
    }
}

/* What the server would refuse at the first use only. */
static void check_mongo(const Config *config, GString *faults)
{
    if (strlen(config->mongo_db) > 63 || strpbrk(config->mongo_db, "/\\. \"$*<>:|?") != NULL)
        add_fault(faults, "MONGO_DB=%s: expected at most 63 characters, none of them /\\. \"$*<>:|?", config->mongo_db);
    if (config->mongo_uri != NULL && !g_str_has_prefix(config->mongo_uri, "mongodb://") &&
        !g_str_has_prefix(config->mongo_uri, "mongodb+srv://"))
        add_fault(faults, "MONGO_URI: expected mongodb://... or mongodb+srv://...");
}

static void check_log(Config *config, GString *faults)
{
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

bool config_load(Config *config, ConfigUse use, GString *ret_faults)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++)
        if ((SETTINGS[i].uses & use) != 0)
            load_setting(config, &SETTINGS[i], ret_faults);
    if (use == FOR_SERVE) {
        check_identity(config, ret_faults);
        check_engine(config, ret_faults);
        if (config->http_loops == 0)
            config->http_loops = MAX(1, sysconf(_SC_NPROCESSORS_ONLN) / 2);
    }
    if ((use & STORE) != 0)
        check_mongo(config, ret_faults);
    if ((use & BOTH) != 0) {
        check_kafka(config, use, ret_faults);
        check_log(config, ret_faults);
    }
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
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++) {
        const Setting *setting = &SETTINGS[i];
        const char *default_text = setting->default_text;
        g_string_append_printf(out, "  %-26s %-6s  %s%s%s%s\n", setting->name,
                               (setting->uses & FOR_ENGINE) != 0 ? "both" : "serve", setting->help,
                               default_text != NULL ? " [" : "", default_text != NULL ? default_text : "",
                               default_text != NULL ? "]" : "");
    }
}
