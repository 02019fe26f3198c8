/* bench_preload DATA_DIR RUNS: fills a store with finished runs of a 6-step flow through the store's own port, in big
 * commits, so that a store with a million events takes seconds to make. Prints the flow's id and the last run's. */
#include <stdio.h>
#include <stdlib.h>

#include "domain/decide.h"
#include "domain/flow_request.h"
#include "store/store.h"

#define OWNER "00000000-0000-7000-8000-000000000001" /* the local user of AUTH_MODE none */
#define GROUP 1024
#define N_STEPS 6

static const char FLOW[] = "{\"name\":\"six steps\",\"steps\":["
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"one\"}},"
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"two\"}},"
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"three\"}},"
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"four\"}},"
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"five\"}},"
                           "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"six\"}}]}";

static Id make_id(void *now_ms)
{
    return id_make(*(int64_t *)now_ms);
}

static void fail(const GError *error)
{
    fprintf(stderr, "bench_preload: %s\n", error->message);
    exit(1);
}

static Flow *make_flow(int64_t now_ms)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) body = NULL;
    if (!json_parse(FLOW, sizeof FLOW - 1, 64, &body, &error))
        fail(error);
    FlowOrigin origin = {.flow_id = id_make(now_ms), .now_ms = now_ms, .make_id = make_id, .make_id_arg = &now_ms};
    g_strlcpy(origin.owner.text, OWNER, sizeof origin.owner.text);
    origin.actor = origin.owner;
    Flow *flow = flow_create(body, &origin, faults);
    if (flow == NULL) {
        fprintf(stderr, "bench_preload: %s\n", faults_at(faults, 0)->message);
        exit(1);
    }
    return flow;
}

/* A run's whole life: creation in one append, the rest in another. */
typedef struct {
    Run *run;
    GString *texts[2];
    GString *details[2];
    size_t summary_sizes[2];
    int64_t n_events[2];
    RunRow rows[2];
} Life;

static void fold_all(Life *life, int part, const Decision *decision)
{
    for (size_t i = 0; i < decision->n_events; i++) {
        g_autoptr(GError) error = NULL;
        if (!run_fold(life->run, decision->events[i], &error))
            fail(error);
        event_encode(decision->events[i], life->texts[part]);
        g_string_append_c(life->texts[part], '\n');
        life->n_events[part]++;
    }
}

static void take_status(Life *life, StatusMessage *status)
{
    status->run_id = life->run->id;
    status->flow_id = life->run->flow_id;
    g_autoptr(Decision) decision = decide_status(life->run, status);
    fold_all(life, 1, decision);
}

static void end_part(Life *life, int part)
{
    const Run *run = life->run;
    life->details[part] = g_string_new(NULL);
    life->summary_sizes[part] = run_encode_detail(run, life->details[part]);
    life->rows[part] = (RunRow){
        .run_id = run->id,
        .flow_id = run->flow_id,
        .owner = run->owner,
        .status = run->status,
        .phase = run_phase(run),
        .triggered_by = run->triggered_by,
        .created_by = OWNER,
        .updated_by = "engine",
        .created_at = run->created_at,
        .updated_at = run->updated_at,
        .seq = run->seq,
        .flow_version = run->flow_version,
        .pending = run->pending.command,
        .pending_at = run->pending.command != COMMAND_NONE ? run->pending.requested_at : INSTANT_NONE,
        .detail = life->details[part]->str,
        .detail_size = life->details[part]->len,
        .summary_size = life->summary_sizes[part],
        .labels = &run->labels,
    };
}

static void life_make(Life *life, const Flow *flow, int64_t now_ms)
{
    static const TextMap none = {0};
    RunRequest request = {.run_id = id_make(now_ms),
                          .command_id = id_make(now_ms),
                          .flow = flow,
                          .triggered_by = OWNER,
                          .labels = &none,
                          .inputs = &none,
                          .now_ms = now_ms};
    g_autoptr(Decision) creation = decide_create(&request);
    life->run = run_new();
    life->texts[0] = g_string_new(NULL);
    life->texts[1] = g_string_new(NULL);
    fold_all(life, 0, creation);
    end_part(life, 0);
    take_status(life, &(StatusMessage){.kind = STATUS_FLOW, .timestamp = now_ms + 1, .run_status = RUN_RUNNING});
    for (size_t i = 0; i < flow->n_flat; i++) {
        StatusMessage status = {.kind = STATUS_STEP,
                                .timestamp = now_ms + 2,
                                .step_id = flow->flat[i]->step_id,
                                .step_status = STEP_RUNNING,
                                .attempt = 1};
        take_status(life, &status);
        status.step_status = STEP_COMPLETED;
        status.outputs_json = (char *)"{\"text\":\"done\"}";
        take_status(life, &status);
    }
    take_status(life, &(StatusMessage){.kind = STATUS_FLOW, .timestamp = now_ms + 3, .run_status = RUN_COMPLETED});
    end_part(life, 1);
}

static void life_done(Life *life)
{
    run_free(life->run);
    for (int part = 0; part < 2; part++) {
        g_string_free(life->texts[part], TRUE);
        g_string_free(life->details[part], TRUE);
    }
}

static void write_all(Store *store, StoreWrite *writes, size_t n)
{
    g_autoptr(GError) error = NULL;
    if (!store_write(store, writes, n, &error))
        fail(error);
    for (size_t i = 0; i < n; i++)
        g_assert(writes[i].ret_outcome == WRITTEN);
}

static void write_group(Store *store, const Life *lives, size_t n)
{
    StoreWrite writes[GROUP];
    for (int part = 0; part < 2; part++) {
        for (size_t i = 0; i < n; i++) {
            const Life *life = &lives[i];
            writes[i] = (StoreWrite){.kind = WRITE_RUN,
                                     .run = {.first_seq = part == 0 ? 1 : life->n_events[0] + 1,
                                             .n_events = life->n_events[part],
                                             .events = life->texts[part]->str,
                                             .events_size = life->texts[part]->len,
                                             .row = &life->rows[part]}};
        }
        write_all(store, writes, n);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_preload DATA_DIR RUNS\n");
        return 2;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(Clock) clock = clock_new_system();
    Store *store = store_open_sqlite(argv[1], clock, &error);
    if (store == NULL)
        fail(error);
    int64_t now_ms = clock_wall_ms(clock);
    g_autoptr(Flow) flow = make_flow(now_ms);
    write_all(store, &(StoreWrite){.kind = WRITE_FLOW, .flow = flow}, 1);

    int64_t n_runs = g_ascii_strtoll(argv[2], NULL, 10), n_events = 0;
    Id last = {""};
    Life *lives = g_new0(Life, GROUP);
    for (int64_t n_done = 0; n_done < n_runs;) {
        size_t n = (size_t)MIN(GROUP, n_runs - n_done);
        for (size_t i = 0; i < n; i++) {
            lives[i] = (Life){0};
            life_make(&lives[i], flow, clock_wall_ms(clock));
            n_events += lives[i].run->seq;
        }
        write_group(store, lives, n);
        last = lives[n - 1].run->id;
        for (size_t i = 0; i < n; i++)
            life_done(&lives[i]);
        n_done += (int64_t)n;
    }
    g_free(lives);
    store_close(store);
    printf("{\"flowId\": \"%s\", \"runId\": \"%s\", \"events\": %" G_GINT64_FORMAT "}\n", flow->id.text, last.text,
           n_events);
    return 0;
}
