/* store_fault.c - the fault wrapper. Failing calls are chosen by number, so that a test can walk through every one of
 * them: before its effect, after it. */
#include "store/store_fault.h"

#include <string.h>

#include "base/thread.h"
#include "store/store_internal.h"

typedef struct {
    int64_t n_calls;
    int64_t first, n_times; /* by n_calls; n_times 0: none */
    FaultPoint point;
    bool is_held;
} MethodFault;

typedef struct {
    Store base;
    StoreOps ops; /* shared, or not, as inner is */
    Store *inner;
    Mutex mu;
    pthread_cond_t changed;
    MethodFault methods[N_STORE_METHODS]; /* guarded by mu */
    Id refused;                           /* guarded by mu; "": no run is */
} FaultStore;

typedef enum { PASS, FAIL_BEFORE, FAIL_AFTER } Verdict;

static Verdict enter(FaultStore *store, StoreMethod method)
{
    MUTEX_SCOPE(&store->mu);
    MethodFault *fault = &store->methods[method];
    int64_t call = ++fault->n_calls;
    pthread_cond_broadcast(&store->changed);
    while (fault->is_held) {
        pthread_cond_wait(&store->changed, &store->mu);
    }
    if (fault->n_times == 0 || call < fault->first || call - fault->first >= fault->n_times) {
        return PASS;
    }
    return fault->point == FAULT_BEFORE_EFFECT ? FAIL_BEFORE : FAIL_AFTER;
}

static void set_fault_error(GError **error, FlowopsError code)
{
    g_set_error_literal(error, FLOWOPS_ERROR, code, "the store fails on purpose");
}

static bool is_of_run(const StoreWrite *write, const Id *run_id)
{
    const RunRow *row = write->kind == WRITE_RUN          ? write->run.row
                        : write->kind == WRITE_PROJECTION ? write->projection
                                                          : NULL;
    return row != NULL && strcmp(row->run_id.text, run_id->text) == 0;
}

/* All but what is refused. */
static bool pass_write(FaultStore *store, StoreWrite *writes, size_t n_writes, GError **error)
{
    Id refused;
    {
        MUTEX_SCOPE(&store->mu);
        refused = store->refused;
    }
    g_autofree StoreWrite *passed = g_new(StoreWrite, n_writes + 1);
    size_t n = 0;
    for (size_t i = 0; i < n_writes; i++) {
        writes[i].ret_outcome = WRITE_REFUSED;
        if (!is_of_run(&writes[i], &refused)) {
            passed[n++] = writes[i];
        }
    }
    bool is_written = n == 0 || store->inner->ops->write(store->inner, passed, n, error);
    for (size_t i = 0, at = 0; i < n_writes; i++) {
        if (!is_of_run(&writes[i], &refused)) {
            writes[i].ret_outcome = passed[at++].ret_outcome;
        }
    }
    if (is_written && n < n_writes) {
        set_fault_error(error, FLOWOPS_INVALID);
    }
    return is_written && n == n_writes;
}

static bool fault_write(Store *base, StoreWrite *writes, size_t n_writes, GError **error)
{
    FaultStore *store = (FaultStore *)base;
    Verdict verdict = enter(store, STORE_WRITE);
    if (verdict == PASS) {
        return pass_write(store, writes, n_writes, error);
    }
    bool is_after = verdict == FAIL_AFTER;
    /* A write that fails by itself failed before its effect, and says so better. */
    if (is_after && !store->inner->ops->write(store->inner, writes, n_writes, error)) {
        return false;
    }
    for (size_t i = 0; i < n_writes; i++) {
        writes[i].ret_outcome = is_after ? WRITE_UNKNOWN : WRITE_NOTHING;
    }
    set_fault_error(error, is_after ? FLOWOPS_UNKNOWN : FLOWOPS_UNAVAILABLE);
    return false;
}

/* Reads have no effect: before and after are one. */
static bool may_read(Store *base, StoreMethod method, GError **error)
{
    bool passes = enter((FaultStore *)base, method) == PASS;
    if (!passes) {
        set_fault_error(error, FLOWOPS_UNAVAILABLE);
    }
    return passes;
}

static Store *inner_of(Store *base)
{
    return ((FaultStore *)base)->inner;
}

static Flow *fault_get_flow(Store *base, const char *flow_id, int64_t version, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_GET_FLOW, error) ? inner->ops->get_flow(inner, flow_id, version, error) : NULL;
}

static RunDocument *fault_get_run(Store *base, const char *run_id, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_GET_RUN, error) ? inner->ops->get_run(inner, run_id, error) : NULL;
}

