/* copy.c - flows first, since runs name their versions; then runs, many to a group of writes. A run of which the target
 * has nothing costs no read there; one that it has is compared event by event. */
#include "service/copy.h"

#include <string.h>

#include "service/copy_backfills.h"
#include "service/copy_decisions.h"
#include "service/run_row.h"

#define ID_PAGE 1000
#define GROUP_WRITES 256 /* and bytes: what one flush makes durable, and what waits for it in memory */
#define GROUP_BYTES ((size_t)4 * 1024 * 1024)
#define SETTLE_MS 30000 /* for what a busy server has to catch up with: 64 MiB at most */
#define TARGET_PAGE_ENTRIES 1000
#define TARGET_PAGE_BYTES (1024 * 1024)

/* A write that waits for its group, with what it points to. */
typedef struct {
    Run *run;
    RunActors actors;
    GString *detail, *events;
    GArray *command_seqs; /* of int64_t */
    RunRow row;
    int64_t first_seq;
} Append;

typedef struct {
    StoreSource *source;
    Store *target;
    const CopyOptions *options;
    CopyReport report;
    GPtrArray *group; /* of Append, owns */
    size_t group_bytes;
    bool has_runs; /* the target, before the copy: of one that had none, no run is asked for */
} Copy;

/* The run at hand. */
typedef struct {
    Id id;
    Run *run;
    RunActors actors;
    GArray *outbox;     /* of int64_t: the source's */
    int64_t target_seq; /* how much of it; known once that end was met */
    JournalPage *target_page;
    size_t target_next; /* entry of target_page */
    bool is_target_over;
} CopiedRun;

static void append_free(void *value)
{
    Append *append = value;
    run_free(append->run);
    g_string_free(append->detail, TRUE);
    g_string_free(append->events, TRUE);
    g_array_unref(append->command_seqs);
    g_free(append);
}

static void copied_run_done(CopiedRun *copied)
{
    run_free(copied->run);
    if (copied->outbox != NULL)
        g_array_unref(copied->outbox);
    journal_page_free(copied->target_page);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(CopiedRun, copied_run_done)

static bool fail(GError **error, FlowopsError code, const char *format, ...) PRINTF_LIKE(3, 4);
static bool fail(GError **error, FlowopsError code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FLOWOPS_ERROR, code, message);
    return false;
}

/* ---- is the target empty, or a part of the source? ---- */

typedef bool (*ListIds)(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
typedef bool (*FindIds)(StoreSource *source, const Id *ids, size_t n, bool *ret_is_there, GError **error);

static bool check_known(Copy *copy, ListIds list, FindIds find, const char *kind, bool *ret_has_some, GError **error)
{
    g_autofree Id *ids = g_new(Id, ID_PAGE);
    g_autofree bool *is_there = g_new(bool, ID_PAGE);
    Id after = {""};
    size_t n = ID_PAGE;
    while (n == ID_PAGE) {
        if (!list(copy->target, after.text, ID_PAGE, ids, &n, error) ||
            (n > 0 && !find(copy->source, ids, n, is_there, error)))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!is_there[i])
                return fail(error, FLOWOPS_CONFLICT,
                            "the target has a %s %s that the source has not: it is no copy of it", kind, ids[i].text);
        if (n > 0) {
            after = ids[n - 1];
            *ret_has_some = true;
        }
    }
    return true;
}

/* ---- flows ---- */

static bool is_same_flow(const Flow *one, const Flow *other)
{
    g_autoptr(GString) one_text = g_string_new(NULL), other_text = g_string_new(NULL);
    flow_encode(one, one_text);
    flow_encode(other, other_text);
    return g_string_equal(one_text, other_text);
}

