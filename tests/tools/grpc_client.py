"""A gRPC client made of grpcio, which makes the calls that the first line on its stdin lists.

The line is a JSON object: target, ca or null, metadata, calls: [[name, values..]]. Each call prints one JSON object: its status
code and details, what came, and its metadata.
"""

import json
import queue
import sys

import grpc

TIMEOUT = 20


def say(**what) -> None:
    print(json.dumps(what), flush=True)


def plain(pairs) -> dict:
    return {name: value if isinstance(value, str) else value.hex() for name, value in pairs or ()}


class Client:
    def __init__(self, job: dict) -> None:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]
        if job.get("ca"):
            credentials = grpc.ssl_channel_credentials(open(job["ca"], "rb").read())
            self.channel = grpc.secure_channel(job["target"], credentials, options)
        else:
            self.channel = grpc.insecure_channel(job["target"], options)
        self.metadata = tuple(job.get("metadata", {}).items())

    def options(self, timeout: float = TIMEOUT) -> dict:
        return {"metadata": self.metadata, "timeout": timeout}

    def path(self, method: str) -> str:
        return method if method.startswith("/") else f"/keyward.Test/{method}"

    def report(self, name: str, call, **more) -> None:
        say(
            call=name,
            code=call.code().value[0],
            details=call.details(),
            initial=plain(call.initial_metadata()),
            trailing=plain(call.trailing_metadata()),
            **more,
        )

    def unary(self, method: str, request: bytes = b"", timeout: float = TIMEOUT) -> None:
        call = self.channel.unary_unary(self.path(method)).future(request, **self.options(timeout))
        try:
            answer = call.result()
        except grpc.RpcError:
            self.report(method, call)
            return
        text = answer.decode() if len(answer) < 10_000 else ""
        self.report(method, call, length=len(answer), same=answer == request, text=text)

    def collect(self, count: int, size: int) -> None:
        call = self.channel.stream_unary(self.path("Collect")).future(iter([b"x" * size] * count), **self.options())
        self.report("Collect", call, text=call.result().decode())

    def count(self, count: int) -> None:
        call = self.channel.unary_stream(self.path("Count"))(str(count).encode(), **self.options())
        got = [int(answer) for answer in call]
        self.report("Count", call, whole=got == list(range(count)), messages=len(got))

    def chat(self, messages: list) -> None:
        """Sends each message only when the one before it has been answered."""
        asked: queue.SimpleQueue = queue.SimpleQueue()
        call = self.channel.stream_stream(self.path("Chat"))(iter(asked.get, None), **self.options())
        got = []
        try:
            for message in messages:
                asked.put(message.encode())
                got.append(next(call).decode())
            asked.put(None)
            assert next(call, None) is None
        except grpc.RpcError:
            asked.put(None)
        self.report("Chat", call, messages=got)

    def cancel(self) -> None:
        """Cancels a call that has sent and got a message, and waits for the server to notice another one's end."""
        asked: queue.SimpleQueue = queue.SimpleQueue()
        call = self.channel.stream_stream(self.path("Chat"))(iter(asked.get, None), **self.options())
        asked.put(b"one")
        got = next(call).decode()
        call.cancel()
        asked.put(None)
        self.report("cancel", call, messages=[got])

    def run(self, calls: list) -> None:
        for name, *values in calls:
            match name:
                case "unary":
                    self.unary("Unary", *(v.encode() for v in values))
                case "big":
                    self.unary("Unary", b"b" * values[0])
                case "call":
                    self.unary(values[0], values[1].encode(), *values[2:])
                case "collect":
                    self.collect(*values)
                case "count":
                    self.count(*values)
                case "chat":
                    self.chat(values)
                case "cancel":
                    self.cancel()
                case _:
                    raise ValueError(name)


job = json.loads(sys.stdin.readline())
Client(job).run(job["calls"])
