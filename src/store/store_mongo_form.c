/* store_mongo_form.c - the documents' forms: the contract's names, real dates, text UUIDs, and no key that comes from
 * outside (labels are an array of pairs), so that dots and dollars survive everywhere. */
#include "store/store_mongo_internal.h"

#include <stdio.h>
#include <string.h>

void record_id(char ret_id[RECORD_ID_SIZE], const char *id, int64_t number)
{
    g_assert(number >= 0 && number <= RECORD_NUMBER_MAX);
    (void)g_snprintf(ret_id, RECORD_ID_SIZE, "%s:%012" G_GINT64_FORMAT, id, number);
}

/* ---- members ---- */

/* Appending fails only when a document outgrows BSON's 2 GiB; what goes in here was bounded long before. */
static void assert_appended(bool is_appended)
{
    g_assert(is_appended);
}

void append_text_n(bson_t *document, const char *key, const char *text, size_t size)
{
    assert_appended(bson_append_utf8(document, key, -1, text, (int)size));
}

void append_text(bson_t *document, const char *key, const char *text)
{
    if (text == NULL) {
        assert_appended(bson_append_null(document, key, -1));
    } else {
        append_text_n(document, key, text, strlen(text));
    }
}

void append_instant(bson_t *document, const char *key, int64_t ms)
{
    assert_appended(ms == INSTANT_NONE ? bson_append_null(document, key, -1)
                                       : bson_append_date_time(document, key, -1, ms));
}

static void append_int(bson_t *document, const char *key, int64_t number)
{
    assert_appended(bson_append_int64(document, key, -1, number));
}

/* The key of an array's next element. */
typedef struct {
    uint32_t index;
    char buffer[16];
} ArrayKey;

static const char *next_key(ArrayKey *key)
{
    const char *text;
    (void)bson_uint32_to_string(key->index++, &text, key->buffer, sizeof key->buffer);
    return text;
}

static void append_labels(bson_t *document, const TextMap *labels)
{
    bson_t array, pair;
    ArrayKey key = {0};
    bson_append_array_begin(document, "labels", -1, &array);
    for (size_t i = 0; labels != NULL && i < labels->n_pairs; i++) {
        bson_append_document_begin(&array, next_key(&key), -1, &pair);
        append_text(&pair, "name", labels->pairs[i].name);
        append_text(&pair, "value", labels->pairs[i].value);
        bson_append_document_end(&array, &pair);
    }
    bson_append_array_end(document, &array);
}

void append_fields(bson_t *opts, const char *const *names, size_t n)
{
    bson_t fields;
    bson_append_document_begin(opts, "projection", -1, &fields);
    for (size_t i = 0; i < n; i++) {
        assert_appended(bson_append_bool(&fields, names[i], -1, true));
    }
    bson_append_document_end(opts, &fields);
}

void append_sort(bson_t *opts, const char *key, int direction)
{
    bson_t sort;
    bson_append_document_begin(opts, "sort", -1, &sort);
    assert_appended(bson_append_int32(&sort, key, -1, direction));
    bson_append_document_end(opts, &sort);
}

static bool find_member(const bson_t *document, const char *key, bson_iter_t *ret_iter)
{
    return bson_iter_init_find(ret_iter, document, key);
}

const char *member_text(const bson_t *document, const char *key, size_t *ret_size)
{
    bson_iter_t iter;
    uint32_t size = 0;
    if (!find_member(document, key, &iter) || !BSON_ITER_HOLDS_UTF8(&iter)) {
        return NULL;
    }
    const char *text = bson_iter_utf8(&iter, &size);
    if (ret_size != NULL) {
        *ret_size = size;
    }
    return text;
}

int64_t member_int(const bson_t *document, const char *key, int64_t otherwise)
{
    bson_iter_t iter;
    if (!find_member(document, key, &iter) || !BSON_ITER_HOLDS_INT(&iter)) {
        return otherwise;
    }
    return bson_iter_as_int64(&iter);
}

int64_t member_instant(const bson_t *document, const char *key)
{
    bson_iter_t iter;
    return find_member(document, key, &iter) && BSON_ITER_HOLDS_DATE_TIME(&iter) ? bson_iter_date_time(&iter)
                                                                                 : INSTANT_NONE;
}

bool member_bool(const bson_t *document, const char *key)
{
    bson_iter_t iter;
    return find_member(document, key, &iter) && BSON_ITER_HOLDS_BOOL(&iter) && bson_iter_bool(&iter);
}

