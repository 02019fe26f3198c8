/* bus_kafka_options.c - the names of topics and groups, and KAFKA_OPTIONS: "key=value,...",
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
