/* proxy.h - a TCP proxy between a client and a server that a test makes misbehave: gone, standing still, or answering into
 * the void. One thread; any thread may call. */
#ifndef FLOWOPS_TESTS_PROXY_H
#define FLOWOPS_TESTS_PROXY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Proxy Proxy;

typedef enum {
    PROXY_PASS,
    PROXY_STILL, /* as a server that was stopped: connections are taken by the kernel, bytes wait, and all goes on later */
    PROXY_GONE, /* as a server that was killed: connections are cut, new ones refused */
} ProxyMode;

/* To host:port of `uri` (mongodb://[login@]host:port...): one host. */
Proxy *proxy_start(const char *uri);
void proxy_stop(Proxy *proxy);
/* The same URI with the proxy's address in it. login ("user:password", quoted): instead of the one in it; NULL: that one. */
char *proxy_uri(const Proxy *proxy, const char *login);
void proxy_set(Proxy *proxy, ProxyMode mode);
/* Of the next requests with this word in them, so many are passed on, and their connections cut instead of answered. */
void proxy_swallow_answers(Proxy *proxy, const char *word, int n);
int proxy_swallowed(const Proxy *proxy); /* so far */
/* The next n requests for more of a cursor ask for one that the server does not have. */
void proxy_spoil_cursors(Proxy *proxy, int n);
int proxy_spoils_left(const Proxy *proxy);

#endif
