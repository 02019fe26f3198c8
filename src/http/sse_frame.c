/* sse_frame.c - frames are one `data:` line each: journal texts and details hold no line break. */
#include "http/sse_frame.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "http/envelope.h"

void sse_frame_append(GString *out, const char *run_id, const JournalEntry *entry, int64_t timestamp)
{
    g_string_append_printf(out, "id: %" PRId64 "\n", entry->seq);
    const char *name = event_text_frame_name(entry->text, entry->size);
    if (name)
        g_string_append_printf(out, "event: %s\n", name);
    char request_id[ID_TEXT_SIZE + 24];
    snprintf(request_id, sizeof(request_id), "%s:%" PRId64, run_id, entry->seq);
    g_string_append(out, "data: ");
    envelope_write(out, entry->text, entry->size, timestamp, request_id, NULL);
    g_string_append(out, "\n\n");
}

void sse_snapshot_append(GString *out, const RunView *view, int64_t now_ms, const char *request_id)
{
    g_string_append_printf(out, "id: %" PRId64 "\nevent: snapshot\ndata: ", view->seq);
    envelope_write(out, view->detail, view->detail_size, now_ms, request_id, NULL);
    g_string_append(out, "\n\n");
}

/* False: a fault was added. */
static bool parse_seq(const char *field, const char *text, int64_t *ret, Faults *faults)
{
    size_t size = strlen(text);
    if (size == 0 || strspn(text, "0123456789") != size) {
        faults_add_text(faults, field, text, "must be an event's id, a whole number");
        return false;
    }
    *ret = g_ascii_strtoll(text, NULL, 10); /* what int64 cannot hold is its largest: beyond any journal's end */
    return true;
}

SsePlace sse_place_parse(const char *last_event_id, const Query *query, Faults *faults)
{
    SsePlace place = {0};
    const char *query_id = query_text(query, "lastEventId", faults);
    const char *from = query_text(query, "from", faults);
    if (last_event_id && *last_event_id)
        place.is_resume = parse_seq("Last-Event-ID", last_event_id, &place.after, faults);
    else if (query_id && *query_id)
        place.is_resume = parse_seq("lastEventId", query_id, &place.after, faults);
    else if (from)
        place.is_resume = parse_seq("from", from, &place.after, faults);
    return place;
}

bool sse_is_complete(const RunView *view, int64_t after, int64_t now_monotonic_ms)
{
    if (!run_status_is_terminal(view->status) || after < view->seq)
        return false;
    return view->phase == PHASE_SETTLED || view->ended_monotonic_ms == 0 ||
           now_monotonic_ms - view->ended_monotonic_ms >= SSE_LATE_EVENTS_MS;
}
