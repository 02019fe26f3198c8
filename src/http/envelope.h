/* envelope.h - the JSON around every payload and every error (contract, "Envelope"), written straight into one GString.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_ENVELOPE_H
#define FLOWOPS_HTTP_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "domain/fault.h"

/* What a list adds to metadata. */
typedef struct {
    bool has_page; /* currentPage and totalCount are written */
    int64_t page;
    int64_t total;
    int64_t page_size;
    const char *next_cursor; /* NULL: this is the last page */
} EnvelopePaging;

/* {"data":<payload>,"metadata":{...}}; payload NULL writes null. paging NULL: not a list. */
void envelope_write(GString *out, const char *payload, size_t payload_size, int64_t now_ms, const char *request_id,
                    const EnvelopePaging *paging);

/* One error. field, rejected (JSON text) and outcome ("none", "unknown") may be NULL. */
typedef struct {
    const char *code;
    const char *message;
    const char *field;
    const char *rejected;
    const char *outcome;
} EnvelopeError;
void envelope_write_error(GString *out, const EnvelopeError *error, int64_t now_ms, const char *request_id);

/* Every fault of a request. */
void envelope_write_faults(GString *out, const Faults *faults, int64_t now_ms, const char *request_id);

/* The code that goes with a status when nothing more is known: 404 "NOT_FOUND" ... */
const char *envelope_code_of_status(int status);

#endif
