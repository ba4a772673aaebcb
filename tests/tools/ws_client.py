"""A WebSocket client made of `websockets`, which does what the first line on its stdin says and prints what it saw.

The line is a JSON object: url, headers, subprotocols, ca, plain (no compression), steps. Every line printed is a JSON object, too.
"""

import asyncio
import json
import socket
import ssl
import struct
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus

PATIENCE = 15


def say(**what) -> None:
    print(json.dumps(what), flush=True)


def pattern(length: int) -> bytes:
    return (bytes(n * 31 % 251 for n in range(251 * 4)) * (length // 1004 + 1))[:length]


async def echoed(ws, sent) -> None:
    await ws.send(sent)
    got = await ws.recv()
    say(echoed=len(got), same=got == (sent if isinstance(sent, (str, bytes)) else type(got)().join(sent)))


def reset(ws) -> None:
    sock = ws.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.transport.abort()


async def step(ws, name: str, *values) -> None:
    match name:
        case "echo":
            await echoed(ws, values[0])
        case "echo_bytes":
            await echoed(ws, pattern(values[0]))
        case "echo_text":
            await echoed(ws, ("äß€😀" * (values[0] // 4 + 1))[: values[0]])
        case "echo_parts":
            await echoed(ws, values[0])
        case "ping":
            await (await ws.ping(b"are you there"))
            say(ponged=True)
        case "send":
            await ws.send(values[0])
        case "receive":
            say(received=await ws.recv())
        case "wait":
            say(waiting=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        case "close":
            await ws.close(*values)
        case "closed":
            await ws.wait_closed()
        case "abort":
            ws.transport.abort()
        case "reset":
            reset(ws)
        case _:
            raise ValueError(name)


async def main() -> None:
    job = json.loads(sys.stdin.readline())
    context = ssl.create_default_context(cafile=job["ca"]) if job.get("ca") else None
    options = dict(additional_headers=job.get("headers"), subprotocols=job.get("subprotocols"), ssl=context)
    options["compression"] = None if job.get("plain") else "deflate"
    try:
        ws = await connect(job["url"], max_size=None, ping_interval=None, proxy=None, **options)
    except InvalidStatus as refused:
        answer = refused.response
        headers = {name.lower(): value for name, value in answer.headers.raw_items()}
        say(refused=answer.status_code, headers=headers, body=(answer.body or b"").decode())
        return
    except (InvalidMessage, InvalidHandshake, OSError) as broken:
        say(broken=repr(broken), cause=repr(broken.__cause__))
        return
    headers = {name.lower(): value for name, value in ws.response.headers.raw_items()}
    say(opened=ws.response.status_code, subprotocol=ws.subprotocol, headers=headers)
    try:
        for name, *values in job["steps"]:
            await asyncio.wait_for(step(ws, name, *values), PATIENCE)
        await asyncio.wait_for(ws.close(), PATIENCE)
    except ConnectionClosed:
        pass
    say(code=ws.close_code, reason=ws.close_reason)


asyncio.run(main())
