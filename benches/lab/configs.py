"""The configurations of `benches/peers`, filled in: `@port@` becomes the value of `port`."""

import os
import pathlib
import re
import subprocess

from . import REPO, expect

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
