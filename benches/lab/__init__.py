"""The bench's laboratory: keys, a scratch folder, an upstream, gateways as child processes, and what they cost.

`benches/peers/run` and `benches/instructions` are written with it. Linux and Python 3.10; nothing beyond the standard
library.
"""

import pathlib
import sys

REPO = pathlib.Path(__file__).resolve().parents[2]


def fail(why):
    raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {why}")


def expect(truth, why):
    if not truth:
        fail(why)
