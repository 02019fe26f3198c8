/* start_request.h - the body of POST /flows/{id}/start and its Idempotency-Key, validated: every fault at once.
 * Thread: any. Pure. */
#ifndef FLOWOPS_HTTP_START_REQUEST_H
#define FLOWOPS_HTTP_START_REQUEST_H

#include "domain/fault.h"
#include "service/service.h"

#define TRIGGERED_BY_MAX_BYTES 255
#define IDEMPOTENCY_KEY_MAX_BYTES 255
/* Labels given at a start go on top of the flow's; the limits are a flow's own. */
#define START_LABELS_MAX 64
#define START_LABEL_NAME_MAX_CHARS 64
#define START_LABEL_VALUE_MAX_CHARS 256

/* Fills call->start (call->flow_id is set: the path's). body NULL: absent or null. idempotency_key: the header's value,
 * several joined; NULL: none. Returns false when faults were added. */
bool start_request_parse(const JsonValue *body, const char *idempotency_key, ServiceCall *call, Faults *faults);

/* The key alone, with the digest of the body it comes with. */
void idempotency_key_parse(const char *key, const JsonValue *body, ServiceCall *call, Faults *faults);

#endif
