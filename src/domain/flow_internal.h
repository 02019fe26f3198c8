/* flow_internal.h - what the flow_*.c files share: building blocks of a Flow, and the reader of a client's step tree.
 * Thread: any; a FlowReader lives for one request. */
#ifndef FLOWOPS_DOMAIN_FLOW_INTERNAL_H
#define FLOWOPS_DOMAIN_FLOW_INTERNAL_H

#include "domain/flow_request.h"

/* Limits of a request beside those of flow.h; docs/flows.md lists them. Each keeps a hostile body from costing more than
 * a large honest one, or a typing mistake from becoming a run that waits for weeks. */
enum {
    FLOW_NAME_MAX_CHARS = 256,
    FLOW_DESCRIPTION_MAX_CHARS = 4096,
    LABELS_MAX = 64,
    LABEL_NAME_MAX_CHARS = 64,
    LABEL_VALUE_MAX_CHARS = 256,
    STEP_INPUTS_MAX = 256, /* and as many outputs */
    INPUT_NAME_MAX_CHARS = 256,
    INPUT_VALUE_MAX_BYTES = 64 * 1024,
    TYPE_NAME_MAX_CHARS = 64,
    FLOW_MAX_BRANCHES = 1000,       /* of all DECISIONs of a flow together */
    FLOW_PATTERNS_MAX_BYTES = 4096, /* of all patterns written in its conditions: compiling them takes 20 ms at worst */
    STEP_TIMEOUT_MAX_MS = 24 * 60 * 60 * 1000,
    STEP_RETRIES_MAX = 100,
    STEP_RETRY_DELAY_MAX_MS = 24 * 60 * 60 * 1000,
    /* JSON levels that FLOW_MAX_DEPTH levels of steps can take: array, step, array, branch for each; the rest holds
     * what a step and a flow have inside. */
    FLOW_JSON_DEPTH = 4 * FLOW_MAX_DEPTH + 16,
};

/* A flow with one reference and nothing in it yet: times INSTANT_NONE, version 1. */
Flow *flow_new(void);

const char *step_type_name(StepType type);
bool step_type_parse(const char *text, StepType *ret_type); /* any case */

void steps_encode(Step *const *steps, size_t n_steps, JsonWriter *writer, const char *key);
/* `schedule` with every member, its default where the request gave none; NULL is null. */
void flow_put_schedule(const ScheduleOptions *options, bool has_inputs, JsonWriter *writer);

/* A step as the request has it, with its place. */
typedef struct {
    Step *step;
    char *path;    /* `steps[0].branches[1].steps[0]` */
    size_t parent; /* index of the step it waits for (its parent, or the DECISION of its branch); NO_STEP: none */
} StepNode;
#define NO_STEP SIZE_MAX

typedef struct {
    const FlowOrigin *origin;
    Faults *faults;
    GString *path;          /* where the reader is */
    GArray *nodes;          /* StepNode, preorder of the contract */
    GHashTable *step_ids;   /* id (of the step) -> index + 1 into nodes; the first that has it */
    GHashTable *branch_ids; /* id (of the branch) -> path, owned */
    size_t n_steps;         /* seen, with those beyond the limits */
    size_t n_read;          /* elements of step arrays looked into, whatever they are */
    size_t n_branches;
    bool is_cut; /* some steps were not read: references can't be judged */
} FlowReader;

void flow_reader_init(FlowReader *reader, const FlowOrigin *origin, Faults *faults);
void flow_reader_done(FlowReader *reader); /* the steps are their owner's */

/* `.name` or `[i]` added to the path; flow_path_pop() takes what push returned. */
size_t flow_path_push(FlowReader *reader, const char *name);
size_t flow_path_push_index(FlowReader *reader, size_t i);
void flow_path_pop(FlowReader *reader, size_t mark);

/* The member `name` when it is there and of this type; a fault and NULL when it is of another, NULL when absent. */
const JsonValue *flow_read_member(FlowReader *reader, const JsonValue *object, const char *name, JsonType type);
/* A text member of at most max_chars characters, NULL when absent or at fault. */
char *flow_read_text(FlowReader *reader, const JsonValue *object, const char *name, size_t max_chars);
/* A fault at the path: of `value`, which should be of `type`. */
void flow_add_type_fault(FlowReader *reader, const JsonValue *value, JsonType type);
bool flow_text_is_blank(const char *text);

/* What an object of texts may hold. */
typedef struct {
    const char *what;                                                   /* "inputs" */
    size_t max_pairs, max_name_chars, max_value_chars, max_value_bytes; /* 0: not limited by that */
} MapLimits;
void flow_read_map(FlowReader *reader, const JsonValue *object, const char *name, const MapLimits *limits,
                   TextMap *ret_map);

/* `cron` and `timezone`, checked; NULL when absent or at fault. */
char *flow_read_cron(FlowReader *reader, const JsonValue *body);
char *flow_read_timezone(FlowReader *reader, const JsonValue *body);
/* A member that is an instant in the years 1970 to 2099; INSTANT_NONE when absent or at fault. */
int64_t flow_read_instant(FlowReader *reader, const JsonValue *object, const char *name);
/* The options under `schedule`; NULL when absent or no object. */
ScheduleOptions *flow_read_schedule(FlowReader *reader, const JsonValue *body);

/* The step tree under `steps`, as complete as its faults allow. */
void flow_read_steps(FlowReader *reader, const JsonValue *body, Step ***ret_steps, size_t *ret_n_steps);

/* References and conditions of every step read, then cycles. Ids in references become lower case. */
void flow_check_references(FlowReader *reader);

/* One edge: step `from` can't begin before step `to` has ended; indexes of nodes. */
typedef struct {
    uint32_t from, to;
} StepEdge;
/* Adds a fault for each cycle that a walk in definition order closes. Sorts the edges. */
void flow_check_cycles(FlowReader *reader, GArray *edges);

#endif