static bool copy_flow(Copy *copy, const Flow *flow, GError **error)
{
    StoreWrite write = {.kind = WRITE_FLOW, .flow = flow};
    g_autoptr(GError) missing = NULL;
    g_autoptr(Flow) there = store_get_flow(copy->target, flow->id.text, flow->version, &missing);
    copy->report.n_flow_versions++;
    if (there != NULL)
        return is_same_flow(flow, there) ||
               fail(error, FLOWOPS_CONFLICT, "flow %s: version %" G_GINT64_FORMAT " is another one in the target",
                    flow->id.text, flow->version);
    if (missing->code != FLOWOPS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&missing));
        return false;
    }
    if (!store_write(copy->target, &write, 1, error))
        return false;
    copy->report.n_flow_versions_written++;
    return write.ret_outcome == WRITTEN ||
           fail(error, FLOWOPS_CONFLICT, "flow %s: somebody else writes to the target", flow->id.text);
}

static bool copy_schedule(Copy *copy, const Flow *flow, GError **error)
{
    return copy_decisions(copy->source, copy->target, flow->id.text, &copy->report, error) &&
           copy_backfills(copy->source, copy->target, flow, error);
}

static bool copy_flows(Copy *copy, GError **error)
{
    bool is_end = false;
    while (!is_end) {
        g_autoptr(Flow) flow = copy->source->ops->next_flow(copy->source, &is_end, error);
        if (flow == NULL && !is_end)
            return false;
        if (flow != NULL &&
            (!copy_flow(copy, flow, error) || (flow->version == 1 && !copy_schedule(copy, flow, error))))
            return false;
    }
    return true;
}

/* ---- a group of appends ---- */

static bool flush_group(Copy *copy, GError **error)
{
    guint n = copy->group->len;
    if (n == 0)
        return true;
    g_autofree StoreWrite *writes = g_new0(StoreWrite, n);
    for (guint i = 0; i < n; i++) {
        const Append *append = copy->group->pdata[i];
        writes[i] = (StoreWrite){.kind = WRITE_RUN,
                                 .run = {
                                     .first_seq = append->first_seq,
                                     .n_events = append->row.seq - append->first_seq + 1,
                                     .events = append->events->str,
                                     .events_size = append->events->len,
                                     .row = &append->row,
                                     .command_seqs = (const int64_t *)(void *)append->command_seqs->data,
                                     .n_commands = append->command_seqs->len,
                                 }};
    }
    if (!store_write(copy->target, writes, n, error))
        return false;
    for (guint i = 0; i < n; i++) {
        const Append *append = copy->group->pdata[i];
        if (writes[i].ret_outcome != WRITTEN)
            return fail(error, FLOWOPS_CONFLICT,
                        "run %s: somebody else writes to the target, or its document is damaged",
                        append->row.run_id.text);
        copy->report.n_events_written += writes[i].run.n_events;
        copy->report.n_runs_written += append->first_seq == 1;
    }
    g_ptr_array_set_size(copy->group, 0);
    copy->group_bytes = 0;
    if (copy->options->progress != NULL)
        copy->options->progress(copy->options->arg, &copy->report);
    return true;
}

static Append *append_new(int64_t first_seq)
{
    Append *append = g_new0(Append, 1);
    append->detail = g_string_sized_new(1024);
    append->events = g_string_sized_new(1024);
    append->command_seqs = g_array_new(FALSE, FALSE, sizeof(int64_t));
    append->first_seq = first_seq;
    return append;
}

/* Takes the append. A group has one append of a run at most, so one that is not the run's last is flushed at once. */
static bool add_append(Copy *copy, CopiedRun *copied, Append *append, bool is_last, GError **error)
{
    append->run = is_last ? g_steal_pointer(&copied->run) : run_copy(copied->run);
    append->actors = copied->actors;
    run_row_build(append->run, &append->actors, append->detail, &append->row);
    for (guint i = 0; i < copied->outbox->len; i++) {
        int64_t seq = g_array_index(copied->outbox, int64_t, i);
        if (seq >= append->first_seq && seq <= append->row.seq)
            g_array_append_val(append->command_seqs, seq);
    }
    g_ptr_array_add(copy->group, append);
    copy->group_bytes += append->events->len + 2 * append->detail->len; /* the state is about as large as its text */
    bool is_full = copy->group->len >= GROUP_WRITES || copy->group_bytes >= GROUP_BYTES;
    return (is_last && !is_full) || flush_group(copy, error);
}

