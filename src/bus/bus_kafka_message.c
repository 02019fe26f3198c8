/* bus_kafka_message.c - a message as the library gives it, made one of ours. The library's keeps the whole answer it came in
 * alive, so it is copied and let go at once. */
#include "bus/bus_kafka_internal.h"

#include <string.h>

static char *copy_bytes(const void *bytes, size_t size)
{
    char *copy = g_malloc(size + 1);
    if (size > 0)
        memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

static void copy_headers(const rd_kafka_message_t *from, BusMessage *to)
{
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(from, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    to->headers = g_new0(BusHeader, rd_kafka_header_cnt(headers));
    const char *name;
    const void *value;
    size_t size;
    while (rd_kafka_header_get_all(headers, to->n_headers, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR)
        to->headers[to->n_headers++] = (BusHeader){.name = g_strdup(name),
                                                   .value = value != NULL ? copy_bytes(value, size) : NULL,
                                                   .value_size = value != NULL ? size : 0};
}

BusMessage *kafka_message_take(rd_kafka_message_t *message)
{
    BusMessage *copy = g_new0(BusMessage, 1);
    if (message->key != NULL) {
        copy->key = copy_bytes(message->key, message->key_len);
        copy->key_size = message->key_len;
    }
    copy->is_null = message->payload == NULL;
    copy->value_size = copy->is_null ? 0 : message->len;
    copy->value = copy_bytes(message->payload, copy->value_size);
    copy->origin = (Origin){.topic = g_strdup(rd_kafka_topic_name(message->rkt)),
                            .partition = message->partition,
                            .offset = message->offset};
    rd_kafka_timestamp_type_t type;
    int64_t timestamp = rd_kafka_message_timestamp(message, &type);
    copy->timestamp = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? INSTANT_NONE : timestamp;
    copy_headers(message, copy);
    rd_kafka_message_destroy(message);
    return copy;
}
