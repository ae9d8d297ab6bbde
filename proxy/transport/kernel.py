"""What the kernel holds of our connections: how much a backend may send ahead, and how much a client has yet to take.

In come transports. Linux would let the receive buffer of a connection to a backend grow with what is read, to 1.5 MiB
before a slow client is seen to be one (measured; up to tcp_rmem), and out of memory for TCP are then all connections of
the machine: it is kept small until what the backend sent has been taken. The rule not to break: a buffer is bounded
after connecting, never before, or it would bound the window for good.
"""

import asyncio
import fcntl
import socket
import sys
import termios
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
            # The window was clamped to the small buffer, and a larger one alone does not lift that (measured).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, GROWN_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)


def untaken_bytes(transport: asyncio.WriteTransport) -> int:
    """Of what was written, what the peer has not acknowledged; man 7 tcp, SIOCOUTQ. The transport's own buffer alone
    would stand still for as long as the kernel makes no room, and that it does in steps of some 100 KiB."""
    sock, held = transport.get_extra_info("socket"), 0
    if sys.platform == "linux" and sock is not None:
        with suppress(OSError, ValueError):  # it has ended
            held = int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return transport.get_write_buffer_size() + held
