/* store_support.c - samples with texts that can be told apart, so that a mixed-up answer is seen. */
#include "store_support.h"

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "domain/schedule.h"

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

StoreFixture *store_fixture_new(StoreOpen open)
{
    StoreFixture *fixture = g_new0(StoreFixture, 1);
    g_autoptr(GError) error = NULL;
    fixture->open = open;
    fixture->data_dir = g_dir_make_tmp("flowops-store-XXXXXX", &error);
    assert_no_error(error);
    fixture->clock = clock_new_fake(START_MS);
    fixture->store = open(fixture->data_dir, fixture->clock, &error);
    assert_no_error(error);
    assert_non_null(fixture->store);
    return fixture;
}

void store_fixture_free(StoreFixture *fixture)
{
    if (fixture == NULL)
        return;
    store_close(fixture->store);
    clock_free(fixture->clock);
    remove_tree(fixture->data_dir);
    g_free(fixture->data_dir);
    g_free(fixture);
}

void store_fixture_reopen(StoreFixture *fixture)
{
    g_autoptr(GError) error = NULL;
    store_close(fixture->store);
    fixture->store = fixture->open(fixture->data_dir, fixture->clock, &error);
    assert_no_error(error);
    assert_non_null(fixture->store);
}

char *store_file(const StoreFixture *fixture, const char *name)
{
    return g_build_filename(fixture->data_dir, name, NULL);
}

Id test_id(char kind, unsigned n)
{
    Id id;
    (void)snprintf(id.text, sizeof id.text, "%08x-%04x-7000-8000-%012x", n, (unsigned)(unsigned char)kind, n);
    assert_true(id_is_valid(id.text));
    return id;
}

/* ---- runs ---- */

SampleRun *sample_run_new(unsigned n, const Id *owner, const Id *flow_id)
{
    SampleRun *run = g_new0(SampleRun, 1);
    run->row = (RunRow){
        .run_id = test_id('r', n),
        .flow_id = *flow_id,
        .owner = *owner,
        .status = RUN_PENDING,
        .phase = PHASE_OPEN,
        .triggered_by = "tester",
        .created_by = "creator",
        .updated_by = "updater",
        .created_at = START_MS + n,
        .updated_at = START_MS + n,
        .flow_version = 1,
        .pending = COMMAND_NONE,
        .pending_at = INSTANT_NONE,
    };
    run->events = g_string_new(NULL);
    run->detail = g_string_new(NULL);
    return run;
}

void sample_run_free(SampleRun *run)
{
    if (run == NULL)
        return;
    g_string_free(run->events, TRUE);
    g_string_free(run->detail, TRUE);
    text_map_done(&run->labels);
    g_free(run);
}

char *sample_event(const Id *run_id, int64_t seq, size_t size)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "{\"seq\":%" G_GINT64_FORMAT ",\"runId\":\"%s\",\"pad\":\"", seq, run_id->text);
    size_t begin = text->len;
    if (begin + 2 < size) {
        g_string_set_size(text, size - 2);
        memset(text->str + begin, (int)('a' + seq % 26), size - 2 - begin);
    }
    g_string_append(text, "\"}");
    return g_string_free(text, FALSE);
}

char *sample_detail(const SampleRun *run, size_t *ret_summary_size)
{
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "{\"id\":\"%s\",\"note\":\"\xc3\xa4\xe2\x82\xac\",\"seq\":%" G_GINT64_FORMAT,
                           run->row.run_id.text, run->row.seq);
    *ret_summary_size = text->len;
    g_string_append_printf(text, ",\"steps\":[%" G_GINT64_FORMAT "]}", run->row.seq);
    return g_string_free(text, FALSE);
}

void sample_command(SampleRun *run, int64_t seq)
{
    assert_true(run->n_commands < G_N_ELEMENTS(run->command_seqs));
    run->command_seqs[run->n_commands++] = seq;
}

StoreWrite sample_append(SampleRun *run, int64_t n_events, size_t size)
{
    int64_t first = run->row.seq + 1;
    g_string_truncate(run->events, 0);
    for (int64_t seq = first; seq < first + n_events; seq++) {
        g_autofree char *text = sample_event(&run->row.run_id, seq, size);
        g_string_append(run->events, text);
        g_string_append_c(run->events, '\n');
    }
    run->row.seq = first + n_events - 1;
    g_autofree char *detail = sample_detail(run, &run->row.summary_size);
    g_string_assign(run->detail, detail);
    run->row.detail = run->detail->str;
    run->row.detail_size = run->detail->len;
    run->row.labels = &run->labels;
    StoreWrite write = {
        .kind = WRITE_RUN,
        .run = {.first_seq = first,
                .n_events = n_events,
                .events = run->events->str,
                .events_size = run->events->len,
                .row = &run->row,
                .command_seqs = run->command_seqs,
                .n_commands = run->n_commands,
                .supersedes_commands = run->supersedes},
        .ret_outcome = (WriteOutcome)-1,
    };
    run->n_commands = 0;
    run->supersedes = false;
    return write;
}

