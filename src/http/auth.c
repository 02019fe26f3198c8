/* auth.c - the two ways to know a caller that need no key material. */
#include "http/auth.h"

#include <arpa/inet.h>
#include <glib.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#define NAME_MAX_SIZE 256 /* of a host name, RFC 1035 2.3.4 */

static bool port_is_valid(const char *text)
{
    size_t n_digits = strspn(text, "0123456789");
    return text[n_digits] == '\0' && n_digits <= 5; /* "host:" is valid (RFC 3986, 3.2.3) */
}

static bool name_is_loopback(const char *name)
{
    size_t size = strlen(name);
    if (size > 0 && name[size - 1] == '.') /* a rooted name */
        size--;
    if (size == 9 && g_ascii_strncasecmp(name, "localhost", 9) == 0)
        return true;
    if (size > 10 && g_ascii_strncasecmp(name + size - 10, ".localhost", 10) == 0) /* RFC 6761, 6.3 */
        return true;
    struct in_addr address;
    return inet_pton(AF_INET, name, &address) == 1 && (ntohl(address.s_addr) >> 24) == 127;
}

bool host_is_loopback(const char *host)
{
    if (!host)
        return false;
    if (host[0] == '[') {
        static const char v6[] = "[::1]";
        if (strncmp(host, v6, sizeof(v6) - 1) != 0)
            return false;
        const char *rest = host + sizeof(v6) - 1;
        return rest[0] == '\0' || (rest[0] == ':' && port_is_valid(rest + 1));
    }
    char name[NAME_MAX_SIZE];
    size_t size = strcspn(host, ":");
    if (size >= sizeof(name) || (host[size] == ':' && !port_is_valid(host + size + 1)))
        return false;
    memcpy(name, host, size);
    name[size] = '\0';
    return name_is_loopback(name);
}

/* Compares digests, so that neither content nor length of the secret shows in the time it takes. */
static bool secrets_are_equal(const char *a, const char *b)
{
    unsigned char digest_a[SHA256_DIGEST_LENGTH], digest_b[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)a, strlen(a), digest_a);
    SHA256((const unsigned char *)b, strlen(b), digest_b);
    return CRYPTO_memcmp(digest_a, digest_b, sizeof(digest_a)) == 0;
}

static bool parse_user(const char *user_id, Id *ret_caller, const char **ret_why)
{
    if (id_parse(user_id, ret_caller))
        return true;
    *ret_why = "X-User-Id is not a UUID";
    return false;
}

bool auth_check_gateway(const char *user_id, const char *secret, const char *expected_secret, Id *ret_caller,
                        const char **ret_why)
{
    if (expected_secret && !secret) {
        *ret_why = "X-Gateway-Secret is missing";
        return false;
    }
    if (expected_secret && !secrets_are_equal(secret, expected_secret)) {
        *ret_why = "X-Gateway-Secret is wrong";
        return false;
    }
    if (!user_id) {
        *ret_why = "X-User-Id is missing";
        return false;
    }
    return parse_user(user_id, ret_caller, ret_why);
}

bool auth_check_none(const char *user_id, const Id *local_user, Id *ret_caller, const char **ret_why)
{
    if (user_id)
        return parse_user(user_id, ret_caller, ret_why);
    *ret_caller = *local_user;
    return true;
}
