/* bus_kafka_topics.c - the watch: one thread that asks the broker for the topics in use, every few seconds or when
 * somebody misses one. What is missing it makes. That a broker answers it is also what health means. It has a client of its
 * own: the producers' may be replaced at any time, and asking must wait for nobody's messages. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

#define LOOK_MS 5000       /* while all is well: a broker that hangs is noticed within this and the time limit */
#define LOOK_AGAIN_MS 500  /* while something is not */
#define LOOK_LIMIT_MS 2000 /* for an answer */
#define LOOK_PAUSE_MS 100  /* however often somebody rings */
#define CREATE_LIMIT_MS 3000
#define END_LIMIT_MS 500             /* of the 5 s that bus_close() has */
#define CREATE_PAUSE_MS 2000         /* a broker that refuses is not asked again at once */
#define UPDATES_KEPT_MS "3600000"    /* a doorbell of an hour ago means nothing */
#define TWO_MESSAGES_BYTES "2097152" /* the largest message of ours with what the wire adds */

struct KafkaWatch {
    KafkaBus *bus; /* first: see kafka_conf_new() */
    rd_kafka_t *client;
    rd_kafka_topic_t *topics[N_TOPICS]; /* those in use; NULL: not */
    Thread *thread;
    bool is_stopping;               /* atomic */
    Bell bell;                      /* closed: the thread is to end */
    int32_t n_partitions[N_TOPICS]; /* atomic */
    int64_t looked_at, created_at;  /* of the thread; monotonic ms */
    Mutex mu;
    bool is_up;                                       /* guarded by mu: a broker answered last time */
    bool was_up;                                      /* guarded by mu: one ever did */
    char last_error[ERROR_TEXT_SIZE];                 /* guarded by mu */
    char readers_problems[N_TOPICS][ERROR_TEXT_SIZE]; /* guarded by mu; "": none */
    char writers_problems[N_TOPICS][ERROR_TEXT_SIZE]; /* guarded by mu; "": none */
    char problems[N_TOPICS][ERROR_TEXT_SIZE];         /* guarded by mu; "": none */
};

/* The doorbells are made only where several replicas use them; an engine alone needs no dead letters. */
static bool is_in_use(const KafkaOptions *options, KafkaTopic topic)
{
    switch (topic) {
    case TOPIC_COMMANDS:
    case TOPIC_STATUSES:
        return true;
    case TOPIC_DEAD_LETTERS:
        return options->has_service_side;
    case TOPIC_UPDATES:
        return options->has_updates;
    case N_TOPICS:
        break;
    }
    return false;
}

void kafka_watch_ring(KafkaWatch *watch)
{
    bell_ring(&watch->bell);
}

int32_t kafka_watch_n_partitions(const KafkaWatch *watch, KafkaTopic topic)
{
    return __atomic_load_n(&watch->n_partitions[topic], __ATOMIC_ACQUIRE);
}

void kafka_watch_note_error(KafkaWatch *watch, const char *text)
{
    MUTEX_SCOPE(&watch->mu);
    g_strlcpy(watch->last_error, text, sizeof watch->last_error);
}

static void set_problem(KafkaWatch *watch, char ret_text[ERROR_TEXT_SIZE], KafkaTopic topic, const char *problem)
{
    MUTEX_SCOPE(&watch->mu);
    if (problem == NULL)
        ret_text[0] = '\0';
    else
        g_snprintf(ret_text, ERROR_TEXT_SIZE, "topic %s: %s", watch->bus->settings.topics[topic], problem);
}

void kafka_watch_set_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem)
{
    set_problem(watch, watch->problems[topic], topic, problem);
}

void kafka_watch_set_readers_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem)
{
    set_problem(watch, watch->readers_problems[topic], topic, problem);
}

void kafka_watch_set_writers_problem(KafkaWatch *watch, KafkaTopic topic, const char *problem)
{
    set_problem(watch, watch->writers_problems[topic], topic, problem);
}

bool kafka_watch_was_up(KafkaWatch *watch)
{
    MUTEX_SCOPE(&watch->mu);
    return watch->was_up;
}

bool kafka_watch_does_broker_answer(KafkaWatch *watch)
{
    MUTEX_SCOPE(&watch->mu);
    return watch->is_up;
}

static bool has_problem(KafkaWatch *watch, KafkaTopic topic)
{
    MUTEX_SCOPE(&watch->mu);
    return watch->problems[topic][0] != '\0';
}

bool kafka_watch_is_up(KafkaWatch *watch, char ret_reason[ERROR_TEXT_SIZE])
{
    MUTEX_SCOPE(&watch->mu);
    ret_reason[0] = '\0';
    if (!watch->is_up) {
        g_snprintf(ret_reason, ERROR_TEXT_SIZE, "no Kafka broker answers%s%s", watch->last_error[0] != '\0' ? ": " : "",
                   watch->last_error);
        return false;
    }
    for (int i = 0; i < N_TOPICS && ret_reason[0] == '\0'; i++) {
        const char *const problems[] = {watch->problems[i], watch->readers_problems[i], watch->writers_problems[i]};
        for (size_t j = 0; j < G_N_ELEMENTS(problems) && ret_reason[0] == '\0'; j++)
            g_strlcpy(ret_reason, problems[j], ERROR_TEXT_SIZE);
    }
    return ret_reason[0] == '\0';
}

