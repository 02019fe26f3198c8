/* bench_kafka_load BROKERS FLOW_ID STEP_ID,... N < RUN_IDS: puts N status events on execution.status, as engines would,
 * over all the runs in turn: RUNNING of each run, then attempts of its steps, each a fact of its own. Ends when the broker
 * has acknowledged all of them. One run id a line on the standard input. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <librdkafka/rdkafka.h>

#include "base/clock.h"
#include "base/id.h"

static long n_failed;

static void on_delivered(rd_kafka_t *producer, const rd_kafka_message_t *message, void *arg)
{
    (void)producer;
    (void)arg;
    if (message->err)
        n_failed++;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "bench_kafka_load: %s\n", text);
        exit(1);
    }
}

/* The k-th event of a run. */
static int event_text(char *text, size_t size, const char *flow_id, const char *run_id, char **step_ids, long n_steps,
                      long k)
{
    char instant[INSTANT_TEXT_SIZE];
    instant_format(1790000000000 + k, instant);
    if (k == 0)
        return snprintf(text, size,
                        "{\"eventType\":\"FLOW_STATUS\",\"flowId\":\"%s\",\"runId\":\"%s\",\"status\":\"RUNNING\","
                        "\"error\":null,\"timestamp\":\"%s\"}",
                        flow_id, run_id, instant);
    return snprintf(text, size,
                    "{\"eventType\":\"STEP_STATUS\",\"flowId\":\"%s\",\"runId\":\"%s\",\"stepId\":\"%s\","
                    "\"status\":\"RUNNING\",\"error\":null,\"timestamp\":\"%s\",\"attempt\":%ld}",
                    flow_id, run_id, step_ids[(k - 1) % n_steps], instant, (k - 1) / n_steps + 1);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: bench_kafka_load BROKERS FLOW_ID STEP_ID,... N < RUN_IDS\n");
        return 2;
    }
    char **step_ids = g_strsplit(argv[3], ",", -1);
    long n_steps = (long)g_strv_length(step_ids), n = atol(argv[4]);
    GPtrArray *runs = g_ptr_array_new();
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL)
        g_ptr_array_add(runs, g_strdup(g_strstrip(line)));

    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    set(conf, "enable.idempotence", "true");
    set(conf, "linger.ms", "5");
    set(conf, "partitioner", "murmur2_random");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivered);
    char fault[256];
    rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, fault, sizeof fault);
    if (producer == NULL) {
        fprintf(stderr, "bench_kafka_load: %s\n", fault);
        return 1;
    }
    for (long i = 0; i < n; i++) {
        const char *run_id = runs->pdata[i % runs->len];
        char text[512];
        int size = event_text(text, sizeof text, argv[2], run_id, step_ids, n_steps, i / runs->len);
        rd_kafka_resp_err_t failed;
        while ((failed = rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("execution.status"),
                                           RD_KAFKA_V_KEY(run_id, strlen(run_id)), RD_KAFKA_V_VALUE(text, (size_t)size),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END)) ==
               RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, 10);
        if (failed)
            n_failed++;
        if (i % 1000 == 0)
            rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, 60000);
    long n_left = rd_kafka_outq_len(producer);
    rd_kafka_destroy(producer);
    if (n_failed > 0 || n_left > 0) {
        fprintf(stderr, "bench_kafka_load: %ld failed, %ld not acknowledged\n", n_failed, n_left);
        return 1;
    }
    printf("%ld\n", n);
    return 0;
}
