/* id.c - UUIDs. Version 7 ids sort by the time they were made, which keeps a big index's inserts at its right end.
 * Layout of ours: 48 bits milliseconds | version | 12 bits counter | variant | 14 bits counter | 48 random bits.
 * The counter starts each millisecond at a random value in its lower half (RFC 9562 6.2, method 1), so threads and
 * processes do not meet, and there is room for 33 million ids before it would overflow into the next millisecond. */
#include "base/id.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

#define UUID_BYTES 16
#define COUNTER_BITS 26
#define COUNTER_MAX ((UINT32_C(1) << COUNTER_BITS) - 1)
#define COUNTER_SEED_MAX (COUNTER_MAX >> 1)
#define MS_MAX ((INT64_C(1) << 48) - 1)
#define ENTROPY_BYTES 4096 /* one system call feeds some 600 ids */

typedef struct {
    int64_t last_ms; /* -1 before the first id */
    uint32_t counter;
    size_t n_left; /* unused bytes at the end of `entropy` */
    uint8_t entropy[ENTROPY_BYTES];
} Generator;

static _Thread_local Generator generator = {.last_ms = -1};

static void entropy_fill(uint8_t *buffer, size_t size)
{
    size_t n_done = 0;
    while (n_done < size) {
        ssize_t n = getrandom(buffer + n_done, size - n_done, 0);
        if (n > 0)
            n_done += (size_t)n;
        else if (errno != EINTR)
            g_error("getrandom: %s", g_strerror(errno)); /* ends the process: no ids without randomness */
    }
}

static void entropy_take(Generator *state, void *ret_bytes, size_t size)
{
    if (state->n_left < size) {
        entropy_fill(state->entropy, ENTROPY_BYTES);
        state->n_left = ENTROPY_BYTES;
    }
    memcpy(ret_bytes, state->entropy + (ENTROPY_BYTES - state->n_left), size);
    state->n_left -= size;
}

static Id id_from_bytes(const uint8_t bytes[UUID_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    Id id;
    char *at = id.text;
    for (size_t i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    *at = '\0';
    return id;
}

Id id_make(int64_t wall_ms)
{
    Generator *state = &generator;
    int64_t now_ms = CLAMP(wall_ms, 0, MS_MAX); /* what does not fit is a clock far off: an id is needed all the same */
    if (now_ms > state->last_ms) {
        uint32_t seed;
        entropy_take(state, &seed, sizeof seed);
        state->last_ms = now_ms;
        state->counter = seed & COUNTER_SEED_MAX;
    } else if (state->counter < COUNTER_MAX) {
        state->counter++; /* the same millisecond, or a clock that was set back: go on where we were */
    } else {
        state->last_ms++; /* a millisecond ahead of the clock, which the RFC allows */
        state->counter = 0;
    }

    uint64_t ms = (uint64_t)state->last_ms;
    uint8_t bytes[UUID_BYTES];
    for (int i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    bytes[6] = (uint8_t)(0x70 | state->counter >> 22);
    bytes[7] = (uint8_t)(state->counter >> 14);
    bytes[8] = (uint8_t)(0x80 | (state->counter >> 8 & 0x3f));
    bytes[9] = (uint8_t)state->counter;
    entropy_take(state, bytes + 10, 6);
    return id_from_bytes(bytes);
}

/* Looking an algorithm up costs more than hashing a short key with it, so it is done once and kept for good. */
static EVP_MD *sha256;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void sha256_fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha256 == NULL)
        g_error("OpenSSL has no SHA-256");
}

Id id_derive(const char *const *parts, size_t n_parts)
{
    pthread_once(&sha256_once, sha256_fetch);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t digest[EVP_MAX_MD_SIZE];
    bool is_done = context != NULL && EVP_DigestInit_ex2(context, sha256, NULL) == 1;
    for (size_t i = 0; is_done && i < n_parts; i++) {
        size_t n_separator = i > 0 ? 1 : 0;
        is_done = EVP_DigestUpdate(context, "", n_separator) == 1 &&
                  EVP_DigestUpdate(context, parts[i], strlen(parts[i])) == 1;
    }
    is_done = is_done && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!is_done)
        g_error("SHA-256 failed"); /* it has no way to but for want of memory */

    digest[6] = (uint8_t)(0x80 | (digest[6] & 0x0f));
    digest[8] = (uint8_t)(0x80 | (digest[8] & 0x3f));
    return id_from_bytes(digest);
}

static bool is_dash_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool id_is_valid(const char *text)
{
    Id id;
    return id_parse(text, &id) && memcmp(text, id.text, ID_TEXT_SIZE) == 0;
}

bool id_parse(const char *text, Id *ret_id)
{
    if (text == NULL)
        return false;
    Id id;
    for (size_t i = 0; i < ID_TEXT_SIZE - 1; i++) {
        char c = text[i]; /* a NUL that comes early is neither a dash nor a digit */
        if (is_dash_place(i) ? c != '-' : !g_ascii_isxdigit(c))
            return false;
        id.text[i] = g_ascii_tolower(c);
    }
    if (text[ID_TEXT_SIZE - 1] != '\0')
        return false;
    id.text[ID_TEXT_SIZE - 1] = '\0';
    *ret_id = id;
    return true;
}
