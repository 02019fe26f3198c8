/* main: reads the settings, wires the layers, waits for a signal, takes everything down in order. No logic of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/config.h"
#include "app/engine_alone.h"
#include "app/serve.h"
#include "app/upkeep.h"
#include "bus/bus.h"

#define VERSION FLOWOPS_VERSION

static int print_help(FILE *out, int status)
{
    g_autoptr(GString) settings = g_string_new(NULL);
    config_print_help(settings);
    fprintf(out,
            "Usage: flowops serve     run the execution service\n"
            "       flowops engine    run flows for services that share a Kafka with it\n"
            "       flowops fsck      prove a store (--help: more)\n"
            "       flowops copy      move a store into another (--help: more)\n"
            "       flowops version   print the version\n"
            "       flowops help      print this\n"
            "\n"
            "Settings come from the environment, for `serve`, or for `serve` and `engine`:\n%s",
            settings->str);
    return status;
}

/* Settings are checked before anything is touched. */
static int run(ConfigUse use, int (*command)(const Config *config, const char *version))
{
    Config config = {0};
    g_autoptr(GString) faults = g_string_new(NULL);
    int status = EXIT_FAILURE;
    if (config_load(&config, use, faults)) {
        log_init(config.level, config.format);
        status = command(&config, VERSION);
    } else {
        g_auto(GStrv) lines = g_strsplit(faults->str, "\n", -1);
        for (size_t i = 0; lines[i] != NULL && *lines[i] != '\0'; i++)
            fprintf(stderr, "flowops: %s\n", lines[i]);
    }
    config_done(&config);
    if (bus_has_left_threads()) {
        (void)fflush(NULL);
        _exit(status); /* what exit handlers free may be in use */
    }
    return status;
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "help";
    if (strcmp(command, "fsck") == 0)
        return upkeep_fsck(argc - 1, argv + 1);
    if (strcmp(command, "copy") == 0)
        return upkeep_copy(argc - 1, argv + 1);
    if (argc > 2 || argc < 2)
        return print_help(stderr, argc < 2 ? EXIT_SUCCESS : 2);
    if (strcmp(command, "serve") == 0)
        return run(FOR_SERVE, serve);
    if (strcmp(command, "engine") == 0)
        return run(FOR_ENGINE, engine_alone);
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        printf("flowops %s\n", VERSION);
        return EXIT_SUCCESS;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0)
        return print_help(stdout, EXIT_SUCCESS);
    fprintf(stderr, "flowops: no command \"%s\"\n", command);
    return print_help(stderr, 2);
}
