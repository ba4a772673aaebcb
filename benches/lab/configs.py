"""The configurations of `benches/peers`, filled in: `@port@` becomes the value of `port`."""

import os
import pathlib
import re
import subprocess

from . import REPO, expect
from .process import Server

TEMPLATES = REPO / "benches" / "peers"


def fill(template, scratch, **values):
    """Writes the template into the scratch folder under its own name; returns its path."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")

    def value(match):
        expect(match[1] in values, f"{template}: nothing to put for {match[0]}")
        return str(values[match[1]])

    path = scratch / template
    path.write_text(re.sub(r"@([a-z_0-9]+)@", value, text), encoding="utf-8")
    return path


def nginx_user(scratch):
    """As root nginx would give its workers to `nobody`, who may not read the scratch folder."""
    return f"user {pathlib.Path(scratch).owner()};" if os.geteuid() == 0 else ""


def certificate(scratch):
    """`cert.pem` and `key.pem`: P-256, as most servers have today, and signed by itself."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-keyout", "key.pem", "-out", "cert.pem"]
    done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
    expect(done.returncode == 0, f"openssl req failed: {done.stderr}")


def bodies(scratch):
    """What the upstream answers with, where it is more than two bytes."""
    (scratch / "bodies").mkdir()
    (scratch / "tmp").mkdir()
    for name, size in (("1k", 1024), ("64k", 65536)):
        (scratch / "bodies" / name).write_bytes(b"x" * size)


def upstream(port, cpu, scratch):
    conf = fill("upstream.conf", scratch, port=port, user=nginx_user(scratch))
    command = ["nginx", "-p", str(scratch), "-c", str(conf), "-e", "upstream.err"]
    return Server("upstream", command, port, cpu, scratch, has_worker=True)
