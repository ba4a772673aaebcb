"""That a gateway does the whole job, one request at a time, before anything is measured."""

import collections
import http.client
import json
import ssl

from lab import keys as all_keys


class NotDone(Exception):
    """The gateway did not do its job. It is not slow: it is out."""


def require(truth, why):
    if not truth:
        raise NotDone(why)


class Client:
    """Sends requests and keeps count of the answers' statuses, as the log should have them."""

    def __init__(self, proxy):
        self.proxy, self.sent = proxy, collections.Counter()
        self.context = ssl.create_default_context(cafile=proxy.site.scratch / "cert.pem")

    def get(self, path="/", key=None, tls=False, **headers):
        if tls:
            conn = http.client.HTTPSConnection("localhost", self.proxy.tls_port, timeout=5, context=self.context)
        else:
            conn = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=5)
        if key:
            headers["X-Api-Key"] = key
        try:
            conn.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = conn.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NotDone(f"{path} was not answered: {error!r}") from error
        finally:
            conn.close()
        self.sent[answer.status] += 1
        return answer.status, body


def answers(client, keys):
    """What the client gets and the upstream sees."""
    for i in (1, 2, len(keys) - 1):
        require(client.get(key=keys[i]) == (200, b"ok"), "a valid key did not get the upstream's answer")
    require(client.get(key=keys[3], tls=True) == (200, b"ok"), "a valid key did not get the upstream's answer over TLS")
    for path, size in (("/1k", 1024), ("/64k", 65536)):
        status, body = client.get(path, key=keys[4])
        require(status == 200 and body == b"x" * size, f"{path} answered {status} with {len(body)} bytes")
    status, body = client.get("/echo", key=keys[7], X_Consumer_ID="forged", X_Forwarded_For="203.0.113.9")
    require(status == 200, f"/echo answered {status}")
    seen = json.loads(body)
    require(seen.pop("key") == "", "the upstream got the key")
    require(seen == {"id": all_keys.key_id(7), "for": "127.0.0.1"}, f"the upstream saw {seen}")
    require(client.get()[0] == 401, "no key was not answered 401")
    require(client.get(key=all_keys.new())[0] == 401, "an unknown key was not answered 401")
    require(client.get("/low", key=all_keys.new())[0] == 401, "an unknown key was not answered 401")
    low = [client.get("/low", key=keys[all_keys.LOW])[0] for _ in range(6)]
    require(low[0] == 200 and low[-1] == 429, f"a key with a low limit got {low}")
    require(client.get("/low", key=keys[8])[0] == 200, "one key's limit was spent by another")


def log_lines(proxy, lines, sent, keys):
    """One JSON line per request, with its status and the key's id, and with no key."""
    count = lines.wait(sent.total())
    require(count == sent.total(), f"{sent.total()} requests, {count} lines")
    require(lines.statuses == sent, f"sent {dict(sent)}, logged {dict(lines.statuses)}")
    text = proxy.log.read_text()
    for line in map(json.loads, text.splitlines()):
        if line["event"] in ("decision", "throttle") and line["http.response.status_code"] == 200:
            require(str(line.get("key.id")).startswith("bench-"), "a line without the key's id")
    require(not any(key in text for key in keys), "a key is in the log")


def verify(proxy, lines):
    keys = proxy.site.keys
    client = Client(proxy)
    answers(client, keys)
    log_lines(proxy, lines, client.sent, keys)
    return client.sent
