/* json_internal.h - json-c as json*.c see it: two of its types are named as two of our functions are, so they go by
 * other names here. Include it instead of json-c's own headers.
 * Thread: as json.h. */
#ifndef FLOWOPS_BASE_JSON_INTERNAL_H
#define FLOWOPS_BASE_JSON_INTERNAL_H

#define json_bool jsonc_bool
#define json_type jsonc_type
#include <json-c/json.h>
#undef json_bool
#undef json_type

#include "base/json.h"

#endif
