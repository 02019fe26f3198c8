/* The store contract through the fault wrapper with no faults set: it must not be felt. */
#include "store_contract.h"

#include "store/store_fault.h"

static Store *open_wrapped(const char *data_dir, const Clock *clock, GError **error)
{
    Store *inner = store_open_sqlite(data_dir, clock, error);
    return inner != NULL ? store_open_fault(inner) : NULL;
}

int main(void)
{
    return store_contract_run("store contract: sqlite behind the fault wrapper", open_wrapped);
}