static JournalPage *fault_read_journal(Store *base, const char *run_id, int64_t after, size_t max_entries,
                                       size_t max_bytes, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_JOURNAL, error)
               ? inner->ops->read_journal(inner, run_id, after, max_entries, max_bytes, error)
               : NULL;
}

static ListPage *fault_list_flows(Store *base, const ListQuery *query, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_FLOWS, error) ? inner->ops->list_flows(inner, query, error) : NULL;
}

static ListPage *fault_list_runs(Store *base, const ListQuery *query, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUNS, error) ? inner->ops->list_runs(inner, query, error) : NULL;
}

static bool fault_count_open_runs(Store *base, const char *flow_id, int64_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_COUNT_OPEN_RUNS, error) && inner->ops->count_open_runs(inner, flow_id, ret_n, error);
}

static bool fault_list_runs_in_phase(Store *base, RunPhase phase, int64_t requested_before, const char *after,
                                     size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUNS_IN_PHASE, error) &&
           inner->ops->list_runs_in_phase(inner, phase, requested_before, after, limit, ret_ids, ret_n, error);
}

static bool fault_list_runs_to_stop(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                    GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUNS_TO_STOP, error) &&
           inner->ops->list_runs_to_stop(inner, after, limit, ret_ids, ret_n, error);
}

static bool fault_list_runs_ended_before(Store *base, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                         GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUNS_ENDED_BEFORE, error) &&
           inner->ops->list_runs_ended_before(inner, before, limit, ret_ids, ret_n, error);
}

static bool fault_list_run_ids(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUN_IDS, error) &&
           inner->ops->list_run_ids(inner, after, limit, ret_ids, ret_n, error);
}

static bool fault_list_flow_ids(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_FLOW_IDS, error) &&
           inner->ops->list_flow_ids(inner, after, limit, ret_ids, ret_n, error);
}

static bool fault_read_outbox_of(Store *base, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                                 size_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_OUTBOX, error) &&
           inner->ops->read_outbox_of(inner, run_id, before_seq, limit, ret_entries, ret_n, error);
}

static bool fault_settle(Store *base, int64_t timeout_ms)
{
    Store *inner = inner_of(base);
    return inner->ops->settle(inner, timeout_ms);
}

static bool fault_list_runs_behind(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                   GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_RUNS_BEHIND, error) &&
           inner->ops->list_runs_behind(inner, after, limit, ret_ids, ret_n, error);
}

static bool fault_find_newer(Store *base, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_FIND_NEWER, error) && inner->ops->find_newer(inner, known, n, ret_is_newer, error);
}

static bool fault_get_flow_versions(Store *base, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_GET_FLOW_VERSIONS, error) &&
           inner->ops->get_flow_versions(inner, flow_ids, n, ret_versions, error);
}

static bool fault_read_outbox(Store *base, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                              GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_OUTBOX, error) &&
           inner->ops->read_outbox(inner, after, limit, ret_entries, ret_n, error);
}

static DecisionPage *fault_read_decisions(Store *base, const char *flow_id, int64_t after, size_t limit, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_DECISIONS, error) ? inner->ops->read_decisions(inner, flow_id, after, limit, error)
                                                       : NULL;
}

static DecisionPage *fault_read_newest_decisions(Store *base, const char *flow_id, int64_t before, size_t limit,
                                                 GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_DECISIONS, error)
               ? inner->ops->read_newest_decisions(inner, flow_id, before, limit, error)
               : NULL;
}

static DecisionPage *fault_read_owed_decisions(Store *base, const char *flow_id, const DecisionKey *after, size_t limit,
                                               GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_OWED_DECISIONS, error)
               ? inner->ops->read_owed_decisions(inner, flow_id, after, limit, error)
               : NULL;
}

static ScheduledPage *fault_read_scheduled_flows(Store *base, const char *after, size_t limit, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_READ_SCHEDULED_FLOWS, error)
               ? inner->ops->read_scheduled_flows(inner, after, limit, error)
               : NULL;
}

static bool fault_list_changed_flows(Store *base, int64_t from, const FlowVersion *after, size_t limit,
                                     FlowVersion *ret_flows, size_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_CHANGED_FLOWS, error) &&
           inner->ops->list_changed_flows(inner, from, after, limit, ret_flows, ret_n, error);
}

static bool fault_list_open_system_runs(Store *base, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                        GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_OPEN_SYSTEM_RUNS, error) &&
           inner->ops->list_open_system_runs(inner, flow_id, limit, ret_ids, ret_n, error);
}

static BackfillRecord *fault_get_backfill(Store *base, const char *backfill_id, bool has_plan, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_GET_BACKFILL, error) ? inner->ops->get_backfill(inner, backfill_id, has_plan, error)
                                                     : NULL;
}

