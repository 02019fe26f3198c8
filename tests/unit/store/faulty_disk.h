/* faulty_disk.h - SQLite's own way to the disk, failing on command: the default VFS with its writes, flushes and reads
 * counted. Thread: set from one thread while no call of the store is under way, or expect the count to be shared. */
#ifndef FLOWOPS_TESTS_FAULTY_DISK_H
#define FLOWOPS_TESTS_FAULTY_DISK_H

#include <stdbool.h>

typedef enum { DISK_LOG_WRITE, DISK_LOG_SYNC, DISK_MAIN_WRITE, DISK_MAIN_SYNC, DISK_MAIN_READ, N_DISK_CALLS } DiskCall;

void faulty_disk_install(void); /* before the first store is opened; stays for the process */

/* From the nth such call on (1: the next), n_times calls fail with this SQLite code. */
void faulty_disk_set(DiskCall call, int code, long nth, long n_times);
void faulty_disk_clear(void);
long faulty_disk_count(DiskCall call); /* since faulty_disk_clear() */

#endif
