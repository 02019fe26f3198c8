/* setting.c - the table, and how a text is held against it. */
#include "app/setting.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#include "app/config.h"
#include "domain/near_text.h"

#define MAX_MISTAKES 3 /* further names are no near match */

/* ---- texts of a form ---- */

static bool is_address(const char *text)
{
    unsigned char address[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* host:port, or [v6 address]:port. */
static bool is_broker(const char *text)
{
    const char *colon = strrchr(text, ':');
    guint64 port;
    if (colon == NULL || colon == text || strpbrk(text, "/@ \t") != NULL)
        return false;
    bool is_v6 = text[0] == '[' && colon[-1] == ']';
    return (is_v6 || memchr(text, ':', (size_t)(colon - text)) == NULL) &&
           g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL);
}

static bool is_broker_list(const char *text)
{
    g_auto(GStrv) brokers = g_strsplit(text, ",", -1);
    for (size_t i = 0; brokers[i] != NULL; i++)
        if (!is_broker(g_strstrip(brokers[i])))
            return false;
    return true;
}

/* Not an address that was meant for MONGO_URI. */
static bool is_path(const char *text)
{
    return strstr(text, "://") == NULL;
}

static bool is_mongo_uri(const char *text)
{
    return g_str_has_prefix(text, "mongodb://") || g_str_has_prefix(text, "mongodb+srv://");
}

/* What the server would refuse at the first use only. */
static bool is_mongo_db(const char *text)
{
    return strlen(text) <= 63 && strpbrk(text, "/\\. \"$*<>:|?") == NULL;
}

static bool is_replication(const char *text)
{
    return g_ascii_strtoll(text, NULL, 10) != 0;
}

/* ---- the table ---- */

#define SERVE FOR_SERVE
#define BOTH (FOR_SERVE | FOR_ENGINE)
#define STORE (FOR_SERVE | FOR_UPKEEP)
#define MEMBER(name) offsetof(Config, name)

static const Setting SETTINGS[] = {
    {.name = "EXECUTION_SERVICE_PORT",
     .uses = SERVE | FOR_HEALTH,
     .default_text = "8080",
     .member = MEMBER(port),
     .max = 65535,
     .meaning = "port to listen on; 0 picks a free one and says which"},
    {.name = "LISTEN_ADDR",
     .uses = SERVE | FOR_HEALTH,
     .default_text = "127.0.0.1",
     .member = MEMBER(listen_addr),
     .fits = is_address,
     .expected = "a numeric IPv4 or IPv6 address",
     .meaning = "numeric IPv4 or IPv6 address to listen on"},
    {.name = "DATA_DIR",
     .uses = STORE,
     .default_text = "./data",
     .member = MEMBER(data_dir),
     .fits = is_path,
     .expected = "a directory; an address goes to MONGO_URI",
     .meaning =
         "directory of `flowops.db` (flows, runs, journals) and `flowops.lock`, without `MONGO_URI`; made when absent, "
         "for its owner alone"},
    {.name = "MONGO_URI",
     .uses = STORE,
     .member = MEMBER(mongo_uri),
     .fits = is_mongo_uri,
     .expected = "mongodb://... or mongodb+srv://...",
     .secrecy = HIDDEN_LOGIN,
     .meaning =
         "`mongodb://...` or `mongodb+srv://...`: the store is MongoDB, not `DATA_DIR` (a `flowops.db` that is there "
         "all the same is warned of)"},
    {.name = "MONGO_DB",
     .uses = STORE,
     .default_text = "flowops",
     .member = MEMBER(mongo_db),
     .fits = is_mongo_db,
     .expected = "at most 63 characters, none of them /\\. \"$*<>:|?",
     .meaning = "the database in MongoDB"},
    {.name = "KAFKA_BROKER",
     .uses = BOTH,
     .member = MEMBER(kafka_broker),
     .fits = is_broker_list,
     .expected = "host:port, or several with commas between them",
     .meaning = "`host:port`, several with commas: commands and statuses go over Kafka instead of within the process"},
    {.name = "KAFKA_OPTIONS",
     .uses = BOTH,
     .member = MEMBER(kafka_options),
     .secrecy = HIDDEN,
     .meaning = "`key=value,...` for the Kafka client (SASL, TLS)"},
    {.name = "KAFKA_PARTITIONS",
     .uses = BOTH,
     .default_text = "3",
     .member = MEMBER(kafka_partitions),
     .min = 1,
     .max = 1000,
     .meaning = "partitions of a topic that has to be made"},
    {.name = "KAFKA_REPLICATION",
     .uses = BOTH,
     .default_text = "-1",
     .member = MEMBER(kafka_replication),
     .min = -1,
     .max = 10,
     .fits = is_replication,
     .expected = "1 to 10, or -1 for the broker's default",
     .meaning = "replicas of such a topic; -1: the broker's default"},
    {.name = "AUTH_MODE",
     .uses = SERVE,
     .default_note = "`none` on loopback; beyond it there is no default",
     .member = MEMBER(auth_mode),
     .choices = "none|gateway",
     .meaning =
         "`none`: one person on one machine, `X-User-Id` is honoured but not needed; `gateway`: a gateway in front "
         "passes the user in `X-User-Id`"},
    {.name = "GATEWAY_SECRET",
     .uses = SERVE,
     .member = MEMBER(gateway_secret),
     .secrecy = HIDDEN,
     .meaning =
         "with `gateway`: what `X-Gateway-Secret` must equal; without it anybody who reaches the port may be any user, "
         "which is warned of at the start; so is one that is set without `gateway`"},
    {.name = "ALLOW_UNAUTHENTICATED",
     .uses = SERVE,
     .member = MEMBER(allow_unauthenticated),
     .choices = "container",
     .meaning =
         "`container`: allows `AUTH_MODE=none` beyond loopback, where a container's published port is the guard"},
    {.name = "ENGINE",
     .uses = SERVE,
     .default_note = "`on` without `KAFKA_BROKER`, else `off`",
     .member = MEMBER(engine),
     .choices = "on|off",
     .meaning =
         "`on`: an engine runs in this process; `off`: runs are recorded, and without an engine elsewhere stay PENDING; "
         "a stop stays pending too (`stop?force=true` ends a run after 30 s)"},
    {.name = "ENGINE_MAX_PARALLEL_STEPS",
     .uses = BOTH,
     .default_text = "64",
     .member = MEMBER(max_parallel_steps),
     .min = 1,
     .max = 1000,
     .meaning = "steps of one run that run at once"},
    {.name = "MAX_OPEN_RUNS",
     .uses = SERVE,
     .default_text = "100000",
     .member = MEMBER(max_open_runs),
     .min = 1,
     .max = 100000000,
     .meaning = "unfinished runs; a start beyond them is refused with 503, a slot of a schedule waits for room"},
    {.name = "HTTP_LOOPS",
     .uses = SERVE,
     .default_text = "0",
     .member = MEMBER(http_loops),
     .max = 64,
     .meaning = "HTTP event loops; 0: one for every two processors"},
    {.name = "STORE_READERS",
     .uses = SERVE,
     .default_text = "2",
     .member = MEMBER(store_readers),
     .min = 1,
     .max = 8,
     .meaning = "threads that read the store"},
    {.name = "CACHE_BYTES",
     .uses = SERVE,
     .default_text = "33554432",
     .member = MEMBER(cache_bytes),
     .min = 65536,
     .max = 68719476736,
     .meaning = "memory for recently used runs"},
    {.name = "COMMAND_RESEND_SECONDS",
     .uses = SERVE,
     .default_text = "30",
     .member = MEMBER(command_resend_seconds),
     .min = 1,
     .max = 86400,
     .meaning = "a command that no engine has answered is sent again after this"},
    {.name = "RUN_RETENTION_DAYS",
     .uses = SERVE,
     .default_text = "0",
     .member = MEMBER(run_retention_days),
     .max = 36500,
     .meaning = "a run that has ended is deleted when it has not changed for so many days; 0: never"},
    {.name = "LOG_LEVEL",
     .uses = BOTH,
     .default_text = "info",
     .member = MEMBER(log_level),
     .choices = "debug|info|warning|error",
     .meaning = "the least that is logged: `debug` (a line for each request, too), `info`, `warning` or `error`"},
    {.name = "LOG_FORMAT",
     .uses = BOTH,
     .default_text = "auto",
     .member = MEMBER(log_format),
     .choices = "text|json|auto",
     .meaning = "`text`, `json`, or `auto`: text on a terminal, JSON otherwise"},
    {.name = "MONGO_PORT",
     .uses = FOR_STACK,
     .default_text = "27017",
     .min = 1,
     .max = 65535,
     .meaning = "for the compose file and `make stack` alone: MongoDB's port on this machine"},
    {.name = "KAFKA_PORT",
     .uses = FOR_STACK,
     .default_text = "9092",
     .min = 1,
     .max = 65535,
     .meaning = "for the compose file and `make stack` alone: Kafka's port on this machine"},
    {.name = "KAFKA_CLUSTER_ID",
     .uses = FOR_STACK,
     .default_text = "Zmxvd29wcy1zdGFjay0wMQ",
     .meaning = "for the compose file alone: the id that Kafka's storage is formatted with (a UUID in 22 characters of "
                "base64)"},
};

size_t setting_count(void)
{
    return G_N_ELEMENTS(SETTINGS);
}

const Setting *setting_at(size_t i)
{
    g_assert(i < G_N_ELEMENTS(SETTINGS));
    return &SETTINGS[i];
}

/* ---- names ---- */

char *setting_flag(const Setting *setting)
{
    char *flag = g_ascii_strdown(setting->name, -1);
    return g_strdelimit(flag, "_", '-');
}

int setting_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++)
        if (strcmp(SETTINGS[i].name, name) == 0)
            return (int)i;
    return -1;
}

