"""WebSockets over one HTTP/2 connection (RFC 8441): extended CONNECT with h2, frames with websockets' protocol.

usage: ws_over_h2.py    (a JSON object on stdin: port, ca or null, streams: [{path, headers, messages, protocol}])

All streams are opened at once; each sends its messages one after the other, waits for every echo, and closes with 1000. Prints a
JSON object for the settings and one a stream.
"""

import json
import socket
import ssl
import sys

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, WindowUpdated, RemoteSettingsChanged
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

# h2 takes a GOAWAY for the end of everything, though streams that are open may go on (RFC 9113 §6.8).
for state in (ConnectionState.CLIENT_OPEN, ConnectionState.IDLE):
    H2ConnectionStateMachine._transitions[(state, ConnectionInputs.RECV_GOAWAY)] = (None, state)


def say(**what) -> None:
    print(json.dumps(what), flush=True)


class Stream:
    """One WebSocket."""

    def __init__(self, number: int, asked: dict) -> None:
        self.number, self.asked, self.ws = number, asked, Protocol(Side.CLIENT, max_size=None)
        self.unsent, self.echoed, self.result = b"", [], {"path": asked["path"], "status": None, "body": ""}
        self.is_open = self.is_done = False
        self.end = False

    def next_message(self) -> None:
        if self.ws.state is not State.OPEN:
            return
        left = self.asked.get("messages", [])[len(self.echoed) :]
        if left:
            self.ws.send_text(("x" * left[0] if isinstance(left[0], int) else left[0]).encode())
        elif not self.asked.get("stay"):
            self.ws.send_close(1000, "done")

    def answered(self, headers: dict) -> None:
        self.result |= {"status": int(headers[":status"]), "headers": headers}
        self.is_open = headers[":status"] == "200"
        if self.is_open:
            say(opened=self.asked["path"])
            self.next_message()

    def received(self, data: bytes) -> None:
        if not self.is_open:
            self.result["body"] += data.decode()
            return
        self.ws.receive_data(data)
        for frame in self.ws.events_received():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
                self.echoed.append(len(frame.data))
                self.next_message()

    def done(self, how: str) -> None:
        if not self.is_done:
            self.is_done = True
            if self.is_open:
                self.ws.receive_eof()
            code = self.ws.close_code if self.is_open else None
            say(**self.result, echoed=self.echoed, code=code, ended=how)


class Client:
    def __init__(self, job: dict) -> None:
        sock = socket.create_connection(("127.0.0.1", job["port"]), timeout=15)
        if job.get("ca"):
            context = ssl.create_default_context(cafile=job["ca"])
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_hostname="localhost")
            assert sock.selected_alpn_protocol() == "h2", "no h2"
        self.sock, self.secure = sock, bool(job.get("ca"))
        # What must not be sent is the gateway's to refuse.
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8", validate_outbound_headers=False))
        self.h2.initiate_connection()
        self.streams: dict[int, Stream] = {}
        self.job = job

    def open(self) -> None:
        enabled = self.h2.remote_settings.get(SettingCodes.ENABLE_CONNECT_PROTOCOL, 0)
        say(extended_connect=enabled)
        for asked in self.job["streams"]:
            number = self.h2.get_next_available_stream_id()
            head = [
                (":method", "CONNECT"),
                (":protocol", asked.get("protocol", "websocket")),
                (":scheme", "https" if self.secure else "http"),
                (":path", asked["path"]),
                (":authority", "localhost"),
                ("sec-websocket-version", "13"),
                *((name.lower(), value) for name, value in asked.get("headers", {}).items()),
            ]
            self.h2.send_headers(number, head)
            self.streams[number] = Stream(number, asked)

    def flush(self) -> None:
        """Sends what the windows allow, which is nothing special for a WebSocket."""
        for stream in self.streams.values():
            for part in stream.ws.data_to_send() if stream.is_open else []:
                if part:
                    stream.unsent += part
                else:
                    stream.end = True
            while stream.unsent and not stream.is_done:
                room = min(self.h2.local_flow_control_window(stream.number), self.h2.max_outbound_frame_size)
                if not room:
                    break
                self.h2.send_data(stream.number, stream.unsent[:room])
                stream.unsent = stream.unsent[room:]
        self.sock.sendall(self.h2.data_to_send())

    def take(self, event) -> None:
        stream = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case RemoteSettingsChanged() if not self.streams:
                self.open()
            case ResponseReceived():
                stream.answered(dict(event.headers))
            case DataReceived():
                stream.received(event.data)
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case StreamEnded():
                stream.done("end")
                # RFC 8441 §5: our side of the stream is ended, too.
                try:
                    self.h2.end_stream(event.stream_id)
                except ProtocolError:
                    pass
            case StreamReset():
                stream.done(f"reset {int(event.error_code)}")
            case WindowUpdated():
                pass

    def run(self) -> None:
        while not self.streams or not all(s.is_done for s in self.streams.values()):
            self.flush()
            data = self.sock.recv(1 << 16)
            if not data:
                for stream in self.streams.values():
                    stream.done("connection closed")
                return
            for event in self.h2.receive_data(data):
                self.take(event)
        self.flush()


Client(json.loads(sys.stdin.readline())).run()
