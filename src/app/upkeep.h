/* upkeep.h - `flowops fsck` and `flowops copy`: what an operator does to a store, in a process of its own.
 * Thread: main. A store is named by a directory (SQLite) or by a mongodb:// URI with the database in its path. */
#ifndef FLOWOPS_APP_UPKEEP_H
#define FLOWOPS_APP_UPKEEP_H

/* argv[0] is the command's name. What is returned is the exit status: 0: all is well; 1: faults are left; 2: it could not
 * be found out (usage, no such store, the store failed). */
int upkeep_fsck(int argc, char **argv);
int upkeep_copy(int argc, char **argv);

#endif
