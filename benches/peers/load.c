/* What no tool at hand does: an upstream that costs next to nothing, requests at a steady pace, and WebSocket messages.
 *
 *     load serve PORT                                             until it is ended
 *     load paced PORT KEYS CONNECTIONS SECONDS PER_SECOND         prints one line of JSON
 *     load websocket PORT KEYS CONNECTIONS SECONDS                prints one line of JSON
 *
 * KEYS is a file with one API key a line. One thread, epoll, loopback only. It speaks the narrow HTTP that it is sent by the
 * gateways under measurement, and ends with an error at whatever it does not expect.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define EVENTS_MAX 256
#define MESSAGE_BYTES 32
/* RFC 6455, section 1.3: a nonce and the answer to it; the same one each time, for nothing hangs on it here. */
#define NONCE "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int epoll, int fd, uint32_t events, int how, void *context) {
    struct epoll_event event = {.events = events, .data.ptr = context};
    if (epoll_ctl(epoll, how, fd, &event) < 0) die("epoll_ctl: %m");
}

/* The bytes of one direction, of which nothing is kept once a head or a frame has been taken off the front. */
struct Input {
    size_t length;
    char bytes[HEAD_MAX + 1];
};

/* False at the end of the connection. */
static bool fill(int fd, struct Input *in) {
    ssize_t got = read(fd, in->bytes + in->length, HEAD_MAX - in->length);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
    if (got > 0) in->length += (size_t)got;
    in->bytes[in->length] = 0;
    return true;
}

static void take(struct Input *in, size_t length) {
    in->length -= length;
    memmove(in->bytes, in->bytes + length, in->length);
    in->bytes[in->length] = 0;
}

/* The length of the head at the front, or 0. */
static size_t head_length(struct Input *in) {
    char *end = memmem(in->bytes, in->length, "\r\n\r\n", 4);
    if (!end && in->length == HEAD_MAX) die("a head of more than %d bytes", HEAD_MAX);
    return end ? (size_t)(end - in->bytes) + 4 : 0;
}

/* The value of a header in the head at the front, or an empty string. */
static void header(struct Input *in, size_t head, const char *name, char *value, size_t size) {
    size_t name_length = strlen(name);
    value[0] = 0;
    for (char *line = in->bytes; line && line < in->bytes + head; line = strstr(line, "\r\n"), line = line ? line + 2 : NULL) {
        if (strncasecmp(line, name, name_length) != 0 || line[name_length] != ':') continue;
        line += name_length + 1;
        line += strspn(line, " ");
        snprintf(value, size, "%.*s", (int)strcspn(line, "\r"), line);
        return;
    }
}

/* A frame of RFC 6455, section 5.2, with a short payload and no fragments. Its length in bytes, or 0 if it is not all there. */
static size_t frame_length(struct Input *in, bool masked) {
    if (in->length < 2) return 0;
    size_t payload = in->bytes[1] & 0x7f;
    if (payload > 125) die("a WebSocket frame of more than 125 bytes");
    if (((in->bytes[1] & 0x80) != 0) != masked) die("a WebSocket frame %s a mask", masked ? "without" : "with");
    size_t whole = (masked ? 6U : 2U) + payload;
    return in->length >= whole ? whole : 0;
}

/* ---- serve: the upstream ---- */

struct Client {
    int fd;
    bool websocket;
    bool stalled; /* waits until the socket takes more */
    const char *rest;
    size_t rest_length;
    struct Input in;
    char small[1024];
};

/* As nginx would answer: its headers, without its name. */
#define HEAD "HTTP/1.1 200 OK\r\nServer: upstream\r\nDate: %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n" \
             "Connection: keep-alive\r\n\r\n"

static char plain_2b[512], plain_1k[512 + 1024], plain_64k[512 + 65536];
static size_t length_2b, length_1k, length_64k;

static size_t prepare(char *into, size_t size, const char *date, size_t body) {
    int head = snprintf(into, size, HEAD, date, body);
    memset(into + head, 'x', body);
    return (size_t)head + body;
}

static void prepare_all(void) {
    char date[64];
    time_t at = time(NULL);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&at));
    length_2b = prepare(plain_2b, sizeof plain_2b, date, 2);
    memcpy(plain_2b + length_2b - 2, "ok", 2);
    length_1k = prepare(plain_1k, sizeof plain_1k, date, 1024);
    length_64k = prepare(plain_64k, sizeof plain_64k, date, 65536);
}

