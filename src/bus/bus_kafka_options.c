/* bus_kafka_options.c - the names of topics and groups, what every client is set to, and KAFKA_OPTIONS: "key=value,...",
 * where a backslash takes the character after it as it is ("\," in a value). Values may hold passwords: no message of ours
 * ever shows one. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

static const char *const TOPIC_NAMES[N_TOPICS] = {
    [TOPIC_COMMANDS] = "execution.commands",
    [TOPIC_STATUSES] = "execution.status",
    [TOPIC_DEAD_LETTERS] = "execution.status.dlq",
    [TOPIC_UPDATES] = "execution.updates",
};
static const char *const GROUP_NAMES[N_GROUPS] = {
    [GROUP_SERVICE] = "flowops-execution-service",
    [GROUP_ENGINE] = "flowops-engine",
};

/* What every client has. Reconnecting waits at most a second, so that a broker's return is noticed at once; a request that
 * is not answered within 10 s (a broker that hangs) is given up, its connection is closed and made again. */
static const KafkaProperty COMMON[] = {
    {"client.id", "flowops"},
    {"allow.auto.create.topics", "false"}, /* the broker's defaults have the wrong number of partitions */
    {"socket.nagle.disable", "true"},
    {"socket.keepalive.enable", "true"},
    {"socket.timeout.ms", "10000"},
    {"reconnect.backoff.max.ms", "1000"},
    {"topic.metadata.refresh.interval.ms", "5000"}, /* a topic that was made anew, or got more partitions */
    {NULL, NULL},
};

/* Delivery, order, who reads what, and how much memory that takes, rest on these. */
static const char *const RESERVED[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "group.instance.id",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "enable.gapless.guarantee",
    "transactional.id",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "retries",
    "message.send.max.retries",
    "partitioner",
    "partitioner_cb",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "message.max.bytes",
    "queuing.strategy",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "enable.auto.commit",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "partition.assignment.strategy",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "fetch.max.bytes",
    "receive.message.max.bytes",
    "allow.auto.create.topics",
    "log.queue",
    "enabled_events",
    "delivery.report.only.error",
};

static bool is_reserved(const char *key)
{
    for (size_t i = 0; i < G_N_ELEMENTS(RESERVED); i++)
        if (strcmp(RESERVED[i], key) == 0)
            return true;
    return false;
}

static bool add_option(KafkaSettings *settings, const char *text, size_t n_key_bytes, GError **error)
{
    if (n_key_bytes == 0) {
        g_set_error_literal(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                            "KAFKA_OPTIONS: expected key=value, with commas between");
        return false;
    }
    g_autofree char *key = g_strstrip(g_strndup(text, n_key_bytes));
    if (is_reserved(key)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "KAFKA_OPTIONS: %s is not for users to set", key);
        return false;
    }
    g_ptr_array_add(settings->keys, g_steal_pointer(&key));
    g_ptr_array_add(settings->values, g_strdup(text + n_key_bytes + 1));
    return true;
}

/* Spaces around a key are not part of it; around a value they are. */
static bool split_options(KafkaSettings *settings, const char *options, GError **error)
{
    g_autoptr(GString) item = g_string_new(NULL);
    size_t n_key_bytes = 0; /* of the item up to its first '='; 0: none yet */
    for (const char *at = options;; at++) {
        bool is_end = *at == '\0' || *at == ',';
        if (is_end && (item->len > 0 || *at == ',') && !add_option(settings, item->str, n_key_bytes, error))
            return false;
        if (*at == '\0')
            return true;
        if (is_end) {
            g_string_truncate(item, 0);
            n_key_bytes = 0;
            continue;
        }
        if (*at == '=' && n_key_bytes == 0)
            n_key_bytes = item->len;
        else if (*at == '\\' && at[1] != '\0')
            at++;
        g_string_append_c(item, *at);
    }
}

/* Tried on a configuration that is thrown away, so that a mistake is known before anything is opened. */
static bool check_options(const KafkaSettings *settings, GError **error)
{
    rd_kafka_conf_t *scratch = rd_kafka_conf_new();
    rd_kafka_conf_res_t result = RD_KAFKA_CONF_OK;
    guint i = 0;
    for (; i < settings->keys->len && result == RD_KAFKA_CONF_OK; i++)
        result = rd_kafka_conf_set(scratch, settings->keys->pdata[i], settings->values->pdata[i], NULL, 0);
    rd_kafka_conf_destroy(scratch);
    if (result == RD_KAFKA_CONF_OK)
        return true;
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID,
                result == RD_KAFKA_CONF_UNKNOWN ? "KAFKA_OPTIONS: %s is not known to the Kafka client"
                                                : "KAFKA_OPTIONS: the Kafka client does not take the value of %s",
                (const char *)settings->keys->pdata[i - 1]);
    return false;
}

