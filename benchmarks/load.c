/* The load of the echo benchmarks, as a library that `_load.py` calls with open connections.
 *
 * It reads frames only as far as it has to: it counts whole messages, answers pings, and throws the
 * payload away. Every connection has one message on its way, except in `paced`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, SPACE = 1 << 18, PATIENCE = 10000 };

/* What the functions return instead of a count. */
enum { NO_ANSWER = -1, GONE = -2, CLOSED = -3, NO_MEMORY = -4 };

typedef struct {
    int fd;
    int have;            /* bytes of the header read so far */
    int need;            /* bytes of the header, as far as that is known */
    uint8_t head[10];
    uint64_t payload;    /* bytes of the payload still to come */
    uint8_t ping[125];
    int pinged;
    size_t sent;         /* bytes of the message sent so far */
    int sending;
    uint32_t watched;
    /* A queue of the times at which messages were due, for `paced`. */
    int64_t *due;
    int first, count;
} Connection;

static uint8_t space[SPACE];

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Send what is left of the message; watch for room when the kernel takes no more. */
static int push(Connection *c, int poll, const uint8_t *frame, size_t length) {
    while (c->sent < length) {
        ssize_t took = send(c->fd, frame + c->sent, length - c->sent, MSG_NOSIGNAL);
        if (took < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return GONE;
            break;
        }
        c->sent += (size_t)took;
    }
    c->sending = c->sent < length;
    uint32_t wanted = EPOLLIN | (c->sending ? EPOLLOUT : 0);
    if (wanted != c->watched) {
        struct epoll_event event = {.events = wanted, .data.ptr = c};
        epoll_ctl(poll, EPOLL_CTL_MOD, c->fd, &event);
        c->watched = wanted;
    }
    return 0;
}

static int push_new(Connection *c, int poll, const uint8_t *frame, size_t length) {
    c->sent = 0;
    return push(c, poll, frame, length);
}

/* Answer a ping. Not in the middle of a message: servers are pinging idle connections. */
static int pong(Connection *c) {
    uint8_t frame[131] = {0x8a, (uint8_t)(0x80 | c->pinged)};
    memcpy(frame + 6, c->ping, (size_t)c->pinged);
    if (c->sending) return 0;
    ssize_t took = send(c->fd, frame, (size_t)c->pinged + 6, MSG_NOSIGNAL);
    return took == c->pinged + 6 ? 0 : GONE;
}

/* The payload of a frame is complete: return 1 when a message is. */
static int finished(Connection *c) {
    int opcode = c->head[0] & 0x0f, last = c->head[0] & 0x80;
    c->have = 0;
    c->need = 2;
    if (opcode == 9) return pong(c);
    if (opcode == 8) return CLOSED;
    return opcode < 3 && last ? 1 : 0;
}

/* Take one byte of a header; once it is whole, set how much payload follows. */
static void header(Connection *c, uint8_t byte) {
    c->head[c->have++] = byte;
    if (c->have == 2) {
        int size = c->head[1] & 0x7f;
        c->need = size == 126 ? 4 : size == 127 ? 10 : 2;
        c->payload = size < 126 ? (uint64_t)size : 0;
        c->pinged = 0;
    }
    if (c->have == c->need && c->need > 2) {
        c->payload = 0;
        for (int i = 2; i < c->need; i++) c->payload = c->payload << 8 | c->head[i];
    }
}

/* Walk over bytes that were read; return how many messages they complete. */
static int walk(Connection *c, const uint8_t *bytes, size_t length) {
    int messages = 0;
    for (size_t at = 0; at < length;) {
        if (c->have < c->need) {
            header(c, bytes[at++]);
        } else {
            size_t part = length - at < c->payload ? length - at : (size_t)c->payload;
            if ((c->head[0] & 0x0f) == 9 && part <= 125 - (size_t)c->pinged) {
                memcpy(c->ping + c->pinged, bytes + at, part);
                c->pinged += (int)part;
            }
            at += part;
            c->payload -= part;
        }
        if (c->have == c->need && c->payload == 0) {
            int outcome = finished(c);
            if (outcome < 0) return outcome;
            messages += outcome;
        }
    }
    return messages;
}

/* Read what is there, once; return how many messages it completes. */
static int take(Connection *c) {
    ssize_t got = recv(c->fd, space, SPACE, 0);
    if (got > 0) return walk(c, space, (size_t)got);
    if (got == 0) return GONE;
    return errno == EAGAIN || errno == EINTR ? 0 : GONE;
}

static int open_all(Connection **all, const int *fds, int count) {
    int poll = epoll_create1(0);
    *all = calloc((size_t)count, sizeof(Connection));
    if (poll < 0 || !*all) return NO_MEMORY;
    for (int i = 0; i < count; i++) {
        Connection *c = &(*all)[i];
        c->fd = fds[i];
        c->need = 2;
        c->watched = EPOLLIN;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event)) return NO_MEMORY;
    }
    return poll;
}

