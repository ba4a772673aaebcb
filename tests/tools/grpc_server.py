"""A gRPC server made of grpcio; messages are bytes as they come, so that no .proto is needed.

usage: grpc_server.py [--tls CERT KEY | --port PORT]    (prints "port N" when it serves)

keyward.Test/Unary, Collect (client stream), Count (server stream), Chat (both), Fail, Hang, Hung, Metadata.
"""

import json
import sys
import threading
from concurrent import futures

import grpc

hung = threading.Semaphore(0)


def unary(request: bytes, context) -> bytes:
    context.send_initial_metadata((("x-initial", "first"), ("x-initial-bin", b"\0\xff")))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-trailing-bin", b"\0\xfe")))
    return request


def metadata(_: bytes, context) -> bytes:
    found = [[name, value if isinstance(value, str) else value.hex()] for name, value in context.invocation_metadata()]
    return json.dumps(found).encode()


def fail(request: bytes, context) -> bytes:
    code, details = request.decode().split(" ", 1)
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x08\x09 rich details"),))
    context.abort(next(c for c in grpc.StatusCode if c.value[0] == int(code)), details)


def hang(_: bytes, context) -> bytes:
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(30)
    hung.release()
    return b""


def was_hung(_: bytes, context) -> bytes:
    """Waits until a call of Hang has been given up by its client."""
    return b"given up" if hung.acquire(timeout=20) else b"still waiting"


def collect(requests, context) -> bytes:
    sizes = [len(request) for request in requests]
    return json.dumps({"messages": len(sizes), "bytes": sum(sizes)}).encode()


def count(request: bytes, context):
    for n in range(int(request)):
        yield str(n).encode()


def chat(requests, context):
    """Answers each message before it reads the next."""
    for request in requests:
        if request == b"fail":
            context.abort(grpc.StatusCode.DATA_LOSS, "in the middle")
        yield b"you said " + request


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Hung": grpc.unary_unary_rpc_method_handler(was_hung),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Count": grpc.unary_stream_rpc_method_handler(count),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
}

server = grpc.server(
    futures.ThreadPoolExecutor(max_workers=32),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("keyward.Test", METHODS),))
if sys.argv[1:2] == ["--tls"]:
    cert, key = (open(path, "rb").read() for path in sys.argv[2:4])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, cert)]))
else:
    port = server.add_insecure_port("127.0.0.1:" + (sys.argv[2] if sys.argv[1:2] == ["--port"] else "0"))
server.start()
print("port", port, flush=True)
server.wait_for_termination()
