/* copy_backfills.c - a flow's backfills, one at a time. */
#include "service/copy_backfills.h"

#include "domain/backfill.h"
#include "service/backfills.h"

#define PAGE 100

static bool refuse(const Backfill *backfill, const char *why, GError **error)
{
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_CONFLICT, "backfill %s: %s", backfill->id.text, why);
    return false;
}

static bool write_entry(Store *target, const Backfill *backfill, const BackfillRecord *record, GError **error)
{
    g_autoptr(GString) state = g_string_new(NULL);
    StoreWrite write = backfill_write(backfill, state);
    if (backfill->n == 1) {
        write.backfill.plan = record->plan;
        write.backfill.plan_size = record->plan_size;
    }
    if (!store_write(target, &write, 1, error))
        return false;
    return write.ret_outcome == WRITTEN || refuse(backfill, "somebody else writes to the target", error);
}

static bool is_same_state(const Backfill *one, const Backfill *other)
{
    g_autoptr(GString) one_text = g_string_new(NULL);
    g_autoptr(GString) other_text = g_string_new(NULL);
    Backfill numbered = *one;
    numbered.n = other->n;
    backfill_encode(&numbered, one_text);
    backfill_encode(other, other_text);
    return g_string_equal(one_text, other_text);
}

static bool copy_backfill(Store *target, const BackfillRecord *record, GError **error)
{
    Backfill backfill, there;
    g_autoptr(GError) missing = NULL;
    if (!backfill_decode(record->state, record->state_size, &backfill, error))
        return false;
    g_autoptr(BackfillRecord) known = store_get_backfill(target, backfill.id.text, false, &missing);
    if (known == NULL && missing->code != FLOWOPS_NOT_FOUND) {
        g_propagate_error(error, g_steal_pointer(&missing));
        return false;
    }
    if (known == NULL) {
        backfill.n = 1;
        return write_entry(target, &backfill, record, error);
    }
    if (!backfill_decode(known->state, known->state_size, &there, error))
        return false;
    if (is_same_state(&backfill, &there))
        return true;
    if (there.updated_at > backfill.updated_at || there.n_started > backfill.n_started)
        return refuse(&backfill, "the target has gone on with it", error);
    backfill.n = there.n + 1;
    return write_entry(target, &backfill, record, error);
}

bool copy_backfills(StoreSource *source, Store *target, const Flow *flow, GError **error)
{
    ListPosition after;
    ListQuery query = {
        .owner = flow->owner.text, .flow_id = flow->id.text, .from = INSTANT_NONE, .to = INSTANT_NONE, .limit = PAGE};
    for (bool has_more = true; has_more; query.after = &after) {
        g_autoptr(ListPage) page = store_source_list_backfills(source, &query, error);
        if (page == NULL)
            return false;
        for (size_t i = 0; i < page->n_items; i++) {
            g_autoptr(BackfillRecord) record =
                source->ops->get_backfill(source, page->items[i].position.id.text, error);
            if (record == NULL || !copy_backfill(target, record, error))
                return false;
            after = page->items[i].position;
        }
        has_more = page->has_more;
    }
    return true;
}
