#!/usr/bin/env python3
"""TLS 1.3 handshakes, each with one request: full ones, or resumed by a ticket. A few are under way at a time.

    handshakes.py PORT KEYS SECONDS full|resumed

`openssl s_time` resumes no TLS 1.3 sessions, and says nothing of it; wrk and h2load do one of the two, and do not say which.
"""

import json
import socket
import ssl
import sys
import threading
import time

AT_A_TIME = 4


def connect(context, port, session):
    plain = socket.create_connection(("127.0.0.1", port), 10)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost", session=session)


def exchange(tls, key):
    """One request, after which the server closes; the session's ticket comes with the answer."""
    tls.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while more := tls.recv(4096):
        answer += more
    if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"ok"):
        raise RuntimeError(f"not answered: {answer[:200]!r}")


def client(port, keys, until, resumes, counts, errors):
    """One handshake after the other. A session lasts for one more connection: each gives the ticket for the next."""
    context = ssl.create_default_context(cafile="cert.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    session, count = None, 0
    try:
        while time.monotonic() < until:
            with connect(context, port, session) as tls:
                if session is not None and not tls.session_reused:
                    raise RuntimeError("a session was not resumed")
                exchange(tls, keys[count % len(keys)])
                session = tls.session if resumes else None
            count += 1
    except (OSError, RuntimeError) as error:
        errors.append(error)
    counts.append(count)


def main():
    port, keys_path, seconds, kind = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
    with open(keys_path, encoding="ascii") as lines:
        keys = lines.read().split()
    counts, errors, start = [], [], time.monotonic()
    arguments = (port, keys, start + seconds, kind == "resumed", counts, errors)
    threads = [threading.Thread(target=client, args=arguments) for _ in range(AT_A_TIME)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise SystemExit(f"handshake failed: {errors[0]!r}")
    print(json.dumps({"requests": sum(counts), "us": (time.monotonic() - start) * 1e6}))


main()
