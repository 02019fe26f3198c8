/* service.h - the use cases: flows, runs and what watches over them. HTTP asks through ServiceCalls, engines through the
 * bus, both meet in the writer, which decides, appends, answers.
 * Thread: service_submit() and service_find_run(): any, never blocking (loops call them). The rest: main.
 * Owner: app. A ServiceCall belongs to its maker, is borrowed by the service from a successful submit until `done`. */
#ifndef FLOWOPS_SERVICE_SERVICE_H
#define FLOWOPS_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/histogram.h"
#include "bus/bus.h"
#include "domain/backfill.h"
#include "domain/fault.h"
#include "domain/flow.h"
#include "domain/run.h"
#include "hub/hub.h"
#include "store/store.h"

#define SLOT_LABEL "flowops.slot" /* of a run that a schedule starts: the slot, an instant in UTC */

#define BACKFILL_LABEL "flowops.backfill" /* of one that a backfill starts, too: the backfill's id */

typedef struct Service Service;

typedef struct {
    int64_t max_open_runs;     /* a start beyond this is refused with 503: MAX_OPEN_RUNS */
    size_t cache_bytes;        /* run cache bound */
    size_t n_readers;          /* store reader threads */
    int64_t command_resend_ms; /* COMMAND_RESEND_SECONDS */
    bool has_scheduler;        /* schedules are driven; false: by nobody, or step by step by a test */
    int64_t run_retention_ms; /* a settled run is deleted so long after its last change; 0: never. RUN_RETENTION_DAYS */
    const char *const *zone_names; /* as FlowOrigin.zone_names; the caller keeps them while the service runs */
} ServiceOptions;

/* Starts writer, readers, relay, intake and sweeper. On a bus that is not durable nothing is published before an engine has
 * announced itself; then it is given what an earlier process left. */
MUST_CHECK Service *service_start(Store *store, Bus *bus, Hub *hub, const Clock *clock, const ServiceOptions *options,
                                  GError **error);
/* No more calls are taken (BUSY); what was taken goes on. On a bus that is not durable commands are published no more: its
 * engine is about to end. */
void service_close_doors(Service *service);
/* True when every command that this process ordered, and may publish, is on the bus. */
bool service_is_relay_idle(Service *service);
/* After service_close_doors() and bus_shutdown(). What the intake has is appended; a call that still waits is answered BUSY
 * without the store, so that the end does not hang on what has queued; threads are joined. */
void service_stop(Service *service);

/* ---- calls ---- */

typedef enum {
    /* writer */
    CALL_CREATE_FLOW, /* flow */
    CALL_UPDATE_FLOW, /* flow_id body precondition */
    CALL_DELETE_FLOW, /* flow_id is_forced precondition */
    CALL_START_RUN,   /* flow_id start */
    CALL_COMMAND_RUN, /* run_id command is_forced precondition */
    CALL_DELETE_RUN,  /* run_id precondition */
    /* readers */
    CALL_GET_FLOW,         /* flow_id */
    CALL_LIST_FLOWS,       /* query */
    CALL_GET_RUN,          /* run_id */
    CALL_LIST_RUNS,        /* query */
    CALL_READ_EVENTS,      /* run_id after limit */
    CALL_READ_DECISIONS,   /* flow_id before limit */
    CALL_GET_SCHEDULE,     /* flow_id query.from limit */
    CALL_CREATE_BACKFILL,  /* flow_id backfill.request, start's key; data: the state, or what a dry run has found */
    CALL_COMMAND_BACKFILL, /* flow_id backfill.id backfill.command */
    CALL_GET_BACKFILL,     /* flow_id backfill.id */
    CALL_LIST_BACKFILLS,   /* query */
    CALL_PREVIEW_SCHEDULE, /* flow query.from limit */
} CallKind;

typedef enum {
    RESULT_OK,            /* data holds the payload, where there is one */
    RESULT_NOTHING_TO_DO, /* a command that is already so or already pending: 200 */
    RESULT_INVALID,       /* faults */
    RESULT_NOT_FOUND,
    RESULT_CONFLICT,
    RESULT_PRECONDITION_FAILED,
    RESULT_BUSY,        /* a bound was reached, nothing happened */
    RESULT_UNAVAILABLE, /* the store is down, nothing happened */
    RESULT_UNKNOWN,     /* the store failed in the middle: may have taken effect */
    RESULT_INTERNAL,
} CallResult;

/* If-Match: strong comparison with a version or seq (RFC 9110, 13.1.1). */
typedef struct {
    bool is_set;
    bool is_any;   /* `*` */
    int64_t *tags; /* the tags that could be ours; others match nothing */
    size_t n_tags;
} Precondition;

/* An immutable view of a run: what GET status and a stream's snapshot show. Shared by reference count. */
typedef struct {
    Id run_id, flow_id, owner;
    RunStatus status;
    RunPhase phase;
    int64_t seq;
    int64_t
        ended_monotonic_ms; /* when this process appended the terminal status, or learned of it (shared store); 0: before it
                                   began, or not ended */
    const char *detail;     /* run detail, JSON */
    size_t detail_size;
    const Run *run; /* the folded state; NULL when only the document was read */
    int ref_count;  /* atomic */
} RunView;
RunView *run_view_ref(RunView *view);
void run_view_unref(RunView *view);

