/* service_internal.h - what the files of the service share: its threads, queues, caches and the writer's items. */
#ifndef FLOWOPS_SERVICE_SERVICE_INTERNAL_H
#define FLOWOPS_SERVICE_SERVICE_INTERNAL_H

#include <stdatomic.h>

#include "base/queue.h"
#include "base/thread.h"
#include "domain/message.h"
#include "domain/schedule.h"
#include "service/cache.h"
#include "service/service.h"

#define WRITE_QUEUE_ITEMS 4096               /* calls and batches waiting for the writer; beyond: 503 */
#define WRITE_QUEUE_BYTES (64 * 1024 * 1024) /* of bodies and messages among them */
#define READ_QUEUE_ITEMS 4096
#define READ_QUEUE_BYTES (16 * 1024 * 1024)
#define WRITE_GROUP_ITEMS 1024     /* of one commit: bounds its latency and memory */
#define WRITE_LOOK_MAX 512         /* runs or flows that a shared store is asked about at once */
#define STATUS_BATCH_MESSAGES 2048 /* taken from the bus at once; they share a commit. Fewer cost a page write each */
#define WRITE_ATTEMPTS 16          /* an append that lost to another writer is decided again so often */
#define ORDERS_ITEMS 8192 /* appended commands on their way to the relay; beyond: they wait in the outbox only */
#define ORDERS_BYTES (32 * 1024 * 1024) /* of the states they hold */
#define KNOWN_SEQS_BYTES \
    (8 * 1024 * 1024)         /* how far journals of a shared store are known to be: the newest 50,000 or so */
#define SETTLE_AFTER_MS 10000 /* an engine has this long to close the steps of a run that ended */

typedef enum {
    ITEM_CALL,
    ITEM_STATUSES,    /* a batch from the bus: one commit, one outcome */
    ITEM_HAND_OVER,   /* these runs go to an engine again */
    ITEM_STOP,        /* these are stopped on the service's own behalf (their flow was deleted by force) */
    ITEM_SETTLE,      /* these ended and their engine left steps open */
    ITEM_PUBLISHED,   /* outbox entries are on the bus */
    ITEM_REFRESH,     /* the documents of these are behind their journals */
    ITEM_DELETE_RUNS, /* these have settled and are past their retention */
    ITEM_DECISIONS, /* what schedules decided, and marks of what was made: a commit of its own, outcomes in the writes */
    ITEM_SLOTS,     /* the runs of slots that are to start */
} WriterItemKind;

typedef enum {
    STATUS_APPENDED,
    STATUS_IGNORED,  /* understood, changes nothing */
    STATUS_REJECTED, /* a dead letter; reason says why */
} StatusOutcome;

typedef struct {
    StatusMessage *message;
    StatusOutcome outcome;
    char *reason;
} StatusItem;

/* A slot whose run is to be made. */
typedef struct {
    DecisionKey key;
    Flow *flow; /* the version that decided it */
    Id run_id;
    int64_t slot;
    TextMap inputs;
    const Id *backfill_id; /* that starts it; NULL: its time has come */
    bool is_refused;       /* MAX_OPEN_RUNS: to be tried again */
} SlotStart;

/* Work for the writer. Belongs to its maker, who waits for done. */
typedef struct WriterItem WriterItem;
struct WriterItem {
    WriterItemKind kind;
    void (*done)(WriterItem *item); /* on the writer's thread, when the outcome is durable; must not block */
    void *arg;
    CallResult result; /* OK, UNAVAILABLE, UNKNOWN ...: of the item as a whole */
    int n_attempts;
    ServiceCall *call; /* ITEM_CALL */
    const Id *run_ids; /* HAND_OVER, STOP, SETTLE, REFRESH, DELETE_RUNS: one commit, one outcome */
    size_t n_run_ids;
    const Announcement *announcement; /* HAND_OVER: to whom */
    StatusItem *statuses;
    size_t n_statuses;
    size_t n_settled; /* the writer's: of the statuses, from the first, what is durable or needs nothing; 0 at first */
    const RunSeq *published; /* PUBLISHED */
    size_t n_published;
    StoreWrite *writes; /* DECISIONS */
    size_t n_writes;
    SlotStart *slots; /* SLOTS: there, or made, or refused, when the result is OK */
    size_t n_slots;
    char *message; /* why, when the result is not OK; freed by the maker */