/* ---- flows ---- */

Flow *sample_flow(unsigned n, const Id *owner, int64_t version, unsigned n_steps)
{
    GString *text = g_string_new(NULL);
    Id id = test_id('f', n);
    char created[INSTANT_TEXT_SIZE], updated[INSTANT_TEXT_SIZE];
    (void)instant_format(START_MS + n, created);
    (void)instant_format(START_MS + n + version, updated);
    g_string_append_printf(text,
                           "{\"id\":\"%s\",\"owner\":\"%s\",\"name\":\"flow %u v%" G_GINT64_FORMAT
                           "\",\"labels\":{},\"version\":%" G_GINT64_FORMAT
                           ",\"isDeleted\":false,\"stopsRuns\":false,\"createdAt\":\"%s\",\"updatedAt\":\"%s\","
                           "\"createdBy\":\"%s\",\"updatedBy\":\"%s\",\"steps\":[",
                           id.text, owner->text, n, version, version, created, updated, owner->text, owner->text);
    for (unsigned i = 0; i < n_steps; i++) {
        Id step = test_id('s', n * 1000 + (unsigned)version * 100 + i);
        g_string_append_printf(text, "%s{\"stepId\":\"%s\",\"pluginId\":\"echo\",\"type\":\"ACTION\"}",
                               i > 0 ? "," : "", step.text);
    }
    g_string_append(text, "]}");
    g_autoptr(GError) error = NULL;
    Flow *flow = flow_decode(text->str, text->len, &error);
    assert_no_error(error);
    g_string_free(text, TRUE);
    return flow;
}

Flow *sample_flow_deletion(const Flow *flow, bool stops_runs)
{
    GString *text = g_string_new(NULL);
    flow_encode(flow, text);
    g_autoptr(GError) error = NULL;
    Flow *deletion = flow_decode(text->str, text->len, &error);
    assert_no_error(error);
    g_string_free(text, TRUE);
    deletion->version++;
    deletion->is_deleted = true;
    deletion->stops_runs = stops_runs;
    return deletion;
}

SampleDecision *sample_decision_new(const Id *flow_id, int64_t n, bool is_owed)
{
    SampleDecision *sample = g_new0(SampleDecision, 1);
    ScheduleDecision decision = {.n = n,
                                 .verdict = is_owed ? SLOT_STARTED : SLOT_SKIPPED,
                                 .reason = is_owed ? SLOT_NO_REASON : SLOT_MISFIRE,
                                 .slot = START_MS + n * 1000,
                                 .last_slot = START_MS + n * 1000,
                                 .n_slots = 1,
                                 .decided_at = START_MS + n * 1000 + 5,
                                 .flow_version = 1,
                                 .watermark = START_MS + n * 1000,
                                 .since = START_MS};
    sample->text = g_string_new(NULL);
    schedule_decision_encode(&decision, flow_id, sample->text);
    sample->row = (DecisionRow){.key = {*flow_id, n},
                                .text = sample->text->str,
                                .size = sample->text->len,
                                .decided_at = decision.decided_at,
                                .is_owed = is_owed};
    return sample;
}

void sample_decision_free(SampleDecision *sample)
{
    g_string_free(sample->text, TRUE);
    g_free(sample);
}
/* ---- writing ---- */

/* True when what follows a write later has come: the run's document, the outbox without what was published or superseded. */
static bool has_followed(Store *store, const StoreWrite *write)
{
    g_autoptr(GError) error = NULL;
    RunSeq entries[64];
    size_t n = 0;
    if (write->kind == WRITE_FLOW || write->kind == WRITE_DELETE_RUN || write->kind == WRITE_DECISION ||
        write->kind == WRITE_MADE || write->kind == WRITE_BACKFILL)
        return true;
    if (write->kind == WRITE_PUBLISHED) {
        const RunSeq *published = &write->published;
        assert_true(store_read_outbox_of(store, published->run_id.text, published->seq + 1, G_N_ELEMENTS(entries),
                                         entries, &n, &error));
        return n == 0 || entries[n - 1].seq != published->seq;
    }
    const RunRow *row = write->kind == WRITE_RUN ? write->run.row : write->projection;
    g_autoptr(RunDocument) document = store_get_run(store, row->run_id.text, &error);
    if (document == NULL || document->seq < row->seq)
        return false;
    if (write->kind == WRITE_PROJECTION && write->is_forced)
        return document->seq == row->seq && strcmp(document->owner.text, row->owner.text) == 0;
    if (write->kind == WRITE_PROJECTION || !write->run.supersedes_commands)
        return true;
    assert_true(store_read_outbox_of(store, row->run_id.text, write->run.first_seq, G_N_ELEMENTS(entries), entries, &n,
                                     &error));
    return n == 0;
}

