"""What the C library does with memory that was freed: the next body is read into it, and it does not go back at once.

glibc gives the end of its heap back to the kernel as soon as some 100 KiB of it are free (man 3 mallopt), so that most
reads of a body began with new pages: 34 page faults for each MiB over HTTP/2, and 6 to 14 % of its CPU (measured).
"""

import sys
from contextlib import suppress
from functools import cache

# Of what is free at the end of the heap: what one turn of the loop reads and writes for a few connections.
KEPT_BYTES = 2 * 1024 * 1024
# Of one piece; larger ones still come from the kernel and go back to it. A read is 250 KiB at most.
LARGEST_BYTES = 1024 * 1024
# Names of mallopt's parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


@cache
def keep() -> None:
    """From the first large body on, for the process; again it costs 0.04 us. Where it can't be, nothing is done."""
    if sys.platform != "linux":
        return
    # No ctypes in this Python, no descriptor to load it with, no mallopt (musl).
    with suppress(ImportError, OSError, AttributeError):
        # Here, because it is 0.3 MiB, which a worker that sees no large body need not carry.
        import ctypes

        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, LARGEST_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
