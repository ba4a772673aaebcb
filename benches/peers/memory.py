"""What an idle keep-alive connection costs: resident memory before and after many more, in a fresh process."""

import contextlib
import socket
import ssl
import statistics
import time

from .verify import require

# The first step lives on what the start has left free. Of the others the median: an allocator may give back at any moment
# what it has held since the start.
STEPS, STEPS_TLS = [1_000, 2_000, 3_000, 4_000], [500, 1_000, 1_500, 2_000]
SETTLED_KIB = 64
SETTLE_MAX_S = 6


def first_exchange(sock, key):
    """One request, so that the connection has been used."""
    sock.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        more = sock.recv(4096)
        require(more, f"an idle connection was closed: {answer!r}")
        answer += more


def settled_rss_kib(server):
    """Once it has not changed for a second: allocators give memory back a while after it was freed."""
    deadline, same, last = time.monotonic() + SETTLE_MAX_S, 0, server.rss_kib()
    while same < 4 and time.monotonic() < deadline:
        time.sleep(0.25)
        now = server.rss_kib()
        same = same + 1 if abs(now - last) <= SETTLED_KIB else 0
        last = now
    return last


def kib_per_idle_connection(proxy, tls):
    """Returns the KiB, and how many connections (and requests) there were."""
    proxy.restart()
    steps = STEPS_TLS if tls else STEPS
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

        settled, connected = [], 0
        for step in steps:
            for number in range(connected, step):
                connect(number)
            connected = step
            settled.append(settled_rss_kib(proxy.server))
    grown = [after - before for before, after in zip(settled, settled[1:])]
    return statistics.median(grown) / (steps[1] - steps[0]), connected
