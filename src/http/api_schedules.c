/* api_schedules.c - what a schedule is going to do: POST /schedules/preview, GET /flows/{id}/schedule. */
#include "http/api_internal.h"

#include "domain/schedule_preview.h"

static void showed(ApiRequest *request, ServiceCall *call)
{
    if (call->result == RESULT_OK)
        api_reply_data(request, 200, NULL, 0, call->data->str, call->data->len, NULL);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
}

void schedules_preview(ApiRequest *request)
{
    g_autoptr(JsonValue) body = NULL;
    if (!api_read_body(request, true, &body))
        return;
    FlowOrigin origin = {.now_ms = clock_wall_ms(request->api->clock), .zone_names = request->api->zone_names};
    g_autoptr(Faults) faults = faults_new();
    int64_t from;
    size_t count;
    Flow *flow = schedule_preview_read(body, &origin, &from, &count, faults);
    if (!flow) {
        api_reply_faults(request, faults);
        return;
    }
    ServiceCall *call = api_call_new(request, CALL_PREVIEW_SCHEDULE);
    call->flow = flow;
    call->query.from = from;
    call->limit = count;
    api_submit(request, call, showed);
}

void flows_get_schedule(ApiRequest *request)
{
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    int64_t count = SCHEDULE_PREVIEW_DEFAULT, from = INSTANT_NONE;
    if (query_init(&query, http_request_query(request->http), faults)) {
        query_int(&query, "count", 1, SCHEDULE_PREVIEW_MAX, &count, faults);
        if (query_instant(&query, "from", &from, faults) && (from < SCHEDULE_FIRST_MS || from > SCHEDULE_LAST_MS))
            faults_add_text(faults, "from", query_text(&query, "from", faults), "must lie in the years 1970 to 2099");
    }
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    ServiceCall *call = api_call_new(request, CALL_GET_SCHEDULE);
    call->flow_id = request->id;
    call->query.from = from;
    call->limit = (size_t)count;
    api_submit(request, call, showed);
}
