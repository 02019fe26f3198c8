/* fsck_run.c - runs: the journal without a gap, every text of it an event that folds, and the document that it folds to.
 * The document is read before the journal, which therefore holds at least as much while somebody goes on writing. */
#include "service/fsck_internal.h"

#include <string.h>

#include "base/thread.h"
#include "service/run_row.h"

#define JOURNAL_PAGE_ENTRIES 1000
#define JOURNAL_PAGE_BYTES (1024 * 1024)
#define MAX_SUSPECTS 1000
/* A document of a shared store may follow its journal within 1 s (rules.md, "Projections"). */
#define SETTLE_MS 2000

/* One look at one run. */
typedef struct {
    const Id *run_id;
    RunDocument *document; /* NULL: none */
    Run *run;              /* as far as the journal folds */
    RunActors actors;
    GString *detail;   /* scratch */
    GPtrArray *faults; /* of char *: without the run's id */
    bool is_whole;     /* the journal could be read and folded to its end */
    bool is_behind;    /* a shared store's document, and no fault */
} Look;

static void look_done(Look *look)
{
    run_document_free(look->document);
    run_free(look->run);
    if (look->detail != NULL)
        g_string_free(look->detail, TRUE);
    if (look->faults != NULL)
        g_ptr_array_unref(look->faults);
    memset(look, 0, sizeof *look);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Look, look_done)

static PRINTF_LIKE(2, 3) void add_fault(Look *look, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(look->faults, g_strdup_vprintf(format, args));
    va_end(args);
}

/* ---- document and journal ---- */

/* False: the store failed. No document is no failure. */
static bool read_document(Fsck *fsck, const Id *run_id, RunDocument **ret_document, GString *ret_damage, GError **error)
{
    g_autoptr(GError) inner = NULL;
    *ret_document = store_get_run(fsck->store, run_id->text, &inner);
    if (*ret_document != NULL || inner->code == FLOWOPS_NOT_FOUND)
        return true;
    if (fsck_is_damage(inner)) {
        g_string_assign(ret_damage, inner->message);
        return true;
    }
    g_propagate_error(error, g_steal_pointer(&inner));
    return false;
}

/* The state has reached the document's seq: they are one, or the document lies. */
static void compare(Look *look)
{
    const RunDocument *document = look->document;
    const Run *run = look->run;
    g_string_truncate(look->detail, 0);
    run_encode_detail(run, look->detail);
    g_autoptr(GString) members = g_string_new(NULL);
    if (document->status != run->status)
        g_string_append(members, ", status");
    if (document->phase != run_phase(run))
        g_string_append(members, ", phase");
    if (strcmp(document->flow_id.text, run->flow_id.text) != 0)
        g_string_append(members, ", flow");
    if (strcmp(document->owner.text, run->owner.text) != 0)
        g_string_append(members, ", owner");
    if (document->detail_size != look->detail->len ||
        memcmp(document->detail, look->detail->str, look->detail->len) != 0)
        g_string_append(members, ", detail");
    if (members->len > 0)
        add_fault(look, "its document differs from its journal at event %" G_GINT64_FORMAT " in: %s", run->seq,
                  members->str + 2);
}

void fsck_sum_event(Fsck *fsck, const JournalEntry *entry)
{
    g_checksum_update(fsck->sum, (const guchar *)entry->text, (gssize)entry->size);
    g_checksum_update(fsck->sum, (const guchar *)"\n", 1);
}

static bool fold_entry(Fsck *fsck, Look *look, const JournalEntry *entry)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Event) event = event_decode(entry->text, entry->size, &error);
    if (event != NULL && strcmp(event->run_id.text, look->run_id->text) != 0)
        g_set_error(&error, FLOWOPS_ERROR, FLOWOPS_INTERNAL, "it is of run %s", event->run_id.text);
    if (error != NULL || !run_fold(look->run, event, &error)) {
        add_fault(look, "event %" G_GINT64_FORMAT " of its journal is broken: %s", entry->seq, error->message);
        return false;
    }
    run_actors_note(&look->actors, event);
    fsck_sum_event(fsck, entry);
    if (look->document != NULL && look->document->seq == look->run->seq)
        compare(look);
    return true;
}

