"""Takes webhooks, verifies their signatures with nothing but the standard library, and answers as it is told.

webhook_receiver.py PORT SECRET_FILE OUT ANSWER...: each request gets the next answer, the last one for ever: a status, or
`hang`. What came is written to OUT, a line of JSON each. Prints its port.
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, secret_file, out, *answers = sys.argv[1:]
secret = open(secret_file, "rb").read().strip()
key = base64.b64decode(secret[6:]) if secret.startswith(b"whsec_") else secret
lock = threading.Lock()


def is_signed(headers, body):
    name, sent, signatures = (headers.get("webhook-" + part, "") for part in ("id", "timestamp", "signature"))
    if not sent.isdigit() or abs(time.time() - int(sent)) > 300:
        return False
    signed = f"{name}.{sent}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, signature) for signature in signatures.split())


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            seen = {
                "path": self.path,
                "answer": answer,
                "id": self.headers.get("webhook-id"),
                "type": self.headers.get("content-type"),
                "signed": is_signed(self.headers, body),
                "body": json.loads(body),
            }
            with open(out, "a") as lines:
                lines.write(json.dumps(seen) + "\n")
        if answer == "hang":
            threading.Event().wait()
        self.send_response(int(answer))
        if answer.startswith("3"):
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
