/* fsck_flow.c - flows: versions from 1 without a gap, a deletion only at the end, and a head that names the newest. */
#include "service/fsck_internal.h"

#include <string.h>

#include "base/thread.h"

#define HEAD_WAIT_MS 20
#define HEAD_WAITS_MAX 150 /* 3 s in all: a store without heads is not waited for each time */

/* NULL without an error: it is not there, or damaged and told. */
static Flow *get_version(Fsck *fsck, const Id *flow_id, int64_t version, bool *ret_is_failed, GError **error)
{
    g_autoptr(GError) inner = NULL;
    Flow *flow = store_get_flow(fsck->store, flow_id->text, version, &inner);
    *ret_is_failed = false;
    if (flow != NULL)
        return flow;
    if (fsck_is_damage(inner)) {
        fsck_fault(fsck, "flow %s: version %" G_GINT64_FORMAT " cannot be read: %s", flow_id->text, version,
                   inner->message);
    } else if (inner->code != FLOWOPS_NOT_FOUND) {
        *ret_is_failed = true;
        g_propagate_error(error, g_steal_pointer(&inner));
    } else if (version == 0) {
        fsck_fault(fsck, "flow %s: it has no versions", flow_id->text);
    } else {
        fsck_fault(fsck, "flow %s: version %" G_GINT64_FORMAT " is missing", flow_id->text, version);
    }
    return NULL;
}

void fsck_sum_version(Fsck *fsck, const Flow *flow)
{
    g_autoptr(GString) text = g_string_sized_new(flow->steps_json_size + 1024);
    flow_encode(flow, text);
    g_checksum_update(fsck->sum, (const guchar *)text->str, (gssize)text->len);
    fsck_end_sum(fsck);
    fsck->report.n_flow_versions++;
}

static void check_version(Fsck *fsck, const Flow *flow, const Id *flow_id, int64_t version, const Flow *newest)
{
    if (flow->version != version || strcmp(flow->id.text, flow_id->text) != 0)
        fsck_fault(fsck, "flow %s: version %" G_GINT64_FORMAT " holds version %" G_GINT64_FORMAT " of flow %s",
                   flow_id->text, version, flow->version, flow->id.text);
    if (strcmp(flow->owner.text, newest->owner.text) != 0)
        fsck_fault(fsck, "flow %s: version %" G_GINT64_FORMAT " has another owner than the newest", flow_id->text,
                   version);
    if (flow->is_deleted && version < newest->version)
        fsck_fault(fsck, "flow %s: versions follow its deletion, which is version %" G_GINT64_FORMAT, flow_id->text,
                   version);
}

/* A version that was written since the head was read makes both newer: so the head is read again before it is wrong. */
static bool check_head(Fsck *fsck, const Flow *newest, const Id *flow_id, int64_t head, GError **error)
{
    if (head == newest->version)
        return true;
    if (!store_get_flow_versions(fsck->store, flow_id, 1, &head, error))
        return false;
    g_autoptr(Flow) again = store_get_flow(fsck->store, flow_id->text, 0, error);
    if (again == NULL)
        return false;
    if (head < newest->version || head > again->version)
        fsck_fault(fsck, "flow %s: its head says version %" G_GINT64_FORMAT ", its newest is %" G_GINT64_FORMAT,
                   flow_id->text, head, again->version);
    return true;
}

bool fsck_wait_for_head(Fsck *fsck)
{
    Bell pause; /* nobody rings it */
    if (fsck->n_head_waits >= HEAD_WAITS_MAX)
        return false;
    fsck->n_head_waits++;
    bell_init(&pause);
    bell_wait(&pause, HEAD_WAIT_MS);
    bell_done(&pause);
    return true;
}

/* A flow that is being made has its first version before its head, where the two are no one write. */
static void wait_for_head(Fsck *fsck, const Id *flow_id)
{
    bool is_there = false;
    do {
        g_autoptr(Flow) flow = store_get_flow(fsck->store, flow_id->text, 0, NULL);
        is_there = flow != NULL;
    } while (!is_there && fsck_wait_for_head(fsck));
}

static bool check_flow(Fsck *fsck, const Id *flow_id, int64_t head, GError **error)
{
    bool is_failed;
    if (head == 0 && store_is_shared(fsck->store))
        wait_for_head(fsck, flow_id);
    g_autoptr(Flow) newest = get_version(fsck, flow_id, 0, &is_failed, error);
    fsck->report.n_flows++;
    if (newest == NULL)
        return !is_failed;
    for (int64_t version = 1; version <= newest->version; version++) {
        g_autoptr(Flow) flow =
            version == newest->version ? flow_ref(newest) : get_version(fsck, flow_id, version, &is_failed, error);
        if (flow == NULL && is_failed)
            return false;
        if (flow == NULL)
            continue;
        check_version(fsck, flow, flow_id, version, newest);
        fsck_sum_version(fsck, flow);
    }
    return fsck_check_decisions(fsck, newest, error) && fsck_check_backfills(fsck, newest, error) &&
           check_head(fsck, newest, flow_id, head, error);
}

bool fsck_check_flows(Fsck *fsck, GError **error)
{
    Id ids[FSCK_PAGE], after = {""};
    int64_t heads[FSCK_PAGE];
    size_t n = FSCK_PAGE;
    while (n == FSCK_PAGE) {
        if (!store_list_flow_ids(fsck->store, after.text, FSCK_PAGE, ids, &n, error))
            return false;
        if (n > 0 && !store_get_flow_versions(fsck->store, ids, n, heads, error))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!check_flow(fsck, &ids[i], heads[i], error))
                return false;
        if (n > 0)
            after = ids[n - 1];
        fsck_progress(fsck);
    }
    return true;
}