static bool walk_journal(Fsck *fsck, Look *look, GError **error)
{
    bool has_more = true;
    while (has_more) {
        g_autoptr(GError) inner = NULL;
        g_autoptr(JournalPage) page = store_read_journal(fsck->store, look->run_id->text, look->run->seq,
                                                         JOURNAL_PAGE_ENTRIES, JOURNAL_PAGE_BYTES, &inner);
        if (page == NULL && !fsck_is_damage(inner)) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        if (page == NULL) {
            add_fault(look, "its journal cannot be read: %s", inner->message);
            return true;
        }
        for (size_t i = 0; i < page->n_entries; i++)
            if (!fold_entry(fsck, look, &page->entries[i]))
                return true;
        has_more = page->has_more;
    }
    look->is_whole = true;
    return true;
}

/* What was appended since the document was read is no fault; what its document has still not is. */
static bool look_behind(Fsck *fsck, Look *look, GError **error)
{
    g_autoptr(RunDocument) again = NULL;
    g_autoptr(GString) damage = g_string_new(NULL);
    if (!read_document(fsck, look->run_id, &again, damage, error))
        return false;
    if (again != NULL && again->seq >= look->run->seq)
        return true;
    look->is_behind = store_is_shared(fsck->store);
    if (!look->is_behind)
        add_fault(look, "its document ends at event %" G_GINT64_FORMAT ", its journal at %" G_GINT64_FORMAT,
                  look->document->seq, look->run->seq);
    return true;
}

static bool look_at(Fsck *fsck, const Id *run_id, Look *look, GError **error)
{
    g_autoptr(GString) damage = g_string_new(NULL);
    look_done(look);
    look->run_id = run_id;
    look->run = run_new();
    look->detail = g_string_sized_new(1024);
    look->faults = g_ptr_array_new_with_free_func(g_free);
    g_checksum_reset(fsck->sum);
    if (!read_document(fsck, run_id, &look->document, damage, error))
        return false;
    if (damage->len > 0)
        add_fault(look, "its document cannot be read: %s", damage->str);
    g_checksum_update(fsck->sum, (const guchar *)run_id->text, -1);
    if (!walk_journal(fsck, look, error))
        return false;
    if (look->document == NULL && look->run->seq > 0 && damage->len == 0)
        add_fault(look, "it has no document");
    if (look->document == NULL || !look->is_whole)
        return true;
    if (look->run->seq == 0)
        add_fault(look, "it has a document and no journal");
    else if (look->document->seq > look->run->seq)
        add_fault(look, "its document is at event %" G_GINT64_FORMAT ", its journal ends at %" G_GINT64_FORMAT,
                  look->document->seq, look->run->seq);
    else if (look->document->seq < look->run->seq)
        return look_behind(fsck, look, error);
    return true;
}

/* ---- what follows from a look ---- */

static bool repair(Fsck *fsck, Look *look, GError **error)
{
    RunRow row;
    run_row_build(look->run, &look->actors, look->detail, &row);
    StoreWrite write = {.kind = WRITE_PROJECTION, .projection = &row, .is_forced = true};
    if (!store_write(fsck->store, &write, 1, error))
        return false;
    fsck->report.n_repaired += look->faults->len;
    fsck_tell(fsck, "run %s: its document was made anew from event 1 to %" G_GINT64_FORMAT, look->run_id->text,
              look->run->seq);
    return true;
}

/* Counts and tells; a run that is gone by now was deleted. */
static bool settle(Fsck *fsck, Look *look, GError **error)
{
    bool is_there = look->run->seq > 0 || look->faults->len > 0;
    if (!is_there)
        return true;
    fsck->report.n_runs++;
    fsck->report.n_events += look->run->seq;
    fsck->report.n_behind += look->is_behind;
    fsck_end_sum(fsck);
    for (guint i = 0; i < look->faults->len; i++)
        fsck_fault(fsck, "run %s: %s", look->run_id->text, (const char *)look->faults->pdata[i]);
    bool is_wrong = look->faults->len > 0 || look->is_behind;
    bool can_repair = look->is_whole && look->run->seq > 0;
    return !fsck->options->repairs || !is_wrong || !can_repair || repair(fsck, look, error);
}

/* Suspects of a shared store get the time that a document may take to follow its journal. */
static bool settle_suspects(Fsck *fsck, GError **error)
{
    if (fsck->suspects->len == 0)
        return true;
    Bell pause; /* nobody rings it */
    bell_init(&pause);
    int64_t now_ms;
    while ((now_ms = clock_monotonic_ms(fsck->clock)) < fsck->suspected_at + SETTLE_MS)
        bell_wait(&pause, fsck->suspected_at + SETTLE_MS - now_ms);
    bell_done(&pause);
    bool is_done = true;
    for (guint i = 0; i < fsck->suspects->len && is_done; i++) {
        g_auto(Look) look = {0};
        is_done = look_at(fsck, &g_array_index(fsck->suspects, Id, i), &look, error) && settle(fsck, &look, error);
    }
    g_array_set_size(fsck->suspects, 0);
    return is_done;
}

