/* paging.h - from a list's query parameters to the store's ListQuery, and every fault of them at once.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_PAGING_H
#define FLOWOPS_HTTP_PAGING_H

#include "http/cursor.h"
#include "http/query.h"
#include "service/service.h"

#define PAGE_SIZE_DEFAULT 50
#define PAGE_SIZE_MAX 200
#define PAGE_MAX INT32_MAX

/* call->caller is set. Fills call->query and call->query_text: page, pageSize or cursor, pageSize; for CURSOR_RUNS the
 * filters flowId stepId status triggeredBy label from to. flow_id: the path's, NULL when it has none. */
void paging_parse(const Query *query, CursorList list, const Id *flow_id,
                  const unsigned char secret[CURSOR_SECRET_SIZE], ServiceCall *call, Faults *faults);

#endif
