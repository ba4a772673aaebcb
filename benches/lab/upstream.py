"""The service behind every gateway, and the load that no tool at hand makes: `benches/peers/load.c`."""

import subprocess

from . import expect
from .configs import TEMPLATES
from .process import Server


def compile_load(scratch):
    """The path of the program."""
    program = scratch / "load"
    done = subprocess.run(
        ["cc", "-O2", "-o", str(program), str(TEMPLATES / "load.c")], capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"cc failed: {done.stderr}")
    return str(program)


def upstream(load, port, cpu, scratch):
    return Server("upstream", [load, "serve", str(port)], port, cpu, scratch)
