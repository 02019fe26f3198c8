/* copy_decisions.c - a page of the source beside the same page of the target: what is there must be the same, the rest is
 * written. */
#include "service/copy_decisions.h"

#include <string.h>

#include "domain/schedule.h"

#define PAGE 256

typedef struct {
    Store *target;
    const char *flow_id;
    int64_t after; /* n of the last decision before the page */
    StoreWrite writes[PAGE];
    size_t n_writes;
} PageCopy;

/* The source's entry as the next one of its flow. */
static bool read_entry(const PageCopy *copy, const DecisionEntry *entry, int64_t n, DecisionRow *ret_row,
                       GError **error)
{
    ScheduleDecision decision;
    Id flow_id;
    if (!schedule_decision_decode(entry->text, entry->size, &decision, &flow_id, error)) {
        g_prefix_error(error, "the source's decision %" G_GINT64_FORMAT " of flow %s: ", n, copy->flow_id);
        return false;
    }
    if (decision.n != n || strcmp(flow_id.text, copy->flow_id) != 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_INTERNAL,
                    "the source's decision %" G_GINT64_FORMAT " of flow %s is not there, or another's", n,
                    copy->flow_id);
        return false;
    }
    *ret_row = (DecisionRow){.key = {flow_id, n},
                             .text = entry->text,
                             .size = entry->size,
                             .decided_at = decision.decided_at,
                             .is_owed = entry->is_owed};
    return true;
}

/* What the source has made since the first try is made. The other way round the target was at work meanwhile. */
static bool compare(PageCopy *copy, const DecisionRow *row, const DecisionEntry *there, GError **error)
{
    if (there->size != row->size || memcmp(there->text, row->text, row->size) != 0) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT,
                    "flow %s: decision %" G_GINT64_FORMAT " is another one in the target", copy->flow_id, row->key.n);
        return false;
    }
    if (row->is_owed && !there->is_owed) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT,
                    "flow %s: the target has made the run of decision %" G_GINT64_FORMAT ", the source has not",
                    copy->flow_id, row->key.n);
        return false;
    }
    if (there->is_owed && !row->is_owed)
        copy->writes[copy->n_writes++] = (StoreWrite){.kind = WRITE_MADE, .made = row->key};
    return true;
}

static bool flush(const PageCopy *copy, CopyReport *report, GError **error)
{
    StoreWrite *writes = (StoreWrite *)copy->writes;
    if (copy->n_writes == 0)
        return true;
    if (!store_write(copy->target, writes, copy->n_writes, error))
        return false;
    for (size_t i = 0; i < copy->n_writes; i++) {
        if (writes[i].ret_outcome != WRITTEN) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "flow %s: somebody else writes to the target",
                        copy->flow_id);
            return false;
        }
        report->n_decisions_written += writes[i].kind == WRITE_DECISION;
    }
    return true;
}

static bool copy_page(PageCopy *copy, const DecisionPage *from, const DecisionPage *to, CopyReport *report,
                      GError **error)
{
    if (to->n_entries > from->n_entries || (to->has_more && !from->has_more)) {
        g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "flow %s: the target has decided beyond the source",
                    copy->flow_id);
        return false;
    }
    copy->n_writes = 0;
    for (size_t i = 0; i < from->n_entries; i++) {
        DecisionRow row;
        if (!read_entry(copy, &from->entries[i], copy->after + (int64_t)i + 1, &row, error))
            return false;
        if (i >= to->n_entries)
            copy->writes[copy->n_writes++] = (StoreWrite){.kind = WRITE_DECISION, .decision = row};
        else if (!compare(copy, &row, &to->entries[i], error))
            return false;
    }
    report->n_decisions += (int64_t)from->n_entries;
    copy->after += (int64_t)from->n_entries;
    return flush(copy, report, error);
}

bool copy_decisions(StoreSource *source, Store *target, const char *flow_id, CopyReport *report, GError **error)
{
    g_autofree PageCopy *copy = g_new0(PageCopy, 1);
    copy->target = target;
    copy->flow_id = flow_id;
    bool has_more = true;
    while (has_more) {
        g_autoptr(DecisionPage) from = store_source_read_decisions(source, flow_id, copy->after, PAGE, error);
        g_autoptr(DecisionPage) to =
            from != NULL ? store_read_decisions(target, flow_id, copy->after, PAGE, error) : NULL;
        if (to == NULL || !copy_page(copy, from, to, report, error))
            return false;
        has_more = from->has_more;
    }
    return true;
}
