/* store_mongo_internal.h - the MongoDB store's own layout, shared by the store_mongo*.c files. docs/mongodb.md explains
 * the database: collections, indexes, what is written when, and which servers do what.
 * Every call pops a client of the pool for as long as it lasts: any thread may be in any of them. */
#ifndef FLOWOPS_STORE_STORE_MONGO_INTERNAL_H
#define FLOWOPS_STORE_STORE_MONGO_INTERNAL_H

#include <mongoc/mongoc.h>

#include "base/thread.h"
#include "store/store_internal.h"

#define MONGO_SECRET_SIZE 32
#define MONGO_SCHEMA_VERSION 1

/* The server's limit for one document. What is larger is refused here: sent, it would take its whole bulk with it. */
#define MONGO_DOCUMENT_MAX_BYTES (16 * 1024 * 1024)

/* One bulk is one command, so that what is said of it is said of all its documents: within the least that servers take
 * (1000 documents in mongo-java-server, 48 MB in all). */
#define MONGO_BULK_MAX_ITEMS 1000
#define MONGO_BULK_MAX_BYTES (32 * 1024 * 1024)

/* What lists and counts wait for, so that who has started a run through this process finds it: the documents of its own
 * writes. Beyond that they may lag. */
#define MONGO_OWN_WRITES_MS 500

/* Dates of documents have years of four digits; what is asked for beyond that is no date every server can read. */
#define MONGO_INSTANT_MIN INT64_C(-62167219200000)
#define MONGO_INSTANT_MAX INT64_C(253402300799999)

typedef enum {
    COLLECTION_RUN_EVENTS,
    COLLECTION_RUNS,
    COLLECTION_FLOW_VERSIONS,
    COLLECTION_FLOWS,
    COLLECTION_DECISIONS,
    COLLECTION_SCHEDULES,
    COLLECTION_BACKFILLS,
    COLLECTION_BACKFILL_ENTRIES,
    COLLECTION_ENGINES,
    COLLECTION_META,
    N_COLLECTIONS,
} MongoCollection;

typedef struct Projector Projector;
typedef struct Setup Setup;

/* A command that a method's caller waits for, as it is sent. */
typedef void (*MongoObserver)(void *arg, const bson_t *command);

/* Commands sent, counted only when a test asks for it: libmongoc copies each bulk for whoever listens. */
typedef struct {
    int64_t n_by_callers;    /* atomic; what a method's caller waited for */
    int64_t n_in_background; /* atomic; projector and setup */
    MongoObserver observe;   /* NULL: none; on the thread of the caller */
    void *observe_arg;
} MongoTraffic;

typedef struct {
    Store base;
    mongoc_client_pool_t *pool;
    char *database;
    const Clock *clock; /* borrowed; instants in documents */
    Clock *timer;       /* real time: deadlines and pauses */
    Projector *projector;
    Setup *setup;
    MongoTraffic traffic;
    int64_t interrupted_at; /* atomic; by `timer`, in ms; 0: it is not */
    int64_t returned_at;    /* atomic; the same: when a client came back last */
    int n_leases;           /* atomic; clients that are out */
    bool is_given_up;       /* atomic; never goes back */
    bool claims_atomic_replace;
    bool must_exist; /* opened for what is in it: nothing is made */

    /* Nothing is read or written before the database is known to be of our version. */
    Mutex admission_mu;
    bool is_admitted;                        /* atomic; never goes back */
    bool has_atomic_replace;                 /* valid once admitted: a replacement with a condition is one step */
    size_t n_updates_at_once;                /* valid once admitted: in one command */
    unsigned char secret[MONGO_SECRET_SIZE]; /* valid once admitted */
    int64_t n_admission_attempts;            /* atomic */
    GError *admission_error;                 /* guarded by admission_mu: of the last attempt */
} MongoStore;

/* What may be asked for beyond store_open_mongo(). */
typedef struct {
    bool counts_traffic;
    bool claims_atomic_replace; /* as if the server had it */
    bool must_exist;            /* store_open_mongo_existing() */
    MongoObserver observe;      /* with counts_traffic */
    void *observe_arg;
} MongoOptions;
MUST_CHECK Store *mongo_open(const char *uri, const char *database, const Clock *clock, const MongoOptions *options,
                             GError **error);
const MongoTraffic *mongo_traffic(const Store *store);
/* Waits until the documents and marks of everything written so far are in the database. False: not within this time. */
bool mongo_settle(Store *store, int64_t timeout_ms);

bool mongo_is_interrupted(const MongoStore *store);
/* Interrupted, and the server stands still: what is under way ends by its time-out, and nothing else is begun. */
bool mongo_is_given_up(MongoStore *store);

/* ---- store_mongo_connection.c ---- */

