"""The services behind the soaked gateway: one of HTTP/1.1 that misbehaves where its path says so, one of WebSockets.

usage: upstream.py HTTP_PORT WS_PORT
"""

import asyncio
import socket
import struct
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

IDLE = 3


async def read_body(reader: asyncio.StreamReader, headers: dict) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass
        return body
    return await reader.readexactly(int(headers.get("content-length", 0)))


def whole(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answer(writer: asyncio.StreamWriter, method: str, path: str, body: bytes) -> bool:
    """Answers one request; false where the connection ends with it."""
    what, _, rest = path.strip("/").partition("/")
    match what:
        case "echo":
            writer.write(whole("200 OK", body))
        case "bytes" if method == "HEAD":
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {rest}\r\n\r\n".encode())
        case "bytes":
            writer.write(whole("200 OK", b"b" * int(rest)))
        case "chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(int(rest)):
                writer.write(b"400\r\n" + b"c" * 1024 + b"\r\n")
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        case "slow":
            await asyncio.sleep(int(rest) / 1000)
            writer.write(whole("200 OK", b"at last"))
        case "events":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            for n in range(int(rest)):
                writer.write(f"data: {n}\n\n".encode())
                await writer.drain()
                await asyncio.sleep(0.02)
            return False
        case "hang":
            await asyncio.sleep(5)
            return False
        case "garbage":
            writer.write(b"no HTTP at all\r\n\r\n")
            return False
        case "cut":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\ncut")
            return False
        case "extra":
            writer.write(whole("200 OK", b"ok") + whole("200 OK", b"poisoned"))
        case "reset":
            reset(writer)
            return False
        case "hints":
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + whole("200 OK", b"hinted"))
        case _:
            writer.write(whole("404 Not Found", b"what"))
    return True


async def serve_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := (await asyncio.wait_for(reader.readline(), IDLE)).decode("latin-1").split():
            headers = {}
            while header := (await reader.readline()).decode("latin-1").strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
            body = await asyncio.wait_for(read_body(reader, headers), 20)
            if not await answer(writer, line[0], line[1].split("?")[0], body):
                break
            await writer.drain()
    except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def converse(ws) -> None:
    try:
        async for message in ws:
            await ws.send(message)
            if "/cut" in ws.request.path:
                ws.transport.abort()
            if "/close" in ws.request.path:
                await ws.close(4000, "as asked")
    except ConnectionClosed:
        pass


async def main() -> None:
    http = await asyncio.start_server(serve_http, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    async with serve(converse, "127.0.0.1", int(sys.argv[2]), max_size=None):
        await http.serve_forever()


asyncio.run(main())
