/* api_health.c - for those who watch: alive, ready, figures. Needs no caller and shows no user's data. */
#include "http/api_internal.h"

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
static char *store_reason(const ServiceHealth *health)
{
    if (!health->is_store_up)
        return g_strdup("the store does not answer");
    if (health->is_store_impaired)
        return g_strdup("the store lacks indexes, lists may be slow; the log says why");
    return NULL;
}

static char *bus_reason(const ServiceHealth *health)
{
    if (health->is_bus_up)
        return NULL;
    return g_strconcat("the bus is down; commands are accepted and wait for it",
                       *health->bus_reason != '\0' ? ": " : "", health->bus_reason, NULL);
}

static void put_component(JsonWriter *writer, const char *name, bool is_up, const char *reason)
{
    json_begin_object(writer, name);
    json_put_string(writer, "status", !is_up ? "down" : reason != NULL ? "degraded" : "up");
    json_put_string(writer, "reason", reason);
    json_end_object(writer);
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
    g_autofree char *of_store = store_reason(&health);
    g_autofree char *of_bus = bus_reason(&health);
    g_autofree char *both = of_store != NULL && of_bus != NULL ? g_strjoin("; ", of_store, of_bus, NULL) : NULL;
    const char *reason = both != NULL ? both : of_store != NULL ? of_store : of_bus;
    if (!health.is_store_up) {
        api_reply_failure(request, RESULT_BUSY, NULL, reason);
        return;
    }
    g_autoptr(GString) payload = g_string_sized_new(256);
    JsonWriter writer = json_writer(payload);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "status", reason == NULL ? "ready" : "degraded");
    json_put_string(&writer, "reason", reason);
    json_begin_object(&writer, "components");
    put_component(&writer, "store", health.is_store_up, of_store);
    put_component(&writer, "bus", health.is_bus_up, of_bus);
    json_end_object(&writer);
    json_end_object(&writer);
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, NULL);
}