/* ---- runs ---- */

static bool differs(const CopiedRun *copied, int64_t seq, GError **error)
{
    return fail(error, FLOWOPS_CONFLICT, "run %s: event %" G_GINT64_FORMAT " is another one in the target",
                copied->id.text, seq);
}

/* The target's next event, or its end. */
static bool read_target(Copy *copy, CopiedRun *copied, GError **error)
{
    while (!copied->is_target_over &&
           (copied->target_page == NULL || copied->target_next == copied->target_page->n_entries)) {
        if (copied->target_page != NULL && !copied->target_page->has_more) {
            copied->is_target_over = true;
            break;
        }
        journal_page_free(g_steal_pointer(&copied->target_page));
        copied->target_next = 0;
        copied->target_page = store_read_journal(copy->target, copied->id.text, copied->target_seq, TARGET_PAGE_ENTRIES,
                                                 TARGET_PAGE_BYTES, error);
        if (copied->target_page == NULL)
            return false;
    }
    return true;
}

/* True with ret_is_there: the target has this event already. */
static bool compare_event(Copy *copy, CopiedRun *copied, const JournalEntry *entry, bool *ret_is_there, GError **error)
{
    if (!read_target(copy, copied, error))
        return false;
    *ret_is_there = !copied->is_target_over;
    if (copied->is_target_over)
        return true;
    const JournalEntry *there = &copied->target_page->entries[copied->target_next++];
    if (there->seq != entry->seq || there->size != entry->size || memcmp(there->text, entry->text, entry->size) != 0)
        return differs(copied, entry->seq, error);
    copied->target_seq = entry->seq;
    return true;
}

static bool fold_entry(CopiedRun *copied, const JournalEntry *entry, GError **error)
{
    g_autoptr(Event) event = event_decode(entry->text, entry->size, error);
    if (event == NULL || !run_fold(copied->run, event, error)) {
        g_prefix_error(error, "the source's journal of run %s is broken at event %" G_GINT64_FORMAT ": ",
                       copied->id.text, entry->seq);
        return false;
    }
    run_actors_note(&copied->actors, event);
    return true;
}

static bool copy_page(Copy *copy, CopiedRun *copied, const JournalPage *page, GError **error)
{
    Append *append = NULL;
    bool is_right = true;
    for (size_t i = 0; i < page->n_entries && is_right; i++) {
        const JournalEntry *entry = &page->entries[i];
        bool is_there = false;
        is_right = fold_entry(copied, entry, error) && compare_event(copy, copied, entry, &is_there, error);
        if (!is_right || is_there)
            continue;
        if (append == NULL)
            append = append_new(entry->seq);
        g_string_append_len(append->events, entry->text, (gssize)entry->size);
        g_string_append_c(append->events, '\n');
    }
    copy->report.n_events += (int64_t)page->n_entries;
    if (is_right && append != NULL)
        return add_append(copy, copied, append, !page->has_more, error);
    if (append != NULL)
        append_free(append);
    return is_right;
}

/* The document of a run that the target has whole: a crash of a shared store may have left it behind. */
static bool mend_document(Copy *copy, const CopiedRun *copied, GError **error)
{
    g_autoptr(GString) detail = g_string_sized_new(1024);
    RunRow row;
    run_row_build(copied->run, &copied->actors, detail, &row);
    g_autoptr(GError) missing = NULL;
    g_autoptr(RunDocument) there = store_get_run(copy->target, copied->id.text, &missing);
    if (there == NULL && missing->code != FLOWOPS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&missing));
        return false;
    }
    if (there != NULL && there->seq == row.seq && there->detail_size == detail->len &&
        memcmp(there->detail, detail->str, detail->len) == 0)
        return true;
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &row, .is_forced = true};
    return store_write(copy->target, &write, 1, error);
}

