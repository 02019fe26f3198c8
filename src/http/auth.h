/* auth.h - who calls. Pure: decides on header values.
 * Thread: any. */
#ifndef FLOWOPS_HTTP_AUTH_H
#define FLOWOPS_HTTP_AUTH_H

#include <stdbool.h>

#include "base/id.h"

/* True when a Host header names this machine: localhost, a name under .localhost, 127.0.0.0/8 or [::1], each with or
 * without a port. Without this check any web page could reach an unguarded service through a name that resolves here. */
bool host_is_loopback(const char *host);

/* Gateway mode. user_id, secret: header values, NULL when absent. expected_secret NULL: none is asked for. Compares in
 * constant time. False: *ret_why is a static sentence for the client. */
bool auth_check_gateway(const char *user_id, const char *secret, const char *expected_secret, Id *ret_caller,
                        const char **ret_why);

/* No authentication: the header's user when there is one, else the local user. */
bool auth_check_none(const char *user_id, const Id *local_user, Id *ret_caller, const char **ret_why);

#endif
