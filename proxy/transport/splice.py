"""The two connections of a TCP tunnel: what one reads the other writes, with its end, its resets and its back-pressure.

In come transports, out go calls of the owner (opaque.Tunnel), which ties two ends together and decides on their life.
The rule not to break: memory is one write buffer each way, so an end whose other is full is not read.
"""

import asyncio
import socket
import struct
import sys
from typing import Protocol, cast

from milliroute.proxy.downstream.detection import FirstLine
from milliroute.proxy.metrics import TcpSeries

# Linkerd: LINKERD2_PROXY_OUTBOUND_{ACCEPT,CONNECT}_KEEPALIVE. There is no idle timeout: a peer that is gone without a
# word is found by this, after some 100 s.
KEEPALIVE_S = 10
# struct linger: on, 0 s; see downstream.
_LINGER_RESETS = struct.pack("ii", 1, 0)


class Owner(Protocol):
    """Of both ends."""

    def hold(self, data: bytes) -> None:
        """Read while there is no other end; the one that reads is paused now."""

    def unmask(self) -> None:
        """The client's first line was a request's after all; it has not gone on as a whole."""

    def connected(self, up: "End") -> None: ...

    def close(self) -> None:
        """Both directions have ended."""

    def lost(self, end: "End", exc: Exception | None) -> None: ...


class End(asyncio.Protocol):
    """One of a tunnel's two connections; what it reads is written to the other.

    has_ended: nothing more to read. watched: the client's first line, while it may still turn out to be a request's.
    """

    __slots__ = ("_is_paused", "_owner", "_tcp", "_transport", "has_ended", "is_full", "other", "watched")
    _transport: asyncio.Transport

    def __init__(self, owner: Owner, tcp: TcpSeries) -> None:
        self._owner = owner
        self._tcp = tcp
        self._is_paused = False
        self.has_ended = False
        self.is_full = False
        self.other: End | None = None
        self.watched: FirstLine | None = None

    def adopt(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if sys.platform == "linux":
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)

    @property
    def client_ip(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if peer else "unknown"

    @property
    def identities(self) -> tuple[str, ...]:
        found: tuple[str, ...] | None = self._transport.get_extra_info("identities")
        return found or ()

    def queued_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    # What the other end and the tunnel call

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._tcp.write_bytes += len(data)
            self._transport.write(data)

    def write_eof(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS knows no half of a connection

    def pause(self) -> None:
        if not (self._is_paused or self.has_ended or self._transport.is_closing()):
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """What was written still goes out."""
        self._transport.close()

    def reset(self) -> None:
        if self._transport.is_closing() and not self._transport.get_write_buffer_size():
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESETS)
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of the backend's connection; the client's was made before its protocol was known."""
        self._tcp.opened += 1
        self._tcp.open_now += 1
        # uvloop's transports are asyncio.Transport by behaviour only.
        self.adopt(cast("asyncio.Transport", transport))
        self._owner.connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tcp.open_now -= 1
        self._tcp.closed += 1
        self._owner.lost(self, exc)
        # No cycles are left behind: the collector comes seldom (worker.GC_THRESHOLD), and 2,000 tunnels were 3.5 MiB.
        self.other = None
        del self._owner

    def data_received(self, data: bytes) -> None:
        self._tcp.read_bytes += len(data)
        if self.watched is not None and not self._passes(self.watched, data):
            self._owner.unmask()
        elif self.other is not None:
            self.other.write(data)
        else:
            self._owner.hold(data)
            self.pause()

    def _passes(self, watched: FirstLine, data: bytes) -> bool:
        is_request = watched.feed(data)
        if is_request is False:
            self.watched = None
        return is_request is not True

    def eof_received(self) -> bool:
        self.has_ended = True
        if self.other is not None:
            self.other.write_eof()
            if self.other.has_ended:
                self._owner.close()
        return self._transport.can_write_eof()

    def pause_writing(self) -> None:
        self.is_full = True
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        self.is_full = False
        if self.other is not None:
            self.other.resume()
