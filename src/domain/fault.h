/* fault.h - what is wrong with a request, every fault at once, each with its path.
 * Thread: one at a time. Owner: the caller of faults_new(). Bounded: after FAULTS_MAX a last fault says how many more. */
#ifndef FLOWOPS_DOMAIN_FAULT_H
#define FLOWOPS_DOMAIN_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

#define FAULTS_MAX 100
#define FAULT_REJECTED_MAX 200 /* bytes of a rejected value that are shown, cut at a character */

typedef struct {
    const char *code; /* static: "VALIDATION_ERROR" */
    char *message;    /* a sentence for a person */
    char *field;      /* path into the request, `steps[2].inputs.url`; NULL when it is about the whole */
    char *rejected; /* the rejected value as valid JSON text (a string is quoted); NULL when left out. What is too long
                       * becomes a string with its beginning and an ellipsis. */
} Fault;

typedef struct Faults Faults;

Faults *faults_new(void);
void faults_free(Faults *faults);
size_t faults_count(const Faults *faults); /* those kept, at most FAULTS_MAX + 1 */
const Fault *faults_at(const Faults *faults, size_t i);

/* rejected: the value at fault, NULL to leave it out. */
void faults_add(Faults *faults, const char *field, const JsonValue *rejected, const char *format, ...)
    PRINTF_LIKE(4, 5);
void faults_add_text(Faults *faults, const char *field, const char *rejected, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* The size of the longest beginning of `text` within max_bytes that does not cut a UTF-8 character. */
size_t text_cut(const char *text, size_t max_bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Faults, faults_free)

#endif
