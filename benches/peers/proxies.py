"""The gateways: how each is configured and started, and which version it is. What is fair about it stands in its own file."""

import re
import subprocess

from lab import configs, expect, keys, tools
from lab.process import Server, free_ports

NAMES = ("keyward", "nginx", "haproxy", "envoy")


class Proxy:
    """One gateway on two ports, plain and TLS, with its log. It can be started again, fresh."""

    def __init__(self, name, site):
        self.name, self.site = name, site
        self.port, self.tls_port = free_ports(2)
        # Apart from the files that Keyward watches: there, each write of the log would wake the watcher.
        self.log = site.scratch / "logs" / f"{name}.log"
        self.log.touch()
        self.server = None

    def start(self, under=(), ready_s=30):
        """`under` is a program to run it with, as one process."""
        settings = {"port": self.port, "tls_port": self.tls_port, "upstream": self.site.upstream_port, "log": self.log}
        command, has_worker = COMMANDS[self.name](self.site, settings)
        if under and self.name == "nginx":
            command, has_worker = [*command, "-g", "master_process off;"], False
        # HAProxy logs to its standard output.
        stdout = self.log if self.name == "haproxy" else None
        more = {"has_worker": has_worker, "stdout": stdout, "ready_s": ready_s}
        command = [*under, *command]
        self.server = Server(self.name, command, self.port, self.site.proxy_cpu, self.site.scratch, **more)
        self.server.wait_ready()

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None

    def restart(self):
        self.stop()
        self.start()

    @property
    def pid(self):
        return self.server.pid

    def version(self):
        program, argument = {
            "keyward": (self.site.keyward, "version"),
            "nginx": ("nginx", "-v"),
            "haproxy": ("haproxy", "-v"),
            "envoy": (tools.envoy(), "--version"),
        }[self.name]
        done = subprocess.run([program, argument], capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        expect(found, f"{program} {argument} shows no version")
        return found[0]


def keyward(site, settings):
    conf = configs.fill("keyward.toml", site.scratch, **settings)
    return [site.keyward, "run", "-c", str(conf)], False


def nginx(site, settings):
    with open(site.scratch / "keys.map", "w", encoding="ascii") as out:
        out.writelines(f'"{key}" "{keys.key_id(i)}";\n' for i, key in enumerate(site.keys))
    user = configs.nginx_user(site.scratch)
    conf = configs.fill("nginx.conf", site.scratch, loose=keys.LOOSE_PER_SECOND, user=user, **settings)
    return ["nginx", "-p", str(site.scratch), "-c", str(conf), "-e", "nginx.err"], True


def haproxy(site, settings):
    with open(site.scratch / "keys.sha256", "w", encoding="ascii") as out:
        out.writelines(f"{keys.digest(key).upper()} {keys.key_id(i)}\n" for i, key in enumerate(site.keys))
    both = (site.scratch / "cert.pem").read_text() + (site.scratch / "key.pem").read_text()
    (site.scratch / "both.pem").write_text(both)
    settings = {name: value for name, value in settings.items() if name != "log"}
    conf = configs.fill("haproxy.cfg", site.scratch, loose=keys.LOOSE_PER_SECOND, **settings)
    return ["haproxy", "-db", "-f", str(conf)], False


def envoy(site, settings):
    credentials = "\n".join(
        f"              - {{ key: {key}, client: {keys.key_id(i)} }}" for i, key in enumerate(site.keys)
    )
    values = {"credentials": credentials, "low_id": keys.key_id(keys.LOW), "loose": keys.LOOSE_PER_SECOND}
    conf = configs.fill("envoy.yaml", site.scratch, **values, **settings)
    # Its log is flushed when 64 KiB are full, or after this long.
    command = [tools.envoy(), "-c", str(conf), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    return [*command, "--file-flush-interval-msec", "1000"], False


COMMANDS = {"keyward": keyward, "nginx": nginx, "haproxy": haproxy, "envoy": envoy}
