"""A WebSocket server made of `websockets`, which prints how each of its connections went, one JSON object a line.

usage: ws_server.py [--tls CERT KEY | --unix PATH]    (prints "port N" when it serves)

/echo sends everything back; /hello greets first; /headers sends the request's headers; /close/CODE closes with it after one
message; /cut drops the connection after one message, /reset resets it; /refuse is answered with 403.
"""

import asyncio
import json
import ssl
import struct
import socket
import sys
from http import HTTPStatus

from websockets.asyncio.server import serve, unix_serve
from websockets.exceptions import ConnectionClosed


def say(**what) -> None:
    print(json.dumps(what), flush=True)


def choose(_, offered):
    """The last one offered, so that a test sees the list as it arrived."""
    return offered[-1] if offered else None


def refuse(connection, request):
    say(asked=request.path, headers=[list(pair) for pair in request.headers.raw_items()])
    if request.path.startswith("/refuse"):
        return connection.respond(HTTPStatus.FORBIDDEN, "not here\n")
    return None


async def converse(ws) -> None:
    path = ws.request.path.split("?")[0]
    if path == "/hello":
        await ws.send("hello")
    if path == "/headers":
        await ws.send(json.dumps([list(pair) for pair in ws.request.headers.raw_items()]))
    async for message in ws:
        if path == "/quiet":
            continue
        await ws.send(message)
        if path.startswith("/close/"):
            await ws.close(int(path.removeprefix("/close/")), "as asked")
        if path in ("/cut", "/reset"):
            if path == "/reset":
                sock = ws.transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            ws.transport.abort()


async def handle(ws) -> None:
    try:
        await converse(ws)
    except ConnectionClosed:
        pass
    await ws.wait_closed()
    say(ended=ws.request.path.split("?")[0], code=ws.close_code, reason=ws.close_reason)


async def main() -> None:
    options = dict(max_size=None, ping_interval=None, select_subprotocol=choose, process_request=refuse)
    arguments = sys.argv[1:]
    if arguments[:1] == ["--unix"]:
        server = await unix_serve(handle, arguments[1], **options)
        print("port 0", flush=True)
    else:
        context = None
        if arguments[:1] == ["--tls"]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(arguments[1], arguments[2])
        server = await serve(handle, "127.0.0.1", 0, ssl=context, **options)
        print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