int setting_find_flag(const char *flag)
{
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++) {
        g_autofree char *own = setting_flag(&SETTINGS[i]);
        if (strcmp(own, flag) == 0)
            return (int)i;
    }
    return -1;
}

const Setting *setting_nearest(const char *name)
{
    g_autofree char *asked = g_strdelimit(g_strdup(name), "-", '_');
    const Setting *nearest = NULL;
    int least = MIN(MAX_MISTAKES, (int)(strnlen(name, NEAR_TEXT_MAX_BYTES) / 2)) + 1;
    for (size_t i = 0; i < G_N_ELEMENTS(SETTINGS); i++) {
        int n_mistakes = near_text_count(asked, SETTINGS[i].name, least);
        if (n_mistakes < least) {
            least = n_mistakes;
            nearest = &SETTINGS[i];
        }
    }
    return nearest;
}

/* ---- texts ---- */

static char *list_choices(const Setting *setting)
{
    g_auto(GStrv) choices = g_strsplit(setting->choices, "|", -1);
    guint n = g_strv_length(choices);
    g_autoptr(GString) out = g_string_new(choices[0]);
    for (guint i = 1; i < n; i++)
        g_string_append_printf(out, "%s%s", i + 1 == n ? " or " : ", ", choices[i]);
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static bool is_choice(const Setting *setting, const char *text)
{
    g_auto(GStrv) choices = g_strsplit(setting->choices, "|", -1);
    g_autofree char *plain = g_ascii_strdown(text, -1);
    return g_strv_contains((const char *const *)choices, plain);
}

char *setting_fault(const Setting *setting, const char *text)
{
    gint64 number;
    if (setting->max != 0 && !g_ascii_string_to_signed(text, 10, setting->min, setting->max, &number, NULL))
        return g_strdup_printf("a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT, setting->min,
                               setting->max);
    if (setting->choices != NULL && !is_choice(setting, text))
        return list_choices(setting);
    return setting->fits != NULL && !setting->fits(text) ? g_strdup(setting->expected) : NULL;
}

/* True when a list of hosts is just that: what looks like one may be a login whose @ is missing. */
static bool is_host_list(const char *text)
{
    g_auto(GStrv) hosts = g_strsplit(text, ",", -1);
    for (size_t i = 0; hosts[i] != NULL; i++) {
        const char *colon = strrchr(hosts[i], ':');
        bool is_v6 = hosts[i][0] == '[' && strchr(hosts[i], ']') != NULL;
        if (!is_v6 && colon != NULL && colon[1 + strspn(colon + 1, "0123456789")] != '\0')
            return false;
    }
    return true;
}

/* "mongodb://user:***@hosts/database?***"; where the parts are not plain to see, nothing is shown. */
static char *mask_uri(const char *uri)
{
    const char *rest = strstr(uri, "://");
    if (rest == NULL)
        return g_strdup("***");
    rest += 3;
    g_autofree char *authority = g_strndup(rest, strcspn(rest, "/?#"));
    const char *after = rest + strlen(authority);
    char *at = strchr(authority, '@');
    const char *hosts = at != NULL ? at + 1 : authority;
    if (strchr(hosts, '@') != NULL || strchr(after, '@') != NULL || !is_host_list(hosts))
        return g_strdup("***");
    g_autofree char *user = at != NULL ? g_strndup(authority, strcspn(authority, ":@")) : NULL;
    bool has_password = user != NULL && authority[strlen(user)] == ':';
    g_autofree char *path = g_strndup(after, strcspn(after, "?#"));
    return g_strdup_printf("%.*s%s%s%s%s%s%s", (int)(rest - uri), uri, user != NULL ? user : "",
                           has_password ? ":***" : "", user != NULL ? "@" : "", hosts, path,
                           strlen(path) < strlen(after) ? "?***" : "");
}

bool setting_is_shown(const Setting *setting, const char *text)
{
    return setting->secrecy == SHOWN && strchr(text, '@') == NULL;
}

char *setting_shown(const Setting *setting, const char *text)
{
    if (setting->secrecy == HIDDEN_LOGIN)
        return mask_uri(text);
    return g_strdup(setting_is_shown(setting, text) ? text : "***");
}
