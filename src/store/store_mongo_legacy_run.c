/* store_mongo_legacy_run.c - a run's document told as the journal that folds to it: its creation, then what its instants say
 * happened, in their order. Held against the document's own status before it is given out. */
#include <string.h>

#include "domain/message_member.h"
#include "domain/run.h"
#include "store/store_mongo_legacy_internal.h"

#define TRIGGERED_BY_MAX_BYTES 256

/* A step as the document has it. */
typedef struct {
    Id id;
    StepStatus status;
    const char *error; /* within the document */
    int64_t started_at, completed_at;
    char *outputs_json; /* owned; NULL: none */
} LegacyStep;

/* A status to come, and where it comes. */
typedef struct {
    int64_t order;
    int rank; /* of those at the same instant */
    guint position;
    Event *event; /* owned */
} Entry;

typedef struct {
    const bson_t *document;
    const Id *id;
    const Flow *flow;
    RunStatus status;
    int64_t created_at, newest; /* newest: of all instants in the document, or created_at */
    GArray *steps;              /* of LegacyStep */
    GArray *entries;            /* of Entry */
    size_t outputs_size_bytes;
    char *reason; /* owned */
} RunReading;

enum { RANK_RUNNING, RANK_STEP_RUNNING, RANK_STEP_ENDED, RANK_LAST };

static void clear_step(gpointer data)
{
    g_free(((LegacyStep *)data)->outputs_json);
}

static void clear_entry(gpointer data)
{
    event_free(((Entry *)data)->event);
}

static bool refuse(RunReading *reading, const char *format, ...) PRINTF_LIKE(2, 3);
static bool refuse(RunReading *reading, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    reading->reason = g_strdup_vprintf(format, args);
    va_end(args);
    return false;
}

/* ---- instants ---- */

static const char *const instant_names[] = {"createdAt", "updatedAt", "startedAt", "completedAt"};

static int64_t newest_of(const bson_t *document, int64_t newest)
{
    for (size_t i = 0; i < G_N_ELEMENTS(instant_names); i++) {
        newest = MAX(newest, legacy_find_instant(document, instant_names[i])); /* INSTANT_NONE is the least */
    }
    return newest;
}

static int64_t newest_instant(const bson_t *document)
{
    bson_t steps, step;
    bson_iter_t element;
    int64_t newest = newest_of(document, INSTANT_NONE);
    if (legacy_find_inner(document, "steps", &steps) && bson_iter_init(&element, &steps)) {
        while (bson_iter_next(&element)) {
            if (legacy_value_inner(&element, &step)) {
                newest = newest_of(&step, newest);
            }
        }
    }
    return newest;
}

static int64_t first_known(const int64_t *instants, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (instants[i] != INSTANT_NONE) {
            return instants[i];
        }
    }
    return INSTANT_NONE;
}

int64_t legacy_run_created_at(const bson_t *document)
{
    const int64_t instants[] = {legacy_find_instant(document, "createdAt"), legacy_find_instant(document, "startedAt"),
                                newest_instant(document)};
    return first_known(instants, G_N_ELEMENTS(instants));
}

/* ---- the document ---- */

/* Of the step, else what the run has under its id. */
static char *find_outputs(const RunReading *reading, const bson_t *step, const Id *step_id)
{
    bson_t outputs, of_run;
    bson_iter_t value;
    if (legacy_find(step, "outputs", &value) && BSON_ITER_HOLDS_DOCUMENT(&value) &&
        legacy_value_inner(&value, &outputs)) {
        return legacy_object_json(&outputs);
    }
    if (legacy_find_inner(reading->document, "outputs", &of_run) && legacy_find(&of_run, step_id->text, &value) &&
        BSON_ITER_HOLDS_DOCUMENT(&value) && legacy_value_inner(&value, &outputs)) {
        return legacy_object_json(&outputs);
    }
    return NULL;
}

