/* The intake takes statuses from the bus in batches, gives each batch to the writer as one item (one commit) and commits
 * the bus position only when the journal has it. While the store is down it keeps its batch and tries again: the bus
 * fills up and slows its engines down, nothing is dropped. */
#include "service/service_internal.h"

#include "base/log.h"

#define INTAKE_POLL_MS 500
#define INTAKE_RETRY_MS 100
#define INTAKE_RETRY_MAX_MS 5000

typedef struct {
    Service *service;
    Bell latch;
    BusMessage *messages[STATUS_BATCH_MESSAGES];
    size_t n_messages;
    StatusItem statuses[STATUS_BATCH_MESSAGES];
    size_t origins[STATUS_BATCH_MESSAGES]; /* statuses[i] came in messages[origins[i]] */
    size_t n_statuses;
} Intake;

static bool dead_letter(Intake *intake, const BusMessage *message, const char *reason)
{
    g_autoptr(GError) error = NULL;
    atomic_fetch_add(&intake->service->n_dead_letters, 1);
    log_event(LOG_WARNING, "a status was put aside", "reason", reason, NULL);
    if (bus_dead_letter(intake->service->bus, message, reason, &error))
        return true;
    log_error(LOG_ERROR, "a dead letter could not be kept", error, NULL);
    return false;
}

/* Fills statuses from messages. What can't be read goes aside; an engine's announcement is noted. */
static void decode_batch(Intake *intake)
{
    intake->n_statuses = 0;
    for (size_t i = 0; i < intake->n_messages; i++) {
        const BusMessage *message = intake->messages[i];
        g_autoptr(GError) error = NULL;
        StatusMessage *status = status_message_decode(message->value, message->value_size, &error);
        if (status == NULL) {
            dead_letter(intake, message, error->message);
        } else if (status->kind == STATUS_ENGINE) {
            atomic_store(&intake->service->is_engine_announced, true);
            bell_ring(&intake->service->sweeper_bell);
            status_message_free(status);
        } else {
            status->origin = (Origin){.topic = g_strdup(message->origin.topic),
                                      .partition = message->origin.partition,
                                      .offset = message->origin.offset};
            intake->statuses[intake->n_statuses] = (StatusItem){.message = status};
            intake->origins[intake->n_statuses++] = i;
        }
    }
}

/* False: the service is stopping with the batch unsettled; nothing of it is committed on the bus. */
static bool append_batch(Intake *intake)
{
    Service *service = intake->service;
    WriterItem item = {.kind = ITEM_STATUSES, .statuses = intake->statuses, .n_statuses = intake->n_statuses};
    size_t weight = sizeof item;
    for (size_t i = 0; i < intake->n_messages; i++)
        weight += intake->messages[i]->value_size;
    bool is_appended = intake->n_statuses == 0;
    for (int64_t wait_ms = INTAKE_RETRY_MS; !is_appended; wait_ms = MIN(wait_ms * 2, INTAKE_RETRY_MAX_MS)) {
        if (!writer_do(service, &item, weight, &intake->latch))
            break;
        is_appended = item.result == RESULT_OK;
        if (is_appended)
            break;
        log_event(LOG_WARNING, "statuses wait for the store", "reason", item.message, NULL);
        if (!bell_wait(&service->stop_bell, wait_ms))
            break;
    }
    g_free(item.message);
    return is_appended;
}

static void settle_batch(Intake *intake)
{
    for (size_t i = 0; i < intake->n_statuses; i++) {
        const StatusItem *status = &intake->statuses[i];
        if (status->outcome == STATUS_REJECTED)
            dead_letter(intake, intake->messages[intake->origins[i]], status->reason);
        else if (status->outcome == STATUS_IGNORED)
            atomic_fetch_add(&intake->service->n_statuses_ignored, 1);
    }
}

static void release_batch(Intake *intake)
{
    for (size_t i = 0; i < intake->n_statuses; i++) {
        status_message_free(intake->statuses[i].message);
        g_free(intake->statuses[i].reason);
    }
    for (size_t i = 0; i < intake->n_messages; i++)
        bus_message_free(intake->messages[i]);
}

/* False when the bus is shut down or the service stops. */
static bool intake_batch(Intake *intake)
{
    g_autoptr(GError) error = NULL;
    if (!bus_poll_statuses(intake->service->bus, intake->messages, STATUS_BATCH_MESSAGES, INTAKE_POLL_MS,
                           &intake->n_messages, &error))
        return false;
    decode_batch(intake);
    bool is_done = append_batch(intake);
    if (is_done) {
        settle_batch(intake);
        if (intake->n_messages > 0 && !bus_commit_statuses(intake->service->bus, &error))
            log_error(LOG_WARNING, "the bus position was not kept; statuses may come again", error, NULL);
    }
    release_batch(intake);
    return is_done;
}

void intake_main(void *arg)
{
    Intake *intake = g_new0(Intake, 1);
    intake->service = arg;
    bell_init(&intake->latch);
    while (intake_batch(intake))
        ;
    bell_done(&intake->latch);
    g_free(intake);
}
