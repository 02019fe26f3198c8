/* real_run.c - histories as the service would have written them, at times of their own. */
#include "real_run.h"

#include "domain/backfill.h"

Flow *real_flow(Store *store, unsigned n)
{
    Id owner = test_id('o', 1);
    Flow *flow = sample_flow(n, &owner, 1, 2);
    write_flow_version(store, flow);
    return flow;
}

static Event *next_event(RealRun *real, EventType type)
{
    int64_t seq = real->run->seq + 1;
    Id run_id = real->run->id;
    Event *event = event_new(type, &run_id, &real->flow->id, START_MS + seq * 1000);
    event->seq = seq;
    event->generation = 1;
    return event;
}

static void publish(RealRun *real, int64_t seq)
{
    StoreWrite write = {.kind = WRITE_PUBLISHED, .published = {.run_id = real->run->id, .seq = seq}};
    assert_int_equal(write_one(real->store, write), WRITTEN);
}

void real_run_flush(RealRun *real)
{
    guint n = real->waiting->len;
    if (n == 0)
        return;
    g_autoptr(GString) events = g_string_new(NULL), detail = g_string_new(NULL);
    int64_t command_seqs[16];
    size_t n_commands = 0;
    for (guint i = 0; i < n; i++) {
        const Event *event = real->waiting->pdata[i];
        event_encode(event, events);
        g_string_append_c(events, '\n');
        if (event->command != COMMAND_NONE)
            command_seqs[n_commands++] = event->seq;
    }
    RunRow row = real_run_row(real, detail);
    StoreWrite write = {.kind = WRITE_RUN,
                        .run = {.first_seq = row.seq - n + 1,
                                .n_events = n,
                                .events = events->str,
                                .events_size = events->len,
                                .row = &row,
                                .command_seqs = command_seqs,
                                .n_commands = n_commands}};
    assert_int_equal(write_one(real->store, write), WRITTEN);
    g_ptr_array_set_size(real->waiting, 0);
}

/* Takes the event. */
static void add(RealRun *real, Event *event)
{
    g_autoptr(GError) error = NULL;
    PendingCommand pending = real->run->pending;
    bool is_folded = run_fold(real->run, event, &error);
    assert_no_error(error);
    assert_true(is_folded);
    run_actors_note(&real->actors, event);
    g_ptr_array_add(real->waiting, event);
    if (real->waiting->len >= real->n_per_record)
        real_run_flush(real);
    if (pending.command != COMMAND_NONE && real->run->pending.command == COMMAND_NONE) {
        real_run_flush(real);
        publish(real, pending.seq);
    }
}

RunRow real_run_row(RealRun *real, GString *detail)
{
    RunRow row;
    run_row_build(real->run, &real->actors, detail, &row);
    return row;
}

static void free_event(void *event)
{
    event_free(event);
}

RealRun *real_run_begin(Store *store, unsigned n, const Flow *flow, size_t n_per_record)
{
    RealRun *real = g_new0(RealRun, 1);
    real->store = store;
    real->flow = flow;
    real->n_per_record = n_per_record;
    real->waiting = g_ptr_array_new_with_free_func(free_event);
    real->run = run_new();
    real->run->id = test_id('r', n);
    Event *event = next_event(real, EVENT_RUN_CREATED);
    event->owner = flow->owner;
    event->triggered_by = g_strdup("tester");
    event->flow_version = flow->version;
    text_map_add(&event->labels, "team", n % 2 == 0 ? "even" : "odd");
    event->n_steps = flow->n_flat;
    event->step_ids = g_new0(Id, flow->n_flat);
    for (size_t i = 0; i < flow->n_flat; i++)
        event->step_ids[i] = flow->flat[i]->step_id;
    event->command = COMMAND_START;
    event->command_id = test_id('c', n);
    event->generation = 0;
    add(real, event);
    return real;
}

void real_run_flow_status(RealRun *real, RunStatus status)
{
    Event *event = next_event(real, EVENT_FLOW_STATUS);
    event->run_status = status;
    add(real, event);
}

void real_run_step_status(RealRun *real, size_t step, StepStatus status)
{
    Event *event = next_event(real, EVENT_STEP_STATUS);
    event->step_id = real->flow->flat[step]->step_id;
    event->step_status = status;
    event->attempt = 1;
    if (status == STEP_COMPLETED)
        event->outputs_json = g_strdup("{\"text\":\"hi\"}");
    add(real, event);
}

void real_run_command(RealRun *real, CommandKind command)
{
    Event *event = next_event(real, EVENT_COMMAND_REQUESTED);
    event->command = command;
    event->command_id = test_id('c', (unsigned)(event->seq + 1000));
    event->requested_by = real->flow->owner;
    event->generation = 0;
    add(real, event);
}

void real_run_end(RealRun *real)
{
    real_run_flush(real);
    g_ptr_array_unref(real->waiting);
    run_free(real->run);
    g_free(real);
}

void real_run_write(Store *store, unsigned n, const Flow *flow, History history, size_t n_per_record)
{
    RealRun *real = real_run_begin(store, n, flow, n_per_record);
    if (history >= HISTORY_RUNNING) {
        real_run_flow_status(real, RUN_RUNNING);
        real_run_step_status(real, 0, STEP_RUNNING);
    }
    if (history >= HISTORY_STOPPING)
        real_run_command(real, COMMAND_STOP);
    if (history >= HISTORY_ENDED) {
        real_run_step_status(real, 0, STEP_COMPLETED);
        real_run_step_status(real, 1, STEP_SKIPPED);
        real_run_flow_status(real, RUN_STOPPED);
    }
    real_run_end(real);
}

void real_run_write_long(Store *store, unsigned n, const Flow *flow, int64_t n_events)
{
    RealRun *real = real_run_begin(store, n, flow, 500);
    while (real->run->seq < n_events)
        real_run_flow_status(real, RUN_RUNNING);
    real_run_end(real);
}

void real_backfill_write(Store *store, const Flow *flow, unsigned number, int64_t n_entries)
{
    int64_t slots[] = {START_MS, START_MS + 1000, START_MS + 2000};
    BackfillPlan plan = {.slots = slots, .n_slots = 3};
    BackfillRequest request = {.from = START_MS, .to = START_MS + 3000, .max_parallel = 2};
    Id id = test_id('b', number);
    Backfill backfill, next;
    backfill_init(&backfill, &id, flow, &request, 3, 3, START_MS + number);
    for (int64_t n = 1; n <= n_entries; n++) {
        g_autoptr(GString) state = g_string_new(NULL);
        g_autoptr(GString) plan_text = g_string_new(NULL);
        backfill_encode(&backfill, state);
        backfill_plan_encode(&plan, plan_text);
        StoreWrite write = {.kind = WRITE_BACKFILL,
                            .backfill = {.backfill_id = id,
                                         .flow_id = flow->id,
                                         .owner = flow->owner,
                                         .created_at = backfill.created_at,
                                         .n = n,
                                         .is_open = backfill_is_open(&backfill),
                                         .state = state->str,
                                         .state_size = state->len,
                                         .plan = n == 1 ? plan_text->str : NULL,
                                         .plan_size = n == 1 ? plan_text->len : 0}};
        (void)write_one(store, write); /* CONFLICT: it has this one */
        SlotRun runs[] = {SLOT_RUN_COMPLETED, SLOT_RUN_OPEN};
        if (backfill_advance(&backfill, &plan, runs, START_MS + 5000 + n, &next))
            backfill = next;
    }
}
