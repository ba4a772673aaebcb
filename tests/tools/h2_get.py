"""Gets one URL several times over HTTP/2 with httpx and prints, per answer: version, status, SHA-256 of the body.

usage: h2_get.py CA_FILE URL KEY_FILE COUNT    (the key is read from a file, never from the arguments)
"""

import asyncio
import hashlib
import ssl
import sys

import httpx


async def main(ca_file: str, url: str, key_file: str, count: int) -> None:
    with open(key_file, encoding="ascii") as file:
        key = file.read().strip()
    context = ssl.create_default_context(cafile=ca_file)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(http2=True, http1=False, verify=context, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(url, headers=headers) for _ in range(count)))
        posted = await client.post(url, headers=headers, content=b"x" * 200_000) if url.endswith("/echo") else None
    for answer in [*answers, *([posted] if posted else [])]:
        print(answer.http_version, answer.status_code, hashlib.sha256(answer.content).hexdigest())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