void member_id(const bson_t *document, const char *key, Id *ret_id)
{
    const char *text = member_text(document, key, NULL);
    (void)g_strlcpy(ret_id->text, text != NULL ? text : "", sizeof ret_id->text);
}

static const char *const phase_names[] = {
    [PHASE_OPEN] = "OPEN", [PHASE_ENDING] = "ENDING", [PHASE_SETTLED] = "SETTLED"};

const char *phase_name(RunPhase phase)
{
    return phase_names[phase];
}

bool phase_parse(const char *text, RunPhase *ret_phase)
{
    for (size_t i = 0; i < G_N_ELEMENTS(phase_names); i++) {
        if (text != NULL && strcmp(text, phase_names[i]) == 0) {
            *ret_phase = (RunPhase)i;
            return true;
        }
    }
    return false;
}

/* ---- run_events ---- */

static void append_events(bson_t *document, const RunAppend *append)
{
    bson_t array;
    ArrayKey key = {0};
    const char *text = append->events, *end = text + append->events_size;
    bson_append_array_begin(document, "events", -1, &array);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text)); /* the last byte is one */
        append_text_n(&array, next_key(&key), text, (size_t)(newline - text));
        text = newline + 1;
    }
    bson_append_array_end(document, &array);
}

/* "unpublished" and "outboxId" are there only while the bus does not have all of the record's commands, so that a sparse
 * index on the latter holds just the outbox, in its order. */
static void append_outbox(bson_t *document, const char *id, const RunAppend *append)
{
    if (append->n_commands == 0) {
        return;
    }
    bson_t array;
    ArrayKey key = {0};
    bson_append_array_begin(document, "unpublished", -1, &array);
    for (size_t i = 0; i < append->n_commands; i++) {
        append_int(&array, next_key(&key), append->command_seqs[i]);
    }
    bson_append_array_end(document, &array);
    append_text(document, "outboxId", id);
}

static void append_token(bson_t *document, bson_oid_t *ret_token)
{
    bson_oid_init(ret_token, NULL);
    assert_appended(bson_append_oid(document, "appendId", -1, ret_token));
}

bson_t *form_run_events(const RunAppend *append, int64_t now_ms, bson_oid_t *ret_token)
{
    const RunRow *row = append->row;
    char id[RECORD_ID_SIZE];
    record_id(id, row->run_id.text, append->first_seq);
    bson_t *document = bson_sized_new(append->events_size + 512);
    append_text(document, "_id", id);
    append_text(document, "runId", row->run_id.text);
    append_int(document, "seq", append->first_seq);
    append_int(document, "lastSeq", row->seq);
    append_events(document, append);
    append_instant(document, "createdAt", now_ms);
    append_instant(document, "updatedAt", now_ms);
    append_text(document, "createdBy", row->updated_by);
    append_text(document, "updatedBy", row->updated_by);
    append_token(document, ret_token);
    append_outbox(document, id, append);
    return document;
}

/* ---- runs ---- */

static void append_pending(bson_t *document, const RunRow *row)
{
    if (row->pending == COMMAND_NONE) {
        append_text(document, "pendingCommand", NULL);
        return;
    }
    bson_t pending;
    bson_append_document_begin(document, "pendingCommand", -1, &pending);
    append_text(&pending, "command", command_name(row->pending));
    append_text(&pending, "commandId", row->run != NULL ? row->run->pending.command_id.text : NULL);
    append_instant(&pending, "requestedAt", row->pending_at);
    bson_append_document_end(document, &pending);
}

static void append_steps(bson_t *document, const Run *run)
{
    bson_t array, step;
    ArrayKey key = {0};
    bson_append_array_begin(document, "steps", -1, &array);
    for (size_t i = 0; run != NULL && i < run->n_steps; i++) {
        const StepState *state = &run->steps[i];
        bson_append_document_begin(&array, next_key(&key), -1, &step);
        append_text(&step, "stepId", state->step_id.text);
        append_text(&step, "status", step_status_name(state->status));
        append_int(&step, "attempt", state->attempt);
        append_instant(&step, "startedAt", state->started_at);
        append_instant(&step, "completedAt", state->completed_at);
        append_text(&step, "error", state->error);
        bson_append_document_end(&array, &step);
    }
    bson_append_array_end(document, &array);
}

/* Lists read the summary alone, GET reads both: the detail is the summary without its closing brace, and the rest. */
static void append_detail(bson_t *document, const RunRow *row)
{
    g_autofree char *summary = g_malloc(row->summary_size + 1);
    memcpy(summary, row->detail, row->summary_size);
    summary[row->summary_size] = '}';
    append_text_n(document, "summary", summary, row->summary_size + 1);
    append_text_n(document, "rest", row->detail + row->summary_size, row->detail_size - row->summary_size);
}

