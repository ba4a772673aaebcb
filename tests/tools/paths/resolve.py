"""Says which resource a Python server takes a request target for, in the ways in which Python servers do that.

Prints its port, then answers every GET with one resource a line.
"""

import http.server
import os
import posixpath
import urllib.parse


class Resolver(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one write: no waiting for acknowledgements between them.
    wbufsize = 65536

    def do_GET(self) -> None:
        root = os.getcwd()
        # What http.server serves files by.
        file = self.translate_path(self.path)
        resources = [file.removeprefix(root) or "/"]
        # What WSGI servers make PATH_INFO of, and what an application that joins paths makes of that.
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        resources += [path, posixpath.normpath(path)]
        body = "\n".join(resources).encode(errors="replace")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Resolver)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
