/* error.c - the error domain and which of its codes are worth a retry: a property of the code, not of the caller. */
#include "base/error.h"

G_DEFINE_QUARK(flowops - error - quark, flowops_error)

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
