/* api_decisions.c - GET /flows/{id}/schedule/decisions: what became of each slot, newest first. */
#include "http/api_internal.h"

#include <string.h>

#include "http/paging.h"

static void read_decisions(ApiRequest *request, ServiceCall *call)
{
    if (call->result != RESULT_OK) {
        api_reply_failure(request, call->result, call->faults, call->message);
        return;
    }
    const DecisionPage *page = call->decisions;
    g_autoptr(GString) payload = g_string_sized_new(4096);
    JsonWriter writer = json_writer(payload);
    json_begin_array(&writer, NULL);
    for (size_t i = 0; i < page->n_entries; i++)
        json_put_raw(&writer, NULL, page->entries[i].text, page->entries[i].size);
    json_end_array(&writer);

    g_autofree char *next = NULL;
    const unsigned char *secret = api_cursor_secret(request); /* known: the store has answered */
    ListPosition position = {.created_at = call->next_before, .id = call->flow_id};
    if (page->has_more && secret)
        next = cursor_encode(secret, CURSOR_DECISIONS, &call->caller, &position);
    EnvelopePaging paging = {.page_size = (int64_t)call->limit, .next_cursor = next};
    api_reply_data(request, 200, NULL, 0, payload->str, payload->len, &paging);
}

static void parse(const Query *query, const unsigned char *secret, ServiceCall *call, Faults *faults)
{
    int64_t page_size = PAGE_SIZE_DEFAULT;
    ListPosition position;
    query_int(query, "pageSize", 1, PAGE_SIZE_MAX, &page_size, faults);
    const char *cursor = query_text(query, "cursor", faults);
    call->limit = (size_t)page_size;
    call->before = INT64_MAX;
    if (!cursor)
        return;
    if (cursor_decode(secret, CURSOR_DECISIONS, &call->caller, cursor, &position) &&
        strcmp(position.id.text, call->flow_id.text) == 0)
        call->before = position.created_at;
    else
        faults_add_text(faults, "cursor", cursor, "is no cursor that this list gave out");
}

void decisions_list(ApiRequest *request)
{
    const unsigned char *secret = api_cursor_secret(request);
    if (!secret) {
        api_reply_failure(request, RESULT_UNAVAILABLE, NULL, "the store does not answer");
        return;
    }
    g_autoptr(Faults) faults = faults_new();
    g_auto(Query) query = {0};
    ServiceCall *call = api_call_new(request, CALL_READ_DECISIONS);
    call->flow_id = request->id;
    if (query_init(&query, http_request_query(request->http), faults))
        parse(&query, secret, call, faults);
    if (faults_count(faults) > 0) {
        api_reply_faults(request, faults);
        service_call_free(call);
        return;
    }
    api_submit(request, call, read_decisions);
}
