/* The store contract on the MongoDB store, on the server that FLOWOPS_TEST_MONGO (host:port, or a URI) names. Each test has a database
 * of its own, which is gone when the next one begins. */
#include "store_contract.h"

#include <stdlib.h>

#include "mongo_support.h"

int main(void)
{
    int n_failed = store_contract_run("store contract: mongo", mongo_open_for_test);
    mongo_drop_all();
    return n_failed;
}
