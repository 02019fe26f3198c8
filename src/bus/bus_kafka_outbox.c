/* bus_kafka_outbox.c - messages that were accepted for good: statuses and dead letters. Each stays here, in order, until the
 * broker has it. While one of them could not be delivered nothing new is sent: once nothing is in flight, all that is left
 * goes again from the first, so that order holds per key. The client sends the texts from here without a copy. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

#define RESEND_PAUSE_MS 200 /* after a failure that may pass: a topic that is being made, a client that was replaced */
#define WAIT_SLICE_MS 100   /* several may wait for one bell */

/* To what size a letter is cut, each time the broker finds it too large. */
static const size_t LETTER_SIZES[] = {1000 * 1000, 100 * 1000, 10 * 1000};

void kafka_outbox_init(KafkaOutbox *outbox, KafkaProducer *producer, KafkaTopic topic, size_t max_messages,
                       size_t max_bytes)
{
    *outbox = (KafkaOutbox){.producer = producer, .topic = topic, .max_messages = max_messages, .max_bytes = max_bytes};
    bell_init(&outbox->bell);
    g_queue_init(&outbox->messages);
}

static void kept_free(KeptMessage *kept)
{
    bus_message_free(kept->message);
    g_free(kept);
}

static void drop(KafkaOutbox *outbox, KeptMessage *kept)
{
    g_queue_unlink(&outbox->messages, &kept->link);
    outbox->size_bytes -= kafka_message_weight(kept->message);
    kept_free(kept);
    bell_ring(&outbox->bell);
}

void kafka_outbox_done(KafkaOutbox *outbox)
{
    while (outbox->messages.head != NULL)
        drop(outbox, outbox->messages.head->data);
    bell_done(&outbox->bell);
}

/* ---- sending ---- */

static rd_kafka_headers_t *headers_of(const BusMessage *message)
{
    if (message->n_headers == 0)
        return NULL;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(message->n_headers);
    for (size_t i = 0; i < message->n_headers; i++) {
        const BusHeader *header = &message->headers[i];
        rd_kafka_header_add(headers, header->name, -1, header->value, (ssize_t)header->value_size);
    }
    return headers;
}

/* Hands one to the client; it owns the headers when that worked. */
static rd_kafka_resp_err_t hand_over(KafkaOutbox *outbox, KeptMessage *kept)
{
    const BusMessage *message = kept->message;
    rd_kafka_t *client = outbox->producer->client;
    if (client == NULL)
        return RD_KAFKA_RESP_ERR__FATAL;
    rd_kafka_headers_t *headers = headers_of(message);
    rd_kafka_resp_err_t result =
        rd_kafka_producev(client, RD_KAFKA_V_RKT(outbox->producer->topics[outbox->topic]), RD_KAFKA_V_MSGFLAGS(0),
                          RD_KAFKA_V_VALUE(message->is_null ? NULL : message->value, message->value_size),
                          RD_KAFKA_V_KEY(message->key, message->key_size), RD_KAFKA_V_HEADERS(headers),
                          RD_KAFKA_V_OPAQUE(kept), RD_KAFKA_V_END);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR && headers != NULL)
        rd_kafka_headers_destroy(headers);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR)
        return result;
    kept->is_in_flight = true;
    outbox->n_in_flight++;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void resend_later(KafkaOutbox *outbox)
{
    outbox->needs_resend = true;
    outbox->resend_at = clock_monotonic_ms(outbox->producer->bus->clock) + RESEND_PAUSE_MS;
    kafka_producer_wake(outbox->producer);
}

static bool is_too_large(rd_kafka_resp_err_t result)
{
    return result == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || result == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE;
}

bool kafka_is_forbidden(rd_kafka_resp_err_t result)
{
    return result == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           result == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           result == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}

/* A letter that nobody may write must not hold up the statuses behind it. */
static void give_up_letter(KafkaOutbox *outbox, KeptMessage *kept)
{
    outbox->n_given_up++;
    kafka_watch_set_problem(outbox->producer->bus->watch, outbox->topic,
                            "may not be written; a dead letter was given up");
    drop(outbox, kept);
}

/* The broker will never take it as it is. A letter is made shorter; a status cannot be. */
static void shorten(KafkaOutbox *outbox, KeptMessage *kept)
{
    if (outbox->topic != TOPIC_DEAD_LETTERS || kept->n_cuts == G_N_ELEMENTS(LETTER_SIZES)) {
        outbox->n_given_up++;
        kafka_watch_set_problem(outbox->producer->bus->watch, outbox->topic,
                                "its max.message.bytes is too small; a message was given up");
        drop(outbox, kept);
        return;
    }
    outbox->size_bytes -= kafka_message_weight(kept->message);
    kafka_letter_cut(kept->message, LETTER_SIZES[kept->n_cuts++]);
    outbox->size_bytes += kafka_message_weight(kept->message);
}

