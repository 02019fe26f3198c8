/* error.c - the error domain and which of its codes are worth a retry: a property of the code, not of the caller. */
#include "base/error.h"

GQuark flowops_error_quark(void)
{
    return g_quark_from_static_string("flowops-error");
}

bool flowops_error_is_retryable(const GError *error)
{
    if (error == NULL || error->domain != FLOWOPS_ERROR)
        return false;
    switch ((FlowopsError)error->code) {
    case FLOWOPS_BUSY:
    case FLOWOPS_TIMEOUT:
    case FLOWOPS_UNAVAILABLE:
    case FLOWOPS_UNKNOWN:
        return true;
    case FLOWOPS_INVALID:
    case FLOWOPS_NOT_FOUND:
    case FLOWOPS_CONFLICT:
    case FLOWOPS_INTERNAL:
        return false;
    }
    return false;
}