void await_followers(Store *store, const StoreWrite *writes, size_t n_writes)
{
    enum { DEADLINE_MS = 30000 };
    if (!store_is_shared(store))
        return;
    g_autoptr(Clock) clock = clock_new_system();
    int64_t deadline_ms = clock_monotonic_ms(clock) + DEADLINE_MS;
    for (size_t i = 0; i < n_writes; i++) {
        while (writes[i].ret_outcome == WRITTEN && !has_followed(store, &writes[i])) {
            if (clock_monotonic_ms(clock) > deadline_ms)
                fail_msg("what was written has no document, or still its mark, after %d ms", DEADLINE_MS);
            poll(NULL, 0, 1);
        }
    }
}

WriteOutcome write_one(Store *store, StoreWrite write)
{
    g_autoptr(GError) error = NULL;
    bool is_written = store_write(store, &write, 1, &error);
    assert_no_error(error);
    assert_true(is_written);
    await_followers(store, &write, 1);
    return write.ret_outcome;
}

void write_all(Store *store, StoreWrite *writes, size_t n_writes)
{
    g_autoptr(GError) error = NULL;
    bool is_written = store_write(store, writes, n_writes, &error);
    assert_no_error(error);
    assert_true(is_written);
    for (size_t i = 0; i < n_writes; i++)
        assert_int_equal(writes[i].ret_outcome, WRITTEN);
    await_followers(store, writes, n_writes);
}

void append_events(Store *store, SampleRun *run, int64_t n_events)
{
    assert_int_equal(write_one(store, sample_append(run, n_events, 0)), WRITTEN);
}

void write_flow_version(Store *store, const Flow *flow)
{
    assert_int_equal(write_one(store, (StoreWrite){.kind = WRITE_FLOW, .flow = flow}), WRITTEN);
}

/* ---- reading ---- */

int64_t check_journal(Store *store, const Id *run_id, int64_t after, size_t max_entries, size_t max_bytes, size_t size)
{
    bool has_more = true;
    while (has_more) {
        g_autoptr(GError) error = NULL;
        g_autoptr(JournalPage) page = store_read_journal(store, run_id->text, after, max_entries, max_bytes, &error);
        assert_no_error(error);
        assert_true(page->n_entries <= max_entries);
        assert_true(page->n_entries > 0 || !page->has_more);
        size_t n_bytes = 0;
        for (size_t i = 0; i < page->n_entries; i++) {
            g_autofree char *expected = sample_event(run_id, ++after, size);
            assert_int_equal(page->entries[i].seq, after);
            assert_string_equal(page->entries[i].text, expected);
            assert_int_equal(page->entries[i].size, strlen(expected));
            n_bytes += page->entries[i].size;
        }
        assert_true(page->n_entries <= 1 || n_bytes <= max_bytes);
        has_more = page->has_more;
    }
    return after;
}

ListQuery query_of(const Id *owner)
{
    return (ListQuery){.owner = owner->text, .from = INSTANT_NONE, .to = INSTANT_NONE, .limit = 50};
}

ListPage *list_runs(Store *store, const ListQuery *query)
{
    g_autoptr(GError) error = NULL;
    ListPage *page = store_list_runs(store, query, &error);
    assert_no_error(error);
    return page;
}

ListPage *list_flows(Store *store, const ListQuery *query)
{
    g_autoptr(GError) error = NULL;
    ListPage *page = store_list_flows(store, query, &error);
    assert_no_error(error);
    return page;
}

GArray *walk_list(Store *store, const ListQuery *asked, bool is_flows)
{
    GArray *ids = g_array_new(FALSE, FALSE, sizeof(Id));
    ListQuery query = *asked;
    ListPosition after;
    bool has_more = true;
    while (has_more) {
        g_autoptr(ListPage) page = is_flows ? list_flows(store, &query) : list_runs(store, &query);
        assert_true(page->n_items <= query.limit);
        assert_true(!page->has_more || page->n_items == query.limit);
        for (size_t i = 0; i < page->n_items; i++)
            g_array_append_val(ids, page->items[i].position.id);
        has_more = page->has_more;
        if (has_more) {
            after = page->items[page->n_items - 1].position;
            query.after = &after;
            query.skip = 0;
        }
    }
    return ids;
}