/* What the source has published since the first try is published. Entries never come back: the other way round the target
 * was at work meanwhile. */
static bool mend_outbox(Copy *copy, const CopiedRun *copied, GError **error)
{
    g_autoptr(GArray) there = g_array_new(FALSE, FALSE, sizeof(int64_t));
    if (!store_read_outbox_seqs(copy->target, copied->id.text, there, error))
        return false;
    guint i = 0;
    for (guint k = 0; k < there->len; k++) {
        int64_t seq = g_array_index(there, int64_t, k);
        if (i < copied->outbox->len && g_array_index(copied->outbox, int64_t, i) == seq) {
            i++;
            continue;
        }
        StoreWrite write = {.kind = WRITE_PUBLISHED, .published = {.run_id = copied->id, .seq = seq}};
        if (!store_write(copy->target, &write, 1, error))
            return false;
    }
    return i == copied->outbox->len ||
           fail(error, FLOWOPS_CONFLICT, "run %s: the target has published what the source has not", copied->id.text);
}

static bool copy_run(Copy *copy, const Id *run_id, bool is_in_target, GError **error)
{
    g_auto(CopiedRun) copied = {.id = *run_id, .is_target_over = !is_in_target};
    copied.run = run_new();
    copied.outbox = g_array_new(FALSE, FALSE, sizeof(int64_t));
    if (!copy->source->ops->read_outbox(copy->source, copied.outbox, error))
        return false;
    bool has_more = true;
    int64_t after = 0;
    while (has_more) {
        g_autoptr(JournalPage) page = copy->source->ops->read_events(copy->source, after, error);
        if (page == NULL || !copy_page(copy, &copied, page, error))
            return false;
        if (page->n_entries > 0)
            after = page->entries[page->n_entries - 1].seq;
        has_more = page->has_more;
    }
    if (after == 0)
        return fail(error, FLOWOPS_INTERNAL, "the source has a document and no journal of run %s", run_id->text);
    copy->report.n_runs++;
    if (!is_in_target)
        return true;
    if (!read_target(copy, &copied, error))
        return false;
    if (!copied.is_target_over)
        return fail(error, FLOWOPS_CONFLICT, "run %s: the target's journal goes beyond the source's", run_id->text);
    bool is_written = copied.run == NULL; /* its end waits in the group, or is there by now */
    return is_written ? flush_group(copy, error) && mend_outbox(copy, &copied, error)
                      : mend_document(copy, &copied, error) && mend_outbox(copy, &copied, error);
}

static bool copy_runs(Copy *copy, GError **error)
{
    bool is_end = false;
    Id run_id;
    while (copy->source->ops->next_run(copy->source, &run_id, &is_end, error)) {
        bool is_there = false;
        if (copy->has_runs && !store_find_newer(copy->target, &(RunSeq){.run_id = run_id}, 1, &is_there, error))
            return false;
        if (!copy_run(copy, &run_id, is_there, error))
            return false;
    }
    return is_end && flush_group(copy, error);
}

/* A shared store's documents follow their journals. */
static bool settle_target(Copy *copy, GError **error)
{
    return store_settle(copy->target, SETTLE_MS) ||
           fail(error, FLOWOPS_UNAVAILABLE, "the target's documents did not follow within %d s", SETTLE_MS / 1000);
}

bool copy_store(StoreSource *source, Store *target, const CopyOptions *options, CopyReport *ret_report, GError **error)
{
    Copy copy = {.source = source, .target = target, .options = options};
    bool has_flows = false;
    copy.group = g_ptr_array_new_with_free_func(append_free);
    bool is_done = check_known(&copy, store_list_flow_ids, source->ops->find_flows, "flow", &has_flows, error) &&
                   check_known(&copy, store_list_run_ids, source->ops->find_runs, "run", &copy.has_runs, error) &&
                   copy_flows(&copy, error) && copy_runs(&copy, error) && settle_target(&copy, error);
    g_ptr_array_unref(copy.group);
    if (is_done)
        *ret_report = copy.report;
    return is_done;
}
