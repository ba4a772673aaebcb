"""An EventSource client made of httpx: reads an event stream and confirms each event at the server itself.

usage: events_client.py    (a JSON object on stdin: url, headers, ca or null, http2, confirm: a URL that ends before the number)

Prints one JSON object: how many events came, the HTTP version, and how many milliseconds each was on its way.
"""

import json
import ssl
import sys
import time

import httpx

job = json.loads(sys.stdin.readline())
verify = ssl.create_default_context(cafile=job["ca"]) if job.get("ca") else True
http2 = bool(job.get("http2"))
latencies, event = [], 0
with (
    httpx.Client(http2=http2, http1=not http2, verify=verify, trust_env=False, timeout=25) as client,
    httpx.Client(trust_env=False, timeout=25) as direct,
    client.stream("GET", job["url"], headers=job["headers"]) as stream,
):
    for line in stream.iter_lines():
        if line.startswith("id: "):
            event = int(line.removeprefix("id: "))
        if line.startswith("data: "):
            latencies.append((time.monotonic() - float(line.removeprefix("data: "))) * 1000)
            direct.post(f"{job['confirm']}{event}")
print(json.dumps({"status": stream.status_code, "version": stream.http_version, "events": len(latencies), "ms": latencies}))
