"""For a process with this folder in PYTHONPATH: the wall clock, as Python reads it, is off by the seconds in a file.

The file (MILLIROUTE_CHAOS_CLOCK) holds one signed 64-bit integer, little endian, and may change at any time. It stands
in for setting the machine's clock, which takes root and hurts everybody; the monotonic clock goes on, as it does there.
"""

import mmap
import os
import time

_SECONDS = time.time
_NANOSECONDS = time.time_ns

with open(os.environ["MILLIROUTE_CHAOS_CLOCK"], "rb") as _file:
    _shared = mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)


def _offset_s() -> int:
    return int.from_bytes(_shared[:8], "little", signed=True)


def _time() -> float:
    return _SECONDS() + _offset_s()


def _time_ns() -> int:
    return _NANOSECONDS() + _offset_s() * 1_000_000_000


time.time = _time
time.time_ns = _time_ns
