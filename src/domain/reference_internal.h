/* reference_internal.h - how a single reference is read; shared by templates and conditions.
 * Thread: any. */
#ifndef FLOWOPS_DOMAIN_REFERENCE_INTERNAL_H
#define FLOWOPS_DOMAIN_REFERENCE_INTERNAL_H

#include "domain/reference.h"

/* The `${...}` that stands at text[at]; *ret_size includes the braces. INVALID with the column. The part's text is
 * the caller's to free. */
MUST_CHECK bool reference_parse_braced(const char *text, size_t at, TemplatePart *ret_part, size_t *ret_size,
                                       GError **error);

/* True when a UUID and a dot stand at `text`: the beginning of the bare form. */
bool reference_begins_bare(const char *text, Id *ret_step_id);

void reference_part_done(TemplatePart *part);

#endif