    /* The writer's own, between decision and commit: what the outcome hangs on. */
    struct TouchedRun *touched;
    Flow *flow;
    size_t n_taken; /* of the statuses, by this group and those before it */
};

/* What the scheduler is told by other threads. */
typedef struct {
    Bell bell;
    Mutex mu;
    GHashTable *changed;   /* guarded by mu; ids of flows with a new version */
    GHashTable *ended;     /* guarded by mu; ids of flows of whose slots a run has ended */
    GHashTable *backfills; /* guarded by mu; ids of those that were made or steered */
    bool has_overflown;    /* guarded by mu; more than fits: everything is to be read again */
} SchedulerNotes;

struct Service {
    Store *store;
    Bus *bus;
    Hub *hub;
    const Clock *clock;
    ServiceOptions options;

    Cache *runs;        /* run id -> RunView */
    Cache *flows;       /* flow id -> newest Flow */
    Cache *definitions; /* "flow id:version" -> Flow, for START of runs whose flow has moved on */

    Cache *known_seqs; /* shared store: run id -> how far its journal is known to be, as the version of no value */

    Queue *writes; /* of WriterItem */
    Queue *reads;  /* of ServiceCall */
    Queue *orders; /* of Order: what was just appended, for the relay; a full queue leaves it to the outbox */
    Thread *writer;
    Thread **readers;
    Thread *relay;
    Thread *intake;
    Thread *sweeper;
    Thread *updates;   /* shared store */
    Thread *scheduler; /* NULL without options.has_scheduler */
    Bell relay_bell;   /* there is something new to publish */
    Bell sweeper_bell; /* a flow was deleted by force */
    Bell stop_bell;    /* closed when the service stops: what a thread waits on between two tries */

    Mutex zones_mu;
    CronZones *zones; /* guarded by zones_mu */
    SchedulerNotes notes;
    struct {
        atomic_int_fast64_t n_flows, n_given_up, n_owed, n_decisions[4], n_late[LATENESS_BUCKETS], late_sum_ms;
    } schedules;

    bool is_shared; /* other processes write to the store, too: what is cached may be behind */

    atomic_bool is_accepting;
    atomic_bool is_stopping;
    atomic_bool is_past_deadline; /* calls that still wait are answered BUSY without the store */
    /* Commands may be published: the bus keeps them, or an engine has taken its place on it and has been given what an
     * earlier process left. */
    atomic_bool is_relay_open;
    atomic_bool is_outbox_behind;      /* the outbox has entries that are in no queue */
    atomic_bool is_relay_idle;         /* the relay has published all it knows of */
    atomic_bool may_have_runs_to_stop; /* a flow was deleted by force, now or before this process began */
    atomic_bool is_store_up;           /* as the last write or read found it */
    atomic_bool is_store_impaired;     /* as the sweeper found it: it works, but lacks something */
    atomic_bool is_bus_up;
    atomic_int_fast64_t n_open_runs;
    atomic_bool is_writer_waiting;
    atomic_int_fast64_t n_writer_steps;
    int64_t n_writer_steps_seen; /* service_writer_moves() */
    bool is_open_count_unsure;   /* the writer's: a write's outcome stayed open */
    atomic_int_fast64_t n_commits, n_appends, n_events_appended;
    atomic_int_fast64_t n_statuses_ignored, n_dead_letters, n_commands_published;
    CommitFigures commits; /* the writer's, read by any: base/histogram.h */
    /* The relay's: what is in line there, and when the first of it was ordered (INSTANT_NONE: nothing is). */
    atomic_size_t n_relay_waiting;
    atomic_int_fast64_t relay_waits_since;
};

/* ---- views (service.c) ---- */

/* Takes `run` (may be NULL) and `detail`. */
RunView *run_view_new(const Id *run_id, const Id *flow_id, const Id *owner, RunStatus status, RunPhase phase,
                      int64_t seq, Run *run, char *detail, size_t detail_size);
size_t run_view_size_bytes(const RunView *view);
/* For the cache: a folded view is more than the document alone of the same seq, and takes its place. */
int64_t run_view_version(const RunView *view);