static bool has_step(const RunReading *reading, const char *step_id)
{
    for (guint i = 0; i < reading->steps->len; i++) {
        if (strcmp(g_array_index(reading->steps, LegacyStep, i).id.text, step_id) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_step(RunReading *reading, const bson_iter_t *element)
{
    bson_t document;
    LegacyStep step = {.status = STEP_PENDING};
    if (reading->steps->len == FLOW_MAX_STEPS) {
        return refuse(reading, "it has more than %d steps", FLOW_MAX_STEPS);
    }
    if (!BSON_ITER_HOLDS_DOCUMENT(element) || !legacy_value_inner(element, &document) ||
        !legacy_find_id(&document, "stepId", &step.id)) {
        return refuse(reading, "steps[%s] has no stepId that is a UUID", bson_iter_key(element));
    }
    if (has_step(reading, step.id.text)) {
        return refuse(reading, "step %s is there twice", step.id.text);
    }
    const char *status = legacy_find_text(&document, "status");
    g_autofree char *upper = status != NULL ? g_ascii_strup(status, -1) : NULL;
    if (upper != NULL && !step_status_parse(upper, &step.status)) {
        return refuse(reading, "step %s is \"%.40s\", which is no status", step.id.text, status);
    }
    step.error = legacy_find_text(&document, "error");
    step.started_at = legacy_find_instant(&document, "startedAt");
    step.completed_at = legacy_find_instant(&document, "completedAt");
    step.outputs_json = find_outputs(reading, &document, &step.id);
    g_array_append_val(reading->steps, step);
    return true;
}

/* Those of the document; a run that goes on needs all that an engine will report. */
static bool read_steps(RunReading *reading)
{
    bson_t array;
    bson_iter_t element;
    bool is_right = true, has_array = legacy_find_inner(reading->document, "steps", &array);
    if (has_array && bson_iter_init(&element, &array)) {
        while (is_right && bson_iter_next(&element)) {
            is_right = read_step(reading, &element);
        }
    }
    if (!is_right || (has_array && run_status_is_terminal(reading->status))) {
        return is_right;
    }
    for (size_t i = 0; i < reading->flow->n_flat; i++) {
        LegacyStep step = {.id = reading->flow->flat[i]->step_id,
                           .status = STEP_PENDING,
                           .started_at = INSTANT_NONE,
                           .completed_at = INSTANT_NONE};
        if (!has_step(reading, step.id.text)) {
            g_array_append_val(reading->steps, step);
        }
    }
    return true;
}

static bool read_status(RunReading *reading)
{
    const char *status = legacy_find_text(reading->document, "status");
    g_autofree char *upper = status != NULL ? g_ascii_strup(status, -1) : NULL;
    if (upper == NULL) {
        return refuse(reading, "it has no status");
    }
    if (!run_status_parse(upper, &reading->status)) {
        return refuse(reading, "\"%.40s\" is no status", status);
    }
    if (reading->status == RUN_SCHEDULED) { /* here only what waits in a queue is so; this one waits for an engine */
        reading->status = RUN_PENDING;
    }
    return true;
}

/* ---- the journal ---- */

static Event *add_entry(RunReading *reading, EventType type, int64_t timestamp, int64_t order, int rank)
{
    Entry entry = {.order = order,
                   .rank = rank,
                   .position = reading->entries->len,
                   .event = event_new(type, reading->id, &reading->flow->id, timestamp)};
    entry.event->generation = 1;
    g_array_append_val(reading->entries, entry);
    return entry.event;
}

static void keep_outputs(RunReading *reading, const LegacyStep *step, Event *event)
{
    size_t size = step->outputs_json != NULL ? strlen(step->outputs_json) : 0;
    size_t max = run_outputs_max_bytes(reading->steps->len);
    event->error = text_head(step->error, RUN_ERROR_MAX_BYTES);
    if (size <= STEP_OUTPUTS_MAX_BYTES && reading->outputs_size_bytes + size <= max) {
        event->outputs_json = g_strdup(step->outputs_json);
        reading->outputs_size_bytes += size;
    } else if (event->error == NULL) {
        event->error = g_strdup_printf("outputs dropped: %zu bytes, a step keeps at most %d and a run %zu", size,
                                       STEP_OUTPUTS_MAX_BYTES, max);
    }
}

static Event *add_step(RunReading *reading, const LegacyStep *step, StepStatus status, int64_t timestamp, int64_t order)
{
    Event *event = add_entry(reading, EVENT_STEP_STATUS, timestamp, order,
                             status == STEP_RUNNING ? RANK_STEP_RUNNING : RANK_STEP_ENDED);
    event->step_id = step->id;
    event->step_status = status;
    event->attempt = 1;
    if (status == step->status) {
        keep_outputs(reading, step, event);
    }
    return event;
}

/* Adds what happened to a step; gives where the run's end may come at the earliest: behind all but cancellations, which an
 * engine reports after the end too. */
static int64_t add_step_entries(RunReading *reading, const LegacyStep *step, int64_t started_at, int64_t completed_at)
{
    int64_t begun = step->started_at, behind = INSTANT_NONE;
    if (step->status == STEP_RUNNING) {
        const int64_t instants[] = {begun, started_at, reading->newest};
        begun = first_known(instants, G_N_ELEMENTS(instants));
    }
    if (step->status != STEP_PENDING && begun != INSTANT_NONE) {
        add_step(reading, step, STEP_RUNNING, begun, begun);
        behind = begun;
    }
    if (step_status_is_terminal(step->status)) {
        const int64_t instants[] = {step->completed_at, begun, completed_at, reading->newest};
        int64_t ended = first_known(instants, G_N_ELEMENTS(instants));
        int64_t order = MAX(ended, begun);
        add_step(reading, step, step->status, ended, order);
        behind = step->status == STEP_CANCELLED ? behind : MAX(behind, order);
    }
    return behind;
}

static void add_flow_status(RunReading *reading, RunStatus status, int64_t timestamp, int64_t order, int rank)
{
    Event *event = add_entry(reading, EVENT_FLOW_STATUS, timestamp, order, rank);
    event->run_status = status;
    if (status == reading->status) {
        event->error = text_head(legacy_find_text(reading->document, "error"), RUN_ERROR_MAX_BYTES);
    }
}

static void add_entries(RunReading *reading)
{
    int64_t started_at = legacy_find_instant(reading->document, "startedAt");
    int64_t completed_at = legacy_find_instant(reading->document, "completedAt");
    int64_t behind = INSTANT_NONE;
    bool is_going = reading->status == RUN_RUNNING || reading->status == RUN_PAUSED;
    if (is_going && started_at == INSTANT_NONE) {
        started_at = reading->created_at;
    }
    if (reading->status != RUN_PENDING && started_at != INSTANT_NONE) {
        add_flow_status(reading, RUN_RUNNING, started_at, INSTANT_NONE, RANK_RUNNING); /* before any step's */
    }
    for (guint i = 0; i < reading->steps->len; i++) {
        const LegacyStep *step = &g_array_index(reading->steps, LegacyStep, i);
        behind = MAX(behind, add_step_entries(reading, step, started_at, completed_at));
    }
    if (reading->status == RUN_PAUSED) {
        int64_t updated_at = legacy_find_instant(reading->document, "updatedAt");
        int64_t paused_at = MAX(updated_at != INSTANT_NONE ? updated_at : reading->newest, started_at);
        add_flow_status(reading, RUN_PAUSED, paused_at, INT64_MAX, RANK_LAST);
    } else if (run_status_is_terminal(reading->status)) {
        int64_t ended_at = completed_at != INSTANT_NONE ? completed_at : reading->newest;
        add_flow_status(reading, reading->status, ended_at, MAX(ended_at, behind), RANK_LAST);
    }
}

static int compare_entries(gconstpointer a, gconstpointer b)
{
    const Entry *one = a, *other = b;
    if (one->order != other->order) {
        return one->order < other->order ? -1 : 1;
    }
    return one->rank != other->rank ? one->rank - other->rank : (int)one->position - (int)other->position;
}

static Event *creation_event(const RunReading *reading)
{
    const Flow *flow = reading->flow;
    const char *parts[] = {"legacy-start", reading->id->text};
    bson_iter_t value;
    g_autofree char *triggered_by =
        legacy_find(reading->document, "triggeredBy", &value) ? legacy_value_text(&value) : NULL;
    Event *event = event_new(EVENT_RUN_CREATED, reading->id, &flow->id, reading->created_at);
    event->owner = flow->owner;
    event->triggered_by = text_head(triggered_by != NULL ? triggered_by : flow->owner.text, TRIGGERED_BY_MAX_BYTES);
    event->flow_version = 1;
    event->n_steps = reading->steps->len;
    event->step_ids = g_new0(Id, event->n_steps);
    for (guint i = 0; i < reading->steps->len; i++) {
        event->step_ids[i] = g_array_index(reading->steps, LegacyStep, i).id;
    }
    event->command = COMMAND_START;
    event->command_id = id_derive(parts, G_N_ELEMENTS(parts));
    return event;
}

static bool write_event(RunReading *reading, Run *run, Event *event, LegacyRun *ret_run)
{
    g_autoptr(GError) error = NULL;
    event->seq = run->seq + 1;
    if (!run_fold(run, event, &error)) {
        return refuse(reading, "it contradicts itself: %s", error->message);
    }
    GString *text = g_string_sized_new(256);
    event_encode(event, text);
    g_ptr_array_add(ret_run->events, g_string_free(text, FALSE));
    return true;
}

static bool write_journal(RunReading *reading, LegacyRun *ret_run)
{
    g_autoptr(Run) run = run_new();
    g_autoptr(Event) creation = creation_event(reading);
    bool is_right = write_event(reading, run, creation, ret_run);
    add_entries(reading);
    g_array_sort(reading->entries, compare_entries);
    for (guint i = 0; i < reading->entries->len && is_right; i++) {
        is_right = write_event(reading, run, g_array_index(reading->entries, Entry, i).event, ret_run);
    }
    if (is_right && run->status != reading->status) {
        return refuse(reading, "its journal would make it %s", run_status_name(run->status));
    }
    ret_run->is_start_owed = run->pending.command == COMMAND_START;
    return is_right;
}

void legacy_run_done(LegacyRun *run)
{
    if (run->events != NULL) {
        g_ptr_array_unref(run->events);
    }
    *run = (LegacyRun){0};
}

bool legacy_run_read(const bson_t *document, const Id *id, const Flow *flow, int64_t created_at, LegacyRun *ret_run,
                     char **ret_reason)
{
    RunReading reading = {.document = document,
                          .id = id,
                          .flow = flow,
                          .created_at = created_at,
                          .newest = MAX(newest_instant(document), created_at),
                          .steps = g_array_new(FALSE, FALSE, sizeof(LegacyStep)),
                          .entries = g_array_new(FALSE, FALSE, sizeof(Entry))};
    LegacyRun run = {.id = *id, .events = g_ptr_array_new_with_free_func(g_free)};
    g_array_set_clear_func(reading.steps, clear_step);
    g_array_set_clear_func(reading.entries, clear_entry);
    bool is_right = read_status(&reading) && read_steps(&reading) && write_journal(&reading, &run);
    g_array_unref(reading.steps);
    g_array_unref(reading.entries);
    *ret_reason = reading.reason;
    if (is_right) {
        *ret_run = run;
    } else {
        legacy_run_done(&run);
    }
    return is_right;
}
