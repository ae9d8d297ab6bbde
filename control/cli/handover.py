"""`milliroute proxy` hands its process over, so that a proxy never carries the operator's code."""

import os
import sys


def become_proxy(args: list[str]) -> None:
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "milliroute.proxy", *args])
