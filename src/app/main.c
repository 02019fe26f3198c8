/* main: reads the settings, hands over to a command. No logic of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "app/config_show.h"
#include "app/engine_alone.h"
#include "app/health.h"
#include "app/serve.h"
#include "app/upkeep.h"
#include "bus/bus.h"

#define VERSION FLOWOPS_VERSION

/* ---- help ---- */

static int print_help(FILE *out, int status)
{
    fprintf(out, "Usage: flowops serve     run the execution service\n"
                 "       flowops engine    run flows for services that share a Kafka with it\n"
                 "       flowops config    print the settings in force and where each comes from\n"
                 "       flowops health    ask the service on this machine whether it is well (--help: more)\n"
                 "       flowops fsck      prove a store (--help: more)\n"
                 "       flowops copy      move a store into another (--help: more)\n"
                 "       flowops version   print the version\n"
                 "       flowops help      print this\n"
                 "\n");
    g_autoptr(GString) settings = g_string_new(NULL);
    setting_print_help(0, settings);
    fprintf(
        out,
        "Each setting is a flag, a variable of the environment or a line of the file that --env-file names; the first of\n"
        "these that has it counts. After each stand the commands that it is for, and its default:\n%s",
        settings->str);
    return status;
}

/* What documents are made from. */
static int print_table(void (*print)(GString *out))
{
    g_autoptr(GString) table = g_string_new(NULL);
    print(table);
    (void)fputs(table->str, stdout);
    return EXIT_SUCCESS;
}

static int help(const char *topic)
{
    if (topic == NULL)
        return print_help(stdout, EXIT_SUCCESS);
    if (strcmp(topic, "--markdown") == 0)
        return print_table(setting_print_markdown);
    if (strcmp(topic, "--mdoc") == 0)
        return print_table(setting_print_mdoc);
    if (strcmp(topic, "--env-example") == 0)
        return print_table(setting_print_env_example);
    return print_help(stderr, 2);
}

static int print_command_help(const char *name, ConfigUse use)
{
    g_autoptr(GString) settings = g_string_new(NULL);
    setting_print_help(use, settings);
    printf("Usage: flowops %s [OPTION VALUE ...]\n\n%s", name, settings->str);
    return EXIT_SUCCESS;
}

/* ---- commands with settings ---- */

typedef struct {
    const char *name;
    ConfigUse use;
    int (*run)(const Config *config, const char *version); /* NULL: the settings are shown */
} Command;

static const Command COMMANDS[] = {
    {"serve", FOR_SERVE, serve},
    {"engine", FOR_ENGINE, engine_alone},
    {"config", FOR_SERVE, NULL},
};

static const Command *find_command(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(COMMANDS); i++)
        if (strcmp(COMMANDS[i].name, name) == 0)
            return &COMMANDS[i];
    return NULL;
}

/* Settings are checked before anything is touched; what is wrong with them does not keep them from being shown. */
static int run(const Command *command, int n_words, char **words)
{
    Config config = {0};
    bool is_help = false;
    const CommandOption options[] = {{"help", &is_help, NULL}, {NULL, NULL, NULL}};
    g_autoptr(GPtrArray) faults = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(SettingValues) values = setting_values_read(command->use, n_words, words, options, faults);
    if (is_help)
        return print_command_help(command->name, command->use);
    unsigned uses = command->use | (command->run == NULL ? FOR_STACK : 0);
    bool is_loaded = config_load(&config, uses, values, faults);
    int status = is_loaded ? EXIT_SUCCESS : EXIT_FAILURE;
    if (command->run == NULL)
        config_show(&config, values);
    (void)fflush(stdout); /* before the faults, wherever both go */
    config_print_faults(faults);
    if (command->run != NULL && is_loaded) {
        log_init(config.level, config.format);
        status = command->run(&config, VERSION);
    }
    config_done(&config);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "help";
    const Command *command = find_command(name);
    int status = 2;
    if (command != NULL) {
        status = run(command, argc - 2, argv + 2);
    } else if (strcmp(name, "health") == 0) {
        status = health(argc - 2, argv + 2);
    } else if (strcmp(name, "fsck") == 0) {
        status = upkeep_fsck(argc - 1, argv + 1);
    } else if (strcmp(name, "copy") == 0) {
        status = upkeep_copy(argc - 1, argv + 1);
    } else if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("flowops %s\n", VERSION);
        status = EXIT_SUCCESS;
    } else if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0) {
        status = help(argc > 2 ? argv[2] : NULL);
    } else {
        fprintf(stderr, "flowops: no command \"%s\"\n", name);
        (void)print_help(stderr, status);
    }
    if (bus_has_left_threads()) {
        (void)fflush(NULL);
        _exit(status); /* what exit handlers free may be in use */
    }
    return status;
}