bool kafka_settings_init(KafkaSettings *settings, const KafkaOptions *options, GError **error)
{
    *settings = (KafkaSettings){.brokers = g_strdup(options->brokers),
                                .keys = g_ptr_array_new_with_free_func(g_free),
                                .values = g_ptr_array_new_with_free_func(g_free),
                                .n_partitions = options->n_partitions,
                                .n_replicas = options->n_replicas};
    const char *prefix = options->prefix != NULL ? options->prefix : "";
    for (int i = 0; i < N_TOPICS; i++)
        settings->topics[i] = g_strconcat(prefix, TOPIC_NAMES[i], NULL);
    for (int i = 0; i < N_GROUPS; i++)
        settings->groups[i] = g_strconcat(prefix, GROUP_NAMES[i], NULL);
    if ((options->options == NULL || split_options(settings, options->options, error)) &&
        check_options(settings, error))
        return true;
    kafka_settings_done(settings);
    return false;
}

void kafka_settings_done(KafkaSettings *settings)
{
    g_free(settings->brokers);
    g_ptr_array_unref(settings->keys);
    g_ptr_array_unref(settings->values);
    for (int i = 0; i < N_TOPICS; i++)
        g_free(settings->topics[i]);
    for (int i = 0; i < N_GROUPS; i++)
        g_free(settings->groups[i]);
    *settings = (KafkaSettings){0};
}

static void set_property(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, key, value, NULL, 0);
    g_assert(result == RD_KAFKA_CONF_OK); /* ours are known good, the user's were tried */
}

/* On any of the library's threads. Bad news alone is kept; what it says of settings has been judged by us. */
static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    enum { SYSLOG_ERROR = 3 };
    KafkaBus *const *bus = rd_kafka_opaque(client);
    if (level <= SYSLOG_ERROR && strcmp(facility, "CONFWARN") != 0 && bus != NULL && (*bus)->watch != NULL)
        kafka_watch_note_error((*bus)->watch, text);
}

/* On the thread that polls the client. */
static void on_error(rd_kafka_t *client G_GNUC_UNUSED, int error, const char *text, void *opaque)
{
    KafkaBus *const *bus = opaque;
    if ((*bus)->watch == NULL)
        return;
    if (error != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) /* it only counts them; what was said before says why */
        kafka_watch_note_error((*bus)->watch, text);
    kafka_watch_ring((*bus)->watch);
}

rd_kafka_conf_t *kafka_conf_new(KafkaBus *bus, const KafkaProperty *properties, void *client)
{
    const KafkaSettings *settings = &bus->settings;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set_property(conf, "bootstrap.servers", settings->brokers);
    for (const KafkaProperty *property = COMMON; property->key != NULL; property++)
        set_property(conf, property->key, property->value);
    for (const KafkaProperty *property = properties; property->key != NULL; property++)
        set_property(conf, property->key, property->value);
    for (guint i = 0; i < settings->keys->len; i++)
        set_property(conf, settings->keys->pdata[i], settings->values->pdata[i]);
    rd_kafka_conf_set_opaque(conf, client);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    return conf;
}

/* The library's own text may quote a value, so of it only the keys that it names are passed on. */
static void set_client_error(const KafkaSettings *settings, const char *text, GError **error)
{
    g_autoptr(GString) keys = g_string_new(NULL);
    for (guint i = 0; i < settings->keys->len; i++)
        if (strstr(text, settings->keys->pdata[i]) != NULL)
            g_string_append_printf(keys, "%s%s", keys->len > 0 ? ", " : "", (const char *)settings->keys->pdata[i]);
    if (keys->len == 0)
        for (guint i = 0; i < settings->keys->len; i++)
            g_string_append_printf(keys, "%s%s", keys->len > 0 ? ", " : "", (const char *)settings->keys->pdata[i]);
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INVALID, "the Kafka client cannot start with KAFKA_OPTIONS (%s)",
                keys->len > 0 ? keys->str : "none given");
}

rd_kafka_t *kafka_client_new(KafkaBus *bus, rd_kafka_type_t type, rd_kafka_conf_t *conf, GError **error)
{
    char text[512] = "";
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof text);
    if (client == NULL) {
        rd_kafka_conf_destroy(conf); /* it is taken only on success */
        set_client_error(&bus->settings, text, error);
    }
    return client;
}

/* ---- the end of a client ---- */

/* When the client is stuck the thread that ends it stays, and so does this. */
typedef struct {
    rd_kafka_t *client;
    Bell bell;
    bool has_ended; /* atomic */
} Ending;

static void end_client(void *arg)
{
    Ending *ending = arg;
    rd_kafka_destroy_flags(ending->client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    __atomic_store_n(&ending->has_ended, true, __ATOMIC_RELEASE);
    bell_ring(&ending->bell);
}

bool kafka_client_end(rd_kafka_t *client, int64_t limit_ms)
{
    Ending *ending = g_new0(Ending, 1);
    ending->client = client;
    bell_init(&ending->bell);
    Thread *thread = thread_start("kafka-end", ROLE_BUS, end_client, ending, NULL);
    if (thread != NULL)
        bell_wait(&ending->bell, limit_ms);
    if (thread == NULL || !__atomic_load_n(&ending->has_ended, __ATOMIC_ACQUIRE))
        return false;
    thread_join(thread);
    bell_done(&ending->bell);
    g_free(ending);
    return true;
}
