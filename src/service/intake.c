/* The intake takes statuses from the bus in batches, gives each batch to the writer as one item (one commit) and commits
 * the bus position only when the journal has it. One batch is with the writer while the next is taken and read; it is given
 * to the writer when the one before is settled, so what fails is tried again before anything later. While the store is down
 * the intake keeps its batches and tries again: the bus fills up and slows its engines down, nothing is dropped. An engine
 * that announces itself is given the unfinished runs of its partitions before the position moves past the announcement. */
#include "service/service_internal.h"

#include "base/log.h"
#include "service/hand_over.h"

#define INTAKE_POLL_MS 500
#define INTAKE_RETRY_MS 100
#define INTAKE_RETRY_MAX_MS 2000 /* the bus wants to hear of its consumer every few seconds */

typedef struct {
    BusMessage *messages[STATUS_BATCH_MESSAGES];
    size_t n_messages;
    StatusItem statuses[STATUS_BATCH_MESSAGES];
    size_t origins[STATUS_BATCH_MESSAGES]; /* statuses[i] came in messages[origins[i]] */
    size_t n_statuses;
    GPtrArray *announcements; /* of StatusMessage */
    WriterItem item;          /* of the statuses, while they are with the writer */
    size_t weight_bytes;
    bool is_with_writer;
} Batch;

