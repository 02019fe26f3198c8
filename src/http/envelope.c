/* envelope.c - splices payloads that are already JSON; nothing is parsed or printed twice. */
#include "http/envelope.h"

#include <string.h>

#include "base/clock.h"

static void put_metadata(JsonWriter *writer, bool is_success, int64_t now_ms, const char *request_id)
{
    json_begin_object(writer, "metadata");
    json_put_instant(writer, "timestamp", now_ms);
    json_put_bool(writer, "success", is_success);
    json_put_string(writer, "requestId", request_id);
}

static void put_paging(JsonWriter *writer, const EnvelopePaging *paging)
{
    if (paging->has_page)
        json_put_int(writer, "totalCount", paging->total);
    json_put_int(writer, "pageSize", paging->page_size);
    if (paging->has_page)
        json_put_int(writer, "currentPage", paging->page);
    if (paging->next_cursor) {
        json_begin_object(writer, "additional");
        json_put_string(writer, "nextCursor", paging->next_cursor);
        json_end_object(writer);
    }
}

void envelope_write(GString *out, const char *payload, size_t payload_size, int64_t now_ms, const char *request_id,
                    const EnvelopePaging *paging)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_put_raw(&writer, "data", payload, payload_size);
    put_metadata(&writer, true, now_ms, request_id);
    if (paging)
        put_paging(&writer, paging);
    json_end_object(&writer);
    json_end_object(&writer);
}

static void put_error(JsonWriter *writer, const char *code, const char *message, const char *field,
                      const char *rejected)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "code", code);
    json_put_string(writer, "message", message);
    if (field)
        json_put_string(writer, "field", field);
    if (rejected)
        json_put_raw(writer, "rejectedValue", rejected, strlen(rejected));
    json_end_object(writer);
}

static void end_errors(JsonWriter *writer, const char *outcome, int64_t now_ms, const char *request_id)
{
    json_end_array(writer);
    put_metadata(writer, false, now_ms, request_id);
    if (outcome) {
        json_begin_object(writer, "additional");
        json_put_string(writer, "outcome", outcome);
        json_end_object(writer);
    }
    json_end_object(writer);
    json_end_object(writer);
}

void envelope_write_error(GString *out, const EnvelopeError *error, int64_t now_ms, const char *request_id)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "errors");
    put_error(&writer, error->code, error->message, error->field, error->rejected);
    end_errors(&writer, error->outcome, now_ms, request_id);
}

void envelope_write_faults(GString *out, const Faults *faults, int64_t now_ms, const char *request_id)
{
    JsonWriter writer = json_writer(out);
    json_begin_object(&writer, NULL);
    json_begin_array(&writer, "errors");
    for (size_t i = 0; i < faults_count(faults); i++) {
        const Fault *fault = faults_at(faults, i);
        put_error(&writer, fault->code, fault->message, fault->field, fault->rejected);
    }
    end_errors(&writer, NULL, now_ms, request_id);
}

const char *envelope_code_of_status(int status)
{
    static const struct {
        int status;
        const char *code;
    } codes[] = {
        {400, "INVALID_REQUEST"},       {401, "UNAUTHENTICATED"}, {404, "NOT_FOUND"},
        {405, "METHOD_NOT_ALLOWED"},    {408, "REQUEST_TIMEOUT"}, {409, "CONFLICT"},
        {412, "PRECONDITION_FAILED"},   {413, "TOO_LARGE"},       {415, "UNSUPPORTED_MEDIA_TYPE"},
        {417, "EXPECTATION_FAILED"},    {429, "RATE_LIMITED"},    {431, "HEADERS_TOO_LARGE"},
        {500, "INTERNAL_ERROR"},        {501, "NOT_IMPLEMENTED"}, {503, "UNAVAILABLE"},
        {505, "VERSION_NOT_SUPPORTED"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
        if (codes[i].status == status)
            return codes[i].code;
    return status < 500 ? "INVALID_REQUEST" : "INTERNAL_ERROR";
}