/* A committed state of the run, folded: from the cache, else from its journal (then cached). Any thread but a loop.
 * *ret_is_current (NULL: never mind): it is the newest. With a shared store a cached one may be behind: good for what
 * appends, since the append finds out. NOT_FOUND, or a store's error. */
MUST_CHECK RunView *service_load_run(Service *service, const char *run_id, bool *ret_is_current, GError **error);
/* The newest committed state, whoever wrote it. */
MUST_CHECK RunView *service_load_current(Service *service, const char *run_id, GError **error);
/* What GET shows: content with the document alone (view->run may be NULL), but never less than this process has shown or
 * heard of before. One round trip of a shared store, two when its document is behind. */
MUST_CHECK RunView *service_load_document(Service *service, const char *run_id, GError **error);
/* For what never changes (whose run it is): whatever is cached will do. */
MUST_CHECK RunView *service_peek_run(Service *service, const char *run_id, GError **error);
/* Notes how far a run's journal is; nothing where the store is not shared. */
void service_note_seq(Service *service, const char *run_id, int64_t seq);
/* version 0: the newest, which may be a deletion. */
MUST_CHECK Flow *service_load_flow(Service *service, const char *flow_id, int64_t version, GError **error);

/* Of a flow that has a cron. Any thread but a loop: opening a zone takes 2 ms the first time. */
MUST_CHECK Schedule *service_open_schedule(Service *service, const Flow *flow, GError **error);

/* What a store's error means for who asked. */
CallResult call_result_of(const GError *error);
void call_fail(ServiceCall *call, CallResult result, const char *format, ...) PRINTF_LIKE(3, 4);
/* With what the store said of a read. */
void call_fail_with(Service *service, ServiceCall *call, const GError *error);
/* The caller's flow, or NULL: the call is settled. Readers. */
Flow *call_load_own_flow(Service *service, ServiceCall *call);
void service_note_store(Service *service, const GError *error); /* NULL: it answered */

/* ---- orders (order.c): commands on their way from the journal to the bus ---- */

typedef struct {
    RunView *view; /* a state that includes it; a reference */
    CommandKind command;
    Id command_id;
    int64_t timestamp;
    int64_t seq;
    bool is_repeat; /* what is pending, and was published before: nothing to mark, and no hand-over makes up for it */
    bool is_taken_over; /* another replica's: its run's document may be missing, too */
} Order;
Order *order_new(const Event *event); /* without a view */
/* The pending command of a state. */
Order *order_new_pending(RunView *view);
/* The order behind an outbox entry. NOT_FOUND when its event is not there (yet). */
MUST_CHECK Order *order_load(Service *service, const RunSeq *entry, GError **error);
void order_free(Order *order);
size_t order_size_bytes(const Order *order);
/* Nothing is said for what a later hand-over makes up for, nor a START of a run that has ended (stopped by force before it
 * was published): nobody would stop it again. */
bool order_is_superseded(Service *service, const Order *order);
/* Adds the order's message to an array of BusMessage; two for a START behind which a pending command is said again. */
MUST_CHECK bool order_encode(Service *service, const Order *order, GPtrArray *messages, GError **error);

/* How long the first command in line has waited for the bus; relay.c, any thread. */
int64_t service_relay_lag_ms(Service *service);

/* ---- threads ---- */
void writer_main(void *service);
void reader_main(void *service);
void relay_main(void *service);
void intake_main(void *service);
void sweeper_main(void *service);
void updates_main(void *service);
void scheduler_main(void *service);

/* ---- notes to the scheduler (scheduler_notes.c); any thread, never blocking ---- */
void scheduler_notes_init(SchedulerNotes *notes);
void scheduler_notes_done(SchedulerNotes *notes);
void scheduler_note_flow(Service *service, const Id *flow_id);
void scheduler_note_end(Service *service, const Id *flow_id);
void scheduler_note_backfill(Service *service, const Id *backfill_id);

/* Gives the writer an item, for threads that may block (relay, intake, sweeper); `latch` is rung when it is done. False: the
 * service is stopping and the item was not taken. */
MUST_CHECK bool writer_submit(Service *service, WriterItem *item, size_t weight_bytes, Bell *latch);
/* The same, and waits until it is done. */
MUST_CHECK bool writer_do(Service *service, WriterItem *item, size_t weight_bytes, Bell *latch);

#endif
