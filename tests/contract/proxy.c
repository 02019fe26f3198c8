/* proxy.c - see proxy.h. */
#include "proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

enum { MAX_PAIRS = 64, LOOK_MS = 5, CHUNK = 1 << 16 };

typedef struct {
    int client, server; /* -1: closed */
    bool is_answer_swallowed;
} Pair;

struct Proxy {
    struct sockaddr_in upstream;
    char *login, *rest; /* of the URI: before and behind the address */
    int listener;       /* -1 while gone */
    uint16_t port;
    Thread *thread;
    ProxyMode mode; /* atomic; the wish */
    bool is_over;   /* atomic */
    Mutex mu;
    char word[64];   /* guarded by mu */
    int n_wanted;    /* guarded by mu */
    int n_swallowed; /* atomic */
    int n_spoiled;   /* atomic; cursors that are yet to be */
    Pair pairs[MAX_PAIRS];
    int n_pairs;
};

static void open_listener(Proxy *proxy)
{
    int on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(proxy->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(proxy->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(proxy->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(proxy->listener, 64) != 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&address, &size) != 0) {
        perror("proxy");
        exit(1);
    }
    proxy->port = ntohs(address.sin_port);
}

static void cut(Pair *pair)
{
    struct linger at_once = {.l_onoff = 1};
    setsockopt(pair->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(pair->client);
    close(pair->server);
    *pair = (Pair){.client = -1, .server = -1};
}

static void forget_cut_pairs(Proxy *proxy)
{
    int n = 0;
    for (int i = 0; i < proxy->n_pairs; i++) {
        if (proxy->pairs[i].client >= 0)
            proxy->pairs[n++] = proxy->pairs[i];
    }
    proxy->n_pairs = n;
}

static void accept_one(Proxy *proxy)
{
    int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (proxy->n_pairs == MAX_PAIRS ||
        connect(server, (struct sockaddr *)&proxy->upstream, sizeof proxy->upstream) != 0) {
        close(server);
        close(client);
        return;
    }
    proxy->pairs[proxy->n_pairs++] = (Pair){.client = client, .server = server};
}

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

static void look_for_word(Proxy *proxy, Pair *pair, const char *bytes, size_t size)
{
    MUTEX_SCOPE(&proxy->mu);
    if (proxy->n_wanted > 0 && memmem(bytes, size, proxy->word, strlen(proxy->word)) != NULL) {
        proxy->n_wanted--;
        pair->is_answer_swallowed = true;
    }
}

/* A getMore for a cursor that nobody has: {"getMore": <int64>}. */
static void spoil_cursor(Proxy *proxy, char *bytes, size_t size)
{
    static const char member[] = "\x12getMore"; /* with its end */
    char *found = memmem(bytes, size, member, sizeof member);
    if (found == NULL || (size_t)(found - bytes) + sizeof member + sizeof(int64_t) > size ||
        __atomic_load_n(&proxy->n_spoiled, __ATOMIC_SEQ_CST) == 0)
        return;
    found[sizeof member + 1] ^= 0x55;
    __atomic_sub_fetch(&proxy->n_spoiled, 1, __ATOMIC_SEQ_CST);
}

static void pass_on(Proxy *proxy, Pair *pair, bool is_request)
{
    static char bytes[CHUNK]; /* of the one thread */
    ssize_t n = recv(is_request ? pair->client : pair->server, bytes, sizeof bytes, 0);
    if (n <= 0) {
        cut(pair);
        return;
    }
    if (is_request) {
        spoil_cursor(proxy, bytes, (size_t)n);
        look_for_word(proxy, pair, bytes, (size_t)n);
    } else if (pair->is_answer_swallowed) {
        __atomic_add_fetch(&proxy->n_swallowed, 1, __ATOMIC_SEQ_CST);
        cut(pair);
        return;
    }
    if (!send_all(is_request ? pair->server : pair->client, bytes, (size_t)n))
        cut(pair);
}

static void look(Proxy *proxy)
{
    struct pollfd fds[1 + 2 * MAX_PAIRS] = {{.fd = proxy->listener, .events = POLLIN}};
    for (int i = 0; i < proxy->n_pairs; i++) {
        fds[1 + 2 * i] = (struct pollfd){.fd = proxy->pairs[i].client, .events = POLLIN};
        fds[2 + 2 * i] = (struct pollfd){.fd = proxy->pairs[i].server, .events = POLLIN};
    }
    int n_pairs = proxy->n_pairs;
    if (poll(fds, (nfds_t)(1 + 2 * n_pairs), LOOK_MS) <= 0)
        return;
    for (int i = 0; i < n_pairs; i++) {
        Pair *pair = &proxy->pairs[i];
        if (fds[1 + 2 * i].revents != 0)
            pass_on(proxy, pair, true);
        if (pair->client >= 0 && fds[2 + 2 * i].revents != 0)
            pass_on(proxy, pair, false);
    }
    forget_cut_pairs(proxy);
    if (fds[0].revents != 0)
        accept_one(proxy);
}

static void cut_all(Proxy *proxy)
{
    for (int i = 0; i < proxy->n_pairs; i++)
        cut(&proxy->pairs[i]);
    proxy->n_pairs = 0;
    if (proxy->listener >= 0)
        close(proxy->listener);
    proxy->listener = -1;
}

static void proxy_run(void *arg)
{
    Proxy *proxy = arg;
    while (!__atomic_load_n(&proxy->is_over, __ATOMIC_SEQ_CST)) {
        ProxyMode mode = __atomic_load_n(&proxy->mode, __ATOMIC_SEQ_CST);
        if (mode == PROXY_GONE) {
            cut_all(proxy);
        } else if (proxy->listener < 0) {
            open_listener(proxy);
        }
        if (mode == PROXY_PASS)
            look(proxy);
        else
            poll(NULL, 0, LOOK_MS);
    }
    cut_all(proxy);
}

Proxy *proxy_start(const char *uri)
{
    char host[64];
    unsigned port;
    int size;
    const char *at = strstr(uri, "//");
    size_t n_login = at != NULL ? strcspn(at + 2, "@/?") : 0;
    const char *place = at == NULL ? "" : at[2 + n_login] == '@' ? at + 2 + n_login + 1 : at + 2;
    if (sscanf(place, "%63[^:/?,]:%u%n", host, &port, &size) != 2 || place[size] == ',') {
        fprintf(stderr, "proxy: the address is not of the form mongodb://host:port\n");
        exit(1);
    }
    Proxy *proxy = g_new0(Proxy, 1);
    proxy->login = place == at + 2 ? g_strdup("") : g_strndup(at + 2, n_login);
    proxy->rest = g_strdup(place + size);
    proxy->upstream = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &proxy->upstream.sin_addr) != 1) {
        fprintf(stderr, "proxy: %s is no address\n", host);
        exit(1);
    }
    mutex_init(&proxy->mu);
    open_listener(proxy);
    GError *error = NULL;
    proxy->thread = thread_start("proxy", ROLE_MAIN, proxy_run, proxy, &error);
    g_assert_no_error(error);
    return proxy;
}

