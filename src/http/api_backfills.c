/* api_backfills.c - POST /flows/{id}/backfill; listing, reading and steering backfills. */
#include "http/api_internal.h"

#include <stdio.h>

#include "http/start_request.h"

/* ---- POST /flows/{id}/backfill ---- */

static void created(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    if (call->backfill.request.is_dry_run) {
        api_reply_data(request, 200, NULL, 0, call->data->str, call->data->len, NULL);
        return;
    }
    char location[sizeof(API_BASE_PATH) + 2 * ID_TEXT_SIZE + 24];
    snprintf(location, sizeof(location), "%s/flows/%s/backfills/%s", API_BASE_PATH, call->flow_id.text,
             call->backfill.id.text);
    HttpHeader header = {"Location", location};
    api_reply_data(request, 202, &header, 1, call->data->str, call->data->len, NULL);
}

void backfills_create(ApiRequest *request)
{
    g_autoptr(JsonValue) body = NULL;
    if (!api_read_body(request, true, &body))
        return;
    g_autofree char *key = http_request_header(request->http, "Idempotency-Key")
                               ? http_request_header_joined(request->http, "Idempotency-Key")
                               : NULL;
    g_autoptr(Faults) faults = faults_new();
    ServiceCall *call = api_call_new(request, CALL_CREATE_BACKFILL);
    call->flow_id = request->id;
    idempotency_key_parse(key, body, call, faults);
    bool is_read = backfill_request_read(body, clock_wall_ms(request->api->clock), &call->backfill.request, faults);
    if (!is_read || faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        service_call_free(call);
        return;
    }
    api_submit(request, call, created);
}

/* ---- GET /flows/{id}/backfills, GET /flows/{id}/backfills/{backfillId} ---- */

void backfills_list(ApiRequest *request)
{
    api_list(request, CALL_LIST_BACKFILLS, &request->id);
}

static void answered(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK && call->result != RESULT_NOTHING_TO_DO) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    int status = call->kind == CALL_COMMAND_BACKFILL && call->result == RESULT_OK ? 202 : 200;
    api_reply_data(request, status, NULL, 0, call->data->str, call->data->len, NULL);
}

static ServiceCall *call_of_backfill(const ApiRequest *request, CallKind kind)
{
    ServiceCall *call = api_call_new(request, kind);
    call->flow_id = request->id;
    call->backfill.id = request->second_id;
    return call;
}

void backfills_get(ApiRequest *request)
{
    api_submit(request, call_of_backfill(request, CALL_GET_BACKFILL), answered);
}

/* ---- POST /flows/{id}/backfills/{backfillId}/pause, resume, cancel ---- */

static void steer(ApiRequest *request, BackfillCommand command)
{
    g_autoptr(JsonValue) body = NULL; /* none is asked for; one that is there must be JSON, its members are ignored */
    if (!api_read_body(request, false, &body))
        return;
    ServiceCall *call = call_of_backfill(request, CALL_COMMAND_BACKFILL);
    call->backfill.command = command;
    api_submit(request, call, answered);
}

void backfills_pause(ApiRequest *request)
{
    steer(request, BACKFILL_PAUSE);
}

void backfills_resume(ApiRequest *request)
{
    steer(request, BACKFILL_RESUME);
}

void backfills_cancel(ApiRequest *request)
{
    steer(request, BACKFILL_CANCEL);
}
