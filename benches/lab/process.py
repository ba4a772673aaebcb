"""Child processes that listen, and what they cost: CPU time and memory, out of /proc."""

import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

from . import fail


def free_ports(count):
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in socks]


def raise_open_files():
    """As far as allowed, for this process and its children: 1,000 idle connections and more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def precedence():
    """Meanwhile the programs of this session go before those of all others, who wait (sched(7), "The autogroup feature")."""
    group = pathlib.Path("/proc/self/autogroup")
    try:
        before = group.read_text().split()[-1]
        group.write_text("-20")
    except OSError as error:
        fail(f"no precedence over other programs to be had: {error} (it takes root, and a kernel with autogroups)")
    try:
        yield
    finally:
        group.write_text(before)


def pin_to(cpu):
    """For `preexec_fn`; nothing where there is only one CPU."""
    return None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})


class Server:
    """A child process that listens; `pid` is the process whose costs count: itself, or its one worker."""

    def __init__(self, name, command, port, cpu, scratch, *, has_worker=False, ready_s=30, stdout=None):
        self.name, self.port, self.has_worker, self.ready_s = name, port, has_worker, ready_s
        self.output = open(scratch / f"{name}.out", "w+", encoding="utf-8", errors="replace")
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(open(stdout, "ab")) if stdout else self.output
            self.child = subprocess.Popen(
                command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=out, stderr=self.output, preexec_fn=pin_to(cpu)
            )
        self.pid = self.child.pid

    def wait_ready(self):
        """Until it listens (and has its worker)."""
        deadline = time.monotonic() + self.ready_s
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                self.output.seek(0)
                fail(f"{self.name} ended with status {self.child.returncode}:\n{self.output.read()[-4000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
                if not self.has_worker:
                    return self
                if children:
                    self.pid = int(children[0])
                    return self
            time.sleep(0.05)
        fail(f"{self.name} did not listen within {self.ready_s} s")

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                for pid in {self.pid, self.child.pid}:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self.child.wait()
        self.output.close()

    def cpu_and_wait_ns(self):
        """Time on a CPU, and time ready to run but waiting for one, over all threads."""
        ran = waited = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                a, b, _ = (task / "schedstat").read_text().split()
                ran, waited = ran + int(a), waited + int(b)
        return ran, waited

    def rss_kib(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        fail(f"{self.name} has no VmRSS")


def end_on_signals():
    """A signal ends the program as an error does: what it started is stopped."""

    def stop(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
