/* config.c - an empty text is an absent one. All faults are found before any is reported. */
#include "app/config.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void *member_of(Config *config, const Setting *setting)
{
    return (char *)config + setting->member;
}

/* A number that is none counts as its default, any other text as it is: no second fault comes from it. */
static void load_setting(Config *config, const SettingValues *values, size_t i, GPtrArray *faults)
{
    const Setting *setting = setting_at(i);
    const char *text = setting_values_text(values, i);
    g_autofree char *expected = text != NULL ? setting_fault(setting, text) : NULL;
    if (expected != NULL) {
        g_autofree char *label = setting_values_label(values, i);
        g_ptr_array_add(faults, g_strdup_printf("%s: expected %s", label, expected));
    }
    if (text == NULL || (expected != NULL && setting->max != 0))
        text = setting->default_text;
    if (setting->uses == FOR_STACK)
        return;
    if (setting->max != 0)
        *(int64_t *)member_of(config, setting) = g_ascii_strtoll(text, NULL, 10);
    else if (setting->choices != NULL && text != NULL)
        *(char **)member_of(config, setting) = g_ascii_strdown(text, -1);
    else
        *(char **)member_of(config, setting) = g_strdup(text);
}

/* True when the address is one; tells whether only this machine reaches it. */
static bool address_parse(const char *address, bool *ret_is_loopback)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) {
        *ret_is_loopback = (ntohl(v4.s_addr) >> 24) == 127;
        return true;
    }
    if (inet_pton(AF_INET6, address, &v6) == 1) {
        *ret_is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
        return true;
    }
    return false;
}

static void settle_identity(Config *config, GPtrArray *faults)
{
    if (!address_parse(config->listen_addr, &config->is_loopback))
        return;
    if (config->auth_mode == NULL && config->is_loopback)
        config->auth_mode = g_strdup("none");
    config->is_gateway = g_strcmp0(config->auth_mode, "gateway") == 0;
    bool is_open = config->is_loopback || g_strcmp0(config->allow_unauthenticated, "container") == 0;
    if (config->auth_mode == NULL)
        g_ptr_array_add(faults,
                        g_strdup_printf("AUTH_MODE is not set: beyond loopback (LISTEN_ADDR=%s) it must be said "
                                        "who may call",
                                        config->listen_addr));
    else if (strcmp(config->auth_mode, "none") == 0 && !is_open)
        g_ptr_array_add(faults,
                        g_strdup_printf("AUTH_MODE=none is for this machine only: LISTEN_ADDR=%s can be reached "
                                        "from others",
                                        config->listen_addr));
}

/* Without Kafka nobody else could run anything; with it, engines are usually processes of their own. */
static void settle_engine(Config *config)
{
    if (config->engine == NULL)
        config->engine = g_strdup(config->kafka_broker == NULL ? "on" : "off");
    config->has_engine = strcmp(config->engine, "on") == 0;
}

static void settle_log(Config *config)
{
    (void)log_level_parse(config->log_level, &config->level); /* its choices are the table's */
    config->format = LOG_FORMAT_AUTO;
    if (strcmp(config->log_format, "text") == 0)
        config->format = LOG_FORMAT_TEXT;
    else if (strcmp(config->log_format, "json") == 0)
        config->format = LOG_FORMAT_JSON;
}

bool config_load(Config *config, unsigned uses, const SettingValues *values, GPtrArray *faults)
{
    for (size_t i = 0; i < setting_count(); i++)
        if ((setting_at(i)->uses & uses) != 0)
            load_setting(config, values, i, faults);
    if ((uses & FOR_SERVE) != 0) {
        settle_identity(config, faults);
        settle_engine(config);
        if (config->http_loops == 0)
            config->http_loops = MAX(1, sysconf(_SC_NPROCESSORS_ONLN) / 2);
    }
    if ((uses & FOR_ENGINE) != 0 && config->kafka_broker == NULL)
        g_ptr_array_add(faults,
                        g_strdup("KAFKA_BROKER is not set: an engine on its own takes its commands from Kafka"));
    if ((uses & (FOR_SERVE | FOR_ENGINE)) != 0)
        settle_log(config);
    return faults->len == 0;
}

void config_done(Config *config)
{
    for (size_t i = 0; i < setting_count(); i++)
        if (setting_at(i)->max == 0 && setting_at(i)->uses != FOR_STACK)
            g_free(*(char **)member_of(config, setting_at(i)));
}

/* What was given may hold anything; a fault is one line all the same. */
void config_print_faults(const GPtrArray *faults)
{
    for (guint i = 0; i < faults->len; i++) {
        g_autofree char *line = g_strdup(faults->pdata[i]);
        for (char *at = line; *at != '\0'; at++)
            if (g_ascii_iscntrl(*at))
                *at = '?';
        fprintf(stderr, "flowops: %s\n", line);
    }
}

/* An address that stands for all of them is no place to go to. */
const char *config_reachable_address(const Config *config)
{
    if (strcmp(config->listen_addr, "0.0.0.0") == 0)
        return "127.0.0.1";
    return strcmp(config->listen_addr, "::") == 0 ? "::1" : config->listen_addr;
}

char *config_url(const Config *config, unsigned port)
{
    const char *address = config_reachable_address(config);
    bool is_v6 = strchr(address, ':') != NULL;
    return g_strdup_printf("http://%s%s%s:%u", is_v6 ? "[" : "", address, is_v6 ? "]" : "", port);
}
