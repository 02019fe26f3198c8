/* fsck_backfills.c - a flow's backfills: the newest entry and the plan make sense together, and lists show that entry. */
#include "service/fsck_internal.h"

#include <string.h>

void fsck_sum_backfill(Fsck *fsck, const Backfill *backfill, const BackfillRecord *record)
{
    g_autoptr(GString) state = g_string_new(NULL);
    Backfill numbered = *backfill;
    numbered.n = 1; /* a copy has no entries before the newest */
    backfill_encode(&numbered, state);
    g_checksum_update(fsck->sum, (const guchar *)state->str, (gssize)state->len);
    g_checksum_update(fsck->sum, (const guchar *)record->plan, (gssize)record->plan_size);
    fsck_end_sum(fsck);
    fsck->report.n_backfills++;
}

static void check_plan(Fsck *fsck, const Backfill *backfill, const BackfillPlan *plan)
{
    const char *id = backfill->id.text;
    if ((int64_t)plan->n_slots != backfill->n_slots)
        fsck_fault(fsck, "backfill %s: it has %" G_GINT64_FORMAT " slots, its plan %zu", id, backfill->n_slots,
                   plan->n_slots);
    for (size_t i = 0; i < plan->n_slots; i++) {
        if (plan->slots[i] < backfill->from || plan->slots[i] >= backfill->to ||
            (i > 0 && plan->slots[i] <= plan->slots[i - 1])) {
            fsck_fault(fsck, "backfill %s: slot %zu of its plan is out of range or order", id, i + 1);
            break;
        }
    }
}

static void check_state(Fsck *fsck, const Backfill *backfill, const Id *id, const Flow *flow)
{
    int64_t n_ended = backfill->n_completed + backfill->n_failed + backfill->n_stopped + backfill->n_deleted;
    if (strcmp(backfill->id.text, id->text) != 0)
        fsck_fault(fsck, "backfill %s: its entry is backfill %s's", id->text, backfill->id.text);
    if (strcmp(backfill->flow_id.text, flow->id.text) != 0 || strcmp(backfill->owner.text, flow->owner.text) != 0)
        fsck_fault(fsck, "backfill %s: listed for flow %s, its entry is of flow %s and owner %s", id->text,
                   flow->id.text, backfill->flow_id.text, backfill->owner.text);
    if (n_ended + (int64_t)backfill->n_open != backfill->n_started)
        fsck_fault(fsck,
                   "backfill %s: %" G_GINT64_FORMAT " slots were started, %" G_GINT64_FORMAT " ended and %zu are open",
                   id->text, backfill->n_started, n_ended, backfill->n_open);
}

/* The newest entry with the plan; NULL without an error: damaged, and told. */
static BackfillRecord *get_record(Fsck *fsck, const Id *id, Backfill *ret_backfill, BackfillPlan *ret_plan,
                                  GError **error)
{
    g_autoptr(GError) inner = NULL;
    g_autoptr(BackfillRecord) record = store_get_backfill(fsck->store, id->text, true, &inner);
    if (record == NULL && inner->code != FLOWOPS_NOT_FOUND && !fsck_is_damage(inner)) {
        g_propagate_error(error, g_steal_pointer(&inner));
        return NULL;
    }
    if (record != NULL && record->plan == NULL) {
        fsck_fault(fsck, "backfill %s: it has no plan", id->text);
        return NULL;
    }
    if (record != NULL && backfill_decode(record->state, record->state_size, ret_backfill, &inner) &&
        backfill_plan_decode(record->plan, record->plan_size, ret_plan, &inner))
        return g_steal_pointer(&record);
    fsck_fault(fsck, "backfill %s: its newest entry cannot be read: %s", id->text, inner->message);
    return NULL;
}

/* The number of the entry that lists show; 0: it is not shown, or cannot be read. */
static int64_t head_in(const ListPage *page, const Id *id)
{
    Backfill head;
    for (size_t i = 0; i < page->n_items; i++) {
        if (strcmp(page->items[i].position.id.text, id->text) == 0)
            return backfill_decode(page->items[i].json, page->items[i].size, &head, NULL) ? head.n : 0;
    }
    return 0;
}

/* Entry n was the newest when it was read, which was after the page: beside a writer the list is asked again, and a shared
 * store, which writes its head after the entry, is given a moment. */
static bool check_head(Fsck *fsck, const ListQuery *query, const ListPage *page, const Id *id, int64_t n,
                       GError **error)
{
    int64_t head = head_in(page, id);
    for (bool is_waiting = true; head < n && is_waiting;) {
        is_waiting = store_is_shared(fsck->store) && fsck_wait_for_head(fsck);
        g_autoptr(ListPage) again = store_list_backfills(fsck->store, query, error);
        if (again == NULL)
            return false;
        head = head_in(again, id);
    }
    if (head < n)
        fsck_fault(fsck, "backfill %s: lists show entry %" G_GINT64_FORMAT ", the newest is %" G_GINT64_FORMAT,
                   id->text, head, n);
    return true;
}

static bool check_backfill(Fsck *fsck, const Flow *flow, const ListQuery *query, const ListPage *page, const Id *id,
                           GError **error)
{
    Backfill backfill;
    g_auto(BackfillPlan) plan = {0};
    g_autoptr(GError) failure = NULL;
    g_autoptr(BackfillRecord) record = get_record(fsck, id, &backfill, &plan, &failure);
    if (failure != NULL) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (record == NULL)
        return true;
    check_state(fsck, &backfill, id, flow);
    check_plan(fsck, &backfill, &plan);
    fsck_sum_backfill(fsck, &backfill, record);
    return check_head(fsck, query, page, id, backfill.n, error);
}

bool fsck_check_backfills(Fsck *fsck, const Flow *flow, GError **error)
{
    ListPosition after;
    ListQuery query = {.owner = flow->owner.text,
                       .flow_id = flow->id.text,
                       .from = INSTANT_NONE,
                       .to = INSTANT_NONE,
                       .limit = FSCK_BACKFILLS_PAGE};
    for (bool has_more = true; has_more; query.after = &after) {
        g_autoptr(GError) inner = NULL;
        g_autoptr(ListPage) page = store_list_backfills(fsck->store, &query, &inner);
        if (page == NULL && fsck_is_damage(inner)) {
            fsck_fault(fsck, "flow %s: its backfills cannot be listed: %s", flow->id.text, inner->message);
            return true;
        }
        if (page == NULL) {
            g_propagate_error(error, g_steal_pointer(&inner));
            return false;
        }
        for (size_t i = 0; i < page->n_items; i++)
            if (!check_backfill(fsck, flow, &query, page, &page->items[i].position.id, error))
                return false;
        has_more = page->has_more;
        if (has_more)
            after = page->items[page->n_items - 1].position;
    }
    return true;
}
