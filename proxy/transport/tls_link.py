"""A TLS connection as a transport: a handshake on a TCP connection, then what protocols know of any transport.

uvloop's own TLS transport differs from its TCP one where it hurts a proxy, and this one makes up for it:

- Paused, it goes on reading until the peer's end, and throws away what had come but was not taken: the rest of a
  response, for a slow client. Here the TCP connection is paused too.
- Closed, it waits for the peer to say good-bye, or for a time limit that also cuts off what is still being sent. Here
  close_notify is sent behind the last data and the connection closed behind that (RFC 8446 section 6.1 asks no more).
"""

import asyncio
import ssl
from collections.abc import Awaitable, Coroutine, Generator
from types import coroutine
from typing import TypeVar, cast

from milliroute.proxy.transport.tls import explain

P = TypeVar("P", bound=asyncio.Protocol)
T = TypeVar("T")

# Of what was read and not taken, or written and not sent: as for TCP. uvloop's are 256 and 512 KiB.
HIGH_WATER_BYTES = 64 * 1024
# Never: the TCP connection is paused by `pause_reading`, and in one place only.
_NO_LIMIT_BYTES = 2**30
# uvloop takes no 0, which to us is "at once".
_LEAST_S = 0.001


class TlsLink(asyncio.Transport):
    """raw: the TCP connection under `inner`, uvloop's TLS transport."""

    __slots__ = ("_inner", "_raw", "identities")

    def __init__(self, inner: asyncio.Transport, raw: asyncio.Transport) -> None:
        super().__init__()
        self.identities: tuple[str, ...] = ()  # of the peer, once somebody has judged its certificate
        self._inner = inner
        self._raw = raw
        inner.set_write_buffer_limits(HIGH_WATER_BYTES)
        # Not of the abstract Transport, but of asyncio's and uvloop's.
        cast("_WithReadLimits", inner).set_read_buffer_limits(_NO_LIMIT_BYTES)

    @property
    def alpn(self) -> str:
        """The protocol that both sides agreed on, "" for none."""
        found = self._inner.get_extra_info("ssl_object")
        return (found.selected_alpn_protocol() or "") if found is not None else ""

    @property
    def certificate(self) -> bytes | None:
        """Of the peer, verified, in DER; None where it showed none."""
        found: ssl.SSLObject | None = self._inner.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True) if found is not None else None

    def hand_to(self, protocol: P) -> P:
        """From here on it is this protocol's; nothing was read before. Returns it."""
        self._inner.set_protocol(protocol)
        protocol.connection_made(self)
        return protocol

    # asyncio.Transport

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._inner.set_protocol(protocol)

    def get_extra_info(self, name: str, default: object = None) -> object:
        if name == "identities":
            return self.identities
        return self._inner.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._inner.is_closing():  # else uvloop logs each write from the fifth on
            self._inner.write(data)

    def get_write_buffer_size(self) -> int:
        return self._inner.get_write_buffer_size() + self._raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        """TLS has it (RFC 8446 section 6.1), uvloop has not."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        self._inner.pause_reading()
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()
        self._raw.resume_reading()

    def close(self) -> None:
        if self._inner.is_closing():
            return
        self._inner.close()
        if self._inner.get_write_buffer_size():
            self._raw.resume_reading()  # the peer takes its time; its own end may come meanwhile
        else:
            self._raw.close()  # all is with the TCP connection, close_notify last

    def abort(self) -> None:
        self._inner.abort()


class _WithReadLimits(asyncio.Transport):
    def set_read_buffer_limits(self, high: int) -> None: ...


class _Vacant(asyncio.Protocol):
    """Holds a connection until its protocol is known."""


def begin_server(
    loop: asyncio.AbstractEventLoop, raw: asyncio.Transport, context: ssl.SSLContext, limit_s: float, close_s: float
) -> Coroutine[None, None, TlsLink]:
    """The handshake on a connection that was made in this very moment: call it in `connection_made`, await it later.

    The coroutine raises OSError when it fails. Its first step is taken here, because uvloop reads as soon as
    `connection_made` returns, and what the client says then must find TLS in place.
    """
    shaking = loop.start_tls(
        raw,
        _Vacant(),
        context,
        server_side=True,
        ssl_handshake_timeout=max(limit_s, _LEAST_S),
        ssl_shutdown_timeout=max(close_s, _LEAST_S),
    )
    return _linked(raw, _rest(shaking, shaking.send(None)))


async def connect(
    loop: asyncio.AbstractEventLoop, host: str, port: int, context: ssl.SSLContext, server_name: str, close_s: float
) -> TlsLink:
    """The caller limits the time. Raises OSError, with a text for people where TLS is what failed."""
    raw, _ = await loop.create_connection(_Vacant, host, port)
    shaking = loop.start_tls(
        raw, _Vacant(), context, server_hostname=server_name, ssl_shutdown_timeout=max(close_s, _LEAST_S)
    )
    try:
        return await _linked(raw, shaking)
    except OSError as error:
        raise OSError(0, f"TLS: {explain(error)}") from error


async def _linked(raw: asyncio.Transport, shaking: Awaitable[asyncio.Transport | None]) -> TlsLink:
    try:
        inner = await shaking
    except BaseException:
        raw.abort()
        raise
    if inner is None or inner.is_closing():
        raw.abort()
        raise ConnectionResetError
    return TlsLink(inner, raw)


@coroutine
def _rest(begun: Coroutine[None, None, T], awaited: object) -> Generator[object, None, T]:
    """What is left of a coroutine whose first step, taken by hand, waits for `awaited`."""
    while True:
        try:
            try:
                yield awaited
            except BaseException as exc:
                awaited = begun.throw(exc)
            else:
                awaited = begun.send(None)
        except StopIteration as end:
            return cast("T", end.value)
