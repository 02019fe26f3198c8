/* query.h - a URL's query as names and values (application/x-www-form-urlencoded), and readers for one parameter each
 * that add a fault naming it when it is wrong. Parameters nobody asks for are ignored.
 * Thread: one at a time. Owner: embedded in its owner, query_done(). */
#ifndef FLOWOPS_HTTP_QUERY_H
#define FLOWOPS_HTTP_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/id.h"
#include "domain/fault.h"

#define QUERY_MAX_PARAMETERS 64

typedef struct {
    char *text; /* the decoded copy that names and values point into */
    struct {
        const char *name;
        const char *value;
    } parameters[QUERY_MAX_PARAMETERS];
    size_t n_parameters;
} Query;

/* raw NULL: no query. False with a fault: broken percent escape, NUL, invalid UTF-8, too many parameters. The Query is
 * to be query_done() either way. */
bool query_init(Query *query, const char *raw, Faults *faults);
void query_done(Query *query);

/* NULL: absent. Given twice: a fault, and NULL. */
const char *query_text(const Query *query, const char *name, Faults *faults);
/* False: absent or a fault; *ret is untouched. Digits only. */
bool query_int(const Query *query, const char *name, int64_t min, int64_t max, int64_t *ret, Faults *faults);
bool query_id(const Query *query, const char *name, Id *ret, Faults *faults);
bool query_instant(const Query *query, const char *name, int64_t *ret, Faults *faults);
bool query_bool(const Query *query, const char *name, bool *ret, Faults *faults);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Query, query_done)

#endif
