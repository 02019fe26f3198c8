/* The store contract on the SQLite store. */
#include "store_contract.h"

int main(void)
{
    return store_contract_run("store contract: sqlite", store_open_sqlite);
}