static int64_t end_all(Connection *all, int count, int poll, int64_t outcome) {
    for (int i = 0; all && i < count; i++) free(all[i].due);
    free(all);
    if (poll >= 0) close(poll);
    return outcome;
}

/* Send a message on each connection, and the next as soon as it has come back, until the time is
 * over and all are back. Returns the number of messages. */
int64_t echo(const int *fds, int count, const uint8_t *frame, size_t length, double seconds) {
    Connection *all = NULL;
    struct epoll_event events[EVENTS];
    int poll = open_all(&all, fds, count);
    int64_t done = 0, until = now() + (int64_t)(seconds * 1e9), outcome = poll < 0 ? poll : 0;
    int waiting = count;
    for (int i = 0; i < count && outcome >= 0; i++) outcome = push_new(&all[i], poll, frame, length);
    while (outcome >= 0 && waiting) {
        int ready = epoll_wait(poll, events, EVENTS, PATIENCE);
        if (ready == 0) outcome = NO_ANSWER;
        int over = now() >= until;
        for (int i = 0; i < ready && outcome >= 0; i++) {
            Connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) outcome = push(c, poll, frame, length);
            if (outcome < 0 || !(events[i].events & ~EPOLLOUT)) continue;
            outcome = take(c);
            if (outcome <= 0) continue;
            done += outcome;
            if (over) waiting--;
            else outcome = push_new(c, poll, frame, length);
        }
    }
    return end_all(all, count, poll, outcome < 0 ? outcome : done);
}

/* Send a message on the first connection, and the next when every connection has got one, until
 * the time is over. Returns the number of messages that arrived. */
int64_t fanout(const int *fds, int count, const uint8_t *frame, size_t length, double seconds) {
    Connection *all = NULL;
    struct epoll_event events[EVENTS];
    int poll = open_all(&all, fds, count);
    int64_t done = 0, until = now() + (int64_t)(seconds * 1e9), outcome = poll < 0 ? poll : 0;
    while (outcome >= 0 && now() < until) {
        int waiting = count;
        outcome = push_new(&all[0], poll, frame, length);
        while (outcome >= 0 && waiting > 0) {
            int ready = epoll_wait(poll, events, EVENTS, PATIENCE);
            if (ready == 0) outcome = NO_ANSWER;
            for (int i = 0; i < ready && outcome >= 0; i++) {
                Connection *c = events[i].data.ptr;
                if (events[i].events & EPOLLOUT) outcome = push(c, poll, frame, length);
                if (outcome < 0 || !(events[i].events & ~EPOLLOUT)) continue;
                outcome = take(c);
                if (outcome < 0) break;
                waiting -= (int)outcome;
                done += outcome;
            }
        }
    }
    return end_all(all, count, poll, outcome < 0 ? outcome : done);
}

static int due_now(Connection *c, int64_t when, int most) {
    if (!c->due && !(c->due = calloc((size_t)most, sizeof(int64_t)))) return NO_MEMORY;
    if (c->count == most) return NO_ANSWER;
    c->due[(c->first + c->count++) % most] = when;
    return 0;
}

/* Send `total` messages at a fixed rate, on the connections in turn, whether or not the ones before
 * have come back. Writes the time of each, in nanoseconds from the moment at which it was due, and
 * returns how many. Small messages only. */
int64_t paced(const int *fds, int count, const uint8_t *frame, size_t length, double rate,
              int64_t total, int64_t *times) {
    enum { MOST = 4096 };
    Connection *all = NULL;
    struct epoll_event events[EVENTS];
    int poll = open_all(&all, fds, count);
    int64_t sent = 0, done = 0, outcome = poll < 0 ? poll : 0;
    int64_t begun = now(), heard = begun;
    while (outcome >= 0 && done < total) {
        int64_t moment = now(), when = begun + (int64_t)((double)sent * 1e9 / rate);
        if (sent < total && moment >= when) {
            Connection *c = &all[sent++ % count];
            outcome = due_now(c, when, MOST);
            if (outcome >= 0) outcome = push_new(c, poll, frame, length);
            if (outcome >= 0 && c->sending) outcome = NO_ANSWER;
            continue;
        }
        int ready = epoll_wait(poll, events, EVENTS, 0);
        if (ready) heard = moment;
        else if (moment - heard > PATIENCE * 1000000LL) outcome = NO_ANSWER;
        for (int i = 0; i < ready && outcome >= 0; i++) {
            Connection *c = events[i].data.ptr;
            outcome = take(c);
            for (int64_t n = outcome; n > 0 && c->count; n--, c->count--) {
                times[done++] = now() - c->due[c->first];
                c->first = (c->first + 1) % MOST;
            }
        }
    }
    return end_all(all, count, poll, outcome < 0 ? outcome : done);
}

/* Answer the pings that came meanwhile. */
int64_t tend(const int *fds, int count) {
    Connection *all = NULL;
    int poll = open_all(&all, fds, count);
    int64_t outcome = poll < 0 ? poll : 0;
    for (int i = 0; i < count && outcome >= 0; i++) outcome = take(&all[i]);
    return end_all(all, count, poll, outcome < 0 ? outcome : 0);
}