/* False if the connection is over. */
static bool send_rest(int epoll, struct Client *client) {
    while (client->rest_length > 0) {
        ssize_t sent = send(client->fd, client->rest, client->rest_length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return false;
        if (sent < 0) {
            if (!client->stalled) watch(epoll, client->fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD, client);
            client->stalled = true;
            return true;
        }
        client->rest += sent;
        client->rest_length -= (size_t)sent;
    }
    if (client->stalled) watch(epoll, client->fd, EPOLLIN, EPOLL_CTL_MOD, client);
    client->stalled = false;
    return true;
}

static bool answer_with(int epoll, struct Client *client, const char *bytes, size_t length) {
    client->rest = bytes;
    client->rest_length = length;
    return send_rest(epoll, client);
}

static bool is_path(struct Input *in, const char *path) {
    size_t length = strlen(path);
    return strncmp(in->bytes + 4, path, length) == 0 && in->bytes[4 + length] == ' ';
}

/* What a gateway passed on, told back to the check. */
static bool answer_echo(int epoll, struct Client *client, size_t head) {
    char id[128], key[128], forwarded[128], body[512];
    header(&client->in, head, "x-consumer-id", id, sizeof id);
    header(&client->in, head, "x-api-key", key, sizeof key);
    header(&client->in, head, "x-forwarded-for", forwarded, sizeof forwarded);
    int length = snprintf(body, sizeof body, "{\"id\":\"%s\",\"key\":\"%s\",\"for\":\"%s\"}", id, key, forwarded);
    int whole = snprintf(client->small, sizeof client->small, HEAD "%s", "-", (size_t)length, body);
    return answer_with(epoll, client, client->small, (size_t)whole);
}

static bool answer_upgrade(int epoll, struct Client *client, size_t head) {
    char nonce[64];
    header(&client->in, head, "sec-websocket-key", nonce, sizeof nonce);
    if (strcmp(nonce, NONCE) != 0) die("another Sec-WebSocket-Key than the client's");
    client->websocket = true;
    int length = snprintf(client->small, sizeof client->small,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n", ACCEPT);
    return answer_with(epoll, client, client->small, (size_t)length);
}

static bool answer_head(int epoll, struct Client *client, size_t head) {
    struct Input *in = &client->in;
    if (strncmp(in->bytes, "GET /", 5) != 0) die("a request that is no GET: %.40s", in->bytes);
    if (is_path(in, "/1k")) return answer_with(epoll, client, plain_1k, length_1k);
    if (is_path(in, "/64k")) return answer_with(epoll, client, plain_64k, length_64k);
    if (is_path(in, "/echo")) return answer_echo(epoll, client, head);
    if (is_path(in, "/ws")) return answer_upgrade(epoll, client, head);
    return answer_with(epoll, client, plain_2b, length_2b);
}

/* The message goes back as it came; a closing frame, too, and ends the connection. */
static bool answer_frame(int epoll, struct Client *client, size_t whole) {
    const char *in = client->in.bytes;
    size_t payload = whole - 6;
    client->small[0] = in[0];
    client->small[1] = (char)payload;
    for (size_t at = 0; at < payload; at++) client->small[2 + at] = (char)(in[6 + at] ^ in[2 + at % 4]);
    return answer_with(epoll, client, client->small, 2 + payload) && (in[0] & 0x0f) != 8;
}

static bool serve_client(int epoll, struct Client *client, uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP)) return false;
    if ((events & EPOLLOUT) && !send_rest(epoll, client)) return false;
    if ((events & EPOLLIN) && !fill(client->fd, &client->in)) return false;
    while (!client->stalled) {
        bool websocket = client->websocket;
        size_t whole = websocket ? frame_length(&client->in, true) : head_length(&client->in);
        if (whole == 0) return true;
        if (!(websocket ? answer_frame(epoll, client, whole) : answer_head(epoll, client, whole))) return false;
        take(&client->in, whole);
    }
    return true;
}

