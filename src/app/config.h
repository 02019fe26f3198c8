/* config.h - the settings of a command, read and held against each other (their table: setting.h).
 * Thread: main, before anything starts. Owner: the caller (config_done). */
#ifndef FLOWOPS_APP_CONFIG_H
#define FLOWOPS_APP_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "app/setting_values.h"
#include "base/log.h"

/* What is not for the command at hand stays NULL or 0. */
typedef struct {
    char *listen_addr;
    char *data_dir;
    char *auth_mode;
    char *gateway_secret;
    char *allow_unauthenticated;
    char *engine;
    char *kafka_broker;  /* NULL: the bus is in this process */
    char *kafka_options; /* may hold passwords: never shown */
    char *mongo_uri;     /* the same; NULL: the store is in data_dir */
    char *mongo_db;
    char *log_level;
    char *log_format;
    int64_t port;
    int64_t http_loops;
    int64_t max_open_runs;
    int64_t cache_bytes;
    int64_t store_readers;
    int64_t command_resend_seconds;
    int64_t run_retention_days;
    int64_t max_parallel_steps;
    int64_t kafka_partitions;
    int64_t kafka_replication; /* -1: the broker's default */

    /* Derived when every setting is well formed. */
    bool is_loopback;
    bool is_gateway;
    bool has_engine;
    LogLevel level;
    LogFormat format;
} Config;

/* Loads what is for these commands (of ConfigUse), the rest is not looked at. Every fault, also one that setting_values_read()
 * left there, is a line of its own in faults (of char *); false when there is one. */
MUST_CHECK bool config_load(Config *config, unsigned uses, const SettingValues *values, GPtrArray *faults);
void config_done(Config *config);

/* To stderr. */
void config_print_faults(const GPtrArray *faults);

/* How somebody on this machine reaches the service: the address alone (borrowed), and "http://127.0.0.1:8080". */
const char *config_reachable_address(const Config *config);
char *config_url(const Config *config, unsigned port);

#endif