/* ---- making topics ---- */

static void add_new_topic(const KafkaWatch *watch, KafkaTopic topic, bool is_plain, GPtrArray *topics)
{
    const KafkaSettings *settings = &watch->bus->settings;
    char text[256];
    rd_kafka_NewTopic_t *made =
        rd_kafka_NewTopic_new(settings->topics[topic], settings->n_partitions, settings->n_replicas, text, sizeof text);
    g_assert(made != NULL); /* our own numbers */
    char max_bytes[24];
    g_snprintf(max_bytes, sizeof max_bytes, "%d", DEAD_LETTER_MAX_BYTES);
    if (!is_plain) {
        rd_kafka_NewTopic_set_config(made, "max.message.bytes",
                                     topic == TOPIC_DEAD_LETTERS ? max_bytes : TWO_MESSAGES_BYTES);
        if (topic == TOPIC_UPDATES)
            rd_kafka_NewTopic_set_config(made, "retention.ms", UPDATES_KEPT_MS);
    }
    g_ptr_array_add(topics, made);
}

static KafkaTopic topic_of_name(const KafkaSettings *settings, const char *name)
{
    int topic = 0;
    while (topic < N_TOPICS && strcmp(settings->topics[topic], name) != 0)
        topic++;
    return (KafkaTopic)topic;
}

/* Notes what became of each. True: some were refused for their settings, not for being made. */
static bool read_created(KafkaWatch *watch, rd_kafka_event_t *event)
{
    size_t n_results = 0;
    bool are_settings_refused = false;
    const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t **results =
        result != NULL ? rd_kafka_CreateTopics_result_topics(result, &n_results) : NULL;
    for (size_t i = 0; i < n_results; i++) {
        rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
        KafkaTopic topic = topic_of_name(&watch->bus->settings, rd_kafka_topic_result_name(results[i]));
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR || error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS || topic == N_TOPICS)
            continue;
        are_settings_refused |=
            error == RD_KAFKA_RESP_ERR_INVALID_CONFIG || error == RD_KAFKA_RESP_ERR_POLICY_VIOLATION;
        const char *detail = rd_kafka_topic_result_error_string(results[i]);
        g_autofree char *problem =
            g_strdup_printf("is not there and cannot be made: %s", detail != NULL ? detail : rd_kafka_err2str(error));
        kafka_watch_set_problem(watch, topic, problem);
    }
    return are_settings_refused;
}

/* NULL: not in time, or the watch is to end. */
static rd_kafka_event_t *wait_for_created(KafkaWatch *watch, rd_kafka_queue_t *queue)
{
    enum { SLICE_MS = 100 };
    int64_t deadline = clock_monotonic_ms(watch->bus->clock) + CREATE_LIMIT_MS + SLICE_MS;
    rd_kafka_event_t *event = NULL;
    while (event == NULL && clock_monotonic_ms(watch->bus->clock) < deadline &&
           !__atomic_load_n(&watch->is_stopping, __ATOMIC_ACQUIRE))
        event = rd_kafka_queue_poll(queue, SLICE_MS);
    return event;
}

