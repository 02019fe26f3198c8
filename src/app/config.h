/* config.h - the settings of `flowops serve`, from the environment. One table gives names, defaults, bounds and help.
 * Thread: main, before anything starts. Owner: the caller (config_done). */
#ifndef FLOWOPS_APP_CONFIG_H
#define FLOWOPS_APP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

typedef struct {
    char *listen_addr;
    char *data_dir;
    char *auth_mode;
    char *gateway_secret;
    char *allow_unauthenticated;
    char *engine;
    char *log_level;
    char *log_format;
    int64_t port;
    int64_t http_loops;
    int64_t max_open_runs;
    int64_t cache_bytes;
    int64_t store_readers;
    int64_t command_resend_seconds;
    int64_t max_parallel_steps;

    /* Derived when every setting is well formed. */
    bool is_loopback;
    bool is_gateway;
    bool has_engine;
    LogLevel level;
    LogFormat format;
} Config;

/* Every fault is a line of its own in ret_faults (a GString that the caller made). */
MUST_CHECK bool config_load(Config *config, GString *ret_faults);
void config_done(Config *config);

/* The table as help text. */
void config_print_help(GString *out);

#endif
