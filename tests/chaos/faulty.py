"""What the two speakers of the misbehaving endpoint share: its mode, its ledger, and a wire that can be cut."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable

MODES = (
    "ok",
    "slow",  # answers after SLOW_S
    "silent",  # never answers
    "reset",  # cuts the connection in place of an answer
    "reset-head",  # in the middle of the head
    "reset-body",  # in the middle of the body
    "close",  # ends its half of the connection in place of an answer, and keeps the other
    "close-after",  # ends its half after each answer, without having said so
    "garbage",  # answers with what is not HTTP
    "twice",  # sends each answer twice
    "late-twice",  # the second one a little later, when the connection is idle or serves another
    "error",  # 503
    "refuse",  # HTTP/2: REFUSED_STREAM; HTTP/1.1 has no such thing: 503
)
SLOW_S = 0.3
# Between what goes out before a cut and the cut, so that the other side reads the former by itself.
CUT_S = 0.01
GARBAGE = bytes(range(256)) * 2
# Closing with it sends RST at once (man 7 socket, SO_LINGER).
_NO_LINGER = struct.pack("ii", 1, 0)


class Endpoint:
    """One endpoint's state: process lifetime."""

    def __init__(self, name: str, ledger_fd: int) -> None:
        self.name = name
        self.mode = "ok"
        self._ledger_fd = ledger_fd

    def answer(self, method: str, path: str) -> bytes:
        """The body, longer for /big/BYTES; a POST is written down first, a PUT /_/MODE obeyed."""
        if method == "POST":
            os.write(self._ledger_fd, path.encode() + b"\n")
        elif method == "PUT" and path.startswith("/_/"):
            assert path[3:] in MODES, f"mode {path[3:]!r}, wanted one of {MODES}"
            self.mode = path[3:]
        body = f"{self.name} {path}".encode()
        return body.ljust(int(path[5:])) if path.startswith("/big/") else body


class Wire:
    """One connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_gone = False

    def write(self, data: bytes) -> None:
        if not self.is_gone and not self._transport.is_closing():
            self._transport.write(data)

    def end_half(self) -> None:
        if not self.is_gone and not self._transport.is_closing():
            self._transport.write_eof()

    def cut(self) -> None:
        if self.is_gone or self._transport.is_closing():
            return
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def cut_soon(self) -> None:
        self.later(CUT_S, self.cut)

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, act)