static bool create(KafkaWatch *watch, const bool *is_missing, bool is_plain)
{
    g_autoptr(GPtrArray) topics = g_ptr_array_new_with_free_func((GDestroyNotify)rd_kafka_NewTopic_destroy);
    for (int i = 0; i < N_TOPICS; i++)
        if (is_missing[i])
            add_new_topic(watch, (KafkaTopic)i, is_plain, topics);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(watch->client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_request_timeout(options, CREATE_LIMIT_MS, NULL, 0);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(watch->client);
    rd_kafka_CreateTopics(watch->client, (rd_kafka_NewTopic_t **)topics->pdata, topics->len, options, queue);
    rd_kafka_event_t *event = wait_for_created(watch, queue);
    bool are_settings_refused = false;
    if (event != NULL && rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_watch_note_error(watch, rd_kafka_event_error_string(event));
    else if (event != NULL)
        are_settings_refused = read_created(watch, event);
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return !are_settings_refused;
}

/* ---- looking ---- */

static bool is_topic_missing(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

/* False: no broker answered. */
static bool look_at(KafkaWatch *watch, KafkaTopic topic, bool *ret_is_missing)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(watch->client, 0, watch->topics[topic], &metadata, LOOK_LIMIT_MS);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    const struct rd_kafka_metadata_topic *found = metadata->topic_cnt > 0 ? &metadata->topics[0] : NULL;
    error = found != NULL ? found->err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    bool is_there = error == RD_KAFKA_RESP_ERR_NO_ERROR && found->partition_cnt > 0;
    __atomic_store_n(&watch->n_partitions[topic], is_there ? found->partition_cnt : -1, __ATOMIC_RELEASE);
    *ret_is_missing = is_topic_missing(error);
    if (is_there)
        kafka_watch_set_problem(watch, topic, NULL);
    else if (!*ret_is_missing)
        kafka_watch_set_problem(watch, topic, rd_kafka_err2str(error));
    else if (!has_problem(watch, topic)) /* why it could not be made says more */
        kafka_watch_set_problem(watch, topic, "is not there yet");
    rd_kafka_metadata_destroy(metadata);
    return true;
}

static void set_up(KafkaWatch *watch, bool is_up)
{
    MUTEX_SCOPE(&watch->mu);
    watch->is_up = is_up;
    watch->was_up |= is_up;
    if (is_up)
        watch->last_error[0] = '\0';
}

/* True: all the topics are there. */
static bool look(KafkaWatch *watch)
{
    bool is_missing[N_TOPICS] = {false};
    bool is_any_missing = false;
    for (int i = 0; i < N_TOPICS; i++) {
        if (watch->topics[i] == NULL)
            continue;
        if (!look_at(watch, (KafkaTopic)i, &is_missing[i])) {
            set_up(watch, false);
            return false;
        }
        is_any_missing |= is_missing[i];
    }
    set_up(watch, true);
    int64_t now = clock_monotonic_ms(watch->bus->clock);
    if (is_any_missing && now - watch->created_at >= CREATE_PAUSE_MS) {
        watch->created_at = now;
        if (!create(watch, is_missing, false))
            (void)create(watch, is_missing, true);
        kafka_watch_ring(watch); /* to see them */
    }
    if (!is_any_missing && watch->bus->listener != NULL)
        kafka_listener_wake(watch->bus->listener); /* it waits for partitions */
    return !is_any_missing;
}

static void watch_main(void *arg)
{
    KafkaWatch *watch = arg;
    bool is_well = look(watch);
    /* The pause is waited out on the bell too: what rings meanwhile is answered by the look after it. */
    while (bell_wait(&watch->bell, is_well ? LOOK_MS : LOOK_AGAIN_MS)) {
        int64_t since = clock_monotonic_ms(watch->bus->clock) - watch->looked_at;
        if (since < LOOK_PAUSE_MS && !bell_wait(&watch->bell, LOOK_PAUSE_MS - since))
            break;
        watch->looked_at = clock_monotonic_ms(watch->bus->clock);
        is_well = look(watch);
        rd_kafka_poll(watch->client, 0); /* what the library has to say of its connections */
    }
}

/* ---- life ---- */

static bool open_client(KafkaWatch *watch, GError **error)
{
    static const KafkaProperty properties[] = {{NULL, NULL}};
    rd_kafka_conf_t *conf = kafka_conf_new(watch->bus, properties, watch);
    watch->client = kafka_client_new(watch->bus, RD_KAFKA_PRODUCER, conf, error);
    return watch->client != NULL;
}

bool kafka_watch_open(KafkaBus *bus, const KafkaOptions *options, GError **error)
{
    KafkaWatch *watch = g_new0(KafkaWatch, 1);
    watch->bus = bus;
    watch->created_at = INT64_MIN / 2;
    bell_init(&watch->bell);
    mutex_init(&watch->mu);
    for (int i = 0; i < N_TOPICS; i++)
        watch->n_partitions[i] = -1;
    bus->watch = watch; /* its client's threads may have something to say from the first moment */
    if (!open_client(watch, error)) {
        bus->watch = NULL;
        kafka_watch_free(watch);
        return false;
    }
    for (int i = 0; i < N_TOPICS; i++)
        if (is_in_use(options, (KafkaTopic)i))
            watch->topics[i] = rd_kafka_topic_new(watch->client, bus->settings.topics[i], NULL);
    return true;
}

bool kafka_watch_start(KafkaWatch *watch, GError **error)
{
    watch->thread = thread_start("kafka-watch", ROLE_BUS, watch_main, watch, error);
    return watch->thread != NULL;
}

void kafka_watch_stop(KafkaWatch *watch)
{
    if (watch == NULL)
        return;
    __atomic_store_n(&watch->is_stopping, true, __ATOMIC_RELEASE);
    bell_close(&watch->bell);
}

void kafka_watch_join(KafkaWatch *watch)
{
    if (watch == NULL)
        return;
    kafka_watch_stop(watch);
    thread_join(g_steal_pointer(&watch->thread));
}

bool kafka_watch_end(KafkaWatch *watch)
{
    if (watch == NULL)
        return true;
    kafka_watch_join(watch);
    for (int i = 0; i < N_TOPICS; i++)
        if (watch->topics[i] != NULL)
            rd_kafka_topic_destroy(watch->topics[i]);
    return watch->client == NULL || kafka_client_end(g_steal_pointer(&watch->client), END_LIMIT_MS);
}

void kafka_watch_free(KafkaWatch *watch)
{
    if (watch == NULL)
        return;
    bell_done(&watch->bell);
    mutex_done(&watch->mu);
    g_free(watch);
}
