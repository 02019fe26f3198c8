/* bus_kafka_letter.c - what goes to execution.status.dlq: the original and why it is there, in headers whose values are
 * text. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

/* What a record takes beside its texts, with its batch's header: lengths, attributes, checksums. */
#define RECORD_OVERHEAD_BYTES 128
#define HEADER_OVERHEAD_BYTES 16
#define TRUNCATED_HEADER "dlq.truncated"
#define REASON_MAX_BYTES 4096 /* so that even a letter that has to be short says why it is there */

/* Those of a letter that was put back on its topic are not the original's. */
static bool is_own_header(const BusHeader *header)
{
    static const char *const names[] = {"dlq.reason", "dlq.topic",     "dlq.partition",
                                        "dlq.offset", "dlq.timestamp", TRUNCATED_HEADER};
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (strcmp(header->name, names[i]) == 0)
            return true;
    return false;
}

static BusHeader header_copy(const BusHeader *header)
{
    return (BusHeader){.name = g_strdup(header->name),
                       .value = header->value != NULL ? g_memdup2(header->value, header->value_size) : NULL,
                       .value_size = header->value_size};
}

static void add_header(BusMessage *message, const char *name, const char *text)
{
    message->headers[message->n_headers++] =
        (BusHeader){.name = g_strdup(name), .value = g_strdup(text), .value_size = strlen(text)};
}

static void add_number(BusMessage *message, const char *name, int64_t number)
{
    char text[24];
    g_snprintf(text, sizeof text, "%" G_GINT64_FORMAT, number);
    add_header(message, name, text);
}

static BusMessage *copy_body(const BusMessage *message)
{
    BusMessage *copy = bus_message_new(NULL, message->value, message->value_size);
    copy->is_null = message->is_null;
    if (message->key != NULL) {
        copy->key = g_malloc(message->key_size + 1);
        memcpy(copy->key, message->key, message->key_size);
        copy->key[message->key_size] = '\0';
        copy->key_size = message->key_size;
    }
    return copy;
}

BusMessage *kafka_letter_new(const BusMessage *message, const char *reason)
{
    enum { N_OWN_HEADERS = 6 }; /* with the one that says it was cut */
    BusMessage *letter = copy_body(message);
    letter->headers = g_new0(BusHeader, message->n_headers + N_OWN_HEADERS);
    bool was_cut = false; /* when it was put aside before */
    for (size_t i = 0; i < message->n_headers; i++) {
        const BusHeader *header = &message->headers[i];
        was_cut |= strcmp(header->name, TRUNCATED_HEADER) == 0;
        if (!is_own_header(header))
            letter->headers[letter->n_headers++] = header_copy(header);
    }
    g_autofree char *short_reason = g_strndup(reason, REASON_MAX_BYTES);
    add_header(letter, "dlq.reason", short_reason);
    if (message->origin.topic != NULL) {
        add_header(letter, "dlq.topic", message->origin.topic);
        add_number(letter, "dlq.partition", message->origin.partition);
        add_number(letter, "dlq.offset", message->origin.offset);
    }
    if (message->timestamp != INSTANT_NONE)
        add_number(letter, "dlq.timestamp", message->timestamp);
    if (was_cut)
        add_header(letter, TRUNCATED_HEADER, "true");
    return letter;
}

static size_t header_weight(const BusHeader *header)
{
    return HEADER_OVERHEAD_BYTES + strlen(header->name) + header->value_size;
}

size_t kafka_message_weight(const BusMessage *message)
{
    size_t weight = RECORD_OVERHEAD_BYTES + message->key_size + message->value_size;
    for (size_t i = 0; i < message->n_headers; i++)
        weight += header_weight(&message->headers[i]);
    return weight;
}

static bool letter_is_cut(const BusMessage *letter)
{
    return letter->n_headers > 0 && strcmp(letter->headers[letter->n_headers - 1].name, TRUNCATED_HEADER) == 0;
}

static size_t headers_weight(const BusMessage *letter)
{
    return kafka_message_weight(letter) - RECORD_OVERHEAD_BYTES - letter->key_size - letter->value_size;
}

/* The original's, the last one first, until all headers take no more than max_bytes. */
static void drop_headers(BusMessage *letter, size_t max_bytes)
{
    size_t weight = headers_weight(letter); /* counted down: there may be hundreds of thousands */
    for (size_t i = letter->n_headers; i > 0 && weight > max_bytes; i--) {
        BusHeader *header = &letter->headers[i - 1];
        if (is_own_header(header))
            continue;
        weight -= header_weight(header);
        g_free(header->name);
        g_free(header->value);
        memmove(header, header + 1, (letter->n_headers - i) * sizeof *header);
        letter->n_headers--;
    }
}

/* Headers may keep a quarter of the room; the value, which says most about what was wrong, gets what is left. */
void kafka_letter_cut(BusMessage *letter, size_t max_bytes)
{
    if (!letter_is_cut(letter))
        add_header(letter, TRUNCATED_HEADER, "true");
    if (kafka_message_weight(letter) > max_bytes)
        drop_headers(letter, max_bytes / 4);
    letter->key_size = MIN(letter->key_size, max_bytes / 4);
    size_t weight = kafka_message_weight(letter);
    if (weight > max_bytes)
        letter->value_size -= MIN(weight - max_bytes, letter->value_size);
}