/* What a page of runs is asked for at once. */
typedef struct {
    RunSeq known[FSCK_PAGE]; /* how far each journal was read */
    Id flow_ids[FSCK_PAGE];
    int64_t flow_versions[FSCK_PAGE];
    size_t n;
} Page;

static bool check_run(Fsck *fsck, const Id *run_id, Page *page, GError **error)
{
    g_auto(Look) look = {0};
    if (!look_at(fsck, run_id, &look, error))
        return false;
    if (look.faults->len > 0 && !store_is_shared(fsck->store) && !look_at(fsck, run_id, &look, error))
        return false; /* looked at again: what was half there a moment ago is no fault */
    if (look.run->seq > 0 && look.is_whole) {
        page->known[page->n] = (RunSeq){.run_id = *run_id, .seq = look.run->seq};
        page->flow_ids[page->n] = look.run->flow_id;
        page->flow_versions[page->n++] = look.run->flow_version;
    }
    if (look.faults->len == 0 || !store_is_shared(fsck->store))
        return settle(fsck, &look, error);
    g_array_append_val(fsck->suspects, *run_id);
    fsck->suspected_at = clock_monotonic_ms(fsck->clock);
    return fsck->suspects->len < MAX_SUSPECTS || settle_suspects(fsck, error);
}

/* A journal that goes on was written to meanwhile, or has a gap where reading it stopped. */
static bool check_gaps(Fsck *fsck, const Page *page, GError **error)
{
    bool is_newer[FSCK_PAGE];
    if (!store_find_newer(fsck->store, page->known, page->n, is_newer, error))
        return false;
    for (size_t i = 0; i < page->n; i++) {
        if (!is_newer[i])
            continue;
        g_autoptr(GError) inner = NULL;
        g_autoptr(JournalPage) next =
            store_read_journal(fsck->store, page->known[i].run_id.text, page->known[i].seq, 1, 1, &inner);
        if (next == NULL && !fsck_is_damage(inner)) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        if (next == NULL || next->n_entries == 0)
            fsck_fault(fsck, "run %s: its journal has a gap after event %" G_GINT64_FORMAT, page->known[i].run_id.text,
                       page->known[i].seq);
    }
    return true;
}

static bool check_flow_versions(Fsck *fsck, const Page *page, GError **error)
{
    int64_t heads[FSCK_PAGE];
    if (!store_get_flow_versions(fsck->store, page->flow_ids, page->n, heads, error))
        return false;
    for (size_t i = 0; i < page->n; i++) {
        if (page->flow_versions[i] >= 1 && page->flow_versions[i] <= heads[i])
            continue;
        g_autoptr(GError) inner = NULL;
        g_autoptr(Flow) flow = page->flow_versions[i] < 1 ? NULL
                                                          : store_get_flow(fsck->store, page->flow_ids[i].text,
                                                                           page->flow_versions[i], &inner);
        if (flow != NULL)
            continue;
        if (inner != NULL && inner->code != FLOWOPS_NOT_FOUND && !fsck_is_damage(inner)) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        fsck_fault(fsck, "run %s: flow %s has no version %" G_GINT64_FORMAT, page->known[i].run_id.text,
                   page->flow_ids[i].text, page->flow_versions[i]);
    }
    return true;
}

bool fsck_check_runs(Fsck *fsck, GError **error)
{
    Id ids[FSCK_PAGE], after = {""};
    g_autofree Page *page = g_new(Page, 1);
    size_t n = FSCK_PAGE;
    while (n == FSCK_PAGE) {
        if (!store_list_run_ids(fsck->store, after.text, FSCK_PAGE, ids, &n, error))
            return false;
        page->n = 0;
        for (size_t i = 0; i < n; i++)
            if (!check_run(fsck, &ids[i], page, error))
                return false;
        if (page->n > 0 && (!check_gaps(fsck, page, error) || !check_flow_versions(fsck, page, error)))
            return false;
        if (n > 0)
            after = ids[n - 1];
        fsck_progress(fsck);
    }
    return settle_suspects(fsck, error);
}