typedef struct ServiceCall ServiceCall;
struct ServiceCall {
    CallKind kind;
    void (*done)(ServiceCall *call); /* called once, on a thread of the service; must not block */
    void *arg;                       /* the maker's */

    /* in; owned by the call */
    Id caller; /* the user */
    Id flow_id, run_id;
    Flow *flow;      /* CREATE_FLOW, PREVIEW_SCHEDULE: validated on the caller's side */
    JsonValue *body; /* UPDATE_FLOW */
    Precondition precondition;
    CommandKind command;
    bool is_forced;
    bool is_exact; /* GET_RUN: with all that is in the journal, though its document be behind */
    struct {
        char *triggered_by; /* NULL: the caller */
        TextMap labels, inputs;
        char *idempotency_key; /* NULL: none */
        char *request_digest;  /* with a key: equal for equal bodies */
    } start;
    struct {
        Id id; /* out of CREATE_BACKFILL, too */
        BackfillRequest request;
        BackfillCommand command;
    } backfill;
    struct { /* owned copies behind query's pointers */
        Id flow_id, step_id;
        RunStatus status;
        char *triggered_by, *label_name, *label_value;
        ListPosition after;
    } query_text;
    ListQuery query;
    int64_t after;  /* READ_EVENTS */
    int64_t before; /* READ_DECISIONS: those with a lower n; INT64_MAX: from the newest */
    size_t limit;   /* events, decisions, slots */

    /* out */
    CallResult result;
    char *message;           /* for a person; NULL with RESULT_OK */
    Faults *faults;          /* RESULT_INVALID */
    GString *data;           /* JSON payload: summary, detail, array; NULL: none */
    int64_t tag;             /* version or seq behind the ETag; 0: none */
    RunView *view;           /* GET_RUN and COMMAND_RUN */
    JournalPage *journal;    /* READ_EVENTS */
    DecisionPage *decisions; /* READ_DECISIONS */
    int64_t next_before;     /* READ_DECISIONS: for the next page */
    ListPage *list;          /* LIST_* */
};

ServiceCall *service_call_new(CallKind kind, void (*done)(ServiceCall *call), void *arg);
void service_call_free(ServiceCall *call); /* frees everything in and out */

/* BUSY: a queue is full or the doors are closed; `done` is not called. */
MUST_CHECK bool service_submit(Service *service, ServiceCall *call, GError **error);

/* The cached view, or NULL: then CALL_GET_RUN reads it. Never waits for the store. Only with a store whose one writer is
 * this process; otherwise always NULL. */
RunView *service_find_run(Service *service, const char *run_id);

/* ---- health and figures ---- */

#define LATENESS_BUCKETS 6 /* up to each of these, and what is above */
#define LATENESS_BOUNDS_MS \
    { \
        100, 500, 1000, 5000, 60000 \
    }

typedef struct {
    int64_t n_flows;                  /* that have a schedule here */
    int64_t n_given_up;               /* whose schedule or its journal is damaged */
    int64_t n_owed;                   /* decided to start, and not made yet */
    int64_t n_decisions[4];           /* by SlotVerdict, recorded by this process */
    int64_t n_late[LATENESS_BUCKETS]; /* slots started out of no queue, by how late; each bucket alone */
    int64_t late_sum_ms;
} ScheduleFigures;

/* HistogramShapes of the two below. */
#define COMMIT_SIZE_SHAPE \
    { \
        11, \
        { \
            1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 \
        } \
    }
#define COMMIT_DURATION_SHAPE_US \
    { \
        13, \
        { \
            100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 5000000 \
        } \
    }

typedef struct {
    Histogram size_items;  /* calls and batches that one commit answered */
    Histogram duration_us; /* of commits; counted in both, or in neither */
    int64_t n_failures;    /* writes that the store refused, or whose outcome stayed open */
    /* What committed journals say, by RunStatus and StepStatus; PENDING of runs: those created. Whatever engine said it. */
    int64_t n_runs[RUN_STOPPED + 1], n_steps[STEP_CANCELLED + 1];
} CommitFigures;

typedef struct {
    bool is_store_up, is_bus_up, is_accepting;
    bool is_store_impaired;           /* it works, but lacks something: indexes */
    bool is_relay_idle;               /* as service_is_relay_idle() */
    char bus_reason[BUS_REASON_SIZE]; /* why it is not up */
    int64_t status_lag;               /* messages not yet taken in; -1: not known */
    int32_t n_partitions;             /* of statuses, held by this replica */
    size_t n_writes_queued, n_reads_queued;
    size_t n_commands_waiting;             /* for the relay's turn, in memory */
    int64_t relay_lag_ms;                  /* age of the first command that is not on the bus; 0: there is none */
    size_t n_bus_commands, n_bus_statuses; /* as BusHealth's n_commands_queued, n_statuses_queued */
    int64_t n_open_runs, n_commits, n_appends, n_events_appended;
    int64_t n_statuses_ignored, n_dead_letters;
    int64_t n_commands_published;
    size_t n_runs_cached;
    size_t cache_size_bytes;
    ScheduleFigures schedules;
    CommitFigures commits;
} ServiceHealth;
ServiceHealth service_health(Service *service);

/* Whether the writer waits for work or has taken a step since the last call. It takes one within 30 s though the store does
 * not answer, since every call of a store ends by itself. Thread: main. */
bool service_writer_moves(Service *service);

#endif