void proxy_stop(Proxy *proxy)
{
    __atomic_store_n(&proxy->is_over, true, __ATOMIC_SEQ_CST);
    thread_join(proxy->thread);
    mutex_done(&proxy->mu);
    g_free(proxy->login);
    g_free(proxy->rest);
    g_free(proxy);
}

char *proxy_uri(const Proxy *proxy, const char *login)
{
    login = login != NULL ? login : proxy->login;
    return g_strdup_printf("mongodb://%s%s127.0.0.1:%u%s", login, *login != '\0' ? "@" : "", proxy->port, proxy->rest);
}

void proxy_set(Proxy *proxy, ProxyMode mode)
{
    __atomic_store_n(&proxy->mode, mode, __ATOMIC_SEQ_CST);
}

void proxy_swallow_answers(Proxy *proxy, const char *word, int n)
{
    MUTEX_SCOPE(&proxy->mu);
    (void)g_strlcpy(proxy->word, word, sizeof proxy->word);
    proxy->n_wanted = n;
}

void proxy_spoil_cursors(Proxy *proxy, int n)
{
    __atomic_store_n(&proxy->n_spoiled, n, __ATOMIC_SEQ_CST);
}

int proxy_spoils_left(const Proxy *proxy)
{
    return __atomic_load_n(&proxy->n_spoiled, __ATOMIC_SEQ_CST);
}

int proxy_swallowed(const Proxy *proxy)
{
    return __atomic_load_n(&proxy->n_swallowed, __ATOMIC_SEQ_CST);
}
