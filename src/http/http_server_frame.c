/* http_server_frame.c - the strict look at raw requests. Every rule here refuses something that evhttp or a proxy in front
 * might read differently than we do: both readings must be the same, or the connection ends. */
#include "http/http_server_frame.h"

#include <string.h>

static const char BAD_REQUEST_LINE[] = "the request line is malformed";
static const char BAD_LENGTH[] = "Content-Length is not a single number";

static FrameResult refuse(FrameFault *ret_fault, int status, const char *message)
{
    *ret_fault = (FrameFault){.status = status, .message = message};
    return FRAME_REFUSED;
}

/* tchar of RFC 9110, 5.6.2. */
static bool is_token_char(char c)
{
    return g_ascii_isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!is_token_char(text[i]))
            return false;
    return size > 0;
}

typedef struct {
    const char *text;
    size_t size;
} Span;

static bool span_equals(Span span, const char *text)
{
    return span.size == strlen(text) && memcmp(span.text, text, span.size) == 0;
}

static bool span_equals_nocase(Span span, const char *text)
{
    return span.size == strlen(text) && g_ascii_strncasecmp(span.text, text, span.size) == 0;
}

static bool span_starts_nocase(Span span, const char *text)
{
    size_t size = strlen(text);
    return span.size > size && g_ascii_strncasecmp(span.text, text, size) == 0;
}

static Span span_trim(Span span)
{
    while (span.size > 0 && (span.text[0] == ' ' || span.text[0] == '\t')) {
        span.text++;
        span.size--;
    }
    while (span.size > 0 && (span.text[span.size - 1] == ' ' || span.text[span.size - 1] == '\t'))
        span.size--;
    return span;
}

/* Up to `end` without it; the rest stays in *line. False: no `end` in it. */
static bool span_take(Span *line, char end, Span *ret_taken)
{
    const char *found = memchr(line->text, end, line->size);
    if (found == NULL)
        return false;
    ret_taken->text = line->text;
    ret_taken->size = (size_t)(found - line->text);
    line->text = found + 1;
    line->size -= ret_taken->size + 1;
    return true;
}

/* ---- the request line ---- */

