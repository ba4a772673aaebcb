"""The log lines that a gateway has written, counted by status; what has been counted is given back to the disk."""

import collections
import contextlib
import re
import subprocess
import time

# Every request's line has this field, in each gateway's log; a request whose client left may have -1 or 0.
STATUS = re.compile(rb'"http\.response\.status_code":"?(-?\d+)')
CHUNK = 1 << 20


class Lines:
    """Reads a growing file from where it stopped before."""

    def __init__(self, log):
        self.log, self.read_to, self.statuses = log, 0, collections.Counter()

    def read(self):
        """Counts what has come; returns how many there are altogether."""
        with open(self.log, "rb") as log:
            log.seek(self.read_to)
            while chunk := log.read(CHUNK):
                whole = chunk.rfind(b"\n") + 1
                self.statuses.update(int(status) for status in STATUS.findall(chunk[:whole]))
                self.read_to += whole
                if whole == 0:
                    break
                log.seek(self.read_to)
        return self.statuses.total()

    def discard(self):
        """The logs of a whole run are gigabytes. Holes leave the writers, who append, undisturbed; not every disk has them."""
        if self.read_to:
            command = ["fallocate", "--punch-hole", "--offset", "0", "--length", str(self.read_to), str(self.log)]
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(command, capture_output=True, check=False)

    def wait(self, count):
        """Until that many are written (all gateways buffer), or nothing more comes for three seconds."""
        seen, quiet = self.read(), 0
        while seen < count and quiet < 12:
            time.sleep(0.25)
            now = self.read()
            quiet = quiet + 1 if now == seen else 0
            seen = now
        return seen
