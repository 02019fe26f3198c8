/* hand_over.h - gives unfinished runs to an engine that has announced itself: a START with the progress made and a higher
 * generation for each open run of the command partitions it named.
 * Thread: intake. Owner: the intake. */
#ifndef FLOWOPS_SERVICE_HAND_OVER_H
#define FLOWOPS_SERVICE_HAND_OVER_H

#include "domain/message.h"
#include "service/service_internal.h"

typedef struct HandOver HandOver;

HandOver *hand_over_new(Service *service);
void hand_over_free(HandOver *hand_over);

/* An ENGINE_STATUS came: what it names is to be handed over. */
void hand_over_note(HandOver *hand_over, const StatusMessage *announcement);

/* Hands over what was noted. False: not all, call again; UNAVAILABLE, or the service stops. */
MUST_CHECK bool hand_over_do(HandOver *hand_over, GError **error);

#endif
