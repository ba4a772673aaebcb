"""The programs that the benches call, and where they come from."""

import os
import shutil
import subprocess

from . import expect

# Program -> Debian package.
PACKAGES = {
    "nginx": "nginx",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
    "valgrind": "valgrind",
}
# Where Debian keeps servers, which is not on everybody's path.
os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"


def need(*programs):
    """Installs what is missing of them, or says why it may not."""
    missing = [program for program in programs if not shutil.which(program)]
    if not missing:
        return
    packages = [PACKAGES[program] for program in missing]
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    why = f"missing: {', '.join(missing)}; to be had by: {' '.join(install)}"
    expect(shutil.which("apt-get"), f"{why} (there is no apt-get here)")
    expect(os.geteuid() == 0, f"{why} (only root may)")
    print(f"installing with apt-get: {' '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