/* Borrows a client for the rest of the block. */
typedef struct {
    MongoStore *store;
    mongoc_client_t *client;
} ClientLease;
ClientLease client_lease_begin(MongoStore *store);
void client_lease_end(ClientLease *lease);
#define CLIENT_LEASE(lease, of_store) \
    __attribute__((cleanup(client_lease_end))) ClientLease lease = client_lease_begin(of_store)

mongoc_client_pool_t *mongo_pool_new(const char *uri, MongoStore *store, bool counts_traffic, GError **error);
void mongo_pool_close(MongoStore *store); /* none is fine */
/* Commands of this thread count as background. */
void mongo_mark_background_thread(void);

/* What a failed command tells about its effect. */
typedef enum {
    FAULT_NOT_SENT, /* no server, no login: nothing happened */
    FAULT_IN_DOUBT, /* the connection broke, the primary stepped down ...: it may have happened */
    FAULT_REFUSED,  /* the server understood and declined: nothing happened, and will not the next time */
} MongoFault;
MongoFault mongo_fault_of(const bson_error_t *failure);
/* UNAVAILABLE unless the server refused. The message names no credentials. */
void mongo_set_error(GError **error, const bson_error_t *failure, const char *doing);

mongoc_collection_t *mongo_collection(const ClientLease *lease, MongoCollection collection);
const char *mongo_collection_name(MongoCollection collection);

/* A find under way; NULL never. opts may be NULL. */
mongoc_cursor_t *mongo_find(const ClientLease *lease, MongoCollection collection, const bson_t *filter,
                            const bson_t *opts);
/* Steps to the next document, valid until the next step: 1, 0 at the end, -1 with error set. */
int mongo_next(mongoc_cursor_t *cursor, const bson_t **ret_document, const char *doing, GError **error);
/* The one document with this _id: 1, 0 when there is none, -1 with error set. ret_document is initialised on 1. */
int mongo_find_by_id(const ClientLease *lease, MongoCollection collection, const char *id, const bson_t *opts,
                     bson_t *ret_document, const char *doing, GError **error);
/* Ids of the runs that a filter finds, at most limit, ordered by sort_key. */
bool mongo_read_run_ids(const ClientLease *lease, const bson_t *filter, const char *sort_key, size_t limit, Id *ret_ids,
                        size_t *ret_n, GError **error);
/* {"flowId": {"$in": ids}} */
void mongo_filter_flow_ids(bson_t *filter, const GPtrArray *flow_ids);
/* {"_id": {"$in": ids}} */
void mongo_filter_ids_begin(bson_t *filter, bson_t *in, bson_t *ids);
void mongo_filter_ids_add(bson_t *ids, uint32_t index, const char *id);
void mongo_filter_ids_end(bson_t *filter, bson_t *in, bson_t *ids);

/* The documents of these _ids, begun empty and filled with mongo_filter_ids_add(&find.ids, n++, id): neither copied nor moved
 * meanwhile. mongo_find_ids() ends it; just these members are read. */
typedef struct {
    bson_t filter, in, ids;
} IdFind;
void id_find_begin(IdFind *find);
mongoc_cursor_t *mongo_find_ids(const ClientLease *lease, MongoCollection collection, IdFind *find,
                                const char *const *names, size_t n_names);

/* A member whose text lies between two; low and high are "$gt" or "$gte", "$lt" or "$lte". to NULL: no end. */
void mongo_filter_texts(bson_t *filter, const char *key, const char *low, const char *from, const char *high,
                        const char *to);
/* The run's records that begin at these seqs or between. */
void mongo_filter_records(bson_t *filter, const char *run_id, int64_t from, int64_t to);

/* Waits for a moment between two attempts. */
void mongo_pause(int64_t ms);

/* ---- store_mongo_uri.c ---- */

/* Of an address that the library has refused: which part is wrong, without what is in it. Free with g_free(). */
char *mongo_uri_fault(const char *uri);

/* ---- store_mongo_setup.c: what must be there before the first use, and the indexes ---- */

/* Every method's first step. At the first call that finds a server: its kind, the schema's version, the secret. Later free.
 * UNAVAILABLE: no server answers, or one that stands still was given up. */
MUST_CHECK bool mongo_admit(MongoStore *store, GError **error);
/* The thread that makes the indexes; it tries until it has them, then ends. */
Setup *setup_start(MongoStore *store, GError **error);
void setup_stop(Setup *setup); /* NULL is fine */
/* NULL is fine. INTERNAL: why indexes are still missing, once an attempt has failed; whatever it was, the store can be used. */
MUST_CHECK bool setup_check(Setup *setup, GError **error);

/* ---- store_mongo_form.c: the forms of documents ---- */

#define RECORD_ID_SIZE (ID_TEXT_SIZE + 16) /* "<id>:" and up to 15 digits */
/* "<runId>:<seq>" or "<flowId>:<version>", of one length so that text order is number order. */
void record_id(char ret_id[RECORD_ID_SIZE], const char *id, int64_t number);
#define RECORD_NUMBER_MAX INT64_C(999999999999) /* 12 digits */

