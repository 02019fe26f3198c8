/* The intake takes statuses from the bus in batches, gives each batch to the writer as one item (one commit) and commits
 * the bus position only when the journal has it. While the store is down it keeps its batch and tries again: the bus
 * fills up and slows its engines down, nothing is dropped. An engine that announces itself is given the unfinished runs of
 * its partitions before the position moves past the announcement. */
#include "service/service_internal.h"

#include "base/log.h"
#include "service/hand_over.h"

#define INTAKE_POLL_MS 500
#define INTAKE_RETRY_MS 100
#define INTAKE_RETRY_MAX_MS 2000 /* the bus wants to hear of its consumer every few seconds */

typedef struct {
    Service *service;
    Bell latch;
    BusMessage *messages[STATUS_BATCH_MESSAGES];
    size_t n_messages;
    StatusItem statuses[STATUS_BATCH_MESSAGES];
    size_t origins[STATUS_BATCH_MESSAGES]; /* statuses[i] came in messages[origins[i]] */
    size_t n_statuses;
    HandOver *hand_over;
} Intake;

/* Waits before the next try, as a member of the bus' group that takes nothing. False: the service is stopping. */
static bool wait_to_retry(Intake *intake, int64_t *wait_ms)
{
    bus_hold_statuses(intake->service->bus);
    bool goes_on = bell_wait(&intake->service->stop_bell, *wait_ms);
    *wait_ms = MIN(*wait_ms * 2, INTAKE_RETRY_MAX_MS);
    return goes_on;
}

/* Tries until the bus has it. False: the service is stopping; the message comes again after the start. */
static bool dead_letter(Intake *intake, const BusMessage *message, const char *reason)
{
    Service *service = intake->service;
    atomic_fetch_add(&service->n_dead_letters, 1);
    log_event(LOG_WARNING, "a status was put aside", "reason", reason, NULL);
    for (int64_t wait_ms = INTAKE_RETRY_MS;;) {
        g_autoptr(GError) error = NULL;
        if (bus_dead_letter(service->bus, message, reason, &error))
            return true;
        if (!flowops_error_is_retryable(error)) { /* the partition must go on */
            log_error(LOG_ERROR, "a dead letter could not be kept", error, NULL);
            return true;
        }
        if (!wait_to_retry(intake, &wait_ms))
            return false;
    }
}

/* Fills statuses from messages. What can't be read goes aside; an engine's announcement is noted. */
static bool decode_batch(Intake *intake)
{
    intake->n_statuses = 0;
    for (size_t i = 0; i < intake->n_messages; i++) {
        const BusMessage *message = intake->messages[i];
        g_autoptr(GError) error = NULL;
        g_autoptr(StatusMessage) status = status_message_decode(message->value, message->value_size, &error);
        if (status == NULL) {
            if (!dead_letter(intake, message, error->message))
                return false;
        } else if (status->kind == STATUS_ENGINE) {
            hand_over_note(intake->hand_over, status);
        } else {
            status->origin = (Origin){.topic = g_strdup(message->origin.topic),
                                      .partition = message->origin.partition,
                                      .offset = message->origin.offset};
            intake->statuses[intake->n_statuses] = (StatusItem){.message = g_steal_pointer(&status)};
            intake->origins[intake->n_statuses++] = i;
        }
    }
    return true;
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
    for (int64_t wait_ms = INTAKE_RETRY_MS; !is_appended;) {
        if (!writer_do(service, &item, weight, &intake->latch))
            break;
        is_appended = item.result == RESULT_OK;
        if (is_appended)
            break;
        log_event(LOG_WARNING, "statuses wait for the store", "reason", item.message, NULL);
        if (!wait_to_retry(intake, &wait_ms))
            break;
    }
    g_free(item.message);
    return is_appended;
}

static bool settle_batch(Intake *intake)
{
    for (size_t i = 0; i < intake->n_statuses; i++) {
        const StatusItem *status = &intake->statuses[i];
        if (status->outcome == STATUS_IGNORED)
            atomic_fetch_add(&intake->service->n_statuses_ignored, 1);
        else if (status->outcome == STATUS_REJECTED &&
                 !dead_letter(intake, intake->messages[intake->origins[i]], status->reason))
            return false;
    }
    return true;
}

/* False: the service is stopping. */
static bool hand_over(Intake *intake)
{
    for (int64_t wait_ms = INTAKE_RETRY_MS;;) {
        g_autoptr(GError) error = NULL;
        if (hand_over_do(intake->hand_over, &error))
            return true;
        if (atomic_load(&intake->service->is_stopping))
            return false;
        log_error(LOG_WARNING, "some runs could not be handed over; it is tried again", error, NULL);
        if (!wait_to_retry(intake, &wait_ms))
            return false;
    }
}

/* False: the service is stopping. */
static bool commit_position(Intake *intake)
{
    for (int64_t wait_ms = INTAKE_RETRY_MS;;) {
        g_autoptr(GError) error = NULL;
        if (bus_commit_statuses(intake->service->bus, &error))
            return true;
        if (!flowops_error_is_retryable(error)) {
            log_error(LOG_WARNING, "the bus position was not kept; statuses may come again", error, NULL);
            return true;
        }
        if (!wait_to_retry(intake, &wait_ms))
            return false;
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
                           &intake->n_messages, &error)) {
        int64_t wait_ms = INTAKE_RETRY_MS;
        return bell_wait(&intake->service->stop_bell, wait_ms);
    }
    bool is_done = decode_batch(intake) && append_batch(intake) && settle_batch(intake) && hand_over(intake) &&
                   (intake->n_messages == 0 || commit_position(intake));
    release_batch(intake);
    return is_done;
}

void intake_main(void *arg)
{
    Intake *intake = g_new0(Intake, 1);
    intake->service = arg;
    intake->hand_over = hand_over_new(intake->service);
    bell_init(&intake->latch);
    while (intake_batch(intake))
        ;
    hand_over_free(intake->hand_over);
    bell_done(&intake->latch);
    g_free(intake);
}
