"""Binaries out of cargo."""

import json
import os
import subprocess

from . import REPO, expect


def cargo(*arguments):
    """Runs cargo; the programs that it built, in order."""
    command = ["cargo", *arguments, "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True, check=False)
    expect(done.returncode == 0, f"{' '.join(command)} failed")
    built = [json.loads(line).get("executable") for line in done.stdout.splitlines() if line.startswith("{")]
    return [path for path in built if path]


def keyward(given, profile="dist"):
    """The binary that was named, or one that is built."""
    if not given:
        return cargo("build", "--locked", "--profile", profile, "--bin", "keyward")[-1]
    path = os.path.abspath(given)
    expect(os.access(path, os.X_OK), f"--keyward: {given} is not a program")
    return path
