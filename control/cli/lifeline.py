"""A child that ends with its parent: for `preexec_fn`, between fork and exec."""

import ctypes
import signal
import sys

# prctl(2): the signal this process gets when its parent dies. Kept over exec. Linux only; elsewhere a killed parent
# leaves its children running.
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent() -> None:
    """Asks for SIGTERM, so that a proxy drains."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