void kafka_outbox_settle(KafkaOutbox *outbox, KeptMessage *kept, rd_kafka_resp_err_t result)
{
    kept->is_in_flight = false;
    outbox->n_in_flight--;
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR) {
        drop(outbox, kept);
        return;
    }
    KafkaWatch *watch = outbox->producer->bus->watch;
    if (is_too_large(result)) {
        shorten(outbox, kept);
    } else if (kafka_is_forbidden(result) && outbox->topic == TOPIC_DEAD_LETTERS) {
        give_up_letter(outbox, kept);
        return;
    } else {
        kafka_watch_ring(watch); /* the topic may be missing */
    }
    resend_later(outbox);
}

void kafka_outbox_resend_when_due(KafkaOutbox *outbox)
{
    int64_t now = clock_monotonic_ms(outbox->producer->bus->clock);
    if (!outbox->needs_resend || outbox->n_in_flight > 0 || now < outbox->resend_at)
        return;
    outbox->needs_resend = false;
    for (GList *link = outbox->messages.head, *next; link != NULL && !outbox->needs_resend; link = next) {
        next = link->next;
        rd_kafka_resp_err_t result = hand_over(outbox, link->data);
        if (is_too_large(result))
            shorten(outbox, link->data);
        if (result != RD_KAFKA_RESP_ERR_NO_ERROR)
            resend_later(outbox);
    }
}

void kafka_outbox_forget_client(KafkaOutbox *outbox)
{
    for (GList *link = outbox->messages.head; link != NULL; link = link->next)
        ((KeptMessage *)link->data)->is_in_flight = false;
    outbox->n_in_flight = 0;
    if (outbox->messages.head != NULL)
        resend_later(outbox);
}

/* ---- callers ---- */

/* A message larger than the whole bound is taken by an empty outbox, so that nothing waits for ever. */
static bool has_room(const KafkaOutbox *outbox, size_t weight)
{
    return outbox->messages.length == 0 ||
           (outbox->messages.length < outbox->max_messages && outbox->size_bytes + weight <= outbox->max_bytes);
}

typedef enum { ADDED, IS_FULL, IS_SHUT } AddResult;

static AddResult try_add(KafkaOutbox *outbox, BusMessage *message, size_t weight)
{
    MUTEX_SCOPE(&outbox->producer->mu);
    if (outbox->producer->is_shut_down)
        return IS_SHUT;
    if (!has_room(outbox, weight))
        return IS_FULL;
    KeptMessage *kept = g_new0(KeptMessage, 1);
    kept->kind = DELIVERY_KEPT;
    kept->message = message;
    kept->link.data = kept;
    g_queue_push_tail_link(&outbox->messages, &kept->link);
    outbox->size_bytes += weight;
    if (outbox->needs_resend)
        return ADDED; /* it goes with those before it */
    rd_kafka_resp_err_t result = hand_over(outbox, kept);
    if (is_too_large(result))
        shorten(outbox, kept);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR)
        resend_later(outbox);
    return ADDED;
}

bool kafka_outbox_add(KafkaOutbox *outbox, BusMessage *message, int64_t timeout_ms, GError **error)
{
    size_t weight = kafka_message_weight(message);
    const Clock *clock = outbox->producer->bus->clock;
    int64_t began = clock_monotonic_ms(clock);
    AddResult result;
    while ((result = try_add(outbox, message, weight)) == IS_FULL) {
        int64_t waited = clock_monotonic_ms(clock) - began;
        if (timeout_ms >= 0 && waited >= timeout_ms)
            break;
        bell_wait(&outbox->bell, timeout_ms < 0 ? WAIT_SLICE_MS : MIN(WAIT_SLICE_MS, timeout_ms - waited));
    }
    if (result == ADDED)
        return true;
    if (result == IS_SHUT)
        return kafka_set_shut_down(error);
    g_set_error(error, FLOWOPS_ERROR, FLOWOPS_BUSY, "too much waits for Kafka already (topic %s)",
                outbox->producer->bus->settings.topics[outbox->topic]);
    return false;
}

static bool is_empty(KafkaOutbox *outbox, bool *ret_is_shut_down)
{
    MUTEX_SCOPE(&outbox->producer->mu);
    *ret_is_shut_down = outbox->producer->is_shut_down;
    return outbox->messages.head == NULL;
}

bool kafka_outbox_wait_empty(KafkaOutbox *outbox, int64_t timeout_ms, GError **error)
{
    const Clock *clock = outbox->producer->bus->clock;
    int64_t began = clock_monotonic_ms(clock);
    bool is_shut_down;
    while (!is_empty(outbox, &is_shut_down)) {
        if (is_shut_down)
            return kafka_set_shut_down(error);
        int64_t waited = clock_monotonic_ms(clock) - began;
        if (timeout_ms >= 0 && waited >= timeout_ms) {
            g_set_error(error, FLOWOPS_ERROR, FLOWOPS_TIMEOUT, "Kafka has not taken all of topic %s yet",
                        outbox->producer->bus->settings.topics[outbox->topic]);
            return false;
        }
        bell_wait(&outbox->bell, timeout_ms < 0 ? WAIT_SLICE_MS : MIN(WAIT_SLICE_MS, timeout_ms - waited));
    }
    return true;
}
