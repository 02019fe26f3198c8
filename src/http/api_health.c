/* api_health.c - for those who watch: alive, ready, figures. Needs no caller and shows no user's data. */
#include "http/api_internal.h"

#include <inttypes.h>

/* ---- GET /healthz: the process answers ---- */

void health_live(ApiRequest *request)
{
    g_autoptr(GString) payload = g_string_sized_new(128);
    JsonWriter writer = json_writer(payload);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "status", "up");
    json_put_string(&writer, "version", request->api->version);
    json_put_instant(&writer, "startedAt", request->api->started_at);
    json_end_object(&writer);
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, NULL);
}

/* ---- GET /readyz: requests would be served ---- */

/* NULL: nothing is amiss. A driver's words about the store are for the log alone. */
static char *degradation(const ServiceHealth *health)
{
    if (!health->is_bus_up)
        return g_strconcat("the bus is down; commands are accepted and wait for it",
                           *health->bus_reason != '\0' ? ": " : "", health->bus_reason, NULL);
    if (health->is_store_impaired)
        return g_strdup("the store lacks indexes, lists may be slow; the log says why");
    return NULL;
}

void health_ready(ApiRequest *request)
{
    ServiceHealth health = {0};
    if (!request->loop->is_detached)
        health = service_health(request->api->service);
    if (!health.is_accepting) {
        api_reply_failure(request, RESULT_BUSY, NULL, "the service is shutting down");
        return;
    }
    if (!health.is_store_up) {
        api_reply_failure(request, RESULT_BUSY, NULL, "the store does not answer");
        return;
    }
    g_autoptr(GString) payload = g_string_sized_new(128);
    JsonWriter writer = json_writer(payload);
    json_begin_object(&writer, NULL);
    g_autofree char *reason = degradation(&health);
    json_put_string(&writer, "status", reason == NULL ? "ready" : "degraded");
    json_put_string(&writer, "reason", reason);
    json_end_object(&writer);
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, NULL);
}
