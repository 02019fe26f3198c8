/* cursor.c - form before base64url: form number (1 byte), createdAt (8, big endian), id (36), then the first 16 bytes of
 * HMAC-SHA256 over the list (1 byte), the owner (36) and all before. */
#include "http/cursor.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

enum {
    FORM = 1,
    ID_SIZE = ID_TEXT_SIZE - 1,
    PLACE_SIZE = 1 + 8 + ID_SIZE,
    MAC_SIZE = 16,
    CURSOR_SIZE = PLACE_SIZE + MAC_SIZE,
    TEXT_SIZE = (CURSOR_SIZE * 4 + 2) / 3, /* unpadded */
};

static void sign(const unsigned char secret[CURSOR_SECRET_SIZE], CursorList list, const Id *owner,
                 const unsigned char *place, unsigned char ret_mac[MAC_SIZE])
{
    unsigned char message[1 + ID_SIZE + PLACE_SIZE], digest[32];
    message[0] = (unsigned char)list;
    memcpy(message + 1, owner->text, ID_SIZE);
    memcpy(message + 1 + ID_SIZE, place, PLACE_SIZE);
    unsigned char *made = HMAC(EVP_sha256(), secret, CURSOR_SECRET_SIZE, message, sizeof(message), digest, NULL);
    g_assert(made); /* fails only without memory */
    memcpy(ret_mac, digest, MAC_SIZE);
}

char *cursor_encode(const unsigned char secret[CURSOR_SECRET_SIZE], CursorList list, const Id *owner,
                    const ListPosition *position)
{
    unsigned char bytes[CURSOR_SIZE];
    uint64_t created_at = GUINT64_TO_BE((uint64_t)position->created_at);
    bytes[0] = FORM;
    memcpy(bytes + 1, &created_at, sizeof(created_at));
    memcpy(bytes + 9, position->id.text, ID_SIZE);
    sign(secret, list, owner, bytes, bytes + PLACE_SIZE);

    char *text = g_base64_encode(bytes, sizeof(bytes));
    g_strdelimit(text, "+", '-');
    g_strdelimit(text, "/", '_');
    text[TEXT_SIZE] = '\0'; /* the padding */
    return text;
}

/* Made anew from what it says, a true cursor is the same text. */
bool cursor_decode(const unsigned char secret[CURSOR_SECRET_SIZE], CursorList list, const Id *owner, const char *text,
                   ListPosition *ret_position)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if (strlen(text) != TEXT_SIZE || strspn(text, alphabet) != TEXT_SIZE)
        return false;
    char padded[TEXT_SIZE + 4];
    g_snprintf(padded, sizeof(padded), "%s%s", text, TEXT_SIZE % 4 == 0 ? "" : TEXT_SIZE % 4 == 2 ? "==" : "=");
    g_strdelimit(padded, "-", '+');
    g_strdelimit(padded, "_", '/');
    gsize size;
    g_autofree unsigned char *bytes = g_base64_decode(padded, &size);
    if (size != CURSOR_SIZE)
        return false;
    uint64_t created_at;
    memcpy(&created_at, bytes + 1, sizeof(created_at));
    ListPosition position = {.created_at = (int64_t)GUINT64_FROM_BE(created_at)};
    memcpy(position.id.text, bytes + 9, ID_SIZE);
    g_autofree char *expected = cursor_encode(secret, list, owner, &position);
    if (CRYPTO_memcmp(expected, text, TEXT_SIZE) != 0)
        return false;
    *ret_position = position;
    return true;
}
