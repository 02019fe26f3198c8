/* The histories of test_projection.c on SQLite. */
#include "test_projection.h"

int main(void)
{
    return run_histories();
}