typedef struct {
    Service *service;
    Bell latch;
    Batch batches[2];
    Batch *current; /* in hand: taken and not settled yet; NULL: none */
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

/* Fills the batch from its messages. What can't be read goes aside. */
static bool decode_batch(Intake *intake, Batch *batch)
{
    batch->weight_bytes = sizeof *batch;
    for (size_t i = 0; i < batch->n_messages; i++) {
        const BusMessage *message = batch->messages[i];
        batch->weight_bytes += message->value_size;
        g_autoptr(GError) error = NULL;
        g_autoptr(StatusMessage) status = status_message_decode(message->value, message->value_size, &error);
        if (status == NULL) {
            if (!dead_letter(intake, message, error->message))
                return false;
        } else if (status->kind == STATUS_ENGINE) {
            g_ptr_array_add(batch->announcements, g_steal_pointer(&status));
        } else {
            status->origin = (Origin){.topic = g_strdup(message->origin.topic),
                                      .partition = message->origin.partition,
                                      .offset = message->origin.offset};
            batch->statuses[batch->n_statuses] = (StatusItem){.message = g_steal_pointer(&status)};
            batch->origins[batch->n_statuses++] = i;
        }
    }
    return true;
}

/* False: the service is stopping. */
static bool submit_batch(Intake *intake, Batch *batch)
{
    if (batch->n_statuses == 0)
        return true;
    batch->item = (WriterItem){.kind = ITEM_STATUSES, .statuses = batch->statuses, .n_statuses = batch->n_statuses};
    batch->is_with_writer = writer_submit(intake->service, &batch->item, batch->weight_bytes, &intake->latch);
    return batch->is_with_writer;
}

/* Until it is appended. False: the service is stopping with the batch unsettled; nothing of it is committed on the bus. */
static bool wait_for_append(Intake *intake, Batch *batch)
{
    bool is_appended = !batch->is_with_writer, goes_on = true;
    for (int64_t wait_ms = INTAKE_RETRY_MS; !is_appended && goes_on;) {
        bell_wait(&intake->latch, -1);
        is_appended = batch->item.result == RESULT_OK;
        if (is_appended)
            break;
        log_event(LOG_WARNING, "statuses wait for the store", "reason", batch->item.message, NULL);
        goes_on = wait_to_retry(intake, &wait_ms) &&
                  writer_submit(intake->service, &batch->item, batch->weight_bytes, &intake->latch);
    }
    batch->is_with_writer = false;
    g_clear_pointer(&batch->item.message, g_free);
    return is_appended;
}

static bool put_rejected_aside(Intake *intake, Batch *batch)
{
    for (size_t i = 0; i < batch->n_statuses; i++) {
        const StatusItem *status = &batch->statuses[i];
        if (status->outcome == STATUS_IGNORED)
            atomic_fetch_add(&intake->service->n_statuses_ignored, 1);
        else if (status->outcome == STATUS_REJECTED &&
                 !dead_letter(intake, batch->messages[batch->origins[i]], status->reason))
            return false;
    }
    return true;
}

/* False: the service is stopping. */
static bool hand_over(Intake *intake, Batch *batch)
{
    for (guint i = 0; i < batch->announcements->len; i++)
        hand_over_note(intake->hand_over, batch->announcements->pdata[i]);
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

/* All but the last n_later messages. False: the service is stopping. */
static bool commit_position(Intake *intake, size_t n_later)
{
    for (int64_t wait_ms = INTAKE_RETRY_MS;;) {
        g_autoptr(GError) error = NULL;
        if (bus_commit_statuses(intake->service->bus, n_later, &error))
            return true;
        if (!flowops_error_is_retryable(error)) {
            log_error(LOG_WARNING, "the bus position was not kept; statuses may come again", error, NULL);
            return true;
        }
        if (!wait_to_retry(intake, &wait_ms))
            return false;
    }
}

static void batch_clear(Batch *batch)
{
    for (size_t i = 0; i < batch->n_statuses; i++) {
        status_message_free(batch->statuses[i].message);
        g_free(batch->statuses[i].reason);
    }
    for (size_t i = 0; i < batch->n_messages; i++)
        bus_message_free(batch->messages[i]);
    g_ptr_array_set_size(batch->announcements, 0);
    batch->n_statuses = batch->n_messages = 0;
}

/* Brings the batch in hand to its end. n_later: messages taken since. False: the service is stopping. */
static bool settle_current(Intake *intake, size_t n_later)
{
    Batch *batch = intake->current;
    if (batch == NULL)
        return true;
    bool is_settled = wait_for_append(intake, batch) && put_rejected_aside(intake, batch) && hand_over(intake, batch) &&
                      commit_position(intake, n_later);
    batch_clear(batch);
    intake->current = NULL;
    return is_settled;
}

/* Takes a batch, while the one in hand is appended. False when the bus is shut down or the service stops. */
static bool take_batch(Intake *intake, Batch *batch)
{
    int64_t timeout_ms = intake->current != NULL ? 0 : INTAKE_POLL_MS;
    g_autoptr(GError) error = NULL;
    if (!bus_poll_statuses(intake->service->bus, batch->messages, STATUS_BATCH_MESSAGES, timeout_ms, &batch->n_messages,
                           &error))
        return bell_wait(&intake->service->stop_bell, INTAKE_RETRY_MS);
    return decode_batch(intake, batch);
}

static bool intake_next(Intake *intake)
{
    Batch *next = intake->current == &intake->batches[0] ? &intake->batches[1] : &intake->batches[0];
    bool is_taken = take_batch(intake, next);
    bool is_settled = settle_current(intake, next->n_messages); /* also at the end */
    if (!is_taken || !is_settled || !submit_batch(intake, next)) {
        batch_clear(next);
        return false;
    }
    if (next->n_messages > 0)
        intake->current = next;
    return true;
}

void intake_main(void *arg)
{
    Intake *intake = g_new0(Intake, 1);
    intake->service = arg;
    intake->hand_over = hand_over_new(intake->service);
    bell_init(&intake->latch);
    for (size_t i = 0; i < G_N_ELEMENTS(intake->batches); i++)
        intake->batches[i].announcements = g_ptr_array_new_with_free_func((GDestroyNotify)status_message_free);
    while (intake_next(intake))
        ;
    for (size_t i = 0; i < G_N_ELEMENTS(intake->batches); i++)
        g_ptr_array_unref(intake->batches[i].announcements);
    hand_over_free(intake->hand_over);
    bell_done(&intake->latch);
    g_free(intake);
}