bson_t *form_run_events(const RunAppend *append, int64_t now_ms, bson_oid_t *ret_token);
bson_t *form_run(const RunRow *row);
bson_t *form_flow_version(const Flow *flow, bson_oid_t *ret_token);
bson_t *form_flow_head(const Flow *flow); /* what lists and starts read: the newest version */

void append_text(bson_t *document, const char *key, const char *text); /* NULL: null */
void append_text_n(bson_t *document, const char *key, const char *text, size_t size);
void append_instant(bson_t *document, const char *key, int64_t ms); /* INSTANT_NONE: null */
/* Options of a find: just these members; the order. */
void append_fields(bson_t *opts, const char *const *names, size_t n);
void append_sort(bson_t *opts, const char *key, int direction);

/* Members of stored documents; the defaults are what an absent or differently typed one reads as. */
const char *member_text(const bson_t *document, const char *key, size_t *ret_size); /* NULL */
int64_t member_int(const bson_t *document, const char *key, int64_t otherwise);
int64_t member_instant(const bson_t *document, const char *key); /* INSTANT_NONE */
bool member_bool(const bson_t *document, const char *key);
void member_id(const bson_t *document, const char *key, Id *ret_id); /* "" */
const char *phase_name(RunPhase phase);
bool phase_parse(const char *text, RunPhase *ret_phase);

/* ---- store_mongo_insert.c ---- */

/* One document to be inserted under an _id that must be free. */
typedef struct {
    bson_t *document; /* borrowed */
    const char *id;
    bson_oid_t token;         /* its "appendId": whose it is, should the answer get lost */
    WriteOutcome ret_outcome; /* CONFLICT: the _id was taken */
    bool may_be_there;        /* for mongo_insert() itself */
    bool is_settled;
} MongoInsert;

/* Inserts all of them in unordered bulks. Waits for lost answers by inserting again, for a bounded time. False: some
 * outcome is NOTHING or UNKNOWN. */
bool mongo_insert(const ClientLease *lease, MongoCollection collection, MongoInsert *inserts, size_t n, GError **error);

/* What is owed after an insert: that is in and cannot be taken back, and while the rest is not done nobody may be told that it
 * was written. Tries as long as for an insert in doubt; false: the outcome is UNKNOWN. */
typedef bool (*MongoOwed)(const ClientLease *lease, const void *arg, GError **error);
bool mongo_finish(const ClientLease *lease, MongoOwed owed, const void *arg, WriteOutcome *ret_outcome, GError **error);

/* ---- store_mongo_project.c: run documents and marks of what was published, behind the writers ---- */

/* One run's share of a round. */
typedef struct {
    Id run_id;
    bson_t *document; /* owned; NULL: nothing to write */
    int64_t seq;      /* of the document */
    int64_t superseded_before;
    GArray *published; /* owned; of int64_t seqs; NULL: none */
    bool is_forced;    /* whatever document is there is replaced */
    /* Of the first record that was appended since the last round; 0: none. */
    int64_t first_seq;
    bool is_document_done;
    bool is_refused; /* the server will not have this document: its run's marks stay */
} Projection;
MUST_CHECK Projector *projector_start(MongoStore *store, GError **error);
void projector_stop(Projector *projector); /* writes what it has for up to 5 s; NULL is fine */
void projector_interrupt(Projector *projector);
/* How long a writer waits for room before it says that the store is not available. */
#define PROJECTOR_ROOM_MS 5000
/* Makes room for what is to be pushed, waiting while the projector is behind. UNAVAILABLE: it did not catch up. */
MUST_CHECK bool projector_reserve(Projector *projector, size_t n_items, size_t n_bytes, GError **error);
void projector_release(Projector *projector, size_t n_items, size_t n_bytes);

/* Each uses up what was reserved for it: one item, and a document's length. */
void projector_push_run(Projector *projector, const Projection *run); /* takes run->document */
void projector_push_published(Projector *projector, const RunSeq *published);
void projector_ring(Projector *projector);
bool projector_settle(Projector *projector, int64_t timeout_ms); /* what has come so far; false: not in time */
/* The same of these runs alone. */
MUST_CHECK bool projector_settle_runs(Projector *projector, const Id *run_ids, size_t n, int64_t timeout_ms);

/* ---- store_mongo_apply.c: what the projector does to the database ---- */

void projection_free(Projection *projection);

/* Writes the documents, then removes the marks. False: to be done again. */
bool projections_apply(MongoStore *store, Projection **projections, size_t n, GError **error);

/* ---- store_mongo_schedule.c ---- */

