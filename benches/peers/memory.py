"""What an idle keep-alive connection costs: resident memory before and after many more, in a fresh process."""

import contextlib
import socket
import ssl
import time

from .verify import require

# The first ones live on what the start has left free; what the others bring on top is theirs.
FIRST, ALL = 1_000, 4_000
FIRST_TLS, ALL_TLS = 500, 2_000
# Memory has settled when it has changed by no more than this for so long: gateways and their allocators give back what is idle
# after a while.
SETTLED_KIB, SETTLED_S = 64, 2
SETTLE_MAX_S = 10
LOOK_S = 0.25


def first_exchange(sock, key):
    """One request, so that the connection has been used."""
    sock.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        more = sock.recv(4096)
        require(more, f"an idle connection was closed: {answer!r}")
        answer += more


def settled_rss_kib(server):
    deadline, last = time.monotonic() + SETTLE_MAX_S, server.rss_kib()
    since = time.monotonic()
    while time.monotonic() < min(deadline, since + SETTLED_S):
        time.sleep(LOOK_S)
        now = server.rss_kib()
        if abs(now - last) > SETTLED_KIB:
            last, since = now, time.monotonic()
    return last


def kib_per_idle_connection(proxy, tls):
    """Returns the KiB, and how many connections (and requests) there were."""
    proxy.restart()
    first, most = (FIRST_TLS, ALL_TLS) if tls else (FIRST, ALL)
    context = ssl.create_default_context(cafile=proxy.site.scratch / "cert.pem") if tls else None
    with contextlib.ExitStack() as stack:

        def connect(number):
            sock = socket.create_connection(("127.0.0.1", proxy.tls_port if tls else proxy.port), 10)
            # Else Nagle's algorithm holds the request back until the end of the handshake is acknowledged.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context:
                sock = context.wrap_socket(sock, server_hostname="localhost")
            stack.callback(sock.close)
            first_exchange(sock, proxy.site.keys[1 + number % (len(proxy.site.keys) - 1)])

        for number in range(first):
            connect(number)
        before = settled_rss_kib(proxy.server)
        for number in range(first, most):
            connect(number)
        return (settled_rss_kib(proxy.server) - before) / (most - first), most
