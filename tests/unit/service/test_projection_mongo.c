/* The histories of test_projection.c on the server that FLOWOPS_TEST_MONGO names. */
#include "rig.h"
#include "mongo_support.h"
#include "test_projection.h"

int main(void)
{
    rig_open_store = mongo_open_for_test;
    int n_failed = run_histories();
    mongo_drop_all();
    return n_failed;
}