bson_t *form_run(const RunRow *row)
{
    const Run *run = row->run;
    bson_t *document = bson_sized_new(row->detail_size + 2048);
    append_text(document, "_id", row->run_id.text);
    append_text(document, "flowId", row->flow_id.text);
    append_text(document, "owner", row->owner.text);
    append_text(document, "triggeredBy", row->triggered_by);
    append_text(document, "status", run_status_name(row->status));
    append_text(document, "phase", phase_name(row->phase));
    append_int(document, "seq", row->seq);
    append_int(document, "flowVersion", row->flow_version);
    append_pending(document, row);
    append_text(document, "error", run != NULL ? run->error : NULL);
    append_instant(document, "startedAt", run != NULL ? run->started_at : INSTANT_NONE);
    append_instant(document, "completedAt", run != NULL ? run->completed_at : INSTANT_NONE);
    if (row->phase == PHASE_SETTLED) { /* absent otherwise: its sparse index holds what retention looks through */
        append_instant(document, "settledAt", row->updated_at);
    }
    append_instant(document, "createdAt", row->created_at);
    append_instant(document, "updatedAt", row->updated_at);
    /* The whole document is replaced each time, and what is in it must follow from the journal: who started the run is in
     * its first event, who wrote this row is not. */
    append_text(document, "createdBy", run != NULL ? run->triggered_by : row->created_by);
    append_text(document, "updatedBy", row->updated_by);
    append_labels(document, row->labels);
    append_steps(document, run);
    append_detail(document, row);
    return document;
}

/* ---- flows ---- */

static void append_flow_members(bson_t *document, const Flow *flow)
{
    append_text(document, "owner", flow->owner.text);
    append_text(document, "name", flow->name);
    append_text(document, "description", flow->description);
    append_text(document, "cron", flow->cron);
    append_text(document, "timezone", flow->timezone);
    append_int(document, "version", flow->version);
    assert_appended(bson_append_bool(document, "isDeleted", -1, flow->is_deleted));
    append_instant(document, "createdAt", flow->created_at);
    append_instant(document, "updatedAt", flow->updated_at);
    append_text(document, "createdBy", flow->created_by.text);
    append_text(document, "updatedBy", flow->updated_by.text);
    append_labels(document, &flow->labels);
}

static void append_definition(bson_t *document, const Flow *flow)
{
    g_autoptr(GString) definition = g_string_new(NULL);
    flow_encode(flow, definition);
    append_text_n(document, "definition", definition->str, definition->len);
}

/* In the versions, not in the head: what a flow once had would grow there without a bound. */
static void append_step_ids(bson_t *document, const Flow *flow)
{
    bson_t array;
    ArrayKey key = {0};
    bson_append_array_begin(document, "stepIds", -1, &array);
    for (size_t i = 0; i < flow->n_flat; i++) {
        append_text(&array, next_key(&key), flow->flat[i]->step_id.text);
    }
    bson_append_array_end(document, &array);
}

bson_t *form_flow_version(const Flow *flow, bson_oid_t *ret_token)
{
    char id[RECORD_ID_SIZE];
    record_id(id, flow->id.text, flow->version);
    bson_t *document = bson_new();
    append_text(document, "_id", id);
    append_text(document, "flowId", flow->id.text);
    append_flow_members(document, flow);
    append_step_ids(document, flow);
    append_definition(document, flow);
    append_token(document, ret_token);
    return document;
}

bson_t *form_flow_head(const Flow *flow)
{
    g_autoptr(GString) summary = g_string_new(NULL);
    flow_encode_summary(flow, summary);
    bson_t *document = bson_new();
    append_text(document, "_id", flow->id.text);
    append_flow_members(document, flow);
    if (flow->stops_runs) { /* absent otherwise: its sparse index holds what the sweeper looks for */
        assert_appended(bson_append_bool(document, "stopsRuns", -1, true));
    }
    if (flow->cron != NULL && !flow->is_deleted) { /* the same */
        g_autoptr(GString) schedule = g_string_new(NULL);
        flow_encode_schedule(flow, schedule);
        append_text_n(document, "schedule", schedule->str, schedule->len);
        append_text(document, "scheduleId", flow->id.text);
    }
    append_text_n(document, "summary", summary->str, summary->len);
    append_definition(document, flow);
    return document;
}
