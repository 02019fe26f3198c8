/* Other replicas' doorbells: what they append to a run that somebody listens to here is read from the shared store. A bell
 * that is lost is made up for by the streams' own slow looks. */
#include "service/service_internal.h"

#include "base/log.h"

#define UPDATES_MAX 512
#define UPDATES_POLL_MS 1000
#define UPDATES_RETRY_MS 500

void updates_main(void *arg)
{
    Service *service = arg;
    BusUpdate updates[UPDATES_MAX];
    bool was_well = true;
    while (!atomic_load(&service->is_stopping)) {
        g_autoptr(GError) error = NULL;
        size_t n = 0;
        bool is_well = bus_poll_updates(service->bus, updates, UPDATES_MAX, UPDATES_POLL_MS, &n, &error);
        for (size_t i = 0; i < n; i++) {
            service_note_seq(service, updates[i].run_id.text, updates[i].seq);
            hub_ring_seq(service->hub, updates[i].run_id.text, updates[i].seq);
        }
        if (!is_well && was_well && atomic_load(&service->is_accepting)) /* else the bus ends with us */
            log_error(LOG_WARNING, "other replicas are not heard; streams look for themselves", error, NULL);
        was_well = is_well;
        if (!is_well && !bell_wait(&service->stop_bell, UPDATES_RETRY_MS))
            break;
    }
}
