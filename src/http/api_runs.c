/* api_runs.c - starting, steering and reading runs. */
#include "http/api_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "http/etag.h"
#include "http/paging.h"
#include "http/start_request.h"

#define EVENTS_LIMIT_DEFAULT 100
#define EVENTS_LIMIT_MAX 1000 /* store_read_journal()'s own */

/* ---- POST /flows/{id}/start ---- */

static void started(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    char location[sizeof(API_BASE_PATH) + ID_TEXT_SIZE + 16], payload[ID_TEXT_SIZE + 2];
    snprintf(location, sizeof(location), "%s/runs/%s/status", API_BASE_PATH, call->run_id.text);
    int payload_size = snprintf(payload, sizeof(payload), "\"%s\"", call->run_id.text);
    HttpHeader header = {"Location", location};
    api_reply_data(request, 202, &header, 1, payload, (size_t)payload_size, NULL);
}

void runs_start(ApiRequest *request)
{
    g_autoptr(JsonValue) body = NULL;
    if (!api_read_body(request, false, &body))
        return;
    g_autofree char *key = http_request_header(request->http, "Idempotency-Key")
                               ? http_request_header_joined(request->http, "Idempotency-Key")
                               : NULL;
    g_autoptr(Faults) faults = faults_new();
    ServiceCall *call = api_call_new(request, CALL_START_RUN);
    call->flow_id = request->id;
    if (!start_request_parse(body, key, call, faults)) {
        api_reply_faults(request, faults);
        service_call_free(call);
        return;
    }
    api_submit(request, call, started);
}

/* ---- POST /runs/{id}/pause, resume, stop ---- */

static void commanded(ApiRequest *request, ServiceCall *call)
{
    if ((call->result != RESULT_OK && call->result != RESULT_NOTHING_TO_DO) || !call->view) {
        api_reply_failure(request, call->view || call->result != RESULT_OK ? call->result : RESULT_INTERNAL,
                          call->faults, call->message);
        return;
    }
    char etag_text[ETAG_TEXT_SIZE];
    etag_format(call->view->seq, etag_text);
    HttpHeader etag = {"ETag", etag_text};
    api_reply_data(request, call->result == RESULT_OK ? 202 : 200, &etag, 1, call->view->detail,
                   call->view->detail_size, NULL);
}

static void command_run(ApiRequest *request, CommandKind command)
{
    g_autoptr(JsonValue) body = NULL; /* none is asked for; one that is there must be JSON, its members are ignored */
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    bool is_forced = false;
    if (!api_read_body(request, false, &body))
        return;
    if (query_init(&query, http_request_query(request->http), faults) && command == COMMAND_STOP)
        query_bool(&query, "force", &is_forced, faults);
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    Precondition precondition;
    if (!api_read_if_match(request, &precondition))
        return;
    ServiceCall *call = api_call_new(request, CALL_COMMAND_RUN);
    call->run_id = request->id;
    call->command = command;
    call->is_forced = is_forced;
    call->precondition = precondition;
    api_submit(request, call, commanded);
}

void runs_pause(ApiRequest *request)
{
    command_run(request, COMMAND_PAUSE);
}

void runs_resume(ApiRequest *request)
{
    command_run(request, COMMAND_RESUME);
}

void runs_stop(ApiRequest *request)
{
    command_run(request, COMMAND_STOP);
}

/* ---- GET /runs/{id}/status ---- */

static void got_status(ApiRequest *request, ServiceCall *call)
{
    if (call->result == RESULT_OK)
        api_reply_entity(request, call->view->seq, call->view->detail, call->view->detail_size);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
}

void runs_get_status(ApiRequest *request)
{
    RunView *view = service_find_run(request->api->service, request->id.text);
    if (view && strcmp(view->owner.text, request->caller.text) == 0) {
        api_reply_entity(request, view->seq, view->detail, view->detail_size);
        run_view_unref(view);
        return;
    }
    run_view_unref(view); /* somebody else's: the service says what it says of a run that does not exist */
    ServiceCall *call = api_call_new(request, CALL_GET_RUN);
    call->run_id = request->id;
    api_submit(request, call, got_status);
}

/* ---- DELETE /runs/{id} ---- */

static void deleted(ApiRequest *request, ServiceCall *call)
{
    if (call->result == RESULT_OK)
        api_reply_empty(request, 204, NULL, 0);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
}

void runs_delete(ApiRequest *request)
{
    Precondition precondition;
    if (!api_read_if_match(request, &precondition))
        return;
    ServiceCall *call = api_call_new(request, CALL_DELETE_RUN);
    call->run_id = request->id;
    call->precondition = precondition;
    api_submit(request, call, deleted);
}

/* ---- GET /runs, GET /flows/{id}/runs ---- */

void runs_list(ApiRequest *request)
{
    api_list(request, CALL_LIST_RUNS, NULL);
}

void runs_list_of_flow(ApiRequest *request)
{
    api_list(request, CALL_LIST_RUNS, &request->id);
}

/* ---- GET /runs/{id}/events ---- */

static void read_events(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    const JournalPage *page = call->journal;
    g_autoptr(GString) payload = g_string_sized_new(4096);
    JsonWriter writer = json_writer(payload);
    json_begin_array(&writer, NULL);
    for (size_t i = 0; i < page->n_entries; i++)
        json_put_raw(&writer, NULL, page->entries[i].text, page->entries[i].size);
    json_end_array(&writer);

    char next[24]; /* what `after` has to be for the next page */
    EnvelopePaging paging = {.page_size = (int64_t)call->limit};
    if (page->has_more && page->n_entries > 0) {
        snprintf(next, sizeof(next), "%" PRId64, page->entries[page->n_entries - 1].seq);
        paging.next_cursor = next;
    }
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, &paging);
}

void runs_read_events(ApiRequest *request)
{
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    int64_t after = 0, limit = EVENTS_LIMIT_DEFAULT;
    if (query_init(&query, http_request_query(request->http), faults)) {
        query_int(&query, "after", 0, INT64_MAX, &after, faults);
        query_int(&query, "limit", 1, EVENTS_LIMIT_MAX, &limit, faults);
    }
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    ServiceCall *call = api_call_new(request, CALL_READ_EVENTS);
    call->run_id = request->id;
    call->after = after;
    call->limit = (size_t)limit;
    api_submit(request, call, read_events);
}