static ListPage *fault_list_backfills(Store *base, const ListQuery *query, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_BACKFILLS, error) ? inner->ops->list_backfills(inner, query, error) : NULL;
}

static bool fault_list_open_backfills(Store *base, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                                      GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_LIST_OPEN_BACKFILLS, error) &&
           inner->ops->list_open_backfills(inner, after, limit, ret_ids, ret_n, error);
}

static bool fault_count_open_backfills(Store *base, const char *owner, int64_t *ret_n, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_COUNT_OPEN_BACKFILLS, error) &&
           inner->ops->count_open_backfills(inner, owner, ret_n, error);
}

static bool fault_check(Store *base, GError **error)
{
    Store *inner = inner_of(base);
    return may_read(base, STORE_CHECK, error) && inner->ops->check(inner, error);
}

static const unsigned char *fault_secret(Store *base)
{
    Store *inner = inner_of(base);
    return inner->ops->secret(inner);
}

static void fault_interrupt(Store *base)
{
    store_interrupt(inner_of(base));
}

static void fault_close(Store *base)
{
    FaultStore *store = (FaultStore *)base;
    store_close(store->inner);
    pthread_cond_destroy(&store->changed);
    mutex_done(&store->mu);
    g_free(store);
}

static const StoreOps fault_ops = {
    .name = "fault",
    .write = fault_write,
    .get_flow = fault_get_flow,
    .get_run = fault_get_run,
    .read_journal = fault_read_journal,
    .list_flows = fault_list_flows,
    .list_runs = fault_list_runs,
    .count_open_runs = fault_count_open_runs,
    .list_runs_in_phase = fault_list_runs_in_phase,
    .list_runs_to_stop = fault_list_runs_to_stop,
    .list_runs_ended_before = fault_list_runs_ended_before,
    .list_run_ids = fault_list_run_ids,
    .list_flow_ids = fault_list_flow_ids,
    .read_outbox = fault_read_outbox,
    .read_outbox_of = fault_read_outbox_of,
    .settle = fault_settle,
    .list_runs_behind = fault_list_runs_behind,
    .find_newer = fault_find_newer,
    .get_flow_versions = fault_get_flow_versions,
    .read_decisions = fault_read_decisions,
    .read_newest_decisions = fault_read_newest_decisions,
    .read_owed_decisions = fault_read_owed_decisions,
    .read_scheduled_flows = fault_read_scheduled_flows,
    .list_changed_flows = fault_list_changed_flows,
    .list_open_system_runs = fault_list_open_system_runs,
    .get_backfill = fault_get_backfill,
    .list_backfills = fault_list_backfills,
    .list_open_backfills = fault_list_open_backfills,
    .count_open_backfills = fault_count_open_backfills,
    .check = fault_check,
    .secret = fault_secret,
    .interrupt = fault_interrupt,
    .close = fault_close,
};

Store *store_open_fault(Store *inner)
{
    g_assert(inner != NULL);
    FaultStore *store = g_new0(FaultStore, 1);
    store->ops = fault_ops;
    store->ops.is_shared = inner->ops->is_shared;
    store->base.ops = &store->ops;
    store->inner = inner;
    mutex_init(&store->mu);
    pthread_cond_init(&store->changed, NULL);
    return &store->base;
}

static FaultStore *fault_store(Store *base)
{
    g_assert(base->ops->write == fault_write);
    return (FaultStore *)base;
}

void store_fault_set(Store *base, StoreMethod method, FaultPoint point, int64_t nth, int64_t n_times)
{
    FaultStore *store = fault_store(base);
    g_assert(nth >= 1 && n_times >= 0);
    MUTEX_SCOPE(&store->mu);
    MethodFault *fault = &store->methods[method];
    fault->first = fault->n_calls + nth;
    fault->n_times = n_times;
    fault->point = point;
}

void store_fault_refuse(Store *base, const Id *run_id)
{
    FaultStore *store = (FaultStore *)base;
    MUTEX_SCOPE(&store->mu);
    store->refused = run_id != NULL ? *run_id : (Id){""};
}

void store_fault_hold(Store *base, StoreMethod method, bool is_held)
{
    FaultStore *store = fault_store(base);
    MUTEX_SCOPE(&store->mu);
    store->methods[method].is_held = is_held;
    pthread_cond_broadcast(&store->changed);
}

int64_t store_fault_count(Store *base, StoreMethod method)
{
    FaultStore *store = fault_store(base);
    MUTEX_SCOPE(&store->mu);
    return store->methods[method].n_calls;
}