/* The WRITE_DECISION and WRITE_MADE among these; their outcomes are NOTHING before. */
bool mongo_write_decisions(const ClientLease *lease, StoreWrite *writes, size_t n_writes, GError **error);
DecisionPage *mongo_read_decisions(Store *store, const char *flow_id, int64_t after, size_t limit, GError **error);
DecisionPage *mongo_read_newest_decisions(Store *store, const char *flow_id, int64_t before, size_t limit,
                                          GError **error);
DecisionPage *mongo_read_owed_decisions(Store *store, const char *flow_id, const DecisionKey *after, size_t limit,
                                        GError **error);
ScheduledPage *mongo_read_scheduled_flows(Store *store, const char *after, size_t limit, GError **error);
bool mongo_list_changed_flows(Store *store, int64_t from, const FlowVersion *after, size_t limit,
                              FlowVersion *ret_flows, size_t *ret_n, GError **error);
bool mongo_list_open_system_runs(Store *store, const char *flow_id, size_t limit, Id *ret_ids, size_t *ret_n,
                                 GError **error);
/* Once for a database: flows that had a cron before there were schedules get what a scheduler reads. */
MUST_CHECK bool mongo_heal_schedules(MongoStore *store, GError **error);

/* ---- store_mongo_backfill.c ---- */

bool mongo_write_backfill(const ClientLease *lease, const BackfillEntry *entry, WriteOutcome *ret_outcome,
                          GError **error);
BackfillRecord *mongo_get_backfill(Store *store, const char *backfill_id, bool has_plan, GError **error);
bool mongo_list_open_backfills(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n,
                               GError **error);
bool mongo_count_open_backfills(Store *store, const char *owner, int64_t *ret_n, GError **error);

/* ---- store_mongo_engine.c ---- */

bool mongo_get_announced_at(Store *store, const char *engine_id, int64_t *ret_announced_at, GError **error);
bool mongo_put_announcement(Store *store, const Announcement *announcement, int64_t now_ms, GError **error);

/* ---- store_mongo_upkeep.c ---- */

WriteOutcome mongo_delete_runs(const ClientLease *lease, const Id *run_ids, size_t n, GError **error);
bool mongo_list_run_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool mongo_list_flow_ids(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool mongo_list_runs_ended_before(Store *store, int64_t before, size_t limit, Id *ret_ids, size_t *ret_n,
                                  GError **error);

/* ---- store_mongo_flow.c, store_mongo_write.c, store_mongo_read.c, store_mongo_list.c: the methods ---- */

bool mongo_write_flow(const ClientLease *lease, const Flow *flow, WriteOutcome *ret_outcome, GError **error);
Flow *mongo_get_flow(Store *store, const char *flow_id, int64_t version, GError **error);
bool mongo_get_flow_versions(Store *store, const Id *flow_ids, size_t n, int64_t *ret_versions, GError **error);

bool mongo_write(Store *store, StoreWrite *writes, size_t n_writes, GError **error);
bool mongo_check(Store *store, GError **error);

RunDocument *mongo_get_run(Store *store, const char *run_id, GError **error);
JournalPage *mongo_read_journal(Store *store, const char *run_id, int64_t after, size_t max_entries, size_t max_bytes,
                                GError **error);
bool mongo_count_open_runs(Store *store, const char *flow_id, int64_t *ret_n, GError **error);
bool mongo_list_runs_in_phase(Store *store, RunPhase phase, int64_t requested_before, const char *after, size_t limit,
                              Id *ret_ids, size_t *ret_n, GError **error);
bool mongo_list_runs_to_stop(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool mongo_read_outbox(Store *store, const RunSeq *after, size_t limit, RunSeq *ret_entries, size_t *ret_n,
                       GError **error);
bool mongo_read_outbox_of(Store *store, const char *run_id, int64_t before_seq, size_t limit, RunSeq *ret_entries,
                          size_t *ret_n, GError **error);
bool mongo_list_runs_behind(Store *store, const char *after, size_t limit, Id *ret_ids, size_t *ret_n, GError **error);
bool mongo_find_newer(Store *store, const RunSeq *known, size_t n, bool *ret_is_newer, GError **error);

ListPage *mongo_list_flows(Store *store, const ListQuery *query, GError **error);
ListPage *mongo_list_runs(Store *store, const ListQuery *query, GError **error);
ListPage *mongo_list_backfills(Store *store, const ListQuery *query, GError **error);
/* Counts what a filter finds. */
bool mongo_count(const ClientLease *lease, MongoCollection collection, const bson_t *filter, int64_t *ret_n,
                 GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(bson_t, bson_destroy)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(bson_t, bson_destroy)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(mongoc_collection_t, mongoc_collection_destroy)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(mongoc_cursor_t, mongoc_cursor_destroy)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(mongoc_bulk_operation_t, mongoc_bulk_operation_destroy)

#endif
