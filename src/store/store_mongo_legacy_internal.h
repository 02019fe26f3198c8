/* store_mongo_legacy_internal.h - what the files that read the older service's documents share. Thread: main. */
#ifndef FLOWOPS_STORE_STORE_MONGO_LEGACY_INTERNAL_H
#define FLOWOPS_STORE_STORE_MONGO_LEGACY_INTERNAL_H

#include "store/store_mongo_internal.h"
#include "store/store_mongo_legacy.h"

/* ---- store_mongo_legacy_value.c: single values, each of which may be missing or of another type ---- */

/* How a UUID may be stored, those first that are taken before the others when one id is there in several. */
typedef enum { LEGACY_JAVA, LEGACY_BINARY, LEGACY_TEXT, LEGACY_UPPER_TEXT, N_LEGACY_FORMS } LegacyForm;
MUST_CHECK bool legacy_value_id(const bson_iter_t *value, Id *ret_id, LegacyForm *ret_form); /* ret_form may be NULL */
void legacy_append_id(bson_t *array, uint32_t *index, const Id *id, LegacyForm form);

/* The member when it is there and not null. */
MUST_CHECK bool legacy_find(const bson_t *document, const char *key, bson_iter_t *ret_value);
MUST_CHECK bool legacy_find_id(const bson_t *document, const char *key, Id *ret_id);
const char *legacy_find_text(const bson_t *document, const char *key);                /* NULL */
int64_t legacy_find_instant(const bson_t *document, const char *key);                 /* INSTANT_NONE */
bool legacy_find_count(const bson_t *document, const char *key, int64_t *ret_number); /* no negative one */
/* A document or an array to walk over; borrowed. */
MUST_CHECK bool legacy_find_inner(const bson_t *document, const char *key, bson_t *ret_inner);
MUST_CHECK bool legacy_value_inner(const bson_iter_t *value, bson_t *ret_inner);
/* Any value as text: a UUID canonical, an instant as ISO 8601, what has parts as JSON. NULL for null. */
char *legacy_value_text(const bson_iter_t *value);
/* An object as compact JSON, or NULL when it is none that can be kept. */
char *legacy_object_json(const bson_t *object);
/* The document's _id for a person. */
char *legacy_show_id(const bson_t *document);

/* ---- store_mongo_legacy_flow.c ---- */

/* What a flow's document may leave out. */
typedef struct {
    Id id, owner;
    int64_t created_at, updated_at;
} LegacyFlowFacts;

/* NULL: *ret_reason says why it cannot be taken. *ret_lost_schedule says why it is taken without its schedule, or is NULL. The
 * caller frees both. */
Flow *legacy_flow_read(const bson_t *document, const LegacyFlowFacts *facts, char **ret_reason,
                       char **ret_lost_schedule);

/* ---- store_mongo_legacy_run.c ---- */

typedef struct {
    Id id;
    GPtrArray *events;  /* of char *, event_encode() texts: event i has seq i + 1 */
    bool is_start_owed; /* no engine has it: its START is to be published */
} LegacyRun;
void legacy_run_done(LegacyRun *run);

/* createdAt, else startedAt, else the newest instant in the document, else INSTANT_NONE. */
int64_t legacy_run_created_at(const bson_t *document);
/* False: *ret_reason says why it cannot be taken. */
bool legacy_run_read(const bson_t *document, const Id *id, const Flow *flow, int64_t created_at, LegacyRun *ret_run,
                     char **ret_reason);

#endif
