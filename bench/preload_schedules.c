/* bench_preload_schedules DATA_DIR FLOWS [CRON]: fills a store with flows of three steps that have a cron, each with one
 * decision behind it. Without CRON each has one of many that fire once a year, on New Year's Day, in several zones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain/flow_request.h"
#include "domain/schedule.h"
#include "store/store.h"

#define OWNER "00000000-0000-7000-8000-000000000001" /* the local user of AUTH_MODE none */
#define GROUP 1000

static const char *const ZONES[] = {"UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Sydney"};

static Id make_id(void *now_ms)
{
    return id_make(*(int64_t *)now_ms);
}

static void fail(const GError *error)
{
    fprintf(stderr, "bench_preload_schedules: %s\n", error->message);
    exit(1);
}

static Flow *make_flow(long n, const char *cron, int64_t now_ms)
{
    g_autofree char *own_cron = g_strdup_printf("%ld %ld 1 1 *", n % 60, n / 60 % 24);
    g_autofree char *text = g_strdup_printf(
        "{\"name\":\"flow %ld\",\"cron\":\"%s\",\"timezone\":\"%s\",\"steps\":["
        "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"one\"}},"
        "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"two\"}},"
        "{\"pluginId\":\"echo\",\"type\":\"ACTION\",\"inputs\":{\"text\":\"three\"}}]}",
        n, cron != NULL ? cron : own_cron, cron != NULL ? "UTC" : ZONES[(size_t)n % G_N_ELEMENTS(ZONES)]);
    g_autoptr(GError) error = NULL;
    g_autoptr(Faults) faults = faults_new();
    g_autoptr(JsonValue) body = NULL;
    if (!json_parse(text, strlen(text), 64, &body, &error))
        fail(error);
    FlowOrigin origin = {.flow_id = id_make(now_ms), .now_ms = now_ms, .make_id = make_id, .make_id_arg = &now_ms};
    g_strlcpy(origin.owner.text, OWNER, sizeof origin.owner.text);
    origin.actor = origin.owner;
    Flow *flow = flow_create(body, &origin, faults);
    if (flow == NULL) {
        fprintf(stderr, "bench_preload_schedules: %s\n", faults_at(faults, 0)->message);
        exit(1);
    }
    return flow;
}

static void encode_decision(const Flow *flow, int64_t now_ms, GString *out)
{
    ScheduleDecision decision = {.n = 1,
                                 .verdict = SLOT_STARTED,
                                 .slot = now_ms,
                                 .last_slot = now_ms,
                                 .n_slots = 1,
                                 .decided_at = now_ms,
                                 .since = flow->scheduled_since,
                                 .flow_version = 1,
                                 .watermark = now_ms};
    schedule_decision_encode(&decision, &flow->id, out);
}

static void write_group(Store *store, long first, long n, const char *cron, int64_t now_ms)
{
    g_autofree StoreWrite *writes = g_new0(StoreWrite, 2 * n);
    g_autoptr(GPtrArray) flows = g_ptr_array_new_with_free_func((GDestroyNotify)flow_unref);
    g_autoptr(GError) error = NULL;
    GString *texts[GROUP];
    for (long i = 0; i < n; i++) {
        Flow *flow = make_flow(first + i, cron, now_ms);
        g_ptr_array_add(flows, flow);
        texts[i] = g_string_new(NULL);
        encode_decision(flow, now_ms, texts[i]);
        writes[2 * i] = (StoreWrite){.kind = WRITE_FLOW, .flow = flow};
        writes[2 * i + 1] = (StoreWrite){
            .kind = WRITE_DECISION,
            .decision = {.key = {flow->id, 1}, .text = texts[i]->str, .size = texts[i]->len, .decided_at = now_ms}};
    }
    if (!store_write(store, writes, 2 * (size_t)n, &error))
        fail(error);
    for (long i = 0; i < n; i++)
        g_string_free(texts[i], TRUE);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_preload_schedules DATA_DIR FLOWS [CRON]\n");
        return 2;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(Clock) clock = clock_new_system();
    long n_flows = strtol(argv[2], NULL, 10);
    Store *store = store_open_sqlite(argv[1], clock, &error);
    if (store == NULL)
        fail(error);
    for (long first = 0; first < n_flows; first += GROUP)
        write_group(store, first, MIN(n_flows - first, GROUP), argc > 3 ? argv[3] : NULL, clock_wall_ms(clock));
    store_close(store);
    return 0;
}
