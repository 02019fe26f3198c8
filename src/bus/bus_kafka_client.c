/* bus_kafka_client.c - how a client of the library begins and ends, and where its complaints go. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

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

static void set_property(rd_kafka_conf_t *conf, const char *key, const char *value)
{
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, key, value, NULL, 0);
    g_assert(result == RD_KAFKA_CONF_OK); /* ours are known good, the user's were tried */
}

/* Without the name of the thread that said it, which the library puts first: "[thrd:...]: ". */
static const char *skip_thread_name(const char *text)
{
    const char *end = g_str_has_prefix(text, "[thrd:") ? strstr(text, "]: ") : NULL;
    return end != NULL ? end + strlen("]: ") : text;
}

/* On any of the library's threads. Bad news alone is kept; what it says of settings has been judged by us. */
static void on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    enum { SYSLOG_ERROR = 3 };
    KafkaBus *const *bus = rd_kafka_opaque(client);
    if (level <= SYSLOG_ERROR && strcmp(facility, "CONFWARN") != 0 && bus != NULL && (*bus)->watch != NULL)
        kafka_watch_note_error((*bus)->watch, skip_thread_name(text));
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

bool kafka_client_ask_offsets(KafkaBus *bus, rd_kafka_t *client, rd_kafka_topic_partition_list_t *partitions,
                              int64_t which, int timeout_ms)
{
    if (!kafka_watch_does_broker_answer(bus->watch)) /* the call would take all its time */
        return false;
    for (int i = 0; i < partitions->cnt; i++)
        partitions->elems[i].offset = which;
    bool is_told = rd_kafka_offsets_for_times(client, partitions, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; i < partitions->cnt && is_told; i++)
        is_told = partitions->elems[i].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    return is_told;
}

bool kafka_client_was_let_in(KafkaBus *bus, rd_kafka_t *client)
{
    char *member = rd_kafka_memberid(client);
    bool was_let_in = (member != NULL && member[0] != '\0') || kafka_watch_was_up(bus->watch);
    rd_kafka_mem_free(client, member);
    return was_let_in;
}

/* ---- the end ---- */

typedef struct Ending {
    void (*work)(void *arg);
    void *arg;
    Bell bell;    /* rung when it is done */
    bool is_done; /* atomic */
    int n_users;  /* atomic: the thread, and who waits for it */
    Thread *thread;
    struct Ending *next; /* of those left behind */
} Ending;

static Ending *left_behind; /* atomic; what was not done in time: kept, with its thread, until the process ends */

static void ending_unref(Ending *ending)
{
    if (__atomic_sub_fetch(&ending->n_users, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    bell_done(&ending->bell);
    g_free(ending);
}

static void end_main(void *arg)
{
    Ending *ending = arg;
    ending->work(ending->arg);
    __atomic_store_n(&ending->is_done, true, __ATOMIC_RELEASE);
    bell_ring(&ending->bell);
    ending_unref(ending);
}

bool kafka_end_in_time(void (*work)(void *arg), void *arg, int64_t timeout_ms)
{
    Ending *ending = g_new0(Ending, 1);
    *ending = (Ending){.work = work, .arg = arg, .n_users = 2};
    bell_init(&ending->bell);
    Thread *thread = thread_start("kafka-end", ROLE_BUS, end_main, ending, NULL);
    if (thread == NULL) {
        ending_unref(ending);
        ending_unref(ending);
        return false;
    }
    bell_wait(&ending->bell, timeout_ms);
    if (!__atomic_load_n(&ending->is_done, __ATOMIC_ACQUIRE)) {
        thread_leave(thread);
        ending->thread = thread;
        ending->next = __atomic_exchange_n(&left_behind, ending, __ATOMIC_ACQ_REL);
        return false;
    }
    thread_join(thread);
    ending_unref(ending);
    return true;
}

static void destroy(void *client)
{
    rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

bool kafka_client_end(rd_kafka_t *client, int64_t timeout_ms)
{
    return kafka_end_in_time(destroy, client, timeout_ms);
}