static void accept_all(int epoll, int listener) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct Client *client = calloc(1, sizeof *client);
        if (!client) die("no memory");
        client->fd = fd;
        watch(epoll, fd, EPOLLIN, EPOLL_CTL_ADD, client);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) die("accept: %m");
}

static void serve(const char *port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) die("bind: %m");
    if (listen(listener, 4096) < 0) die("listen: %m");
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, EPOLLIN, EPOLL_CTL_ADD, NULL);
    prepare_all();
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int at = 0; at < count; at++) {
            struct Client *client = events[at].data.ptr;
            if (!client) {
                accept_all(epoll, listener);
            } else if (!serve_client(epoll, client, events[at].events)) {
                close(client->fd);
                free(client);
            }
        }
    }
}

/* ---- the clients ---- */

struct Connection {
    int fd;
    bool busy;
    bool open; /* a WebSocket that has been agreed to */
    int64_t due_ns;
    struct Input in;
};

static char **read_keys(const char *path, size_t *count) {
    FILE *file = fopen(path, "r");
    if (!file) die("%s: %m", path);
    char **keys = NULL, *line = NULL;
    size_t size = 0;
    for (*count = 0; getline(&line, &size, file) > 0; ++*count) {
        line[strcspn(line, "\n")] = 0;
        keys = realloc(keys, (*count + 1) * sizeof *keys);
        keys[*count] = strdup(line);
    }
    if (*count == 0) die("%s: no keys", path);
    fclose(file);
    return keys;
}

