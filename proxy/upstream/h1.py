"""Connections to backends: one pool per endpoint, HTTP/1.1 keep-alive, one exchange at a time on each connection.

A connection hands what it reads to its receiver (the exchange) and goes back to its pool the moment the response has
ended cleanly. Whatever is not provably clean (bytes nobody asked for, an unfinished request) is closed, never reused.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from milliroute.proxy.codec.h1_body import Body, CloseBody, encode_chunk, encode_last_chunk
from milliroute.proxy.errors import (
    BadResponse,
    ConnectFailed,
    ConnectTimeout,
    ProtocolError,
    ProxyError,
    UpstreamFailed,
)
from milliroute.proxy.message import CHUNKED, Fields, RequestHead, ResponseHead
from milliroute.proxy.routing.leaf import Address
from milliroute.proxy.transport import kernel
from milliroute.proxy.upstream.dialer import Dialer, Receiver

if TYPE_CHECKING:
    from milliroute.proxy.codec.hpack_static import Field
    from milliroute.proxy.transport.tls_link import TlsLink

# Envoy answers 502 to a storm of them as well; HAProxy passed 800 KB (facts on hostile input, section 3).
MAX_INTERIM_RESPONSES = 16


class H1Pool:
    """The connections of one endpoint. Idle ones are taken last in, first out, so that unneeded ones grow old."""

    __slots__ = ("_dialer", "_generation", "address", "idle", "is_closed")

    def __init__(self, address: Address, dialer: Dialer) -> None:
        """address: not the endpoint, which holds its pools."""
        self.address = address
        self.idle: list[Upstream] = []
        self.is_closed = False
        self._dialer = dialer
        self._generation = 0

    def take(self) -> "Upstream | None":
        return self.idle.pop() if self.idle else None

    def give_back(self, connection: "Upstream") -> None:
        if self.is_closed:
            connection.close()
            return
        connection.idle_generation = self._generation
        connection.is_reused = True  # from here on its end may cross a request
        self.idle.append(connection)

    def adopt(self, link: "TlsLink") -> None:
        """Made for HTTP/2, which the endpoint turned out not to speak."""
        self.give_back(link.hand_to(Upstream(self, self._dialer)))

    def sweep(self) -> None:
        self._generation += 1
        too_old = self._generation - 2
        while self.idle and self.idle[0].idle_generation <= too_old:
            self.idle.pop(0).close()

    def close(self) -> None:
        """The endpoint is gone from every table: idle connections close now, busy ones after their response."""
        self.is_closed = True
        self._dialer.pools.discard(self)
        while self.idle:
            self.idle.pop().close()

    def connect(self, receiver: Receiver) -> None:
        """Ends in receiver.connected or receiver.connect_failed."""
        self._dialer.spawn(self._connect(receiver))

    async def _connect(self, receiver: Receiver) -> None:
        address, dialer = self.address, self._dialer
        try:
            async with asyncio.timeout(dialer.timeouts.connect_s):
                connection = await self._dial()
        except TimeoutError:
            receiver.connect_failed(ConnectTimeout(f"connect to {address} timed out"))
        except ConnectFailed as exc:
            receiver.connect_failed(exc)
        except (OSError, ValueError, OverflowError) as exc:
            # Not only OSError: a host that can't be a DNS name is a UnicodeError, a port over 65535 an OverflowError.
            reason = getattr(exc, "strerror", None) or exc.__class__.__name__
            receiver.connect_failed(ConnectFailed(f"connect to {address} failed: {reason}"))
        else:
            if connection.is_closing:
                # Since then the backend has hung up, or sent what nobody asked for; of that nobody would be told.
                receiver.connect_failed(ConnectFailed(f"{address} accepted the connection and closed it"))
            else:
                receiver.connected(connection)

    async def _dial(self) -> "Upstream":
        """A new one or, where there is no descriptor for it, one that is given back meanwhile."""
        dialer = self._dialer
        while True:
            try:
                return await dialer.dial(self.address, lambda: Upstream(self, dialer))
            except OSError as exc:
                await dialer.await_descriptor(exc, self.address)
            idle = self.take()
            if idle is not None:
                return idle

    def spare(self) -> bool:
        if self.idle:
            self.idle.pop(0).close()
            return True
        return False


class Upstream(asyncio.Protocol):
    """One connection. Attributes by lifetime: the connection's first, then the request's."""

    is_h2 = False
    __slots__ = (
        "_body",
        "_codec",
        "_decodes",
        "_encodes",
        "_head",
        "_held",
        "_interims",
        "_is_request_done",
        "_is_reusable",
        "_is_touched",
        "_is_tunnel",
        "_is_write_paused",
        "_pool",
        "_receiver",
        "_tcp",
        "_transport",
        "_unproven_bytes",
        "idle_generation",
        "is_paused",
        "is_reused",
    )
    _transport: asyncio.Transport

    def __init__(self, pool: H1Pool, dialer: Dialer) -> None:
        self._pool = pool
        self._codec = dialer.codec
        self._tcp = dialer.tcp
        self.is_reused = False
        self.is_paused = False
        self.idle_generation = 0
        self._is_tunnel = False
        self._is_write_paused = False
        self._unproven_bytes = kernel.PROVEN_BYTES
        self._held = b""
        self._receiver: Receiver | None = None
        self._head: RequestHead | None = None
        self._body: Body | None = None
        self._decodes = False
        self._encodes = False
        self._interims = 0
        self._is_request_done = True
        self._is_reusable = False
        self._is_touched = False

    @property
    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def send(self, receiver: Receiver, head: RequestHead, body: bytes, is_request_done: bool) -> None:
        """body: what of it there is; the rest comes by `write`."""
        self._receiver = receiver
        self._head = head
        self._decodes = head.is_http10 or head.is_h2
        self._encodes = head.is_h2 and head.length == CHUNKED
        self._is_request_done = is_request_done
        self._is_touched = False
        self._interims = 0
        if self._encodes:
            body = encode_chunk(body, is_request_done)
        wire = head.h1_wire() if head.is_h2 else head.wire
        data = wire + body if body else wire
        self._tcp.write_bytes += len(data)
        self._transport.write(data)

    def write(self, data: bytes, is_request_done: bool) -> None:
        self._is_request_done = is_request_done
        if self._encodes:
            data = encode_chunk(data, is_request_done)
        if data:
            self._tcp.write_bytes += len(data)
            self._transport.write(data)

    def write_trailers(self, fields: "Sequence[Field]") -> None:
        """Of a request over HTTP/2; only a chunked body can carry them."""
        self._is_request_done = True
        if self._encodes:
            data = encode_last_chunk(fields)
            self._tcp.write_bytes += len(data)
            self._transport.write(data)

    def return_unused(self) -> None:
        """Made for a client that has left."""
        self._pool.give_back(self)

    def write_eof(self) -> None:
        if self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS knows no half of a connection

    def pause(self) -> None:
        if not self.is_paused:
            self.is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.is_paused:
            self.is_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        self._receiver = None
        self._transport.close()

    def abort(self) -> None:
        """Nobody waits for the rest of this response: the only way to stop an HTTP/1 backend is to hang up."""
        self._receiver = None
        self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio.Transport by behaviour only.
        self._transport = cast("asyncio.Transport", transport)
        kernel.restrain(transport)
        self._tcp.opened += 1
        self._tcp.open_now += 1

    def data_received(self, data: bytes) -> None:
        self._tcp.read_bytes += len(data)
        if self._body is not None:
            self._read_body(data)
            return
        if self._receiver is None or self._head is None:
            self._discard()  # bytes that nobody asked for: response poisoning, were it used again
            return
        self._is_touched = True
        if self._held:
            data = self._held + data
            self._held = b""
        try:
            parsed = self._codec.response(data, self._head.method, self._head.upgrade != b"")
        except BadResponse as exc:
            self._fail(exc)
            return
        if parsed is None:
            self._held = data
            return
        head, end = parsed
        if head.status < 200:
            self._read_interim(head, data[end:])
        elif self._head.upgrade and self._head.is_h2 and head.status < 300:
            # To the extended CONNECT that it stands for a 2xx would say that there is a tunnel (RFC 8441 section 5).
            self._fail(BadResponse(f"status {head.status} to an upgrade, wanted 101"))
        elif head.length == len(data) - end:
            self._end(head.is_reusable).response(head, data[end:], True)
        else:
            self._begin_body(head, data[end:])

    def eof_received(self) -> None:
        """Told of at once: connection_lost comes only when all that waits to be written is gone, which may be never."""
        self._lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tcp.open_now -= 1
        self._tcp.closed += 1
        if exc is None and self._pool.address.tls is not None and not self._is_tunnel:
            exc = ConnectionAbortedError()  # no close_notify: who cut it off is not known (RFC 9112 section 9.8)
        self._lost(exc)

    def _lost(self, exc: Exception | None) -> None:
        if self._receiver is None:
            if self in self._pool.idle:
                self._pool.idle.remove(self)
            return
        if exc is None and self._body is not None and self._body.feed_eof():
            self._end(False).response_body(b"", True)
            return
        reason = "was reset" if exc is not None else "closed early"
        self._fail(UpstreamFailed(f"connection to {self._pool.address} {reason}"))

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self._receiver is not None:
            self._receiver.pause_request()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        if self._receiver is not None:
            self._receiver.resume_request()

    def _begin_body(self, head: ResponseHead, data: bytes) -> None:
        receiver = self._receiver
        assert receiver is not None
        if 0 <= head.length < len(data):
            # More than its content-length: the message is whole, what follows is not ours and ends the connection.
            self._end(False).response(head, data[: head.length], True)
            return
        body = self._body = self._codec.body(head.length, decode=self._decodes and head.length == CHUNKED)
        self._head = None
        try:
            out, rest = body.feed(data)
        except ProtocolError as exc:
            self._fail(BadResponse(exc.text))
            return
        is_reusable = head.is_reusable and not rest
        if body.trailers:
            receiver.response(head, out, False)
            self._end_with(body.trailers, is_reusable)
        elif body.is_done:
            self._end(is_reusable).response(head, out, True)
        else:
            self._is_reusable = head.is_reusable
            receiver.response(head, out, False)

    def _read_body(self, data: bytes) -> None:
        body, receiver = self._body, self._receiver
        assert body is not None
        if receiver is None:
            return  # aborted, the loop had this ready
        if self._unproven_bytes > 0:
            self._unproven_bytes -= len(data)
            if self._unproven_bytes <= 0:
                kernel.let_grow(self._transport)
        try:
            out, rest = body.feed(data)
        except ProtocolError as exc:
            self._fail(BadResponse(exc.text))
            return
        is_reusable = self._is_reusable and not rest
        if body.trailers:
            receiver.response_body(out, False)
            self._end_with(body.trailers, is_reusable)
        elif body.is_done:
            self._end(is_reusable).response_body(out, True)
        elif out:
            receiver.response_body(out, False)

    def _end_with(self, trailers: Fields, is_reusable: bool) -> None:
        """Only for a client whose version has no chunks."""
        # Here, because a worker that never sees HTTP/2 need not carry it.
        from milliroute.proxy.codec.hpack_static import Field

        if self._receiver is not None:  # it may have hung up on what came before
            self._end(is_reusable).response_trailers([Field(name, value) for name, value in trailers])

    def _read_interim(self, head: ResponseHead, rest: bytes) -> None:
        receiver = self._receiver
        assert receiver is not None
        self._interims += 1
        if head.status == 101:
            self._is_tunnel = True
            self._body = CloseBody()
            receiver.upgraded(head)
        elif self._interims > MAX_INTERIM_RESPONSES:
            self._fail(BadResponse(f"over {MAX_INTERIM_RESPONSES} interim responses"))
        else:
            receiver.interim(head)
        if rest and self._receiver is not None:
            self._tcp.read_bytes -= len(rest)
            self.data_received(rest)

    def _end(self, is_reusable: bool) -> Receiver:
        """The response is whole: back to the pool first, because the receiver may want a connection next."""
        receiver = self._receiver
        assert receiver is not None
        self._receiver = self._head = self._body = None
        is_sent = self._is_request_done and not self._is_write_paused
        if is_reusable and is_sent and not self._transport.is_closing():
            self.is_reused = True
            self.resume()
            self._pool.give_back(self)
        elif is_sent or self._is_tunnel:
            self._transport.close()
        else:
            # A backend that has answered may never read the rest of the request, and closing would wait for that.
            self._transport.abort()
        return receiver

    def _fail(self, error: ProxyError) -> None:
        receiver, self._receiver = self._receiver, None
        self._head = None
        self._transport.abort()
        if receiver is not None:
            receiver.failed(error, is_untouched=not self._is_touched)

    def _discard(self) -> None:
        if self in self._pool.idle:
            self._pool.idle.remove(self)
        self._transport.abort()
