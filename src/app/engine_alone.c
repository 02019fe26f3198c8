/* engine_alone.c - see engine_alone.h. At the end the engine says what has ended and sees it arrive, then its partitions are
 * given back, so that another engine has them within a moment. */
#include "app/engine_alone.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/backends.h"
#include "app/descriptors.h"
#include "app/notify.h"
#include "app/process.h"
#include "engine/engine.h"

#define TELL_MS 10000

/* What of the log was held back is told though nothing else is logged. */
static void tell_repeated(void *unused G_GNUC_UNUSED)
{
    log_tell_repeated();
}

int engine_alone(const Config *config, const char *version)
{
    process_set_up();
    g_autoptr(GError) error = NULL;
    g_autoptr(Clock) clock = clock_new_system();
    g_autoptr(Bus) bus =
        descriptors_reserve_for_engine(&error) ? open_bus(config, BUS_FOR_ENGINE, clock, &error) : NULL;
    EngineOptions options = {.max_parallel_steps = (size_t)config->max_parallel_steps};
    Engine *engine = bus != NULL ? engine_start(bus, clock, &options, &error) : NULL;
    if (engine == NULL) {
        fprintf(stderr, "flowops: %s\n", error->message);
        return EXIT_FAILURE;
    }
    log_event(LOG_INFO, "engine started", "broker", config->kafka_broker, "version", version, NULL);
    process_warn_of_root();

    notify_manager("READY=1");
    /* Not watched: it may wait for Kafka at any length. */
    const char *signal_name = process_wait_for_end(TELL_MS, tell_repeated, NULL);
    notify_manager("STOPPING=1");
    log_event(LOG_INFO, "shutting down", "signal", signal_name, NULL);
    engine_stop(engine);
    bus_shutdown(bus);
    bus_close(g_steal_pointer(&bus));
    log_event(LOG_INFO, "stopped", NULL);
    return EXIT_SUCCESS;
}