static struct Connection *connect_all(int epoll, const char *port, int count) {
    struct Connection *all = calloc((size_t)count, sizeof *all);
    struct sockaddr_in address = loopback(port);
    int on = 1;
    for (int at = 0; at < count; at++) {
        all[at].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(all[at].fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect: %m");
        setsockopt(all[at].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(epoll, all[at].fd, EPOLLIN, EPOLL_CTL_ADD, &all[at]);
    }
    return all;
}

static void send_all(int fd, const char *bytes, size_t length) {
    if (send(fd, bytes, length, MSG_NOSIGNAL) != (ssize_t)length) die("send: %m");
}

static void send_request(struct Connection *connection, const char *path, const char *key, const char *more) {
    char request[512];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Api-Key: %s\r\n%s\r\n", path, key, more);
    send_all(connection->fd, request, (size_t)length);
    connection->busy = true;
}

/* The length of the whole answer at the front, or 0. The body is short, and its length is said. */
static size_t answer_length(struct Input *in) {
    size_t head = head_length(in);
    if (head == 0) return 0;
    if (strncmp(in->bytes, "HTTP/1.1 200", 12) != 0) die("an answer that is no 200: %.200s", in->bytes);
    char value[32];
    header(in, head, "content-length", value, sizeof value);
    size_t whole = head + (size_t)atoi(value);
    if (!value[0] || whole > HEAD_MAX) die("an answer without a short Content-Length");
    return in->length >= whole ? whole : 0;
}

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* Requests are due at even distances whether or not earlier ones have been answered. One that finds no free connection waits,
 * and its time counts from when it was due, so that a stall is seen by all whom it would have met. */
static void paced(const char *port, const char *keys_path, int connections, int seconds, int per_second) {
    size_t keys_count, total = (size_t)seconds * (size_t)per_second;
    char **keys = read_keys(keys_path, &keys_count);
    int64_t *times = calloc(total, sizeof *times), distance = 1000000000LL / per_second;
    int epoll = epoll_create1(EPOLL_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct Connection *all = connect_all(epoll, port, connections);
    struct Connection **idle = calloc((size_t)connections, sizeof *idle);
    int idle_count = 0;
    while (idle_count < connections) idle[idle_count] = &all[idle_count], idle_count++;
    watch(epoll, timer, EPOLLIN, EPOLL_CTL_ADD, NULL);
    int64_t start = now_ns() + 10000000;
    size_t sent = 0, done = 0;
    struct epoll_event events[EVENTS_MAX];
    while (done < total) {
        while (sent < total && idle_count > 0 && start + (int64_t)sent * distance <= now_ns()) {
            struct Connection *connection = idle[--idle_count];
            connection->due_ns = start + (int64_t)sent * distance;
            send_request(connection, "/", keys[sent++ % keys_count], "");
        }
        if (sent < total && idle_count > 0) {
            int64_t due = start + (int64_t)sent * distance;
            struct itimerspec at = {.it_value = {due / 1000000000LL, due % 1000000000LL}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
        }
        int count = epoll_wait(epoll, events, EVENTS_MAX, 10000);
        if (count == 0) die("no answer for 10 s");
        for (int at = 0; at < count; at++) {
            struct Connection *connection = events[at].data.ptr;
            uint64_t expirations;
            if (!connection) {
                if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timer: %m");
                continue;
            }
            if (!fill(connection->fd, &connection->in)) die("the gateway closed a connection");
            size_t whole = connection->busy ? answer_length(&connection->in) : 0;
            if (whole == 0) continue;
            take(&connection->in, whole);
            connection->busy = false;
            times[done++] = now_ns() - connection->due_ns;
            idle[idle_count++] = connection;
        }
    }
    int64_t us = (now_ns() - start) / 1000;
    qsort(times, total, sizeof *times, by_value);
    printf("{\"requests\":%zu,\"us\":%lld,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", total, (long long)us,
           (double)times[total / 2] / 1e3, (double)times[total * 99 / 100] / 1e3);
}

static void send_message(struct Connection *connection) {
    static const char mask[4] = {0x11, 0x22, 0x33, 0x44};
    char frame[6 + MESSAGE_BYTES] = {(char)0x81, (char)(0x80 | MESSAGE_BYTES)};
    memcpy(frame + 2, mask, 4);
    for (int at = 0; at < MESSAGE_BYTES; at++) frame[6 + at] = (char)('a' ^ mask[at % 4]);
    send_all(connection->fd, frame, sizeof frame);
}

/* False while what is at the front is not whole. Each echo is followed by the next message. */
static bool next_message(struct Connection *connection, uint64_t *messages) {
    struct Input *in = &connection->in;
    size_t whole = connection->open ? frame_length(in, false) : head_length(in);
    if (whole == 0) return false;
    if (connection->open) {
        if ((uint8_t)in->bytes[0] != 0x81 || whole != 2 + MESSAGE_BYTES || in->bytes[2] != 'a') die("another message came back");
        ++*messages;
    } else {
        if (strncmp(in->bytes, "HTTP/1.1 101", 12) != 0) die("an answer that is no 101: %.200s", in->bytes);
        connection->open = true;
    }
    take(in, whole);
    return true;
}

/* One message under way per connection. What was under way at the end is waited for, and then the connections close. */
static void websocket(const char *port, const char *keys_path, int connections, int seconds) {
    size_t keys_count;
    char **keys = read_keys(keys_path, &keys_count);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct Connection *all = connect_all(epoll, port, connections);
    for (int at = 0; at < connections; at++)
        send_request(&all[at], "/ws", keys[(size_t)at % keys_count],
                     "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " NONCE "\r\n");
    int64_t start = now_ns(), end = start + seconds * 1000000000LL;
    uint64_t messages = 0;
    struct epoll_event events[EVENTS_MAX];
    for (int waiting = connections; waiting > 0;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, 10000);
        if (count == 0) die("no message for 10 s");
        bool ending = now_ns() >= end;
        for (int at = 0; at < count; at++) {
            struct Connection *connection = events[at].data.ptr;
            if (!fill(connection->fd, &connection->in)) die("the gateway closed a WebSocket");
            if (!next_message(connection, &messages)) continue;
            if (ending) waiting--;
            else send_message(connection);
        }
    }
    printf("{\"requests\":%llu,\"us\":%lld}\n", (unsigned long long)messages, (long long)(now_ns() - start) / 1000);
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    const char *what = count > 2 ? arguments[1] : "";
    if (strcmp(what, "serve") == 0 && count == 3) serve(arguments[2]);
    else if (strcmp(what, "paced") == 0 && count == 7)
        paced(arguments[2], arguments[3], atoi(arguments[4]), atoi(arguments[5]), atoi(arguments[6]));
    else if (strcmp(what, "websocket") == 0 && count == 6)
        websocket(arguments[2], arguments[3], atoi(arguments[4]), atoi(arguments[5]));
    else die("usage: load serve PORT | paced PORT KEYS CONNECTIONS SECONDS PER_SECOND | websocket PORT KEYS CONNECTIONS SECONDS");
    return 0;
}
