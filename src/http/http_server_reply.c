/* http_server_reply.c - replies. Head and body leave in one call straight from where they are; only what the socket does
 * not take is copied. evhttp's own way (a list node and a printf for every header, a turn of the loop for the write) costs
 * about as much as all the rest of a small request. */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "http/http_server_internal.h"

static const char *status_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Other";
}

static void put(HeadText *head, const char *text, size_t size)
{
    g_assert(size <= head->capacity - head->size); /* heads are small and made by us */
    memcpy(head->text + head->size, text, size);
    head->size += size;
}

static void put_text(HeadText *head, const char *text)
{
    put(head, text, strlen(text));
}

/* What came from a client must not be able to end its line. */
static void put_value(HeadText *head, const char *value)
{
    char *at = head->text + head->size;
    put_text(head, value);
    for (; at < head->text + head->size; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
}

/* IMF-fixdate of RFC 9110, 5.6.7, made once a second. */
static void refresh_date(HttpLoop *loop)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now_s = clock_wall_ms(loop->server->clock) / 1000;
    if (now_s == loop->date_s && loop->date_size > 0)
        return;
    struct tm now;
    gmtime_r(&now_s, &now);
    loop->date_s = now_s;
    loop->date_size = (size_t)g_snprintf(loop->date, sizeof loop->date, "Date: %s, %02d %s %d %02d:%02d:%02d GMT\r\n",
                                         days[now.tm_wday], now.tm_mday, months[now.tm_mon], now.tm_year + 1900,
                                         now.tm_hour, now.tm_min, now.tm_sec);
}

void head_begin(HeadText *head, HttpLoop *loop, int status, const char *request_id)
{
    g_assert(status >= 200 && status <= 599);
    const char digits[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10), ' '};
    put_text(head, "HTTP/1.1 ");
    put(head, digits, sizeof digits);
    put_text(head, status_phrase(status));
    put_text(head, "\r\n");
    refresh_date(loop);
    put(head, loop->date, loop->date_size);
    head_put(head, "X-Request-Id", request_id);
}

void head_put(HeadText *head, const char *name, const char *value)
{
    put_text(head, name);
    put_text(head, ": ");
    put_value(head, value);
    put_text(head, "\r\n");
}

void head_put_headers(HeadText *head, const HttpHeader *headers, size_t n_headers)
{
    for (size_t i = 0; i < n_headers; i++)
        head_put(head, headers[i].name, headers[i].value);
}

void head_put_length(HeadText *head, size_t length)
{
    char digits[24];
    char *at = digits + sizeof digits;
    do
        *--at = (char)('0' + length % 10);
    while ((length /= 10) > 0);
    put_text(head, "Content-Length: ");
    put(head, at, (size_t)(digits + sizeof digits - at));
    put_text(head, "\r\n");
}

void head_end(HeadText *head)
{
    put_text(head, "\r\n");
}

ssize_t send_some(int fd, struct iovec *parts, size_t n_parts)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
    ssize_t n;
    do
        n = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM))
        return 0;
    return n;
}

static void send_later(HttpConnection *conn, const struct iovec *parts, size_t n_parts, size_t n_sent)
{
    connection_keep_unsent(conn, parts, n_parts, n_sent);
    conn->n_unsent_then = conn->n_unsent;
    connection_enter(conn, CONN_SENDING);
    connection_watch(conn, EV_WRITE);
}

void http_reply(HttpRequest *request, int status, const HttpHeader *headers, size_t n_headers, const char *body,
                size_t body_size)
{
    HttpConnection *conn = request->conn;
    char text[HTTP_REPLY_HEAD_SIZE];
    HeadText head = {.text = text, .capacity = sizeof text};
    g_assert(loop_own() == conn->loop);
    if (conn->loop->is_draining)
        conn->will_close = true;
    bool is_bodiless = status == 204 || status == 304;
    head_begin(&head, conn->loop, status, request->id);
    head_put_headers(&head, headers, n_headers);
    if (!is_bodiless)
        head_put_length(&head, body_size);
    if (conn->will_close)
        head_put(&head, "Connection", "close");
    head_end(&head);
    size_t n_body = is_bodiless || request->method == HTTP_HEAD ? 0 : body_size;
    struct iovec parts[] = {{text, head.size}, {(void *)body, n_body}};
    size_t n_parts = n_body > 0 ? 2 : 1;
    connection_end_request(conn);

    ssize_t n = send_some(conn->fd, parts, n_parts);
    if (n < 0)
        connection_doom(conn);
    else if ((size_t)n < head.size + n_body)
        send_later(conn, parts, n_parts, (size_t)n);
    else
        connection_replied(conn);
}
