"""How much a backend may send ahead: little, until what it sent has been taken.

In comes a connection to a backend. Linux would let its receive buffer grow with what is read, to 1.5 MiB before a slow
client is seen to be one (measured; up to tcp_rmem), and out of memory for TCP are then all connections of the machine.
The rule not to break: the buffer is bounded after connecting, never before, or it would bound the window for good.
"""

import asyncio
import socket
import sys
from contextlib import suppress

# Of the receive buffer; the kernel doubles it, and one read takes what it holds, 51 KiB (measured). Most answers fit
# in, and larger ones wait for the backend once in every 51 KiB, until PROVEN_BYTES.
RESTRAINED_BYTES = 28 * 1024
# Of bodies on one connection; then its buffer grows as any other. Clients have taken all of it, or nearly so.
PROVEN_BYTES = 1024 * 1024
# At once then, as far as net.core.rmem_max allows: Linux lets a buffer grow only when more than its first window is
# taken in one round trip, and on the loopback the restrained one never holds as much (seen: half the throughput).
GROWN_BYTES = 1024 * 1024
# And from there on by itself. Linux 5.14, include/uapi/asm-generic/socket.h; not in Python's socket module.
SO_BUF_LOCK = 72


def restrain(transport: asyncio.BaseTransport) -> None:
    """Of a connection that was just made."""
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None:
        with suppress(OSError):  # it has ended meanwhile
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RESTRAINED_BYTES)


def let_grow(transport: asyncio.BaseTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sys.platform == "linux" and sock is not None:
        with suppress(OSError):  # an older kernel: it stays as large as it is
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, GROWN_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
