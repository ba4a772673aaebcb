"""A server of events that sends the next one only when its client has said, on another connection, that it saw the last.

usage: events_server.py [UNIX_SOCKET]    (prints "port N" when it serves)

GET /events/NAME/COUNT streams COUNT events, each with the time of its sending; with ?old it answers as HTTP/1.0 does, up to the
connection's end. POST /seen/NAME/N confirms one. GET /poll/NAME answers when POST /answer/NAME has come.
"""

import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

flags: dict[str, threading.Event] = {}
lock = threading.Lock()


def flag(name: str) -> threading.Event:
    with lock:
        return flags.setdefault(name, threading.Event())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def log_message(self, *_) -> None:
        pass

    def address_string(self) -> str:
        return "-"

    def do_POST(self) -> None:
        flag(self.path).set()
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match url.path.strip("/").split("/"):
            case ["events", name, count]:
                self.events(name, int(count), url.query == "old")
            case ["poll", name]:
                answered = flag(f"/answer/{name}").wait(60)
                self.whole(200 if answered else 504, b"answered")
            case _:
                self.whole(200, self.path.encode())

    def whole(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def events(self, name: str, count: int, old: bool) -> None:
        if old:
            self.protocol_version = "HTTP/1.0"
            self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        if not old:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for n in range(count):
            event = f"id: {n}\ndata: {time.monotonic()}\n\n".encode()
            self.wfile.write(event if old else b"%x\r\n%s\r\n" % (len(event), event))
            if not flag(f"/seen/{name}/{n}").wait(20):
                return
        if not old:
            self.wfile.write(b"0\r\n\r\n")


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


if len(sys.argv) > 1:
    server = UnixServer(sys.argv[1], Handler)
    print("port 0", flush=True)
else:
    Handler.disable_nagle_algorithm = True
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("port", server.server_address[1], flush=True)
server.serve_forever()
