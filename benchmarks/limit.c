/* The least that a WebSocket echo can cost here: one thread, epoll, and nothing of a server.
 *
 * It takes the handshake for granted, does not check masks, UTF-8 or the order of fragments, and
 * waits for a slow reader. Prints its port. Only a limit to compare with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, SPACE = 1 << 18, BACKLOG = 512 };

typedef struct {
    int fd;
    int open;     /* the handshake is done */
    size_t used;  /* bytes in `data` */
    uint8_t data[SPACE];
} Client;

static uint32_t turn(uint32_t word, int by) { return word << by | word >> (32 - by); }

/* SHA-1 (FIPS 180-4) of a text short enough for two blocks. */
static void sha1(const char *text, size_t length, uint8_t digest[20]) {
    uint8_t blocks[128] = {0};
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    size_t whole = length + 9 > 64 ? 128 : 64;
    memcpy(blocks, text, length);
    blocks[length] = 0x80;
    blocks[whole - 2] = (uint8_t)(length * 8 >> 8);
    blocks[whole - 1] = (uint8_t)(length * 8);
    for (size_t at = 0; at < whole; at += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *p = blocks + at + i * 4;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d
                       : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
            uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1
                       : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
            uint32_t next = turn(a, 5) + f + e + k + w[i];
            e = d, d = c, c = turn(b, 30), b = a, a = next;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(h[i / 4] >> (24 - i % 4 * 8));
}

static void base64(const uint8_t digest[20], char out[29]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t padded[21] = {0};
    memcpy(padded, digest, 20);
    for (int i = 0; i < 7; i++) {
        uint32_t three = (uint32_t)padded[i * 3] << 16 | padded[i * 3 + 1] << 8 | padded[i * 3 + 2];
        for (int j = 0; j < 4; j++) out[i * 4 + j] = digits[three >> (18 - 6 * j) & 63];
    }
    out[27] = '=';
    out[28] = 0;
}

static int write_all(int fd, const void *data, size_t length) {
    for (const uint8_t *at = data; length;) {
        ssize_t took = send(fd, at, length, MSG_NOSIGNAL);
        if (took < 0) {
            if (errno != EAGAIN && errno != EINTR) return -1;
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            poll(&room, 1, -1);
            continue;
        }
        at += took;
        length -= (size_t)took;
    }
    return 0;
}

/* Answer the handshake once it is complete; return -1 to drop the client. */
static int handshake(Client *c) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char accept[29], answer[200], key[100] = {0};
    uint8_t digest[20];
    uint8_t *end = memmem(c->data, c->used, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    char *found = strcasestr((char *)c->data, "sec-websocket-key: ");
    if (!found) return -1;
    memcpy(key, found + 19, 24);
    memcpy(key + 24, guid, 36);
    sha1(key, 60, digest);
    base64(digest, accept);
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    size_t taken = (size_t)(end + 4 - c->data);
    c->used -= taken;
    memmove(c->data, c->data + taken, c->used);
    c->open = 1;
    return write_all(c->fd, answer, (size_t)length);
}

static void unmask(uint8_t *data, size_t length, const uint8_t *mask) {
    uint64_t wide, part;
    memcpy(&wide, mask, 4);
    memcpy((uint8_t *)&wide + 4, mask, 4);
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&part, data + i, 8);
        part ^= wide;
        memcpy(data + i, &part, 8);
    }
    for (; i < length; i++) data[i] ^= mask[i & 3];
}

/* Send every whole frame back from where it lies: without the mask its header is 4 bytes shorter. */
static int frames(Client *c) {
    size_t at = 0;
    while (c->used - at >= 6) {
        uint8_t *frame = c->data + at;
        size_t size = frame[1] & 0x7f, header = size == 126 ? 4 : size == 127 ? 10 : 2;
        if (c->used - at < header + 4) break;
        if (header > 2) {
            size = 0;
            for (size_t i = 2; i < header; i++) size = size << 8 | frame[i];
        }
        if (size > SPACE - 14) return -1;
        if (c->used - at < header + 4 + size) break;
        unmask(frame + header + 4, size, frame + header);
        memmove(frame + 4, frame, header);
        frame[5] &= 0x7f;
        if (write_all(c->fd, frame + 4, header + size) || (frame[4] & 0x0f) == 8) return -1;
        at += header + 4 + size;
    }
    c->used -= at;
    if (c->used && at) memmove(c->data, c->data + at, c->used);
    return 0;
}

static int serve(Client *c) {
    ssize_t got = recv(c->fd, c->data + c->used, SPACE - c->used, 0);
    if (got < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (got == 0) return -1;
    c->used += (size_t)got;
    if (!c->open && handshake(c)) return -1;
    return c->open ? frames(c) : 0;
}

static int listen_here(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size)) return -1;
    if (listen(listener, BACKLOG)) return -1;
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

static void welcome(int listener, int poll) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        Client *c = calloc(1, sizeof *c);
        if (!c) exit(1);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(void) {
    struct epoll_event events[EVENTS];
    int listener = listen_here(), poll = epoll_create1(0);
    struct epoll_event first = {.events = EPOLLIN, .data.ptr = NULL};
    if (listener < 0 || poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &first)) return 1;
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            Client *c = events[i].data.ptr;
            if (!c) {
                welcome(listener, poll);
            } else if (serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
