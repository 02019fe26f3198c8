/* api_flows.c - POST, GET, PUT and DELETE of flows. A flow is validated here, on the loop, before it costs the writer
 * anything; an update is validated where the current version is known. */
#include "http/api_internal.h"

#include "domain/flow_request.h"
#include "http/etag.h"
#include "http/paging.h"

static Id make_id(void *now_ms)
{
    return id_make(*(const int64_t *)now_ms);
}

/* ---- POST /flows ---- */

static void created(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    char etag[ETAG_TEXT_SIZE];
    etag_format(call->tag, etag);
    g_autofree char *location = g_strconcat(API_BASE_PATH "/flows/", call->flow_id.text, NULL);
    HttpHeader headers[] = {{"Location", location}, {"ETag", etag}};
    api_reply_data(request, 201, headers, G_N_ELEMENTS(headers), call->data->str, call->data->len, NULL);
}

void flows_create(ApiRequest *request)
{
    g_autoptr(JsonValue) body = NULL;
    if (!api_read_body(request, true, &body))
        return;
    int64_t now_ms = clock_wall_ms(request->api->clock);
    FlowOrigin origin = {.flow_id = id_make(now_ms),
                         .owner = request->caller,
                         .actor = request->caller,
                         .now_ms = now_ms,
                         .make_id = make_id,
                         .make_id_arg = &now_ms,
                         .zone_names = request->api->zone_names};
    g_autoptr(Faults) faults = faults_new();
    Flow *flow = flow_create(body, &origin, faults);
    if (!flow) {
        api_reply_faults(request, faults);
        return;
    }
    ServiceCall *call = api_call_new(request, CALL_CREATE_FLOW);
    call->flow_id = origin.flow_id;
    call->flow = flow;
    api_submit(request, call, created);
}

/* ---- GET /flows ---- */

const unsigned char *api_cursor_secret(const ApiRequest *request)
{
    return request->api->cursor_secret(request->api->cursor_secret_arg);
}

static CursorList cursor_list_of(CallKind kind)
{
    return kind == CALL_LIST_FLOWS ? CURSOR_FLOWS : kind == CALL_LIST_RUNS ? CURSOR_RUNS : CURSOR_BACKFILLS;
}

static void listed(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    const ListPage *list = call->list;
    g_autoptr(GString) payload = g_string_sized_new(4096);
    JsonWriter writer = json_writer(payload);
    json_begin_array(&writer, NULL);
    for (size_t i = 0; i < list->n_items; i++)
        json_put_raw(&writer, NULL, list->items[i].json, list->items[i].size);
    json_end_array(&writer);

    CursorList kind = cursor_list_of(call->kind);
    g_autofree char *next = NULL;
    const unsigned char *secret = api_cursor_secret(request); /* known: the store has answered */
    if (list->has_more && list->n_items > 0 && secret)
        next = cursor_encode(secret, kind, &call->caller, &list->items[list->n_items - 1].position);
    int64_t page_size = (int64_t)call->query.limit;
    EnvelopePaging paging = {.has_page = !call->query.after,
                             .page = call->query.skip / page_size,
                             .total = list->total,
                             .page_size = page_size,
                             .next_cursor = next};
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, &paging);
}

void api_list(ApiRequest *request, CallKind kind, const Id *flow_id)
{
    const unsigned char *secret = api_cursor_secret(request);
    if (!secret) {
        api_reply_failure(request, RESULT_UNAVAILABLE, NULL, "the store does not answer");
        return;
    }
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    ServiceCall *call = api_call_new(request, kind);
    if (query_init(&query, http_request_query(request->http), faults))
        paging_parse(&query, cursor_list_of(kind), flow_id, secret, call, faults);
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        service_call_free(call);
        return;
    }
    api_submit(request, call, listed);
}

void flows_list(ApiRequest *request)
{
    api_list(request, CALL_LIST_FLOWS, NULL);
}

/* ---- GET, PUT, DELETE /flows/{id} ---- */

static void got(ApiRequest *request, ServiceCall *call)
{
    if (call->result == RESULT_OK)
        api_reply_entity(request, call->tag, call->data->str, call->data->len);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
}

void flows_get(ApiRequest *request)
{
    ServiceCall *call = api_call_new(request, CALL_GET_FLOW);
    call->flow_id = request->id;
    api_submit(request, call, got);
}

static void updated(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    char etag_text[ETAG_TEXT_SIZE];
    etag_format(call->tag, etag_text);
    HttpHeader etag = {"ETag", etag_text};
    api_reply_data(request, 200, &etag, 1, call->data->str, call->data->len, NULL);
}

void flows_update(ApiRequest *request)
{
    g_autoptr(JsonValue) body = NULL;
    Precondition precondition;
    if (!api_read_body(request, true, &body) || !api_read_if_match(request, &precondition))
        return;
    ServiceCall *call = api_call_new(request, CALL_UPDATE_FLOW);
    call->flow_id = request->id;
    call->precondition = precondition;
    if (json_type(body) != JSON_OBJECT) {
        g_autoptr(Faults) faults = faults_new();
        faults_add(faults, NULL, body, "the body must be an object, not %s", json_type_name(json_type(body)));
        api_reply_faults(request, faults);
        service_call_free(call);
        return;
    }
    call->body = g_steal_pointer(&body);
    api_submit(request, call, updated);
}

static void deleted(ApiRequest *request, ServiceCall *call)
{
    if (call->result == RESULT_OK)
        api_reply_empty(request, 204, NULL, 0);
    else
        api_reply_failure(request, call->result, call->faults, call->message);
}

void flows_delete(ApiRequest *request)
{
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    bool is_forced = false;
    if (query_init(&query, http_request_query(request->http), faults))
        query_bool(&query, "force", &is_forced, faults);
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        return;
    }
    Precondition precondition;
    if (!api_read_if_match(request, &precondition))
        return;
    ServiceCall *call = api_call_new(request, CALL_DELETE_FLOW);
    call->flow_id = request->id;
    call->is_forced = is_forced;
    call->precondition = precondition;
    api_submit(request, call, deleted);
}
