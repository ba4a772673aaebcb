"""A WebSocket echo server whose answers depend on the frames it gets and on nothing else.

usage: ws_echo.py    (prints "port N", then serves until it is ended)

It stands on websockets' protocol without I/O: every frame is answered as it is parsed, so that it makes no difference how
TCP cut the bytes, and a text is refused at its first fragment that is not UTF-8. After its last byte it reads on until the
client has closed, so that no reset overtakes what it said. This is what makes two runs of Autobahn's cases comparable.
"""

import codecs
import socket
import threading

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Opcode
from websockets.server import ServerProtocol


class Echo(ServerProtocol):
    def __init__(self) -> None:
        super().__init__(extensions=[ServerPerMessageDeflateFactory()], max_size=None)
        self.message: list[bytes] = []
        self.is_text = False

    def recv_frame(self, frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # a message that was not finished is dropped
        super().recv_frame(frame)
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self.message, self.is_text = [], frame.opcode is Opcode.TEXT
            self.decoder = codecs.getincrementaldecoder("utf-8")()
        elif frame.opcode is not Opcode.CONT:
            return
        if self.is_text:
            self.decoder.decode(frame.data, frame.fin)
        self.message.append(bytes(frame.data))
        if frame.fin:
            send = self.send_text if self.is_text else self.send_binary
            send(b"".join(self.message))


def serve(stream: socket.socket) -> None:
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.settimeout(120)
    echo = Echo()
    with stream:
        try:
            while True:
                data = stream.recv(1 << 18)
                if data:
                    echo.receive_data(data)
                else:
                    echo.receive_eof()
                for event in echo.events_received():
                    if hasattr(event, "path"):
                        echo.send_response(echo.accept(event))
                for part in echo.data_to_send():
                    if part:
                        stream.sendall(part)
                    else:
                        stream.shutdown(socket.SHUT_WR)
                if not data:
                    return
        except OSError:
            return


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print("port", listener.getsockname()[1], flush=True)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted,), daemon=True).start()
