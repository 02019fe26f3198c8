/* paging.c - reads `?page=&pageSize=` or `?cursor=&pageSize=` and the filters of run lists. */
#include "http/paging.h"

#include <string.h>

static void parse_place(const Query *query, CursorList list, const unsigned char *secret, ServiceCall *call,
                        Faults *faults)
{
    int64_t page = 0, page_size = PAGE_SIZE_DEFAULT;
    bool has_page = query_int(query, "page", 0, PAGE_MAX, &page, faults);
    query_int(query, "pageSize", 1, PAGE_SIZE_MAX, &page_size, faults);
    const char *cursor = query_text(query, "cursor", faults);
    call->query.limit = (size_t)page_size;
    if (!cursor) {
        call->query.skip = page * page_size;
        call->query.wants_total = true;
        return;
    }
    if (has_page) {
        faults_add(faults, "page", NULL, "page and cursor exclude each other");
    } else if (!cursor_decode(secret, list, &call->caller, cursor, &call->query_text.after)) {
        faults_add_text(faults, "cursor", cursor, "is no cursor that this list gave out");
    } else {
        call->query.after = &call->query_text.after;
    }
}

static void parse_flow_id(const Query *query, const Id *path_flow_id, ServiceCall *call, Faults *faults)
{
    Id *flow_id = &call->query_text.flow_id;
    bool is_given = query_id(query, "flowId", flow_id, faults);
    if (path_flow_id) {
        if (is_given && strcmp(flow_id->text, path_flow_id->text) != 0)
            faults_add_text(faults, "flowId", flow_id->text, "must be the flow of the path");
        *flow_id = *path_flow_id;
    }
    if (is_given || path_flow_id)
        call->query.flow_id = flow_id->text;
}

/* `label=name` or `label=name=value`. */
static void parse_label(const Query *query, ServiceCall *call, Faults *faults)
{
    const char *text = query_text(query, "label", faults);
    if (!text)
        return;
    const char *equals = strchr(text, '=');
    if (!*text || equals == text) {
        faults_add_text(faults, "label", text, "must be name or name=value");
        return;
    }
    call->query_text.label_name = equals ? g_strndup(text, (gsize)(equals - text)) : g_strdup(text);
    call->query_text.label_value = equals ? g_strdup(equals + 1) : NULL;
    call->query.label_name = call->query_text.label_name;
    call->query.label_value = call->query_text.label_value;
}

static void parse_filters(const Query *query, const Id *path_flow_id, ServiceCall *call, Faults *faults)
{
    parse_flow_id(query, path_flow_id, call, faults);
    if (query_id(query, "stepId", &call->query_text.step_id, faults))
        call->query.step_id = call->query_text.step_id.text;

    const char *status = query_text(query, "status", faults);
    if (status && run_status_parse(status, &call->query_text.status))
        call->query.status = &call->query_text.status;
    else if (status)
        faults_add_text(faults, "status", status,
                        "must be one of SCHEDULED PENDING RUNNING PAUSED COMPLETED FAILED STOPPED");

    const char *triggered_by = query_text(query, "triggeredBy", faults);
    if (triggered_by && !*triggered_by)
        faults_add_text(faults, "triggeredBy", triggered_by, "must not be empty");
    call->query_text.triggered_by = g_strdup(triggered_by);
    call->query.triggered_by = call->query_text.triggered_by;

    parse_label(query, call, faults);
    bool has_from = query_instant(query, "from", &call->query.from, faults);
    bool has_to = query_instant(query, "to", &call->query.to, faults);
    if (has_from && has_to && call->query.to < call->query.from)
        faults_add(faults, "to", NULL, "must not be before from");
}

void paging_parse(const Query *query, CursorList list, const Id *flow_id,
                  const unsigned char secret[CURSOR_SECRET_SIZE], ServiceCall *call, Faults *faults)
{
    call->query.owner = call->caller.text;
    call->query.from = call->query.to = INSTANT_NONE;
    parse_place(query, list, secret, call, faults);
    if (list == CURSOR_BACKFILLS)
        parse_flow_id(query, flow_id, call, faults);
    if (list == CURSOR_RUNS)
        parse_filters(query, flow_id, call, faults);
}