static HttpMethod method_of(Span method)
{
    static const char *const names[] = {
        [HTTP_GET] = "GET",       [HTTP_HEAD] = "HEAD",       [HTTP_POST] = "POST",   [HTTP_PUT] = "PUT",
        [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS", [HTTP_PATCH] = "PATCH",
    };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (span_equals(method, names[i]))
            return (HttpMethod)i;
    return HTTP_OTHER;
}

static bool is_authority_end(char c)
{
    return c == '/' || c == '?';
}

/* Origin form, "*" for OPTIONS, or http(s)://authority... */
static bool target_is_valid(Span target, HttpMethod method)
{
    for (size_t i = 0; i < target.size; i++) {
        unsigned char c = (unsigned char)target.text[i];
        if (c <= ' ' || c >= 0x7f || c == '#')
            return false;
    }
    if (target.size == 0)
        return false;
    if (target.text[0] == '/')
        return true;
    if (span_equals(target, "*"))
        return method == HTTP_OPTIONS;
    if (span_starts_nocase(target, "http://"))
        return !is_authority_end(target.text[strlen("http://")]);
    if (span_starts_nocase(target, "https://"))
        return !is_authority_end(target.text[strlen("https://")]);
    return false;
}

static FrameResult scan_request_line(Span line, FrameHead *head, FrameFault *fault)
{
    Span method = {0};
    Span target = {0};
    if (!span_take(&line, ' ', &method) || !span_take(&line, ' ', &target) || !is_token(method.text, method.size))
        return refuse(fault, 400, BAD_REQUEST_LINE);
    if (line.size != strlen("HTTP/1.1") || memcmp(line.text, "HTTP/", 5) != 0 || !g_ascii_isdigit(line.text[5]) ||
        line.text[6] != '.' || !g_ascii_isdigit(line.text[7]))
        return refuse(fault, 400, BAD_REQUEST_LINE);
    if (line.text[5] != '1')
        return refuse(fault, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    head->is_http_1_0 = line.text[7] == '0';
    head->method = method_of(method);
    if (head->method == HTTP_OTHER)
        return refuse(fault, 501, "the method is not known here");
    if (!target_is_valid(target, head->method))
        return refuse(fault, 400, "the request target is malformed");
    /* evhttp takes an absolute target for a proxy's request and closes after it. */
    head->is_keep_alive = !head->is_http_1_0 && (target.text[0] == '/' || target.text[0] == '*');
    return FRAME_COMPLETE;
}

/* ---- the header lines ---- */

typedef struct {
    FrameHead *head;
    size_t n_fields;
    bool has_host, has_length, has_coding, is_too_long;
} Fields;

static bool value_is_clean(Span value)
{
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.text[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool host_is_valid(Span host)
{
    for (size_t i = 0; i < host.size; i++)
        if (!g_ascii_isalnum(host.text[i]) && strchr("-._~%!$&'()*+,;=:[]", host.text[i]) == NULL)
            return false;
    return true;
}

static FrameResult scan_length(Fields *fields, Span value, FrameFault *fault)
{
    size_t length = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (!g_ascii_isdigit(value.text[i]))
            return refuse(fault, 400, BAD_LENGTH);
        if (length <= HTTP_MAX_BODY_BYTES) /* above, only that it is too much counts */
            length = length * 10 + (size_t)(value.text[i] - '0');
        if (length > HTTP_MAX_BODY_BYTES)
            fields->is_too_long = true;
    }
    if (value.size == 0 || (fields->has_length && length != fields->head->content_length))
        return refuse(fault, 400, BAD_LENGTH);
    fields->has_length = true;
    fields->head->content_length = length;
    return FRAME_COMPLETE;
}

static void scan_connection(Fields *fields, Span value)
{
    while (value.size > 0) {
        Span option = value;
        if (!span_take(&value, ',', &option))
            value.size = 0;
        if (span_equals_nocase(span_trim(option), "close"))
            fields->head->is_keep_alive = false;
    }
}

static FrameResult scan_coding(Fields *fields, Span value, FrameFault *fault)
{
    if (fields->has_coding || !span_equals_nocase(value, "chunked"))
        return refuse(fault, 400, "the only Transfer-Encoding taken is chunked");
    if (fields->head->is_http_1_0)
        return refuse(fault, 400, "HTTP/1.0 has no Transfer-Encoding");
    fields->has_coding = true;
    fields->head->is_chunked = true;
    return FRAME_COMPLETE;
}

static FrameResult scan_host(Fields *fields, Span value, FrameFault *fault)
{
    if (fields->has_host)
        return refuse(fault, 400, "there is more than one Host");
    if (!host_is_valid(value))
        return refuse(fault, 400, "Host is malformed");
    fields->has_host = true;
    return FRAME_COMPLETE;
}

static FrameResult scan_expect(Fields *fields, Span value, FrameFault *fault)
{
    if (fields->head->is_http_1_0)
        return FRAME_COMPLETE;
    if (!span_equals_nocase(value, "100-continue"))
        return refuse(fault, 417, "the only expectation met is 100-continue");
    fields->head->expects_continue = true;
    return FRAME_COMPLETE;
}

static FrameResult scan_field(Fields *fields, Span line, FrameFault *fault)
{
    Span name = {0};
    if (line.text[0] == ' ' || line.text[0] == '\t')
        return refuse(fault, 400, "a header is continued on a second line");
    if (!span_take(&line, ':', &name) || !is_token(name.text, name.size))
        return refuse(fault, 400, "a header line is malformed");
    if (!value_is_clean(line))
        return refuse(fault, 400, "a header holds a control character");
    if (++fields->n_fields > FRAME_MAX_FIELDS)
        return refuse(fault, 431, "there are more than " G_STRINGIFY(FRAME_MAX_FIELDS) " headers");
    Span value = span_trim(line);
    switch (g_ascii_tolower(name.text[0])) {
    case 'c':
        if (span_equals_nocase(name, "Content-Length"))
            return scan_length(fields, value, fault);
        if (span_equals_nocase(name, "Connection"))
            scan_connection(fields, value);
        break;
    case 'e':
        if (span_equals_nocase(name, "Expect"))
            return scan_expect(fields, value, fault);
        break;
    case 'h':
        if (span_equals_nocase(name, "Host"))
            return scan_host(fields, value, fault);
        break;
    case 't':
        if (span_equals_nocase(name, "Transfer-Encoding"))
            return scan_coding(fields, value, fault);
        break;
    default:
        break;
    }
    return FRAME_COMPLETE;
}

/* What the headers mean together. */
static FrameResult check_fields(const Fields *fields, FrameFault *fault)
{
    const FrameHead *head = fields->head;
    if (!fields->has_host && !head->is_http_1_0)
        return refuse(fault, 400, "Host is missing");
    if (fields->has_length && fields->has_coding)
        return refuse(fault, 400, "Content-Length and Transfer-Encoding exclude each other");
    if (fields->is_too_long)
        return refuse(fault, 413, "the body is larger than 1 MiB");
    if (head->method == HTTP_HEAD && (head->is_chunked || head->content_length > 0))
        return refuse(fault, 400, "HEAD has no body"); /* evhttp would take it for the next request */
    return FRAME_COMPLETE;
}

/* `text` is a whole head whose lines all end with CR LF. */
static FrameResult scan_whole_head(const char *text, size_t size, FrameHead *head, FrameFault *fault)
{
    Span rest = {.text = text, .size = size};
    Span line = {0};
    Fields fields = {.head = head};
    *head = (FrameHead){.head_size = size};
    bool is_first = true;
    FrameResult result = FRAME_COMPLETE;
    while (result == FRAME_COMPLETE && span_take(&rest, '\n', &line)) {
        line.size--; /* the CR */
        if (is_first)
            result = scan_request_line(line, head, fault);
        else if (line.size > 0)
            result = scan_field(&fields, line, fault);
        is_first = false;
    }
    return result == FRAME_COMPLETE ? check_fields(&fields, fault) : result;
}

FrameResult frame_scan_head(const char *text, size_t size, size_t *scan_at, FrameHead *ret_head, FrameFault *ret_fault)
{
    const char *end;
    while (*scan_at < size && (end = memchr(text + *scan_at, '\n', size - *scan_at)) != NULL) {
        Span line = {.text = text + *scan_at, .size = (size_t)(end - text) - *scan_at};
        if (line.size == 0 || end[-1] != '\r')
            return refuse(ret_fault, 400, "a line does not end with CR LF");
        line.size--;
        bool is_first = *scan_at == 0;
        *scan_at = (size_t)(end - text) + 1;
        if (*scan_at > HTTP_MAX_HEADER_BYTES)
            return refuse(ret_fault, 431, "the headers are larger than 16 KiB");
        if (!is_first && line.size == 0)
            return scan_whole_head(text, *scan_at, ret_head, ret_fault);
        /* What is no HTTP is told at once, not when a deadline passes. */
        if (is_first && scan_request_line(line, ret_head, ret_fault) == FRAME_REFUSED)
            return FRAME_REFUSED;
    }
    if (*scan_at == 0 && size > 0 && !is_token_char(text[0]))
        return refuse(ret_fault, 400, BAD_REQUEST_LINE);
    if (size > HTTP_MAX_HEADER_BYTES)
        return refuse(ret_fault, 431, "the headers are larger than 16 KiB");
    return FRAME_PARTIAL;
}

/* ---- chunked bodies ---- */

enum { CHUNK_SIZE, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_DATA_CR, CHUNK_DATA_LF, CHUNK_LAST_CR, CHUNK_LAST_LF, CHUNK_END };

#define CHUNK_MAX_DIGITS 8

static FrameResult scan_size_char(FrameChunks *chunks, char c, FrameFault *fault)
{
    if (c == '\r' && chunks->n_digits > 0) {
        chunks->state = CHUNK_SIZE_LF;
        return FRAME_PARTIAL;
    }
    if (!g_ascii_isxdigit(c) || ++chunks->n_digits > CHUNK_MAX_DIGITS)
        return refuse(fault, 400, "the size of a chunk is malformed");
    chunks->n_left = chunks->n_left * 16 + (size_t)g_ascii_xdigit_value(c);
    if (chunks->n_left > HTTP_MAX_BODY_BYTES - chunks->n_decoded)
        return refuse(fault, 413, "the body is larger than 1 MiB");
    return FRAME_PARTIAL;
}

static void chunk_begin(FrameChunks *chunks)
{
    chunks->n_decoded += chunks->n_left;
    chunks->state = chunks->n_left == 0 ? CHUNK_LAST_CR : CHUNK_DATA;
}

static FrameResult scan_chunk_char(FrameChunks *chunks, char c, FrameFault *fault)
{
    bool wants_lf = chunks->state == CHUNK_SIZE_LF || chunks->state == CHUNK_DATA_LF || chunks->state == CHUNK_LAST_LF;
    if (chunks->state == CHUNK_SIZE)
        return scan_size_char(chunks, c, fault);
    if (chunks->state == CHUNK_LAST_CR && c != '\r')
        return refuse(fault, 400, "headers after the body are not taken");
    if (c != (wants_lf ? '\n' : '\r'))
        return refuse(fault, 400, "a chunk does not end with CR LF");
    switch (chunks->state) {
    case CHUNK_SIZE_LF:
        chunk_begin(chunks);
        break;
    case CHUNK_DATA_CR:
        chunks->state = CHUNK_DATA_LF;
        break;
    case CHUNK_DATA_LF:
        chunks->state = CHUNK_SIZE;
        chunks->n_digits = 0;
        break;
    case CHUNK_LAST_CR:
        chunks->state = CHUNK_LAST_LF;
        break;
    default:
        chunks->state = CHUNK_END;
        break;
    }
    return FRAME_PARTIAL;
}

FrameResult frame_scan_chunks(FrameChunks *chunks, const char *data, size_t size, size_t *ret_used,
                              FrameFault *ret_fault)
{
    size_t i = 0;
    while (i < size && chunks->state != CHUNK_END) {
        if (chunks->state == CHUNK_DATA) {
            size_t n = MIN(size - i, chunks->n_left);
            chunks->n_left -= n;
            i += n;
            if (chunks->n_left == 0)
                chunks->state = CHUNK_DATA_CR;
        } else if (scan_chunk_char(chunks, data[i++], ret_fault) == FRAME_REFUSED) {
            return FRAME_REFUSED;
        }
    }
    *ret_used = i;
    return chunks->state == CHUNK_END ? FRAME_COMPLETE : FRAME_PARTIAL;
}

/* ---- paths ---- */

bool frame_decode_path(char *path)
{
    char *out = path;
    bool is_plain = true;
    for (const char *in = path; *in != '\0'; in++, out++) {
        *out = *in;
        if (*in != '%')
            continue;
        if (!g_ascii_isxdigit(in[1]) || !g_ascii_isxdigit(in[2]))
            return false;
        *out = (char)(g_ascii_xdigit_value(in[1]) * 16 + g_ascii_xdigit_value(in[2]));
        if (*out == '\0')
            return false;
        in += 2;
        is_plain = false;
    }
    *out = '\0';
    return is_plain || g_utf8_validate(path, -1, NULL); /* what is not escaped is ASCII */
}
