"""The clients of the soak: each is a coroutine that makes one visit to the gateway and says what came of it."""

import asyncio
import random
import ssl

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, WebSocketException

TIMEOUT = 15


class Wrong(Exception):
    """An answer that no fault explains."""


class Clients:
    def __init__(self, plain: int, secure: int, keys: dict, faults: "Counter") -> None:
        self.plain, self.secure, self.keys, self.counts = plain, secure, keys, faults
        self.context = ssl.create_default_context()
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.h1_only = ssl.create_default_context()
        self.h1_only.check_hostname, self.h1_only.verify_mode = False, ssl.CERT_NONE

    async def open(self, tls: bool = False):
        source = f"127.0.{random.randrange(1, 5)}.{random.randrange(1, 250)}"
        if tls:
            return await asyncio.open_connection("127.0.0.1", self.secure, ssl=self.h1_only, local_addr=(source, 0))
        return await asyncio.open_connection("127.0.0.1", self.plain, local_addr=(source, 0))

    def head(self, method: str, path: str, key: str | None, more: str = "") -> bytes:
        auth = f"Authorization: Bearer {key}\r\n" if key else ""
        return f"{method} {path} HTTP/1.1\r\nHost: soak.test\r\n{auth}{more}\r\n".encode()

    async def read(self, reader, method: str = "GET") -> tuple[int, bytes]:
        status = 100
        while status < 200:
            line = await reader.readline()
            if not line.startswith(b"HTTP/1."):
                raise ConnectionError(f"no status line: {line[:20]!r}")
            status, headers = int(line.split()[1]), {}
            while header := (await reader.readline()).decode("latin-1").strip():
                name, _, value = header.partition(":")
                headers[name.lower()] = value.strip()
        if method == "HEAD" or status in (204, 304):
            return status, b""
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await reader.readline(), 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readline()
            return status, body
        if "content-length" in headers:
            return status, await reader.readexactly(int(headers["content-length"]))
        return status, await reader.read()

    def note(self, what: str, status: int, allowed: tuple) -> None:
        self.counts[f"{what} {status}"] += 1
        if status not in allowed:
            raise Wrong(f"{what}: {status}")

    async def keep_alive(self, tls: bool) -> None:
        """Twenty requests of several kinds on one connection."""
        reader, writer = await self.open(tls)
        try:
            for _ in range(20):
                size = random.choice([0, 10, 1000, 20_000])
                method, path, body, chunked = random.choice(
                    [
                        ("GET", f"/bytes/{size}", b"", False),
                        ("HEAD", f"/bytes/{size}", b"", False),
                        ("GET", "/chunked/5", b"", False),
                        ("GET", "/hints", b"", False),
                        ("POST", "/echo/a", b"e" * size, False),
                        ("POST", "/echo/b", b"e" * size, True),
                    ]
                )
                more = "Transfer-Encoding: chunked\r\n" if chunked else f"Content-Length: {size}\r\n" if body else ""
                payload = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked and body else body
                payload = b"0\r\n\r\n" if chunked and not body else payload
                writer.write(self.head(method, path, self.keys["good"], more) + payload)
                status, got = await asyncio.wait_for(self.read(reader, method), TIMEOUT)
                self.note("h1", status, (200, 502, 503, 504))
                if status == 200 and path.startswith("/echo") and got != body:
                    raise Wrong("another body came back")
                if status == 200 and got and path.startswith("/bytes") and len(got) != size:
                    raise Wrong("another length came back")
                if status != 200:
                    return
        finally:
            writer.close()

    async def http2(self) -> None:
        """A connection with thirty streams, ten at a time."""
        headers = {"Authorization": f"Bearer {self.keys['good']}"}
        url = f"https://127.0.0.1:{self.secure}"
        async with httpx.AsyncClient(http2=True, verify=self.context, trust_env=False, timeout=TIMEOUT) as client:
            for _ in range(3):
                asked = [client.get(f"{url}/bytes/{random.choice([10, 5000, 100_000])}", headers=headers) for _ in range(8)]
                asked += [client.post(f"{url}/echo/x", headers=headers, content=b"2" * 50_000), client.get(url)]
                for answer in await asyncio.gather(*asked):
                    self.note("h2", answer.status_code, (200, 401, 502, 503, 504))

    async def websocket(self, tls: bool) -> None:
        path = random.choice(["/ws/echo", "/ws/echo", "/ws/cut", "/ws/close"])
        url = f"wss://127.0.0.1:{self.secure}{path}" if tls else f"ws://127.0.0.1:{self.plain}{path}"
        headers = {"Authorization": f"Bearer {self.keys['good']}"}
        options = dict(additional_headers=headers, ssl=self.h1_only if tls else None, proxy=None, max_size=None)
        try:
            async with asyncio.timeout(TIMEOUT):
                async with connect(url, **options) as ws:
                    for size in (1, 1000, 100_000):
                        await ws.send("w" * size)
                        if await ws.recv() != "w" * size:
                            raise Wrong("another message came back")
                    self.counts["websocket ok"] += 1
                    if random.random() < 0.5:
                        ws.transport.abort()
        except InvalidHandshake as refused:
            self.counts[f"websocket {type(refused).__name__}"] += 1
        except WebSocketException:
            self.counts["websocket cut"] += 1

    async def upload(self) -> None:
        reader, writer = await self.open()
        size = random.randrange(1_000_000, 5_000_000)
        writer.write(self.head("PUT", "/echo/up", self.keys["good"], f"Content-Length: {size}\r\n"))
        sending = asyncio.create_task(self.send_slices(writer, size))
        try:
            status, got = await asyncio.wait_for(self.read(reader), TIMEOUT * 2)
            self.note("upload", status, (200, 502, 503, 504))
            if status == 200 and len(got) != size:
                raise Wrong("an upload came back shorter")
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()

    async def send_slices(self, writer, size: int) -> None:
        while size > 0:
            writer.write(b"u" * min(size, 100_000))
            size -= 100_000
            await writer.drain()

    async def refused(self) -> None:
        reader, writer = await self.open()
        try:
            key, expected = random.choice(
                [(None, 401), ("nonsense", 401), (self.keys["revoked"], 401), ("kw_" + "x" * 49, 401), ("kw_short", 401)]
            )
            for _ in range(5):
                writer.write(self.head("GET", "/bytes/5", key))
                status, _ = await asyncio.wait_for(self.read(reader), TIMEOUT)
                self.note("refused", status, (expected, 429))
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n")
            status, _ = await asyncio.wait_for(self.read(reader), TIMEOUT)
            self.note("malformed", status, (400,))
        finally:
            writer.close()

    async def throttled(self) -> None:
        reader, writer = await self.open()
        try:
            for _ in range(30):
                writer.write(self.head("GET", "/bytes/5", self.keys["limited"]))
                status, _ = await asyncio.wait_for(self.read(reader), TIMEOUT)
                self.note("limited", status, (200, 429, 502, 503, 504))
        finally:
            writer.close()

    async def leave(self) -> None:
        """Leaves in the middle: of a head, of an upload, of an answer, of a wait; politely or with a reset."""
        reader, writer = await self.open(random.random() < 0.3)
        good = self.keys["good"]
        part = random.choice(
            [
                self.head("GET", "/bytes/3000000", good),
                self.head("GET", "/slow/2000", good),
                self.head("GET", "/events/500", good),
                self.head("GET", "/bytes/10", good)[:40],
                self.head("PUT", "/echo/x", good, "Content-Length: 1000000\r\n") + b"x" * 5000,
                self.head("PUT", "/echo/x", good, "Transfer-Encoding: chunked\r\n") + b"5\r\nhel",
            ]
        )
        writer.write(part)
        try:
            await asyncio.wait_for(reader.read(random.choice([1, 20_000])), random.choice([0.02, 0.2]))
        except TimeoutError:
            pass
        self.counts["left"] += 1
        if random.random() < 0.5:
            writer.transport.abort()
        writer.close()

    async def fault(self) -> None:
        reader, writer = await self.open()
        try:
            path = random.choice(["/reset", "/garbage", "/cut", "/hang", "/extra"])
            writer.write(self.head("GET", path, self.keys["good"]))
            status, got = await asyncio.wait_for(self.read(reader), TIMEOUT)
            self.note(f"fault {path}", status, (200, 502, 503, 504))
            if b"poisoned" in got:
                raise Wrong("bytes behind an answer reached a client")
        except asyncio.IncompleteReadError:
            self.counts["fault cut"] += 1
        finally:
            writer.close()

    async def idle(self) -> None:
        """Connections that say nothing."""
        opened = [await self.open() for _ in range(20)]
        await asyncio.sleep(random.random() * 3)
        for _, writer in opened:
            writer.close()
        self.counts["idle"] += 20
