"""Runs Autobahn's wstest from a folder that pip filled, for Python 2.7, which Autobahn's fuzzing client needs.

usage: wstest.py FOLDER MESSAGES ARGS..    (cases 12 and 13 send MESSAGES messages each in place of their 1000)
"""

import site
import sys

folder, messages = sys.argv.pop(1), int(sys.argv.pop(1))
site.addsitedir(folder)

from autobahntestsuite.case import case12_x_x  # noqa: E402
from autobahntestsuite.wstest import run  # noqa: E402

for case in case12_x_x.Case12_X_X + case12_x_x.Case13_X_X:
    case.COUNT = min(case.COUNT, messages)
run()
