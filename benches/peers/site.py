"""What the gateways and the load have in common: a folder, keys, a certificate, an upstream, and who runs where."""

import dataclasses
import os
import pathlib

from lab import configs, keys
from lab.process import free_ports
from lab.upstream import compile_load, upstream


@dataclasses.dataclass
class Site:
    scratch: pathlib.Path
    keyward: str
    load: str
    keys: list
    upstream_port: int
    proxy_cpu: int | None
    load_cpu: int | None


def make(scratch, keyward):
    """The files, in an empty folder. Gateways get the first CPU, the load and the upstream the second, if there are two."""
    for folder in ("tmp", "logs"):
        (scratch / folder).mkdir()
    secrets = [keys.new() for _ in range(keys.COUNT)]
    keys.write(secrets, scratch)
    configs.certificate(scratch)
    cpus = sorted(os.sched_getaffinity(0))
    proxy_cpu, load_cpu = (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)
    return Site(scratch, keyward, compile_load(scratch), secrets, free_ports(1)[0], proxy_cpu, load_cpu)


def start_upstream(site, stack):
    """Runs until the stack ends."""
    server = upstream(site.load, site.upstream_port, site.load_cpu, site.scratch)
    stack.callback(server.stop)
    server.wait_ready()
