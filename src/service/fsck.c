/* fsck.c - the order of a check, its lines, its digest, and the outbox. Flows come first: runs name their versions. */
#include "service/fsck_internal.h"

#include <string.h>

#define REPAIRS_MS 30000 /* for what a busy server has to catch up with: 64 MiB at most */

bool fsck_is_damage(const GError *error)
{
    return error->domain == FLOWOPS_ERROR && (error->code == FLOWOPS_INTERNAL || error->code == FLOWOPS_INVALID);
}

static PRINTF_LIKE(2, 0) void tell(const Fsck *fsck, const char *format, va_list args)
{
    g_autofree char *line = g_strdup_vprintf(format, args);
    g_strdelimit(line, "\n\r", ' '); /* what is told is one line, whatever a damaged text holds */
    fsck->options->tell(fsck->options->arg, line);
}

void fsck_tell(Fsck *fsck, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(fsck, format, args);
    va_end(args);
}

void fsck_fault(Fsck *fsck, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(fsck, format, args);
    va_end(args);
    fsck->report.n_faults++;
}

void fsck_progress(Fsck *fsck)
{
    if (fsck->options->progress != NULL)
        fsck->options->progress(fsck->options->arg, &fsck->report);
}

void fsck_end_sum(Fsck *fsck)
{
    guint8 digest[FSCK_DIGEST_SIZE];
    gsize size = sizeof digest;
    g_checksum_get_digest(fsck->sum, digest, &size);
    g_checksum_reset(fsck->sum);
    for (size_t i = 0; i < sizeof digest; i++)
        fsck->report.digest[i] ^= digest[i];
}

void fsck_sum_entry(Fsck *fsck, const RunSeq *entry)
{
    g_autofree char *text = g_strdup_printf("outbox %s %" G_GINT64_FORMAT, entry->run_id.text, entry->seq);
    g_checksum_update(fsck->sum, (const guchar *)text, -1);
    fsck_end_sum(fsck);
    fsck->report.n_outbox++;
}

/* ---- the outbox ---- */

typedef enum { ENTRY_RIGHT, ENTRY_WRONG, ENTRY_UNREADABLE } EntryState;

/* Does this place in the journal hold something to publish? */
static EntryState look_at_entry(Fsck *fsck, const RunSeq *entry, GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autoptr(JournalPage) page =
        store_read_journal(fsck->store, entry->run_id.text, MAX(entry->seq, 1) - 1, 1, 1, &inner);
    if (page == NULL && !fsck_is_damage(inner)) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return ENTRY_UNREADABLE;
    }
    if (page == NULL || page->n_entries == 0 || page->entries[0].seq != entry->seq)
        return ENTRY_WRONG;
    g_autoptr(Event) event = event_decode(page->entries[0].text, page->entries[0].size, NULL);
    return event != NULL && event->command != COMMAND_NONE ? ENTRY_RIGHT : ENTRY_WRONG;
}

/* A run that was deleted meanwhile took its entries along. */
static bool is_still_there(Fsck *fsck, const RunSeq *entry, bool *ret_is_there, GError **error)
{
    RunSeq entries[FSCK_PAGE];
    size_t n = 0;
    if (!store_read_outbox_of(fsck->store, entry->run_id.text, entry->seq + 1, G_N_ELEMENTS(entries), entries, &n,
                              error))
        return false;
    *ret_is_there = n == G_N_ELEMENTS(entries); /* so many of one run: it is among them or behind them */
    for (size_t i = 0; i < n; i++)
        *ret_is_there = *ret_is_there || entries[i].seq == entry->seq;
    return true;
}

static bool drop_entry(Fsck *fsck, const RunSeq *entry, GError **error)
{
    StoreWrite write = {.kind = WRITE_PUBLISHED, .published = *entry};
    if (!store_write(fsck->store, &write, 1, error))
        return false;
    fsck->report.n_repaired++;
    fsck_tell(fsck, "run %s: the outbox entry was dropped", entry->run_id.text);
    return true;
}

static bool check_entry(Fsck *fsck, const RunSeq *entry, GError **error)
{
    EntryState state = look_at_entry(fsck, entry, error);
    if (state == ENTRY_RIGHT)
        fsck_sum_entry(fsck, entry);
    bool is_there = false;
    if (state != ENTRY_WRONG)
        return state == ENTRY_RIGHT;
    if (!is_still_there(fsck, entry, &is_there, error))
        return false;
    if (!is_there)
        return true;
    fsck_fault(fsck, "run %s: the outbox names event %" G_GINT64_FORMAT ", which orders nothing", entry->run_id.text,
               entry->seq);
    /* WRITE_PUBLISHED is for seqs that can be. */
    return !fsck->options->repairs || entry->seq < 1 || drop_entry(fsck, entry, error);
}

static bool check_outbox(Fsck *fsck, GError **error)
{
    RunSeq entries[FSCK_PAGE], after;
    size_t n = FSCK_PAGE;
    for (const RunSeq *from = NULL; n == FSCK_PAGE; from = &after) {
        if (!store_read_outbox(fsck->store, from, FSCK_PAGE, entries, &n, error))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!check_entry(fsck, &entries[i], error))
                return false;
        if (n > 0)
            after = entries[n - 1];
    }
    return true;
}

/* What was mended follows in a shared store: it is done when it is there. */
static bool settle(const Fsck *fsck, GError **error)
{
    if (!fsck->options->repairs || store_settle(fsck->store, REPAIRS_MS))
        return true;
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_UNAVAILABLE, "the documents made anew were not written within %d s",
                REPAIRS_MS / 1000);
    return false;
}

bool fsck_check_store(Store *store, const Clock *clock, const FsckOptions *options, FsckReport *ret_report,
                      GError **error)
{
    Fsck fsck = {.store = store, .clock = clock, .options = options};
    int64_t began_at = clock_monotonic_ms(clock);
    fsck.sum = g_checksum_new(G_CHECKSUM_SHA256);
    fsck.suspects = g_array_new(FALSE, FALSE, sizeof(Id));
    bool is_done = fsck_check_flows(&fsck, error) && fsck_check_runs(&fsck, error) && check_outbox(&fsck, error) &&
                   settle(&fsck, error);
    fsck.report.elapsed_ms = clock_monotonic_ms(clock) - began_at;
    g_array_unref(fsck.suspects);
    g_checksum_free(fsck.sum);
    if (is_done)
        *ret_report = fsck.report;
    return is_done;
}
