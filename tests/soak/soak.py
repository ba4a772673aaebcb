"""The soak: traffic of every kind against one gateway while its files change and its upstream comes and goes.

Measures memory and open files after a warm-up and at the end, both times at rest: no traffic and every idle connection closed. Exits 1
unless memory is the same within a tenth, files are the same, every line is whole and nothing was answered that should not be.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

from traffic import Clients, Wrong

HERE = Path(__file__).parent
RESTS = 3
BEFORE_A_REST = 20
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_key() -> str:
    secret = "".join(random.choices(ALPHABET, k=43))
    crc, digits = zlib.crc32(secret.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        digits = ALPHABET[digit] + digits
    return f"kw_{secret}{digits}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def replace(path: Path, text: str) -> None:
    """As an editor does: a new file beside it, then a rename."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.rename(path)


class Soak:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.dir = options, Path(tempfile.mkdtemp(prefix="keyward-soak-"))
        self.plain, self.secure, self.http, self.ws = (free_port() for _ in range(4))
        self.keys = {name: new_key() for name in ("good", "limited", "revoked")}
        self.fillers = [new_key() for _ in range(300)]
        self.counts, self.wrong = Counter(), Counter()
        self.clients = Clients(self.plain, self.secure, self.keys, self.counts)
        self.running = False
        self.round = 0
        self.log = self.dir / "keyward.log"

    def entry(self, name: str, key: str, fields: str = "") -> str:
        return f'[[key]]\nid = "{name}"\nhash = "sha256:{hashlib.sha256(key.encode()).hexdigest()}"\n{fields}\n\n'

    def write_keys(self) -> None:
        text = self.entry("good", self.keys["good"], 'limits = ["100000/s"]')
        text += self.entry("limited", self.keys["limited"], 'limits = ["20/s"]')
        text += self.entry("revoked", self.keys["revoked"], 'state = "revoked"')
        some = random.sample(range(len(self.fillers)), 150)
        text += "".join(self.entry(f"filler-{n}", self.fillers[n], f'limits = ["{n + 1}/s"]') for n in some)
        replace(self.dir / "keys.toml", text)

    def write_config(self, broken: bool = False) -> None:
        self.round += 1
        text = f"""
[upstream.default]
servers = ["http://127.0.0.1:{self.http}"]
[upstream.ws]
servers = ["http://127.0.0.1:{self.ws}"]
[server]
shutdown_grace = "5s"
[[listener]]
address = "127.0.0.1:{self.plain}"
[[listener]]
address = "127.0.0.1:{self.secure}"
tls = [{{ cert = "a.pem", key = "a.key" }}]
[http]
idle_timeout = "3s"
header_timeout = "3s"
body_idle_timeout = "5s"
[limits]
per_ip = "{100000 + self.round % 2}/s"
failures_per_ip = "none"
{"[nonsense]" if broken else ""}
[[route]]
name = "all"
timeout = "1s"
[[route]]
name = "ws"
path = "/ws/*"
upstream = "ws"
[log]
output = "file:keyward.log"
"""
        replace(self.dir / "keyward.toml", text)

    def write_certificate(self, name: str) -> None:
        shutil.copy(self.dir / f"{name}.key", self.dir / "a.key")
        shutil.copy(self.dir / f"{name}.pem", self.dir / "a.pem")

    def prepare(self) -> None:
        for name in ("one", "two"):
            command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
            command += ["-subj", "/CN=soak.test", "-addext", "subjectAltName=DNS:soak.test"]
            command += ["-keyout", self.dir / f"{name}.key", "-out", self.dir / f"{name}.pem"]
            subprocess.run(command, check=True, capture_output=True)
        self.write_certificate("one")
        self.write_keys()
        self.write_config()

    def start_upstream(self) -> None:
        arguments = [sys.executable, HERE / "upstream.py", str(self.http), str(self.ws)]
        self.upstream = subprocess.Popen(arguments, stderr=open(self.dir / "upstream.err", "ab"))

    def start_gateway(self) -> None:
        command = [self.options.binary, "run", "-c", self.dir / "keyward.toml"]
        output = open(self.dir / "out.log", "ab")
        self.gateway = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    async def wait_port(self, port: int) -> None:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            except OSError:
                if self.gateway.poll() is not None:
                    sys.exit(f"the gateway ended: {(self.dir / 'out.log').read_text()}")
                await asyncio.sleep(0.05)
        sys.exit(f"nothing listens at {port}")

    async def visit(self, make) -> None:
        """One kind of client, again and again."""
        while self.running:
            try:
                await make()
            except Wrong as wrong:
                self.wrong[str(wrong)] += 1
            except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as broken:
                self.counts[f"broken: {type(broken).__name__}"] += 1
            except Exception as broken:  # httpx has many
                self.counts[f"broken: {type(broken).__name__}"] += 1
            await asyncio.sleep(random.random() * 0.1)

    async def change_files(self) -> None:
        n = 0
        while self.running:
            n += 1
            self.write_keys()
            if n % 3 == 0:
                self.write_config(broken=n % 9 == 0)
            if n % 5 == 0:
                self.write_certificate(random.choice(["one", "two"]))
            if n % 4 == 0:
                self.gateway.send_signal(signal.SIGHUP)
            self.counts["files changed"] += 1
            await asyncio.sleep(1)
        self.write_config()

    async def restart_upstream(self) -> None:
        while self.running:
            for _ in range(20):
                await asyncio.sleep(1)
                if not self.running:
                    return
            self.upstream.kill()
            self.upstream.wait()
            await asyncio.sleep(0.3)
            self.start_upstream()
            self.counts["upstream restarted"] += 1

    def kinds(self) -> list:
        c = self.clients
        kinds = [lambda: c.keep_alive(False)] * 6 + [lambda: c.keep_alive(True)] * 2 + [c.http2] * 2
        kinds += [lambda: c.websocket(False), lambda: c.websocket(True), c.upload, c.refused, c.refused, c.throttled]
        return kinds + [c.leave] * 4 + [c.fault] * 2 + [c.idle]

    async def traffic(self, seconds: float) -> tuple[int, int]:
        """Gives the medians of the last minute."""
        self.running = True
        tasks = [asyncio.create_task(self.visit(kind)) for kind in self.kinds()]
        tasks += [asyncio.create_task(self.change_files()), asyncio.create_task(self.restart_upstream())]
        ends = time.monotonic() + seconds
        busy = []
        while (left := ends - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 1))
            busy.append(self.measure())
            if len(busy) % 30 == 0:
                print(f"  {seconds - max(0, left - 1):4.0f} s  {self.line(*busy[-1])}", flush=True)
        self.running = False
        await asyncio.wait(tasks, timeout=60)
        memory, files = zip(*busy[-60:])
        return int(statistics.median(memory)), int(statistics.median(files))

    def measure(self) -> tuple[int, int]:
        status = Path(f"/proc/{self.gateway.pid}/status").read_text()
        rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        return rss, len(os.listdir(f"/proc/{self.gateway.pid}/fd"))

    def line(self, rss: int, files: int) -> str:
        return f"RSS {rss / 1024:7.1f} MiB   open files {files:5}"

    async def calm(self) -> None:
        """A little traffic, so that what the last burst has left is looked at by the threads whose it is."""
        for n in range(400):
            reader, writer = await self.clients.open(tls=n % 2 == 0)
            writer.write(self.clients.head("GET", "/bytes/100", self.keys["good"], "Connection: close\r\n"))
            await self.clients.read(reader)
            writer.close()
            await asyncio.sleep(0.05)

    async def settle(self) -> tuple[int, int]:
        """Waits for idle connections to end and the number of files to stand still; the memory is the median of a while."""
        await asyncio.sleep(5)
        await self.calm()
        files, same, memory = -1, 0, []
        for _ in range(60):
            await asyncio.sleep(1)
            rss, now = self.measure()
            memory.append(rss)
            files, same = now, same + 1 if now == files else 0
            if same >= 8:
                break
        return int(statistics.median(memory[-8:])), files

    async def rests(self) -> tuple[int, int]:
        """The median memory and the most files of several rests, each after some traffic: one moment says little of an allocator."""
        seen = []
        for _ in range(RESTS):
            await self.traffic(BEFORE_A_REST)
            seen.append(await self.settle())
            print(f"  at rest {self.line(*seen[-1])}", flush=True)
        memory, files = zip(*seen)
        return int(statistics.median(memory)), max(files)

    def lines(self) -> tuple[int, list[str]]:
        """Every line is an object, and no request has two of one kind; no secret in any."""
        problems, seen, count = [], set(), 0
        secrets = [key[3:46] for key in self.keys.values()]
        with open(self.log, encoding="utf-8") as log:
            for text in log:
                count += 1
                try:
                    line = json.loads(text)
                except ValueError:
                    problems.append(f"not JSON: {text[:100]}")
                    continue
                if line["event"] in ("decision", "throttle"):
                    identity = line.get("request_id")
                    if identity in seen:
                        problems.append(f"two lines of {identity}")
                    seen.add(identity)
                if any(secret in text for secret in secrets):
                    problems.append("a secret in a line")
        output = (self.dir / "out.log").read_text(errors="replace")
        problems += ["a panic"] if "panicked" in output else []
        return count, problems

    async def run(self) -> bool:
        self.prepare()
        self.start_upstream()
        self.start_gateway()
        try:
            await self.wait_port(self.plain)
            await self.wait_port(self.http)
            print(f"warm-up, {self.options.warm_up:.0f} s")
            busy_before = await self.traffic(self.options.warm_up)
            before = await self.rests()
            self.counts.clear()
            print(f"the soak, {self.options.seconds:.0f} s")
            busy_after = await self.traffic(self.options.seconds)
            after = await self.rests()
            self.gateway.terminate()
            code = self.gateway.wait(30)
        finally:
            self.gateway.kill()
            self.upstream.kill()
        return self.report([before, busy_before], [after, busy_after], code)

    def report(self, befores: list, afters: list, code: int) -> bool:
        count, problems = self.lines()
        (before, busy_before), (after, busy_after) = befores, afters
        change = after[0] / before[0] - 1
        print("\nwhat came of the visits")
        for name, number in sorted(self.counts.items()):
            print(f"  {name:32} {number:9}")
        print(f"\n{'':32}{'after warm-up':>15}{'at the end':>15}{'':>12}")
        print(f"{'RSS, MiB':32}{before[0] / 1024:15.1f}{after[0] / 1024:15.1f}{change:+11.1%}")
        print(f"{'open files':32}{before[1]:15}{after[1]:15}{after[1] - before[1]:+11}")
        print(f"{'RSS under traffic, MiB, median':32}{busy_before[0] / 1024:15.1f}{busy_after[0] / 1024:15.1f}")
        print(f"{'open files under traffic, median':32}{busy_before[1]:15}{busy_after[1]:15}")
        print(f"{'lines':32}{count:30}")
        checks = {
            "RSS is the same within 10 %": abs(change) <= 0.10,
            "open files are the same": before[1] == after[1],
            "every line is whole and its request's only one": not problems,
            "no answer that no fault explains": not self.wrong,
            "a drained gateway exits 0": code == 0,
        }
        print()
        for check, held in checks.items():
            print(f"  {'ok    ' if held else 'FAILED'} {check}")
        for problem in problems[:10]:
            print(f"  {problem}")
        for wrong, number in self.wrong.items():
            print(f"  {number} times {wrong}")
        return all(checks.values())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--warm-up", type=float, default=90)
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder with its log")
    soak = Soak(parser.parse_args())
    try:
        held = asyncio.run(soak.run())
    finally:
        if soak.options.keep:
            print(f"kept: {soak.dir}")
        else:
            shutil.rmtree(soak.dir, ignore_errors=True)
    sys.exit(0 if held else 1)


main()
