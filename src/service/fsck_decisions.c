/* fsck_decisions.c - what a flow's schedule decided: from 1 without a gap, each following from those before it. */
#include "service/fsck_internal.h"

#include <string.h>

#include "domain/schedule.h"

void fsck_sum_decision(Fsck *fsck, const DecisionEntry *entry)
{
    g_checksum_update(fsck->sum, (const guchar *)entry->text, (gssize)entry->size);
    g_checksum_update(fsck->sum, (const guchar *)(entry->is_owed ? "owed" : "made"), -1);
    fsck_end_sum(fsck);
    fsck->report.n_decisions++;
}

/* False: what follows cannot be folded. */
static bool check_decision(Fsck *fsck, const Flow *flow, const DecisionEntry *entry, ScheduleState *state)
{
    g_autoptr(GError) broken = NULL;
    ScheduleDecision decision;
    Id flow_id;
    if (!schedule_decision_decode(entry->text, entry->size, &decision, &flow_id, &broken) ||
        !schedule_state_fold(state, &decision, &broken)) {
        fsck_fault(fsck, "flow %s: decision %" G_GINT64_FORMAT " of its schedule: %s", flow->id.text, state->n + 1,
                   broken->message);
        return false;
    }
    if (strcmp(flow_id.text, flow->id.text) != 0)
        fsck_fault(fsck, "flow %s: decision %" G_GINT64_FORMAT " of its schedule is flow %s's", flow->id.text,
                   decision.n, flow_id.text);
    if (decision.n_queued != (int64_t)state->n_queued)
        fsck_fault(fsck, "flow %s: decision %" G_GINT64_FORMAT " says %" G_GINT64_FORMAT " wait, %zu do", flow->id.text,
                   decision.n, decision.n_queued, state->n_queued);
    return true;
}

bool fsck_check_decisions(Fsck *fsck, const Flow *flow, GError **error)
{
    g_auto(ScheduleState) state = {0};
    bool has_more = true;
    schedule_state_init(&state, flow);
    while (has_more) {
        g_autoptr(GError) inner = NULL;
        g_autoptr(DecisionPage) page = store_read_decisions(fsck->store, flow->id.text, state.n, FSCK_PAGE, &inner);
        if (page == NULL && !fsck_is_damage(inner)) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        if (page == NULL) {
            fsck_fault(fsck, "flow %s: decisions of its schedule cannot be read: %s", flow->id.text, inner->message);
            return true;
        }
        for (size_t i = 0; i < page->n_entries; i++) {
            if (!check_decision(fsck, flow, &page->entries[i], &state))
                return true;
            fsck_sum_decision(fsck, &page->entries[i]);
        }
        has_more = page->has_more;
    }
    return true;
}
