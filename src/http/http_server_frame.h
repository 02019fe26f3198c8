/* http_server_frame.h - where a request ends and whether it may be believed: a strict look at the raw bytes of heads and
 * chunked bodies (RFC 9112) before evhttp sees them. evhttp is lenient (bare LF, NUL, any Transfer-Encoding, several
 * Content-Length, trailers that become headers), and leniency is what request smuggling is made of.
 * Thread: any; pure. */
#ifndef FLOWOPS_HTTP_HTTP_SERVER_FRAME_H
#define FLOWOPS_HTTP_HTTP_SERVER_FRAME_H

#include "http/http_server.h"

#define FRAME_MAX_FIELDS 128 /* headers of a request; above: 431. Look-ups walk them */

typedef enum { FRAME_PARTIAL, FRAME_COMPLETE, FRAME_REFUSED } FrameResult;

typedef struct {
    int status;          /* what to answer */
    const char *message; /* static text */
} FrameFault;

typedef struct {
    HttpMethod method;
    bool is_http_1_0;
    bool is_keep_alive; /* the connection may serve another request: never for HTTP/1.0 and absolute targets */
    bool is_chunked;
    bool expects_continue;
    size_t head_size;      /* with the empty line */
    size_t content_length; /* 0 when chunked or absent */
} FrameHead;

/* `text` holds the `size` bytes of a request that have come, from its first. *scan_at is 0 at the first call and kept
 * for the next, so that a line is looked at once, when it is whole. FRAME_REFUSED as soon as anything is wrong. */
FrameResult frame_scan_head(const char *text, size_t size, size_t *scan_at, FrameHead *ret_head, FrameFault *ret_fault);

/* The place in a chunked body; starts as {0}. */
typedef struct {
    unsigned state;
    unsigned n_digits;
    size_t n_left;    /* of the chunk at hand */
    size_t n_decoded; /* of all chunks announced so far */
} FrameChunks;

/* Goes on through the next `size` bytes. *ret_used: how many belong to the body (all of them unless complete). */
FrameResult frame_scan_chunks(FrameChunks *chunks, const char *data, size_t size, size_t *ret_used,
                              FrameFault *ret_fault);

/* Decodes the percent escapes of a path in place. False: a broken escape, %00, or no UTF-8. */
MUST_CHECK bool frame_decode_path(char *path);

#endif
