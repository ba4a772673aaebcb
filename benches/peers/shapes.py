"""The shapes of the load, and the tools that make them. Each run says how many requests were answered as they should be."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable

from lab import REPO
from lab.process import pin_to

from .verify import NotDone, require

PACE_PER_SECOND = 4_000
CONNECTIONS = 64


@dataclasses.dataclass
class Run:
    """What the load generator counted. `requests` may be messages or handshakes; `lines` are the log's."""

    requests: int
    us: float
    status: int
    lines: int
    p50_us: float | None = None
    p99_us: float | None = None


@dataclasses.dataclass
class Shape:
    title: str
    load: Callable
    # Requests that may have a line although the generator did not count them: it stops while they are under way.
    slack: int = CONNECTIONS
    # A run before, uncounted, where pools, caches or sessions are new to the gateway.
    warm_s: int = 0
    default: bool = True


def tool(site, command, seconds):
    """The standard output of a program on the load's CPU."""
    try:
        done = subprocess.run(
            command, cwd=site.scratch, capture_output=True, text=True, timeout=seconds + 30, check=False,
            preexec_fn=pin_to(site.load_cpu),
        )
    except subprocess.TimeoutExpired as error:
        raise NotDone(f"{command[0]} did not end") from error
    require(done.returncode == 0, f"{' '.join(command[:3])} … failed: {done.stdout[-600:]}{done.stderr[-600:]}")
    return done.stdout


def wrk_command(proxy, seconds, path="/", keys="wrk.keys", connections=CONNECTIONS):
    script = str(REPO / "benches" / "peers" / "wrk.lua")
    url = f"http://127.0.0.1:{proxy.port}"
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script, url, "--", path, keys]


def wrk_counts(output):
    lines = [line for line in output.splitlines() if line.startswith("WRK ")]
    require(lines, f"wrk failed: {output}")
    return json.loads(lines[0][4:])


def wrk(path="/", status=200, keys="wrk.keys", connections=CONNECTIONS):
    def load(proxy, seconds):
        output = tool(proxy.site, wrk_command(proxy, seconds, path, keys, connections), seconds)
        counts = wrk_counts(output)
        require(counts["failed"] == 0, f"{counts['failed']} of {counts['requests']} requests failed")
        requests, refused = counts["requests"], counts["refused"]
        if status == 200:
            require(refused == 0, f"{refused} of {requests} requests were refused")
        else:
            # The key with the low limit passes once a second.
            require(requests - refused <= 2 + 2 * seconds, f"{requests - refused} of {requests} requests were not refused")
        require(requests > 0, "no request was answered")
        return Run(requests, counts["us"], status, refused or requests)

    return load


def h2load(path="/"):
    """HTTP/2 over TLS. h2load sends one header block again and again: one key."""

    def load(proxy, seconds):
        key = proxy.site.keys[1]
        command = ["h2load", "-c4", "-m32", f"-D{seconds}s", "-H", f"X-Api-Key: {key}"]
        output = tool(proxy.site, [*command, f"https://127.0.0.1:{proxy.tls_port}{path}"], seconds)
        done = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed", output)
        took = re.search(r"finished in ([\d.]+)(ms|s)", output)
        require("Application protocol: h2" in output, f"no HTTP/2: {output[-600:]}")
        require(done and took, f"h2load failed: {output[-600:]}")
        succeeded = int(done[2])
        require(succeeded > 0 and int(done[1]) == succeeded, f"{done[1]} answers, {succeeded} of them good")
        us = float(took[1]) * (1e3 if took[2] == "ms" else 1e6)
        return Run(succeeded, us, 200, succeeded)

    return load


def handshakes(kind):
    def load(proxy, seconds):
        script = str(REPO / "benches" / "peers" / "handshakes.py")
        command = [sys.executable, script, str(proxy.tls_port), "wrk.keys", str(seconds), kind]
        counts = json.loads(tool(proxy.site, command, seconds))
        return Run(counts["requests"], counts["us"], 200, counts["requests"])

    return load


def paced(proxy, seconds):
    command = [proxy.site.load, "paced", str(proxy.port), "wrk.keys", str(CONNECTIONS), str(seconds), str(PACE_PER_SECOND)]
    counts = json.loads(tool(proxy.site, command, seconds))
    return Run(counts["requests"], counts["us"], 200, counts["requests"], counts["p50_us"], counts["p99_us"])


def websocket(proxy, seconds):
    command = [proxy.site.load, "websocket", str(proxy.port), "wrk.keys", str(CONNECTIONS), str(seconds)]
    counts = json.loads(tool(proxy.site, command, seconds))
    return Run(counts["requests"], counts["us"], 101, CONNECTIONS)


# The first is also the one whose memory and system calls are told.
SHAPES = {
    "h1": Shape("HTTP/1.1, 2 B, 64 connections", wrk(), warm_s=1),
    "h1-1k": Shape("HTTP/1.1, 1 KiB", wrk("/1k")),
    "h1-64k": Shape("HTTP/1.1, 64 KiB", wrk("/64k")),
    "h1-512": Shape("HTTP/1.1, 2 B, 512 connections", wrk(connections=512), slack=512, warm_s=1),
    "h2": Shape("HTTP/2 over TLS, 2 B, 4 connections of 32 streams", h2load(), slack=4 * 32, warm_s=1),
    "h2-64k": Shape("HTTP/2 over TLS, 64 KiB, 4 connections of 32 streams", h2load("/64k"), slack=4 * 32, default=False),
    "tls-full": Shape("TLS 1.3 handshake, full, and one request", handshakes("full"), slack=0),
    "tls-resumed": Shape("TLS 1.3 handshake, resumed, and one request", handshakes("resumed"), slack=0),
    "401": Shape("refused: unknown key, 401", wrk(status=401, keys="wrk.unknown")),
    "429": Shape("refused: limit reached, 429", wrk("/low", status=429, keys="wrk.low")),
    "paced": Shape(f"HTTP/1.1, 2 B, paced: {PACE_PER_SECOND:,} requests a second", paced, slack=0),
    "websocket": Shape("WebSocket message of 32 B and its echo", websocket, slack=0),
}
